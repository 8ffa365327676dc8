//! A node's life as an operator leads it: one verb after the other, each asked for until it is accepted.
//!
//! The operator knows only the API. When the controller goes away in the middle of a request he looks at the node again
//! and repeats the verb only if the node's state says that it was not accepted.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bessemer_lab::log::Tail;
use bessemer_lab::{Content, Facts, Firmware, Log, WriteEnd};
use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Api, Reply, Unreachable};
use super::images::Image;
use super::{PATIENCE, POLL};

/// One thing that an operator wants of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Manage,
    Provide,
    Deploy,
    PowerOff,
    SoftPowerOff,
    PowerOn,
    Reboot,
    Service,
    Rebuild,
    Undeploy,
    Adopt,
    Rescue,
    Unrescue,
    Inspect,
}

impl Step {
    /// Nearly all of them in an order that is possible.
    pub const LIFE: [Self; 15] = [
        Self::Manage,
        Self::Inspect,
        Self::Adopt,
        Self::Undeploy,
        Self::Deploy,
        Self::PowerOff,
        Self::PowerOn,
        Self::Reboot,
        Self::SoftPowerOff,
        Self::PowerOn,
        Self::Rescue,
        Self::Unrescue,
        Self::Service,
        Self::Rebuild,
        Self::Undeploy,
    ];

    fn is_power(self) -> bool {
        matches!(
            self,
            Self::PowerOff | Self::SoftPowerOff | Self::PowerOn | Self::Reboot
        )
    }

    fn target(self) -> &'static str {
        match self {
            Self::Manage => "manage",
            Self::Provide => "provide",
            Self::Deploy => "active",
            Self::PowerOff => "power off",
            Self::SoftPowerOff => "soft power off",
            Self::PowerOn => "power on",
            Self::Reboot => "rebooting",
            Self::Rebuild => "rebuild",
            Self::Undeploy => "deleted",
            Self::Service => "service",
            Self::Adopt => "adopt",
            Self::Rescue => "rescue",
            Self::Unrescue => "unrescue",
            Self::Inspect => "inspect",
        }
    }
}

/// What the hosts' log had when a step began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    writes: usize,
    power_changes: usize,
    ons: usize,
    local_boots: usize,
    erased: usize,
    reports: usize,
}

enum Stand {
    Ask,
    Wait,
    Done,
}

/// See the module.
pub struct Life {
    api: Api,
    pub host: Facts,
    image: Image,
    log: Tail,
    /// The controller may go away at any time.
    pub patient: bool,
    /// No step takes longer than this.
    pub patience: Duration,
    /// Pause between two looks.
    pub poll: Duration,
    /// Another than the driver's first.
    pub boot_interface: Option<&'static str>,
}

impl Life {
    pub fn new(api: Api, host: Facts, image: Image, log: &std::path::Path) -> Self {
        Self {
            api,
            host,
            image,
            log: Tail::new(log),
            patient: false,
            patience: PATIENCE,
            poll: POLL,
            boot_interface: None,
        }
    }

    /// Everything: enrolled, and every step. The node as it is then.
    pub async fn whole(&mut self, steps: &[Step]) -> Value {
        self.enrol().await;
        let mut node = Value::Null;
        for step in steps {
            node = self.step(*step).await;
        }
        node
    }

