//! The namespaces in which a testbed lives, and its directories.
//!
//! The first process inside is a shell that waits for the real program and reaps orphans; `unshare` kills it when it dies itself, and
//! is killed by the kernel when its own parent dies. So Ctrl-C, `kill -9` on any of them, or a crash end everything.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::janitor::Ephemeral;
use crate::process::{command, is_root, output};

const LABEL: &str = "BESSEMER_TESTBED";
const RUN_DIRECTORY: &str = "BESSEMER_TESTBED_RUN";
const KEEP_RUNS: usize = 8;

/// A run inside the namespaces: where it keeps what.
#[derive(Debug, Clone)]
pub struct Run {
    directory: PathBuf,
}

impl Run {
    /// Logs; they stay after the end, for the last few runs.
    pub fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    /// Disks and other big files; gone at the end.
    pub fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    /// Sockets and state, in memory, with short paths; gone at the end.
    pub fn state(&self) -> PathBuf {
        PathBuf::from("/run/bessemer")
    }

    /// The run that this process is inside of, if it is.
    pub fn current(label: &str) -> Option<Run> {
        let inside = std::env::var(LABEL).ok()?;
        let directory = std::env::var_os(RUN_DIRECTORY)?;
        (inside == label).then(|| Run {
            directory: directory.into(),
        })
    }

    /// Prepares the inside: to be called once, first.
    pub fn prepare(&self) -> Result<()> {
        // a private /run: sockets with short paths, and nothing of the host's daemons
        output(command("mount").args(["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"]))?;
        std::fs::create_dir_all(self.state())?;
        Ok(())
    }
}

/// Runs a program inside new namespaces as the run `label` and waits for it. `wire` may adjust the command, for instance its output.
pub fn run(
    label: &str,
    program: &Path,
    arguments: &[String],
    wire: impl FnOnce(&Path, &mut Command) -> Result<()>,
) -> Result<ExitStatus> {
    if std::env::var_os(LABEL).is_some() {
        bail!("a testbed cannot be started inside a testbed");
    }
    let cache = Cache::open()?;
    let directory = new_run(&cache, label)?;
    let work = directory.join("work");
    std::fs::create_dir(directory.join("logs"))?;
    std::fs::create_dir(&work)?;
    let _work = Ephemeral::adopt(&work, "")?;

    let mut outer = command("setpriv");
    outer.args([
        "--pdeathsig",
        "KILL",
        "--",
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child=KILL",
        "--mount-proc",
    ]);
    if !is_root() {
        outer.args(["--user", "--map-root-user"]);
    }
    // not `exec`: the shell stays, as process 1, and takes in the orphans
    outer
        .args(["--", "sh", "-c", "\"$@\"; exit $?", "sh"])
        .arg(program)
        .args(arguments);
    outer.env(LABEL, label).env(RUN_DIRECTORY, &directory);
    wire(&directory, &mut outer)?;
    let status = outer
        .status()
        .context("cannot start setpriv (package util-linux)")?;
    Ok(status)
}

fn new_run(cache: &Cache, label: &str) -> Result<PathBuf> {
    let runs = cache.root().join("runs");
    let mut old: Vec<_> = std::fs::read_dir(&runs)?
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with(&format!("{label}-"))
        })
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    old.sort();
    let surplus = old.len().saturating_sub(KEEP_RUNS);
    for (_, path) in old.into_iter().take(surplus) {
        // one that still runs has its work directory
        if !path.join("work").exists() {
            let _ = std::fs::remove_dir_all(path);
        }
    }
    let created = tempfile::Builder::new()
        .prefix(&format!("{label}-"))
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir_in(&runs)?;
    Ok(created.keep())
}

/// For tests: runs `body` inside a testbed's namespaces.
///
/// Outside, the test binary is started again inside, for the one test `test` (its full path); inside, `body` is called. What the
/// inner process prints is shown when it fails.
pub fn inside(test: &str, body: impl FnOnce(&Run) -> Result<()>) {
    let label = test.replace("::", "-");
    if let Some(run) = Run::current(&label) {
        let result = run.prepare().and_then(|()| body(&run));
        assert!(
            result.is_ok(),
            "{:#}",
            result.err().unwrap_or_else(|| anyhow::anyhow!("unknown"))
        );
        return;
    }
    let mut log = PathBuf::new();
    let status = std::env::current_exe()
        .context("no path of the test binary")
        .and_then(|program| {
            let arguments = [test, "--exact", "--nocapture", "--test-threads=1"].map(str::to_owned);
            run(&label, &program, &arguments, |directory, command| {
                log = directory.join("logs/test.log");
                let file = std::fs::File::create(&log)?;
                command.stdout(file.try_clone()?).stderr(file);
                Ok(())
            })
        });
    let passed = status.as_ref().is_ok_and(ExitStatus::success);
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    // a test name that matches nothing would pass without having run
    let ran = text.contains("test result: ok. 1 passed");
    assert!(
        passed && ran,
        "{test} failed inside its namespaces ({status:?}), logs in {}:\n{text}",
        log.display()
    );
}
