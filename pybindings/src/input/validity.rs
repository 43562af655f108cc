//! A validity bitmap of our own, for layouts that mark what is missing in another way.

use cenote::input::Validity;

/// One bit a row, lowest first, set where the cell is present.
#[derive(Debug, Default)]
pub(super) struct Bitmap {
    bytes: Vec<u8>,
    rows: usize,
}

impl Bitmap {
    /// A bitmap of as many bits as `present` yields.
    pub(super) fn of(present: impl ExactSizeIterator<Item = bool>) -> Self {
        let rows = present.len();
        let mut bytes = vec![0; rows.div_ceil(8)];
        for (row, present) in present.enumerate() {
            bytes[row >> 3] |= u8::from(present) << (row & 7);
        }
        Self { bytes, rows }
    }

    /// Adds a bit.
    pub(super) fn push(&mut self, present: bool) {
        if self.rows & 7 == 0 {
            self.bytes.push(0);
        }
        if let Some(byte) = self.bytes.last_mut() {
            *byte |= u8::from(present) << (self.rows & 7);
        }
        self.rows += 1;
    }

    /// The bitmap as the core borrows it.
    pub(super) fn validity(&self) -> Validity<'_> {
        Validity::new(&self.bytes, 0)
    }
}
