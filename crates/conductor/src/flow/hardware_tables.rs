//! What is learnt of a node's hardware and kept: BIOS settings and firmware in their tables, vendor, boot mode, secure boot and
//! health on the node.

use bessemer_drivers::Effects;
use bessemer_model::{Fault, FaultKind};
use bessemer_store::TimelineSource;
use serde_json::json;

use crate::context::Context;
use crate::error_text;

/// The parts of a step's effects that have tables of their own.
pub async fn save(cx: &Context, effects: &Effects) -> Result<(), Fault> {
    let store = &cx.shared.store;
    if let Some(settings) = &effects.bios_settings {
        store
            .sync_bios_settings(cx.node.id, settings.clone())
            .await
            .map_err(|e| error_text::store(&e))?;
    }
    if let Some(components) = &effects.firmware {
        store
            .sync_firmware_components(cx.node.id, components.clone())
            .await
            .map_err(|e| error_text::store(&e))?;
    }
    Ok(())
}

/// What the driver can tell; `None` where it cannot. That a part cannot be read fails no verification: it is noted.
fn told<T>(cx: &mut Context, what: &str, result: Result<T, Fault>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(fault) => {
            if fault.kind != FaultKind::Unsupported {
                cx.note(
                    TimelineSource::Bmc,
                    format!("{what} could not be read: {fault}"),
                );
            }
            None
        }
    }
}

/// Asks the driver for everything that it can tell, as upstream does when a node becomes manageable.
pub async fn learn(cx: &mut Context) -> Result<(), Fault> {
    let hardware = cx.hardware()?;
    if hardware.power.is_simulated() {
        return Ok(());
    }
    let env = cx.shared.environment.clone();
    let node = cx.node.clone();
    let mut effects = Effects::default();
    let known = node
        .properties
        .get("vendor")
        .is_some_and(|v| v.as_str() != Some(""));
    if !known {
        let vendor = hardware.management.detect_vendor(&env, &node).await;
        if let Some(Some(vendor)) = told(cx, "the vendor", vendor) {
            effects.properties.insert("vendor".into(), json!(vendor));
        }
    }
    let mode = hardware.management.get_boot_mode(&env, &node).await;
    effects.boot_mode = told(cx, "the boot mode", mode).flatten();
    let secure = hardware.management.get_secure_boot(&env, &node).await;
    effects.secure_boot = told(cx, "the state of secure boot", secure).flatten();
    let health = hardware.management.get_health(&env, &node).await;
    if let Some(health) = told(cx, "the health", health) {
        let health = health.map(|h| h.to_uppercase());
        cx.set(move |node| node.health.clone_from(&health));
    }
    let settings = hardware.bios.read_settings(&env, &node).await;
    effects.bios_settings = told(cx, "the BIOS settings", settings).flatten();
    let components = hardware.firmware.read_components(&env, &node).await;
    effects.firmware = told(cx, "the firmware's versions", components).flatten();
    save(cx, &effects).await?;
    cx.set(move |node| effects.apply(node));
    Ok(())
}
