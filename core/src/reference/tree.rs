//! One tree, one row: `scoreTree0`, `scoreTree1` and `scoreTree` of `SharedTreeMojoModel`, question by question.

use cenote_mojo::Schema;
use cenote_mojo::algo::{AuxNode, NaSplit, Node, Split, Test, Tree, TreeRules};

use super::throw;
use crate::predictions::RowError;

/// What the leaf that the row falls into adds.
pub(super) fn score(schema: &Schema, rules: TreeRules, tree: &Tree, row: &[f64]) -> Result<f64, RowError> {
    walk(schema, rules, tree, row, |_| {}).map(f64::from)
}

/// The path and the node id, through the `double` in which H2O keeps the turns.
pub(super) fn leaf_assignment(
    schema: &Schema,
    rules: TreeRules,
    tree: &Tree,
    row: &[f64],
) -> (Option<String>, i32) {
    let mut turns = Vec::new();
    if walk(schema, rules, tree, row, |right| turns.push(right)).is_err() || turns.len() >= 64 {
        return (None, -1);
    }
    let mut bits = 1_u64 << turns.len();
    for (level, right) in turns.iter().enumerate() {
        bits |= u64::from(*right) << level;
    }
    if f64::from_bits(bits).is_nan() {
        return (None, -1);
    }
    let path = turns.iter().map(|right| if *right { 'R' } else { 'L' }).collect();
    let records = tree.aux.as_ref().map_or(Vec::new(), |aux| aux.records().expect("sound auxiliary records"));
    (Some(path), node_id(bits, &records))
}

/// Reads the records of the entry one after another, as H2O's tracker does.
fn node_id(bits: u64, mut records: &[AuxNode]) -> i32 {
    let mut id = 0;
    let mut went_right = false;
    for level in 0..64 {
        let Some((record, rest)) = records.split_first() else { return id };
        let left_inner_nodes = usize::try_from(record.left_inner_nodes).unwrap_or(usize::MAX);
        if bits >> level & 1 == 1 {
            if went_right && id != record.id {
                return id;
            }
            id = record.children[1];
            records = rest.get(left_inner_nodes..).unwrap_or(&[]);
            went_right = true;
        } else {
            went_right = false;
            if left_inner_nodes == 0 {
                return record.children[0];
            }
            records = rest;
        }
    }
    id
}

fn walk(
    schema: &Schema,
    rules: TreeRules,
    tree: &Tree,
    row: &[f64],
    mut turn: impl FnMut(bool),
) -> Result<f32, RowError> {
    let mut at = 0;
    loop {
        match &tree.nodes[at as usize] {
            Node::Leaf(value) => return Ok(*value),
            Node::Split(split) => {
                let right = goes_right(schema, rules, tree, split, row[usize::from(split.column)])?;
                turn(right);
                at = if right { split.right } else { split.left };
            }
        }
    }
}

fn goes_right(
    schema: &Schema,
    rules: TreeRules,
    tree: &Tree,
    split: &Split,
    d: f64,
) -> Result<bool, RowError> {
    let leftward = matches!(split.na, NaSplit::NaLeft | NaSplit::Left);
    let domain = schema.features[usize::from(split.column)].domain.as_deref();
    // Java's `(int) d` truncates, and saturates.
    let level = i64::from(d as i32);
    let outside =
        |offset: u32, bits: u32| level < i64::from(offset) || level >= i64::from(offset) + i64::from(bits);
    let range = match split.test {
        Test::In(set) | Test::Range(set) => {
            let set = tree.sets[set as usize];
            Some((set.offset, set.bits))
        }
        _ => None,
    };
    let missing = d.is_nan()
        || (rules != TreeRules::V100 && range.is_some_and(|(offset, bits)| outside(offset, bits)))
        || (rules == TreeRules::V120 && domain.is_some_and(|domain| domain.len() as i64 <= level));
    if missing {
        return Ok(!leftward);
    }
    Ok(match split.test {
        _ if split.na == NaSplit::NaVsRest => false,
        Test::None | Test::Range(_) => false,
        Test::AtLeast(threshold) => d >= f64::from(threshold),
        Test::In(set) => {
            if rules == TreeRules::V100 && level < 0 {
                return Err(throw("java.lang.IndexOutOfBoundsException", format!("idx < 0: {level}")));
            }
            tree.contains(tree.sets[set as usize], level).unwrap_or(false)
        }
    })
}
