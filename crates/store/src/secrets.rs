//! Secrets at rest: members of `driver_info`, `instance_info` and `driver_internal_info` under a key.
//!
//! What counts as a secret is what masking hides (`bessemer_model::is_secret_key`), at any depth, and an image's URL,
//! which may carry a signature. A sealed value stands in its member's place as a text:
//!
//! - `$sealed$1$<key id>$<base64 of nonce, ciphertext and tag>`: AES-256-GCM. The associated data are the row's UUID, the
//!   column and the path of the member, so that a value that is moved to another node or member does not open. Each row
//!   has a key of its own, derived from the operator's by HKDF-SHA256 (RFC 5869): random nonces never come near the
//!   number at which they could repeat.
//! - `$sealed$0$<JSON>`: not encrypted; how a text that itself begins with `$sealed$` is kept.
//!
//! Anything else is as it is: rows that were written without a key are read, and sealed when they are next written or
//! when keys are rotated. This module never logs, and its errors name members and key ids, never values.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use bessemer_model::{Object, is_secret_key};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{aead, digest, hkdf};
use serde_json::Value;

use crate::StoreError;

const PREFIX: &str = "$sealed$";
const ENCRYPTED: &str = "$sealed$1$";
const ESCAPED: &str = "$sealed$0$";

/// Columns of a node that hold secrets.
pub(crate) const COLUMNS: [&str; 3] = ["driver_info", "instance_info", "driver_internal_info"];

/// The operator's keys: the first encrypts, all decrypt. Empty: nothing is encrypted.
#[derive(Default)]
pub struct Keys {
    keys: Vec<Key>,
}

struct Key {
    id: String,
    secret: hkdf::Prk,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

/// Why keys cannot be used. Never repeats what it was given.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    #[error(
        "entry {0} is not a key: a key is 32 bytes as base64 (44 characters) or 64 hexadecimal digits, as \
         `bessemer db new-key` prints it"
    )]
    Malformed(usize),
    #[error("entry {0} is the same key as one before it")]
    Twice(usize),
}

