#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use bessemer_drivers::interface::step as driver_step;
use std::collections::BTreeMap;

fn agent(steps: Value) -> BTreeMap<String, Vec<StepDefinition>> {
    BTreeMap::from([(
        "generic_hardware_manager".to_owned(),
        serde_json::from_value(steps).unwrap(),
    )])
}

fn labels(steps: &[PlannedStep]) -> Vec<String> {
    steps.iter().map(PlannedStep::label).collect()
}

#[test]
fn automated_cleaning_sorts_and_drops_zero() {
    let offered = agent(json!([
        {"step": "erase_devices", "interface": "deploy", "priority": 10},
        {"step": "erase_devices_metadata", "interface": "deploy", "priority": 99},
        {"step": "erase_pstore", "interface": "deploy", "priority": 0},
        {"step": "same", "interface": "raid", "priority": 10},
        {"step": "same", "interface": "vendor", "priority": 10},
    ]));
    let mut settings = Settings::new("c", "http://a");
    assert_eq!(
        labels(&automated_clean(&settings, &[], &offered)),
        [
            "deploy.erase_devices_metadata",
            "vendor.same",
            "deploy.erase_devices",
            "raid.same"
        ]
    );
    settings.erase_devices_priority = Some(0);
    settings
        .clean_step_priority_override
        .insert("raid.same".into(), 500);
    assert_eq!(
        labels(&automated_clean(&settings, &[], &offered)),
        ["raid.same", "deploy.erase_devices_metadata", "vendor.same"]
    );
}

#[test]
fn manual_cleaning_keeps_the_order_and_names_what_is_wrong() {
    let offered = agent(json!([
        {"step": "a", "interface": "deploy", "priority": 1, "argsinfo": {"x": {"description": "", "required": true}}},
        {"step": "b", "interface": "deploy", "priority": 9},
    ]));
    let check = |list: Value, want: Result<&[&str], &str>| match (
        manual(StepKind::Clean, &list, &[], &offered),
        want,
    ) {
        (Ok(steps), Ok(want)) => assert_eq!(labels(&steps), want),
        (Err(fault), Err(want)) => assert!(fault.text.contains(want), "{fault}"),
        (got, want) => panic!("{got:?} for {want:?}"),
    };
    check(
        json!([{"interface": "deploy", "step": "a", "args": {"x": 1}}, {"interface": "deploy", "step": "b"}]),
        Ok(&["deploy.a", "deploy.b"]),
    );
    check(
        json!([{"interface": "deploy", "step": "a"}]),
        Err("needs the argument x"),
    );
    check(
        json!([{"interface": "deploy", "step": "a", "args": {"x": 1, "y": 2}}]),
        Err("no argument y"),
    );
    check(
        json!([{"interface": "deploy", "step": "c"}]),
        Err("no clean step deploy.c; this node has deploy.a, deploy.b"),
    );
    check(json!({"step": 1}), Err("not a JSON list"));
}

#[test]
fn deploy_steps_merge() {
    let driver = vec![
        driver_step("deploy", "deploy", 100, StepRun::Core(CoreStep::Deploy)),
        driver_step(
            "write_image",
            "deploy",
            80,
            StepRun::Core(CoreStep::WriteImage),
        ),
        driver_step(
            "boot_instance",
            "deploy",
            20,
            StepRun::Core(CoreStep::BootInstance),
        ),
    ];
    let offered = agent(json!([
        {"step": "write_image", "interface": "deploy", "priority": 0},
        {"step": "inject_files", "interface": "deploy", "priority": 0},
        {"step": "apply_configuration", "interface": "raid", "priority": 90},
    ]));
    let check = |wanted: Option<Value>, want: &[&str]| {
        assert_eq!(
            labels(
                &deploy(
                    &with_templates(wanted.as_ref(), &[]).unwrap(),
                    &driver,
                    &offered
                )
                .unwrap()
            ),
            want
        );
    };
    check(
        None,
        &[
            "raid.apply_configuration",
            "deploy.write_image",
            "deploy.boot_instance",
        ],
    );
    check(
        Some(json!([
            {"interface": "deploy", "step": "inject_files", "args": {}, "priority": 50},
            {"interface": "raid", "step": "apply_configuration", "args": {}, "priority": 0},
        ])),
        &[
            "deploy.write_image",
            "deploy.inject_files",
            "deploy.boot_instance",
        ],
    );
    let wrong = json!([{"interface": "deploy", "step": "nosuch", "args": {}, "priority": 50}]);
    assert!(
        deploy(
            &with_templates(Some(&wrong), &[]).unwrap(),
            &driver,
            &offered
        )
        .unwrap_err()
        .text
        .contains("nosuch")
    );
}

