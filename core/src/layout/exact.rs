//! Whether the sum of a class's leaves is the same in any order, and leaves as whole numbers where it is.
//!
//! Let `u` be the lowest bit that is set in any leaf of the class, so that each leaf, and each sum of leaves, is a multiple of
//! `u`. If no sum of one leaf of each of some trees goes beyond `2^53 u`, each is an `f64`: no addition rounds, whatever the
//! order, and all orders end with the sum as it is in real numbers. Zeros agree too: a sum that begins with `+0.0` never
//! becomes `-0.0`, since only two negative zeros add up to one.

use super::lines::Line;

/// What is known of the leaves of some trees.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SumRange {
    /// The lowest bit that is set in a leaf.
    unit: f64,
    /// The sum of each tree's highest leaf, where that is above 0.
    highest: f64,
    /// The sum of each tree's lowest leaf, where that is below 0.
    lowest: f64,
}

impl SumRange {
    /// Of no trees.
    pub(crate) const EMPTY: Self = Self { unit: f64::INFINITY, highest: 0.0, lowest: 0.0 };

    /// Adds a tree.
    pub(crate) fn add(&mut self, leaves: &[f32]) {
        let (mut highest, mut lowest) = (0.0f32, 0.0f32);
        for leaf in leaves.iter().filter(|leaf| **leaf != 0.0) {
            highest = highest.max(*leaf);
            lowest = lowest.min(*leaf);
            self.unit = self.unit.min(if leaf.is_finite() { lowest_bit(*leaf) } else { 0.0 });
        }
        // A rounded sum is at least a bound that the sum itself is beyond: a sum that is not exact is not taken for one.
        self.highest += f64::from(highest);
        self.lowest += f64::from(lowest);
    }

    /// Whether every sum of leaves, one of each of any of the trees, is an `f64`.
    pub(crate) fn is_exact(&self) -> bool {
        self.highest.max(-self.lowest) < self.unit * 2f64.powi(53)
    }
}

/// Bits of a digit: four of them add up in a byte, and a byte names it among 64 leaves.
pub(crate) const DIGIT: u32 = 6;
/// The most digits of a leaf.
pub(crate) const MAX_DIGITS: usize = 9;
/// The most trees whose digits add up in 16 bits.
pub(crate) const MAX_DIGIT_TREES: usize = u16::MAX as usize / ((1 << DIGIT) - 1);

/// The leaves of some trees as whole numbers of a unit above each tree's least leaf.
#[derive(Debug, Clone)]
pub(crate) struct DigitTables {
    /// For each tree, and each digit from the lowest on, those of 64 leaves.
    lines: Vec<Line>,
    /// Digits of a leaf.
    digits: usize,
    /// What a whole number is multiplied by.
    pub(crate) unit: f64,
    /// The sum of each tree's least leaf.
    pub(crate) least: f64,
}

impl DigitTables {
    /// The tables of trees of at most 6 levels, of each its leaves and how far apart they stand; `None` if their sums are not
    /// exact, or would not be as whole numbers.
    pub(crate) fn new<'a>(
        trees: impl Iterator<Item = (&'a [f32; 64], usize)>,
        range: &SumRange,
    ) -> Option<Self> {
        // Whole numbers are at most as far apart as sums.
        if !range.is_exact() || range.highest - range.lowest >= range.unit * 2f64.powi(53) {
            return None;
        }
        // Where no leaf has a bit, any unit will do.
        let unit = if range.unit.is_finite() { range.unit } else { 1.0 };
        let mut least = 0.0;
        let mut most = 0;
        let numbers: Vec<[u64; 64]> = trees
            .map(|(leaves, apart)| {
                let lowest = leaves.iter().step_by(apart).copied().fold(f32::INFINITY, f32::min);
                least += f64::from(lowest);
                let above = |leaf: f32| ((f64::from(leaf) - f64::from(lowest)) / unit) as u64;
                let mut numbers = [0; 64];
                for (number, leaf) in numbers.iter_mut().zip(leaves).step_by(apart) {
                    *number = above(*leaf);
                    most = most.max(*number);
                }
                numbers
            })
            .collect();
        let digits = (u64::BITS - most.leading_zeros()).div_ceil(DIGIT).max(1) as usize;
        let digit = |numbers: &[u64; 64], at: usize| {
            Line(numbers.map(|number| (number >> (DIGIT as usize * at)) as u8 % (1 << DIGIT)))
        };
        let lines = numbers.iter().flat_map(|numbers| (0..digits).map(|at| digit(numbers, at))).collect();
        Some(Self { lines, digits, unit, least })
    }

    /// Digits of a leaf, 1 to [`MAX_DIGITS`].
    pub(crate) fn digits(&self) -> usize {
        self.digits
    }

    /// For each tree, and each digit from the lowest on, those of 64 leaves.
    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }
}

/// The lowest bit that is set in a number other than 0.
fn lowest_bit(value: f32) -> f64 {
    let bits = value.abs().to_bits();
    // The number is `mantissa * 2^(exponent - 150)`.
    let (mantissa, exponent) = match bits >> 23 {
        0 => (bits, 1),
        exponent => (bits & 0x7f_ffff | 1 << 23, exponent),
    };
    2f64.powi((exponent + mantissa.trailing_zeros()).cast_signed() - 150)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_exact(trees: &[&[f32]]) -> bool {
        let mut range = SumRange::EMPTY;
        trees.iter().for_each(|leaves| range.add(leaves));
        range.is_exact()
    }

    #[test]
    fn the_lowest_bit_of_a_number() {
        for (value, bit) in
            [(1.0, 1.0), (-3.0, 1.0), (12.0, 4.0), (0.15625, 0.03125), (f32::MAX, 2f64.powi(104))]
        {
            assert_eq!(lowest_bit(value), bit, "{value}");
        }
        assert_eq!(lowest_bit(1e-45), 2f64.powi(-149));
        assert_eq!(lowest_bit(-f32::MIN_POSITIVE), 2f64.powi(-126));
        assert_eq!(lowest_bit(f32::MIN_POSITIVE.next_up()), 2f64.powi(-149));
    }

    #[test]
    fn sums_are_exact_below_2_to_the_53_units() {
        let big = 2f32.powi(52);
        assert!(is_exact(&[]) && is_exact(&[&[0.0, -0.0], &[]]));
        assert!(is_exact(&[&[big, 1.0]]));
        assert!(is_exact(&[&[big, 1.0], &[-big]]), "one goes up, one goes down");
        assert!(!is_exact(&[&[big, 1.0], &[big]]));
        assert!(is_exact(&[&[big, 2.0], &[big]]));
        assert!(!is_exact(&[&[-big, 1.0], &[-big]]));
        assert!(is_exact(&[&[1e-45, 1e-30]]));
        assert!(!is_exact(&[&[1e-45, 1.0]]));
        for odd in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            assert!(!is_exact(&[&[1.0, odd, 2.0]]), "{odd}");
        }
    }
}
