//! Trees cut into subtrees of four levels, each in one cache line, for kernels that take many rows or many trees side by
//! side.
//!
//! In flow, by [`SubtreeForestBuilder`], trees as questions on columns of 16-bit codes; out flows a [`SubtreeForest`] in
//! which every column, subtree and leaf that a subtree names exists, and the subtrees below come after it, so that a walk
//! ends.

/// Levels of a subtree.
pub(crate) const SUBTREE_LEVELS: u32 = 4;
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

impl Subtree {
    /// No slots and no exits.
    const NONE: Self = Self { bounds: [0; SLOTS + 1], columns: [0; SLOTS + 1], exits: Exits::NONE };
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

/// A subtree on its way: nodes of a tree at the places of slots, and then at those of exits.
struct Heap {
    nodes: [u32; SLOTS + EXITS + 1],
    /// The places of splits, those of exits lead to other subtrees, and the places of leaves, which are exits: a bit each.
    splits: u32,
    ends: u32,
}

/// Where a path that ends at a place leaves: right through the levels that are left.
const END: [u8; SLOTS + EXITS + 1] = {
    let mut ends = [0; SLOTS + EXITS + 1];
    let mut place = 0;
    while place < ends.len() {
        let mut end = place;
        while end < SLOTS {
            end = 2 * end + 2;
        }
        ends[place] = end as u8;
        place += 1;
    }
    ends
};

impl Heap {
    /// A subtree whose root is this.
    #[inline]
    fn new(node: u32, is_leaf: bool) -> Self {
        let mut heap = Self { nodes: [0; SLOTS + EXITS + 1], splits: 0, ends: 0 };
        heap.put(0, node, is_leaf);
        heap
    }

    /// Puts a node at a place. Without a branch, which nothing could predict.
    #[inline(always)]
    fn put(&mut self, place: usize, node: u32, is_leaf: bool) {
        let at = [place, usize::from(END[place])][usize::from(is_leaf)];
        self.nodes[at] = node;
        self.splits |= u32::from(!is_leaf) << at;
        self.ends |= u32::from(is_leaf) << at;
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

    /// The first word of each set in [`Self::set_bits`].
    pub(crate) fn set_starts(&self) -> &[u32] {
        &self.set_starts
    }

    /// One bit a code for each set, the lowest first; as many words as the column's codes need.
    pub(crate) fn set_bits(&self) -> &[u32] {
        &self.set_bits
    }
}

/// One split as its maker knows it; children are indices into the tree's nodes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// Right where the code of `column` is at least `from`, or as `missing` says where it is [`MISSING`].
    From {
        /// Which column.
        column: u16,
        /// The bound.
        from: u16,
        /// Whether a missing value goes right.
        missing: bool,
        /// The left and the right child, and whether they are leaves.
        children: [(u32, bool); 2],
    },
    /// Right where the code of `column` is in a set that [`SubtreeForestBuilder::set`] made.
    In {
        /// Which column.
        column: u16,
        /// Which set.
        set: u16,
        /// The left and the right child, and whether they are leaves.
        children: [(u32, bool); 2],
    },
}

/// How many subtrees and leaves a tree is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TreeSize {
    /// One for every split whose level is a multiple of [`SUBTREE_LEVELS`], and at least one.
    pub(crate) subtrees: usize,
    /// All of its leaves.
    pub(crate) leaves: usize,
}

/// Where a tree that is cut is to lie: its parts of the forest's arrays.
#[derive(Debug)]
pub(crate) struct TreeRoom<'a> {
    subtrees: &'a mut [Subtree],
    wide: &'a mut [[u16; SLOTS + 1]],
    leaves: &'a mut [f32],
    /// The numbers of its first subtree and leaf.
    firsts: (u32, u32),
}

/// Cuts one tree after another, or several at once.
#[derive(Debug)]
pub(crate) struct Cutter {
    columns: usize,
    sets_from: usize,
    /// The column that each set is asked of.
    set_columns: Vec<u16>,
    /// Where the column of each slot lies in [`Subtree::columns`].
    column_at: [u8; SLOTS],
}

/// Gives sets their numbers and trees their room.
#[derive(Debug)]
pub(crate) struct SubtreeForestBuilder {
    forest: SubtreeForest,
    cutter: Cutter,
    /// How many codes each column has.
    codes: Vec<usize>,
    set_of: std::collections::HashMap<(u16, Vec<u32>), u16>,
}

