//! Management of a node that is not there (upstream's `fake`): knows `pxe` only.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bessemer_model::{Fault, InterfaceKind, Node};
use serde_json::Value;

use crate::interface::{
    Effects, Environment, Indicator, Indicators, Interface, ManagementInterface, Persistence,
};

pub struct FakeManagement;

impl Interface for FakeManagement {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Management
    }

    fn name(&self) -> &'static str {
        "fake"
    }
}

/// A chassis lamp that only shows, and one of the system that can be set.
fn lamps() -> Indicators {
    let lamp = |readonly, states: &[&str]| Indicator {
        readonly,
        states: states.iter().map(|s| (*s).to_owned()).collect(),
    };
    let one = |name: &str, lamp| BTreeMap::from([(name.to_owned(), lamp)]);
    BTreeMap::from([
        (
            "chassis".to_owned(),
            one("led-0", lamp(true, &["off", "on"])),
        ),
        (
            "system".to_owned(),
            one("led", lamp(false, &["blinking", "off", "on"])),
        ),
    ])
}

#[async_trait]
impl ManagementInterface for FakeManagement {
    fn supported_boot_devices(&self) -> &'static [&'static str] {
        &["pxe"]
    }

    async fn set_boot_device(
        &self,
        env: &Environment,
        _node: &Node,
        device: &str,
        _persistence: Persistence,
    ) -> Result<Effects, Fault> {
        if device != "pxe" {
            return Err(Fault::invalid(format!(
                "Invalid boot device {device} specified."
            )));
        }
        env.pretend(InterfaceKind::Management).await;
        Ok(Effects::default())
    }

    async fn get_boot_device(
        &self,
        env: &Environment,
        _node: &Node,
    ) -> Result<(Option<String>, Option<bool>), Fault> {
        env.pretend(InterfaceKind::Management).await;
        Ok((Some("pxe".into()), Some(false)))
    }

    async fn indicators(&self, env: &Environment, _node: &Node) -> Result<Indicators, Fault> {
        env.pretend(InterfaceKind::Management).await;
        Ok(lamps())
    }

    async fn get_indicator(
        &self,
        env: &Environment,
        _node: &Node,
        component: &str,
        indicator: &str,
    ) -> Result<String, Fault> {
        let lamps = lamps();
        let component = lamps
            .get(component)
            .ok_or_else(|| Fault::invalid(format!("Invalid component {component} specified.")))?;
        if !component.contains_key(indicator) {
            return Err(Fault::invalid(format!(
                "Invalid indicator {indicator} specified."
            )));
        }
        env.pretend(InterfaceKind::Management).await;
        Ok("on".to_owned())
    }

    async fn sensors(&self, env: &Environment, _node: &Node) -> Result<Value, Fault> {
        env.pretend(InterfaceKind::Management).await;
        Ok(Value::Object(serde_json::Map::new()))
    }
}
