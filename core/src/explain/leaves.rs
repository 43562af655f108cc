//! The leaf of every tree that a row falls into, by path or by H2O's node id.
//!
//! In flow a forest's trees with their auxiliary records; out flow, for each leaf, its path and id. Both are found once a
//! model, by walking each tree as H2O's trackers would, so that a row costs one walk a tree. Mirrors
//! `SharedTreeMojoModel.traceDecisions`, `StringDecisionPathTracker` and `LeafDecisionPathTracker`.

use std::sync::Arc;

use cenote_mojo::Domain;
use cenote_mojo::algo::{Aux, AuxNode, Forest};

use super::tree_name;
use crate::compile::FlatForest;
use crate::error::Error;
use crate::predictions::{OutputColumn, OutputValues};

/// Beyond this depth H2O's 64 bits cannot hold a path.
const DEEPEST: usize = 63;

/// What H2O calls the leaves of each tree.
#[derive(Debug)]
pub(crate) struct Leaves {
    trees: Vec<Named>,
}

/// The leaves of one tree.
#[derive(Debug)]
struct Named {
    name: String,
    root: u32,
    /// For each node from the root on: its place among the paths, if it is a leaf that has one.
    places: Vec<u32>,
    paths: Domain,
    /// For each path its node id.
    ids: Vec<i32>,
}

impl Leaves {
    /// # Errors
    /// If auxiliary records turn out to be broken.
    pub(crate) fn new(forest: &Forest, flat: &FlatForest) -> Result<Self, Error> {
        let (classes, groups) = flat.grid();
        let mut trees = Vec::with_capacity(flat.tree_count());
        for class in 0..classes {
            for group in 0..groups {
                let at = class * groups + group;
                if let (Some(root), Some(tree)) = (flat.root(at), &forest.trees[at]) {
                    let aux = tree.aux.as_ref().map_or(Ok(Vec::new()), Aux::records)?;
                    trees.push(Named::new(tree_name(group, class), root, flat, &aux));
                }
            }
        }
        Ok(Self { trees })
    }

    /// Columns of paths for that many rows, `NO_LABEL` throughout.
    pub(crate) fn path_columns(&self, rows: usize) -> Vec<OutputColumn> {
        let values = |tree: &Named| OutputValues::Label {
            codes: vec![OutputValues::NO_LABEL; rows],
            domain: tree.paths.clone(),
        };
        self.columns(values)
    }

    /// Columns of node ids for that many rows, -1 throughout.
    pub(crate) fn id_columns(&self, rows: usize) -> Vec<OutputColumn> {
        self.columns(|_| OutputValues::Integer(vec![-1; rows]))
    }

    fn columns(&self, values: impl Fn(&Named) -> OutputValues) -> Vec<OutputColumn> {
        self.trees.iter().map(|tree| OutputColumn { name: tree.name.clone(), values: values(tree) }).collect()
    }

    /// The path of tree `tree`'s leaf, as a code of its column.
    pub(crate) fn path(&self, tree: usize, flat: &FlatForest, feature: impl Fn(usize) -> f64) -> u32 {
        let Named { root, places, .. } = &self.trees[tree];
        places[(flat.leaf(*root, feature) - root) as usize]
    }

    /// The node id of tree `tree`'s leaf; -1 for one without path.
    pub(crate) fn id(&self, tree: usize, flat: &FlatForest, feature: impl Fn(usize) -> f64) -> i32 {
        let path = self.path(tree, flat, feature);
        self.trees[tree].ids.get(path as usize).copied().unwrap_or(-1)
    }
}

impl Named {
    fn new(name: String, root: u32, flat: &FlatForest, aux: &[AuxNode]) -> Self {
        let mut places = Vec::new();
        let (mut paths, mut ids) = (Vec::new(), Vec::new());
        // The turns to the node at hand, of which bit `i` is set if turn `i` goes right.
        let mut open = vec![(root, 0_usize, 0_u64)];
        while let Some((node, depth, turns)) = open.pop() {
            let at = (node - root) as usize;
            if places.len() <= at {
                places.resize(at + 1, OutputValues::NO_LABEL);
            }
            if let Some((left, right)) = flat.children(node) {
                let turn = if depth <= DEEPEST { 1 << depth } else { 0 };
                open.push((right, depth + 1, turns | turn));
                open.push((left, depth + 1, turns));
            } else if depth <= DEEPEST && !is_nan(turns, depth) {
                places[at] = paths.len() as u32;
                paths.push((0..depth).map(|turn| if turns >> turn & 1 == 1 { 'R' } else { 'L' }).collect());
                ids.push(node_id(turns | 1 << depth, aux));
            }
        }
        let paths: Vec<String> = paths;
        Self { name, root, places, paths: Arc::from(paths), ids }
    }
}

/// H2O hands the turns, and a last bit that ends them, through a `double`, and takes what looks like `NaN` for no path.
fn is_nan(turns: u64, depth: usize) -> bool {
    f64::from_bits(turns | 1 << depth).is_nan()
}

/// The id of the leaf that `turns`, ended by their highest bit, lead to, read off the auxiliary records in file order.
fn node_id(turns: u64, aux: &[AuxNode]) -> i32 {
    let mut at = 0_i64;
    let mut id = 0;
    let mut went_right = false;
    for turn in 0..64 {
        let Some(node) = usize::try_from(at).ok().and_then(|at| aux.get(at)) else { break };
        if turns >> turn & 1 == 1 {
            // The record that follows a leaf is not the leaf's: the path has ended.
            if went_right && id != node.id {
                break;
            }
            id = node.children[1];
            at += 1 + i64::from(node.left_inner_nodes);
            went_right = true;
        } else {
            went_right = false;
            if node.left_inner_nodes == 0 {
                id = node.children[0];
                break;
            }
            at += 1;
        }
    }
    id
}
