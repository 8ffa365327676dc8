//! A private PostgreSQL cluster for a test run: on a unix socket only, without durability, gone with its process.
//!
//! PostgreSQL refuses to run as root; then it runs as Debian's user `postgres`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::janitor::Ephemeral;
use crate::process::{command, is_root, output};

/// The directory of the newest installed server's programs.
pub fn programs() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .filter(|(_, path)| path.join("initdb").is_file())
        .collect();
    found.sort();
    found
        .pop()
        .map(|(_, path)| path)
        .context("PostgreSQL's server is not installed: install Debian's package postgresql")
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    url: String,
    _directory: Ephemeral,
}

// ends the server before its directory goes; "fast" shutdown
const STOP: &str = r#"pid=$(head -n 1 "$1/data/postmaster.pid") && kill -INT "$pid"
n=0; while kill -0 "$pid" && [ $n -lt 100 ]; do n=$((n+1)); sleep 0.05; done 2>/dev/null"#;

impl Cluster {
    /// Creates and starts a cluster.
    pub fn start() -> Result<Cluster> {
        let programs = programs()?;
        // short: a socket's path has at most 107 bytes
        let directory = tempfile::Builder::new()
            .prefix("bessemer-pg-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .tempdir_in("/tmp")?
            .keep();
        let ephemeral = Ephemeral::adopt(&directory, STOP)?;
        if is_root() {
            output(command("chown").arg("postgres:").arg(&directory))
                .context("giving the directory to the user postgres")?;
        }
        let data = directory.join("data");
        let mut initdb = unprivileged(&programs.join("initdb"));
        initdb
            .args([
                "--no-sync",
                "-A",
                "trust",
                "-U",
                "postgres",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "-D",
            ])
            .arg(&data);
        output(&mut initdb)?;
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c fsync=off -c synchronous_commit=off -c full_page_writes=off \
             -c max_connections=300",
            directory.display()
        );
        let log = directory.join("log");
        let mut start = unprivileged(&programs.join("pg_ctl"));
        start
            .args(["start", "-w", "-t", "60", "-D"])
            .arg(&data)
            .arg("-l")
            .arg(&log)
            .args(["-o", &options]);
        if let Err(error) = output(&mut start) {
            bail!(
                "{error:#}\n{}",
                std::fs::read_to_string(&log).unwrap_or_default()
            );
        }
        let socket = directory.display().to_string().replace('/', "%2F");
        Ok(Cluster {
            url: format!("postgresql:///postgres?host={socket}&user=postgres"),
            _directory: ephemeral,
        })
    }

    /// Connection URL of the administrator's database; each test makes a database of its own through it.
    pub fn url(&self) -> &str {
        &self.url
    }
}

fn unprivileged(program: &Path) -> Command {
    let mut command_ = if is_root() {
        let mut runuser = command("runuser");
        runuser.args(["-u", "postgres", "--"]).arg(program);
        runuser
    } else {
        command(program.to_string_lossy())
    };
    command_.current_dir("/");
    command_
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn starts_answers_and_goes() {
        let cluster = Cluster::start().unwrap();
        let directory = cluster._directory.path().to_owned();
        let mut psql = command("psql");
        psql.args(["-At", "-c", "show fsync", cluster.url()]);
        assert_eq!(output(&mut psql).unwrap().trim(), "off");
        let pid = std::fs::read_to_string(directory.join("data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap().to_owned();
        drop(cluster);
        assert!(!directory.exists());
        assert!(!Path::new("/proc").join(pid).exists());
    }
}