impl SubtreeForestBuilder {
    /// No trees yet; `codes[column]` says how many codes a column has, and the columns from `sets_from` on are asked sets.
    ///
    /// # Panics
    /// If there are more columns than 15 bits can name.
    pub(crate) fn new(codes: Vec<usize>, sets_from: usize) -> Self {
        assert!(codes.len() <= 1 << 15 && sets_from <= codes.len());
        let columns = codes.len();
        Self {
            forest: SubtreeForest {
                columns,
                sets_from,
                subtrees: Vec::new(),
                for_vectors: false,
                wide: Vec::new(),
                leaves: Vec::new(),
                roots: Vec::new(),
                set_starts: Vec::new(),
                set_bits: Vec::new(),
            },
            cutter: Cutter { columns, sets_from, set_columns: Vec::new(), column_at: [0; SLOTS] },
            codes,
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
        self.cutter.set_columns.push(column);
        self.set_of.insert(key, set);
        Some(set)
    }

    /// Rooms for trees of these sizes, in order, in arrays that are empty yet, and who cuts them; for kernels that ask all slots of a
    /// subtree at once if `for_vectors`.
    ///
    /// # Panics
    /// If there are more subtrees than [`Exits`] can name.
    pub(crate) fn rooms(
        &mut self,
        sizes: &[TreeSize],
        for_vectors: bool,
        (subtrees, leaves): (Vec<Subtree>, Vec<f32>),
    ) -> (&Cutter, Vec<TreeRoom<'_>>) {
        let all = sizes.iter().fold((0, 0), |all, size| (all.0 + size.subtrees, all.1 + size.leaves));
        assert!(all.0 < MAX_SUBTREES && all.1 < MAX_LEAVES);
        for (slot, at) in self.cutter.column_at.iter_mut().enumerate() {
            *at = if for_vectors { slot % 8 * 2 + slot / 8 } else { slot } as u8;
        }
        let forest = &mut self.forest;
        forest.for_vectors = for_vectors;
        (forest.subtrees, forest.leaves) = (subtrees, leaves);
        forest.subtrees.resize(all.0, Subtree::NONE);
        forest.leaves.resize(all.1, 0.0);
        forest.wide = vec![[0; SLOTS + 1]; if forest.columns > NARROW { all.0 } else { 0 }];
        let (mut subtrees, mut leaves) = (&mut forest.subtrees[..], &mut forest.leaves[..]);
        let mut wide = &mut forest.wide[..];
        let mut firsts = (0, 0);
        let rooms = sizes.iter().map(|size| {
            forest.roots.push(firsts.0);
            let room = TreeRoom {
                subtrees: subtrees.split_off_mut(..size.subtrees).expect("room for all"),
                wide: wide.split_off_mut(..size.subtrees.min(wide.len())).expect("room for all or none"),
                leaves: leaves.split_off_mut(..size.leaves).expect("room for all"),
                firsts,
            };
            firsts = (firsts.0 + size.subtrees as u32, firsts.1 + size.leaves as u32);
            room
        });
        (&self.cutter, rooms.collect())
    }

    /// The forest, of trees that were cut.
    pub(crate) fn finish(self) -> SubtreeForest {
        let mut forest = self.forest;
        forest.set_bits.shrink_to_fit();
        forest
    }
}

impl Cutter {
    /// Cuts a tree, of whose nodes `value` gives those of leaves, and `step` says what splits are; the root is the first. `begins`
    /// is told each node where walks may begin, which are leaves and the roots of subtrees, and its entry: twice the number of a
    /// subtree, or twice that of a leaf and one more.
    ///
    /// # Panics
    /// If it is not of the room's size, a leaf is said to be a split or the other way round, or a node names a column, set or child
    /// that is not there, or a child before itself.
    pub(crate) fn cut(
        &self,
        value: impl Fn(u32) -> Option<f32>,
        step: impl Fn(u32) -> Step,
        mut begins: impl FnMut(u32, u32),
        room: TreeRoom<'_>,
        tops: &mut Vec<u32>,
    ) {
        let TreeRoom { subtrees, wide, leaves, firsts: (first_subtree, first_leaf) } = room;
        // The root of each subtree, level after level, so that the subtrees below one lie side by side.
        tops.clear();
        tops.resize(subtrees.len() + 1, 0);
        let (mut top_end, mut leaf) = (1, 0);
        for (at, place) in subtrees.iter_mut().enumerate() {
            // Written at once when it is complete: its place lies beyond the caches.
            let mut subtree = Subtree::NONE;
            let top = tops[at];
            begins(top, (first_subtree + at as u32) << 1);
            let mut heap = Heap::new(top, value(top).is_some());
            let mut rest = heap.splits;
            while let slot @ 0..SLOTS = rest.trailing_zeros() as usize {
                let node = heap.nodes[slot];
                assert!(value(node).is_none());
                let (column, bound, left, children) = match step(node) {
                    Step::From { column, from, missing, children } => {
                        assert!(usize::from(column) < self.sets_from);
                        (column, from, !missing, children)
                    }
                    Step::In { column, set, children } => {
                        assert!(usize::from(column) >= self.sets_from && usize::from(column) < self.columns);
                        assert!(self.set_columns[usize::from(set)] == column);
                        (column, set, false, children)
                    }
                };
                subtree.bounds[slot] = bound;
                subtree.columns[usize::from(self.column_at[slot])] = column as u8 | u8::from(left) << 7;
                if let Some(wide) = wide.get_mut(at) {
                    wide[slot] = column | u16::from(left) << 15;
                }
                for (side, (child, is_leaf)) in children.into_iter().enumerate() {
                    assert!(child > node);
                    heap.put(2 * slot + 1 + side, child, is_leaf);
                }
                rest = heap.splits & (!1 << slot);
            }
            let count = (heap.splits >> SLOTS).count_ones();
            subtree.exits.firsts = [
                (first_leaf + leaf as u32).wrapping_sub(count),
                (first_subtree + top_end as u32) << COUNT_BITS | count,
            ];
            let mut ranks = [0, u64::from(count)];
            for exit in bits((heap.splits | heap.ends) >> SLOTS) {
                let node = heap.nodes[SLOTS + exit];
                // Both are written, and what is not meant by the next again: a choice would become a branch.
                let value = value(node);
                let is_leaf = usize::from(value.is_some());
                assert!((heap.ends >> (SLOTS + exit)) as usize & 1 == is_leaf);
                if value.is_some() {
                    begins(node, (first_leaf + leaf as u32) << 1 | 1);
                }
                tops[top_end] = node;
                leaves[leaf] = value.unwrap_or_default();
                top_end += 1 - is_leaf;
                leaf += is_leaf;
                subtree.exits.ranks |= ranks[is_leaf] << (4 * exit);
                ranks[is_leaf] += 1;
            }
            *place = subtree;
        }
        assert!(top_end == subtrees.len() && leaf == leaves.len());
    }
}
