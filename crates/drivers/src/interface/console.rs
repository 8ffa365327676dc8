//! The node's console for people.

use async_trait::async_trait;
use bessemer_model::{Fault, InterfaceKind, Node};
use serde_json::Value;

use super::{Effects, Environment, Interface, unsupported};

#[async_trait]
pub trait ConsoleInterface: Interface {
    /// Makes the console reachable; nothing when it is already.
    async fn start(&self, _env: &Environment, node: &Node) -> Result<Effects, Fault> {
        Err(unsupported(node, InterfaceKind::Console.as_str()))
    }

    /// Ends it; nothing when it does not run.
    async fn stop(&self, _env: &Environment, node: &Node) -> Result<Effects, Fault> {
        Err(unsupported(node, InterfaceKind::Console.as_str()))
    }

    /// `console_info`: how a client reaches it (`type`, `url`).
    async fn info(&self, _env: &Environment, node: &Node) -> Result<Value, Fault> {
        Err(unsupported(node, InterfaceKind::Console.as_str()))
    }
}
