//! `inspect`: what the hardware is, asked of the BMC or reported by the ramdisk; hooks, rules, inventory.

use async_trait::async_trait;
use bessemer_model::{Event, Fault, LOOKUP_ADDRESSES, MacAddress, Node, Object, Port, Timestamp};
use bessemer_store::{Page, PortFilter, SignalKind, StoreError, TimelineSource};
use serde_json::{Value, json};

use super::ramdisk::{AbandonRamdisk, PowerOff, PowerOn, PrepareRamdisk, end_boot, wait_boot};
use super::{Flow, OnFailure};
use crate::context::Context;
use crate::error_text;
use crate::inspection::hooks::{self, new_port};
use crate::inspection::rules::{self, Rule};
use crate::inspection::{Edit, Findings};
use crate::outcome::{Look, Outcome, Phase};

pub const INSPECT: Flow = Flow {
    name: "inspect",
    version: 1,
    title: "inspection",
    history_type: "inspection",
    phases: &[
        &Start,
        &PowerOff("power-off"),
        &PrepareRamdisk,
        &PowerOn("power-on"),
        &WaitReport,
        &AfterReport(&PowerOff("power-off-after")),
        &Done,
    ],
    abandon: &AbandonRamdisk,
    on_failure: OnFailure::Fail,
};

/// Asks the BMC, or boots the ramdisk.
struct Start;

#[async_trait]
impl Phase for Start {
    fn name(&self) -> &'static str {
        "start"
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        let hardware = cx.hardware()?;
        let env = cx.shared.environment.clone();
        if !hardware.inspect.uses_agent() {
            cx.guard()?;
            let found = hardware.inspect.inspect(&env, &cx.node).await?;
            out_of_band(cx, found).await?;
            return Ok(Outcome::Next("done"));
        }
        hardware.power.validate(&env, &cx.node)?;
        hardware.boot.validate(&env, &cx.node)?;
        let addresses = bmc_addresses(&cx.node).await;
        cx.internal(LOOKUP_ADDRESSES, Some(json!(addresses)));
        Ok(Outcome::Done)
    }
}

/// IP addresses of the BMC, resolved where `driver_info` has names.
async fn bmc_addresses(node: &Node) -> Vec<String> {
    let mut all = Vec::new();
    for (key, value) in &node.driver_info {
        let Some(text) = value.as_str().filter(|_| key.ends_with("_address")) else {
            continue;
        };
        let host = url::Url::parse(text)
            .ok()
            .and_then(|u| u.host_str().map(|h| h.trim_matches(['[', ']']).to_owned()))
            .unwrap_or_else(|| text.to_owned());
        if let Ok(found) = tokio::net::lookup_host((host.as_str(), 0)).await {
            all.extend(found.map(|a| a.ip().to_string()));
        }
    }
    all.sort();
    all.dedup();
    all
}

/// Until the ramdisk has sent its report, which is then worked on.
struct WaitReport;

#[async_trait]
impl Phase for WaitReport {
    fn name(&self) -> &'static str {
        "wait-report"
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        // Taken only when it is worked on: what fails in passing is done again with it.
        let Some(report) = cx.peek_signal(SignalKind::Inspection) else {
            return wait_boot(cx, "the ramdisk's report").await;
        };
        cx.leave_wait()?;
        let part = |key: &str| {
            report
                .get(key)
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default()
        };
        let mut plugin_data = part("plugin_data");
        // They are for the operator's eyes, not for rules, and large.
        plugin_data.remove("logs");
        let inventory = part("inventory");
        work_on(cx, inventory, plugin_data, |found, settings| {
            hooks::run(found, settings)
        })
        .await?;
        cx.take_signal(SignalKind::Inspection);
        Ok(Outcome::Done)
    }
}

/// The power is left as it is when `[inspector] power_off` says so.
struct AfterReport(&'static dyn Phase);

#[async_trait]
impl Phase for AfterReport {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn abortable(&self, _cx: &Context) -> bool {
        false
    }

    async fn look(&self, cx: &mut Context) -> Result<Look, Fault> {
        if !cx.shared.settings.inspection.power_off || cx.node.disable_power_off {
            return Ok(Look::Done);
        }
        self.0.look(cx).await
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        self.0.act(cx).await
    }

    async fn expired(&self, cx: &mut Context) -> Fault {
        self.0.expired(cx).await
    }
}

struct Done;

#[async_trait]
impl Phase for Done {
    fn name(&self) -> &'static str {
        "done"
    }

    fn abortable(&self, _cx: &Context) -> bool {
        false
    }

    async fn look(&self, _cx: &mut Context) -> Result<Look, Fault> {
        Ok(Look::NotDone)
    }

    async fn act(&self, cx: &mut Context) -> Result<Outcome, Fault> {
        end_boot(cx).await?;
        cx.internal(LOOKUP_ADDRESSES, None);
        cx.set(|node| node.last_error = None);
        cx.leave_wait()?;
        cx.event(Event::Done)?;
        Ok(Outcome::Finish)
    }
}

