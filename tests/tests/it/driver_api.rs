//! What upstream answers about drivers (`crates/api/tests/record_drivers.py`), asked of the real conductor with the real
//! drivers; and which hardware types and implementations there are, compared with upstream's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bessemer_api::ApiState;
use bessemer_conductor::Conductor;
use bessemer_config::Config;
use bessemer_ipmi::bmc::{BmcServer, Event, MemoryChassis, Users};
use bessemer_model::{InterfaceKind as K, Node, NodeId, OperationId, Timestamp};
use bessemer_server::calls::InProcess;
use bessemer_server::wiring;
use bessemer_store::{NewOperation, Store};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

#[path = "../../../crates/api/tests/it/compare.rs"]
#[allow(clippy::indexing_slicing)]
mod compare;

pub use compare::golden;
use compare::{Reply, Teller, ask, differences, request};

/// Implementations that upstream has and this version has not, with the issue that brings them.
#[rustfmt::skip]
const MISSING: &[(K, &str, &str)] = &[
    (K::Boot, "http", "issue 8"),
    (K::Boot, "http-ipxe", "issue 8"),
    (K::Boot, "idrac-redfish-virtual-media", "issue 8"),
    (K::Boot, "redfish-https", "issue 8"),
    (K::Console, "fake-graphical", "later: graphical consoles"),
    (K::Console, "ipmitool-socat", "issue 6"),
    (K::Console, "redfish-graphical", "later: graphical consoles"),
    (K::Deploy, "anaconda", "issue 8"),
    (K::Deploy, "ansible", "later"),
    (K::Deploy, "autodetect", "issue 7"),
    (K::Deploy, "bootc", "issue 7"),
    (K::Deploy, "custom-agent", "issue 7"),
    (K::Deploy, "ramdisk", "issue 8"),
    (K::Network, "flat", "later: Neutron"),
    (K::Network, "ironic-networking", "later: switch ports"),
    (K::Network, "neutron", "later: Neutron"),
    (K::Power, "agent", "issue 5"),
    (K::Storage, "cinder", "issue 8"),
    (K::Storage, "external", "issue 8"),
];

/// The hardware types that are enabled.
const TYPES: [&str; 6] = [
    "fake-hardware",
    "ipmi",
    "intel-ipmi",
    "manual-management",
    "redfish",
    "idrac",
];

pub struct Service {
    router: axum::Router,
    pub store: Store,
    stop: CancellationToken,
    conductor: tokio::task::JoinHandle<Result<(), bessemer_store::StoreError>>,
    _database: bessemer_store::testing::Database,
}

impl Service {
    pub async fn start() -> Self {
        Self::over(bessemer_store::testing::sqlite()).await
    }

    async fn over(database: bessemer_store::testing::Database) -> Self {
        Self::with(database, |_| {}).await
    }

    /// With settings that `adjust` has changed last.
    pub async fn with(
        database: bessemer_store::testing::Database,
        adjust: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config::dev();
        config.default.host = "localhost".into();
        config.default.enabled_hardware_types = TYPES.map(str::to_owned).to_vec();
        // by name: then `agent` is the default, as in the service that was recorded
        config.default.enabled_inspect_interfaces = Some(
            ["fake", "redfish", "idrac-redfish", "agent", "no-inspect"]
                .map(str::to_owned)
                .to_vec(),
        );
        config.conductor.sync_power_state_interval = Duration::ZERO;
        config.redfish.firmware_update_status_interval = Duration::from_millis(500);
        config.redfish.raid_config_status_interval = Duration::from_millis(500);
        adjust(&mut config);
        let settings = bessemer_store::Settings {
            outbox: bessemer_server::notifications::outbox(&config).unwrap(),
            ..database.settings.clone()
        };
        let store = Store::open(&settings).await.unwrap();
        let conductor = Conductor::new(
            store.clone(),
            wiring::drivers(&config).unwrap(),
            wiring::environment(&config),
            wiring::conductor(&config),
        )
        .unwrap();
        let stop = CancellationToken::new();
        let router = bessemer_api::router(ApiState {
            store: store.clone(),
            conductor: Arc::new(InProcess(conductor.clone())),
            config: Arc::new(config),
        })
        .unwrap();
        let running = tokio::spawn({
            let stop = stop.clone();
            async move { conductor.run(stop).await }
        });
        let service = Self {
            router,
            store,
            stop,
            conductor: running,
            _database: database,
        };
        service
            .until("the conductor to publish its drivers", async || {
                let list = service.get("/v1/drivers").await.json();
                !list["drivers"].as_array().unwrap().is_empty()
            })
            .await;
        service
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.conductor.await.unwrap().unwrap();
    }

