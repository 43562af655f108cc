//! How categorical columns became model columns, in MOJO 1.40 and later.
//!
//! In flow the `_genmodel_encoding` and `_orig_…` keys and entries; out flow [`CategoricalEncoding`] and the columns as the
//! caller knows them, in the schema. Encoding a row is left to the scorer.

use crate::error::Error;
use crate::ini::require;
use crate::read::{Source, string_array};
use crate::schema::{CategoricalEncoding, Column, OriginalColumns};

/// Reads how categorical columns were encoded, and the columns as they were before.
///
/// Mirrors `SharedTreeMojoReader.readModelData`, `SharedTreeMojoModel.getCategoricalEncoding`, `GenModel.getOrigNumCols`.
pub(super) fn read(source: &mut Source<'_, '_>) -> Result<(), Error> {
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
    let features = &schema.features;
    // These keep a column in its place: Java pairs original columns with features by index, and passes over what follows,
    // such as columns of weights and folds.
    let in_place =
        !matches!(schema.encoding, CategoricalEncoding::OneHotExplicit | CategoricalEncoding::Binary);
    if in_place {
        columns.truncate(features.len());
    }
    let projection = ini.doubles("_orig_projection_array")?.unwrap_or_default();
    match schema.encoding {
        CategoricalEncoding::LabelEncoder if columns.len() < features.len() => {
            return Err(ini.wrong("_n_orig_names", "fewer original columns than features"));
        }
        CategoricalEncoding::LabelEncoder => {
            // Java looks these up by the names of the features.
            for (column, feature) in columns.iter_mut().zip(features) {
                column.name.clone_from(&feature.name);
            }
        }
        CategoricalEncoding::EnumLimited => {
            let mut pairs = columns.iter().zip(features);
            if pairs.any(|(column, feature)| column.domain.is_some() && feature.domain.is_none()) {
                return Err(ini.wrong(KEY, "a column of levels became a numeric one"));
            }
        }
        CategoricalEncoding::Eigen => {
            let levels: usize =
                columns.iter().flat_map(|column| &column.domain).map(|domain| domain.len()).sum();
            if projection.len() < levels {
                let message = format!("{} projections for {levels} levels", projection.len());
                return Err(ini.wrong("_orig_projection_array", message));
            }
        }
        _ => {}
    }
    schema.original = Some(OriginalColumns { columns, projection });
    Ok(())
}
