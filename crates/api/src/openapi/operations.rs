//! What each route takes and gives: one row per method.

use super::types::T;
use crate::versions::Method;

use Method::{Delete as D, Get as G, Patch as H, Post as P, Put as U};

/// One method of a route.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    pub path: &'static str,
    pub method: Method,
    pub summary: &'static str,
    pub query: &'static [Query],
    pub request: Option<T>,
    /// Status and body; no body when there is none.
    pub answers: &'static [(u16, Option<T>)],
}

/// One parameter of the query: name, type, first version.
pub type Query = (&'static str, T, u16);

const DIRECTION: T = T::Enum(&["asc", "desc"]);
const FIELDS: Query = ("fields", T::Text, 8);
const DETAIL: Query = ("detail", T::Bool, 43);
const NO_QUERY: &[Query] = &[];
#[rustfmt::skip]
const PAGE: &[Query] = &[
    ("limit", T::Int, 1), ("marker", T::Text, 1), ("sort_key", T::Text, 1), ("sort_dir", DIRECTION, 1),
];
#[rustfmt::skip]
const LIST: &[Query] = &[
    ("limit", T::Int, 1), ("marker", T::Text, 1), ("sort_key", T::Text, 1), ("sort_dir", DIRECTION, 1), FIELDS, DETAIL,
];
#[rustfmt::skip]
const NODES: &[Query] = &[
    ("limit", T::Int, 1), ("marker", T::Text, 1), ("sort_key", T::Text, 1), ("sort_dir", DIRECTION, 1), FIELDS, DETAIL,
    ("chassis_uuid", T::Uuid, 1), ("instance_uuid", T::Uuid, 1), ("associated", T::Bool, 1), ("maintenance", T::Bool, 1),
    ("retired", T::Bool, 1), ("provision_state", T::Text, 9), ("driver", T::Text, 16), ("resource_class", T::Text, 21),
    ("fault", T::Text, 42), ("conductor_group", T::Text, 46), ("conductor", T::Text, 49), ("owner", T::Text, 50),
    ("lessee", T::Text, 65), ("project", T::Text, 1), ("description_contains", T::Text, 1), ("shard", T::Text, 82),
    ("sharded", T::Bool, 82), ("include_children", T::Bool, 83), ("parent_node", T::Text, 83), ("instance_name", T::Text, 104),
];
#[rustfmt::skip]
const PORTS: &[Query] = &[
    ("limit", T::Int, 1), ("marker", T::Text, 1), ("sort_key", T::Text, 1), ("sort_dir", DIRECTION, 1), FIELDS, DETAIL,
    ("node", T::Text, 1), ("node_uuid", T::Uuid, 1), ("address", T::Text, 1), ("portgroup", T::Text, 24),
    ("shard", T::Text, 82), ("description_contains", T::Text, 97), ("conductor_groups", T::Text, 99),
];
#[rustfmt::skip]
const PORTGROUPS: &[Query] = &[
    ("limit", T::Int, 23), ("marker", T::Text, 23), ("sort_key", T::Text, 23), ("sort_dir", DIRECTION, 23), FIELDS, DETAIL,
    ("node", T::Text, 23), ("address", T::Text, 23), ("shard", T::Text, 106), ("conductor_groups", T::Text, 99),
];
#[rustfmt::skip]
const VOLUMES: &[Query] = &[
    ("limit", T::Int, 32), ("marker", T::Text, 32), ("sort_key", T::Text, 32), ("sort_dir", DIRECTION, 32), FIELDS,
    ("detail", T::Bool, 32), ("node", T::Text, 32),
];
#[rustfmt::skip]
const ALLOCATIONS: &[Query] = &[
    ("limit", T::Int, 52), ("marker", T::Text, 52), ("sort_key", T::Text, 52), ("sort_dir", DIRECTION, 52), FIELDS,
    ("node", T::Text, 52), ("resource_class", T::Text, 52), ("state", T::Text, 52), ("owner", T::Text, 60),
];
const ONE: &[Query] = &[FIELDS];

const EMPTY: &[(u16, Option<T>)] = &[(204, None)];
const ACCEPTED: &[(u16, Option<T>)] = &[(202, None)];

const fn op(
    method: Method,
    path: &'static str,
    summary: &'static str,
    query: &'static [Query],
    request: Option<T>,
    answers: &'static [(u16, Option<T>)],
) -> Operation {
    Operation {
        path,
        method,
        summary,
        query,
        request,
        answers,
    }
}

/// 200 with a body.
macro_rules! gives {
    ($kind:expr) => {
        &[(200, Some($kind))]
    };
}

const PATCH: Option<T> = Some(T::List(&T::Ref("PatchOperation")));
const PASSTHRU: &[(u16, Option<T>)] = &[(200, Some(T::Any)), (202, None), (204, None)];
const PASSTHRU_QUERY: &[Query] = &[("method", T::Text, 1)];

#[rustfmt::skip]
pub const OPERATIONS: &[Operation] = &[
    op(G, "/", "Versions of the API", NO_QUERY, None, gives!(T::Ref("Versions"))),
    op(G, "/v1", "Collections of this version", NO_QUERY, None, gives!(T::Ref("Root"))),
    op(G, "/v1/openapi.json", "This document", NO_QUERY, None, gives!(T::Dict)),

    op(G, "/v1/nodes", "Lists nodes", NODES, None, gives!(T::Ref("Nodes"))),
    op(P, "/v1/nodes", "Creates a node", NO_QUERY, Some(T::Ref("NodeCreate")), &[(201, Some(T::Ref("Node")))]),
    op(G, "/v1/nodes/detail", "Lists nodes with all their members", NODES, None, gives!(T::Ref("Nodes"))),
    op(G, "/v1/nodes/validate", "Validates the interfaces of a node",
        &[("node", T::Text, 1), ("node_uuid", T::Uuid, 1)], None, gives!(T::Map(&T::Ref("Validated")))),
    op(G, "/v1/nodes/{ident}", "Shows a node", ONE, None, gives!(T::Ref("Node"))),
    op(H, "/v1/nodes/{ident}", "Changes a node", &[("reset_interfaces", T::Bool, 45)], PATCH, gives!(T::Ref("Node"))),
    op(D, "/v1/nodes/{ident}", "Deletes a node", NO_QUERY, None, EMPTY),
    op(G, "/v1/nodes/{ident}/validate", "Validates the interfaces of a node", NO_QUERY, None,
        gives!(T::Map(&T::Ref("Validated")))),
    op(G, "/v1/nodes/{ident}/states", "Shows the states of a node", NO_QUERY, None, gives!(T::Ref("NodeStates"))),
    op(U, "/v1/nodes/{ident}/states/power", "Changes the power state", NO_QUERY, Some(T::Ref("PowerRequest")), ACCEPTED),
    op(U, "/v1/nodes/{ident}/states/provision", "Starts a change of the provision state", NO_QUERY,
        Some(T::Ref("ProvisionRequest")), ACCEPTED),
    op(U, "/v1/nodes/{ident}/states/raid", "Sets the wanted RAID configuration", NO_QUERY,
        Some(T::Or(&[T::Ref("RaidConfig"), T::Ref("Nothing")])), EMPTY),
    op(U, "/v1/nodes/{ident}/states/boot_mode", "Sets the boot mode", NO_QUERY, Some(T::Ref("BootModeRequest")), ACCEPTED),
    op(U, "/v1/nodes/{ident}/states/secure_boot", "Switches secure boot", NO_QUERY, Some(T::Ref("SecureBootRequest")), ACCEPTED),
    op(G, "/v1/nodes/{ident}/states/console", "Shows the console", NO_QUERY, None, gives!(T::Ref("Console"))),
    op(U, "/v1/nodes/{ident}/states/console", "Starts or stops the console", NO_QUERY, Some(T::Ref("ConsoleRequest")), ACCEPTED),
    op(U, "/v1/nodes/{ident}/maintenance", "Sets maintenance", NO_QUERY, Some(T::Ref("MaintenanceRequest")), ACCEPTED),
    op(D, "/v1/nodes/{ident}/maintenance", "Clears maintenance", NO_QUERY, None, ACCEPTED),
    op(G, "/v1/nodes/{ident}/management/boot_device", "Shows the boot device", NO_QUERY, None, gives!(T::Ref("BootDevice"))),
    op(U, "/v1/nodes/{ident}/management/boot_device", "Sets the boot device", NO_QUERY, Some(T::Ref("BootDeviceRequest")), EMPTY),
    op(G, "/v1/nodes/{ident}/management/boot_device/supported", "Lists boot devices", NO_QUERY, None, gives!(T::Ref("BootDevices"))),
    op(U, "/v1/nodes/{ident}/management/inject_nmi", "Sends a non-maskable interrupt", NO_QUERY, Some(T::Ref("Nothing")), EMPTY),
    op(G, "/v1/nodes/{ident}/management/indicators", "Lists indicators", NO_QUERY, None, gives!(T::Ref("Indicators"))),
    op(G, "/v1/nodes/{ident}/management/indicators/{indicator}", "Shows an indicator", NO_QUERY, None, gives!(T::Ref("IndicatorState"))),
    op(U, "/v1/nodes/{ident}/management/indicators/{indicator}", "Sets an indicator", NO_QUERY, Some(T::Ref("IndicatorRequest")), EMPTY),
    op(G, "/v1/nodes/{ident}/vendor_passthru/methods", "Lists the vendor's methods", NO_QUERY, None, gives!(T::Map(&T::Ref("PassthruMethod")))),
    op(G, "/v1/nodes/{ident}/vendor_passthru/{method}", "Calls a vendor's method", PASSTHRU_QUERY, None, PASSTHRU),
    op(P, "/v1/nodes/{ident}/vendor_passthru/{method}", "Calls a vendor's method", PASSTHRU_QUERY, Some(T::Dict), PASSTHRU),
    op(U, "/v1/nodes/{ident}/vendor_passthru/{method}", "Calls a vendor's method", PASSTHRU_QUERY, Some(T::Dict), PASSTHRU),
    op(H, "/v1/nodes/{ident}/vendor_passthru/{method}", "Calls a vendor's method", PASSTHRU_QUERY, Some(T::Dict), PASSTHRU),
    op(D, "/v1/nodes/{ident}/vendor_passthru/{method}", "Calls a vendor's method", PASSTHRU_QUERY, None, PASSTHRU),
    op(G, "/v1/nodes/{ident}/vendor_passthru", "Calls a vendor's method", PASSTHRU_QUERY, None, PASSTHRU),
    op(P, "/v1/nodes/{ident}/vendor_passthru", "Calls a vendor's method", PASSTHRU_QUERY, Some(T::Dict), PASSTHRU),
    op(U, "/v1/nodes/{ident}/vendor_passthru", "Calls a vendor's method", PASSTHRU_QUERY, Some(T::Dict), PASSTHRU),
    op(H, "/v1/nodes/{ident}/vendor_passthru", "Calls a vendor's method", PASSTHRU_QUERY, Some(T::Dict), PASSTHRU),
    op(D, "/v1/nodes/{ident}/vendor_passthru", "Calls a vendor's method", PASSTHRU_QUERY, None, PASSTHRU),
    op(P, "/v1/nodes/{ident}/vendor_passthru/methods", "Calls a vendor's method", PASSTHRU_QUERY, Some(T::Dict), PASSTHRU),
    op(U, "/v1/nodes/{ident}/vendor_passthru/methods", "Calls a vendor's method", PASSTHRU_QUERY, Some(T::Dict), PASSTHRU),
    op(H, "/v1/nodes/{ident}/vendor_passthru/methods", "Calls a vendor's method", PASSTHRU_QUERY, Some(T::Dict), PASSTHRU),
    op(D, "/v1/nodes/{ident}/vendor_passthru/methods", "Calls a vendor's method", PASSTHRU_QUERY, None, PASSTHRU),
    op(G, "/v1/nodes/{ident}/traits", "Lists traits", NO_QUERY, None, gives!(T::Ref("Traits"))),
    op(U, "/v1/nodes/{ident}/traits", "Replaces all traits", NO_QUERY, Some(T::Ref("TraitsRequest")), EMPTY),
    op(D, "/v1/nodes/{ident}/traits", "Removes all traits", NO_QUERY, None, EMPTY),
    op(U, "/v1/nodes/{ident}/traits/{trait}", "Adds a trait", NO_QUERY, Some(T::Ref("Nothing")), EMPTY),
    op(D, "/v1/nodes/{ident}/traits/{trait}", "Removes a trait", NO_QUERY, None, EMPTY),
    op(G, "/v1/nodes/{ident}/vifs", "Lists attached VIFs", NO_QUERY, None, gives!(T::Ref("Vifs"))),
    op(P, "/v1/nodes/{ident}/vifs", "Attaches a VIF", NO_QUERY, Some(T::Ref("VifRequest")), EMPTY),
    op(D, "/v1/nodes/{ident}/vifs/{vif}", "Detaches a VIF", NO_QUERY, None, EMPTY),
    op(G, "/v1/nodes/{ident}/ports", "Lists ports of a node", PORTS, None, gives!(T::Ref("Ports"))),
    op(G, "/v1/nodes/{ident}/ports/detail", "Lists ports of a node with all their members", PORTS, None, gives!(T::Ref("Ports"))),
    op(G, "/v1/nodes/{ident}/portgroups", "Lists port groups of a node", PORTGROUPS, None, gives!(T::Ref("Portgroups"))),
    op(G, "/v1/nodes/{ident}/portgroups/detail", "Lists port groups of a node with all their members", PORTGROUPS, None, gives!(T::Ref("Portgroups"))),
    op(G, "/v1/nodes/{ident}/portgroups/{portgroup}/ports", "Lists ports of a port group", PORTS, None, gives!(T::Ref("Ports"))),
    op(G, "/v1/nodes/{ident}/volume", "Links to connectors and targets", NO_QUERY, None, gives!(T::Ref("Volume"))),
    op(G, "/v1/nodes/{ident}/volume/connectors", "Lists volume connectors of a node", VOLUMES, None, gives!(T::Ref("Connectors"))),
    op(G, "/v1/nodes/{ident}/volume/targets", "Lists volume targets of a node", VOLUMES, None, gives!(T::Ref("Targets"))),
    op(G, "/v1/nodes/{ident}/bios", "Lists BIOS settings", &[("detail", T::Bool, 74), ("fields", T::Text, 74)], None, gives!(T::Ref("BiosSettings"))),
    op(G, "/v1/nodes/{ident}/bios/{setting}", "Shows a BIOS setting", NO_QUERY, None, gives!(T::Map(&T::Ref("BiosSetting")))),
    op(G, "/v1/nodes/{ident}/firmware", "Lists firmware components", NO_QUERY, None, gives!(T::Ref("Firmware"))),
    op(G, "/v1/nodes/{ident}/allocation", "Shows the allocation of a node", ONE, None, gives!(T::Ref("Allocation"))),
    op(D, "/v1/nodes/{ident}/allocation", "Deletes the allocation of a node", NO_QUERY, None, EMPTY),
    op(G, "/v1/nodes/{ident}/history", "Lists what happened to a node", LIST, None, gives!(T::Ref("History"))),
    op(G, "/v1/nodes/{ident}/history/{event}", "Shows one event", NO_QUERY, None, gives!(T::Ref("HistoryEvent"))),
    op(G, "/v1/nodes/{ident}/inventory", "Shows what inspection found", NO_QUERY, None, gives!(T::Ref("Inventory"))),
    op(G, "/v1/nodes/{ident}/children", "Lists child nodes", NO_QUERY, None, gives!(T::Ref("Children"))),
    op(G, "/v1/nodes/{ident}/vmedia", "Lists virtual media", NO_QUERY, None, gives!(T::List(&T::Ref("VirtualMedia")))),
    op(P, "/v1/nodes/{ident}/vmedia", "Attaches virtual media", NO_QUERY, Some(T::Ref("VmediaRequest")), EMPTY),
    op(D, "/v1/nodes/{ident}/vmedia", "Detaches virtual media", &[("device_types", T::Text, 89)], None, EMPTY),
    op(G, "/v1/nodes/{ident}/timeline", "Lists what all parts of the service saw of a node",
        &[("after", T::Int, 1), ("limit", T::Int, 1)], None, gives!(T::Ref("Timeline"))),
    op(G, "/v1/nodes/{ident}/timeline/stream", "Follows what all parts of the service see of a node, as Server-Sent Events",
        &[("after", T::Int, 1), ("limit", T::Int, 1)], None, gives!(T::Text)),

    op(G, "/v1/ports", "Lists ports", PORTS, None, gives!(T::Ref("Ports"))),
    op(P, "/v1/ports", "Creates a port", NO_QUERY, Some(T::Ref("PortCreate")), &[(201, Some(T::Ref("Port")))]),
    op(G, "/v1/ports/detail", "Lists ports with all their members", PORTS, None, gives!(T::Ref("Ports"))),
    op(G, "/v1/ports/{port}", "Shows a port", ONE, None, gives!(T::Ref("Port"))),
    op(H, "/v1/ports/{port}", "Changes a port", NO_QUERY, PATCH, gives!(T::Ref("Port"))),
    op(D, "/v1/ports/{port}", "Deletes a port", NO_QUERY, None, EMPTY),
    op(G, "/v1/portgroups", "Lists port groups", PORTGROUPS, None, gives!(T::Ref("Portgroups"))),
    op(P, "/v1/portgroups", "Creates a port group", NO_QUERY, Some(T::Ref("PortgroupCreate")), &[(201, Some(T::Ref("Portgroup")))]),
    op(G, "/v1/portgroups/detail", "Lists port groups with all their members", PORTGROUPS, None, gives!(T::Ref("Portgroups"))),
    op(G, "/v1/portgroups/{portgroup}", "Shows a port group", ONE, None, gives!(T::Ref("Portgroup"))),
    op(H, "/v1/portgroups/{portgroup}", "Changes a port group", NO_QUERY, PATCH, gives!(T::Ref("Portgroup"))),
    op(D, "/v1/portgroups/{portgroup}", "Deletes a port group", NO_QUERY, None, EMPTY),
    op(G, "/v1/portgroups/{portgroup}/ports", "Lists ports of a port group", PORTS, None, gives!(T::Ref("Ports"))),
    op(G, "/v1/portgroups/{portgroup}/ports/detail", "Lists ports of a port group with all their members", PORTS, None, gives!(T::Ref("Ports"))),

    op(G, "/v1/chassis", "Lists chassis", LIST, None, gives!(T::Ref("ChassisList"))),
    op(P, "/v1/chassis", "Creates a chassis", NO_QUERY, Some(T::Ref("ChassisCreate")), &[(201, Some(T::Ref("Chassis")))]),
    op(G, "/v1/chassis/detail", "Lists chassis with all their members", LIST, None, gives!(T::Ref("ChassisList"))),
    op(G, "/v1/chassis/{chassis}", "Shows a chassis", ONE, None, gives!(T::Ref("Chassis"))),
    op(H, "/v1/chassis/{chassis}", "Changes a chassis", NO_QUERY, PATCH, gives!(T::Ref("Chassis"))),
    op(D, "/v1/chassis/{chassis}", "Deletes a chassis", NO_QUERY, None, EMPTY),
    op(G, "/v1/chassis/{chassis}/nodes", "Lists nodes of a chassis", NODES, None, gives!(T::Ref("Nodes"))),
    op(G, "/v1/chassis/{chassis}/nodes/detail", "Lists nodes of a chassis with all their members", NODES, None, gives!(T::Ref("Nodes"))),

    op(G, "/v1/volume", "Links to connectors and targets", NO_QUERY, None, gives!(T::Ref("Volume"))),
    op(G, "/v1/volume/connectors", "Lists volume connectors", VOLUMES, None, gives!(T::Ref("Connectors"))),
    op(P, "/v1/volume/connectors", "Creates a volume connector", NO_QUERY, Some(T::Ref("ConnectorCreate")), &[(201, Some(T::Ref("Connector")))]),
    op(G, "/v1/volume/connectors/{connector}", "Shows a volume connector", ONE, None, gives!(T::Ref("Connector"))),
    op(H, "/v1/volume/connectors/{connector}", "Changes a volume connector", NO_QUERY, PATCH, gives!(T::Ref("Connector"))),
    op(D, "/v1/volume/connectors/{connector}", "Deletes a volume connector", NO_QUERY, None, EMPTY),
    op(G, "/v1/volume/targets", "Lists volume targets", VOLUMES, None, gives!(T::Ref("Targets"))),
    op(P, "/v1/volume/targets", "Creates a volume target", NO_QUERY, Some(T::Ref("TargetCreate")), &[(201, Some(T::Ref("Target")))]),
    op(G, "/v1/volume/targets/{target}", "Shows a volume target", ONE, None, gives!(T::Ref("Target"))),
    op(H, "/v1/volume/targets/{target}", "Changes a volume target", NO_QUERY, PATCH, gives!(T::Ref("Target"))),
    op(D, "/v1/volume/targets/{target}", "Deletes a volume target", NO_QUERY, None, EMPTY),

    op(G, "/v1/drivers", "Lists hardware types",
        &[("type", T::Enum(&["classic", "dynamic"]), 30), ("detail", T::Bool, 30), ("fields", T::Text, 77)], None, gives!(T::Ref("Drivers"))),
    op(G, "/v1/drivers/{driver}", "Shows a hardware type", &[("fields", T::Text, 77)], None, gives!(T::Ref("Driver"))),
    op(G, "/v1/drivers/{driver}/properties", "Lists what goes into driver_info", NO_QUERY, None, gives!(T::TextDict)),
    op(G, "/v1/drivers/{driver}/raid/logical_disk_properties", "Lists properties of logical disks", NO_QUERY, None, gives!(T::TextDict)),
    op(G, "/v1/drivers/{driver}/vendor_passthru/methods", "Lists the vendor's methods", NO_QUERY, None, gives!(T::Map(&T::Ref("PassthruMethod")))),
    op(G, "/v1/drivers/{driver}/vendor_passthru/{method}", "Calls a vendor's method", PASSTHRU_QUERY, None, PASSTHRU),
    op(P, "/v1/drivers/{driver}/vendor_passthru/{method}", "Calls a vendor's method", PASSTHRU_QUERY, Some(T::Dict), PASSTHRU),
    op(U, "/v1/drivers/{driver}/vendor_passthru/{method}", "Calls a vendor's method", PASSTHRU_QUERY, Some(T::Dict), PASSTHRU),
    op(H, "/v1/drivers/{driver}/vendor_passthru/{method}", "Calls a vendor's method", PASSTHRU_QUERY, Some(T::Dict), PASSTHRU),
    op(D, "/v1/drivers/{driver}/vendor_passthru/{method}", "Calls a vendor's method", PASSTHRU_QUERY, None, PASSTHRU),
    op(G, "/v1/drivers/{driver}/vendor_passthru", "Calls a vendor's method", PASSTHRU_QUERY, None, PASSTHRU),
    op(P, "/v1/drivers/{driver}/vendor_passthru", "Calls a vendor's method", PASSTHRU_QUERY, Some(T::Dict), PASSTHRU),
    op(U, "/v1/drivers/{driver}/vendor_passthru", "Calls a vendor's method", PASSTHRU_QUERY, Some(T::Dict), PASSTHRU),
    op(H, "/v1/drivers/{driver}/vendor_passthru", "Calls a vendor's method", PASSTHRU_QUERY, Some(T::Dict), PASSTHRU),
    op(D, "/v1/drivers/{driver}/vendor_passthru", "Calls a vendor's method", PASSTHRU_QUERY, None, PASSTHRU),
    op(P, "/v1/drivers/{driver}/vendor_passthru/methods", "Calls a vendor's method", PASSTHRU_QUERY, Some(T::Dict), PASSTHRU),
    op(U, "/v1/drivers/{driver}/vendor_passthru/methods", "Calls a vendor's method", PASSTHRU_QUERY, Some(T::Dict), PASSTHRU),
    op(H, "/v1/drivers/{driver}/vendor_passthru/methods", "Calls a vendor's method", PASSTHRU_QUERY, Some(T::Dict), PASSTHRU),
    op(D, "/v1/drivers/{driver}/vendor_passthru/methods", "Calls a vendor's method", PASSTHRU_QUERY, None, PASSTHRU),

    op(G, "/v1/conductors", "Lists conductors", LIST, None, gives!(T::Ref("Conductors"))),
    op(G, "/v1/conductors/{hostname}", "Shows a conductor", ONE, None, gives!(T::Ref("Conductor"))),

    op(G, "/v1/allocations", "Lists allocations", ALLOCATIONS, None, gives!(T::Ref("Allocations"))),
    op(P, "/v1/allocations", "Creates an allocation", NO_QUERY, Some(T::Ref("AllocationCreate")), &[(201, Some(T::Ref("Allocation")))]),
    op(G, "/v1/allocations/{allocation}", "Shows an allocation", ONE, None, gives!(T::Ref("Allocation"))),
    op(D, "/v1/allocations/{allocation}", "Deletes an allocation", NO_QUERY, None, EMPTY),
    op(H, "/v1/allocations/{allocation}", "Changes an allocation", NO_QUERY, PATCH, gives!(T::Ref("Allocation"))),
    op(G, "/v1/deploy_templates", "Lists deploy templates", LIST, None, gives!(T::Ref("Templates"))),
    op(P, "/v1/deploy_templates", "Creates a deploy template", NO_QUERY, Some(T::Ref("TemplateCreate")), &[(201, Some(T::Ref("Template")))]),
    op(G, "/v1/deploy_templates/{template}", "Shows a deploy template", ONE, None, gives!(T::Ref("Template"))),
    op(H, "/v1/deploy_templates/{template}", "Changes a deploy template", NO_QUERY, PATCH, gives!(T::Ref("Template"))),
    op(D, "/v1/deploy_templates/{template}", "Deletes a deploy template", NO_QUERY, None, EMPTY),
    op(G, "/v1/runbooks", "Lists runbooks", LIST, None, gives!(T::Ref("Runbooks"))),
    op(P, "/v1/runbooks", "Creates a runbook", NO_QUERY, Some(T::Ref("RunbookCreate")), &[(201, Some(T::Ref("Runbook")))]),
    op(G, "/v1/runbooks/{runbook}", "Shows a runbook", ONE, None, gives!(T::Ref("Runbook"))),
    op(H, "/v1/runbooks/{runbook}", "Changes a runbook", NO_QUERY, PATCH, gives!(T::Ref("Runbook"))),
    op(D, "/v1/runbooks/{runbook}", "Deletes a runbook", NO_QUERY, None, EMPTY),
    op(G, "/v1/runbooks/{runbook}/traits", "Lists traits of a runbook", NO_QUERY, None, gives!(T::Ref("Traits"))),
    op(U, "/v1/runbooks/{runbook}/traits", "Replaces all traits of a runbook", NO_QUERY, Some(T::Ref("TraitsRequest")), EMPTY),
    op(D, "/v1/runbooks/{runbook}/traits", "Removes all traits of a runbook", NO_QUERY, None, EMPTY),
    op(U, "/v1/runbooks/{runbook}/traits/{trait}", "Adds a trait to a runbook", NO_QUERY, Some(T::Ref("Nothing")), EMPTY),
    op(D, "/v1/runbooks/{runbook}/traits/{trait}", "Removes a trait from a runbook", NO_QUERY, None, EMPTY),
    op(G, "/v1/inspection_rules", "Lists inspection rules",
        &[("limit", T::Int, 96), ("marker", T::Text, 96), ("sort_key", T::Text, 96), ("sort_dir", DIRECTION, 96),
          FIELDS, DETAIL, ("phase", T::Text, 96)], None, gives!(T::Ref("Rules"))),
    op(P, "/v1/inspection_rules", "Creates an inspection rule", NO_QUERY, Some(T::Ref("RuleCreate")), &[(201, Some(T::Ref("Rule")))]),
    op(G, "/v1/inspection_rules/{rule}", "Shows an inspection rule", ONE, None, gives!(T::Ref("Rule"))),
    op(H, "/v1/inspection_rules/{rule}", "Changes an inspection rule", NO_QUERY, PATCH, gives!(T::Ref("Rule"))),
    op(D, "/v1/inspection_rules/{rule}", "Deletes an inspection rule", NO_QUERY, None, EMPTY),
    op(G, "/v1/shards", "Counts nodes per shard", PAGE, None, gives!(T::Ref("Shards"))),
    op(P, "/v1/events", "Takes events of the network service", NO_QUERY, Some(T::Ref("EventsRequest")), EMPTY),

    op(G, "/v1/lookup", "Finds the node that an agent runs on",
        &[("addresses", T::Text, 22), ("node_uuid", T::Uuid, 22)], None, gives!(T::Ref("Lookup"))),
    op(P, "/v1/heartbeat/{ident}", "Takes an agent's heartbeat", NO_QUERY, Some(T::Ref("HeartbeatRequest")), ACCEPTED),
    op(P, "/v1/continue_inspection", "Takes what an agent found at inspection", &[("node_uuid", T::Uuid, 84)],
        Some(T::Dict), &[(202, Some(T::Or(&[T::Ref("InspectedNode"), T::Ref("Lookup")])))]),
];
