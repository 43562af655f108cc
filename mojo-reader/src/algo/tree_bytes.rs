//! The bytes of one tree: a `trees/tCC_GGG.bin` blob to its nodes.
//!
//! Numbers stand lowest byte first. (Java reads them in the order of its own machine; `endianness` of `model.ini` says that
//! of the machine that wrote them, and `forest` refuses the other.) A node is
//!
//! ```text
//! kind: u8       bits 0-1  how many bytes the length of the left subtree takes, less one
//!                bits 4-5  both set: the left child is a leaf, and there is no length
//!                bits 2-3  0: a threshold, 8: four bytes of levels, 12: a set of levels with its range
//!                bit 6     the right child is a leaf (bits 6-7 are bits 4-5 of the right)
//! column: u16    65535: not a split but a leaf, its value follows
//! na: u8         where missing values go; 1 means that there is no test
//! test           f32, or the set
//! length         of the left subtree in bytes, so that a walk to the right can skip it
//! left, right    each a leaf (f32) or a node
//! ```
//!
//! Out flow the nodes in this order, told one by one to who takes them. The walk holds its own stack, so depth costs memory by `Limits`,
//! never the machine's stack. Mirrors `SharedTreeMojoModel.scoreTree`, `scoreTree0`, `scoreTree1` and
//! `GenmodelBitSet.fill2`, `fill3`, `fill3_1`.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::cursor::Cursor;
use crate::error::Error;
use crate::limits::Limits;

use super::{LevelSet, NaSplit, Split, TakeTrees, Test, TreeRules};

/// The column number that marks a leaf.
const LEAF: u16 = 65_535;

/// Reads one tree after the other, within a budget of nodes that other readers share.
pub(super) struct TreeReader<'b> {
    rules: TreeRules,
    n_features: usize,
    max_depth: u64,
    max_nodes: u64,
    /// Nodes of the trees that are read already, by any reader.
    spent_nodes: &'b AtomicU64,
    sets: Vec<LevelSet>,
    set_bytes: Vec<u8>,
    open: Vec<Open>,
}

/// A split whose left subtree is being read.
struct Open {
    split: u32,
    /// Splits above it.
    above: u32,
    /// Where the left subtree must end.
    right_at: usize,
    right: Kind,
    /// The last set read on the way from the root to here.
    set: Option<u32>,
}

#[derive(Clone, Copy)]
enum Kind {
    Leaf,
    Node,
}

/// A node but for its children, of which a split says what comes next and where the right one stands.
enum Head {
    Leaf(f32),
    Split { column: u16, na: NaSplit, test: Test, left: Kind, right_at: usize, right: Kind },
}

/// Counts the nodes of a tree.
struct Count {
    /// As a node takes at least a byte, their number fits 32 bits.
    nodes: u32,
    /// How many there may be, of the limit on those of all trees.
    left: u64,
    limit: u64,
}

impl Count {
    /// The next node.
    #[inline(always)]
    fn next(&mut self, cursor: &Cursor<'_>) -> Result<u32, Error> {
        if u64::from(self.nodes) >= self.left {
            return Err(Error::limit("tree nodes", self.limit).at_byte(cursor.position()));
        }
        self.nodes += 1;
        Ok(self.nodes - 1)
    }
}

impl<'b> TreeReader<'b> {
    pub(super) fn new(
        rules: TreeRules,
        n_features: usize,
        limits: &Limits,
        spent_nodes: &'b AtomicU64,
    ) -> Self {
        Self {
            rules,
            n_features,
            max_depth: limits.depth,
            max_nodes: limits.nodes,
            spent_nodes,
            sets: Vec::new(),
            set_bytes: Vec::new(),
            open: Vec::new(),
        }
    }

