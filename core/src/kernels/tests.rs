//! One suite for every kernel and every instruction set that the processor has: equal to the portable twin, bit for bit.

use std::ops::Range;

use super::{Isa, MaskScratch, RowData};
use crate::layout::{
    Ask, BitRows, ByteTable, GROUP, Heap, LeafTables, Line, MAX_BYTE, MaskForest, RankTable, RowForest,
    SumRange, Sums, TILES, mask_forest,
};

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
    for (size, goes_up) in [1, 2, 3, 4, 5, 64, 300, 1023, 1024, 1025, 2048, 2049, 5000]
        .into_iter()
        .flat_map(|size| [(size, false), (size, true)])
    {
        let mut next = 0u8;
        let mut byte = || {
            next = if goes_up {
                next.saturating_add(u8::from(numbers.below(7) == 0))
            } else {
                numbers.next() as u8
            };
            next
        };
        let mut table: Vec<u8> = (0..size).map(|_| byte()).collect();
        table[size - 1] = numbers.next() as u8;
        let table = ByteTable::new(table);
        assert!(table.runs().is_some() == (goes_up && size <= 2048) || size < 4);
        for length in LENGTHS {
            let codes: Vec<u16> = (0..length).map(|_| numbers.below(size) as u16).collect();
            for isa in Isa::available() {
                let mut found = [Line::ZERO; TILES];
                isa.look_up(&codes, &table, &mut found);
                for (row, code) in codes.iter().enumerate() {
                    let byte = found[row / 64].0[row % 64];
                    assert_eq!(byte, table.bytes()[usize::from(*code)], "{} {size} {length}", isa.name());
                }
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
                let mut lines = vec![Line::ZERO; tests];
                isa.bit_planes(&rows, &asked, &mut lines);
                for (row, code) in asked.iter().enumerate() {
                    for (test, line) in lines.iter().enumerate() {
                        let bit = has(line, row);
                        assert_eq!(bit, set.contains(&((*code).into(), test)), "{} {length}", isa.name());
                    }
                }
            }
        }
    }
}

/// Whether a row has a bit on a line.
fn has(line: &Line, row: usize) -> bool {
    u64::from_ne_bytes(line.0.as_chunks::<8>().0[row / 64]) >> (row % 64) & 1 == 1
}

/// The highest bytes of columns of both forms of lines, and a column for sets.
const TOPS: [Option<u8>; 7] = [Some(1), Some(18), None, Some(19), Some(100), Some(253), Some(MAX_BYTE)];

fn heaps(numbers: &mut Numbers, tops: &[Option<u8>], planes: usize, depths: &[usize]) -> Vec<Heap> {
    let mut heap = |depth: &usize| {
        let mut asks = Vec::new();
        for slot in 0..(1u16 << depth) - 1 {
            let column = numbers.below(tops.len());
            asks.push((
                slot,
                match (numbers.below(9), tops[column]) {
                    (0, _) => continue,
                    (1, _) => Ask::Plane { plane: numbers.below(planes) as u32 },
                    (_, None) => Ask::Set { column: column as u16, bits: numbers.next() },
                    (_, Some(top)) => {
                        Ask::From { column: column as u16, bound: numbers.below(top.into()) as u8 + 1 }
                    }
                },
            ));
        }
        let mut leaves: Vec<f32> = (0..1 << depth).map(|_| numbers.next() as i32 as f32 / 1e9).collect();
        if *depth == 4 {
            leaves[..3].copy_from_slice(&[f32::INFINITY, -0.0, 1e-44]);
        }
        Heap { depth: *depth, asks, leaves }
    };
    depths.iter().map(&mut heap).collect()
}

/// Bytes and answers of random rows.
fn random_rows(numbers: &mut Numbers, tops: &[Option<u8>], rows: usize) -> Vec<RowData> {
    let mut row = || {
        let mut row = RowData::new();
        for (byte, top) in row.bytes.iter_mut().zip(tops) {
            *byte = numbers.below(top.map_or(64, |top| usize::from(top) + 1)) as u8;
        }
        let mut answers = BitRows::new(1, 70);
        (0..70).filter(|_| numbers.below(2) == 0).for_each(|plane| answers.set(0, plane));
        row.answer(0, &answers, 0);
        row
    };
    std::iter::repeat_with(&mut row).take(rows).collect()
}

