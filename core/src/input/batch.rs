//! A batch of borrowed columns.

use std::borrow::Cow;
use std::ops::Range;

use super::row::Cell;
use crate::error::Error;
use crate::kernels::fetch_near;

/// Which cells of a column are present: an Arrow validity bitmap, lowest bit first, a set bit meaning present.
#[derive(Debug, Clone, Copy)]
pub struct Validity<'a> {
    bits: &'a [u8],
    offset: usize,
}

impl<'a> Validity<'a> {
    /// A bitmap whose first cell is bit `offset` of `bits`.
    pub fn new(bits: &'a [u8], offset: usize) -> Self {
        Self { bits, offset }
    }

    /// Whether cell `index` is present. Past the end of the bitmap a cell is missing.
    pub fn is_valid(&self, index: usize) -> bool {
        let bit = self.offset + index;
        self.bits.get(bit >> 3).is_some_and(|byte| byte >> (bit & 7) & 1 == 1)
    }

    /// Calls `each` with every missing cell of `rows`, ascending: a byte of present cells costs one look.
    pub(crate) fn for_missing(&self, rows: Range<usize>, mut each: impl FnMut(usize)) {
        let mut row = rows.start;
        while row < rows.end {
            let (byte, bit) = ((self.offset + row) >> 3, (self.offset + row) & 7);
            let count = (8 - bit).min(rows.end - row);
            let present = u32::from(self.bits.get(byte).copied().unwrap_or_default()) >> bit;
            let mut missing = !present & ((1 << count) - 1);
            while missing != 0 {
                each(row + missing.trailing_zeros() as usize);
                missing &= missing - 1;
            }
            row += count;
        }
    }
}

/// Values that stand a fixed number of elements apart: a column of a row-major matrix, or a plain slice.
#[derive(Debug, Clone, Copy)]
pub struct Strided<'a, T> {
    values: &'a [T],
    step: usize,
}

impl<'a, T: Copy> Strided<'a, T> {
    /// Every `step`-th element of `values`, from the first; `step` 1 is the slice itself.
    ///
    /// # Panics
    /// If `step` is 0.
    pub fn new(values: &'a [T], step: usize) -> Self {
        assert!(step > 0, "a step of 0 names one element for ever");
        Self { values, step }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.values.len().div_ceil(self.step)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Element `index`.
    ///
    /// # Panics
    /// If `index >= len()`.
    #[inline]
    pub fn get(&self, index: usize) -> T {
        self.values[index * self.step]
    }

    /// Copies the elements from `first` on, and asks for as many that follow if `ahead`: rows of a matrix are longer than a line of
    /// the cache, and one column in eight brings the others with it.
    pub(crate) fn copy_to(&self, first: usize, out: &mut [T], ahead: bool) {
        let further = out.len() * self.step;
        for (out, at) in out.iter_mut().zip((first * self.step..self.values.len()).step_by(self.step)) {
            if ahead {
                fetch_near(self.values.as_ptr().wrapping_add(at + further));
            }
            *out = self.values[at];
        }
    }

    /// The elements as one slice, if they are contiguous.
    pub fn as_slice(&self) -> Option<&'a [T]> {
        (self.step == 1).then_some(self.values)
    }
}

impl<'a, T: Copy> From<&'a [T]> for Strided<'a, T> {
    fn from(values: &'a [T]) -> Self {
        Self::new(values, 1)
    }
}

/// Fixed-width values with their validity.
#[derive(Debug, Clone, Copy)]
pub struct Primitive<'a, T> {
    /// One value a row; what stands at a missing cell is never read.
    pub values: Strided<'a, T>,
    /// Which cells are present; `None` means all.
    pub validity: Option<Validity<'a>>,
}

impl<'a, T: Copy> From<&'a [T]> for Primitive<'a, T> {
    fn from(values: &'a [T]) -> Self {
        Self { values: values.into(), validity: None }
    }
}

/// Where each string of an Arrow string column begins: `rows + 1` byte offsets.
#[derive(Debug, Clone, Copy)]
pub enum Offsets<'a> {
    /// Arrow `Utf8`.
    I32(&'a [i32]),
    /// Arrow `LargeUtf8`.
    I64(&'a [i64]),
}

/// Strings, one a row.
#[derive(Debug, Clone)]
pub enum Text<'a> {
    /// Arrow's layout: offsets into one buffer.
    Packed {
        /// Byte offsets, ascending and within `data`.
        offsets: Offsets<'a>,
        /// All strings, one after another.
        data: &'a str,
        /// Which cells are present; `None` means all.
        validity: Option<Validity<'a>>,
    },
    /// One slice a row, `None` where missing.
    Slices(Cow<'a, [Option<&'a str>]>),
}

