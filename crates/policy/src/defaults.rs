//! Upstream's policies with their defaults, as data: who may do what when the operator says nothing.
//!
//! Facts of Ironic 39.0 (`oslopolicy-sample-generator --namespace ironic.api`). Names of the check strings say
//! who passes: *system* is a token of system scope (or the service role of the service project), *owner* and
//! *lessee* are members of the project that the node names so, *project* is either.

use crate::rules::Scope;

/// A policy that the API asks for by name.
#[derive(Debug, Clone, Copy)]
pub struct PolicyDefault {
    pub name: &'static str,
    pub check: &'static str,
    /// Scopes of tokens that may pass at all; empty: every scope.
    pub scopes: &'static [Scope],
    /// What stood in its place before scopes: counts only without `enforce_new_defaults`, and when the
    /// operator's file overrides the old name.
    pub deprecated: Option<Deprecated>,
}

/// The older form of a policy.
#[derive(Debug, Clone, Copy)]
pub struct Deprecated {
    pub name: &'static str,
    pub check: &'static str,
}

const ANYWHERE: &[Scope] = &[];
const SYSTEM: &[Scope] = &[Scope::System];
const PROJECT: &[Scope] = &[Scope::Project];
const BOTH: &[Scope] = &[Scope::System, Scope::Project];

macro_rules! system_service {
    () => {
        "(role:service and system_scope:all)"
    };
}
macro_rules! system_reader {
    () => {
        "((role:reader and system_scope:all) or (role:service and system_scope:all) or rule:service_role)"
    };
}
macro_rules! system_member {
    () => {
        "((role:member and system_scope:all) or rule:service_role)"
    };
}

const SYSTEM_ADMIN_OR_SERVICE: &str =
    concat!("(role:admin and system_scope:all) or ", system_service!());
const ANY_ADMIN_OR_SERVICE: &str = "(role:admin) or (role:service)";
const ANY_READER_OR_SERVICE: &str = "(role:reader) or (role:service)";
const SYSTEM_READER: &str = concat!(
    "(role:reader and system_scope:all) or ",
    system_service!(),
    " or rule:service_role"
);
const SYSTEM_ADMIN: &str = "role:admin and system_scope:all";
const SYSTEM_MEMBER: &str = "(role:member and system_scope:all) or rule:service_role";
const SYSTEM_OR_PROJECT_READER: &str = concat!(
    system_reader!(),
    " or (role:reader and (project_id:%(node.owner)s or project_id:%(node.lessee)s)) or (role:service and project_id:%(node.owner)s)"
);
const SYSTEM_OR_OWNER_READER: &str = concat!(
    system_reader!(),
    " or ",
    system_service!(),
    " or (role:reader and project_id:%(node.owner)s) or (role:service and project_id:%(node.owner)s)"
);
const SYSTEM_OR_OWNER_MEMBER: &str = concat!(
    system_member!(),
    " or ",
    system_service!(),
    " or (role:member and project_id:%(node.owner)s) or (role:service and project_id:%(node.owner)s)"
);
const SYSTEM_MEMBER_OR_OWNER_MANAGER: &str = concat!(
    system_member!(),
    " or ",
    system_service!(),
    " or (role:admin and project_id:%(node.owner)s) or (role:manager and project_id:%(node.owner)s) or (role:service and project_id:%(node.owner)s)"
);
const SYSTEM_OR_PROJECT_MEMBER: &str = concat!(
    system_member!(),
    " or (role:member and (project_id:%(node.owner)s or project_id:%(node.lessee)s)) or ",
    system_service!()
);
const SYSTEM_OR_OWNER_MEMBER_OR_LESSEE_MANAGER: &str = concat!(
    system_member!(),
    " or ",
    system_service!(),
    " or (role:member and project_id:%(node.owner)s) or (role:admin and project_id:%(node.lessee)s) or (role:manager and project_id:%(node.lessee)s) or (role:service and project_id:%(node.owner)s)"
);
const SYSTEM_ADMIN_OR_OWNER_MANAGER: &str = concat!(
    "(role:admin and system_scope:all) or ",
    system_service!(),
    " or (role:admin and project_id:%(node.owner)s) or (role:manager and project_id:%(node.owner)s) or (role:service and project_id:%(node.owner)s)"
);
const SYSTEM_OR_OWNER_OR_LESSEE_MANAGER: &str = concat!(
    system_member!(),
    " or ",
    system_service!(),
    " or (role:admin and project_id:%(node.owner)s) or (role:manager and project_id:%(node.owner)s) or (role:admin and project_id:%(node.lessee)s) or (role:manager and project_id:%(node.lessee)s) or (role:service and project_id:%(node.owner)s)"
);
const SYSTEM_READER_OR_ANY_ADMIN: &str = concat!(system_reader!(), " or (role:admin)");
const SYSTEM_OR_ALLOCATION_READER: &str = concat!(
    system_reader!(),
    " or (role:reader and project_id:%(allocation.owner)s)"
);
const SYSTEM_OR_ANY_MEMBER: &str = concat!(system_member!(), " or (role:member)");
const SYSTEM_OR_ALLOCATION_MEMBER: &str = concat!(
    system_member!(),
    " or (role:member and project_id:%(allocation.owner)s)"
);
const SYSTEM_OR_RUNBOOK_READER: &str = concat!(
    system_reader!(),
    " or (role:reader and project_id:%(runbook.owner)s) or role:service"
);
const SYSTEM_OR_ANY_MANAGER: &str = concat!(system_member!(), " or role:manager or role:service");
const SYSTEM_OR_RUNBOOK_MANAGER: &str = concat!(
    system_member!(),
    " or (role:manager and project_id:%(runbook.owner)s) or role:service"
);
const IS_ADMIN: &str = "rule:is_admin";
const IS_ADMIN_OR_OBSERVER: &str = "rule:is_admin or rule:is_observer";

