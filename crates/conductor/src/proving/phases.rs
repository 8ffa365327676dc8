//! Every phase of every flow, failed, broken off and repeated in turn; and every wait that runs out.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bessemer_model::{Class, Node, NodeId, PowerState, PowerTarget, ProvisionState as S};
use serde_json::json;

use super::host::Faults;
use super::world::{Verb, World};
use super::{Moment, Plan, Trouble, forget_plans, hits, plan, seen};
use crate::Provision;
use crate::flow::{FLOWS, Flow};

/// How a flow is begun, and where it ends.
struct Case {
    start: S,
    verb: Verb,
    done: S,
    failed: S,
}

fn case(flow: &str, phase: &str) -> Case {
    let case = |start, verb, done, failed| Case {
        start,
        verb,
        done,
        failed,
    };
    match flow {
        "manage" => case(S::Enroll, Verb::to("manage"), S::Manageable, S::Enroll),
        "clean" => case(
            S::Manageable,
            Verb::full("clean"),
            S::Manageable,
            S::CleanFailed,
        ),
        "deploy" => case(S::Available, Verb::to("active"), S::Active, S::DeployFailed),
        "unprovision" => case(S::Active, Verb::to("deleted"), S::Available, S::Error),
        "power" if phase == "power-off" => case(
            S::Active,
            Verb::Power(PowerTarget::Reboot),
            S::Active,
            S::Active,
        ),
        "power" => case(
            S::Active,
            Verb::Power(PowerTarget::SoftReboot),
            S::Active,
            S::Active,
        ),
        "call" => case(
            S::Manageable,
            Verb::BootMode("bios"),
            S::Manageable,
            S::Manageable,
        ),
        "service" | "unservice" => case(
            S::Active,
            Verb::full("service"),
            S::Active,
            S::ServiceFailed,
        ),
        "inspect" => case(
            S::Manageable,
            Verb::to("inspect"),
            S::Manageable,
            S::InspectFailed,
        ),
        "rescue" => case(S::Active, Verb::full("rescue"), S::Rescue, S::RescueFailed),
        "unrescue" => case(
            S::Rescue,
            Verb::to("unrescue"),
            S::Active,
            S::UnrescueFailed,
        ),
        "adopt" => case(S::Manageable, Verb::to("adopt"), S::Active, S::AdoptFailed),
        "child-step" => {
            let on_child =
                json!([{"interface": "power", "step": "reboot", "execute_on_child_nodes": true}]);
            let verb = Verb::Provision(Provision {
                target: "clean".into(),
                clean_steps: Some(on_child),
                disable_ramdisk: true,
                ..Provision::default()
            });
            case(S::Manageable, verb, S::Manageable, S::CleanFailed)
        }
        other => panic!("flow {other} is not tried: say how it is begun"),
    }
}

/// One node on which something goes wrong.
struct Trial {
    node: NodeId,
    /// Whom it happens to: the node or its child.
    victim: NodeId,
    what: String,
    case: Case,
    flow: &'static str,
    title: &'static str,
}

async fn trial(world: &mut World, flow: &Flow, phase: &'static str, name: &str) -> Trial {
    let case = case(flow.name, phase);
    let node = world
        .node(name, case.start, |node| {
            // what follows is another flow
            node.automated_clean = (flow.name == "unprovision").then_some(false);
        })
        .await;
    let mut victim = node;
    if flow.name == "child-step" {
        let child = format!("child-of-{name}");
        victim = world
            .node(&child, S::Manageable, |child| {
                child.parent_node = Some(node)
            })
            .await;
    }
    Trial {
        node,
        victim,
        what: name.to_owned(),
        case,
        flow: flow.name,
        title: flow.title,
    }
}

/// Until no node is worked on, and what they have become.
async fn finish(world: &mut World) -> BTreeMap<NodeId, Node> {
    let flows: Vec<&str> = FLOWS.iter().map(|flow| flow.name).collect();
    for _ in 0..5000 {
        world.settle().await;
        let open = world.store.count_open_operations(&flows, None).await;
        if open.unwrap() == 0 {
            let all = world.all().await;
            for node in &all {
                world.check(node).await;
            }
            return all.into_iter().map(|n| (n.id, n)).collect();
        }
        assert!(world.jump().await, "operations wait for nothing");
    }
    panic!("operations do not come to an end");
}