#[test]
fn reserved_steps_and_children() {
    let steps = |kind, list: Value| manual(kind, &list, &[], &BTreeMap::new());
    let list = steps(
        StepKind::Service,
        json!([
            {"interface": "power", "step": "reboot", "order": 3},
            {"interface": "deploy", "step": "hold", "order": 1},
            {"interface": "vendor", "step": "wait", "args": {"seconds": 5}, "order": 2},
            {"interface": "raid", "step": "anything", "order": "4", "execute_on_child_nodes": true,
             "limit_child_node_execution": ["11111111-2222-3333-4444-555555555555"]},
        ]),
    )
    .unwrap();
    assert_eq!(
        labels(&list),
        [
            "deploy.hold",
            "vendor.wait",
            "power.reboot",
            "raid.anything"
        ]
    );
    assert_eq!(list[0].reserved, Some(Reserved::Hold));
    assert_eq!(list[3].children.as_ref().map(Vec::len), Some(1));
    assert!(list.iter().all(|s| s.abortable));
    for (list, want) in [
        (
            json!([{"interface": "deploy", "step": "wait", "args": {"seconds": -1}}]),
            "whole number",
        ),
        (
            json!([{"interface": "deploy", "step": "hold", "execute_on_child_nodes": true}]),
            "child nodes",
        ),
        (
            json!([{"interface": "deploy", "step": "x", "execute_on_child_nodes": true, "limit_child_node_execution": ["y"]}]),
            "UUID",
        ),
        (
            json!([{"interface": "deploy", "step": "nosuch"}]),
            "no service step deploy.nosuch",
        ),
    ] {
        let why = steps(StepKind::Service, list).unwrap_err().text;
        assert!(why.contains(want), "{why}");
    }
}

#[test]
fn only_what_the_agent_must_do_needs_the_ramdisk() {
    let driver = [
        driver_step("out", "bios", 0, StepRun::OutOfBand),
        driver_step("in", "bios", 0, StepRun::InBand),
    ];
    for (interface, step, want) in [
        ("power", "reboot", false),
        ("bios", "out", false),
        ("bios", "in", true),
        ("deploy", "erase_devices", true),
    ] {
        let list = json!([{"interface": interface, "step": step}]);
        assert_eq!(needs_ramdisk(&list, &driver).unwrap(), want, "{step}");
    }
}

#[test]
fn the_image_write_cannot_be_aborted() {
    let driver = vec![driver_step(
        "write_image",
        "deploy",
        80,
        StepRun::Core(CoreStep::WriteImage),
    )];
    let hold = json!([{"interface": "deploy", "step": "hold", "args": {}, "priority": 90}]);
    let deploy = |list: &Value| {
        deploy(
            &with_templates(Some(list), &[]).unwrap(),
            &driver,
            &BTreeMap::new(),
        )
    };
    let list = deploy(&hold).unwrap();
    let shown: Vec<(String, bool)> = list.iter().map(|s| (s.label(), s.abortable)).collect();
    assert_eq!(
        shown,
        [
            ("deploy.hold".into(), true),
            ("deploy.write_image".into(), false)
        ]
    );
    let moved = json!([{"interface": "deploy", "step": "write_image", "args": {}, "priority": 10}]);
    let why = deploy(&moved).unwrap_err().text;
    assert!(why.contains("core step"), "{why}");
    let off = json!([{"interface": "deploy", "step": "write_image", "args": {}, "priority": 0}]);
    assert!(deploy(&off).unwrap().is_empty());
}

