#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use bessemer_model::{Node, NodeId, Timestamp};

fn found() -> Findings {
    let mut node = Node::new(
        NodeId(uuid::Uuid::from_u128(7)),
        "fake-hardware",
        Timestamp(0),
    );
    node.driver_info
        .insert("ipmi_address".into(), json!("192.0.2.5"));
    node.extra.insert("list".into(), json!(["a"]));
    let object = |v: Value| v.as_object().unwrap().clone();
    let mut port =
        crate::inspection::hooks::new_port(node.id, "52:54:00:00:00:01".parse().unwrap());
    port.id = bessemer_model::PortId(uuid::Uuid::from_u128(9));
    Findings {
        node,
        edits: Vec::new(),
        inventory: object(json!({
            "cpu": {"count": 8, "architecture": "x86_64"},
            "bmc_address": "192.0.2.5",
            "disks": [{"name": "sda", "size": 100}, {"name": "sdb", "size": 2000}],
            "secret": {"bmc_password": "geheim99"},
            "none": null,
        })),
        plugin_data: object(json!({"a": {"b": 1}})),
        ports: vec![port],
        notes: Vec::new(),
    }
}

/// Whether upstream's rules hold, as upstream's own code says: recorded by `inspection_goldens.py`.
#[test]
fn conditions_hold_as_upstreams() {
    let goldens: Vec<Value> = serde_json::from_str(include_str!(
        "../../tests/goldens/inspection_conditions.json"
    ))
    .unwrap();
    assert!(goldens.len() > 60, "{}", goldens.len());
    let found = found();
    for golden in goldens {
        let rule = Rule {
            id: "r".into(),
            priority: 0,
            sensitive: false,
            conditions: vec![golden["condition"].clone()],
            actions: Vec::new(),
        };
        let ours = match holds(&found, &rule, true) {
            Ok(result) => json!(result),
            Err(_) => json!("error"),
        };
        assert_eq!(ours, golden["result"], "{}", golden["condition"]);
    }
}

