//! What moves many rows: writes and loads, materialisation, joins in time; and the counts that they give.

use std::collections::HashMap;

use cenote::Batch;
use cenote::store::{self, KnownAt, WriteOptions, blocking};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::answers::FeatureSet;
use super::keys;
use super::view::View;
use crate::enter::enter_store;
use crate::error;
use crate::input::{self, Input, Source};

/// When values became known: now, at a moment, or each at its event time.
pub(super) fn options(written_at: Option<&Bound<'_, PyAny>>) -> PyResult<WriteOptions> {
    Ok(match written_at {
        None => WriteOptions::default(),
        Some(text) if text.is_instance_of::<PyString>() => match text.extract::<String>()?.as_str() {
            "event" => WriteOptions::written_with_event(),
            _ => return Err(PyValueError::new_err("written_at is a datetime or \"event\"")),
        },
        Some(moment) => WriteOptions::written_at(keys::timestamp(moment)?),
    })
}

/// By when a value must have become known to be seen.
pub(super) fn known_at(known_at: Option<&Bound<'_, PyAny>>) -> PyResult<KnownAt> {
    Ok(match known_at {
        None => KnownAt::Label,
        Some(text) if text.is_instance_of::<PyString>() => match text.extract::<String>()?.as_str() {
            "label" => KnownAt::Label,
            "any" => KnownAt::Any,
            _ => return Err(PyValueError::new_err("known_at is a datetime, \"label\" or \"any\"")),
        },
        Some(moment) => KnownAt::At(keys::timestamp(moment)?),
    })
}

pub(super) fn writer(
    py: Python<'_>,
    store: &blocking::FeatureStore,
    view: &View,
    history_only: bool,
) -> PyResult<blocking::Writer> {
    let writer = store.writer(view.view());
    if !history_only {
        return Ok(writer);
    }
    writer.history_only().map_err(|error| error::store(py, &error))
}

/// Calls `each` with the rows of a table: those of a stream a record batch at a time.
pub(super) fn each_batch(
    view: &View,
    data: &Bound<'_, PyAny>,
    mut each: impl FnMut(&Batch<'_>) -> PyResult<()>,
) -> PyResult<()> {
    let py = data.py();
    let wanted = view.wanted();
    let Input { names, source, .. } = input::table(data, wanted)?;
    let unknown: Vec<&String> = names.iter().filter(|name| wanted.find(name).is_none()).collect();
    if !unknown.is_empty() {
        let message = format!("view {:?} has no columns {unknown:?}", view.view().name());
        return Err(error::input(py, &message));
    }
    match source {
        Source::Columns(columns) => {
            each(&columns.batch(wanted).map_err(|error| error::core(py, &error, &names))?)
        }
        Source::Stream(reader) => {
            for batch in reader {
                let batch = batch.map_err(|error| error::input(py, &error.to_string()))?;
                let columns = input::wanted_columns(py, &batch, wanted)?;
                each(&columns.batch().map_err(|error| error::core(py, &error, &names))?)?;
            }
            Ok(())
        }
    }
}

pub(super) fn load(
    store: &blocking::FeatureStore,
    view: &View,
    data: &Bound<'_, PyAny>,
    name: &str,
    written_at: Option<&Bound<'_, PyAny>>,
    history_only: bool,
) -> PyResult<Loaded> {
    let py = data.py();
    let options = options(written_at)?;
    let writer = writer(py, store, view, history_only)?;
    let mut load = enter_store(py, || writer.load(name, options))?;
    each_batch(view, data, |batch| enter_store(py, || load.batch(batch)).map(|_| ()))?;
    let store::Loaded { batches, passed, rows, upserted, .. } = load.loaded();
    let store::Upserted { inserted, updated, stale, appended, .. } = upserted;
    Ok(Loaded { batches, passed, rows, inserted, updated, stale, appended })
}

pub(super) fn materialize(
    py: Python<'_>,
    store: &blocking::FeatureStore,
    view: &View,
    full: bool,
    batch_rows: u64,
    progress: Option<Py<PyAny>>,
) -> PyResult<Materialized> {
    let mut options = store::MaterializeOptions::default();
    (options.full, options.rows_a_batch) = (full, batch_rows);
    // What a callback raises is raised after the run: batches are whole, and the next run would go on anyway.
    let mut raised = None;
    let done = enter_store(py, || {
        store.materialize(view.view(), options, |now| {
            if let Some(progress) = &progress
                && raised.is_none()
            {
                let (done, batches) = (now.done, now.batches);
                raised = Python::attach(|py| progress.call1(py, (done, batches)).err());
            }
        })
    })?;
    match raised {
        Some(error) => Err(error),
        None => Ok(Materialized {
            rows: done.rows,
            inserted: done.inserted,
            updated: done.updated,
            batches: done.batches,
        }),
    }
}

pub(super) fn past(
    py: Python<'_>,
    reader: &blocking::Reader,
    known: Option<&Bound<'_, PyAny>>,
) -> PyResult<blocking::AsOf> {
    let past = reader.as_of().map_err(|error| error::store(py, &error))?;
    Ok(past.known_at(known_at(known)?))
}

/// The features of entities, whatever table they come in. Of a stream only keys and times are held at once.
pub(super) fn join(past: &blocking::AsOf, view: &View, entities: &Bound<'_, PyAny>) -> PyResult<FeatureSet> {
    let py = entities.py();
    let wanted = view.entities();
    let Input { names, source, .. } = input::table(entities, wanted)?;
    let core = |error: cenote::Error| error::core(py, &error, &names);
    let arrow = |error: arrow_schema::ArrowError| error::input(py, &error.to_string());
    let set = match source {
        Source::Columns(columns) => {
            let batch = columns.batch(wanted).map_err(core)?;
            enter_store(py, || past.join_batch(&batch))?
        }
        Source::Stream(reader) => {
            let schema = reader.schema();
            let places = schema.fields().iter().enumerate();
            let places: Vec<_> = places
                .filter(|(_, field)| wanted.find(field.name()).is_some())
                .map(|(place, _)| place)
                .collect();
            let few = std::sync::Arc::new(schema.project(&places).map_err(arrow)?);
            let batches = reader.map(|batch| batch?.project(&places)).collect::<Result<Vec<_>, _>>();
            let whole =
                arrow_select::concat::concat_batches(&few, &batches.map_err(arrow)?).map_err(arrow)?;
            let columns = input::wanted_columns(py, &whole, wanted)?;
            let batch = columns.batch().map_err(core)?;
            enter_store(py, || past.join_batch(&batch))?
        }
    };
    Ok(FeatureSet::new(set))
}

/// The features of entities, each a dict by the names of key columns or of the roles that they play.
pub(super) fn get_views(
    py: Python<'_>,
    store: &blocking::FeatureStore,
    views: &[PyRef<'_, View>],
    keys: &Bound<'_, PyAny>,
    roles: Option<Vec<Option<HashMap<String, String>>>>,
) -> PyResult<Vec<FeatureSet>> {
    let roles = roles.unwrap_or_default();
    if !roles.is_empty() && roles.len() != views.len() {
        return Err(PyValueError::new_err("roles: one dict or None a view"));
    }
    let service = store.service(|store, mut service| {
        for (place, view) in views.iter().enumerate() {
            let roles = roles.get(place).and_then(Option::as_ref).into_iter().flatten();
            let roles: Vec<_> = roles.map(|(key, role)| (key.as_str(), role.as_str())).collect();
            service = service.with_roles(&store.reader(view.view()), &roles);
        }
        Ok(service)
    });
    let service = service.map_err(|error| error::store(py, &error))?;
    let columns: Vec<_> = service.columns().map(|(name, ty)| super::view::column(py, name, ty)).collect();
    let entities = keys.try_iter()?.map(|entity| keys::key(&entity?, &columns));
    let entities = entities.collect::<PyResult<Vec<_>>>()?;
    let sets = enter_store(py, || service.get_many(entities))?;
    Ok(sets.into_iter().map(FeatureSet::new).collect())
}

macro_rules! counts {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty,)+ }) => {
        $(#[$doc])*
        #[pyclass(frozen, eq, get_all, module = "cenote")]
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(super) $field: $ty,)+
        }

        #[pymethods]
        impl $name {
            fn __repr__(&self) -> String {
                let fields = [$(format!(concat!(stringify!($field), "={:?}"), self.$field)),+];
                format!(concat!(stringify!($name), "({})"), fields.join(", "))
            }
        }
    };
}

