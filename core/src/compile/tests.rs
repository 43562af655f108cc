//! Every engine on every instruction set against a walk by the rules as they are written, on random forests and rows.

use std::sync::Arc;

use cenote_mojo::algo::{Forest, LevelSet, NaSplit, Node, Split, Test, Tree, TreeRules};
use cenote_mojo::{CategoricalEncoding, Column, Schema};
use proptest::prelude::*;

use super::asked::Asked;
use super::choice::Engines;
use super::nodes::SmallForest;
use super::question::goes_right;
use super::{Block, Engine, FlatForest, LateFlat};
use crate::kernels::Isa;

/// The levels of each column; `None` for a number.
const COLUMNS: [Option<usize>; 7] = [None, Some(3), None, Some(63), Some(64), Some(700), None];

fn schema() -> Schema {
    let columns = COLUMNS.iter().enumerate().map(|(index, levels)| Column {
        name: format!("c{index}"),
        domain: levels.map(|levels| (0..levels).map(|level| level.to_string()).collect()),
    });
    Schema {
        features: columns.collect(),
        response: None,
        offset_column: None,
        fold_column: None,
        encoding: CategoricalEncoding::Enum,
        original: None,
    }
}

/// Numbers for splits and rows: few, so that rows meet thresholds, and the odd ones of `f32` and `f64`.
const NUMBERS: [f32; 12] =
    [0.0, -0.0, 1.0, -1.5, 2.5, 1e-40, -1e-40, f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY, 0.1];

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        1 => Just(f64::NAN),
        4 => (0..NUMBERS.len()).prop_map(|index| f64::from(NUMBERS[index])),
        2 => (0..NUMBERS.len()).prop_map(|index| f64::from(NUMBERS[index]).next_down()),
        2 => (0..NUMBERS.len()).prop_map(|index| f64::from(NUMBERS[index]).next_up()),
        4 => -3.0..3.0,
        1 => Just(1e300),
        1 => Just(-1e-310),
    ]
}

fn value(levels: Option<usize>) -> BoxedStrategy<f64> {
    match levels {
        None => number().boxed(),
        // Levels, unseen ones, and, seldom, what is no level.
        Some(levels) => prop_oneof![
            30 => (0..levels + 2).prop_map(|level| level as f64),
            3 => Just(f64::NAN),
            1 => prop_oneof![Just(-1.0), Just(0.5), Just(-0.0), Just(1e12), Just(-0.3), number()],
        ]
        .boxed(),
    }
}

#[derive(Debug, Clone)]
struct Draw {
    column: usize,
    na: NaSplit,
    in_set: bool,
    threshold: f32,
    set: (u32, u32, Vec<u8>),
    value: f32,
    ends: bool,
}

fn draw() -> impl Strategy<Value = Draw> {
    let na = prop_oneof![
        Just(NaSplit::NaVsRest),
        Just(NaSplit::NaLeft),
        Just(NaSplit::NaRight),
        Just(NaSplit::Left),
        Just(NaSplit::Right)
    ];
    let threshold = prop_oneof![
        9 => (0..NUMBERS.len()).prop_map(|index| NUMBERS[index]),
        9 => -3.0f32..3.0,
        4 => 0.0f32..80.0,
        1 => Just(f32::NAN)
    ];
    let set = (0u32..40, 1u32..90, prop::collection::vec(any::<u8>(), 12));
    // A leaf so small makes the sums of a class depend on their order.
    let leaf = prop_oneof![500 => -9.0f32..9.0, 1 => 1e-19f32..1e-12];
    (0..COLUMNS.len(), na, any::<bool>(), threshold, set, leaf, 0..100u32).prop_map(
        |(column, na, in_set, threshold, set, value, end)| Draw {
            column,
            na,
            in_set,
            threshold,
            set,
            value,
            ends: end < 30,
        },
    )
}

/// The plain engine of a forest.
fn flat(forest: &Forest, schema: Schema) -> Arc<LateFlat> {
    let forest = forest.clone();
    Arc::new(LateFlat::new(Box::new(move || FlatForest::new(&forest, &schema))))
}

