//! What names a decision: a UUID of version 7, so that new ones stand together in the index.

use std::fmt;
use std::str::FromStr;

use ring::rand::{SecureRandom, SystemRandom};

use crate::store::{Error, Timestamp};

/// The name of a decision, written as a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DecisionId([u8; 16]);

impl DecisionId {
    /// A new one: 48 bits of milliseconds, then randomness (RFC 9562, version 7).
    pub(super) fn new() -> Result<Self, Error> {
        let mut bytes = [0; 16];
        SystemRandom::new().fill(&mut bytes).map_err(|_| Error::config("the system gives no randomness"))?;
        let millis = (Timestamp::now().as_micros() / 1000).to_be_bytes();
        bytes[..6].copy_from_slice(&millis[2..]);
        bytes[6] = 0x70 | bytes[6] & 0x0f;
        bytes[8] = 0x80 | bytes[8] & 0x3f;
        Ok(Self(bytes))
    }
}

/// The text of a UUID.
pub(super) fn text(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(&self.0))
    }
}

impl FromStr for DecisionId {
    type Err = Error;

    fn from_str(given: &str) -> Result<Self, Error> {
        let bytes =
            crate::store::wire::uuid(given).ok_or_else(|| Error::config("a decision's id is a UUID"))?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_in_order_of_time_and_come_back_as_they_went() {
        let first = DecisionId::new().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let second = DecisionId::new().unwrap();
        assert!(first < second);
        let text = first.to_string();
        assert_eq!(text.parse::<DecisionId>().unwrap(), first);
        assert_eq!((text.len(), &text[14..15]), (36, "7"));
        assert!("not-a-uuid".parse::<DecisionId>().is_err());
    }
}
