//! What a call may do: the questions that handlers ask the policy.
//!
//! Without Keystone every answer is yes. Refusals are upstream's: 403 with the name of the policy, 404 for a
//! node (or what belongs to it) that the caller may not even see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bessemer_policy::{Decision, Rules, Target};
use http::StatusCode;

use super::caller::Caller;
use crate::call::Call;
use crate::fault::ApiFault;

/// An object's attributes by the names that policies use.
type Object<'a> = Vec<(&'static str, Option<&'a str>)>;

/// Whose a node is: what node policies compare the caller's project with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ownership {
    pub owner: Option<String>,
    pub lessee: Option<String>,
}

impl Ownership {
    pub fn of(node: &bessemer_model::Node) -> Self {
        Self {
            owner: node.owner.clone(),
            lessee: node.lessee.clone(),
        }
    }

    /// As upstream asks for nodes: an owner counts even when there is none, a lessee only when there is one.
    fn of_node(&self) -> Object<'_> {
        let mut object = vec![("node.owner", self.owner.as_deref())];
        if let Some(lessee) = self.lessee.as_deref().filter(|l| !l.is_empty()) {
            object.push(("node.lessee", Some(lessee)));
        }
        object
    }

    /// As upstream asks for what belongs to a node (ports, port groups, volumes).
    fn of_part(&self) -> Object<'_> {
        vec![
            ("node.owner", self.owner.as_deref()),
            ("node.lessee", self.lessee.as_deref()),
        ]
    }

    /// As upstream asks for the fields of a node that is shown.
    fn of_shown(&self) -> Object<'_> {
        [("node.owner", &self.owner), ("node.lessee", &self.lessee)]
            .into_iter()
            .filter_map(|(name, value)| {
                let value = value.as_deref().filter(|v| !v.is_empty())?;
                Some((name, Some(value)))
            })
            .collect()
    }
}

/// Asks for members of nodes that have a policy of their own.
pub struct FieldGuard {
    rules: Arc<Rules>,
    caller: Arc<Caller>,
}

impl FieldGuard {
    /// Whether the caller may see the member that `policy` guards.
    pub fn shows(&self, policy: &str, whose: &Ownership) -> bool {
        let facts = &self.caller.facts;
        self.rules
            .decide(policy, &Target::of(facts, &whose.of_shown()), facts)
            .allowed()
    }
}

/// Whether a handler has asked for what the router left to it.
#[derive(Debug, Default)]
pub struct Asked(AtomicBool);