/// Adds a set to those of a tree.
fn set(tree: &mut Tree, offset: u32, bits: u32, bytes: &[u8]) -> u32 {
    let start = tree.set_bytes.len() as u32;
    tree.set_bytes.extend(bytes);
    tree.sets.push(LevelSet { offset, bits, start });
    tree.sets.len() as u32 - 1
}

/// A tree of at most `depth` levels from draws, level after level.
fn tree(draws: &[Draw], depth: usize) -> Tree {
    let mut tree = Tree::default();
    let mut levels = vec![0];
    tree.nodes.push(Node::Leaf(draws[0].value));
    let mut at = 0;
    while at < tree.nodes.len() {
        let draw = &draws[at % draws.len()];
        let splits = at < draws.len() && levels[at] < depth && !(draw.ends && at > 0);
        tree.nodes[at] = Node::Leaf(draw.value);
        if splits {
            let left = tree.nodes.len() as u32;
            let (offset, bits, bytes) = &draw.set;
            let is_level = COLUMNS[draw.column].is_some();
            let test = match (draw.na, draw.in_set && is_level) {
                (NaSplit::NaVsRest, true) => Test::Range(set(&mut tree, *offset, *bits, bytes)),
                (NaSplit::NaVsRest, false) => Test::None,
                (_, true) => Test::In(set(&mut tree, *offset, *bits, bytes)),
                (_, false) => Test::AtLeast(draw.threshold),
            };
            let column = draw.column as u16;
            tree.nodes[at] = Node::Split(Split { column, na: draw.na, test, left, right: left + 1 });
            tree.nodes.extend([Node::Leaf(0.0); 2]);
            levels.extend([levels[at] + 1; 2]);
        }
        at += 1;
    }
    tree
}

fn forests() -> impl Strategy<Value = Forest> {
    let trees = prop::collection::vec(
        prop::option::weighted(0.9, (prop::collection::vec(draw(), 1..80), 0..13usize)),
        1..12,
    );
    (trees, 1..3usize).prop_map(|(trees, classes)| {
        let groups = trees.len().div_ceil(classes);
        let mut trees: Vec<Option<Tree>> =
            trees.into_iter().map(|tree| tree.map(|(draws, depth)| self::tree(&draws, depth))).collect();
        trees.resize(groups * classes, None);
        Forest { groups, trees_per_group: classes, trees, rules: TreeRules::V120 }
    })
}

/// The sum of a class's trees for one row, split after split.
fn naive(forest: &Forest, class: usize, row: &[f64], levels: &[Option<usize>]) -> f64 {
    let mut sum = 0.0;
    for tree in forest.trees[class * forest.groups..][..forest.groups].iter().flatten() {
        let mut at = 0;
        while let Node::Split(split) = &tree.nodes[at] {
            let column = usize::from(split.column);
            let right = goes_right(forest.rules, tree, split, levels[column], row[column]);
            at = if right { split.right } else { split.left } as usize;
        }
        let Node::Leaf(value) = tree.nodes[at] else { unreachable!("a walk ends at a leaf") };
        sum += f64::from(value);
    }
    sum
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_engine_sums_as_the_rules_say(
        forest in forests(),
        rows in (0..=200usize).prop_flat_map(|rows| {
            COLUMNS.map(|levels| prop::collection::vec(value(levels), rows).boxed()).to_vec()
        }),
    ) {
        let columns: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let rows = columns[0].len();
        let row = |index: usize| columns.iter().map(|column| column[index]).collect::<Vec<f64>>();
        let wanted: Vec<u64> = (0..forest.trees_per_group)
            .flat_map(|class| (0..rows).map(move |row| (class, row)))
            .map(|(class, index)| naive(&forest, class, &row(index), &COLUMNS).to_bits())
            .collect();
        let small = SmallForest::new(&forest, &schema());
        for isa in Isa::available() {
            for name in [Some("masks"), Some("waves"), Some("subtrees"), Some("flat"), None] {
                let engine = Engines::new(&small, flat(&forest, schema()), isa, name);
                let mut found = vec![f64::NAN; wanted.len()];
                engine.sums(&Block { columns: &columns, rows }, &mut found);
                let found: Vec<u64> = found.into_iter().map(f64::to_bits).collect();
                prop_assert!(found == wanted, "{} as {name:?} on {}", engine.name(), isa.name());
                for index in 0..rows.min(3) {
                    let mut found = vec![f64::NAN; forest.trees_per_group];
                    engine.row_sums(&row(index), &mut found);
                    for (class, found) in found.into_iter().enumerate() {
                        prop_assert_eq!(found.to_bits(), wanted[class * rows + index], "{} alone", engine.name());
                    }
                }
            }
        }
    }
}

