//! What is known of upstream's options besides their names: why some are not translated.

/// Upstream's own options by section (39.0.0); those of the libraries that it uses are not among them.
pub const OPTIONS: &str = include_str!("upstream_options.txt");

/// What `$name` stands for when the file does not say.
pub const DEFAULTS: &[(&str, &str, &str)] = &[
    ("DEFAULT", "my_ip", "127.0.0.1"),
    ("DEFAULT", "state_path", "/var/lib/ironic"),
    ("DEFAULT", "host", "localhost"),
    (
        "inspector",
        "default_hooks",
        "ramdisk-error,validate-interfaces,ports,architecture",
    ),
];

/// Options that take several lines.
pub const SEVERAL: &[(&str, &str)] = &[("oslo_policy", "policy_dirs")];

/// Older names of options, which upstream still reads.
pub const RENAMED: &[(&str, &str, &str, &str)] = &[
    (
        "keystone_authtoken",
        "auth_uri",
        "keystone_authtoken",
        "www_authenticate_uri",
    ),
    ("DEFAULT", "policy_file", "oslo_policy", "policy_file"),
    ("pxe", "pxe_append_params", "pxe", "kernel_append_params"),
    ("DEFAULT", "sql_connection", "database", "connection"),
    ("DATABASE", "sql_connection", "database", "connection"),
];

/// Options that exist here under the same name and mean something else, and why they are left out.
pub const DIFFERENT: &[(&str, &str, &str)] = &[
    (
        "database",
        "connection",
        "it names Ironic's own database, whose tables are others; nodes are moved through the API, not through the \
         database. Set [database] connection only for PostgreSQL, to an empty database",
    ),
    (
        "DEFAULT",
        "state_path",
        "it is Ironic's directory; the default here is /var/lib/bessemer, so that both can run side by side",
    ),
    (
        "deploy",
        "http_root",
        "it is the directory of Ironic's web server; boot files are made and served by this program, below state_path",
    ),
    (
        "pxe",
        "tftp_root",
        "it is the directory of Ironic's TFTP server; boot loaders are served by this program ([netboot] loader_dir)",
    ),
];

/// Options that are not here, with more to say than that.
pub const ABSENT: &[(&str, &str, &str)] = &[
    ("DEFAULT", "debug", "set [log] level = \"debug\" instead"),
    (
        "DEFAULT",
        "log_file",
        "the log goes to standard error, where systemd or a container collects it",
    ),
    (
        "DEFAULT",
        "log_dir",
        "the log goes to standard error, where systemd or a container collects it",
    ),
    (
        "DEFAULT",
        "use_stderr",
        "the log always goes to standard error",
    ),
    (
        "DEFAULT",
        "use_syslog",
        "the log goes to standard error, where systemd or a container collects it",
    ),
    (
        "DEFAULT",
        "rpc_transport",
        "there is no message bus between the parts of this program",
    ),
    (
        "DEFAULT",
        "rpc_response_timeout",
        "there is no message bus between the parts of this program",
    ),
    (
        "DEFAULT",
        "pin_release_version",
        "services of two versions work on one database without a pin",
    ),
    (
        "DEFAULT",
        "hash_ring_reset_interval",
        "leases in the database decide who works, not a hash ring",
    ),
    (
        "DEFAULT",
        "hash_partition_exponent",
        "leases in the database decide who works, not a hash ring",
    ),
    (
        "DEFAULT",
        "hash_ring_algorithm",
        "leases in the database decide who works, not a hash ring",
    ),
    (
        "DEFAULT",
        "force_raw_images",
        "images are converted by the agent while it writes them",
    ),
    (
        "DEFAULT",
        "parallel_image_downloads",
        "images are not stored by the conductor",
    ),
    (
        "DEFAULT",
        "image_download_concurrency",
        "images are not stored by the conductor",
    ),
    (
        "DEFAULT",
        "minimum_required_memory",
        "images are not converted by the conductor",
    ),
    ("api", "api_workers", "one process uses all processors"),
    (
        "conductor",
        "cache_clean_up_interval",
        "images are not stored by the conductor",
    ),
    (
        "conductor",
        "clear_image_cache_on_deploy_failure",
        "images are not stored by the conductor",
    ),
    (
        "conductor",
        "check_rescue_state_interval",
        "every wait has its own time, nothing looks for expired ones",
    ),
    (
        "conductor",
        "max_conductor_wait_step_seconds",
        "a wait step holds no thread and may take up to seven days",
    ),
    (
        "conductor",
        "permit_child_node_step_async_result",
        "steps on child nodes are always waited for",
    ),
    (
        "conductor",
        "automatic_lessee",
        "it is deprecated; set [conductor] automatic_lessee_source = \"none\" for false",
    ),
    (
        "conductor",
        "periodic_max_workers",
        "periodic work needs no threads of its own",
    ),
    (
        "conductor",
        "check_provision_state_interval",
        "every wait has its own time, nothing looks for expired ones",
    ),
    (
        "conductor",
        "sync_local_state_interval",
        "leases take over what a dead conductor left",
    ),
    (
        "dhcp",
        "dhcp_provider",
        "its values are others: \"builtin\" (this program answers) or \"none\"",
    ),
    (
        "ipmi",
        "use_ipmitool_retries",
        "IPMI is spoken by this program itself",
    ),
    (
        "ipmi",
        "kill_on_timeout",
        "IPMI is spoken by this program itself",
    ),
    (
        "ipmi",
        "store_cred_in_env",
        "IPMI is spoken by this program itself",
    ),
    (
        "ipmi",
        "debug",
        "set [log] level = \"info,bessemer_ipmi=debug\" instead",
    ),
    (
        "pxe",
        "ipxe_boot_script",
        "boot scripts are templates in [netboot] templates_dir",
    ),
    (
        "pxe",
        "ipxe_config_template",
        "boot scripts are templates in [netboot] templates_dir",
    ),
    (
        "pxe",
        "pxe_config_template",
        "boot scripts are templates in [netboot] templates_dir",
    ),
    (
        "pxe",
        "images_path",
        "images are not stored by the conductor",
    ),
    (
        "pxe",
        "instance_master_path",
        "images are not stored by the conductor",
    ),
    (
        "pxe",
        "tftp_master_path",
        "images are not stored by the conductor",
    ),
];

