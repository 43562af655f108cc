//! Every question of a forest in codes, found once for all engines.
//!
//! In flows a forest of small nodes; out flow its columns' codings and, for each split, the bound that a code must reach. The
//! thresholds of a column are sorted together with the splits that they come from, so that no split looks for its rank.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering::Relaxed;

use cenote_mojo::algo::{Split, Tree};
use cenote_mojo::threads::share;

use super::classes::Classes;
use super::codes::{AskedFor, Asks, Coding, MAX_CODES, Source, Sources, Unfit};
use super::nodes::{NEVER, SET, SmallForest, SmallNode, SmallTree, threshold_of};
use crate::layout::{RankTable, TreeSize};

/// A forest, or a run of its trees, and the questions of it.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    forest: &'a SmallForest,
    /// The places of the trees in the forest's grid.
    places: Range<usize>,
    /// The columns that some split reads.
    pub(crate) sources: Arc<Sources>,
}

/// A tree and its questions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskedTree<'a> {
    /// The root first, then left subtrees before right ones.
    pub(super) nodes: &'a [SmallNode],
    /// The bound of each node that asks for one; of one that asks a set [`SET`].
    pub(super) bounds: &'a [AtomicU16],
    /// Splits on the longest path.
    pub(super) depth: u32,
    /// How many subtrees and leaves it is cut into.
    pub(super) size: TreeSize,
    /// Its sets; it has no nodes.
    pub(super) sets: &'a Tree,
    /// The splits that ask sets, each with its node.
    pub(super) set_splits: &'a [(u32, Split)],
}

impl<'a> AskedTree<'a> {
    /// What node `node` asks, which is a split.
    #[inline]
    pub(super) fn asks(&self, node: usize) -> Asks {
        match self.bounds[node].load(Relaxed) {
            SET => Asks::Set,
            code => Asks::From { code, missing: !self.nodes[node].missing_goes_left() },
        }
    }

    /// Its splits, each with its node.
    pub(super) fn splits(&self) -> impl Iterator<Item = (usize, SmallNode)> + use<'a> {
        self.nodes.iter().copied().enumerate().filter(|(_, node)| !node.is_leaf())
    }

    /// The answers to the set that node `node` asks, for each code of its column, the missing one last.
    pub(super) fn answers(&self, node: usize, source: &'a Source) -> impl Iterator<Item = bool> + use<'a> {
        source.answers(self.sets, self.set_split(node).expect("a split that asks a set"))
    }

    /// The split that node `node` is, if it asks a set.
    pub(super) fn set_split(&self, node: usize) -> Option<&'a Split> {
        self.set_index(node).map(|at| &self.set_splits[at].1)
    }

    /// Where node `node` stands among those that ask sets.
    pub(super) fn set_index(&self, node: usize) -> Option<usize> {
        self.set_splits.binary_search_by_key(&node, |(node, _)| *node as usize).ok()
    }
}

impl<'a> Asked<'a> {
    /// The questions of `forest`: of all of it, or of one run of trees after another where a column has more thresholds than
    /// codes. The runs then have no more than codes each, which does not hold for a tree alone that has.
    pub(crate) fn runs(forest: &'a SmallForest) -> Result<Vec<Self>, Unfit> {
        let places = forest.places().count();
        match Self::new(forest, 0..places) {
            Err(Unfit::TooManyCodes) => {}
            all => return Ok(vec![all?]),
        }
        let mut runs = Vec::new();
        let mut first = 0;
        let mut splits = vec![0; forest.levels.len()];
        for (place, (run, _, tree)) in forest.places().enumerate() {
            let mut of_tree = vec![0; splits.len()];
            let nodes = tree.map_or(&[][..], |tree| &run.nodes[tree.nodes.clone()]);
            for node in nodes.iter().filter(|node| !node.is_leaf()) {
                of_tree[usize::from(node.column())] += 1;
            }
            if splits.iter().zip(&of_tree).any(|(run, tree)| run + tree > MAX_SPLITS) {
                runs.push(first..place);
                first = place;
                splits.fill(0);
            }
            splits.iter_mut().zip(of_tree).for_each(|(run, tree)| *run += tree);
        }
        runs.push(first..places);
        runs.into_iter().map(|run| Self::new(forest, run)).collect()
    }

    fn new(forest: &'a SmallForest, places: Range<usize>) -> Result<Self, Unfit> {
        if let Some(unfit) = forest.unfit {
            return Err(unfit);
        }
        let mut large = BTreeMap::new();
        for (_, _, tree) in forest.places().skip(places.start).take(places.len()) {
            let Some(tree) = tree else { continue };
            for (_, split) in &tree.set_splits {
                let column = usize::from(split.column);
                if let Some(levels) = forest.levels[column].filter(|levels| *levels > MAX_CODES) {
                    large.entry(column).or_insert_with(|| Classes::new(levels)).part(&tree.sets, split)?;
                }
            }
        }
        let thresholds = thresholds(forest, &places);
        let columns =
            thresholds.iter().zip(0..).filter(|(runs, _)| runs.iter().any(|(_, run)| !run.is_empty()));
        let ranked = share(
            columns.map(|(runs, column)| (column, runs)).collect(),
            Sorter::default,
            |sorter, (column, runs)| (column, rank(sorter.sort(runs), &forest.bounds)),
        );
        let mut ranked: BTreeMap<usize, Option<RankTable>> = ranked.into_iter().collect();
        let mut list = Vec::new();
        for (feature, mut asked) in forest.asked.iter().copied().enumerate() {
            let coding = match (forest.levels[feature], large.remove(&feature), ranked.remove(&feature)) {
                (_, _, Some(table)) => {
                    asked.bounds = true;
                    Coding::Rank(table.ok_or(Unfit::TooManyCodes)?.into())
                }
                (_, Some(classes), _) => Coding::Class(classes),
                (Some(levels), None, _) if asked != AskedFor::default() && levels <= MAX_CODES => {
                    Coding::Level(levels)
                }
                _ => continue,
            };
            list.push(Source { feature, coding, asked });
        }
        let sources = Arc::new(Sources::new(list, forest.levels.len())?);
        Ok(Self { forest, places, sources })
    }

