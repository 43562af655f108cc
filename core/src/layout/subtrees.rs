//! Trees cut into subtrees of four levels, each in one cache line, for kernels that take many rows or many trees side by
//! side.
//!
//! In flow, by [`SubtreeForestBuilder`], trees as questions on columns of 16-bit codes; out flows a [`SubtreeForest`] in
//! which every column, subtree and leaf that a subtree names exists, and the subtrees below come after it, so that a walk
//! ends.

/// Splits of a subtree: a heap of four levels, the root first. Slot `s` has the children `2s + 1` and `2s + 2`.
pub(crate) const SLOTS: usize = 15;
/// Ways out of a subtree: the children of its lowest level.
const EXITS: usize = 16;

/// Four levels of a tree in one cache line.
///
/// A path that ends earlier goes right through the slots that are left: their bound is 0, which every code reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Subtree {
    /// From which code on a row goes right at each slot, or which set it asks.
    pub(crate) bounds: [u16; SLOTS + 1],
    /// The column that each slot asks, of a forest of at most [`NARROW`] columns; the highest bit says that a missing value
    /// goes left. In the order of slots, or, of a forest [for vectors](SubtreeForest::for_vectors), each of the first eight
    /// beside the one eight slots later: a shift then makes words of them, which a shuffle takes.
    pub(crate) columns: [u8; SLOTS + 1],
    /// Where the exits lead.
    pub(crate) exits: Exits,
}

/// Where the exits of a subtree lead: some to other subtrees, which lie side by side, the others to leaves, which do too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(16))]
pub(crate) struct Exits {
    /// Four bits for each exit: its rank. Those that lead to subtrees have the lowest ranks.
    ranks: u64,
    /// The leaf of rank 0, if that were a leaf's (below 0 it wraps); and the subtree of rank 0, with the number of ranks
    /// that are subtrees' in the lowest [`COUNT_BITS`].
    firsts: [u32; 2],
}

/// Bits for a number of exits.
const COUNT_BITS: usize = 5;

impl Exits {
    /// No exits.
    pub(crate) const NONE: Self = Self { ranks: 0, firsts: [0; 2] };

    /// Whether an exit leads to another subtree (1) or to a leaf (0), and to which.
    #[inline(always)]
    pub(crate) fn follow(&self, exit: usize) -> (usize, u32) {
        let rank = (self.ranks >> (4 * exit) & 15) as u32;
        let goes_on = usize::from(rank < self.firsts[1] & ((1 << COUNT_BITS) - 1));
        // Indexed and shifted: a choice would become a branch.
        (goes_on, (self.firsts[goes_on] >> (COUNT_BITS * goes_on)).wrapping_add(rank))
    }
}

/// A subtree on its way: nodes of a tree.
struct Heap {
    slots: [u32; SLOTS],
    exits: [u32; EXITS],
    /// The slots of splits that were not taken yet, a bit each; the exits that lead to splits, and those that lead to leaves.
    splits: u32,
    onward: u32,
    ends: u32,
}

impl Heap {
    fn new() -> Self {
        Self { slots: [0; SLOTS], exits: [0; EXITS], splits: 0, onward: 0, ends: 0 }
    }

    /// Puts a node into a slot, or below the last level.
    #[inline]
    fn put(&mut self, slot: usize, node: u32, is_leaf: bool) {
        if is_leaf {
            // Right through the levels that are left.
            let mut below = slot;
            while below < SLOTS {
                below = 2 * below + 2;
            }
            self.exits[below - SLOTS] = node;
            self.ends |= 1 << (below - SLOTS);
        } else if slot < SLOTS {
            self.slots[slot] = node;
            self.splits |= 1 << slot;
        } else {
            self.exits[slot - SLOTS] = node;
            self.onward |= 1 << (slot - SLOTS);
        }
    }

