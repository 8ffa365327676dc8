//! iPXE scripts from templates. Operators may replace each by a file of the same name in their own directory.
//!
//! The built-in ones are `templates/*.ipxe.j2`; each names its variables. An operator's file is read and parsed once, at
//! the start, so that a mistake is found then and not at the first boot.

use std::path::{Path, PathBuf};

use bessemer_model::NodeId;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

use bessemer_dhcp::MacAddress;

use crate::Error;

/// How often a node tries to load its ramdisk before it powers itself off.
const ATTEMPTS: u32 = 10;
/// The ramdisk's name inside iPXE; the kernel finds it by that on EFI.
pub const RAMDISK_NAME: &str = "initramfs";

const RAMDISK: &str = "ramdisk.ipxe.j2";
const LOCAL: &str = "local.ipxe.j2";
const CHAIN: &str = "chain.ipxe.j2";
const BUILT_IN: [(&str, &str); 3] = [
    (RAMDISK, include_str!("../templates/ramdisk.ipxe.j2")),
    (LOCAL, include_str!("../templates/local.ipxe.j2")),
    (CHAIN, include_str!("../templates/chain.ipxe.j2")),
];

/// The templates.
#[derive(Debug)]
pub struct Scripts {
    environment: Environment<'static>,
}

/// A script could not be made; names template and line.
#[derive(Debug, thiserror::Error)]
#[error("the boot script cannot be made")]
pub struct RenderError(#[from] minijinja::Error);

impl Scripts {
    /// The built-in templates, each replaced by the file of the same name in `directory` if there is one.
    ///
    /// # Errors
    /// [`Error::Template`] naming the file.
    pub fn load(directory: Option<&Path>) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        for (name, built_in) in BUILT_IN {
            let path = directory.map(|directory| directory.join(name));
            let text = match &path {
                None => None,
                Some(path) => match std::fs::read_to_string(path) {
                    Ok(text) => Some(text),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                    Err(error) => return Err(template_error(path.clone(), error)),
                },
            };
            let shown = match (&text, path) {
                (Some(_), Some(path)) => path,
                _ => PathBuf::from(name),
            };
            environment
                .add_template_owned(name, text.unwrap_or_else(|| built_in.to_owned()))
                .map_err(|error| template_error(shown, error))?;
        }
        Ok(Self { environment })
    }

    /// The script that loads a ramdisk. The parameters are the boot row's.
    ///
    /// # Errors
    /// [`RenderError`] when an operator's template uses a variable that there is not.
    pub fn ramdisk(
        &self,
        node: NodeId,
        mac: MacAddress,
        kernel_url: &str,
        ramdisk_url: &str,
        kernel_params: &str,
    ) -> Result<String, RenderError> {
        self.render(
            RAMDISK,
            context! {
                node => node.to_string(),
                mac => mac.to_string(),
                mac_dashed => mac.dashed(),
                kernel_url => one_line(kernel_url),
                ramdisk_url => one_line(ramdisk_url),
                ramdisk_name => RAMDISK_NAME,
                kernel_params => one_line(kernel_params),
                attempts => ATTEMPTS,
            },
        )
    }

    /// The script that boots from the node's own disk.
    ///
    /// # Errors
    /// As [`Scripts::ramdisk`].
    pub fn local(&self, node: NodeId, mac: MacAddress) -> Result<String, RenderError> {
        self.render(
            LOCAL,
            context! {
                node => node.to_string(),
                mac => mac.to_string(),
                mac_dashed => mac.dashed(),
            },
        )
    }

    /// The script that looks for each interface's own script. `base` is our URL without a slash at the end.
    ///
    /// # Errors
    /// As [`Scripts::ramdisk`].
    pub fn chain(&self, base: &str) -> Result<String, RenderError> {
        self.render(CHAIN, context! { base => one_line(base) })
    }

    fn render(&self, name: &str, values: minijinja::Value) -> Result<String, RenderError> {
        let mut script = self.environment.get_template(name)?.render(values)?;
        // the template language drops the last line break, and iPXE wants whole lines
        if !script.ends_with('\n') {
            script.push('\n');
        }
        Ok(script)
    }
}

fn template_error(
    path: PathBuf,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Template {
        path,
        source: error.into(),
    }
}

/// A line break in a value would begin a new command of the script.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0x77, 0, 1]);

    fn node() -> NodeId {
        "5f2b0f0c-2b1e-4b6e-9f56-0c1f2a3b4c5d".parse().unwrap()
    }

    #[test]
    fn built_in_scripts() {
        let scripts = Scripts::load(None).unwrap();
        let ramdisk = scripts
            .ramdisk(
                node(),
                MAC,
                "http://10.0.0.1/k",
                "http://10.0.0.1/r",
                "a=1 b=2\nshell",
            )
            .unwrap();
        assert!(ramdisk.starts_with("#!ipxe\n"));
        assert!(ramdisk.contains(
            "\nkernel http://10.0.0.1/k a=1 b=2 shell BOOTIF=01-52-54-00-77-00-01 initrd=initramfs || goto again\n\
             initrd --name initramfs http://10.0.0.1/r || goto again\n"
        ), "{ramdisk}");
        let local = scripts.local(node(), MAC).unwrap();
        assert!(
            local.contains("sanboot --no-describe --drive 0x80"),
            "{local}"
        );
        assert!(local.ends_with("\nexit 1\n"));
        let chain = scripts.chain("http://10.0.0.1:8080").unwrap();
        assert!(chain.contains(
            "\nisset ${net0/mac} || goto none\nchain --replace http://10.0.0.1:8080/boot/${net0/mac:hexhyp}/boot.ipxe ||\nisset ${net1/mac} || goto none\n"
        ), "{chain}");
        assert!(chain.contains("${net7/mac}") && !chain.contains("${net8/mac}"));
    }

    #[test]
    fn an_operators_template_counts() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(LOCAL), "#!ipxe\nexit 7 {{ mac }}\n").unwrap();
        let scripts = Scripts::load(Some(directory.path())).unwrap();
        assert_eq!(
            scripts.local(node(), MAC).unwrap(),
            "#!ipxe\nexit 7 52:54:00:77:00:01\n"
        );
        assert!(scripts.chain("x").is_ok());

        std::fs::write(directory.path().join(LOCAL), "#!ipxe\n{{ nothing }}\n").unwrap();
        let scripts = Scripts::load(Some(directory.path())).unwrap();
        assert!(scripts.local(node(), MAC).is_err());

        let path = directory.path().join(CHAIN);
        std::fs::write(&path, "#!ipxe\n{% for %}\n").unwrap();
        let error = Scripts::load(Some(directory.path())).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("boot script template {} cannot be used", path.display())
        );
    }
}
