//! Why a forest says what it says: leaf assignments and staged predictions.

pub(crate) mod leaves;
pub(crate) mod staged;

/// H2O's name of a tree's column.
fn tree_name(group: usize, class: usize) -> String {
    format!("T{}.C{}", group + 1, class + 1)
}
