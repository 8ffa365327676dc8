//! The file of a backup: two lines that say what it is, the rows, and a checksum of everything before it.
//!
//! ```text
//! bessemer-backup 1
//! {"engine": "sqlite", "schema": [1, 2, ...], "created_at": 1764..., "program": "0.1.0"}
//! (zstd: {"table": "node", "columns": [["id", "int"], ...]}, then its rows as arrays, a line each; and so on;
//!  at the end {"rows": 123})
//! sha256:<64 hexadecimal digits>
//! ```
//!
//! The rows are the same on both engines, so that a backup of one is restored into the other. Secrets stand in it as they
//! stand in the database: encrypted when a key is set.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bessemer_model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::schema::Table;
use crate::StoreError;
use crate::sql::{Kind, Value};

const MAGIC: &str = "bessemer-backup 1\n";
const CHECKSUM: &str = "\nsha256:";
const TRAILER: usize = CHECKSUM.len() + 64 + 1;
/// A head that is longer is not one.
const LONGEST_HEAD: u64 = 64 * 1024;

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Of the database that was backed up: `sqlite` or `postgresql`.
    pub engine: String,
    /// Its migrations.
    pub schema: Vec<i64>,
    /// The moment that the backup shows.
    pub created_at: Timestamp,
    /// The version of the program that made it.
    pub program: String,
}

#[derive(Serialize, Deserialize)]
struct TableLine {
    table: String,
    columns: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
struct EndLine {
    rows: u64,
}

/// A line of the rows.
#[derive(Debug)]
pub(crate) enum Line {
    Table(Table),
    Row(Vec<Value>),
    End,
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Int => "int",
        Kind::Bool => "bool",
        Kind::Text => "text",
        Kind::Bytes => "bytes",
    }
}

fn kind_of(name: &str) -> Option<Kind> {
    [Kind::Int, Kind::Bool, Kind::Text, Kind::Bytes]
        .into_iter()
        .find(|kind| kind_name(*kind) == name)
}

fn json_of(value: &Value) -> Json {
    match value {
        Value::Null(_) => Json::Null,
        Value::Int(n) => Json::from(*n),
        Value::Bool(b) => Json::from(*b),
        Value::Text(text) => Json::from(text.as_str()),
        Value::Bytes(bytes) => Json::from(STANDARD.encode(bytes)),
    }
}

fn value_of(json: Json, kind: Kind) -> Option<Value> {
    Some(match (kind, json) {
        (_, Json::Null) => Value::Null(kind),
        (Kind::Int, Json::Number(n)) => Value::Int(n.as_i64()?),
        (Kind::Bool, Json::Bool(b)) => Value::Bool(b),
        (Kind::Text, Json::String(text)) => Value::Text(text),
        (Kind::Bytes, Json::String(text)) => Value::Bytes(STANDARD.decode(text).ok()?),
        _ => return None,
    })
}

/// Hashes what is written.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Writes a backup beside its place; it gets its name when it is whole and on the disk.
pub(crate) struct Writer {
    path: PathBuf,
    partial: PathBuf,
    out: zstd::stream::write::Encoder<'static, Hashing<BufWriter<File>>>,
    rows: u64,
    done: bool,
}

impl Writer {
    pub(crate) fn create(
        path: &Path,
        overwrite: bool,
        description: &Description,
    ) -> Result<Self, StoreError> {
        let failed = |error: std::io::Error| cannot_write(path, &error);
        if !overwrite && path.exists() {
            return Err(StoreError::Backup(format!(
                "{} exists; choose another name, or say --overwrite",
                path.display()
            )));
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".partial-{}", std::process::id()));
        let partial = path.with_file_name(name);
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)
            .map_err(failed)?;
        let begin = || {
            let mut head = Hashing {
                inner: BufWriter::new(file),
                hash: Sha256::new(),
            };
            head.write_all(MAGIC.as_bytes())?;
            serde_json::to_writer(&mut head, description)?;
            head.write_all(b"\n")?;
            zstd::stream::write::Encoder::new(head, 3)
        };
        match begin() {
            Ok(out) => Ok(Self {
                path: path.to_owned(),
                partial,
                out,
                rows: 0,
                done: false,
            }),
            Err(error) => {
                let _ = std::fs::remove_file(&partial);
                Err(failed(error))
            }
        }
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), StoreError> {
        let mut bytes =
            serde_json::to_vec(line).map_err(|e| StoreError::Internal(e.to_string()))?;
        bytes.push(b'\n');
        self.out
            .write_all(&bytes)
            .map_err(|error| cannot_write(&self.path, &error))
    }

    pub(crate) fn table(&mut self, table: &Table) -> Result<(), StoreError> {
        let columns = table
            .columns
            .iter()
            .map(|(name, kind)| (name.clone(), kind_name(*kind).to_owned()))
            .collect();
        self.line(&TableLine {
            table: table.name.clone(),
            columns,
        })
    }

    pub(crate) fn row(&mut self, row: &[Value]) -> Result<(), StoreError> {
        self.rows += 1;
        let values: Vec<Json> = row.iter().map(json_of).collect();
        self.line(&values)
    }

    /// The rows and the bytes that were written.
    pub(crate) fn finish(mut self) -> Result<(u64, u64), StoreError> {
        let rows = self.rows;
        self.line(&EndLine { rows })?;
        let path = self.path.clone();
        let failed = |error: std::io::Error| cannot_write(&path, &error);
        // `out` cannot be moved out of what has a destructor
        self.out.do_finish().map_err(failed)?;
        let head = self.out.get_mut();
        let sum = hex::encode(head.hash.finalize_reset());
        head.inner
            .write_all(format!("{CHECKSUM}{sum}\n").as_bytes())
            .and_then(|()| head.inner.flush())
            .and_then(|()| head.inner.get_ref().sync_all())
            .map_err(failed)?;
        let bytes = head.inner.get_ref().metadata().map_err(failed)?.len();
        std::fs::rename(&self.partial, &self.path).map_err(failed)?;
        self.done = true;
        let directory = self.path.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))
            .and_then(|directory| directory.sync_all())
            .map_err(failed)?;
        Ok((rows, bytes))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.done {
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Backup(format!(
        "the backup {} cannot be written: {error}; check free space and permissions there",
        path.display()
    ))
}

