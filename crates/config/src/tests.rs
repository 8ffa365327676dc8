#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use std::path::Path;
use std::time::Duration;

fn refusal(text: &str) -> String {
    Config::from_toml(text, Path::new("b.toml"))
        .unwrap_err()
        .to_string()
}

#[test]
fn a_file_sets_options() {
    let config = Config::from_toml(
        r#"
[DEFAULT]
auth_strategy = "http_basic"
my_ip = "2001:db8::1"
enabled_boot_interfaces = ["ipxe", "fake"]

[conductor]
automated_clean = false
deploy_callback_timeout = 0.5
clean_step_priority_override = { "deploy.erase_devices" = 0 }
deploy_kernel = "file:///k"
deploy_kernel_by_arch = { aarch64 = "file:///a" }

[database]
connection = "postgresql://u:p@h/n"

[fake]
power_delay = "1,3"

[[dhcp.network]]
cidr = "192.0.2.0/24"
range_start = "192.0.2.10"
range_end = "192.0.2.20"
dns = ["192.0.2.1"]
"#,
        Path::new("b.toml"),
    )
    .unwrap();
    assert_eq!(config.default.auth_strategy, Some(AuthStrategy::HttpBasic));
    assert_eq!(
        config.conductor.deploy_callback_timeout,
        Duration::from_millis(500)
    );
    assert_eq!(
        config.conductor.clean_step_priority_override["deploy.erase_devices"],
        0
    );
    assert_eq!(config.deploy_images("aarch64"), (Some("file:///a"), None));
    assert_eq!(config.deploy_images("x86_64"), (Some("file:///k"), None));
    assert_eq!(config.callback_url(), "http://[2001:db8::1]:6385");
    assert_eq!(config.fake.power_delay.max, Duration::from_secs(3));
    assert_eq!(config.dhcp.network.len(), 1);
    assert_eq!(config.dhcp.network[0].lease_seconds, 600);
    assert!(!config.dhcp.network[0].discovery);
    assert_eq!(config.enabled_interfaces("boot").unwrap().len(), 2);
    assert!(!format!("{config:?}").contains("u:p@"));
    config.check_for_serve().unwrap();
}

#[test]
fn wrong_settings_are_refused_with_place_and_nearest_name() {
    let check = |text: &str, want: &str| {
        let got = refusal(text);
        assert!(got.contains(want), "{text:?}: {got:?} lacks {want:?}");
    };
    check(
        "[conductr]\nx = 1\n",
        "b.toml:1: there is no section [conductr]; did you mean [conductor]?",
    );
    check(
        "[api]\n\nprt = 1\n",
        "b.toml:3: section [api] has no option prt; did you mean port?",
    );
    check(
        "[api]\nautomated_clean = true\n",
        "b.toml:2: section [api] has no option automated_clean; it belongs to [conductor]",
    );
    check(
        "automated_clean = true\n",
        "b.toml:1: automated_clean belongs to section [conductor]",
    );
    check(
        "[api]\nport = \"x\"\n",
        "b.toml:2: api.port: wants a whole number, not a string",
    );
    check(
        "[api]\nport = 70000\n",
        "b.toml:2: api.port: 70000 is not between 0 and 65535",
    );
    check("[api]\nport = -1\n", "is not between 0 and 65535");
    check(
        "[api]\nhost_ip = \"localhost\"\n",
        "\"localhost\" is not an IP address",
    );
    check(
        "[DEFAULT]\nauth_strategy = \"htp_basic\"\n",
        "did you mean \"http_basic\"?",
    );
    check(
        "[DEFAULT]\nenabled_hardware_types = [\"ipmi\", 3]\n",
        "b.toml:2: DEFAULT.enabled_hardware_types: wants a text, not an integer",
    );
    check("api = 3\n", "api is a section");
    check("[api\n", "b.toml:1: ");
    check("[api]\nport = 1\nport = 2\n", "b.toml:3: ");
    check(
        "[api]\nmax_limit = 0\n",
        "api.max_limit: is a number from 1 to 1000",
    );
    check(
        "[conductor]\nheartbeat_timeout = 1\n",
        "must be longer than conductor.heartbeat_interval",
    );
    check(
        "[DEFAULT]\nenabled_boot_interfaces = [\"pxe\"]\ndefault_boot_interface = \"ipxe\"\n",
        "is not among DEFAULT.enabled_boot_interfaces",
    );
    check(
        "[fake]\npower_delay = \"3,1\"\n",
        "the second number is the larger one",
    );
    check(
        "[[dhcp.network]]\ncidr = \"192.0.2.0/24\"\n",
        "needs range_start",
    );
    check(
        "[[dhcp.network]]\ncidr = \"192.0.2.0/24\"\nrange_start = \"192.0.3.1\"\n",
        "b.toml:3: dhcp.network: range_start: 192.0.3.1 is not a host of 192.0.2.0/24",
    );
    check(
        "[[dhcp.network]]\ncdir = \"192.0.2.0/24\"\n",
        "b.toml:2: dhcp.network: a dhcp.network has no cdir; did you mean cidr?",
    );
}