impl Asked {
    pub fn yes(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn reset(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub fn was(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

pub(super) fn forbidden(policy: &str) -> ApiFault {
    ApiFault::new(
        StatusCode::FORBIDDEN,
        format!("Access was denied to the following resource: {policy}"),
    )
}

impl Call {
    /// Whether policies decide at all (only with Keystone).
    pub fn policed(&self) -> bool {
        self.access.policed()
    }

    /// What the policy says of an object that may not be loaded yet.
    pub(super) fn decide(&self, policy: &str, target: &Target<'_>) -> Decision {
        self.asked.yes();
        if !self.policed() {
            return Decision::Allowed;
        }
        self.access
            .policy
            .rules()
            .decide(policy, target, &self.caller.facts)
    }

    fn permits(&self, policy: &str, object: &[(&str, Option<&str>)]) -> Result<(), ApiFault> {
        match self.decide(policy, &Target::of(&self.caller.facts, object)) {
            Decision::Allowed => Ok(()),
            Decision::Refused | Decision::WrongScope | Decision::Undecided => {
                Err(forbidden(policy))
            }
        }
    }

    /// Whether the caller may do what `policy` guards, as far as it is about no object.
    pub fn may(&self, policy: &str) -> bool {
        self.permits(policy, &[]).is_ok()
    }

    /// # Errors
    /// 403 that names the policy.
    pub fn authorize(&self, policy: &str) -> Result<(), ApiFault> {
        self.permits(policy, &[])
    }

    /// Whether the caller may know of the node; `ident` is what the client called it.
    ///
    /// # Errors
    /// 404
    pub fn see_node(&self, ident: &str, whose: &Ownership) -> Result<(), ApiFault> {
        self.permits("baremetal:node:get", &whose.of_node())
            .map_err(|_| ApiFault::node_not_found(ident))
    }

    /// Asks for a policy of a node after asking whether the caller may know of it at all.
    ///
    /// # Errors
    /// 404 for who may not see the node, 403 that names the policy.
    pub fn authorize_node(
        &self,
        policy: &str,
        ident: &str,
        whose: &Ownership,
    ) -> Result<(), ApiFault> {
        self.see_node(ident, whose)?;
        self.authorize_on_node(policy, whose)
    }

    /// Asks for a further policy of a node that the caller may see.
    ///
    /// # Errors
    /// 403 that names the policy.
    pub fn authorize_on_node(&self, policy: &str, whose: &Ownership) -> Result<(), ApiFault> {
        self.permits(policy, &whose.of_node())
    }

    /// Asks for a policy of what belongs to a node (port, port group, volume connector or target);
    /// `not_found` is the refusal of such a thing that does not exist.
    ///
    /// # Errors
    /// `not_found` for who may not see the node, 403 that names the policy.
    pub fn authorize_part(
        &self,
        policy: &str,
        whose: &Ownership,
        not_found: impl FnOnce() -> ApiFault,
    ) -> Result<(), ApiFault> {
        let object = whose.of_part();
        self.permits("baremetal:node:get", &object)
            .map_err(|_| not_found())?;
        self.permits(policy, &object)
    }

    /// Asks for a policy of an allocation.
    ///
    /// # Errors
    /// `not_found` for who may not see it, 403 that names the policy.
    pub fn authorize_allocation(
        &self,
        policy: &str,
        owner: Option<&str>,
        not_found: impl FnOnce() -> ApiFault,
    ) -> Result<(), ApiFault> {
        let object = [("allocation.owner", owner)];
        self.permits("baremetal:allocation:get", &object)
            .map_err(|_| not_found())?;
        self.permits(policy, &object)
    }

    /// Asks for a policy of a runbook.
    ///
    /// # Errors
    /// 403 that names the policy.
    pub fn authorize_runbook(&self, policy: &str, owner: Option<&str>) -> Result<(), ApiFault> {
        self.permits(policy, &[("runbook.owner", owner)])
    }

    /// Asks whether the caller may run a step. Steps that no rule of the operator names are free to all.
    ///
    /// # Errors
    /// 403 that names the step.
    pub fn authorize_step(
        &self,
        interface: &str,
        step: &str,
        whose: Option<&Ownership>,
    ) -> Result<(), ApiFault> {
        let policy = format!("baremetal:step:execute:{interface}.{step}");
        if !self.policed() || !self.access.policy.rules().has(&policy) {
            return Ok(());
        }
        let object = whose.map(Ownership::of_part).unwrap_or_default();
        self.permits(&policy, &object).map_err(|_| {
            ApiFault::new(
                StatusCode::FORBIDDEN,
                format!("insufficient privileges to execute step {step} on interface {interface}"),
            )
        })
    }

    /// Which project's items a list may show: `None` for all. `resource` is `node`, `port`, `portgroup`,
    /// `volume`, `allocation` or `runbook`; `wanted` is the project that the client asks for, which stands
    /// when the caller may see all.
    ///
    /// # Errors
    /// 403 that names the policy.
    pub fn list_project(
        &self,
        resource: &str,
        wanted: Option<&str>,
    ) -> Result<Option<String>, ApiFault> {
        let all = self.authorize(&format!("baremetal:{resource}:list_all"));
        let Err(refused) = all else {
            return Ok(wanted.map(str::to_owned));
        };
        match &self.caller.project_id {
            Some(own) if wanted.is_none_or(|wanted| wanted == own) => {
                self.authorize(&format!("baremetal:{resource}:list"))?;
                Ok(Some(own.clone()))
            }
            _ => Err(refused),
        }
    }

    /// Whether secrets of a kind are shown: `show_password` or `show_instance_secrets`. Decided by the policy
    /// with every strategy, since its default shows them to nobody.
    pub fn shows(&self, rule: &str) -> bool {
        self.access
            .policy
            .rules()
            .decide(rule, &Target::none(&self.caller.facts), &self.caller.facts)
            .allowed()
    }

    /// For the members of nodes, also when they are shown after the call has ended.
    pub fn field_guard(&self) -> FieldGuard {
        FieldGuard {
            rules: self.access.policy.rules(),
            caller: Arc::clone(&self.caller),
        }
    }

    /// A token that is not for the whole system.
    pub fn of_project(&self) -> bool {
        self.policed() && !self.caller.system
    }
}
