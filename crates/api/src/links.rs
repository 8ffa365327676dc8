//! URLs of resources: `self` below `/v1`, `bookmark` without it.

use serde_json::{Value, json};

use crate::call::Call;

impl Call {
    /// `<base>/v1/<path>`.
    pub fn url(&self, path: &str) -> String {
        format!("{}/v1/{path}", self.base)
    }

    /// The two links of a resource.
    pub fn links(&self, path: &str) -> Value {
        json!([
            {"href": self.url(path), "rel": "self"},
            {"href": format!("{}/{path}", self.base), "rel": "bookmark"}
        ])
    }
}