    /// Reads a tree and tells `take` of its nodes; returns how many there are. Every byte of the blob must belong to it.
    pub(super) fn tree(&mut self, bytes: &[u8], take: &mut impl TakeTrees) -> Result<u32, Error> {
        self.sets.clear();
        self.set_bytes.clear();
        self.open.clear();
        if u32::try_from(bytes.len()).is_err() {
            return Err(Error::limit("bytes of a tree", u64::from(u32::MAX)));
        }
        let cursor = &mut Cursor::new(bytes);
        let mut set = None;
        let mut above = 0;
        let mut nodes = Count { nodes: 0, left: self.max_nodes, limit: self.max_nodes };
        // Trees that are being read elsewhere count when they are complete: the last to be sees them all.
        nodes.left = nodes.left.saturating_sub(self.spent_nodes.load(Relaxed));
        'tree: loop {
            let here = nodes.next(cursor)?;
            match self.node(cursor, set)? {
                Head::Leaf(value) => take.leaf(value),
                Head::Split { column, na, test, left, right_at, right } => {
                    if u64::from(above) >= self.max_depth {
                        let error = Error::limit("levels of a tree", self.max_depth);
                        return Err(error.at_byte(cursor.position()));
                    }
                    take.split(Split { column, na, test, left: here + 1, right: 0 }, here, above);
                    if let Test::In(index) = test {
                        set = Some(index);
                    }
                    if let Kind::Node = left {
                        self.open.push(Open { split: here, above, right_at, right, set });
                        above += 1;
                        continue;
                    }
                    nodes.next(cursor)?;
                    take.leaf(cursor.f32_le()?);
                    take.right(here, nodes.nodes);
                    if let Kind::Node = right {
                        above += 1;
                        continue;
                    }
                    nodes.next(cursor)?;
                    take.leaf(cursor.f32_le()?);
                }
            }
            // A subtree is complete: its nearest open ancestor goes on to the right.
            loop {
                let Some(open) = self.open.pop() else { break 'tree };
                if cursor.position() != open.right_at {
                    let message = format!("a left subtree should end at byte {}", open.right_at);
                    return Err(Error::malformed(message).at_byte(cursor.position()));
                }
                take.right(open.split, nodes.nodes);
                if let Kind::Node = open.right {
                    set = open.set;
                    above = open.above + 1;
                    continue 'tree;
                }
                nodes.next(cursor)?;
                take.leaf(cursor.f32_le()?);
            }
        }
        let Count { nodes, .. } = nodes;
        if cursor.remaining() > 0 {
            let message = format!("{} bytes after the end of the tree", cursor.remaining());
            return Err(Error::malformed(message).at_byte(cursor.position()));
        }
        let spent = u64::from(nodes);
        if self.spent_nodes.fetch_add(spent, Relaxed) + spent > self.max_nodes {
            return Err(Error::limit("tree nodes", self.max_nodes));
        }
        Ok(nodes)
    }

    /// The sets of the tree that was read last, and their bytes.
    pub(super) fn sets(&self) -> (&[LevelSet], &[u8]) {
        (&self.sets, &self.set_bytes)
    }

