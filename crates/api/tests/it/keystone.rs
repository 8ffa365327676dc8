//! `keystone`: against the real Keystone (PyPI `keystone` over SQLite, from a virtual environment that is made
//! once and kept), and every persona's answers compared with those of upstream's own service under the same
//! Keystone (`record_personas.py`).

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use bessemer_config::{AuthStrategy, Config};
use bessemer_store::testing::sqlite;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::service::{HOST, Reply, Service};

const KEYSTONE: &str = "30.0.0";

fn python() -> PathBuf {
    let package = format!("keystone=={KEYSTONE}");
    bessemer_peers::python(&format!("keystone-{KEYSTONE}"), &[&package]).unwrap()
}

/// A running Keystone.
struct Keystone {
    child: Child,
    about: Value,
    http: reqwest::Client,
    _directory: tempfile::TempDir,
}

impl Drop for Keystone {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Keystone {
    fn start() -> Self {
        let _other_test_was_first = rustls::crypto::ring::default_provider()
            .install_default()
            .is_err();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/serve_keystone.py");
        let mut child = Command::new(python())
            .args(["-W", "ignore"])
            .arg(script)
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let line = out
            .lines()
            .map_while(Result::ok)
            .find(|line| line.starts_with("{\"url\""))
            .expect("Keystone says that it serves");
        Self {
            child,
            about: serde_json::from_str(&line).unwrap(),
            http,
            _directory: directory,
        }
    }

    fn url(&self) -> &str {
        self.about["url"].as_str().unwrap()
    }

    fn project(&self, name: &str) -> &str {
        self.about["projects"][name].as_str().unwrap()
    }

    async fn token(&self, user: &str) -> String {
        let scope = match self.about["scopes"][user][1].as_str() {
            Some(project) => json!({"project": {"id": self.project(project)}}),
            None => json!({"system": {"all": true}}),
        };
        self.issued(json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "id": self.about["users"][user], "password": self.about["password"]}}},
            "scope": scope,
        }}))
        .await
    }

    async fn issued(&self, body: Value) -> String {
        let url = format!("{}/auth/tokens", self.url());
        let answer = self.http.post(url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        answer.headers()["x-subject-token"]
            .to_str()
            .unwrap()
            .to_owned()
    }

    fn config(&self) -> Config {
        let mut config = Config::dev();
        config.default.auth_strategy = Some(AuthStrategy::Keystone);
        let keystone = &mut config.keystone_authtoken;
        keystone.auth_url = Some(self.url().trim_end_matches("/v3").to_owned());
        keystone.www_authenticate_uri = Some("https://keystone.example.com".into());
        keystone.username = Some("ironic".into());
        keystone.password = Some("secret".to_owned().into());
        keystone.user_domain_name = Some("Default".into());
        keystone.project_name = Some("service".into());
        keystone.project_domain_id = Some("default".into());
        keystone.http_connect_timeout = Duration::from_secs(60);
        config
    }
}

async fn ask(service: &Service, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", HOST)
        .header("x-openstack-ironic-api-version", "1.115");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    service.send(request.body(Body::empty()).unwrap()).await
}

/// Everything in one test: a Keystone costs seconds.
#[tokio::test]
async fn under_a_real_keystone() {
    let keystone = Arc::new(tokio::task::spawn_blocking(Keystone::start).await.unwrap());
    tokens(&keystone).await;
    application_credentials(&keystone).await;
    operators_rules(&keystone).await;
    personas(&keystone).await;
    without_rights(&keystone).await;
    gone(keystone).await;
}

