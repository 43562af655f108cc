//! Whether the sum of a class's leaves is the same in any order.
//!
//! Let `u` be the lowest bit that is set in any leaf of the class, so that each leaf, and each sum of leaves, is a multiple of
//! `u`. If no sum of one leaf of each of some trees goes beyond `2^53 u`, each is an `f64`: no addition rounds, whatever the
//! order, and all orders end with the sum as it is in real numbers. Zeros agree too: a sum that begins with `+0.0` never
//! becomes `-0.0`, since only two negative zeros add up to one.

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
