//! The trees of a GBM or a DRF.
//!
//! In flow the keys that count trees and the entries under `trees/`; out flow a [`Forest`] without its trees, and these as they
//! lie in the file, which are then read within one budget of nodes: to be kept in H2O's grid, or one after another to be made into
//! something else. The bytes of a tree are left to `tree_bytes`. Mirrors `SharedTreeMojoReader.readModelData`.

use std::sync::atomic::AtomicU64;

use crate::artifact::{Artifact, Body};
use crate::error::Error;
use crate::limits::Limits;
use crate::packed::{Inflater, Packed};
use crate::read::Source;
use crate::schema::Schema;
use crate::threads::{runs, share};

use super::tree_bytes::TreeReader;
use super::{Aux, Drf, Forest, Gbm, LevelSet, Node, Split, Tree, TreeRules, encoding};

/// The trees of a forest as they lie in its file.
#[derive(Debug)]
pub struct PackedTrees {
    /// Each place of the grid: the tree, if there is one, and the records beside it.
    places: Vec<(Option<Packed>, Option<Packed>)>,
    rules: TreeRules,
    features: usize,
    limits: Limits,
}

impl PackedTrees {
    /// Reads the trees in runs, shared by a few threads. `start` begins what becomes of a run, from how many bytes its trees are
    /// said to have, and is then told of each of its places in order.
    ///
    /// # Errors
    ///
    /// If a tree is malformed, or all of them have more nodes than the limit.
    pub fn read<R: TakeTrees + Send>(&self, start: impl Fn(usize) -> R + Sync) -> Result<Vec<R>, Error> {
        let spent_nodes = AtomicU64::new(0);
        let state = || {
            let reader = TreeReader::new(self.rules, self.features, &self.limits, &spent_nodes);
            (Inflater::default(), Vec::new(), reader)
        };
        let read = share(runs(self.places.len()), state, |(inflater, bytes, reader), run| {
            let places = &self.places[run];
            let trees = places.iter().filter_map(|(tree, _)| tree.as_ref());
            let mut take = start(trees.map(Packed::size).sum());
            for (entry, aux) in places {
                let Some(entry) = entry else {
                    take.absent();
                    continue;
                };
                inflater.unpack(entry, bytes)?;
                let nodes = reader.tree(bytes, &mut take).map_err(|e| e.in_entry(entry.name()))?;
                // There is one leaf more than there are splits.
                let aux = aux.as_ref().map(|aux| Aux::new(aux.clone(), nodes as usize / 2)).transpose()?;
                take.end(reader.sets(), aux);
            }
            Ok(take)
        });
        read.into_iter().collect()
    }

    /// Puts every tree into the artifact that came with them. Errors as [`read`](Self::read).
    pub fn unpack_into(&self, artifact: &mut Artifact) -> Result<(), Error> {
        let runs = self.read(|_| Trees::default())?;
        match &mut artifact.body {
            Body::Gbm(Gbm { forest, .. }) | Body::Drf(Drf { forest, .. }) => {
                forest.trees = runs.into_iter().flat_map(|run| run.trees).collect();
            }
            Body::Glm(_) => {}
        }
        Ok(())
    }
}

/// Who is told of trees while they are read: of the nodes of one in the order of files (a split, its left subtree, its right
/// subtree), and of its end.
pub trait TakeTrees {
    /// The next place has no tree.
    fn absent(&mut self);

    /// The next node is a leaf.
    fn leaf(&mut self, value: f32);

    /// The next node, which is node `at`, is a split with `above` splits above it, whose right child is not known yet.
    fn split(&mut self, split: Split, at: u32, above: u32);

    /// The right child of the split that is node `at`.
    fn right(&mut self, at: u32, right: u32);

    /// The tree is complete; its sets, their bytes, and the records beside it.
    fn end(&mut self, sets: (&[LevelSet], &[u8]), aux: Option<Aux>);
}

/// Trees as they are.
#[derive(Default)]
struct Trees {
    trees: Vec<Option<Tree>>,
    nodes: Vec<Node>,
}

impl TakeTrees for Trees {
    fn absent(&mut self) {
        self.trees.push(None);
    }

    fn leaf(&mut self, value: f32) {
        self.nodes.push(Node::Leaf(value));
    }

    fn split(&mut self, split: Split, _at: u32, _above: u32) {
        self.nodes.push(Node::Split(split));
    }

    fn right(&mut self, at: u32, right: u32) {
        if let Some(Node::Split(split)) = self.nodes.get_mut(at as usize) {
            split.right = right;
        }
    }

    fn end(&mut self, (sets, set_bytes): (&[LevelSet], &[u8]), aux: Option<Aux>) {
        let (nodes, sets, set_bytes) = (self.nodes.clone(), sets.to_vec(), set_bytes.to_vec());
        self.nodes.clear();
        self.trees.push(Some(Tree { nodes, sets, set_bytes, aux }));
    }
}

/// Reads all but the trees themselves, which it leaves with the source, and completes the schema with the categorical encoding.
pub(super) fn read(source: &mut Source<'_, '_>) -> Result<Forest, Error> {
    let Source { archive, ini, manifest, .. } = source;
    let version = (manifest.mojo_version.major, manifest.mojo_version.hundredths);
    // Java reads trees in the byte order of its own machine, and so scores nonsense from a foreign one.
    if ini.text("endianness") == Some("BIG_ENDIAN") {
        return Err(Error::unsupported("trees written by a big-endian machine are not supported"));
    }
    let groups = ini.count("n_trees")?;
    let trees_per_group = match ini.int("n_trees_per_class")? {
        Some(_) => ini.count("n_trees_per_class")?,
        // MOJO 1.00 did not say.
        None if manifest.n_classes == 2 && ini.bool("binomial_double_trees")? != Some(true) => 1,
        None => manifest.n_classes,
    };
    if trees_per_group > manifest.n_classes {
        return Err(ini.wrong(
            "n_trees_per_class",
            format!("{trees_per_group} trees for {} classes", manifest.n_classes),
        ));
    }
    let places = groups as u64 * trees_per_group as u64;
    if places > archive.limits().entries {
        return Err(Error::limit("trees", archive.limits().entries));
    }
    if version >= (1, 40) {
        encoding::read(source)?;
    }

    let Source { archive, schema: Schema { features, .. }, .. } = source;
    let rules = match version {
        (1, 0) => TreeRules::V100,
        (1, 10) => TreeRules::V110,
        _ => TreeRules::V120,
    };
    let places = (0..trees_per_group).flat_map(|class| (0..groups).map(move |group| (class, group)));
    let mut packed = Vec::with_capacity(places.clone().count());
    for (class, group) in places {
        let tree = archive.read_packed(&format!("trees/t{class:02}_{group:03}.bin"))?;
        // MOJO 1.00 has no such entries; Java scores without them too, if it reads from memory.
        let aux = match &tree {
            Some(_) if version > (1, 0) => {
                archive.read_packed(&format!("trees/t{class:02}_{group:03}_aux.bin"))?
            }
            _ => None,
        };
        packed.push((tree, aux));
    }
    let (features, limits) = (features.len(), archive.limits().clone());
    source.trees = Some(PackedTrees { places: packed, rules, features, limits });
    Ok(Forest { groups, trees_per_group, trees: Vec::new(), rules })
}