/// What counts as a token, and for how long.
async fn tokens(keystone: &Keystone) {
    let database = sqlite();
    let mut config = keystone.config();
    config.keystone_authtoken.token_cache_time = 1;
    let service = Service::with(&database.settings, config).await;
    let refused = |reply: &Reply| {
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{}", reply.text);
        assert_eq!(
            reply.headers["www-authenticate"],
            "Keystone uri=\"https://keystone.example.com\""
        );
        assert_eq!(
            reply.json(),
            json!({"error": {"code": 401, "title": "Unauthorized",
                             "message": "The request you have made requires authentication."}})
        );
    };
    let long = "x".repeat(20_000);
    for token in ["", "x", "gAAAAAB", &long, "\u{fc}"] {
        refused(&ask(&service, "GET", "/v1/nodes", &[("x-auth-token", token)]).await);
    }
    refused(&ask(&service, "GET", "/v1/nodes", &[]).await);
    refused(&ask(&service, "GET", "/v1/nosuch", &[]).await);
    // who writes the headers that a proxy might is nobody by them
    let pretended = [
        ("x-user-id", "u"),
        ("x-roles", "admin"),
        ("openstack-system-scope", "all"),
        ("x-identity-status", "Confirmed"),
    ];
    refused(&ask(&service, "GET", "/v1/nodes", &pretended).await);
    for public in ["/", "/v1", "/healthcheck"] {
        assert_eq!(
            ask(&service, "GET", public, &[]).await.status,
            200,
            "{public}"
        );
    }
    assert_eq!(
        ask(&service, "GET", "/v1/lookup?addresses=x", &[])
            .await
            .status,
        400
    );

    let reader = keystone.token("system-reader").await;
    let reply = ask(&service, "GET", "/v1/nodes", &[("x-auth-token", &reader)]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let reply = ask(
        &service,
        "GET",
        "/v1/nodes",
        &[("x-storage-token", &reader)],
    )
    .await;
    assert_eq!(reply.status, 200, "{}", reply.text);

    // a service's token beside it must be one; its scope and roles are not the user's
    let nova = keystone.token("nova").await;
    let admin = keystone.token("system-admin").await;
    let member = keystone.token("neither-member").await;
    let status = async |path: &str, user: &str, beside: &str| {
        let headers = [("x-auth-token", user), ("x-service-token", beside)];
        ask(&service, "GET", path, &headers).await.status
    };
    assert_eq!(status("/v1/nodes", &reader, &nova).await, 200);
    assert_eq!(status("/v1/nodes", &reader, &admin).await, 401);
    assert_eq!(status("/v1/nodes", &reader, "x").await, 401);
    assert_eq!(status("/v1/conductors", &member, &nova).await, 403);
    assert_eq!(status("/v1/conductors", &reader, &nova).await, 200);

    // revoked: as soon as it is no longer remembered
    let url = format!("{}/auth/tokens", keystone.url());
    let answer = keystone
        .http
        .delete(url)
        .header("x-auth-token", &reader)
        .header("x-subject-token", &reader)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 204);
    let until = Instant::now() + Duration::from_secs(60);
    while ask(&service, "GET", "/v1/nodes", &[("x-auth-token", &reader)])
        .await
        .status
        != 401
    {
        assert!(Instant::now() < until, "a revoked token still works");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Application credentials, with access rules and without.
async fn application_credentials(keystone: &Keystone) {
    let database = sqlite();
    let service = Service::with(&database.settings, keystone.config()).await;
    let member = keystone.token("owner-member").await;
    let user = keystone.about["users"]["owner-member"].as_str().unwrap();
    let token = async |name: &str, rules: Value| {
        let mut credential = json!({"name": name, "secret": "s"});
        if !rules.is_null() {
            credential["access_rules"] = rules;
        }
        let url = format!("{}/users/{user}/application_credentials", keystone.url());
        let answer = keystone
            .http
            .post(url)
            .header("x-auth-token", &member)
            .json(&json!({"application_credential": credential}))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 201);
        let made: Value = answer.json().await.unwrap();
        keystone
            .issued(json!({"auth": {"identity": {
                "methods": ["application_credential"],
                "application_credential": {"id": made["application_credential"]["id"], "secret": "s"},
            }}}))
            .await
    };
    let all = token("all", Value::Null).await;
    let some = token(
        "some",
        json!([{"service": "baremetal", "method": "GET", "path": "/v1/nodes/*"}]),
    )
    .await;
    let check = async |token: &str, path: &str, want: u16| {
        let reply = ask(&service, "GET", path, &[("x-auth-token", token)]).await;
        assert_eq!(reply.status, want, "{path}: {}", reply.text);
    };
    check(&all, "/v1/nodes", 200).await;
    check(&all, "/v1/nodes/x", 404).await;
    check(&some, "/v1/nodes", 401).await;
    check(&some, "/v1/nodes/x", 404).await;
    check(&some, "/v1/nodes/x/states", 401).await;
}

/// An operator's own policy file.
async fn operators_rules(keystone: &Keystone) {
    let database = sqlite();
    let directory = tempfile::tempdir().unwrap();
    let mut config = keystone.config();
    config.oslo_policy.policy_file = directory.path().join("policy.yaml");
    std::fs::write(
        &config.oslo_policy.policy_file,
        "\"show_password\": \"role:admin\"\n\
         \"baremetal:conductor:get\": \"role:member\"\n\
         \"baremetal:driver:ipa_lookup\": \"!\"\n\
         \"baremetal:step:execute:deploy.erase_devices\": \"role:nosuch\"\n",
    )
    .unwrap();
    let service = Service::with(&database.settings, config).await;
    let admin = keystone.token("system-admin").await;
    let mut request = Request::builder()
        .method("POST")
        .uri("/v1/nodes")
        .header("host", HOST)
        .header("x-openstack-ironic-api-version", "1.115")
        .header("x-auth-token", &admin)
        .header("content-type", "application/json");
    let body = json!({"name": "n", "driver": "ipmi", "owner": keystone.project("owner"),
                      "driver_info": {"ipmi_password": "secret"}, "instance_info": {"configdrive": "c"}});
    let made = service
        .send(request.body(Body::from(body.to_string())).unwrap())
        .await;
    assert_eq!(made.status, 201, "{}", made.text);
    for path in [
        "/v1/nodes/n",
        "/v1/nodes/detail",
        "/v1/nodes?fields=driver_info,instance_info",
    ] {
        for (user, password) in [("system-admin", "secret"), ("owner-member", "******")] {
            let token = keystone.token(user).await;
            let reply = ask(&service, "GET", path, &[("x-auth-token", &token)]).await;
            let body = reply.json();
            let node = body.get("nodes").map_or(&body, |nodes| &nodes[0]);
            assert_eq!(
                node["driver_info"]["ipmi_password"], password,
                "{path} {user}"
            );
            assert_eq!(
                node["instance_info"]["configdrive"], "******",
                "{path} {user}"
            );
        }
    }
    let member = keystone.token("neither-member").await;
    let reply = ask(
        &service,
        "GET",
        "/v1/conductors",
        &[("x-auth-token", &member)],
    )
    .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let reply = ask(
        &service,
        "GET",
        "/v1/lookup?addresses=52:54:00:00:00:01",
        &[],
    )
    .await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    request = Request::builder()
        .method("PUT")
        .uri("/v1/nodes/n/states/provision")
        .header("host", HOST)
        .header("x-openstack-ironic-api-version", "1.115")
        .header("x-auth-token", &admin);
    let body = json!({"target": "clean", "clean_steps": [{"interface": "deploy", "step": "erase_devices"}]});
    let reply = service
        .send(request.body(Body::from(body.to_string())).unwrap())
        .await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    assert_eq!(
        reply.fault(),
        "insufficient privileges to execute step erase_devices on interface deploy"
    );
}

/// What a recorded answer and ours have in common.
fn seen(reply: &Reply) -> Value {
    const SEEN: [&str; 8] = [
        "uuid",
        "owner",
        "lessee",
        "driver_info",
        "driver_internal_info",
        "last_error",
        "reservation",
        "instance_info",
    ];
    let Ok(answer) = serde_json::from_str::<Value>(&reply.text) else {
        return Value::Null;
    };
    let cut = |item: &Value| -> Value {
        let kept = SEEN
            .into_iter()
            .filter_map(|key| Some((key.to_owned(), item.get(key)?.clone())));
        Value::Object(kept.collect())
    };
    if let Some(text) = answer["error_message"].as_str() {
        let inner: Value = serde_json::from_str(text).unwrap();
        let said = inner.get("faultstring").or(inner.get("description"));
        return json!({"refused": said});
    }
    if answer.get("uuid").is_some() && answer.get("driver_info").is_some() {
        return cut(&answer);
    }
    for name in ["nodes", "ports", "chassis", "conductors"] {
        if let Some(items) = answer[name].as_array() {
            return json!({name: items.iter().map(cut).collect::<Vec<_>>()});
        }
    }
    Value::Null
}

/// The order of members says nothing; what a node's own life changes is not of the persona's.
fn plain(mut value: Value, refusals: bool) -> Value {
    fn strip(value: &mut Value) {
        if let Some(map) = value.as_object_mut() {
            for key in ["driver_internal_info", "reservation", "last_error"] {
                let withheld = |v: &Value| v.to_string().contains("Redacted");
                if map.get(key).is_some_and(|v| !withheld(v)) {
                    map.insert(key.to_owned(), "shown".into());
                }
            }
        }
    }
    // which drivers are enabled is not of the persona's
    if value.get("drivers").is_some() {
        return Value::Null;
    }
    strip(&mut value);
    if let Some(items) = value.get_mut("nodes").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(strip);
    }
    if !refusals && value.get("refused").is_some() {
        return Value::Null;
    }
    value
}

