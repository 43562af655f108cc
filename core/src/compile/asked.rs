//! Every question of a forest in codes, found once for all engines.
//!
//! In flows a forest; out flow its columns' codings and, for each split, the bound that a code must reach. The thresholds of
//! a column are sorted together with the splits that they come from, so that no split looks for its rank.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use cenote_mojo::Schema;
use cenote_mojo::algo::{Forest, Node, Split, Test, Tree, TreeRules};
use cenote_mojo::threads::share;

use super::classes::Classes;
use super::codes::{AskedFor, Asks, Coding, MAX_CODES, Source, Sources, Unfit};
use crate::layout::RankTable;

/// A forest, or a run of its trees, and the questions of it.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    trees: &'a [Option<Tree>],
    /// The place of the first of `trees` in the forest's grid, and how many places a class has.
    grid: (usize, usize),
    /// The columns that some split reads.
    pub(crate) sources: Arc<Sources>,
    /// The bound of each node, tree after tree, as [`AskedTree`] has it.
    bounds: Vec<u16>,
}

/// What stands for a bound where a set is asked: no code goes so far.
const SET: u16 = u16::MAX;

/// A tree and its questions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskedTree<'a> {
    pub(crate) tree: &'a Tree,
    /// The bound of each node that asks for one; of one that asks a set [`SET`].
    pub(crate) bounds: &'a [u16],
}

impl AskedTree<'_> {
    /// What `split` asks, which is node `node` of the tree.
    #[inline]
    pub(crate) fn asks(&self, node: usize, split: &Split) -> Asks {
        match self.bounds[node] {
            SET => Asks::Set,
            code => Asks::From { code, missing: !split.na.missing_goes_left() },
        }
    }
}

impl<'a> Asked<'a> {
    /// The questions of `forest`: of all of it, or of one run of trees after another where a column has more thresholds than
    /// codes. The runs then have no more than codes each, which does not hold for a tree alone that has.
    pub(crate) fn runs(forest: &'a Forest, schema: &Schema) -> Result<Vec<Self>, Unfit> {
        match Self::new(forest, 0..forest.trees.len(), schema) {
            Err(Unfit::TooManyCodes) => {}
            all => return Ok(vec![all?]),
        }
        let mut runs = Vec::new();
        let mut first = 0;
        let mut splits = vec![0; schema.features.len()];
        for (place, tree) in forest.trees.iter().enumerate() {
            let of_tree = splits_by_column(tree.as_ref(), schema.features.len());
            if splits.iter().zip(&of_tree).any(|(run, tree)| run + tree > MAX_SPLITS) {
                runs.push(first..place);
                first = place;
                splits.fill(0);
            }
            splits.iter_mut().zip(of_tree).for_each(|(run, tree)| *run += tree);
        }
        runs.push(first..forest.trees.len());
        runs.into_iter().map(|run| Self::new(forest, run, schema)).collect()
    }

    fn new(forest: &'a Forest, run: Range<usize>, schema: &Schema) -> Result<Self, Unfit> {
        let trees = &forest.trees[run.clone()];
        if forest.rules != TreeRules::V120 {
            return Err(Unfit::OldRules);
        }
        let levels: Vec<Option<usize>> =
            schema.features.iter().map(|column| column.domain.as_ref().map(|levels| levels.len())).collect();
        let mut bounds = vec![0; trees.iter().flatten().map(|tree| tree.nodes.len()).sum()];
        let mut asked = vec![AskedFor::default(); levels.len()];
        let mut large = BTreeMap::new();
        // Of each column of numbers the sort key of each threshold above the node it comes from.
        let mut thresholds: Vec<Vec<u64>> = vec![Vec::new(); levels.len()];
        let mut first = 0;
        for tree in trees.iter().flatten() {
            let bounds = &mut bounds[first..][..tree.nodes.len()];
            u32::try_from(first + tree.nodes.len()).map_err(|_| Unfit::TooLarge)?;
            for (node, (bound, at)) in tree.nodes.iter().zip(bounds.iter_mut().zip(first as u32..)) {
                let Node::Split(split) = node else { continue };
                let feature = usize::from(split.column);
                let is_set = matches!(split.test, Test::In(_) | Test::Range(_));
                *bound = match levels[feature] {
                    None if is_set => return Err(Unfit::SetOfNumbers),
                    None => {
                        thresholds[feature].push(u64::from(sort_key(split)) << 32 | u64::from(at));
                        0
                    }
                    // Classes of levels are in no order.
                    Some(levels) if levels > MAX_CODES => {
                        large.entry(feature).or_insert_with(|| Classes::new(levels)).part(tree, split)?;
                        SET
                    }
                    Some(_) if is_set => SET,
                    Some(levels) => match split.test {
                        // Saturates at 0 below and far above the levels above; a level is at least the threshold's ceiling.
                        Test::AtLeast(threshold) if !threshold.is_nan() => {
                            (threshold.ceil() as usize).min(levels) as u16
                        }
                        _ => levels as u16,
                    },
                };
                asked[feature].sets |= *bound == SET;
                asked[feature].bounds |= *bound != SET;
            }
            first += tree.nodes.len();
        }
        let sorted = share(&thresholds, || (), |(), thresholds| sorted(thresholds));
        let mut list = Vec::new();
        for (feature, asked) in asked.into_iter().enumerate() {
            if asked == AskedFor::default() {
                continue;
            }
            let coding = match (levels[feature], large.remove(&feature)) {
                (_, Some(classes)) => Coding::Class(classes),
                (Some(levels), None) => Coding::Level(levels),
                (None, None) => {
                    Coding::Rank(rank(&sorted[feature], &mut bounds).ok_or(Unfit::TooManyCodes)?.into())
                }
            };
            list.push(Source { feature, coding, asked });
        }
        let grid = (run.start, forest.groups);
        Ok(Self { trees, grid, sources: Arc::new(Sources::new(list, levels.len())?), bounds })
    }

