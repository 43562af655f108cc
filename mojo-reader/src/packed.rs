//! An entry kept as it lies in the archive, to be inflated when someone asks.
//!
//! In flow the bytes of an entry with what the archive says of them; out flow, on request, the bytes inflated and checked. The
//! archive bounded the declared size against its limits, and no more than that is ever inflated.

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};

use crate::error::Error;

/// An entry, perhaps compressed.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    name: Box<str>,
    bytes: Bytes,
    deflated: bool,
    size: usize,
    /// What the archive says of the inflated bytes; a folder says nothing.
    crc: Option<u32>,
}

/// Equal if the contents are, however they are packed.
impl PartialEq for Packed {
    fn eq(&self, other: &Self) -> bool {
        let same = self.deflated == other.deflated && self.bytes == other.bytes;
        same || matches!((self.unpack(), other.unpack()), (Ok(a), Ok(b)) if a == b)
    }
}

impl Packed {
    pub(crate) fn new(name: &str, bytes: Bytes, deflated: bool, size: usize, crc: u32) -> Self {
        Packed { name: name.into(), bytes, deflated, size, crc: Some(crc) }
    }

    pub(crate) fn stored(name: &str, bytes: Vec<u8>) -> Self {
        Packed { name: name.into(), size: bytes.len(), bytes: bytes.into(), deflated: false, crc: None }
    }

    /// The entry's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How many bytes it is said to have when inflated.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The bytes, inflated.
    pub(crate) fn unpack(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        Inflater::default().unpack(self, &mut bytes)?;
        Ok(bytes)
    }
}

/// The state of inflating, worth keeping from entry to entry: it takes 40 kB.
#[derive(Debug)]
pub(crate) struct Inflater(Decompress);

impl Default for Inflater {
    fn default() -> Self {
        Inflater(Decompress::new(false))
    }
}

impl Inflater {
    /// Inflates into `into`, replacing what was there.
    pub(crate) fn unpack(&mut self, packed: &Packed, into: &mut Vec<u8>) -> Result<(), Error> {
        into.clear();
        let wrong =
            |what: &str| Err(Error::malformed(format!("broken zip entry: {what}")).in_entry(&packed.name));
        if packed.deflated {
            self.0.reset(false);
            // One byte more than declared, so that a longer entry is told from one that ends here.
            into.resize(packed.size + 1, 0);
            let status = self.0.decompress(&packed.bytes, into, FlushDecompress::Finish);
            // Never more than the slice given.
            into.truncate(self.0.total_out() as usize);
            match status {
                Ok(Status::StreamEnd) => {}
                Ok(_) if into.len() > packed.size => return wrong("larger than its declared size"),
                Ok(_) => return wrong("truncated"),
                Err(_) => return wrong("not deflated data"),
            }
        } else {
            into.extend_from_slice(&packed.bytes);
        }
        if into.len() != packed.size {
            return wrong(&format!("{} bytes declared, {} found", packed.size, into.len()));
        }
        if packed.crc.is_some_and(|crc| crc != crc32fast::hash(into)) {
            return wrong("wrong checksum");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stored deflate block of three bytes.
    const BLOCK: [u8; 8] = [1, 3, 0, 0xFC, 0xFF, b'a', b'b', b'c'];

    #[test]
    fn the_content_counts_not_the_packing() {
        let deflated = Packed::new("a", BLOCK.to_vec().into(), true, 3, 0x3524_41C2);
        assert_eq!(deflated.unpack().unwrap(), b"abc");
        assert_eq!(deflated, Packed::stored("b", b"abc".to_vec()));
        assert_ne!(deflated, Packed::stored("a", b"abd".to_vec()));
    }

    #[test]
    fn never_more_than_declared() {
        for size in [2, 4] {
            assert!(Packed::new("a", BLOCK.to_vec().into(), true, size, 0x3524_41C2).unpack().is_err());
        }
    }
}
