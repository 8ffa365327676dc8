//! The table of options. One row is one option; everything else is derived from it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use toml::Spanned;
use toml::de::DeValue;

use crate::types::{
    AuthStrategy, BootMode, DhcpNetwork, DhcpProvider, FakeDelay, LogFormat, NotificationDriver,
    NotificationLevel, TlsVersion, host_name,
};
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

macro_rules! sections {
    ($(
        $(#[doc = $section_doc:literal])*
        $field:ident: $section:ident = $section_name:literal {
            $(
                #[reader($reader:literal)]
                $(#[doc = $doc:literal])*
                $option:ident: $ty:ty = $default:expr,
            )*
        }
    )*) => {
        $(
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
                const OPTIONS: &'static [&'static str] = &[$(stringify!($option)),*];

                fn set(&mut self, option: &str, given: Given<'_, '_>) -> Result<(), Bad> {
                    match option {
                        $(stringify!($option) => self.$option = given.read()?,)*
                        _ => return Err(Bad::new("unknown option")),
                    }
                    Ok(())
                }

                fn shown(&self, option: &str) -> Option<String> {
                    match option {
                        $(stringify!($option) => self.$option.show(),)*
                        _ => None,
                    }
                }
            }
        )*

        /// All settings.
        #[derive(Debug, Clone, Default)]
        pub struct Config {
            $($(#[doc = $section_doc])* pub $field: $section,)*
        }

        /// Section names with their options' names.
        pub const SECTIONS: &[(&str, &[&str])] = &[$(($section_name, $section::OPTIONS)),*];

        impl Config {
            /// Sets one option; section and option are known to exist.
            pub(crate) fn set(&mut self, section: &str, option: &str, given: Given<'_, '_>) -> Result<(), Bad> {
                match section {
                    $($section_name => self.$field.set(option, given),)*
                    _ => Err(Bad::new("unknown section")),
                }
            }
        }

        impl Config {
            /// The present value of an option as TOML; secrets hidden, `None` when it is not set.
            pub(crate) fn shown(&self, section: &str, option: &str) -> Option<String> {
                match section {
                    $($section_name => self.$field.shown(option),)*
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
            $({
                let section_doc: String = [$($section_doc),*].map(str::trim).join(" ");
                let defaults = $section::default();
                $(all.push(OptionInfo {
                    section: $section_name,
                    section_doc: section_doc.clone(),
                    name: stringify!($option),
                    kind: <$ty as OptionValue>::kind(),
                    default: defaults.$option.show(),
                    doc: [$($doc),*].map(str::trim).join(" "),
                    reader: $reader,
                });)*
            })*
            all
        }
    };
}

fn list(items: &[&str]) -> Vec<String> {
    items.iter().map(|&item| item.to_owned()).collect()
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

sections! {
    /// What concerns every part: identity, authentication, hardware types and interfaces.
    default: Defaults = "DEFAULT" {
        #[reader("conductor, api")]
        /// Name of this conductor, unique among all. A restarted conductor must keep it.
        host: String = host_name(),
        #[reader("conductor, netboot, server")]
        /// Address of this machine as nodes reach it; default of several URLs below.
        my_ip: IpAddr = IpAddr::from([127, 0, 0, 1]),
        #[reader("server, conductor, netboot")]
        /// Directory for everything that must outlive a restart: database, generated boot files, certificates of agents.
        state_path: PathBuf = "/var/lib/bessemer".into(),
        #[reader("conductor")]
        /// How long running phases may take to end when the service is drained (SIGUSR2); 0 = as long as they want.
        drain_shutdown_timeout: Duration = seconds(1800),
        #[reader("api")]
        /// Who may call the API: holders of Keystone tokens, as the policy says (keystone); users of a password file, who may do everything (http_basic); everyone (noauth). There is no default.
        auth_strategy: Option<AuthStrategy> = None,
        #[reader("api")]
        /// Password file for http_basic: Apache htpasswd, bcrypt entries only (`htpasswd -nbB user password`). Read anew when it changes.
        http_basic_auth_user_file: PathBuf = "/etc/bessemer/htpasswd".into(),
        #[reader("server")]
        /// The least important notifications that are sent: debug, info, warning, error, critical. Not set: no notifications. They go to the message bus when `[oslo_messaging_notifications] driver` says so, and to `[notifications] webhook_urls`.
        notification_level: Option<NotificationLevel> = None,
        #[reader("server")]
        /// Topics of the versioned notifications on the message bus; the level is added to each.
        versioned_notifications_topics: Vec<String> = list(&["ironic_versioned_notifications"]),
        #[reader("server")]
        /// The message bus: `rabbit://user:password@host:port/vhost`, several hosts separated by commas.
        transport_url: Option<SecretString> = None,
        #[reader("server")]
        /// Exchange of the message bus that messages are published to.
        control_exchange: String = "ironic".into(),
        #[reader("api")]
        /// Let holders of the role `service` in the service project act as system members, as older services expect.
        rbac_service_role_elevated_access: bool = false,
        #[reader("api")]
        /// Name of the service project.
        rbac_service_project_name: String = "service".into(),
        #[reader("api")]
        /// `resource_class` of a new node that names none.
        default_resource_class: Option<String> = None,
        #[reader("api")]
        /// `conductor_group` of a new node that names none.
        default_conductor_group: String = String::new(),
        #[reader("api")]
        /// `mode` of a new port group that names none: a mode of Linux' bonding driver.
        default_portgroup_mode: String = "active-backup".into(),
        #[reader("drivers")]
        /// Hardware types that nodes may use.
        enabled_hardware_types: Vec<String> = list(&["ipmi", "redfish"]),
        #[reader("drivers")]
        /// Implementations of the bios interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_bios_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Bios interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_bios_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the boot interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_boot_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Boot interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_boot_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the console interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_console_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Console interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_console_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the deploy interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_deploy_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Deploy interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_deploy_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the firmware interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_firmware_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Firmware interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_firmware_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the inspect interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_inspect_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Inspect interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_inspect_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the management interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_management_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Management interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_management_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the network interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_network_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Network interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_network_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the power interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_power_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Power interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_power_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the raid interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_raid_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Raid interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_raid_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the rescue interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_rescue_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Rescue interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_rescue_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the storage interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_storage_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Storage interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_storage_interface: Option<String> = None,
        #[reader("drivers")]
        /// Implementations of the vendor interface that nodes may use. Not set: all that the enabled hardware types support.
        enabled_vendor_interfaces: Option<Vec<String>> = None,
        #[reader("drivers")]
        /// Vendor interface of a new node that names none. Not set: the first that its hardware type and the enabled ones share.
        default_vendor_interface: Option<String> = None,
    }
    /// The Bare Metal API over HTTP.
    api: Api = "api" {
        #[reader("server")]
        /// Address that the API listens on.
        host_ip: IpAddr = IpAddr::from([0, 0, 0, 0]),
        #[reader("server, conductor")]
        /// TCP port that the API listens on.
        port: u16 = 6385,
        #[reader("api, conductor")]
        /// URL of the API in links, for clients behind a proxy. Not set: what the client's request was sent to.
        public_endpoint: Option<String> = None,
        #[reader("api")]
        /// Most items of one list answer; a larger `limit` is cut to it. At most 1000.
        max_limit: u32 = 1000,
        #[reader("api")]
        /// Deepest nesting of a request body.
        max_json_body_depth: u32 = 25,
        #[reader("api")]
        /// Largest request body, KiB.
        max_json_body_size: u32 = 1024,
        #[reader("api")]
        /// Largest body of a provision request (it may carry a config drive), KiB.
        max_json_body_size_provision: u32 = 65536,
        #[reader("api")]
        /// Largest body of an inspection ramdisk's report, KiB.
        max_json_body_size_inspection: u32 = 16384,
        #[reader("api")]
        /// Let administrators of a project create, and delete, nodes that the project owns.
        project_admin_can_manage_own_nodes: bool = true,
        #[reader("server")]
        /// Serve the API over TLS.
        enable_ssl_api: bool = false,
        #[reader("server")]
        /// Certificate of the API in PEM, with its chain. Read anew when it changes. Not set: `[ssl] cert_file`.
        cert_file: Option<PathBuf> = None,
        #[reader("server")]
        /// Its key in PEM. Not set: `[ssl] key_file`.
        key_file: Option<PathBuf> = None,
        #[reader("server")]
        /// Oldest version of TLS that is spoken.
        server_tls_minimum_version: TlsVersion = TlsVersion::V1_3,
        #[reader("server")]
        /// Connections at once; more wait until one ends. Not in upstream.
        max_connections: u32 = 4096,
        #[reader("server")]
        /// How long a client may take to send the head of a request, and how long a connection may stay idle. Not in upstream.
        header_timeout: Duration = seconds(60),
        #[reader("server")]
        /// How long a request may take, its body included; then it is answered 503. Not in upstream.
        request_timeout: Duration = seconds(300),
        #[reader("api")]
        /// Calls a minute that one address may make to the routes without authentication (lookup, heartbeat, inspection data); more are answered 429. Loopback is not limited; 0 = no limit. Not in upstream.
        ramdisk_requests_per_minute: u32 = 600,
        #[reader("api")]
        /// Serve lookup and heartbeat, which agents call without authentication.
        enable_ramdisk_endpoints: bool = true,
        #[reader("conductor")]
        /// Answer lookups only for nodes that wait for an agent.
        restrict_lookup: bool = true,
        #[reader("api")]
        /// Longest time between two heartbeats of an agent; told to it at lookup.
        ramdisk_heartbeat_timeout: Duration = seconds(300),
        #[reader("api")]
        /// Steps that clients may not ask for in `clean_steps`, as `interface.step`.
        disallow_clean_steps: Vec<String> = list(&["vendor.send_raw"]),
        #[reader("api")]
        /// Steps that clients may not ask for in `deploy_steps`.
        disallow_deploy_steps: Vec<String> = list(&["vendor.send_raw"]),
        #[reader("api")]
        /// Steps that clients may not ask for in `service_steps`.
        disallow_service_steps: Vec<String> = list(&["vendor.send_raw"]),
    }
    /// Who may do what, for `auth_strategy = "keystone"`: upstream's policies, over them the operator's rules in the language of oslo.policy. Relative paths are below the directory of the settings file. A file that cannot be used keeps the service from starting; later changes are taken over within a second when they can be used, and logged as an error when not.
    oslo_policy: OsloPolicy = "oslo_policy" {
        #[reader("api")]
        /// File of rules, `"policy": "rule"` in YAML. It may be absent when it has its default name.
        policy_file: PathBuf = "policy.yaml".into(),
        #[reader("api")]
        /// Directories whose files, in the order of their names, go over it. They may be absent.
        policy_dirs: Vec<String> = list(&["policy.d"]),
        #[reader("api")]
        /// Rule that stands for one that does not exist.
        policy_default_rule: String = "default".into(),
        #[reader("api")]
        /// Refuse tokens whose scope (system, project) a policy is not for. Upstream always does.
        enforce_scope: bool = true,
        #[reader("api")]
        /// Leave out the checks from before system scope and project owners (`rule:is_admin` and the like). Off: whoever passes the old or the new check may.
        enforce_new_defaults: bool = true,
    }
    /// How the service asks Keystone whose a token is, for `auth_strategy = "keystone"`.
    keystone_authtoken: KeystoneAuthtoken = "keystone_authtoken" {
        #[reader("api")]
        /// URL of Keystone that clients without a valid token are told. Not set: auth_url.
        www_authenticate_uri: Option<String> = None,
        #[reader("api")]
        /// URL of Keystone as this service reaches it, with or without `/v3`.
        auth_url: Option<String> = None,
        #[reader("api")]
        /// How the service itself authenticates: `password` or `v3applicationcredential`.
        auth_type: String = "password".into(),
        #[reader("api")]
        /// The service's own user.
        username: Option<String> = None,
        #[reader("api")]
        /// The service's own user by its id.
        user_id: Option<String> = None,
        #[reader("api")]
        /// Its password.
        password: Option<SecretString> = None,
        #[reader("api")]
        /// Domain of the user.
        user_domain_name: Option<String> = None,
        #[reader("api")]
        /// Domain of the user by its id.
        user_domain_id: Option<String> = None,
        #[reader("api")]
        /// Project of the service.
        project_name: Option<String> = None,
        #[reader("api")]
        /// Project of the service by its id.
        project_id: Option<String> = None,
        #[reader("api")]
        /// Domain of the project.
        project_domain_name: Option<String> = None,
        #[reader("api")]
        /// Domain of the project by its id.
        project_domain_id: Option<String> = None,
        #[reader("api")]
        /// `all`: the service's own token is for the whole system, not for a project.
        system_scope: Option<String> = None,
        #[reader("api")]
        /// Application credential, for `auth_type = "v3applicationcredential"`.
        application_credential_id: Option<String> = None,
        #[reader("api")]
        /// Its secret.
        application_credential_secret: Option<SecretString> = None,
        #[reader("api")]
        /// PEM file of authorities that Keystone's certificate may come from, besides the system's.
        cafile: Option<PathBuf> = None,
        #[reader("api")]
        /// Client certificate for Keystone, PEM.
        certfile: Option<PathBuf> = None,
        #[reader("api")]
        /// Its key, when it is not in the same file.
        keyfile: Option<PathBuf> = None,
        #[reader("api")]
        /// Accept any certificate for Keystone's. Whoever answers is believed: only for tests.
        insecure: bool = false,
        #[reader("api")]
        /// Endpoint of Keystone in its own catalogue that tokens are validated at: `internal`, `public` or `admin`. Where the catalogue has none: auth_url.
        interface: String = "internal".into(),
        #[reader("api")]
        /// Region of that endpoint. Not set: any.
        region_name: Option<String> = None,
        #[reader("api")]
        /// How long a connection to Keystone may take; an answer may take twice as long.
        http_connect_timeout: Duration = seconds(10),
        #[reader("api")]
        /// Further tries when Keystone does not answer.
        http_request_max_retries: u32 = 3,
        #[reader("api")]
        /// Seconds for which a validated token is remembered: a revoked one works for so long at most. 0 or -1 = not at all.
        token_cache_time: i32 = 300,
        #[reader("api")]
        /// Roles of which a service token (`X-Service-Token`) has one.
        service_token_roles: Vec<String> = list(&["service"]),
        #[reader("api")]
        /// Refuse service tokens with none of them.
        service_token_roles_required: bool = true,
        #[reader("api")]
        /// Our own service type in access rules of application credentials. Not set: tokens with such rules are refused.
        service_type: Option<String> = Some("baremetal".into()),
    }
    /// Certificate of the API where `[api]` names none; upstream's older place.
    ssl: Ssl = "ssl" {
        #[reader("server")]
        /// Certificate in PEM, with its chain.
        cert_file: Option<PathBuf> = None,
        #[reader("server")]
        /// Its key in PEM.
        key_file: Option<PathBuf> = None,
    }
    /// Calls of API processes to conductors, over TLS with a certificate and a secret that each conductor makes at its start and that the database passes on. Only with PostgreSQL; in one process nothing is called.
    json_rpc: JsonRpc = "json_rpc" {
        #[reader("server")]
        /// Address that a conductor answers them on. Not set: my_ip.
        host_ip: Option<IpAddr> = None,
        #[reader("server")]
        /// TCP port of that.
        port: u16 = 8089,
    }
    /// Figures for Prometheus: `GET /metrics` on a listener of its own, without authentication and without secrets.
    metrics: Metrics = "metrics" {
        #[reader("server")]
        /// Serve them.
        enabled: bool = false,
        #[reader("server")]
        /// Address that they are served on.
        host_ip: IpAddr = IpAddr::from([127, 0, 0, 1]),
        #[reader("server")]
        /// TCP port of that.
        port: u16 = 9764,
    }
    /// `GET /healthcheck`.
    healthcheck: Healthcheck = "healthcheck" {
        #[reader("api")]
        /// Answer `/healthcheck` (200 when the database answers, 503 otherwise), without authentication.
        enabled: bool = true,
    }
    /// The engine and what it does with nodes.
    conductor: Conductor = "conductor" {
        #[reader("conductor")]
        /// This conductor takes only nodes of this group.
        conductor_group: String = String::new(),
        #[reader("conductor")]
        /// Phases of operations that run at once.
        workers_pool_size: u32 = 300,
        #[reader("conductor")]
        /// How often a conductor renews its session in the database.
        heartbeat_interval: Duration = seconds(2),
        #[reader("conductor")]
        /// A session that was not renewed for so long has ended; others take its work.
        heartbeat_timeout: Duration = seconds(8),
        #[reader("conductor, server")]
        /// How long running phases may take to end when the service is stopped.
        graceful_shutdown_timeout: Duration = seconds(60),
        #[reader("conductor")]
        /// Time between two looks for allocations that another conductor left unfinished; 0 = never.
        check_allocations_interval: Duration = seconds(60),
        #[reader("conductor")]
        /// How often an allocation looks at suitable nodes that are being worked on before it fails.
        node_locked_retry_attempts: u32 = 3,
        #[reader("conductor")]
        /// Time between two such looks.
        node_locked_retry_interval: Duration = seconds(1),
        #[reader("conductor")]
        /// Time between two looks at the power state of every node; 0 = never.
        sync_power_state_interval: Duration = seconds(120),
        #[reader("conductor")]
        /// Power states asked for at once by the power sync.
        sync_power_state_workers: u32 = 8,
        #[reader("conductor")]
        /// When a node's power is not as recorded: true sets the node, false corrects the record. A node's own `driver_info/force_power_state_during_sync` goes first.
        force_power_state_during_sync: bool = true,
        #[reader("conductor")]
        /// Time between two looks at nodes that are in maintenance because their power could not be read; 0 = never.
        power_failure_recovery_interval: Duration = seconds(300),
        #[reader("conductor")]
        /// Time between two looks for conductors to forget; 0 = never.
        conductor_cleanup_interval: Duration = seconds(86_400),
        #[reader("conductor")]
        /// A conductor that was away for so long is forgotten. At least three times heartbeat_timeout.
        conductor_cleanup_timeout: Duration = seconds(1_209_600),
        #[reader("conductor")]
        /// Conductors that are forgotten at once, at most.
        conductor_cleanup_batch_size: u32 = 50,
        #[reader("conductor")]
        /// Failed looks or corrections after which the node goes to maintenance with fault `power failure`.
        power_state_sync_max_retries: u32 = 3,
        #[reader("conductor")]
        /// How long a power action may take until the state is as wanted.
        power_state_change_timeout: Duration = seconds(60),
        #[reader("conductor")]
        /// The same for a soft power off, which the operating system has to do.
        soft_power_off_timeout: Duration = seconds(600),
        #[reader("conductor")]
        /// How long a deploy waits for the agent's next call; 0 = for ever.
        deploy_callback_timeout: Duration = seconds(1800),
        #[reader("conductor")]
        /// How long cleaning waits for the agent's next call; 0 = for ever.
        clean_callback_timeout: Duration = seconds(1800),
        #[reader("conductor")]
        /// How long a service waits for the agent's next call; 0 = for ever.
        service_callback_timeout: Duration = seconds(1800),
        #[reader("conductor")]
        /// How long a rescue waits for the agent's next call; 0 = for ever.
        rescue_callback_timeout: Duration = seconds(1800),
        #[reader("conductor")]
        /// How long an inspection waits for the ramdisk's report; 0 = for ever.
        inspect_wait_timeout: Duration = seconds(1800),
        #[reader("conductor")]
        /// A node that was switched on into the ramdisk and of which neither DHCP nor TFTP, HTTP or the API heard anything for so long is switched off and on once more; 0 = never. Only with the built-in network boot. When the service was started meanwhile, at most 90 seconds after its start.
        boot_sign_timeout: Duration = seconds(600),
        #[reader("conductor")]
        /// Switch the node off when a service fails.
        poweroff_in_servicefail: bool = false,
        #[reader("conductor")]
        /// Clean nodes before they become available. A node's own `automated_clean` goes first.
        automated_clean: bool = true,
        #[reader("conductor")]
        /// What automated cleaning does: `autogenerated` (the steps of driver and agent), `runbook`, `hybrid` (a runbook where one can be used).
        automated_cleaning_step_source: String = "autogenerated".into(),
        #[reader("conductor")]
        /// The runbook of automated cleaning, by name or UUID.
        automated_cleaning_runbook: Option<String> = None,
        #[reader("conductor")]
        /// The same by resource class of the node, which goes first.
        automated_cleaning_runbook_by_resource_class: BTreeMap<String, String> = BTreeMap::new(),
        #[reader("conductor")]
        /// `driver_info/cleaning_runbook` of a node goes before both.
        automated_cleaning_runbook_from_node: bool = false,
        #[reader("conductor")]
        /// Only nodes with one of the runbook's traits (or its name as a trait) are cleaned by it.
        automated_cleaning_runbook_validate_traits: bool = true,
        #[reader("conductor")]
        /// Priorities of clean steps, as `interface.step` to number; 0 switches a step off.
        clean_step_priority_override: BTreeMap<String, u32> = BTreeMap::new(),
        #[reader("conductor")]
        /// Priorities of the driver's verify steps (`manage`), likewise.
        verify_step_priority_override: BTreeMap<String, u32> = BTreeMap::new(),
        #[reader("conductor")]
        /// Switch the node off when cleaning fails.
        poweroff_in_cleanfail: bool = false,
        #[reader("api")]
        /// Nodes may be deleted while `available`.
        allow_deleting_available_nodes: bool = true,
        #[reader("conductor")]
        /// Provision verbs are allowed in maintenance (deploy and rebuild never are).
        allow_provisioning_in_maintenance: bool = true,
        #[reader("conductor")]
        /// Nodes being deployed at once; more are refused with 503.
        max_concurrent_deploy: u32 = 250,
        #[reader("conductor")]
        /// Nodes being cleaned or deleted at once; more are refused with 503.
        max_concurrent_clean: u32 = 50,
        #[reader("conductor")]
        /// The two limits hold for each conductor group by itself.
        max_concurrent_per_conductor_group: bool = false,
        #[reader("conductor")]
        /// Who becomes the lessee of a node that is deployed and has none, until it is undeployed: `instance` (`instance_info/project_id`), `request` (the project of the caller), `none`.
        automatic_lessee_source: String = "instance".into(),
        #[reader("drivers")]
        /// Kernel of the deploy ramdisk, `file:///` or `http://`. A node's `driver_info` goes first.
        deploy_kernel: Option<String> = None,
        #[reader("drivers")]
        /// The deploy ramdisk itself.
        deploy_ramdisk: Option<String> = None,
        #[reader("drivers")]
        /// `deploy_kernel` by `cpu_arch` of the node.
        deploy_kernel_by_arch: BTreeMap<String, String> = BTreeMap::new(),
        #[reader("drivers")]
        /// `deploy_ramdisk` by `cpu_arch` of the node.
        deploy_ramdisk_by_arch: BTreeMap<String, String> = BTreeMap::new(),
        #[reader("drivers")]
        /// Kernel of the rescue ramdisk. A node's `driver_info` goes first.
        rescue_kernel: Option<String> = None,
        #[reader("drivers")]
        /// The rescue ramdisk itself; its agent must have the rescue extension, which upstream's has.
        rescue_ramdisk: Option<String> = None,
        #[reader("drivers")]
        /// `rescue_kernel` by `cpu_arch` of the node.
        rescue_kernel_by_arch: BTreeMap<String, String> = BTreeMap::new(),
        #[reader("drivers")]
        /// `rescue_ramdisk` by `cpu_arch` of the node.
        rescue_ramdisk_by_arch: BTreeMap<String, String> = BTreeMap::new(),
        #[reader("conductor")]
        /// How a rescue password is hashed before it is kept and sent to the agent: `sha256` or `sha512`.
        rescue_password_hash_algorithm: String = "sha256".into(),
        #[reader("drivers, api")]
        /// Formats that images may have.
        permitted_image_formats: Vec<String> = list(&["raw", "gpt", "qcow2"]),
        #[reader("drivers, api")]
        /// Do not look into images before they are used. Leave it off.
        disable_deep_image_inspection: bool = false,
        #[reader("drivers")]
        /// `file://` URLs in a node's `driver_info` must lie below one of these directories. What the operator sets here is trusted.
        file_url_allowed_paths: Vec<String> = list(&["/var/lib/bessemer"]),
        #[reader("conductor")]
        /// Record errors and flow ends in the nodes' history.
        node_history: bool = true,
        #[reader("conductor")]
        /// Entries of the history that are kept for each node, at most 10,000; older ones are purged.
        node_history_max_entries: u32 = 300,
        #[reader("conductor")]
        /// Time between two purges of the history; 0 = never.
        node_history_cleanup_interval: Duration = seconds(86_400),
        #[reader("conductor")]
        /// Entries that are purged at once, at most.
        node_history_cleanup_batch_count: u32 = 1000,
        #[reader("conductor")]
        /// Entries that are younger than so many days are not purged.
        node_history_minimum_days: u32 = 0,
    }
    /// Deploying and cleaning.
    deploy: Deploy = "deploy" {
        #[reader("netboot")]
        /// Directory served to nodes over HTTP. Not set: `http` below state_path.
        http_root: Option<PathBuf> = None,
        #[reader("drivers")]
        /// URL under which agents reach the API. Not set: api.public_endpoint, or `http://` my_ip `:` api.port.
        external_callback_url: Option<String> = None,
        #[reader("conductor")]
        /// Priority of the clean step `deploy.erase_devices` (whole disks); 0 = off. Not set: the agent's own.
        erase_devices_priority: Option<u32> = None,
        #[reader("conductor")]
        /// Priority of the clean step `deploy.erase_devices_metadata`; 0 = off. Not set: the agent's own.
        erase_devices_metadata_priority: Option<u32> = None,
        #[reader("conductor")]
        /// Priority of the clean step `raid.create_configuration`; 0 = off. Not set: the agent's own.
        create_configuration_priority: Option<u32> = None,
        #[reader("conductor")]
        /// Priority of the clean step `raid.delete_configuration`; 0 = off. Not set: the agent's own.
        delete_configuration_priority: Option<u32> = None,
        #[reader("conductor")]
        /// Leave nodes on in the ramdisk after cleaning and inspection, and go on with its agent instead of a restart when it called a short while ago.
        fast_track: bool = false,
        #[reader("conductor")]
        /// An agent that was silent for so long is not gone on with.
        fast_track_timeout: Duration = seconds(300),
        #[reader("drivers")]
        /// Boot mode of a node that names none.
        default_boot_mode: BootMode = BootMode::Uefi,
        #[reader("conductor")]
        /// Switch a node off when its deploy fails.
        power_off_after_deploy_failure: bool = true,
    }
    /// How the conductor talks to agents.
    agent: Agent = "agent" {
        #[reader("drivers")]
        /// How long a command to an agent may take to be answered.
        command_timeout: Duration = seconds(60),
        #[reader("conductor")]
        /// Refuse agents whose callback URL is plain HTTP.
        require_tls: bool = true,
        #[reader("drivers")]
        /// Talk only to an agent that shows the certificate which it announced.
        verify_ca: bool = true,
        #[reader("drivers, api")]
        /// Accept MD5 checksums of images.
        allow_md5_checksum: bool = true,
        #[reader("drivers")]
        /// Let agents write raw images while they download them.
        stream_raw_images: bool = true,
        #[reader("conductor")]
        /// Looks at the power state after the agent was told to switch off.
        post_deploy_get_power_state_retries: u32 = 6,
        #[reader("conductor")]
        /// Time between them.
        post_deploy_get_power_state_retry_interval: Duration = seconds(5),
    }
    /// Inspection by the ramdisk.
    inspector: Inspector = "inspector" {
        #[reader("conductor")]
        /// What is made of an inventory, in this order: ramdisk-error, validate-interfaces, ports, architecture, boot-mode, cpu-capabilities, cpus, memory, physical-network.
        hooks: Vec<String> = list(&["ramdisk-error", "validate-interfaces", "ports", "architecture"]),
        #[reader("conductor")]
        /// Network cards that get a port: `pxe` (those that booted), `active` (those with an address), `all`, `disabled`.
        add_ports: String = "pxe".into(),
        #[reader("conductor")]
        /// Ports that stay: `all`, `present` (those of the inventory), `added` (those that would be added).
        keep_ports: String = "all".into(),
        #[reader("conductor")]
        /// Set `pxe_enabled` of ports by what booted.
        update_pxe_enabled: bool = true,
        #[reader("conductor")]
        /// Switch the node off after its report.
        power_off: bool = true,
        #[reader("conductor")]
        /// `key=value` pairs added to the ramdisk's kernel command line for inspection.
        extra_kernel_params: String = String::new(),
        #[reader("conductor")]
        /// Flag of the processor to the capability that hook cpu-capabilities sets.
        cpu_capabilities: BTreeMap<String, String> = [
            ("vmx", "cpu_vt"), ("svm", "cpu_vt"), ("aes", "cpu_aes"), ("pse", "cpu_hugepages"),
            ("pdpe1gb", "cpu_hugepages_1g"), ("smx", "cpu_txt"),
        ].map(|(flag, capability)| (flag.to_owned(), capability.to_owned())).into(),
        #[reader("conductor")]
        /// Network (`192.0.2.0/24`) to the name of its physical network, for hook physical-network.
        physical_network_cidr_map: BTreeMap<String, String> = BTreeMap::new(),
    }
    /// Rules that inventories are held against.
    inspection_rules: InspectionRules = "inspection_rules" {
        #[reader("conductor")]
        /// Whether rules see passwords in inventories: `always` masked, `sensitive` (only sensitive rules see them), `never` masked.
        mask_secrets: String = "always".into(),
    }
    /// IPMI.
    ipmi: Ipmi = "ipmi" {
        #[reader("drivers")]
        /// Longest time that a command is repeated to a BMC that does not answer.
        command_retry_timeout: Duration = seconds(60),
        #[reader("drivers")]
        /// Ask BMCs not to drop the boot device after 60 seconds. A node's `ipmi_disable_boot_timeout` goes first.
        disable_boot_timeout: bool = true,
        #[reader("drivers")]
        /// Cipher suites that may be used, best first. Empty: 17, then 3.
        cipher_suite_versions: Vec<String> = Vec::new(),
    }
    /// Redfish.
    redfish: Redfish = "redfish" {
        #[reader("drivers")]
        /// How to log in: `basic`, `session`, or `auto` (a session where the BMC has any). A node's `redfish_auth_type` goes first.
        auth_type: String = "auto".into(),
        #[reader("drivers")]
        /// File or directory with certificates that are trusted for nodes whose `redfish_verify_ca` is absent or true. Not set: the system's authorities.
        verify_ca: Option<String> = None,
        #[reader("drivers")]
        /// Oldest version of TLS: `1.1` (which means 1.2), `1.2`, `1.3`. Not set: 1.2. A node's `redfish_tls_minimum_version` goes first.
        tls_minimum_version: Option<String> = None,
        #[reader("drivers")]
        /// Cipher suites, in OpenSSL's names, separated by colons. Not set: all. A node's `redfish_tls_ciphers` goes first.
        tls_ciphers: Option<String> = None,
        #[reader("drivers")]
        /// Tries of a reading request that finds the BMC away.
        connection_attempts: u32 = 5,
        #[reader("drivers")]
        /// Time between them.
        connection_retry_interval: Duration = seconds(4),
        #[reader("drivers")]
        /// Longest time for a connection.
        connect_timeout: Duration = seconds(30),
        #[reader("drivers")]
        /// Longest time for a request.
        read_timeout: Duration = seconds(60),
        #[reader("drivers")]
        /// How long a boot mode or secure boot may take until it is in force after the restart. 0: not waited for.
        boot_mode_config_timeout: Duration = seconds(900),
        #[reader("drivers")]
        /// Time between looks at volumes that are being made or deleted.
        raid_config_status_interval: Duration = seconds(60),
        #[reader("drivers")]
        /// Time between looks at firmware updates and at BIOS settings that come into force.
        firmware_update_status_interval: Duration = seconds(60),
        #[reader("drivers")]
        /// Longest time for all updates of a step.
        firmware_update_overall_timeout: Duration = seconds(7200),
        #[reader("drivers")]
        /// Set the BMC's clock, when it is wrong by more than a second, while a node is verified.
        enable_verify_bmc_clock: bool = false,
    }
    /// Booting over the network.
    pxe: Pxe = "pxe" {
        #[reader("drivers")]
        /// Added to the kernel command line of the ramdisk. A node's `kernel_append_params` goes first.
        kernel_append_params: String = "nofb vga=normal".into(),
        #[reader("netboot")]
        /// TFTP server that DHCP names. Not set: my_ip.
        tftp_server: Option<IpAddr> = None,
        #[reader("netboot")]
        /// Directory whose files TFTP serves besides the boot loaders. Not set: none.
        tftp_root: Option<PathBuf> = None,
        #[reader("netboot")]
        /// Boot loader for BIOS.
        ipxe_bootfile_name: String = "undionly.kpxe".into(),
        #[reader("netboot")]
        /// Boot loader for UEFI.
        uefi_ipxe_bootfile_name: String = "snponly.efi".into(),
    }
    /// The database.
    database: Database = "database" {
        #[reader("server")]
        /// `sqlite:///absolute/path` or `postgresql://user:password@host/name` (a unix socket: `?host=/directory`). Not set: SQLite below state_path.
        connection: Option<SecretString> = None,
        #[reader("server")]
        /// Connections for reading, at most.
        max_pool_size: u32 = 5,
        #[reader("server")]
        /// How long a write waits for its turn.
        sqlite_max_wait_for_retry: Duration = seconds(10),
        #[reader("server")]
        /// File with keys for the secrets of nodes at rest: one a line, 32 bytes as base64 (`bessemer db new-key`). The first encrypts, all decrypt. Not set: secrets are stored as they are. Not in upstream.
        encryption_key_file: Option<PathBuf> = None,
        #[reader("server")]
        /// The same keys themselves, separated by commas, for the environment (`BESSEMER__DATABASE__ENCRYPTION_KEYS`); they come before those of the file. Not in upstream.
        encryption_keys: Option<SecretString> = None,
    }
    /// What the fake interfaces pretend to take, for tests and load runs.
    fake: Fake = "fake" {
        #[reader("drivers")]
        /// Power actions.
        power_delay: FakeDelay = FakeDelay::default(),
        #[reader("drivers")]
        /// Each deploy or clean step.
        deploy_delay: FakeDelay = FakeDelay::default(),
        #[reader("drivers")]
        /// Boot device and the like.
        management_delay: FakeDelay = FakeDelay::default(),
        #[reader("drivers")]
        /// Vendor methods and steps.
        vendor_delay: FakeDelay = FakeDelay::default(),
        #[reader("drivers")]
        /// Inspection.
        inspect_delay: FakeDelay = FakeDelay::default(),
        #[reader("drivers")]
        /// BIOS steps.
        bios_delay: FakeDelay = FakeDelay::default(),
        #[reader("drivers")]
        /// Firmware steps.
        firmware_delay: FakeDelay = FakeDelay::default(),
        #[reader("drivers")]
        /// Attaching and detaching of volumes.
        storage_delay: FakeDelay = FakeDelay::default(),
        #[reader("drivers")]
        /// Rescue and unrescue.
        rescue_delay: FakeDelay = FakeDelay::default(),
    }
    /// The built-in DHCP, TFTP and HTTP service. Upstream leaves these to dnsmasq and a web server.
    netboot: Netboot = "netboot" {
        #[reader("netboot, server")]
        /// Serve DHCP, TFTP and HTTP to nodes.
        enabled: bool = false,
        #[reader("netboot")]
        /// Network interface on which DHCP and router advertisements are answered.
        interface: Option<String> = None,
        #[reader("netboot")]
        /// Address that TFTP and HTTP listen on.
        listen_address: IpAddr = IpAddr::from([0, 0, 0, 0]),
        #[reader("netboot")]
        /// UDP port of DHCP; other than 67 only for tests.
        dhcp_port: u16 = 67,
        #[reader("netboot")]
        /// UDP port of TFTP.
        tftp_port: u16 = 69,
        #[reader("netboot")]
        /// TCP port of HTTP.
        http_port: u16 = 8080,
        #[reader("netboot")]
        /// Directory with the boot loaders (Debian: package ipxe).
        loader_dir: PathBuf = "/usr/lib/ipxe".into(),
        #[reader("netboot")]
        /// Directory with boot scripts that replace the built-in ones.
        templates_dir: Option<PathBuf> = None,
        #[reader("netboot")]
        /// Send IPv6 router advertisements: without any router iPXE waits 15 seconds for one.
        ra: bool = false,
    }
    /// Addresses for nodes.
    dhcp: Dhcp = "dhcp" {
        #[reader("netboot")]
        /// Who answers DHCP for nodes: the built-in service (where netboot is enabled and a network is given), or someone else.
        dhcp_provider: DhcpProvider = DhcpProvider::Builtin,
        #[reader("netboot")]
        /// Networks that the built-in DHCP serves, each a `[[dhcp.network]]` table with `cidr`, `range_start`, `range_end`, and optionally `router`, `dns` (a list), `lease_seconds` (600) and `discovery` (false: only MAC addresses of known ports are answered).
        network: Vec<DhcpNetwork> = Vec::new(),
    }
    /// Notifications on the message bus.
    oslo_messaging_notifications: OsloMessagingNotifications = "oslo_messaging_notifications" {
        #[reader("server")]
        /// How notifications and samples of sensors go to the message bus: `messagingv2`, in the envelope of oslo.messaging's version 2, or `noop`. Empty: not at all.
        driver: Vec<NotificationDriver> = Vec::new(),
        #[reader("server")]
        /// The message bus for notifications. Not set: `[DEFAULT] transport_url`.
        transport_url: Option<SecretString> = None,
        #[reader("server")]
        /// Topics of the samples of sensors; the level is added to each.
        topics: Vec<String> = list(&["notifications"]),
    }
    /// RabbitMQ.
    oslo_messaging_rabbit: OsloMessagingRabbit = "oslo_messaging_rabbit" {
        #[reader("server")]
        /// Declare exchange and queues as durable. Must be as their consumers declare them.
        amqp_durable_queues: bool = false,
        #[reader("server")]
        /// Declare exchange and queues as deleted when nobody uses them. Must be as their consumers declare them.
        amqp_auto_delete: bool = false,
        #[reader("server")]
        /// Declare queues as quorum queues, which are durable. Must be as their consumers declare them.
        rabbit_quorum_queue: bool = false,
        #[reader("server")]
        /// Connect over TLS.
        ssl: bool = false,
        #[reader("server")]
        /// Certificates, PEM, that RabbitMQ's is checked by. Not set: those that the operating system trusts.
        ssl_ca_file: Option<PathBuf> = None,
    }
    /// Notifications as webhooks, and how long undelivered ones are kept. Not in upstream.
    notifications: Notifications = "notifications" {
        #[reader("server")]
        /// Where notifications are posted, http or https, each by itself. Say nothing secret in a URL: it is shown.
        webhook_urls: Vec<String> = Vec::new(),
        #[reader("server")]
        /// What webhooks are signed with, as Standard Webhooks has it: `whsec_` and 24 to 64 bytes as base64. Several, separated by commas, sign each, so that a receiver can change its secret. Needed with webhook_urls.
        webhook_secret: Option<SecretString> = None,
        #[reader("server")]
        /// How long a receiver of webhooks may take to answer.
        webhook_timeout: Duration = seconds(10),
        #[reader("server")]
        /// How often a webhook is tried before it becomes a dead letter; the time between two attempts doubles from one second to a minute.
        webhook_attempts: u32 = 10,
        #[reader("server")]
        /// Certificates, PEM, that receivers' are checked by. Not set: those that the operating system trusts.
        webhook_ca_file: Option<PathBuf> = None,
        #[reader("server")]
        /// Undelivered messages that are kept for each receiver, dead letters among them; the oldest are dropped.
        keep_messages: u32 = 100_000,
        #[reader("server")]
        /// How long undelivered messages are kept.
        keep_for: Duration = seconds(604_800),
    }
    /// Samples of nodes' sensors, sent as notifications.
    sensor_data: SensorData = "sensor_data" {
        #[reader("conductor")]
        /// Ask nodes' sensors and send what they say.
        send_sensor_data: bool = false,
        #[reader("conductor")]
        /// Time between two rounds.
        interval: Duration = seconds(600),
        #[reader("conductor")]
        /// Nodes that are asked at once.
        workers: u32 = 4,
        #[reader("conductor")]
        /// How long a round may take; what has not answered by then is left out.
        wait_timeout: Duration = seconds(300),
        #[reader("conductor")]
        /// Kinds of sensors that are sent (`Temperature`, `Fan`, `Voltage`, `Current`, ...); `ALL` for all.
        data_types: Vec<String> = list(&["ALL"]),
        #[reader("conductor")]
        /// Ask nodes that are not active too.
        enable_for_undeployed_nodes: bool = false,
        #[reader("conductor")]
        /// Send the conductor's own figures.
        enable_for_conductor: bool = true,
        #[reader("conductor")]
        /// Send nodes' sensors.
        enable_for_nodes: bool = true,
    }
    /// Log.
    log: Log = "log" {
        #[reader("server")]
        /// What is logged: a level (error, warn, info, debug, trace) or a filter such as `info,bessemer_ipmi=debug`.
        level: String = "info".into(),
        #[reader("server")]
        /// Lines for people or JSON.
        format: LogFormat = LogFormat::Text,
    }
}
