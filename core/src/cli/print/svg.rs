//! Trees as SVG, drawn without any other program: boxes ask, the text above a node is the way to it, leaves are coloured
//! by the value they add (orange above zero, blue below), ways are as thick as their share of the training rows.

use std::io::{self, Write};

use cenote_mojo::Artifact;

use super::Named;
use super::layout::places;
use super::sketch::{Drawn, Kind, Sketch, Way, short};

const MARGIN: f64 = 24.0;
const TITLE: f64 = 34.0;
/// From one level of nodes to the next.
const LEVEL: f64 = 104.0;
const NODE_HEIGHT: f64 = 38.0;
const NODE_GAP: f64 = 14.0;
/// The least width of a node.
const NODE_WIDTH: f64 = 56.0;
/// Longer texts are cut; the whole stands in the tooltip.
const MAX_CHARS: usize = 30;
/// How many levels a way names.
const NAMES: usize = 3;

const STYLE: &str = "text{font-family:Inter,'Helvetica Neue',Helvetica,Arial,sans-serif;font-size:12px;fill:#1f2933;text-anchor:middle}\
.title{font-size:15px;font-weight:600;text-anchor:start}.n{font-size:10px;fill:#4a5561}.way{font-size:11px;fill:#3b4754}\
.na{fill:#b4470f;font-weight:600}.split{fill:#fff;stroke:#8a97a6}.name{font-weight:600}path{fill:none;stroke:#b3bec9;stroke-linecap:round}";

/// A tree with its layout.
struct Picture {
    title: String,
    sketch: Sketch,
    middles: Vec<f64>,
    levels: Vec<usize>,
    width: f64,
    height: f64,
}

pub(super) fn trees(artifact: &Artifact, trees: &[Named<'_>], out: &mut impl Write) -> anyhow::Result<()> {
    // Sizes stand before content in SVG, so each tree is laid out twice rather than all being kept.
    let picture = |named: &Named<'_>| Picture::new(named, artifact);
    let (mut width, mut height) = (0.0f64, MARGIN);
    for named in trees {
        let picture = picture(named)?;
        width = width.max(picture.width);
        height += picture.height + MARGIN;
    }
    let (width, height) = (width + 2.0 * MARGIN, height);
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">\n\
         <style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    )?;
    let mut top = MARGIN;
    for named in trees {
        let picture = picture(named)?;
        picture.draw(top, out)?;
        top += picture.height + MARGIN;
    }
    Ok(writeln!(out, "</svg>")?)
}

impl Picture {
    fn new(named: &Named<'_>, artifact: &Artifact) -> anyhow::Result<Self> {
        let sketch = Sketch::new(named.tree, &artifact.schema.features)?;
        let widths: Vec<f64> =
            sketch.nodes.iter().map(|node| node_width(node).max(way_width(node))).collect();
        let children: Vec<_> = sketch.nodes.iter().map(|node| node.children).collect();
        let (middles, width) = places(&children, &widths, NODE_GAP);
        let mut levels = vec![0; sketch.nodes.len()];
        for (index, node) in sketch.nodes.iter().enumerate() {
            levels[index] = node.way.as_ref().map_or(0, |way| levels[way.parent] + 1);
        }
        let depth = levels.iter().max().copied().unwrap_or(0);
        let width = width.max(text_width(&named.name, 9.0));
        let height = TITLE + depth as f64 * LEVEL + NODE_HEIGHT;
        Ok(Self { title: named.name.clone(), sketch, middles, levels, width, height })
    }

    fn draw(&self, top: f64, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "<g>\n<text class=\"title\" x=\"{MARGIN}\" y=\"{:.1}\">{}</text>",
            top + 14.0,
            escaped(&self.title)
        )?;
        let place =
            |index: usize| (MARGIN + self.middles[index], top + TITLE + self.levels[index] as f64 * LEVEL);
        let nodes = self.sketch.nodes.iter().enumerate();
        let root = self.sketch.nodes[0].weight;
        for (index, node) in nodes.clone() {
            if let Some(way) = &node.way {
                draw_line(place(way.parent), place(index), share(node.weight, root), out)?;
            }
        }
        let largest = nodes.clone().map(|(_, node)| leaf_value(node).abs()).filter(|value| value.is_finite());
        let largest = largest.fold(0.0, f32::max);
        for (index, node) in nodes {
            let (x, y) = place(index);
            if let Some(way) = &node.way {
                draw_way(way, x, y, out)?;
            }
            draw_node(node, x, y, largest, out)?;
        }
        writeln!(out, "</g>")
    }
}

fn draw_line(
    (x, y): (f64, f64),
    (to_x, to_y): (f64, f64),
    share: f64,
    out: &mut impl Write,
) -> io::Result<()> {
    let (from, to) = (y + NODE_HEIGHT, to_y - 30.0);
    let middle = (from + to) / 2.0;
    let thickness = 1.2 + 6.0 * share;
    writeln!(
        out,
        "<path stroke-width=\"{thickness:.1}\" d=\"M{x:.1} {from:.1}C{x:.1} {middle:.1} {to_x:.1} {middle:.1} {to_x:.1} {to:.1}V{to_y:.1}\"/>"
    )
}

