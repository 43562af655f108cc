//! A walk over a tree that knows, at each node, what H2O's printers tell: ids and weights from the auxiliary records,
//! and which levels of a column, and whether missing values of it, can arrive there.
//!
//! Mirrors `SharedTreeMojoModel.computeTreeGraph` and `SharedTreeNode`, but holds the path to one node at a time, and
//! never recurses, so that deep trees and large domains cost little memory.

use std::collections::HashMap;

use cenote_mojo::algo::{AuxNode, NaSplit, Node, Split, Test, Tree};
use cenote_mojo::{Column, Domain};

/// A set of levels: bit `level % 64` of word `level / 64`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Levels(Vec<u64>);

impl Levels {
    fn contains(&self, level: usize) -> bool {
        self.0.get(level / 64).is_some_and(|word| word >> (level % 64) & 1 == 1)
    }

    fn insert(&mut self, level: usize) {
        if self.0.len() <= level / 64 {
            self.0.resize(level / 64 + 1, 0);
        }
        self.0[level / 64] |= 1 << (level % 64);
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        (0..self.0.len() * 64).filter(|&level| self.contains(level))
    }
}

/// A node with what is known of it on the way from the root.
#[derive(Debug)]
pub(super) struct Visit<'a> {
    /// Index into [`Tree::nodes`].
    pub(super) node: usize,
    /// H2O's node number; the place in file order where the file has no numbers (MOJO 1.00).
    pub(super) number: i32,
    /// Sum of the weights of the training rows that arrived here, if the file says so.
    pub(super) weight: Option<f32>,
    /// Whether a missing value of the column that the parent asks for arrives here.
    pub(super) missing: bool,
    /// The levels, of the column that the parent asks for, which arrive here; `None` if it asks for no levels.
    pub(super) levels: Option<Levels>,
    pub(super) content: &'a Node,
    /// How many children have been visited.
    visited: u8,
}

/// What a walk meets, in order: a node, its left subtree, its right subtree, the node's end.
pub(super) enum Event<'w, 'a> {
    /// A node, and the split above it.
    Enter(&'w Visit<'a>, Option<Above<'a>>),
    Leave,
}

/// The split above a node.
#[derive(Clone, Copy)]
pub(super) struct Above<'a> {
    pub(super) split: &'a Split,
    /// Whether the node is its left child.
    pub(super) is_left: bool,
    pub(super) parent: usize,
}

/// Walks `tree`, a tree over `features`.
pub(super) fn walk<'a>(
    tree: &'a Tree,
    features: &[Column],
    mut visit: impl FnMut(Event<'_, 'a>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let records = tree.aux.as_ref().map(|aux| aux.records()).transpose()?;
    let numbers = records.map(|records| records.into_iter().map(|record| (record.id, record)).collect());
    let walker = Walker { tree, features, numbers };
    let mut path = vec![walker.root()];
    visit(Event::Enter(&path[0], None))?;
    while let Some(last) = path.last_mut() {
        match last.content {
            Node::Split(split) if last.visited < 2 => {
                let is_left = last.visited == 0;
                last.visited += 1;
                let above = Above { split, is_left, parent: last.node };
                let child = walker.child(&path, above);
                visit(Event::Enter(&child, Some(above)))?;
                path.push(child);
            }
            _ => {
                visit(Event::Leave)?;
                path.pop();
            }
        }
    }
    Ok(())
}

struct Walker<'a, 'f> {
    tree: &'a Tree,
    features: &'f [Column],
    numbers: Option<HashMap<i32, AuxNode>>,
}

impl<'a> Walker<'a, '_> {
    fn root(&self) -> Visit<'a> {
        // H2O gives a tree of one leaf the weight 0.
        let weights =
            |aux: &HashMap<i32, AuxNode>| aux.get(&0).map_or(0.0, |root| root.weights[0] + root.weights[1]);
        Visit {
            node: 0,
            number: 0,
            weight: self.numbers.as_ref().map(weights),
            missing: true,
            levels: None,
            content: &self.tree.nodes[0],
            visited: 0,
        }
    }

    /// The child below the end of `path`.
    fn child(&self, path: &[Visit<'a>], above: Above<'a>) -> Visit<'a> {
        let Above { split, is_left, parent } = above;
        let node = if is_left { split.left } else { split.right } as usize;
        let side = usize::from(!is_left);
        let aux = self.numbers.as_ref().and_then(|numbers| numbers.get(&path[path.len() - 1].number));
        debug_assert_eq!(path[path.len() - 1].node, parent);
        let former = self.last_asked(path, split.column);
        Visit {
            node,
            number: aux.map_or(node as i32, |aux| aux.children[side]),
            weight: aux.map(|aux| aux.weights[side]),
            missing: former.is_none_or(|visit| visit.missing) && split.na.missing_goes_left() == is_left,
            levels: self.levels(split, is_left, former.and_then(|visit| visit.levels.as_ref())),
            content: &self.tree.nodes[node],
            visited: 0,
        }
    }

    /// The last node on the path whose parent asks for `column`.
    fn last_asked<'p>(&self, path: &'p [Visit<'a>], column: u16) -> Option<&'p Visit<'a>> {
        let asks = |visit: &Visit<'_>| matches!(visit.content, Node::Split(split) if split.column == column);
        (1..path.len()).rev().find(|&at| asks(&path[at - 1])).map(|at| &path[at])
    }

    fn levels(&self, split: &Split, is_left: bool, former: Option<&Levels>) -> Option<Levels> {
        let domain = domain(self.features, split)?;
        let mut levels = Levels::default();
        for level in 0..domain.len() {
            let arrives = match split.test {
                // H2O does not ask here which levels arrived at the split.
                Test::AtLeast(threshold) => (threshold < level as f32) != is_left,
                Test::In(set) => {
                    self.contains(set, level) == Some(!is_left)
                        && former.is_none_or(|levels| levels.contains(level))
                }
                Test::None | Test::Range(_) => false,
            };
            if arrives {
                levels.insert(level);
            }
        }
        Some(levels)
    }

    fn contains(&self, set: u32, level: usize) -> Option<bool> {
        self.tree.contains(self.tree.sets[set as usize], level as i64)
    }
}

/// The levels of the column that `split` asks for; `None` where H2O does not call the split categorical.
pub(super) fn domain<'f>(features: &'f [Column], split: &Split) -> Option<&'f Domain> {
    if split.na == NaSplit::NaVsRest {
        return None;
    }
    features[split.column as usize].domain.as_ref()
}
