//! The trees of a GBM or a DRF, and what the tree models share. Mirrors `SharedTreeMojoReader`.

use crate::error::Error;
use crate::ini::require;
use crate::read::{Source, string_array};
use crate::schema::{CategoricalEncoding, Column, OriginalColumns, Schema};

use super::tree_bytes::TreeReader;
use super::{Aux, Forest, Node, Tree, TreeRules};

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
        encoding(source)?;
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

/// Reads how categorical columns were encoded, and the columns as they were before.
///
/// Mirrors `SharedTreeMojoReader.readModelData`, `SharedTreeMojoModel.getCategoricalEncoding`, `GenModel.getOrigNumCols`.
fn encoding(source: &mut Source<'_, '_>) -> Result<(), Error> {
    const KEY: &str = "_genmodel_encoding";
    let Source { archive, ini, schema, .. } = source;
    schema.encoding = match require(ini.text(KEY), KEY)? {
        "AUTO" | "Enum" | "SortByResponse" => return Ok(()),
        "OneHotExplicit" => CategoricalEncoding::OneHotExplicit,
        "Binary" => CategoricalEncoding::Binary,
        "EnumLimited" => CategoricalEncoding::EnumLimited,
        "Eigen" => CategoricalEncoding::Eigen,
        "LabelEncoder" => CategoricalEncoding::LabelEncoder,
        other => return Err(Error::unsupported(format!("categorical encoding {other:?}"))),
    };
    let limit = archive.limits().columns;
    let count = |key| match ini.count(key)? {
        n if n as u64 > limit => Err(Error::limit("columns", limit)),
        n => Ok(n),
    };
    let names = string_array(archive, "_orig_names", count("_n_orig_names")?)?;
    let n_domains = count("_n_orig_domain_values")?;
    let mut columns = Vec::with_capacity(names.len().min(n_domains));
    let mut names = names.into_iter();
    for index in 0..n_domains {
        let key = format!("_m_orig_domain_values_{index}");
        let domain = match require(ini.int(&key)?, &key)? {
            n if n > 0 => {
                let entry = format!("_orig_domain_values_{index}");
                Some(string_array(archive, &entry, n as usize)?.into())
            }
            _ => None,
        };
        let name = names.next().ok_or_else(|| ini.wrong("_n_orig_names", "fewer names than domains"))?;
        columns.push(Column { name, domain });
    }
    if names.next().is_some() {
        return Err(ini.wrong("_n_orig_names", "more names than domains"));
    }
    let response = schema.response.as_ref().map(|response| &response.name);
    if columns.last().is_some_and(|last| Some(&last.name) == response) {
        columns.pop();
    }
    // These encodings keep a column in its place, so Java pairs the original columns with the features by index.
    match schema.encoding {
        CategoricalEncoding::LabelEncoder => {
            if columns.len() < schema.features.len() {
                return Err(ini.wrong("_n_orig_names", "fewer original columns than features"));
            }
            columns.truncate(schema.features.len());
            for (column, feature) in columns.iter_mut().zip(&schema.features) {
                column.name.clone_from(&feature.name);
            }
        }
        CategoricalEncoding::EnumLimited => {
            let limited = |i: usize| schema.features.get(i).is_some_and(|feature| feature.domain.is_some());
            if columns.iter().enumerate().any(|(i, column)| column.domain.is_some() && !limited(i)) {
                return Err(ini.wrong(KEY, "a column of levels became a numeric one"));
            }
        }
        _ => {}
    }
    let projection = ini.doubles("_orig_projection_array")?.unwrap_or_default();
    if schema.encoding == CategoricalEncoding::Eigen {
        let levels: usize =
            columns.iter().filter_map(|column| column.domain.as_ref()).map(|domain| domain.len()).sum();
        if projection.len() < levels {
            let message = format!("{} projections for {levels} levels", projection.len());
            return Err(ini.wrong("_orig_projection_array", message));
        }
    }
    schema.original = Some(OriginalColumns { columns, projection });
    Ok(())
}
