//! A row as it is kept: the cells as they came over the wire, one after another.

use std::sync::Arc;
use std::time::Duration;

use crate::store::error::Error;
use crate::store::read::{Reader, StoredRow};
use crate::store::wire;

/// What is known of a key: its row's event time and features, or that it has no row.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The event time, then each feature of the view: its length (-1 for NULL), then its bytes; nothing where there is no row.
    bytes: Box<[u8]>,
    /// Where each cell begins, after its length.
    cells: Box<[u32]>,
    pub(super) ttl: Duration,
}

impl Kept {
    /// Keeps a row whose event time is column `first`.
    pub(super) fn new(
        row: Option<&tokio_postgres::Row>,
        first: usize,
        features: usize,
        ttls: (Duration, Duration),
    ) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        if let Some(row) = row {
            for index in first..=first + features {
                match wire::cell(row, index)? {
                    Some(cell) => {
                        bytes.extend_from_slice(&(cell.len() as i32).to_be_bytes());
                        bytes.extend_from_slice(cell);
                    }
                    None => bytes.extend_from_slice(&(-1i32).to_be_bytes()),
                }
            }
        }
        let kept = Self::from_bytes(&bytes, features, ttls);
        Ok(kept.expect("the cells were just laid out"))
    }

    /// Reads what [`bytes`](Self::bytes) gave; `None` if it is not a row of so many features.
    pub(super) fn from_bytes(bytes: &[u8], features: usize, ttls: (Duration, Duration)) -> Option<Self> {
        let mut cells = Vec::with_capacity(features + 1);
        let mut at = 0;
        while at < bytes.len() {
            let length = i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?);
            cells.push(u32::try_from(at + 4).ok()?);
            at = (at + 4).checked_add(usize::try_from(length.max(0)).ok()?)?;
        }
        if at != bytes.len() || !(cells.is_empty() || cells.len() == features + 1) {
            return None;
        }
        let ttl = if cells.is_empty() { ttls.1 } else { ttls.0 };
        Some(Self { bytes: bytes.into(), cells: cells.into(), ttl })
    }

    #[cfg(feature = "redis")]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() + 4 * self.cells.len()
    }

    /// The row for `reader`, whose answers have the event time in column `first`; `None` where there is none.
    pub(super) fn row(kept: &Arc<Self>, reader: &Reader, first: usize) -> Option<StoredRow> {
        let row = || StoredRow::Kept { kept: Arc::clone(kept), places: Arc::clone(reader.places()), first };
        (!kept.cells.is_empty()).then(row)
    }

    /// Cell `place`: the event time at 0, then the features of the view.
    pub(crate) fn cell(&self, place: usize) -> Option<&[u8]> {
        let start = *self.cells.get(place)? as usize;
        let length = i32::from_be_bytes(*self.bytes[start - 4..].first_chunk()?);
        self.bytes.get(start..start + usize::try_from(length).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_and_what_is_no_row_is_refused() {
        let ttls = (Duration::from_secs(9), Duration::from_secs(1));
        let bytes = [0, 0, 0, 2, 7, 8, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        let kept = Kept::from_bytes(&bytes, 2, ttls).unwrap();
        assert_eq!((kept.cell(0), kept.cell(1), kept.cell(2)), (Some(&[7, 8][..]), None, Some(&[][..])));
        assert_eq!(kept.ttl, ttls.0);
        assert_eq!(Kept::from_bytes(&[], 2, ttls).unwrap().ttl, ttls.1);
        assert!(Kept::from_bytes(&bytes, 3, ttls).is_none(), "the row of another view");
        assert!(Kept::from_bytes(&bytes[..5], 2, ttls).is_none(), "cut short");
        assert!(Kept::from_bytes(&[0x7f, 0xff, 0xff, 0xff], 0, ttls).is_none(), "a length beyond the end");
    }
}