impl Keys {
    /// Keys as in a key file: one a line or separated by commas or blanks, `#` begins a comment. 32 bytes each, as base64
    /// (of either alphabet) or hexadecimal digits.
    ///
    /// # Errors
    /// [`KeyError`] with the number of the entry.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let entries = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default())
            .flat_map(|line| line.split([',', ' ', '\t', '\r']))
            .filter(|entry| !entry.is_empty());
        let mut keys: Vec<Key> = Vec::new();
        for (index, entry) in entries.enumerate() {
            let key = Key::parse(entry).ok_or(KeyError::Malformed(index + 1))?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(KeyError::Twice(index + 1));
            }
            keys.push(key);
        }
        Ok(Self { keys })
    }

    /// A new key, as a line of a key file.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn generate() -> Result<String, StoreError> {
        Ok(STANDARD.encode(random::<32>()?))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Names of the keys, made from the keys themselves; the first is the one that encrypts.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    pub(crate) fn first_id(&self) -> Option<&str> {
        self.ids().next()
    }

    /// The JSON text of a column of this row, with its secrets sealed.
    pub(crate) fn seal(
        &self,
        row: &str,
        column: &str,
        object: &Object,
    ) -> Result<String, StoreError> {
        let untouched = !has_prefix(object) && (self.is_empty() || !has_secret(column, object));
        let json = |value: &Object| {
            serde_json::to_string(value).map_err(|e| StoreError::Internal(e.to_string()))
        };
        if untouched {
            return json(object);
        }
        let mut place = Place::new(row, column);
        let mut out = Object::new();
        for (key, value) in object {
            let sealed = place.within(key, |place| self.seal_value(place, key, value))?;
            out.insert(key.clone(), sealed);
        }
        json(&out)
    }

    fn seal_value(
        &self,
        place: &mut Place<'_>,
        key: &str,
        value: &Value,
    ) -> Result<Value, StoreError> {
        if let Some(first) = self.keys.first()
            && place.is_secret(key)
            && !value.is_null()
        {
            return Ok(Value::String(first.seal(place, &value.to_string())?));
        }
        Ok(match value {
            Value::Object(map) => {
                let mut out = Object::new();
                for (key, value) in map {
                    let sealed = place.within(key, |place| self.seal_value(place, key, value))?;
                    out.insert(key.clone(), sealed);
                }
                Value::Object(out)
            }
            Value::Array(items) => Value::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        // items of a list have no name of their own
                        place.within(&index.to_string(), |place| self.seal_value(place, "", item))
                    })
                    .collect::<Result<_, _>>()?,
            ),
            Value::String(text) if text.starts_with(PREFIX) => {
                Value::String(format!("{ESCAPED}{value}"))
            }
            other => other.clone(),
        })
    }

    /// Opens what is sealed in a column of this row.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] with the member that does not open, and why.
    pub(crate) fn open(
        &self,
        row: &str,
        column: &str,
        object: &mut Object,
    ) -> Result<(), StoreError> {
        if !has_prefix(object) {
            return Ok(());
        }
        let mut place = Place::new(row, column);
        for (key, value) in object.iter_mut() {
            place.within(key, |place| self.open_value(place, value))?;
        }
        Ok(())
    }

    fn open_value(&self, place: &mut Place<'_>, value: &mut Value) -> Result<(), StoreError> {
        match value {
            Value::Object(map) => {
                for (key, value) in map.iter_mut() {
                    place.within(key, |place| self.open_value(place, value))?;
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    place.within(&index.to_string(), |place| self.open_value(place, item))?;
                }
            }
            Value::String(text) => {
                if let Some(opened) = self.open_text(place, text)? {
                    *value = opened;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn open_text(&self, place: &Place<'_>, text: &str) -> Result<Option<Value>, StoreError> {
        if let Some(json) = text.strip_prefix(ESCAPED) {
            return serde_json::from_str(json)
                .map(Some)
                .map_err(|_| place.refused("what stands in its place is damaged"));
        }
        let Some(sealed) = text.strip_prefix(ENCRYPTED) else {
            return Ok(None);
        };
        let Some((id, data)) = sealed.split_once('$') else {
            return Err(place.refused("what stands in its place is damaged"));
        };
        let Some(key) = self.keys.iter().find(|key| key.id == id) else {
            return Err(place.refused(&missing(id, self)));
        };
        let opened = key
            .open(place, data)
            .ok_or_else(|| place.refused("it was changed, or belongs to another node or member"))?;
        Ok(Some(opened))
    }

    /// A text of a row that is a secret as a whole.
    pub(crate) fn seal_text(
        &self,
        row: &str,
        column: &str,
        text: &str,
    ) -> Result<String, StoreError> {
        match self.keys.first() {
            Some(key) => key.seal(
                &Place::new(row, column),
                &Value::String(text.to_owned()).to_string(),
            ),
            None => Ok(text.to_owned()),
        }
    }

    /// See [`Self::seal_text`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn open_whole(
        &self,
        row: &str,
        column: &str,
        text: String,
    ) -> Result<String, StoreError> {
        match self.open_text(&Place::new(row, column), &text)? {
            None => Ok(text),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(Place::new(row, column).refused("it is not a text")),
        }
    }

    /// What the secrets of a column are sealed with.
    pub(crate) fn survey(&self, row: &str, column: &str, object: &Object) -> Survey {
        let mut survey = Survey::default();
        let mut place = Place::new(row, column);
        for (key, value) in object {
            place.within(key, |place| self.look(place, key, value, &mut survey));
        }
        survey
    }

    fn look(&self, place: &mut Place<'_>, key: &str, value: &Value, survey: &mut Survey) {
        if let Value::String(text) = value
            && text.starts_with(PREFIX)
        {
            match self.open_text(place, text) {
                Err(error) => survey.unreadable.push((place.path(), error.to_string())),
                Ok(_) if text.starts_with(ESCAPED) => {
                    survey.plain += usize::from(place.is_secret(key));
                }
                Ok(_) => {
                    let id = text.get(ENCRYPTED.len()..).unwrap_or_default();
                    let id = id.split('$').next().unwrap_or_default();
                    if self.first_id() == Some(id) {
                        survey.sealed += 1;
                    } else {
                        survey.other_key += 1;
                    }
                }
            }
            return;
        }
        if place.is_secret(key) && !value.is_null() {
            survey.plain += 1;
            return;
        }
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    place.within(key, |place| self.look(place, key, value, survey));
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    place.within(&index.to_string(), |place| {
                        self.look(place, "", item, survey)
                    });
                }
            }
            _ => {}
        }
    }

    /// Removes the members that do not open; their paths.
    pub(crate) fn forget_unreadable(
        &self,
        row: &str,
        column: &str,
        object: &mut Object,
    ) -> Vec<String> {
        let mut place = Place::new(row, column);
        let mut gone = Vec::new();
        self.forget(&mut place, object, &mut gone);
        gone
    }

    fn forget(&self, place: &mut Place<'_>, object: &mut Object, gone: &mut Vec<String>) {
        object.retain(|key, value| {
            place.within(key, |place| {
                if self.open_value(place, &mut value.clone()).is_ok() {
                    return true;
                }
                if let Value::Object(map) = value {
                    self.forget(place, map, gone);
                    return true;
                }
                gone.push(place.path());
                false
            })
        });
    }
}