/// Asks for the verb, again where it has failed before.
async fn begin(world: &World, trial: &Trial, again: bool) {
    if again {
        world.maintenance(trial.node, false).await;
        if trial.case.failed == S::CleanFailed {
            world.ask(trial.node, &Verb::to("manage")).await.unwrap();
        }
    }
    world
        .ask(trial.node, &trial.case.verb)
        .await
        .unwrap_or_else(|fault| panic!("{}: refused: {fault}", trial.what));
}

fn good(trial: &Trial, node: &Node) {
    let what = &trial.what;
    assert_eq!(node.last_error, None, "{what}");
    assert_eq!(node.provision_state, trial.case.done, "{what}");
    assert_eq!(node.target_provision_state, None, "{what}");
    assert!(!node.maintenance && node.fault.is_none(), "{what}");
    if node.provision_state == S::Active {
        assert_eq!(node.power_state, Some(PowerState::On), "{what}");
    }
}

/// The state of the failed verb, and a sentence that names operation, object and what to check.
fn failed(trial: &Trial, node: &Node, says: &[&str]) {
    let what = &trial.what;
    let error = node.last_error.as_deref();
    assert_eq!(node.provision_state, trial.case.failed, "{what}: {error:?}");
    assert_eq!(
        (node.target_power_state, node.reservation.as_deref()),
        (None, None),
        "{what}"
    );
    let error = error.unwrap_or_else(|| panic!("{what} has no last_error"));
    let lower = error.to_lowercase();
    for part in says {
        assert!(error.contains(part), "{what}: {part:?} is not in {error:?}");
    }
    let id = node.id.to_string();
    assert!(
        error.contains(&id) || error.contains(what.as_str()),
        "{what}: {error}"
    );
    // the node's own name proves nothing
    let lower = lower.replace(&node.label(), "");
    // upstream's words, by which clients know a verification that failed
    let known = "failed to get power state";
    let named = [trial.title, trial.flow, known]
        .iter()
        .any(|n| lower.contains(n));
    assert!(
        trial.victim != trial.node || named,
        "{what}: no {} in {error}",
        trial.title
    );
    let checks = ["check", "see ", "log", "try again", "use a hard"];
    assert!(
        checks.iter().any(|c| lower.contains(c)),
        "{what}: nothing to check: {error}"
    );
    let shown = [&node.clean_step, &node.deploy_step, &node.service_step];
    assert!(shown.iter().all(|step| step.is_empty()), "{what}");
}

fn nothing_twice(world: &World, trial: &Trial) {
    let mut seen = HashSet::new();
    for deed in &world.host(trial.node).deeds {
        assert!(
            seen.insert(deed.clone()),
            "{}: {} was started twice",
            trial.what,
            deed.what
        );
    }
}

const NO: &str = "the device said no in this test; check its log";

/// What makes an operation fail, each in its turn, and what its error then says.
const FAILURES: &[(Moment, Trouble, u32, &[&str])] = &[
    (Moment::Look, Trouble::Panic, 3, &["3 times", "bug", "log"]),
    (Moment::Act, Trouble::Fault(Class::Never), 1, &[NO]),
    (
        Moment::Look,
        Trouble::Fault(Class::RetryLater),
        1000,
        &[NO, "tried for"],
    ),
];

/// What an operation gets over, all in one run.
const DISTURBANCES: &[(Moment, Trouble)] = &[
    (Moment::Look, Trouble::Fault(Class::RetryLater)),
    (Moment::Act, Trouble::Fault(Class::RetryNow)),
    (Moment::Looked, Trouble::Death),
    (Moment::Act, Trouble::Panic),
    (Moment::Acted, Trouble::Death),
    (Moment::Acted, Trouble::Panic),
];

