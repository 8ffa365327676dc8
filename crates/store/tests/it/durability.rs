//! Full disks, killed processes, busy databases, the probe.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bessemer_store::testing::{databases, on_both, sqlite};
use bessemer_store::{Point, Settings, Store, StoreError, WriteProbe};
use futures_util::future::BoxFuture;

use crate::support::*;

/// Set in the child process that plays the other part of a test.
const CHILD: &str = "BESSEMER_STORE_TEST_CHILD";

fn settings(connection: String) -> Settings {
    Settings {
        connection,
        readers: 2,
        busy_timeout: Duration::from_secs(10),
        secrets: Default::default(),
        outbox: None,
        probe: None,
    }
}

/// Creates nodes for ever and says so after each.
async fn create_until_killed(connection: String) {
    let store = Store::open(&settings(connection)).await.unwrap();
    let create = async |part: u32| {
        for n in 0.. {
            let name = format!("p{part}n{n}");
            stored(&store, &name).await;
            eprintln!("stored {name}");
        }
    };
    tokio::join!(create(0), create(1), create(2), create(3));
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    if let Ok(connection) = std::env::var(CHILD) {
        return create_until_killed(connection).await;
    }
    for database in databases().await {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "durability::what_was_acknowledged_survives_a_kill",
                "--nocapture",
            ])
            .env(CHILD, &database.settings.connection)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut names = Vec::new();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        while names.len() < 60 {
            let line = lines.next().expect("the child ended").unwrap();
            names.extend(line.strip_prefix("stored ").map(str::to_owned));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // also those that it said before the signal came
        names.extend(
            lines
                .map_while(Result::ok)
                .filter_map(|line| line.strip_prefix("stored ").map(str::to_owned)),
        );
        let store = Store::open(&database.settings).await.unwrap();
        for name in names {
            assert!(store.find_node(&name).await.unwrap().is_some(), "{name}");
        }
        stored(&store, "afterwards").await;
    }
}

