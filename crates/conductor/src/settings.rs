//! What the conductor is told by the settings; the server fills it from `bessemer-config`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::inspection::hooks::HookSettings;
use crate::inspection::rules::MaskSecrets;

/// `[inspector]` and `[inspection_rules]`.
#[derive(Debug, Clone)]
pub struct InspectionSettings {
    pub hooks: HookSettings,
    pub mask_secrets: MaskSecrets,
    /// `[inspector] power_off`: the node is switched off after its report.
    pub power_off: bool,
    /// `[inspector] extra_kernel_params`
    pub extra_kernel_params: String,
}

impl Default for InspectionSettings {
    fn default() -> Self {
        Self {
            hooks: HookSettings::default(),
            mask_secrets: MaskSecrets::default(),
            power_off: true,
            extra_kernel_params: String::new(),
        }
    }
}

/// `[conductor] automatic_lessee_source`: who becomes the lessee of a node that is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LesseeSource {
    /// `instance_info/project_id`
    Instance,
    /// The project of who asks.
    Request,
    None,
}

/// Names follow upstream's options; the section is given with each.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[DEFAULT] host`: how this conductor is called in `reservation` and `/v1/conductors`.
    pub host: String,
    /// `[conductor] conductor_group`
    pub conductor_group: String,
    /// `[conductor] heartbeat_interval`: how often the session is renewed.
    pub heartbeat_interval: Duration,
    /// `[conductor] heartbeat_timeout`: a session that was not renewed for so long is dead and its work is taken over.
    pub heartbeat_timeout: Duration,
    /// `[conductor] sync_power_state_interval`; zero = off.
    pub sync_power_state_interval: Duration,
    /// `[conductor] sync_power_state_workers`: BMCs asked at once by the power sync.
    pub sync_power_state_workers: usize,
    /// `[conductor] check_allocations_interval`: how often allocations are looked for that another conductor left; zero = never.
    pub check_allocations_interval: Duration,
    /// `[conductor] node_locked_retry_attempts`: how often an allocation looks at nodes that are being worked on.
    pub node_locked_retry_attempts: u32,
    /// `[conductor] node_locked_retry_interval`
    pub node_locked_retry_interval: Duration,
    /// `[conductor] graceful_shutdown_timeout`: how long running phases may take to end at a stop.
    pub graceful_shutdown_timeout: Duration,
    /// `[DEFAULT] drain_shutdown_timeout`: the same at a drain.
    pub drain_shutdown_timeout: Duration,
    /// Where this conductor answers calls of other processes.
    pub rpc: Option<bessemer_store::RpcAddress>,
    /// `[conductor] node_history`
    pub node_history: bool,
    /// `[conductor] node_history_max_entries`
    pub node_history_max_entries: u32,
    /// `[conductor] node_history_cleanup_interval`; zero = never.
    pub node_history_cleanup_interval: Duration,
    /// `[conductor] node_history_cleanup_batch_count`
    pub node_history_cleanup_batch_count: u32,
    /// `[conductor] node_history_minimum_days`
    pub node_history_minimum_age: Duration,
    /// `[conductor] poweroff_in_cleanfail`
    pub poweroff_in_cleanfail: bool,
    /// `[agent] verify_ca`
    pub agent_verify_ca: bool,
    /// `[conductor] force_power_state_during_sync`
    pub force_power_state_during_sync: bool,
    /// `[conductor] power_failure_recovery_interval`; zero = never.
    pub power_failure_recovery_interval: Duration,
    /// `[conductor] conductor_cleanup_interval`; zero = never.
    pub conductor_cleanup_interval: Duration,
    /// `[conductor] conductor_cleanup_timeout`
    pub conductor_cleanup_timeout: Duration,
    /// `[conductor] conductor_cleanup_batch_size`
    pub conductor_cleanup_batch_size: u32,
    /// `[conductor] power_state_sync_max_retries`
    pub power_state_sync_max_retries: u32,
    /// `[conductor] deploy_callback_timeout`
    pub deploy_callback_timeout: Duration,
    /// `[conductor] clean_callback_timeout`
    pub clean_callback_timeout: Duration,
    /// `[conductor] service_callback_timeout`
    pub service_callback_timeout: Duration,
    /// `[conductor] rescue_callback_timeout`
    pub rescue_callback_timeout: Duration,
    /// `[conductor] inspect_wait_timeout`
    pub inspect_wait_timeout: Duration,
    /// `[conductor] boot_sign_timeout`: a boot of which nothing was seen for so long is tried once more. `None` = never.
    pub boot_sign_timeout: Option<Duration>,
    /// What is made of inventories.
    pub inspection: InspectionSettings,
    /// `[conductor] rescue_password_hash_algorithm` is sha512 rather than sha256.
    pub rescue_password_sha512: bool,
    /// `[conductor] poweroff_in_servicefail`
    pub poweroff_in_servicefail: bool,
    /// `[conductor] power_state_change_timeout`
    pub power_state_change_timeout: Duration,
    /// `[conductor] soft_power_off_timeout`
    pub soft_power_off_timeout: Duration,
    /// `[conductor] automated_clean`
    pub automated_clean: bool,
    /// `[conductor] max_concurrent_deploy`
    pub max_concurrent_deploy: u64,
    /// `[conductor] max_concurrent_clean`
    pub max_concurrent_clean: u64,
    /// `[conductor] max_concurrent_per_conductor_group`
    pub max_concurrent_per_conductor_group: bool,
    /// `[conductor] automatic_lessee_source`
    pub automatic_lessee: LesseeSource,
    /// `[conductor] allow_provisioning_in_maintenance`
    pub allow_provisioning_in_maintenance: bool,
    /// `[conductor] permitted_image_formats`
    pub permitted_image_formats: Vec<String>,
    /// `[conductor] disable_deep_image_inspection`
    pub disable_deep_image_inspection: bool,
    /// `[conductor] clean_step_priority_override`, `interface.step` to priority.
    pub clean_step_priority_override: BTreeMap<String, i64>,
    /// `[conductor] verify_step_priority_override`, likewise.
    pub verify_step_priority_override: BTreeMap<String, i64>,
    /// `[deploy] erase_devices_priority` and `erase_devices_metadata_priority`; `None` = the agent's own.
    pub erase_devices_priority: Option<i64>,
    pub erase_devices_metadata_priority: Option<i64>,
    /// `[deploy] create_configuration_priority` and `delete_configuration_priority`, likewise.
    pub create_configuration_priority: Option<i64>,
    pub delete_configuration_priority: Option<i64>,
    /// `[deploy] fast_track`, with `fast_track_timeout`; `None` = off.
    pub fast_track: Option<Duration>,
    /// `[deploy] power_off_after_deploy_failure`
    pub power_off_after_deploy_failure: bool,
    /// `[deploy] external_callback_url`, else the API's public address: what agents call.
    pub api_url: String,
    /// `[api] ramdisk_heartbeat_timeout`
    pub ramdisk_heartbeat_timeout: Duration,
    /// `[api] restrict_lookup`
    pub restrict_lookup: bool,
    /// `[agent] require_tls`
    pub agent_require_tls: bool,
    /// `[agent] command_timeout`
    pub agent_command_timeout: Duration,
    /// `[agent] stream_raw_images`
    pub agent_stream_raw_images: bool,
    /// `[agent] post_deploy_get_power_state_retries` times `…_interval`: how long the agent may take to switch off.
    pub agent_power_off_patience: Duration,
    /// `[ipmi] command_retry_timeout`: how long a device that fails in passing is tried again.
    pub device_retry_timeout: Duration,
    /// How many phases run at once in this process.
    pub concurrency: usize,
    /// How often the store is asked for work when nothing in this process woke the engine. Several
    /// controllers on one PostgreSQL need it; alone on SQLite only waits with a time matter.
    pub poll_interval: Duration,
}

