//! A column's thresholds, arranged so that the rank of a value among them is found without a search.
//!
//! The rank of `x` is the number of distinct thresholds `t` with `x >= t`, compared as `f64`; comparing ranks is then
//! comparing values, exactly. `f64` values are first rounded to `f32` toward minus infinity, which changes no answer
//! because thresholds are `f32`.
//!
//! Thresholds lie in buckets of equal width, `bucket(x) = (x - origin) * scale` in `f32` arithmetic. Every step of that
//! is monotone however it rounds, so a threshold of an earlier bucket is at most `x` and one of a later bucket is above
//! it; only among the bucket's own thresholds is searched, in as many halvings as the fullest bucket needs.

use std::sync::Arc;

/// The distinct thresholds of one column.
#[derive(Debug, Clone)]
pub(crate) struct RankTable {
    /// Ascending and distinct, then as many NaN as a search may run over.
    thresholds: Vec<f32>,
    /// How many there are without those NaN.
    count: usize,
    /// Where in `thresholds` each bucket begins.
    starts: Vec<u16>,
    origin: f32,
    scale: f32,
    halvings: u32,
}

/// `value` rounded to `f32` toward minus infinity.
#[inline]
pub(crate) fn floor32(value: f64) -> f32 {
    let near = value as f32;
    // One step down without a branch, which nothing could predict. The sign of a zero is that of the value.
    let bits = near.to_bits().cast_signed();
    let down = if bits < 0 { 1 } else { -1 };
    f32::from_bits((bits + down * i32::from(f64::from(near) > value)).cast_unsigned())
}

impl RankTable {
    /// A table of `thresholds` in any order, also repeated; NaN among them are dropped, as no value is at least NaN.
    #[cfg(test)]
    pub(crate) fn new(mut thresholds: Vec<f32>) -> Option<Self> {
        thresholds.retain(|threshold| !threshold.is_nan());
        // Adding 0 makes -0 into +0: they are one threshold.
        thresholds.iter_mut().for_each(|threshold| *threshold += 0.0);
        thresholds.sort_unstable_by(f32::total_cmp);
        thresholds.dedup();
        Self::of_sorted(thresholds)
    }

    /// A table of `thresholds` that ascend, without NaN and -0. `None` if there are so many that a rank, or the code after the last,
    /// has more than 16 bits.
    pub(crate) fn of_sorted(thresholds: Vec<f32>) -> Option<Self> {
        let count = thresholds.len();
        if count >= usize::from(u16::MAX) {
            return None;
        }
        let finite = || thresholds.iter().copied().filter(|threshold| threshold.is_finite());
        let (origin, last) = (finite().next().unwrap_or(0.0), finite().next_back().unwrap_or(0.0));
        let mut buckets = (2 * count.next_power_of_two()).clamp(16, 1 << 14);
        let mut scale = buckets as f32 / (last - origin);
        if !(scale.is_finite() && scale > 0.0) {
            (buckets, scale) = (1, 0.0);
        }
        let mut table = Self { thresholds, count, starts: vec![0; buckets + 1], origin, scale, halvings: 0 };
        for index in 0..count {
            let bucket = table.bucket(table.thresholds[index]);
            table.starts[bucket + 1] += 1;
        }
        let fullest = table.starts.iter().copied().max().unwrap_or(0);
        table.halvings = u16::BITS - fullest.leading_zeros();
        for bucket in 0..buckets {
            table.starts[bucket + 1] += table.starts[bucket];
        }
        table.thresholds.extend(std::iter::repeat_n(f32::NAN, 1 << table.halvings));
        table.thresholds.shrink_to_fit();
        Some(table)
    }

    /// The thresholds, ascending.
    #[cfg(test)]
    pub(crate) fn thresholds(&self) -> &[f32] {
        &self.thresholds[..self.count]
    }

    /// The thresholds, ascending, and then `2^halvings` NaN.
    pub(crate) fn padded(&self) -> &[f32] {
        &self.thresholds
    }

    /// Where each bucket begins in [`Self::padded`], and where the last one ends.
    pub(crate) fn starts(&self) -> &[u16] {
        &self.starts
    }

    /// How many halvings find a rank from a bucket's begin on: each bucket has fewer than `2^halvings` thresholds.
    pub(crate) fn halvings(&self) -> u32 {
        self.halvings
    }

    /// Origin and scale of the buckets.
    pub(crate) fn line(&self) -> (f32, f32) {
        (self.origin, self.scale)
    }

    /// The code of a missing value: above every rank.
    pub(crate) fn missing(&self) -> usize {
        self.count + 1
    }

    /// The bucket of a value.
    #[inline]
    pub(crate) fn bucket(&self, value: f32) -> usize {
        let at = (value - self.origin) * self.scale;
        // The cast saturates: below the origin is 0; infinity times 0 is NaN, which is 0.
        (at as usize).min(self.starts.len() - 2)
    }

    /// The rank of `value`; [`Self::missing`] if NaN.
    #[inline]
    pub(crate) fn rank(&self, value: f64) -> usize {
        if value.is_nan() {
            return self.missing();
        }
        let value = floor32(value);
        self.rank_from(self.starts[self.bucket(value)] as usize, value)
    }

