//! Random trees, written here as H2O writes them, are read back, for each of the three formats.

use cenote_mojo::algo::{NaSplit, Node, Test, Tree, TreeRules};
use cenote_mojo::{Artifact, Body, Limits};
use proptest::prelude::*;

use crate::support::{ini, zip};

/// A tree as the writer sees it.
#[derive(Debug, Clone)]
pub(crate) enum Plan {
    Leaf(f32),
    Split { column: u16, na: u8, test: PlannedTest, left: Box<Plan>, right: Box<Plan> },
}

#[derive(Debug, Clone)]
pub(crate) enum PlannedTest {
    Threshold(f32),
    Inline([u8; 4]),
    Set { offset: u16, bits: u32, bytes: Vec<u8> },
}

impl Plan {
    /// The blob of a tree whose root is this.
    pub(crate) fn blob(&self, rules: TreeRules) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Plan::Leaf(value) => {
                out.extend([0, 255, 255]);
                out.extend(value.to_le_bytes());
            }
            Plan::Split { .. } => self.write(rules, &mut out),
        }
        out
    }

    fn write(&self, rules: TreeRules, out: &mut Vec<u8>) {
        let Plan::Split { column, na, test, left, right } = self else {
            let Plan::Leaf(value) = self else { unreachable!() };
            out.extend(value.to_le_bytes());
            return;
        };
        let mut body = Vec::new();
        left.write(rules, &mut body);
        let mut kind = match test {
            PlannedTest::Threshold(_) => 0,
            PlannedTest::Inline(_) => 8,
            PlannedTest::Set { .. } => 12,
        };
        let length_bytes = match body.len() {
            _ if matches!(**left, Plan::Leaf(_)) => 0,
            0..=0xFF => 1,
            0x100..=0xFFFF => 2,
            0x1_0000..=0xFF_FFFF => 3,
            _ => 4,
        };
        kind |= if length_bytes == 0 { 48 } else { length_bytes as u8 - 1 };
        kind |= if matches!(**right, Plan::Leaf(_)) { 0xC0 } else { 0 };
        out.push(kind);
        out.extend(column.to_le_bytes());
        out.push(*na);
        if *na != 1 {
            match test {
                PlannedTest::Threshold(value) => out.extend(value.to_le_bytes()),
                PlannedTest::Inline(bytes) => out.extend(bytes),
                PlannedTest::Set { offset, bits, bytes } => {
                    out.extend(offset.to_le_bytes());
                    match rules {
                        TreeRules::V120 => out.extend(bits.to_le_bytes()),
                        _ => out.extend((bytes.len() as u16).to_le_bytes()),
                    }
                    out.extend(bytes);
                }
            }
        }
        out.extend(&(body.len() as u32).to_le_bytes()[..length_bytes]);
        out.extend(body);
        right.write(rules, out);
    }

    /// Checks the nodes from `at` on against this; gives the index after it.
    fn check(
        &self,
        tree: &cenote_mojo::algo::Tree,
        at: usize,
        rules: TreeRules,
        range: Option<(u32, u32)>,
    ) -> usize {
        let Plan::Split { column, na, test, left, right } = self else {
            let (Plan::Leaf(wanted), Node::Leaf(value)) = (self, tree.nodes[at]) else {
                panic!("leaf at {at}")
            };
            assert_eq!(value.to_bits(), wanted.to_bits());
            return at + 1;
        };
        let Node::Split(split) = tree.nodes[at] else { panic!("split at {at}") };
        assert_eq!(split.column, *column);
        let expected_na =
            [NaSplit::NaVsRest, NaSplit::NaLeft, NaSplit::NaRight, NaSplit::Left, NaSplit::Right];
        assert_eq!(split.na, expected_na[usize::from(*na) - 1]);
        let mut range = range;
        match (test, split.test) {
            (PlannedTest::Threshold(_), Test::None) if *na == 1 => {}
            (_, Test::None) if *na == 1 => assert!(range.is_none() || rules == TreeRules::V100),
            (_, Test::Range(set)) if *na == 1 && rules != TreeRules::V100 => {
                assert_eq!(Some(range_of(tree, set)), range)
            }
            (PlannedTest::Threshold(wanted), Test::AtLeast(value)) => {
                assert_eq!(value.to_bits(), wanted.to_bits())
            }
            (planned, Test::In(set)) => {
                let (offset, bits, bytes) = match planned {
                    PlannedTest::Inline(bytes) => (0, 32, bytes.as_slice()),
                    PlannedTest::Set { offset, bits, bytes } if rules == TreeRules::V120 => {
                        (u32::from(*offset), *bits, bytes.as_slice())
                    }
                    PlannedTest::Set { offset, bytes, .. } => {
                        (u32::from(*offset), bytes.len() as u32 * 8, bytes.as_slice())
                    }
                    PlannedTest::Threshold(_) => panic!("a set at {at}"),
                };
                assert_eq!(range_of(tree, set), (offset, bits));
                for level in 0..i64::from(offset + bits) + 9 {
                    let bit = level - i64::from(offset);
                    let wanted = (0..i64::from(bits))
                        .contains(&bit)
                        .then(|| bytes[(bit / 8) as usize] >> (bit % 8) & 1 == 1);
                    assert_eq!(tree.contains(tree.sets[set as usize], level), wanted);
                }
                range = Some((offset, bits));
            }
            other => panic!("{other:?} at {at}"),
        }
        assert_eq!(split.left as usize, at + 1);
        let after = left.check(tree, at + 1, rules, range);
        assert_eq!(split.right as usize, after);
        right.check(tree, after, rules, range)
    }
}

