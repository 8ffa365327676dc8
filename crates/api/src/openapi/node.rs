//! Schemas of nodes and what hangs below them.

use bessemer_model::NodeField;

use super::types::{F, Object, T};
use crate::versions::node_field_since;

/// Type of a node's field in answers.
pub fn node_field(field: NodeField) -> T {
    match field.name() {
        "uuid" => T::Uuid,
        "allocation_uuid" | "chassis_uuid" | "instance_uuid" => T::NullUuid,
        "created_at" => T::Time,
        "updated_at"
        | "inspection_finished_at"
        | "inspection_started_at"
        | "provision_updated_at" => T::NullTime,
        "console_enabled" | "maintenance" | "protected" => T::Bool,
        // null after a patch has removed it
        "retired" => T::NullBool,
        "automated_clean" | "secure_boot" | "disable_power_off" => T::NullBool,
        "clean_step"
        | "deploy_step"
        | "service_step"
        | "driver_info"
        | "driver_internal_info"
        | "extra"
        | "instance_info"
        | "properties"
        | "raid_config"
        | "target_raid_config"
        | "network_data" => T::Dict,
        "traits" => T::List(&T::Text),
        "links" | "ports" | "portgroups" | "states" | "volume" => T::Ref("Links"),
        _ => T::NullText,
    }
}

/// All members of a node with their versions, from the table of versions.
pub fn node_members() -> Vec<F> {
    NodeField::ALL
        .iter()
        .map(|field| (field.name(), node_field(*field), node_field_since(*field)))
        .collect()
}

const VERBS: &[&str] = &[
    "active", "rebuild", "deleted", "deploy", "undeploy", "manage", "provide", "inspect", "abort",
    "clean", "adopt", "rescue", "unrescue", "unhold", "service",
];
const BOOT_DEVICES: &[&str] = &[
    "pxe",
    "disk",
    "cdrom",
    "bios",
    "safe",
    "wanboot",
    "ramdisk",
    "floppy",
    "uefi_http",
];
const NO_ORDER: T = T::Or(&[T::Int, T::Text]);

