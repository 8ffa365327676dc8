//! Boot from a virtual CD that the BMC inserts (Redfish schema VirtualMedia): no DHCP, TFTP or PXE before the ramdisk runs.
//!
//! The image is made of kernel, ramdisk and kernel line while the BMC reads it, with the agent's token inside; or it is one
//! that the operator made (`deploy_iso`, `rescue_iso`).

use bessemer_model::{Class, Fault, FaultKind, InterfaceKind, Node};
use serde_json::Value;

use super::ipxe::{check_params, images, may_read, plan};
use crate::interface::{
    BootInterface, BootParams, BootPlan, Environment, Interface, MediaPlan, Property, RamdiskKind,
    boot_mode, info_text,
};

pub struct RedfishVirtualMedia;

const PROPERTIES: &[Property] = &[
    Property {
        name: "deploy_kernel",
        required: false,
        description: "Kernel of the deploy ramdisk (file:///…); default from [conductor] deploy_kernel.",
    },
    Property {
        name: "deploy_ramdisk",
        required: false,
        description: "Initramfs of the deploy ramdisk; default from [conductor] deploy_ramdisk.",
    },
    Property {
        name: "deploy_iso",
        required: false,
        description: "A ready image (http://… or https://…) that is inserted in place of one made of deploy_kernel and deploy_ramdisk.",
    },
    Property {
        name: "rescue_kernel",
        required: false,
        description: "Kernel of the rescue ramdisk; default from [conductor] rescue_kernel.",
    },
    Property {
        name: "rescue_ramdisk",
        required: false,
        description: "Initramfs of the rescue ramdisk; default from [conductor] rescue_ramdisk.",
    },
    Property {
        name: "rescue_iso",
        required: false,
        description: "A ready image (http://… or https://…) that is inserted for a rescue.",
    },
    Property {
        name: "bootloader",
        required: false,
        description: "EFI system partition with the boot loader (file:///…), for UEFI; default from [conductor] bootloader.",
    },
    Property {
        name: "external_http_url",
        required: false,
        description: "URL of the HTTP boot service as this node's BMC reaches it; default from [deploy] external_http_url.",
    },
    Property {
        name: "kernel_append_params",
        required: false,
        description: "More kernel parameters; `%default%` stands for [pxe] kernel_append_params.",
    },
];

/// Upstream's first names of the same.
const OLD_PREFIX: &str = "redfish_";

fn is_web(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}

/// A ready image, when the node has one.
fn ready(node: &Node, which: RamdiskKind) -> Result<Option<String>, Fault> {
    let name = which.iso();
    let given = info_text(node, name).or_else(|| info_text(node, &format!("{OLD_PREFIX}{name}")));
    let Some(url) = given else {
        return Ok(None);
    };
    if !is_web(&url) {
        return Err(Fault::invalid(format!(
            "{name} of node {} is {url}; expected http://… or https://…, from where its BMC reads it.",
            node.label()
        )));
    }
    Ok(Some(url))
}

/// What this version does not do is refused rather than left out.
fn check_options(node: &Node) -> Result<(), Fault> {
    for name in ["config_via_removable", "config_via_floppy"] {
        let on = match node.driver_info.get(name) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::String(text)) => !["", "0", "f", "false", "n", "no", "off"]
                .contains(&text.to_ascii_lowercase().as_str()),
            Some(_) => true,
        };
        if on {
            return Err(Fault::invalid(format!(
                "{name} of node {} is set; this version puts the parameters into the virtual CD alone. Unset it.",
                node.label()
            )));
        }
    }
    match info_text(node, "vmedia_transport_protocol") {
        Some(other) if !["http", "https"].contains(&other.to_ascii_lowercase().as_str()) => {
            Err(Fault::invalid(format!(
                "vmedia_transport_protocol of node {} is {other}; images for virtual media are served over HTTP alone.",
                node.label()
            )))
        }
        _ => Ok(()),
    }
}

