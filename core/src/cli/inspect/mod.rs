//! `cenote inspect`: what a model is, wants and was trained to. In flow an artifact and its metadata; out flows a
//! [`Report`], as a page for people or as JSON for programs. Nothing is scored.

mod page;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cenote::{EngineReport, Model};
use cenote_mojo::algo::{Calibration, Forest, Node, Tree};
use cenote_mojo::{Artifact, Body, CategoricalEncoding, Column, Metadata, Metrics};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::names;
use super::open_archive;

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The model: a MOJO zip, or the folder of an unzipped one
    #[arg(value_name = "MODEL")]
    mojo: PathBuf,
    /// Print JSON, whose keys stay as they are from release to release
    #[arg(long)]
    json: bool,
    /// Compile the model, and say which engines fit it on this processor and which one scores its batches
    #[arg(long)]
    engines: bool,
}

/// All there is to say of a model: the JSON of `cenote inspect --json`. Keys are added, never changed; what a model
/// does not have is `null`. Numbers are as in the file; those that are not finite are `null` too.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// `gbm`, `drf`, `glm` ...
    algo: &'a str,
    /// The algorithm's name in full.
    algorithm: &'a str,
    /// `Regression`, `Binomial`, `Multinomial` or `Ordinal`.
    category: String,
    /// The release of H2O that wrote the file.
    h2o_version: &'a str,
    /// The version of the algorithm's format, such as `1.40`.
    mojo_version: String,
    uuid: &'a str,
    /// The model's key in the cluster that trained it.
    model_id: Option<&'a str>,
    /// Size of the file, or of all files of a folder.
    file_bytes: u64,
    response: Option<Response<'a>>,
    /// The columns that the model wants, in its own order.
    columns: Vec<Input<'a>>,
    offset_column: Option<&'a str>,
    fold_column: Option<&'a str>,
    /// `Enum`, `OneHotExplicit`, `Binary`, `EnumLimited`, `Eigen` or `LabelEncoder`.
    categorical_encoding: &'static str,
    /// What the model was trained for, such as `bernoulli` or `gaussian`.
    distribution: Option<String>,
    /// The link function, such as `logit`.
    link: Option<String>,
    /// What a GBM's sum of trees is added to.
    initial_value: Option<f64>,
    balance_classes: bool,
    /// `platt` or `isotonic`.
    calibration: Option<&'static str>,
    trees: Option<Trees>,
    /// How many coefficients a GLM has, intercepts included.
    coefficients: Option<usize>,
    metrics: AllMetrics,
    /// Greatest first.
    variable_importances: Option<Vec<Importance<'a>>>,
    /// Only if asked for; empty for a model without trees.
    #[serde(skip_serializing_if = "Option::is_none")]
    engines: Option<Vec<Engine>>,
}

/// A way to score the model's trees.
#[derive(Debug, Serialize)]
struct Engine {
    engine: &'static str,
    /// The instruction set that it would use.
    isa: &'static str,
    /// Whether it fits the model.
    fits: bool,
    /// Whether it scores the model's large batches.
    chosen: bool,
    /// Whether it scores single rows and small batches.
    rows: bool,
}

impl From<EngineReport> for Engine {
    fn from(EngineReport { engine, isa, fits, chosen, rows, .. }: EngineReport) -> Self {
        Self { engine, isa, fits, chosen, rows }
    }
}

#[derive(Debug, Serialize)]
struct Response<'a> {
    name: &'a str,
    labels: Option<&'a [String]>,
    /// The probability at and above which the second of two labels is predicted.
    threshold: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Input<'a> {
    name: &'a str,
    /// `numeric` or `categorical`.
    r#type: &'static str,
    levels: Option<&'a [String]>,
}

#[derive(Debug, Serialize)]
struct Trees {
    /// Rounds of training.
    groups: usize,
    /// Trees a round: 1, or one a class.
    trees_per_group: usize,
    /// Trees that are there.
    trees: usize,
    /// Splits and leaves.
    nodes: usize,
    leaves: usize,
    /// Splits on the longest way of the shallowest tree, of the mean tree, of the deepest tree.
    min_depth: usize,
    mean_depth: f64,
    max_depth: usize,
    /// What the trees take in memory before they are compiled.
    bytes: usize,
}

/// H2O's metrics by name.
#[derive(Debug, Serialize)]
struct AllMetrics {
    training: Option<Map<String, Value>>,
    validation: Option<Map<String, Value>>,
    cross_validation: Option<Map<String, Value>>,
}

#[derive(Debug, Serialize)]
struct Importance<'a> {
    variable: &'a str,
    /// In the algorithm's own unit.
    relative: f64,
    /// Relative to the greatest, 0..=1.
    scaled: f64,
    /// Share of the whole, 0..=1.
    percentage: f64,
}

pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let mut archive = open_archive(&args.mojo)?;
    let artifact = archive.artifact()?;
    let metadata = archive.metadata()?;
    let mut report = Report::new(&artifact, metadata.as_ref(), file_bytes(&args.mojo)?);
    if args.engines {
        let model = Model::from_artifact(artifact.clone())?;
        report.engines = Some(model.engines().into_iter().map(Engine::from).collect());
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        page::write(&report, &mut out)?;
    }
    Ok(out.flush()?)
}

