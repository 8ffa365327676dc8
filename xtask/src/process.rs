//! Running other programs: found in the administrator's directories too, with errors that say what was run and what it said.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

/// Directories that an ordinary user's `PATH` lacks on Debian.
const ADMIN_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// `PATH` with the administrator's directories at its end.
pub fn search_path() -> OsString {
    let mut path =
        std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    for directory in ADMIN_DIRECTORIES {
        path.push(":");
        path.push(directory);
    }
    path
}

/// Where a program is, if it is installed.
pub fn find_program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_file());
    }
    std::env::split_paths(&search_path())
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

/// A command for a program by name, in the C locale, with nothing to read.
pub fn command(program: impl AsRef<str>) -> Command {
    let program = program.as_ref();
    let mut command = match find_program(program) {
        Some(path) => Command::new(path),
        None => Command::new(program),
    };
    command
        .env("PATH", search_path())
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    command
}

/// The command as a person would type it.
pub fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs a command to its end and gives its standard output. What it said on standard error is part of the error.
pub fn output(command: &mut Command) -> Result<String> {
    let text = describe(command);
    let output = command
        .output()
        .with_context(|| format!("cannot start {text}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = if said.trim().is_empty() {
            String::from_utf8_lossy(&output.stdout)
        } else {
            said
        };
        bail!("{text} failed ({}): {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command to its end, its output going where ours goes.
pub fn run(command: &mut Command) -> Result<()> {
    let text = describe(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start {text}"))?;
    if !status.success() {
        bail!("{text} failed ({status})");
    }
    Ok(())
}

/// Whether this process is the administrator.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A program that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a program whose output goes to the end of a log file.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Daemon> {
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open the log {}", log.display()))?;
        let text = describe(command);
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {text}"))?;
        Ok(Daemon {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Says what it last said when it is no longer there.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let last: Vec<&str> = text.lines().rev().take(5).collect();
            let last = last.into_iter().rev().collect::<Vec<_>>().join("\n  ");
            bail!(
                "{} ended ({status}); its last words, of {}:\n  {last}",
                self.name,
                self.log.display()
            );
        }
        Ok(())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal_process(self.pid(), signal)
    }

    /// Asks it to end, waits, and kills it when it has not ended by the deadline.
    pub fn stop(mut self, patience: Duration) -> Result<std::process::ExitStatus> {
        self.signal(Signal::TERM)?;
        let end = Instant::now() + patience;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            pause();
        }
        self.child.kill()?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process by its id.
pub fn signal_process(pid: u32, signal: Signal) -> Result<()> {
    let id = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("not a process id")?;
    rustix::process::kill_process(id, signal)
        .with_context(|| format!("cannot signal process {pid}"))
}

/// Polls a condition until it holds, or says after the deadline what was waited for.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("waited {} s in vain for {what}", limit.as_secs());
        }
        pause();
    }
}

/// The interval at which conditions are polled.
pub fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}
