//! A lab: many hosts in one process, and the commands that break and switch them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bmc::{self, Behind};
use crate::disk::Disk;
use crate::fault::Fault;
use crate::host::{self, BmcKind, Facts, Host, PowerChange, Stage};
use crate::journal::Journal;
use crate::redfish;
use crate::settings::Settings;

/// Longest line of a command.
const MAX_LINE: u64 = 64 * 1024;

/// Why a lab does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot write {what} {path}")]
    File {
        what: &'static str,
        path: String,
        source: io::Error,
    },
    #[error("the BMC of {host} cannot listen on {address}")]
    Bmc {
        host: String,
        address: std::net::SocketAddr,
        source: io::Error,
    },
    #[error("at most {0} hosts fit into one lab")]
    TooMany(usize),
}

/// A command to a running lab.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Given back with the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
    /// Name of a host, or `*` for all.
    pub host: String,
    /// Switch this fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// On or off; on when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
    /// For faults that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Press the power button.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<PowerChange>,
    /// Tell how the host stands.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub state: bool,
}

/// How a host stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub host: String,
    pub power: bool,
    pub stage: Stage,
    pub boots: u64,
    pub disk: Disk,
    pub faults: Vec<Fault>,
}

/// A running lab.
pub struct Lab {
    hosts: Vec<Arc<Host>>,
    stop: CancellationToken,
    tasks: TaskTracker,
    control: Option<std::path::PathBuf>,
}

impl Lab {
    /// Binds every BMC and begins to answer.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn start(settings: Settings) -> Result<Arc<Self>, Error> {
        let most = usize::from(u16::MAX);
        if settings.hosts > most {
            return Err(Error::TooMany(most));
        }
        let file = |what, path: &Path| {
            let path = path.display().to_string();
            move |source| Error::File { what, path, source }
        };
        let journal =
            Journal::create(&settings.log).map_err(file("the hosts' log", &settings.log))?;
        let journal = Arc::new(journal);
        let settings = Arc::new(settings);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mut hosts = Vec::with_capacity(settings.hosts);
        for index in 0..settings.hosts {
            let (mut facts, mac) = host::facts(&settings, index);
            let failed = |source| Error::Bmc {
                host: facts.name.clone(),
                address: (facts.bmc_address, facts.bmc_port).into(),
                source,
            };
            let bmc = Bmc::bind(&facts).await.map_err(failed)?;
            facts.bmc_port = bmc.port().map_err(failed)?;
            facts.bmc_certificate = bmc.certificate();
            let host = Host::new(
                index,
                facts,
                mac,
                settings.clone(),
                journal.clone(),
                tasks.clone(),
                stop.clone(),
            );
            bmc.run(index, &host, stop.clone());
            hosts.push(host);
        }
        let lab = Arc::new(Self {
            hosts,
            stop,
            tasks,
            control: settings.control.clone(),
        });
        if let Some(path) = &settings.inventory {
            let text = serde_json::to_vec_pretty(&lab.facts()).unwrap_or_default();
            std::fs::write(path, text).map_err(file("the inventory", path))?;
        }
        if let Some(path) = &settings.control {
            // left behind by a lab that was killed
            let _ = std::fs::remove_file(path);
            let listener = UnixListener::bind(path).map_err(file("the socket", path))?;
            lab.tasks.spawn(listen(lab.clone(), listener));
        }
        if settings.powered_on {
            for host in &lab.hosts {
                host.power(PowerChange::On, "button");
            }
        }
        Ok(lab)
    }

    /// What one needs to know to enrol the hosts.
    #[must_use]
    pub fn facts(&self) -> Vec<Facts> {
        self.hosts.iter().map(|host| host.facts.clone()).collect()
    }

    fn chosen(&self, name: &str) -> Vec<&Arc<Host>> {
        self.hosts
            .iter()
            .filter(|host| name == "*" || host.facts.name == name)
            .collect()
    }

    /// Switches a fault of a host, or of all with `*`.
    pub fn set_fault(&self, host: &str, fault: Fault, on: bool, value: Option<f64>) {
        for host in self.chosen(host) {
            host.set_fault(fault, on, value);
        }
    }

    /// How a host stands.
    #[must_use]
    pub fn standing(&self, host: &str) -> Option<Standing> {
        self.chosen(host).first().map(|host| standing(host))
    }

    /// Carries out one line of a command and gives the line of the answer.
    #[must_use]
    pub fn command(&self, line: &str) -> String {
        let (id, outcome) = match serde_json::from_str::<Command>(line) {
            Ok(command) => (command.id.clone(), self.carry_out(&command)),
            Err(error) => (None, Err(format!("not a command: {error}"))),
        };
        let mut answer = match outcome {
            Ok(Some(hosts)) => json!({"ok": true, "hosts": hosts}),
            Ok(None) => json!({"ok": true}),
            Err(why) => json!({"ok": false, "error": why}),
        };
        if let (Some(id), Some(members)) = (id, answer.as_object_mut()) {
            members.insert("id".to_owned(), id);
        }
        answer.to_string()
    }

    fn carry_out(&self, command: &Command) -> Result<Option<Vec<Standing>>, String> {
        let hosts = self.chosen(&command.host);
        if hosts.is_empty() {
            return Err(format!("there is no host {:?}", command.host));
        }
        if command.fault.is_none() && command.power.is_none() && !command.state {
            return Err("a command needs fault, power or state".to_owned());
        }
        for host in &hosts {
            if let Some(fault) = command.fault {
                host.set_fault(fault, command.on.unwrap_or(true), command.value);
            }
            if let Some(change) = command.power {
                host.power(change, "button");
            }
        }
        Ok(command
            .state
            .then(|| hosts.into_iter().map(|host| standing(host)).collect()))
    }

    /// Ends everything and waits until it ended.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(path) = &self.control {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A BMC whose port is bound and behind which there is no host yet: the port is one of the host's facts.
