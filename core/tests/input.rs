//! What a cell may be: every kind of column means what its text means to H2O, and what it refuses is refused.

use std::path::Path;

use cenote::input::{Codes, Offsets, Primitive, Strided, Text, Validity, Values};
use cenote::{
    Batch, Cell, Error, ErrorKind, MissingColumns, Model, OutputValues, Policy, PredictOptions, Predictions,
    Row,
};

/// A GBM of flights: `carrier`, `origin` and `dest` are categorical, the other columns numeric.
fn flights() -> Model {
    model("gbm_bernoulli")
}

fn model(case: &str) -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/zoo").join(case);
    Model::open(folder.join("model.zip")).expect("a fixture")
}

/// Scores a batch of which only some columns are there.
fn score<'a>(model: &Model, rows: usize, columns: Vec<(&'a str, Values<'a>)>) -> Result<Predictions, Error> {
    let mut options = PredictOptions::default();
    options.missing_columns = MissingColumns::AsMissing;
    score_with(model, rows, columns, &options)
}

fn score_with<'a>(
    model: &Model,
    rows: usize,
    columns: Vec<(&'a str, Values<'a>)>,
    options: &PredictOptions,
) -> Result<Predictions, Error> {
    let mut batch = Batch::new(rows);
    for (name, values) in columns {
        batch.push(name, values)?;
    }
    model.predict_with(&batch, options)
}

fn texts<'a>(cells: &'a [Option<&'a str>]) -> Values<'a> {
    cells.into()
}

fn strict() -> PredictOptions {
    let mut options = PredictOptions::default();
    options.missing_columns = MissingColumns::AsMissing;
    options.policy = Policy::Strict;
    options
}

const CARRIERS: [Option<&str>; 6] = [Some("UA"), Some("nobody"), None, Some("UA"), Some("DL"), Some("ua")];

#[test]
fn text_in_any_layout_is_the_same_column() {
    let model = flights();
    let expected = score(&model, 6, vec![("carrier", texts(&CARRIERS))]).unwrap();
    let data = "UAnobodyUADLua";
    let validity = Some(Validity::new(&[0b1111_0110, 0], 1));
    let short = Text::Packed { offsets: Offsets::I32(&[0, 2, 8, 8, 10, 12, 14]), data, validity };
    let long = Text::Packed { offsets: Offsets::I64(&[0, 2, 8, 8, 10, 12, 14]), data, validity };
    let levels = || Text::Slices(vec![Some("UA"), Some("ua"), None, Some("DL"), Some("nobody")].into());
    let dictionary =
        Values::Dictionary { codes: Codes::I8(&[0, 4, 2, 0, 3, 1]), validity: None, levels: levels() };
    let with_nulls =
        Values::Dictionary { codes: Codes::U64(&[0, 4, u64::MAX, 0, 3, 1]), validity, levels: levels() };
    let cells = CARRIERS.map(|cell| cell.map_or(Cell::Missing, Cell::Text));
    for values in [
        Values::Text(short),
        Values::Text(long),
        dictionary,
        with_nulls,
        Values::Cells(cells.as_slice().into()),
    ] {
        assert_eq!(score(&model, 6, vec![("carrier", values.clone())]).unwrap(), expected, "{values:?}");
    }
}

#[test]
fn a_dictionary_longer_than_the_batch_is_the_same_column() {
    let model = flights();
    let names: Vec<String> = (0..500).map(|at| format!("x{at}")).collect();
    let mut levels: Vec<Option<&str>> = names.iter().map(|name| Some(name.as_str())).collect();
    levels[400] = Some("UA");
    let dictionary = Values::Dictionary {
        codes: Codes::U16(&[400, 0]),
        validity: None,
        levels: Text::Slices(levels.into()),
    };
    let expected = score(&model, 2, vec![("carrier", texts(&[Some("UA"), Some("x0")]))]).unwrap();
    assert_eq!(score(&model, 2, vec![("carrier", dictionary)]).unwrap(), expected);
}

#[test]
fn a_code_outside_of_its_dictionary_is_an_error() {
    for codes in [Codes::I32(&[0, -1]), Codes::I32(&[0, 2]), Codes::U64(&[0, u64::MAX])] {
        let levels = Text::Slices(vec![Some("UA"), Some("DL")].into());
        let column = Values::Dictionary { codes, validity: None, levels };
        let error = score(&flights(), 2, vec![("carrier", column)]).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Cell { row: 1, column, .. } if column == "carrier"),
            "{error}"
        );
    }
}

