//! Features as Arrow tables: every type, with and without missing cells. Needs no server.

use arrow_array::{Array, RecordBatch, TimestampMicrosecondArray};
use cenote::input::stored::cells;
use cenote::store::{
    FeatureColumn, FeatureSet, FeatureValues as Values, Item, Status, Timestamp, Type, Value,
};

fn column(name: &str, ty: Type, values: Values, validity: u8) -> FeatureColumn {
    FeatureColumn { name: name.to_owned(), ty, values, validity: vec![validity] }
}

/// Three rows of every type; the middle one is missing where `validity` says so.
fn set(validity: u8) -> FeatureSet {
    let (offsets, data) = (vec![0, 2, 2, 5], "-10{}".to_owned());
    let list = Values::List(vec![vec![1i64, 2].into(), Value::Null, Value::List(vec![])]);
    FeatureSet {
        status: vec![Status::Fresh; 3],
        event_ts: vec![Some(Timestamp::from_micros(0)), None, Some(Timestamp::from_micros(1_000_000))],
        columns: vec![
            column("b", Type::Bool, Values::Bool(vec![true, false, true]), validity),
            column("i16", Type::I16, Values::I16(vec![-1, 0, 1]), validity),
            column("i32", Type::I32, Values::I32(vec![-1, 0, 1]), validity),
            column("i64", Type::I64, Values::I64(vec![i64::MIN, 0, 1]), validity),
            column("f32", Type::F32, Values::F32(vec![0.5, 0.25, -0.5]), validity),
            column("f64", Type::F64, Values::F64(vec![0.5, 0.25, -0.5]), validity),
            column("day", Type::Date, Values::Date(vec![0, 1, -1]), validity),
            column(
                "text",
                Type::Text,
                Values::Text { offsets: offsets.clone(), data: data.clone() },
                validity,
            ),
            column(
                "numeric",
                Type::Numeric,
                Values::Numeric { offsets: offsets.clone(), data: data.clone() },
                validity,
            ),
            column("json", Type::Json, Values::Json { offsets, data }, validity),
            column("uuid", Type::Uuid, Values::Uuid(vec![[7; 16]; 3]), validity),
            column("list", Type::List(Item::I64), list, 0b101),
        ],
    }
}

fn row(table: &RecordBatch, row: usize) -> Vec<Option<String>> {
    cells(table).unwrap().into_iter().map(|mut column| column.swap_remove(row)).collect()
}

fn given(cells: [&str; 11]) -> Vec<Option<String>> {
    cells.iter().map(|cell| Some((*cell).to_owned())).collect()
}

#[test]
fn cells_that_are_missing_are_null_and_no_others() {
    let uuid = "07070707-0707-0707-0707-070707070707";
    let table = set(0b101).to_record_batch().unwrap();
    let (first, last) = (row(&table, 0), row(&table, 2));
    let smallest = i64::MIN.to_string();
    let expected = given(["true", "-1", "-1", &smallest, "0.5", "0.5", "1970-01-01", "-1", "-1", "-1", uuid]);
    assert_eq!(first[..11], expected);
    assert_eq!(first[11].as_deref(), Some("[1, 2]"));
    let expected = given(["true", "1", "1", "1", "-0.5", "-0.5", "1969-12-31", "0{}", "0{}", "0{}", uuid]);
    assert_eq!(last[..11], expected);
    assert_eq!(last[11].as_deref(), Some("[]"));
    assert_eq!(row(&table, 1), vec![None; 12]);

    let whole = set(0b111).to_record_batch().unwrap();
    for (index, array) in whole.columns().iter().enumerate().take(11) {
        assert_eq!(array.null_count(), 0, "column {index}");
    }
    let middle = row(&whole, 1);
    assert_eq!(middle[4].as_deref(), Some("0.25"));
    assert_eq!(middle[7].as_deref(), Some(""), "a text without letters is no missing one");
}

#[test]
fn moments_are_microseconds_of_utc() {
    let at = column("at", Type::Timestamp, Values::Timestamp(vec![-1, 0, 1_000_000]), 0b101);
    let table = FeatureSet { columns: vec![at], ..set(0) }.to_record_batch().unwrap();
    let expected =
        TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1_000_000)]).with_timezone("UTC");
    assert_eq!(table.column(0).as_any().downcast_ref(), Some(&expected));
}

#[test]
fn cells_of_a_zone_are_written_in_utc() {
    let at = column("at", Type::Timestamp, Values::Timestamp(vec![-1, 0, 1_500_000]), 0b101);
    let set = FeatureSet { columns: vec![at], ..set(0b111) };
    let table = set.to_record_batch().unwrap();
    let expected = [Some("1969-12-31T23:59:59.999999Z"), None, Some("1970-01-01T00:00:01.500Z")];
    assert_eq!(cells(&table).unwrap()[0].iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
    assert_eq!(cells(&set.to_record_batch_with_status().unwrap()).unwrap()[2][2].as_deref(), expected[2]);
}

#[test]
fn a_table_of_no_rows_has_all_columns() {
    let none = FeatureSet {
        status: vec![],
        event_ts: vec![],
        columns: vec![
            column("f64", Type::F64, Values::F64(vec![]), 0),
            FeatureColumn {
                validity: vec![],
                ..column("text", Type::Text, Values::Text { offsets: vec![0], data: String::new() }, 0)
            },
        ],
    };
    let table = none.to_record_batch_with_status().unwrap();
    assert_eq!((table.num_rows(), table.num_columns()), (0, 4));
}
