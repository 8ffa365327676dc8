//! The commands of one agent: one at a time, the finished ones stay until the boot ends.
//!
//! Config drives are not kept for the echo of the parameters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bessemer_wire::{CommandResult, CommandStatus, ImageProgress};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::failure::Failure;

/// Longest config drive that is echoed as it came: a URL.
const ECHOED: usize = 256;

/// How far an image write is.
#[derive(Debug)]
pub struct Progress {
    began: Instant,
    /// 0 nothing, 1 download and write, 2 finish.
    stage: AtomicU64,
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            stage: AtomicU64::new(0),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
        }
    }

    pub fn writing(&self, done: u64, total: u64) {
        self.stage.store(1, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    pub fn finishing(&self) {
        self.stage.store(2, Ordering::Relaxed);
    }

    fn to_wire(&self) -> Option<ImageProgress> {
        let stage = match self.stage.load(Ordering::Relaxed) {
            0 => return None,
            1 => "write",
            _ => "finish",
        };
        let done_bytes = self.done.load(Ordering::Relaxed);
        let millis = self.began.elapsed().as_millis().max(1);
        let rate = u128::from(done_bytes).saturating_mul(1000) / millis;
        Some(ImageProgress {
            stage: stage.to_owned(),
            done_bytes,
            total_bytes: self.total.load(Ordering::Relaxed),
            rate: u64::try_from(rate).unwrap_or(u64::MAX),
        })
    }
}

/// One command.
#[derive(Debug)]
pub struct Command {
    record: Mutex<CommandResult>,
    done: watch::Sender<bool>,
    pub progress: Progress,
}

impl Command {
    /// As it stands.
    pub fn snapshot(&self) -> CommandResult {
        let mut record = self
            .record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if record.command_status == CommandStatus::Running {
            record.progress = self.progress.to_wire();
        }
        record
    }

    fn is_running(&self) -> bool {
        !*self.done.borrow()
    }

    /// Until it ended.
    pub async fn wait(&self) {
        // the sender lives in self, so there is always an answer
        let _ = self.done.subscribe().wait_for(|done| *done).await;
    }

    /// Records the end. Texts are wrapped as upstream wraps them.
    pub fn finish(&self, synchronous: bool, outcome: Result<Value, Failure>) {
        {
            let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(value) => {
                    record.command_status = CommandStatus::Succeeded;
                    record.command_result = Some(match value {
                        Value::String(text) if synchronous => json!({ "result": text }),
                        Value::String(text) => {
                            json!({"result": format!("{}: {text}", record.command_name)})
                        }
                        other => other,
                    });
                }
                Err(failure) => {
                    record.command_status = match failure.class {
                        "VersionMismatch" => CommandStatus::CleanVersionMismatch,
                        _ => CommandStatus::Failed,
                    };
                    record.command_error = Some(failure.to_wire());
                }
            }
        }
        self.done.send_replace(true);
    }
}

/// All commands.
#[derive(Debug)]
pub struct Registry(Mutex<Vec<Arc<Command>>>);

impl Registry {
    pub fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    pub fn list(&self) -> Vec<CommandResult> {
        let commands = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        commands.iter().map(|command| command.snapshot()).collect()
    }

    pub fn find(&self, id: &str) -> Option<Arc<Command>> {
        let commands = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        commands
            .iter()
            .find(|command| command.snapshot().id == id)
            .cloned()
    }

    /// Opens a command unless one is running.
    pub fn open(
        &self,
        id: uuid::Uuid,
        name: &str,
        params: &Map<String, Value>,
    ) -> Result<Arc<Command>, Failure> {
        let mut commands = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = commands.last().filter(|command| command.is_running()) {
            return Err(Failure::busy(format!(
                "executing command {}",
                last.snapshot().command_name
            )));
        }
        let command = Arc::new(Command {
            record: Mutex::new(CommandResult {
                id: id.to_string(),
                command_name: name
                    .rsplit_once('.')
                    .map_or(name, |(_, command)| command)
                    .to_owned(),
                command_params: echo(params),
                command_status: CommandStatus::Running,
                command_error: None,
                command_result: None,
                progress: None,
            }),
            done: watch::channel(false).0,
            progress: Progress::new(),
        });
        commands.push(command.clone());
        Ok(command)
    }
}

fn echo(params: &Map<String, Value>) -> Map<String, Value> {
    params
        .iter()
        .map(|(key, value)| (key.clone(), echo_value(key, value)))
        .collect()
}

fn echo_value(key: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if key == "configdrive" && text.len() > ECHOED => {
            Value::String(format!("<config drive of {} characters>", text.len()))
        }
        Value::Object(members) => Value::Object(echo(members)),
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| echo_value(key, item)).collect())
        }
        other => other.clone(),
    }
}
