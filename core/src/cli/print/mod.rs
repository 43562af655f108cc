//! `cenote print`: what a model learned, as a picture or as JSON.

mod dot;
mod json;
mod layout;
mod sketch;
mod svg;
mod walk;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use cenote_mojo::algo::{Forest, Glm, Tree};
use cenote_mojo::{Artifact, Body};
use clap::{Args, ValueEnum};

use super::{Usage, open_archive};

#[derive(Debug, Args)]
pub(crate) struct PrintArgs {
    /// The model: a MOJO zip, or the folder of an unzipped one
    #[arg(value_name = "MODEL")]
    mojo: PathBuf,
    /// Print only the trees of this group, from 0; a group has one tree, or one a class
    #[arg(long, value_name = "N")]
    tree: Option<usize>,
    /// How to print; GLMs have JSON only
    #[arg(long, default_value = "dot")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    /// Graphviz text
    Dot,
    /// The layout of H2O's PrintMojo
    Json,
    /// A picture
    Svg,
}

/// A tree with H2O's name for it.
struct Named<'a> {
    name: String,
    tree: &'a Tree,
}

pub(crate) fn run(args: &PrintArgs) -> anyhow::Result<()> {
    let artifact = open_archive(&args.mojo)?.artifact()?;
    let mut out = BufWriter::new(io::stdout().lock());
    match &artifact.body {
        Body::Gbm(gbm) => print_trees(args, &artifact, &gbm.forest, &mut out)?,
        Body::Drf(drf) => print_trees(args, &artifact, &drf.forest, &mut out)?,
        Body::Glm(_) if args.tree.is_some() => return Err(Usage("a GLM has no trees".into()).into()),
        Body::Glm(glm) if args.format == Format::Json => json::glm(&artifact, glm, &mut out)?,
        Body::Glm(_) => {
            return Err(Usage("a GLM is no picture: --format json prints its coefficients".into()).into());
        }
        _ => {
            return Err(Usage(format!("print is not supported for {} models", artifact.manifest.algo)).into());
        }
    }
    Ok(out.flush()?)
}

fn print_trees(
    args: &PrintArgs,
    artifact: &Artifact,
    forest: &Forest,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let groups = match args.tree {
        Some(group) if group >= forest.groups => {
            return Err(Usage(format!(
                "there is no tree {group}: the model has trees 0 to {}",
                forest.groups - 1
            ))
            .into());
        }
        Some(group) => group..group + 1,
        None => 0..forest.groups,
    };
    let classes = 0..forest.trees_per_group;
    let places = groups.flat_map(|group| classes.clone().map(move |class| (group, class)));
    let trees: Vec<Named<'_>> = places
        .filter_map(|(group, class)| {
            let tree = forest.trees[class * forest.groups + group].as_ref()?;
            Some(Named { name: name(artifact, group, class), tree })
        })
        .collect();
    match args.format {
        Format::Dot => dot::trees(artifact, &trees, out)?,
        Format::Json => json::trees(artifact, &trees, out)?,
        Format::Svg => svg::trees(artifact, &trees, out)?,
    }
    Ok(())
}

/// Mirrors `SharedTreeMojoModel.treeName`: the one tree of a binomial group bears the first class's name.
fn name(artifact: &Artifact, group: usize, class: usize) -> String {
    let labels = artifact.schema.response.as_ref().and_then(|response| response.domain.as_ref());
    match labels.and_then(|labels| labels.get(class)) {
        Some(label) => format!("Tree {group}, Class {label}"),
        None => format!("Tree {group}"),
    }
}

/// Class (where there is one run a class), name and value of every coefficient, in the file's order. A level's name is
/// `column.level`; the last of a run is `Intercept`.
fn coefficients<'a>(
    artifact: &'a Artifact,
    glm: &'a Glm,
) -> impl Iterator<Item = (Option<&'a str>, String, f64)> {
    let features = &artifact.schema.features;
    let first_level = usize::from(!glm.use_all_factor_levels);
    let mut names = Vec::new();
    for (column, offsets) in features.iter().zip(glm.cat_offsets.windows(2)).take(glm.cats) {
        let levels = usize::try_from(offsets[1] - offsets[0]).unwrap_or(0);
        for level in first_level..first_level + levels {
            let level_name = column.domain.as_ref().and_then(|domain| domain.get(level));
            names.push(match level_name {
                Some(level) => format!("{}.{level}", column.name),
                None => format!("{}.{level}", column.name),
            });
        }
    }
    names.extend(features.iter().skip(glm.cats).take(glm.nums).map(|column| column.name.clone()));
    names.push("Intercept".to_owned());
    let labels =
        artifact.schema.response.as_ref().and_then(|response| response.domain.as_deref()).unwrap_or_default();
    let runs = glm.beta.len() > names.len();
    let width = names.len();
    glm.beta.iter().enumerate().map(move |(index, &value)| {
        let class = runs.then(|| labels.get(index / width).map_or("", String::as_str));
        (class, names[index % width].clone(), value)
    })
}
