//! A directory in memory, for tests and demonstrations without a store.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bessemer_dhcp::MacAddress;
use bessemer_model::{NodeId, Timestamp};

use crate::directory::{
    BootDirectory, DirectoryError, Event, Host, LeaseRequest, MediaBoot, Unknown,
};

/// A directory in memory.
#[derive(Debug, Default)]
pub struct MemoryDirectory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    hosts: HashMap<MacAddress, Host>,
    media: HashMap<NodeId, (String, MediaBoot)>,
    leases: HashMap<(String, MacAddress), Ipv4Addr>,
    quarantined: HashMap<(String, Ipv4Addr), Timestamp>,
    events: Vec<Event>,
    unknown: Vec<Unknown>,
}

impl MemoryDirectory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a host, or replaces the one with the same MAC.
    pub fn set_host(&self, host: Host) {
        self.state().hosts.insert(host.mac, host);
    }

    /// Gives a node an image for virtual media, for whoever knows the secret.
    pub fn set_media(&self, secret: &str, boot: MediaBoot) {
        let media = (secret.to_owned(), boot);
        self.state().media.insert(media.1.node, media);
    }

    /// What was recorded so far.
    pub fn events(&self) -> Vec<Event> {
        self.state().events.clone()
    }

    /// Who asked without being known.
    pub fn unknown(&self) -> Vec<Unknown> {
        self.state().unknown.clone()
    }

    /// Every lease: network, MAC, address.
    pub fn leases(&self) -> Vec<(String, MacAddress, Ipv4Addr)> {
        let state = self.state();
        state
            .leases
            .iter()
            .map(|((network, mac), address)| (network.clone(), *mac, *address))
            .collect()
    }
}

#[async_trait]
impl BootDirectory for MemoryDirectory {
    async fn record_unknown(&self, who: Unknown) -> Result<(), DirectoryError> {
        self.state().unknown.push(who);
        Ok(())
    }

    async fn host_by_mac(&self, mac: MacAddress) -> Result<Option<Host>, DirectoryError> {
        Ok(self.state().hosts.get(&mac).cloned())
    }

    async fn media(&self, node: NodeId, secret: &str) -> Result<Option<MediaBoot>, DirectoryError> {
        let state = self.state();
        let found = state.media.get(&node);
        Ok(found
            .filter(|(known, _)| known == secret)
            .map(|(_, boot)| boot.clone()))
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<Option<Ipv4Addr>, DirectoryError> {
        let mut state = self.state();
        let key = (request.network.clone(), request.mac);
        if let Some(address) = state.leases.get(&key)
            && request.range.contains(*address)
        {
            return Ok(Some(*address));
        }
        let now = Timestamp::now();
        let free = (request.range.first.to_bits()..=request.range.last.to_bits())
            .map(Ipv4Addr::from_bits)
            .find(|address| {
                let quarantined = state
                    .quarantined
                    .get(&(request.network.clone(), *address))
                    .is_some_and(|until| *until > now);
                !quarantined
                    && !request.excluded.contains(address)
                    && !state.leases.iter().any(|((network, _), taken)| {
                        *network == request.network && taken == address
                    })
            });
        if let Some(address) = free {
            state.leases.insert(key, address);
        }
        Ok(free)
    }

    async fn leased(
        &self,
        network: &str,
        mac: MacAddress,
    ) -> Result<Option<Ipv4Addr>, DirectoryError> {
        let key = (network.to_owned(), mac);
        Ok(self.state().leases.get(&key).copied())
    }

    async fn release(&self, network: &str, mac: MacAddress) -> Result<(), DirectoryError> {
        self.state().leases.remove(&(network.to_owned(), mac));
        Ok(())
    }

    async fn quarantine(
        &self,
        network: &str,
        address: Ipv4Addr,
        keep: Duration,
    ) -> Result<(), DirectoryError> {
        let mut state = self.state();
        state
            .leases
            .retain(|(known, _), taken| known != network || *taken != address);
        let until = Timestamp::now().after(keep);
        state
            .quarantined
            .insert((network.to_owned(), address), until);
        Ok(())
    }

    async fn record(&self, events: Vec<Event>) -> Result<(), DirectoryError> {
        self.state().events.extend(events);
        Ok(())
    }
}