#[test]
fn templates_give_steps_that_the_client_may_replace() {
    let of = |steps: Value| -> Vec<UserStep> {
        steps
            .as_array()
            .unwrap()
            .iter()
            .map(|s| UserStep::of_template(&serde_json::from_value(s.clone()).unwrap()))
            .collect()
    };
    let step = |name: &str, priority: i64| json!({"interface": "deploy", "step": name, "args": {}, "priority": priority});
    let a = (
        "CUSTOM_A".to_owned(),
        of(json!([step("x", 1), step("y", 2)])),
    );
    let b = ("CUSTOM_B".to_owned(), of(json!([step("y", 3)])));
    let own = json!([step("y", 9)]);
    let shown = |steps: Vec<UserStep>| -> Vec<(String, Option<i64>)> {
        steps.into_iter().map(|s| (s.step, s.priority)).collect()
    };
    assert_eq!(
        shown(with_templates(Some(&own), &[a.clone(), b.clone()]).unwrap()),
        [("x".into(), Some(1)), ("y".into(), Some(9))]
    );
    let why = with_templates(None, &[a, b]).unwrap_err().text;
    assert!(why.contains("CUSTOM_A and CUSTOM_B"), "{why}");
}

#[test]
fn commands_are_found_again_by_operation_and_index() {
    let command = |id: &str, operation: &str, index: u32, attempt: u32| -> CommandResult {
        serde_json::from_value(json!({
            "id": id, "command_name": "deploy.execute_deploy_step", "command_status": "RUNNING",
            "command_params": {"step": {"step": "write_image", "bessemer": {"operation": operation, "index": index, "attempt": attempt}}}
        }))
        .unwrap()
    };
    let foreign: CommandResult = serde_json::from_value(
        json!({"id": "x", "command_name": "standby.sync", "command_status": "SUCCEEDED"}),
    )
    .unwrap();
    let all = [
        foreign,
        command("a", "op1", 0, 1),
        command("b", "op1", 1, 1),
        command("c", "op1", 1, 2),
        command("d", "op2", 1, 9),
    ];
    assert_eq!(find_command(&all, "op1", 1).unwrap().0.id, "c");
    assert_eq!(find_command(&all, "op1", 0).unwrap().0.id, "a");
    assert!(find_command(&all, "op3", 0).is_none());
}

#[test]
fn commands_without_parameters_are_told_apart_by_their_order() {
    let all: Vec<CommandResult> = serde_json::from_value(json!([
        {"id": "a", "command_name": "get_clean_steps", "command_status": "SUCCEEDED"},
        {"id": "b", "command_name": "execute_clean_step", "command_status": "SUCCEEDED"},
        {"id": "c", "command_name": "execute_deploy_step", "command_status": "RUNNING"},
        {"id": "d", "command_name": "execute_clean_step", "command_status": "RUNNING"},
        {"id": "e", "command_name": "execute_clean_step", "command_status": "RUNNING", "command_params": {"step": {}}},
    ]))
    .unwrap();
    let ids = |kind| -> Vec<&str> {
        unlabelled(&all, kind)
            .iter()
            .map(|c| c.id.as_str())
            .collect()
    };
    assert_eq!(ids(StepKind::Clean), ["b", "d"]);
    assert_eq!(ids(StepKind::Deploy), ["c"]);
}

#[test]
fn the_agent_never_sees_bmc_credentials() {
    let mut node = Node::new(
        bessemer_model::NodeId::random(),
        "ipmi",
        bessemer_model::Timestamp(0),
    );
    node.driver_info
        .insert("ipmi_password".into(), json!("secret12"));
    node.driver_internal_info
        .insert("agent_secret_token".into(), json!("tokentoken"));
    node.instance_info
        .insert("configdrive".into(), json!("H4sIsecretdrive"));
    let text = node_for_agent(&node).to_string();
    assert!(
        !text.contains("secret12") && !text.contains("tokentoken") && !text.contains("H4sI"),
        "{text}"
    );
}
