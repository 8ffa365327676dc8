//! `/v1/nodes/{ident}/vmedia`: virtual media of the BMC.

use bessemer_model::py_repr;
use serde_json::{Map, Value};

use crate::args::Args;
use crate::body;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;

const DEVICES: [&str; 3] = ["disk", "cdrom", "floppy"];
const SOURCES: [&str; 3] = ["http", "local", "swift"];
/// URLs that a BMC may be given.
const SCHEMES: [&str; 5] = ["http", "https", "nfs", "cifs", "smb"];
const MEMBERS: [&str; 3] = ["device_type", "image_url", "image_download_source"];

pub async fn get(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let node = call.node().await?;
    let media = call.conductor().get_virtual_media(node.id).await?;
    let media: Vec<Value> = media.into_iter().map(Value::Object).collect();
    Ok(Answer::json(&Value::Array(media)))
}

/// What the body says, or what is wrong with it.
fn wanted(body: Value) -> Result<Map<String, Value>, String> {
    let map = match body {
        Value::Object(map) => map,
        other => return Err(format!("{} is not of type 'object'", py_repr(&other))),
    };
    for name in MEMBERS {
        if let Some(value) = map.get(name)
            && !value.is_string()
        {
            return Err(format!("{} is not of type 'string'", py_repr(value)));
        }
    }
    let words = |name: &str, words: &[&str]| match map.get(name).and_then(Value::as_str) {
        Some(word) if !words.contains(&word) => {
            let words: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
            Err(format!("'{word}' is not one of [{}]", words.join(", ")))
        }
        _ => Ok(()),
    };
    words("device_type", &DEVICES)?;
    words("image_download_source", &SOURCES)?;
    for name in ["device_type", "image_url"] {
        if !map.contains_key(name) {
            return Err(format!("'{name}' is a required property"));
        }
    }
    let unknown: Vec<String> = map
        .keys()
        .filter(|k| !MEMBERS.contains(&k.as_str()))
        .map(|k| py_repr(&Value::from(k.as_str())))
        .collect();
    match unknown.len() {
        0 => Ok(map),
        n => Err(format!(
            "Additional properties are not allowed ({} {} unexpected)",
            unknown.join(", "),
            if n == 1 { "was" } else { "were" }
        )),
    }
}

pub async fn attach(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let map = wanted(body::json(&call.body)?)
        .map_err(|why| ApiFault::invalid(format!("Schema error for vmedia: {why}")))?;
    let text = |name: &str| map.get(name).and_then(Value::as_str);
    let image_url = text("image_url").unwrap_or_default();
    let scheme = image_url
        .split_once(':')
        .map(|(scheme, _)| scheme.to_ascii_lowercase())
        .unwrap_or_default();
    if !SCHEMES.contains(&scheme.as_str()) {
        return Err(ApiFault::invalid(format!(
            "Unsupported or missing URL scheme: {scheme}"
        )));
    }
    if let Some(source @ ("local" | "swift")) = text("image_download_source") {
        return Err(ApiFault::invalid(format!(
            "image_download_source {source} is not supported by this version: the BMC fetches the image from image_url itself (http)."
        )));
    }
    let device = text("device_type").unwrap_or_default().to_owned();
    let image_url = image_url.to_owned();
    let node = call.node().await?;
    call.conductor()
        .attach_virtual_media(node.id, device, image_url)
        .await?;
    Ok(Answer::no_content())
}

pub async fn detach(call: Call) -> Outcome {
    let args = Args::of_query(&call, &["device_types"])?;
    let devices = args.list("device_types")?.unwrap_or_default();
    let invalid: Vec<&str> = devices
        .iter()
        .map(String::as_str)
        .filter(|d| !DEVICES.contains(d))
        .collect();
    if !invalid.is_empty() {
        return Err(ApiFault::invalid(format!(
            "Invalid device type(s) {} (valid are {})",
            invalid.join(", "),
            DEVICES.join(", ")
        )));
    }
    let node = call.node().await?;
    call.conductor()
        .detach_virtual_media(node.id, devices)
        .await?;
    Ok(Answer::no_content())
}
