//! The config drive as the agent gets it: base64 of a gzipped ISO 9660 image, or a URL.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bessemer_model::{Fault, Node};
use serde_json::{Map, Value, json};

/// Upstream's limit for the partition, in bytes.
const MAX_SIZE: usize = 64 * 1024 * 1024;

/// Checks what a client gave as `configdrive` and turns an object into an image.
///
/// # Errors
/// Names what is wrong with it.
pub fn accept(given: &Value, node: &Node) -> Result<String, Fault> {
    match given {
        Value::String(text) if text.starts_with("http://") || text.starts_with("https://") => {
            Ok(text.clone())
        }
        Value::String(text) => {
            let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            let bytes = STANDARD.decode(&compact).map_err(|_| {
                Fault::invalid("configdrive is neither a URL, an object, nor base64 of a gzipped ISO 9660 image.")
            })?;
            let iso = bytes.get(0x8001..0x8006) == Some(b"CD001");
            if !iso && bytes.get(..2) != Some(&[0x1f, 0x8b]) {
                return Err(Fault::invalid(
                    "configdrive is base64, but not of a gzipped ISO 9660 image.",
                ));
            }
            Ok(compact)
        }
        Value::Object(parts) => build(parts, node),
        _ => Err(Fault::invalid("configdrive is neither text nor an object.")),
    }
}

fn build(parts: &Map<String, Value>, node: &Node) -> Result<String, Fault> {
    const KNOWN: [&str; 4] = ["meta_data", "network_data", "user_data", "vendor_data"];
    if let Some(unknown) = parts.keys().find(|k| !KNOWN.contains(&k.as_str())) {
        return Err(Fault::invalid(format!(
            "configdrive has no member {unknown}; it has {}.",
            KNOWN.join(", ")
        )));
    }
    let object = |key: &str| match parts.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map.clone())),
        Some(_) => Err(Fault::invalid(format!(
            "{key} of configdrive is not an object."
        ))),
    };
    let mut meta = object("meta_data")?.unwrap_or_default();
    meta.entry("uuid").or_insert_with(|| json!(node.id));
    if let Some(name) = &node.name {
        meta.entry("name").or_insert_with(|| json!(name));
        meta.entry("hostname").or_insert_with(|| json!(name));
    }
    let network = match object("network_data")? {
        Some(map) => Some(map),
        None if !node.network_data.is_empty() => Some(node.network_data.clone()),
        None => None,
    };
    let user = match parts.get("user_data") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other @ (Value::Object(_) | Value::Array(_))) => Some(other.to_string()),
        Some(_) => {
            return Err(Fault::invalid(
                "user_data of configdrive is neither text, an object nor a list.",
            ));
        }
    };
    let vendor = object("vendor_data")?;
    let text = |map: &Map<String, Value>| Value::Object(map.clone()).to_string();
    let iso = bessemer_iso::config_drive(
        &text(&meta),
        network.as_ref().map(text).as_deref(),
        user.as_deref().map(str::as_bytes),
        vendor.as_ref().map(text).as_deref(),
    )
    .map_err(|e| Fault::invalid(format!("the config drive cannot be built: {e}")))?;
    if iso.len() > MAX_SIZE {
        return Err(Fault::invalid(format!(
            "the config drive would have {} bytes; 64 MiB is the limit.",
            iso.len()
        )));
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let packed = gzip
        .write_all(&iso)
        .and_then(|()| gzip.finish())
        .map_err(|e| Fault::internal(format!("the config drive cannot be compressed: {e}")))?;
    Ok(STANDARD.encode(packed))
}

/// What is stored with the instance.
///
/// # Errors
/// When the stored value is not text any more.
pub fn for_agent(node: &Node) -> Result<Option<String>, Fault> {
    match node.instance_info.get("configdrive") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => accept(other, node).map(Some),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bessemer_model::{NodeId, Timestamp};
    use std::io::Read;

    #[test]
    fn objects_become_images_with_the_nodes_name() {
        let mut node = Node::new(NodeId::random(), "ipmi", Timestamp(0));
        node.name = Some("rack1-7".into());
        let text = accept(
            &json!({"meta_data": {"a": 1}, "user_data": "#cloud-config\n"}),
            &node,
        )
        .unwrap();
        let mut iso = Vec::new();
        flate2::read::GzDecoder::new(STANDARD.decode(text).unwrap().as_slice())
            .read_to_end(&mut iso)
            .unwrap();
        let has = |needle: &str| iso.windows(needle.len()).any(|w| w == needle.as_bytes());
        assert!(has("rack1-7") && has("#cloud-config") && has("CD001"));
    }

    #[test]
    fn what_is_not_a_config_drive_is_refused() {
        let node = Node::new(NodeId::random(), "ipmi", Timestamp(0));
        let check = |given: Value, want: &str| {
            let text = accept(&given, &node).unwrap_err().text;
            assert!(text.contains(want), "{text}");
        };
        check(json!("not base64!"), "neither a URL");
        check(json!(STANDARD.encode("hello")), "not of a gzipped");
        check(json!(7), "neither text nor an object");
        check(json!({"metadata": {}}), "no member metadata");
        check(json!({"meta_data": "x"}), "not an object");
    }
}
