//! Trees as small nodes, level after level, for kernels that take many rows one level down at a time.
//!
//! In flow, by [`WaveForestBuilder`], trees as questions on columns of 16-bit codes; out flows a [`WaveForest`] in which
//! every child, column and set that a node names exists and children come after their parent, so that a walk ends.

/// Rows that go down a tree together, and the distance of columns of codes.
pub(crate) const WAVE: usize = super::GROUP;

/// A node of 8 bytes. The right child is the one after the left; a leaf is its value's bits.
///
/// From the lowest bit: 16 bits that say from which code on a row goes right (of a node that asks a set, which set); 15
/// bits that name the column; a bit that says that a set is asked; a bit each that says whether the left and the right
/// child is a leaf; and 30 bits of the left child's index, counted from the tree's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct WaveNode(pub(crate) u64);

impl WaveNode {
    /// The bound, or the set.
    #[inline(always)]
    pub(crate) fn from(self) -> u16 {
        self.0 as u16
    }

    /// The column.
    #[inline(always)]
    pub(crate) fn column(self) -> usize {
        (self.0 >> 16 & 0x7fff) as usize
    }

    /// Whether this is a leaf: no split has a child 0.
    #[inline(always)]
    pub(crate) fn is_leaf(self) -> bool {
        self.0 >> 34 == 0
    }

    /// 1 if a set is asked.
    #[inline(always)]
    pub(crate) fn asks_set(self) -> u64 {
        self.0 >> 31 & 1
    }

    /// The left (0) or right (1) child, and 1 if it is a leaf.
    #[inline(always)]
    pub(crate) fn child(self, right: u64) -> (u64, u64) {
        ((self.0 >> 34) + right, self.0 >> (32 + right) & 1)
    }

    /// A leaf's value.
    #[inline(always)]
    pub(crate) fn value(self) -> f32 {
        f32::from_bits(self.0 as u32)
    }
}

/// Words of sets, 64 MiB: a small file must not make large tables.
const MAX_SET_WORDS: usize = 16 << 20;

/// Trees over one set of code columns.
#[derive(Debug, Clone)]
pub(crate) struct WaveForest {
    columns: usize,
    nodes: Vec<WaveNode>,
    roots: Vec<u32>,
    set_starts: Vec<u32>,
    set_bits: Vec<u32>,
}

impl WaveForest {
    /// How many columns of codes the nodes ask.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The nodes of tree `index`, the root first.
    pub(crate) fn tree(&self, index: usize) -> &[WaveNode] {
        let end = self.roots.get(index + 1).map_or(self.nodes.len(), |root| *root as usize);
        &self.nodes[self.roots[index] as usize..end]
    }

    /// The first word of each set in [`Self::set_bits`].
    pub(crate) fn set_starts(&self) -> &[u32] {
        &self.set_starts
    }

    /// One bit a code for each set, the lowest first; as many words as the column's codes need.
    pub(crate) fn set_bits(&self) -> &[u32] {
        &self.set_bits
    }

    /// Whether some node asks a set.
    pub(crate) fn has_sets(&self) -> bool {
        !self.set_starts.is_empty()
    }
}

/// One node as its maker knows it; indices of children count from the tree's root.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// An end.
    Leaf(f32),
    /// Right where the code of `column` is at least `from`.
    From {
        /// Which column.
        column: u16,
        /// The bound.
        from: u16,
        /// The left child; the right one is the next.
        left: u32,
    },
    /// Right where the code of `column` is in a set that [`WaveForestBuilder::set`] made.
    In {
        /// Which column.
        column: u16,
        /// Which set.
        set: u16,
        /// The left child; the right one is the next.
        left: u32,
    },
}

/// Collects one tree after another.
#[derive(Debug)]
pub(crate) struct WaveForestBuilder {
    forest: WaveForest,
    /// How many codes each column has.
    codes: Vec<usize>,
    /// The column that each set is asked of.
    set_columns: Vec<u16>,
    set_of: std::collections::HashMap<(u16, Vec<u32>), u16>,
}

impl WaveForestBuilder {
    /// No trees yet; `codes[column]` says how many codes a column has.
    ///
    /// # Panics
    /// If there are more columns than a node can name.
    pub(crate) fn new(codes: Vec<usize>) -> Self {
        assert!(codes.len() < 1 << 15);
        Self {
            forest: WaveForest {
                columns: codes.len(),
                nodes: Vec::new(),
                roots: Vec::new(),
                set_starts: Vec::new(),
                set_bits: Vec::new(),
            },
            codes,
            set_columns: Vec::new(),
            set_of: std::collections::HashMap::new(),
        }
    }

    /// A set of codes of `column`, by the answer for each; `None` if there are more sets than a node can name, or they
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

    /// Adds a tree whose root is its first node.
    ///
    /// # Panics
    /// If it is empty, or a node names a column, set or child that is not there, or a child before itself.
    pub(crate) fn tree(&mut self, steps: &[Step]) {
        let forest = &mut self.forest;
        assert!(
            !steps.is_empty()
                && steps.len() < 1 << 30
                && forest.nodes.len() + steps.len() < u32::MAX as usize
        );
        forest.roots.push(forest.nodes.len() as u32);
        for (at, step) in steps.iter().enumerate() {
            let node = |from: u16, column: u16, left: u32| {
                assert!(left as usize > at && usize::from(column) < self.codes.len());
                let leaf = |child: u32| u64::from(matches!(steps[child as usize], Step::Leaf(_)));
                let low = u64::from(from) | u64::from(column) << 16;
                low | leaf(left) << 32 | leaf(left + 1) << 33 | u64::from(left) << 34
            };
            forest.nodes.push(WaveNode(match *step {
                Step::Leaf(value) => value.to_bits().into(),
                Step::From { column, from, left } => node(from, column, left),
                Step::In { column, set, left } => {
                    assert!(self.set_columns[usize::from(set)] == column);
                    node(set, column, left) | 1 << 31
                }
            }));
        }
    }

    /// The trees so far.
    pub(crate) fn finish(mut self) -> WaveForest {
        let forest = &mut self.forest;
        forest.nodes.shrink_to_fit();
        forest.set_bits.shrink_to_fit();
        self.forest
    }
}
