//! The Redfish drivers at sushy-tools' emulator, which is not ours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use bessemer_drivers::{
    Bmcs, Drivers, Environment, Hardware, Persistence, RedfishBmcs, RedfishSettings, StepCall,
    StepResult,
};
use bessemer_model::{Node, NodeId, Object, PowerState, Timestamp};
use bessemer_peers::eventually;
use bessemer_peers::sushy::{Emulator, PASSWORD, USER};
use serde_json::{Value, json};

fn environment() -> Environment {
    Environment {
        bmcs: Bmcs::new(bessemer_ipmi::Timing::default(), Vec::new()),
        redfish: RedfishBmcs::new(RedfishSettings {
            connection_retry_interval: Duration::from_millis(50),
            ..RedfishSettings::default()
        }),
        fake_delay: Arc::new(|_| Duration::ZERO),
        default_boot_mode: "uefi".into(),
        ipmi_disable_boot_timeout: true,
        deploy_images: Arc::new(|_| (None, None)),
        rescue_images: Arc::new(|_| (None, None)),
        file_url_allowed_paths: Vec::new(),
        kernel_append_params: String::new(),
        bootloader: Arc::new(|_| None),
        media_url: String::new(),
    }
}

fn node(driver: &str, emulator: &Emulator, password: &str) -> (Node, Hardware) {
    let mut node = Node::new(NodeId::random(), driver, Timestamp(0));
    for (key, value) in [
        ("redfish_address", emulator.address.as_str()),
        ("redfish_username", USER),
        ("redfish_password", password),
    ] {
        node.driver_info.insert(key.into(), json!(value));
    }
    let drivers = Drivers::new(&["redfish".into(), "idrac".into()], |_| None, |_| None).unwrap();
    drivers.complete(&mut node, &[]).unwrap();
    let hardware = drivers.hardware(&node).unwrap();
    (node, hardware)
}

