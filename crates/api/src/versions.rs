//! The table of the API: every route with its methods, the version that each came in, what older clients
//! see, and who may call it; and the versions of the nodes' fields.
//!
//! The router is built only by walking [`ROUTES`]; 404, 405 (with `Allow`), 406 and `docs/compat/endpoints.md`
//! come from the same walk. To add a microversion: raise [`MAX_MINOR`], add or change rows here, handle it in
//! the resource's file, and say in `compat.rs` what it brings.

use std::future::Future;
use std::pin::Pin;

use bessemer_model::NodeField;

use crate::call::{Call, Outcome};
use crate::{
    allocations, bios, boot_mode, chassis, children, conductors, console, deploy_templates,
    drivers, events, firmware, healthcheck, history, indicators, inspection, inspection_rules,
    inventory, maintenance, management, node_create, node_delete, node_patch, nodes, openapi,
    portgroups, portgroups_write, ports, ports_write, power, provision, raid, ramdisk, root,
    runbooks, shards, states, timeline, traits, validate, vendor_passthru, vifs, vmedia, volume,
    volume_connectors, volume_targets,
};

/// Oldest and newest version: 1.1 and 1.115.
pub const MIN_MINOR: u16 = 1;
pub const MAX_MINOR: u16 = 115;

/// An HTTP method that routes can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    Delete,
    Get,
    Patch,
    Post,
    Put,
}

