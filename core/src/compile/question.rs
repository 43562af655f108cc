//! What a split asks, in H2O's words: the one place of the engines where the rules of `scoreTree` stand.

use cenote_mojo::algo::{Split, Test, Tree, TreeRules};

/// Whether a row whose value of the split's column is `value` goes right at `split`.
///
/// `levels` is the length of the column's domain, if it has one. Mirrors `SharedTreeMojoModel.scoreTree` and its
/// frozen ancestors `scoreTree0` and `scoreTree1`.
#[inline]
pub(crate) fn goes_right(
    rules: TreeRules,
    tree: &Tree,
    split: &Split,
    levels: Option<usize>,
    value: f64,
) -> bool {
    // Java's cast truncates, saturates, and makes NaN 0: so does Rust's.
    let level = i64::from(value as i32);
    let outside = || match split.test {
        Test::In(set) | Test::Range(set) => {
            let set = tree.sets[set as usize];
            !(0..i64::from(set.bits)).contains(&(level - i64::from(set.offset)))
        }
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
        Test::None | Test::Range(_) => false,
        Test::AtLeast(threshold) => value >= f64::from(threshold),
        Test::In(set) => tree.contains(tree.sets[set as usize], level).unwrap_or(false),
    }
}