    /// Node and port, whatever is there of them already.
    pub async fn enrol(&mut self) {
        let host = self.host.clone();
        let mode = match host.firmware {
            Firmware::Bios => "bios",
            Firmware::Uefi => "uefi",
        };
        let (driver, driver_info) = match host.redfish_url() {
            None => (
                "ipmi",
                json!({
                    "ipmi_address": host.bmc_address,
                    "ipmi_port": host.bmc_port,
                    "ipmi_username": host.bmc_user,
                    "ipmi_password": host.bmc_password,
                }),
            ),
            Some(url) => {
                let pin = host.bmc_certificate.as_ref();
                let verify = pin.map(|digest| json!(format!("sha256:{digest}")));
                (
                    "redfish",
                    json!({
                        "redfish_address": url,
                        "redfish_username": host.bmc_user,
                        "redfish_password": host.bmc_password,
                        "redfish_verify_ca": verify.unwrap_or(json!(true)),
                    }),
                )
            }
        };
        let mut node = json!({
            "name": host.name,
            "driver": driver,
            "inspect_interface": "agent",
            "rescue_interface": "agent",
            "driver_info": driver_info,
            "properties": {"cpu_arch": host.cpu_arch, "capabilities": format!("boot_mode:{mode}")},
        });
        if let Some(boot) = self.boot_interface {
            node["boot_interface"] = json!(boot);
        }
        self.create("/v1/nodes", &node).await;
        let found = self
            .ask(Method::GET, &format!("/v1/nodes/{}", host.name), None)
            .await
            .ok();
        let port = json!({"node_uuid": found["uuid"], "address": host.mac});
        self.create("/v1/ports", &port).await;
    }

    /// A refusal because it is there already is as good, when an answer may have been lost before.
    async fn create(&self, path: &str, body: &Value) {
        let deadline = Instant::now() + self.patience;
        loop {
            match self.api.call(Method::POST, path, Some(body)).await {
                Ok(reply) if reply.status == 201 => return,
                Ok(reply) if reply.status == 409 && self.patient => return,
                Ok(reply) if reply.status != 503 || !self.patient => {
                    panic!("POST {path}: {reply:?}")
                }
                Ok(_) | Err(Unreachable) => {}
            }
            assert!(
                self.patient && Instant::now() < deadline,
                "POST {path}: no answer"
            );
            tokio::time::sleep(self.poll).await;
        }
    }