counts! {
    /// What became of the batches of a load, when they were written.
    Loaded {
        /// Batches that were given.
        batches: u64,
        /// Those of them that had been written before, and were passed over.
        passed: u64,
        /// Rows of all batches.
        rows: u64,
        /// Rows whose key was not there.
        inserted: u64,
        /// Rows that took the place of an older one.
        updated: u64,
        /// Rows that changed nothing online.
        stale: u64,
        /// Rows that the history did not have.
        appended: u64,
    }
}
counts! {
    /// What a materialisation has done.
    Materialized {
        /// The rows of the history that it took.
        rows: u64,
        /// Keys that were not online.
        inserted: u64,
        /// Keys whose row online was older.
        updated: u64,
        /// Batches of the run.
        batches: u32,
    }
}
counts! {
    /// What became of a view's partitions.
    Maintained {
        /// Partitions that were made.
        made: Vec<String>,
        /// Partitions that were dropped, with all their rows.
        dropped: Vec<String>,
    }
}
counts! {
    /// What was erased.
    Erased {
        /// Rows of the online table.
        online: u64,
        /// Rows of the history.
        history: u64,
        /// Raw documents.
        raw: u64,
    }
}
counts! {
    /// What became of raw documents that were put.
    Stored {
        /// Documents that are kept from now on.
        stored: u64,
        /// Documents that were known, or stood twice.
        known: u64,
    }
}

impl From<store::Maintained> for Maintained {
    fn from(done: store::Maintained) -> Self {
        Self { made: done.made, dropped: done.dropped }
    }
}

impl From<store::Erased> for Erased {
    fn from(done: store::Erased) -> Self {
        Self { online: done.online, history: done.history, raw: done.raw }
    }
}

/// A finished batch of a load or a materialisation.
#[pyclass(frozen, get_all, module = "cenote")]
pub(crate) struct FinishedBatch {
    /// The load's name, or `materialize` and the transactions that it covers.
    job: String,
    /// Its number, from 0.
    batch: u64,
    /// How many rows it had.
    rows: u64,
    /// When it was committed.
    finished_at: Py<PyAny>,
}

impl FinishedBatch {
    pub(super) fn new(py: Python<'_>, batch: store::FinishedBatch) -> PyResult<Self> {
        let finished_at = keys::datetime(py, batch.finished_at)?.unbind();
        Ok(Self { job: batch.job, batch: batch.batch, rows: batch.rows, finished_at })
    }
}
