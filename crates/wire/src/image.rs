//! `image_info`: what the conductor tells the agent about the image to write.

use serde::{Deserialize, Serialize};

/// HTTP proxies for the image download, keyed by scheme.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Proxies {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<String>,
}

/// Upstream's `image_info` dictionary for whole-disk images. Secrets (`image_server_password`,
/// `image_request_authorization`) are plain here because they cross the wire; never log this type.
#[derive(Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct ImageInfo {
    pub id: String,
    /// Tried in order.
    #[serde(default)]
    pub urls: Vec<String>,
    /// `raw`, `qcow2`, …
    #[serde(default)]
    pub disk_format: Option<String>,
    #[serde(default)]
    pub container_format: Option<String>,
    #[serde(default)]
    pub stream_raw_images: bool,
    /// Legacy MD5 or any checksum whose algorithm follows from its length, or a URL of a checksum file.
    #[serde(default)]
    pub checksum: Option<String>,
    #[serde(default)]
    pub os_hash_algo: Option<String>,
    #[serde(default)]
    pub os_hash_value: Option<String>,
    /// `partition` or `whole-disk`.
    #[serde(default)]
    pub image_type: Option<String>,
    #[serde(default)]
    pub node_uuid: Option<String>,
    #[serde(default)]
    pub deploy_boot_mode: Option<String>,
    #[serde(default)]
    pub boot_option: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxies: Option<Proxies>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_proxy: Option<String>,
    /// base64 of `user:password` or of a bearer token, as upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_request_authorization: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_server_auth_strategy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_server_user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_server_password: Option<String>,
}

impl std::fmt::Debug for ImageInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageInfo")
            .field("id", &self.id)
            .field("disk_format", &self.disk_format)
            .finish_non_exhaustive()
    }
}

/// How far a running image write is. Bytes of the *downloaded* file, which is what takes the time.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
pub struct ImageProgress {
    /// `download`, `write`, `verify`, `finish`.
    pub stage: String,
    pub done_bytes: u64,
    /// 0 when the server did not tell.
    pub total_bytes: u64,
    /// Bytes per second over the last seconds.
    #[serde(default)]
    pub rate: u64,
}
