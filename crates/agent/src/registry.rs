//! Commands that were given to the agent: what ran, what runs, what came of it.
//!
//! One at a time: a command while another runs is refused as busy. Finished ones stay, so that a conductor that was
//! restarted finds its command by the echo of its parameters; the oldest are forgotten beyond a bound. A command is a
//! task of its own: a client that hangs up does not stop it.
//!
//! Must never log parameters (they carry secrets) and never keep a config drive in memory for the echo.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bessemer_wire::{CommandResult, CommandStatus, ImageProgress};
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::Failure;

/// Finished commands kept.
const KEPT: usize = 256;
/// Longest config drive that is echoed as it came (a URL, not contents).
const ECHOED_CONFIG_DRIVE: usize = 256;

/// Stages of an image write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Download,
    Write,
    Verify,
    Finish,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Write => "write",
            Self::Verify => "verify",
            Self::Finish => "finish",
        }
    }
}

/// How far a command is; written by the command, read by whoever asks.
#[derive(Default)]
pub struct Progress {
    stage: Mutex<Option<(Stage, Instant, u64)>>,
    done: AtomicU64,
    total: AtomicU64,
    rate: Mutex<Option<Window>>,
}

/// Start of the window over which the rate is measured.
struct Window {
    began: Instant,
    done: u64,
    rate: u64,
}

impl Progress {
    /// Enters a stage; `total` is 0 when nobody knows.
    pub fn enter(&self, stage: Stage, total: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        *self.rate.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((stage, Instant::now(), total));
    }

    /// Bytes done in this stage so far.
    pub fn set(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match rate.as_mut() {
            None => {
                *rate = Some(Window {
                    began: now,
                    done,
                    rate: 0,
                });
            }
            Some(window) => {
                let millis = now.duration_since(window.began).as_millis();
                if millis >= 2000 {
                    let bytes = u128::from(done.saturating_sub(window.done));
                    window.rate =
                        u64::try_from(bytes.saturating_mul(1000) / millis).unwrap_or(u64::MAX);
                    window.began = now;
                    window.done = done;
                }
            }
        }
    }

    /// As it crosses the wire; `None` before the first stage.
    #[must_use]
    pub fn to_wire(&self) -> Option<ImageProgress> {
        let (stage, began, _) = (*self.stage.lock().unwrap_or_else(PoisonError::into_inner))?;
        let done_bytes = self.done.load(Ordering::Relaxed);
        let measured = self
            .rate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map_or(0, |w| w.rate);
        let rate = if measured > 0 {
            measured
        } else {
            let millis = began.elapsed().as_millis().max(1);
            u64::try_from(u128::from(done_bytes).saturating_mul(1000) / millis).unwrap_or(u64::MAX)
        };
        Some(ImageProgress {
            stage: stage.name().to_owned(),
            done_bytes,
            total_bytes: self.total.load(Ordering::Relaxed),
            rate,
        })
    }
}

/// One command.
pub struct Command {
    record: Mutex<CommandResult>,
    done: watch::Sender<bool>,
    progress: Arc<Progress>,
}

impl Command {
    /// As it stands now.
    #[must_use]
    pub fn snapshot(&self) -> CommandResult {
        let mut result = self
            .record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if result.command_status == CommandStatus::Running {
            result.progress = self.progress.to_wire();
        }
        result
    }

    fn is_running(&self) -> bool {
        !*self.done.borrow()
    }

    /// Until it ended.
    pub async fn wait(&self) {
        let mut done = self.done.subscribe();
        // an error means that the sender is gone, which it is not while we hold self
        let _ = done.wait_for(|d| *d).await;
    }

    fn name(&self) -> String {
        self.record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .command_name
            .clone()
    }
}

/// How a command is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The request is answered when it ended.
    Sync,
    /// The request is answered at once; the end forces a heartbeat.
    Async,
}

/// All commands of this agent.
pub struct Registry {
    commands: Mutex<VecDeque<Arc<Command>>>,
    heartbeat: Arc<Notify>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Registry {
    /// `heartbeat` is notified when an asynchronous command ends.
    #[must_use]
    pub fn new(heartbeat: Arc<Notify>, cancel: CancellationToken) -> Self {
        Self {
            commands: Mutex::new(VecDeque::new()),
            heartbeat,
            tasks: TaskTracker::new(),
            cancel,
        }
    }

    /// Oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<CommandResult> {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.iter().map(|c| c.snapshot()).collect()
    }

