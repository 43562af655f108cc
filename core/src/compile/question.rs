//! What a split asks, in H2O's words: the one place of the engines where the rules of `scoreTree` stand.

use cenote_mojo::algo::{Forest, Node, Split, Test, Tree, TreeRules};

/// Whether a row whose value of the split's column is `value` goes right at `split`.
///
/// `levels` is the length of the column's domain, if it has one. Mirrors `SharedTreeMojoModel.scoreTree` and its
/// frozen ancestors `scoreTree0` and `scoreTree1`.
#[inline]
pub(crate) fn goes_right(rules: TreeRules, tree: &Tree, split: &Split, levels: Option<usize>, value: f64) -> bool {
    // Java's cast truncates, saturates, and makes NaN 0: so does Rust's.
    let level = i64::from(value as i32);
    let outside = || match (split.test, split.stale_range) {
        (Test::In(set), _) => tree.contains(set, level).is_none(),
        (_, Some((offset, bits))) => !(0..i64::from(bits)).contains(&(level - i64::from(offset))),
        _ => false,
    };
    let missing = value.is_nan()
        || match rules {
            TreeRules::V100 => false,
            TreeRules::V110 => outside(),
            TreeRules::V120 => outside() || levels.is_some_and(|levels| levels as i64 <= level),
        };
    if missing {
        return !split.na.missing_goes_left();
    }
    match split.test {
        Test::None => false,
        Test::AtLeast(threshold) => value >= f64::from(threshold),
        Test::In(set) => tree.contains(set, level).unwrap_or(false),
    }
}

/// The value of the leaf that a row falls into; `value(column)` is the row's value and `levels(column)` the domain's length.
pub(crate) fn leaf(
    rules: TreeRules,
    tree: &Tree,
    levels: impl Fn(u16) -> Option<usize>,
    value: impl Fn(u16) -> f64,
) -> f32 {
    let mut at = 0;
    loop {
        match &tree.nodes[at] {
            Node::Leaf(value) => return *value,
            Node::Split(split) => {
                let right = goes_right(rules, tree, split, levels(split.column), value(split.column));
                at = if right { split.right } else { split.left } as usize;
            }
        }
    }
}

/// The sum of the trees of `class` for one row, from 0, in ascending order.
pub(crate) fn sum(
    forest: &Forest,
    class: usize,
    levels: impl Fn(u16) -> Option<usize>,
    value: impl Fn(u16) -> f64,
) -> f64 {
    let trees = &forest.trees[class * forest.groups..][..forest.groups];
    trees.iter().flatten().fold(0.0, |sum, tree| sum + f64::from(leaf(forest.rules, tree, &levels, &value)))
}
