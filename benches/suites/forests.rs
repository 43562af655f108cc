//! Forests and rows for the suites, the same at every run.
//!
//! A generated forest splits where it halves what is left of a column's range, so that rows drawn evenly from 0 to 1 go left
//! and right about equally often: a forest whose branches can be predicted flatters a walk.

use cenote::input::Values;
use cenote::mojo::algo::{Drf, Forest, NaSplit, Node, Split, Test, Tree, TreeRules};
use cenote::mojo::{Artifact, Body, CategoricalEncoding, Category, Column, Manifest, MojoVersion, Schema};
use cenote::{Batch, EngineOptions, Model};

/// Numbers that look random and are the same each time.
pub(crate) struct Numbers(u64);

impl Numbers {
    /// Numbers that begin at `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// What a generated forest is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Trees of each class.
    pub(crate) trees: usize,
    /// Splits on every path, unless it ends early.
    pub(crate) depth: usize,
    /// Numeric columns.
    pub(crate) columns: usize,
    /// Sums of trees a row.
    pub(crate) classes: usize,
    /// How likely a path ends at a level below the fifth.
    pub(crate) ends: f64,
}

/// 500 trees of 6 levels over 28 numeric columns.
pub(crate) const SHALLOW: Shape = Shape { trees: 500, depth: 6, columns: 28, classes: 1, ends: 0.0 };
/// 100 trees of about 5,000 leaves, 20 levels deep.
pub(crate) const DEEP: Shape = Shape { trees: 100, depth: 20, columns: 28, classes: 1, ends: 0.26 };

/// A forest of that shape.
pub(crate) fn artifact(shape: Shape) -> Artifact {
    let mut numbers = Numbers::new(1);
    let trees = (0..shape.trees * shape.classes).map(|_| Some(tree(shape, &mut numbers))).collect();
    let forest =
        Forest { groups: shape.trees, trees_per_group: shape.classes, trees, rules: TreeRules::V120 };
    let classes = if shape.classes > 1 { shape.classes } else { 1 };
    Artifact {
        manifest: Manifest {
            algo: "drf".into(),
            algorithm: "Distributed Random Forest".into(),
            h2o_version: "generated".into(),
            mojo_version: MojoVersion { major: 1, hundredths: 40 },
            uuid: "0".into(),
            category: if classes > 1 { Category::Multinomial } else { Category::Regression },
            n_classes: classes,
            balance_classes: false,
            default_threshold: 0.5,
            prior_class_distribution: None,
            model_class_distribution: None,
            info: Vec::new(),
        },
        schema: Schema {
            features: (0..shape.columns).map(|c| Column { name: format!("c{c}"), domain: None }).collect(),
            response: (classes > 1).then(|| cenote::mojo::Response {
                name: "y".into(),
                domain: Some((0..classes).map(|class| class.to_string()).collect()),
            }),
            offset_column: None,
            fold_column: None,
            encoding: CategoricalEncoding::Enum,
            original: None,
        },
        body: Body::Drf(Drf { forest, binomial_double_trees: false, calibration: None }),
    }
}

fn tree(shape: Shape, numbers: &mut Numbers) -> Tree {
    let mut tree = Tree::default();
    // The node to fill, its level, and what is left of each column's range.
    let mut open = vec![(0, 0, vec![(0.0, 1.0); shape.columns])];
    tree.nodes.push(Node::Leaf(0.0));
    while let Some((at, level, ranges)) = open.pop() {
        if level == shape.depth || (level > 4 && numbers.unit() < shape.ends) {
            tree.nodes[at] = Node::Leaf(numbers.unit() as f32 - 0.5);
            continue;
        }
        let column = numbers.bits() as usize % shape.columns;
        let (low, high): (f64, f64) = ranges[column];
        let threshold = (low + (high - low) * (0.4 + 0.2 * numbers.unit())) as f32;
        let left = tree.nodes.len();
        let na = if column.is_multiple_of(2) { NaSplit::NaLeft } else { NaSplit::NaRight };
        tree.nodes[at] = Node::Split(Split {
            column: column as u16,
            na,
            test: Test::AtLeast(threshold),
            left: left as u32,
            right: left as u32 + 1,
        });
        tree.nodes.extend([Node::Leaf(0.0); 2]);
        let mut right = ranges.clone();
        right[column].0 = threshold.into();
        let mut rest = ranges;
        rest[column].1 = threshold.into();
        open.push((left + 1, level + 1, right));
        open.push((left, level + 1, rest));
    }
    tree
}

/// A model of `artifact` on an engine and an instruction set; `None` if it would be another.
pub(crate) fn model(artifact: &Artifact, engine: &str, isa: &str) -> Option<Model> {
    let mut options = EngineOptions::default();
    options.engine = Some(engine.into());
    options.isa = Some(isa.into());
    let model = Model::from_artifact_with(artifact.clone(), &options).ok()?;
    (model.engine() == engine).then_some(model)
}

/// A model that the benchmark keeps in `benches/models`.
pub(crate) fn committed(name: &str) -> Artifact {
    let path = format!("{}/models/{name}.zip", env!("CARGO_MANIFEST_DIR"));
    Artifact::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Rows by column: numbers from 0 to 1, or a level, a tenth of them missing.
pub(crate) fn rows(artifact: &Artifact, rows: usize) -> Vec<Vec<f64>> {
    let mut numbers = Numbers::new(2);
    let mut cell = |levels: Option<usize>| match levels {
        None => numbers.unit(),
        Some(levels) => match numbers.bits() as usize % (levels + levels / 10 + 1) {
            level if level < levels => level as f64,
            _ => f64::NAN,
        },
    };
    let features = artifact.schema.features.iter();
    features
        .map(|feature| {
            let levels = feature.domain.as_ref().map(|domain| domain.len());
            (0..rows).map(|_| cell(levels)).collect()
        })
        .collect()
}

/// The first `size` rows as a batch.
pub(crate) fn batch<'a>(artifact: &Artifact, columns: &'a [Vec<f64>], size: usize) -> Batch<'a> {
    let mut batch = Batch::new(size);
    for (feature, values) in artifact.schema.features.iter().zip(columns) {
        let values = values[..size].into();
        let values = if feature.domain.is_some() { Values::Raw(values) } else { Values::F64(values) };
        batch.push(feature.name.clone(), values).expect("as long as the batch");
    }
    batch
}

/// A pool of that many threads.
pub(crate) fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool")
}
