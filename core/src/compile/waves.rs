//! The engine for deep and irregular trees, for any processor: rows become 16-bit codes, and go down a tree in waves.
//!
//! Trees are used one after another for a run of waves, so that a tree stays in the second cache, and a level of it and
//! the codes of a wave in the first.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::asked::{Asked, AskedTree};
use super::blocks::{GroupData, TreeBlock};
use super::codes::{Asks, Sources, Unfit};
use super::heads::head;
use super::plan::blocks;
use super::{Block, Quantised};
use crate::kernels::{Isa, MaskScratch, WaveScratch};
use crate::layout::{GROUP, WAVE, WaveForest, WaveForestBuilder, WaveStep as Step};

/// Rows whose codes are held at once.
const RUN: usize = 8 * WAVE;

/// See the module.
#[derive(Debug)]
pub(crate) struct Waves {
    isa: Isa,
    sources: Arc<Sources>,
    /// The source of each column, and the code that a missing value has instead of the last.
    columns: Vec<(u16, Option<u16>)>,
    forest: WaveForest,
    /// The class of each tree.
    class: Vec<usize>,
    /// The upper levels of the trees.
    heads: Option<Vec<TreeBlock>>,
}

impl Waves {
    /// Compiles a forest.
    pub(crate) fn new(forest: &Asked<'_>, isa: Isa) -> Result<Self, Unfit> {
        let sources = &forest.sources;
        // A column for each source and answer to missing values; sets answer for themselves.
        let mut asked: BTreeMap<(u16, bool), u16> = BTreeMap::new();
        for (_, tree) in forest.trees() {
            for (node, split) in tree.splits() {
                let missing = match tree.asks(node) {
                    Asks::From { missing, .. } => missing,
                    Asks::Set => true,
                };
                asked.insert((sources.index(split.column()), missing), 0);
            }
        }
        let mut columns = Vec::new();
        let mut codes = Vec::new();
        for ((source, missing), column) in &mut asked {
            *column = columns.len() as u16;
            let last = sources.list()[usize::from(*source)].missing();
            // Where missing values go left, codes are one more and a missing value is 0.
            columns.push((*source, (!*missing).then_some(0)));
            codes.push(last + 2);
        }
        if columns.len() >= 1 << 15 {
            return Err(Unfit::TooLarge);
        }
        let mut builder = WaveForestBuilder::new(codes);
        let mut class = Vec::new();
        let mut heads = Vec::new();
        for (of_class, tree) in forest.trees() {
            class.push(of_class);
            let (order, place_of) = by_level(tree);
            let steps = steps(tree, &order, &place_of, sources, &asked, &mut builder)?;
            builder.tree(&steps);
            heads.push(head(tree, |node| place_of[node] << 1 | u32::from(tree.nodes[node].is_leaf())));
        }
        // The portable kernel asks tests one row after another: a walk is faster.
        let heads = match isa {
            Isa::Portable => None,
            _ => blocks(heads.iter().map(|head| (0, head.asked())), sources).ok(),
        };
        Ok(Self { isa, sources: Arc::clone(sources), columns, forest: builder.finish(), class, heads })
    }
}

/// The nodes of a tree level after level, siblings side by side, and the place of each node among them.
fn by_level(tree: AskedTree<'_>) -> (Vec<usize>, Vec<u32>) {
    let mut order = Vec::with_capacity(tree.nodes.len());
    let mut place_of = vec![0; tree.nodes.len()];
    order.push(0);
    let mut at = 0;
    while let Some(&node) = order.get(at) {
        place_of[node] = at as u32;
        if !tree.nodes[node].is_leaf() {
            order.extend([node + 1, tree.nodes[node].right() as usize]);
        }
        at += 1;
    }
    (order, place_of)
}

