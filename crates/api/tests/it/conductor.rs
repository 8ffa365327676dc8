//! A conductor for tests: knows three hardware types by their published catalogue and does at once what a
//! real one does in time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bessemer_api::conductor::{
    BootDeviceAnswer, IndicatorAnswer, InterfaceValidation, LookupAnswer, ProvisionRequest,
    VendorAnswer, VendorRequest,
};
use bessemer_model::network::{self, VifRequest};
use bessemer_model::{
    AllocationId, Class, Fault, FaultKind, InterfaceKind, Node, NodeId, Object, PowerTarget,
    ProvisionState, Timestamp,
};
use bessemer_store::{AllocationRetry, Network, SignalKind, Store, StoreError};
use bessemer_wire::HeartbeatBody;
use serde_json::{Map, Value, json};

pub struct TestConductor {
    pub store: Store,
    boot_device: Mutex<Option<(String, bool)>>,
    pub heartbeats: Mutex<Vec<HeartbeatBody>>,
    pub requests: Mutex<Vec<ProvisionRequest>>,
}

/// What it publishes; enabled implementations per family, the first is the default.
pub fn catalogue() -> Value {
    let entry = |families: &[(&str, &[&str])]| {
        let mut enabled = Map::new();
        let mut defaults = Map::new();
        for (family, names) in families {
            enabled.insert((*family).into(), json!(names));
            defaults.insert((*family).into(), json!(names.first()));
        }
        json!({"enabled": enabled, "defaults": defaults, "properties": {"address": "Where the BMC is. Required."}})
    };
    let ipmi: &[(&str, &[&str])] = &[
        ("bios", &["no-bios"]),
        ("boot", &["ipxe", "pxe"]),
        ("console", &["no-console"]),
        ("deploy", &["direct", "ramdisk"]),
        ("firmware", &["no-firmware"]),
        ("inspect", &["agent", "no-inspect"]),
        ("management", &["ipmitool", "noop"]),
        ("network", &["noop"]),
        ("power", &["ipmitool"]),
        ("raid", &["no-raid", "agent"]),
        ("rescue", &["no-rescue"]),
        ("storage", &["noop"]),
        ("vendor", &["ipmitool", "no-vendor"]),
    ];
    json!({
        "fake-hardware": entry(&[
            ("bios", &["fake", "no-bios"]),
            ("boot", &["fake", "ipxe", "pxe"]),
            ("console", &["fake", "no-console"]),
            ("deploy", &["fake", "direct", "ramdisk"]),
            ("firmware", &["fake", "no-firmware"]),
            ("inspect", &["fake", "agent", "no-inspect"]),
            ("management", &["fake"]),
            ("network", &["noop"]),
            ("power", &["fake"]),
            ("raid", &["fake", "agent", "no-raid"]),
            ("rescue", &["fake", "no-rescue"]),
            ("storage", &["noop", "fake"]),
            ("vendor", &["fake", "no-vendor"]),
        ]),
        "ipmi": entry(ipmi),
        "redfish": entry(ipmi),
    })
}

impl TestConductor {
    pub fn new(store: Store) -> Self {
        Self {
            store,
            boot_device: Mutex::default(),
            heartbeats: Mutex::default(),
            requests: Mutex::default(),
        }
    }

    async fn network(
        &self,
        node: NodeId,
        change: impl Fn(&mut Network) -> Result<(), Fault> + Send + Sync + 'static,
    ) -> Result<(), Fault> {
        let found = self.store.get_network(node).await.unwrap().unwrap();
        if !network::keeps_vifs(&found.node) {
            return Ok(());
        }
        match self
            .store
            .change_network(node, Arc::new(change), Vec::new())
            .await
        {
            Ok(_) => Ok(()),
            Err(StoreError::Refused(fault)) => Err(fault),
            Err(other) => Err(Fault::internal(other.to_string())),
        }
    }

    async fn change(
        &self,
        node: NodeId,
        change: impl Fn(&mut Node) + Send + Sync + 'static,
    ) -> Result<(), Fault> {
        self.store
            .update_node(
                node,
                None,
                true,
                Arc::new(move |node: &mut Node| {
                    change(node);
                    Ok(())
                }),
                Vec::new(),
            )
            .await
            .map(|_| ())
            .map_err(|e| Fault::internal(e.to_string()))
    }
}

