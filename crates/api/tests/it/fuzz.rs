//! Random requests to every route: whatever is sent, the answer is no server error, and a refusal says why.

use axum::body::Body;
use bessemer_api::versions::ROUTES;
use bessemer_store::testing::sqlite;
use http::{HeaderName, HeaderValue, Request, StatusCode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

use crate::service::{HOST, Reply, Service};

const NODE: &str = "0000000a-0000-4000-8000-000000000001";
/// Requests to each route.
const ROUNDS: usize = 60;
const METHODS: [&str; 12] = [
    "GET", "GET", "GET", "POST", "POST", "PUT", "PUT", "PATCH", "PATCH", "DELETE", "HEAD", "BREW",
];
const NAMES: [&str; 60] = [
    "fields",
    "detail",
    "limit",
    "marker",
    "sort_key",
    "sort_dir",
    "maintenance",
    "associated",
    "retired",
    "provision_state",
    "driver",
    "instance_uuid",
    "chassis_uuid",
    "resource_class",
    "fault",
    "owner",
    "lessee",
    "project",
    "description_contains",
    "shard",
    "sharded",
    "parent_node",
    "include_children",
    "conductor",
    "conductor_group",
    "conductor_groups",
    "instance_name",
    "node",
    "node_uuid",
    "address",
    "addresses",
    "portgroup",
    "type",
    "state",
    "reset_interfaces",
    "method",
    "enabled",
    "device_types",
    "agent_token",
    "callback_url",
    "agent_version",
    "target",
    "timeout",
    "configdrive",
    "clean_steps",
    "deploy_steps",
    "runbook",
    "reason",
    "boot_device",
    "persistent",
    "traits",
    "name",
    "extra",
    "uuid",
    "properties",
    "steps",
    "priority",
    "volume_id",
    "boot_index",
    "candidate_nodes",
];
const TEXTS: [&str; 34] = [
    "",
    "x",
    "True",
    "false",
    "maybe",
    "0",
    "-1",
    "1",
    "99999999999999999999",
    "1.5",
    "NaN",
    "uuid",
    "uuid,name",
    ",,,",
    "extra",
    NODE,
    "0000000a-0000-4000-8000-00000000000g",
    "fuzzed",
    "52:54:00:00:00:01",
    "52:54:00:00:00:zz",
    "power on",
    "manage",
    "clean",
    "active",
    "enroll",
    "asc",
    "desc",
    "CUSTOM_X",
    "http://[::1",
    "file:///etc/passwd",
    "é\u{1F600}\u{202e}",
    "a'b\"c\\d",
    "%00%ff",
    "\u{0}",
];

struct Dice(StdRng);

impl Dice {
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.random_range(0..of.len())]
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }

    fn text(&mut self) -> String {
        match self.0.random_range(0..20) {
            0 => "y".repeat(self.0.random_range(0..5000)),
            1 => (0..self.0.random_range(0..12))
                .map(|_| char::from_u32(self.0.random_range(0..0xd800)).unwrap())
                .collect(),
            _ => self.one(&TEXTS).to_owned(),
        }
    }

    fn value(&mut self, depth: u32) -> Value {
        match self.0.random_range(0..if depth > 3 { 7 } else { 10 }) {
            0 => Value::Null,
            1 => self.0.random::<bool>().into(),
            2 => self.0.random_range(-3..3i64).into(),
            3 => json!(self.0.random::<f64>() * 1e300),
            4..7 => self.text().into(),
            7 => (0..self.0.random_range(0..4))
                .map(|_| self.value(depth + 1))
                .collect(),
            _ => Value::Object(self.object(depth + 1)),
        }
    }

    fn object(&mut self, depth: u32) -> Map<String, Value> {
        (0..self.0.random_range(0..4))
            .map(|_| {
                let name = if self.chance(80) {
                    self.one(&NAMES).to_owned()
                } else {
                    self.text()
                };
                (name, self.value(depth))
            })
            .collect()
    }

    /// A body that means something to some route, with one thing or two replaced.
    fn known_body(&mut self) -> Value {
        let mut body = match self.0.random_range(0..12) {
            0 => {
                json!({"driver": "fake-hardware", "name": "fuzzed", "extra": {}, "properties": {}, "driver_info": {}})
            }
            1 => {
                json!({"node_uuid": NODE, "address": "52:54:00:00:00:02", "extra": {}, "local_link_connection": {}})
            }
            2 => json!({"target": "manage"}),
            3 => {
                json!({"target": "clean", "clean_steps": [{"interface": "deploy", "step": "x", "args": {}}]})
            }
            4 => json!({"target": "power on", "timeout": 5}),
            5 => json!({"traits": ["CUSTOM_A"]}),
            6 => {
                json!({"callback_url": "http://192.0.2.1:9999", "agent_token": "t", "agent_version": "1"})
            }
            7 => json!({"boot_device": "pxe", "persistent": true}),
            8 => {
                json!({"name": "CUSTOM_T", "steps": [{"interface": "deploy", "step": "x", "args": {}, "priority": 1, "order": 1}]})
            }
            9 => {
                json!({"resource_class": "rc", "name": "a", "traits": [], "candidate_nodes": [NODE]})
            }
            10 => {
                json!({"node_uuid": NODE, "volume_type": "iscsi", "boot_index": 0, "volume_id": "v", "type": "iqn", "connector_id": "c"})
            }
            _ => {
                json!({"reason": "r", "id": "v", "enabled": true, "device_type": "cdrom", "image_url": "http://x"})
            }
        };
        if let Some(map) = body.as_object_mut() {
            for _ in 0..self.0.random_range(0..3) {
                let names: Vec<String> = map.keys().cloned().collect();
                let name = names[self.0.random_range(0..names.len())].clone();
                let value = self.value(2);
                map.insert(name, value);
            }
        }
        body
    }

    fn patch(&mut self) -> Value {
        let roots = [
            "extra",
            "name",
            "driver_info",
            "properties",
            "maintenance",
            "description",
            "uuid",
            "traits",
            "address",
            "steps",
            "",
        ];
        (0..self.0.random_range(0..4))
            .map(|_| {
                let mut path = format!("/{}", self.one(&roots));
                while self.chance(40) {
                    path.push('/');
                    path.push_str(self.one(&["a", "0", "-", "~0", "~1", "b", "", "99", "é"]));
                }
                let mut op = json!({"op": self.one(&["add", "replace", "remove", "add", "replace", "test", "move"]), "path": path});
                if self.chance(80) {
                    op["value"] = self.value(1);
                }
                op
            })
            .collect()
    }

    fn body(&mut self) -> Vec<u8> {
        match self.0.random_range(0..10) {
            0 => Vec::new(),
            1 => (0..self.0.random_range(0..40))
                .map(|_| self.0.random::<u8>())
                .collect(),
            2 => self.value(0).to_string().into_bytes(),
            3 | 4 => self.patch().to_string().into_bytes(),
            5 => {
                let mut bytes = self.known_body().to_string().into_bytes();
                let at = self.0.random_range(0..bytes.len());
                bytes[at] = self.0.random();
                bytes
            }
            _ => self.known_body().to_string().into_bytes(),
        }
    }

    /// The path of a route with something in place of its names.
    fn path(&mut self, pattern: &str) -> String {
        let mut path = String::new();
        for segment in pattern.split('/').skip(1) {
            path.push('/');
            if !segment.starts_with('{') {
                path.push_str(segment);
            } else if self.chance(50) {
                path.push_str(self.one(&[
                    NODE,
                    "fuzzed",
                    "fake-hardware",
                    "localhost",
                    "CUSTOM_X",
                ]));
            } else {
                let text = self.text();
                path.push_str(&percent(text.get(..60).unwrap_or(&text)));
            }
        }
        if self.chance(5) {
            path.push_str(self.one(&["/", "//", ".json", "/x", "%2f", "%"]));
        }
        path
    }

    fn query(&mut self) -> String {
        (0..self.0.random_range(0..4))
            .map(|_| {
                let name = if self.chance(95) {
                    self.one(&NAMES).to_owned()
                } else {
                    self.text()
                };
                match self.0.random_range(0..20) {
                    0 => percent(&name),
                    1 => format!("{}=%f{}", percent(&name), self.one(&["", "g", "f"])),
                    _ => format!("{}={}", percent(&name), percent(&self.text())),
                }
            })
            .collect::<Vec<_>>()
            .join("&")
    }
}