#[test]
fn numbers_of_any_type_are_the_same_column() {
    let model = flights();
    let expected = score(&model, 3, vec![("hour", texts(&[Some("5"), Some("17"), None]))]).unwrap();
    let validity = Some(Validity::new(&[0b011], 0));
    fn column<'a, T: Copy>(values: &'a [T], validity: Option<Validity<'a>>) -> Primitive<'a, T> {
        Primitive { values: Strided::new(values, 1), validity }
    }
    for values in [
        Values::F64([5.0, 17.0, f64::NAN].as_slice().into()),
        Values::F64(column(&[5.0, 17.0, 9.0], validity)),
        Values::F64(Primitive { values: Strided::new(&[5.0, 0.0, 17.0, 0.0, f64::NAN], 2), validity: None }),
        Values::F32(column(&[5.0, 17.0, 9.0], validity)),
        Values::I8(column(&[5, 17, 9], validity)),
        Values::I16(column(&[5, 17, 9], validity)),
        Values::I32(column(&[5, 17, 9], validity)),
        Values::I64(column(&[5, 17, 9], validity)),
        Values::U8(column(&[5, 17, 9], validity)),
        Values::U16(column(&[5, 17, 9], validity)),
        Values::U32(column(&[5, 17, 9], validity)),
        Values::U64(column(&[5, 17, 9], validity)),
        Values::Raw(column(&[5.0, 17.0, 9.0], validity)),
        texts(&[Some(" 5 "), Some("0x1.1p4"), Some("noon")]),
        Values::Cells([Cell::Integer(5), Cell::Number(17.0), Cell::Missing].as_slice().into()),
        Values::Dictionary {
            codes: Codes::U8(&[1, 0, 2]),
            validity: None,
            levels: Text::Slices(vec![Some("17.0d"), Some("5"), Some("?")].into()),
        },
    ] {
        assert_eq!(score(&model, 3, vec![("hour", values.clone())]).unwrap(), expected, "{values:?}");
    }
}

#[test]
fn a_number_in_a_categorical_column_refuses_its_row_as_h2o_does() {
    let model = flights();
    let found = score(&model, 3, vec![("carrier", [f64::NAN, 1.0, f64::NAN].as_slice().into())]).unwrap();
    let missing = score(&model, 3, vec![]).unwrap();
    assert_eq!(found.errors.len(), 1);
    assert_eq!(found.errors[0].row, 1);
    assert_eq!(found.errors[0].class, "hex.genmodel.easy.exception.PredictUnknownTypeException");
    assert!(found.errors[0].message.ends_with("categorical column carrier"), "{}", found.errors[0]);
    let OutputValues::Number(values) = &found.columns[1].values else { unreachable!() };
    let OutputValues::Number(expected) = &missing.columns[1].values else { unreachable!() };
    assert!(values[1].is_nan());
    assert_eq!((values[0], values[2]), (expected[0], expected[2]));
    let OutputValues::Label { codes, .. } = &found.columns[0].values else { unreachable!() };
    assert_eq!(codes[1], OutputValues::NO_LABEL);

    let error = model.predict_row(&Row::new().with("carrier", 1.0)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Row(row) if row.row == 0), "{error}");
}

#[test]
fn strict_refuses_the_first_cell_that_does_not_fit() {
    let model = flights();
    let hours = [Some("5"), Some("6"), Some("noon"), Some("x")];
    let carriers = [Some("UA"), None, Some("DL"), Some("nobody")];
    let columns = || vec![("hour", texts(&hours)), ("carrier", texts(&carriers))];
    let error = score_with(&model, 4, columns(), &strict()).unwrap_err();
    assert_eq!(error.to_string(), "row 2, column \"hour\": expected a number, found text that is none");
    assert_eq!(score(&model, 4, columns()).unwrap().errors, []);

    let error = score_with(&model, 2, vec![("carrier", texts(&carriers[2..]))], &strict()).unwrap_err();
    assert_eq!(error.to_string(), "row 1, column \"carrier\": expected a level, found an unseen level");
    let error = score_with(&model, 1, vec![("dest", [0.0].as_slice().into())], &strict()).unwrap_err();
    assert_eq!(error.to_string(), "row 0, column \"dest\": expected a level, found a number");
    assert!(score_with(&model, 1, vec![("hour", texts(&[Some(" 0x1p3 ")]))], &strict()).is_ok());
}

