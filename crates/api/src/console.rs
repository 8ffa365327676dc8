//! `/v1/nodes/{ident}/states/console`.

use serde_json::json;

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};

pub async fn get(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let node = call.node().await?;
    let info = call.conductor().get_console(node.id).await?;
    Ok(Answer::json(&json!({
        "console_enabled": info.is_some(),
        "console_info": info,
    })))
}

pub async fn set(call: Call) -> Outcome {
    let args = Args::of_body(&call, &["enabled"])?;
    args.require("enabled")?;
    let enabled = args.boolean("enabled")?.unwrap_or(false);
    let node = call.node().await?;
    call.conductor().set_console(node.id, enabled).await?;
    let console = call.url(&format!("nodes/{}/states/console", call.param("ident")));
    Ok(Answer::accepted().at(console))
}
