//! The upper levels of deep trees, as trees of their own that masks ask of many rows at once. In place of values their leaves
//! hold entries: where the engine that takes the rows further is to begin.

use cenote_mojo::algo::{Node, Split, Tree};

use super::asked::AskedTree;

/// Levels of a head.
const LEVELS: usize = 8;

/// A node of a tree in the order of levels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    /// Its index in the tree.
    pub(super) node: usize,
    /// Its level.
    level: usize,
    /// Of a split, the place of its left child; the right one is the next.
    pub(super) left: usize,
}

/// The nodes of a tree, level after level, siblings side by side, of `levels` levels and the one below them.
fn down_to(tree: &Tree, levels: usize) -> Vec<Placed> {
    let mut order = vec![Placed { node: 0, level: 0, left: 0 }];
    let mut at = 0;
    while at < order.len() {
        let Placed { node, level, .. } = order[at];
        match &tree.nodes[node] {
            Node::Split(split) if level < levels => {
                order[at].left = order.len();
                let below = |child: u32| Placed { node: child as usize, level: level + 1, left: 0 };
                order.extend([below(split.left), below(split.right)]);
            }
            _ => {}
        }
        at += 1;
    }
    order
}

/// All nodes of a tree, level after level.
pub(super) fn by_level(tree: &Tree) -> Vec<Placed> {
    down_to(tree, usize::MAX)
}

/// The head of a tree, and the bounds of its nodes. `entry` says, of a place in [`by_level`] and the node there, where one who
/// comes there is to begin.
pub(super) fn head(
    AskedTree { tree, bounds }: AskedTree<'_>,
    entry: impl Fn(usize, usize) -> u32,
) -> (Tree, Vec<u16>) {
    let order = down_to(tree, LEVELS);
    let nodes = order.iter().enumerate().map(|(place, placed)| match &tree.nodes[placed.node] {
        Node::Split(split) if placed.level < LEVELS => {
            let left = placed.left as u32;
            Node::Split(Split { left, right: left + 1, ..*split })
        }
        _ => Node::Leaf(f32::from_bits(entry(place, placed.node))),
    });
    let (sets, set_bytes) = (tree.sets.clone(), tree.set_bytes.clone());
    let head = Tree { nodes: nodes.collect(), sets, set_bytes, aux: None };
    (head, order.iter().map(|placed| bounds[placed.node]).collect())
}
