//! Readers that a store has made, so that a call that asks the same view for the same features makes no statement anew.
//!
//! In flow a view and the names asked for; out flows a reader with its features' names as Python's strings. Bounded: at too
//! many, all are forgotten.

use std::sync::{Arc, Mutex, PoisonError};

use cenote::store;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::error;

/// How many readers a store keeps.
const KEPT: usize = 64;

/// A reader of some features of a view.
pub(super) struct Selection<R> {
    view: store::View,
    /// What was asked for; all features if nothing.
    asked: Option<Vec<String>>,
    pub(super) reader: R,
    /// The features' names in the reader's order.
    pub(super) names: Vec<Py<PyString>>,
}

/// A store's readers.
pub(super) struct Readers<R> {
    made: Mutex<Vec<Arc<Selection<R>>>>,
}

impl<R> Default for Readers<R> {
    fn default() -> Self {
        Self { made: Mutex::default() }
    }
}

impl<R> Readers<R> {
    /// The reader of `asked` in `view`, made by `make` at the first call.
    pub(super) fn get(
        &self,
        py: Python<'_>,
        view: &store::View,
        asked: Option<Vec<String>>,
        make: impl FnOnce(Option<&[String]>) -> Result<R, store::Error>,
    ) -> PyResult<Arc<Selection<R>>> {
        let known = |selection: &&Arc<Selection<R>>| selection.asked == asked && selection.view == *view;
        // Never held across a call into the interpreter.
        let found = self.made.lock().unwrap_or_else(PoisonError::into_inner).iter().find(known).cloned();
        if let Some(found) = found {
            return Ok(found);
        }
        let reader = make(asked.as_deref()).map_err(|error| error::store(py, &error))?;
        let intern = |name: &str| PyString::intern(py, name).unbind();
        let names = match &asked {
            Some(names) => names.iter().map(|name| intern(name)).collect(),
            None => view.features().iter().map(|feature| intern(&feature.name)).collect(),
        };
        let selection = Arc::new(Selection { view: view.clone(), asked, reader, names });
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let full = (made.len() >= KEPT).then(|| std::mem::take(&mut *made));
        made.push(Arc::clone(&selection));
        drop(made);
        drop(full);
        Ok(selection)
    }
}
