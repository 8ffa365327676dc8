//! Reader and judge of the hosts' log: tests ask here what really happened, never the controller's database.
//!
//! Format: one JSON object a line, `{"n": running number, "t_ms": since the lab's start, "wall_ms": since 1970,
//! "host": name, "event": …, "data": {…}}`. A last line that was cut off by a kill is left out.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::disk::Disk;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Running number, from 0.
    pub n: u64,
    /// Milliseconds since the lab's start, monotonic.
    pub t_ms: u64,
    /// Milliseconds since 1970.
    pub wall_ms: u64,
    /// Name of the host, or `lab`.
    pub host: String,
    /// What happened; the README of the crate lists them.
    pub event: String,
    #[serde(default)]
    pub data: Map<String, Value>,
}

/// Members of `data` that differ from run to run with the same seed: ports, addresses, times.
const VOLATILE: [&str; 6] = ["server", "address", "port", "took_ms", "node", "started_at"];

impl Entry {
    /// A member of `data` as text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.data.get(key)?.as_str()
    }

    /// Event and data without what differs between two runs of the same seed.
    #[must_use]
    pub fn stable(&self) -> String {
        let data: Map<String, Value> = self
            .data
            .iter()
            .filter(|(key, _)| !VOLATILE.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        format!("{} {}", self.event, Value::Object(data))
    }
}

/// Which attempt of which operation started a command.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reference {
    pub operation: String,
    pub index: u32,
    pub attempt: u32,
}

/// Something that must not happen to hardware.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    pub host: String,
    /// `power_cut_during_write`, `rewrite_of_complete_image`, `duplicate_destructive_command`.
    pub kind: String,
    /// The line of the log.
    pub entry: Entry,
}

/// How an image write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteEnd {
    /// All of it is on the disk.
    Complete,
    /// The agent reported an error.
    Failed,
    /// Power was cut or the agent died.
    Interrupted,
    /// The log ends before the write does.
    Running,
}

/// One write of an image to a disk.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageWrite {
    pub image: String,
    pub reference: Option<Reference>,
    pub started_ms: u64,
    pub ended_ms: Option<u64>,
    pub end: WriteEnd,
}

/// A log.
#[derive(Debug, Clone, Default)]
pub struct Log {
    pub entries: Vec<Entry>,
}

impl Log {
    /// Reads what has been written so far; the lab may still be running.
    ///
    /// # Errors
    /// When the file cannot be read, or a line that is not the last is not an entry.
    pub fn read(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::parse(&std::fs::read(path)?)
    }

    /// Reads the bytes of a log.
    ///
    /// # Errors
    /// When a line that is not the last is not an entry.
    pub fn parse(bytes: &[u8]) -> io::Result<Self> {
        let complete = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => bytes.get(..end).unwrap_or_default(),
            None => return Ok(Self::default()),
        };
        let mut entries = Vec::new();
        for (number, line) in complete.split(|byte| *byte == b'\n').enumerate() {
            let entry = serde_json::from_slice(line).map_err(|error| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "line {} of the hosts' log: {error}",
                        number.saturating_add(1)
                    ),
                )
            })?;
            entries.push(entry);
        }
        Ok(Self { entries })
    }

    /// One host's lines, in order.
    pub fn of_host(&self, host: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.host == host)
    }

    /// One host's lines of one event, in order.
    pub fn events<'a>(&'a self, host: &'a str, event: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.of_host(host).filter(move |entry| entry.event == event)
    }

    /// The last line of one event of a host.
    #[must_use]
    pub fn last(&self, host: &str, event: &str) -> Option<&Entry> {
        self.of_host(host)
            .filter(|entry| entry.event == event)
            .last()
    }

    /// What must not have happened, of all hosts.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.entries
            .iter()
            .filter(|entry| entry.event == "violation")
            .map(|entry| Violation {
                host: entry.host.clone(),
                kind: entry.text("kind").unwrap_or_default().to_owned(),
                entry: entry.clone(),
            })
            .collect()
    }

    /// Every time that an image was begun to be written to a host's disk.
    #[must_use]
    pub fn image_writes(&self, host: &str) -> Vec<ImageWrite> {
        let mut writes: Vec<ImageWrite> = Vec::new();
        for entry in self.of_host(host) {
            let end = match entry.event.as_str() {
                "disk_write_started" => {
                    writes.push(ImageWrite {
                        image: entry.text("image").unwrap_or_default().to_owned(),
                        reference: entry
                            .data
                            .get("reference")
                            .and_then(|r| serde_json::from_value(r.clone()).ok()),
                        started_ms: entry.t_ms,
                        ended_ms: None,
                        end: WriteEnd::Running,
                    });
                    continue;
                }
                "disk_write_finished" => match entry.data.get("ok").and_then(Value::as_bool) {
                    Some(true) => WriteEnd::Complete,
                    _ => WriteEnd::Failed,
                },
                "disk_write_interrupted" => WriteEnd::Interrupted,
                _ => continue,
            };
            if let Some(open) = writes.last_mut().filter(|w| w.end == WriteEnd::Running) {
                open.end = end;
                open.ended_ms = Some(entry.t_ms);
            }
        }
        writes
    }

    /// What is on a host's disk at the end; `None` when the host never appeared.
    #[must_use]
    pub fn final_disk(&self, host: &str) -> Option<Disk> {
        self.of_host(host)
            .filter_map(|entry| entry.data.get("disk"))
            .filter_map(|disk| serde_json::from_value(disk.clone()).ok())
            .last()
    }

    /// Whether the host's power is on at the end.
    #[must_use]
    pub fn powered(&self, host: &str) -> bool {
        self.of_host(host)
            .filter_map(|entry| match entry.event.as_str() {
                "power_on" => Some(true),
                "power_off" => Some(false),
                _ => None,
            })
            .last()
            .unwrap_or(false)
    }

    /// Every host's events without what differs between two runs of the same seed.
    #[must_use]
    pub fn stable(&self) -> BTreeMap<String, Vec<String>> {
        let mut hosts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in &self.entries {
            hosts
                .entry(entry.host.clone())
                .or_default()
                .push(entry.stable());
        }
        hosts
    }
}

