//! Where the nodes of a tree stand: a tidy layout in which subtrees sit as close as their outlines allow, and a parent
//! above the middle of its children (Reingold and Tilford's rules, with boxes of differing widths).
//!
//! Linear in the number of nodes, without recursion: joining two subtrees costs the depth of the shallower.

/// The outline of a subtree, from its deepest level to its root, which stands at `shift`.
#[derive(Debug)]
struct Outline {
    shift: f64,
    /// Left and right ends of each level, deepest first, to be moved by `shift`.
    levels: Vec<(f64, f64)>,
}

impl Outline {
    fn level(&self, depth: usize) -> (f64, f64) {
        let (left, right) = self.levels[self.levels.len() - 1 - depth];
        (left + self.shift, right + self.shift)
    }

    fn move_by(&mut self, distance: f64) {
        self.shift += distance;
    }
}

/// The middle of each node, with the leftmost end at 0, and the whole width.
///
/// `children` gives each node's children, which stand after it; `widths` each node's width; `gap` the room between
/// neighbours.
pub(super) fn places(children: &[Option<[usize; 2]>], widths: &[f64], gap: f64) -> (Vec<f64>, f64) {
    let mut outlines: Vec<Option<Outline>> = widths.iter().map(|_| None).collect();
    // Relative to the parent.
    let mut offsets = vec![0.0; widths.len()];
    for node in (0..widths.len()).rev() {
        let half = widths[node] / 2.0;
        let mut outline = match children[node]
            .map(|[left, right]| ((left, right), (outlines[left].take(), outlines[right].take())))
        {
            Some(((left, right), (Some(mut a), Some(mut b)))) => {
                let common = a.levels.len().min(b.levels.len());
                let apart =
                    (0..common).map(|depth| a.level(depth).1 - b.level(depth).0).fold(0.0, f64::max) + gap;
                (offsets[left], offsets[right]) = (-apart / 2.0, apart / 2.0);
                a.move_by(-apart / 2.0);
                b.move_by(apart / 2.0);
                join(a, b)
            }
            _ => Outline { shift: 0.0, levels: Vec::new() },
        };
        outline.levels.push((-half - outline.shift, half - outline.shift));
        outlines[node] = Some(outline);
    }
    let Some(Some(whole)) = outlines.first() else { return (Vec::new(), 0.0) };
    let ends = (0..whole.levels.len()).map(|depth| whole.level(depth));
    let (left, right) =
        ends.fold((0.0, 0.0), |(left, right): (f64, f64), end| (left.min(end.0), right.max(end.1)));
    let mut places = vec![-left; widths.len()];
    for node in 0..widths.len() {
        for child in children[node].into_iter().flatten() {
            places[child] = places[node] + offsets[child];
        }
    }
    (places, right - left)
}

/// One outline around both; the deeper one is kept and changed where the shallower one reaches.
fn join(a: Outline, b: Outline) -> Outline {
    let common = a.levels.len().min(b.levels.len());
    let left_is_deeper = a.levels.len() >= b.levels.len();
    let (mut deep, shallow) = if left_is_deeper { (a, b) } else { (b, a) };
    for depth in 0..common {
        let other = shallow.level(depth);
        let shift = deep.shift;
        let at = deep.levels.len() - 1 - depth;
        let end = &mut deep.levels[at];
        if left_is_deeper {
            end.1 = other.1 - shift;
        } else {
            end.0 = other.0 - shift;
        }
    }
    deep
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of `nodes` inner nodes: each takes one of the open places, chosen by a fixed sequence.
    fn tree(nodes: usize, mut seed: u64) -> Vec<Option<[usize; 2]>> {
        let mut children = vec![None];
        let mut open = vec![0];
        for _ in 0..nodes {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let node = open.swap_remove((seed >> 33) as usize % open.len());
            let next = children.len();
            children[node] = Some([next, next + 1]);
            children.extend([None, None]);
            open.extend([next, next + 1]);
        }
        children
    }

    #[test]
    fn no_two_nodes_of_a_level_overlap_and_parents_stand_above_the_middle() {
        for seed in 0..40 {
            let children = tree(60, seed);
            let widths: Vec<f64> = (0..children.len()).map(|node| 20.0 + (node * 37 % 90) as f64).collect();
            let (places, width) = places(&children, &widths, 8.0);
            let mut level = vec![0];
            while !level.is_empty() {
                for pair in level.windows(2) {
                    let room =
                        places[pair[1]] - widths[pair[1]] / 2.0 - places[pair[0]] - widths[pair[0]] / 2.0;
                    assert!(room >= 8.0 - 1e-6, "{room} between {pair:?} of tree {seed}");
                }
                level = level.into_iter().flat_map(|node| children[node].into_iter().flatten()).collect();
            }
            for node in 0..children.len() {
                if let Some([left, right]) = children[node] {
                    assert!((places[node] * 2.0 - places[left] - places[right]).abs() < 1e-6);
                }
                assert!(
                    places[node] - widths[node] / 2.0 > -1e-6
                        && places[node] + widths[node] / 2.0 < width + 1e-6
                );
            }
        }
    }

    #[test]
    fn a_chain_is_laid_out_in_linear_time() {
        let children: Vec<_> = (0..400_001)
            .map(|node| (node % 2 == 0 && node + 2 < 400_001).then_some([node + 1, node + 2]))
            .collect();
        let (places, _) = places(&children, &vec![10.0; children.len()], 1.0);
        assert_eq!(places.len(), children.len());
    }
}