    /// Reads the head of a node, below one whose last set was `last_set`.
    #[inline(always)]
    fn node(&mut self, cursor: &mut Cursor<'_>, last_set: Option<u32>) -> Result<Head, Error> {
        let start = cursor.position();
        if let Some((head, bytes)) = cursor.peek().and_then(|head| self.threshold(start, head)) {
            cursor.skip(bytes);
            return Ok(head);
        }
        let kind = cursor.u8()?;
        let column = cursor.u16_le()?;
        if column == LEAF {
            return Ok(Head::Leaf(cursor.f32_le()?));
        }
        if usize::from(column) >= self.n_features {
            let message = format!("a split on column {column} of {}", self.n_features);
            return Err(Error::malformed(message).at_byte(start + 1));
        }
        let na = missing(cursor.u8()?);
        let unknown = || Error::malformed(format!("a node of kind {kind:#04x}")).at_byte(start);
        let test = match kind & 12 {
            // Java asks the last set again; the first walks (1.00) never asked for a range.
            form if na == NaSplit::NaVsRest => match last_set {
                Some(set) if form != 0 && self.rules != TreeRules::V100 => Test::Range(set),
                _ => Test::None,
            },
            0 => Test::AtLeast(cursor.f32_le()?),
            form @ (8 | 12) => {
                let set = self.level_set(cursor, form == 8)?;
                // A set takes at least a byte of a blob whose length fits 32 bits.
                let index = self.sets.len() as u32;
                self.sets.push(set);
                Test::In(index)
            }
            _ => return Err(unknown()),
        };
        let (left, length) = match kind & 51 {
            48 => (Kind::Leaf, 4),
            bytes @ 0..=3 => (Kind::Node, cursor.uint_le(bytes + 1)?),
            _ => return Err(unknown()),
        };
        let right_at = cursor.position().checked_add(length as usize);
        let right_at = right_at.ok_or_else(|| Error::malformed("a left subtree too long").at_byte(start))?;
        let right = if kind & 0x40 == 0 { Kind::Node } else { Kind::Leaf };
        Ok(Head::Split { column, na, test, left, right_at, right })
    }

    /// The head of a split that asks a threshold, as most do, and how many bytes it takes; `None` of anything else.
    #[inline(always)]
    fn threshold(&self, start: usize, head: &[u8; 12]) -> Option<(Head, usize)> {
        let [kind, column_low, column_high, na, a, b, c, d, length @ ..] = *head;
        let column = u16::from_le_bytes([column_low, column_high]);
        let left_is_leaf = kind & 51 == 48;
        let is_known = kind & 12 == 0 && na != 1 && (left_is_leaf || kind & 48 == 0);
        if !is_known || column == LEAF || usize::from(column) >= self.n_features {
            return None;
        }
        let bytes = if left_is_leaf { 0 } else { usize::from(kind & 3) + 1 };
        // Without a branch, which nothing could predict.
        let length = u64::from(u32::from_le_bytes(length)) & ((1 << (8 * bytes)) - 1);
        let length = if left_is_leaf { 4 } else { length as usize };
        Some((
            Head::Split {
                column,
                na: missing(na),
                test: Test::AtLeast(f32::from_le_bytes([a, b, c, d])),
                left: if left_is_leaf { Kind::Leaf } else { Kind::Node },
                right_at: (start + 8 + bytes).checked_add(length)?,
                right: if kind & 0x40 == 0 { Kind::Node } else { Kind::Leaf },
            },
            8 + bytes,
        ))
    }

    fn level_set(&mut self, cursor: &mut Cursor<'_>, inline: bool) -> Result<LevelSet, Error> {
        let at = cursor.position();
        let (offset, bits, bytes) = if inline {
            (0, 32, 4)
        } else {
            let offset = u32::from(cursor.u16_le()?);
            match self.rules {
                TreeRules::V100 | TreeRules::V110 => {
                    let bytes = u32::from(cursor.u16_le()?);
                    (offset, bytes * 8, bytes)
                }
                TreeRules::V120 => {
                    let bits = u32::try_from(cursor.i32_le()?)
                        .map_err(|_| Error::malformed("a set of a negative number of levels").at_byte(at))?;
                    (offset, bits, bits.div_ceil(8))
                }
            }
        };
        let start = self.set_bytes.len() as u32;
        self.set_bytes.extend_from_slice(cursor.take(bytes as usize)?);
        Ok(LevelSet { offset, bits, start })
    }
}

/// Where a byte sends missing values.
#[inline]
fn missing(na: u8) -> NaSplit {
    match na {
        1 => NaSplit::NaVsRest,
        2 => NaSplit::NaLeft,
        3 => NaSplit::NaRight,
        4 => NaSplit::Left,
        // Java knows no more: whatever is none of the above sends missing values right.
        _ => NaSplit::Right,
    }
}
