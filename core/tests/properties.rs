//! Random forests and GLMs: what the compiled scorers say has the reference's bits, whatever the rows and their number.

mod random;

use cenote::input::Values;
use cenote::mojo::Artifact;
use cenote::{Batch, LeafAssignment, Model, OutputValues, PredictOptions, Predictions, reference};
use proptest::prelude::*;
use random::{forest, glm, rows};

/// The columns of raw rows, and the offsets: the first value of each row, if it is modest.
fn columns(artifact: &Artifact, rows: &[Vec<f64>]) -> (Vec<Vec<f64>>, Vec<f64>) {
    let features = (0..artifact.schema.features.len()).map(|at| rows.iter().map(|row| row[at % 8]).collect());
    let offsets = rows.iter().map(|row| if row[0].abs() < 10.0 { row[0] } else { 0.0 });
    (features.collect(), offsets.collect())
}

fn batch<'a>(artifact: &'a Artifact, columns: &'a [Vec<f64>], offsets: &'a [f64]) -> Batch<'a> {
    let mut batch = Batch::new(offsets.len());
    for (feature, column) in artifact.schema.features.iter().zip(columns) {
        batch.push(feature.name.as_str(), Values::Raw(column.as_slice().into())).expect("distinct names");
    }
    batch.push("offset", offsets.into()).expect("a column of its own");
    batch
}

fn bits(values: &OutputValues, row: usize) -> u64 {
    match values {
        OutputValues::Number(values) if values[row].is_nan() => f64::NAN.to_bits(),
        OutputValues::Number(values) => values[row].to_bits(),
        OutputValues::Label { codes, .. } => u64::from(codes[row]),
        OutputValues::Integer(values) => values[row] as u64,
        _ => unreachable!("no other values"),
    }
}

fn canonical(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

fn row_of(found: &Predictions, row: usize) -> Vec<u64> {
    found.columns.iter().map(|column| bits(&column.values, row)).collect()
}

fn check_predictions(artifact: &Artifact, rows: &[Vec<f64>]) -> Result<(), TestCaseError> {
    let model = Model::from_artifact(artifact.clone()).expect("a supported model");
    let (columns, offsets) = columns(artifact, rows);
    let found = model.predict(&batch(artifact, &columns, &offsets)).expect("predictions");
    prop_assert_eq!(found.rows, rows.len());
    let mut numbers = vec![0.0; model.n_numbers()];
    for (row, offset) in offsets.iter().enumerate() {
        let features: Vec<f64> = columns.iter().map(|column| column[row]).collect();
        // A negative zero is no offset to H2O.
        let offset = offset + 0.0;
        let refused = found.errors.iter().find(|error| error.row == row);
        let alone = model.predict_raw(&features, offset, &mut numbers);
        match reference::score(artifact, &features, offset) {
            Ok(answer) => {
                prop_assert_eq!(refused, None);
                let label = answer.label.map(u64::from).into_iter();
                let expected: Vec<u64> = label.chain(answer.numbers.iter().map(|n| canonical(*n))).collect();
                prop_assert_eq!(row_of(&found, row), expected, "row {:?}", features);
                prop_assert_eq!(alone.expect("a row by itself"), answer.label);
                let own: Vec<u64> = numbers.iter().map(|n| canonical(*n)).collect();
                prop_assert_eq!(own, answer.numbers.iter().map(|n| canonical(*n)).collect::<Vec<_>>());
            }
            Err(error) => {
                let refused = refused.map(|own| (own.class, own.message.clone()));
                prop_assert_eq!(refused, Some((error.class, error.message)));
                prop_assert!(alone.is_err());
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn forests_score_as_the_reference_does(artifact in forest(), rows in rows()) {
        check_predictions(&artifact, &rows)?;
    }

    #[test]
    fn glms_score_as_the_reference_does(artifact in glm(), rows in rows()) {
        check_predictions(&artifact, &rows)?;
    }

    #[test]
    fn sums_of_trees_are_the_references(artifact in forest(), rows in rows()) {
        let model = Model::from_artifact(artifact.clone()).expect("a supported model");
        let (columns, offsets) = columns(&artifact, &rows);
        let found = model.tree_sums(&batch(&artifact, &columns, &offsets), &PredictOptions::default()).expect("sums");
        for row in 0..rows.len() {
            let features: Vec<f64> = columns.iter().map(|column| column[row]).collect();
            match reference::tree_sums(&artifact, &features) {
                Ok(expected) => {
                    let expected: Vec<u64> = expected.iter().map(|value| canonical(*value)).collect();
                    prop_assert_eq!(row_of(&found, row), expected);
                }
                Err(error) => {
                    let own = found.errors.iter().find(|own| own.row == row).map(|own| own.class);
                    prop_assert_eq!(own, Some(error.class));
                }
            }
        }
    }

    #[test]
    fn leaves_and_stages_are_the_references(artifact in forest(), rows in rows()) {
        let model = Model::from_artifact(artifact.clone()).expect("a supported model");
        let (columns, offsets) = columns(&artifact, &rows);
        let batch = batch(&artifact, &columns, &offsets);
        let options = PredictOptions::default();
        let staged = model.staged_probabilities(&batch, &options).expect("stages");
        let paths = model.leaf_assignments(&batch, LeafAssignment::Path, &options);
        let ids = model.leaf_assignments(&batch, LeafAssignment::NodeId, &options);
        let hundredths = artifact.manifest.mojo_version.hundredths;
        prop_assert_eq!((paths.is_ok(), ids.is_ok()), (hundredths >= 20, hundredths >= 30));
        for row in 0..rows.len() {
            let features: Vec<f64> = columns.iter().map(|column| column[row]).collect();
            match reference::staged(&artifact, &features) {
                Ok(expected) => {
                    let expected: Vec<u64> = expected.iter().map(|value| canonical(*value)).collect();
                    prop_assert_eq!(row_of(&staged, row), expected);
                }
                Err(error) => {
                    let own = staged.errors.iter().find(|own| own.row == row).map(|own| own.class);
                    prop_assert_eq!(own, Some(error.class));
                }
            }
            let (Ok(paths), Ok(ids)) = (&paths, &ids) else { continue };
            for (tree, (path, id)) in reference::leaves(&artifact, &features).iter().enumerate() {
                let OutputValues::Label { codes, domain } = &paths.columns[tree].values else { unreachable!() };
                prop_assert_eq!(domain.get(codes[row] as usize), path.as_ref());
                prop_assert_eq!(bits(&ids.columns[tree].values, row) as i32, *id);
            }
        }
    }
}
