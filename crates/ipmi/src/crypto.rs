//! The algorithms of the two cipher suites (section 13.28, tables 22-20) and the session's keys (13.31, 13.32).
//!
//! Must never compare authentication codes in variable time, nor show a key in `Debug`.

use std::fmt;

use aes::Aes128;
use aes::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::wire::Malformed;

/// Block and initialisation vector of AES-CBC-128.
pub(crate) const BLOCK: usize = 16;
/// SHA-1 and SHA-256 both work on blocks of this size.
const HASH_BLOCK: usize = 64;

/// A complete choice of algorithms. The others of the specification lack integrity or
/// confidentiality, or use broken ciphers, and are not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CipherSuite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128: mandatory in IPMI 2.0.
    Suite3 = 3,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Suite17 = 17,
}

/// The numbers of one proposal in the open session messages (tables 13-17 to 13-19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Algorithms {
    pub authentication: u8,
    pub integrity: u8,
    pub confidentiality: u8,
}

impl CipherSuite {
    /// Best first.
    pub const PREFERENCE: [Self; 2] = [Self::Suite17, Self::Suite3];

    /// The number operators know the suite by.
    pub fn id(self) -> u8 {
        self as u8
    }

    pub fn from_id(id: u8) -> Option<Self> {
        Self::PREFERENCE.into_iter().find(|suite| suite.id() == id)
    }

    pub(crate) fn algorithms(self) -> Algorithms {
        match self {
            Self::Suite3 => Algorithms {
                authentication: 1,
                integrity: 1,
                confidentiality: 1,
            },
            Self::Suite17 => Algorithms {
                authentication: 3,
                integrity: 4,
                confidentiality: 1,
            },
        }
    }

    /// Bytes of a key exchange authentication code (RAKP messages 2 and 3), of the SIK, K1 and K2.
    pub(crate) fn digest_len(self) -> usize {
        match self {
            Self::Suite3 => 20,
            Self::Suite17 => 32,
        }
    }

    /// Bytes of the code behind every packet, and of the check value in RAKP message 4.
    pub(crate) fn integrity_len(self) -> usize {
        match self {
            Self::Suite3 => 12,
            Self::Suite17 => 16,
        }
    }

    /// HMAC over the concatenated parts, full length.
    pub(crate) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Suite3 => sha1(key, parts).finalize().into_bytes().to_vec(),
            Self::Suite17 => sha256(key, parts).finalize().into_bytes().to_vec(),
        }
    }

    /// Compares `code` with the first `length` bytes of the HMAC, in constant time.
    pub(crate) fn verify(self, key: &[u8], parts: &[&[u8]], code: &[u8], length: usize) -> bool {
        code.len() == length
            && match self {
                Self::Suite3 => sha1(key, parts).verify_truncated_left(code).is_ok(),
                Self::Suite17 => sha256(key, parts).verify_truncated_left(code).is_ok(),
            }
    }
}

/// HMAC pads a short key with zeros to the block, so a key of exactly one block is the general case
/// (all keys of IPMI are shorter) and cannot fail.
fn block_key(key: &[u8]) -> Zeroizing<[u8; HASH_BLOCK]> {
    let mut block = Zeroizing::new([0u8; HASH_BLOCK]);
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    block
}

