//! `direct`: the agent downloads the image and writes it to the disk.

use bessemer_model::{Class, Fault, FaultKind, InterfaceKind, Node};

use crate::interface::{
    CoreStep, DeployInterface, DriverStep, Environment, Interface, Property, StepRun, step,
};

pub struct DirectDeploy;

const PROPERTIES: &[Property] = &[
    Property {
        name: "image_http_proxy",
        required: false,
        description: "Proxy for http:// image URLs.",
    },
    Property {
        name: "image_https_proxy",
        required: false,
        description: "Proxy for https:// image URLs.",
    },
    Property {
        name: "image_no_proxy",
        required: false,
        description: "Hosts that are reached without the proxy.",
    },
];

fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.instance_info
        .get(key)
        .and_then(|v| v.as_str())
        .filter(|s| !s.is_empty())
}

fn missing(node: &Node, what: &str) -> Fault {
    Fault::new(
        FaultKind::MissingParameter,
        Class::Never,
        format!(
            "Cannot deploy node {}: instance_info has no {what}.",
            node.label()
        ),
    )
}

impl Interface for DirectDeploy {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Deploy
    }

    fn name(&self) -> &'static str {
        "direct"
    }

    fn properties(&self) -> &'static [Property] {
        PROPERTIES
    }

    fn validate(&self, _env: &Environment, node: &Node) -> Result<(), Fault> {
        let source = text(node, "image_source").ok_or_else(|| missing(node, "image_source"))?;
        if !(source.starts_with("http://") || source.starts_with("https://")) {
            return Err(Fault::invalid(format!(
                "Cannot deploy node {}: image_source {source} is not an http:// or https:// URL, which are the sources that this version can fetch.",
                node.label()
            )));
        }
        let hash = text(node, "image_os_hash_value");
        if text(node, "image_checksum").is_none()
            && (hash.is_none() || text(node, "image_os_hash_algo").is_none())
        {
            return Err(missing(
                node,
                "image_checksum (or image_os_hash_algo with image_os_hash_value), which a URL needs",
            ));
        }
        if text(node, "image_type") == Some("partition") || text(node, "kernel").is_some() {
            return Err(Fault::unsupported(format!(
                "Cannot deploy node {}: partition images are not supported by this version; use a whole-disk image.",
                node.label()
            )));
        }
        for (where_, hints) in [
            ("instance_info", node.instance_info.get("root_device")),
            ("properties", node.properties.get("root_device")),
        ] {
            if hints.is_some_and(|h| !h.is_object()) {
                return Err(Fault::invalid(format!(
                    "root_device in {where_} of node {} is not an object of hints.",
                    node.label()
                )));
            }
        }
        Ok(())
    }

    fn deploy_steps(&self) -> Vec<DriverStep> {
        vec![
            step("deploy", "deploy", 100, StepRun::Core(CoreStep::Deploy)),
            step(
                "write_image",
                "deploy",
                80,
                StepRun::Core(CoreStep::WriteImage),
            ),
            step(
                "prepare_instance_boot",
                "deploy",
                60,
                StepRun::Core(CoreStep::PrepareInstanceBoot),
            ),
            step(
                "tear_down_agent",
                "deploy",
                40,
                StepRun::Core(CoreStep::TearDownAgent),
            ),
            step(
                "switch_to_tenant_network",
                "deploy",
                30,
                StepRun::Core(CoreStep::SwitchToTenantNetwork),
            ),
            step(
                "boot_instance",
                "deploy",
                20,
                StepRun::Core(CoreStep::BootInstance),
            ),
        ]
    }
}

impl DeployInterface for DirectDeploy {
    fn uses_agent(&self) -> bool {
        true
    }
}