impl<'a> Report<'a> {
    fn new(artifact: &'a Artifact, metadata: Option<&'a Metadata>, file_bytes: u64) -> Self {
        let Artifact { manifest, schema, body } = artifact;
        let (mut distribution, mut link, mut initial_value) = (None, None, None);
        let (mut calibration, mut forest, mut coefficients) = (None, None, None);
        match body {
            Body::Gbm(gbm) => {
                distribution = Some(names::distribution(gbm.distribution).to_owned());
                link = Some(names::link(gbm.link).to_owned());
                initial_value = Some(gbm.init_f);
                (calibration, forest) = (gbm.calibration.as_ref(), Some(&gbm.forest));
            }
            Body::Drf(drf) => (calibration, forest) = (drf.calibration.as_ref(), Some(&drf.forest)),
            Body::Glm(glm) => {
                distribution = Some(glm.family.clone());
                link = names::glm_link(&glm.kind).map(str::to_owned);
                coefficients = Some(glm.beta.len());
            }
            _ => {}
        }
        let metrics =
            |of: fn(&Metadata) -> &Option<Metrics>| metadata.and_then(|m| of(m).as_ref()).map(by_name);
        Report {
            algo: &manifest.algo,
            algorithm: &manifest.algorithm,
            category: format!("{:?}", manifest.category),
            h2o_version: &manifest.h2o_version,
            mojo_version: manifest.mojo_version.to_string(),
            uuid: &manifest.uuid,
            model_id: metadata.and_then(|metadata| metadata.model_id.as_deref()),
            file_bytes,
            response: schema.response.as_ref().map(|response| Response {
                name: &response.name,
                labels: response.domain.as_deref(),
                threshold: (manifest.n_classes == 2).then_some(manifest.default_threshold),
            }),
            columns: schema.input_columns().iter().map(Input::new).collect(),
            offset_column: schema.offset_column.as_deref(),
            fold_column: schema.fold_column.as_deref(),
            categorical_encoding: encoding(schema.encoding),
            distribution,
            link,
            initial_value,
            balance_classes: manifest.balance_classes,
            calibration: calibration.map(|calibration| match calibration {
                Calibration::Platt(..) => "platt",
                Calibration::Isotonic { .. } => "isotonic",
            }),
            trees: forest.map(Trees::new),
            coefficients,
            metrics: AllMetrics {
                training: metrics(|metadata| &metadata.training_metrics),
                validation: metrics(|metadata| &metadata.validation_metrics),
                cross_validation: metrics(|metadata| &metadata.cross_validation_metrics),
            },
            variable_importances: metadata.and_then(|metadata| metadata.variable_importances.as_ref()).map(
                |all| {
                    let importance = |one: &'a cenote_mojo::VariableImportance| Importance {
                        variable: &one.variable,
                        relative: one.relative,
                        scaled: one.scaled,
                        percentage: one.percentage,
                    };
                    all.iter().map(importance).collect()
                },
            ),
            engines: None,
        }
    }
}

impl<'a> Input<'a> {
    fn new(column: &'a Column) -> Self {
        let levels = column.domain.as_deref();
        Input { name: &column.name, r#type: if levels.is_some() { "categorical" } else { "numeric" }, levels }
    }
}

impl Trees {
    fn new(forest: &Forest) -> Self {
        let trees: Vec<&Tree> = forest.trees.iter().flatten().collect();
        let depths: Vec<usize> = trees.iter().map(|tree| depth(tree)).collect();
        let nodes: usize = trees.iter().map(|tree| tree.nodes.len()).sum();
        let sets: usize = trees.iter().map(|tree| tree.set_bytes.len()).sum();
        let is_leaf = |node: &&Node| matches!(node, Node::Leaf(_));
        Trees {
            groups: forest.groups,
            trees_per_group: forest.trees_per_group,
            trees: trees.len(),
            nodes,
            leaves: trees.iter().map(|tree| tree.nodes.iter().filter(is_leaf).count()).sum(),
            min_depth: depths.iter().min().copied().unwrap_or(0),
            mean_depth: depths.iter().sum::<usize>() as f64 / depths.len().max(1) as f64,
            max_depth: depths.iter().max().copied().unwrap_or(0),
            bytes: nodes * size_of::<Node>() + sets,
        }
    }
}

/// Splits on the longest way from the root.
fn depth(tree: &Tree) -> usize {
    let mut depths = vec![0; tree.nodes.len()];
    for (index, node) in tree.nodes.iter().enumerate() {
        if let Node::Split(split) = node {
            depths[split.left as usize] = depths[index] + 1;
            depths[split.right as usize] = depths[index] + 1;
        }
    }
    depths.into_iter().max().unwrap_or(0)
}

fn by_name(metrics: &Metrics) -> Map<String, Value> {
    metrics.values.iter().map(|(name, value)| (name.clone(), Value::from(*value))).collect()
}

fn encoding(encoding: CategoricalEncoding) -> &'static str {
    match encoding {
        CategoricalEncoding::Enum => "Enum",
        CategoricalEncoding::OneHotExplicit => "OneHotExplicit",
        CategoricalEncoding::Binary => "Binary",
        CategoricalEncoding::EnumLimited => "EnumLimited",
        CategoricalEncoding::Eigen => "Eigen",
        CategoricalEncoding::LabelEncoder => "LabelEncoder",
        _ => "unknown",
    }
}

fn file_bytes(path: &Path) -> io::Result<u64> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let (mut bytes, mut folders) = (0, vec![path.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                bytes += metadata.len();
            }
        }
    }
    Ok(bytes)
}
