//! Random models as plain data, and random rows that know where their edges are.

use cenote::mojo::algo::{
    Aux, AuxNode, Calibration, Distribution, Drf, Forest, Gbm, Glm, GlmKind, LevelSet, Link, NaSplit, Node,
    Split, Test, Tree, TreeRules,
};
use cenote::mojo::{
    Artifact, Body, CategoricalEncoding, Category, Column, Domain, Manifest, MojoVersion, Response, Schema,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Thresholds: few, so that values often stand right at one.
const THRESHOLDS: [f32; 10] =
    [-1.5, -0.0, 0.0, 1.0, 2.5, 3.0, 1e-40, 16_777_216.0, f32::MAX, f32::NEG_INFINITY];
const DIRECTIONS: [NaSplit; 5] =
    [NaSplit::NaVsRest, NaSplit::NaLeft, NaSplit::NaRight, NaSplit::Left, NaSplit::Right];

/// A tree before it is laid out.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    Leaf(f32),
    Split { column: usize, na: usize, test: Question, children: Box<[Shape; 2]> },
}

#[derive(Debug, Clone)]
pub(crate) enum Question {
    Threshold(usize),
    Set { offset: u32, bits: Vec<bool> },
}

pub(crate) fn shape() -> impl Strategy<Value = Shape> {
    let leaf =
        prop_oneof![8 => -10_f32..10.0, 1 => Just(-0.0_f32), 1 => Just(1e30_f32)].prop_map(Shape::Leaf);
    let question = prop_oneof![
        (0..THRESHOLDS.len()).prop_map(Question::Threshold),
        (0_u32..6, vec(any::<bool>(), 1..40)).prop_map(|(offset, bits)| Question::Set { offset, bits }),
    ];
    leaf.prop_recursive(9, 80, 2, move |inner| {
        (0_usize..64, 0..DIRECTIONS.len(), question.clone(), inner.clone(), inner).prop_map(
            |(column, na, test, left, right)| Shape::Split {
                column,
                na,
                test,
                children: Box::new([left, right]),
            },
        )
    })
}

/// A tree deeper than H2O's paths reach.
pub(crate) fn chain(depth: usize) -> Shape {
    (0..depth).fold(Shape::Leaf(1.0), |below, level| Shape::Split {
        column: level,
        na: level,
        test: Question::Threshold(level % THRESHOLDS.len()),
        children: Box::new(if level % 3 == 0 {
            [Shape::Leaf(level as f32), below]
        } else {
            [below, Shape::Leaf(level as f32)]
        }),
    })
}

/// Lays a shape out as a file would: a split, its left subtree, its right subtree; ids are given in that order too.
fn lay_out(shape: &Shape, columns: usize) -> Tree {
    let mut tree = Tree::default();
    let mut records = Vec::new();
    push(shape, columns, None, &mut tree, &mut records);
    Tree { aux: Some(Aux::from_records(&records)), ..tree }
}

/// `stale` is the set read last on the way down, which genmodel asks again at a set-typed `NaVsRest` split.
fn push(
    shape: &Shape,
    columns: usize,
    stale: Option<u32>,
    tree: &mut Tree,
    records: &mut Vec<AuxNode>,
) -> u32 {
    let at = tree.nodes.len();
    let (column, na, question, children) = match shape {
        Shape::Leaf(value) => {
            tree.nodes.push(Node::Leaf(*value));
            return at as u32;
        }
        Shape::Split { column, na, test, children } => (column, na, test, children),
    };
    let na = DIRECTIONS[na % DIRECTIONS.len()];
    let mut last_set = stale;
    let test = match (na, question) {
        (NaSplit::NaVsRest, Question::Threshold(_)) => Test::None,
        (NaSplit::NaVsRest, Question::Set { .. }) => stale.map_or(Test::None, Test::Range),
        (_, Question::Threshold(threshold)) => Test::AtLeast(THRESHOLDS[*threshold]),
        (_, Question::Set { offset, bits }) => {
            let start = tree.set_bytes.len() as u32;
            let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
            tree.set_bytes.extend(bits.chunks(8).map(byte));
            let set = tree.sets.len() as u32;
            tree.sets.push(LevelSet { offset: *offset, bits: bits.len() as u32, start });
            last_set = Some(set);
            Test::In(set)
        }
    };
    let record = records.len();
    tree.nodes.push(Node::Leaf(0.0));
    records.push(AuxNode {
        id: at as i32,
        left_inner_nodes: 0,
        weights: [1.0; 2],
        predictions: [0.0; 2],
        squared_errors: [0.0; 2],
        children: [0; 2],
    });
    let left = push(&children[0], columns, last_set, tree, records);
    records[record].left_inner_nodes = (records.len() - record - 1) as i32;
    let right = push(&children[1], columns, last_set, tree, records);
    records[record].children = [left as i32, right as i32];
    tree.nodes[at] = Node::Split(Split { column: (column % columns) as u16, na, test, left, right });
    at as u32
}