/// What the BMC told, in the way of a report.
async fn out_of_band(
    cx: &mut Context,
    found: bessemer_drivers::interface::Inspection,
) -> Result<(), Fault> {
    let Some(Value::Object(inventory)) = found.inventory else {
        // Nothing to store: the properties, and ports for the cards that have none.
        let mut ports = ports(cx).await?;
        add_ports(&mut ports, cx.node.id, &found.macs);
        save_ports(cx, &ports).await?;
        for (name, value) in found.properties {
            property(cx, name, value);
        }
        return Ok(());
    };
    let (properties, macs) = (found.properties, found.macs);
    work_on(cx, inventory, found.plugin_data, move |found, _| {
        for (name, value) in &properties {
            found.property(name, value.clone())?;
        }
        add_ports(&mut found.ports, found.node.id, &macs);
        Ok(())
    })
    .await
}

fn property(cx: &mut Context, name: String, value: Value) {
    cx.set(move |node| {
        if value.is_null() {
            node.properties.remove(&name);
        } else {
            node.properties.insert(name.clone(), value.clone());
        }
    });
}

fn add_ports(ports: &mut Vec<Port>, node: bessemer_model::NodeId, macs: &[MacAddress]) {
    for mac in macs {
        if !ports.iter().any(|p| p.address == *mac) {
            ports.push(new_port(node, *mac));
        }
    }
}

async fn ports(cx: &Context) -> Result<Vec<Port>, Fault> {
    let filter = PortFilter {
        node: Some(cx.node.id),
        ..PortFilter::default()
    };
    let page = Page {
        limit: 1000,
        ..Page::default()
    };
    cx.shared
        .store
        .list_ports(&filter, &page)
        .await
        .map_err(|e| error_text::store(&e))
}

/// Makes the node's ports what they shall be. Doing it again changes nothing.
async fn save_ports(cx: &Context, wanted: &[Port]) -> Result<(), Fault> {
    let before = ports(cx).await?;
    cx.guard()?;
    let store = &cx.shared.store;
    for gone in before
        .iter()
        .filter(|p| !wanted.iter().any(|w| w.id == p.id))
    {
        match store.delete_port(gone.id).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error_text::store(&error)),
        }
    }
    for port in wanted {
        let done = match before.iter().find(|p| p.id == port.id) {
            Some(known) if known == port => Ok(()),
            Some(_) => store.update_port(port).await,
            None => store.create_port(port).await,
        };
        match done {
            Ok(()) => {}
            // Another node's card, or made by another at this moment: upstream only tells it, too.
            Err(error @ StoreError::Duplicate { .. }) => {
                tracing::warn!(node = %cx.node.id, "a port of the inventory was not made: {error}");
            }
            Err(error) => return Err(error_text::store(&error)),
        }
    }
    Ok(())
}

/// Hooks, rules, then everything that they changed: ports and inventory in the store, the node with the outcome.
async fn work_on(
    cx: &mut Context,
    inventory: Object,
    plugin_data: Object,
    first: impl FnOnce(&mut Findings, &hooks::HookSettings) -> Result<(), String>,
) -> Result<(), Fault> {
    let shared = std::sync::Arc::clone(&cx.shared);
    let settings = &shared.settings.inspection;
    let mut found = Findings {
        node: cx.node.clone(),
        edits: Vec::new(),
        inventory,
        plugin_data,
        ports: ports(cx).await?,
        notes: Vec::new(),
    };
    let label = cx.node.label();
    let failed =
        |why: String| Fault::invalid(format!("The inspection of node {label} failed: {why}"));
    first(&mut found, &settings.hooks).map_err(failed)?;
    let mut all: Vec<Rule> = shared
        .store
        .inspection_rules_of_phase("main")
        .await
        .map_err(|e| error_text::store(&e))?
        .into_iter()
        .map(|rule| Rule {
            id: rule.id.to_string(),
            priority: rule.priority,
            sensitive: rule.sensitive,
            conditions: rule.conditions,
            actions: rule.actions,
        })
        .collect();
    rules::apply(&mut found, &mut all, settings.mask_secrets, &shared.http)
        .await
        .map_err(failed)?;
    for note in std::mem::take(&mut found.notes) {
        cx.note(TimelineSource::Engine, note);
    }
    save_ports(cx, &found.ports).await?;
    let row = bessemer_model::Inventory {
        inventory: found.inventory,
        plugin_data: found.plugin_data,
        at: Timestamp::now(),
    };
    shared
        .store
        .set_inventory(cx.node.id, row)
        .await
        .map_err(|e| error_text::store(&e))?;
    for edit in found.edits {
        make(cx, edit)?;
    }
    Ok(())
}

fn make(cx: &mut Context, edit: Edit) -> Result<(), Fault> {
    cx.change(move |node| edit.apply(node).map_err(Fault::invalid))
}