/// Reads a log while it grows.
#[derive(Debug)]
pub struct Tail {
    path: std::path::PathBuf,
    at: u64,
    log: Log,
}

impl Tail {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(path: impl Into<std::path::PathBuf>) -> Self {
        Self {
            path: path.into(),
            at: 0,
            log: Log::default(),
        }
    }

    /// All lines up to now.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub fn refresh(&mut self) -> io::Result<&Log> {
        use std::io::{Read, Seek, SeekFrom};
        let mut file = std::fs::File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.at))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let complete = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end.saturating_add(1));
        let more = Log::parse(bytes.get(..complete).unwrap_or_default())?;
        self.log.entries.extend(more.entries);
        self.at = self
            .at
            .saturating_add(u64::try_from(complete).unwrap_or(u64::MAX));
        Ok(&self.log)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::disk::Content;
    use serde_json::json;

    fn log(lines: &[(&str, &str, Value)]) -> Log {
        let mut text = String::new();
        for (n, (host, event, data)) in lines.iter().enumerate() {
            let entry = json!({"n": n, "t_ms": n * 10, "wall_ms": 0, "host": host, "event": event, "data": data});
            text.push_str(&entry.to_string());
            text.push('\n');
        }
        text.push_str("{\"n\": 99, \"cut");
        Log::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn judges() {
        let reference = json!({"operation": "o", "index": 3, "attempt": 1});
        let log = log(&[
            (
                "h0",
                "host",
                json!({"disk": {"generation": 0, "content": "old_data"}}),
            ),
            ("h0", "power_on", json!({})),
            (
                "h0",
                "disk_write_started",
                json!({"image": "i", "reference": reference}),
            ),
            ("h0", "violation", json!({"kind": "power_cut_during_write"})),
            ("h0", "disk_write_interrupted", json!({})),
            ("h0", "power_off", json!({})),
            ("h1", "power_on", json!({})),
            ("h0", "disk_write_started", json!({"image": "i"})),
            (
                "h0",
                "disk_write_finished",
                json!({"ok": true, "disk": {"generation": 4, "content": "erased"}}),
            ),
        ]);
        assert_eq!(log.entries.len(), 9);
        let writes = log.image_writes("h0");
        assert_eq!(
            writes.iter().map(|w| w.end).collect::<Vec<_>>(),
            [WriteEnd::Interrupted, WriteEnd::Complete]
        );
        assert_eq!(writes[0].reference.as_ref().unwrap().index, 3);
        assert_eq!((writes[0].started_ms, writes[0].ended_ms), (20, Some(40)));
        assert_eq!(log.violations()[0].kind, "power_cut_during_write");
        assert_eq!(
            log.final_disk("h0"),
            Some(Disk {
                generation: 4,
                content: Content::Erased
            })
        );
        assert_eq!(log.final_disk("h2"), None);
        assert!(!log.powered("h0"));
        assert!(log.powered("h1"));
        assert!(Log::parse(b"nonsense\n").is_err());
        assert!(Log::parse(b"nonsense").unwrap().entries.is_empty());
    }
}