fn draw_way(way: &Way, x: f64, y: f64, out: &mut impl Write) -> io::Result<()> {
    let [condition, missing] = way_lines(way);
    let width = way_text_width(way);
    // A patch of background keeps the line from crossing the text.
    let lines = if missing.is_empty() || condition.is_empty() { 1.0 } else { 2.0 };
    let height = 14.0 * lines;
    let from = y - 7.0 - height;
    writeln!(out, "<g><title>{}</title>", escaped(&whole_way(way)))?;
    writeln!(
        out,
        "<rect x=\"{:.1}\" y=\"{from:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"3\" fill=\"#fff\"/>",
        x - width / 2.0
    )?;
    let mut baseline = from + 10.5;
    for (class, line) in [("way", &condition), ("way na", &missing)] {
        if !line.is_empty() {
            writeln!(
                out,
                "<text class=\"{class}\" x=\"{x:.1}\" y=\"{baseline:.1}\">{}</text>",
                escaped(line)
            )?;
            baseline += 14.0;
        }
    }
    writeln!(out, "</g>")
}

fn draw_node(node: &Drawn, x: f64, y: f64, largest: f32, out: &mut impl Write) -> io::Result<()> {
    let (width, rows) = (node_width(node), node_rows(node));
    let (left, height) = (x - width / 2.0, NODE_HEIGHT);
    writeln!(out, "<g><title>{}</title>", escaped(&format!("node {}: {}", node.number, node_text(node))))?;
    let (radius, class, style) = match node.kind {
        Kind::Leaf(value) => (height / 2.0, "leaf", leaf_colour(value, largest)),
        Kind::Split(_) => (6.0, "split", String::new()),
    };
    writeln!(
        out,
        "<rect class=\"{class}\"{style} x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\" rx=\"{radius}\"/>"
    )?;
    let baseline = y + if rows.is_empty() { 23.5 } else { 16.5 };
    let name = escaped(&cut(&node_text(node)));
    writeln!(out, "<text class=\"name\" x=\"{x:.1}\" y=\"{baseline:.1}\">{name}</text>")?;
    if !rows.is_empty() {
        writeln!(out, "<text class=\"n\" x=\"{x:.1}\" y=\"{:.1}\">{rows}</text>", y + 30.0)?;
    }
    writeln!(out, "</g>")
}

/// Light to full orange or blue, as the value nears the largest of the tree.
fn leaf_colour(value: f32, largest: f32) -> String {
    let strength = if largest > 0.0 && value.is_finite() { f64::from(value.abs() / largest) } else { 0.0 };
    let full = if value < 0.0 { [110.0, 168.0, 220.0] } else { [240.0, 160.0, 96.0] };
    let [red, green, blue] = full.map(|part| (250.0 + (part - 250.0) * (0.15 + 0.85 * strength)).round());
    format!(" fill=\"rgb({red},{green},{blue})\"")
}

fn leaf_value(node: &Drawn) -> f32 {
    if let Kind::Leaf(value) = node.kind { value } else { 0.0 }
}

fn node_text(node: &Drawn) -> String {
    match &node.kind {
        Kind::Leaf(value) => short(*value),
        Kind::Split(column) => column.clone(),
    }
}

fn node_rows(node: &Drawn) -> String {
    // A tree of one leaf has the weight 0.
    node.weight
        .filter(|weight| *weight > 0.0)
        .map(|weight| format!("n = {}", short(weight)))
        .unwrap_or_default()
}

fn node_width(node: &Drawn) -> f64 {
    let text = text_width(&cut(&node_text(node)), 7.4).max(text_width(&node_rows(node), 6.0));
    (text + 22.0).max(NODE_WIDTH)
}

/// The condition, with as many levels named as have room, and whether missing values come along.
fn way_lines(way: &Way) -> [String; 2] {
    let mut texts = (1..=NAMES).rev().map(|names| way.condition.text(names));
    let condition = texts.clone().find(|text| text.chars().count() <= MAX_CHARS);
    let condition = condition.or(texts.next_back()).unwrap_or_default();
    [cut(&condition), if way.missing { "NA" } else { "" }.to_owned()]
}

fn whole_way(way: &Way) -> String {
    let [_, missing] = way_lines(way);
    let condition = way.condition.text(super::sketch::NAMES);
    if condition.is_empty() || missing.is_empty() {
        condition + &missing
    } else {
        format!("{condition}, {missing}")
    }
}

fn way_text_width(way: &Way) -> f64 {
    way_lines(way).iter().map(|line| text_width(line, 6.4)).fold(0.0, f64::max) + 6.0
}

fn way_width(node: &Drawn) -> f64 {
    node.way.as_ref().map_or(0.0, way_text_width)
}

/// An upper guess: capitals are wider, and letters beyond Latin may be twice as wide.
fn text_width(text: &str, letter: f64) -> f64 {
    let width = |c: char| match c {
        '\u{1100}'.. => 1.9,
        c if c.is_uppercase() => 1.22,
        _ => 1.0,
    };
    text.chars().map(width).sum::<f64>() * letter
}

fn share(weight: Option<f32>, whole: Option<f32>) -> f64 {
    match (weight, whole) {
        (Some(weight), Some(whole)) if weight >= 0.0 && whole > 0.0 => f64::from(weight / whole).min(1.0),
        _ => 0.0,
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_CHARS {
        return text.to_owned();
    }
    text.chars().take(MAX_CHARS - 1).chain(['\u{2026}']).collect()
}

/// Text for XML, which has no place for most control characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