    /// Whether some split asks a set.
    pub(crate) fn has_sets(&self) -> bool {
        self.sources.list().iter().any(|source| source.asked.sets)
    }

    /// The trees that there are, each with its class.
    pub(crate) fn trees(&self) -> impl Iterator<Item = (usize, AskedTree<'a>)> {
        let (forest, groups) = (self.forest, self.forest.groups);
        let places = forest.places().enumerate().skip(self.places.start).take(self.places.len());
        places.filter_map(move |(place, (run, first, tree))| {
            let SmallTree { nodes, depth, size, sets, set_splits } = tree?;
            let (depth, size) = (*depth, *size);
            let bounds = &forest.bounds[first..][nodes.clone()];
            let nodes = &run.nodes[nodes.clone()];
            Some((place / groups, AskedTree { nodes, bounds, depth, size, sets, set_splits }))
        })
    }
}

/// The most splits that a column may have in a run of trees, so that their thresholds have codes: one more is that of missing
/// values.
const MAX_SPLITS: usize = MAX_CODES - 1;

/// Of each column of numbers its thresholds in some places of the grid: what is to be added to their nodes so that these count
/// among all, and the entries, run after run.
type Entries<'a> = Vec<(usize, &'a [u64])>;

fn thresholds<'a>(forest: &'a SmallForest, places: &Range<usize>) -> Vec<Entries<'a>> {
    let mut thresholds = vec![Vec::new(); forest.levels.len()];
    let (mut first, mut place) = (0, 0);
    for run in &forest.runs {
        let of_run =
            places.start.saturating_sub(place)..places.end.saturating_sub(place).min(run.trees.len());
        let mut trees = run.trees.get(of_run).into_iter().flatten().flatten();
        if let Some(tree) = trees.next() {
            let end = trees.next_back().unwrap_or(tree).nodes.end;
            for (all, entries) in thresholds.iter_mut().zip(&run.thresholds) {
                let before = |node: usize| entries.partition_point(|entry| (*entry as u32 as usize) < node);
                all.push((first, &entries[before(tree.nodes.start)..before(end)]));
            }
        }
        first += run.nodes.len();
        place += run.trees.len();
    }
    thresholds
}

/// Sorts one column after another.
#[derive(Debug, Default)]
struct Sorter {
    from: Vec<u64>,
    to: Vec<u64>,
}

/// Bits of a digit.
const DIGIT: usize = 11;
/// Fewer entries than this are compared.
const FEW: usize = 512;

impl Sorter {
    /// The entries by their upper halves, their nodes counted among all.
    fn sort(&mut self, runs: &[(usize, &[u64])]) -> &[u64] {
        self.from.clear();
        for (first, run) in runs {
            self.from.extend(run.iter().map(|entry| entry + *first as u64));
        }
        if self.from.len() < FEW {
            self.from.sort_unstable();
            return &self.from;
        }
        // By one digit after another, the lowest first, which for many is quicker than to compare.
        const DIGITS: usize = 32_usize.div_ceil(DIGIT);
        let digit = |entry: u64, at: usize| (entry >> (32 + DIGIT * at)) as usize & ((1 << DIGIT) - 1);
        let mut places = [[0u32; 1 << DIGIT]; DIGITS];
        for entry in &self.from {
            for (at, places) in places.iter_mut().enumerate() {
                places[digit(*entry, at)] += 1;
            }
        }
        self.to.resize(self.from.len(), 0);
        for (at, places) in places.iter_mut().enumerate() {
            let mut next = 0;
            for place in &mut *places {
                next += std::mem::replace(place, next);
            }
            for entry in &self.from {
                let place = &mut places[digit(*entry, at)];
                self.to[*place as usize] = *entry;
                *place += 1;
            }
            std::mem::swap(&mut self.from, &mut self.to);
        }
        &self.from
    }
}

/// The table of a column's thresholds, which are sorted; writes the rank of each to the node it comes from. `None` if there
/// are too many.
fn rank(sorted: &[u64], bounds: &[AtomicU16]) -> Option<RankTable> {
    // One by one without a branch: mostly each entry is a threshold of its own.
    let mut thresholds = vec![0.0; sorted.len() + 1];
    let (mut count, mut last) = (0, NEVER);
    for entry in sorted {
        let (key, node) = ((entry >> 32) as u32, *entry as u32);
        thresholds[count] = threshold_of(key);
        count += usize::from(key != last && key != NEVER);
        last = key;
        // Of those that are never reached one more, the code of a missing value.
        bounds[node as usize].store((count + usize::from(key == NEVER)) as u16, Relaxed);
    }
    thresholds.truncate(count);
    RankTable::of_sorted(thresholds)
}
