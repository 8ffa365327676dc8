//! A database from a backup in the middle of deploys: every deploy ends, and no host is harmed.
//!
//! The controller is the real program and so are the commands; the hosts go on while it is away. What is judged is the
//! hosts' own log.

use std::path::Path;
use std::process::{Command, Output};

use bessemer_lab::{Fault, LabProcess, WriteEnd};
use bessemer_store::testing::{self, Database};
use serde_json::json;

use crate::harness::{
    Api, Binary, Life, PATIENCE, Program, Site, Step, assert_no_violations, program, until,
};

const HOSTS: usize = 6;

fn db(settings: &Path, arguments: &[&str]) -> Output {
    Command::new(program(Binary::Server))
        .arg("db")
        .args(arguments)
        .arg("--config")
        .arg(settings)
        .output()
        .unwrap()
}

#[track_caller]
fn ok(output: &Output) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    text
}

/// Hosts whose image write has begun, and ended.
fn writes(lab: &mut LabProcess) -> (usize, usize) {
    let names: Vec<String> = lab.hosts.iter().map(|h| h.name.clone()).collect();
    let log = lab.log().unwrap();
    let all: Vec<_> = names
        .iter()
        .flat_map(|name| log.image_writes(name))
        .collect();
    let ended = all.iter().filter(|w| w.end == WriteEnd::Complete).count();
    (all.len(), ended)
}