/// A tree of about `nodes` nodes that grows at random places, over numbers: chains and bushes.
fn grown(numbers: &mut impl FnMut(usize) -> usize, columns: usize, nodes: usize, thresholds: usize) -> Tree {
    let mut tree = Tree::default();
    tree.nodes.push(Node::Leaf(0.5));
    while tree.nodes.len() < nodes {
        let left = tree.nodes.len() as u32;
        // Mostly one of the youngest leaves, so that paths grow long.
        let at = tree.nodes.len() - 1 - numbers(tree.nodes.len().min(12));
        if matches!(tree.nodes[at], Node::Split(_)) {
            continue;
        }
        let na = [NaSplit::NaLeft, NaSplit::NaRight, NaSplit::Left, NaSplit::Right][numbers(4)];
        let test = Test::AtLeast(numbers(thresholds) as f32 / (thresholds as f32 / 8.0) - 4.0);
        let column = numbers(columns) as u16;
        tree.nodes[at] = Node::Split(Split { column, na, test, left, right: left + 1 });
        let leaf = |value: usize| Node::Leaf(value as f32 / 7.0);
        tree.nodes.extend([leaf(numbers(99)), leaf(numbers(99))]);
    }
    tree
}

/// Every engine sums rows of one class, `data[column][row]`, as the rules say; some rows also alone.
fn agree(forest: &Forest, schema: &Schema, data: &[Vec<f64>]) {
    let (columns, rows) = (data.len(), data[0].len());
    let block: Vec<&[f64]> = data.iter().map(Vec::as_slice).collect();
    let row = |index: usize| data.iter().map(|column| column[index]).collect::<Vec<f64>>();
    let levels: Vec<Option<usize>> =
        schema.features.iter().map(|column| column.domain.as_ref().map(|levels| levels.len())).collect();
    let wanted: Vec<u64> = (0..rows).map(|index| naive(forest, 0, &row(index), &levels).to_bits()).collect();
    let small = SmallForest::new(forest, schema);
    for isa in Isa::available() {
        for name in [None, Some("waves"), Some("subtrees")] {
            let engine = Engines::new(&small, flat(forest, schema.clone()), isa, name);
            let mut found = vec![f64::NAN; rows];
            engine.sums(&Block { columns: &block, rows }, &mut found);
            let found: Vec<u64> = found.into_iter().map(f64::to_bits).collect();
            assert!(found == wanted, "{columns} columns, {} on {}", engine.name(), isa.name());
            for (index, wanted) in wanted.iter().enumerate().take(3) {
                let mut found = [f64::NAN];
                engine.row_sums(&row(index), &mut found);
                assert_eq!(found[0].to_bits(), *wanted, "{columns}, {} alone", engine.name());
            }
        }
    }
}

