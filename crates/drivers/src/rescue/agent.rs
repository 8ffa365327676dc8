//! `agent`: the rescue ramdisk is booted and its agent sets the password.

use bessemer_model::{Class, Fault, FaultKind, InterfaceKind, Node};

use crate::interface::{Environment, Interface, RescueInterface};

pub struct AgentRescue;

impl Interface for AgentRescue {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Rescue
    }

    fn name(&self) -> &'static str {
        "agent"
    }

    fn validate(&self, _env: &Environment, node: &Node) -> Result<(), Fault> {
        let password = node.instance_info.get("rescue_password");
        let Some(password) = password.filter(|p| !p.is_null()) else {
            return Err(Fault::new(
                FaultKind::MissingParameter,
                Class::Never,
                format!(
                    "Node {} is missing 'instance_info/rescue_password'. It is required for rescuing node.",
                    node.id
                ),
            ));
        };
        if password.as_str().is_none_or(|p| p.trim().is_empty()) {
            return Err(Fault::invalid(format!(
                "The 'instance_info/rescue_password' is an empty string for node {}. The 'rescue_password' must be a non-empty string value.",
                node.id
            )));
        }
        Ok(())
    }
}

impl RescueInterface for AgentRescue {
    fn uses_agent(&self) -> bool {
        true
    }
}