/// See [`Keys::survey`].
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Under the first key.
    pub(crate) sealed: usize,
    /// Under another key that is there.
    pub(crate) other_key: usize,
    /// Not encrypted.
    pub(crate) plain: usize,
    /// Members that do not open, and why.
    pub(crate) unreadable: Vec<(String, String)>,
}

/// What to do about a key that is not there.
pub(crate) fn missing(id: &str, keys: &Keys) -> String {
    let there = if keys.is_empty() {
        "no key is configured".to_owned()
    } else {
        let ids: Vec<_> = keys.ids().collect();
        format!("the configured keys are {}", ids.join(", "))
    };
    format!(
        "it is encrypted under key {id}, and {there}; add that key to [database] encryption_key_file or \
         encryption_keys, behind the first one"
    )
}

fn has_prefix(object: &Object) -> bool {
    fn in_value(value: &Value) -> bool {
        match value {
            Value::String(text) => text.starts_with(PREFIX),
            Value::Object(map) => map.values().any(in_value),
            Value::Array(items) => items.iter().any(in_value),
            _ => false,
        }
    }
    object.values().any(in_value)
}

fn has_secret(column: &str, object: &Object) -> bool {
    fn in_value(value: &Value) -> bool {
        match value {
            Value::Object(map) => map
                .iter()
                .any(|(key, value)| is_secret_key(key) || in_value(value)),
            Value::Array(items) => items.iter().any(in_value),
            _ => false,
        }
    }
    object
        .iter()
        .any(|(key, value)| is_secret(column, key) || in_value(value))
}

fn is_secret(column: &str, key: &str) -> bool {
    is_secret_key(key) || (column == "instance_info" && key == "image_url")
}

/// What a reader of raw columns shows instead of sealed texts that masking left: the text that was escaped.
pub(crate) fn unescaped(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(json) = text.strip_prefix(ESCAPED) {
                *value = serde_json::from_str(json).unwrap_or(Value::Null);
            } else if text.starts_with(ENCRYPTED) {
                *value = bessemer_model::MASK.into();
            }
        }
        Value::Object(map) => map.values_mut().for_each(unescaped),
        Value::Array(items) => items.iter_mut().for_each(unescaped),
        _ => {}
    }
}

/// Whether a raw column may hold sealed texts.
pub(crate) fn may_be_sealed(text: &str) -> bool {
    text.contains(PREFIX)
}

/// Which value of which row.
struct Place<'p> {
    row: &'p str,
    column: &'p str,
    path: Vec<String>,
}

impl<'p> Place<'p> {
    fn new(row: &'p str, column: &'p str) -> Self {
        Self {
            row,
            column,
            path: Vec::new(),
        }
    }

    fn within<T>(&mut self, key: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(key.to_owned());
        let done = work(self);
        self.path.pop();
        done
    }

    fn is_secret(&self, key: &str) -> bool {
        if self.path.len() == 1 {
            is_secret(self.column, key)
        } else {
            is_secret_key(key)
        }
    }

    fn path(&self) -> String {
        let mut text = self.column.to_owned();
        for key in &self.path {
            text.push('.');
            text.push_str(key);
        }
        text
    }

    fn associated(&self) -> Vec<u8> {
        let mut out = format!("{}\0{}", self.row, self.column).into_bytes();
        for key in &self.path {
            out.push(0);
            out.extend_from_slice(key.as_bytes());
        }
        out
    }

