//! The conductor as the server sees it: starts and stops the engine, answers the calls that need an
//! answer at once.

use std::sync::Arc;

use bessemer_drivers::{Catalogue, Drivers, Environment, Persistence};
use bessemer_model::network::VifRequest;
use bessemer_model::{Fault, InterfaceKind, Node, NodeId, Object, PowerTarget, Timestamp};
use bessemer_store::{Store, StoreError};
use bessemer_wire::HeartbeatBody;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, Shared};
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::verbs::{self, Provision};
use crate::{allocations, error_text, forget, heartbeat, power_sync, report, sensors, vif};

/// One interface of `GET /v1/nodes/{ident}/validate`.
#[derive(Debug, Clone)]
pub struct Validation {
    pub interface: InterfaceKind,
    pub result: Option<bool>,
    pub reason: Option<String>,
}

/// `GET /v1/nodes/{ident}/management/boot_device`.
#[derive(Debug, Clone)]
pub struct BootDevice {
    pub device: Option<String>,
    pub persistent: Option<bool>,
}

/// Answer of a lookup.
#[derive(Clone)]
pub struct LookupAnswer {
    pub node: Node,
    pub agent_token: String,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Conductor {
    pub(crate) shared: Arc<Shared>,
}

impl Conductor {
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(
        store: Store,
        drivers: Drivers,
        mut environment: Environment,
        settings: Settings,
    ) -> Result<Self, Fault> {
        let metrics = Metrics::default();
        environment.bmcs = environment.bmcs.observed_by(metrics.bmc_observer());
        crate::inspection::hooks::check(&settings.inspection.hooks.hooks)
            .map_err(Fault::invalid)?;
        // A provider that was installed by somebody else in this process is the same one.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _installed_by_other = rustls::crypto::ring::default_provider()
                .install_default()
                .is_err();
        }
        let http = reqwest::Client::builder()
            .connect_timeout(std::time::Duration::from_secs(30))
            .user_agent(concat!("bessemer/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Fault::internal(format!("no HTTP client: {e}")))?;
        let patience = std::sync::Mutex::new(settings.graceful_shutdown_timeout);
        let shared = Shared {
            patience,
            metrics,
            store,
            started: Timestamp::now(),
            drivers,
            environment,
            settings,
            wake: Notify::new(),
            allocations: Notify::new(),
            session: std::sync::Mutex::default(),
            left_to_others: std::sync::Mutex::default(),
            http,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Works until cancelled.
    ///
    /// # Errors
    /// When no session can be opened at the start.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), StoreError> {
        let engine = Engine::new(Arc::clone(&self.shared));
        let sync = tokio::spawn(power_sync::run(Arc::clone(&self.shared), stop.clone()));
        let matching = tokio::spawn(allocations::run(Arc::clone(&self.shared), stop.clone()));
        let sampling = tokio::spawn(sensors::run(Arc::clone(&self.shared), stop.clone()));
        let forgetting = tokio::spawn(forget::run(Arc::clone(&self.shared), stop.clone()));
        let ended = engine.run(stop.clone()).await;
        stop.cancel();
        if let Err(error) = forgetting.await {
            tracing::error!(%error, "the clean-up of old rows ended badly");
        }
        if let Err(error) = sampling.await {
            tracing::error!(%error, "the samples of sensors ended badly");
        }
        if let Err(error) = matching.await {
            tracing::error!(%error, "the matching of allocations ended badly");
        }
        if let Err(error) = sync.await {
            tracing::error!(%error, "power sync ended badly");
        }
        self.shared.environment.bmcs.close_idle(true).await;
        self.shared.environment.redfish.close_idle(true).await;
        ended
    }

    /// The stop that comes next is a drain: phases that run may take `[DEFAULT] drain_shutdown_timeout` to end.
    pub fn drain(&self) {
        *self
            .shared
            .patience
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) =
            self.shared.settings.drain_shutdown_timeout;
    }

    /// What this process has counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        self.shared.drivers.catalogue()
    }

    /// Something may be due.
    pub fn wake(&self) {
        self.shared.wake.notify_one();
    }

    /// An allocation was stored: it is looked at soon.
    pub fn allocate(&self) {
        self.shared.allocations.notify_one();
    }

    pub(crate) async fn node(&self, id: NodeId) -> Result<Node, Fault> {
        self.shared
            .store
            .get_node(id)
            .await
            .map_err(|e| error_text::store(&e))?
            .ok_or_else(|| Fault::not_found(format!("Node {id} could not be found.")))
    }

    /// # Errors
    /// See [`verbs::provision`].
    pub async fn provision(&self, node: NodeId, request: Provision) -> Result<(), Fault> {
        verbs::provision(&self.shared, node, request).await
    }

    /// # Errors
    /// See [`verbs::power`].
    pub async fn power(
        &self,
        node: NodeId,
        target: PowerTarget,
        timeout: Option<u64>,
    ) -> Result<(), Fault> {
        verbs::power(&self.shared, node, target, timeout).await
    }

