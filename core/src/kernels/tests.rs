//! One suite for every kernel and every instruction set that the processor has: equal to the portable twin, bit for bit.

use super::{Group, Isa, MaskScratch, RowData};
use crate::layout::{BitRows, GROUP, Line, MaskForest, MaskForestBuilder, RankTable, RowForest, Sums, TILES};

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit
    }
}

/// Around the lanes, tiles and halves of every twin.
const LENGTHS: [usize; 22] =
    [0, 1, 3, 4, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 192, 255, 257, 320, 511, 512];

fn table(thresholds: Vec<f32>) -> RankTable {
    RankTable::new(thresholds).expect("few thresholds")
}

fn tables() -> Vec<RankTable> {
    let mut numbers = Numbers(7);
    let mut random = |count: usize, scale: f32| {
        table((0..count).map(|_| (numbers.next() as f32 / u64::MAX as f32 - 0.5) * scale).collect())
    };
    vec![
        table(vec![]),
        table(vec![0.0]),
        table(vec![-1e-40, 0.0, 1e-40, 1.0, f32::MAX, f32::MIN]),
        table(vec![f32::NEG_INFINITY, -1.0, 2.0, f32::INFINITY]),
        random(20, 1.0),
        random(1000, 1e6),
        table((0..200).map(|i| i as f32).collect()),
        table((0..200).map(|i| (i as f32 / 7.0).exp2()).collect()),
    ]
}

#[test]
fn ranks_are_the_portable_ranks() {
    for table in tables() {
        let mut values =
            vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e-320, -1e-320, 1e300, -1e300];
        for threshold in table.thresholds() {
            let value = f64::from(*threshold);
            values.extend([value, value.next_up(), value.next_down(), value * 1.001]);
        }
        let mut numbers = Numbers(3);
        values.extend((0..600).map(|_| numbers.next() as f64 / u64::MAX as f64 - 0.5));
        for isa in Isa::available() {
            for length in LENGTHS.into_iter().chain([values.len()]).filter(|length| *length <= values.len()) {
                let values = &values[values.len() - length..];
                let (mut found, mut wanted) = (vec![9; length], vec![9; length]);
                isa.ranks(&table, values, &mut found);
                Isa::Portable.ranks(&table, values, &mut wanted);
                assert_eq!(found, wanted, "{} {length}", isa.name());
            }
        }
    }
}

#[test]
fn looked_up_bytes_are_the_portable_bytes() {
    let mut numbers = Numbers(5);
    for size in [1, 2, 3, 4, 5, 64, 300, 5000] {
        let table: Vec<u8> = (0..size).map(|_| numbers.next() as u8).collect();
        for length in LENGTHS {
            let codes: Vec<u16> = (0..length).map(|_| numbers.below(size) as u16).collect();
            for isa in Isa::available() {
                let (mut found, mut wanted) = ([Line::ZERO; TILES], [Line::ZERO; TILES]);
                isa.look_up(&codes, &table, &mut found);
                Isa::Portable.look_up(&codes, &table, &mut wanted);
                assert!(found == wanted, "{} {size} {length}", isa.name());
            }
        }
    }
}

#[test]
fn bit_planes_are_the_bits() {
    let mut numbers = Numbers(11);
    for (codes, tests) in [(1, 1), (65, 64), (400, 65), (3000, 200)] {
        let mut rows = BitRows::new(codes, tests);
        let mut set = std::collections::HashSet::new();
        for _ in 0..codes * tests / 3 + 1 {
            let (code, test) = (numbers.below(codes), numbers.below(tests));
            rows.set(code, test);
            set.insert((code, test));
        }
        for length in LENGTHS {
            let asked: Vec<u16> = (0..length).map(|_| numbers.below(codes) as u16).collect();
            for isa in Isa::available() {
                let (first, stride) = (64, 64 + rows.words() * 64);
                let mut planes = vec![0; stride * TILES];
                isa.bit_planes(&rows, &asked, first, stride, &mut planes);
                for (row, code) in asked.iter().enumerate() {
                    for test in 0..tests {
                        let bit = planes[row / 64 * stride + first + test] >> (row % 64) & 1 == 1;
                        assert_eq!(bit, set.contains(&((*code).into(), test)), "{} {length}", isa.name());
                    }
                }
            }
        }
    }
}