impl Method {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// What a client sees that asks at an older version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Below {
    /// 404 from the resource.
    NotFound,
    /// 404 from the resource that says so.
    Unsupported,
    /// 404 from the resource that names the version.
    NotYet,
    /// 404 from the resource that names the shards.
    NoShards,
    /// 404 as for an unknown path.
    Unrouted,
    /// 404 as for an unknown path below 1.89, when nothing was there, 404 from the resource from then on.
    Unreadable,
    /// 406
    NotAcceptable,
    /// 404 or 405 of the resource with this sentence.
    Says(u16, &'static str),
    /// The same, said by the router.
    RouterSays(u16, &'static str),
}

impl Below {
    const NO_TRAITS: Self = Self::RouterSays(405, "");
    const NO_ALLOCATIONS: Self = Self::Says(404, "The API version does not allow allocations");
    const NO_ALLOCATION_WRITES: Self =
        Self::Says(405, "The API version does not allow allocations");
    const NO_ALLOCATION_UPDATES: Self =
        Self::Says(405, "The API version does not allow updating allocations");
    const NO_NODE_ALLOCATION: Self = Self::Unrouted;
    const NO_TEMPLATES: Self =
        Self::RouterSays(404, "The API version does not allow deploy templates");
    const NO_TEMPLATE_WRITES: Self =
        Self::RouterSays(405, "The API version does not allow deploy templates");
    const NO_RUNBOOKS: Self = Self::RouterSays(404, "The API version does not allow runbooks");
    const NO_RUNBOOK_WRITES: Self =
        Self::RouterSays(405, "The API version does not allow runbooks");
    const NO_RUNBOOK_TRAITS: Self =
        Self::RouterSays(404, "The API version does not allow runbook traits");
    const NO_RULES: Self = Self::Says(404, "The API version does not allow inspection rules");
    const NO_RULE_WRITES: Self = Self::Says(405, "The API version does not allow inspection rules");
}

pub type Answering = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// One method of a route.
pub struct Endpoint {
    pub method: Method,
    /// First minor version.
    pub since: u16,
    pub below: Below,
    /// Rule of the policy that guards it; empty for what anyone may call.
    pub policy: &'static str,
    pub(crate) handler: fn(Call) -> Answering,
    /// What is missing, when the endpoint is not complete.
    pub partial: &'static str,
}

/// How large a body may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodySize {
    /// `[api] max_json_body_size`
    Ordinary,
    /// `[api] max_json_body_size_provision`
    Provision,
    /// `[api] max_json_body_size_inspection`
    Inspection,
}

/// One path.
pub struct Route {
    /// Below `/v1`, except `/`, `/v1` and `/healthcheck`. `{name}` is a segment.
    pub path: &'static str,
    /// No authentication.
    pub public: bool,
    pub body: BodySize,
    pub endpoints: &'static [Endpoint],
}

/// The second when there is one.
macro_rules! pick {
    ($default:expr) => {
        $default
    };
    ($default:expr, $given:expr) => {
        $given
    };
}

macro_rules! on {
    ($method:ident $policy:literal $($handler:ident)::+ $(since $since:literal $below:ident)? $(partial $partial:literal)?) => {
        Endpoint {
            method: Method::$method,
            since: pick!(1 $(, $since)?),
            below: pick!(Below::NotFound $(, Below::$below)?),
            policy: $policy,
            handler: |call| Box::pin($($handler)::+(call)),
            partial: pick!("" $(, $partial)?),
        }
    };
}

macro_rules! route {
    ($path:literal [$($endpoint:expr),* $(,)?]) => {
        Route { path: $path, public: false, body: BodySize::Ordinary, endpoints: &[$($endpoint),*] }
    };
    (public $path:literal [$($endpoint:expr),* $(,)?]) => {
        Route { path: $path, public: true, body: BodySize::Ordinary, endpoints: &[$($endpoint),*] }
    };
    (large $path:literal [$($endpoint:expr),* $(,)?]) => {
        Route { path: $path, public: false, body: BodySize::Provision, endpoints: &[$($endpoint),*] }
    };
    (report $path:literal [$($endpoint:expr),* $(,)?]) => {
        Route { path: $path, public: true, body: BodySize::Inspection, endpoints: &[$($endpoint),*] }
    };
}

/// Every route. The order is that of upstream's API reference.
#[rustfmt::skip]
pub static ROUTES: &[Route] = &[
    route!(public "/" [on!(Get "" root::versions)]),
    route!(public "/v1" [on!(Get "" root::v1)]),
    route!(public "/healthcheck" [on!(Get "" healthcheck::get)]),
    route!(public "/v1/openapi.json" [on!(Get "" openapi::get)]),

    route!("/v1/nodes" [
        on!(Get "baremetal:node:list_all" nodes::list),
        on!(Post "baremetal:node:create" node_create::create),
    ]),
    route!("/v1/nodes/detail" [on!(Get "baremetal:node:list_all" nodes::detail)]),
    route!("/v1/nodes/validate" [on!(Get "baremetal:node:validate" validate::by_query)]),
    route!("/v1/nodes/{ident}" [
        on!(Get "baremetal:node:get" nodes::get),
        on!(Patch "baremetal:node:update" node_patch::patch),
        on!(Delete "baremetal:node:delete" node_delete::delete),
    ]),
    route!("/v1/nodes/{ident}/validate" [on!(Get "baremetal:node:validate" validate::get)]),
    route!("/v1/nodes/{ident}/states" [on!(Get "baremetal:node:get_states" states::get)]),
    route!("/v1/nodes/{ident}/states/power" [on!(Put "baremetal:node:set_power_state" power::set)]),
    route!(large "/v1/nodes/{ident}/states/provision" [
        on!(Put "baremetal:node:set_provision_state" provision::set),
    ]),
    route!("/v1/nodes/{ident}/states/raid" [on!(Put "baremetal:node:set_raid_state" raid::set since 12 NotAcceptable)]),
    route!("/v1/nodes/{ident}/states/boot_mode" [
        on!(Put "baremetal:node:set_boot_mode" boot_mode::set_boot_mode since 76 NotYet),
    ]),
    route!("/v1/nodes/{ident}/states/secure_boot" [
        on!(Put "baremetal:node:set_secure_boot" boot_mode::set_secure_boot since 76 NotYet),
    ]),
    route!("/v1/nodes/{ident}/states/console" [
        on!(Get "baremetal:node:get_console" console::get),
        on!(Put "baremetal:node:set_console_state" console::set),
    ]),
    route!("/v1/nodes/{ident}/maintenance" [
        on!(Put "baremetal:node:set_maintenance" maintenance::set),
        on!(Delete "baremetal:node:clear_maintenance" maintenance::clear),
    ]),
    route!("/v1/nodes/{ident}/management/boot_device" [
        on!(Get "baremetal:node:get_boot_device" management::get_boot_device),
        on!(Put "baremetal:node:set_boot_device" management::set_boot_device),
    ]),
    route!("/v1/nodes/{ident}/management/boot_device/supported" [
        on!(Get "baremetal:node:get_boot_device" management::supported_boot_devices),
    ]),
    route!("/v1/nodes/{ident}/management/inject_nmi" [
        on!(Put "baremetal:node:inject_nmi" management::inject_nmi since 29 NotFound),
    ]),
    route!("/v1/nodes/{ident}/management/indicators" [
        on!(Get "baremetal:node:get_indicator_state" indicators::list),
    ]),
    route!("/v1/nodes/{ident}/management/indicators/{indicator}" [
        on!(Get "baremetal:node:get_indicator_state" indicators::get),
        on!(Put "baremetal:node:set_indicator_state" indicators::set),
    ]),
    route!("/v1/nodes/{ident}/vendor_passthru" [
        on!(Get "baremetal:node:vendor_passthru" vendor_passthru::node_call),
        on!(Post "baremetal:node:vendor_passthru" vendor_passthru::node_call),
        on!(Put "baremetal:node:vendor_passthru" vendor_passthru::node_call),
        on!(Patch "baremetal:node:vendor_passthru" vendor_passthru::node_call),
        on!(Delete "baremetal:node:vendor_passthru" vendor_passthru::node_call),
    ]),
    route!("/v1/nodes/{ident}/vendor_passthru/methods" [
        on!(Get "baremetal:node:vendor_passthru" vendor_passthru::node_methods),
        on!(Post "baremetal:node:vendor_passthru" vendor_passthru::node_call_methods),
        on!(Put "baremetal:node:vendor_passthru" vendor_passthru::node_call_methods),
        on!(Patch "baremetal:node:vendor_passthru" vendor_passthru::node_call_methods),
        on!(Delete "baremetal:node:vendor_passthru" vendor_passthru::node_call_methods),
    ]),
    route!("/v1/nodes/{ident}/vendor_passthru/{method}" [
        on!(Get "baremetal:node:vendor_passthru" vendor_passthru::node_call),
        on!(Post "baremetal:node:vendor_passthru" vendor_passthru::node_call),
        on!(Put "baremetal:node:vendor_passthru" vendor_passthru::node_call),
        on!(Patch "baremetal:node:vendor_passthru" vendor_passthru::node_call),
        on!(Delete "baremetal:node:vendor_passthru" vendor_passthru::node_call),
    ]),
    route!("/v1/nodes/{ident}/vmedia" [
        on!(Get "baremetal:node:vmedia:get" vmedia::get since 93 Unreadable),
        on!(Post "baremetal:node:vmedia:attach" vmedia::attach since 89 Unrouted),
        on!(Delete "baremetal:node:vmedia:detach" vmedia::detach since 89 Unrouted),
    ]),
    route!("/v1/nodes/{ident}/traits" [
        on!(Get "baremetal:node:traits:list" traits::list since 37 NotAcceptable),
        on!(Put "baremetal:node:traits:set" traits::replace since 37 NO_TRAITS),
        on!(Delete "baremetal:node:traits:delete" traits::remove_all since 37 NotFound),
    ]),
    route!("/v1/nodes/{ident}/traits/{trait}" [
        on!(Put "baremetal:node:traits:set" traits::add since 37 NO_TRAITS),
        on!(Delete "baremetal:node:traits:delete" traits::remove since 37 NotFound),
    ]),
    route!("/v1/nodes/{ident}/ports" [on!(Get "baremetal:port:list_all" ports::list_of_node)]),
    route!("/v1/nodes/{ident}/ports/detail" [on!(Get "baremetal:port:list_all" ports::detail_of_node)]),
    route!("/v1/nodes/{ident}/vifs" [
        on!(Get "baremetal:node:vif:list" vifs::list since 28 Unrouted),
        on!(Post "baremetal:node:vif:attach" vifs::attach since 28 Unrouted),
    ]),
    route!("/v1/nodes/{ident}/vifs/{vif}" [
        on!(Delete "baremetal:node:vif:detach" vifs::detach since 28 Unrouted),
    ]),
    route!("/v1/nodes/{ident}/portgroups" [
        on!(Get "baremetal:portgroup:list_all" portgroups::list_of_node since 24 Unrouted),
    ]),
    route!("/v1/nodes/{ident}/portgroups/detail" [
        on!(Get "baremetal:portgroup:list_all" portgroups::detail_of_node since 24 Unrouted),
    ]),
    route!("/v1/nodes/{ident}/portgroups/{portgroup}/ports" [
        on!(Get "baremetal:port:list_all" ports::list_of_portgroup_of_node since 24 Unrouted),
    ]),
    route!("/v1/nodes/{ident}/volume" [
        on!(Get "baremetal:volume:get" volume::root_of_node since 32 Unsupported),
    ]),
    route!("/v1/nodes/{ident}/volume/connectors" [
        on!(Get "baremetal:volume:list_all" volume_connectors::list_of_node since 32 Unrouted),
    ]),
    route!("/v1/nodes/{ident}/volume/targets" [
        on!(Get "baremetal:volume:list_all" volume_targets::list_of_node since 32 Unrouted),
    ]),
    route!("/v1/nodes/{ident}/bios" [
        on!(Get "baremetal:node:bios:get" bios::list since 40 Unrouted),
    ]),
    route!("/v1/nodes/{ident}/bios/{setting}" [
        on!(Get "baremetal:node:bios:get" bios::get since 40 Unrouted),
    ]),
    route!("/v1/nodes/{ident}/firmware" [
        on!(Get "baremetal:node:firmware:get" firmware::list since 86 Unrouted),
    ]),
    route!("/v1/nodes/{ident}/inventory" [
        on!(Get "baremetal:node:inventory:get" inventory::get since 81 Unrouted),
    ]),
    route!("/v1/nodes/{ident}/children" [
        on!(Get "baremetal:node:get" children::list since 83 NotFound),
    ]),
    route!("/v1/nodes/{ident}/allocation" [
        on!(Get "baremetal:allocation:get" allocations::get_of_node since 52 NO_NODE_ALLOCATION),
        on!(Delete "baremetal:allocation:delete" allocations::delete_of_node since 52 NO_NODE_ALLOCATION),
    ]),
    route!("/v1/nodes/{ident}/history" [
        on!(Get "baremetal:node:history:get" history::list since 78 Unrouted),
    ]),
    route!("/v1/nodes/{ident}/history/{event}" [
        on!(Get "baremetal:node:history:get" history::get since 78 Unrouted),
    ]),
    route!("/v1/nodes/{ident}/timeline" [on!(Get "baremetal:node:history:get" timeline::list)]),
    route!("/v1/nodes/{ident}/timeline/stream" [
        on!(Get "baremetal:node:history:get" timeline::follow),
    ]),

    route!("/v1/ports" [
        on!(Get "baremetal:port:list_all" ports::list),
        on!(Post "baremetal:port:create" ports_write::create),
    ]),
    route!("/v1/ports/detail" [on!(Get "baremetal:port:list_all" ports::detail)]),
    route!("/v1/ports/{port}" [
        on!(Get "baremetal:port:get" ports::get),
        on!(Patch "baremetal:port:update" ports_write::patch),
        on!(Delete "baremetal:port:delete" ports_write::delete),
    ]),

    route!("/v1/portgroups" [
        on!(Get "baremetal:portgroup:list_all" portgroups::list since 23 Unsupported),
        on!(Post "baremetal:portgroup:create" portgroups_write::create since 23 Unsupported),
    ]),
    route!("/v1/portgroups/detail" [
        on!(Get "baremetal:portgroup:list_all" portgroups::detail since 23 Unsupported),
    ]),
    route!("/v1/portgroups/{portgroup}" [
        on!(Get "baremetal:portgroup:get" portgroups::get since 23 Unsupported),
        on!(Patch "baremetal:portgroup:update" portgroups_write::patch since 23 Unsupported),
        on!(Delete "baremetal:portgroup:delete" portgroups_write::delete since 23 Unsupported),
    ]),
    route!("/v1/portgroups/{portgroup}/ports" [
        on!(Get "baremetal:port:list_all" ports::list_of_portgroup since 24 Unrouted),
    ]),
    route!("/v1/portgroups/{portgroup}/ports/detail" [
        on!(Get "baremetal:port:list_all" ports::detail_of_portgroup since 24 Unrouted),
    ]),

    route!("/v1/chassis" [
        on!(Get "baremetal:chassis:get" chassis::list),
        on!(Post "baremetal:chassis:create" chassis::create),
    ]),
    route!("/v1/chassis/detail" [on!(Get "baremetal:chassis:get" chassis::detail)]),
    route!("/v1/chassis/{chassis}" [
        on!(Get "baremetal:chassis:get" chassis::get),
        on!(Patch "baremetal:chassis:update" chassis::patch),
        on!(Delete "baremetal:chassis:delete" chassis::delete),
    ]),
    route!("/v1/chassis/{chassis}/nodes" [on!(Get "baremetal:node:list_all" nodes::list_of_chassis)]),
    route!("/v1/chassis/{chassis}/nodes/detail" [on!(Get "baremetal:node:list_all" nodes::detail_of_chassis)]),

    route!("/v1/volume" [on!(Get "baremetal:volume:get" volume::root since 32 Unsupported)]),
    route!("/v1/volume/connectors" [
        on!(Get "baremetal:volume:list_all" volume_connectors::list since 32 Unrouted),
        on!(Post "baremetal:volume:create" volume_connectors::create since 32 Unrouted),
    ]),
    route!("/v1/volume/connectors/{connector}" [
        on!(Get "baremetal:volume:get" volume_connectors::get since 32 Unrouted),
        on!(Patch "baremetal:volume:update" volume_connectors::patch since 32 Unrouted),
        on!(Delete "baremetal:volume:delete" volume_connectors::delete since 32 Unrouted),
    ]),
    route!("/v1/volume/targets" [
        on!(Get "baremetal:volume:list_all" volume_targets::list since 32 Unrouted),
        on!(Post "baremetal:volume:create" volume_targets::create since 32 Unrouted),
    ]),
    route!("/v1/volume/targets/{target}" [
        on!(Get "baremetal:volume:get" volume_targets::get since 32 Unrouted),
        on!(Patch "baremetal:volume:update" volume_targets::patch since 32 Unrouted),
        on!(Delete "baremetal:volume:delete" volume_targets::delete since 32 Unrouted),
    ]),

    route!("/v1/drivers" [on!(Get "baremetal:driver:get" drivers::list)]),
    route!("/v1/drivers/{driver}" [on!(Get "baremetal:driver:get" drivers::get)]),
    route!("/v1/drivers/{driver}/properties" [
        on!(Get "baremetal:driver:get_properties" drivers::properties),
    ]),

    route!("/v1/drivers/{driver}/raid/logical_disk_properties" [
        on!(Get "baremetal:driver:get_raid_logical_disk_properties" raid::logical_disk_properties since 12 NotAcceptable),
    ]),
    route!("/v1/drivers/{driver}/vendor_passthru" [
        on!(Get "baremetal:driver:vendor_passthru" vendor_passthru::driver_call),
        on!(Post "baremetal:driver:vendor_passthru" vendor_passthru::driver_call),
        on!(Put "baremetal:driver:vendor_passthru" vendor_passthru::driver_call),
        on!(Patch "baremetal:driver:vendor_passthru" vendor_passthru::driver_call),
        on!(Delete "baremetal:driver:vendor_passthru" vendor_passthru::driver_call),
    ]),
    route!("/v1/drivers/{driver}/vendor_passthru/methods" [
        on!(Get "baremetal:driver:vendor_passthru" vendor_passthru::driver_methods),
        on!(Post "baremetal:driver:vendor_passthru" vendor_passthru::driver_call_methods),
        on!(Put "baremetal:driver:vendor_passthru" vendor_passthru::driver_call_methods),
        on!(Patch "baremetal:driver:vendor_passthru" vendor_passthru::driver_call_methods),
        on!(Delete "baremetal:driver:vendor_passthru" vendor_passthru::driver_call_methods),
    ]),
    route!("/v1/drivers/{driver}/vendor_passthru/{method}" [
        on!(Get "baremetal:driver:vendor_passthru" vendor_passthru::driver_call),
        on!(Post "baremetal:driver:vendor_passthru" vendor_passthru::driver_call),
        on!(Put "baremetal:driver:vendor_passthru" vendor_passthru::driver_call),
        on!(Patch "baremetal:driver:vendor_passthru" vendor_passthru::driver_call),
        on!(Delete "baremetal:driver:vendor_passthru" vendor_passthru::driver_call),
    ]),

    route!("/v1/conductors" [on!(Get "baremetal:conductor:get" conductors::list since 49 Unsupported)]),
    route!("/v1/conductors/{hostname}" [
        on!(Get "baremetal:conductor:get" conductors::get since 49 Unsupported),
    ]),

    route!("/v1/shards" [on!(Get "baremetal:shards:get" shards::list since 82 NoShards)]),
    route!("/v1/events" [on!(Post "baremetal:events:post" events::post since 54 Unsupported)]),
    route!("/v1/allocations" [
        on!(Get "baremetal:allocation:list_all" allocations::list since 52 NO_ALLOCATIONS),
        on!(Post "baremetal:allocation:create" allocations::create since 52 NO_ALLOCATION_WRITES),
    ]),
    route!("/v1/allocations/{allocation}" [
        on!(Get "baremetal:allocation:get" allocations::get since 52 NO_ALLOCATIONS),
        on!(Patch "baremetal:allocation:update" allocations::patch since 57 NO_ALLOCATION_UPDATES),
        on!(Delete "baremetal:allocation:delete" allocations::delete since 52 NO_ALLOCATION_WRITES),
    ]),
    route!("/v1/deploy_templates" [
        on!(Get "baremetal:deploy_template:get" deploy_templates::list since 55 NO_TEMPLATES),
        on!(Post "baremetal:deploy_template:create" deploy_templates::create since 55 NO_TEMPLATE_WRITES),
    ]),
    route!("/v1/deploy_templates/{template}" [
        on!(Get "baremetal:deploy_template:get" deploy_templates::get since 55 NO_TEMPLATES),
        on!(Patch "baremetal:deploy_template:update" deploy_templates::patch since 55 NO_TEMPLATE_WRITES),
        on!(Delete "baremetal:deploy_template:delete" deploy_templates::delete since 55 NO_TEMPLATE_WRITES),
    ]),
    route!("/v1/runbooks" [
        on!(Get "baremetal:runbook:list_all" runbooks::list since 92 NO_RUNBOOKS),
        on!(Post "baremetal:runbook:create" runbooks::create since 92 NO_RUNBOOK_WRITES),
    ]),
    route!("/v1/runbooks/{runbook}" [
        on!(Get "baremetal:runbook:get" runbooks::get since 92 NO_RUNBOOKS),
        on!(Patch "baremetal:runbook:update" runbooks::patch since 92 NO_RUNBOOK_WRITES),
        on!(Delete "baremetal:runbook:delete" runbooks::delete since 92 NO_RUNBOOK_WRITES),
    ]),
    route!("/v1/runbooks/{runbook}/traits" [
        on!(Get "baremetal:runbook:get" runbooks::list_traits since 112 NO_RUNBOOK_TRAITS),
        on!(Put "baremetal:runbook:update" runbooks::replace_traits since 112 NO_RUNBOOK_TRAITS),
        on!(Delete "baremetal:runbook:update" runbooks::remove_traits since 112 NO_RUNBOOK_TRAITS),
    ]),
    route!("/v1/runbooks/{runbook}/traits/{trait}" [
        on!(Put "baremetal:runbook:update" runbooks::add_trait since 112 NO_RUNBOOK_TRAITS),
        on!(Delete "baremetal:runbook:update" runbooks::remove_trait since 112 NO_RUNBOOK_TRAITS),
    ]),
    route!("/v1/inspection_rules" [
        on!(Get "baremetal:inspection_rule:get" inspection_rules::list since 96 NO_RULES),
        on!(Post "baremetal:inspection_rule:create" inspection_rules::create since 96 NO_RULE_WRITES),
    ]),
    route!("/v1/inspection_rules/{rule}" [
        on!(Get "baremetal:inspection_rule:get" inspection_rules::get since 96 NO_RULES),
        on!(Patch "baremetal:inspection_rule:update" inspection_rules::patch since 96 NO_RULE_WRITES),
        on!(Delete "baremetal:inspection_rule:delete" inspection_rules::delete since 96 NO_RULE_WRITES),
    ]),

    route!(public "/v1/lookup" [on!(Get "baremetal:driver:ipa_lookup" ramdisk::lookup since 22 NotFound)]),
    route!(public "/v1/heartbeat/{ident}" [on!(Post "baremetal:node:ipa_heartbeat" ramdisk::heartbeat since 22 NotFound)]),
    // since 84, and at exactly 1.1: it refuses the versions between itself
    route!(report "/v1/continue_inspection" [
        on!(Post "baremetal:driver:ipa_continue_inspection" inspection::post),
    ]),
];

/// The version in which a node's field came.
#[rustfmt::skip]
pub const NODE_FIELDS: &[(NodeField, u16)] = &[
    (NodeField::DriverInternalInfo, 3),
    (NodeField::Name, 5),
    (NodeField::InspectionFinishedAt, 6),
    (NodeField::InspectionStartedAt, 6),
    (NodeField::CleanStep, 7),
    (NodeField::RaidConfig, 12),
    (NodeField::TargetRaidConfig, 12),
    (NodeField::States, 14),
    (NodeField::NetworkInterface, 20),
    (NodeField::ResourceClass, 21),
    (NodeField::Portgroups, 24),
    (NodeField::BootInterface, 31),
    (NodeField::ConsoleInterface, 31),
    (NodeField::DeployInterface, 31),
    (NodeField::InspectInterface, 31),
    (NodeField::ManagementInterface, 31),
    (NodeField::PowerInterface, 31),
    (NodeField::RaidInterface, 31),
    (NodeField::VendorInterface, 31),
    (NodeField::Volume, 32),
    (NodeField::StorageInterface, 33),
    (NodeField::Traits, 37),
    (NodeField::RescueInterface, 38),
    (NodeField::BiosInterface, 40),
    (NodeField::Fault, 42),
    (NodeField::DeployStep, 44),
    (NodeField::ConductorGroup, 46),
    (NodeField::AutomatedClean, 47),
    (NodeField::Protected, 48),
    (NodeField::ProtectedReason, 48),
    (NodeField::Conductor, 49),
    (NodeField::Owner, 50),
    (NodeField::Description, 51),
    (NodeField::AllocationUuid, 52),
    (NodeField::Retired, 61),
    (NodeField::RetiredReason, 61),
    (NodeField::Lessee, 65),
    (NodeField::NetworkData, 66),
    (NodeField::BootMode, 75),
    (NodeField::SecureBoot, 75),
    (NodeField::Shard, 82),
    (NodeField::ParentNode, 83),
    (NodeField::FirmwareInterface, 86),
    (NodeField::ServiceStep, 87),
    (NodeField::DisablePowerOff, 95),
    (NodeField::InstanceName, 104),
    (NodeField::Health, 109),
];

/// First minor version that shows the field.
#[must_use]
pub fn node_field_since(field: NodeField) -> u16 {
    NODE_FIELDS
        .iter()
        .find(|(f, _)| *f == field)
        .map_or(1, |(_, since)| *since)
}

/// Fields of a port with the version in which each came, in the order of the representation.
pub const PORT_FIELDS: &[(&str, u16)] = &[
    ("uuid", 1),
    ("created_at", 1),
    ("updated_at", 1),
    ("address", 1),
    ("extra", 1),
    ("internal_info", 18),
    ("is_smartnic", 53),
    ("local_link_connection", 19),
    ("physical_network", 34),
    ("pxe_enabled", 19),
    ("node_uuid", 1),
    ("name", 88),
    ("description", 97),
    ("vendor", 100),
    ("category", 101),
    ("available_for_dynamic_portgroup", 111),
    ("links", 1),
    ("portgroup_uuid", 24),
];

/// Fields of a port group with the version in which each came.
pub const PORTGROUP_FIELDS: &[(&str, u16)] = &[
    ("mode", 26),
    ("properties", 26),
    ("physical_network", 102),
    ("category", 103),
    ("dynamic_portgroup", 111),
];

/// Filters of node lists with the version in which each came; the others always were.
pub const NODE_FILTERS: &[(&str, u16)] = &[
    ("driver", 16),
    ("resource_class", 21),
    ("fault", 42),
    ("conductor_group", 46),
    ("conductor", 49),
    ("owner", 50),
    ("lessee", 65),
    ("shard", 82),
    ("sharded", 82),
    ("include_children", 83),
    ("parent_node", 83),
];

/// Collections that the version document links to, with their versions. Those that no route serves are left
/// out.
pub const COLLECTIONS: &[(&str, u16)] = &[
    ("portgroups", 23),
    ("volume", 32),
    ("lookup", 22),
    ("heartbeat", 22),
    ("conductors", 49),
    ("allocations", 52),
    ("events", 54),
    ("deploy_templates", 55),
    ("shards", 82),
    ("runbooks", 92),
    ("inspection_rules", 96),
    ("continue_inspection", 84),
];
