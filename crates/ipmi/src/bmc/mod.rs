//! A BMC: sessions, chassis commands and boot options over UDP, for tests, demos and fleets of simulated hosts.
//!
//! One socket and one task per BMC and no more than a few kilobytes, so that thousands fit in a
//! process. Faults of the network can be switched on. It must not be exposed as a management
//! interface of anything that matters: it knows no lock-out and keeps its users in memory.

mod boot;
mod commands;
mod faults;
mod memory;
mod sessions;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub use faults::{FaultSwitch, Faults};
pub use memory::MemoryChassis;
pub(crate) use sessions::Bmc;

use crate::chassis::{BootFlags, ChassisControl, DeviceId};
use crate::completion::CompletionCode;
use crate::crypto::CipherSuite;
use crate::packet::MAX_DATAGRAM;
use crate::privilege::Privilege;
use faults::Outbox;

/// The thing that the BMC manages. Calls are made one at a time and should return soon: the BMC answers nobody meanwhile.
#[async_trait]
pub trait Chassis: Send + Sync {
    /// True when the power is on.
    async fn power_state(&self) -> Result<bool, CompletionCode>;
    async fn control(&self, control: ChassisControl) -> CompletionCode;
    /// As last set; the chassis itself clears the valid bit when a boot used flags that are not persistent.
    async fn boot_flags(&self) -> Result<BootFlags, CompletionCode>;
    async fn set_boot_flags(&self, flags: BootFlags) -> CompletionCode;
}

/// Somebody who may log in.
#[derive(Debug, Clone)]
pub struct User {
    pub name: String,
    pub password: SecretString,
    /// The highest level that he gets.
    pub privilege: Privilege,
}

/// Who may log in. Names are unique; the first of two equal ones counts.
#[derive(Debug, Clone, Default)]
pub struct Users(pub Vec<User>);

impl Users {
    /// One administrator.
    pub fn administrator(name: impl Into<String>, password: SecretString) -> Self {
        Self(vec![User {
            name: name.into(),
            password,
            privilege: Privilege::Administrator,
        }])
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&User> {
        self.0.iter().find(|user| user.name.as_bytes() == name)
    }
}

/// What happened at the BMC, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A session was opened.
    Login {
        user: String,
        suite: CipherSuite,
    },
    LoginRefused {
        user: String,
    },
    /// A command was carried out (not: repeated from memory for a repeated request).
    Command {
        user: String,
        netfn: u8,
        command: u8,
        data: Vec<u8>,
        completion_code: CompletionCode,
    },
}

type Observer = Arc<dyn Fn(Event) + Send + Sync>;

/// What the BMC says of itself and what it offers.
#[derive(Clone)]
pub(crate) struct Settings {
    pub users: Users,
    pub suites: Vec<CipherSuite>,
    pub kg: Option<SecretSlice<u8>>,
    pub guid: [u8; 16],
    pub device_id: DeviceId,
    pub max_sessions: usize,
    pub observer: Option<Observer>,
}

impl Settings {
    pub fn new(users: Users) -> Self {
        Self {
            users,
            suites: CipherSuite::PREFERENCE.to_vec(),
            kg: None,
            guid: rand::random(),
            device_id: DeviceId {
                device_id: 0x20,
                device_revision: 1,
                available: true,
                firmware_major: 1,
                firmware_minor: 0,
                ipmi_version: (2, 0),
                manufacturer_id: 0,
                product_id: 0,
                auxiliary_firmware: None,
            },
            max_sessions: 16,
            observer: None,
        }
    }

    /// The BMC key, or nothing where it is all zeros (section 13.31: Kuid is used then).
    pub fn key(&self) -> Option<&[u8]> {
        self.kg
            .as_ref()
            .map(|kg| kg.expose_secret())
            .filter(|kg| kg.iter().any(|byte| *byte != 0))
    }
}

/// A BMC that is bound to its port and not yet running.
pub struct BmcServer {
    socket: UdpSocket,
    settings: Settings,
    chassis: Arc<dyn Chassis>,
    faults: FaultSwitch,
}

impl BmcServer {
    /// Takes the UDP port; 0 takes a free one, see [`BmcServer::local_addr`].
    pub async fn bind(
        address: SocketAddr,
        users: Users,
        chassis: Arc<dyn Chassis>,
    ) -> io::Result<Self> {
        let socket = UdpSocket::bind(address).await?;
        Ok(Self {
            socket,
            settings: Settings::new(users),
            chassis,
            faults: FaultSwitch::default(),
        })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Cipher suites on offer, best first. Default: 17 and 3.
    pub fn with_suites(mut self, suites: &[CipherSuite]) -> Self {
        self.settings.suites = suites.to_vec();
        self
    }

    /// BMC key Kg; default: none.
    pub fn with_kg(mut self, kg: SecretSlice<u8>) -> Self {
        self.settings.kg = Some(kg);
        self
    }

    /// System GUID; default: random.
    pub fn with_guid(mut self, guid: [u8; 16]) -> Self {
        self.settings.guid = guid;
        self
    }

    pub fn with_device_id(mut self, device_id: DeviceId) -> Self {
        self.settings.device_id = device_id;
        self
    }

    /// Sessions at once, those being set up included; default: 16.
    pub fn with_max_sessions(mut self, sessions: usize) -> Self {
        self.settings.max_sessions = sessions;
        self
    }

    pub fn with_faults(self, faults: Faults) -> Self {
        self.faults.set(faults);
        self
    }

    /// Called for every login and command, in the BMC's task: must not block.
    pub fn with_observer(mut self, observer: impl Fn(Event) + Send + Sync + 'static) -> Self {
        self.settings.observer = Some(Arc::new(observer));
        self
    }

    /// Changes the faults while the BMC runs.
    pub fn fault_switch(&self) -> FaultSwitch {
        self.faults.clone()
    }

    /// Answers until cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            socket,
            settings,
            chassis,
            faults,
        } = self;
        let mut bmc = Bmc::new(settings, chassis);
        let mut outbox = Outbox::default();
        let mut buffer = [0u8; MAX_DATAGRAM];
        loop {
            let next = [bmc.next_deadline(), outbox.next_deadline()]
                .into_iter()
                .flatten()
                .min();
            let wake = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                received = socket.recv_from(&mut buffer) => match received {
                    Ok((length, peer)) if !faults.drops() => {
                        let datagram = buffer.get(..length).unwrap_or_default();
                        let answer = tokio::select! {
                            () = stop.cancelled() => return,
                            answer = bmc.handle(datagram, peer) => answer,
                        };
                        if let Some(packet) = answer {
                            faults.post(&mut outbox, packet, peer);
                        }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(%error, "a BMC's socket failed");
                        tokio::task::yield_now().await;
                    }
                },
                () = wake => bmc.tick().await,
            }
            while let Some((packet, peer)) = outbox.due(Instant::now()) {
                if let Err(error) = socket.send_to(&packet, peer).await {
                    tracing::debug!(%error, "a BMC's answer was not sent");
                }
            }
        }
    }
}
