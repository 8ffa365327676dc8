//! What `record.py` saw of one service.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// All of it.
#[derive(Debug, Deserialize)]
pub struct Record {
    /// Where the service was.
    pub url: String,
    pub steps: Vec<Step>,
    /// What the scripts themselves leave out.
    pub broken: Vec<String>,
}

/// One command, call or request.
#[derive(Debug, Clone, Deserialize)]
pub struct Step {
    /// `cli`, `sdk` or `raw`.
    pub suite: String,
    pub version: String,
    /// The command or verb without its arguments.
    pub name: String,
    pub request: String,
    pub seen: Value,
}

impl Record {
    /// # Errors
    /// When the file is not there or not as `record.py` writes it.
    pub fn read(path: &Path) -> Result<Record> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("cannot parse {}", path.display()))
    }
}
