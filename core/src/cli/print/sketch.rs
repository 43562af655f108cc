//! What a picture of a tree shows: nodes in walking order with short texts, and the conditions on the ways to them.

use cenote_mojo::Column;
use cenote_mojo::algo::{Node, Test, Tree};

use super::walk::{Above, Event, Levels, Visit, domain, walk};

/// A tree to draw. The root is node 0, and children stand after their parents.
#[derive(Debug)]
pub(super) struct Sketch {
    pub(super) nodes: Vec<Drawn>,
}

#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) number: i32,
    pub(super) weight: Option<f32>,
    pub(super) kind: Kind,
    /// The way here; `None` for the root.
    pub(super) way: Option<Way>,
    /// Indices of the left and the right child.
    pub(super) children: Option<[usize; 2]>,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// The value that the leaf adds.
    Leaf(f32),
    /// The column that the split asks for.
    Split(String),
}

/// The way from a split to a child.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) parent: usize,
    pub(super) condition: Condition,
    /// Whether a missing value takes it.
    pub(super) missing: bool,
}

#[derive(Debug)]
pub(super) enum Condition {
    Below(f32),
    AtLeast(f32),
    /// The number of levels, and the names of the first [`NAMES`].
    Levels(usize, Vec<String>),
    /// Every value that is not missing.
    Present,
    /// No value at all.
    Nothing,
}

/// How many levels are named on a way.
pub(super) const NAMES: usize = 40;

impl Sketch {
    pub(super) fn new(tree: &Tree, features: &[Column]) -> anyhow::Result<Self> {
        let mut nodes: Vec<Drawn> = Vec::with_capacity(tree.nodes.len());
        walk(tree, features, |event| {
            if let Event::Enter(visit, above) = event {
                debug_assert_eq!(nodes.len(), visit.node);
                if let Some(above) = above {
                    let index = nodes.len();
                    let children = nodes[above.parent].children.get_or_insert([index; 2]);
                    children[usize::from(!above.is_left)] = index;
                }
                nodes.push(Drawn::new(visit, above, features));
            }
            Ok(())
        })?;
        Ok(Self { nodes })
    }
}

impl Drawn {
    fn new(visit: &Visit<'_>, above: Option<Above<'_>>, features: &[Column]) -> Self {
        Self {
            number: visit.number,
            weight: visit.weight,
            kind: match visit.content {
                Node::Leaf(value) => Kind::Leaf(*value),
                Node::Split(split) => Kind::Split(features[split.column as usize].name.clone()),
            },
            way: above.map(|above| Way {
                parent: above.parent,
                condition: condition(above, visit.levels.as_ref(), features),
                missing: visit.missing,
            }),
            children: None,
        }
    }
}

fn condition(above: Above<'_>, levels: Option<&Levels>, features: &[Column]) -> Condition {
    let Above { split, is_left, .. } = above;
    if let (Some(levels), Some(domain)) = (levels, domain(features, split)) {
        return Condition::Levels(
            levels.len(),
            levels.iter().take(NAMES).map(|level| domain[level].clone()).collect(),
        );
    }
    match split.test {
        Test::AtLeast(threshold) if is_left => Condition::Below(threshold),
        Test::AtLeast(threshold) => Condition::AtLeast(threshold),
        // A test for levels of a column without levels asks nothing that could be named.
        _ if is_left => Condition::Present,
        _ => Condition::Nothing,
    }
}

impl Condition {
    /// A short text; `names` levels at most are named.
    pub(super) fn text(&self, names: usize) -> String {
        match self {
            Condition::Below(threshold) => format!("< {}", short(*threshold)),
            Condition::AtLeast(threshold) => format!("\u{2265} {}", short(*threshold)),
            Condition::Levels(0, _) => "no level".to_owned(),
            Condition::Levels(count, levels) => {
                let named =
                    levels.iter().take(names).map(|level| shown(level)).collect::<Vec<_>>().join(", ");
                let more = count - names.min(levels.len());
                if more > 0 { format!("{named} +{more}") } else { named }
            }
            Condition::Present => "not NA".to_owned(),
            Condition::Nothing => String::new(),
        }
    }
}

/// A level as it can be shown: the empty one and blanks at the ends are quoted.
fn shown(level: &str) -> String {
    if level.is_empty() || level.trim() != level { format!("\"{level}\"") } else { level.to_owned() }
}

/// The shortest text that reads back as the same `f32`, without `.0`.
pub(super) fn short(value: f32) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let text = zmij::Buffer::new().format_finite(value).to_owned();
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}