async fn step(
    env: &Environment,
    (node, hardware): &(Node, Hardware),
    interface: &str,
    step: &str,
    args: Value,
    state: Option<&Value>,
) -> StepResult {
    let args: Object = args.as_object().unwrap().clone();
    let call = StepCall {
        step,
        args: &args,
        state,
    };
    hardware.run_step(env, node, interface, call).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_drivers_at_the_emulator() {
    let emulator = Emulator::start(false).await.unwrap();
    let env = environment();
    let board = node("redfish", &emulator, PASSWORD);
    let (it, hardware) = (&board.0, &board.1);
    let management = &hardware.management;

    // power, with the state polled as the engine does
    let power = &hardware.power;
    assert_eq!(
        power.get_power_state(&env, it).await.unwrap(),
        PowerState::Off
    );
    for (on, wanted) in [(true, PowerState::On), (false, PowerState::Off)] {
        if on {
            power.power_on(&env, it).await.unwrap();
        } else {
            power.power_off(&env, it).await.unwrap();
        }
        eventually("the power state", || async {
            power.get_power_state(&env, it).await.unwrap() == wanted
        })
        .await;
    }

    // boot device and mode, secure boot, what is learnt of a board
    let effects = management
        .set_boot_device(&env, it, "cdrom", Persistence::Persistent)
        .await
        .unwrap();
    assert!(effects.driver_internal_info.is_empty(), "{effects:?}");
    assert_eq!(
        management.get_boot_device(&env, it).await.unwrap(),
        (Some("cdrom".into()), Some(true))
    );
    management.set_boot_mode(&env, it, "bios").await.unwrap();
    assert_eq!(
        management.get_boot_mode(&env, it).await.unwrap().as_deref(),
        Some("bios")
    );
    let legacy = management
        .set_secure_boot(&env, it, true)
        .await
        .unwrap_err();
    assert!(legacy.text.contains("requires UEFI"), "{legacy}");
    management.set_boot_mode(&env, it, "uefi").await.unwrap();
    management.set_secure_boot(&env, it, true).await.unwrap();
    assert_eq!(
        management.get_secure_boot(&env, it).await.unwrap(),
        Some(true)
    );
    assert_eq!(
        management.detect_vendor(&env, it).await.unwrap().as_deref(),
        Some("Sushy Emulator")
    );
    assert_eq!(
        management.get_health(&env, it).await.unwrap().as_deref(),
        Some("OK")
    );
    assert_eq!(management.mac_addresses(&env, it).await.unwrap().len(), 2);
    let lamps = management.indicators(&env, it).await.unwrap();
    assert!(lamps["disk"].contains_key("1:D2"), "{lamps:?}");
    management
        .set_indicator(
            &env,
            it,
            "chassis",
            lamps["chassis"].keys().next().unwrap(),
            "blinking",
        )
        .await
        .unwrap();
    assert_eq!(
        management.get_virtual_media(&env, it).await.unwrap().len(),
        2
    );
    let sensors = management.sensors(&env, it).await.unwrap();
    assert!(
        sensors["Temperature"].as_object().unwrap().len() > 1,
        "{sensors}"
    );

    // inspection
    let found = hardware.inspect.inspect(&env, it).await.unwrap();
    let inventory = found.inventory.unwrap();
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
    assert_eq!(found.properties["local_gb"], json!(39));
    assert_eq!(found.properties["capabilities"], json!("boot_mode:uefi"));
    assert_eq!(found.macs.len(), 2);

    // BIOS settings: changed, a restart asked for, in force
    let settings = json!({"settings": [{"name": "ProcTurboMode", "value": "Disabled"}]});
    let asked = step(
        &env,
        &board,
        "bios",
        "apply_configuration",
        settings.clone(),
        None,
    )
    .await;
    let StepResult::Reboot { state, .. } = asked else {
        panic!("{asked:?}");
    };
    let ended = step(
        &env,
        &board,
        "bios",
        "apply_configuration",
        settings.clone(),
        Some(&state),
    )
    .await;
    let StepResult::Done(effects) = ended else {
        panic!("{ended:?}");
    };
    let now = effects.bios_settings.unwrap();
    let mode = now.iter().find(|s| s.name == "ProcTurboMode").unwrap();
    assert_eq!(
        (mode.value.as_deref(), mode.attribute_type.as_deref()),
        (Some("Disabled"), Some("Enumeration"))
    );
    // once more changes nothing and asks for nothing
    let again = step(&env, &board, "bios", "apply_configuration", settings, None).await;
    assert!(matches!(again, StepResult::Done(_)), "{again:?}");

    let versions = hardware
        .firmware
        .read_components(&env, it)
        .await
        .unwrap()
        .unwrap();
    let shown: Vec<_> = versions
        .iter()
        .map(|c| (c.component.as_str(), c.current_version.as_deref()))
        .collect();
    assert_eq!(shown, [("bios", Some("2.4.6")), ("bmc", Some("1.00"))]);

    // a volume, made by the calls that the engine makes
    let disk = json!({"raid_level": "5", "size_gb": 100, "is_root_volume": true});
    let args = json!({"raid_config": {"logical_disks": [disk]}});
    let made = step(
        &env,
        &board,
        "raid",
        "apply_configuration",
        args.clone(),
        None,
    )
    .await;
    let StepResult::Wait { state, .. } = made else {
        panic!("{made:?}");
    };
    let ended = step(
        &env,
        &board,
        "raid",
        "apply_configuration",
        args,
        Some(&state),
    )
    .await;
    let StepResult::Done(effects) = ended else {
        panic!("{ended:?}");
    };
    // the emulator keeps no level of what it makes: its own volume is told
    assert_eq!(
        effects.raid_config.unwrap()["logical_disks"],
        json!([{"id": "V1", "name": "one", "controller": "1", "size_gb": 100, "raid_level": "1"}])
    );

    // a wrong password: a sentence without it
    let (stranger, hardware) = node("idrac", &emulator, "not-the-password");
    let refused = hardware
        .power
        .get_power_state(&env, &stranger)
        .await
        .unwrap_err();
    assert!(
        refused.text.contains("did not let user 'admin' in"),
        "{refused}"
    );
    assert!(!refused.text.contains("not-the-password"));
    env.redfish.close_idle(true).await;
}