    /// A request that may be repeated.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let deadline = Instant::now() + self.patience;
        loop {
            match self.api.call(method.clone(), path, body).await {
                Ok(reply) if self.patient && matches!(reply.status, 409 | 503) => {}
                Ok(reply) => return reply,
                Err(Unreachable) => assert!(self.patient, "{method} {path}: no answer"),
            }
            assert!(Instant::now() < deadline, "{method} {path}: no answer");
            tokio::time::sleep(self.poll).await;
        }
    }

    fn seen(&mut self) -> Seen {
        let name = self.host.name.clone();
        let log = self.log.refresh().unwrap();
        Seen {
            writes: log.image_writes(&name).len(),
            power_changes: log.events(&name, "power_on").count()
                + log.events(&name, "power_off").count(),
            ons: log.events(&name, "power_on").count(),
            local_boots: booted(log, &name),
            erased: log.events(&name, "disk_erased").count(),
            reports: log
                .events(&name, "inspection_report")
                .filter(|e| e.data["status"] == 202)
                .count(),
        }
    }

    /// One step to its end; the node then.
    pub async fn step(&mut self, step: Step) -> Value {
        let before = self.seen();
        let path = format!("/v1/nodes/{}", self.host.name);
        if matches!(step, Step::Deploy | Step::Adopt) {
            let patch = json!([{"op": "add", "path": "/instance_info", "value": self.image.instance_info()}]);
            self.ask(Method::PATCH, &path, Some(&patch)).await.ok();
        }
        let deadline = Instant::now() + self.patience;
        let mut accepted = false;
        loop {
            let node = self.ask(Method::GET, &path, None).await.ok();
            if Instant::now() > deadline {
                let tail = self.tail(30);
                panic!(
                    "{step:?} of {}: after {:?} {} ({}), target {}, power {}, reservation {}\n{}\n{tail}",
                    self.host.name,
                    self.patience,
                    node["provision_state"],
                    node["last_error"],
                    node["target_provision_state"],
                    node["power_state"],
                    node["reservation"],
                    self.api.timeline(&self.host.name).await,
                );
            }
            match self.stand(step, &node, accepted, before) {
                Stand::Done => {
                    // `manage` out of a failure leaves it to be read
                    if !matches!(step, Step::Manage) {
                        assert_eq!(node["last_error"], Value::Null, "after {step:?}");
                    }
                    return node;
                }
                Stand::Ask => {
                    let (part, body) = self.request(step);
                    match self
                        .api
                        .call(Method::PUT, &format!("{path}/states/{part}"), Some(&body))
                        .await
                    {
                        Ok(reply) if reply.status == 202 => accepted = true,
                        // locked at this moment, or too busy
                        Ok(reply) if matches!(reply.status, 409 | 503) => {}
                        Ok(reply) => panic!("{step:?} of {}: {reply:?}", self.host.name),
                        Err(Unreachable) => {
                            assert!(self.patient, "{step:?}: the API does not answer")
                        }
                    }
                    continue;
                }
                Stand::Wait => {}
            }
            tokio::time::sleep(if self.patient {
                self.poll
            } else {
                self.poll * 2
            })
            .await;
        }
    }

    fn request(&self, step: Step) -> (&'static str, Value) {
        if step.is_power() {
            return ("power", json!({"target": step.target()}));
        }
        let mut body = json!({"target": step.target()});
        if step == Step::Rescue {
            body["rescue_password"] = json!("open-sesame");
        }
        if step == Step::Service {
            body["service_steps"] =
                json!([{"interface": "deploy", "step": "erase_devices_metadata"}]);
        }
        if matches!(step, Step::Deploy | Step::Rebuild) {
            body["configdrive"] = json!({
                "meta_data": {"hostname": format!("{}-named-by-its-drive", self.host.name)},
                "user_data": "#cloud-config\n",
            });
        }
        ("provision", body)
    }

    fn stand(&mut self, step: Step, node: &Value, accepted: bool, before: Seen) -> Stand {
        let state = node["provision_state"].as_str().unwrap_or_default();
        let failed = state.ends_with("failed") || state == "error" || node["maintenance"] == true;
        let error = &node["last_error"];
        let error_ends = accepted
            && !error.is_null()
            && node["target_provision_state"].is_null()
            && node["target_power_state"].is_null();
        if failed || error_ends {
            let tail = self.tail(40);
            panic!("{step:?} of {}: {state}, {error}\n{tail}", self.host.name);
        }
        if ["target_provision_state", "target_power_state"]
            .iter()
            .any(|target| !node[target].is_null())
        {
            return Stand::Wait;
        }
        let seen = self.seen();
        let (from, to) = match step {
            Step::Manage => ("enroll", "manageable"),
            Step::Provide => ("manageable", "available"),
            Step::Deploy => ("available", "active"),
            Step::Undeploy => ("active", "available"),
            Step::Rebuild if state == "active" && seen.writes > before.writes => {
                let booted = seen.local_boots > before.local_boots;
                return if booted { Stand::Done } else { Stand::Wait };
            }
            Step::Rebuild => ("active", ""),
            Step::Adopt => ("manageable", "active"),
            Step::Rescue => ("active", "rescue"),
            Step::Unrescue => ("rescue", "active"),
            Step::Inspect if state == "manageable" && seen.reports > before.reports => {
                return Stand::Done;
            }
            Step::Inspect => ("manageable", ""),
            Step::Service if state == "active" && seen.erased > before.erased => {
                let on = node["power_state"] == "power on";
                return if on { Stand::Done } else { Stand::Wait };
            }
            Step::Service => ("active", ""),
            Step::PowerOff | Step::SoftPowerOff | Step::PowerOn | Step::Reboot => {
                let wanted = if matches!(step, Step::PowerOff | Step::SoftPowerOff) {
                    "power off"
                } else {
                    "power on"
                };
                let changed = step != Step::Reboot || seen.ons > before.ons;
                let booted = wanted == "power off" || seen.local_boots > before.local_boots;
                return if changed && node["power_state"] == wanted {
                    if booted { Stand::Done } else { Stand::Wait }
                } else if !accepted && seen.power_changes == before.power_changes {
                    Stand::Ask
                } else {
                    Stand::Wait
                };
            }
        };
        if state == to {
            // an instance is there when it has booted
            let boots = matches!(step, Step::Deploy | Step::Unrescue);
            if boots && seen.local_boots == before.local_boots {
                return Stand::Wait;
            }
            return Stand::Done;
        }
        if state == from && !accepted {
            Stand::Ask
        } else {
            Stand::Wait
        }
    }

    /// The end of the host's log.
    fn tail(&mut self, lines: usize) -> String {
        let name = self.host.name.clone();
        let log = self.log.refresh().unwrap();
        let all: Vec<String> = log
            .of_host(&name)
            .map(|e| format!("{} {}", e.t_ms, e.stable()))
            .collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

fn booted(log: &Log, host: &str) -> usize {
    log.events(host, "local_boot")
        .filter(|e| e.text("result") == Some("booted"))
        .count()
}

/// What the host's log must show after these steps: every image written once and whole, by an operation of its own, with
/// a config drive; the disk erased by every cleaning; no destructive command again after it ended.
pub fn assert_clean_life(log: &Log, host: &str, image: &Image, steps: &[Step]) {
    let count = |wanted: &[Step]| steps.iter().filter(|s| wanted.contains(s)).count();
    let writes = log.image_writes(host);
    assert!(
        writes.iter().all(|w| w.end == WriteEnd::Complete),
        "{writes:#?}"
    );
    assert_eq!(
        writes.len(),
        count(&[Step::Deploy, Step::Rebuild]),
        "{writes:#?}"
    );
    let mut operations: Vec<String> = writes
        .iter()
        .map(|w| w.reference.clone().unwrap().operation)
        .collect();
    operations.sort();
    operations.dedup();
    assert_eq!(
        operations.len(),
        writes.len(),
        "one operation wrote twice: {writes:#?}"
    );

    let written: Vec<_> = log
        .events(host, "disk_write_finished")
        .map(|e| {
            serde_json::from_value::<bessemer_lab::Disk>(e.data["disk"].clone())
                .unwrap()
                .content
        })
        .collect();
    for content in written {
        let Content::Image {
            sha256,
            config_drive,
            ..
        } = content
        else {
            panic!("{content:?}")
        };
        assert_eq!(sha256.as_deref(), Some(image.sha256.as_str()));
        assert!(config_drive.is_some(), "no config drive was written");
    }
    let erased = |how: &str| {
        log.events(host, "disk_erased")
            .filter(|e| e.text("how") == Some(how))
            .count()
    };
    let erasures = count(&[Step::Provide, Step::Undeploy, Step::Service]);
    assert_eq!(erased("erase_devices_metadata"), erasures);
    if steps.last() == Some(&Step::Undeploy) {
        assert_eq!(log.final_disk(host).unwrap().content, Content::Erased);
        assert!(!log.powered(host));
    }
    // a command of an operation is carried out once; a repetition after an interruption counts as one, too
    let mut runs: HashMap<(String, u64), usize> = HashMap::new();
    for entry in log
        .events(host, "command_finished")
        .chain(log.events(host, "command_killed"))
    {
        let reference = &entry.data["reference"];
        if let (Some(operation), Some(index)) =
            (reference["operation"].as_str(), reference["index"].as_u64())
        {
            *runs.entry((operation.to_owned(), index)).or_default() += 1;
        }
    }
    let repeated: Vec<_> = runs.iter().filter(|(_, n)| **n > 1).collect();
    assert!(repeated.is_empty(), "repeated: {repeated:?}");
    let violations: Vec<_> = log
        .violations()
        .into_iter()
        .filter(|v| v.host == host)
        .collect();
    assert!(violations.is_empty(), "{violations:#?}");
}
