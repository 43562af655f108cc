//! The trees of a GBM or a DRF.
//!
//! In flow the keys that count trees and the entries under `trees/`; out flows a [`Forest`] in H2O's grid, within one budget
//! of nodes. The bytes of a tree are left to `tree_bytes`. Mirrors `SharedTreeMojoReader.readModelData`.

use crate::error::Error;
use crate::read::Source;
use crate::schema::Schema;

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
    let mut reader = TreeReader::new(rules, features.len(), archive.limits());
    let mut trees: Vec<Option<Tree>> = Vec::with_capacity(places as usize);
    let mut bytes = Vec::new();
    for class in 0..trees_per_group {
        for group in 0..groups {
            let entry = format!("trees/t{class:02}_{group:03}.bin");
            if !archive.read(&entry, &mut bytes)? {
                trees.push(None);
                continue;
            }
            let mut tree = reader.tree(&bytes).map_err(|e| e.in_entry(&entry))?;
            // MOJO 1.00 has no such entries; Java scores without them too, if it reads from memory.
            if version > (1, 0) {
                let entry = format!("trees/t{class:02}_{group:03}_aux.bin");
                if let Some(packed) = archive.read_packed(&entry)? {
                    let splits = tree.nodes.iter().filter(|node| matches!(node, Node::Split(_))).count();
                    tree.aux = Some(Aux::new(packed, splits)?);
                }
            }
            trees.push(Some(tree));
        }
    }
    Ok(Forest { groups, trees_per_group, trees, rules })
}
