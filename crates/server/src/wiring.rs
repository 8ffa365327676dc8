//! From the settings file's options to what each part wants to be told.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bessemer_conductor::inspection::hooks::{AddPorts, HookSettings, KeepPorts};
use bessemer_conductor::inspection::rules::MaskSecrets;
use bessemer_conductor::{InspectionSettings, LesseeSource, Settings};
use bessemer_config::{Config, FakeDelay};
use bessemer_drivers::{Bmcs, Drivers, Environment, RedfishBmcs, RedfishSettings};
use bessemer_ipmi::{CipherSuite, Timing};
use bessemer_model::{Fault, InterfaceKind};
use bessemer_store::Keys;
use rand::RngExt;
use secrecy::ExposeSecret;

/// A callback timeout of 0 means "for ever"; a wait still has a deadline that can be shown.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

fn or_for_ever(timeout: Duration) -> Duration {
    if timeout.is_zero() { FOR_EVER } else { timeout }
}

/// What the conductor is told.
#[must_use]
pub fn conductor(config: &Config) -> Settings {
    let c = &config.conductor;
    let mut settings = Settings::new(config.default.host.clone(), config.callback_url());
    settings.conductor_group.clone_from(&c.conductor_group);
    settings.heartbeat_interval = c.heartbeat_interval;
    settings.heartbeat_timeout = c.heartbeat_timeout;
    settings.graceful_shutdown_timeout = c.graceful_shutdown_timeout;
    settings.drain_shutdown_timeout = or_for_ever(config.default.drain_shutdown_timeout);
    settings.check_allocations_interval = c.check_allocations_interval;
    settings.node_locked_retry_attempts = c.node_locked_retry_attempts;
    settings.node_locked_retry_interval = c.node_locked_retry_interval;
    settings.sync_power_state_interval = c.sync_power_state_interval;
    settings.sync_power_state_workers = usize::try_from(c.sync_power_state_workers).unwrap_or(8);
    settings.force_power_state_during_sync = c.force_power_state_during_sync;
    settings.power_failure_recovery_interval = c.power_failure_recovery_interval;
    settings.conductor_cleanup_interval = c.conductor_cleanup_interval;
    settings.conductor_cleanup_timeout = c
        .conductor_cleanup_timeout
        .max(c.heartbeat_timeout.saturating_mul(3));
    settings.conductor_cleanup_batch_size = c.conductor_cleanup_batch_size;
    settings.power_state_sync_max_retries = c.power_state_sync_max_retries;
    settings.deploy_callback_timeout = or_for_ever(c.deploy_callback_timeout);
    settings.clean_callback_timeout = or_for_ever(c.clean_callback_timeout);
    settings.service_callback_timeout = or_for_ever(c.service_callback_timeout);
    settings.rescue_callback_timeout = or_for_ever(c.rescue_callback_timeout);
    settings.inspect_wait_timeout = or_for_ever(c.inspect_wait_timeout);
    // Without our own DHCP, TFTP and HTTP nothing is seen before the agent calls.
    settings.boot_sign_timeout =
        Some(c.boot_sign_timeout).filter(|time| config.netboot.enabled && !time.is_zero());
    settings.inspection = inspection(config);
    settings.rescue_password_sha512 = c.rescue_password_hash_algorithm == "sha512";
    settings.poweroff_in_servicefail = c.poweroff_in_servicefail;
    settings.power_state_change_timeout = c.power_state_change_timeout;
    settings.soft_power_off_timeout = c.soft_power_off_timeout;
    settings.automated_clean = c.automated_clean;
    settings.max_concurrent_deploy = c.max_concurrent_deploy.into();
    settings.max_concurrent_clean = c.max_concurrent_clean.into();
    settings.max_concurrent_per_conductor_group = c.max_concurrent_per_conductor_group;
    settings.automatic_lessee = match c.automatic_lessee_source.as_str() {
        "request" => LesseeSource::Request,
        "none" => LesseeSource::None,
        _ => LesseeSource::Instance,
    };
    settings.allow_provisioning_in_maintenance = c.allow_provisioning_in_maintenance;
    settings
        .permitted_image_formats
        .clone_from(&c.permitted_image_formats);
    settings.disable_deep_image_inspection = c.disable_deep_image_inspection;
    settings.clean_step_priority_override = c
        .clean_step_priority_override
        .iter()
        .map(|(k, v)| (k.clone(), (*v).into()))
        .collect::<BTreeMap<_, _>>();
    settings.verify_step_priority_override = c
        .verify_step_priority_override
        .iter()
        .map(|(k, v)| (k.clone(), (*v).into()))
        .collect();
    settings.node_history = c.node_history;
    settings.node_history_max_entries = c.node_history_max_entries;
    settings.node_history_cleanup_interval = c.node_history_cleanup_interval;
    settings.node_history_cleanup_batch_count = c.node_history_cleanup_batch_count;
    settings.node_history_minimum_age =
        Duration::from_secs(u64::from(c.node_history_minimum_days) * 86_400);
    settings.poweroff_in_cleanfail = c.poweroff_in_cleanfail;
    settings.erase_devices_priority = config.deploy.erase_devices_priority.map(Into::into);
    settings.erase_devices_metadata_priority = config
        .deploy
        .erase_devices_metadata_priority
        .map(Into::into);
    settings.create_configuration_priority =
        config.deploy.create_configuration_priority.map(Into::into);
    settings.delete_configuration_priority =
        config.deploy.delete_configuration_priority.map(Into::into);
    settings.fast_track = config
        .deploy
        .fast_track
        .then_some(config.deploy.fast_track_timeout);
    settings.power_off_after_deploy_failure = config.deploy.power_off_after_deploy_failure;
    settings.ramdisk_heartbeat_timeout = config.api.ramdisk_heartbeat_timeout;
    settings.restrict_lookup = config.api.restrict_lookup;
    settings.agent_require_tls = config.agent.require_tls;
    settings.agent_verify_ca = config.agent.verify_ca;
    settings.agent_command_timeout = config.agent.command_timeout;
    settings.agent_stream_raw_images = config.agent.stream_raw_images;
    settings.agent_power_off_patience = config
        .agent
        .post_deploy_get_power_state_retry_interval
        .saturating_mul(config.agent.post_deploy_get_power_state_retries);
    settings.device_retry_timeout = config.ipmi.command_retry_timeout;
    settings.concurrency = usize::try_from(c.workers_pool_size).unwrap_or(300);
    // Alone on SQLite only waits with a time can become due without this process knowing.
    settings.poll_interval = if !is_sqlite(config) {
        Duration::from_secs(1)
    } else {
        Duration::from_secs(30)
    };
    settings
}