/// One line of codes a row, two, more than registers take, and more than bytes name; waves of rows that are not full, and
/// more trees than are walked at once.
#[test]
fn deep_forests_of_any_width_sum_as_the_rules_say() {
    let mut state = 7u64;
    let mut numbers = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    for (columns, trees, rows) in [(3, 300, 33), (32, 7, 700), (50, 7, 257), (120, 5, 300), (200, 5, 300)] {
        let trees = (0..trees).map(|_| Some(grown(&mut numbers, columns, 301, 64))).collect::<Vec<_>>();
        let groups = trees.len();
        let forest = Forest { groups, trees_per_group: 1, trees, rules: TreeRules::V120 };
        let features = (0..columns).map(|c| Column { name: c.to_string(), domain: None }).collect();
        let schema = Schema { features, ..schema() };
        for gaps in [false, true] {
            let mut cell = || match numbers(10) {
                0 if gaps => f64::NAN,
                _ => numbers(128) as f64 / 16.0 - 4.0,
            };
            let data: Vec<Vec<f64>> = (0..columns).map(|_| (0..rows).map(|_| cell()).collect()).collect();
            agree(&forest, &schema, &data);
        }
    }
}

/// Levels that 16 bits do not tell apart are taken by classes of them that splits do not tell apart.
#[test]
fn forests_of_more_levels_than_codes_sum_as_the_rules_say() {
    const LEVELS: usize = 70_000;
    let mut state = 13u64;
    let mut numbers = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    let mut bushes: Vec<Tree> = (0..3).map(|_| grown(&mut numbers, 2, 41, 64)).collect();
    for tree in &mut bushes {
        for at in 0..tree.nodes.len() {
            let mut node = tree.nodes[at];
            let Node::Split(split) = &mut node else { continue };
            if split.column == 1 {
                let (offset, bits) = (numbers(100) as u32, 69_000 + numbers(1200) as u32);
                // Runs of levels, as H2O's bins are.
                let bytes: Vec<u8> = (0..bits.div_ceil(8))
                    .map(|byte| if byte / 977 % 3 == at as u32 % 3 { 0xff } else { 0 })
                    .collect();
                split.test = match numbers(4) {
                    0 => Test::AtLeast(numbers(LEVELS) as f32),
                    1 => {
                        split.na = NaSplit::NaVsRest;
                        Test::Range(set(tree, offset, bits, &bytes))
                    }
                    _ => Test::In(set(tree, offset, bits, &bytes)),
                };
            }
            tree.nodes[at] = node;
        }
    }
    let forest = Forest {
        groups: 3,
        trees_per_group: 1,
        trees: bushes.into_iter().map(Some).collect(),
        rules: TreeRules::V120,
    };
    let domain: Arc<[String]> = (0..LEVELS).map(|level| level.to_string()).collect();
    let features = vec![
        Column { name: "x".to_owned(), domain: None },
        Column { name: "level".to_owned(), domain: Some(domain) },
    ];
    let schema = Schema { features, ..schema() };
    let small = SmallForest::new(&forest, &schema);
    assert_ne!(Engines::new(&small, flat(&forest, schema.clone()), Isa::Portable, None).name(), "flat");
    let x = (0..600).map(|_| numbers(128) as f64 / 16.0 - 4.0).collect();
    let level = |row: usize| match row {
        0..5 => [f64::NAN, 70_000.0, 99_999.0, 69_999.0, 0.5][row],
        _ => numbers(LEVELS) as f64,
    };
    agree(&forest, &schema, &[x, (0..600).map(level).collect()]);
}

/// Ranks in 16 bits do not tell the thresholds of all trees apart: runs of trees have ranks of their own.
#[test]
fn forests_of_more_thresholds_than_codes_sum_as_the_rules_say() {
    let mut state = 11u64;
    let mut numbers = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    let trees = (0..8).map(|tree| (tree != 3).then(|| grown(&mut numbers, 1, 40_001, 1 << 22))).collect();
    let forest = Forest { groups: 8, trees_per_group: 1, trees, rules: TreeRules::V120 };
    let schema = Schema { features: vec![Column { name: "x".to_owned(), domain: None }], ..schema() };
    let small = SmallForest::new(&forest, &schema);
    assert!(Asked::runs(&small).expect("runs").len() > 1);
    assert_eq!(Engines::new(&small, flat(&forest, schema.clone()), Isa::Portable, None).name(), "subtrees");
    let data =
        (0..300).map(|row| if row == 7 { f64::NAN } else { numbers(1 << 20) as f64 / 131_072.0 - 4.0 });
    agree(&forest, &schema, &[data.collect()]);
}
