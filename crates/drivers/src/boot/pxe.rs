//! Network boot by TFTP alone: loader, script, kernel and ramdisk, for networks on which nothing else gets through.
//!
//! What is booted is what [`super::ipxe`] boots; the boot service serves a node with this interface over TFTP only. So kernel and
//! ramdisk must be files of the controller: what lies on a web server cannot come by TFTP.

use bessemer_model::{Fault, InterfaceKind, Node};

use super::ipxe::{PROPERTIES, check_params, images, plan};
use crate::interface::{
    BootInterface, BootParams, BootPlan, Environment, Interface, Property, RamdiskKind, info_text,
};

pub struct PxeBoot;

/// Refuses a pair that is not on the controller.
fn check_files(node: &Node, kernel: &str, ramdisk: &str) -> Result<(), Fault> {
    for (name, url) in [("deploy_kernel", kernel), ("deploy_ramdisk", ramdisk)] {
        if !url.starts_with("file:///") {
            return Err(Fault::invalid(format!(
                "{name} of node {} is {url}; boot interface pxe serves files of the controller by TFTP, so it must be file:///…. Use boot interface ipxe to load it from a web server.",
                node.label()
            )));
        }
    }
    Ok(())
}

impl Interface for PxeBoot {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Boot
    }

    fn name(&self) -> &'static str {
        "pxe"
    }

    fn properties(&self) -> &'static [Property] {
        PROPERTIES
    }

    fn validate(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        let (kernel, ramdisk) = images(env, node, RamdiskKind::Deploy)?;
        check_files(node, &kernel, &ramdisk)?;
        info_text(node, "kernel_append_params").map_or(Ok(()), |p| check_params(node, &p))
    }
}

impl BootInterface for PxeBoot {
    fn ramdisk(
        &self,
        env: &Environment,
        node: &Node,
        params: &BootParams,
    ) -> Result<Option<BootPlan>, Fault> {
        let plan = plan(env, node, params)?;
        check_files(node, &plan.kernel, &plan.ramdisk)?;
        Ok(Some(plan))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::check_files;
    use bessemer_model::{Node, NodeId, Timestamp};

    #[test]
    fn only_files_come_by_tftp() {
        let node = Node::new(NodeId::random(), "ipmi", Timestamp(0));
        let check = |kernel: &str, ramdisk: &str, expected: Option<&str>| {
            let text = check_files(&node, kernel, ramdisk).err().map(|e| e.text);
            match expected {
                None => assert_eq!(text, None),
                Some(part) => assert!(text.as_deref().unwrap().contains(part), "{text:?}"),
            }
        };
        check("file:///srv/k", "file:///srv/r", None);
        check("http://x/k", "file:///srv/r", Some("deploy_kernel of node"));
        check(
            "file:///srv/k",
            "https://x/r",
            Some("deploy_ramdisk of node"),
        );
    }
}