#[async_trait]
impl bessemer_api::Conductor for TestConductor {
    async fn set_provision_state(
        &self,
        node: NodeId,
        request: ProvisionRequest,
    ) -> Result<(), Fault> {
        let manage = request.target == "manage";
        self.requests.lock().unwrap().push(request);
        if manage {
            self.change(node, |node| {
                node.provision_state = ProvisionState::Manageable;
                node.provision_updated_at = Some(Timestamp::now());
            })
            .await?;
        }
        Ok(())
    }

    async fn allocate(&self, allocation: AllocationId) -> Result<(), Fault> {
        let once = AllocationRetry {
            attempts: 1,
            interval: Duration::ZERO,
        };
        self.store
            .match_allocation(allocation, once)
            .await
            .map(|_| ())
            .map_err(|e| Fault::internal(e.to_string()))
    }

    async fn set_power_state(
        &self,
        node: NodeId,
        target: PowerTarget,
        _timeout: Option<u64>,
    ) -> Result<(), Fault> {
        self.change(node, move |node| node.power_state = Some(target.ends_in()))
            .await
    }

    async fn validate(&self, _node: NodeId) -> Result<Vec<InterfaceValidation>, Fault> {
        Ok(InterfaceKind::ALL
            .into_iter()
            .filter(|k| *k != InterfaceKind::Vendor)
            .map(|interface| InterfaceValidation {
                interface,
                result: Some(true),
                reason: None,
            })
            .collect())
    }

    async fn get_boot_device(&self, _node: NodeId) -> Result<BootDeviceAnswer, Fault> {
        let set = self.boot_device.lock().unwrap().clone();
        Ok(BootDeviceAnswer {
            boot_device: set.as_ref().map(|(device, _)| device.clone()),
            // upstream's fake interface always says so
            persistent: Some(false),
        })
    }

    async fn set_boot_device(
        &self,
        _node: NodeId,
        device: String,
        persistent: bool,
    ) -> Result<(), Fault> {
        *self.boot_device.lock().unwrap() = Some((device, persistent));
        Ok(())
    }

    async fn supported_boot_devices(&self, _node: NodeId) -> Result<Vec<String>, Fault> {
        Ok(vec!["pxe".into()])
    }

    async fn inject_nmi(&self, _node: NodeId) -> Result<(), Fault> {
        Err(Fault::unsupported(
            "Driver fake-hardware does not support inject_nmi (disabled or not implemented).",
        ))
    }

    async fn check_driver(
        &self,
        node: &mut Node,
        _set_by_client: &[InterfaceKind],
    ) -> Result<(), Fault> {
        let catalogue = catalogue();
        let Some(entry) = catalogue.get(&node.driver) else {
            return Err(Fault::invalid(format!(
                "No valid host was found. Reason: No conductor service registered which supports driver {} for conductor group \"{}\". Ensure the driver is valid and enabled.",
                node.driver, node.conductor_group
            )));
        };
        for kind in InterfaceKind::ALL {
            let enabled = entry["enabled"][kind.as_str()].as_array().unwrap().clone();
            match node.interfaces.get(kind) {
                None => {
                    let name = enabled[0].as_str().unwrap().to_owned();
                    node.interfaces.set(kind, Some(name));
                }
                Some(name) if enabled.iter().any(|e| e == name) => {}
                Some(name) => {
                    return Err(Fault::invalid(format!(
                        "{kind} interface {name} is not supported by {}",
                        node.driver
                    )));
                }
            }
        }
        Ok(())
    }

    async fn driver_properties(&self, driver: &str) -> Result<Map<String, Value>, Fault> {
        Ok(catalogue()[driver]["properties"]
            .as_object()
            .unwrap()
            .clone())
    }

    async fn lookup(
        &self,
        addresses: Vec<String>,
        node_uuid: Option<NodeId>,
    ) -> Result<LookupAnswer, Fault> {
        let missing = || Fault::new(FaultKind::NotFound, Class::Never, "secret reason");
        let node = match node_uuid {
            Some(id) => self.store.get_node(id).await,
            None => {
                let macs: Vec<_> = addresses.iter().map(|a| a.parse().unwrap()).collect();
                self.store.find_node_by_macs(&macs).await
            }
        };
        let node = node
            .map_err(|e| Fault::internal(e.to_string()))?
            .ok_or_else(missing)?;
        if !node.provision_state.allows_lookup() {
            return Err(missing());
        }
        Ok(LookupAnswer {
            node,
            agent_token: "token-for-the-agent".into(),
        })
    }

