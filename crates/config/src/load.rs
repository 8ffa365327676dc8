//! Reading settings: defaults, then the file, then the environment, then flags.

use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::error::ConfigError;
use crate::sections::{Config, Given, SECTIONS};
use crate::value::{Bad, closest};

/// Environment variables of Bessemer begin with this: `BESSEMER__CONDUCTOR__AUTOMATED_CLEAN=false`.
pub const ENV_PREFIX: &str = "BESSEMER__";

/// Where settings are when no file is named.
const DIRECTORY: &str = "/etc/bessemer";

/// What the other sources override.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Base {
    /// The documented defaults.
    #[default]
    Plain,
    /// [`Config::dev`].
    Dev,
}

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    pub base: Base,
    pub file: Option<PathBuf>,
    /// The whole environment; variables without the prefix are passed over.
    pub env: Vec<(OsString, OsString)>,
    /// `section.option=value`, as given with `--set`.
    pub set: Vec<String>,
}

impl Config {
    /// Reads all sources.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place and the nearest valid name.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut config = match sources.base {
            Base::Plain => Self::default(),
            Base::Dev => Self::dev(),
        };
        if let Some(path) = &sources.file {
            let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
                path: path.display().to_string(),
                why: error.to_string(),
            })?;
            config.apply_toml(&text, path)?;
        }
        config.apply_env(&sources.env)?;
        for flag in &sources.set {
            config.apply_set(flag)?;
        }
        let beside = sources
            .file
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or(Path::new(DIRECTORY));
        config.place_policies(beside);
        config.check()?;
        Ok(config)
    }

    /// Defaults and one TOML text; `path` only names it in messages.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        config.apply_toml(text, path)?;
        config.check()?;
        Ok(config)
    }

    /// Relative paths of policies are below the directory of the settings file.
    fn place_policies(&mut self, beside: &Path) {
        let policy = &mut self.oslo_policy;
        // what is absolute stays as it is
        policy.policy_file = beside.join(&policy.policy_file);
        for dir in &mut policy.policy_dirs {
            *dir = beside.join(&*dir).to_string_lossy().into_owned();
        }
    }

    fn apply_toml(&mut self, text: &str, path: &Path) -> Result<(), ConfigError> {
        let place = |span: Option<Range<usize>>| match span {
            Some(span) => format!("{}:{}", path.display(), line_of(text, span.start)),
            None => path.display().to_string(),
        };
        let refused = |span, why: String| ConfigError::Refused {
            place: place(span),
            why,
        };
        let document =
            DeTable::parse(text).map_err(|e| refused(e.span(), e.message().to_owned()))?;
        for (section_key, section_value) in document.get_ref() {
            let name = section_key.get_ref().as_ref();
            let Some((section, _)) = SECTIONS.iter().find(|(s, _)| *s == name) else {
                return Err(refused(
                    Some(section_key.span()),
                    if section_value.get_ref().is_table() {
                        unknown_section(name)
                    } else {
                        outside(name)
                    },
                ));
            };
            let Some(table) = section_value.get_ref().as_table() else {
                return Err(refused(
                    Some(section_key.span()),
                    format!("{section} is a section: write [{section}] and its options below"),
                ));
            };
            for (key, value) in table {
                let option = key.get_ref().as_ref();
                known(section, option)
                    .and_then(|()| {
                        self.set(section, option, Given::Toml(value))
                            .map_err(|bad| bad.within(&format!("{section}.{option}")))
                    })
                    .map_err(|bad| refused(bad.span.or(Some(key.span())), bad.why))?;
            }
        }
        Ok(())
    }

    fn apply_env(&mut self, env: &[(OsString, OsString)]) -> Result<(), ConfigError> {
        for (name, value) in env {
            let Some(rest) = name.to_str().and_then(|n| n.strip_prefix(ENV_PREFIX)) else {
                continue;
            };
            let refused = |why: String| ConfigError::Refused {
                place: format!("environment variable {ENV_PREFIX}{rest}"),
                why,
            };
            let Some((section, option)) = rest.split_once("__") else {
                return Err(refused(format!("its form is {ENV_PREFIX}SECTION__OPTION")));
            };
            let Some(value) = value.to_str() else {
                return Err(refused("its value is not UTF-8".into()));
            };
            let option = option.to_ascii_lowercase();
            let Some((section, _)) = SECTIONS
                .iter()
                .find(|(s, _)| s.eq_ignore_ascii_case(section))
            else {
                return Err(refused(unknown_section(&section.to_ascii_lowercase())));
            };
            known(section, &option)
                .and_then(|()| self.set(section, &option, Given::Text(value)))
                .map_err(|bad| refused(bad.why))?;
        }
        Ok(())
    }

    fn apply_set(&mut self, flag: &str) -> Result<(), ConfigError> {
        let (name, value) = flag.split_once('=').ok_or_else(|| ConfigError::Refused {
            // not shown whole: what was meant as a value may be a secret
            place: "--set".into(),
            why: "its form is section.option=value".into(),
        })?;
        let refused = |why: String| ConfigError::Refused {
            place: format!("--set {name}"),
            why,
        };
        let Some((section, option)) = name.split_once('.') else {
            return Err(refused(outside(name)));
        };
        let Some((section, _)) = SECTIONS
            .iter()
            .find(|(s, _)| s.eq_ignore_ascii_case(section))
        else {
            return Err(refused(unknown_section(section)));
        };
        known(section, option)
            .and_then(|()| self.set(section, option, Given::Text(value)))
            .map_err(|bad| refused(bad.why))
    }

    /// Rules between options, wherever they came from.
    fn check(&self) -> Result<(), ConfigError> {
        let refused = |place: &str, why: String| {
            Err(ConfigError::Refused {
                place: place.to_owned(),
                why,
            })
        };
        if !(1..=1000).contains(&self.api.max_limit) {
            return refused("api.max_limit", "is a number from 1 to 1000".into());
        }
        for (place, value, known) in [
            (
                "inspector.add_ports",
                &self.inspector.add_ports,
                &["pxe", "active", "all", "disabled"][..],
            ),
            (
                "inspector.keep_ports",
                &self.inspector.keep_ports,
                &["all", "present", "added"],
            ),
            (
                "inspection_rules.mask_secrets",
                &self.inspection_rules.mask_secrets,
                &["always", "sensitive", "never"],
            ),
        ] {
            if !known.contains(&value.as_str()) {
                return refused(place, format!("is one of {}", known.join(", ")));
            }
        }
        if let Some(wrong) = self
            .inspector
            .physical_network_cidr_map
            .keys()
            .find(|k| k.parse::<ipnet::IpNet>().is_err())
        {
            return refused(
                "inspector.physical_network_cidr_map",
                format!("has {wrong}, which is not a network such as 192.0.2.0/24"),
            );
        }
        if !["autogenerated", "runbook", "hybrid"]
            .contains(&self.conductor.automated_cleaning_step_source.as_str())
        {
            return refused(
                "conductor.automated_cleaning_step_source",
                "is autogenerated, runbook or hybrid".into(),
            );
        }
        if !["instance", "request", "none"]
            .contains(&self.conductor.automatic_lessee_source.as_str())
        {
            return refused(
                "conductor.automatic_lessee_source",
                "is instance, request or none".into(),
            );
        }
        if !["sha256", "sha512"].contains(&self.conductor.rescue_password_hash_algorithm.as_str()) {
            return refused(
                "conductor.rescue_password_hash_algorithm",
                "is sha256 or sha512".into(),
            );
        }
        if self.conductor.heartbeat_timeout <= self.conductor.heartbeat_interval {
            return refused(
                "conductor.heartbeat_timeout",
                "must be longer than conductor.heartbeat_interval, or every conductor loses its session"
                    .into(),
            );
        }
        for family in crate::reference::FAMILIES {
            if let (Some(default), Some(enabled)) = (
                self.default_interface(family),
                self.enabled_interfaces(family),
            ) && !enabled.iter().any(|name| name == default)
            {
                return refused(
                    &format!("DEFAULT.default_{family}_interface"),
                    format!("\"{default}\" is not among DEFAULT.enabled_{family}_interfaces"),
                );
            }
        }
        for (at, network) in self.dhcp.network.iter().enumerate() {
            if let Some(other) = self.dhcp.network.iter().take(at).find(|other| {
                other.cidr.contains(&network.cidr) || network.cidr.contains(&other.cidr)
            }) {
                return refused(
                    "dhcp.network",
                    format!("{} and {} overlap", other.cidr, network.cidr),
                );
            }
        }
        Ok(())
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|b| *b == b'\n').count()
}

