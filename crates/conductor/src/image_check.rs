//! The image before the deploy: does the address answer, may this file be used, and what the agent is
//! told about it.

use std::time::Duration;

use bessemer_model::{Class, Fault, Node};
use bessemer_wire::{ImageInfo, Proxies};

use crate::engine::Shared;

/// Enough of the file for the inspector.
const HEAD: u64 = bessemer_image::HEAD_LEN as u64;

/// What was seen.
pub struct Seen {
    pub format: Option<String>,
    pub sentence: String,
}

fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.instance_info
        .get(key)
        .and_then(|v| v.as_str())
        .filter(|s| !s.is_empty())
}

/// The address without user, password and query, for sentences.
fn shown(address: &str) -> String {
    match url::Url::parse(address) {
        Ok(mut url) => {
            // Neither can fail for http and https addresses.
            let cleared = url.set_password(None).and_then(|()| url.set_username(""));
            if cleared.is_err() {
                return "the image's address".to_owned();
            }
            url.set_query(None);
            url.set_fragment(None);
            url.to_string()
        }
        Err(_) => "the image's address".to_owned(),
    }
}

/// The node's image as sentences name it.
pub fn name(node: &Node) -> Option<String> {
    text(node, "image_source").map(shown)
}

/// Asks for the first bytes of the image and inspects them.
///
/// # Errors
/// An address that does not answer is tried again for a while; a refusal (404 and the like) and a file
/// that must not be used are final.
pub async fn check(shared: &Shared, node: &Node) -> Result<Seen, Fault> {
    let source = text(node, "image_source").unwrap_or_default();
    let name = shown(source);
    let fail = |class: Class, what: String| {
        Fault::hardware(
            class,
            format!("Deploy of node {}: image {name} {what}", node.label()),
        )
    };
    let response = shared
        .http
        .get(source)
        .header("Range", format!("bytes=0-{}", HEAD - 1))
        .timeout(Duration::from_secs(60))
        .send()
        .await
        .map_err(|e| {
            let why = if e.is_timeout() {
                "did not answer in time"
            } else {
                "cannot be reached"
            };
            fail(
                Class::RetryLater,
                format!("{why}; check image_source and the image server."),
            )
        })?;
    let status = response.status();
    if !status.is_success() {
        let class = if status.is_server_error() {
            Class::RetryLater
        } else {
            Class::Never
        };
        return Err(fail(
            class,
            format!("was answered with {status} by its server; check image_source."),
        ));
    }
    let total = match status.as_u16() {
        206 => response
            .headers()
            .get("content-range")
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.rsplit('/').next())
            .and_then(|v| v.parse::<u64>().ok()),
        _ => response.content_length(),
    };
    let mut head = Vec::new();
    let mut response = response;
    while head.len() < HEAD as usize {
        match response.chunk().await.map_err(|_| {
            fail(
                Class::RetryLater,
                "broke off while its head was read.".into(),
            )
        })? {
            Some(chunk) => head.extend_from_slice(&chunk),
            None => break,
        }
    }
    head.truncate(HEAD as usize);
    if shared.settings.disable_deep_image_inspection {
        return Ok(Seen {
            format: text(node, "image_disk_format").map(str::to_owned),
            sentence: format!("image {name} answers"),
        });
    }
    let format = bessemer_image::inspect(&head)
        .map_err(|e| fail(Class::Never, format!("is refused: {e}")))?;
    let format = format.name().to_owned();
    if let Some(declared) = text(node, "image_disk_format")
        && declared != format
        && !(declared == "raw" && format == "gpt")
    {
        return Err(fail(
            Class::Never,
            format!("is {format}, but image_disk_format says {declared}."),
        ));
    }
    let permitted = &shared.settings.permitted_image_formats;
    if !permitted.contains(&format) {
        return Err(fail(
            Class::Never,
            format!(
                "is {format}, which [conductor] permitted_image_formats does not allow ({}).",
                permitted.join(", ")
            ),
        ));
    }
    let size = total.map_or_else(|| "of unknown size".to_owned(), |t| format!("{t} bytes"));
    Ok(Seen {
        sentence: format!("image {name}: {format}, {size}"),
        format: Some(format),
    })
}

/// `image_info` for the agent.
///
/// # Errors
/// When the node has no image any more.
pub fn image_info(shared: &Shared, node: &Node) -> Result<ImageInfo, Fault> {
    let source = text(node, "image_source").ok_or_else(|| {
        Fault::invalid(format!(
            "instance_info of node {} has no image_source.",
            node.label()
        ))
    })?;
    let owned = |key: &str| text(node, key).map(str::to_owned);
    let seen = node
        .driver_internal_info
        .get("image_disk_format")
        .and_then(|v| v.as_str())
        .map(str::to_owned);
    let format = owned("image_disk_format").or(seen);
    let proxy = |key: &str| {
        node.driver_info
            .get(key)
            .and_then(|v| v.as_str())
            .map(str::to_owned)
    };
    let (http, https) = (proxy("image_http_proxy"), proxy("image_https_proxy"));
    let proxies = (http.is_some() || https.is_some()).then_some(Proxies { http, https });
    let raw = matches!(format.as_deref(), Some("raw" | "gpt"));
    Ok(ImageInfo {
        id: shown(source)
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned(),
        urls: vec![source.to_owned()],
        disk_format: format.map(|f| if f == "gpt" { "raw".to_owned() } else { f }),
        container_format: Some(owned("image_container_format").unwrap_or_else(|| "bare".into())),
        stream_raw_images: raw && shared.settings.agent_stream_raw_images,
        checksum: owned("image_checksum"),
        os_hash_algo: owned("image_os_hash_algo"),
        os_hash_value: owned("image_os_hash_value"),
        image_type: Some("whole-disk".into()),
        node_uuid: Some(node.id.to_string()),
        deploy_boot_mode: Some(bessemer_drivers::interface::boot_mode(
            node,
            &shared.environment.default_boot_mode,
        )),
        boot_option: Some("local".into()),
        no_proxy: proxy("image_no_proxy"),
        proxies,
        ..ImageInfo::default()
    })
}