/// Each phase fails in every way, the verb is asked for again, and in the end it gets over all that does not last.
async fn every_phase(of: impl Fn(&Flow) -> bool) {
    let mut world = World::new(|settings| {
        settings.max_concurrent_deploy = 1000;
        settings.max_concurrent_clean = 1000;
        settings.device_retry_timeout = std::time::Duration::from_secs(5);
    })
    .await;
    let mut trials = Vec::new();
    let mut phases = BTreeSet::new();
    for flow in FLOWS.iter().filter(|flow| of(flow)) {
        for phase in flow.phases.iter().chain([&flow.abandon]) {
            let phase = phase.name();
            phases.insert((flow.name.to_owned(), phase));
            let name = format!("{}-{phase}", flow.name);
            trials.push((flow, phase, trial(&mut world, flow, phase, &name).await));
        }
    }
    let plan_at = |node, flow: &Flow, phase, moment, trouble, times| {
        let at = Some((flow.name, phase));
        plan(
            node,
            Plan {
                at,
                moment,
                trouble,
                times,
            },
        );
    };
    let mut left: Vec<_> = trials.iter().collect();
    for (turn, (moment, trouble, times, says)) in FAILURES.iter().enumerate() {
        for (flow, phase, trial) in &left {
            plan_at(trial.victim, flow, *phase, *moment, *trouble, *times);
            if *phase == flow.abandon.name() {
                // The clean-up comes after a failure. Whatever happens to it, the node gets out.
                let first = flow.first().name();
                plan_at(
                    trial.victim,
                    flow,
                    first,
                    Moment::Look,
                    Trouble::Fault(Class::Never),
                    1,
                );
            }
            begin(&world, trial, turn > 0).await;
        }
        let before: BTreeMap<_, _> = left
            .iter()
            .map(|(_, _, t)| (t.victim, hits(t.victim)))
            .collect();
        let nodes = finish(&mut world).await;
        left.retain(|(flow, phase, trial)| {
            let node = &nodes[&trial.node];
            forget_plans(trial.victim);
            if *phase == flow.abandon.name() {
                failed(trial, node, &[NO]);
                return true;
            }
            if hits(trial.victim) == before[&trial.victim] {
                // the moment never comes in this phase
                good(trial, node);
                return false;
            }
            failed(trial, node, says);
            true
        });
    }
    // Phases that look only are the exception.
    assert!(
        left.len() * 4 > trials.len() * 3,
        "{} of {}",
        left.len(),
        trials.len()
    );
    for (flow, phase, trial) in &left {
        for (moment, trouble) in DISTURBANCES {
            plan_at(trial.victim, flow, *phase, *moment, *trouble, 1);
        }
        begin(&world, trial, true).await;
    }
    let nodes = finish(&mut world).await;
    for (_, _, trial) in &left {
        good(trial, &nodes[&trial.node]);
        forget_plans(trial.victim);
    }
    for (_, _, trial) in &trials {
        nothing_twice(&world, trial);
    }
    let missing: Vec<_> = phases.difference(&seen()).cloned().collect();
    assert!(missing.is_empty(), "never run: {missing:?}");
}

#[tokio::test]
async fn phases_of_deploy_and_its_end() {
    every_phase(|flow| matches!(flow.name, "deploy" | "unprovision" | "adopt" | "manage")).await;
}

#[tokio::test]
async fn phases_of_cleaning_inspection_and_power() {
    every_phase(|flow| {
        matches!(
            flow.name,
            "clean" | "inspect" | "child-step" | "power" | "call"
        )
    })
    .await;
}

#[tokio::test]
async fn phases_of_service_and_rescue() {
    every_phase(|flow| matches!(flow.name, "service" | "unservice" | "rescue" | "unrescue")).await;
}

#[test]
fn no_flow_is_left_out() {
    for flow in FLOWS {
        let _ = case(flow.name, "");
    }
    assert_eq!(
        FLOWS.len(),
        13,
        "a flow that is added is tried in one of the tests above"
    );
}