/// The older check has the same name.
const SAME: &str = "";

const fn was(name: &'static str, check: &'static str) -> Option<Deprecated> {
    Some(Deprecated { name, check })
}

const fn row(
    name: &'static str,
    check: &'static str,
    scopes: &'static [Scope],
    deprecated: Option<Deprecated>,
) -> PolicyDefault {
    let deprecated = match deprecated {
        Some(old) if old.name.is_empty() => Some(Deprecated {
            name,
            check: old.check,
        }),
        other => other,
    };
    PolicyDefault {
        name,
        check,
        scopes,
        deprecated,
    }
}

/// Every policy: 11 helper rules, then the 122 that calls are checked by.
#[rustfmt::skip]
pub const DEFAULTS: &[PolicyDefault] = &[
    row("admin_api", "role:admin or role:administrator", ANYWHERE, None),
    row("public_api", "is_public_api:True", ANYWHERE, None),
    row("show_password", "!", ANYWHERE, None),
    row("show_instance_secrets", "!", ANYWHERE, None),
    row("service_role", "role:service and project_name:%(config.service_project_name)s", ANYWHERE, None),
    row("is_member", "(project_domain_id:default or project_domain_id:None) and (project_name:demo or project_name:baremetal)", ANYWHERE, None),
    row("is_observer", "rule:is_member and (role:observer or role:baremetal_observer)", ANYWHERE, None),
    row("is_admin", "rule:admin_api or (rule:is_member and role:baremetal_admin)", ANYWHERE, None),
    row("is_node_owner", "project_id:%(node.owner)s", ANYWHERE, None),
    row("is_node_lessee", "project_id:%(node.lessee)s", ANYWHERE, None),
    row("is_allocation_owner", "project_id:%(allocation.owner)s", ANYWHERE, None),
    row("baremetal:node:create", SYSTEM_ADMIN_OR_SERVICE, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:node:create:self_owned_node", ANY_ADMIN_OR_SERVICE, BOTH, None),
    row("baremetal:node:list", ANY_READER_OR_SERVICE, BOTH, was(SAME, "rule:baremetal:node:get")),
    row("baremetal:node:list_all", SYSTEM_READER, BOTH, was(SAME, "rule:baremetal:node:get")),
    row("baremetal:node:get", SYSTEM_OR_PROJECT_READER, BOTH, was(SAME, IS_ADMIN_OR_OBSERVER)),
    row("baremetal:node:get:filter_threshold", SYSTEM_READER, BOTH, was("baremetal:node:get", IS_ADMIN_OR_OBSERVER)),
    row("baremetal:node:get:last_error", SYSTEM_OR_OWNER_READER, BOTH, was("baremetal:node:get", IS_ADMIN_OR_OBSERVER)),
    row("baremetal:node:get:reservation", SYSTEM_OR_OWNER_READER, BOTH, was("baremetal:node:get", IS_ADMIN_OR_OBSERVER)),
    row("baremetal:node:get:driver_internal_info", SYSTEM_OR_OWNER_READER, BOTH, was("baremetal:node:get", IS_ADMIN_OR_OBSERVER)),
    row("baremetal:node:get:driver_info", SYSTEM_OR_OWNER_READER, BOTH, was("baremetal:node:get", IS_ADMIN_OR_OBSERVER)),
    row("baremetal:node:update:driver_info", SYSTEM_OR_OWNER_MEMBER, BOTH, was("baremetal:node:update", IS_ADMIN)),
    row("baremetal:node:update:properties", SYSTEM_OR_OWNER_MEMBER, BOTH, was("baremetal:node:update", IS_ADMIN)),
    row("baremetal:node:update:chassis_uuid", SYSTEM_ADMIN, BOTH, was("baremetal:node:update", IS_ADMIN)),
    row("baremetal:node:update:instance_uuid", SYSTEM_OR_OWNER_MEMBER, BOTH, was("baremetal:node:update", IS_ADMIN)),
    row("baremetal:node:update:lessee", SYSTEM_OR_OWNER_MEMBER, BOTH, was("baremetal:node:update", IS_ADMIN)),
    row("baremetal:node:update:owner", SYSTEM_MEMBER, BOTH, was("baremetal:node:update", IS_ADMIN)),
    row("baremetal:node:update:driver_interfaces", SYSTEM_MEMBER_OR_OWNER_MANAGER, BOTH, was("baremetal:node:update", IS_ADMIN)),
    row("baremetal:node:update:network_data", SYSTEM_OR_OWNER_MEMBER, BOTH, was("baremetal:node:update", IS_ADMIN)),
    row("baremetal:node:update:conductor_group", SYSTEM_MEMBER, BOTH, was("baremetal:node:update", IS_ADMIN)),
    row("baremetal:node:update:name", SYSTEM_OR_OWNER_MEMBER, BOTH, was("baremetal:node:update", IS_ADMIN)),
    row("baremetal:node:update:retired", SYSTEM_OR_OWNER_MEMBER, BOTH, was("baremetal:node:update", IS_ADMIN)),
    row("baremetal:node:update", SYSTEM_OR_PROJECT_MEMBER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:node:update_extra", SYSTEM_OR_PROJECT_MEMBER, BOTH, was(SAME, "rule:baremetal:node:update")),
    row("baremetal:node:update_instance_info", SYSTEM_OR_OWNER_MEMBER_OR_LESSEE_MANAGER, BOTH, was(SAME, "rule:baremetal:node:update")),
    row("baremetal:node:update_owner_provisioned", SYSTEM_ADMIN, SYSTEM, was(SAME, IS_ADMIN)),
    row("baremetal:node:delete", SYSTEM_ADMIN, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:node:delete:self_owned_node", "role:admin and project_id:%(node.owner)s", BOTH, None),
    row("baremetal:node:validate", SYSTEM_OR_OWNER_MEMBER_OR_LESSEE_MANAGER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:node:set_maintenance", SYSTEM_OR_OWNER_MEMBER_OR_LESSEE_MANAGER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:node:clear_maintenance", SYSTEM_OR_OWNER_MEMBER_OR_LESSEE_MANAGER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:node:get_boot_device", SYSTEM_MEMBER_OR_OWNER_MANAGER, BOTH, was(SAME, IS_ADMIN_OR_OBSERVER)),
    row("baremetal:node:set_boot_device", SYSTEM_MEMBER_OR_OWNER_MANAGER, BOTH, was("baremetal:node:set_maintenance", IS_ADMIN)),
    row("baremetal:node:get_indicator_state", SYSTEM_OR_PROJECT_READER, BOTH, was(SAME, IS_ADMIN_OR_OBSERVER)),
    row("baremetal:node:set_indicator_state", SYSTEM_OR_OWNER_MEMBER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:node:inject_nmi", SYSTEM_MEMBER_OR_OWNER_MANAGER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:node:get_states", SYSTEM_OR_PROJECT_READER, BOTH, was(SAME, IS_ADMIN_OR_OBSERVER)),
    row("baremetal:node:set_power_state", SYSTEM_OR_PROJECT_MEMBER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:node:set_boot_mode", SYSTEM_OR_PROJECT_MEMBER, BOTH, was("baremetal:node:set_power_state", IS_ADMIN)),
    row("baremetal:node:set_secure_boot", SYSTEM_OR_PROJECT_MEMBER, BOTH, was("baremetal:node:set_power_state", IS_ADMIN)),
    row("baremetal:node:set_provision_state", SYSTEM_OR_OWNER_MEMBER_OR_LESSEE_MANAGER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:node:set_provision_state:clean_steps", SYSTEM_OR_OWNER_MEMBER_OR_LESSEE_MANAGER, BOTH, None),
    row("baremetal:node:set_provision_state:service_steps", SYSTEM_OR_OWNER_MEMBER_OR_LESSEE_MANAGER, BOTH, None),
    row("baremetal:node:set_raid_state", SYSTEM_OR_OWNER_MEMBER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:node:get_console", SYSTEM_OR_OWNER_MEMBER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:node:set_console_state", SYSTEM_OR_OWNER_MEMBER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:node:vif:list", SYSTEM_OR_PROJECT_READER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:node:vif:attach", SYSTEM_OR_OWNER_MEMBER_OR_LESSEE_MANAGER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:node:vif:detach", SYSTEM_OR_OWNER_MEMBER_OR_LESSEE_MANAGER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:node:traits:list", SYSTEM_OR_PROJECT_READER, BOTH, was(SAME, IS_ADMIN_OR_OBSERVER)),
    row("baremetal:node:traits:set", SYSTEM_MEMBER_OR_OWNER_MANAGER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:node:traits:delete", SYSTEM_MEMBER_OR_OWNER_MANAGER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:node:bios:get", SYSTEM_OR_PROJECT_READER, BOTH, was(SAME, IS_ADMIN_OR_OBSERVER)),
    row("baremetal:node:disable_cleaning", SYSTEM_ADMIN, BOTH, was(SAME, "rule:baremetal:node:update")),
    row("baremetal:node:history:get", SYSTEM_OR_OWNER_READER, BOTH, was("baremetal:node:get", IS_ADMIN_OR_OBSERVER)),
    row("baremetal:node:inventory:get", SYSTEM_OR_OWNER_READER, BOTH, was("baremetal:node:get", IS_ADMIN_OR_OBSERVER)),
    row("baremetal:node:update:shard", SYSTEM_ADMIN, BOTH, None),
    row("baremetal:shards:get", SYSTEM_READER, BOTH, None),
    row("baremetal:node:update:parent_node", SYSTEM_MEMBER, BOTH, None),
    row("baremetal:node:update:disable_power_off", SYSTEM_ADMIN, BOTH, None),
    row("baremetal:node:firmware:get", SYSTEM_OR_PROJECT_READER, BOTH, None),
    row("baremetal:node:vmedia:attach", SYSTEM_OR_PROJECT_MEMBER, BOTH, None),
    row("baremetal:node:vmedia:detach", SYSTEM_OR_PROJECT_MEMBER, BOTH, None),
    row("baremetal:node:vmedia:get", SYSTEM_OR_PROJECT_READER, BOTH, None),
    row("baremetal:port:get", SYSTEM_OR_PROJECT_READER, BOTH, was(SAME, IS_ADMIN_OR_OBSERVER)),
    row("baremetal:port:list", ANY_READER_OR_SERVICE, BOTH, was(SAME, "rule:baremetal:port:get")),
    row("baremetal:port:list_all", SYSTEM_READER, BOTH, was(SAME, "rule:baremetal:port:get")),
    row("baremetal:port:create", SYSTEM_ADMIN_OR_OWNER_MANAGER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:port:delete", SYSTEM_ADMIN_OR_OWNER_MANAGER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:port:update", SYSTEM_MEMBER_OR_OWNER_MANAGER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:portgroup:get", SYSTEM_OR_PROJECT_READER, BOTH, was(SAME, IS_ADMIN_OR_OBSERVER)),
    row("baremetal:portgroup:create", SYSTEM_ADMIN_OR_OWNER_MANAGER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:portgroup:delete", SYSTEM_ADMIN_OR_OWNER_MANAGER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:portgroup:update", SYSTEM_MEMBER_OR_OWNER_MANAGER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:portgroup:list", ANY_READER_OR_SERVICE, BOTH, was("baremetal:portgroup:get", IS_ADMIN_OR_OBSERVER)),
    row("baremetal:portgroup:list_all", SYSTEM_READER, BOTH, was("baremetal:portgroup:get", IS_ADMIN_OR_OBSERVER)),
    row("baremetal:chassis:get", SYSTEM_READER, SYSTEM, was(SAME, IS_ADMIN_OR_OBSERVER)),
    row("baremetal:chassis:create", SYSTEM_ADMIN, SYSTEM, was(SAME, IS_ADMIN)),
    row("baremetal:chassis:delete", SYSTEM_ADMIN, SYSTEM, was(SAME, IS_ADMIN)),
    row("baremetal:chassis:update", SYSTEM_MEMBER, SYSTEM, was(SAME, IS_ADMIN)),
    row("baremetal:driver:get", SYSTEM_READER, SYSTEM, was(SAME, IS_ADMIN_OR_OBSERVER)),
    row("baremetal:driver:get_properties", SYSTEM_READER, SYSTEM, was(SAME, IS_ADMIN_OR_OBSERVER)),
    row("baremetal:driver:get_raid_logical_disk_properties", SYSTEM_READER, SYSTEM, was(SAME, IS_ADMIN_OR_OBSERVER)),
    row("baremetal:node:vendor_passthru", SYSTEM_ADMIN, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:driver:vendor_passthru", SYSTEM_ADMIN, SYSTEM, was(SAME, IS_ADMIN)),
    row("baremetal:node:ipa_heartbeat", "", ANYWHERE, was(SAME, "rule:public_api")),
    row("baremetal:driver:ipa_lookup", "", ANYWHERE, was(SAME, "rule:public_api")),
    row("baremetal:driver:ipa_continue_inspection", "", ANYWHERE, None),
    row("baremetal:volume:list_all", SYSTEM_READER, BOTH, was("baremetal:volume:get", IS_ADMIN_OR_OBSERVER)),
    row("baremetal:volume:list", ANY_READER_OR_SERVICE, BOTH, was("baremetal:volume:get", IS_ADMIN_OR_OBSERVER)),
    row("baremetal:volume:get", SYSTEM_OR_PROJECT_READER, BOTH, was(SAME, IS_ADMIN_OR_OBSERVER)),
    row("baremetal:volume:create", SYSTEM_OR_OWNER_OR_LESSEE_MANAGER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:volume:delete", SYSTEM_OR_OWNER_OR_LESSEE_MANAGER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:volume:update", SYSTEM_OR_OWNER_MEMBER_OR_LESSEE_MANAGER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:volume:view_target_properties", SYSTEM_READER_OR_ANY_ADMIN, BOTH, was("baremetal:volume:update", IS_ADMIN)),
    row("baremetal:conductor:get", SYSTEM_READER, BOTH, was(SAME, IS_ADMIN_OR_OBSERVER)),
    row("baremetal:allocation:get", SYSTEM_OR_ALLOCATION_READER, BOTH, was(SAME, IS_ADMIN_OR_OBSERVER)),
    row("baremetal:allocation:list", ANY_READER_OR_SERVICE, BOTH, was(SAME, "rule:baremetal:allocation:get")),
    row("baremetal:allocation:list_all", SYSTEM_READER, BOTH, was(SAME, "rule:baremetal:allocation:get and is_admin_project:True")),
    row("baremetal:allocation:create", SYSTEM_OR_ANY_MEMBER, BOTH, was(SAME, "rule:is_admin and is_admin_project:True")),
    row("baremetal:allocation:create_restricted", SYSTEM_MEMBER, BOTH, was(SAME, "rule:baremetal:allocation:create")),
    row("baremetal:allocation:delete", SYSTEM_OR_ALLOCATION_MEMBER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:allocation:update", SYSTEM_OR_ALLOCATION_MEMBER, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:allocation:create_pre_rbac", "(rule:is_member and role:baremetal_admin) or (is_admin_project:True and role:admin)", PROJECT, None),
    row("baremetal:events:post", SYSTEM_ADMIN, SYSTEM, was(SAME, IS_ADMIN)),
    row("baremetal:deploy_template:get", SYSTEM_READER, BOTH, was(SAME, IS_ADMIN_OR_OBSERVER)),
    row("baremetal:deploy_template:create", SYSTEM_ADMIN, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:deploy_template:delete", SYSTEM_ADMIN, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:deploy_template:update", SYSTEM_ADMIN, BOTH, was(SAME, IS_ADMIN)),
    row("baremetal:runbook:get", SYSTEM_OR_RUNBOOK_READER, BOTH, None),
    row("baremetal:runbook:list", ANY_READER_OR_SERVICE, BOTH, None),
    row("baremetal:runbook:list_all", SYSTEM_READER, BOTH, None),
    row("baremetal:runbook:create", SYSTEM_OR_ANY_MANAGER, BOTH, None),
    row("baremetal:runbook:delete", SYSTEM_OR_RUNBOOK_MANAGER, BOTH, None),
    row("baremetal:runbook:update", SYSTEM_OR_RUNBOOK_MANAGER, BOTH, None),
    row("baremetal:runbook:update:public", SYSTEM_MEMBER, BOTH, None),
    row("baremetal:runbook:update:owner", SYSTEM_MEMBER, BOTH, None),
    row("baremetal:runbook:use", SYSTEM_OR_RUNBOOK_MANAGER, BOTH, None),
    row("baremetal:inspection_rule:get", SYSTEM_READER, BOTH, None),
    row("baremetal:inspection_rule:list_all", SYSTEM_READER, BOTH, None),
    row("baremetal:inspection_rule:create", SYSTEM_ADMIN, BOTH, None),
    row("baremetal:inspection_rule:update", SYSTEM_ADMIN, BOTH, None),
    row("baremetal:inspection_rule:delete", SYSTEM_ADMIN, BOTH, None),
];

/// The policy of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static PolicyDefault> {
    DEFAULTS.iter().find(|default| default.name == name)
}