    /// # Errors
    /// Only when the node does not exist or its driver is gone.
    pub async fn validate(&self, id: NodeId) -> Result<Vec<Validation>, Fault> {
        let node = self.node(id).await?;
        let hardware = self.shared.drivers.hardware(&node)?;
        let env = &self.shared.environment;
        let answer = |interface, result: Result<(), Fault>| match result {
            Ok(()) => Validation {
                interface,
                result: Some(true),
                reason: None,
            },
            Err(fault) => Validation {
                interface,
                result: Some(false),
                reason: Some(fault.text),
            },
        };
        Ok(InterfaceKind::ALL
            .into_iter()
            .filter(|kind| *kind != InterfaceKind::Vendor)
            .map(|kind| {
                let checked = match kind {
                    InterfaceKind::Inspect => hardware.validate_inspection(env, &node),
                    kind => hardware.interface(kind).validate(env, &node),
                };
                answer(kind, checked)
            })
            .collect())
    }

    /// # Errors
    /// The driver's.
    pub async fn get_boot_device(&self, id: NodeId) -> Result<BootDevice, Fault> {
        let node = self.node(id).await?;
        let hardware = self.shared.drivers.hardware(&node)?;
        hardware
            .management
            .validate(&self.shared.environment, &node)?;
        let (device, persistent) = hardware
            .management
            .get_boot_device(&self.shared.environment, &node)
            .await?;
        Ok(BootDevice { device, persistent })
    }

    /// # Errors
    /// 400 for a device that the driver does not have, 409 while an operation holds the node, the driver's.
    pub async fn set_boot_device(
        &self,
        id: NodeId,
        device: &str,
        persistent: bool,
    ) -> Result<(), Fault> {
        let node = self.unlocked(id).await?;
        let hardware = self.shared.drivers.hardware(&node)?;
        hardware
            .management
            .validate(&self.shared.environment, &node)?;
        let persistence = if persistent {
            Persistence::Persistent
        } else {
            Persistence::Once
        };
        let effects = hardware
            .management
            .set_boot_device(&self.shared.environment, &node, device, persistence)
            .await?;
        if effects == bessemer_drivers::Effects::default() {
            return Ok(());
        }
        let change: bessemer_store::NodeChange = Arc::new(move |node| {
            effects.apply(node);
            Ok(())
        });
        self.shared
            .store
            .update_node(id, None, false, change, Vec::new())
            .await
            .map(drop)
            .map_err(|e| error_text::store(&e))
    }

    /// # Errors
    /// Only when the node does not exist or its driver is gone.
    pub async fn supported_boot_devices(&self, id: NodeId) -> Result<Vec<String>, Fault> {
        let node = self.node(id).await?;
        let hardware = self.shared.drivers.hardware(&node)?;
        Ok(hardware
            .management
            .supported_boot_devices()
            .iter()
            .map(|d| (*d).to_owned())
            .collect())
    }

    /// # Errors
    /// The driver's.
    pub async fn inject_nmi(&self, id: NodeId) -> Result<(), Fault> {
        let node = self.unlocked(id).await?;
        let hardware = self.shared.drivers.hardware(&node)?;
        hardware
            .management
            .validate(&self.shared.environment, &node)?;
        hardware
            .management
            .inject_nmi(&self.shared.environment, &node)
            .await
    }

    pub(crate) async fn unlocked(&self, id: NodeId) -> Result<Node, Fault> {
        let node = self.node(id).await?;
        match &node.reservation {
            None => Ok(node),
            Some(holder) => Err(error_text::store(&StoreError::Locked {
                node: id.to_string(),
                holder: holder.clone(),
            })),
        }
    }

    /// # Errors
    /// See [`Drivers::complete`].
    pub fn check_driver(&self, node: &mut Node, explicit: &[InterfaceKind]) -> Result<(), Fault> {
        self.shared.drivers.complete(node, explicit)
    }

    /// # Errors
    /// See [`Drivers::properties`].
    pub fn driver_properties(
        &self,
        driver: &str,
    ) -> Result<std::collections::BTreeMap<String, String>, Fault> {
        self.shared.drivers.properties(driver)
    }

    /// # Errors
    /// See [`heartbeat::lookup`].
    pub async fn lookup(
        &self,
        addresses: &[String],
        node: Option<NodeId>,
    ) -> Result<LookupAnswer, Fault> {
        let (node, agent_token) = heartbeat::lookup(&self.shared, addresses, node).await?;
        Ok(LookupAnswer { node, agent_token })
    }

    /// # Errors
    /// See [`heartbeat::heartbeat`].
    pub async fn heartbeat(
        &self,
        node: NodeId,
        body: &HeartbeatBody,
        at: Timestamp,
    ) -> Result<(), Fault> {
        heartbeat::heartbeat(&self.shared, node, body, at).await
    }

    /// # Errors
    /// See [`vif::list`].
    pub async fn vif_list(&self, node: NodeId) -> Result<Vec<String>, Fault> {
        vif::list(&self.shared, node).await
    }

    /// # Errors
    /// See [`vif::attach`].
    pub async fn vif_attach(&self, node: NodeId, request: VifRequest) -> Result<(), Fault> {
        vif::attach(&self.shared, node, request).await
    }

    /// # Errors
    /// See [`vif::detach`].
    pub async fn vif_detach(&self, node: NodeId, id: &str) -> Result<(), Fault> {
        vif::detach(&self.shared, node, id).await
    }

    /// # Errors
    /// See [`report::accept`].
    pub async fn continue_inspection(
        &self,
        node: NodeId,
        inventory: Object,
        plugin_data: Object,
    ) -> Result<(), Fault> {
        report::accept(&self.shared, node, inventory, plugin_data).await
    }
}
