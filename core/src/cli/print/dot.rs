//! Trees as Graphviz text: one digraph, a cluster a tree.

use std::io::Write;

use cenote_mojo::Artifact;

use super::Named;
use super::sketch::{Condition, Kind, Sketch, short};

/// How many levels an edge names before it counts them, as in H2O's printer.
const NAMES: usize = 10;

pub(super) fn trees(artifact: &Artifact, trees: &[Named<'_>], out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "digraph G {{\n  node [fontname=\"Helvetica\", fontsize=12]\n  edge [fontname=\"Helvetica\", fontsize=10]"
    )?;
    for (place, named) in trees.iter().enumerate() {
        writeln!(out, "  subgraph cluster_{place} {{\n    label={}", text(&named.name))?;
        let sketch = Sketch::new(named.tree, &artifact.schema.features)?;
        for (index, node) in sketch.nodes.iter().enumerate() {
            let (shape, label) = match &node.kind {
                Kind::Leaf(value) => ("ellipse", short(*value)),
                Kind::Split(column) => ("box", column.clone()),
            };
            writeln!(out, "    t{place}_{index} [shape={shape}, label={}]", text(&label))?;
            if let Some(way) = &node.way {
                let mut lines = Vec::new();
                match &way.condition {
                    Condition::Nothing => {}
                    Condition::Levels(count, _) if *count > NAMES => lines.push(format!("{count} levels")),
                    condition => lines.push(condition.text(NAMES)),
                }
                if way.missing {
                    lines.push("NA".to_owned());
                }
                let label = text(&lines.join("\n"));
                writeln!(out, "    t{place}_{} -> t{place}_{index} [label={label}]", way.parent)?;
            }
        }
        writeln!(out, "  }}")?;
    }
    Ok(writeln!(out, "}}")?)
}

/// A quoted string of the DOT language.
fn text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
