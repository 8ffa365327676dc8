//! The table of options. One row is one option; everything else is derived from it. A section stands in the file of its topic
//! and is a row of `sections!` below, which gives the order of the reference.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use crate::value::{Bad, OptionInfo, OptionValue};

/// A value as a source gives it.
#[derive(Clone, Copy)]
pub enum Given<'a, 'i> {
    Toml(&'a Spanned<DeValue<'i>>),
    Text(&'a str),
}

impl Given<'_, '_> {
    fn read<T: OptionValue>(self) -> Result<T, Bad> {
        match self {
            Given::Toml(value) => T::from_toml(value),
            Given::Text(text) => T::from_text(text),
        }
    }
}

/// One section: its struct, and what is known of its options.
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])*
        $section:ident = $section_name:literal {
            $(
                #[reader($reader:literal)]
                $(#[doc = $doc:literal])*
                $option:ident: $ty:ty = $default:expr,
            )*
        }
    ) => {
        $(#[doc = $section_doc])*
        #[derive(Debug, Clone)]
        pub struct $section {
            $($(#[doc = $doc])* pub $option: $ty,)*
        }

        impl Default for $section {
            fn default() -> Self {
                Self { $($option: $default,)* }
            }
        }

        impl $section {
            pub(super) const NAME: &'static str = $section_name;
            pub(super) const OPTIONS: &'static [&'static str] = &[$(stringify!($option)),*];

            pub(super) fn set(
                &mut self,
                option: &str,
                given: $crate::sections::Given<'_, '_>,
            ) -> Result<(), $crate::value::Bad> {
                match option {
                    $(stringify!($option) => self.$option = given.read()?,)*
                    _ => return Err($crate::value::Bad::new("unknown option")),
                }
                Ok(())
            }

            pub(super) fn shown(&self, option: &str) -> Option<String> {
                use $crate::value::OptionValue as _;
                match option {
                    $(stringify!($option) => self.$option.show(),)*
                    _ => None,
                }
            }

            pub(super) fn describe(all: &mut Vec<$crate::value::OptionInfo>) {
                use $crate::value::OptionValue;
                let section_doc: String = [$($section_doc),*].map(str::trim).join(" ");
                let defaults = Self::default();
                $(all.push($crate::value::OptionInfo {
                    section: $section_name,
                    section_doc: section_doc.clone(),
                    name: stringify!($option),
                    kind: <$ty as OptionValue>::kind(),
                    default: defaults.$option.show(),
                    doc: [$($doc),*].map(str::trim).join(" "),
                    reader: $reader,
                });)*
            }
        }
    };
}

macro_rules! sections {
    ($($field:ident: $file:ident::$section:ident,)*) => {
        $(pub use $file::$section;)*

        /// All settings.
        #[derive(Debug, Clone, Default)]
        pub struct Config {
            $(pub $field: $section,)*
        }

        /// Section names with their options' names.
        pub const SECTIONS: &[(&str, &[&str])] = &[$(($section::NAME, $section::OPTIONS)),*];

        impl Config {
            /// Sets one option; section and option are known to exist.
            pub(crate) fn set(&mut self, section: &str, option: &str, given: Given<'_, '_>) -> Result<(), Bad> {
                match section {
                    $($section::NAME => self.$field.set(option, given),)*
                    _ => Err(Bad::new("unknown section")),
                }
            }

            /// The present value of an option as TOML; secrets hidden, `None` when it is not set.
            pub(crate) fn shown(&self, section: &str, option: &str) -> Option<String> {
                match section {
                    $($section::NAME => self.$field.shown(option),)*
                    _ => None,
                }
            }

            /// Whether the value of an option is never shown.
            pub(crate) fn is_secret(&self, section: &str, option: &str) -> bool {
                options()
                    .iter()
                    .any(|o| o.section == section && o.name == option && o.kind.ends_with("(secret)"))
            }
        }

        pub fn options() -> Vec<OptionInfo> {
            let mut all = Vec::new();
            $($section::describe(&mut all);)*
            all
        }
    };
}

// after the macro that they use
mod api;
mod boot;
mod conductor;
mod defaults;
mod hardware;
mod service;
mod telling;

fn list(items: &[&str]) -> Vec<String> {
    items.iter().map(|&item| item.to_owned()).collect()
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

sections! {
    default: defaults::Defaults,
    api: api::Api,
    oslo_policy: api::OsloPolicy,
    keystone_authtoken: api::KeystoneAuthtoken,
    ssl: api::Ssl,
    json_rpc: api::JsonRpc,
    metrics: api::Metrics,
    healthcheck: api::Healthcheck,
    conductor: conductor::Conductor,
    deploy: conductor::Deploy,
    agent: conductor::Agent,
    inspector: conductor::Inspector,
    inspection_rules: conductor::InspectionRules,
    ipmi: hardware::Ipmi,
    redfish: hardware::Redfish,
    pxe: boot::Pxe,
    database: service::Database,
    fake: hardware::Fake,
    netboot: boot::Netboot,
    dhcp: boot::Dhcp,
    oslo_messaging_notifications: telling::OsloMessagingNotifications,
    oslo_messaging_rabbit: telling::OsloMessagingRabbit,
    notifications: telling::Notifications,
    sensor_data: telling::SensorData,
    log: service::Log,
}
