//! The trees of a GBM or a DRF.
//!
//! In flow the keys that count trees and the entries under `trees/`; out flows a [`Forest`] in H2O's grid, within one budget
//! of nodes. The bytes of a tree are left to `tree_bytes`. Mirrors `SharedTreeMojoReader.readModelData`.

use std::sync::atomic::AtomicU64;

use crate::error::Error;
use crate::packed::Inflater;
use crate::read::Source;
use crate::schema::Schema;
use crate::threads::share;

use super::tree_bytes::TreeReader;
use super::{Aux, Forest, Node, Tree, TreeRules, encoding};

/// Reads every tree, and completes the schema with the categorical encoding.
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
    let spent_nodes = AtomicU64::new(0);
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
    let (limits, features) = (archive.limits(), features.len());
    let state = || {
        let reader = TreeReader::new(rules, features, limits, &spent_nodes);
        (Inflater::default(), Vec::new(), reader)
    };
    let trees = share(&packed, state, |(inflater, bytes, reader), (tree, aux)| {
        let Some(entry) = tree else { return Ok(None) };
        inflater.unpack(entry, bytes)?;
        let mut tree = reader.tree(bytes).map_err(|e| e.in_entry(entry.name()))?;
        if let Some(aux) = aux {
            let splits = tree.nodes.iter().filter(|node| matches!(node, Node::Split(_))).count();
            tree.aux = Some(Aux::new(aux.clone(), splits)?);
        }
        Ok(Some(tree))
    });
    let trees = trees.into_iter().collect::<Result<Vec<Option<Tree>>, Error>>()?;
    Ok(Forest { groups, trees_per_group, trees, rules })
}
