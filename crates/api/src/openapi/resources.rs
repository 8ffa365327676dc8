//! Schemas of everything that is not below a node.

use super::types::{F, Object, T};
use crate::versions::PORT_FIELDS;

/// All members of a port with their versions, from the table of versions.
pub fn port_members() -> Vec<F> {
    PORT_FIELDS
        .iter()
        .map(|(name, since)| {
            let kind = match *name {
                "uuid" | "node_uuid" => T::Uuid,
                "portgroup_uuid" => T::NullUuid,
                "created_at" => T::Time,
                "updated_at" => T::NullTime,
                "address" => T::Mac,
                "extra" | "internal_info" | "local_link_connection" => T::Dict,
                "is_smartnic" | "pxe_enabled" | "available_for_dynamic_portgroup" => T::NullBool,
                "links" => T::Ref("Links"),
                _ => T::NullText,
            };
            (*name, kind, *since)
        })
        .collect()
}

const ORDER: T = T::Or(&[T::Int, T::Text]);
const STEP: &[F] = &[
    ("interface", T::Text, 92),
    ("step", T::Text, 92),
    ("args", T::Dict, 92),
    ("order", ORDER, 92),
];

#[rustfmt::skip]
pub const OBJECTS: &[Object] = &[
    Object { name: "Link", required: &["href", "rel"], members: &[("href", T::Text, 1), ("rel", T::Text, 1), ("type", T::Text, 1)] },
    Object { name: "Fault", required: &["faultstring"], members: &[
        ("faultcode", T::NullText, 1), ("faultstring", T::NullText, 1), ("debuginfo", T::NullText, 1),
    ] },
    Object { name: "WrappedFault", required: &["error_message"], members: &[("error_message", T::Text, 1)] },
    Object { name: "AuthenticationFault", required: &["error"], members: &[("error", T::Ref("AuthenticationDetail"), 1)] },
    Object { name: "AuthenticationDetail", required: &["message", "code"], members: &[
        ("message", T::Text, 1), ("code", T::Int, 1), ("title", T::Text, 1),
    ] },
    Object { name: "PatchOperation", required: &["op", "path"], members: &[
        ("op", T::Enum(&["add", "replace", "remove"]), 1), ("path", T::Text, 1), ("value", T::Any, 1),
    ] },

    Object { name: "Versions", required: &["name", "description", "default_version", "versions"], members: &[
        ("name", T::Text, 1), ("description", T::Text, 1), ("default_version", T::Ref("Version"), 1),
        ("versions", T::List(&T::Ref("Version")), 1),
    ] },
    Object { name: "Version", required: &["id", "links", "status", "min_version", "version"], members: &[
        ("id", T::Text, 1), ("links", T::Ref("Links"), 1), ("status", T::Text, 1), ("min_version", T::Text, 1),
        ("version", T::Text, 1),
    ] },
    Object { name: "MediaTypes", required: &["base", "type"], members: &[("base", T::Text, 1), ("type", T::Text, 1)] },
    Object { name: "Root", required: &["id", "links", "media_types", "version"], members: &[
        ("id", T::Text, 1), ("links", T::Ref("Links"), 1), ("media_types", T::Or(&[T::Ref("MediaTypes"), T::List(&T::Ref("MediaTypes"))]), 1),
        ("version", T::Ref("Version"), 1), ("chassis", T::Ref("Links"), 1), ("nodes", T::Ref("Links"), 1),
        ("ports", T::Ref("Links"), 1), ("drivers", T::Ref("Links"), 1), ("lookup", T::Ref("Links"), 22),
        ("heartbeat", T::Ref("Links"), 22), ("portgroups", T::Ref("Links"), 23), ("volume", T::Ref("Links"), 32),
        ("conductors", T::Ref("Links"), 49), ("allocations", T::Ref("Links"), 52), ("events", T::Ref("Links"), 54),
        ("deploy_templates", T::Ref("Links"), 55), ("shards", T::Ref("Links"), 82), ("continue_inspection", T::Ref("Links"), 84),
        ("runbooks", T::Ref("Links"), 92), ("inspection_rules", T::Ref("Links"), 96),
    ] },

    Object { name: "PortCreate", required: &["address"], members: &[
        ("address", T::Text, 1), ("node_uuid", T::Text, 1), ("uuid", T::NullUuid, 1), ("extra", T::NullDict, 1),
        ("pxe_enabled", T::Flag, 19), ("local_link_connection", T::NullDict, 19), ("portgroup_uuid", T::NullText, 24),
        ("physical_network", T::Short(64), 34), ("is_smartnic", T::Flag, 53), ("name", T::NullText, 88),
        ("node_ident", T::Text, 94), ("description", T::Short(255), 97), ("vendor", T::Short(32), 100),
        ("category", T::Short(80), 101), ("available_for_dynamic_portgroup", T::Bool, 111),
    ] },
    Object { name: "PortgroupCreate", required: &["node_uuid"], members: &[
        ("node_uuid", T::Text, 23), ("uuid", T::NullUuid, 23), ("address", T::NullText, 23), ("extra", T::NullDict, 23),
        ("name", T::NullText, 23), ("standalone_ports_supported", T::Flag, 23), ("mode", T::NullText, 26),
        ("properties", T::NullDict, 26), ("physical_network", T::Short(64), 102), ("category", T::Short(80), 103),
    ] },
    Object { name: "Portgroup", required: &[], members: &[
        ("uuid", T::Uuid, 23), ("created_at", T::Time, 23), ("updated_at", T::NullTime, 23), ("address", T::NullMac, 23),
        ("extra", T::Dict, 23), ("internal_info", T::Dict, 23), ("name", T::NullText, 23), ("node_uuid", T::Uuid, 23),
        ("standalone_ports_supported", T::Bool, 23), ("links", T::Ref("Links"), 23), ("ports", T::Ref("Links"), 24),
        ("mode", T::NullText, 26), ("properties", T::Dict, 26), ("physical_network", T::NullText, 102),
        ("category", T::NullText, 103), ("dynamic_portgroup", T::NullBool, 111),
    ] },
    Object { name: "ChassisCreate", required: &[], members: &[
        ("uuid", T::NullUuid, 1), ("description", T::Short(255), 1), ("extra", T::NullDict, 1),
    ] },
    Object { name: "Chassis", required: &[], members: &[
        ("uuid", T::Uuid, 1), ("created_at", T::Time, 1), ("updated_at", T::NullTime, 1), ("description", T::NullText, 1),
        ("extra", T::Dict, 1), ("links", T::Ref("Links"), 1),
        // a list in a list, as upstream gives it
        ("nodes", T::List(&T::Ref("Links")), 1),
    ] },
    Object { name: "Volume", required: &[], members: &[
        ("connectors", T::Ref("Links"), 32), ("targets", T::Ref("Links"), 32), ("links", T::Ref("Links"), 32),
    ] },
    Object { name: "ConnectorCreate", required: &["connector_id", "node_uuid", "type"], members: &[
        ("connector_id", T::Text, 32), ("node_uuid", T::Text, 32), ("type", T::Text, 32), ("extra", T::NullDict, 32),
        ("uuid", T::NullUuid, 32),
    ] },
    Object { name: "Connector", required: &[], members: &[
        ("uuid", T::Uuid, 32), ("created_at", T::Time, 32), ("updated_at", T::NullTime, 32), ("type", T::NullText, 32),
        ("connector_id", T::NullText, 32), ("node_uuid", T::Uuid, 32), ("extra", T::Dict, 32), ("links", T::Ref("Links"), 32),
    ] },
    Object { name: "TargetCreate", required: &["boot_index", "node_uuid", "volume_id", "volume_type"], members: &[
        ("boot_index", T::Int, 32), ("node_uuid", T::Text, 32), ("volume_id", T::Text, 32), ("volume_type", T::Text, 32),
        ("properties", T::NullDict, 32), ("extra", T::NullDict, 32), ("uuid", T::NullUuid, 32),
    ] },
    Object { name: "Target", required: &[], members: &[
        ("uuid", T::Uuid, 32), ("created_at", T::Time, 32), ("updated_at", T::NullTime, 32), ("volume_type", T::NullText, 32),
        ("volume_id", T::NullText, 32), ("boot_index", T::NullInt, 32), ("node_uuid", T::Uuid, 32), ("properties", T::Dict, 32),
        ("extra", T::Dict, 32), ("links", T::Ref("Links"), 32),
    ] },

    Object { name: "Drivers", required: &["drivers"], members: &[("drivers", T::List(&T::Ref("Driver")), 1)] },
    Object { name: "Driver", required: &[], members: &[
        ("name", T::Text, 1), ("hosts", T::List(&T::Text), 1), ("links", T::Ref("Links"), 1), ("properties", T::Ref("Links"), 14),
        ("type", T::Text, 30),
        ("default_bios_interface", T::NullText, 40), ("default_boot_interface", T::NullText, 30),
        ("default_console_interface", T::NullText, 30), ("default_deploy_interface", T::NullText, 30),
        ("default_firmware_interface", T::NullText, 86), ("default_inspect_interface", T::NullText, 30),
        ("default_management_interface", T::NullText, 30), ("default_network_interface", T::NullText, 30),
        ("default_power_interface", T::NullText, 30), ("default_raid_interface", T::NullText, 30),
        ("default_rescue_interface", T::NullText, 38), ("default_storage_interface", T::NullText, 33),
        ("default_vendor_interface", T::NullText, 30),
        ("enabled_bios_interfaces", T::List(&T::Text), 40), ("enabled_boot_interfaces", T::List(&T::Text), 30),
        ("enabled_console_interfaces", T::List(&T::Text), 30), ("enabled_deploy_interfaces", T::List(&T::Text), 30),
        ("enabled_firmware_interfaces", T::List(&T::Text), 86), ("enabled_inspect_interfaces", T::List(&T::Text), 30),
        ("enabled_management_interfaces", T::List(&T::Text), 30), ("enabled_network_interfaces", T::List(&T::Text), 30),
        ("enabled_power_interfaces", T::List(&T::Text), 30), ("enabled_raid_interfaces", T::List(&T::Text), 30),
        ("enabled_rescue_interfaces", T::List(&T::Text), 38), ("enabled_storage_interfaces", T::List(&T::Text), 33),
        ("enabled_vendor_interfaces", T::List(&T::Text), 30),
    ] },
    Object { name: "Conductor", required: &[], members: &[
        ("hostname", T::Text, 49), ("conductor_group", T::Text, 49), ("alive", T::Bool, 49), ("drivers", T::List(&T::Text), 49),
        ("created_at", T::Time, 49), ("updated_at", T::NullTime, 49), ("links", T::Ref("Links"), 49),
    ] },

    Object { name: "AllocationCreate", required: &[], members: &[
        ("resource_class", T::Short(80), 52), ("name", T::NullText, 52), ("uuid", T::NullUuid, 52),
        ("traits", T::NullList(&T::Text), 52), ("candidate_nodes", T::NullList(&T::Text), 52), ("extra", T::NullDict, 52),
        ("node", T::NullText, 58), ("owner", T::NullText, 60),
    ] },
    Object { name: "Allocation", required: &[], members: &[
        ("uuid", T::Uuid, 52), ("created_at", T::Time, 52), ("updated_at", T::NullTime, 52),
        ("candidate_nodes", T::List(&T::Text), 52), ("extra", T::Dict, 52), ("last_error", T::NullText, 52),
        ("name", T::NullText, 52), ("node_uuid", T::NullUuid, 52), ("resource_class", T::NullText, 52), ("state", T::NullText, 52),
        ("traits", T::List(&T::Text), 52), ("links", T::Ref("Links"), 52), ("owner", T::NullText, 60),
    ] },

    Object { name: "TemplateCreate", required: &["name", "steps"], members: &[
        ("name", T::Text, 55), ("steps", T::List(&T::Ref("DeployStep")), 55), ("extra", T::NullDict, 55), ("uuid", T::NullUuid, 55),
        ("description", T::Short(255), 55),
    ] },
    Object { name: "Template", required: &[], members: &[
        ("uuid", T::Uuid, 55), ("created_at", T::Time, 55), ("updated_at", T::NullTime, 55), ("name", T::Text, 55),
        ("steps", T::List(&T::Ref("DeployStep")), 55), ("extra", T::Dict, 55), ("links", T::Ref("Links"), 55),
    ] },
    Object { name: "RunbookStep", required: &["interface", "step", "order"], members: STEP },
    Object { name: "RunbookCreate", required: &["name", "steps"], members: &[
        ("name", T::Text, 92), ("steps", T::List(&T::Ref("RunbookStep")), 92), ("extra", T::NullDict, 92), ("uuid", T::NullUuid, 92),
        ("disable_ramdisk", T::NullBool, 92), ("public", T::NullBool, 92), ("owner", T::Short(255), 92),
        ("description", T::Short(255), 112), ("traits", T::NullList(&T::Text), 112),
    ] },
    Object { name: "Runbook", required: &[], members: &[
        ("uuid", T::Uuid, 92), ("created_at", T::Time, 92), ("updated_at", T::NullTime, 92), ("name", T::Text, 92),
        ("steps", T::List(&T::Ref("RunbookStep")), 92), ("extra", T::Dict, 92), ("disable_ramdisk", T::NullBool, 92),
        ("public", T::NullBool, 92), ("owner", T::NullText, 92), ("description", T::NullText, 112),
        ("traits", T::List(&T::Text), 112), ("links", T::Ref("Links"), 92),
    ] },
    Object { name: "RuleAction", required: &["op", "args"], members: &[
        ("op", T::Text, 96), ("args", T::Or(&[T::Dict, T::List(&T::Any)]), 96), ("loop", T::Or(&[T::NullDict, T::List(&T::Any)]), 96),
    ] },
    Object { name: "RuleCondition", required: &["op", "args"], members: &[
        ("op", T::Text, 96), ("args", T::Or(&[T::Dict, T::List(&T::Any)]), 96), ("loop", T::Or(&[T::NullDict, T::List(&T::Any)]), 96),
        ("multiple", T::NullEnum(&["any", "all", "first", "last"]), 96),
    ] },
    Object { name: "RuleCreate", required: &["actions"], members: &[
        ("actions", T::List(&T::Ref("RuleAction")), 96), ("conditions", T::List(&T::Ref("RuleCondition")), 96),
        ("description", T::NullText, 96), ("phase", T::NullText, 96), ("priority", T::Int, 96), ("sensitive", T::Bool, 96),
        ("uuid", T::NullUuid, 96),
    ] },
    Object { name: "Rule", required: &[], members: &[
        ("uuid", T::Uuid, 96), ("created_at", T::Time, 96), ("updated_at", T::NullTime, 96), ("description", T::NullText, 96),
        ("priority", T::Int, 96), ("sensitive", T::Bool, 96), ("phase", T::NullText, 96),
        ("conditions", T::NullList(&T::Ref("RuleCondition")), 96), ("actions", T::NullList(&T::Ref("RuleAction")), 96),
        ("links", T::Ref("Links"), 96),
    ] },

    Object { name: "Shards", required: &["shards"], members: &[("shards", T::List(&T::Ref("Shard")), 82)] },
    Object { name: "Shard", required: &["name", "count"], members: &[("name", T::NullText, 82), ("count", T::Int, 82)] },
    Object { name: "EventsRequest", required: &["events"], members: &[("events", T::List(&T::Ref("Event")), 54)] },
    Object { name: "Event", required: &["event", "port_id", "mac_address", "status"], members: &[
        ("event", T::Enum(&["network.bind_port", "network.unbind_port", "network.delete_port"]), 54), ("port_id", T::Uuid, 54),
        ("mac_address", T::Text, 54), ("status", T::Text, 54), ("device_id", T::NullUuid, 54),
        ("binding:host_id", T::NullUuid, 54), ("binding:vnic_type", T::NullText, 54),
    ] },

    Object { name: "Lookup", required: &["node", "config"], members: &[
        ("node", T::Ref("LookupNode"), 22), ("config", T::Ref("AgentConfig"), 22),
    ] },
    Object { name: "LookupNode", required: &["uuid"], members: &[
        ("uuid", T::Uuid, 22), ("properties", T::Dict, 22), ("instance_info", T::Dict, 22), ("driver_internal_info", T::Dict, 22),
        ("links", T::Ref("Links"), 22),
    ] },
    Object { name: "AgentConfig", required: &["heartbeat_timeout", "agent_token"], members: &[
        ("metrics", T::Ref("AgentMetrics"), 22), ("metrics_statsd", T::Ref("AgentStatsd"), 22), ("heartbeat_timeout", T::Int, 22),
        ("agent_token", T::NullText, 22), ("agent_token_required", T::Bool, 22), ("agent_md5_checksum_enable", T::Bool, 22),
        ("disable_deep_image_inspection", T::Bool, 22), ("permitted_image_formats", T::List(&T::Text), 22),
        ("agent_skip_bmc_detect", T::Bool, 22), ("agent_containers", T::Dict, 22),
        ("enable_bios_bootloader_install", T::Bool, 22), ("tls_min_version", T::NullText, 22), ("tls_cipher_suites", T::NullText, 22),
    ] },
    Object { name: "AgentMetrics", required: &[], members: &[
        ("backend", T::Text, 22), ("prepend_host", T::Bool, 22), ("prepend_uuid", T::Bool, 22), ("prepend_host_reverse", T::Bool, 22),
        ("global_prefix", T::NullText, 22),
    ] },
    Object { name: "AgentStatsd", required: &[], members: &[("statsd_host", T::Text, 22), ("statsd_port", T::Int, 22)] },
    Object { name: "HeartbeatRequest", required: &["callback_url"], members: &[
        ("callback_url", T::Text, 22), ("agent_version", T::NullText, 36), ("agent_token", T::NullText, 62),
        ("agent_verify_ca", T::NullText, 68), ("agent_status", T::NullText, 72), ("agent_status_message", T::NullText, 72),
    ] },
    Object { name: "InspectedNode", required: &["uuid"], members: &[("uuid", T::Uuid, 1)] },
];

/// Collections: name of the schema, of its list, of one item, first version.
#[rustfmt::skip]
pub const COLLECTIONS: &[(&str, &str, &str)] = &[
    ("Nodes", "nodes", "Node"),
    ("Ports", "ports", "Port"),
    ("Portgroups", "portgroups", "Portgroup"),
    ("ChassisList", "chassis", "Chassis"),
    ("Connectors", "connectors", "Connector"),
    ("Targets", "targets", "Target"),
    ("Conductors", "conductors", "Conductor"),
    ("Allocations", "allocations", "Allocation"),
    ("Templates", "deploy_templates", "Template"),
    ("Runbooks", "runbooks", "Runbook"),
    ("Rules", "inspection_rules", "Rule"),
];
