//! A store, a conductor whose engine is turned by hand, and hosts.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bessemer_drivers::{Bmcs, Drivers, Environment, RedfishBmcs, RedfishSettings};
use bessemer_model::provision::StateKind;
use bessemer_model::{
    Fault, InterfaceKind as K, MacAddress, Node, NodeId, Object, PowerState, PowerTarget,
    ProvisionState, Timestamp,
};
use bessemer_store::testing::{self, Database};
use bessemer_store::{NodeChange, NodeFilter, Operation, OperationStatus, Page, Store};
use bessemer_wire::HeartbeatBody;
use serde_json::json;

use super::host::{Call, Host};
use crate::engine::turns::Turns;
use crate::{Conductor, Provision, Settings};

pub struct World {
    pub conductor: Conductor,
    pub store: Store,
    turns: Turns,
    hosts: BTreeMap<NodeId, Arc<Mutex<Host>>>,
    image: String,
    _database: Database,
}

/// Serves one image to whoever asks, for as long as the process runs.
fn image() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while let Some(Ok(line)) = lines.next() {
                    if !line.is_empty() {
                        continue;
                    }
                    let head = vec![0_u8; 65_536];
                    let answer = "HTTP/1.1 206 Partial Content\r\nContent-Length: 65536\r\nContent-Range: bytes 0-65535/1048576\r\n\r\n";
                    if stream.write_all(answer.as_bytes()).is_err()
                        || stream.write_all(&head).is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    format!("http://{address}/image.raw")
}

fn environment() -> Environment {
    let none = |_: &str| (None, None);
    Environment {
        bmcs: Bmcs::new(Default::default(), Vec::new()),
        redfish: RedfishBmcs::new(RedfishSettings::default()),
        fake_delay: Arc::new(|_| Duration::ZERO),
        default_boot_mode: "uefi".into(),
        ipmi_disable_boot_timeout: true,
        deploy_images: Arc::new(none),
        rescue_images: Arc::new(none),
        file_url_allowed_paths: Vec::new(),
        kernel_append_params: String::new(),
        bootloader: Arc::new(|_| None),
        media_url: String::new(),
    }
}

impl World {
    pub async fn new(adjust: impl FnOnce(&mut Settings)) -> Self {
        let database = testing::sqlite();
        let store = Store::open(&database.settings).await.unwrap();
        let mut settings = Settings::new("tester", "http://192.0.2.1:6385");
        // The clock of the sessions is not the one that the tests move.
        settings.heartbeat_timeout = Duration::from_secs(10 * 365 * 86_400);
        settings.agent_require_tls = false;
        settings.agent_verify_ca = false;
        adjust(&mut settings);
        let drivers = Drivers::new(&["fake-hardware".to_owned()], |_| None, |_| None).unwrap();
        let conductor = Conductor::new(store.clone(), drivers, environment(), settings).unwrap();
        let turns = Turns::new(Arc::clone(&conductor.shared)).await;
        Self {
            conductor,
            store,
            turns,
            hosts: BTreeMap::new(),
            image: image(),
            _database: database,
        }
    }

    /// A node in this state with a host of its own, which is on.
    pub async fn node(
        &mut self,
        name: &str,
        state: ProvisionState,
        adjust: impl FnOnce(&mut Node),
    ) -> NodeId {
        let mut node = Node::new(NodeId::random(), "fake-hardware", Timestamp::now());
        node.name = Some(name.to_owned());
        node.provision_state = state;
        node.power_state = Some(PowerState::On);
        node.instance_info =
            object(json!({"image_source": self.image, "image_checksum": "0".repeat(32)}));
        for (kind, name) in [
            (K::Deploy, "direct"),
            (K::Inspect, "agent"),
            (K::Rescue, "agent"),
            (K::Raid, "agent"),
        ] {
            node.interfaces.set(kind, Some(name.to_owned()));
        }
        adjust(&mut node);
        self.conductor.check_driver(&mut node, &[]).unwrap();
        self.store.create_node(&node, Vec::new()).await.unwrap();
        let port = crate::inspection::hooks::new_port(node.id, mac(node.id));
        self.store.create_port(&port).await.unwrap();
        let host = Arc::new(Mutex::new(Host::new(node.id)));
        super::HOSTS.with_borrow_mut(|hosts| hosts.insert(node.id, Arc::clone(&host)));
        self.hosts.insert(node.id, host);
        node.id
    }

