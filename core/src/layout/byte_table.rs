//! For each code of a column a byte, also as runs of eight codes: what a kernel can look up in registers.

use super::lines::Line;

/// The most codes that runs are made for.
const MAX_RUNS: usize = 256;

/// A byte for each code.
#[derive(Debug, Clone)]
pub(crate) struct ByteTable {
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
    pub(crate) fn new(bytes: Box<[u8]>) -> Self {
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
        Self { bytes, runs }
    }

    /// The bytes by code.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same as runs, if it goes up and is not too long.
    pub(crate) fn runs(&self) -> Option<&Runs> {
        self.runs.as_deref()
    }
}
