//! `/v1/nodes/{ident}/management/indicators`: lamps, each called `name@component`.

use serde_json::{Value, json};

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};
use crate::conductor::IndicatorAnswer;
use crate::fault::ApiFault;

/// Name and component of the lamp that the path names.
fn named(call: &Call) -> Result<(String, String), ApiFault> {
    let unique = call.param("indicator");
    unique
        .split_once('@')
        .map(|(name, component)| (name.to_owned(), component.to_owned()))
        .ok_or_else(|| ApiFault::invalid(format!("Malformed indicator name \"{unique}\"")))
}

fn view(call: &Call, lamp: &IndicatorAnswer) -> Value {
    let name = format!("{}@{}", lamp.name, lamp.component);
    let path = format!("nodes/{}/management/indicators/{name}", call.param("ident"));
    json!({
        "name": name,
        "component": lamp.component,
        "readonly": lamp.readonly,
        "states": lamp.states,
        "links": call.links(&path),
    })
}

pub async fn list(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let node = call.node().await?;
    let lamps = call.conductor().indicators(node.id).await?;
    let shown: Vec<Value> = lamps.iter().map(|lamp| view(&call, lamp)).collect();
    Ok(Answer::json(&json!({"indicators": shown})))
}

pub async fn get(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let node = call.node().await?;
    let (name, component) = named(&call)?;
    let state = call
        .conductor()
        .get_indicator(node.id, component, name)
        .await?;
    Ok(Answer::json(&json!({"state": state})))
}

pub async fn set(call: Call) -> Outcome {
    let args = Args::of_body(&call, &["state"])?;
    args.require("state")?;
    let state = args.string("state")?.unwrap_or_default();
    let node = call.node().await?;
    let (name, component) = named(&call)?;
    let text = format!("indicator {name}@{component} set to {state}");
    call.conductor()
        .set_indicator(node.id, component, name, state)
        .await?;
    call.note(node.id, text).await?;
    Ok(Answer::no_content())
}