    async fn heartbeat(
        &self,
        _node: NodeId,
        body: HeartbeatBody,
        _at: Timestamp,
    ) -> Result<(), Fault> {
        self.heartbeats.lock().unwrap().push(body);
        Ok(())
    }

    // The calls of a driver are tested with the real conductor and the real drivers (`tests`, `driver_api`).

    async fn set_target_raid_config(
        &self,
        _node: NodeId,
        _config: Map<String, Value>,
    ) -> Result<(), Fault> {
        Err(no_driver())
    }

    async fn raid_logical_disk_properties(
        &self,
        _driver: &str,
    ) -> Result<Map<String, Value>, Fault> {
        Err(no_driver())
    }

    async fn set_boot_mode(&self, _node: NodeId, _mode: String) -> Result<(), Fault> {
        Err(no_driver())
    }

    async fn set_secure_boot(&self, _node: NodeId, _enabled: bool) -> Result<(), Fault> {
        Err(no_driver())
    }

    async fn get_console(&self, _node: NodeId) -> Result<Option<Value>, Fault> {
        Err(no_driver())
    }

    async fn set_console(&self, _node: NodeId, _enabled: bool) -> Result<(), Fault> {
        Err(no_driver())
    }

    async fn indicators(&self, _node: NodeId) -> Result<Vec<IndicatorAnswer>, Fault> {
        Err(no_driver())
    }

    async fn get_indicator(
        &self,
        _node: NodeId,
        _component: String,
        _indicator: String,
    ) -> Result<String, Fault> {
        Err(no_driver())
    }

    async fn set_indicator(
        &self,
        _node: NodeId,
        _component: String,
        _indicator: String,
        _state: String,
    ) -> Result<(), Fault> {
        Err(no_driver())
    }

    async fn get_virtual_media(&self, _node: NodeId) -> Result<Vec<Map<String, Value>>, Fault> {
        Err(no_driver())
    }

    async fn attach_virtual_media(
        &self,
        _node: NodeId,
        _device: String,
        _image_url: String,
    ) -> Result<(), Fault> {
        Err(no_driver())
    }

    async fn detach_virtual_media(
        &self,
        _node: NodeId,
        _devices: Vec<String>,
    ) -> Result<(), Fault> {
        Err(no_driver())
    }

    async fn vendor_methods(&self, _node: NodeId) -> Result<Map<String, Value>, Fault> {
        Err(no_driver())
    }

    async fn vendor_call(
        &self,
        _node: NodeId,
        _request: VendorRequest,
    ) -> Result<VendorAnswer, Fault> {
        Err(no_driver())
    }

    async fn driver_vendor_methods(&self, _driver: &str) -> Result<Map<String, Value>, Fault> {
        Err(no_driver())
    }

    async fn driver_vendor_call(
        &self,
        _driver: &str,
        _request: VendorRequest,
    ) -> Result<VendorAnswer, Fault> {
        Err(no_driver())
    }

    async fn vif_list(&self, node: NodeId) -> Result<Vec<String>, Fault> {
        let found = self.store.get_network(node).await.unwrap().unwrap();
        Ok(network::attached(&found.ports, &found.portgroups))
    }

    async fn vif_attach(&self, node: NodeId, vif: VifRequest) -> Result<(), Fault> {
        self.network(node, move |n| {
            network::attach(&n.node, &mut n.ports, &mut n.portgroups, &vif).map(|_| ())
        })
        .await
    }

    async fn vif_detach(&self, node: NodeId, vif: &str) -> Result<(), Fault> {
        let vif = vif.to_owned();
        self.network(node, move |n| {
            network::detach(&n.node, &mut n.ports, &mut n.portgroups, &vif)
        })
        .await
    }

    async fn continue_inspection(
        &self,
        node: NodeId,
        inventory: Object,
        plugin_data: Object,
    ) -> Result<(), Fault> {
        let payload = json!({"inventory": inventory, "plugin_data": plugin_data});
        self.store
            .signal(node, SignalKind::Inspection, payload, None, Vec::new())
            .await
            .unwrap();
        Ok(())
    }
}

fn no_driver() -> Fault {
    Fault::unsupported("The test's conductor has no drivers.")
}
