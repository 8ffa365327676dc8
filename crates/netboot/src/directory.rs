//! What the service asks about hosts and tells about them: a small interface, and the store behind it.

use std::net::Ipv4Addr;
use std::time::Duration;

use async_trait::async_trait;
use bessemer_dhcp::{AddressRange, MacAddress};
use bessemer_model::{InterfaceKind, NodeId, Timestamp};
use bessemer_store::{
    BootKind, MEDIA_BOOTLOADER, Store, StoreError, TimelineEvent, TimelineSource,
};

/// The directory did not answer. The host that asked is left without an answer and asks again.
#[derive(Debug, thiserror::Error)]
#[error("the store did not answer")]
pub struct DirectoryError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl From<StoreError> for DirectoryError {
    fn from(error: StoreError) -> Self {
        Self(Box::new(error))
    }
}

/// By what a host fetches script, kernel and ramdisk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP where its iPXE can: boot interfaces `ipxe`, `http-ipxe`.
    Http,
    /// TFTP alone: boot interface `pxe`.
    Tftp,
}

/// A host that the operator enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its node.
    pub node: NodeId,
    /// The port that asks.
    pub mac: MacAddress,
    /// What it boots.
    pub boot: Boot,
    /// By what it fetches it.
    pub transport: Transport,
}

/// What a host boots next from the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// Its own disk; also when nobody prepared anything.
    Local,
    /// A ramdisk.
    Ramdisk(Ramdisk),
}

/// A kernel with its ramdisk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ramdisk {
    /// `file:///path` or `http://...`; `None` when the boot row lacks it, which is told to whoever asks.
    pub kernel: Option<String>,
    /// `file:///path` or `http://...`.
    pub ramdisk: Option<String>,
    /// Kernel command line apart from `BOOTIF` and `initrd=`.
    pub kernel_params: String,
}

/// What a node boots from virtual media.
#[derive(Clone, PartialEq, Eq)]
pub struct MediaBoot {
    /// Its node.
    pub node: NodeId,
    /// `file:///path`.
    pub kernel: Option<String>,
    /// `file:///path`.
    pub ramdisk: Option<String>,
    /// An EFI system partition, `file:///path`; `None`: no UEFI firmware boots the image.
    pub bootloader: Option<String>,
    /// Kernel command line, with the agent's token: never to be told anybody but by the image.
    pub kernel_params: String,
    /// By which the agent knows the image again.
    pub publisher: String,
    /// `network_data.json`.
    pub network_data: Option<String>,
}

impl std::fmt::Debug for MediaBoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaBoot")
            .field("node", &self.node)
            .field("kernel", &self.kernel)
            .finish_non_exhaustive()
    }
}

/// A wish for an address.
#[derive(Debug, Clone)]
pub struct LeaseRequest {
    /// Name of the network.
    pub network: String,
    /// Who wants it.
    pub mac: MacAddress,
    /// Where it is taken from.
    pub range: AddressRange,
    /// Addresses of the range that nobody gets.
    pub excluded: Vec<Ipv4Addr>,
    /// How long it is kept for this MAC after the last request.
    pub keep: Duration,
}

/// Which service saw something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// DHCP.
    Dhcp,
    /// TFTP.
    Tftp,
    /// HTTP.
    Http,
}

/// Something that happened to a host of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The node.
    pub node: NodeId,
    /// When.
    pub at: Timestamp,
    /// Which service saw it.
    pub source: Source,
    /// A sentence.
    pub text: String,
    /// Bytes that were sent, for transfers.
    pub bytes: Option<u64>,
}

/// Somebody that asked and is no port of any node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Who.
    pub mac: MacAddress,
    /// When.
    pub at: Timestamp,
    /// A sentence.
    pub text: String,
}

/// Where hosts, leases and timelines are kept.
#[async_trait]
pub trait BootDirectory: Send + Sync + 'static {
    /// The host with this MAC; `None` for a stranger.
    async fn host_by_mac(&self, mac: MacAddress) -> Result<Option<Host>, DirectoryError>;

    /// What the node boots from virtual media now, for whoever knows the secret of its image.
    async fn media(&self, node: NodeId, secret: &str) -> Result<Option<MediaBoot>, DirectoryError>;

    /// The address of this MAC: the one that it has, else a free one. It is kept, and never given twice. `None` when the
    /// range is used up.
    async fn lease(&self, request: &LeaseRequest) -> Result<Option<Ipv4Addr>, DirectoryError>;

    /// The address that the MAC has, without giving it one.
    async fn leased(
        &self,
        network: &str,
        mac: MacAddress,
    ) -> Result<Option<Ipv4Addr>, DirectoryError>;

    /// The MAC gave its address back.
    async fn release(&self, network: &str, mac: MacAddress) -> Result<(), DirectoryError>;

    /// Somebody else uses the address: it is not given out for so long.
    async fn quarantine(
        &self,
        network: &str,
        address: Ipv4Addr,
        keep: Duration,
    ) -> Result<(), DirectoryError>;

    /// Adds to the timelines.
    async fn record(&self, events: Vec<Event>) -> Result<(), DirectoryError>;

    /// Remembers who asked without being known.
    async fn record_unknown(&self, who: Unknown) -> Result<(), DirectoryError>;
}