    pub fn host(&self, node: NodeId) -> MutexGuard<'_, Host> {
        self.hosts[&node].lock().unwrap()
    }

    pub async fn get(&self, node: NodeId) -> Node {
        self.store.get_node(node).await.unwrap().unwrap()
    }

    pub async fn open(&self, node: NodeId) -> Option<Operation> {
        self.store.get_open_operation(node).await.unwrap()
    }

    pub async fn all(&self) -> Vec<Node> {
        let filter = NodeFilter {
            include_children: true,
            ..NodeFilter::default()
        };
        let page = Page {
            limit: 1000,
            ..Page::default()
        };
        self.store.list_nodes(&filter, &page).await.unwrap()
    }

    pub async fn ask(&self, node: NodeId, verb: &Verb) -> Result<(), Fault> {
        match verb {
            Verb::Provision(request) => self.conductor.provision(node, request.clone()).await,
            Verb::Power(target) => self.conductor.power(node, *target, None).await,
            Verb::BootMode(mode) => self.conductor.set_boot_mode(node, (*mode).to_owned()).await,
        }
    }

    /// As `PUT` and `DELETE` of `maintenance`.
    pub async fn maintenance(&self, node: NodeId, on: bool) {
        let change: NodeChange = Arc::new(move |node: &mut Node| {
            node.maintenance = on;
            node.fault = None;
            node.maintenance_reason = None;
            Ok(())
        });
        let events = Vec::new();
        self.store
            .update_node(node, None, true, change, events)
            .await
            .unwrap();
    }

    /// What the hosts' ramdisks want of the API by now.
    async fn calls(&self) -> bool {
        let mut any = false;
        for (id, host) in &self.hosts {
            let now = Timestamp::now();
            let Some(call) = host.lock().unwrap().call(now) else {
                continue;
            };
            any = true;
            let url = host.lock().unwrap().url();
            let well = match call {
                Call::Lookup => {
                    let macs = [mac(*id).to_string()];
                    match self.conductor.lookup(&macs, Some(*id)).await {
                        Ok(answer) => {
                            host.lock().unwrap().looked_up(answer.agent_token);
                            // on with the next round
                            continue;
                        }
                        Err(_) => false,
                    }
                }
                Call::Heartbeat { token } => {
                    let body = HeartbeatBody {
                        callback_url: url,
                        agent_token: Some(token),
                        agent_version: Some("1".into()),
                        ..HeartbeatBody::default()
                    };
                    self.conductor.heartbeat(*id, &body, now).await.is_ok()
                }
                Call::Report => {
                    let inventory = object(json!({
                        "interfaces": [{"name": "eth0", "mac_address": mac(*id).to_string()}],
                        "cpu": {"count": 4, "architecture": "x86_64"}, "memory": {"physical_mb": 4096},
                        "disks": [], "boot": {"current_boot_mode": "uefi", "pxe_interface": mac(*id).to_string()},
                        "system_vendor": {"manufacturer": "Test"},
                    }));
                    let report = self
                        .conductor
                        .continue_inspection(*id, inventory, Object::new());
                    report.await.is_ok()
                }
            };
            host.lock().unwrap().called(now, well);
        }
        any
    }

    /// One round of everybody; false when nothing is to do at this time.
    pub async fn round(&mut self) -> bool {
        let called = self.calls().await;
        self.turns.turn().await > 0 || called
    }

    /// To the time when something is to do again; false when there is none.
    pub async fn jump(&self) -> bool {
        let due = self.store.next_due().await.unwrap();
        let hosts = self.hosts.values().filter_map(|h| h.lock().unwrap().next());
        let Some(next) = hosts.chain(due).min() else {
            return false;
        };
        let by = next.since(Timestamp::now()) + Duration::from_millis(1);
        Timestamp::move_this_threads_clock(by);
        true
    }

    /// Until nothing is to do but wait.
    pub async fn settle(&mut self) {
        for _ in 0..2000 {
            if !self.round().await {
                return;
            }
        }
        panic!("the engine does not come to rest");
    }

    /// Until this node has no open operation, or is held.
    pub async fn rest(&mut self, node: NodeId) -> Node {
        for _ in 0..2000 {
            self.settle().await;
            let now = self.get(node).await;
            if self.open(node).await.is_none() || now.provision_state.kind() == StateKind::Hold {
                return now;
            }
            assert!(self.jump().await, "{} waits for nothing", now.label());
        }
        panic!("node {node} does not come to rest");
    }

    /// What must hold of every node whenever nothing runs.
    pub async fn check(&self, node: &Node) {
        let open = self.open(node.id).await;
        let at = format!("{} is {} with {open:?}", node.label(), node.provision_state);
        match node.provision_state.kind() {
            StateKind::Stable | StateKind::Failure => {}
            StateKind::Transient | StateKind::Wait | StateKind::Hold => {
                assert!(open.is_some(), "nobody works on the node: {at}");
            }
        }
        let Some(operation) = open else {
            assert_eq!(node.reservation, None, "{at}");
            assert_eq!(node.target_power_state, None, "{at}");
            return;
        };
        match operation.status {
            OperationStatus::Waiting => {
                assert_eq!(node.reservation, None, "{at}");
                assert!(operation.reason.is_some(), "no reason: {at}");
                let held = node.provision_state.kind() == StateKind::Hold;
                let bounded = operation.deadline_at.is_some() || operation.wake_at.is_some();
                assert!(held || bounded, "no deadline: {at}");
            }
            // of a process that was killed a moment ago
            OperationStatus::Running => {}
            _ => assert_eq!(node.reservation.as_deref(), Some("tester"), "{at}"),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        super::HOSTS.with_borrow_mut(|hosts| hosts.retain(|id, _| !self.hosts.contains_key(id)));
    }
}