/// The EFI system partition of the image.
fn bootloader(env: &Environment, node: &Node) -> Result<Option<String>, Fault> {
    let bad = |url: &str, why: &str| {
        Err(Fault::invalid(format!(
            "bootloader of node {} is {url}, {why}.",
            node.label()
        )))
    };
    if let Some(url) = info_text(node, "bootloader") {
        if !url.starts_with("file:///") {
            return bad(&url, "which is no file of the controller (file:///…)");
        }
        if !may_read(&url, &env.file_url_allowed_paths) {
            return bad(
                &url,
                "which is not below [conductor] file_url_allowed_paths",
            );
        }
        return Ok(Some(url));
    }
    let arch = node.properties.get("cpu_arch").and_then(Value::as_str);
    let found = (env.bootloader)(arch.unwrap_or("x86_64"));
    if found.is_none() && boot_mode(node, &env.default_boot_mode) == "uefi" {
        return Err(Fault::new(
            FaultKind::MissingParameter,
            Class::Never,
            format!(
                "There is no boot loader for virtual media for node {}, which boots in UEFI mode: set [conductor] bootloader or driver_info/bootloader to an EFI system partition.",
                node.label()
            ),
        ));
    }
    Ok(found)
}

/// Where the BMC reads what is made here.
fn base_url(env: &Environment, node: &Node) -> Result<String, Fault> {
    match info_text(node, "external_http_url") {
        None => Ok(env.media_url.clone()),
        Some(url) if is_web(&url) => Ok(url.trim_end_matches('/').to_owned()),
        Some(url) => Err(Fault::invalid(format!(
            "external_http_url of node {} is {url}; expected http://… or https://….",
            node.label()
        ))),
    }
}

/// Kernel and ramdisk are read here while the BMC reads the image.
fn check_files(node: &Node, which: RamdiskKind, pair: [&str; 2]) -> Result<(), Fault> {
    let (kernel, ramdisk) = which.names();
    for (name, url) in [kernel, ramdisk].into_iter().zip(pair) {
        if !url.starts_with("file:///") {
            return Err(Fault::invalid(format!(
                "{name} of node {} is {url}; images for virtual media are made of files of the controller, so it must be file:///….",
                node.label()
            )));
        }
    }
    Ok(())
}

impl Interface for RedfishVirtualMedia {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Boot
    }

    fn name(&self) -> &'static str {
        "redfish-virtual-media"
    }

    fn properties(&self) -> &'static [Property] {
        PROPERTIES
    }

    fn validate(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.redfish.validate(node)?;
        check_options(node)?;
        base_url(env, node)?;
        if ready(node, RamdiskKind::Deploy)?.is_none() {
            let (kernel, ramdisk) = images(env, node, RamdiskKind::Deploy)?;
            check_files(node, RamdiskKind::Deploy, [&kernel, &ramdisk])?;
            bootloader(env, node)?;
        }
        info_text(node, "kernel_append_params").map_or(Ok(()), |p| check_params(node, &p))
    }
}

impl BootInterface for RedfishVirtualMedia {
    fn ramdisk(
        &self,
        env: &Environment,
        node: &Node,
        params: &BootParams,
    ) -> Result<Option<BootPlan>, Fault> {
        check_options(node)?;
        if let Some(url) = ready(node, params.ramdisk)? {
            return Ok(Some(BootPlan {
                kernel: String::new(),
                ramdisk: String::new(),
                kernel_params: String::new(),
                boot_device: "cdrom",
                media: Some(MediaPlan::Ready { url }),
            }));
        }
        let mut plan = plan(env, node, params)?;
        check_files(node, params.ramdisk, [&plan.kernel, &plan.ramdisk])?;
        plan.kernel_params.push_str(" boot_method=vmedia");
        plan.boot_device = "cdrom";
        plan.media = Some(MediaPlan::Made {
            base_url: base_url(env, node)?,
            bootloader: bootloader(env, node)?,
        });
        Ok(Some(plan))
    }
}
