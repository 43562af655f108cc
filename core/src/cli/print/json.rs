//! Models as JSON: trees in the layout of H2O's `PrintMojo --format json`, GLMs as a list of coefficients.
//!
//! Trees: `{"params": {...}, "domainValues": [{"colId", "colName", "values"}], "trees": [{"index", "name", "root"}]}`. A
//! node has `nodeNumber`, `weight`, a leaf `predValue`; a split `colId`, `colName`, `leftward` (missing values go
//! left), `isCategorical`, `splitValue` (at and above it rows go right), `leftChild`, `rightChild`. Every node but the
//! root's children's peers has `inclusiveNa` and, below a categorical split, `matchValues`: the levels that arrive.
//! `nodeNumber` is H2O's, or the place in the file where that has none (MOJO 1.00, which also has no `weight`).
//!
//! GLMs: `{"params": {...}, "coefficients": [{"name", "value"}]}`, with `class` where there is one run a class.
//!
//! Written node by node, so that depth costs no stack.

use std::io::{self, Write};

use cenote_mojo::algo::{Glm, Node, Test};
use cenote_mojo::{Artifact, Body, Category};
use serde_json::{Value, json};

use super::super::names;
use super::walk::{Event, Visit, domain, walk};
use super::{Named, coefficients};

/// Writes the trees of a model.
pub(super) fn trees(artifact: &Artifact, trees: &[Named<'_>], out: &mut impl Write) -> anyhow::Result<()> {
    write!(
        out,
        "{{\n\"params\": {},\n\"domainValues\": {},\n\"trees\": [",
        params(artifact),
        domains(artifact)
    )?;
    for (place, named) in trees.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        write!(out, "{comma}\n{{\"index\": {place}, \"name\": {}, \"root\": ", text(&named.name))?;
        walk(named.tree, &artifact.schema.features, |event| match event {
            Event::Enter(visit, above) => {
                match above {
                    Some(above) if above.is_left => write!(out, ",\n\"leftChild\": ")?,
                    Some(_) => write!(out, ",\n\"rightChild\": ")?,
                    None => {}
                }
                Ok(node(artifact, visit, out)?)
            }
            Event::Leave => Ok(write!(out, "}}")?),
        })?;
        write!(out, "}}")?;
    }
    Ok(writeln!(out, "\n]\n}}")?)
}

/// Writes a node up to its children, its brace left open.
fn node(artifact: &Artifact, visit: &Visit<'_>, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{{\"nodeNumber\": {}", visit.number)?;
    if let Some(weight) = visit.weight.filter(|weight| !weight.is_nan()) {
        write!(out, ", \"weight\": {}", number(weight))?;
    }
    match visit.content {
        Node::Leaf(value) => {
            if !value.is_nan() {
                write!(out, ", \"predValue\": {}", number(*value))?;
            }
        }
        Node::Split(split) => {
            let features = &artifact.schema.features;
            write!(
                out,
                ", \"colId\": {}, \"colName\": {}, \"leftward\": {}, \"isCategorical\": {}",
                split.column,
                text(&features[split.column as usize].name),
                split.na.missing_goes_left(),
                domain(features, split).is_some(),
            )?;
            if let Test::AtLeast(threshold) = split.test
                && !threshold.is_nan()
            {
                write!(out, ", \"splitValue\": {}", number(threshold))?;
            }
        }
    }
    if visit.levels.is_some() || matches!(visit.content, Node::Split(_)) {
        write!(out, ", \"inclusiveNa\": {}", visit.missing)?;
    }
    if let Some(levels) = &visit.levels {
        write!(out, ", \"matchValues\": [")?;
        for (place, level) in levels.iter().enumerate() {
            write!(out, "{}{level}", if place == 0 { "" } else { "," })?;
        }
        write!(out, "]")?;
    }
    Ok(())
}

/// Writes the coefficients of a GLM.
pub(super) fn glm(artifact: &Artifact, glm: &Glm, out: &mut impl Write) -> io::Result<()> {
    let rows: Vec<Value> = coefficients(artifact, glm)
        .map(|(class, name, value)| match class {
            Some(class) => json!({"class": class, "name": name, "value": float(value)}),
            None => json!({"name": name, "value": float(value)}),
        })
        .collect();
    serde_json::to_writer_pretty(&mut *out, &json!({"params": params(artifact), "coefficients": rows}))?;
    writeln!(out)
}

fn params(artifact: &Artifact) -> Value {
    let manifest = &artifact.manifest;
    let classifier = manifest.category != Category::Regression;
    let version = manifest.mojo_version;
    let version = format!("{}.{:02}", version.major, version.hundredths).parse::<f64>().unwrap_or(f64::NAN);
    let mut params = json!({
        "h2o_version": manifest.h2o_version,
        "mojo_version": float(version),
        "algo": manifest.algo,
        "model_category": format!("{:?}", manifest.category),
        "classifier": classifier,
        "supervised": artifact.schema.response.is_some(),
        "nfeatures": artifact.schema.features.len(),
        "nclasses": manifest.n_classes,
        "balance_classes": manifest.balance_classes,
    });
    let forest = match &artifact.body {
        Body::Gbm(gbm) => {
            params["family"] = json!(names::distribution(gbm.distribution));
            params["link_function"] = json!(names::link(gbm.link));
            Some((&gbm.forest, gbm.init_f))
        }
        Body::Drf(drf) => Some((&drf.forest, 0.0)),
        Body::Glm(glm) => {
            params["family"] = json!(glm.family);
            None
        }
        _ => None,
    };
    if let Some((forest, base)) = forest {
        params["n_tree_groups"] = json!(forest.groups);
        params["n_trees_in_group"] = json!(forest.trees_per_group);
        params["base_score"] = float(base);
    }
    if classifier {
        let labels = artifact.schema.response.as_ref().and_then(|response| response.domain.as_deref());
        params["class_labels"] = json!(labels);
    }
    params
}

fn domains(artifact: &Artifact) -> Value {
    let columns = artifact.schema.features.iter().enumerate();
    let with_levels =
        columns.filter_map(|(index, column)| Some((index, &column.name, column.domain.as_deref()?)));
    with_levels
        .map(|(index, name, values)| json!({"colId": index, "colName": name, "values": values}))
        .collect()
}

/// The shortest text that reads back as `value`; H2O's words for what JSON has no number for.
fn number(value: f32) -> String {
    if value.is_finite() {
        return zmij::Buffer::new().format_finite(value).to_owned();
    }
    text(if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    })
}

fn float(value: f64) -> Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => number.into(),
        None if value.is_nan() => "NaN".into(),
        None if value > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

fn text(text: &str) -> String {
    Value::from(text).to_string()
}
