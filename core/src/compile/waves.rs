//! The engine for deep and irregular trees, for any processor: rows become 16-bit codes, and go down a tree in waves.
//!
//! Trees are used one after another for a run of waves, so that a tree stays in the second cache, and a level of it and
//! the codes of a wave in the first.

use std::collections::{BTreeMap, VecDeque};

use cenote_mojo::Schema;
use cenote_mojo::algo::{Forest, Node, Tree};

use super::codes::{Asks, Sources, Unfit};
use super::{Block, Quantised};
use crate::kernels::{Isa, WaveScratch};
use crate::layout::{Step, WAVE, WaveForest, WaveForestBuilder};

/// Rows whose codes are held at once.
const RUN: usize = 4 * WAVE;

/// See the module.
#[derive(Debug)]
pub(crate) struct Waves {
    isa: Isa,
    sources: Sources,
    /// The source of each column, and the code that a missing value has instead of the last.
    columns: Vec<(u16, Option<u16>)>,
    forest: WaveForest,
    /// The class of each tree.
    class: Vec<usize>,
}

impl Waves {
    /// Compiles `forest`.
    pub(crate) fn new(forest: &Forest, schema: &Schema, isa: Isa) -> Result<Self, Unfit> {
        let sources = Sources::new(forest, schema)?;
        // A column for each source and answer to missing values; sets answer for themselves.
        let mut asked: BTreeMap<(u16, bool), u16> = BTreeMap::new();
        for split in forest.trees.iter().flatten().flat_map(|tree| &tree.nodes) {
            let Node::Split(split) = split else { continue };
            let index = sources.index(split.column);
            let missing = match sources.list()[usize::from(index)].asks(split) {
                Asks::From { missing, .. } => missing,
                Asks::Set => true,
            };
            asked.insert((index, missing), 0);
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
        for (number, tree) in forest.trees.iter().enumerate() {
            let Some(tree) = tree else { continue };
            class.push(number / forest.groups);
            let steps = steps(tree, &sources, &asked, &mut builder)?;
            builder.tree(&steps);
        }
        Ok(Self { isa, sources, columns, forest: builder.finish(), class })
    }
}

/// The nodes of a tree, siblings side by side, level after level.
fn steps(
    tree: &Tree,
    sources: &Sources,
    asked: &BTreeMap<(u16, bool), u16>,
    builder: &mut WaveForestBuilder,
) -> Result<Vec<Step>, Unfit> {
    let mut steps = vec![Step::Leaf(0.0)];
    let mut open = VecDeque::from([(0usize, 0usize)]);
    while let Some((node, at)) = open.pop_front() {
        steps[at] = match &tree.nodes[node] {
            Node::Leaf(value) => Step::Leaf(*value),
            Node::Split(split) => {
                let left = steps.len();
                steps.extend([Step::Leaf(0.0); 2]);
                open.push_back((split.left as usize, left));
                open.push_back((split.right as usize, left + 1));
                let index = sources.index(split.column);
                let source = &sources.list()[usize::from(index)];
                match source.asks(split) {
                    Asks::From { code, missing } => {
                        let from = if missing { code } else { code + 1 };
                        Step::From { column: asked[&(index, missing)], from, left: left as u32 }
                    }
                    Asks::Set => {
                        let column = asked[&(index, true)];
                        let set = builder.set(column, source.answers(tree, split)).ok_or(Unfit::TooLarge)?;
                        Step::In { column, set, left: left as u32 }
                    }
                }
            }
        };
    }
    Ok(steps)
}

impl Quantised for Waves {
    fn name(&self) -> &'static str {
        "waves"
    }

    fn sums(&self, block: &Block<'_>, out: &mut [f64]) -> Vec<usize> {
        let mut odd = Vec::new();
        out.fill(0.0);
        let waves = RUN.min(block.rows).div_ceil(WAVE);
        let run = waves * WAVE;
        let size = self.columns.len() * WAVE + 2;
        let mut coded = vec![0u16; run * self.sources.list().len()];
        let mut codes = vec![0u16; waves * size];
        let mut scratch = WaveScratch::new();
        for from in (0..block.rows).step_by(RUN) {
            let rows = RUN.min(block.rows - from);
            let found = self.sources.encode(self.isa, block, from, rows, run, &mut coded);
            for (wave, codes) in codes.chunks_exact_mut(size).enumerate().take(rows.div_ceil(WAVE)) {
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
            for (tree, class) in self.class.iter().enumerate() {
                let sums = &mut out[class * block.rows + from..][..rows];
                for (codes, sums) in codes.chunks_exact(size).zip(sums.chunks_mut(WAVE)) {
                    self.isa.add_waves(&self.forest, tree, codes, &mut scratch, sums);
                }
            }
            odd.extend(found.into_iter().map(|row| from + row));
        }
        odd
    }
}