/// The columns of a random model: numeric where there are no levels.
pub(crate) fn columns() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![2 => Just(0_usize), 3 => 1_usize..40], 1..7)
}

fn schema(levels: &[usize], classes: usize) -> Schema {
    let domain = |count: usize| -> Domain { (0..count).map(|level| format!("l{level}")).collect() };
    let features = levels
        .iter()
        .enumerate()
        .map(|(at, count)| Column { name: format!("c{at}"), domain: (*count > 0).then(|| domain(*count)) });
    Schema {
        features: features.collect(),
        response: Some(Response { name: "y".to_owned(), domain: (classes > 1).then(|| domain(classes)) }),
        offset_column: Some("offset".to_owned()),
        fold_column: None,
        encoding: CategoricalEncoding::Enum,
        original: None,
    }
}

fn manifest(algo: &str, hundredths: u32, category: Category, classes: usize, balance: bool) -> Manifest {
    let share = |class: usize| (class + 1) as f64 / (classes * (classes + 1) / 2) as f64;
    let priors = (classes > 1).then(|| (0..classes).map(share).collect::<Vec<_>>());
    Manifest {
        algo: algo.to_owned(),
        algorithm: algo.to_owned(),
        h2o_version: "3.46.0.11".to_owned(),
        mojo_version: MojoVersion { major: 1, hundredths },
        uuid: "0".to_owned(),
        category,
        n_classes: classes,
        balance_classes: balance,
        default_threshold: 0.4,
        model_class_distribution: priors.as_ref().map(|priors| vec![1.0 / priors.len() as f64; priors.len()]),
        prior_class_distribution: priors,
        info: Vec::new(),
    }
}

fn forest_model(
    levels: &[usize],
    shapes: &[Option<Shape>],
    (hundredths, rules): (u32, TreeRules),
    kind: usize,
    balance: bool,
) -> Artifact {
    let (classes, per_group) = [(1, 1), (1, 1), (2, 1), (3, 3), (2, 1), (2, 2), (4, 4), (1, 1)][kind];
    let category = match classes {
        1 => Category::Regression,
        2 => Category::Binomial,
        _ => Category::Multinomial,
    };
    let groups = shapes.len() / per_group;
    let trees = shapes[..groups * per_group].iter();
    let forest = Forest {
        groups,
        trees_per_group: per_group,
        trees: trees.map(|shape| shape.as_ref().map(|shape| lay_out(shape, levels.len()))).collect(),
        rules,
    };
    let isotonic =
        Calibration::Isotonic { min: 0.1, max: 0.9, x: vec![0.1, 0.5, 0.9], y: vec![0.0, 0.25, 1.0] };
    let gbm = |distribution, link| {
        let calibration = (classes == 2).then(|| Calibration::Platt(vec![-3.5, 1.25]));
        Body::Gbm(Gbm { forest: forest.clone(), distribution, link, init_f: -0.3, calibration })
    };
    let body = match kind {
        0 => gbm(Distribution::Gaussian, Link::Identity),
        1 => gbm(Distribution::Poisson, Link::Log),
        2 => gbm(Distribution::Bernoulli, Link::Logit),
        3 => gbm(Distribution::Multinomial, Link::Identity),
        _ => Body::Drf(Drf {
            forest: forest.clone(),
            binomial_double_trees: kind == 5,
            calibration: (classes == 2).then_some(isotonic),
        }),
    };
    let algo = if kind < 4 { "gbm" } else { "drf" };
    Artifact {
        manifest: manifest(algo, hundredths, category, classes, balance && classes > 1),
        schema: schema(levels, classes),
        body,
    }
}

