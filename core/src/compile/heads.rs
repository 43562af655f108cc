//! The upper levels of deep trees, as trees of their own that masks ask of many rows at once. In place of values their leaves
//! hold entries: where the engine that takes the rows further is to begin.

use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering::Relaxed;

use cenote_mojo::algo::Split;

use super::asked::AskedTree;
use super::nodes::SmallNode;

/// Levels of a head.
const LEVELS: u32 = 8;

/// The upper levels of a tree.
#[derive(Debug)]
pub(super) struct Head<'a> {
    nodes: Vec<SmallNode>,
    bounds: Vec<AtomicU16>,
    depth: u32,
    set_splits: Vec<(u32, Split)>,
    of: AskedTree<'a>,
}

impl Head<'_> {
    /// As a tree like any other.
    pub(super) fn asked(&self) -> AskedTree<'_> {
        let (nodes, bounds, depth, set_splits) = (&self.nodes, &self.bounds, self.depth, &self.set_splits);
        AskedTree { nodes, bounds, depth, set_splits, ..self.of }
    }
}

/// The head of a tree. `entry` says, of a node, where one who comes there is to begin.
pub(super) fn head<'a>(tree: AskedTree<'a>, entry: impl Fn(usize) -> u32) -> Head<'a> {
    let mut head = Head { nodes: Vec::new(), bounds: Vec::new(), depth: 0, set_splits: Vec::new(), of: tree };
    // Nodes to come, the levels above each, and whose right child it is.
    let mut open: Vec<(usize, u32, Option<usize>)> = vec![(0, 0, None)];
    while let Some((node, above, parent)) = open.pop() {
        let here = head.nodes.len();
        if let Some(parent) = parent {
            head.nodes[parent] = head.nodes[parent].with_right(here as u32);
        }
        let split = tree.nodes[node];
        if split.is_leaf() || above == LEVELS {
            head.nodes.push(SmallNode::leaf(f32::from_bits(entry(node))));
            head.bounds.push(AtomicU16::new(0));
            continue;
        }
        head.nodes.push(split);
        head.bounds.push(AtomicU16::new(tree.bounds[node].load(Relaxed)));
        head.set_splits.extend(tree.set_split(node).map(|split| (here as u32, *split)));
        head.depth = head.depth.max(above + 1);
        open.push((split.right() as usize, above + 1, Some(here)));
        open.push((node + 1, above + 1, None));
    }
    head
}