async fn personas(keystone: &Keystone) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/personas.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let database = sqlite();
    let service = Service::with(&database.settings, keystone.config()).await;
    let mut tokens: HashMap<String, String> = HashMap::new();
    let mut wrong = Vec::new();
    let steps = golden["steps"].as_array().unwrap();
    for (number, step) in steps.iter().enumerate() {
        let (method, path) = (
            step["method"].as_str().unwrap(),
            step["path"].as_str().unwrap(),
        );
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", HOST)
            .header(
                "x-openstack-ironic-api-version",
                step["version"].as_str().unwrap(),
            );
        if let Some(user) = step["user"].as_str() {
            if !tokens.contains_key(user) {
                tokens.insert(user.to_owned(), keystone.token(user).await);
            }
            request = request.header("x-auth-token", &tokens[user]);
        }
        let body = match step.get("body") {
            Some(body) => {
                request = request.header("content-type", "application/json");
                body.to_string()
            }
            None => String::new(),
        };
        let reply = service.send(request.body(Body::from(body)).unwrap()).await;
        let ours = step.get("ours");
        let want = ours.map_or(&step["status"], |ours| &ours["status"]);
        // who may not is told so before the request's form is looked at (docs/compat/deviations.md)
        let earlier = *want == 400 && matches!(reply.status.as_u16(), 403 | 404);
        if want != reply.status.as_u16() && !earlier {
            wrong.push(format!("{number} {step}: {} {}", reply.status, reply.text));
            continue;
        }
        // sentences are compared where the policy or the node's being hidden speaks
        let refusals = matches!(reply.status.as_u16(), 403 | 404);
        let (have, want) = (
            plain(seen(&reply), refusals),
            plain(step["seen"].clone(), refusals),
        );
        if ours.is_none() && !earlier && have != want {
            wrong.push(format!("{number} {step}: {have}"));
        }
    }
    assert!(steps.len() > 1000, "{}", steps.len());
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        steps.len(),
        wrong.join("\n")
    );
}