    /// By id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Arc<Command>> {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands
            .iter()
            .find(|c| c.record.lock().unwrap_or_else(PoisonError::into_inner).id == id)
            .cloned()
    }

    /// Starts a command unless one is running. `work` is called with the place for its progress.
    pub fn start<F>(
        &self,
        name: &str,
        params: &Map<String, Value>,
        mode: Mode,
        work: impl FnOnce(Arc<Progress>) -> F,
    ) -> Result<Arc<Command>, Failure>
    where
        F: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        let progress = Arc::new(Progress::default());
        let command = {
            let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(last) = commands.back().filter(|c| c.is_running()) {
                return Err(Failure::Busy(last.name()));
            }
            let command = Arc::new(Command {
                record: Mutex::new(CommandResult {
                    id: uuid::Uuid::new_v4().to_string(),
                    command_name: name.rsplit_once('.').map_or(name, |(_, c)| c).to_owned(),
                    command_params: echo(params),
                    command_status: CommandStatus::Running,
                    command_error: None,
                    command_result: None,
                    progress: None,
                }),
                done: watch::channel(false).0,
                progress: progress.clone(),
            });
            commands.push_back(command.clone());
            while commands.len() > KEPT {
                commands.pop_front();
            }
            command
        };
        let future = work(progress);
        let cancel = self.cancel.clone();
        let heartbeat = self.heartbeat.clone();
        let finished = command.clone();
        let full_name = name.to_owned();
        self.tasks.spawn(async move {
            let began = Instant::now();
            // a task of its own, so that a panic in it becomes the command's failure
            let inner = tokio::spawn(async move {
                tokio::select! {
                    outcome = future => outcome,
                    () = cancel.cancelled() => {
                        Err(Failure::Execution("the agent was told to stop".to_owned()))
                    }
                }
            });
            let outcome = inner.await.unwrap_or_else(|error| {
                Err(Failure::Execution(format!(
                    "the agent has a bug, this command ended by a panic: {error}"
                )))
            });
            match &outcome {
                Ok(_) => tracing::info!(
                    "command {full_name} succeeded after {:.1} s",
                    began.elapsed().as_secs_f64()
                ),
                Err(failure) => tracing::error!("command {full_name} failed: {failure}"),
            }
            finished.finish(mode, outcome);
            if mode == Mode::Async {
                heartbeat.notify_one();
            }
        });
        Ok(command)
    }

    /// Waits for everything that still runs; call after cancelling.
    pub async fn join(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Command {
    fn finish(&self, mode: Mode, outcome: Result<Value, Failure>) {
        {
            let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(Value::String(text)) => {
                    let text = match mode {
                        Mode::Sync => text,
                        Mode::Async => format!("{}: {text}", record.command_name),
                    };
                    record.command_result = Some(json!({ "result": text }));
                    record.command_status = CommandStatus::Succeeded;
                }
                Ok(value) => {
                    record.command_result = Some(value);
                    record.command_status = CommandStatus::Succeeded;
                }
                Err(failure) => {
                    record.command_status = match failure {
                        Failure::VersionMismatch(_) => CommandStatus::CleanVersionMismatch,
                        _ => CommandStatus::Failed,
                    };
                    record.command_error = Some(failure.to_wire());
                }
            }
        }
        self.done.send_replace(true);
    }
}

/// The parameters as they are echoed: everything, but the contents of a config drive only as a marker, wherever it is.
#[must_use]
pub fn echo(params: &Map<String, Value>) -> Map<String, Value> {
    params
        .iter()
        .map(|(key, value)| (key.clone(), echo_value(key, value)))
        .collect()
}

fn echo_value(key: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if key == "configdrive" && text.len() > ECHOED_CONFIG_DRIVE => {
            Value::String(format!("<config drive of {} characters>", text.len()))
        }
        Value::Object(members) => Value::Object(echo(members)),
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| echo_value(key, item)).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn registry() -> Registry {
        Registry::new(Arc::new(Notify::new()), CancellationToken::new())
    }

    #[tokio::test]
    async fn one_at_a_time_and_results_by_mode() {
        let r = registry();
        let gate = Arc::new(Notify::new());
        let g = gate.clone();
        let first = r
            .start(
                "standby.prepare_image",
                &Map::new(),
                Mode::Async,
                |p| async move {
                    p.enter(Stage::Write, 10);
                    p.set(5);
                    g.notified().await;
                    Ok(Value::String("done".into()))
                },
            )
            .unwrap();
        let busy = r
            .start("standby.sync", &Map::new(), Mode::Sync, |_| async {
                Ok(Value::Null)
            })
            .err()
            .unwrap();
        assert_eq!(busy, Failure::Busy("prepare_image".into()));
        assert_eq!(busy.code(), 409);
        gate.notify_one();
        first.wait().await;
        let s = first.snapshot();
        assert_eq!(s.command_status, CommandStatus::Succeeded);
        assert_eq!(
            s.command_result,
            Some(json!({"result": "prepare_image: done"}))
        );
        assert!(s.progress.is_none());
        let second = r
            .start("standby.sync", &Map::new(), Mode::Sync, |_| async {
                Ok(Value::String("ok".into()))
            })
            .unwrap();
        second.wait().await;
        assert_eq!(
            second.snapshot().command_result,
            Some(json!({"result": "ok"}))
        );
        assert_eq!(r.list().len(), 2);
        assert!(r.find(&second.snapshot().id).is_some());
        r.join().await;
    }

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        let r = registry();
        let c = r
            .start("a.b", &Map::new(), Mode::Async, |_| async {
                if true {
                    panic!("boom")
                }
                Ok(Value::Null)
            })
            .unwrap();
        c.wait().await;
        let s = c.snapshot();
        assert_eq!(s.command_status, CommandStatus::Failed);
        assert_eq!(s.command_error.unwrap().kind, "CommandExecutionError");
    }

    #[test]
    fn echo_keeps_the_reference_and_drops_the_drive() {
        let params = json!({"step": {"step": "write_image", "bessemer": {"operation": "o", "index": 1, "attempt": 2},
            "args": {"configdrive": "A".repeat(1000)}}, "configdrive": "http://x/y"});
        let out = Value::Object(echo(params.as_object().unwrap()));
        assert_eq!(out["step"]["bessemer"]["attempt"], 2);
        assert_eq!(
            out["step"]["args"]["configdrive"],
            "<config drive of 1000 characters>"
        );
        assert_eq!(out["configdrive"], "http://x/y");
    }
}
