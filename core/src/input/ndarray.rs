//! A matrix as a batch: `[rows x columns]` of raw features, as H2O's `score0(double[])` takes them.
//!
//! In flow an `ndarray` view and its columns' names; out flows a [`Batch`] of [`Values::Raw`]: numbers as they are,
//! levels as codes in the model's order, `NaN` where missing. Row-major and column-major matrices are borrowed, others
//! (every second row, reversed axes ...) are copied once. `ndarray`'s types stand only here.

use ndarray::{ArrayView2, CowArray, Ix2};

use super::{Batch, Primitive, Strided, Values};
use crate::error::Error;

/// A matrix in a memory order that a [`Batch`] can borrow.
#[derive(Debug, Clone)]
pub struct Matrix<'a> {
    values: CowArray<'a, f64, Ix2>,
}

impl<'a> From<ArrayView2<'a, f64>> for Matrix<'a> {
    fn from(view: ArrayView2<'a, f64>) -> Self {
        let ordered = view.is_standard_layout() || view.t().is_standard_layout();
        Self { values: if ordered { view.into() } else { view.as_standard_layout().into_owned().into() } }
    }
}

impl Matrix<'_> {
    /// Calls the columns by `names`, from the first; for a model's own order these are the names of
    /// `model.schema().input_columns()`.
    ///
    /// # Errors
    /// If there are more names than columns or fewer, or a name comes twice.
    pub fn batch<'b>(&'b self, names: impl IntoIterator<Item = &'b str>) -> Result<Batch<'b>, Error> {
        let (rows, width) = self.values.dim();
        let mut batch = Batch::new(rows);
        // An axis of length 0 leaves nothing to borrow; the pushes below then count what is there.
        let flat = self.values.as_slice_memory_order().unwrap_or_default();
        let by_row = self.values.is_standard_layout();
        let mut columns = (0..width).map(|column| match rows {
            0 => Strided::from(&flat[..0]),
            _ if by_row => Strided::new(&flat[column..], width),
            _ => Strided::from(&flat[column * rows..(column + 1) * rows]),
        });
        let mut named = 0;
        for name in names {
            named += 1;
            if let Some(values) = columns.next() {
                batch.push(name, Values::Raw(Primitive { values, validity: None }))?;
            }
        }
        if named != width {
            return Err(Error::column_count(named, width));
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array, s};

    use super::*;

    fn columns(view: ArrayView2<'_, f64>) -> Vec<Vec<f64>> {
        let names: Vec<String> = (0..view.ncols()).map(|column| column.to_string()).collect();
        let matrix = Matrix::from(view);
        let batch = matrix.batch(names.iter().map(String::as_str)).unwrap();
        assert_eq!(batch.rows(), view.nrows());
        let values = batch.columns().map(|(_, values)| match values {
            Values::Raw(column) => (0..column.values.len()).map(|row| column.values.get(row)).collect(),
            other => panic!("not raw: {other:?}"),
        });
        values.collect()
    }

    #[test]
    fn every_memory_order_gives_the_same_columns() {
        let by_row = array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]];
        let expected = [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]];
        assert_eq!(columns(by_row.view()), expected);
        let transposed = by_row.t().as_standard_layout().into_owned();
        assert_eq!(columns(transposed.t()), expected);
        assert_eq!(columns(by_row.slice(s![..;2, ..])), [[1.0, 5.0], [2.0, 6.0]]);
        assert_eq!(columns(by_row.slice(s![.., ..;-1])), [[2.0, 4.0, 6.0], [1.0, 3.0, 5.0]]);
    }

    #[test]
    fn empty_matrices_have_no_rows_or_no_columns() {
        assert_eq!(columns(Array2::zeros((0, 2)).view()), [Vec::<f64>::new(), vec![]]);
        assert_eq!(columns(Array2::zeros((3, 0)).view()), Vec::<Vec<f64>>::new());
    }

    #[test]
    fn a_wrong_number_of_names_is_refused() {
        let matrix = array![[1.0, 2.0]];
        let error = Matrix::from(matrix.view()).batch(["a"]).unwrap_err().to_string();
        assert!(error.contains('1') && error.contains('2'), "{error}");
        assert!(Matrix::from(matrix.view()).batch(["a", "b", "c"]).is_err());
        assert!(Matrix::from(matrix.view()).batch(["a", "a"]).is_err());
    }
}