    /// The rank of `value` from the begin of its bucket on; of NaN the begin.
    #[inline]
    pub(crate) fn rank_from(&self, begin: usize, value: f32) -> usize {
        let mut rank = begin;
        for halving in (0..self.halvings).rev() {
            // Shifted, not multiplied: that would become a branch, which nothing can predict.
            rank += usize::from(self.thresholds[rank + (1 << halving) - 1] <= value) << halving;
        }
        rank
    }
}

/// The tables of a forest's columns eight side by side, for kernels that rank one row.
///
/// Kernels read the tables by their addresses, which hold because the tables are never changed, and live as long as this.
#[derive(Debug)]
pub(crate) struct RowRanks {
    tables: Vec<Option<(usize, Arc<RankTable>)>>,
    eights: Vec<EightRanks>,
    features: usize,
}

/// What ranks eight columns; those that have no table are not [`Self::there`], and have zeros.
#[derive(Debug, Clone, Default)]
#[repr(C, align(64))]
pub(crate) struct EightRanks {
    /// The address of the first of [`RankTable::padded`].
    pub(crate) thresholds: [u64; 8],
    /// The address of the first of [`RankTable::starts`].
    pub(crate) starts: [u64; 8],
    pub(crate) origins: [f32; 8],
    pub(crate) scales: [f32; 8],
    /// The last bucket.
    pub(crate) lasts: [f32; 8],
    pub(crate) halvings: [i32; 8],
    pub(crate) missing: [i32; 8],
    /// Where a row has the value.
    pub(crate) features: [i32; 8],
    /// -1 for a column that has a table.
    pub(crate) there: [i32; 8],
    /// The most of `halvings`.
    pub(crate) most: i32,
}

impl RowRanks {
    /// Of each column its place in a row and its table, if it has one.
    pub(crate) fn new(tables: Vec<Option<(usize, Arc<RankTable>)>>) -> Self {
        let mut eights = vec![EightRanks::default(); tables.len().div_ceil(8)];
        let mut features = 0;
        for (index, (feature, table)) in
            tables.iter().enumerate().filter_map(|(index, table)| Some((index, table.as_ref()?)))
        {
            let (eight, at) = (&mut eights[index / 8], index % 8);
            eight.thresholds[at] = table.thresholds.as_ptr().expose_provenance() as u64;
            eight.starts[at] = table.starts.as_ptr().expose_provenance() as u64;
            (eight.origins[at], eight.scales[at]) = table.line();
            eight.lasts[at] = (table.starts.len() - 2) as f32;
            eight.halvings[at] = table.halvings as i32;
            eight.missing[at] = table.missing() as i32;
            eight.features[at] = i32::try_from(*feature).expect("a feature's number has 16 bits");
            eight.there[at] = -1;
            eight.most = eight.most.max(eight.halvings[at]);
            features = features.max(feature + 1);
        }
        Self { tables, eights, features }
    }

    /// Of each column its place in a row and its table, if it has one.
    pub(crate) fn tables(&self) -> &[Option<(usize, Arc<RankTable>)>] {
        &self.tables
    }

    /// The same, eight by eight.
    pub(crate) fn eights(&self) -> &[EightRanks] {
        &self.eights
    }

    /// How many values a row has at least.
    pub(crate) fn features(&self) -> usize {
        self.features
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(thresholds: &[f32], value: f64) -> usize {
        let mut distinct: Vec<f64> =
            thresholds.iter().filter(|t| !t.is_nan()).map(|t| f64::from(*t) + 0.0).collect();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        distinct.iter().filter(|threshold| value >= **threshold).count()
    }

    #[test]
    fn a_rank_counts_the_thresholds_that_a_value_reaches() {
        let sets: Vec<Vec<f32>> = vec![
            vec![],
            vec![0.0],
            vec![-0.0, 0.0, f32::NAN],
            vec![1.0, 1.0f32.next_up(), 1.0f32.next_down()],
            vec![f32::MIN, f32::MAX, 0.0, 1e-40, -1e-40],
            vec![f32::NEG_INFINITY, f32::INFINITY, 3.5],
            (0..300).map(|i| (i as f32 * 0.7).sin() * 100.0).collect(),
            (0..300).map(|i| (i as f32 * 0.2).exp()).collect(),
        ];
        for set in sets {
            let table = RankTable::new(set.clone()).expect("few");
            let mut values =
                vec![0.0, -0.0, 1e-300, -1e-300, 1e300, -1e300, f64::INFINITY, f64::NEG_INFINITY];
            for threshold in set.iter().filter(|t| !t.is_nan()) {
                let t = f64::from(*threshold);
                values.extend([t, t.next_up(), t.next_down(), f64::from(threshold.next_up()), t * 0.999]);
            }
            for value in values {
                assert_eq!(table.rank(value), naive(&set, value), "{value:e} among {set:?}");
            }
            assert_eq!(table.rank(f64::NAN), table.missing());
        }
    }
}
