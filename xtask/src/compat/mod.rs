//! `cargo xtask compat`: the judges of the API.
//!
//! Upstream's own service and ours are started on loopback with the same settings, and `record.py` runs the same
//! scripts against both: every command of `openstack baremetal` at several microversions, every verb of
//! openstacksdk's proxy, and raw requests as Metal3 sends them. What the two answered is compared member by member;
//! a difference that no row of [`allowed`] explains fails the run. Afterwards schemathesis, a property-based client,
//! attacks ours by its own OpenAPI document. The outcome is `docs/compat/compat.md`.

pub mod allowed;
mod compare;
mod peers;
mod report;
mod seen;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::bench::UPSTREAM;
use crate::cache::Cache;
use crate::process::{self, command};
use crate::{build, setup};
pub use peers::Effort;
use peers::{Enabled, Ours, Upstream};
pub use report::Properties;
use seen::Record;

/// What is run.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only these scripts: raw_calls, sdk_calls, cli_calls. The report is then not written.
    #[arg(long)]
    pub only: Vec<String>,
    /// Leave the property-based client out. The report is then not written.
    #[arg(long)]
    pub without_properties: bool,
    /// Only the property-based client.
    #[arg(long)]
    pub only_properties: bool,
    /// Keep what the scripts saw in this directory, as theirs.json and ours.json.
    #[arg(long)]
    pub keep: Option<PathBuf>,
    /// Take what the same scripts saw of upstream from this file of an earlier `--keep`. The report is then not written.
    #[arg(long)]
    pub theirs: Option<PathBuf>,
    /// Instead: record goldens of `crates/api/tests` anew by these scripts (record, record_versions, ...).
    #[arg(long)]
    pub record: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// When a difference is not allowed, when a script leaves a command out, when a property does not hold, or when something
/// cannot be installed or started.
pub fn compat(options: &Options) -> Result<()> {
    let cache = Cache::open()?;
    setup::setup(setup::Purpose::Test)?;
    if !options.record.is_empty() {
        return record(&cache, &options.record);
    }
    let server = build::server(&cache)?;
    let mut outcome = report::Outcome::default();
    // beside the scripts, which mostly wait for upstream
    let attacking = (options.only.is_empty() && !options.without_properties).then(|| {
        let (cache, server) = (cache.clone(), server.clone());
        std::thread::spawn(move || properties(&cache, &server, LONG))
    });
    if !options.only_properties {
        let venv = peers::clients(&cache)?;
        let dir = tempfile::tempdir()?;
        let ours = Ours::start(&server, dir.path())?;
        let script = build::workspace().join("xtask/src/compat/record.py");
        let record = |name: &str, url: &str| {
            let out = dir.path().join(name).join("seen.json");
            let mut run = command(venv.join("bin/python").display().to_string());
            run.arg(&script).arg(url).arg(&out).args(&options.only);
            run.env("HOME", dir.path().join(name))
                .stdin(Stdio::null())
                .stdout(Stdio::null());
            (run, out)
        };
        let other = match &options.theirs {
            Some(_) => None,
            None => {
                let theirs = Upstream::start(&venv, dir.path(), Enabled::Common)?;
                let (mut run, out) = record("theirs", theirs.url());
                let child = run
                    .spawn()
                    .context("cannot start the scripts against upstream")?;
                Some((theirs, child, out))
            }
        };
        let (mut run_ours, out_ours) = record("ours", ours.url());
        let mine = process::run(&mut run_ours);
        let out_theirs = match other {
            None => options.theirs.clone().unwrap_or_default(),
            Some((_service, child, out)) => {
                if !wait(child)? {
                    bail!("the scripts against upstream failed");
                }
                out
            }
        };
        mine?;
        if let Some(keep) = &options.keep {
            std::fs::create_dir_all(keep)?;
            for (from, name) in [(&out_theirs, "theirs.json"), (&out_ours, "ours.json")] {
                let to = keep.join(name);
                if *from != to {
                    std::fs::copy(from, &to)
                        .with_context(|| format!("cannot keep {}", to.display()))?;
                }
            }
        }
        let (theirs, ours) = (Record::read(&out_theirs)?, Record::read(&out_ours)?);
        outcome.broken = theirs.broken.clone();
        outcome
            .broken
            .extend(ours.broken.iter().map(|line| format!("ours: {line}")));
        outcome.commands = compare::compare(&theirs, &ours, &mut outcome.differences)?;
        outcome.versions = peers::versions(&venv)?;
    }
    if let Some(attacking) = attacking {
        let ended = attacking.join();
        outcome.properties =
            Some(ended.map_err(|_| anyhow::anyhow!("the property-based client's thread died"))??);
        let venv = peers::schemathesis(&cache)?;
        outcome
            .versions
            .extend(peers::versions_of_schemathesis(&venv)?);
    }
    if options.only.is_empty()
        && options.theirs.is_none()
        && !options.without_properties
        && !options.only_properties
    {
        let path = build::user_clone().join("docs/compat/compat.md");
        std::fs::write(&path, report::markdown(&outcome)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("written: {}", path.display());
    }
    report::print(&outcome)
}

/// What `make compat` does.
const LONG: Effort = Effort {
    examples: 5,
    phases: "coverage,fuzzing",
};

/// Lets the property-based client attack a fresh service of ours.
///
/// # Errors
/// When the client cannot be installed or the service not started.
pub fn properties(cache: &Cache, server: &Path, effort: Effort) -> Result<Properties> {
    let venv = peers::schemathesis(cache)?;
    let dir = tempfile::tempdir()?;
    let ours = Ours::start(server, dir.path())?;
    peers::attack(&venv, &ours, dir.path(), effort)
}

/// Recorders that ask what upstream has when everything is enabled.
const OF_EVERYTHING: [&str; 3] = ["record_drivers", "record_members", "record_versions"];

/// Runs recorders, each against a fresh service of upstream's. `record_personas` needs a Keystone and says how it is started.
fn record(cache: &Cache, scripts: &[String]) -> Result<()> {
    let venv = peers::clients(cache)?;
    for script in scripts {
        let path = build::workspace().join(format!("crates/api/tests/{script}.py"));
        if script == "record_notifications" {
            // starts the service itself, with a driver of its own on the notification bus
            let mut run = command(venv.join("bin/python").display().to_string());
            process::run(run.arg(path).arg(&venv).arg(UPSTREAM))?;
            continue;
        }
        let dir = tempfile::tempdir()?;
        let enabled = if OF_EVERYTHING.contains(&script.as_str()) {
            Enabled::Everything
        } else {
            Enabled::Usual
        };
        let theirs = Upstream::start(&venv, dir.path(), enabled)?;
        let mut run = command(venv.join("bin/python").display().to_string());
        run.arg(path).arg(theirs.url()).arg(UPSTREAM);
        if script == "record_networks" {
            run.arg(theirs.database());
        }
        process::run(&mut run)?;
    }
    Ok(())
}

fn wait(mut child: std::process::Child) -> Result<bool> {
    Ok(child.wait()?.success())
}