    fn refused(&self, why: &str) -> StoreError {
        StoreError::Sealed {
            what: format!("{} of {}", self.path(), self.row),
            why: why.to_owned(),
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| StoreError::Internal("the system gives no random numbers".into()))?;
    Ok(bytes)
}

/// A random text of 256 bits.
pub(crate) fn random_text() -> Result<String, StoreError> {
    Ok(URL_SAFE_NO_PAD.encode(random::<32>()?))
}

impl Key {
    fn parse(entry: &str) -> Option<Self> {
        let bytes = if entry.len() == 64 && entry.bytes().all(|b| b.is_ascii_hexdigit()) {
            (0..64)
                .step_by(2)
                .map(|at| u8::from_str_radix(entry.get(at..at + 2)?, 16).ok())
                .collect::<Option<Vec<u8>>>()?
        } else {
            STANDARD
                .decode(entry)
                .or_else(|_| URL_SAFE.decode(entry))
                .or_else(|_| URL_SAFE_NO_PAD.decode(entry))
                .ok()?
        };
        if bytes.len() != 32 {
            return None;
        }
        let mut named = b"bessemer key id\0".to_vec();
        named.extend_from_slice(&bytes);
        let digest = digest::digest(&digest::SHA256, &named);
        let id = digest
            .as_ref()
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, b"bessemer secrets 1").extract(&bytes);
        Some(Self { id, secret })
    }

    fn of_row(&self, row: &str) -> Option<aead::LessSafeKey> {
        let info = [row.as_bytes()];
        let derived = self.secret.expand(&info, &aead::AES_256_GCM).ok()?;
        Some(aead::LessSafeKey::new(aead::UnboundKey::from(derived)))
    }

    fn seal(&self, place: &Place<'_>, text: &str) -> Result<String, StoreError> {
        let failed = || place.refused("it cannot be encrypted");
        let key = self.of_row(place.row).ok_or_else(failed)?;
        let nonce = random::<12>()?;
        let mut sealed = text.as_bytes().to_vec();
        key.seal_in_place_append_tag(
            aead::Nonce::assume_unique_for_key(nonce),
            aead::Aad::from(place.associated()),
            &mut sealed,
        )
        .map_err(|_| failed())?;
        let mut whole = nonce.to_vec();
        whole.append(&mut sealed);
        Ok(format!(
            "{ENCRYPTED}{}${}",
            self.id,
            URL_SAFE_NO_PAD.encode(whole)
        ))
    }

    fn open(&self, place: &Place<'_>, data: &str) -> Option<Value> {
        let whole = URL_SAFE_NO_PAD.decode(data).ok()?;
        let (nonce, sealed) = whole.split_first_chunk::<12>()?;
        let mut sealed = sealed.to_vec();
        let opened = self
            .of_row(place.row)?
            .open_in_place(
                aead::Nonce::assume_unique_for_key(*nonce),
                aead::Aad::from(place.associated()),
                &mut sealed,
            )
            .ok()?;
        serde_json::from_slice(opened).ok()
    }
}

/// Opens any bytes as a column: must end and never panic.
pub mod fuzz {
    use bessemer_model::Object;