fn percent(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// A refusal in one of its shapes, with a sentence where there is something to say.
fn check_refusal(reply: &Reply, said: &str) {
    let body = reply.json();
    let inner = match body.get("error_message").and_then(Value::as_str) {
        Some(inner) => serde_json::from_str(inner).unwrap(),
        None => body,
    };
    let text = inner
        .get("faultstring")
        .or(inner.get("description"))
        .or(inner["error"].get("message"))
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no shape of a refusal: {said}: {inner}"));
    // an unknown path and a wrong method have no sentence upstream either
    let bare = [404, 405].contains(&reply.status.as_u16()) && inner.get("description").is_some();
    assert!(!text.is_empty() || bare, "no reason: {said}");
}

#[tokio::test]
async fn no_random_request_is_a_server_error() {
    let database = sqlite();
    let service = Service::start(&database.settings).await;
    let mut dice = Dice(StdRng::seed_from_u64(2026));
    let mut statuses = std::collections::BTreeMap::new();
    for route in ROUTES {
        for _ in 0..ROUNDS {
            if service.store.find_node(NODE).await.unwrap().is_none() {
                let body = json!({"uuid": NODE, "name": "fuzzed", "driver": "fake-hardware"});
                let made = service.ask("POST", "/v1/nodes", Some(body.clone())).await;
                if made.status == StatusCode::CONFLICT {
                    service.ask("DELETE", "/v1/nodes/fuzzed", None).await;
                    service.ask("POST", "/v1/nodes", Some(body)).await;
                }
            }
            let method = if dice.chance(70) {
                route.endpoints[dice.0.random_range(0..route.endpoints.len())]
                    .method
                    .as_str()
            } else {
                dice.one(&METHODS)
            };
            let (path, query) = (dice.path(route.path), dice.query());
            let target = if query.is_empty() {
                path
            } else {
                format!("{path}?{query}")
            };
            let Ok(uri) = target.parse::<http::Uri>() else {
                continue;
            };
            let version = match dice.0.random_range(0..10) {
                0 => dice.text(),
                1 => format!("1.{}", dice.0.random_range(0..120)),
                2 => "1.1".into(),
                _ => "1.115".into(),
            };
            let bytes = if method == "GET" {
                Vec::new()
            } else {
                dice.body()
            };
            let mut request = Request::builder()
                .method(method)
                .uri(uri)
                .header("host", HOST);
            for (name, value) in [
                ("x-openstack-ironic-api-version", version.clone()),
                (
                    "content-type",
                    dice.one(&[
                        "application/json",
                        "application/json; charset=utf-8",
                        "text/plain",
                        "multipart/form-data",
                        "é",
                    ])
                    .to_owned(),
                ),
                (
                    "accept",
                    dice.one(&["application/json", "*/*", "text/html", "\u{7f}"])
                        .to_owned(),
                ),
                ("x-forwarded-for", dice.text()),
            ] {
                if let (Ok(name), Ok(value)) = (
                    HeaderName::try_from(name),
                    HeaderValue::from_bytes(value.as_bytes()),
                ) {
                    request = request.header(name, value);
                }
            }
            let said = format!(
                "{method} {target:.300} at {version:.20} with {:.400}",
                String::from_utf8_lossy(&bytes)
            );
            let reply = service.send(request.body(Body::from(bytes)).unwrap()).await;
            *statuses.entry(reply.status.as_u16()).or_insert(0) += 1;
            assert!(
                !reply.status.is_server_error(),
                "{said}: {} {}",
                reply.status,
                reply.text
            );
            if reply.status.is_client_error() && method != "HEAD" {
                check_refusal(&reply, &format!("{said}: {} {}", reply.status, reply.text));
            }
        }
    }
    // the dice must not only hit walls
    let seen = |status: u16| statuses.get(&status).copied().unwrap_or(0);
    assert!(
        seen(200) > 100 && seen(400) > 300 && seen(404) > 100,
        "{statuses:?}"
    );
}