fn sha1(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha1> {
    let mut mac = Hmac::<Sha1>::new(&(*block_key(key)).into());
    parts.iter().for_each(|part| mac.update(part));
    mac
}

fn sha256(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new(&(*block_key(key)).into());
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// Keys of an open session: K1 signs, the first 16 bytes of K2 encrypt.
#[derive(Clone)]
pub(crate) struct SessionKeys {
    pub suite: CipherSuite,
    k1: Zeroizing<Vec<u8>>,
    k2: Zeroizing<[u8; BLOCK]>,
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKeys")
            .field("suite", &self.suite)
            .finish_non_exhaustive()
    }
}

impl SessionKeys {
    /// From the session integrity key. The constants are 20 bytes for both hashes (section 13.32).
    pub fn derive(suite: CipherSuite, sik: &[u8]) -> Self {
        let k1 = Zeroizing::new(suite.hmac(sik, &[&[0x01; 20]]));
        let full = Zeroizing::new(suite.hmac(sik, &[&[0x02; 20]]));
        let mut k2 = Zeroizing::new([0u8; BLOCK]);
        k2.iter_mut()
            .zip(full.iter())
            .for_each(|(to, from)| *to = *from);
        Self { suite, k1, k2 }
    }

    /// The code behind a packet.
    pub fn sign(&self, signed: &[u8]) -> Vec<u8> {
        let mut code = self.suite.hmac(&self.k1, &[signed]);
        code.truncate(self.suite.integrity_len());
        code
    }

    pub fn verify(&self, signed: &[u8], code: &[u8]) -> bool {
        self.suite
            .verify(&self.k1, &[signed], code, self.suite.integrity_len())
    }

    /// Initialisation vector, then the padded and encrypted payload (section 13.29).
    pub fn encrypt(&self, payload: &[u8], iv: [u8; BLOCK]) -> Vec<u8> {
        // pad bytes 1, 2, 3, ..., then their count, up to a whole block
        let pad = (BLOCK - (payload.len() + 1) % BLOCK) % BLOCK;
        let mut text = Vec::with_capacity(payload.len() + 2 * BLOCK);
        text.extend_from_slice(payload);
        text.extend((1..=pad).map(|n| n as u8));
        text.push(pad as u8);
        let (blocks, _) = Array::slice_as_chunks_mut(&mut text);
        cbc::Encryptor::<Aes128>::new(&(*self.k2).into(), &iv.into()).encrypt_blocks(blocks);
        let mut out = iv.to_vec();
        out.append(&mut text);
        out
    }

    pub fn decrypt(&self, data: &[u8]) -> Result<Vec<u8>, Malformed> {
        const WRONG: Malformed = Malformed("encrypted payload of a wrong length");
        let (iv, text) = data.split_first_chunk::<BLOCK>().ok_or(WRONG)?;
        if text.is_empty() || text.len() % BLOCK != 0 {
            return Err(WRONG);
        }
        let mut text = text.to_vec();
        let (blocks, _) = Array::slice_as_chunks_mut(&mut text);
        cbc::Decryptor::<Aes128>::new(&(*self.k2).into(), &(*iv).into()).decrypt_blocks(blocks);
        // Only the count is checked, not the pad bytes: firmware exists that fills them otherwise,
        // and the packet was authenticated before.
        let pad = usize::from(text.pop().ok_or(WRONG)?);
        let length = text
            .len()
            .checked_sub(pad)
            .ok_or(Malformed("encrypted payload with a wrong pad length"))?;
        text.truncate(length);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn hmac_agrees_with_the_published_vectors() {
        fn check(suite: CipherSuite, key: &[u8], data: &[u8], expected: &str) {
            let expected = hex::decode(expected).unwrap();
            assert_eq!(suite.hmac(key, &[data]), expected);
            let (head, tail) = data.split_at(data.len() / 2);
            assert_eq!(suite.hmac(key, &[head, tail]), expected);
            let length = suite.integrity_len();
            assert!(suite.verify(key, &[data], &expected[..length], length));
            assert!(!suite.verify(key, &[data], &expected[..length - 1], length));
            assert!(!suite.verify(key, &[b"x"], &expected[..length], length));
        }
        // RFC 2202, section 3, cases 1 and 2; RFC 4231, sections 4.2 and 4.3
        check(
            CipherSuite::Suite3,
            &[0x0b; 20],
            b"Hi There",
            "b617318655057264e28bc0b6fb378c8ef146be00",
        );
        check(
            CipherSuite::Suite3,
            b"Jefe",
            b"what do ya want for nothing?",
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
        );
        check(
            CipherSuite::Suite17,
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        );
        check(
            CipherSuite::Suite17,
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
    }

    #[test]
    fn aes_agrees_with_the_published_vectors() {
        // NIST SP 800-38A, F.2.1, first three blocks: ours pads, so the last block is one of our own
        let key: [u8; 16] = hex::decode("2b7e151628aed2a6abf7158809cf4f3c")
            .unwrap()
            .try_into()
            .unwrap();
        let iv: [u8; 16] = hex::decode("000102030405060708090a0b0c0d0e0f")
            .unwrap()
            .try_into()
            .unwrap();
        let plain = hex::decode("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52ef").unwrap();
        let keys = SessionKeys {
            suite: CipherSuite::Suite3,
            k1: Zeroizing::new(vec![]),
            k2: Zeroizing::new(key),
        };
        let sealed = keys.encrypt(&plain, iv);
        assert_eq!(sealed.len(), 16 + 48 + 16);
        assert_eq!(sealed[..16], iv);
        assert_eq!(
            hex::encode(&sealed[16..64]),
            "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b273bed6b8e3c1743b7116e69e22229516"
        );
        assert_eq!(keys.decrypt(&sealed).unwrap(), plain);
    }

    #[test]
    fn every_length_goes_there_and_back() {
        let keys = SessionKeys::derive(CipherSuite::Suite17, b"some session integrity key");
        for length in 0..70 {
            let plain: Vec<u8> = (0..length).collect();
            let sealed = keys.encrypt(&plain, [7; 16]);
            assert_eq!(sealed.len() % 16, 0);
            assert_eq!(keys.decrypt(&sealed).unwrap(), plain);
        }
        for bad in [0, 15, 16, 17, 31, 33] {
            assert!(keys.decrypt(&vec![0; bad]).is_err(), "{bad}");
        }
        assert!(!format!("{keys:?}").contains("k1"));
    }
}