/// One process alone has the database.
#[must_use]
pub fn is_sqlite(config: &Config) -> bool {
    config.database_url().expose_secret().starts_with("sqlite:")
}

/// What inspection does with reports. The settings were checked when they were read.
fn inspection(config: &Config) -> InspectionSettings {
    let i = &config.inspector;
    InspectionSettings {
        hooks: HookSettings {
            hooks: i.hooks.clone(),
            add_ports: match i.add_ports.as_str() {
                "active" => AddPorts::Active,
                "all" => AddPorts::All,
                "disabled" => AddPorts::Disabled,
                _ => AddPorts::Pxe,
            },
            keep_ports: match i.keep_ports.as_str() {
                "present" => KeepPorts::Present,
                "added" => KeepPorts::Added,
                _ => KeepPorts::All,
            },
            update_pxe_enabled: i.update_pxe_enabled,
            cpu_capabilities: i.cpu_capabilities.clone(),
            physical_networks: i
                .physical_network_cidr_map
                .iter()
                .filter_map(|(network, name)| Some((network.parse().ok()?, name.clone())))
                .collect(),
        },
        mask_secrets: match config.inspection_rules.mask_secrets.as_str() {
            "sensitive" => MaskSecrets::Sensitive,
            "never" => MaskSecrets::Never,
            _ => MaskSecrets::Always,
        },
        power_off: i.power_off,
        extra_kernel_params: i.extra_kernel_params.clone(),
    }
}

/// The enabled drivers.
///
/// # Errors
/// Names the option and what exists.
pub fn drivers(config: &Config) -> Result<Drivers, Fault> {
    Drivers::new(
        &config.default.enabled_hardware_types,
        |kind| {
            config
                .enabled_interfaces(kind.as_str())
                .map(<[String]>::to_vec)
        },
        |kind| config.default_interface(kind.as_str()).map(str::to_owned),
    )
}

/// Whether there is a hardware type (`None`) or an implementation of an interface family of that name.
#[must_use]
pub fn exists(family: Option<&str>, name: &str) -> bool {
    let name = name.to_owned();
    let made = match family {
        None => Drivers::new(&[name], |_| None, |_| None),
        Some(family) => Drivers::new(
            &[],
            |kind| (kind.as_str() == family).then(|| vec![name.clone()]),
            |_| None,
        ),
    };
    made.is_ok()
}

/// A fake delay: triangular between its bounds, weighted to the lower one, as upstream's.
fn draw(delay: &FakeDelay) -> Duration {
    if delay.max <= delay.min {
        return delay.min;
    }
    let u: f64 = rand::rng().random_range(0.0..1.0);
    let span = (delay.max - delay.min).as_secs_f64();
    delay.min + Duration::from_secs_f64(span * (1.0 - (1.0 - u).sqrt()))
}

/// How long one command to a BMC may take: never longer than the operator allows for all tries together.
fn timing(config: &Config) -> Timing {
    let usual = Timing::default();
    Timing {
        total: usual
            .total
            .min(config.ipmi.command_retry_timeout.max(usual.first_timeout)),
        ..usual
    }
}