    /// Takes the first split that was not taken yet.
    #[inline]
    fn next_split(&mut self) -> Option<(usize, u32)> {
        let slot = self.splits.trailing_zeros() as usize;
        self.splits &= self.splits.wrapping_sub(1);
        self.slots.get(slot).map(|node| (slot, *node))
    }
}

/// The places of the bits of `word`, ascending.
fn bits(mut word: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        word &= word.wrapping_sub(1);
        (bit < u32::BITS).then_some(bit as usize)
    })
}

/// Codes of a row, as many as fill a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct CodeLine(pub(crate) [u16; CODES]);

/// Codes of a [`CodeLine`].
pub(crate) const CODES: usize = 32;

impl CodeLine {
    /// A line of zeros.
    pub(crate) const ZERO: CodeLine = CodeLine([0; CODES]);
}

/// The code of a missing value in a column that is asked bounds; every other code is below it.
pub(crate) const MISSING: u16 = u16::MAX;
/// The most columns that [`Subtree::columns`] can name.
pub(crate) const NARROW: usize = 128;
/// The bit of a column in [`SubtreeForest::wide`] that says that a missing value goes left.
pub(crate) const WIDE_LEFT: u16 = 1 << 15;
/// Subtrees that [`Exits`] can name.
const MAX_SUBTREES: usize = 1 << 27;
/// Leaves that entries can name.
const MAX_LEAVES: usize = 1 << 31;
/// Words of sets, 64 MiB: a small file must not make large tables.
const MAX_SET_WORDS: usize = 16 << 20;

/// Trees over one set of code columns.
#[derive(Debug, Clone)]
pub(crate) struct SubtreeForest {
    columns: usize,
    /// The first of the columns that are asked sets; those before are asked bounds.
    sets_from: usize,
    subtrees: Vec<Subtree>,
    for_vectors: bool,
    /// The columns of each subtree's slots, if there are more than [`NARROW`].
    wide: Vec<[u16; SLOTS + 1]>,
    leaves: Vec<f32>,
    roots: Vec<u32>,
    /// The first leaf of each tree.
    first_leaves: Vec<u32>,
    set_starts: Vec<u32>,
    set_bits: Vec<u32>,
}

impl SubtreeForest {
    /// How many columns of codes the slots ask.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// How many lines of codes a row has, at least one.
    pub(crate) fn lines(&self) -> usize {
        self.columns.div_ceil(CODES).max(1)
    }

    /// The first of the columns that are asked sets.
    pub(crate) fn sets_from(&self) -> usize {
        self.sets_from
    }

    /// Every subtree of every tree.
    pub(crate) fn subtrees(&self) -> &[Subtree] {
        &self.subtrees
    }

    /// Whether [`Subtree::columns`] are in the order for kernels that ask all slots at once.
    pub(crate) fn for_vectors(&self) -> bool {
        self.for_vectors
    }

    /// The columns of each subtree's slots, and [`WIDE_LEFT`], if there are more than [`NARROW`]; else empty.
    pub(crate) fn wide(&self) -> &[[u16; SLOTS + 1]] {
        &self.wide
    }

    /// Every leaf of every tree.
    pub(crate) fn leaves(&self) -> &[f32] {
        &self.leaves
    }

    /// The first subtree of each tree.
    pub(crate) fn roots(&self) -> &[u32] {
        &self.roots
    }

    /// Where a walk begins, from an entry that [`SubtreeForestBuilder::cut`] told of tree `tree`: twice the number of a subtree,
    /// or twice that of a leaf and one more.
    pub(crate) fn entry(&self, tree: usize, in_tree: u32) -> u32 {
        let first = if in_tree & 1 == 0 { &self.roots } else { &self.first_leaves };
        (first[tree] << 1) + in_tree
    }

    /// The first word of each set in [`Self::set_bits`].
    pub(crate) fn set_starts(&self) -> &[u32] {
        &self.set_starts
    }

    /// One bit a code for each set, the lowest first; as many words as the column's codes need.
    pub(crate) fn set_bits(&self) -> &[u32] {
        &self.set_bits
    }
}