fn test() -> impl Strategy<Value = PlannedTest> {
    let set = (any::<u16>(), 0usize..40).prop_flat_map(|(offset, n)| {
        let bits = (n as u32 * 8).saturating_sub(3);
        let bytes = prop::collection::vec(any::<u8>(), n);
        bytes.prop_map(move |bytes| PlannedTest::Set { offset: offset % 500, bits, bytes })
    });
    prop_oneof![
        any::<f32>().prop_map(PlannedTest::Threshold),
        any::<[u8; 4]>().prop_map(PlannedTest::Inline),
        set
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    any::<f32>().prop_map(Plan::Leaf).prop_recursive(12, 200, 2, |below| {
        (0u16..3, 1u8..=5, test(), below.clone(), below).prop_map(|(column, na, test, left, right)| {
            Plan::Split { column, na, test, left: Box::new(left), right: Box::new(right) }
        })
    })
}

/// A GBM of one tree.
pub(crate) fn gbm(version: &str, blob: Vec<u8>) -> Vec<u8> {
    let extra = "n_trees = 1\nn_trees_per_class = 1\ndistribution = gaussian\ninit_f = 0.0\n_genmodel_encoding = AUTO";
    let text = ini("Gradient Boosting Machine", version, extra, &["a", "b", "c", "y"], "");
    zip(&[("trees/t00_000.bin", blob), ("model.ini", text.into_bytes())])
}

fn only_tree(artifact: Artifact) -> cenote_mojo::algo::Tree {
    let Body::Gbm(mut gbm) = artifact.body else { panic!() };
    gbm.forest.trees.remove(0).unwrap()
}

const VERSIONS: [(&str, TreeRules); 5] = [
    ("1.0", TreeRules::V100),
    ("1.10", TreeRules::V110),
    ("1.20", TreeRules::V120),
    ("1.30", TreeRules::V120),
    ("1.40", TreeRules::V120),
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn trees_are_read_back(plan in plan(), version in 0usize..5) {
        let (version, rules) = VERSIONS[version];
        let tree = only_tree(Artifact::from_bytes(&gbm(version, plan.blob(rules))).unwrap());
        prop_assert_eq!(plan.check(&tree, 0, rules, None), tree.nodes.len());
    }

    #[test]
    fn a_cut_tree_is_refused(plan in plan(), cut in any::<prop::sample::Index>()) {
        let mut blob = plan.blob(TreeRules::V120);
        blob.truncate(cut.index(blob.len()));
        let error = Artifact::from_bytes(&gbm("1.20", blob)).unwrap_err();
        prop_assert_eq!(error.entry(), Some("trees/t00_000.bin"));
    }
}

/// A chain that goes right `depth` times, each left child a leaf.
fn chain(depth: usize) -> Vec<u8> {
    let mut blob = Vec::new();
    for level in 0..depth {
        let right_is_leaf = if level + 1 == depth { 0xC0 } else { 0 };
        blob.extend([48 | right_is_leaf, 0, 0, 5]);
        blob.extend((level as f32).to_le_bytes());
        blob.extend(1f32.to_le_bytes());
    }
    blob.extend(2f32.to_le_bytes());
    blob
}

#[test]
fn deep_chains_need_no_stack() {
    let tree = only_tree(Artifact::from_bytes(&gbm("1.20", chain(60_000))).unwrap());
    assert_eq!(tree.nodes.len(), 120_001);
}

/// The other way down: each right child a leaf, so that every level stays open until the last.
#[test]
fn depth_is_limited() {
    let mut plan = Plan::Leaf(0.0);
    for level in 0..100 {
        let (left, right) = (Box::new(plan), Box::new(Plan::Leaf(1.0)));
        plan = Plan::Split { column: 0, na: 2, test: PlannedTest::Threshold(level as f32), left, right };
    }
    let bytes = gbm("1.20", plan.blob(TreeRules::V120));
    let with = |depth| Artifact::from_bytes_with(&bytes, &Limits { depth, ..Limits::default() });
    assert_eq!(only_tree(with(100).unwrap()).nodes.len(), 201);
    let error = with(99).unwrap_err();
    assert!(error.to_string().contains("levels of a tree exceed the limit of 99"), "{error}");
    let bytes = gbm("1.20", chain(100));
    let with = |depth| Artifact::from_bytes_with(&bytes, &Limits { depth, ..Limits::default() });
    assert!(with(100).is_ok() && with(99).is_err(), "levels to the right count too");
}

#[test]
fn nodes_are_limited() {
    let bytes = gbm("1.20", chain(100));
    let with = |nodes| Artifact::from_bytes_with(&bytes, &Limits { nodes, ..Limits::default() });
    assert!(with(201).is_ok());
    let error = with(200).unwrap_err();
    assert!(error.to_string().contains("tree nodes exceed the limit of 200"), "{error}");
}

/// A node may end in a leaf of its own kind (column 65535), as a root does.
#[test]
fn a_leaf_record_may_stand_below_a_split() {
    let mut blob = vec![0, 1, 0, 5];
    blob.extend(0.5f32.to_le_bytes());
    blob.push(7);
    blob.extend([0, 255, 255]);
    blob.extend(3f32.to_le_bytes());
    blob.extend([0, 255, 255]);
    blob.extend(4f32.to_le_bytes());
    let tree = only_tree(Artifact::from_bytes(&gbm("1.20", blob)).unwrap());
    assert_eq!(tree.nodes[1..], [Node::Leaf(3.0), Node::Leaf(4.0)]);
}

/// Offset and length of a set's range.
fn range_of(tree: &Tree, set: u32) -> (u32, u32) {
    let set = tree.sets[set as usize];
    (set.offset, set.bits)
}

/// Below a set over the levels 2..5, a node of kind 8 without a test: h2o-genmodel 3.46.0.11 sends levels 0 and 5 of its
/// column the way of missing values (right), and 3 left, for it asks the range of the set above again.
#[test]
fn a_node_without_a_test_asks_the_last_set_again() {
    let leaf = |value| Box::new(Plan::Leaf(value));
    let inner = Plan::Split {
        column: 1,
        na: 1,
        test: PlannedTest::Inline([0; 4]),
        left: leaf(10.0),
        right: leaf(20.0),
    };
    let set = PlannedTest::Set { offset: 2, bits: 3, bytes: vec![0b101] };
    let root = Plan::Split { column: 0, na: 3, test: set, left: Box::new(inner), right: leaf(30.0) };
    for (version, rules, expected) in [
        ("1.0", TreeRules::V100, None),
        ("1.10", TreeRules::V110, Some((2, 8))),
        ("1.20", TreeRules::V120, Some((2, 3))),
    ] {
        let tree = only_tree(Artifact::from_bytes(&gbm(version, root.blob(rules))).unwrap());
        let Node::Split(split) = tree.nodes[1] else { panic!() };
        let range = match split.test {
            Test::Range(set) => Some(range_of(&tree, set)),
            test => {
                assert_eq!(test, Test::None, "{version}");
                None
            }
        };
        assert_eq!(range, expected, "{version}");
    }
}
