//! Checked reads from the bytes of one entry: a failed read says how far the bytes reach, and never panics.

use crate::error::Error;

/// A position in the bytes of an entry.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes from the beginning of the entry.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next bytes, if there are so many, which stay the next.
    #[inline]
    pub(crate) fn peek<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.bytes[self.at..].first_chunk()
    }

    /// Passes over bytes that were seen by [`peek`](Self::peek).
    #[inline]
    pub(crate) fn skip(&mut self, n: usize) {
        self.at = self.bytes.len().min(self.at + n);
    }

    /// The next `n` bytes.
    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        match self.bytes[self.at..].get(..n) {
            Some(taken) => {
                self.at += n;
                Ok(taken)
            }
            None => Err(self.truncated(n)),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        match self.bytes[self.at..].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.truncated(N)),
        }
    }

    #[cold]
    fn truncated(&self, wanted: usize) -> Error {
        Error::malformed(format!("truncated: {wanted} bytes expected, {} left", self.remaining()))
            .at_byte(self.at)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16_le(&mut self) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// A number of one to four bytes, the lowest first.
    pub(crate) fn uint_le(&mut self, bytes: u8) -> Result<u32, Error> {
        let unused = 32 - 8 * u32::from(bytes);
        // Without a branch, which nothing could predict, but at the end of the entry.
        if let Some(word) = self.bytes[self.at..].first_chunk::<4>() {
            self.at += usize::from(bytes);
            return Ok(u32::from_le_bytes(*word) << unused >> unused);
        }
        let taken = self.take(usize::from(bytes))?;
        Ok(taken.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    pub(crate) fn i32_le(&mut self) -> Result<i32, Error> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn f32_le(&mut self) -> Result<f32, Error> {
        Ok(f32::from_le_bytes(self.array()?))
    }

    pub(crate) fn i32_be(&mut self) -> Result<i32, Error> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn f64_be(&mut self) -> Result<f64, Error> {
        Ok(f64::from_be_bytes(self.array()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Place;

    #[test]
    fn reads_both_byte_orders() {
        let mut cursor = Cursor::new(&[1, 2, 0, 3, 0, 1, 0, 0, 0, 9, 0, 0, 128, 63]);
        assert_eq!(cursor.u8().unwrap(), 1);
        assert_eq!(cursor.u16_le().unwrap(), 2);
        assert_eq!(cursor.uint_le(3).unwrap(), 0x01_00_03);
        assert_eq!(cursor.i32_be().unwrap(), 9);
        assert_eq!(cursor.f32_le().unwrap(), 1.0);
        assert_eq!(cursor.remaining(), 0);
        assert_eq!(Cursor::new(&[1, 2]).uint_le(2).unwrap(), 0x02_01);
        assert!(Cursor::new(&[1, 2]).uint_le(3).is_err());
        assert_eq!(Cursor::new(&1.5f64.to_be_bytes()).f64_be().unwrap(), 1.5);
    }

    #[test]
    fn a_short_read_names_its_offset_and_moves_nothing() {
        let mut cursor = Cursor::new(&[0; 5]);
        cursor.take(3).unwrap();
        let error = cursor.i32_le().unwrap_err();
        assert_eq!(error.place(), Some(Place::Byte(3)));
        assert_eq!(error.to_string(), "truncated: 4 bytes expected, 2 left");
        assert_eq!(cursor.position(), 3);
        assert!(cursor.take(usize::MAX).is_err());
    }
}
