//! The trees of a [`MaskForest`] once more, for kernels that take one row: each slot's question beside its neighbours'.

use super::lines::Line;
use super::masks::MaskForest;

/// The most byte columns that a slot can name.
pub(crate) const MAX_ROW_COLUMNS: usize = 256;

/// For each tree, the column and the bound of each slot of its heap.
#[derive(Debug, Clone)]
pub(crate) struct RowForest {
    /// For each 64 slots of a tree a line of columns and a line of bounds (as `i8`).
    slots: Vec<[Line; 2]>,
    /// Where each tree begins in `slots`, and where the last one ends.
    starts: Vec<u32>,
    /// Whether no tree has more than 6 levels: then tree `i` has `slots[i]` and leaf table `i`.
    shallow: bool,
}

impl RowForest {
    /// The trees of `forest`; `None` if it has too many columns. Slots that have no test on a rank are never reached by it:
    /// their bound is 127, so that what other tests say of them stands.
    pub(crate) fn new(forest: &MaskForest) -> Option<Self> {
        if forest.columns() > MAX_ROW_COLUMNS {
            return None;
        }
        let mut rows = Self { slots: Vec::new(), starts: vec![0], shallow: true };
        for tree in forest.trees() {
            let first = rows.slots.len();
            rows.slots.resize(first + (1 << tree.depth.saturating_sub(6)), [Line::ZERO, Line([127; 64])]);
            for test in &forest.rank_tests()[tree.rank.0 as usize..tree.rank.1 as usize] {
                let (line, at) = (first + usize::from(test.slot) / 64, usize::from(test.slot) % 64);
                rows.slots[line][0].0[at] = test.column as u8;
                rows.slots[line][1].0[at] = test.below as u8;
            }
            rows.starts.push(rows.slots.len() as u32);
            rows.shallow &= tree.depth <= 6;
        }
        Some(rows)
    }

    /// The slots of tree `index`.
    #[inline]
    pub(crate) fn tree(&self, index: usize) -> &[[Line; 2]] {
        &self.slots[self.starts[index] as usize..self.starts[index + 1] as usize]
    }

    /// How many trees there are.
    pub(crate) fn trees(&self) -> usize {
        self.starts.len() - 1
    }

    /// The slots of all trees, if none has more than 6 levels; the leaves of tree `i` are then table `i` of the forest.
    #[inline]
    pub(crate) fn shallow(&self) -> Option<&[[Line; 2]]> {
        self.shallow.then_some(&self.slots)
    }
}