    pub async fn get(&self, path: &str) -> Reply {
        let step = json!({"method": "GET", "path": path, "version": "1.115"});
        ask(&self.router, request(&step, "localhost")).await
    }

    /// Without a body.
    pub async fn request(&self, method: &str, path: &str) -> Reply {
        let step = json!({"method": method, "path": path, "version": "1.115"});
        ask(&self.router, request(&step, "localhost")).await
    }

    pub async fn send(&self, method: &str, path: &str, body: Value) -> Reply {
        let step = json!({"method": method, "path": path, "version": "1.115", "body": body});
        ask(&self.router, request(&step, "localhost")).await
    }

    pub async fn until(&self, what: &str, mut seen: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !seen().await {
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits as the recorder did.
    async fn wait(&self, until: &Value) {
        let (node, field) = (
            until["node"].as_str().unwrap(),
            until["field"].as_str().unwrap(),
        );
        self.until(&until.to_string(), async || {
            let path = format!("/v1/nodes/{node}?fields=reservation,{field}");
            let now = self.get(&path).await.json();
            let wanted = if until["value"] == "*" {
                !now[field].is_null()
            } else {
                now[field] == until["value"]
            };
            let open = self.store.get_open_operation(node.parse().unwrap()).await;
            now["reservation"].is_null() && open.unwrap().is_none() && wanted
        })
        .await;
    }
}

/// Differences of a list of hardware types, apart from what is missing.
fn list_differences(theirs: &Value, ours: &Value) -> Vec<String> {
    let by_name = |list: &Value| -> BTreeMap<String, Value> {
        let list = list["drivers"].as_array().unwrap().iter();
        list.map(|one| (one["name"].as_str().unwrap().to_owned(), one.clone()))
            .collect()
    };
    let (theirs, ours) = (by_name(theirs), by_name(ours));
    let mut wrong = Vec::new();
    for name in theirs.keys().filter(|name| TYPES.contains(&name.as_str())) {
        match ours.get(name) {
            Some(have) => wrong.extend(catalogue_differences(&theirs[name], have)),
            None => wrong.push(format!("{name} is missing")),
        }
    }
    for name in ours.keys().filter(|name| !theirs.contains_key(*name)) {
        wrong.push(format!("{name} is not upstream's"));
    }
    wrong
}

/// Differences of the answer about a hardware type, apart from what is missing.
fn catalogue_differences(theirs: &Value, ours: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let (theirs, ours) = (theirs.as_object().unwrap(), ours.as_object().unwrap());
    let keys = |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<BTreeSet<_>>();
    if keys(theirs) != keys(ours) {
        wrong.push(format!(
            "members {:?} instead of {:?}",
            keys(ours),
            keys(theirs)
        ));
    }
    let missing = |kind: K, name: &str| MISSING.iter().any(|(k, n, _)| *k == kind && *n == name);
    for kind in K::ALL {
        let names = |map: &serde_json::Map<String, Value>| -> Option<BTreeSet<String>> {
            let list = map.get(&format!("enabled_{kind}_interfaces"))?.as_array()?;
            Some(
                list.iter()
                    .map(|n| n.as_str().unwrap().to_owned())
                    .collect(),
            )
        };
        let Some(want) = names(theirs) else { continue };
        let want: BTreeSet<String> = want.into_iter().filter(|n| !missing(kind, n)).collect();
        let have = names(ours).unwrap_or_default();
        if want != have {
            wrong.push(format!(
                "enabled_{kind}_interfaces {have:?} instead of {want:?}"
            ));
        }
        let key = format!("default_{kind}_interface");
        let default = theirs[&key].as_str().unwrap();
        if !missing(kind, default) && ours[&key] != theirs[&key] {
            wrong.push(format!("{key} {} instead of {default}", ours[&key]));
        }
    }
    wrong
}

impl Teller for Service {
    async fn between(&self, step: &Value) -> bool {
        if let Some(until) = step.get("until") {
            self.wait(until).await;
        }
        if let Some(allocation) = step["matched"].as_str() {
            let path = format!("/v1/allocations/{allocation}");
            self.until("the allocation", async || {
                self.get(&path).await.json()["state"] != "allocating"
            })
            .await;
        }
        step.get("method").is_none()
    }

    fn judge(&self, step: &Value, reply: &Reply, base: &str) -> Vec<String> {
        if step.pointer("/ours/catalogue").is_none() {
            differences(step, reply, base)
        } else if step["answer"].get("drivers").is_some() {
            list_differences(&step["answer"], &reply.json())
        } else {
            catalogue_differences(&step["answer"], &reply.json())
        }
    }
}

async fn tell(story: &str, at_least: usize) {
    let service = Service::start().await;
    let compared = compare::tell(story, &service.router, None, &service).await;
    service.stop().await;
    assert!(compared > at_least, "only {compared} answers");
}

/// Network function, command and data of what a BMC was asked.
type Commands = Arc<Mutex<Vec<(u8, u8, Vec<u8>)>>>;

/// A simulated BMC and a node of type `ipmi` that has it.
struct Bmc {
    chassis: Arc<MemoryChassis>,
    commands: Commands,
    port: u16,
    stop: CancellationToken,
}

impl Bmc {
    async fn start() -> Self {
        let chassis = Arc::new(MemoryChassis::new());
        let users = Users::administrator("admin", "secret".to_owned().into());
        let commands: Commands = Arc::default();
        let seen = Arc::clone(&commands);
        let server = BmcServer::bind(([127, 0, 0, 1], 0).into(), users, chassis.clone())
            .await
            .unwrap()
            .with_observer(move |event| {
                if let Event::Command {
                    netfn,
                    command,
                    data,
                    ..
                } = event
                {
                    seen.lock().unwrap().push((netfn, command, data));
                }
            });
        let port = server.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Self {
            chassis,
            commands,
            port,
            stop,
        }
    }

    fn saw(&self, netfn: u8, command: u8, data: &[u8]) -> bool {
        self.commands
            .lock()
            .unwrap()
            .iter()
            .any(|(n, c, d)| (*n, *c, d.as_slice()) == (netfn, command, data))
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn ipmi_calls_reach_the_bmc() {
    let bmc = Bmc::start().await;
    let service = Service::start().await;
    let node = json!({"name": "real", "driver": "ipmi", "driver_info": {
        "ipmi_address": "127.0.0.1", "ipmi_port": bmc.port, "ipmi_username": "admin", "ipmi_password": "secret"}});
    assert_eq!(service.send("POST", "/v1/nodes", node).await.status, 201);

    let vendor = "/v1/nodes/real/vendor_passthru";
    for (method, args, want) in [
        (
            "send_raw",
            json!({"raw_bytes": "0x06 0x01"}),
            (6, 1, vec![]),
        ),
        (
            "send_raw",
            json!({"raw_bytes": "0x00 0x08 0x03 0x08"}),
            (0, 8, vec![3, 8]),
        ),
        ("bmc_reset", json!({}), (6, 3, vec![])),
        ("bmc_reset", json!({"warm": "false"}), (6, 2, vec![])),
    ] {
        let reply = service
            .send("POST", &format!("{vendor}/{method}"), args)
            .await;
        assert_eq!((reply.status.as_u16(), reply.text.as_str()), (202, ""));
        service
            .until(method, async || bmc.saw(want.0, want.1, &want.2))
            .await;
    }
    // a command that this BMC does not know
    let raw = json!({"raw_bytes": "0x2c 0x41 0x04"});
    let reply = service
        .send("POST", &format!("{vendor}/send_raw"), raw)
        .await;
    assert_eq!(reply.status, 202);
    service
        .until("the refusal", async || {
            // the call is over when its lock is gone, too
            let node = service
                .get("/v1/nodes/real?fields=last_error,reservation")
                .await
                .json();
            let text = node["last_error"].as_str();
            node["reservation"].is_null()
                && text.is_some_and(|e| e.contains("0x2c 0x41") && e.contains("completion code"))
        })
        .await;

    // what is off has nothing to interrupt
    bmc.chassis.set_on(true);
    let management = "/v1/nodes/real/management";
    let nmi = service
        .send("PUT", &format!("{management}/inject_nmi"), json!({}))
        .await;
    assert_eq!(nmi.status, 204, "{}", nmi.text);
    assert_eq!(bmc.chassis.interrupts(), 1);
    let device = json!({"boot_device": "cdrom", "persistent": true});
    let set = service
        .send("PUT", &format!("{management}/boot_device"), device.clone())
        .await;
    assert_eq!(set.status, 204, "{}", set.text);
    let read = service.get(&format!("{management}/boot_device")).await;
    assert_eq!(read.json(), device);
    let validated = service.get("/v1/nodes/real/validate").await.json();
    assert_eq!(validated["management"], json!({"result": true}));
    assert_eq!(validated["raid"]["result"], json!(false));
    service.stop().await;
}

/// A conductor died while a vendor method ran: nobody knows whether it was carried out, so it is not repeated.
#[tokio::test]
async fn a_vendor_method_is_not_repeated() {
    let database = bessemer_store::testing::sqlite();
    let store = Store::open(&database.settings).await.unwrap();
    let node = Node::new(NodeId::random(), "fake-hardware", Timestamp::now());
    store.create_node(&node, Vec::new()).await.unwrap();
    let operation = NewOperation {
        id: OperationId::random(),
        flow: "call".into(),
        flow_version: 1,
        phase: "call".into(),
        args: json!({"call": "vendor", "method": "log_passthrough", "http_method": "POST", "args": {}}),
        data: json!({}),
    };
    let unchanged: bessemer_store::NodeChange = Arc::new(|_| Ok(()));
    store
        .submit(node.id, operation, unchanged, Vec::new())
        .await
        .unwrap();
    let life = Duration::from_millis(200);
    let drivers = json!({"fake-hardware": {"enabled": {}, "defaults": {}, "properties": {}}});
    let session = store
        .register_conductor("dead", "", &drivers, life)
        .await
        .unwrap();
    assert!(store.renew_session(session, life).await.unwrap());
    let claimed = store
        .claim(session, [("call", 1)].as_slice(), Timestamp::now(), 1)
        .await
        .unwrap();
    assert_eq!(claimed.len(), 1);

    let service = Service::over(database).await;
    let path = format!("/v1/nodes/{}?fields=last_error", node.id);
    service
        .until("the failure", async || {
            let node = service.get(&path).await.json();
            node["last_error"].as_str().is_some_and(|e| {
                e.contains("vendor method log_passthrough") && e.contains("not repeated")
            })
        })
        .await;
    service.stop().await;
}

#[tokio::test]
async fn catalogue() {
    tell("driver_catalogue", 40).await;
}

#[tokio::test]
async fn calls() {
    tell("driver_calls", 200).await;
}

/// States, and what they leave on the node.
#[tokio::test]
async fn provisioning() {
    tell("provisioning", 40).await;
}

/// Every route at the versions where it changes (`crates/api/tests/it/records.rs` asks for them).
#[tokio::test]
async fn versions() {
    tell("versions", 380).await;
}

/// Every member, argument and verb just below and at the version that brought it.
#[tokio::test]
async fn members() {
    tell("members", 200).await;
}

/// `docs/compat/drivers.md`: upstream's hardware types and implementations, and which of them are here.
fn document() -> String {
    let golden = golden("driver_catalogue");
    let mut types: Vec<(&str, &Value)> = golden["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|s| s["version"] == "1.115" && s["answer"].get("enabled_bios_interfaces").is_some())
        .map(|s| (s["answer"]["name"].as_str().unwrap(), &s["answer"]))
        .collect();
    types.sort_by_key(|(name, _)| *name);
    let here = |name: &str| {
        bessemer_drivers::catalog::HARDWARE_TYPES
            .iter()
            .find(|t| t.name == name)
    };
    let mut rows = String::new();
    for (name, _) in &types {
        let state = if here(name).is_some() {
            "here"
        } else {
            "missing: issue 6"
        };
        let _ = writeln!(rows, "| `{name}` | {state} |");
    }
    let mut families = String::new();
    for kind in K::ALL {
        let theirs: BTreeSet<&str> = types
            .iter()
            .flat_map(|(_, answer)| {
                answer[format!("enabled_{kind}_interfaces")]
                    .as_array()
                    .unwrap()
            })
            .map(|n| n.as_str().unwrap())
            .collect();
        for name in theirs {
            let missing = MISSING.iter().find(|(k, n, _)| *k == kind && *n == name);
            let of: Vec<&str> = bessemer_drivers::catalog::HARDWARE_TYPES
                .iter()
                .filter(|t| t.supported(kind).contains(&name))
                .map(|t| t.name)
                .collect();
            let state = match missing {
                Some((_, _, when)) => format!("missing: {when}"),
                None => format!("of {}", of.join(", ")),
            };
            let _ = writeln!(families, "| {kind} | `{name}` | {state} |");
        }
    }
    format!(
        "# Hardware types and interfaces\n\n\
         Generated by a test from what Ironic 39.0.0 lists when everything is enabled\n\
         (`crates/api/tests/goldens/driver_catalogue.json`) and from the table of what is missing\n\
         (`tests/tests/it/driver_api.rs`). What is here is listed for the same hardware types as there; nodes of\n\
         `fake-hardware` may use any enabled implementation. A name that is missing is refused with a sentence, in the\n\
         settings and on a node. Unlike upstream, an implementation need not be enabled by name: when\n\
         `enabled_<family>_interfaces` is not set, all of the type's are (`inspect` by `agent` is the default only where\n\
         it is enabled by name).\n\n\
         | Hardware type | State |\n|---|---|\n{rows}\n\
         | Family | Implementation | State |\n|---|---|---|\n{families}"
    )
}

/// Every name that is missing is upstream's, and none that is here is called missing.
#[test]
fn nothing_is_missing_twice() {
    for (kind, name, _) in MISSING {
        let here = bessemer_drivers::catalog::HARDWARE_TYPES
            .iter()
            .any(|t| t.supported(*kind).contains(name));
        assert!(!here, "{kind} {name} is here; take it off the list");
        assert!(
            document().contains(&format!("| {kind} | `{name}` | missing")),
            "{kind} {name} is not upstream's"
        );
    }
}

/// `BESSEMER_WRITE=1 cargo test -p bessemer-tests driver_api` writes it.
#[test]
fn the_committed_document_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compat/drivers.md");
    if std::env::var_os("BESSEMER_WRITE").is_some() {
        std::fs::write(&path, document()).unwrap();
    }
    let have = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        have == document(),
        "docs/compat/drivers.md is stale: run BESSEMER_WRITE=1 cargo test -p bessemer-tests driver_api"
    );
}