#[test]
fn environment_and_flags_win_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("b.toml");
    std::fs::write(
        &file,
        "[api]\nport = 1\nmax_limit = 2\n[conductor]\nautomated_clean = false\n",
    )
    .unwrap();
    let env = |name: &str, value: &str| (name.into(), value.into());
    let config = Config::load(&Sources {
        base: Base::Dev,
        file: Some(file.clone()),
        env: vec![
            env("PATH", "/bin"),
            env("BESSEMER__API__PORT", "3"),
            env("BESSEMER__DEFAULT__ENABLED_HARDWARE_TYPES", "ipmi, fake-hardware"),
            env("BESSEMER__DHCP__NETWORK", r#"[{cidr="192.0.2.0/24", range_start="192.0.2.2", range_end="192.0.2.9", discovery=true}]"#),
        ],
        set: vec!["api.port=4".into(), "conductor.clean_step_priority_override=deploy.a:1,deploy.b:0".into(), "DEFAULT.default_boot_interface=".into()],
    })
    .unwrap();
    assert_eq!(
        (
            config.api.port,
            config.api.max_limit,
            config.conductor.automated_clean
        ),
        (4, 2, false)
    );
    assert_eq!(
        config.default.enabled_hardware_types,
        ["ipmi", "fake-hardware"]
    );
    assert_eq!(config.conductor.clean_step_priority_override.len(), 2);
    assert!(config.dhcp.network[0].discovery);

    let check = |env: Vec<(std::ffi::OsString, std::ffi::OsString)>, set: &[&str], want: &str| {
        let got = Config::load(&Sources {
            env,
            set: set.iter().map(|s| (*s).to_owned()).collect(),
            ..Sources::default()
        })
        .unwrap_err()
        .to_string();
        assert!(got.contains(want), "{got:?} lacks {want:?}");
    };
    check(
        vec![env("BESSEMER__API__PRT", "3")],
        &[],
        "environment variable BESSEMER__API__PRT: section [api] has no option prt; did you mean port?",
    );
    check(
        vec![env("BESSEMER__API", "3")],
        &[],
        "its form is BESSEMER__SECTION__OPTION",
    );
    check(
        vec![],
        &["api.port=x"],
        "--set api.port: \"x\" is not a whole number",
    );
    check(
        vec![],
        &["port=1"],
        "--set port: port belongs to section [api]",
    );
    check(
        vec![],
        &["database.connection"],
        "--set: its form is section.option=value",
    );
    assert!(matches!(
        Config::load(&Sources {
            file: Some(dir.path().join("none")),
            ..Sources::default()
        }),
        Err(ConfigError::Unreadable { .. })
    ));
}

#[test]
fn a_server_must_be_told_how_to_authenticate() {
    let mut config = Config::default();
    assert!(
        config
            .check_for_serve()
            .unwrap_err()
            .to_string()
            .starts_with("DEFAULT.auth_strategy is not set")
    );
    config.default.auth_strategy = Some(AuthStrategy::Keystone);
    let missing = |config: &Config| config.check_for_serve().unwrap_err().to_string();
    assert!(missing(&config).starts_with("keystone_authtoken.auth_url is not set"));
    config.keystone_authtoken.auth_url = Some("https://keystone.example.com:5000".into());
    config.check_for_serve().unwrap();
    config.api.enable_ssl_api = true;
    assert!(missing(&config).starts_with("api.cert_file and api.key_file"));
    config.api.cert_file = Some("/c".into());
    config.ssl.cert_file = Some("/d".into());
    config.ssl.key_file = Some("/e".into());
    assert_eq!(
        config.api_certificate().unwrap(),
        ("/d".into(), "/e".into())
    );
    config.check_for_serve().unwrap();
    Config::dev().check_for_serve().unwrap();
    assert!(Config::dev().api.host_ip.is_loopback());
}

#[test]
fn every_option_is_documented_and_the_example_is_valid() {
    for option in Config::options() {
        assert!(
            !option.doc.is_empty() && !option.reader.is_empty(),
            "{}",
            option.name
        );
    }
    // with every default uncommented it still reads
    let text: String = example()
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if rest.starts_with("[[")
                    || rest.split_once(" = ").is_some_and(|(name, value)| {
                        !name.contains(' ') && !value.starts_with(' ')
                    }) =>
            {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        // the list of networks is given as tables below
        .filter(|line| line != "network = []\n")
        .collect();
    Config::from_toml(&text, Path::new("example")).unwrap();
}

/// `BESSEMER_WRITE=1 cargo test -p bessemer-config` writes them.
#[test]
fn committed_documents_are_fresh() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    for (name, want) in [
        ("options.md", reference()),
        ("bessemer.example.toml", example()),
    ] {
        let path = docs.join(name);
        if std::env::var_os("BESSEMER_WRITE").is_some() {
            std::fs::create_dir_all(&docs).unwrap();
            std::fs::write(&path, &want).unwrap();
        }
        let have = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            have == want,
            "docs/{name} is stale: run BESSEMER_WRITE=1 cargo test -p bessemer-config"
        );
    }
}