/// Waits that run out, devices that stay away, and work that fails on the host itself.
#[tokio::test]
async fn hosts_that_do_not_do_what_they_should() {
    let stuck = Faults {
        power_stuck: true,
        ..Faults::default()
    };
    let away = Faults {
        bmc_away: true,
        ..Faults::default()
    };
    let silent = Faults {
        never_boots: true,
        ..Faults::default()
    };
    let failing = Faults {
        steps_fail: true,
        ..Faults::default()
    };
    let dying = Faults {
        agent_dies: true,
        ..Faults::default()
    };
    let mut world = World::new(|settings| {
        let seconds = std::time::Duration::from_secs;
        settings.deploy_callback_timeout = seconds(1000);
        settings.clean_callback_timeout = seconds(1100);
        settings.service_callback_timeout = seconds(1200);
        settings.rescue_callback_timeout = seconds(1300);
        settings.inspect_wait_timeout = seconds(1400);
        settings.power_state_change_timeout = seconds(4);
        settings.soft_power_off_timeout = seconds(7);
        settings.device_retry_timeout = seconds(5);
    })
    .await;
    let mut trials = Vec::new();
    const NO_CALL: &[&str] = &["Timeout", "the agent's first heartbeat", "DHCP"];
    const NOT_OFF: &[&str] = &["power off", "4 s", "BMC accepted"];
    const NO_BMC: &[&str] = &["did not answer", "tried for"];
    const NO_AGENT: &[&str] = &["agent", "did not answer", "console"];
    let table: &[(&[&str], &str, &Faults, &[&str])] = &[
        (
            &["deploy", "clean", "service", "rescue"],
            "wait-agent",
            &silent,
            NO_CALL,
        ),
        (
            &["inspect"],
            "wait-report",
            &silent,
            &["Timeout", "the ramdisk's report"],
        ),
        (
            &[
                "deploy",
                "clean",
                "inspect",
                "service",
                "rescue",
                "unrescue",
                "unprovision",
                "power",
            ],
            "power-off",
            &stuck,
            NOT_OFF,
        ),
        (
            &["power"],
            "soft-power-off",
            &stuck,
            &["soft power off", "7 s", "operating system"],
        ),
        (
            &["deploy", "clean", "call", "manage", "adopt"],
            "",
            &away,
            NO_BMC,
        ),
        (
            &["deploy"],
            "run-steps",
            &failing,
            &["write_image", "image.raw", "SMART"],
        ),
        (
            &["clean"],
            "run-steps",
            &failing,
            &["erase_devices_metadata", "SMART"],
        ),
        (&["service"], "run-steps", &failing, &["burnin", "SMART"]),
        (
            &["deploy", "clean", "service"],
            "run-steps",
            &dying,
            NO_AGENT,
        ),
    ];
    for (number, (flows, phase, faults, says)) in table.iter().enumerate() {
        for flow in *flows {
            let flow = crate::flow::by_name(flow).unwrap();
            let name = format!("{}-{phase}-{number}", flow.name);
            let trial = trial(&mut world, flow, phase, &name).await;
            world.host(trial.node).faults = (*faults).clone();
            begin(&world, &trial, false).await;
            trials.push((trial, *says));
        }
    }
    let nodes = finish(&mut world).await;
    for (trial, says) in &trials {
        let node = &nodes[&trial.node];
        failed(trial, node, says);
        let timeouts = [
            ("deploy", 1000),
            ("clean", 1100),
            ("service", 1200),
            ("rescue", 1300),
            ("inspect", 1400),
        ];
        let error = node.last_error.as_deref().unwrap();
        if let Some((_, after)) = timeouts
            .iter()
            .find(|(flow, _)| trial.what.starts_with(&format!("{flow}-wait")))
        {
            assert!(error.contains(&format!("after {after} s")), "{error}");
        }
        world.host(trial.node).faults = Faults::default();
        begin(&world, trial, true).await;
    }
    let nodes = finish(&mut world).await;
    for (trial, _) in &trials {
        good(trial, &nodes[&trial.node]);
        nothing_twice(&world, trial);
    }
}

/// `disable_power_off`: every flow does its work, restarts take the place of the power's off and on.
#[tokio::test]
async fn nodes_that_may_not_be_switched_off() {
    let mut world = World::new(|_| {}).await;
    for (flow, phase) in [
        ("manage", ""),
        ("clean", ""),
        ("deploy", ""),
        ("unprovision", ""),
        ("power", "power-off"),
        ("service", ""),
        ("inspect", ""),
        ("rescue", ""),
        ("unrescue", ""),
        ("adopt", ""),
    ] {
        let case = case(flow, phase);
        let name = format!("kept-{flow}");
        let node = world
            .node(&name, case.start, |node| node.disable_power_off = true)
            .await;
        for target in [
            PowerTarget::Off,
            PowerTarget::SoftOff,
            PowerTarget::SoftReboot,
        ] {
            let refused = world.ask(node, &Verb::Power(target)).await.unwrap_err();
            assert!(refused.text.contains("disable_power_off"), "{refused}");
        }
        world.ask(node, &case.verb).await.unwrap();
        let done = world.rest(node).await;
        assert_eq!(
            (done.last_error.as_deref(), done.provision_state),
            (None, case.done),
            "{flow}"
        );
        let host = world.host(node);
        assert_eq!((host.offs, host.power), (0, PowerState::On), "{flow}");
        assert_eq!(
            host.resets > 0,
            !matches!(flow, "manage" | "adopt"),
            "{flow}"
        );
        // the last restart is into the instance where there is one
        let instance = matches!(flow, "deploy" | "power" | "service" | "unrescue");
        assert_eq!(host.instances, u32::from(instance), "{flow}");
    }
}

/// Deploys without a ramdisk, which is quicker.
fn without_agent(node: &mut Node) {
    node.interfaces
        .set(bessemer_model::InterfaceKind::Deploy, Some("fake".into()));
}

