//! The trees of a [`MaskForest`](super::MaskForest) once more, for kernels that take one row: each slot's question beside its
//! neighbours'.

use super::lines::Line;
use super::masks::{Ask, Heap};

/// The most byte columns that a slot can name.
pub(crate) const MAX_ROW_COLUMNS: usize = 256;

/// Right where bit `b` of `bits` is set, `b` being the byte of `column` (below 64).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SetTest {
    /// The set.
    pub(crate) bits: u64,
    /// Which byte column is asked.
    pub(crate) column: u16,
    /// Where in the tree's heap the answer belongs.
    pub(crate) slot: u16,
}

/// Right where the row's bit of `plane` is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlaneTest {
    /// Which plane.
    pub(crate) plane: u32,
    /// Where in the tree's heap the answer belongs.
    pub(crate) slot: u16,
}

/// Where what belongs to one tree begins.
#[derive(Debug, Clone, Copy)]
struct Start {
    slots: u32,
    sets: u32,
    planes: u32,
}

/// For each tree, the column and the bound of each slot of its heap, and its questions about sets.
#[derive(Debug, Clone)]
pub(crate) struct RowForest {
    /// For each 64 slots of a tree a line of columns and a line of bounds. Slots that ask for no rank have the bound 255,
    /// which no byte reaches, so that what other tests say of them stands.
    slots: Vec<[Line; 2]>,
    sets: Vec<SetTest>,
    planes: Vec<PlaneTest>,
    /// Of each tree, and where the last one ends.
    starts: Vec<Start>,
    /// Whether no tree has more than 6 levels: then tree `i` has `slots[i]` and leaf table `i`.
    shallow: bool,
    columns: usize,
}

impl RowForest {
    /// The trees of `heaps`; `None` if there are too many columns.
    pub(crate) fn new(heaps: &[Heap], columns: usize) -> Option<Self> {
        if columns > MAX_ROW_COLUMNS {
            return None;
        }
        let (slots, sets, planes) = (Vec::new(), Vec::new(), Vec::new());
        let mut rows = Self { slots, sets, planes, starts: Vec::new(), shallow: true, columns };
        for heap in heaps {
            rows.starts.push(rows.end());
            let first = rows.slots.len();
            rows.slots.resize(first + (1 << heap.depth.saturating_sub(6)), [Line::ZERO, Line([255; 64])]);
            for (slot, ask) in &heap.asks {
                let slot = *slot;
                let (line, at) = (first + usize::from(slot) / 64, usize::from(slot) % 64);
                match *ask {
                    Ask::From { column, bound } => {
                        rows.slots[line][0].0[at] = column as u8;
                        rows.slots[line][1].0[at] = bound;
                    }
                    Ask::Set { column, bits } => rows.sets.push(SetTest { bits, column, slot }),
                    Ask::Plane { plane } => rows.planes.push(PlaneTest { plane, slot }),
                }
            }
            rows.shallow &= heap.depth <= 6;
        }
        rows.starts.push(rows.end());
        Some(rows)
    }

    fn end(&self) -> Start {
        let [slots, sets, planes] =
            [self.slots.len(), self.sets.len(), self.planes.len()].map(|length| length as u32);
        Start { slots, sets, planes }
    }

    /// The slots of tree `index`.
    #[inline]
    pub(crate) fn slots(&self, index: usize) -> &[[Line; 2]] {
        &self.slots[self.starts[index].slots as usize..self.starts[index + 1].slots as usize]
    }

    /// What tree `index` asks of sets of up to 64.
    #[inline]
    pub(crate) fn sets(&self, index: usize) -> &[SetTest] {
        &self.sets[self.starts[index].sets as usize..self.starts[index + 1].sets as usize]
    }

    /// What tree `index` asks of larger sets.
    #[inline]
    pub(crate) fn planes(&self, index: usize) -> &[PlaneTest] {
        &self.planes[self.starts[index].planes as usize..self.starts[index + 1].planes as usize]
    }

    /// Whether any tree asks of sets.
    #[inline]
    pub(crate) fn has_sets(&self) -> bool {
        self.sets.len() + self.planes.len() > 0
    }

    /// How many byte columns there are, at most [`MAX_ROW_COLUMNS`].
    #[inline]
    pub(crate) fn columns(&self) -> usize {
        self.columns
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
