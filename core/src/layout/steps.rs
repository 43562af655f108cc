//! Trees as small nodes, for kernels that walk several rows down a tree in step.
//!
//! In flow, by [`StepForestBuilder`], trees as questions on columns of 16-bit codes; out flows a [`StepForest`] in which
//! every child, column and set that a node names exists, children come after their parent, and a leaf is its own child,
//! so that a walk may take more steps than its path has.

/// A node of 8 bytes. The right child is the one after the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(8))]
pub(crate) struct StepNode {
    /// Right where the code is at least this; of a node that asks a set, where the set begins in
    /// [`StepForest::set_starts`].
    pub(crate) from: u16,
    /// Which column is asked; with [`SET`] added, whether its code is in a set.
    pub(crate) column: u16,
    /// Index of the left child; of a leaf, one less than its own index, since every code is at least 0.
    pub(crate) left: u32,
}

/// The bit of [`StepNode::column`] that says that a set is asked.
pub(crate) const SET: u16 = 1 << 15;

/// Trees over one set of code columns.
#[derive(Debug, Clone)]
pub(crate) struct StepForest {
    columns: usize,
    nodes: Vec<StepNode>,
    values: Vec<f32>,
    roots: Vec<u32>,
    set_starts: Vec<u32>,
    set_bits: Vec<u32>,
}

impl StepForest {
    /// How many columns of codes the nodes ask.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The nodes of all trees.
    pub(crate) fn nodes(&self) -> &[StepNode] {
        &self.nodes
    }

    /// The value of each node that is a leaf; 0 for the others.
    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// The root of each tree, ascending.
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

    /// Whether some node asks a set.
    pub(crate) fn has_sets(&self) -> bool {
        !self.set_starts.is_empty()
    }

    /// Bytes of tree `index`.
    pub(crate) fn tree_bytes(&self, index: usize) -> usize {
        let end = self.roots.get(index + 1).map_or(self.nodes.len(), |root| *root as usize);
        (end - self.roots[index] as usize) * (size_of::<StepNode>() + size_of::<f32>())
    }

    /// Bytes of heap memory.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of_val(self.nodes.as_slice())
            + size_of_val(self.values.as_slice())
            + size_of_val(self.roots.as_slice())
            + size_of_val(self.set_starts.as_slice())
            + size_of_val(self.set_bits.as_slice())
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
    /// Right where the code of `column` is in a set that [`StepForestBuilder::set`] made.
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
pub(crate) struct StepForestBuilder {
    forest: StepForest,
    /// How many codes each column has.
    codes: Vec<usize>,
    /// The column that each set is asked of.
    set_columns: Vec<u16>,
    set_of: std::collections::HashMap<(u16, Vec<u32>), u16>,
}

impl StepForestBuilder {
    /// No trees yet; `codes[column]` says how many codes a column has.
    ///
    /// # Panics
    /// If there are more columns than a node can name.
    pub(crate) fn new(codes: Vec<usize>) -> Self {
        assert!(codes.len() <= usize::from(SET));
        Self {
            forest: StepForest {
                columns: codes.len(),
                nodes: Vec::new(),
                values: Vec::new(),
                roots: Vec::new(),
                set_starts: Vec::new(),
                set_bits: Vec::new(),
            },
            codes,
            set_columns: Vec::new(),
            set_of: std::collections::HashMap::new(),
        }
    }

    /// A set of codes of `column`, by the answer for each; `None` if there are more sets than a node can name.
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
        let set = u16::try_from(next).ok()?;
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
        let root = forest.nodes.len() as u32;
        assert!(!steps.is_empty() && steps.len() < (u32::MAX - root) as usize);
        forest.roots.push(root);
        for (at, step) in steps.iter().enumerate() {
            let child = |left: u32| {
                assert!(left as usize > at && (left as usize) + 1 < steps.len());
                root + left
            };
            let (node, value) = match *step {
                // Wraps for node 0, which then wraps back.
                Step::Leaf(value) => {
                    (StepNode { from: 0, column: 0, left: (root + at as u32).wrapping_sub(1) }, value)
                }
                Step::From { column, from, left } => {
                    assert!(usize::from(column) < self.codes.len());
                    (StepNode { from, column, left: child(left) }, 0.0)
                }
                Step::In { column, set, left } => {
                    assert!(self.set_columns[usize::from(set)] == column);
                    (StepNode { from: set, column: column | SET, left: child(left) }, 0.0)
                }
            };
            forest.nodes.push(node);
            forest.values.push(value);
        }
    }

    /// The trees so far.
    pub(crate) fn finish(mut self) -> StepForest {
        let forest = &mut self.forest;
        forest.nodes.shrink_to_fit();
        forest.values.shrink_to_fit();
        forest.set_bits.shrink_to_fit();
        self.forest
    }
}
