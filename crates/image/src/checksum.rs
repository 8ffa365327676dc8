//! Image checksums: MD5, SHA-256 and SHA-512, in constant space.
//!
//! The algorithm follows from the length of the text unless it is named, as the Bare Metal API has it for
//! `image_checksum` (length decides) and `image_os_hash_algo` with `image_os_hash_value` (named).

use md5::{Digest, Md5};
use sha2::{Sha256, Sha512};

use crate::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Md5,
    Sha256,
    Sha512,
}

impl Algorithm {
    /// The name as it stands in `image_os_hash_algo`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "md5",
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// Hexadecimal digits of a value.
    pub fn digits(self) -> usize {
        match self {
            Algorithm::Md5 => 32,
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.trim();
        [Algorithm::Md5, Algorithm::Sha256, Algorithm::Sha512]
            .into_iter()
            .find(|a| a.name().eq_ignore_ascii_case(name))
    }

    fn from_digits(digits: usize) -> Option<Self> {
        [Algorithm::Md5, Algorithm::Sha256, Algorithm::Sha512]
            .into_iter()
            .find(|a| a.digits() == digits)
    }
}

/// A wanted checksum: algorithm and lower-case hexadecimal value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    algorithm: Algorithm,
    value: String,
}

impl Checksum {
    /// A bare value; its length names the algorithm. White space around it and upper case are accepted.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let value = text.trim();
        let algorithm = Algorithm::from_digits(value.len()).ok_or_else(|| Error::BadChecksum {
            what: format!(
                "{} characters; MD5 has 32, SHA-256 has 64, SHA-512 has 128 hexadecimal digits",
                value.len()
            ),
        })?;
        Self::new(algorithm, value)
    }

    /// A value of a named algorithm.
    pub fn new(algorithm: Algorithm, value: &str) -> Result<Self, Error> {
        let value = value.trim();
        if value.len() != algorithm.digits() || !value.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::BadChecksum {
                what: format!(
                    "{} needs {} hexadecimal digits",
                    algorithm.name(),
                    algorithm.digits()
                ),
            });
        }
        Ok(Checksum {
            algorithm,
            value: value.to_ascii_lowercase(),
        })
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Lower-case hexadecimal.
    pub fn value(&self) -> &str {
        &self.value
    }

    pub fn hasher(&self) -> Hasher {
        Hasher::new(self.algorithm)
    }

    /// Compares with what was computed. The error carries both values.
    pub fn verify(&self, hasher: Hasher) -> Result<(), Error> {
        let actual = hasher.finish();
        if actual == self.value {
            return Ok(());
        }
        Err(Error::ChecksumMismatch {
            algorithm: self.algorithm.name(),
            expected: self.value.clone(),
            actual,
        })
    }
}

/// A running hash of constant size.
#[derive(Clone)]
pub enum Hasher {
    Md5(Md5),
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Md5 => Hasher::Md5(Md5::new()),
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Md5(h) => h.update(bytes),
            Hasher::Sha256(h) => h.update(bytes),
            Hasher::Sha512(h) => h.update(bytes),
        }
    }

    /// The value in lower-case hexadecimal.
    pub fn finish(self) -> String {
        match self {
            Hasher::Md5(h) => hex::encode(h.finalize()),
            Hasher::Sha256(h) => hex::encode(h.finalize()),
            Hasher::Sha512(h) => hex::encode(h.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn check(text: &str, expected: Option<Algorithm>) {
        assert_eq!(
            Checksum::parse(text).ok().map(|c| c.algorithm()),
            expected,
            "{text:?}"
        );
    }

    #[test]
    fn length_names_the_algorithm() {
        check("d41d8cd98f00b204e9800998ecf8427e", Some(Algorithm::Md5));
        check("  D41D8CD98F00B204E9800998ECF8427E\n", Some(Algorithm::Md5));
        check(&"0".repeat(64), Some(Algorithm::Sha256));
        check(&"f".repeat(128), Some(Algorithm::Sha512));
        check(&"0".repeat(40), None);
        check(&"g".repeat(32), None);
        check("", None);
        check(&"\u{e9}".repeat(16), None);
    }

    #[test]
    fn values_of_the_empty_and_of_a_short_text() {
        let cases = [
            (Algorithm::Md5, "abc", "900150983cd24fb0d6963f7d28e17f72"),
            (
                Algorithm::Sha256,
                "abc",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                Algorithm::Sha512,
                "",
                "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce\
                 47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
            ),
        ];
        for (algorithm, text, value) in cases {
            let wanted = Checksum::new(algorithm, value).unwrap();
            let mut hasher = wanted.hasher();
            hasher.update(text.as_bytes());
            wanted.verify(hasher).unwrap();
        }
    }

    #[test]
    fn a_mismatch_carries_both_values() {
        let wanted = Checksum::parse(&"0".repeat(32)).unwrap();
        let error = wanted.verify(wanted.hasher()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "image checksum does not match: md5 d41d8cd98f00b204e9800998ecf8427e received, \
             00000000000000000000000000000000 expected"
        );
    }
}