/// Sections that are not here as a whole.
pub const SECTIONS: &[(&str, &str)] = &[
    (
        "agent_containers",
        "containers on the agent are not offered",
    ),
    ("anaconda", "the deploy interface anaconda is not offered"),
    ("ansible", "the deploy interface ansible is not offered"),
    (
        "audit",
        "API calls are audited in the log and the timeline, not through pyCADF",
    ),
    ("cifs", "virtual media over CIFS is not offered"),
    ("cinder", "volumes of Cinder are not attached"),
    ("console", "consoles are not bridged by socat"),
    ("cors", "no CORS headers are sent; put a proxy in front"),
    ("disk_utils", "images are not converted by the conductor"),
    (
        "dnsmasq",
        "DHCP is answered by this program, see [dhcp] and [netboot]",
    ),
    ("drac", "the hardware type idrac is not offered"),
    (
        "glance",
        "images are given by URL in instance_info, not through Glance",
    ),
    ("ironic_networking", "switches are not configured"),
    ("ironic_networking_json_rpc", "switches are not configured"),
    (
        "json_rpc",
        "there is no message bus between the parts of this program",
    ),
    ("mdns", "the service is not announced by mDNS"),
    ("metrics", "statsd is not spoken"),
    ("metrics_statsd", "statsd is not spoken"),
    ("neutron", "networks are not managed through Neutron"),
    ("nfs", "virtual media over NFS is not offered"),
    ("nova", "Nova is not told of power changes"),
    ("oci", "images from OCI registries are not offered"),
    ("oslo_concurrency", "no lock files are needed"),
    (
        "oslo_messaging_amqp",
        "there is no message bus between the parts of this program",
    ),
    (
        "oslo_messaging_kafka",
        "there is no message bus between the parts of this program",
    ),
    (
        "oslo_messaging_notifications",
        "messages wait in the database until they are delivered; see [notifications] keep_messages and keep_for",
    ),
    (
        "oslo_messaging_rabbit",
        "RabbitMQ only gets notifications, which need less to be set",
    ),
    (
        "oslo_middleware",
        "request bodies are bounded by [api] max_json_body_size",
    ),
    (
        "oslo_versionedobjects",
        "it is a matter of upstream's own code",
    ),
    ("profiler", "OSProfiler is not spoken"),
    (
        "pxe_filter",
        "DHCP is answered by this program, which knows the ports",
    ),
    (
        "service_catalog",
        "no other service is looked up in Keystone's catalogue",
    ),
    ("swift", "nothing is stored in Swift"),
    ("vnc", "graphical consoles are not offered"),
];

/// Sections and options that upstream had and has no more.
pub const REMOVED: &[(&str, &str, &str)] = &[
    ("ilo", "", "with its hardware types in 36.0"),
    ("irmc", "", "with its hardware types in 36.0"),
    ("snmp", "", "with its hardware type in 36.0"),
    ("molds", "", "with configuration molds in 36.0"),
    ("xclarity", "", "with its hardware type"),
    ("ibmc", "", "with its hardware type"),
    ("iscsi", "", "with the deploy interface iscsi"),
    ("amt", "", "with its hardware type"),
    ("cisco_ucs", "", "with its hardware type"),
    ("cimc", "", "with its hardware type"),
    ("oneview", "", "with its hardware type"),
    ("seamicro", "", "with its hardware type"),
    (
        "DEFAULT",
        "enabled_drivers",
        "with the classic drivers: see enabled_hardware_types",
    ),
    (
        "DEFAULT",
        "fatal_exception_format_errors",
        "and moved to [errors]",
    ),
    (
        "conductor",
        "api_url",
        "in favour of [service_catalog] and external_callback_url",
    ),
    (
        "conductor",
        "send_sensor_data",
        "and moved to [sensor_data]",
    ),
    (
        "conductor",
        "configdrive_use_swift",
        "and moved to [deploy]",
    ),
    (
        "deploy",
        "default_boot_option",
        "with instances that boot over the network in 21.0",
    ),
    (
        "deploy",
        "iscsi_verify_attempts",
        "with the deploy interface iscsi",
    ),
    (
        "pxe",
        "ipxe_enabled",
        "in favour of the boot interface ipxe",
    ),
    ("inspector", "enabled", "in favour of inspect interfaces"),
    (
        "inspector",
        "endpoint_override",
        "with the separate inspector service",
    ),
    (
        "inspector",
        "auth_url",
        "with the separate inspector service",
    ),
    (
        "inspector",
        "username",
        "with the separate inspector service",
    ),
    (
        "inspector",
        "password",
        "with the separate inspector service",
    ),
];

/// Whether upstream has the option.
pub fn has(section: &str, option: &str) -> bool {
    OPTIONS.lines().any(|line| {
        line.split_once(": ")
            .is_some_and(|(s, options)| s == section && options.split(' ').any(|o| o == option))
    })
}

/// Whether upstream has the section.
pub fn has_section(section: &str) -> bool {
    OPTIONS
        .lines()
        .any(|line| line.split_once(": ").is_some_and(|(s, _)| s == section))
}