/// The codes of a dictionary column. A negative or too large code of a present cell is an error.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "named by type")]
pub enum Codes<'a> {
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
}

/// One column's values.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(missing_docs, reason = "named by type")]
pub enum Values<'a> {
    F64(Primitive<'a, f64>),
    F32(Primitive<'a, f32>),
    I8(Primitive<'a, i8>),
    I16(Primitive<'a, i16>),
    I32(Primitive<'a, i32>),
    I64(Primitive<'a, i64>),
    U8(Primitive<'a, u8>),
    U16(Primitive<'a, u16>),
    U32(Primitive<'a, u32>),
    U64(Primitive<'a, u64>),
    /// Booleans a byte each.
    Bool(Primitive<'a, bool>),
    Text(Text<'a>),
    /// Codes into a dictionary of strings; a null entry of the dictionary makes its cells missing.
    Dictionary {
        codes: Codes<'a>,
        validity: Option<Validity<'a>>,
        levels: Text<'a>,
    },
    /// Level codes in the model's own order, H2O's raw row: the code itself for a categorical column (`NaN` missing).
    /// Where an encoding makes other features of a column, the code of its level there; what is none is not available.
    Raw(Primitive<'a, f64>),
    /// Cells that may differ in kind, as rows of JSON or of Python objects give them; each means what it means in a
    /// [`Row`](super::Row).
    Cells(Cow<'a, [Cell<'a>]>),
    /// A column in which every cell is missing.
    Missing,
}

/// A batch of rows by column, borrowed from the caller.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    rows: usize,
    columns: Vec<(Cow<'a, str>, Values<'a>)>,
}

impl<'a> Batch<'a> {
    /// An empty set of columns for `rows` rows.
    pub fn new(rows: usize) -> Self {
        Self { rows, columns: Vec::new() }
    }

    /// Adds a column.
    ///
    /// # Errors
    /// If its length is not the batch's number of rows, or a column of that name is there already.
    pub fn push(&mut self, name: impl Into<Cow<'a, str>>, values: Values<'a>) -> Result<(), Error> {
        let name = name.into();
        if let Some(found) = values.len()
            && found != self.rows
        {
            return Err(Error::column_length(&name, self.rows, found));
        }
        if self.columns.iter().any(|(other, _)| *other == name) {
            return Err(Error::duplicate_column(&name));
        }
        self.columns.push((name, values));
        Ok(())
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns in the order they were added.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = (&str, &Values<'a>)> {
        self.columns.iter().map(|(name, values)| (name.as_ref(), values))
    }

    /// The column called `name`.
    pub fn column(&self, name: &str) -> Option<&Values<'a>> {
        self.columns.iter().find(|(other, _)| other == name).map(|(_, values)| values)
    }
}

impl Text<'_> {
    /// How many strings there are.
    pub fn len(&self) -> usize {
        match self {
            Text::Packed { offsets: Offsets::I32(offsets), .. } => offsets.len().saturating_sub(1),
            Text::Packed { offsets: Offsets::I64(offsets), .. } => offsets.len().saturating_sub(1),
            Text::Slices(slices) => slices.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// String `index`, or `None` if it is missing (also where offsets do not name whole characters of `data`).
    ///
    /// # Panics
    /// If `index >= len()`.
    pub fn get(&self, index: usize) -> Option<&str> {
        match self {
            Text::Packed { offsets, data, validity } => {
                if validity.is_some_and(|validity| !validity.is_valid(index)) {
                    return None;
                }
                let (from, to) = match offsets {
                    Offsets::I32(offsets) => (i64::from(offsets[index]), i64::from(offsets[index + 1])),
                    Offsets::I64(offsets) => (offsets[index], offsets[index + 1]),
                };
                data.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
            }
            Text::Slices(slices) => slices[index],
        }
    }
}

impl Codes<'_> {
    /// How many codes there are.
    pub fn len(&self) -> usize {
        match self {
            Codes::I8(codes) => codes.len(),
            Codes::I16(codes) => codes.len(),
            Codes::I32(codes) => codes.len(),
            Codes::I64(codes) => codes.len(),
            Codes::U8(codes) => codes.len(),
            Codes::U16(codes) => codes.len(),
            Codes::U32(codes) => codes.len(),
            Codes::U64(codes) => codes.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Codes<'_> {
    /// Code `index`; `None` if it is negative.
    fn get(&self, index: usize) -> Option<usize> {
        match self {
            Codes::I8(codes) => codes[index].try_into().ok(),
            Codes::I16(codes) => codes[index].try_into().ok(),
            Codes::I32(codes) => codes[index].try_into().ok(),
            Codes::I64(codes) => codes[index].try_into().ok(),
            Codes::U8(codes) => Some(codes[index].into()),
            Codes::U16(codes) => Some(codes[index].into()),
            Codes::U32(codes) => codes[index].try_into().ok(),
            Codes::U64(codes) => codes[index].try_into().ok(),
        }
    }
}

impl Values<'_> {
    /// How many cells there are; `None` for [`Values::Missing`], which is as long as its batch.
    pub fn len(&self) -> Option<usize> {
        Some(match self {
            Values::F64(column) | Values::Raw(column) => column.values.len(),
            Values::F32(column) => column.values.len(),
            Values::I8(column) => column.values.len(),
            Values::I16(column) => column.values.len(),
            Values::I32(column) => column.values.len(),
            Values::I64(column) => column.values.len(),
            Values::U8(column) => column.values.len(),
            Values::U16(column) => column.values.len(),
            Values::U32(column) => column.values.len(),
            Values::U64(column) => column.values.len(),
            Values::Bool(column) => column.values.len(),
            Values::Text(text) => text.len(),
            Values::Dictionary { codes, .. } => codes.len(),
            Values::Cells(cells) => cells.len(),
            Values::Missing => return None,
        })
    }

    /// Whether there are no cells.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Cell `row`, as a [`Row`](super::Row) would hold it. A raw code comes as a number, and a dictionary code outside
    /// of its dictionary as missing.
    ///
    /// # Panics
    /// If `row` is past the end.
    pub fn cell(&self, row: usize) -> Cell<'_> {
        fn of<'c, T: Copy>(column: &Primitive<'_, T>, row: usize, cell: impl Fn(T) -> Cell<'c>) -> Cell<'c> {
            match column.validity {
                Some(validity) if !validity.is_valid(row) => Cell::Missing,
                _ => cell(column.values.get(row)),
            }
        }
        let integer = |value: i64| Cell::Integer(value);
        match self {
            Values::F64(column) | Values::Raw(column) => of(column, row, Cell::Number),
            Values::F32(column) => of(column, row, |value| Cell::Number(f64::from(value))),
            Values::I8(column) => of(column, row, |value| integer(i64::from(value))),
            Values::I16(column) => of(column, row, |value| integer(i64::from(value))),
            Values::I32(column) => of(column, row, |value| integer(i64::from(value))),
            Values::I64(column) => of(column, row, integer),
            Values::U8(column) => of(column, row, |value| integer(i64::from(value))),
            Values::U16(column) => of(column, row, |value| integer(i64::from(value))),
            Values::U32(column) => of(column, row, |value| integer(i64::from(value))),
            Values::U64(column) => of(column, row, |value| {
                i64::try_from(value).map_or(Cell::Number(value as f64), Cell::Integer)
            }),
            Values::Bool(column) => of(column, row, Cell::Bool),
            Values::Text(text) => text.get(row).map_or(Cell::Missing, Cell::Text),
            Values::Dictionary { codes, validity, levels } => match validity {
                Some(validity) if !validity.is_valid(row) => Cell::Missing,
                _ => match codes.get(row) {
                    Some(code) if code < levels.len() => levels.get(code).map_or(Cell::Missing, Cell::Text),
                    _ => Cell::Missing,
                },
            },
            Values::Cells(cells) => cells[row],
            Values::Missing => Cell::Missing,
        }
    }
}

impl<'a> From<&'a [f64]> for Values<'a> {
    fn from(values: &'a [f64]) -> Self {
        Values::F64(values.into())
    }
}

impl<'a> From<&'a [f32]> for Values<'a> {
    fn from(values: &'a [f32]) -> Self {
        Values::F32(values.into())
    }
}

impl<'a> From<&'a [i64]> for Values<'a> {
    fn from(values: &'a [i64]) -> Self {
        Values::I64(values.into())
    }
}

impl<'a> From<&'a [Option<&'a str>]> for Values<'a> {
    fn from(values: &'a [Option<&'a str>]) -> Self {
        Values::Text(Text::Slices(Cow::Borrowed(values)))
    }
}