/// The nodes of a tree as steps, in `order`.
fn steps(
    tree: AskedTree<'_>,
    order: &[usize],
    place_of: &[u32],
    sources: &Sources,
    asked: &BTreeMap<(u16, bool), u16>,
    builder: &mut WaveForestBuilder,
) -> Result<Vec<Step>, Unfit> {
    let mut step = |&node: &usize| {
        let split = tree.nodes[node];
        if split.is_leaf() {
            return Ok(Step::Leaf(split.value()));
        }
        let left = place_of[node + 1];
        let index = sources.index(split.column());
        let source = &sources.list()[usize::from(index)];
        Ok(match tree.asks(node) {
            Asks::From { code, missing } => {
                let from = if missing { code } else { code + 1 };
                Step::From { column: asked[&(index, missing)], from, left }
            }
            Asks::Set => {
                let column = asked[&(index, true)];
                let set = builder.set(column, tree.answers(node, source)).ok_or(Unfit::TooLarge)?;
                Step::In { column, set, left }
            }
        })
    };
    order.iter().map(&mut step).collect()
}

impl Quantised for Waves {
    fn name(&self) -> &'static str {
        "waves"
    }

    fn fewest_rows(&self) -> usize {
        // A wave of few rows costs what so many rows cost the engine that takes them.
        22
    }

    fn sums(&self, block: &Block<'_>, out: &mut [f64]) -> Vec<usize> {
        let mut odd = Vec::new();
        out.fill(0.0);
        let run = RUN.min(block.rows).next_multiple_of(WAVE);
        let size = self.columns.len() * WAVE + 2;
        let mut coded = vec![0u16; run * self.sources.list().len()];
        let mut codes = vec![0u16; run / WAVE * size];
        let mut scratch = WaveScratch::new();
        let mut mask_scratch = MaskScratch::new();
        let (mut indices, mut entries) = ([0; GROUP], [0; GROUP]);
        let mut data = GroupData::new(self.heads.iter().flatten(), run / GROUP);
        for from in (0..block.rows).step_by(RUN) {
            let rows = RUN.min(block.rows - from);
            let waves = rows.div_ceil(WAVE);
            let found = self.sources.encode(self.isa, block, from, rows, run, &mut coded);
            for (wave, codes) in codes.chunks_exact_mut(size).enumerate().take(waves) {
                let rows = WAVE.min(rows - wave * WAVE);
                for ((source, missing), codes) in self.columns.iter().zip(codes.chunks_exact_mut(WAVE)) {
                    let coded = &coded[usize::from(*source) * run + wave * WAVE..][..rows];
                    let codes = &mut codes[..rows];
                    match missing {
                        None => codes.copy_from_slice(coded),
                        Some(missing) => {
                            let last = self.sources.list()[usize::from(*source)].missing() as u16;
                            for (code, coded) in codes.iter_mut().zip(coded) {
                                *code = if *coded == last { *missing } else { coded + 1 };
                            }
                        }
                    }
                }
            }
            let mut add = |tree: usize, wave: usize, entries: &[u32]| {
                let codes = &codes[wave * size..][..size];
                let sums = &mut out[self.class[tree] * block.rows + from..][..rows];
                let sums = &mut sums[wave * WAVE..rows.min((wave + 1) * WAVE)];
                self.isa.add_waves(&self.forest, tree, codes, entries, &mut scratch, sums);
            };
            let Some(heads) = &self.heads else {
                for tree in 0..self.class.len() {
                    let is_leaf = self.forest.tree(tree)[0].is_leaf();
                    let entries = &[[0; WAVE], [1; WAVE]][usize::from(is_leaf)];
                    (0..waves).for_each(|wave| add(tree, wave, entries));
                }
                odd.extend(found.into_iter().map(|row| from + row));
                continue;
            };
            let mut first = 0;
            for head in heads {
                data.fill(head, self.isa, &coded, run, 0, rows);
                for tree in 0..head.forest.trees().len() {
                    for wave in 0..waves {
                        let (lines, rows) = (data.group(head, wave), WAVE.min(rows - wave * WAVE));
                        let indices = &mut indices[..rows];
                        self.isa.indices(&head.forest, tree, lines, &mut mask_scratch, indices);
                        head.forest.exits(tree, indices, &mut entries);
                        add(first + tree, wave, &entries);
                    }
                }
                first += head.forest.trees().len();
            }
            odd.extend(found.into_iter().map(|row| from + row));
        }
        odd
    }
}