/// The verb with a step that takes no time.
fn short(target: &str) -> Verb {
    let step = json!([{"interface": "management", "step": "look_twice"}]);
    Verb::Provision(Provision {
        target: target.into(),
        clean_steps: (target == "clean").then_some(step),
        ..Provision::default()
    })
}

/// What the settings limit, for all and for each conductor group.
#[tokio::test]
async fn so_many_at_once() {
    for by_group in [false, true] {
        let mut world = World::new(|settings| {
            settings.max_concurrent_deploy = 1;
            settings.max_concurrent_clean = 1;
            settings.max_concurrent_per_conductor_group = by_group;
        })
        .await;
        for (start, verbs) in [
            (S::Available, ["active", "active"]),
            (S::Manageable, ["provide", "clean"]),
        ] {
            let mut nodes = Vec::new();
            for (number, group) in ["", "", "other"].into_iter().enumerate() {
                let name = format!("{start}-{number}");
                let node = world.node(&name, start, |node| {
                    node.conductor_group = group.into();
                    without_agent(node);
                });
                nodes.push(node.await);
            }
            let (first, second, other) = (nodes[0], nodes[1], nodes[2]);
            let verbs = verbs.map(short);
            world.ask(first, &verbs[0]).await.unwrap();
            let refused = world.ask(second, &verbs[1]).await.unwrap_err();
            assert_eq!(refused.kind, bessemer_model::FaultKind::Busy);
            assert!(
                refused.text.contains("max_concurrent_") && refused.text.contains("later"),
                "{refused}"
            );
            assert_eq!(world.ask(other, &verbs[1]).await.is_ok(), by_group);
            world.rest(first).await;
            world.ask(second, &verbs[1]).await.unwrap();
            world.rest(second).await;
        }
    }
}

/// Who gets the lessee with the deploy, and that he goes with the instance.
#[tokio::test]
async fn lessees_come_and_go_with_the_instance() {
    use crate::LesseeSource::{Instance, None as Nobody, Request};
    let requester = bessemer_store::Requester {
        user_id: None,
        project_id: Some("caller".into()),
        phrase: String::new(),
    };
    for (source, own, expected) in [
        (Instance, None, Some("tenant")),
        (Request, None, Some("caller")),
        (Nobody, None, None),
        (Instance, Some("landlord"), Some("landlord")),
    ] {
        let mut world = World::new(|settings| settings.automatic_lessee = source).await;
        let node = world
            .node("n", S::Available, |node| {
                node.instance_info
                    .insert("project_id".into(), json!("tenant"));
                node.lessee = own.map(str::to_owned);
                without_agent(node);
                node.automated_clean = Some(false);
            })
            .await;
        let verb = Verb::to("active");
        let asked = requester.clone().asks(world.ask(node, &verb));
        asked.await.unwrap();
        assert_eq!(world.rest(node).await.lessee.as_deref(), expected);
        world.ask(node, &Verb::to("deleted")).await.unwrap();
        assert_eq!(world.rest(node).await.lessee.as_deref(), own);
    }
}

/// A kind of death that tells nothing is forgiven 25 times, and then the operation fails: no endless loop of crashes.
#[tokio::test]
async fn deaths_without_a_word() {
    let mut world = World::new(|_| {}).await;
    for (deaths, fails) in [(24, false), (25, true)] {
        let name = format!("dies-{deaths}");
        let node = world.node(&name, S::Manageable, |_| {}).await;
        plan(
            node,
            Plan {
                at: Some(("inspect", "prepare-ramdisk")),
                moment: Moment::Act,
                trouble: Trouble::Death,
                times: deaths,
            },
        );
        world.ask(node, &Verb::to("inspect")).await.unwrap();
        let begun = bessemer_model::Timestamp::now();
        let now = world.rest(node).await;
        assert_eq!(hits(node), deaths);
        if !fails {
            assert_eq!((now.last_error, now.provision_state), (None, S::Manageable));
            continue;
        }
        assert_eq!(now.provision_state, S::InspectFailed);
        let error = now.last_error.unwrap();
        for part in [
            "inspection of node dies-25",
            "prepare-ramdisk",
            "25 times",
            "bug",
            "log",
        ] {
            assert!(error.contains(part), "{error}");
        }
        // with pauses: 7 of 200 ms and 16 of a second after the first deaths
        let took = bessemer_model::Timestamp::now().since(begun);
        assert!(took.as_secs() >= 10, "{took:?}");
        world.ask(node, &Verb::to("inspect")).await.unwrap();
        assert_eq!(world.rest(node).await.provision_state, S::Manageable);
    }
}