/// A forest of any kind and version.
pub(crate) fn forest() -> impl Strategy<Value = Artifact> {
    let version = prop_oneof![
        1 => Just((0, TreeRules::V100)),
        1 => Just((10, TreeRules::V110)),
        3 => Just((40, TreeRules::V120))
    ];
    let tree = prop_oneof![6 => shape().prop_map(Some), 1 => Just(None), 1 => (60_usize..70).prop_map(|d| Some(chain(d)))];
    (columns(), vec(tree, 4..13), version, 0_usize..8, any::<bool>()).prop_map(
        |(levels, shapes, version, kind, balance)| forest_model(&levels, &shapes, version, kind, balance),
    )
}

/// A GLM of any kind.
pub(crate) fn glm() -> impl Strategy<Value = Artifact> {
    let links = [Link::Identity, Link::Log, Link::Logit, Link::Inverse, Link::Tweedie];
    (vec(2_usize..8, 0..4), 0_usize..4, 0_usize..8, any::<bool>(), any::<bool>(), vec(-2.0..2.0_f64, 200))
        .prop_map(move |(cats, nums, kind, all, impute, coefficients)| {
            let mut levels = cats.clone();
            levels.extend(std::iter::repeat_n(0, nums));
            let (kind, classes) = match kind {
                0..=4 => {
                    let (link, tweedie_link_power) = (links[kind], if all { 0.0 } else { -0.5 });
                    (GlmKind::Single { link, binomial: false, tweedie_link_power }, 1)
                }
                5 => (GlmKind::Single { link: Link::Logit, binomial: true, tweedie_link_power: 0.0 }, 2),
                6 => (GlmKind::Multinomial, 3),
                _ => (GlmKind::Ordinal, 4),
            };
            let mut offsets = vec![0];
            for count in &cats {
                offsets.push(offsets[offsets.len() - 1] + *count as i32 - i32::from(!all));
            }
            let run = offsets[cats.len()] as usize + nums + 1;
            let runs = if matches!(kind, GlmKind::Single { .. }) { 1 } else { classes };
            let glm = Glm {
                family: "any".to_owned(),
                beta: coefficients.iter().copied().cycle().take(run * runs).collect(),
                use_all_factor_levels: all,
                cats: cats.len(),
                cat_modes: cats.iter().map(|count| *count as i32 - 1).collect(),
                cat_offsets: offsets,
                nums,
                num_means: coefficients[..nums].to_vec(),
                mean_imputation: impute,
                dispersion: 1.0,
                kind,
            };
            let category = match (&glm.kind, classes) {
                (GlmKind::Ordinal, _) => Category::Ordinal,
                (_, 1) => Category::Regression,
                (_, 2) => Category::Binomial,
                _ => Category::Multinomial,
            };
            Artifact {
                manifest: manifest("glm", 0, category, classes, false),
                schema: schema(&levels, classes),
                body: Body::Glm(glm),
            }
        })
}

/// A raw value: a level's code, a number at or next to a threshold, or one that nobody would hand over.
pub(crate) fn value() -> impl Strategy<Value = f64> {
    let threshold = (0..THRESHOLDS.len()).prop_map(|at| f64::from(THRESHOLDS[at]));
    prop_oneof![
        6 => (-2_i32..45).prop_map(f64::from),
        2 => threshold.clone(),
        1 => threshold.clone().prop_map(f64::next_up),
        1 => threshold.prop_map(f64::next_down),
        2 => Just(f64::NAN),
        1 => -5.0..50.0_f64,
        1 => prop_oneof![
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
            Just(-0.0),
            Just(1e300),
            Just(-1e300),
            Just(5e-324),
            Just(f64::from(i32::MAX)),
            Just(f64::from(i32::MIN)),
        ],
    ]
}

/// Up to 200 rows of as many values as any model here reads.
pub(crate) fn rows() -> impl Strategy<Value = Vec<Vec<f64>>> {
    prop_oneof![4 => vec(vec(value(), 8), 0..20), 1 => vec(vec(value(), 8), 0..200)]
}
