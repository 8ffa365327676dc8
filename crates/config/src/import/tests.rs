#![allow(clippy::unwrap_used)]

use super::*;

/// As an installation by packages has it, with what operators add over the years.
const REAL: &str = include_str!("ironic.conf");

fn offered(family: Option<&str>, name: &str) -> bool {
    match family {
        None => ["ipmi", "fake-hardware"].contains(&name),
        Some("boot") => ["ipxe", "pxe"].contains(&name),
        Some(_) => [
            "agent",
            "no-inspect",
            "ipmitool",
            "noop",
            "direct",
            "no-console",
        ]
        .contains(&name),
    }
}

fn real() -> Imported {
    import(REAL, &offered).unwrap()
}

#[test]
fn a_real_file_becomes_settings() {
    let imported = real();
    let config = Config::from_toml(&imported.toml, Path::new("t")).unwrap();
    config.check_for_serve().unwrap();
    assert_eq!(config.default.enabled_hardware_types, ["ipmi"]);
    assert_eq!(config.default.my_ip.to_string(), "192.0.2.10");
    assert_eq!(config.default.auth_strategy.unwrap().as_str(), "keystone");
    assert_eq!(
        config.default.enabled_boot_interfaces.unwrap(),
        ["ipxe", "pxe"]
    );
    assert_eq!(
        config.api.public_endpoint.as_deref(),
        Some("http://192.0.2.10:6385")
    );
    assert_eq!(config.conductor.deploy_callback_timeout.as_secs(), 3600);
    assert!(!config.conductor.automated_clean);
    assert_eq!(
        config.conductor.deploy_kernel.as_deref(),
        Some("http://192.0.2.10:8080/ipa.kernel")
    );
    assert_eq!(
        config
            .conductor
            .clean_step_priority_override
            .get("deploy.erase_devices_express"),
        Some(&5)
    );
    assert_eq!(
        config.conductor.file_url_allowed_paths,
        ["/var/lib/ironic", "/srv/images"]
    );
    assert_eq!(
        config.pxe.kernel_append_params,
        "nofb nomodeset console=ttyS0 sshkey=\"ssh-rsa AAAA\""
    );
    assert_eq!(config.oslo_policy.policy_dirs, ["policy.d", "site.d"]);
    assert_eq!(
        config.inspector.hooks.last().map(String::as_str),
        Some("physical-network")
    );
    assert_eq!(
        config.keystone_authtoken.username.as_deref(),
        Some("ironic")
    );
    use secrecy::ExposeSecret;
    assert_eq!(
        config.keystone_authtoken.password.unwrap().expose_secret(),
        "hunter2$x"
    );
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.fake.power_delay.max.as_secs(), 5);
}

#[test]
fn what_was_not_translated_is_said() {
    let imported = real();
    let check = |section: &str, option: &str, kind: Reason, part: &str| {
        let left = imported
            .left_out
            .iter()
            .find(|l| l.section == section && l.option == option)
            .unwrap_or_else(|| panic!("[{section}] {option}"));
        assert_eq!(left.kind, kind, "{left:?}");
        assert!(left.why.contains(part), "{left:?}");
        assert!(
            REAL.lines().nth(left.line - 1).unwrap().starts_with(option),
            "{left:?}"
        );
    };
    check(
        "database",
        "connection",
        Reason::Different,
        "Ironic's own database",
    );
    check(
        "DEFAULT",
        "state_path",
        Reason::Different,
        "/var/lib/bessemer",
    );
    check(
        "DEFAULT",
        "enabled_hardware_types",
        Reason::Value,
        "redfish, ilo are not offered",
    );
    check(
        "DEFAULT",
        "enabled_boot_interfaces",
        Reason::Value,
        "redfish-virtual-media is not",
    );
    check("dhcp", "dhcp_provider", Reason::Value, "builtin");
    check("ilo", "client_timeout", Reason::Removed, "36.0");
    check("neutron", "password", Reason::Absent, "Neutron");
    check(
        "conductor",
        "sync_power_state_wrokers",
        Reason::Unknown,
        "did you mean sync_power_state_workers?",
    );
    check("api", "api_workers", Reason::Absent, "all processors");
    check("my_own", "thing", Reason::Unknown, "whole section");
    check(
        "conductor",
        "power_state_change_timeout",
        Reason::Value,
        "not a number of seconds",
    );
    check("deploy", "external_callback_url", Reason::Value, "$nowhere");
    let report = imported.report();
    assert!(report.starts_with(&format!(
        "{} options translated, {} not",
        imported.translated,
        imported.left_out.len()
    )));
    assert!(
        report.contains("auth_strategy") && report.contains("stands in the file again below"),
        "{report}"
    );
}

#[test]
fn no_secret_is_shown() {
    let imported = real();
    for text in [
        imported.report(),
        imported.shown.clone(),
        format!("{:?}", imported.left_out),
    ] {
        for secret in [
            "hunter2",
            "rabbit-secret",
            "db-secret",
            "neutron-secret",
            "login-secret",
        ] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    assert!(
        imported
            .shown
            .contains("# password = (a secret: written with --out)")
    );
    assert!(
        imported.shown.contains("http://***@192.0.2.9/"),
        "{}",
        imported.shown
    );
}

/// Every option that both have is translated with upstream's default, or is told of.
#[test]
fn every_option_of_upstream_has_an_answer() {
    for line in upstream::OPTIONS.lines() {
        let (section, options) = line.split_once(": ").unwrap();
        for option in options.split(' ') {
            let text = format!("[{section}]\n{option} = 1\n");
            let imported = import(&text, &|_, _| true).unwrap();
            let told = imported.left_out.iter().any(|l| l.option == option);
            let written = imported.toml.contains(&format!("\n{option} = "));
            // a debug that is off says nothing; here it is on
            let debug = option == "debug" && imported.toml.contains("level = \"debug\"");
            assert!(told || written || debug, "[{section}] {option}");
        }
    }
    // the tables name what upstream has (or, of removed ones, has not)
    for (section, option, _) in upstream::ABSENT.iter().chain(upstream::DIFFERENT) {
        let library = section == &"DEFAULT" || section == &"database";
        assert!(
            upstream::has(section, option) || library,
            "[{section}] {option}"
        );
    }
    for (section, option, _) in upstream::REMOVED {
        assert!(!upstream::has(section, option), "[{section}] {option}");
    }
}

#[test]
fn any_text() {
    let mut state = 7u64;
    let mut next = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below
    };
    let valid: Vec<char> = REAL.chars().collect();
    let odd = [
        '$', '{', '}', '[', ']', '=', '\n', ' ', '"', '\\', ':', ',', '\u{0}',
    ];
    for _ in 0..200 {
        let mut text = valid.clone();
        for _ in 0..1 + next(20) {
            let at = next(text.len());
            text[at] = odd[next(odd.len())];
        }
        text.truncate(next(valid.len()));
        fuzz::fuzz_import(&text.iter().collect::<String>());
    }
}
