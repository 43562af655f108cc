//! A [`Report`] as a page of text.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::{AllMetrics, Importance, Report, Trees};

/// How many importances are shown; JSON has all.
const IMPORTANCES: usize = 20;
const BAR: f64 = 24.0;
/// Metrics in the order in which people look for them; others follow.
const ORDER: [&str; 14] = [
    "nobs",
    "AUC",
    "pr_auc",
    "Gini",
    "logloss",
    "mean_per_class_error",
    "RMSE",
    "MSE",
    "mae",
    "rmsle",
    "r2",
    "mean_residual_deviance",
    "residual_deviance",
    "AIC",
];
/// Metrics that H2O writes whether they mean anything or not.
const EMPTY: [&str; 2] = ["custom_metric_value", "loglikelihood"];

pub(super) fn write(report: &Report<'_>, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{} ({}), {}", report.algorithm, report.algo, report.category.to_lowercase())?;
    let mut facts: Vec<(&str, String)> = vec![
        ("made by", format!("H2O {}, MOJO {}", report.h2o_version, report.mojo_version)),
        ("model id", report.model_id.unwrap_or("-").to_owned()),
        ("file", bytes(report.file_bytes as usize)),
    ];
    if let Some(response) = &report.response {
        let labels = response.labels.map(|labels| format!(": {}", some(labels, 8))).unwrap_or_default();
        facts.push(("response", format!("{}{labels}", response.name)));
        if let Some(threshold) = response.threshold {
            facts.push(("threshold", threshold.to_string()));
        }
    }
    if let Some(distribution) = &report.distribution {
        let link = report.link.as_deref().map(|link| format!(", link {link}")).unwrap_or_default();
        facts.push(("distribution", distribution.clone() + &link));
    }
    facts.extend(report.initial_value.map(|value| ("initial value", value.to_string())));
    facts.extend(report.offset_column.map(|name| ("offset", name.to_owned())));
    facts.extend(report.fold_column.map(|name| ("folds", name.to_owned())));
    facts.push(("encoding", report.categorical_encoding.to_owned()));
    if report.balance_classes {
        facts.push(("classes", "balanced in training, corrected in scoring".to_owned()));
    }
    facts.extend(report.calibration.map(|kind| ("calibration", kind.to_owned())));
    facts.extend(report.trees.as_ref().map(|trees| ("trees", tree_text(trees))));
    facts.extend(report.coefficients.map(|count| ("coefficients", count.to_string())));
    for (name, value) in facts {
        writeln!(out, "  {name:<14}{value}")?;
    }

    let column = |input: &super::Input<'_>| {
        let levels = input.levels.map(|levels| format!("{} ({})", levels.len(), some(levels, 4)));
        vec![input.name.to_owned(), input.r#type.to_owned(), levels.unwrap_or_default()]
    };
    let rows: Vec<_> = report.columns.iter().map(column).collect();
    table(&format!("{} columns", rows.len()), &["name", "type", "levels"], &rows, &[], out)?;
    write_metrics(&report.metrics, out)?;
    if let Some(importances) = &report.variable_importances {
        write_importances(importances, out)?;
    }
    if let Some(engines) = &report.engines {
        let says = |answer: bool| if answer { "yes" } else { "no" }.to_owned();
        let engine = |one: &super::Engine| {
            vec![one.engine.to_owned(), one.isa.to_owned(), says(one.fits), says(one.chosen), says(one.rows)]
        };
        let rows: Vec<_> = engines.iter().map(engine).collect();
        table("engines", &["engine", "instructions", "fits", "batches", "rows"], &rows, &[], out)?;
    }
    Ok(())
}

