//! An entry kept as it lies in the archive, to be inflated when someone asks.
//!
//! In flow the bytes of an entry with what the archive says of them; out flow, on request, the bytes inflated and checked. The
//! archive bounded the declared size against its limits, and no more than that is ever inflated.

use std::io::Read as _;

use flate2::Crc;
use flate2::read::DeflateDecoder;

use crate::error::Error;

/// An entry, perhaps compressed.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    name: Box<str>,
    bytes: Box<[u8]>,
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
    pub(crate) fn new(name: &str, bytes: Vec<u8>, deflated: bool, size: usize, crc: u32) -> Self {
        Packed { name: name.into(), bytes: bytes.into(), deflated, size, crc: Some(crc) }
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
        let mut bytes = Vec::with_capacity(self.size);
        if self.deflated {
            // One byte more than declared tells a longer entry.
            let mut decoder = DeflateDecoder::new(&self.bytes[..]).take(self.size as u64 + 1);
            decoder
                .read_to_end(&mut bytes)
                .map_err(|e| Error::malformed(format!("broken zip entry: {e}")).in_entry(&self.name))?;
        } else {
            bytes.extend_from_slice(&self.bytes);
        }
        let fits = bytes.len() == self.size && self.crc.is_none_or(|crc| crc == checksum(&bytes));
        if fits {
            Ok(bytes)
        } else {
            Err(Error::malformed("broken zip entry: wrong size or checksum").in_entry(&self.name))
        }
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stored deflate block of three bytes.
    const BLOCK: [u8; 8] = [1, 3, 0, 0xFC, 0xFF, b'a', b'b', b'c'];

    #[test]
    fn the_content_counts_not_the_packing() {
        let deflated = Packed::new("a", BLOCK.to_vec(), true, 3, 0x3524_41C2);
        assert_eq!(deflated.unpack().unwrap(), b"abc");
        assert_eq!(deflated, Packed::stored("b", b"abc".to_vec()));
        assert_ne!(deflated, Packed::stored("a", b"abd".to_vec()));
    }

    #[test]
    fn never_more_than_declared() {
        for size in [2, 4] {
            assert!(Packed::new("a", BLOCK.to_vec(), true, size, 0x3524_41C2).unpack().is_err());
        }
    }
}
