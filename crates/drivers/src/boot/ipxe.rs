//! Network boot through iPXE: kernel and ramdisk by HTTP from our own boot service.

use bessemer_model::{Fault, InterfaceKind, Node};

use crate::interface::{
    BootInterface, BootParams, BootPlan, Environment, Interface, Property, RamdiskKind, info_text,
};

pub struct IpxeBoot;

/// `driver_info` members of the network boot interfaces.
pub const PROPERTIES: &[Property] = &[
    Property {
        name: "deploy_kernel",
        required: false,
        description: "Kernel of the deploy ramdisk (file:///… or http://…); default from [conductor] deploy_kernel.",
    },
    Property {
        name: "deploy_ramdisk",
        required: false,
        description: "Initramfs of the deploy ramdisk; default from [conductor] deploy_ramdisk.",
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
        name: "kernel_append_params",
        required: false,
        description: "More kernel parameters; `%default%` stands for [pxe] kernel_append_params.",
    },
];

/// The pair to boot: the node's own or the configured one, never one of each.
pub(super) fn images(
    env: &Environment,
    node: &Node,
    which: RamdiskKind,
) -> Result<(String, String), Fault> {
    let (kernel_name, ramdisk_name) = which.names();
    let own = (info_text(node, kernel_name), info_text(node, ramdisk_name));
    let missing = |text: String| {
        Fault::new(
            bessemer_model::FaultKind::MissingParameter,
            bessemer_model::Class::Never,
            text,
        )
    };
    let pair = match own {
        (Some(kernel), Some(ramdisk)) => {
            for (name, url) in [(kernel_name, &kernel), (ramdisk_name, &ramdisk)] {
                if !may_read(url, &env.file_url_allowed_paths) {
                    return Err(Fault::invalid(format!(
                        "{name} of node {} is {url}, which is not below [conductor] file_url_allowed_paths.",
                        node.label()
                    )));
                }
            }
            Some((kernel, ramdisk))
        }
        (None, None) => {
            let arch = node
                .properties
                .get("cpu_arch")
                .and_then(|v| v.as_str())
                .unwrap_or("x86_64");
            let (kernel, ramdisk) = match which {
                RamdiskKind::Deploy => (env.deploy_images)(arch),
                RamdiskKind::Rescue => (env.rescue_images)(arch),
            };
            kernel.zip(ramdisk)
        }
        _ => {
            return Err(missing(format!(
                "Node {} has only one of {kernel_name} and {ramdisk_name} in driver_info; set both or neither.",
                node.label()
            )));
        }
    };
    let (kernel, ramdisk) = pair.ok_or_else(|| {
        missing(match which {
            RamdiskKind::Deploy => format!(
                "There is no deploy ramdisk for node {}: build one with `bessemer ramdisk build` and set [conductor] deploy_kernel and deploy_ramdisk, or the same names in driver_info.",
                node.label()
            ),
            RamdiskKind::Rescue => format!(
                "There is no rescue ramdisk for node {}: set [conductor] rescue_kernel and rescue_ramdisk, or the same names in driver_info; its agent must have the rescue extension.",
                node.label()
            ),
        })
    })?;
    for (name, url) in [(kernel_name, &kernel), (ramdisk_name, &ramdisk)] {
        if !["file:///", "http://", "https://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
        {
            return Err(Fault::invalid(format!(
                "{name} of node {} is {url}; expected file:///…, http://… or https://….",
                node.label()
            )));
        }
    }
    Ok((kernel, ramdisk))
}

/// Whether a URL that a client gave may be served: a file only below the allowed directories. What could
/// hide the way there (`..`, percent signs) is refused, since files of the controller are at stake.
pub(super) fn may_read(url: &str, allowed: &[String]) -> bool {
    let Some(path) = url.strip_prefix("file://") else {
        return true;
    };
    !path.contains('%')
        && !path.split('/').any(|part| part == "..")
        && allowed
            .iter()
            .any(|directory| std::path::Path::new(path).starts_with(directory))
}

/// Characters that could end the kernel line or a script line are refused, not dropped: a parameter that
/// silently changes is worse than an error.
pub(super) fn check_params(node: &Node, text: &str) -> Result<(), Fault> {
    if text.chars().any(|c| c.is_control()) || !text.matches('"').count().is_multiple_of(2) {
        return Err(Fault::invalid(format!(
            "kernel_append_params of node {} has a control character or an unbalanced quote.",
            node.label()
        )));
    }
    Ok(())
}

/// The deploy ramdisk with its command line.
pub(super) fn plan(env: &Environment, node: &Node, params: &BootParams) -> Result<BootPlan, Fault> {
    let (kernel, ramdisk) = images(env, node, params.ramdisk)?;
    let append = node
        .instance_info
        .get("kernel_append_params")
        .and_then(|v| v.as_str())
        .map(str::to_owned)
        .or_else(|| info_text(node, "kernel_append_params"))
        .unwrap_or_else(|| "%default%".to_owned())
        .replace("%default%", &env.kernel_append_params);
    check_params(node, &append)?;
    let mut line = format!(
        "selinux=0 troubleshoot=0 text {append} ipa-api-url={}",
        params.api_url
    );
    for (key, value) in &params.extra {
        line.push_str(&format!(" {key}={value}"));
    }
    Ok(BootPlan {
        kernel,
        ramdisk,
        kernel_params: line,
        boot_device: "pxe",
        media: None,
    })
}

impl Interface for IpxeBoot {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Boot
    }

    fn name(&self) -> &'static str {
        "ipxe"
    }

    fn properties(&self) -> &'static [Property] {
        PROPERTIES
    }

    fn validate(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        images(env, node, RamdiskKind::Deploy)?;
        info_text(node, "kernel_append_params").map_or(Ok(()), |p| check_params(node, &p))
    }
}

impl BootInterface for IpxeBoot {
    fn ramdisk(
        &self,
        env: &Environment,
        node: &Node,
        params: &BootParams,
    ) -> Result<Option<BootPlan>, Fault> {
        plan(env, node, params).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::may_read;

    #[test]
    fn files_of_the_controller_are_not_for_everyone() {
        let check = |url: &str, want: bool| {
            assert_eq!(may_read(url, &["/srv/images".to_owned()]), want, "{url}");
        };
        check("http://x/etc/shadow", true);
        check("file:///srv/images/kernel", true);
        check("file:///srv/images2/kernel", false);
        check("file:///etc/shadow", false);
        check("file:///srv/images/../../etc/shadow", false);
        check("file:///srv/images/%2e%2e/%2e%2e/etc/shadow", false);
        check("file://srv/images/x", false);
    }
}