/// One node as its maker knows it; children are indices into the tree's nodes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// An end.
    Leaf(f32),
    /// Right where the code of `column` is at least `from`, or as `missing` says where it is [`MISSING`].
    From {
        /// Which column.
        column: u16,
        /// The bound.
        from: u16,
        /// Whether a missing value goes right.
        missing: bool,
        /// The left and the right child.
        children: [u32; 2],
    },
    /// Right where the code of `column` is in a set that [`SubtreeForestBuilder::set`] made.
    In {
        /// Which column.
        column: u16,
        /// Which set.
        set: u16,
        /// The left and the right child.
        children: [u32; 2],
    },
}

/// A tree that was cut by itself, whose subtrees and leaves count from 0.
#[derive(Debug, Default)]
pub(crate) struct CutTree {
    subtrees: Vec<Subtree>,
    wide: Vec<[u16; SLOTS + 1]>,
    leaves: Vec<f32>,
}

/// Cuts one tree after another, or several at once.
#[derive(Debug)]
pub(crate) struct SubtreeForestBuilder {
    forest: SubtreeForest,
    /// How many codes each column has.
    codes: Vec<usize>,
    /// The column that each set is asked of.
    set_columns: Vec<u16>,
    set_of: std::collections::HashMap<(u16, Vec<u32>), u16>,
}

impl SubtreeForestBuilder {
    /// No trees yet; `codes[column]` says how many codes a column has, and the columns from `sets_from` on are asked sets.
    ///
    /// # Panics
    /// If there are more columns than 15 bits can name.
    pub(crate) fn new(codes: Vec<usize>, sets_from: usize) -> Self {
        assert!(codes.len() <= 1 << 15 && sets_from <= codes.len());
        Self {
            forest: SubtreeForest {
                columns: codes.len(),
                sets_from,
                subtrees: Vec::new(),
                for_vectors: false,
                wide: Vec::new(),
                leaves: Vec::new(),
                roots: Vec::new(),
                first_leaves: Vec::new(),
                set_starts: Vec::new(),
                set_bits: Vec::new(),
            },
            codes,
            set_columns: Vec::new(),
            set_of: std::collections::HashMap::new(),
        }
    }

    /// A set of codes of `column`, by the answer for each; `None` if there are more sets than a slot can name, or they
    /// take more memory than they should.
    pub(crate) fn set(&mut self, column: u16, answers: impl Iterator<Item = bool>) -> Option<u16> {
        let mut words = vec![0u32; self.codes[usize::from(column)].div_ceil(32)];
        for (code, right) in answers.enumerate() {
            words[code / 32] |= u32::from(right) << (code % 32);
        }
        let forest = &mut self.forest;
        let next = forest.set_starts.len();
        let key = (column, words);
        if let Some(set) = self.set_of.get(&key) {
            return Some(*set);
        }
        let set = u16::try_from(next).ok().filter(|_| forest.set_bits.len() < MAX_SET_WORDS)?;
        forest.set_starts.push(forest.set_bits.len() as u32);
        forest.set_bits.extend_from_slice(&key.1);
        self.set_columns.push(column);
        self.set_of.insert(key, set);
        Some(set)
    }

