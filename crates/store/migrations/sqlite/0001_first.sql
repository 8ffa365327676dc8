-- Times are microseconds since 1970 (BIGINT), ids are UUIDs as text, dictionaries are JSON as text.
-- Indexes named <table>_<columns>_key are what the store recognises a duplicate by.

CREATE TABLE chassis (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    description TEXT,
    extra TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX chassis_uuid_key ON chassis (uuid);

CREATE TABLE node (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    revision BIGINT NOT NULL,
    name TEXT,
    driver TEXT NOT NULL,
    chassis_uuid TEXT REFERENCES chassis (uuid),
    driver_info TEXT NOT NULL,
    properties TEXT NOT NULL,
    extra TEXT NOT NULL,
    instance_info TEXT NOT NULL,
    driver_internal_info TEXT NOT NULL,
    network_data TEXT NOT NULL,
    raid_config TEXT NOT NULL,
    target_raid_config TEXT NOT NULL,
    clean_step TEXT NOT NULL,
    deploy_step TEXT NOT NULL,
    service_step TEXT NOT NULL,
    traits TEXT NOT NULL,
    power_state TEXT,
    target_power_state TEXT,
    provision_state TEXT NOT NULL,
    target_provision_state TEXT,
    provision_updated_at BIGINT,
    last_error TEXT,
    reservation TEXT,
    conductor TEXT,
    maintenance BOOLEAN NOT NULL,
    maintenance_reason TEXT,
    fault TEXT,
    protected BOOLEAN NOT NULL,
    protected_reason TEXT,
    retired BOOLEAN NOT NULL,
    retired_reason TEXT,
    automated_clean BOOLEAN,
    disable_power_off BOOLEAN NOT NULL,
    console_enabled BOOLEAN NOT NULL,
    instance_uuid TEXT,
    instance_name TEXT,
    resource_class TEXT,
    conductor_group TEXT NOT NULL,
    owner TEXT,
    lessee TEXT,
    shard TEXT,
    parent_node TEXT,
    allocation_uuid TEXT,
    description TEXT,
    boot_mode TEXT,
    secure_boot BOOLEAN,
    health TEXT,
    inspection_started_at BIGINT,
    inspection_finished_at BIGINT,
    bios_interface TEXT,
    boot_interface TEXT,
    console_interface TEXT,
    deploy_interface TEXT,
    firmware_interface TEXT,
    inspect_interface TEXT,
    management_interface TEXT,
    network_interface TEXT,
    power_interface TEXT,
    raid_interface TEXT,
    rescue_interface TEXT,
    storage_interface TEXT,
    vendor_interface TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX node_uuid_key ON node (uuid);
CREATE UNIQUE INDEX node_name_key ON node (name);
CREATE UNIQUE INDEX node_instance_uuid_key ON node (instance_uuid);
CREATE INDEX node_chassis ON node (chassis_uuid);
CREATE INDEX node_provision_state ON node (provision_state);
CREATE INDEX node_parent ON node (parent_node);

-- The masked, serialised members of a node: a table of its own, so that power and heartbeat writes never
-- rewrite it. `id` is node.id.
CREATE TABLE node_document (
    id BIGINT PRIMARY KEY REFERENCES node (id) ON DELETE CASCADE,
    document BLOB NOT NULL
);

CREATE TABLE port (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    node TEXT NOT NULL REFERENCES node (uuid) ON DELETE CASCADE,
    address TEXT NOT NULL,
    name TEXT,
    description TEXT,
    extra TEXT NOT NULL,
    internal_info TEXT NOT NULL,
    local_link_connection TEXT NOT NULL,
    pxe_enabled BOOLEAN NOT NULL,
    portgroup TEXT,
    physical_network TEXT,
    is_smartnic BOOLEAN NOT NULL,
    vendor TEXT,
    category TEXT,
    available_for_dynamic_portgroup BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX port_uuid_key ON port (uuid);
CREATE UNIQUE INDEX port_address_key ON port (address);
CREATE UNIQUE INDEX port_name_key ON port (name);
CREATE INDEX port_node ON port (node);

-- One run of a conductor process. `ended`: closed, or replaced by a newer one of the same host.
CREATE TABLE session (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    hostname TEXT NOT NULL,
    ended BOOLEAN NOT NULL,
    expires_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    renewed_at BIGINT
);
CREATE UNIQUE INDEX session_uuid_key ON session (uuid);
CREATE INDEX session_hostname ON session (hostname);

CREATE TABLE conductor (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hostname TEXT NOT NULL,
    conductor_group TEXT NOT NULL,
    catalogue TEXT NOT NULL,
    session TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX conductor_hostname_key ON conductor (hostname);

CREATE TABLE operation (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    node TEXT NOT NULL REFERENCES node (uuid) ON DELETE CASCADE,
    flow TEXT NOT NULL,
    flow_version BIGINT NOT NULL,
    phase TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    status TEXT NOT NULL,
    args TEXT NOT NULL,
    data TEXT NOT NULL,
    wake_at BIGINT,
    deadline_at BIGINT,
    reason TEXT,
    owner TEXT,
    fence BIGINT NOT NULL,
    panics BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX operation_uuid_key ON operation (uuid);
-- At most one open operation per node.
CREATE UNIQUE INDEX operation_node_key ON operation (node) WHERE status IN ('ready', 'running', 'waiting');
CREATE INDEX operation_node ON operation (node, id);
CREATE INDEX operation_open ON operation (status) WHERE status IN ('ready', 'running', 'waiting');

CREATE TABLE signal (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    operation TEXT NOT NULL REFERENCES operation (uuid) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX signal_operation ON signal (operation, id);

CREATE TABLE timeline (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    node TEXT NOT NULL REFERENCES node (uuid) ON DELETE CASCADE,
    at BIGINT NOT NULL,
    source TEXT NOT NULL,
    text TEXT NOT NULL,
    data TEXT
);
CREATE INDEX timeline_node ON timeline (node, id);

CREATE TABLE history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    node TEXT NOT NULL REFERENCES node (uuid) ON DELETE CASCADE,
    conductor TEXT,
    created_at BIGINT NOT NULL,
    severity TEXT NOT NULL,
    event_type TEXT NOT NULL,
    event TEXT NOT NULL,
    user_id TEXT
);
CREATE UNIQUE INDEX history_uuid_key ON history (uuid);
CREATE INDEX history_node ON history (node, id);

-- What a node boots next over the network.
CREATE TABLE boot (
    node TEXT PRIMARY KEY REFERENCES node (uuid) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    kernel TEXT,
    ramdisk TEXT,
    kernel_params TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- `address` is the IPv4 address as a number, so that ranges and order are those of addresses.
CREATE TABLE dhcp_lease (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    network TEXT NOT NULL,
    address BIGINT NOT NULL,
    mac TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX dhcp_lease_network_address_key ON dhcp_lease (network, address);
CREATE UNIQUE INDEX dhcp_lease_network_mac_key ON dhcp_lease (network, mac);

CREATE TABLE dhcp_quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    network TEXT NOT NULL,
    address BIGINT NOT NULL,
    until_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX dhcp_quarantine_network_address_key ON dhcp_quarantine (network, address);