#[test]
fn strict_finds_the_first_cell_of_many_blocks() {
    let mut hours = vec![Some("5"); 5000];
    hours[4999] = Some("b");
    hours[3001] = Some("a");
    let error = score_with(&flights(), 5000, vec![("hour", texts(&hours))], &strict()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Cell { row: 3001, .. }), "{error}");
}

#[test]
fn a_missing_column_is_named_with_what_came() {
    let model = flights();
    let mut batch = Batch::new(1);
    batch.push("carrier", texts(&[Some("UA")])).unwrap();
    batch.push("speed", texts(&[Some("1")])).unwrap();
    let error = model.predict(&batch).unwrap_err();
    let ErrorKind::MissingColumns { missing, found } = error.kind() else { panic!("{error}") };
    assert_eq!(found, &["carrier", "speed"]);
    let needed: Vec<&str> = model.input_names().filter(|name| *name != "carrier").collect();
    assert_eq!(missing, &needed);
    let Err(error) = model.bind(&["carrier"], &PredictOptions::default()) else { panic!("bound") };
    assert!(matches!(error.kind(), ErrorKind::MissingColumns { .. }));
}

#[test]
fn an_empty_batch_has_empty_columns() {
    let found = score(&flights(), 0, vec![]).unwrap();
    assert_eq!(found.rows, 0);
    let names: Vec<&str> = found.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["predict", "No", "Yes"]);
    assert_eq!(flights().output_names().collect::<Vec<_>>(), names);
}

#[test]
fn an_offset_that_is_missing_or_no_number_is_zero() {
    let model = model("gbm_offset_poisson");
    assert_eq!(model.offset_column(), Some("off"));
    let offsets =
        [Some("0"), None, Some("?"), Some("-0.0"), Some("1"), Some("NaN"), Some("1e5"), Some(" 1d ")];
    let found = score(&model, 8, vec![("off", texts(&offsets))]).unwrap();
    let OutputValues::Number(values) = &found.columns[0].values else { unreachable!() };
    assert_eq!([values[1]; 3], [values[0], values[2], values[3]]);
    assert!(values[4] > values[0] && values[4] == values[7]);
    assert!(values[5].is_nan());
    assert_eq!(values[6], 1e19);
    for (at, offset) in offsets.iter().enumerate() {
        let one = model.predict_row(&Row::new().with("off", *offset)).unwrap();
        let OutputValues::Number(one) = &one.columns[0].values else { unreachable!() };
        assert_eq!(one[0].to_bits(), values[at].to_bits());
    }
    let numbers = [0.0, f64::NAN, 1.0];
    let found = score(&model, 3, vec![("off", numbers.as_slice().into())]).unwrap();
    let OutputValues::Number(own) = &found.columns[0].values else { unreachable!() };
    assert_eq!((own[0], own[2]), (values[0], values[4]));
    assert!(own[1].is_nan());
}

/// For one-hot columns a missing cell and an unseen level differ.
#[test]
fn the_encodings_tell_absent_from_unseen() {
    let model = model("gbm_enc_onehotexplicit_multi");
    let mut features = vec![0.0; model.n_features()];
    let bound = model.bind(&["island", "body_mass_g"], &{
        let mut options = PredictOptions::default();
        options.missing_columns = MissingColumns::AsMissing;
        options
    });
    let bound = bound.unwrap();
    bound.encode([Cell::Text("Dream"), Cell::Text("1e3")], &mut features).unwrap();
    assert_eq!(features[3..8], [1000.0, 0.0, 1.0, 0.0, 0.0]);
    assert!(features[0].is_nan() && features[8].is_nan());
    bound.encode([Cell::Text("Atlantis")], &mut features).unwrap();
    assert_eq!(features[4..8], [0.0, 0.0, 0.0, 1.0]);
    bound.encode([Cell::Number(f64::NAN)], &mut features).unwrap();
    assert_eq!(features[4..8], [0.0, 0.0, 0.0, 1.0]);
    bound.encode([Cell::Missing], &mut features).unwrap();
    assert!(features.iter().all(|feature| feature.is_nan()));
}

#[test]
fn threads_and_pools_change_no_bit() {
    let model = flights();
    let hours: Vec<f64> = (0..20_000).map(|row| f64::from(row % 25)).collect();
    let run = || score(&model, hours.len(), vec![("hour", hours.as_slice().into())]).unwrap();
    let expected = run();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(pool.install(run), expected);
}
