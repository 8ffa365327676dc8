-- Port groups, volumes, what was read from the hardware, and who and when of the history.

CREATE TABLE portgroup (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    node TEXT NOT NULL REFERENCES node (uuid) ON DELETE CASCADE,
    address TEXT,
    name TEXT,
    extra TEXT NOT NULL,
    internal_info TEXT NOT NULL,
    standalone_ports_supported BOOLEAN NOT NULL,
    mode TEXT NOT NULL,
    properties TEXT NOT NULL,
    physical_network TEXT,
    category TEXT,
    dynamic_portgroup BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX portgroup_uuid_key ON portgroup (uuid);
CREATE UNIQUE INDEX portgroup_address_key ON portgroup (address);
CREATE UNIQUE INDEX portgroup_name_key ON portgroup (name);
CREATE INDEX portgroup_node ON portgroup (node);
CREATE INDEX port_portgroup ON port (portgroup);

CREATE TABLE volume_connector (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    node TEXT NOT NULL REFERENCES node (uuid) ON DELETE CASCADE,
    type TEXT NOT NULL,
    connector_id TEXT NOT NULL,
    extra TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX volume_connector_uuid_key ON volume_connector (uuid);
CREATE UNIQUE INDEX volume_connector_type_connector_id_key ON volume_connector (type, connector_id);
CREATE INDEX volume_connector_node ON volume_connector (node);

CREATE TABLE volume_target (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    node TEXT NOT NULL REFERENCES node (uuid) ON DELETE CASCADE,
    volume_type TEXT NOT NULL,
    properties TEXT NOT NULL,
    boot_index BIGINT NOT NULL,
    volume_id TEXT NOT NULL,
    extra TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX volume_target_uuid_key ON volume_target (uuid);
CREATE UNIQUE INDEX volume_target_node_boot_index_key ON volume_target (node, boot_index);

-- The inventory that inspection stored last.
CREATE TABLE inventory (
    node TEXT PRIMARY KEY REFERENCES node (uuid) ON DELETE CASCADE,
    inventory TEXT NOT NULL,
    plugin_data TEXT NOT NULL,
    at BIGINT NOT NULL
);

CREATE TABLE bios_setting (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    node TEXT NOT NULL REFERENCES node (uuid) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT,
    attribute_type TEXT,
    allowable_values TEXT,
    lower_bound BIGINT,
    max_length BIGINT,
    min_length BIGINT,
    read_only BOOLEAN,
    reset_required BOOLEAN,
    is_unique BOOLEAN,
    upper_bound BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX bios_setting_node_name_key ON bios_setting (node, name);

CREATE TABLE firmware_component (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    node TEXT NOT NULL REFERENCES node (uuid) ON DELETE CASCADE,
    component TEXT NOT NULL,
    initial_version TEXT,
    current_version TEXT,
    last_version_flashed TEXT,
    vendor TEXT,
    model TEXT,
    serial_number TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX firmware_component_node_component_key ON firmware_component (node, component);

ALTER TABLE history ADD COLUMN project TEXT;
ALTER TABLE history ADD COLUMN state TEXT;
ALTER TABLE history ADD COLUMN target_provision_state TEXT;
ALTER TABLE history ADD COLUMN duration_seconds BIGINT;

CREATE INDEX IF NOT EXISTS node_shard ON node (shard);
