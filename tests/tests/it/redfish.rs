//! Nodes of types `redfish` and `idrac` through the API, the real conductor and the real drivers, at sushy-tools' emulator.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::driver_api::Service;

#[path = "../../../crates/redfish/tests/it/emulator.rs"]
#[allow(dead_code)]
mod emulator;

use emulator::{Emulator, PASSWORD, USER};

async fn field(service: &Service, node: &str, field: &str) -> Value {
    service
        .get(&format!("/v1/nodes/{node}?fields={field}"))
        .await
        .json()[field]
        .clone()
}

/// Until the node is in a state and nothing holds it; a failure ends the wait at once.
async fn settled(service: &Service, node: &str, state: &str) {
    service
        .until(&format!("{node} to be {state}"), async || {
            let path = format!("/v1/nodes/{node}?fields=provision_state,reservation,last_error");
            let now = service.get(&path).await.json();
            assert!(
                now["last_error"].is_null(),
                "{node} on its way to {state}: {now}"
            );
            now["provision_state"] == state && now["reservation"].is_null()
        })
        .await;
}

async fn provision(service: &Service, node: &str, body: Value) {
    let reply = service
        .send(
            "PUT",
            &format!("/v1/nodes/{node}/states/provision"),
            body.clone(),
        )
        .await;
    assert_eq!(reply.status, 202, "{body}: {}", reply.text);
}

async fn enrol(service: &Service, node: &str, driver: &str, emulator: &Emulator, password: &str) {
    let body = json!({"name": node, "driver": driver, "deploy_interface": "direct", "driver_info": {
        "redfish_address": emulator.address, "redfish_username": USER, "redfish_password": password}});
    let reply = service.send("POST", "/v1/nodes", body).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
}

