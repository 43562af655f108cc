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
use super::{Aux, Drf, Forest, Gbm, Tree, TreeRules, encoding};

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
    /// Reads the trees in runs, shared by a few threads. `start` begins what becomes of a run, `take` takes the tree of each of
    /// its places in order, which it may empty: its room is used again.
    ///
    /// # Errors
    ///
    /// If a tree is malformed, or all of them have more nodes than the limit.
    pub fn read<R: Send>(
        &self,
        start: impl Fn() -> R + Sync,
        take: impl Fn(&mut R, Option<&mut Tree>) + Sync,
    ) -> Result<Vec<R>, Error> {
        let spent_nodes = AtomicU64::new(0);
        let state = || {
            let reader = TreeReader::new(self.rules, self.features, &self.limits, &spent_nodes);
            (Inflater::default(), Vec::new(), reader)
        };
        let read = share(runs(self.places.len()), state, |(inflater, bytes, reader), run| {
            let mut result = start();
            for (entry, aux) in &self.places[run] {
                let Some(entry) = entry else {
                    take(&mut result, None);
                    continue;
                };
                inflater.unpack(entry, bytes)?;
                let tree = reader.tree(bytes).map_err(|e| e.in_entry(entry.name()))?;
                // There is one leaf more than there are splits.
                let splits = tree.nodes.len() / 2;
                tree.aux = aux.as_ref().map(|aux| Aux::new(aux.clone(), splits)).transpose()?;
                take(&mut result, Some(tree));
            }
            Ok(result)
        });
        read.into_iter().collect()
    }

    /// Puts every tree into the artifact that came with them. Errors as [`read`](Self::read).
    pub fn unpack_into(&self, artifact: &mut Artifact) -> Result<(), Error> {
        let runs = self.read(Vec::new, |trees, tree| trees.push(tree.map(|tree| tree.clone())))?;
        match &mut artifact.body {
            Body::Gbm(Gbm { forest, .. }) | Body::Drf(Drf { forest, .. }) => {
                forest.trees = runs.into_iter().flatten().collect();
            }
            Body::Glm(_) => {}
        }
        Ok(())
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