/// Automated cleaning by a runbook: which one, whose nodes, and what happens without one.
#[tokio::test]
async fn runbooks_clean_by_themselves() {
    use crate::CleaningSource::{Hybrid, Runbook};
    /// Source, traits and resource class of the node, and what is said of the cleaning or in its error.
    type Row = (
        crate::CleaningSource,
        &'static [&'static str],
        &'static str,
        Result<&'static str, &'static str>,
    );
    let table: &[Row] = &[
        (Runbook, &["CUSTOM_OTHER"], "", Ok("CUSTOM_OTHER")),
        (Runbook, &["CUSTOM_T"], "gold", Ok("CUSTOM_GOLD")),
        (
            Runbook,
            &["CUSTOM_T"],
            "",
            Err("none of the traits of runbook CUSTOM_OTHER"),
        ),
        (
            Runbook,
            &["CUSTOM_T"],
            "tin",
            Err("there is no runbook CUSTOM_TIN"),
        ),
        (Hybrid, &["CUSTOM_T"], "", Ok("driver and agent")),
    ];
    for (source, traits, class, expected) in table {
        let mut world = World::new(|settings| {
            settings.cleaning_source = *source;
            settings.cleaning_runbook = Some("CUSTOM_OTHER".into());
            settings.cleaning_runbook_by_resource_class =
                [("gold", "CUSTOM_GOLD"), ("tin", "CUSTOM_TIN")]
                    .map(|(class, name)| (class.to_owned(), name.to_owned()))
                    .into();
        })
        .await;
        for (name, traits) in [
            ("CUSTOM_OTHER", vec![]),
            ("CUSTOM_GOLD", vec!["CUSTOM_T".to_owned()]),
        ] {
            let runbook = bessemer_model::Runbook {
                id: bessemer_model::RunbookId::random(),
                name: name.into(),
                description: None,
                public: false,
                owner: None,
                disable_ramdisk: true,
                extra: bessemer_model::Object::new(),
                steps: vec![bessemer_model::RunbookStep {
                    interface: "management".into(),
                    step: "look_twice".into(),
                    args: bessemer_model::Object::new(),
                    order: 1,
                }],
                traits,
                created_at: bessemer_model::Timestamp::now(),
                updated_at: None,
            };
            world.store.create_runbook(&runbook).await.unwrap();
        }
        let node = world
            .node("n", S::Manageable, |node| {
                node.traits = traits.iter().map(|t| (*t).to_owned()).collect();
                node.resource_class = Some((*class).to_owned());
                without_agent(node);
            })
            .await;
        world.ask(node, &Verb::to("provide")).await.unwrap();
        let now = world.rest(node).await;
        let error = now.last_error.unwrap_or_default();
        match expected {
            Ok(by) => {
                assert_eq!((error.as_str(), now.provision_state), ("", S::Available));
                let timeline = world.store.list_timeline(node, None, 100).await.unwrap();
                assert!(
                    timeline
                        .iter()
                        .any(|(_, e)| e.text.contains("cleaned by") && e.text.contains(by))
                );
                let ran = timeline
                    .iter()
                    .any(|(_, e)| e.text.contains("management.look_twice is done"));
                assert_eq!(ran, by.starts_with("CUSTOM"));
            }
            Err(why) => {
                assert_eq!(now.provision_state, S::CleanFailed);
                for part in ["cleaning of node n", why, "check"] {
                    assert!(error.contains(part), "{error}");
                }
            }
        }
    }
}

/// `[conductor] verify_step_priority_override`: 0 switches a step of `manage` off.
#[tokio::test]
async fn verify_steps_may_be_switched_off() {
    for (priority, runs) in [(0, false), (7, true)] {
        let mut world = World::new(|settings| {
            let name = "management.look_twice".to_owned();
            settings
                .verify_step_priority_override
                .insert(name, priority);
        })
        .await;
        let node = world.node("n", S::Enroll, |_| {}).await;
        world.ask(node, &Verb::to("manage")).await.unwrap();
        assert_eq!(world.rest(node).await.provision_state, S::Manageable);
        let timeline = world.store.list_timeline(node, None, 100).await.unwrap();
        let ran = timeline
            .iter()
            .any(|(_, e)| e.text.contains("verify step management.look_twice is done"));
        assert_eq!(ran, runs);
    }
}
