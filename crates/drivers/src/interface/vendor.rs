//! Methods beside the API's own that a driver passes through to its hardware.

use async_trait::async_trait;
use bessemer_model::{Fault, InterfaceKind, Node, Object};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Environment, Interface, unsupported, unsupported_by};

/// A method: `GET .../vendor_passthru/methods`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VendorMethod {
    pub name: &'static str,
    /// `GET`, `POST`, `PUT`, `PATCH`, `DELETE`.
    pub http_methods: &'static [&'static str],
    /// Answered 202 at once; the result is lost, an error is the node's `last_error`.
    pub is_async: bool,
    /// The result is a file, not JSON.
    pub attach: bool,
    /// Refused while an operation holds the node. Of no meaning for methods of a driver.
    pub exclusive: bool,
    pub description: &'static str,
}

/// What a synchronous method answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum VendorReply {
    Json(Value),
    File(Vec<u8>),
}

#[async_trait]
pub trait VendorInterface: Interface {
    fn methods(&self) -> &'static [VendorMethod] {
        &[]
    }

    /// Methods of the hardware type, which need no node.
    fn driver_methods(&self) -> &'static [VendorMethod] {
        &[]
    }

    /// Checks a call before it is accepted; `method` is one of [`VendorInterface::methods`].
    ///
    /// # Errors
    /// A sentence that names the argument.
    fn validate_call(
        &self,
        env: &Environment,
        node: &Node,
        _method: &str,
        _args: &Object,
    ) -> Result<(), Fault> {
        self.validate(env, node)
    }

    async fn call(
        &self,
        _env: &Environment,
        node: &Node,
        _method: &str,
        _http_method: &str,
        _args: &Object,
    ) -> Result<VendorReply, Fault> {
        Err(unsupported(node, InterfaceKind::Vendor.as_str()))
    }

    async fn driver_call(
        &self,
        _env: &Environment,
        driver: &str,
        _method: &str,
        _http_method: &str,
        _args: &Object,
    ) -> Result<VendorReply, Fault> {
        Err(unsupported_by(driver, InterfaceKind::Vendor.as_str()))
    }
}