/// A member of a project that neither owns nor leases anything gets through no endpoint, whatever is added to
/// the table: lists are empty, everything else is refused.
async fn without_rights(keystone: &Keystone) {
    let database = sqlite();
    let service = Service::with(&database.settings, keystone.config()).await;
    let admin = keystone.token("system-admin").await;
    let member = keystone.token("neither-member").await;
    let send = async |token: &str, method: &str, path: &str, body: Value| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", HOST)
            .header("x-openstack-ironic-api-version", "1.115")
            .header("x-auth-token", token)
            .header("content-type", "application/json");
        let body = Body::from(if method == "GET" {
            String::new()
        } else {
            body.to_string()
        });
        service.send(request.body(body).unwrap()).await
    };
    let (node, port) = (
        "0000000a-0000-4000-8000-000000000001",
        "0000000a-0000-4000-8000-000000000002",
    );
    let owner = keystone.project("owner");
    let body = json!({"uuid": node, "driver": "fake-hardware", "owner": owner});
    assert_eq!(send(&admin, "POST", "/v1/nodes", body).await.status, 201);
    let body = json!({"uuid": port, "node_uuid": node, "address": "52:54:00:00:00:01"});
    assert_eq!(send(&admin, "POST", "/v1/ports", body).await.status, 201);
    let mut through = Vec::new();
    for (method, path, policy) in crate::guarded::endpoints(node, port) {
        let reply = send(&member, method.as_str(), &path, json!({})).await;
        let empty_list = reply.status == StatusCode::OK
            && policy.ends_with(":list_all")
            && reply
                .json()
                .as_object()
                .is_some_and(|all| all.values().all(|v| v.as_array().is_none_or(Vec::is_empty)));
        if !reply.status.is_client_error() && !empty_list {
            through.push(format!(
                "{} {path}: {} {}",
                method.as_str(),
                reply.status,
                reply.text
            ));
        }
    }
    assert!(through.is_empty(), "{}", through.join("\n"));
}

/// Keystone that is gone: who is remembered goes on, everybody else is told that it is not their fault.
async fn gone(keystone: Arc<Keystone>) {
    let database = sqlite();
    let mut config = keystone.config();
    config.keystone_authtoken.http_request_max_retries = 1;
    let service = Service::with(&database.settings, config).await;
    let known = keystone.token("system-reader").await;
    let unknown = keystone.token("system-admin").await;
    let reply = ask(&service, "GET", "/v1/nodes", &[("x-auth-token", &known)]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    drop(Arc::into_inner(keystone).expect("nobody else has it"));
    let reply = ask(&service, "GET", "/v1/nodes", &[("x-auth-token", &known)]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let reply = ask(&service, "GET", "/v1/nodes", &[("x-auth-token", &unknown)]).await;
    assert_eq!(reply.status, 503, "{}", reply.text);
    assert_eq!(reply.headers["retry-after"], "5");
    assert_eq!(
        reply.json()["error"]["message"],
        "The Keystone service is temporarily unavailable."
    );
}