/// The directory that is the store.
#[derive(Clone)]
pub struct StoreDirectory {
    store: Store,
}

impl StoreDirectory {
    /// A directory over this store.
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

fn model_mac(mac: MacAddress) -> bessemer_model::MacAddress {
    bessemer_model::MacAddress(mac.0)
}

#[async_trait]
impl BootDirectory for StoreDirectory {
    async fn host_by_mac(&self, mac: MacAddress) -> Result<Option<Host>, DirectoryError> {
        let Some(port) = self.store.find_port_by_mac(model_mac(mac)).await? else {
            return Ok(None);
        };
        let Some(node) = self.store.get_node(port.node).await? else {
            return Ok(None);
        };
        let row = if port.pxe_enabled {
            self.store.get_boot(node.id).await?
        } else {
            None
        };
        let boot = match row {
            Some(row) if row.kind == BootKind::Ramdisk => Boot::Ramdisk(Ramdisk {
                kernel: row.kernel,
                ramdisk: row.ramdisk,
                kernel_params: row.kernel_params,
            }),
            Some(_) | None => Boot::Local,
        };
        let transport = match node.interfaces.get(InterfaceKind::Boot) {
            Some("pxe") => Transport::Tftp,
            _ => Transport::Http,
        };
        Ok(Some(Host {
            node: node.id,
            mac,
            boot,
            transport,
        }))
    }

    async fn media(&self, node: NodeId, secret: &str) -> Result<Option<MediaBoot>, DirectoryError> {
        let Some(known) = self.store.get_media_secret(node).await? else {
            return Ok(None);
        };
        if !known.opens(secret) {
            return Ok(None);
        }
        let row = self.store.get_boot(node).await?;
        let Some(row) = row.filter(|row| row.kind == BootKind::VirtualMedia) else {
            return Ok(None);
        };
        let Some(found) = self.store.get_node(node).await? else {
            return Ok(None);
        };
        let internal = &found.driver_internal_info;
        let bootloader = internal.get(MEDIA_BOOTLOADER).and_then(|v| v.as_str());
        let network_data = (!found.network_data.is_empty())
            .then(|| serde_json::Value::Object(found.network_data.clone()).to_string());
        Ok(Some(MediaBoot {
            node,
            kernel: row.kernel,
            ramdisk: row.ramdisk,
            bootloader: bootloader.map(str::to_owned),
            kernel_params: format!("{} ipa-agent-token={}", row.kernel_params, known.token()),
            publisher: known.publisher(),
            network_data,
        }))
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<Option<Ipv4Addr>, DirectoryError> {
        let lease = self
            .store
            .lease_address(
                &request.network,
                model_mac(request.mac),
                request.range.first,
                request.range.last,
                &request.excluded,
                request.keep,
                Timestamp::now(),
            )
            .await?;
        Ok(lease.map(|lease| lease.address))
    }

    async fn leased(
        &self,
        network: &str,
        mac: MacAddress,
    ) -> Result<Option<Ipv4Addr>, DirectoryError> {
        let lease = self.store.get_lease(network, model_mac(mac)).await?;
        Ok(lease.map(|lease| lease.address))
    }

    async fn release(&self, network: &str, mac: MacAddress) -> Result<(), DirectoryError> {
        Ok(self.store.release_lease(network, model_mac(mac)).await?)
    }

    async fn quarantine(
        &self,
        network: &str,
        address: Ipv4Addr,
        keep: Duration,
    ) -> Result<(), DirectoryError> {
        let until = Timestamp::now().after(keep);
        Ok(self
            .store
            .quarantine_address(network, address, until)
            .await?)
    }

    async fn record(&self, events: Vec<Event>) -> Result<(), DirectoryError> {
        let mut nodes: Vec<NodeId> = Vec::new();
        for event in &events {
            if !nodes.contains(&event.node) {
                nodes.push(event.node);
            }
        }
        // every node's events are written, also when another node is gone
        let mut failed = None;
        for node in nodes {
            let lines = events
                .iter()
                .filter(|event| event.node == node)
                .map(|event| TimelineEvent {
                    at: event.at,
                    source: match event.source {
                        Source::Dhcp => TimelineSource::Dhcp,
                        Source::Tftp => TimelineSource::Tftp,
                        Source::Http => TimelineSource::Http,
                    },
                    text: event.text.clone(),
                    data: event
                        .bytes
                        .map(|bytes| serde_json::json!({ "bytes": bytes })),
                })
                .collect();
            match self.store.add_timeline(node, lines).await {
                // a node that was deleted meanwhile needs no timeline
                Ok(()) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            None => Ok(()),
            Some(error) => Err(error.into()),
        }
    }

    async fn record_unknown(&self, who: Unknown) -> Result<(), DirectoryError> {
        Ok(self
            .store
            .record_stranger(model_mac(who.mac), &who.text, who.at)
            .await?)
    }
}
