//! Linear predictors: products of columns and coefficients, and coefficients of levels, added to a sum a row.
//!
//! One body for every instruction set, of which the compiler makes the twins: a row's sum takes its terms in order, each
//! product rounded before it is added, so that no width changes a bit.

use super::Isa;

/// How many columns are read in one pass over the sums.
pub(crate) const TERMS: usize = 4;

/// Some columns, each with its coefficient and what stands for `NaN` in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Products<'a, const N: usize> {
    pub(crate) columns: [&'a [f64]; N],
    pub(crate) coefficients: [f64; N],
    pub(crate) missing: [f64; N],
}

/// Where the codes of a categorical column stand in its table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slots {
    /// Of a code that has no coefficient, from this code on.
    pub(crate) beyond: u32,
    /// Of a missing value, if that does not stop the row.
    pub(crate) missing: Option<u32>,
}

/// Codes from here on are left to the scalar rules, for Java's `int` may overflow.
const LARGE: f64 = (1 << 30) as f64;
/// Added to a number below `2^52`, its low bits are the number rounded to a whole one.
const WHOLE: f64 = (1_u64 << 52) as f64;

#[inline(always)]
fn add<const N: usize>(products: &Products<'_, N>, sums: &mut [f64]) {
    let columns = products.columns.map(|column| &column[..sums.len()]);
    for (row, sum) in sums.iter_mut().enumerate() {
        for ((column, coefficient), missing) in
            columns.iter().zip(products.coefficients).zip(products.missing)
        {
            let value = if column[row].is_nan() { missing } else { column[row] };
            *sum += coefficient * value;
        }
    }
}

#[inline(always)]
fn slots(slots: Slots, values: &[f64], found: &mut [u32], odd: &mut [u8]) {
    let (missing, missing_fits) = (slots.missing.unwrap_or_default(), slots.missing.is_some());
    for ((value, found), odd) in values.iter().zip(found).zip(odd) {
        let shifted = value + WHOLE;
        let fits = (shifted - WHOLE == *value) & (*value >= 0.0) & (*value < LARGE);
        let is_missing = value.is_nan();
        let code = (shifted.to_bits() as u32).min(slots.beyond);
        *found = if is_missing { missing } else { code };
        *odd |= u8::from(!(fits | (is_missing & missing_fits)));
    }
}

/// The twins of both, which differ in the instructions that they may use.
macro_rules! twins {
    ($module:ident, $features:literal) => {
        #[cfg(target_arch = "x86_64")]
        mod $module {
            use super::{Products, Slots};

            #[target_feature(enable = $features)]
            pub(super) fn add<const N: usize>(products: &Products<'_, N>, sums: &mut [f64]) {
                super::add(products, sums);
            }

            #[target_feature(enable = $features)]
            pub(super) fn slots(slots: Slots, values: &[f64], found: &mut [u32], odd: &mut [u8]) {
                super::slots(slots, values, found, odd);
            }
        }
    };
}

twins!(avx2, "avx2");
twins!(avx512, "avx512f,avx512bw,avx512dq,avx512vl");

impl Isa {
    /// Adds each column's product to the rows' sums, columns ascending.
    ///
    /// # Panics
    /// If a column is shorter than the sums.
    pub(crate) fn add_products<const N: usize>(self, products: &Products<'_, N>, sums: &mut [f64]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features.
            Isa::Avx512(_) => unsafe { avx512::add(products, sums) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features.
            Isa::Avx2(_) => unsafe { avx2::add(products, sums) },
            _ => add(products, sums),
        }
    }

    /// Finds the place in a column's table of each value's code, and marks the rows whose value is no code: what is found
    /// for these means nothing.
    pub(crate) fn slots(self, slots: Slots, values: &[f64], found: &mut [u32], odd: &mut [u8]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features.
            Isa::Avx512(_) => unsafe { avx512::slots(slots, values, found, odd) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features.
            Isa::Avx2(_) => unsafe { avx2::slots(slots, values, found, odd) },
            _ => self::slots(slots, values, found, odd),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGES: [f64; 18] = [
        f64::NAN,
        0.0,
        -0.0,
        1.0,
        2.0,
        3.0,
        4.0,
        2.5,
        -1.0,
        -0.5,
        1e-300,
        1073741823.0,
        1073741824.0,
        2147483647.0,
        4503599627370497.0,
        1e300,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];

    #[test]
    fn every_set_finds_the_slots_of_codes_and_marks_the_rest() {
        for isa in Isa::available() {
            for missing in [None, Some(3)] {
                for length in 0..EDGES.len() {
                    let (mut found, mut odd) = (vec![9; length], vec![0; length]);
                    isa.slots(Slots { beyond: 4, missing }, &EDGES[..length], &mut found, &mut odd);
                    for (at, value) in EDGES[..length].iter().enumerate() {
                        let code = *value as i32;
                        let is_code = f64::from(code) == *value && (0..1 << 30).contains(&code);
                        let expected = match (value.is_nan(), is_code) {
                            (true, _) => missing,
                            (_, true) => Some((code as u32).min(4)),
                            _ => None,
                        };
                        assert_eq!((odd[at] == 0).then(|| found[at]), expected, "{value} by {}", isa.name());
                    }
                }
            }
        }
    }

    #[test]
    fn every_set_adds_products_in_order() {
        let columns: [Vec<f64>; TERMS] =
            std::array::from_fn(|term| (0..67).map(|row| 0.1 + (row * 7 + term * 3) as f64 / 9.0).collect());
        let mut columns = columns;
        columns[1][5] = f64::NAN;
        columns[2][66] = f64::INFINITY;
        let products = Products {
            columns: columns.each_ref().map(Vec::as_slice),
            coefficients: [0.3, -1.7, 1e-3, 11.0],
            missing: [0.0, 0.7, f64::NAN, 0.0],
        };
        for isa in Isa::available() {
            for length in 0..=67 {
                let mut sums = vec![0.1; length];
                isa.add_products(&products, &mut sums);
                for (row, sum) in sums.iter().enumerate() {
                    let mut expected = 0.1;
                    for (term, column) in columns.iter().enumerate() {
                        let value = if column[row].is_nan() { products.missing[term] } else { column[row] };
                        expected += products.coefficients[term] * value;
                    }
                    assert_eq!(sum.to_bits(), expected.to_bits(), "row {row} by {}", isa.name());
                }
            }
        }
    }
}