fn client() -> reqwest::Client {
    // another test of this process may have done it
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

async fn done(actions: Value) -> Result<Findings, String> {
    let mut found = found();
    let rule = Rule {
        id: "r".into(),
        priority: 0,
        sensitive: false,
        conditions: Vec::new(),
        actions: actions.as_array().unwrap().clone(),
    };
    apply(&mut found, &mut [rule], MaskSecrets::Always, &client()).await?;
    // The edits make the same of the row.
    let mut again = self::found().node;
    for edit in &found.edits {
        edit.apply(&mut again).unwrap();
    }
    assert!(again == found.node);
    Ok(found)
}

#[tokio::test]
async fn actions() {
    let check = async |action: Value, path: &str, want: Value| {
        let found = done(json!([action])).await.unwrap();
        let whole = json!({
            "node": node_view(&found.node),
            "plugin_data": found.plugin_data,
            "port": {"extra": found.ports[0].extra, "pxe_enabled": found.ports[0].pxe_enabled,
                     "physical_network": found.ports[0].physical_network},
        });
        let seen = whole.pointer(path).cloned().unwrap_or(json!("absent"));
        assert_eq!(seen, want, "{action}");
    };
    let port = uuid::Uuid::from_u128(9);
    check(
        json!({"op": "set-attribute", "args": {"path": "driver_info.ipmi_address", "value": "{inventory[bmc_address]}"}}),
        "/node/driver_info/ipmi_address",
        json!("192.0.2.5"),
    )
    .await;
    check(
        json!({"op": "set-attribute", "args": {"path": "/properties/a/b", "value": {"x": "{inventory[cpu][count]}"}}}),
        "/node/properties/a/b/x",
        json!("8"),
    )
    .await;
    check(
        json!({"op": "set-attribute", "args": ["resource_class", "{inventory[cpu][architecture]}-{inventory[cpu][count]}"]}),
        "/node/resource_class",
        json!("x86_64-8"),
    )
    .await;
    check(
        json!({"op": "extend-attribute", "args": {"path": "extra/list", "value": "a", "unique": true}}),
        "/node/extra/list",
        json!(["a"]),
    )
    .await;
    check(
        json!({"op": "extend-attribute", "args": {"path": "extra/list", "value": "a"}}),
        "/node/extra/list",
        json!(["a", "a"]),
    )
    .await;
    check(
        json!({"op": "del-attribute", "args": {"path": "extra.list"}}),
        "/node/extra/list",
        json!("absent"),
    )
    .await;
    check(
        json!({"op": "set-capability", "args": {"name": "boot_mode", "value": "uefi"}}),
        "/node/properties/capabilities",
        json!("boot_mode:uefi"),
    )
    .await;
    check(
        json!({"op": "add-trait", "args": {"name": "CUSTOM_A"}}),
        "/node/traits",
        json!(["CUSTOM_A"]),
    )
    .await;
    check(
        json!({"op": "set-plugin-data", "args": {"path": "c.d", "value": "{item}"}, "loop": ["x", "y"]}),
        "/plugin_data/c/d",
        json!("y"),
    )
    .await;
    check(
        json!({"op": "extend-plugin-data", "args": {"path": "l", "value": "{item[name]}"}, "loop": [{"name": "p"}, {"name": "q"}]}),
        "/plugin_data/l",
        json!(["p", "q"]),
    )
    .await;
    check(
        json!({"op": "unset-plugin-data", "args": {"path": "a.b"}}),
        "/plugin_data/a/b",
        json!("absent"),
    )
    .await;
    check(
        json!({"op": "set-port-attribute", "args": {"port_id": port, "path": "physical_network", "value": "net"}}),
        "/port/physical_network",
        json!("net"),
    )
    .await;
    check(
        json!({"op": "extend-port-attribute", "args": {"port_id": port, "path": "extra.tags", "value": 1}}),
        "/port/extra/tags",
        json!([1]),
    )
    .await;
    // secrets of the inventory are not seen
    check(
        json!({"op": "set-attribute", "args": {"path": "extra.s", "value": "{inventory[secret][bmc_password]}"}}),
        "/node/extra/s",
        json!("***"),
    )
    .await;
}

#[tokio::test]
async fn what_ends_an_inspection_says_which_rule() {
    for (action, want) in [
        (
            json!({"op": "fail", "args": {"msg": "too small"}}),
            "too small",
        ),
        (
            json!({"op": "set-attribute", "args": {"path": "uuid", "value": "x"}}),
            "cannot set uuid",
        ),
        (
            json!({"op": "set-attribute", "args": {"path": "provision_state", "value": "active"}}),
            "provision_state",
        ),
        (
            json!({"op": "del-attribute", "args": {"path": "extra.nosuch"}}),
            "extra.nosuch",
        ),
        (
            json!({"op": "set-port-attribute", "args": {"port_id": "x", "path": "extra", "value": {}}}),
            "no port x",
        ),
        (
            json!({"op": "extend-attribute", "args": {"path": "driver_info.ipmi_address", "value": 1}}),
            "not a list",
        ),
        (
            json!({"op": "log", "args": {"msg": "x", "level": "loud"}}),
            "no level loud",
        ),
        (
            json!({"op": "api-call", "args": {"url": "file:///etc/passwd"}}),
            "http or https",
        ),
        (
            json!({"op": "set-attribute", "args": {"path": "extra.x"}}),
            "no argument value",
        ),
        (json!({"op": "nosuch", "args": {}}), "no action nosuch"),
    ] {
        let why = done(json!([action])).await.unwrap_err();
        assert!(
            why.contains("rule r") && why.contains(want),
            "{action}: {why}"
        );
    }
}

/// An `api-call` is repeated as often as it says, and its success is waited for.
#[tokio::test]
async fn api_calls_are_made_and_repeated() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut requests = Vec::new();
        for reply in [
            "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 2048];
            let n = stream.read(&mut head).await.unwrap();
            requests.push(String::from_utf8_lossy(&head[..n]).into_owned());
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
        requests
    });
    let url = format!("http://{address}/hook/{{node.uuid}}");
    let action = json!({"op": "api-call", "args": {"url": url, "headers": {"X-A": "b"}, "backoff_factor": 0.01}});
    done(json!([action])).await.unwrap();
    let requests = server.await.unwrap();
    let node = uuid::Uuid::from_u128(7).to_string();
    assert!(
        requests[1].starts_with(&format!("GET /hook/{node} ")),
        "{requests:?}"
    );
    assert!(requests[1].to_lowercase().contains("x-a: b"));
}

