//! Rows as they go over the wire: encoded once, sorted and sent from there.
//!
//! In flow rows from [`write`](super::write); out flow their bytes, which are a `COPY`'s and, field by field, a statement's
//! parameters. The invariant: keys and event time are never missing, and equal keys have equal bytes.

use bytes::{BufMut, BytesMut};

use super::view::KeyColumn;
use super::wire::begin_array;

/// Rows in `COPY`'s binary form, and where each begins.
#[derive(Default)]
pub(super) struct Chunk {
    pub(super) bytes: BytesMut,
    pub(super) entries: Vec<Entry>,
}

impl Chunk {
    /// One array a key column, of every `step`th row.
    pub(super) fn key_lists(&self, keys: &[KeyColumn], step: usize) -> Vec<BytesMut> {
        let rows = self.entries.len().div_ceil(step);
        let count = i32::try_from(rows).expect("a chunk has fewer rows");
        let begun = keys.iter().map(|key| {
            let mut list = BytesMut::with_capacity(20 + 12 * rows);
            begin_array(key.ty, count, &mut list);
            list
        });
        let mut lists: Vec<_> = begun.collect();
        for entry in self.entries.iter().step_by(step) {
            for (list, field) in lists.iter_mut().zip(entry.fields(&self.bytes)) {
                let field = field.unwrap_or_default();
                list.put_i32(field.len() as i32);
                list.put_slice(field);
            }
        }
        lists
    }
}

/// One encoded row: the keys from `start`, the event time at `event`, the features after it.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) start: usize,
    pub(super) event: usize,
    pub(super) end: usize,
}

impl Entry {
    pub(super) fn key(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start..self.event]
    }

    pub(super) fn event_ts(self, bytes: &[u8]) -> i64 {
        let field = bytes[self.event + 4..].first_chunk();
        i64::from_be_bytes(*field.expect("an event time has eight bytes"))
    }

    pub(super) fn fields(self, bytes: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
        let mut rest = &bytes[self.start..self.end];
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                rest = after;
                return Some(None);
            };
            let (field, after) = after.split_at(length);
            rest = after;
            Some(Some(field))
        })
    }
}
