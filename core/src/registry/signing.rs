//! Who vouches for a model: ed25519 signatures over its name and digest.
//!
//! In flow keys as OpenSSL writes them; out flow signatures, and leave to load. What is signed is the text
//! `cenote model`, the model's name and the SHA-256 of its bytes in lower-case hexadecimal, each line ended by a newline: so a
//! signature cannot be moved to other bytes nor to another name, and other programs can make and check it.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

use crate::store::Error;

/// What stands before the 32 bytes of an ed25519 key in a `SubjectPublicKeyInfo` (RFC 8410).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A private key that models are signed with. Printing it shows the public half.
pub struct SigningKey(Ed25519KeyPair);

/// A key that signatures are checked with.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

impl SigningKey {
    /// From PEM, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// If the text holds no such key.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let unreadable = || Error::config("the signing key is no ed25519 key in PEM");
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| unreadable())?;
        // OpenSSL writes the first version of PKCS #8, without the public half.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
        Ok(Self(pair.map_err(|_| unreadable())?))
    }

    /// A new key of the system's randomness, for tests and for keys that never leave the process.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn generate() -> Result<Self, Error> {
        let failed = || Error::config("the system gives no randomness");
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| failed())?;
        Ok(Self(Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| failed())?))
    }

    /// The key that checks what this one signs.
    pub fn public_key(&self) -> PublicKey {
        let bytes = self.0.public_key().as_ref().try_into();
        PublicKey(bytes.expect("an ed25519 key has 32 bytes"))
    }

    /// The signature of a model.
    pub(super) fn sign(&self, name: &str, sha256: &str) -> Vec<u8> {
        self.0.sign(message(name, sha256).as_bytes()).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public_key())
    }
}

impl PublicKey {
    /// From its 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From PEM, as `openssl pkey -pubout` writes it, or from 64 hexadecimal digits.
    ///
    /// # Errors
    /// If the text holds no such key.
    pub fn from_text(text: &str) -> Result<Self, Error> {
        let unreadable = || Error::config("a trusted key is no ed25519 key in PEM or hexadecimal");
        let text = text.trim();
        let mut key = [0; 32];
        if text.len() == 64 {
            for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                let digit = |at: usize| char::from(digits[at]).to_digit(16).ok_or_else(unreadable);
                *byte = (digit(0)? << 4 | digit(1)?) as u8;
            }
            return Ok(Self(key));
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()).map_err(|_| unreadable())?;
        let bytes = der.strip_prefix(&SPKI).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(unreadable)
    }

    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether the signature is this key's, of this model.
    pub(super) fn verifies(&self, name: &str, sha256: &str, signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        key.verify(message(name, sha256).as_bytes(), signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

fn message(name: &str, sha256: &str) -> String {
    format!("cenote model\n{name}\n{sha256}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    // The examples of RFC 8410, in the forms that OpenSSL writes.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn keys_of_openssl_are_read() {
        let key = SigningKey::from_pem(PRIVATE).unwrap();
        let public = PublicKey::from_text(PUBLIC).unwrap();
        assert_eq!(key.public_key(), public);
        assert_eq!(PublicKey::from_text(&public.to_string()).unwrap(), public);
        assert!(!format!("{key:?}").contains("d4ee72db"));
        for wrong in ["", "00", PRIVATE, &"0g".repeat(32)] {
            assert!(PublicKey::from_text(wrong).is_err(), "{wrong}");
        }
        assert!(SigningKey::from_pem(PUBLIC).is_err());
    }

    #[test]
    fn a_signature_holds_for_its_model_alone() {
        let key = SigningKey::generate().unwrap();
        let signature = key.sign("churn", "0a");
        assert!(key.public_key().verifies("churn", "0a", &signature));
        assert!(!key.public_key().verifies("other", "0a", &signature));
        assert!(!key.public_key().verifies("churn", "0b", &signature));
        assert!(!SigningKey::generate().unwrap().public_key().verifies("churn", "0a", &signature));
        assert!(!key.public_key().verifies("churn", "0a", &signature[1..]));
    }
}