/// What a client may ask for.
#[derive(Clone)]
#[allow(clippy::large_enum_variant)] // few, and short-lived
pub enum Verb {
    Provision(Provision),
    Power(PowerTarget),
    BootMode(&'static str),
}

impl Verb {
    pub fn to(target: &str) -> Self {
        Self::Provision(Provision {
            target: target.to_owned(),
            ..Provision::default()
        })
    }

    /// With the steps that make the flow do the most.
    pub fn full(target: &str) -> Self {
        let steps = json!([
            {"interface": "deploy", "step": "erase_devices_metadata"},
            {"interface": "management", "step": "look_twice"},
            {"interface": "deploy", "step": "burnin"},
            {"interface": "management", "step": "restart"},
            {"interface": "power", "step": "reboot"},
            {"interface": "deploy", "step": "wait", "args": {"seconds": 5}},
        ]);
        let services = json!([
            {"interface": "deploy", "step": "burnin"},
            {"interface": "management", "step": "restart"},
            {"interface": "deploy", "step": "wait"},
            {"interface": "deploy", "step": "inject_files"},
        ]);
        Self::Provision(Provision {
            target: target.to_owned(),
            clean_steps: (target == "clean").then_some(steps),
            service_steps: (target == "service").then_some(services),
            rescue_password: (target == "rescue").then(|| "secret".to_owned()),
            ..Provision::default()
        })
    }
}

pub fn object(value: serde_json::Value) -> Object {
    value.as_object().cloned().unwrap()
}

fn mac(node: NodeId) -> MacAddress {
    let b = node.0.as_bytes();
    format!("52:54:{:02x}:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2], b[3])
        .parse()
        .unwrap()
}
