//! The trees of a [`MaskForest`](super::MaskForest) once more, for kernels that take one row: each slot's question beside its
//! neighbours'.

use std::collections::BTreeMap;

use super::lines::Line;
use super::masks::{Ask, BitRows, Heap};

/// The most byte columns that a slot can name.
pub(crate) const MAX_ROW_COLUMNS: usize = 256;
/// The most planes that a row has room for.
pub(crate) const MAX_ROW_PLANES: usize = 64 * 64;
/// The most answers that a [`Deposit`] takes: as many bits as 8 bytes hold from any bit of the first on.
const MAX_DEPOSIT: usize = 56;

/// Answers to sets that stand side by side in the row's planes, and the slots of a heap that they belong to, both ascending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deposit {
    /// The slots, of the 64 from `64 * word` on.
    pub(crate) slots: u64,
    /// The first plane.
    pub(crate) plane: u16,
    /// Which 64 slots.
    pub(crate) word: u16,
}

/// Where what belongs to one tree begins.
#[derive(Debug, Clone, Copy)]
struct Start {
    slots: u32,
    deposits: u32,
}

/// For each tree, the column and the bound of each slot of its heap, and its questions about sets.
#[derive(Debug, Clone)]
pub(crate) struct RowForest {
    /// For each 64 slots of a tree a line of columns and a line of bounds. Slots that ask for no rank have the bound 255,
    /// which no byte reaches, so that what is deposited for them stands.
    slots: Vec<[Line; 2]>,
    deposits: Vec<Deposit>,
    /// Of each tree, and where the last one ends.
    starts: Vec<Start>,
    /// The answers to sets of a byte column, by byte: the column, their first plane, the answers.
    sets: Vec<(u16, usize, BitRows)>,
    planes: usize,
    /// Whether no tree has more than 6 levels: then tree `i` has `slots[i]` and leaf table `i`.
    shallow: bool,
    columns: usize,
}

impl RowForest {
    /// The trees of `heaps`, which ask for `planes` planes of larger sets; `None` if there are too many columns or sets.
    pub(crate) fn new(heaps: &[Heap], columns: usize, planes: usize) -> Option<Self> {
        let mut rows = Self {
            slots: Vec::new(),
            deposits: Vec::new(),
            starts: Vec::new(),
            sets: Vec::new(),
            planes,
            shallow: heaps.iter().all(|heap| heap.depth <= 6),
            columns,
        };
        // The sets of each column, tree after tree and slot after slot: their planes follow one another.
        let mut of_column: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
        for ask in heaps.iter().flat_map(|heap| &heap.asks) {
            if let Ask::Set { column, bits } = ask.1 {
                of_column.entry(column).or_default().push(bits);
            }
        }
        let mut next: BTreeMap<u16, usize> = BTreeMap::new();
        for (column, sets) in of_column {
            next.insert(column, rows.planes);
            let mut answers = BitRows::new(64, sets.len());
            for (test, set) in sets.iter().enumerate() {
                (0..64).filter(|byte| set >> byte & 1 == 1).for_each(|byte| answers.set(byte, test));
            }
            rows.sets.push((column, rows.planes, answers));
            rows.planes += sets.len();
        }
        if columns > MAX_ROW_COLUMNS || rows.planes > MAX_ROW_PLANES {
            return None;
        }
        for heap in heaps {
            rows.starts.push(rows.end());
            let first = rows.slots.len();
            rows.slots.resize(first + (1 << heap.depth.saturating_sub(6)), [Line::ZERO, Line([255; 64])]);
            let mut answers = Vec::new();
            for (slot, ask) in &heap.asks {
                let slot = *slot;
                let (line, at) = (first + usize::from(slot) / 64, usize::from(slot) % 64);
                match *ask {
                    Ask::From { column, bound } => {
                        rows.slots[line][0].0[at] = column as u8;
                        rows.slots[line][1].0[at] = bound;
                    }
                    Ask::Set { column, .. } => {
                        let next = next.get_mut(&column).expect("counted before");
                        answers.push((*next, slot));
                        *next += 1;
                    }
                    Ask::Plane { plane } => answers.push((plane as usize, slot)),
                }
            }
            answers.sort_unstable();
            rows.deposit(&answers);
        }
        rows.starts.push(rows.end());
        Some(rows)
    }

    /// Adds what a tree asks of planes, each with its slot, planes ascending.
    fn deposit(&mut self, answers: &[(usize, u16)]) {
        let first = self.deposits.len();
        let mut last = None;
        for (plane, slot) in answers {
            let (word, bit) = (slot / 64, 1u64 << (slot % 64));
            let follows = last == Some(plane.wrapping_sub(1));
            match self.deposits[first..].last_mut() {
                // Neighbours in the same word, whose slots go up too.
                Some(deposit)
                    if follows
                        && deposit.word == word
                        && bit > deposit.slots
                        && (deposit.slots.count_ones() as usize) < MAX_DEPOSIT =>
                {
                    deposit.slots |= bit;
                }
                _ => self.deposits.push(Deposit { slots: bit, plane: *plane as u16, word }),
            }
            last = Some(*plane);
        }
    }

    fn end(&self) -> Start {
        Start { slots: self.slots.len() as u32, deposits: self.deposits.len() as u32 }
    }

    /// The slots of tree `index`.
    #[inline]
    pub(crate) fn slots(&self, index: usize) -> &[[Line; 2]] {
        &self.slots[self.starts[index].slots as usize..self.starts[index + 1].slots as usize]
    }

    /// What tree `index` asks of sets.
    #[inline]
    pub(crate) fn deposits(&self, index: usize) -> &[Deposit] {
        &self.deposits[self.starts[index].deposits as usize..self.starts[index + 1].deposits as usize]
    }

    /// Whether any tree asks of sets.
    #[inline]
    pub(crate) fn has_sets(&self) -> bool {
        !self.deposits.is_empty()
    }

    /// The answers to sets of a byte column, by byte: the column, their first plane, the answers.
    #[inline]
    pub(crate) fn sets(&self) -> &[(u16, usize, BitRows)] {
        &self.sets
    }

    /// How many planes there are, at most [`MAX_ROW_PLANES`].
    #[inline]
    pub(crate) fn planes(&self) -> usize {
        self.planes
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