/// The lines of rows, made by `isa`.
fn lines(isa: Isa, forest: &MaskForest, rows: &[RowData]) -> Vec<Line> {
    let mut lines = vec![Line::ZERO; forest.lines()];
    forest.constant_lines(&mut lines);
    for (column, made) in forest.columns().iter().enumerate() {
        let mut bytes = [Line::ZERO; TILES];
        for (row, data) in rows.iter().enumerate() {
            bytes[row / 64].0[row % 64] = data.bytes[column];
        }
        isa.column_lines(made, &bytes, rows.len(), &mut lines[made.lines()]);
    }
    for (plane, line) in lines[forest.planes()].iter_mut().enumerate() {
        for (tile, rows) in rows.chunks(64).enumerate() {
            let bit = |row: &RowData| u64::from(row.has(plane));
            let word = rows.iter().enumerate().fold(0, |word, (row, data)| word | bit(data) << row);
            line.0.as_chunks_mut::<8>().0[tile] = u64::to_ne_bytes(word);
        }
    }
    lines
}

/// The leaf of a row, question after question.
fn walk(heap: &Heap, row: &RowData) -> f32 {
    let mut slot = 0;
    for _ in 0..heap.depth {
        let right =
            heap.asks.iter().find(|(at, _)| usize::from(*at) == slot).is_some_and(|(_, ask)| match *ask {
                Ask::From { column, bound } => row.bytes[usize::from(column)] >= bound,
                Ask::Set { column, bits } => bits >> row.bytes[usize::from(column)] & 1 == 1,
                Ask::Plane { plane } => row.has(plane as usize),
            });
        slot = 2 * slot + 1 + usize::from(right);
    }
    heap.leaves[slot + 1 - (1 << heap.depth)]
}

/// What is known of the sums of the leaves of heaps.
fn sum_range(heaps: &[Heap]) -> SumRange {
    let mut range = SumRange::EMPTY;
    heaps.iter().for_each(|heap| range.add(&heap.leaves));
    range
}

/// The sums of one leaf of each of some heaps are those of a walk, in every set of instructions.
fn sums_are_those_of_a_walk(heaps: &[Heap], planes: usize, runs: &[Range<usize>], range: &SumRange) {
    let mut forest = mask_forest(heaps, &TOPS, planes);
    runs.iter().for_each(|run| forest.lay_out_leaves(run.clone(), range));
    let rows = random_rows(&mut Numbers(17), &TOPS, GROUP);
    for isa in Isa::available() {
        for length in LENGTHS {
            let rows = &rows[..length];
            let lines = lines(isa, &forest, rows);
            let (mut sums, mut out) = (Sums::ZERO, [0.0; GROUP]);
            let mut scratch = MaskScratch::new();
            for run in runs {
                isa.add_trees(&forest, run.clone(), &lines, length, &mut scratch, &mut sums);
            }
            isa.read_sums(&sums, &mut out[..length]);
            for (row, sum) in rows.iter().zip(out) {
                let leaves = runs.iter().flat_map(|run| &heaps[run.clone()]).map(|heap| walk(heap, row));
                let wanted = leaves.fold(0.0, |sum, leaf| sum + f64::from(leaf));
                assert_eq!(sum.to_bits(), wanted.to_bits(), "{} {length}", isa.name());
            }
        }
    }
}

#[test]
fn heaps_give_the_sums_of_a_walk() {
    let depths: Vec<usize> = (0..=10).chain([6, 6, 8, 3]).chain(std::iter::repeat_n(6, 20)).collect();
    let mut numbers = Numbers(13);
    let mut heaps = heaps(&mut numbers, &TOPS, 70, &depths);
    let runs = |last: usize| [0..4, 5..7, 7..11, 12..13, 13..last];
    sums_are_those_of_a_walk(&heaps, 70, &runs(heaps.len()), &sum_range(&heaps));
    just_exact(&mut heaps, &mut numbers);
    sums_are_those_of_a_walk(&heaps, 70, &runs(heaps.len()), &sum_range(&heaps));
    sums_are_those_of_a_walk(&heaps[..4], 70, &[0..3, 3..4], &sum_range(&heaps));
}