    /// `data` is the JSON of an object.
    pub fn fuzz_sealed(data: &[u8]) {
        let Ok(keys) = super::Keys::parse(&"A5".repeat(32)) else {
            panic!("the key of the test is not one");
        };
        if let Ok(mut object) = serde_json::from_slice::<Object>(data) {
            let _ = keys.open("row", "driver_info", &mut object);
        }
        let _ = super::Keys::parse(&String::from_utf8_lossy(data));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand::{RngExt, SeedableRng};
    use serde_json::json;

    const ROW: &str = "1be26c0b-03f2-4d2e-ae87-c02d7f33c123";

    fn keys(bytes: &[u8]) -> Keys {
        let text: Vec<_> = bytes
            .iter()
            .map(|b| format!("{b:02x}").repeat(32))
            .collect();
        Keys::parse(&text.join("\n")).unwrap()
    }

    fn object(value: Value) -> Object {
        let Value::Object(object) = value else {
            panic!("{value}")
        };
        object
    }

    fn sample() -> Object {
        object(json!({
            "ipmi_address": "10.0.0.1", "ipmi_password": "hunter2", "snmp_auth_key": null, "n": 5,
            "odd": "$sealed$1$nothing", "kg_key": {"a": [1, "hunter2"]},
            "list": [{"redfish_password": "hunter2", "x": true}, "$sealed$"],
        }))
    }

    #[test]
    fn what_is_sealed_opens_again() {
        for keys in [Keys::default(), keys(&[1]), keys(&[2, 1])] {
            let text = keys.seal(ROW, "driver_info", &sample()).unwrap();
            assert_eq!(text.contains("hunter2"), keys.is_empty(), "{text}");
            assert!(text.contains("10.0.0.1"));
            let mut read: Object = serde_json::from_str(&text).unwrap();
            keys.open(ROW, "driver_info", &mut read).unwrap();
            assert_eq!(read, sample());
        }
    }

    #[test]
    fn other_rows_columns_members_and_keys_do_not_open() {
        let first = keys(&[1]);
        let info = object(json!({"a_password": "x"}));
        let text = first.seal(ROW, "driver_info", &info).unwrap();
        let sealed: Object = serde_json::from_str(&text).unwrap();
        let refused = |keys: &Keys, row: &str, column: &str, object: Value| {
            let mut object = self::object(object);
            keys.open(row, column, &mut object).unwrap_err().to_string()
        };
        let value = &sealed["a_password"];
        let same = json!({"a_password": value});
        let other_row = "00000000-03f2-4d2e-ae87-c02d7f33c123";
        assert!(refused(&first, other_row, "driver_info", same.clone()).contains("belongs to"));
        assert!(refused(&first, ROW, "instance_info", same.clone()).contains("belongs to"));
        let moved = refused(&first, ROW, "driver_info", json!({"b_password": value}));
        assert!(moved.contains("driver_info.b_password"), "{moved}");
        let id = first.first_id().unwrap();
        for others in [Keys::default(), keys(&[2])] {
            let missing = refused(&others, ROW, "driver_info", same.clone());
            assert!(
                missing.contains(id) && missing.contains("encryption_key_file"),
                "{missing}"
            );
        }
    }

    #[test]
    fn rotation_is_seen() {
        let (old, both) = (keys(&[1]), keys(&[2, 1]));
        let text = old.seal(ROW, "driver_info", &sample()).unwrap();
        let mut object: Object = serde_json::from_str(&text).unwrap();
        let survey = both.survey(ROW, "driver_info", &object);
        assert_eq!((survey.sealed, survey.other_key, survey.plain), (0, 3, 0));
        assert_eq!(
            keys(&[3])
                .survey(ROW, "driver_info", &object)
                .unreadable
                .len(),
            3
        );
        assert_eq!(both.survey(ROW, "driver_info", &sample()).plain, 3);
        assert_eq!(
            keys(&[3])
                .forget_unreadable(ROW, "driver_info", &mut object)
                .len(),
            3
        );
        assert!(object.contains_key("ipmi_address") && !object.contains_key("ipmi_password"));
    }

    #[test]
    fn keys_are_read_and_never_shown() {
        let line = Keys::generate().unwrap();
        let two = format!(
            "# the new one\n{line}\n{}  # the old one\n",
            "0f".repeat(32)
        );
        let keys = Keys::parse(&two).unwrap();
        assert_eq!(keys.ids().count(), 2);
        assert!(!format!("{keys:?}").contains(line.trim_end_matches('=')));
        assert_eq!(Keys::parse("hunter2").unwrap_err(), KeyError::Malformed(1));
        assert_eq!(
            Keys::parse(&format!("{line},{line}")).unwrap_err(),
            KeyError::Twice(2)
        );
        assert!(Keys::parse(" \n# none\n").unwrap().is_empty());
    }

    #[test]
    fn any_bytes() {
        let valid = keys(&[0xa5]).seal("row", "driver_info", &sample()).unwrap();
        let mut rng = rand::rngs::StdRng::seed_from_u64(11);
        for _ in 0..3000 {
            let mut bytes = valid.clone().into_bytes();
            for _ in 0..rng.random_range(1..6) {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = rng.random_range(0x20..0x7f);
            }
            fuzz::fuzz_sealed(&bytes);
        }
    }
}
