//! `/v1/nodes/{ident}/management`: boot device and NMI.

use serde_json::json;

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};

pub async fn get_boot_device(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let node = call.node().await?;
    let device = call.conductor().get_boot_device(node.id).await?;
    Ok(Answer::json(&json!({
        "boot_device": device.boot_device,
        "persistent": device.persistent,
    })))
}

pub async fn set_boot_device(call: Call) -> Outcome {
    let args = Args::of_body(&call, &["boot_device", "persistent"])?;
    args.require("boot_device")?;
    let device = args
        .string("boot_device")?
        .unwrap_or_else(|| "None".to_owned());
    let persistent = args.boolean("persistent")?.unwrap_or(false);
    let node = call.node().await?;
    let text = format!("boot device set to {device}");
    call.conductor()
        .set_boot_device(node.id, device, persistent)
        .await?;
    call.note(node.id, text).await?;
    Ok(Answer::no_content())
}

pub async fn supported_boot_devices(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let node = call.node().await?;
    let devices = call.conductor().supported_boot_devices(node.id).await?;
    Ok(Answer::json(&json!({"supported_boot_devices": devices})))
}

pub async fn inject_nmi(call: Call) -> Outcome {
    Args::of_body(&call, &[])?;
    let node = call.node().await?;
    call.conductor().inject_nmi(node.id).await?;
    call.note(node.id, "NMI injected").await?;
    Ok(Answer::no_content())
}