async fn power(service: &Service, node: &str, target: &str, state: &str) {
    let path = format!("/v1/nodes/{node}/states/power");
    let reply = service.send("PUT", &path, json!({"target": target})).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    service
        .until(state, async || {
            let path = format!("/v1/nodes/{node}?fields=power_state,reservation,last_error");
            let now = service.get(&path).await.json();
            assert!(now["last_error"].is_null(), "{now}");
            now["power_state"] == state && now["reservation"].is_null()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redfish_node_is_driven() {
    let emulator = Emulator::start(false).await;
    let service = Service::start().await;
    let node = "board";
    enrol(&service, node, "redfish", &emulator, PASSWORD).await;
    let validated = service
        .get(&format!("/v1/nodes/{node}/validate"))
        .await
        .json();
    for interface in ["power", "management", "bios", "inspect", "raid", "firmware"] {
        assert_eq!(
            validated[interface]["result"],
            json!(true),
            "{interface}: {validated}"
        );
    }

    // what is learnt when it becomes manageable
    provision(&service, node, json!({"target": "manage"})).await;
    settled(&service, node, "manageable").await;
    let seen = service.get(&format!("/v1/nodes/{node}")).await.json();
    assert_eq!(seen["power_state"], "power off");
    assert_eq!(seen["properties"]["vendor"], "Sushy Emulator");
    assert_eq!(
        (&seen["boot_mode"], &seen["secure_boot"], &seen["health"]),
        (&json!("uefi"), &json!(false), &json!("OK"))
    );
    let bios = format!("/v1/nodes/{node}/bios/ProcTurboMode");
    let setting = service.get(&bios).await.json()["ProcTurboMode"].clone();
    assert_eq!(
        (&setting["value"], &setting["attribute_type"]),
        (&json!("Enabled"), &json!("Enumeration"))
    );
    let firmware = service
        .get(&format!("/v1/nodes/{node}/firmware"))
        .await
        .json();
    let versions: BTreeSet<(&str, &str)> = firmware["firmware"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| {
            (
                f["component"].as_str().unwrap(),
                f["current_version"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        versions,
        BTreeSet::from([("bios", "2.4.6"), ("bmc", "1.00")])
    );

    // power and boot device
    let device = format!("/v1/nodes/{node}/management/boot_device");
    let cdrom = json!({"boot_device": "cdrom", "persistent": true});
    let set = service.send("PUT", &device, cdrom.clone()).await;
    assert_eq!(set.status, 204, "{}", set.text);
    assert_eq!(service.get(&device).await.json(), cdrom);
    let devices = service.get(&format!("{device}/supported")).await.json();
    assert_eq!(
        devices["supported_boot_devices"],
        json!(["pxe", "disk", "cdrom", "bios", "uefihttp"])
    );
    power(&service, node, "power on", "power on").await;
    power(&service, node, "rebooting", "power on").await;
    power(&service, node, "soft power off", "power off").await;

    // lamps
    let lamps = service
        .get(&format!("/v1/nodes/{node}/management/indicators/disk"))
        .await
        .json();
    let lamp = format!("/v1/nodes/{node}/management/indicators/disk/1:D2");
    assert!(lamps.to_string().contains("1:D2"), "{lamps}");
    assert_eq!(service.get(&lamp).await.json()["state"], "on");

    // inspection
    provision(&service, node, json!({"target": "inspect"})).await;
    settled(&service, node, "manageable").await;
    let found = service
        .get(&format!("/v1/nodes/{node}/inventory"))
        .await
        .json();
    let inventory = &found["inventory"];
    assert_eq!(
        inventory["cpu"],
        json!({"count": 16, "architecture": "x86_64", "model_name": "Quick 9000"})
    );
    assert_eq!(inventory["memory"], json!({"physical_mb": 65536}));
    assert_eq!(inventory["boot"], json!({"current_boot_mode": "uefi"}));
    assert_eq!(
        inventory["interfaces"][0],
        json!({"mac_address": "00:5c:52:31:3a:9c", "name": "00:5c:52:31:3a:9c"})
    );
    assert_eq!(
        inventory["disks"][0],
        json!({"name": "Drive D1", "size": 899_527_000_000_u64, "vendor": "Contoso", "model": "C123", "serial": "1234570", "rotational": true})
    );
    assert_eq!(inventory["system_vendor"]["manufacturer"], "Sushy Emulator");
    assert_eq!(inventory["storage_controllers"][0]["id"], "1");
    let properties = field(&service, node, "properties").await;
    assert_eq!(
        (
            &properties["memory_mb"],
            &properties["local_gb"],
            &properties["cpu_arch"]
        ),
        (&json!(65536), &json!(39), &json!("x86_64"))
    );
    assert_eq!(properties["capabilities"], "boot_mode:uefi");
    let ports = service
        .get(&format!("/v1/ports?node={node}&fields=address"))
        .await
        .json();
    let macs: BTreeSet<&str> = ports["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["address"].as_str().unwrap())
        .collect();
    assert_eq!(
        macs,
        BTreeSet::from(["00:5c:52:31:3a:9c", "00:5c:52:31:3a:9d"])
    );

    // BIOS settings, with the restart by which they come into force
    let settings = json!([{"name": "ProcTurboMode", "value": "Disabled"}]);
    let step =
        json!({"interface": "bios", "step": "apply_configuration", "args": {"settings": settings}});
    provision(
        &service,
        node,
        json!({"target": "clean", "clean_steps": [step], "disable_ramdisk": true}),
    )
    .await;
    settled(&service, node, "manageable").await;
    let setting = service.get(&bios).await.json();
    assert_eq!(setting["ProcTurboMode"]["value"], "Disabled");

    // secure boot and virtual media by calls that are answered before they are done
    let secure = format!("/v1/nodes/{node}/states/secure_boot");
    let reply = service
        .send("PUT", &secure, json!({"target": "true"}))
        .await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    service
        .until("secure boot", async || {
            let states = service
                .get(&format!("/v1/nodes/{node}?fields=secure_boot,last_error"))
                .await
                .json();
            assert!(states["last_error"].is_null(), "{states}");
            states["secure_boot"] == true
        })
        .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idrac_gets_volumes_and_strangers_nothing() {
    let emulator = Emulator::start(false).await;
    let service = Service::start().await;
    enrol(&service, "dell", "idrac", &emulator, PASSWORD).await;
    provision(&service, "dell", json!({"target": "manage"})).await;
    settled(&service, "dell", "manageable").await;
    let disk = json!({"raid_level": "5", "size_gb": 100, "is_root_volume": true});
    let reply = service
        .send(
            "PUT",
            "/v1/nodes/dell/states/raid",
            json!({"logical_disks": [disk]}),
        )
        .await;
    assert_eq!(reply.status, 204, "{}", reply.text);
    let step = json!({"interface": "raid", "step": "create_configuration"});
    provision(
        &service,
        "dell",
        json!({"target": "clean", "clean_steps": [step], "disable_ramdisk": true}),
    )
    .await;
    settled(&service, "dell", "manageable").await;
    // the emulator keeps neither level nor drives of what it makes: its own volume is told, and the new one is there
    let config = field(&service, "dell", "raid_config").await;
    assert_eq!(
        config["logical_disks"],
        json!([{"id": "V1", "name": "one", "controller": "1", "size_gb": 100, "raid_level": "1"}])
    );
    let client = emulator::client(emulator::target(&emulator.address));
    let system = client.system().await.unwrap();
    let storage = client.storage(&system).await.unwrap();
    assert_eq!(client.volumes(&storage[0]).await.unwrap().len(), 2);

    // a wrong password: a sentence without it, and the node stays where it is
    enrol(
        &service,
        "stranger",
        "redfish",
        &emulator,
        "not-the-password",
    )
    .await;
    provision(&service, "stranger", json!({"target": "manage"})).await;
    service
        .until("the refusal", async || {
            let now = service
                .get("/v1/nodes/stranger?fields=provision_state,last_error,reservation")
                .await
                .json();
            let text = now["last_error"].as_str().unwrap_or_default();
            assert!(!text.contains("not-the-password"), "{text}");
            now["provision_state"] == "enroll"
                && now["reservation"].is_null()
                && text.contains("did not let user 'admin' in")
        })
        .await;
    service.stop().await;
}
