//! Root device hints: which disk shall carry the operating system.
//!
//! Parsing is pure and complete: a hint that could only fail or never match on a node is refused here, where the operator
//! still sees it. The language is that of the Bare Metal service's root device hints; where that accepts what it then
//! cannot evaluate (numeric operators on text, text operators on sizes), this one says so at once.

mod expression;

use std::fmt;

use serde_json::Value;

use crate::{Disk, Error};
use expression::{Number, Text};

/// Without hints, the root device has at least this many bytes: 4 GiB.
pub const MIN_ROOT_DEVICE_SIZE: u64 = 4 << 30;

const TEXT_FIELDS: &[&str] = &[
    "model",
    "vendor",
    "serial",
    "wwn",
    "wwn_with_extension",
    "wwn_vendor_extension",
    "name",
    "hctl",
    "by_path",
    "tran",
];
const ALL_FIELDS: &str = "model, vendor, serial, size, wwn, wwn_with_extension, wwn_vendor_extension, rotational, name, \
                          hctl, by_path, tran";

#[derive(Clone, Debug, PartialEq)]
enum Condition {
    Text(&'static str, Text),
    /// GiB.
    Size(Number),
    Rotational(bool),
}

/// Hints that a disk must all satisfy. Empty hints are satisfied by the rule of [`choose_root_device`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hints {
    conditions: Vec<Condition>,
    text: String,
}

impl Hints {
    /// Reads `properties.root_device`: an object of hint names and expressions; null or an empty object is no hint.
    ///
    /// Errors: [`Error::BadHint`] naming the hint and what is wrong with it.
    pub fn parse(value: &Value) -> Result<Self, Error> {
        let object = match value {
            Value::Null => return Ok(Hints::default()),
            Value::Object(object) => object,
            other => return Err(Error::hint(format!("{other} is not an object of hints"))),
        };
        let mut conditions = Vec::new();
        for (name, value) in object {
            conditions.push(condition(name, value)?);
        }
        let text = if object.is_empty() {
            String::new()
        } else {
            value.to_string()
        };
        Ok(Hints { conditions, text })
    }

    /// Reads `properties.skip_block_devices`: a list of hint objects.
    ///
    /// Errors: as [`Hints::parse`]; an empty object, which would skip every disk, is an error too.
    pub fn parse_list(value: &Value) -> Result<Vec<Self>, Error> {
        let items = match value {
            Value::Null => return Ok(Vec::new()),
            Value::Array(items) => items,
            other => return Err(Error::hint(format!("{other} is not a list of hints"))),
        };
        let list: Vec<Self> = items.iter().map(Self::parse).collect::<Result<_, _>>()?;
        if list.iter().any(Hints::is_empty) {
            return Err(Error::hint(
                "an entry of the list is empty and would match every disk",
            ));
        }
        Ok(list)
    }

    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Whether the disk satisfies every hint (empty hints: any disk).
    pub fn matches(&self, disk: &Disk) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Text(field, text) => text.matches(text_field(disk, field)),
            Condition::Size(number) => number.matches(disk.size as f64 / (1u64 << 30) as f64),
            Condition::Rotational(wanted) => disk.rotational == *wanted,
        })
    }
}

impl fmt::Display for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.text.is_empty() {
            "(none: the smallest disk of at least 4 GiB)"
        } else {
            &self.text
        })
    }
}

fn condition(name: &str, value: &Value) -> Result<Condition, Error> {
    if let Some(field) = TEXT_FIELDS.iter().find(|field| **field == name) {
        let Value::String(text) = value else {
            return Err(Error::hint(format!(
                "{name:?} is not a string value: {value}"
            )));
        };
        return Ok(Condition::Text(field, Text::parse(name, text)?));
    }
    match name {
        "size" => {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            Ok(Condition::Size(Number::parse(name, &text)?))
        }
        "rotational" => {
            let text = match value {
                Value::String(text) => text.trim().to_lowercase(),
                other => other.to_string(),
            };
            match text.as_str() {
                "1" | "t" | "true" | "on" | "y" | "yes" => Ok(Condition::Rotational(true)),
                "0" | "f" | "false" | "off" | "n" | "no" => Ok(Condition::Rotational(false)),
                _ => Err(Error::hint(format!(
                    "{name:?} is not a Boolean value: {value}"
                ))),
            }
        }
        _ => Err(Error::hint(format!(
            "{name:?} is no hint; there are {ALL_FIELDS}"
        ))),
    }
}

fn text_field<'a>(disk: &'a Disk, field: &str) -> Option<&'a str> {
    match field {
        "model" => disk.model.as_deref(),
        "vendor" => disk.vendor.as_deref(),
        "serial" => disk.serial.as_deref(),
        "wwn" => disk.wwn.as_deref(),
        "wwn_with_extension" => disk.wwn_with_extension.as_deref(),
        "wwn_vendor_extension" => disk.wwn_vendor_extension.as_deref(),
        "name" => Some(&disk.name),
        "hctl" => disk.hctl.as_deref(),
        "by_path" => disk.by_path.as_deref(),
        "tran" => disk.tran.as_deref(),
        _ => None,
    }
}

/// All disks that satisfy the hints, in their order.
pub fn find_devices<'a>(hints: &Hints, disks: &'a [Disk]) -> Vec<&'a Disk> {
    disks.iter().filter(|disk| hints.matches(disk)).collect()
}

/// The root device: the first disk that satisfies the hints; without hints the smallest disk of at least
/// [`MIN_ROOT_DEVICE_SIZE`], the first by name among equals.
///
/// Errors: [`Error::NoDevice`] with the hints and every candidate.
pub fn choose_root_device<'a>(hints: &Hints, disks: &'a [Disk]) -> Result<&'a Disk, Error> {
    let chosen = if hints.is_empty() {
        let big_enough = disks
            .iter()
            .filter(|disk| disk.size >= MIN_ROOT_DEVICE_SIZE);
        big_enough.min_by(|a, b| (a.size, &a.name).cmp(&(b.size, &b.name)))
    } else {
        disks.iter().find(|disk| hints.matches(disk))
    };
    chosen.ok_or_else(|| Error::NoDevice {
        hints: hints.to_string(),
        candidates: candidates(disks),
    })
}

/// Every disk in a few words.
fn candidates(disks: &[Disk]) -> String {
    if disks.is_empty() {
        return "none".to_owned();
    }
    let describe = |disk: &Disk| {
        let mut text = format!(
            "{} ({:.2} GiB",
            disk.name,
            disk.size as f64 / (1u64 << 30) as f64
        );
        let known = [
            ("model", &disk.model),
            ("serial", &disk.serial),
            ("wwn", &disk.wwn),
        ];
        for (what, value) in known
            .into_iter()
            .filter_map(|(what, value)| Some((what, value.as_ref()?)))
        {
            text += &format!(", {what} {value}");
        }
        text + ")"
    };
    disks.iter().map(describe).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
