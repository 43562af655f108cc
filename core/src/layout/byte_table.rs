//! For each code of a column a byte, also as runs of eight codes: what a kernel can look up in registers.

use super::lines::Line;

/// The most codes that runs are made for.
const MAX_RUNS: usize = 256;

/// More bytes than codes, so that four bytes can be read from that of each code on.
const MORE: usize = 3;

/// A byte for each code.
#[derive(Debug)]
pub(crate) struct ByteTable {
    /// And [`MORE`].
    bytes: Box<[u8]>,
    runs: Option<Box<Runs>>,
}

/// A table whose bytes go up by 0 or 1 from code to code, but for the last code, by runs of eight codes: the byte of code
/// `c` is `base[c / 8]`, and one more for each bit of `steps[c / 8]` up to bit `c % 8`.
#[derive(Debug, Clone)]
pub(crate) struct Runs {
    /// The bytes of each run's first code.
    pub(crate) base: [Line; MAX_RUNS / 64],
    /// At which codes of a run the byte goes up; bit 0 is never set.
    pub(crate) steps: [Line; MAX_RUNS / 64],
    /// The last code.
    pub(crate) last: u16,
    /// Its byte.
    pub(crate) byte_of_last: u8,
}

impl ByteTable {
    /// The table of `bytes`, one for each code.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn new(mut bytes: Vec<u8>) -> Self {
        assert!(!bytes.is_empty());
        let (byte_of_last, others) = bytes.split_last().expect("not empty");
        let goes_up =
            others.windows(2).all(|pair| pair[1] == pair[0] || Some(pair[1]) == pair[0].checked_add(1));
        let runs = (goes_up && bytes.len() <= 8 * MAX_RUNS).then(|| {
            let none = [Line::ZERO; MAX_RUNS / 64];
            let last = others.len() as u16;
            let mut runs = Box::new(Runs { base: none, steps: none, last, byte_of_last: *byte_of_last });
            for (run, codes) in others.chunks(8).enumerate() {
                runs.base[run / 64].0[run % 64] = codes[0];
                let steps = codes.windows(2).enumerate();
                let steps = steps.fold(0, |steps, (at, pair)| steps | (pair[1] - pair[0]) << (at + 1));
                runs.steps[run / 64].0[run % 64] = steps;
            }
            runs
        });
        bytes.reserve_exact(MORE);
        bytes.extend([0; MORE]);
        Self { bytes: bytes.into(), runs }
    }

    /// The bytes by code.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.bytes.len() - MORE]
    }

    /// The same as runs, if it goes up and is not too long.
    pub(crate) fn runs(&self) -> Option<&Runs> {
        self.runs.as_deref()
    }
}

/// The byte columns of a block of trees: of each the column whose codes it has bytes for, and the table. For kernels that
/// take one row also eight side by side.
///
/// Kernels read the tables by their addresses, which hold because the tables are never changed, and live as long as this.
#[derive(Debug)]
pub(crate) struct ByteColumns {
    columns: Vec<(u16, ByteTable)>,
    eights: Vec<EightBytes>,
    /// How many codes a row has at least.
    sources: usize,
}

/// Eight byte columns; those past the last one read the first.
#[derive(Debug, Clone, Default)]
#[repr(C, align(64))]
pub(crate) struct EightBytes {
    /// The address of the byte of code 0.
    pub(crate) tables: [u64; 8],
    /// The last code.
    pub(crate) last: [i32; 8],
    /// Whose codes.
    pub(crate) sources: [i32; 8],
}

impl ByteColumns {
    /// Of each column the number of the column whose codes it has bytes for, and the table.
    pub(crate) fn new(columns: Vec<(u16, ByteTable)>) -> Self {
        let mut eights = vec![EightBytes::default(); columns.len().div_ceil(8)];
        for at in 0..eights.len() * 8 {
            let (source, table) = columns.get(at).unwrap_or(&columns[0]);
            let (eight, at) = (&mut eights[at / 8], at % 8);
            eight.tables[at] = table.bytes.as_ptr().expose_provenance() as u64;
            eight.last[at] = table.bytes().len() as i32 - 1;
            eight.sources[at] = i32::from(*source);
        }
        let sources = columns.iter().map(|(source, _)| usize::from(*source) + 1).max().unwrap_or(0);
        Self { columns, eights, sources }
    }

    /// Column after column.
    pub(crate) fn list(&self) -> &[(u16, ByteTable)] {
        &self.columns
    }

    /// The same, eight by eight.
    pub(crate) fn eights(&self) -> &[EightBytes] {
        &self.eights
    }

    /// How many codes a row has at least.
    pub(crate) fn sources(&self) -> usize {
        self.sources
    }
}