fn forest(numbers: &mut Numbers, columns: usize, planes: usize) -> MaskForest {
    let mut builder = MaskForestBuilder::new(columns, planes);
    for depth in (0..=10).chain([6, 6, 8, 3]) {
        for slot in 0..(1u16 << depth) - 1 {
            match numbers.below(8) {
                1 => builder.small_set_test(slot, numbers.below(columns) as u16, numbers.next()),
                2 => builder.plane_test(slot, numbers.below(planes) as u32),
                _ => builder.rank_test(slot, numbers.below(columns) as u16, numbers.next() as i8),
            }
        }
        let mut leaves: Vec<f32> = (0..1 << depth).map(|_| numbers.next() as i32 as f32 / 1e9).collect();
        if depth == 4 {
            leaves[..3].copy_from_slice(&[f32::INFINITY, -0.0, 1e-44]);
        }
        builder.tree(depth, &leaves);
    }
    builder.finish()
}

#[test]
fn masks_give_the_portable_sums() {
    let (columns, planes) = (5, 70);
    for isa in Isa::available() {
        let forest = forest(&mut Numbers(13), columns, planes);
        let mut numbers = Numbers(17);
        let mut lines = vec![Line::ZERO; forest.lines()];
        lines.iter_mut().flat_map(|line| &mut line.0).for_each(|byte| *byte = numbers.next() as u8);
        let answers: Vec<u64> = (0..planes * TILES).map(|_| numbers.next()).collect();
        for rows in LENGTHS {
            let mut outs = [isa, Isa::Portable].map(|isa| {
                let (mut sums, mut out) = (Sums::ZERO, [0.0; GROUP]);
                let trees = 0..forest.trees().len();
                let group = Group { columns: &lines, answers: &answers, rows };
                isa.add_trees(&forest, trees, group, &mut MaskScratch::new(), &mut sums);
                isa.read_sums(&sums, &mut out[..rows]);
                out.map(f64::to_bits)
            });
            outs.iter_mut().for_each(|out| out[rows..].fill(0));
            assert!(outs[0] == outs[1], "{} {rows}", isa.name());
        }
    }
}

#[test]
fn one_row_gives_the_sums_of_a_batch() {
    let (columns, planes) = (100, 70);
    for deepest in [6, 10] {
        let mut builder = MaskForestBuilder::new(columns, planes);
        let mut numbers = Numbers(19);
        for depth in (0..=deepest).chain([6, 6, 2, 5, 6, 6, 6]) {
            for slot in 0..(1u16 << depth) - 1 {
                match numbers.below(8) {
                    0 => builder.small_set_test(slot, numbers.below(columns) as u16, numbers.next()),
                    1 => builder.plane_test(slot, numbers.below(planes) as u32),
                    _ => builder.rank_test(slot, numbers.below(columns) as u16, numbers.next() as i8),
                }
            }
            let leaves: Vec<f32> = (0..1 << depth).map(|_| numbers.next() as i32 as f32).collect();
            builder.tree(depth, &leaves);
        }
        let forest = builder.finish();
        let rows = RowForest::new(&forest).expect("few columns");
        for isa in Isa::available() {
            let mut row = RowData::new();
            row.bytes.fill_with(|| numbers.next() as u8);
            row.answers.fill_with(|| numbers.next());
            let mut lines = vec![Line::ZERO; forest.lines()];
            for (column, line) in lines.iter_mut().step_by(TILES).enumerate() {
                line.0[0] = row.bytes[column];
            }
            let answers: Vec<u64> =
                (0..planes).map(|plane| row.answers[plane / 64] >> (plane % 64) & 1).collect();
            let group = Group { columns: &lines, answers: &answers, rows: 1 };
            for trees in 0..forest.trees().len() {
                let mut sums = Sums::ZERO;
                Isa::Portable.add_trees(&forest, trees..trees + 1, group, &mut MaskScratch::new(), &mut sums);
                let mut found = vec![0.0; forest.trees().len() - trees];
                isa.row_leaves(&forest, &rows, trees, &row, &mut found);
                assert_eq!(f64::from(found[0]), sums.0[0], "{} {trees}", isa.name());
            }
        }
    }
}