/// What the Redfish drivers are told.
fn redfish(config: &Config) -> RedfishSettings {
    let r = &config.redfish;
    RedfishSettings {
        auth_type: r.auth_type.clone(),
        verify_ca: r.verify_ca.clone(),
        tls_minimum_version: r.tls_minimum_version.clone(),
        tls_ciphers: r.tls_ciphers.clone(),
        connection_attempts: r.connection_attempts,
        connection_retry_interval: r.connection_retry_interval,
        connect_timeout: r.connect_timeout,
        read_timeout: r.read_timeout,
        boot_mode_config_timeout: r.boot_mode_config_timeout,
        raid_config_status_interval: r.raid_config_status_interval,
        firmware_update_status_interval: r.firmware_update_status_interval,
        firmware_update_overall_timeout: r.firmware_update_overall_timeout,
        enable_verify_bmc_clock: r.enable_verify_bmc_clock,
    }
}

/// What drivers may use.
#[must_use]
pub fn environment(config: &Config) -> Environment {
    let fake = config.fake.clone();
    let suites = config
        .ipmi
        .cipher_suite_versions
        .iter()
        .filter_map(|suite| match suite.as_str() {
            "17" => Some(CipherSuite::Suite17),
            "3" => Some(CipherSuite::Suite3),
            _ => None,
        })
        .collect();
    let images = config.clone();
    let rescue = config.clone();
    Environment {
        bmcs: Bmcs::new(timing(config), suites),
        redfish: RedfishBmcs::new(redfish(config)),
        fake_delay: Arc::new(move |kind| match kind {
            InterfaceKind::Power => draw(&fake.power_delay),
            InterfaceKind::Management => draw(&fake.management_delay),
            InterfaceKind::Deploy => draw(&fake.deploy_delay),
            InterfaceKind::Vendor => draw(&fake.vendor_delay),
            InterfaceKind::Inspect => draw(&fake.inspect_delay),
            InterfaceKind::Bios => draw(&fake.bios_delay),
            InterfaceKind::Firmware => draw(&fake.firmware_delay),
            InterfaceKind::Storage => draw(&fake.storage_delay),
            InterfaceKind::Rescue => draw(&fake.rescue_delay),
            _ => Duration::ZERO,
        }),
        default_boot_mode: config.deploy.default_boot_mode.as_str().to_owned(),
        ipmi_disable_boot_timeout: config.ipmi.disable_boot_timeout,
        deploy_images: Arc::new(move |arch| {
            let (kernel, ramdisk) = images.deploy_images(arch);
            (kernel.map(str::to_owned), ramdisk.map(str::to_owned))
        }),
        rescue_images: Arc::new(move |arch| {
            let (kernel, ramdisk) = rescue.rescue_images(arch);
            (kernel.map(str::to_owned), ramdisk.map(str::to_owned))
        }),
        file_url_allowed_paths: config.conductor.file_url_allowed_paths.clone(),
        kernel_append_params: config.pxe.kernel_append_params.clone(),
    }
}

/// What the store is told.
///
/// # Errors
/// When keys of secrets cannot be read; names the option.
pub fn store(config: &Config) -> anyhow::Result<bessemer_store::Settings> {
    Ok(bessemer_store::Settings {
        connection: config.database_url().expose_secret().to_owned(),
        readers: config.database.max_pool_size,
        busy_timeout: config.database.sqlite_max_wait_for_retry,
        secrets: Arc::new(keys(config)?),
        probe: None,
    })
}

/// The keys of secrets: those of the option, then those of the file.
fn keys(config: &Config) -> anyhow::Result<Keys> {
    let mut text = String::new();
    if let Some(given) = &config.database.encryption_keys {
        Keys::parse(given.expose_secret()).context("[database] encryption_keys cannot be used")?;
        text.push_str(given.expose_secret());
        text.push('\n');
    }
    if let Some(path) = &config.database.encryption_key_file {
        let shown = path.display();
        let read = std::fs::read_to_string(path).with_context(|| {
            format!("the keys of the database cannot be read from {shown}; check [database] encryption_key_file")
        })?;
        let keys = Keys::parse(&read)
            .with_context(|| format!("{shown} ([database] encryption_key_file) cannot be used"))?;
        anyhow::ensure!(
            !keys.is_empty(),
            "{shown} ([database] encryption_key_file) has no key; `bessemer db new-key` makes one"
        );
        let mode = std::fs::metadata(path).map_or(0, |m| m.permissions().mode());
        if mode & 0o007 != 0 {
            tracing::warn!(
                "{shown} holds the keys of the database and can be read by everyone; set its mode to 0600"
            );
        }
        text.push_str(&read);
    }
    Keys::parse(&text)
        .context("[database] encryption_keys and encryption_key_file cannot be used together")
}
