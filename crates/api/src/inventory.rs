//! `GET /v1/nodes/{ident}/inventory`: what inspection found last.

use serde_json::json;

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;

pub async fn get(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let node = call.node().await?;
    let found = call.store().get_inventory(node.id).await?.ok_or_else(|| {
        ApiFault::not_found(format!(
            "Node inventory record for node {} could not be found.",
            node.id
        ))
    })?;
    Ok(Answer::json(&json!({
        "inventory": found.inventory,
        "plugin_data": found.plugin_data,
    })))
}
