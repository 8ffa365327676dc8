//! A lab in a process of its own, for tests: started, commanded and cleaned up from another process.
//!
//! The lab ends when its standard input does, so it never outlives whoever started it, however that one ends.

use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::fleet::{self, Standing};
use crate::host::{Facts, PowerChange};
use crate::log::{Log, Tail};
use crate::settings::Settings;

const BINARY: &str = "bessemer-lab";
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// Why a lab's process is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{BINARY} is not next to {0}: build it with `cargo build -p bessemer-lab`, or name it in BESSEMER_LAB"
    )]
    NoBinary(PathBuf),
    #[error("the lab's process cannot be started or spoken to")]
    Process(#[from] io::Error),
    #[error("the lab ended: {0}")]
    Ended(String),
    #[error("the lab says something else than it should: {0}")]
    Malformed(String),
    #[error("the lab refuses: {0}")]
    Refused(String),
    #[error("not seen in the hosts' log within {0:?}")]
    NotSeen(Duration),
}

/// The lab's binary: what `BESSEMER_LAB` names, else the one in the target directory of the running test. Builds nothing.
///
/// # Errors
/// [`Error::NoBinary`].
pub fn binary_path() -> Result<PathBuf, Error> {
    for name in ["BESSEMER_LAB", "CARGO_BIN_EXE_bessemer-lab"] {
        if let Some(path) = std::env::var_os(name) {
            return Ok(path.into());
        }
    }
    let this = std::env::current_exe()?;
    // a test is target/debug/deps/name-hash, a binary target/debug/name
    let found = this
        .ancestors()
        .skip(1)
        .take(3)
        .map(|directory| directory.join(BINARY))
        .find(|path| path.is_file());
    found.ok_or(Error::NoBinary(this))
}

/// A running lab.
#[derive(Debug)]
pub struct LabProcess {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    tail: Tail,
    /// What one needs to enrol the hosts.
    pub hosts: Vec<Facts>,
    /// The hosts' log.
    pub log_path: PathBuf,
}

/// Starts a lab and waits until its BMCs answer.
///
/// # Errors
/// See [`Error`].
pub fn spawn(settings: &Settings) -> Result<LabProcess, Error> {
    spawn_binary(&binary_path()?, settings)
}

/// The same with a given binary.
///
/// # Errors
/// See [`Error`].
pub fn spawn_binary(binary: &std::path::Path, settings: &Settings) -> Result<LabProcess, Error> {
    let mut child = Command::new(binary)
        .arg("run")
        .args(settings.to_arguments())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let input = child.stdin.take();
    let (sender, lines) = channel();
    if let Some(output) = child.stdout.take() {
        // ends with the child's output
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    let mut lab = LabProcess {
        child,
        input,
        lines,
        tail: Tail::new(&settings.log),
        hosts: Vec::new(),
        log_path: settings.log.clone(),
    };
    loop {
        let line = lab.line()?;
        if line == "ready" {
            return Ok(lab);
        }
        let facts = serde_json::from_str(&line)
            .map_err(|_| Error::Malformed("a line that is no host".to_owned()))?;
        lab.hosts.push(facts);
    }
}

impl LabProcess {
    fn line(&mut self) -> Result<String, Error> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                Err(Error::Ended(format!("it said nothing for {PATIENCE:?}")))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait()?;
                Err(Error::Ended(status.to_string()))
            }
        }
    }

    /// The lab's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// [`Error::Refused`] when the lab does not carry it out.
    pub fn command(&mut self, command: &fleet::Command) -> Result<Vec<Standing>, Error> {
        let mut line =
            serde_json::to_string(command).map_err(|error| Error::Malformed(error.to_string()))?;
        line.push('\n');
        let input = self
            .input
            .as_mut()
            .ok_or_else(|| Error::Ended("its input is closed".to_owned()))?;
        input.write_all(line.as_bytes())?;
        input.flush()?;
        let answer: serde_json::Value = serde_json::from_str(&self.line()?)
            .map_err(|error| Error::Malformed(error.to_string()))?;
        if answer.get("ok") != Some(&serde_json::Value::Bool(true)) {
            let why = answer.get("error").and_then(serde_json::Value::as_str);
            return Err(Error::Refused(why.unwrap_or("without a reason").to_owned()));
        }
        match answer.get("hosts") {
            Some(hosts) => serde_json::from_value(hosts.clone())
                .map_err(|error| Error::Malformed(error.to_string())),
            None => Ok(Vec::new()),
        }
    }

    /// Switches a fault of a host, or of all with `*`.
    ///
    /// # Errors
    /// As [`LabProcess::command`].
    pub fn set_fault(
        &mut self,
        host: &str,
        fault: Fault,
        on: bool,
        value: Option<f64>,
    ) -> Result<(), Error> {
        let command = fleet::Command {
            host: host.to_owned(),
            fault: Some(fault),
            on: Some(on),
            value,
            ..fleet::Command::default()
        };
        self.command(&command).map(|_| ())
    }

    /// Presses the power button.
    ///
    /// # Errors
    /// As [`LabProcess::command`].
    pub fn power(&mut self, host: &str, change: PowerChange) -> Result<(), Error> {
        let command = fleet::Command {
            host: host.to_owned(),
            power: Some(change),
            ..fleet::Command::default()
        };
        self.command(&command).map(|_| ())
    }

    /// How a host stands now.
    ///
    /// # Errors
    /// As [`LabProcess::command`].
    pub fn standing(&mut self, host: &str) -> Result<Standing, Error> {
        let command = fleet::Command {
            host: host.to_owned(),
            state: true,
            ..fleet::Command::default()
        };
        self.command(&command)?
            .into_iter()
            .next()
            .ok_or_else(|| Error::Malformed("no host in the answer".to_owned()))
    }

    /// The hosts' log so far.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn log(&mut self) -> Result<&Log, Error> {
        Ok(self.tail.refresh()?)
    }

    /// Waits until the log shows something; blocks the thread.
    ///
    /// # Errors
    /// [`Error::NotSeen`] after the time.
    pub fn wait_for<T>(
        &mut self,
        time: Duration,
        mut seen: impl FnMut(&Log) -> Option<T>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + time;
        loop {
            if let Some(found) = seen(self.log()?) {
                return Ok(found);
            }
            if Instant::now() > deadline {
                return Err(Error::NotSeen(time));
            }
            std::thread::sleep(POLL);
        }
    }

    /// The same for asynchronous tests.
    ///
    /// # Errors
    /// [`Error::NotSeen`] after the time.
    pub async fn seen<T>(
        &mut self,
        time: Duration,
        mut seen: impl FnMut(&Log) -> Option<T>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + time;
        loop {
            if let Some(found) = seen(self.log()?) {
                return Ok(found);
            }
            if Instant::now() > deadline {
                return Err(Error::NotSeen(time));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends the lab in order and gives its log.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn stop(mut self) -> Result<Log, Error> {
        self.input = None;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(Log::read(&self.log_path)?),
                Some(status) => return Err(Error::Ended(status.to_string())),
                None if Instant::now() > deadline => {
                    return Err(Error::Ended("not within its time".to_owned()));
                }
                None => std::thread::sleep(POLL),
            }
        }
    }
}

impl Drop for LabProcess {
    fn drop(&mut self) {
        self.input = None;
        // a lab has nothing to save: its log is written line by line
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