#[test]
fn hooks_make_properties_and_ports() {
    use crate::inspection::hooks::{self, AddPorts, HookSettings, KeepPorts};
    let mut settings = HookSettings::default();
    settings.hooks.extend(
        [
            "boot-mode",
            "cpu-capabilities",
            "cpus",
            "memory",
            "physical-network",
        ]
        .map(str::to_owned),
    );
    settings.physical_networks = vec![("10.0.0.0/8".parse().unwrap(), "ten".into())];
    hooks::check(&settings.hooks).unwrap();
    let inventory = json!({
        "interfaces": [
            {"name": "lo", "mac_address": "00:00:00:00:00:00", "ipv4_address": "127.0.0.1"},
            {"name": "eth0", "mac_address": "52:54:00:00:00:0A", "ipv4_address": "10.1.2.3", "client_id": "ff:1"},
            {"name": "eth1", "mac_address": "52:54:00:00:00:0b", "ipv6_address": "fd00::1%eth1"},
            {"name": "bad", "mac_address": "nonsense"},
        ],
        "cpu": {"count": 4, "architecture": "aarch64", "flags": ["aes", "vmx"]},
        "memory": {"physical_mb": 2048},
        "boot": {"current_boot_mode": "uefi", "pxe_interface": "01-52-54-00-00-00-0a"},
    });
    let run = |settings: &HookSettings, inventory: &Value| {
        let mut found = found();
        found.inventory = inventory.as_object().unwrap().clone();
        hooks::run(&mut found, settings).map(|()| found)
    };
    let macs = |found: &Findings| -> Vec<(String, bool)> {
        found
            .ports
            .iter()
            .map(|p| (p.address.to_string(), p.pxe_enabled))
            .collect()
    };
    let done = run(&settings, &inventory).unwrap();
    assert_eq!(
        macs(&done),
        [
            ("52:54:00:00:00:01".into(), false),
            ("52:54:00:00:00:0a".into(), true)
        ]
    );
    assert_eq!(done.ports[1].extra["client-id"], "ff:1");
    assert_eq!(done.ports[1].physical_network.as_deref(), Some("ten"));
    assert_eq!(
        json!(done.node.properties),
        json!({"cpu_arch": "aarch64", "cpus": "4", "memory_mb": "2048",
               "capabilities": "boot_mode:uefi,cpu_aes:true,cpu_vt:true"})
    );
    // the same ports when it is done again
    assert_eq!(
        run(&settings, &inventory).unwrap().ports[1].id,
        done.ports[1].id
    );

    settings.add_ports = AddPorts::All;
    settings.keep_ports = KeepPorts::Present;
    let all = run(&settings, &inventory).unwrap();
    assert_eq!(
        macs(&all),
        [
            ("52:54:00:00:00:0a".into(), true),
            ("52:54:00:00:00:0b".into(), false)
        ]
    );
    let mut reported = found();
    reported
        .plugin_data
        .insert("error".into(), json!("no disk"));
    let why = hooks::run(&mut reported, &settings).unwrap_err();
    assert!(why.contains("no disk"), "{why}");
    let why = run(&settings, &json!({"interfaces": []})).unwrap_err();
    assert!(why.contains("no network interface"), "{why}");
    assert!(
        hooks::check(&["ports".into()])
            .unwrap_err()
            .contains("validate-interfaces")
    );
    assert!(
        hooks::check(&["nosuch".into()])
            .unwrap_err()
            .contains("nosuch")
    );
}