    /// Cuts a tree, of whose nodes `step` says what they are; the root is the first. `begins` is told each node where walks may
    /// begin, which are leaves and the roots of subtrees, and its entry in the tree.
    ///
    /// # Panics
    /// If it is empty, or a node names a column, set or child that is not there, or a child before itself.
    pub(crate) fn cut(&self, step: impl Fn(u32) -> Step, mut begins: impl FnMut(u32, u32)) -> CutTree {
        let forest = &self.forest;
        let mut cut = CutTree::default();
        // The root of each subtree, level after level, so that the subtrees below one lie side by side.
        let is_leaf = |node: u32| matches!(step(node), Step::Leaf(_));
        let mut tops = vec![0u32];
        let mut at = 0;
        while at < tops.len() {
            begins(tops[at], (at as u32) << 1);
            let mut wide = [0; SLOTS + 1];
            let mut subtree = Subtree { bounds: [0; SLOTS + 1], columns: [0; SLOTS + 1], exits: Exits::NONE };
            let mut heap = Heap::new();
            heap.put(0, tops[at], is_leaf(tops[at]));
            while let Some((slot, node)) = heap.next_split() {
                let (column, bound, left, children) = match step(node) {
                    Step::Leaf(_) => continue,
                    Step::From { column, from, missing, children } => {
                        assert!(usize::from(column) < forest.sets_from);
                        (column, from, !missing, children)
                    }
                    Step::In { column, set, children } => {
                        assert!(usize::from(column) >= forest.sets_from);
                        assert!(self.set_columns[usize::from(set)] == column);
                        (column, set, false, children)
                    }
                };
                subtree.bounds[slot] = bound;
                subtree.columns[slot] = column as u8 | u8::from(left) << 7;
                wide[slot] = column | u16::from(left) << 15;
                for (side, child) in children.into_iter().enumerate() {
                    assert!(child > node);
                    heap.put(2 * slot + 1 + side, child, is_leaf(child));
                }
            }
            let (tops_before, leaves_before) = (tops.len(), cut.leaves.len());
            let mut rank = 0;
            for exit in bits(heap.onward) {
                tops.push(heap.exits[exit]);
                subtree.exits.ranks |= rank << (4 * exit);
                rank += 1;
            }
            for exit in bits(heap.ends) {
                let Step::Leaf(value) = step(heap.exits[exit]) else { continue };
                begins(heap.exits[exit], (cut.leaves.len() as u32) << 1 | 1);
                cut.leaves.push(value);
                subtree.exits.ranks |= rank << (4 * exit);
                rank += 1;
            }
            let count = heap.onward.count_ones();
            subtree.exits.firsts =
                [(leaves_before as u32).wrapping_sub(count), (tops_before as u32) << COUNT_BITS | count];
            cut.subtrees.push(subtree);
            if forest.columns > NARROW {
                cut.wide.push(wide);
            }
            at += 1;
        }
        cut
    }

    /// The forest of `trees`, in order; for kernels that ask all slots of a subtree at once if `for_vectors`.
    ///
    /// # Panics
    /// If they have more subtrees than [`Exits`] can name.
    pub(crate) fn finish(self, trees: &[CutTree], for_vectors: bool) -> SubtreeForest {
        let mut forest = self.forest;
        forest.for_vectors = for_vectors;
        let subtrees = trees.iter().map(|tree| tree.subtrees.len()).sum();
        let leaves = trees.iter().map(|tree| tree.leaves.len()).sum();
        assert!(subtrees < MAX_SUBTREES && leaves < MAX_LEAVES);
        forest.subtrees.reserve_exact(subtrees);
        forest.leaves.reserve_exact(leaves);
        for tree in trees {
            let (first, leaf) = (forest.subtrees.len() as u32, forest.leaves.len() as u32);
            forest.roots.push(first);
            forest.first_leaves.push(leaf);
            forest.subtrees.extend(tree.subtrees.iter().map(|subtree| {
                let mut subtree = *subtree;
                subtree.exits.firsts[0] = subtree.exits.firsts[0].wrapping_add(leaf);
                subtree.exits.firsts[1] += first << COUNT_BITS;
                if for_vectors {
                    for (slot, column) in subtree.columns.into_iter().enumerate() {
                        subtree.columns[slot % 8 * 2 + slot / 8] = column;
                    }
                }
                subtree
            }));
            forest.wide.extend_from_slice(&tree.wide);
            forest.leaves.extend_from_slice(&tree.leaves);
        }
        forest.wide.shrink_to_fit();
        forest.set_bits.shrink_to_fit();
        forest
    }
}