#[rustfmt::skip]
pub const OBJECTS: &[Object] = &[
    Object { name: "NodeCreate", required: &["driver"], members: &[
        ("driver", T::Text, 1), ("uuid", T::NullUuid, 1), ("chassis_uuid", T::NullUuid, 1),
        ("driver_info", T::NullDict, 1), ("extra", T::NullDict, 1), ("properties", T::NullDict, 1),
        ("instance_info", T::NullDict, 1), ("instance_uuid", T::NullUuid, 1), ("maintenance", T::Flag, 1),
        ("console_enabled", T::Flag, 1), ("name", T::NullText, 5), ("network_interface", T::NullText, 20),
        ("resource_class", T::Short(80), 21), ("bios_interface", T::NullText, 40), ("boot_interface", T::NullText, 31),
        ("console_interface", T::NullText, 31), ("deploy_interface", T::NullText, 31),
        ("firmware_interface", T::NullText, 86), ("inspect_interface", T::NullText, 31),
        ("management_interface", T::NullText, 31), ("power_interface", T::NullText, 31),
        ("raid_interface", T::NullText, 31), ("rescue_interface", T::NullText, 38),
        ("storage_interface", T::NullText, 33), ("vendor_interface", T::NullText, 31),
        ("conductor_group", T::Short(255), 46), ("automated_clean", T::Flag, 47), ("protected", T::Flag, 48),
        ("protected_reason", T::NullText, 48), ("owner", T::Short(255), 50), ("description", T::Short(4096), 51),
        ("retired", T::Flag, 61), ("retired_reason", T::NullText, 61), ("lessee", T::Short(255), 65),
        ("network_data", T::NullDict, 66), ("shard", T::Short(255), 82), ("parent_node", T::NullText, 83),
        ("disable_power_off", T::Flag, 95), ("instance_name", T::Short(255), 104),
    ] },
    Object { name: "NodeStates", required: &[], members: &[
        ("power_state", T::NullText, 1), ("provision_state", T::NullText, 1), ("provision_updated_at", T::NullTime, 1),
        ("target_power_state", T::NullText, 1), ("target_provision_state", T::NullText, 1), ("last_error", T::NullText, 1),
        ("console_enabled", T::Bool, 1), ("raid_config", T::Dict, 12), ("target_raid_config", T::Dict, 12),
        ("boot_mode", T::NullText, 75), ("secure_boot", T::NullBool, 75),
    ] },
    Object { name: "PowerRequest", required: &["target"], members: &[
        ("target", T::Enum(&["power on", "power off", "rebooting", "soft power off", "soft rebooting"]), 1),
        ("timeout", T::NullInt, 27),
    ] },
    Object { name: "ProvisionRequest", required: &["target"], members: &[
        ("target", T::Enum(VERBS), 1), ("configdrive", T::Or(&[T::Text, T::NullRef("ConfigDrive")]), 1),
        ("clean_steps", T::NullList(&T::Ref("CleanStep")), 15), ("deploy_steps", T::NullList(&T::Ref("DeployStep")), 69),
        ("service_steps", T::NullList(&T::Ref("CleanStep")), 87), ("rescue_password", T::NullText, 38),
        ("disable_ramdisk", T::NullBool, 70), ("runbook", T::NullText, 92),
    ] },
    Object { name: "ConfigDrive", required: &[], members: &[
        ("meta_data", T::Dict, 56), ("network_data", T::Dict, 56),
        ("user_data", T::Or(&[T::Text, T::Dict, T::List(&T::Any)]), 56), ("vendor_data", T::Dict, 59),
    ] },
    Object { name: "CleanStep", required: &["interface", "step"], members: &[
        ("interface", T::Enum(&["vendor", "power", "management", "firmware", "deploy", "bios", "raid"]), 15),
        ("step", T::Text, 15), ("args", T::Dict, 15), ("order", NO_ORDER, 15), ("execute_on_child_nodes", T::Bool, 15),
        ("limit_child_node_execution", T::List(&T::Any), 15),
    ] },
    Object { name: "DeployStep", required: &["interface", "step", "args", "priority"], members: &[
        ("interface", T::Text, 55), ("step", T::Text, 55), ("args", T::Dict, 55), ("priority", NO_ORDER, 55),
    ] },
    Object { name: "RaidConfig", required: &["logical_disks"], members: &[
        ("logical_disks", T::List(&T::Ref("LogicalDisk")), 12),
    ] },
    Object { name: "LogicalDisk", required: &["raid_level", "size_gb"], members: &[
        ("raid_level", T::Text, 12), ("size_gb", T::Or(&[T::Int, T::Enum(&["MAX"])]), 12), ("is_root_volume", T::Bool, 12),
        ("volume_name", T::Text, 12), ("share_physical_disks", T::Bool, 12), ("disk_type", T::Text, 12),
        ("interface_type", T::Text, 12), ("number_of_physical_disks", T::Int, 12), ("controller", T::Text, 12),
        ("physical_disks", T::List(&T::Any), 12),
    ] },
    Object { name: "BootModeRequest", required: &["target"], members: &[("target", T::Enum(&["uefi", "bios"]), 76)] },
    Object { name: "SecureBootRequest", required: &["target"], members: &[("target", T::Flag, 76)] },
    Object { name: "Console", required: &["console_enabled", "console_info"], members: &[
        ("console_enabled", T::Bool, 1), ("console_info", T::NullDict, 1),
    ] },
    Object { name: "ConsoleRequest", required: &["enabled"], members: &[("enabled", T::Flag, 1)] },
    Object { name: "MaintenanceRequest", required: &[], members: &[("reason", T::NullText, 1)] },
    Object { name: "BootDevice", required: &["boot_device", "persistent"], members: &[
        ("boot_device", T::NullText, 1), ("persistent", T::NullBool, 1),
    ] },
    Object { name: "BootDeviceRequest", required: &["boot_device"], members: &[
        ("boot_device", T::Enum(BOOT_DEVICES), 1), ("persistent", T::Flag, 1),
    ] },
    Object { name: "BootDevices", required: &["supported_boot_devices"], members: &[
        ("supported_boot_devices", T::List(&T::Text), 1),
    ] },
    Object { name: "Indicator", required: &[], members: &[
        ("name", T::Text, 63), ("component", T::Text, 63), ("readonly", T::Bool, 63), ("states", T::List(&T::Text), 63),
        ("links", T::Ref("Links"), 63),
    ] },
    Object { name: "Indicators", required: &["indicators"], members: &[("indicators", T::List(&T::Ref("Indicator")), 63)] },
    Object { name: "IndicatorState", required: &["state"], members: &[("state", T::NullText, 63)] },
    Object { name: "IndicatorRequest", required: &["state"], members: &[
        ("state", T::Enum(&["on", "off", "blinking", "unknown"]), 63),
    ] },
    Object { name: "Validated", required: &["result"], members: &[("result", T::NullBool, 1), ("reason", T::NullText, 1)] },
    Object { name: "Traits", required: &["traits"], members: &[("traits", T::List(&T::Text), 37)] },
    Object { name: "TraitsRequest", required: &["traits"], members: &[("traits", T::List(&T::Text), 37)] },
    Object { name: "Vif", required: &["id"], members: &[("id", T::Text, 28)] },
    Object { name: "Vifs", required: &["vifs"], members: &[("vifs", T::List(&T::Ref("Vif")), 28)] },
    Object { name: "BiosSetting", required: &[], members: &[
        ("created_at", T::Time, 40), ("updated_at", T::NullTime, 40), ("name", T::Text, 40), ("value", T::NullText, 40),
        ("links", T::Ref("Links"), 40), ("attribute_type", T::NullText, 74),
        ("allowable_values", T::NullList(&T::NullText), 74), ("lower_bound", T::NullInt, 74), ("max_length", T::NullInt, 74),
        ("min_length", T::NullInt, 74), ("read_only", T::NullBool, 74), ("reset_required", T::NullBool, 74),
        ("unique", T::NullBool, 74), ("upper_bound", T::NullInt, 74),
    ] },
    Object { name: "BiosSettings", required: &["bios"], members: &[("bios", T::List(&T::Ref("BiosSetting")), 40)] },
    Object { name: "FirmwareComponent", required: &[], members: &[
        ("created_at", T::Time, 86), ("updated_at", T::NullTime, 86), ("component", T::Text, 86),
        ("initial_version", T::NullText, 86), ("current_version", T::NullText, 86), ("last_version_flashed", T::NullText, 86),
        ("vendor", T::NullText, 114), ("model", T::NullText, 114), ("serial_number", T::NullText, 114),
    ] },
    Object { name: "Firmware", required: &["firmware"], members: &[("firmware", T::List(&T::Ref("FirmwareComponent")), 86)] },
    Object { name: "HistoryEvent", required: &[], members: &[
        ("uuid", T::Uuid, 78), ("created_at", T::Time, 78), ("severity", T::NullText, 78), ("event", T::NullText, 78),
        ("event_type", T::NullText, 78), ("conductor", T::NullText, 78), ("user", T::NullText, 78), ("links", T::Ref("Links"), 78),
        ("project", T::NullText, 113), ("state", T::NullText, 115), ("target_provision_state", T::NullText, 115),
        ("duration_seconds", T::NullNumber, 115),
    ] },
    Object { name: "History", required: &["history"], members: &[
        ("history", T::List(&T::Ref("HistoryEvent")), 78), ("next", T::Text, 78),
    ] },
    Object { name: "Inventory", required: &["inventory", "plugin_data"], members: &[
        ("inventory", T::NullDict, 81), ("plugin_data", T::NullDict, 81),
    ] },
    Object { name: "Children", required: &["children"], members: &[
        ("children", T::List(&T::Uuid), 83), ("links", T::Or(&[T::Ref("Link"), T::Ref("Links"), T::Dict]), 83),
    ] },
    Object { name: "VmediaRequest", required: &["device_type", "image_url"], members: &[
        ("device_type", T::Enum(&["cdrom", "disk", "floppy"]), 89), ("image_url", T::Text, 89),
        ("image_download_source", T::Enum(&["http", "local", "swift"]), 89),
    ] },
    Object { name: "VirtualMedia", required: &[], members: &[
        ("image_url", T::NullText, 93), ("inserted", T::NullBool, 93), ("media_types", T::NullList(&T::Text), 93),
        ("name", T::NullText, 93), ("identity", T::NullText, 93), ("image_name", T::NullText, 93),
    ] },
    Object { name: "Timeline", required: &["timeline", "operation", "explanation"], members: &[
        ("timeline", T::List(&T::Ref("TimelineEvent")), 1), ("operation", T::NullRef("OpenOperation"), 1),
        ("explanation", T::NullText, 1),
    ] },
    Object { name: "OpenOperation", required: &["flow", "phase", "status", "created_at"], members: &[
        ("flow", T::Text, 1), ("phase", T::Text, 1), ("status", T::Enum(&["ready", "running", "waiting"]), 1),
        ("reason", T::NullText, 1), ("deadline_at", T::NullTime, 1), ("created_at", T::Time, 1), ("conductor", T::NullText, 1),
        ("steps", T::NullDict, 1), ("progress", T::NullRef("StepProgress"), 1),
    ] },
    Object { name: "StepProgress", required: &["stage", "done_bytes", "total_bytes", "rate"], members: &[
        ("stage", T::Text, 1), ("done_bytes", T::Int, 1), ("total_bytes", T::Int, 1), ("rate", T::Int, 1),
        ("at", T::NullTime, 1), ("estimated_end", T::NullTime, 1),
    ] },
    Object { name: "TimelineEvent", required: &["id", "at", "source", "text", "data"], members: &[
        ("id", T::Int, 1), ("at", T::Time, 1), ("source", T::Text, 1), ("text", T::Text, 1), ("data", T::NullDict, 1),
    ] },
    Object { name: "PassthruMethod", required: &[], members: &[
        ("async", T::Bool, 1), ("attach", T::Bool, 1), ("description", T::Text, 1), ("http_methods", T::List(&T::Text), 1),
        ("require_exclusive_lock", T::Bool, 1),
    ] },
];