/// The deploys go on until `lost` says that enough of them is not in the backup. `unclear`: the first host's deploy has touched nothing
/// at the backup, has ended since, and the host is switched off; its restored deploy ends with this said, and so may others
/// that were off when they were looked at. None is written twice.
async fn restored_in_the_middle(
    database: Database,
    backed_up_when: fn((usize, usize)) -> bool,
    lost: fn((usize, usize)) -> bool,
    unclear: Option<&str>,
) {
    let site = Site::new().await;
    let image = site.images.small();
    let mut settings = site.lab_settings(HOSTS);
    // from a fraction of a second to four seconds
    settings.write_seconds = bessemer_lab::Span::millis(3_000, 40_000);
    let mut lab = site.lab(&settings);
    let key = site.path("keys");
    let made = Command::new(program(Binary::Server))
        .args(["db", "new-key"])
        .output()
        .unwrap();
    std::fs::write(&key, ok(&made)).unwrap();
    let connection = format!("connection = \"{}\"", database.settings.connection);
    let keys = format!("encryption_key_file = \"{}\"", key.display());
    let file = site.settings_file(
        "one",
        1,
        &[
            ("database", connection.as_str()),
            ("database", keys.as_str()),
            ("api", "ramdisk_heartbeat_timeout = 20"),
            ("conductor", "heartbeat_timeout = 3"),
        ],
    );
    let url = site.url(1);
    let api = Api::new(&url);
    let controller = Program::start(&file, &url).await;
    let mut lives = Vec::new();
    for host in lab.hosts.clone() {
        let mut life = Life::new(api.clone(), host, image.clone(), &lab.log_path);
        life.patient = true;
        lives.push(life);
    }
    futures_util::future::join_all(
        lives
            .iter_mut()
            .map(|life| life.whole(&[Step::Manage, Step::Provide])),
    )
    .await;
    let first = unclear.map(|_| lives[0].host.name.clone());
    if let Some(first) = &first {
        // it does not get on until the backup is made
        lab.set_fault(first, Fault::BmcUnreachable, true, None)
            .unwrap();
    }
    let info = json!([{"op": "add", "path": "/instance_info", "value": image.instance_info()}]);
    for life in &lives {
        let name = &life.host.name;
        api.patch(&format!("/v1/nodes/{name}"), &info).await.ok();
        let drive = json!({"target": "active", "configdrive": {"meta_data": {"a": 1}}});
        api.provision(name, drive).await;
    }
    until("the moment of the backup", PATIENCE, async || {
        backed_up_when(writes(&mut lab)).then_some(())
    })
    .await;
    let backup = site.path("db.backup");
    let backup_name = backup.to_str().unwrap();
    ok(&db(&file, &["backup", backup_name]));
    let began = writes(&mut lab);
    if let Some(first) = &first {
        lab.set_fault(first, Fault::BmcUnreachable, false, None)
            .unwrap();
    }
    until(
        "work that the backup does not know of",
        PATIENCE,
        async || lost(writes(&mut lab)).then_some(()),
    )
    .await;
    if let Some(first) = &first {
        api.wait_for(first, "active").await;
        let off = json!({"target": "power off"});
        let path = format!("/v1/nodes/{first}/states/power");
        until("the power action", PATIENCE, async || {
            let reply = api.put(&path, &off).await;
            assert!(matches!(reply.status, 202 | 409), "{reply:?}");
            (reply.status == 202).then_some(())
        })
        .await;
        until("the first host to be off", PATIENCE, async || {
            (api.node(first).await["power_state"] == "power off").then_some(())
        })
        .await;
    }
    let refused = db(&file, &["restore", backup_name]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("conductor one is alive"), "{said}");
    controller.kill();
    let killed = writes(&mut lab);
    println!(
        "{}: backed up at {began:?}, killed at {killed:?}",
        database.name
    );
    // its session is over by itself
    let said = until("the restore", PATIENCE, async || {
        let output = db(&file, &["restore", backup_name]);
        output.status.success().then(|| ok(&output))
    })
    .await;
    assert!(
        said.contains(&format!("{HOSTS} operations were open")),
        "{said}"
    );

    let controller = Program::start(&file, &url).await;
    let mut ended = Vec::new();
    for life in &lives {
        let name = &life.host.name;
        // the first of the two says more
        let deadline = std::time::Instant::now() + 2 * PATIENCE;
        let node = until(&format!("{name} active"), 3 * PATIENCE, async || {
            let node = api.node(name).await;
            if std::time::Instant::now() > deadline {
                panic!("{name} is still {node:#}\n{}", api.timeline(name).await);
            }
            let state = node["provision_state"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let why = node["last_error"].as_str().unwrap_or_default();
            if state == "deploy failed" && unclear.is_some_and(|text| why.contains(text)) {
                return Some(node);
            }
            if state.ends_with("failed") || state == "error" {
                panic!(
                    "{name} is {state}: {}\n{}",
                    node["last_error"],
                    api.timeline(name).await
                );
            }
            (state == "active").then_some(node)
        })
        .await;
        if node["provision_state"] == "active" {
            assert_eq!(node["last_error"], serde_json::Value::Null);
            assert_eq!(node["power_state"], "power on");
        } else {
            ended.push(name.clone());
        }
        let told = api.timeline(name).await;
        assert!(told.contains("restored from a backup"), "{told}");
    }
    assert_eq!(ended.first(), first.as_ref());
    let names: Vec<String> = lab.hosts.iter().map(|h| h.name.clone()).collect();
    until("every instance has booted", PATIENCE, async || {
        let log = lab.log().unwrap();
        names
            .iter()
            .filter(|name| !ended.contains(name))
            .all(|name| {
                log.last(name, "local_boot")
                    .is_some_and(|e| e.text("result") == Some("booted"))
            })
            .then_some(())
    })
    .await;
    let log = lab.log().unwrap();
    for name in &names {
        // begun once, ended, and never again
        let all = log.image_writes(name);
        assert_eq!(all.len(), 1, "{name}: {all:#?}");
        assert_eq!(all[0].end, WriteEnd::Complete, "{name}: {all:#?}");
        assert_eq!(log.powered(name), !ended.contains(name), "{name}");
    }
    assert_no_violations(&mut lab);
    let checked = db(&file, &["check"]);
    let said = ok(&checked);
    assert!(said.contains("nothing"), "{said}");
    // and it works on as if nothing had been
    api.provision("h1", json!({"target": "deleted"})).await;
    api.wait_for("h1", "available").await;
    controller.stop().await;
}

/// In the middle of the writes, which end while nobody is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_during_the_writes_on_sqlite() {
    restored_in_the_middle(
        testing::sqlite(),
        |(begun, _)| begun >= 2,
        |(begun, ended)| begun == HOSTS && ended >= 2,
        None,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_during_the_writes_on_postgresql() {
    restored_in_the_middle(
        testing::postgres().await,
        |(begun, _)| begun >= 2,
        |(begun, ended)| begun == HOSTS && ended >= 2,
        None,
    )
    .await;
}

/// From before the first write: what was written since is not written again, even where nothing tells that it was ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_from_before_the_writes() {
    restored_in_the_middle(
        testing::sqlite(),
        |(begun, _)| begun == 0,
        |(begun, ended)| begun == HOSTS && ended >= 2,
        Some("whether an instance was written there since is not known"),
    )
    .await;
}

/// What an operator sees who asks the commands for help, or for what is not possible.
#[test]
fn the_commands_teach() {
    let help = |arguments: &[&str]| {
        let output = Command::new(program(Binary::Server))
            .args(arguments)
            .arg("--help")
            .output()
            .unwrap();
        ok(&output)
    };
    let all = help(&["db"]);
    for command in [
        "version",
        "upgrade",
        "backup",
        "restore",
        "describe",
        "check",
        "new-key",
        "rotate-secrets",
    ] {
        assert!(all.contains(command), "{all}");
        assert!(help(&["db", command]).len() > 100);
    }
    assert!(help(&["db", "restore"]).contains("Stop every conductor first"));
    assert!(help(&["config", "import"]).contains("Secrets are written"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.toml");
    std::fs::write(
        &file,
        format!(
            "[DEFAULT]\nstate_path = \"{}\"\n",
            directory.path().display()
        ),
    )
    .unwrap();
    for (arguments, want) in [
        (&["backup", "/nowhere/x"][..], "bessemer.sqlite"),
        (&["version"], "bessemer.sqlite"),
        (&["check"], "cannot be checked"),
        (&["restore", "/nowhere/x"], "nothing was restored"),
    ] {
        let output = db(&file, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(want), "{arguments:?}: {said}");
    }
    assert!(
        !directory.path().join("bessemer.sqlite").exists(),
        "a look made a database"
    );
}
