//! The upstream command line client in a virtual environment of its own, kept in the cache.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use super::API;
use crate::cache::{Cache, Key};
use crate::process::{command, output};

/// Every package with its version, as pip resolved them.
const REQUIREMENTS: &str = include_str!("requirements.txt");

/// The client.
#[derive(Debug, Clone)]
pub struct Client {
    environment: PathBuf,
}

impl Client {
    /// The client from the cache, or installed from the Python package index.
    pub fn get(cache: &Cache) -> Result<Client> {
        // scripts of a virtual environment name its path: it is made in its final place, and complete when the mark is there
        let python =
            output(command("/usr/bin/python3").arg("--version")).context("Debian's python3")?;
        let key = Key::default()
            .with("requirements", REQUIREMENTS)
            .with("python", python.trim());
        let place = cache.artifact("client", key, |directory| {
            Ok(std::fs::write(
                directory.join("requirements.txt"),
                REQUIREMENTS,
            )?)
        })?;
        let _lock = cache.lock("client")?;
        let mark = place.join("complete");
        let environment = place.join("venv");
        if !mark.exists() {
            println!(
                "installing the upstream client (python-ironicclient, python-openstackclient)"
            );
            if environment.exists() {
                std::fs::remove_dir_all(&environment)?;
            }
            output(
                command("/usr/bin/python3")
                    .args(["-m", "venv"])
                    .arg(&environment),
            )?;
            let pip = environment.join("bin/pip");
            let mut install = command(pip.to_string_lossy());
            install.args([
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-input",
                "-r",
            ]);
            output(install.arg(place.join("requirements.txt")))
                .context("pip cannot install the upstream client")?;
            std::fs::write(mark, "")?;
        }
        Ok(Client { environment })
    }

    /// The environment's `pip`.
    pub fn pip(&self) -> PathBuf {
        self.environment.join("bin/pip")
    }

    /// Runs `openstack baremetal ...` and gives what it printed.
    pub fn baremetal(&self, arguments: &[&str]) -> Result<String> {
        let mut client = command(self.environment.join("bin/openstack").to_string_lossy());
        client
            .env("OS_AUTH_TYPE", "none")
            .env("OS_ENDPOINT", format!("http://{API}"))
            .env_remove("OS_CLOUD");
        output(client.arg("baremetal").args(arguments))
    }

    /// The same, with `-f json`.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = arguments.to_vec();
        all.extend(["-f", "json"]);
        let text = self.baremetal(&all)?;
        serde_json::from_str(&text)
            .with_context(|| format!("the client did not print JSON: {text}"))
    }
}
