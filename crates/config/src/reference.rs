//! The annotated example and the reference, both written from the table of options.

use std::fmt::Write;

use crate::value::OptionInfo;
use crate::{Config, ENV_PREFIX};

/// Families of hardware interfaces, as in option names.
pub const FAMILIES: [&str; 13] = [
    "bios",
    "boot",
    "console",
    "deploy",
    "firmware",
    "inspect",
    "management",
    "network",
    "power",
    "raid",
    "rescue",
    "storage",
    "vendor",
];

/// `host` differs per machine; committed files must not.
fn default_of(option: &OptionInfo) -> Option<String> {
    if (option.section, option.name) == ("DEFAULT", "host") {
        return Some("\"(host name)\"".into());
    }
    option.default.clone()
}

/// A settings file with every option, commented out, at its default.
#[must_use]
pub fn example() -> String {
    let mut out = String::from(
        "# Settings of Bessemer. Generated from the option definitions; every option is shown at its default.\n\
         # The one line that has no default is DEFAULT.auth_strategy.\n\
         # Any option can also be given as an environment variable or a flag, which win over this file:\n\
         #   BESSEMER__CONDUCTOR__AUTOMATED_CLEAN=false    --set conductor.automated_clean=false\n",
    );
    let mut section = "";
    for option in Config::options() {
        if option.section != section {
            section = option.section;
            let _ = write!(out, "\n# {}\n[{section}]\n", option.section_doc);
        }
        out.push('\n');
        for line in wrapped(&option.doc, 110) {
            let _ = writeln!(out, "# {line}");
        }
        match default_of(&option) {
            Some(default) => {
                let _ = writeln!(out, "# {} = {default}", option.name);
            }
            None => {
                let _ = writeln!(out, "# {} =    # {}; not set", option.name, option.kind);
            }
        }
    }
    out.push_str(
        "\n# [[dhcp.network]]\n\
         # cidr = \"192.0.2.0/24\"\n\
         # range_start = \"192.0.2.100\"\n\
         # range_end = \"192.0.2.200\"\n\
         # router = \"192.0.2.1\"\n\
         # dns = [\"192.0.2.1\"]\n\
         # lease_seconds = 600\n\
         # discovery = false\n",
    );
    out
}

/// The reference in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut out = format!(
        "# Options\n\n\
         Generated from the option definitions. Settings come from one TOML file, then from environment variables\n\
         (`{ENV_PREFIX}SECTION__OPTION`), then from `--set section.option=value`; later ones win. Section and option\n\
         names are upstream's wherever the meaning is the same. Lists and tables may be given as `a,b` and `a:1,b:2`\n\
         or as TOML in variables and flags; an empty text there unsets an option that may be unset.\n"
    );
    let mut section = "";
    for option in Config::options() {
        if option.section != section {
            section = option.section;
            let _ = write!(
                out,
                "\n## [{section}]\n\n{}\n\n| Option | Value | Default | Meaning | Read by |\n|---|---|---|---|---|\n",
                option.section_doc
            );
        }
        let default = default_of(&option).map_or_else(|| "not set".into(), |d| format!("`{d}`"));
        let _ = writeln!(
            out,
            "| `{}` | {} | {default} | {} | {} |",
            option.name,
            option.kind.replace('|', "or"),
            option.doc.replace('|', "\\|"),
            option.reader
        );
    }
    out
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