enum Bmc {
    Ipmi(bessemer_ipmi::bmc::BmcServer, Arc<Behind>),
    Redfish(
        tokio::net::TcpListener,
        Option<(String, Arc<rustls::ServerConfig>)>,
    ),
}

impl Bmc {
    async fn bind(facts: &Facts) -> io::Result<Self> {
        let identity = match facts.bmc {
            BmcKind::Ipmi => {
                let chassis = Arc::new(Behind::default());
                let server = bmc::bind(facts, false, chassis.clone()).await?;
                return Ok(Self::Ipmi(server, chassis));
            }
            BmcKind::Redfish => {
                Some(crate::tls::pinned_identity(facts.bmc_address).map_err(io::Error::other)?)
            }
            BmcKind::RedfishHttp => None,
        };
        let address = (facts.bmc_address, facts.bmc_port).into();
        Ok(Self::Redfish(redfish::bind(address).await?, identity))
    }

    fn port(&self) -> io::Result<u16> {
        Ok(match self {
            Self::Ipmi(server, _) => server.local_addr()?.port(),
            Self::Redfish(listener, _) => listener.local_addr()?.port(),
        })
    }

    fn certificate(&self) -> Option<String> {
        match self {
            Self::Ipmi(..) => None,
            Self::Redfish(_, identity) => identity.as_ref().map(|(digest, _)| digest.clone()),
        }
    }

    fn run(self, index: usize, host: &Arc<Host>, stop: CancellationToken) {
        match self {
            Self::Ipmi(server, chassis) => {
                chassis.set(host.clone());
                let running = bmc::run(index, host.clone(), chassis, server, stop);
                host.tasks.spawn(running);
            }
            Self::Redfish(listener, identity) => {
                let tls = identity.map(|(_, tls)| tls);
                let running = redfish::run(index, host.clone(), listener, tls, stop);
                host.tasks.spawn(running);
            }
        }
    }
}

fn standing(host: &Host) -> Standing {
    host.look(|state| Standing {
        host: host.facts.name.clone(),
        power: state.power,
        stage: state.stage,
        boots: state.boot,
        disk: state.disk.clone(),
        faults: state.faults.list().collect(),
    })
}

async fn listen(lab: Arc<Lab>, listener: UnixListener) {
    let tasks = lab.tasks.clone();
    loop {
        tokio::select! {
            () = lab.stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let lab = lab.clone();
                    tasks.spawn(async move {
                        tokio::select! {
                            () = lab.stop.cancelled() => {}
                            outcome = converse(&lab, stream) => if let Err(error) = outcome {
                                tracing::debug!(%error, "a control connection ended");
                            }
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket cannot take a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn converse(lab: &Lab, stream: UnixStream) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(tokio::io::AsyncReadExt::take(read, u64::MAX));
    loop {
        let mut line = Vec::new();
        lines.get_mut().set_limit(MAX_LINE);
        if lines.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let mut answer = lab.command(&String::from_utf8_lossy(&line));
        answer.push('\n');
        write.write_all(answer.as_bytes()).await?;
    }
}