impl Settings {
    /// Upstream's defaults.
    #[must_use]
    pub fn new(host: impl Into<String>, api_url: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            conductor_group: String::new(),
            heartbeat_interval: Duration::from_secs(2),
            heartbeat_timeout: Duration::from_secs(8),
            sync_power_state_interval: Duration::from_secs(120),
            sync_power_state_workers: 8,
            check_allocations_interval: Duration::from_secs(60),
            node_locked_retry_attempts: 3,
            node_locked_retry_interval: Duration::from_secs(1),
            graceful_shutdown_timeout: Duration::from_secs(60),
            drain_shutdown_timeout: Duration::from_secs(1800),
            rpc: None,
            node_history: true,
            node_history_max_entries: 300,
            node_history_cleanup_interval: Duration::from_secs(86_400),
            node_history_cleanup_batch_count: 1000,
            node_history_minimum_age: Duration::ZERO,
            poweroff_in_cleanfail: false,
            agent_verify_ca: true,
            force_power_state_during_sync: true,
            power_failure_recovery_interval: Duration::from_secs(300),
            conductor_cleanup_interval: Duration::from_secs(86_400),
            conductor_cleanup_timeout: Duration::from_secs(1_209_600),
            conductor_cleanup_batch_size: 50,
            power_state_sync_max_retries: 3,
            deploy_callback_timeout: Duration::from_secs(1800),
            clean_callback_timeout: Duration::from_secs(1800),
            service_callback_timeout: Duration::from_secs(1800),
            rescue_callback_timeout: Duration::from_secs(1800),
            inspect_wait_timeout: Duration::from_secs(1800),
            boot_sign_timeout: None,
            inspection: InspectionSettings::default(),
            rescue_password_sha512: false,
            poweroff_in_servicefail: false,
            power_state_change_timeout: Duration::from_secs(60),
            soft_power_off_timeout: Duration::from_secs(600),
            automated_clean: true,
            max_concurrent_deploy: 250,
            max_concurrent_clean: 50,
            max_concurrent_per_conductor_group: false,
            automatic_lessee: LesseeSource::Instance,
            allow_provisioning_in_maintenance: true,
            permitted_image_formats: ["raw", "gpt", "qcow2"].map(str::to_owned).to_vec(),
            disable_deep_image_inspection: false,
            clean_step_priority_override: BTreeMap::new(),
            verify_step_priority_override: BTreeMap::new(),
            erase_devices_priority: None,
            erase_devices_metadata_priority: None,
            create_configuration_priority: None,
            delete_configuration_priority: None,
            fast_track: None,
            power_off_after_deploy_failure: true,
            api_url: api_url.into(),
            ramdisk_heartbeat_timeout: Duration::from_secs(300),
            restrict_lookup: true,
            agent_require_tls: true,
            agent_command_timeout: Duration::from_secs(60),
            agent_stream_raw_images: true,
            agent_power_off_patience: Duration::from_secs(30),
            device_retry_timeout: Duration::from_secs(60),
            concurrency: 256,
            poll_interval: Duration::from_secs(2),
        }
    }
}
