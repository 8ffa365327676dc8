//! Console of a node that is not there: it can be switched on and off, and there is nothing to see.

use async_trait::async_trait;
use bessemer_model::{Fault, InterfaceKind, Node};
use serde_json::{Value, json};

use crate::interface::{ConsoleInterface, Effects, Environment, Interface};

pub struct FakeConsole;

impl Interface for FakeConsole {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Console
    }

    fn name(&self) -> &'static str {
        "fake"
    }
}

#[async_trait]
impl ConsoleInterface for FakeConsole {
    async fn start(&self, _env: &Environment, _node: &Node) -> Result<Effects, Fault> {
        Ok(Effects::default())
    }

    async fn stop(&self, _env: &Environment, _node: &Node) -> Result<Effects, Fault> {
        Ok(Effects::default())
    }

    async fn info(&self, _env: &Environment, _node: &Node) -> Result<Value, Fault> {
        Ok(json!({}))
    }
}