/// A controller that is stopped, also in the middle of a transaction, holds the others up for seconds only.
#[tokio::test]
async fn a_stopped_controller_locks_nobody_out() {
    if let Ok(connection) = std::env::var(CHILD) {
        let store = Store::open(&settings(connection)).await.unwrap();
        let node = store.find_node("shared").await.unwrap().unwrap().id;
        let write = async |n: u32| {
            for round in 0.. {
                let text = format!("{n} {round}");
                let change = change(move |node| node.description = Some(text.clone()));
                store
                    .update_node(node, None, false, change, vec![event("x")])
                    .await
                    .unwrap();
                eprintln!("stored");
            }
        };
        tokio::join!(write(0), write(1), write(2), write(3));
        return;
    }
    let database = bessemer_store::testing::postgres().await;
    let store = Store::open(&database.settings).await.unwrap();
    let node = stored(&store, "shared").await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "durability::a_stopped_controller_locks_nobody_out",
            "--nocapture",
        ])
        .env(CHILD, &database.settings.connection)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let stored = lines.map_while(Result::ok).filter(|line| line == "stored");
    assert_eq!(stored.take(20).count(), 20, "the child ended");
    let stopped = Command::new("kill")
        .args(["-STOP", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(stopped.success());
    let write = store.update_node(
        node.id,
        None,
        false,
        change(|node| node.description = Some("ours".into())),
        Vec::new(),
    );
    let written = tokio::time::timeout(Duration::from_secs(30), write).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let written = written
        .expect("the stopped controller holds the node")
        .unwrap();
    assert_eq!(written.description.as_deref(), Some("ours"));
}

struct Never(Point);

impl WriteProbe for Never {
    fn at(&self, _: &'static str, point: Point) -> BoxFuture<'static, ()> {
        let stop = point == self.0;
        Box::pin(async move {
            if stop {
                std::future::pending().await
            }
        })
    }
}

/// The runtime goes away before or after a write: it is whole or not there, and the store opens again.
#[test]
fn a_dropped_runtime_leaves_all_or_nothing() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    };
    let keeper = runtime();
    for database in keeper.block_on(databases()) {
        for (point, name, want) in [
            (Point::BeforeWrite, "before", false),
            (Point::AfterCommit, "after", true),
        ] {
            let crashing = runtime();
            let mut settings = database.settings.clone();
            settings.probe = Some(Arc::new(Never(point)));
            let waited = crashing.block_on(async {
                let store = Store::open(&settings).await.unwrap();
                let node = crate::support::node(name);
                let other = Store::open(&database.settings).await.unwrap();
                let write = store.create_node(&node, Vec::new());
                // what the probe holds back from the caller is seen by others
                let seen = async {
                    while other.find_node(name).await.unwrap().is_some() != want {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! {
                    biased;
                    _ = write => false,
                    () = seen => true,
                }
            });
            assert!(waited);
            drop(crashing);
            keeper.block_on(async {
                let store = Store::open(&database.settings).await.unwrap();
                assert_eq!(store.find_node(name).await.unwrap().is_some(), want);
                stored(&store, &format!("{name} again")).await;
                store.close().await;
            });
        }
    }
}

/// In a child, on a file system of 4 MiB at this path.
async fn on_a_small_disk(directory: &Path) {
    let connection = format!("sqlite://{}/b.db", directory.display());
    let store = Store::open(&settings(connection.clone())).await.unwrap();
    let node = stored(&store, "before").await;
    let filler = directory.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
    // room in the log's last page may still take a small one
    let big = "x".repeat(64 * 1024);
    for round in 0..3 {
        let writes = (0..20).map(|n| {
            let (store, big) = (store.clone(), big.clone());
            async move {
                let mut node = crate::support::node(&format!("r{round}n{n}"));
                node.description = Some(big);
                store.create_node(&node, Vec::new()).await
            }
        });
        for answer in futures_util::future::join_all(writes).await {
            assert!(matches!(answer, Err(StoreError::Storage(_))), "{answer:?}");
        }
    }
    let said = store
        .update_node(
            node.id,
            None,
            false,
            change(move |n| n.description = Some(big.clone())),
            Vec::new(),
        )
        .await
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("disk is full") && said.contains("check free space"),
        "{said}"
    );
    assert!(store.get_node(node.id).await.unwrap().unwrap() == node);
    assert_eq!(store.count_nodes().await.unwrap(), 1);
    drop(file);
    std::fs::remove_file(filler).unwrap();
    stored(&store, "after").await;
    store.close().await;
    let store = Store::open(&settings(connection)).await.unwrap();
    assert_eq!(store.count_nodes().await.unwrap(), 2);
}

#[tokio::test]
async fn a_full_disk_is_an_error_of_each_command() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return on_a_small_disk(Path::new(&directory)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    // The mount is the namespace's own and goes with it. A root that has no use for a user namespace may be
    // refused one.
    let script = r#"mount -t tmpfs -o size=4m none "$1" && BESSEMER_STORE_TEST_CHILD="$1" exec "$2" --exact durability::a_full_disk_is_an_error_of_each_command --nocapture"#;
    let run = |flags: &str| {
        Command::new("unshare")
            .args([flags, "sh", "-c", script, "sh"])
            .arg(directory.path())
            .arg(std::env::current_exe().unwrap())
            .output()
            .expect("util-linux's unshare is needed")
    };
    let mut out = run("-Urm");
    if !String::from_utf8_lossy(&out.stdout).contains("running 1 test") {
        out = run("-m");
    }
    assert!(
        out.status.success(),
        "a small file system is needed, in a namespace of its own:\n{}\n{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}

#[tokio::test]
async fn a_busy_database_is_unavailable_in_time() {
    let database = sqlite();
    let mut short = database.settings.clone();
    short.busy_timeout = Duration::from_millis(200);
    let store = Store::open(&short).await.unwrap();
    let node = stored(&store, "n").await;
    let other = raw_sqlite(&short.connection);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = std::time::Instant::now();
    let writes = (0..10).map(|_| store.add_timeline(node.id, vec![event("x")]));
    for answer in futures_util::future::join_all(writes).await {
        assert!(
            matches!(answer, Err(StoreError::Unavailable(_))),
            "{answer:?}"
        );
    }
    assert!(started.elapsed() < Duration::from_secs(5));
    // readers are not concerned
    store.get_node(node.id).await.unwrap().unwrap();
    other.execute_batch("ROLLBACK").unwrap();
    store.add_timeline(node.id, vec![event("x")]).await.unwrap();
}

#[tokio::test]
async fn a_place_that_cannot_be_is_said() {
    let check =
        async |connection: &str, storage: bool| match Store::open(&settings(connection.to_owned()))
            .await
        {
            Err(StoreError::Storage(_)) if storage => {}
            Err(StoreError::Unavailable(_)) if !storage => {}
            Err(other) => panic!("{connection}: {other:?}"),
            Ok(_) => panic!("{connection} was opened"),
        };
    check("sqlite:///nonexistent/b.db", true).await;
    check("mysql://x/y", false).await;
    check("postgresql:///x?host=/nonexistent", false).await;
    check("", false).await;
}

struct Seen(Mutex<Vec<(&'static str, Point)>>);

impl WriteProbe for Seen {
    fn at(&self, command: &'static str, point: Point) -> BoxFuture<'static, ()> {
        self.0.lock().unwrap().push((command, point));
        Box::pin(async {})
    }
}

#[tokio::test]
async fn the_probe_is_asked_around_every_write() {
    on_both(async |mut settings| {
        let seen = Arc::new(Seen(Mutex::new(Vec::new())));
        settings.probe = Some(Arc::clone(&seen) as Arc<dyn WriteProbe>);
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n").await;
        store.get_node(node.id).await.unwrap();
        let refused = store
            .create_node(&crate::support::node("n"), Vec::new())
            .await;
        assert!(refused.is_err());
        assert_eq!(
            *seen.0.lock().unwrap(),
            [
                ("create_node", Point::BeforeWrite),
                ("create_node", Point::AfterCommit),
                ("create_node", Point::BeforeWrite),
            ]
        );
    })
    .await;
}