fn tree_text(trees: &Trees) -> String {
    let Trees {
        groups,
        trees_per_group,
        trees,
        nodes,
        leaves,
        min_depth,
        mean_depth,
        max_depth,
        bytes: size,
    } = trees;
    let grid =
        if *trees_per_group > 1 { format!(" ({groups} rounds of {trees_per_group})") } else { String::new() };
    let depth = format!("depth {min_depth} to {max_depth} (mean {mean_depth:.1})");
    format!("{trees}{grid}, {depth}, {nodes} nodes, {leaves} leaves, {} in memory", bytes(*size))
}

fn write_metrics(metrics: &AllMetrics, out: &mut impl Write) -> io::Result<()> {
    let sets = [
        ("training", &metrics.training),
        ("validation", &metrics.validation),
        ("cross-validation", &metrics.cross_validation),
    ];
    let sets: Vec<(&str, &Map<String, Value>)> =
        sets.into_iter().filter_map(|(name, set)| Some((name, set.as_ref()?))).collect();
    let others =
        sets.iter().flat_map(|(_, set)| set.keys().map(String::as_str)).filter(|name| !EMPTY.contains(name));
    let mut names: Vec<&str> = ORDER.to_vec();
    for name in others {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let rows: Vec<Vec<String>> = (names.into_iter())
        .filter(|name| sets.iter().any(|(_, set)| set.get(*name).is_some_and(Value::is_number)))
        .map(|name| {
            let value = |set: &Map<String, Value>| {
                set.get(name).and_then(Value::as_f64).map(rounded).unwrap_or_default()
            };
            std::iter::once(name.to_owned()).chain(sets.iter().map(|(_, set)| value(set))).collect()
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let headings: Vec<&str> = std::iter::once("").chain(sets.iter().map(|(name, _)| *name)).collect();
    table("Metrics", &headings, &rows, &[1, 2, 3], out)
}

fn write_importances(importances: &[Importance<'_>], out: &mut impl Write) -> io::Result<()> {
    let row = |one: &Importance<'_>| {
        let bar = "#".repeat((one.scaled.clamp(0.0, 1.0) * BAR).round() as usize);
        vec![one.variable.to_owned(), format!("{:.1} %", one.percentage * 100.0), bar]
    };
    let rows: Vec<_> = importances.iter().take(IMPORTANCES).map(row).collect();
    table("Variable importance", &["", "share", ""], &rows, &[1], out)?;
    if importances.len() > IMPORTANCES {
        writeln!(out, "  and {} more", importances.len() - IMPORTANCES)?;
    }
    Ok(())
}

/// Writes columns as wide as their cells; those in `right` end flush.
fn table(
    title: &str,
    headings: &[&str],
    rows: &[Vec<String>],
    right: &[usize],
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "\n{title}")?;
    let length = |cell: &str| cell.chars().count();
    let width =
        |at: usize| rows.iter().map(|row| length(&row[at])).chain([length(headings[at])]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let heading = headings.iter().map(|&heading| heading.to_owned()).collect();
    let heading = Some(&heading).filter(|_| headings.iter().any(|heading| !heading.is_empty()));
    for row in heading.into_iter().chain(rows) {
        let mut line = String::from(" ");
        for (at, cell) in row.iter().enumerate() {
            let room = " ".repeat(widths[at] - length(cell));
            line += &if right.contains(&at) { format!(" {room}{cell} ") } else { format!(" {cell}{room} ") };
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// The first `count` of some names.
fn some(names: &[String], count: usize) -> String {
    let mut text = names.iter().take(count).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > count {
        text += ", ...";
    }
    // A level may hold anything, and a line stays one.
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Six digits, which is more than a metric means.
fn rounded(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e15 {
        return format!("{value}");
    }
    let digits = 6 - (value.abs().log10().floor() as i32 + 1).clamp(0, 5);
    if value.abs() < 1e-4 { format!("{value:.5e}") } else { format!("{value:.*}", digits as usize) }
}

fn bytes(count: usize) -> String {
    const UNITS: [&str; 4] = ["bytes", "kB", "MB", "GB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit < 3 {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} bytes") } else { format!("{value:.1} {}", UNITS[unit]) }
}
