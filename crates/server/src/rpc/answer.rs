//! A call that came in, as the call of the conductor of this process.

use bessemer_api::conductor::Conductor as Calls;
use bessemer_model::{Fault, InterfaceKind, Node, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::Question;

fn shown(answer: impl Serialize) -> Result<Value, Fault> {
    serde_json::to_value(answer)
        .map_err(|e| Fault::internal(format!("an answer does not serialise: {e}")))
}

/// # Errors
/// The call's own.
pub(super) async fn answer(conductor: &dyn Calls, question: Question) -> Result<Value, Fault> {
    use Question as Q;
    match question {
        Q::SetProvisionState { node, request } => {
            shown(conductor.set_provision_state(node, *request).await?)
        }
        Q::Allocate { allocation } => shown(conductor.allocate(allocation).await?),
        Q::SetPowerState {
            node,
            target,
            timeout,
        } => shown(conductor.set_power_state(node, target, timeout).await?),
        Q::Validate { node } => shown(conductor.validate(node).await?),
        Q::GetBootDevice { node } => shown(conductor.get_boot_device(node).await?),
        Q::SetBootDevice {
            node,
            device,
            persistent,
        } => shown(conductor.set_boot_device(node, device, persistent).await?),
        Q::SupportedBootDevices { node } => shown(conductor.supported_boot_devices(node).await?),
        Q::InjectNmi { node } => shown(conductor.inject_nmi(node).await?),
        Q::CheckDriver {
            node,
            name,
            driver,
            interfaces,
            explicit,
        } => {
            let mut checked = Node::new(node, driver, Timestamp::now());
            checked.name = name;
            for (kind, name) in interfaces {
                checked.interfaces.set(kind, Some(name));
            }
            conductor.check_driver(&mut checked, &explicit).await?;
            let chosen: Vec<(InterfaceKind, &str)> = InterfaceKind::ALL
                .into_iter()
                .filter_map(|kind| Some((kind, checked.interfaces.get(kind)?)))
                .collect();
            shown(chosen)
        }
        Q::DriverProperties { driver } => shown(conductor.driver_properties(&driver).await?),
        Q::Lookup { addresses, node } => {
            let found = conductor.lookup(addresses, node).await?;
            shown((found.node.id, found.agent_token))
        }
        Q::Heartbeat { node, body, at } => shown(conductor.heartbeat(node, *body, at).await?),
        Q::SetTargetRaidConfig { node, config } => {
            shown(conductor.set_target_raid_config(node, config).await?)
        }
        Q::RaidLogicalDiskProperties { driver } => {
            shown(conductor.raid_logical_disk_properties(&driver).await?)
        }
        Q::SetBootMode { node, mode } => shown(conductor.set_boot_mode(node, mode).await?),
        Q::SetSecureBoot { node, enabled } => {
            shown(conductor.set_secure_boot(node, enabled).await?)
        }
        Q::GetConsole { node } => shown(conductor.get_console(node).await?),
        Q::SetConsole { node, enabled } => shown(conductor.set_console(node, enabled).await?),
        Q::Indicators { node } => shown(conductor.indicators(node).await?),
        Q::GetIndicator {
            node,
            component,
            indicator,
        } => shown(conductor.get_indicator(node, component, indicator).await?),
        Q::SetIndicator {
            node,
            component,
            indicator,
            state,
        } => shown(
            conductor
                .set_indicator(node, component, indicator, state)
                .await?,
        ),
        Q::GetVirtualMedia { node } => shown(conductor.get_virtual_media(node).await?),
        Q::AttachVirtualMedia {
            node,
            device,
            image_url,
        } => shown(
            conductor
                .attach_virtual_media(node, device, image_url)
                .await?,
        ),
        Q::DetachVirtualMedia { node, devices } => {
            shown(conductor.detach_virtual_media(node, devices).await?)
        }
        Q::VendorMethods { node } => shown(conductor.vendor_methods(node).await?),
        Q::VendorCall { node, request } => shown(conductor.vendor_call(node, request).await?),
        Q::DriverVendorMethods { driver } => shown(conductor.driver_vendor_methods(&driver).await?),
        Q::DriverVendorCall { driver, request } => {
            shown(conductor.driver_vendor_call(&driver, request).await?)
        }
        Q::VifList { node } => shown(conductor.vif_list(node).await?),
        Q::VifAttach { node, vif } => shown(conductor.vif_attach(node, vif).await?),
        Q::VifDetach { node, vif } => shown(conductor.vif_detach(node, &vif).await?),
        Q::ContinueInspection {
            node,
            inventory,
            plugin_data,
        } => shown(
            conductor
                .continue_inspection(node, inventory, plugin_data)
                .await?,
        ),
    }
}