/// Reads a backup whose checksum was found right.
pub(crate) struct Reader {
    path: PathBuf,
    pub(crate) description: Description,
    lines: BufReader<zstd::stream::read::Decoder<'static, BufReader<std::io::Take<File>>>>,
    kinds: Vec<Kind>,
    rows: u64,
}

fn refused(path: &Path, why: impl std::fmt::Display) -> StoreError {
    StoreError::Backup(format!("{} cannot be restored: {why}", path.display()))
}

/// What a backup says of itself, after its checksum was found right.
///
/// # Errors
/// [`StoreError::Backup`] when it is not a backup, or damaged.
pub fn describe(path: &Path) -> Result<Description, StoreError> {
    Ok(Reader::open(path)?.description)
}

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let unreadable = |error: std::io::Error| refused(path, error);
        let mut file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let no_backup = "it is not a backup that `bessemer db backup` made";
        let mut magic = Vec::new();
        (&mut file)
            .take(MAGIC.len() as u64)
            .read_to_end(&mut magic)
            .map_err(unreadable)?;
        if magic != MAGIC.as_bytes() {
            let why = match magic.strip_prefix(b"bessemer-backup ") {
                Some(_) => "its format is of a newer version of the program",
                None => no_backup,
            };
            return Err(refused(path, why));
        }
        let body = length
            .checked_sub(TRAILER as u64)
            .filter(|body| *body > MAGIC.len() as u64)
            .ok_or_else(|| refused(path, "it is cut off"))?;
        check_sum(&mut file, body).map_err(|why| refused(path, why))?;
        file.seek(SeekFrom::Start(MAGIC.len() as u64))
            .map_err(unreadable)?;
        let mut rest = BufReader::new(file.take(body - MAGIC.len() as u64));
        let mut head = Vec::new();
        (&mut rest)
            .take(LONGEST_HEAD)
            .read_until(b'\n', &mut head)
            .map_err(unreadable)?;
        let description: Description =
            serde_json::from_slice(&head).map_err(|_| refused(path, no_backup))?;
        let lines = zstd::stream::read::Decoder::with_buffer(rest).map_err(unreadable)?;
        Ok(Self {
            path: path.to_owned(),
            description,
            lines: BufReader::new(lines),
            kinds: Vec::new(),
            rows: 0,
        })
    }

    pub(crate) fn next(&mut self) -> Result<Line, StoreError> {
        let mut bytes = Vec::new();
        self.lines
            .read_until(b'\n', &mut bytes)
            .map_err(|error| refused(&self.path, error))?;
        let damaged = || refused(&self.path, "it has a line that cannot be read");
        if bytes.first() == Some(&b'[') {
            let row: Vec<Json> = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
            if row.len() != self.kinds.len() {
                return Err(damaged());
            }
            self.rows += 1;
            let values = row.into_iter().zip(&self.kinds);
            return values
                .map(|(json, kind)| value_of(json, *kind))
                .collect::<Option<Vec<_>>>()
                .map(Line::Row)
                .ok_or_else(damaged);
        }
        if let Ok(TableLine { table, columns }) = serde_json::from_slice(&bytes) {
            let columns = columns
                .into_iter()
                .map(|(name, kind)| Some((name, kind_of(&kind)?)))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(damaged)?;
            self.kinds = columns.iter().map(|(_, kind)| *kind).collect();
            return Ok(Line::Table(Table {
                name: table,
                columns,
            }));
        }
        match serde_json::from_slice::<EndLine>(&bytes) {
            Ok(end) if end.rows == self.rows => Ok(Line::End),
            _ => Err(damaged()),
        }
    }
}

/// Reads everything once and compares it with the checksum at the end.
fn check_sum(file: &mut File, body: u64) -> Result<(), String> {
    let io = |error: std::io::Error| error.to_string();
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    let mut hash = Sha256::new();
    let mut left = body;
    let mut buffer = vec![0; 256 * 1024];
    while left > 0 {
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let part = buffer.get_mut(..most).unwrap_or_default();
        file.read_exact(part).map_err(io)?;
        hash.update(&*part);
        left -= most as u64;
    }
    let mut trailer = Vec::new();
    file.read_to_end(&mut trailer).map_err(io)?;
    let want = format!("{CHECKSUM}{}\n", hex::encode(hash.finalize()));
    if trailer == want.as_bytes() {
        return Ok(());
    }
    Err(if trailer.starts_with(CHECKSUM.as_bytes()) {
        "its checksum is wrong: it was changed or damaged".to_owned()
    } else {
        "it is cut off, or something was appended to it".to_owned()
    })
}

/// Reads any file as a backup: must end and never panic.
pub mod fuzz {
    /// `path` holds the bytes.
    pub fn fuzz_backup(path: &std::path::Path) {
        let Ok(mut reader) = super::Reader::open(path) else {
            return;
        };
        while let Ok(line) = reader.next() {
            if matches!(line, super::Line::End) {
                break;
            }
        }
    }
}
