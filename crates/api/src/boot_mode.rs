//! `PUT /v1/nodes/{ident}/states/boot_mode` and `secure_boot`.

use bessemer_model::Node;
use bessemer_model::provision::StateKind;

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;

const BOOT_MODES: [&str; 2] = ["bios", "uefi"];

/// While something goes on, the firmware's settings are not touched.
fn at_rest(node: &Node) -> Result<(), ApiFault> {
    if matches!(
        node.provision_state.kind(),
        StateKind::Transient | StateKind::Wait
    ) {
        return Err(ApiFault::conflict(format!(
            "Node is in {} state. Since node is transitioning, the boot mode will not be set as this may interfere with ongoing changes and result in erroneous modification. Try again later.",
            node.provision_state.as_str()
        )));
    }
    Ok(())
}

pub async fn set_boot_mode(call: Call) -> Outcome {
    let args = Args::of_body(&call, &["target"])?;
    args.require("target")?;
    let target = args.string("target")?;
    let node = call.node().await?;
    let Some(mode) = target.as_deref().filter(|t| BOOT_MODES.contains(t)) else {
        return Err(ApiFault::invalid(format!(
            "Invalid boot mode {} requested for node. Allowed boot modes are: {}",
            target.as_deref().unwrap_or("None"),
            BOOT_MODES.join(", ")
        )));
    };
    at_rest(&node)?;
    call.conductor()
        .set_boot_mode(node.id, mode.to_owned())
        .await?;
    accepted(&call)
}

pub async fn set_secure_boot(call: Call) -> Outcome {
    let args = Args::of_body(&call, &["target"])?;
    args.require("target")?;
    let target = args.boolean("target")?;
    let node = call.node().await?;
    let Some(enabled) = target else {
        return Err(ApiFault::invalid(
            "Invalid secure_boot None requested for node. Allowed secure_boot states are: True, False) ",
        ));
    };
    at_rest(&node)?;
    call.conductor().set_secure_boot(node.id, enabled).await?;
    accepted(&call)
}

fn accepted(call: &Call) -> Outcome {
    let states = call.url(&format!("nodes/{}/states", call.param("ident")));
    Ok(Answer::accepted().at(states))
}