    /// Whether some split asks a set.
    pub(crate) fn has_sets(&self) -> bool {
        self.sources.list().iter().any(|source| source.asked.sets)
    }

    /// The trees that there are, each with its class.
    pub(crate) fn trees(&self) -> impl Iterator<Item = (usize, AskedTree<'_>)> {
        let mut rest = &self.bounds[..];
        let (first, groups) = self.grid;
        self.trees.iter().zip(first..).filter_map(move |(tree, place)| {
            let tree = tree.as_ref()?;
            let bounds = rest.split_off(..tree.nodes.len()).expect("a bound a node");
            Some((place / groups, AskedTree { tree, bounds }))
        })
    }
}

/// The most splits that a column may have in a run of trees, so that their thresholds have codes: one more is that of missing
/// values.
const MAX_SPLITS: usize = MAX_CODES - 1;

/// How many splits of a tree each column has.
fn splits_by_column(tree: Option<&Tree>, columns: usize) -> Vec<usize> {
    let mut splits = vec![0; columns];
    for node in tree.iter().flat_map(|tree| &tree.nodes) {
        if let Node::Split(split) = node {
            splits[usize::from(split.column)] += 1;
        }
    }
    splits
}

/// The key of what no present value reaches: a threshold that is NaN, and no threshold.
const NEVER: u32 = u32::MAX;

/// A number that is ordered as the threshold of `split`.
fn sort_key(split: &Split) -> u32 {
    match split.test {
        Test::AtLeast(threshold) if !threshold.is_nan() => {
            // Adding 0 makes -0 into +0: they are one threshold.
            let bits = (threshold + 0.0).to_bits();
            if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
        }
        _ => NEVER,
    }
}

fn threshold_of(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

/// The entries by their upper halves, the lower ones of equal upper ones as they were: by one byte after another, which for
/// many is quicker than to compare.
fn sorted(entries: &[u64]) -> Vec<u64> {
    let mut from = entries.to_vec();
    let mut to = vec![0; from.len()];
    for shift in [32, 40, 48, 56] {
        let digit = |entry: u64| (entry >> shift) as usize & 255;
        let mut places = [0; 256];
        from.iter().for_each(|entry| places[digit(*entry)] += 1);
        let mut next = 0;
        for place in &mut places {
            next += std::mem::replace(place, next);
        }
        for entry in &from {
            let place = &mut places[digit(*entry)];
            to[*place] = *entry;
            *place += 1;
        }
        std::mem::swap(&mut from, &mut to);
    }
    from
}

/// The table of a column's thresholds, which are sorted; writes the rank of each to the node it comes from. `None` if there
/// are too many.
fn rank(sorted: &[u64], bounds: &mut [u16]) -> Option<RankTable> {
    let mut thresholds = Vec::new();
    let mut last = None;
    for entry in sorted {
        let (key, node) = ((entry >> 32) as u32, *entry as u32);
        if last.replace(key) != Some(key) && key != NEVER {
            thresholds.push(threshold_of(key));
        }
        // Of those that are never reached one more, the code of a missing value.
        bounds[node as usize] = (thresholds.len() + usize::from(key == NEVER)) as u16;
    }
    RankTable::new(thresholds)
}
