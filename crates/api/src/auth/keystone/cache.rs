//! Tokens that Keystone has validated, for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::token::Token;

/// Most tokens that are remembered.
const MOST: usize = 8192;

/// By a keyed digest: a dump of the memory gives no tokens away.
pub struct Cache {
    key: [u8; 32],
    /// Zero: nothing is remembered.
    keep: Duration,
    tokens: Mutex<HashMap<[u8; 32], Kept>>,
}

struct Kept {
    until: Instant,
    token: Arc<Token>,
}

impl Cache {
    /// `seconds` of zero or less remember nothing.
    pub fn new(seconds: i32) -> Self {
        Self {
            key: rand::random(),
            keep: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
            tokens: Mutex::default(),
        }
    }

    fn digest(&self, text: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update(text.as_bytes());
        hash.finalize().into()
    }

    pub fn get(&self, text: &str) -> Option<Arc<Token>> {
        if self.keep.is_zero() {
            return None;
        }
        let digest = self.digest(text);
        let tokens = self.tokens.lock().ok()?;
        let kept = tokens.get(&digest)?;
        (kept.until > Instant::now()).then(|| Arc::clone(&kept.token))
    }

    pub fn put(&self, text: &str, token: &Arc<Token>) {
        if self.keep.is_zero() {
            return;
        }
        let digest = self.digest(text);
        let now = Instant::now();
        let Ok(mut tokens) = self.tokens.lock() else {
            return;
        };
        if tokens.len() >= MOST {
            tokens.retain(|_, kept| kept.until > now);
        }
        if tokens.len() >= MOST {
            // everyone is asked for anew once; better than to keep count of who came last
            tokens.clear();
        }
        tokens.insert(
            digest,
            Kept {
                until: now.checked_add(self.keep).unwrap_or(now),
                token: Arc::clone(token),
            },
        );
    }
}
