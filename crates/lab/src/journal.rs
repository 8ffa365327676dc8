//! The hosts' own log: what really happened to them, one JSON object a line. It is what crash tests judge by.
//!
//! Every line is written with one system call before the host goes on, so a killed controller, or a killed lab, loses
//! nothing that was logged. Must never hold a password, a token or the query of a URL.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::log::Entry;

/// The writer of the log.
#[derive(Debug)]
pub struct Journal {
    began: Instant,
    file: Mutex<(File, u64)>,
}

impl Journal {
    /// Starts a log; an older file of that name is replaced.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            began: Instant::now(),
            file: Mutex::new((File::create(path)?, 0)),
        })
    }

    /// Adds a line. `data` is an object; anything else is logged as none.
    pub fn write(&self, host: &str, event: &str, data: Value) {
        let data = match data {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let millis = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
        let entry = Entry {
            n: file.1,
            t_ms: millis(self.began.elapsed().as_millis()),
            wall_ms: millis(wall.as_millis()),
            host: host.to_owned(),
            event: event.to_owned(),
            data,
        };
        file.1 = file.1.saturating_add(1);
        let mut line = serde_json::to_vec(&entry).unwrap_or_default();
        line.push(b'\n');
        if let Err(error) = file.0.write_all(&line) {
            // a lab without its log proves nothing, so whoever reads the errors has to know
            tracing::error!("the hosts' log cannot be written: {error}");
        }
    }
}