fn unknown_section(name: &str) -> String {
    match closest(name, SECTIONS.iter().map(|(s, _)| *s)) {
        Some(near) => format!("there is no section [{name}]; did you mean [{near}]?"),
        None => format!(
            "there is no section [{name}]; there are {}",
            SECTIONS
                .iter()
                .map(|(s, _)| *s)
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

/// An option without a section.
fn outside(name: &str) -> String {
    match SECTIONS.iter().find(|(_, options)| options.contains(&name)) {
        Some((section, _)) => format!("{name} belongs to section [{section}]"),
        None => format!("{name} is outside of any section, and no section has such an option"),
    }
}

fn known(section: &str, option: &str) -> Result<(), Bad> {
    let options = SECTIONS
        .iter()
        .find(|(s, _)| *s == section)
        .map_or(&[][..], |(_, options)| options);
    if options.contains(&option) {
        return Ok(());
    }
    let near = closest(option, options.iter().copied());
    let elsewhere = SECTIONS.iter().find(|(_, o)| o.contains(&option));
    Err(Bad::new(match (elsewhere, near) {
        (Some((there, _)), _) => {
            format!("section [{section}] has no option {option}; it belongs to [{there}]")
        }
        (None, Some(near)) => {
            format!("section [{section}] has no option {option}; did you mean {near}?")
        }
        (None, None) => format!("section [{section}] has no option {option}"),
    }))
}
