//! The columns of a prediction: their names, as H2O calls them, and their kinds.
//!
//! In flow what the file says of its response; out flow names and empty columns, in H2O's order.

use cenote_mojo::{Artifact, Category, Domain};

use crate::compile::EngineOptions;
use crate::predictions::{OutputColumn, OutputValues};
use crate::score::forest::Finish;

/// The name of the column of labels, or of the prediction.
pub(super) const PREDICT: &str = "predict";

/// What a prediction's columns are.
#[derive(Debug)]
pub(super) struct Outputs {
    /// The levels of the column `predict`, if it is one of labels.
    pub(super) labels: Option<Domain>,
    /// The names of the columns of numbers, which follow it.
    pub(super) numbers: Vec<String>,
}

impl Outputs {
    /// Mirrors `GenModel.getOutputNames` and its overrides.
    pub(super) fn new(artifact: &Artifact) -> Self {
        let domain = artifact.schema.response.as_ref().and_then(|response| response.domain.clone());
        if artifact.manifest.category == Category::Regression {
            return Self { labels: None, numbers: vec![PREDICT.to_owned()] };
        }
        let (labels, mut numbers) = match domain {
            Some(labels) => {
                let names = labels.iter().map(|label| class_name(label)).collect::<Vec<_>>();
                (labels, names)
            }
            // A response of 0 and 1 that H2O never took for a factor.
            None => {
                let names = match artifact.body {
                    cenote_mojo::Body::Gbm(_) => ["pVal0", "pVal1"],
                    _ => ["0", "1"],
                };
                (Domain::from(["0".to_owned(), "1".to_owned()]), names.map(str::to_owned).to_vec())
            }
        };
        if Finish::new(artifact, &EngineOptions::default())
            .is_ok_and(|finish| finish.numbers() > numbers.len())
        {
            numbers.extend_from_within(..);
            numbers[2..].iter_mut().for_each(|name| name.insert_str(0, "cal_"));
        }
        Self { labels: Some(labels), numbers }
    }

    /// Empty columns for that many rows.
    pub(super) fn columns(&self, rows: usize) -> Vec<OutputColumn> {
        let label = self.labels.iter().map(|domain| OutputColumn {
            name: PREDICT.to_owned(),
            values: OutputValues::Label { codes: vec![0; rows], domain: domain.clone() },
        });
        let numbers = self
            .numbers
            .iter()
            .map(|name| OutputColumn { name: name.clone(), values: OutputValues::Number(vec![0.0; rows]) });
        label.chain(numbers).collect()
    }
}

/// The name of a class's probability: `p` before a label that reads as a Java `int`, else the label.
fn class_name(label: &str) -> String {
    if label.parse::<i32>().is_ok() { format!("p{label}") } else { label.to_owned() }
}
