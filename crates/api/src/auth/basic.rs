//! `http_basic`: users of a password file.
//!
//! An Apache htpasswd file with bcrypt entries, read anew when it changes. A password that was right is
//! remembered as a keyed digest, since bcrypt is slow on purpose. Every user is an administrator, as upstream
//! has it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use base64::Engine;
use http::{HeaderMap, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::answer;
use crate::fault::ApiFault;

/// Verified passwords that are remembered.
const REMEMBERED: usize = 256;
/// Passwords hashed at once: bcrypt must not take all cores.
const HASHING: usize = 2;
/// Verified in place of an unknown user's, so that timing does not tell which users exist.
const NOBODY: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

pub struct Basic {
    file: PathBuf,
    users: Mutex<Users>,
    verified: Mutex<HashSet<[u8; 32]>>,
    key: [u8; 32],
    hashing: Arc<Semaphore>,
}

#[derive(Default)]
struct Users {
    modified: Option<SystemTime>,
    entries: HashMap<String, String>,
}

impl Basic {
    pub fn new(file: &std::path::Path) -> Self {
        Self {
            file: readable(file),
            users: Mutex::default(),
            verified: Mutex::default(),
            key: rand::random(),
            hashing: Arc::new(Semaphore::new(HASHING)),
        }
    }
}

/// Says at the start what every call would fail by; the file may still come.
fn readable(file: &std::path::Path) -> PathBuf {
    if let Err(error) = std::fs::File::open(file) {
        tracing::error!(
            file = %file.display(), %error,
            "the password file cannot be read: nobody can authenticate until it can; see [DEFAULT] http_basic_auth_user_file"
        );
    }
    file.to_owned()
}

fn unauthorized(text: &str) -> ApiFault {
    answer(StatusCode::UNAUTHORIZED, text)
        .with_header(header::WWW_AUTHENTICATE, "Basic realm=\"Baremetal API\"")
}

impl Basic {
    /// The caller's name.
    ///
    /// # Errors
    /// 401 with the challenge, 400 for a header that cannot be read, 500 when the file cannot.
    pub async fn user(&self, headers: &HeaderMap) -> Result<String, ApiFault> {
        let (user, password) = credentials(headers)?;
        let entry = self.entry(&user).await?;
        let digest = self.digest(&user, entry.as_deref().unwrap_or(NOBODY), &password);
        let known = |set: &HashSet<[u8; 32]>| set.contains(&digest);
        if entry.is_some() && self.verified.lock().is_ok_and(|set| known(&set)) {
            return Ok(user);
        }
        let hash = entry.clone().unwrap_or_else(|| NOBODY.to_owned());
        let permit = Arc::clone(&self.hashing).acquire_owned().await;
        let right = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            bcrypt::verify(password.expose_secret(), &hash).unwrap_or(false)
        })
        .await
        .unwrap_or(false);
        if !right || entry.is_none() {
            tracing::info!(user, "authentication failed");
            return Err(unauthorized("Incorrect username or password"));
        }
        if let Ok(mut set) = self.verified.lock() {
            if set.len() >= REMEMBERED {
                set.clear();
            }
            set.insert(digest);
        }
        Ok(user)
    }

    fn digest(&self, user: &str, entry: &str, password: &SecretString) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.key);
        for part in [user, entry, password.expose_secret()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.finalize().into()
    }

    async fn entry(&self, user: &str) -> Result<Option<String>, ApiFault> {
        let failed = |error: std::io::Error| {
            tracing::error!(file = %self.file.display(), %error, "the password file cannot be read");
            answer(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Problem reading auth user file",
            )
        };
        let modified = tokio::fs::metadata(&self.file)
            .await
            .and_then(|m| m.modified())
            .map_err(failed)?;
        if let Ok(users) = self.users.lock()
            && users.modified == Some(modified)
        {
            return Ok(users.entries.get(user).cloned());
        }
        let text = tokio::fs::read_to_string(&self.file)
            .await
            .map_err(failed)?;
        let entries = entries(&text);
        let found = entries.get(user).cloned();
        if let Ok(mut users) = self.users.lock() {
            *users = Users {
                modified: Some(modified),
                entries,
            };
        }
        Ok(found)
    }
}

/// Users with their bcrypt hashes; the first line of a user counts, other digests are passed over.
fn entries(text: &str) -> HashMap<String, String> {
    let mut users = HashMap::new();
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with('#') {
            continue;
        }
        let Some((user, hash)) = line.split_once(':') else {
            continue;
        };
        if ["$2a$", "$2b$", "$2y$"].iter().any(|p| hash.starts_with(p)) {
            users
                .entry(user.to_owned())
                .or_insert_with(|| hash.to_owned());
        } else {
            tracing::warn!(
                user,
                "only bcrypt digests are supported in the password file"
            );
        }
    }
    users
}

fn credentials(headers: &HeaderMap) -> Result<(String, SecretString), ApiFault> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Err(unauthorized("Authorization required"));
    };
    let unreadable = || {
        answer(
            StatusCode::BAD_REQUEST,
            "Could not parse Authorization header",
        )
    };
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|v| v.trim().split_once(char::is_whitespace))
        .ok_or_else(unreadable)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(answer(
            StatusCode::BAD_REQUEST,
            &format!("Unsupported authorization type \"{scheme}\""),
        ));
    }
    let undecodable = || {
        answer(
            StatusCode::BAD_REQUEST,
            "Could not decode authorization token",
        )
    };
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(token.trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(undecodable)?;
    let (user, password) = decoded.split_once(':').ok_or_else(undecodable)?;
    Ok((user.to_owned(), SecretString::from(password.to_owned())))
}