/// As few digits as leaves can have, and as many; as many trees as words take of them, and one more.
#[test]
fn digits_of_leaves_add_up() {
    for (trees, bits) in
        [(5, 0), (9, 1), (33, 6), (64, 7), (21, 18), (50, 40), (40, 47), (1040, 20), (1041, 20)]
    {
        let mut numbers = Numbers(23 + bits);
        let mut heaps = heaps(&mut numbers, &TOPS, 70, &vec![if trees > 1000 { 1 } else { 6 }; trees]);
        for leaf in heaps.iter_mut().flat_map(|heap| &mut heap.leaves) {
            let number = (numbers.next() as i64 >> (63 - bits) >> numbers.below(bits as usize + 1)) as f32;
            *leaf = number * 2f32.powi(-20);
        }
        let range = sum_range(&heaps);
        assert!(range.is_exact());
        let mut forest = mask_forest(&heaps, &TOPS, 70);
        forest.lay_out_leaves(0..trees, &range);
        let is_digits = matches!(forest.leaf_tables(&(0..trees)), LeafTables::Digits(_));
        assert_eq!(is_digits, trees <= 1040, "{trees} trees");
        sums_are_those_of_a_walk(&heaps, 70, std::slice::from_ref(&(0..trees)), &range);
    }
}

#[test]
fn indices_name_the_leaves_of_a_walk() {
    let planes = 70;
    let depths: Vec<usize> = (0..=10).chain([6, 8, 3]).collect();
    let heaps = heaps(&mut Numbers(13), &TOPS, planes, &depths);
    let forest = mask_forest(&heaps, &TOPS, planes);
    let rows = random_rows(&mut Numbers(17), &TOPS, GROUP);
    for isa in Isa::available() {
        for length in LENGTHS {
            let rows = &rows[..length];
            let lines = lines(isa, &forest, rows);
            let mut scratch = MaskScratch::new();
            let (mut indices, mut exits) = ([0; GROUP], [0; GROUP]);
            for (tree, heap) in heaps.iter().enumerate() {
                isa.indices(&forest, tree, &lines, &mut scratch, &mut indices[..length]);
                forest.exits(tree, &indices, &mut exits);
                for (row, exit) in rows.iter().zip(exits) {
                    assert_eq!(exit, walk(heap, row).to_bits(), "{} {length} {tree}", isa.name());
                }
            }
        }
    }
}

/// Gives heaps leaves whose sums are just exact in any order: they reach half of what may be reached.
fn just_exact(heaps: &mut [Heap], numbers: &mut Numbers) {
    let unit = 2f32.powi(-70);
    let most = unit * (2f32.powi(52) / heaps.len() as f32).next_down().trunc();
    for heap in &mut *heaps {
        for leaf in &mut heap.leaves {
            // From the most down to one unit, of either sign, and zeros of either.
            let value = (most / unit * 0.5f32.powi(numbers.below(54) as i32)).trunc() * unit;
            *leaf = if numbers.below(2) == 0 { value } else { -value };
        }
        heap.leaves[0] = most;
    }
    heaps[heaps.len() - 1].leaves[1] = unit;
    let mut range = sum_range(heaps);
    assert!(range.is_exact());
    range.add(&[unit * 2f32.powi(52).next_up()]);
    range.add(&[unit * 2f32.powi(32)]);
    assert!(!range.is_exact());
}

#[test]
fn one_row_gives_the_leaves_of_a_walk() {
    let planes = 70;
    for (columns, deepest, exact) in
        [(20, 6, false), (20, 6, true), (100, 6, false), (100, 6, true), (130, 6, true), (100, 10, true)]
    {
        let tops: Vec<Option<u8>> = TOPS.into_iter().cycle().take(columns).collect();
        let mut numbers = Numbers(19);
        let depths: Vec<usize> = (0..=deepest).chain([6, 6, 2, 5, 6, 6, 6]).collect();
        let mut heaps = heaps(&mut numbers, &tops, planes, &depths);
        if exact {
            just_exact(&mut heaps, &mut numbers);
        }
        let forest = mask_forest(&heaps, &tops, planes);
        let rows = RowForest::new(&heaps, columns, planes).expect("few columns");
        for mut row in random_rows(&mut numbers, &tops, 20) {
            for (column, first, answers) in rows.sets() {
                row.answer(*first, answers, row.bytes[usize::from(*column)].into());
            }
            for isa in Isa::available() {
                for first in 0..heaps.len() {
                    for last in [heaps.len(), heaps.len().min(first + 3)] {
                        let begin = if exact { 0.0 } else { -1.5 };
                        let found = isa.row_sum(&forest, &rows, first..last, &row, begin, exact);
                        let leaves = heaps[first..last].iter().map(|heap| f64::from(walk(heap, &row)));
                        let wanted = leaves.fold(begin, |sum, leaf| sum + leaf);
                        assert_eq!(found.to_bits(), wanted.to_bits(), "{} {first} {columns}", isa.name());
                    }
                }
            }
        }
    }
}
