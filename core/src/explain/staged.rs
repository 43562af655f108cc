//! The prediction after each group of trees.
//!
//! In flow a row's features; out flows, after each group, what the model would say had it ended there. A prefix of H2O's
//! sum has the bits of a sum that ends there, so that one pass over the trees suffices. The offset does not count, and a
//! forest's mean is still over all its groups. Mirrors `SharedTreeMojoModel.scoreStagedPredictions`.

use super::tree_name;
use crate::compile::FlatForest;
use crate::predictions::{OutputColumn, OutputValues};
use crate::score::Refusal;
use crate::score::forest::{Finish, guard};

/// Columns for that many rows, group by group, `NaN` throughout.
pub(crate) fn columns(flat: &FlatForest, rows: usize) -> Vec<OutputColumn> {
    let (classes, groups) = flat.grid();
    let tree = |at: usize| OutputColumn {
        name: tree_name(at / classes, at % classes),
        values: OutputValues::Number(vec![f64::NAN; rows]),
    };
    (0..classes * groups).map(tree).collect()
}

/// Gives `put` the index of a column and its value, for one row.
pub(crate) fn row(
    flat: &FlatForest,
    finish: &Finish,
    feature: impl Fn(usize) -> f64 + Copy,
    hash: impl Fn() -> i64 + Copy,
    mut put: impl FnMut(usize, f64),
) -> Result<(), Refusal> {
    guard(flat, feature)?;
    let (classes, groups) = flat.grid();
    let mut sums = vec![0.0; classes];
    let mut values = vec![0.0; finish.values()];
    let mut labels = vec![0; usize::from(finish.has_labels())];
    for group in 0..groups {
        for (class, sum) in sums.iter_mut().enumerate() {
            if let Some(root) = flat.root(class * groups + group) {
                *sum += f64::from(flat.value(flat.leaf(root, feature)));
            }
        }
        values.fill(0.0);
        values[..classes].copy_from_slice(&sums);
        let mut refused = None;
        finish.unify(&mut values, 1, None, &mut labels, |_| hash(), &mut |_, refusal| {
            refused.get_or_insert(refusal);
        });
        if let Some(refusal) = refused {
            return Err(refusal);
        }
        for (class, value) in values.iter().enumerate().take(classes) {
            put(group * classes + class, *value);
        }
    }
    Ok(())
}
