//! Backup, restore, upgrade, check and keys, on both engines.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bessemer_model::{Node, NodeId, Object, OperationId, ProvisionState, Timestamp};
use bessemer_store::admin::{self, Finding, Repair, RestoreOptions};
use bessemer_store::testing::{
    self, ACTIVE, DEPLOYING, Database, FREE, OPERATION, PASSWORD, TOKEN, databases, populate,
};
use bessemer_store::{
    Keys, NodeFilter, OperationStatus, Page, Settings, Store, StoreError, TimelineSource,
};
use rand::{RngExt, SeedableRng};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::support::*;

fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

fn page() -> Page {
    Page {
        limit: 1000,
        ..Page::default()
    }
}

fn keys(bytes: &[u8]) -> Arc<Keys> {
    let text: Vec<_> = bytes
        .iter()
        .map(|b| format!("{b:02x}").repeat(32))
        .collect();
    Arc::new(Keys::parse(&text.join("\n")).unwrap())
}

fn with_keys(settings: &Settings, bytes: &[u8]) -> Settings {
    let mut settings = settings.clone();
    settings.secrets = keys(bytes);
    settings
}

/// Statements past the store, without the guards of foreign keys.
async fn raw(database: &Database, sql: &str) {
    let url = &database.settings.connection;
    if database.name == "sqlite" {
        let connection = raw_sqlite(url);
        connection
            .execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}"))
            .unwrap();
        connection.close().unwrap();
    } else {
        let mut connection = PgConnection::connect(url).await.unwrap();
        let sql = format!("SET session_replication_role = replica; {sql}");
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }
}

/// A column of texts, past the store.
async fn texts(database: &Database, sql: &str) -> Vec<String> {
    let url = &database.settings.connection;
    if database.name == "sqlite" {
        sqlite_texts(url, sql)
    } else {
        let sql = AssertSqlSafe(sql.to_owned());
        let mut connection = PgConnection::connect(url).await.unwrap();
        let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

async fn filled(settings: &Settings) {
    let store = Store::open(settings).await.unwrap();
    populate(&store).await.unwrap();
    store.close().await;
}

/// The conductor's process is gone without a word, and its session over.
async fn conductor_dies(database: &Database) {
    raw(database, "UPDATE session SET expires_at = 1").await;
}

async fn sound(store: &Store) {
    let findings = store.check(false).await.unwrap();
    assert!(findings.iter().all(|f| f.is_notice), "{findings:#?}");
}

fn files() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.backup");
    (directory, file)
}

/// What a node is, apart from what a restore takes away.
fn lasting(mut node: Node) -> Node {
    node.reservation = None;
    node.power_state = None;
    node
}

#[tokio::test]
async fn restored_into_either_engine() {
    for source in databases().await {
        let (_directory, file) = files();
        filled(&source.settings).await;
        // the conductor lives: a backup does not mind
        let made = admin::backup(&source.settings, &file, false).await.unwrap();
        assert!(made.rows > 30 && made.tables > 20, "{made:?}");
        let described = admin::describe(&file).unwrap();
        assert_eq!(described, made.description);
        let store = Store::open(&source.settings).await.unwrap();
        let nodes = store
            .list_nodes(
                &NodeFilter {
                    include_children: true,
                    ..NodeFilter::default()
                },
                &page(),
            )
            .await
            .unwrap();
        assert_eq!(nodes.len(), 3);
        let held = store
            .get_open_operation(id(DEPLOYING))
            .await
            .unwrap()
            .unwrap();
        let seed = store.get_agent_seed(id(DEPLOYING)).await.unwrap();
        assert!(seed.is_some());
        assert_eq!(held.status, OperationStatus::Running);
        store.close().await;

        for target in databases().await {
            println!("--- {} into {}", source.name, target.name);
            let options = RestoreOptions {
                hold_available: true,
                ..RestoreOptions::default()
            };
            let done = admin::restore(&target.settings, &file, options)
                .await
                .unwrap();
            assert_eq!(
                (done.rows, done.nodes, done.open_operations, done.available),
                (made.rows, 3, 1, 1)
            );
            let store = Store::open(&target.settings).await.unwrap();
            for before in &nodes {
                let after = store.get_node(before.id).await.unwrap().unwrap();
                assert_eq!(after.reservation, None);
                let held = before.id == id(FREE);
                assert_eq!(after.maintenance, held, "{}", before.label());
                if held {
                    assert!(
                        after
                            .maintenance_reason
                            .clone()
                            .unwrap()
                            .contains("restored")
                    );
                } else {
                    assert_eq!(lasting(after.clone()), lasting(before.clone()));
                }
                let wanted = (before.id == id(DEPLOYING))
                    .then_some(before.power_state)
                    .flatten();
                assert_eq!(after.power_state, wanted, "{}", before.label());
                let told = store.list_timeline(before.id, None, 10).await.unwrap();
                assert!(
                    told.iter().any(|(_, e)| e.source == TimelineSource::Engine
                        && e.text.contains("restored from a backup")),
                    "{told:?}"
                );
            }
            let told = store.list_timeline(id(DEPLOYING), None, 10).await.unwrap();
            assert!(
                told.iter()
                    .any(|(_, e)| e.text.contains("the deploy goes on at phase wait-agent")),
                "{told:?}"
            );
            let operation = store
                .get_open_operation(id(DEPLOYING))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(operation.status, OperationStatus::Ready);
            assert!(operation.owner.is_none() && operation.restored_at.is_some());
            assert!(operation.fence > held.fence + 1_000_000_000);
            assert_eq!(
                (operation.data.clone(), operation.phase.clone()),
                (held.data.clone(), held.phase.clone())
            );
            assert_eq!(store.get_agent_seed(id(DEPLOYING)).await.unwrap(), seed);
            let alive = store.list_conductors().await.unwrap();
            assert!(
                alive.iter().all(|c| c.expires_at <= Timestamp::now()),
                "{alive:?}"
            );
            // the lease of before is worth nothing
            let lost = store
                .save_outcome(
                    held.owner.unwrap(),
                    held.id,
                    held.fence,
                    update(OperationStatus::Finished),
                    nothing(),
                    vec![],
                    vec![],
                )
                .await;
            assert!(matches!(lost, Err(StoreError::LeaseLost { .. })));
            sound(&store).await;
            // work goes on, and new rows get new numbers
            let mine = session(&store, "conductor-1").await;
            let claimed = store
                .claim(mine, FLOWS, Timestamp::now(), 10)
                .await
                .unwrap();
            assert_eq!(claimed.len(), 1);
            assert_eq!(claimed[0].operation.fence, operation.fence + 1);
            assert_eq!(claimed[0].operation.restored_at, operation.restored_at);
            assert_eq!(claimed[0].signals.len(), 1);
            let mut kept = update(OperationStatus::Running);
            kept.still_restored = true;
            let fence = claimed[0].operation.fence;
            store
                .save_outcome(mine, held.id, fence, kept, nothing(), vec![], vec![])
                .await
                .unwrap();
            assert!(
                store
                    .get_operation(held.id)
                    .await
                    .unwrap()
                    .unwrap()
                    .restored_at
                    .is_some()
            );
            store
                .save_outcome(
                    mine,
                    held.id,
                    fence,
                    update(OperationStatus::Finished),
                    nothing(),
                    vec![],
                    vec![],
                )
                .await
                .unwrap();
            let ended = store.get_operation(held.id).await.unwrap().unwrap();
            assert_eq!(
                (ended.restored_at, ended.status),
                (None, OperationStatus::Finished)
            );
            assert_eq!(store.get_agent_seed(id(DEPLOYING)).await.unwrap(), None);
            stored(&store, "new").await;
            store.close().await;
            let version = admin::version(&target.settings).await.unwrap();
            assert_eq!(version.restored.unwrap().1, made.description.created_at);
            assert!(version.missing().is_empty() && version.unknown().is_empty());
        }
    }
}

#[tokio::test]
async fn a_restore_that_is_refused_changes_nothing() {
    for database in databases().await {
        let settings = &database.settings;
        let (directory, file) = files();
        filled(settings).await;
        admin::backup(settings, &file, false).await.unwrap();
        let again = admin::backup(settings, &file, false).await.unwrap_err();
        assert!(again.to_string().contains("--overwrite"), "{again}");
        admin::backup(settings, &file, true).await.unwrap();
        let bytes = std::fs::read(&file).unwrap();

        let refused = async |path: &Path, options: RestoreOptions, want: &str| {
            let error = admin::restore(settings, path, options).await.unwrap_err();
            assert!(matches!(error, StoreError::Backup(_)), "{error:?}");
            assert!(error.to_string().contains(want), "{want}: {error}");
            let store = Store::open(settings).await.unwrap();
            assert_eq!(store.count_nodes().await.unwrap(), 3);
            let operation = store
                .get_open_operation(id(DEPLOYING))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(
                (operation.status, operation.restored_at),
                (OperationStatus::Running, None)
            );
            store.close().await;
        };
        let plain = RestoreOptions::default();
        let forced = RestoreOptions {
            force: true,
            ..plain
        };
        refused(&file, plain, "conductor conductor-1 is alive").await;
        let other = directory.path().join("other");
        let put = |bytes: &[u8]| std::fs::write(&other, bytes).unwrap();
        put(b"SQLite format 3\0");
        refused(&other, forced, "not a backup").await;
        put(b"bessemer-backup 2\n{}");
        refused(&other, forced, "newer version").await;
        put(&bytes[..bytes.len() - 100]);
        refused(&other, forced, "cut off").await;
        put(&bytes[..40]);
        refused(&other, forced, "cut off").await;
        let mut changed = bytes.clone();
        changed[bytes.len() / 2] ^= 1;
        put(&changed);
        refused(&other, forced, "checksum").await;
        refused(&directory.path().join("nothing"), forced, "No such file").await;
        // a schema of another line
        let bytes_of = |expression: &str| {
            format!("UPDATE _sqlx_migrations SET checksum = {expression} WHERE version = 1")
        };
        let (wrong, right) = if database.name == "sqlite" {
            let known = sqlite_texts(
                &settings.connection,
                "SELECT hex(checksum) FROM _sqlx_migrations WHERE version = 1",
            );
            ("x'00'".to_owned(), format!("x'{}'", known[0]))
        } else {
            let known = texts(
                &database,
                "SELECT encode(checksum, 'hex') FROM _sqlx_migrations WHERE version = 1",
            )
            .await;
            ("'\\x00'".to_owned(), format!("'\\x{}'", known[0]))
        };
        raw(&database, &bytes_of(&wrong)).await;
        let open = Store::open(settings).await.err().unwrap();
        assert!(matches!(open, StoreError::Schema(_)), "{open:?}");
        assert!(
            open.to_string().contains("migration 1 of the database"),
            "{open}"
        );
        raw(&database, &bytes_of(&right)).await;
        Store::open(settings).await.unwrap().close().await;
        // a newer schema, with a right checksum
        raw(&database, "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             SELECT 999999, description, success, checksum, execution_time FROM _sqlx_migrations WHERE version = 1").await;
        let newer = admin::backup(settings, &other, true).await.unwrap_err();
        assert!(newer.to_string().contains("999999"), "{newer}");
        let open = Store::open(settings).await.err().unwrap();
        assert!(open.to_string().contains("newer version"), "{open}");
        assert_eq!(admin::version(settings).await.unwrap().unknown(), [999_999]);
        raw(
            &database,
            "DELETE FROM _sqlx_migrations WHERE version = 999999",
        )
        .await;
        // in the end it works
        conductor_dies(&database).await;
        let done = admin::restore(settings, &file, plain).await.unwrap();
        assert_eq!(done.open_operations, 1);
    }
}

/// The backup's rows break a rule of the schema in the middle of the restore.
#[tokio::test]
async fn half_a_restore_is_none() {
    for database in databases().await {
        let (_directory, file) = files();
        filled(&database.settings).await;
        // two rows with one UUID, which the index would refuse
        raw(
            &database,
            "DROP INDEX port_uuid_key; INSERT INTO port (uuid, node, address, extra, internal_info, local_link_connection, \
             pxe_enabled, is_smartnic, available_for_dynamic_portgroup, created_at) SELECT uuid, node, '52:54:00:00:00:99', extra, \
             internal_info, local_link_connection, pxe_enabled, is_smartnic, available_for_dynamic_portgroup, created_at FROM port",
        )
        .await;
        admin::backup(&database.settings, &file, false)
            .await
            .unwrap();
        for target in databases().await {
            filled(&target.settings).await;
            raw(&target, "UPDATE node SET description = 'mine'").await;
            let forced = RestoreOptions {
                force: true,
                ..RestoreOptions::default()
            };
            admin::restore(&target.settings, &file, forced)
                .await
                .unwrap_err();
            let store = Store::open(&target.settings).await.unwrap();
            let node = store.get_node(id(ACTIVE)).await.unwrap().unwrap();
            assert_eq!(node.description.as_deref(), Some("mine"));
            store.close().await;
        }
    }
}

#[tokio::test]
async fn backups_while_others_write() {
    for database in databases().await {
        let (_directory, file) = files();
        let store = Store::open(&database.settings).await.unwrap();
        let writer = tokio::spawn({
            let store = store.clone();
            async move {
                for n in 0..200 {
                    let node = stored(&store, &format!("n{n}")).await;
                    store.create_port(&port(node.id, mac(n))).await.unwrap();
                }
            }
        });
        let mut counts = Vec::new();
        while !writer.is_finished() {
            admin::backup(&database.settings, &file, true)
                .await
                .unwrap();
            let target = testing::sqlite();
            admin::restore(&target.settings, &file, RestoreOptions::default())
                .await
                .unwrap();
            let restored = Store::open(&target.settings).await.unwrap();
            counts.push(restored.count_nodes().await.unwrap());
            // of one moment: no port without its node, no document that says something else
            sound(&restored).await;
            restored.close().await;
        }
        writer.await.unwrap();
        store.close().await;
        assert!(counts.is_sorted() && !counts.is_empty(), "{counts:?}");
    }
}

#[tokio::test]
async fn any_file() {
    let database = testing::sqlite();
    let (directory, file) = files();
    filled(&database.settings).await;
    admin::backup(&database.settings, &file, false)
        .await
        .unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let other = directory.path().join("other");
    let mut rng = rand::rngs::StdRng::seed_from_u64(5);
    for _ in 0..300 {
        let mut changed = bytes.clone();
        for _ in 0..rng.random_range(1..5) {
            let at = rng.random_range(0..changed.len());
            changed[at] = rng.random();
        }
        changed.truncate(rng.random_range(0..=changed.len()));
        std::fs::write(&other, &changed).unwrap();
        admin::fuzz_backup(&other);
    }
}

#[tokio::test]
async fn secrets_are_not_stored_in_the_clear() {
    for database in databases().await {
        let settings = with_keys(&database.settings, &[1]);
        let store = Store::open(&settings).await.unwrap();
        populate(&store).await.unwrap();
        let node = store.get_node(id(ACTIVE)).await.unwrap().unwrap();
        assert_eq!(node.driver_info["ipmi_password"], PASSWORD);
        assert_eq!(node.instance_info["configdrive"], PASSWORD);
        let seed = store.get_agent_seed(id(DEPLOYING)).await.unwrap().unwrap();
        let all = "SELECT driver_info || instance_info || driver_internal_info FROM node UNION ALL \
                   SELECT COALESCE(agent_seed, '') FROM operation";
        let stored_texts = texts(&database, all).await.concat();
        for secret in [PASSWORD, TOKEN, seed.as_str()] {
            assert!(!stored_texts.contains(secret), "{stored_texts}");
        }
        assert!(stored_texts.contains("192.0.2.7") && stored_texts.contains("agent_url"));
        // changed, found, listed
        let wanted = "another-password";
        store
            .update_node(
                node.id,
                None,
                true,
                change(move |n| {
                    n.driver_info.insert("ipmi_password".into(), json!(wanted));
                }),
                Vec::new(),
            )
            .await
            .unwrap();
        let found = store.find_node("active").await.unwrap().unwrap();
        assert_eq!(found.driver_info["ipmi_password"], wanted);
        let listed = store
            .list_node_rows(&NodeFilter::default(), &page())
            .await
            .unwrap();
        let shown: String = listed
            .iter()
            .flat_map(|row| [row.document.clone(), row.volatile.clone()])
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect();
        for hidden in [PASSWORD, TOKEN, wanted, "$sealed$"] {
            assert!(!shown.contains(hidden), "{hidden} in {shown}");
        }
        assert!(
            shown.contains(r#""agent_secret_token":"******""#),
            "{shown}"
        );
        sound(&store).await;
        store.close().await;

        // the backup has them as they are stored
        let (_directory, file) = files();
        admin::backup(&settings, &file, false).await.unwrap();
        let target = testing::sqlite();
        admin::restore(&target.settings, &file, RestoreOptions::default())
            .await
            .unwrap();
        let without = Store::open(&target.settings)
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(
            without.contains(settings.secrets.ids().next().unwrap()),
            "{without}"
        );
        let restored = Store::open(&with_keys(&target.settings, &[1]))
            .await
            .unwrap();
        let node = restored.get_node(id(ACTIVE)).await.unwrap().unwrap();
        assert_eq!(node.driver_info["ipmi_password"], wanted);
        restored.close().await;

        for wrong in [&[][..], &[2]] {
            let error = Store::open(&with_keys(&database.settings, wrong))
                .await
                .err()
                .unwrap();
            let text = error.to_string();
            assert!(matches!(error, StoreError::Sealed { .. }));
            assert!(
                text.contains("encryption_key_file") && !text.contains(wanted),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn keys_are_rotated() {
    for database in databases().await {
        // unencrypted rows first
        filled(&database.settings).await;
        let all = "SELECT driver_info || instance_info || driver_internal_info FROM node UNION ALL \
                   SELECT COALESCE(agent_seed, '') FROM operation";
        assert!(texts(&database, all).await.concat().contains(PASSWORD));
        let read = async |settings: &Settings| {
            let store = Store::open(settings).await.unwrap();
            let node = store.get_node(id(ACTIVE)).await.unwrap().unwrap();
            assert_eq!(node.driver_info["ipmi_password"], PASSWORD);
            let node = store.get_node(id(DEPLOYING)).await.unwrap().unwrap();
            assert_eq!(node.driver_internal_info["agent_secret_token"], TOKEN);
            assert!(store.get_agent_seed(node.id).await.unwrap().is_some());
            let notices = store.check(false).await.unwrap();
            assert!(notices.iter().all(|f| f.is_notice), "{notices:#?}");
            store.close().await;
            notices.len()
        };
        let rotate = async |settings: &Settings| {
            let store = Store::open_as_is(settings).await.unwrap();
            let done = store.rotate_secrets(false).await.unwrap();
            store.close().await;
            admin::compact(settings).await.unwrap();
            assert!(done.forgotten.is_empty());
            done.changed
        };
        let first = with_keys(&database.settings, &[1]);
        assert_eq!(
            read(&first).await,
            1,
            "unencrypted rows are read, and told of"
        );
        assert_eq!(rotate(&first).await, 4);
        assert_eq!(read(&first).await, 0);
        let text = texts(&database, all).await.concat();
        assert!(!text.contains(PASSWORD) && !text.contains(TOKEN));
        if database.name == "sqlite" {
            let path = database.settings.connection.trim_start_matches("sqlite://");
            for suffix in ["", "-wal"] {
                let bytes = std::fs::read(format!("{path}{suffix}")).unwrap_or_default();
                let found = bytes
                    .windows(PASSWORD.len())
                    .any(|w| w == PASSWORD.as_bytes());
                assert!(!found, "the old text is still in the file {suffix}");
            }
        }
        let both = with_keys(&database.settings, &[2, 1]);
        assert_eq!(
            read(&both).await,
            1,
            "under an older key: read, and told of"
        );
        assert_eq!(rotate(&both).await, 4);
        let second = with_keys(&database.settings, &[2]);
        assert_eq!(read(&second).await, 0);
        assert!(Store::open(&first).await.is_err());
        // the way back to none
        let store = Store::open_as_is(&database.settings).await.unwrap();
        assert!(store.rotate_secrets(false).await.is_err());
        let done = store.rotate_secrets(true).await.unwrap();
        store.close().await;
        let members: Vec<_> = done
            .forgotten
            .iter()
            .map(|(_, member)| member.as_str())
            .collect();
        assert!(
            members.contains(&"driver_info.ipmi_password") && members.contains(&"agent_seed"),
            "{members:?}"
        );
        let store = Store::open(&database.settings).await.unwrap();
        let node = store.get_node(id(ACTIVE)).await.unwrap().unwrap();
        assert!(!node.driver_info.contains_key("ipmi_password"));
        assert_eq!(node.driver_info["ipmi_address"], "192.0.2.7");
        let told = store.list_timeline(node.id, None, 10).await.unwrap();
        assert!(
            told.iter()
                .any(|(_, e)| e.text.contains("driver_info.ipmi_password")),
            "{told:?}"
        );
        sound(&store).await;
        store.close().await;
    }
}

/// One secret that was damaged does not stop the work on other nodes.
#[tokio::test]
async fn a_node_that_cannot_be_read_holds_up_nobody() {
    for database in databases().await {
        let settings = with_keys(&database.settings, &[1]);
        filled(&settings).await;
        raw(
            &database,
            &format!("UPDATE node SET driver_info = (SELECT driver_info FROM node WHERE uuid = '{ACTIVE}') WHERE uuid = '{DEPLOYING}'; \
                      UPDATE session SET expires_at = 1"),
        )
        .await;
        let store = Store::open(&settings).await.unwrap();
        let error = store.get_node(id(DEPLOYING)).await.unwrap_err().to_string();
        assert!(
            error.contains("driver_info.ipmi_password") && error.contains("another node"),
            "{error}"
        );
        store
            .submit(id(FREE), deploy(), nothing(), Vec::new())
            .await
            .unwrap();
        let mine = session(&store, "c").await;
        let claimed = store
            .claim(mine, FLOWS, Timestamp::now(), 10)
            .await
            .unwrap();
        assert_eq!(
            claimed.iter().map(|c| c.node.id).collect::<Vec<_>>(),
            [id(FREE)]
        );
        let waits = store
            .get_open_operation(id(DEPLOYING))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(waits.status, OperationStatus::Waiting);
        assert!(waits.reason.unwrap().contains("driver_info.ipmi_password"));
        let listed = store
            .list_nodes(
                &NodeFilter {
                    include_children: true,
                    ..NodeFilter::default()
                },
                &page(),
            )
            .await
            .unwrap();
        assert_eq!(listed.len(), 2);
        let shown = store
            .list_node_rows(
                &NodeFilter {
                    include_children: true,
                    ..NodeFilter::default()
                },
                &page(),
            )
            .await
            .unwrap();
        assert_eq!(shown.len(), 3);
        let findings = store.check(true).await.unwrap();
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert!(
            findings[0].what.contains("driver_info.ipmi_password")
                && findings[0].repair == Repair::ByHand
        );
        store.close().await;
    }
}

#[tokio::test]
async fn damage_is_found_and_mended() {
    let gone = "5a1c3f0e-0000-4000-8000-0000000000ff";
    for database in databases().await {
        filled(&database.settings).await;
        let store = Store::open(&database.settings).await.unwrap();
        sound(&store).await;
        store.close().await;
        let operation: OperationId = OPERATION.parse().unwrap();
        // each with what is found, and whether it can be mended
        let damage = [
            (format!("UPDATE port SET node = '{gone}'"), "table port belong to node", true),
            (format!("INSERT INTO signal (operation, kind, payload, at) VALUES ('{gone}', 'wake', 'null', 1)"), "signals are to operation", true),
            (format!("UPDATE node SET reservation = 'host' WHERE uuid = '{FREE}'"), "is reserved by host", true),
            (format!("UPDATE node SET target_power_state = 'power on' WHERE uuid = '{FREE}'"), "on its way to power on", true),
            (format!("UPDATE node SET provision_state = 'cleaning' WHERE uuid = '{FREE}'"), "is in \"cleaning\"", true),
            (format!("UPDATE node SET provision_state = 'deploy hold' WHERE uuid = '{FREE}'"), "is in \"deploy hold\"", true),
            (format!("UPDATE node SET allocation_uuid = '{gone}' WHERE uuid = '{FREE}'"), "belongs to allocation", true),
            (format!("UPDATE node SET name = 'other' WHERE uuid = '{FREE}'"), "lists do not show node", true),
            (format!("DELETE FROM node_document WHERE id = (SELECT id FROM node WHERE uuid = '{FREE}')"), "lists do not show node", true),
            (format!("UPDATE conductor SET session = '{gone}'"), "has a session that does not exist", true),
            ("DELETE FROM node_document WHERE id = 77; INSERT INTO node_document (id, document) SELECT 77, document FROM node_document \
              WHERE id = (SELECT MIN(id) FROM node)".to_owned(), "has no node", true),
            (format!("UPDATE node SET chassis_uuid = '{gone}' WHERE uuid = '{FREE}'"), "is in chassis", false),
            (format!("UPDATE node SET parent_node = '{gone}' WHERE uuid = '{FREE}'"), "the parent of node", false),
            ("UPDATE allocation SET state = 'active'".to_owned(), "is active, but has no node", false),
            (format!("UPDATE allocation SET state = 'active', node = '{FREE}'"), "which knows nothing of it", false),
            ("UPDATE inventory SET plugin_data = '{'".to_owned(), "column plugin_data of inventory", false),
            (format!("UPDATE node SET extra = 'not json' WHERE uuid = '{FREE}'"), "column extra of node", false),
            (format!("UPDATE node SET provision_state = 'nowhere' WHERE uuid = '{FREE}'"), "column provision_state of node", false),
            ("UPDATE runbook SET steps = '[1]'".to_owned(), "column steps of runbook", false),
            (format!("UPDATE operation SET status = 'odd' WHERE uuid = '{operation}'"), "column status of operation", false),
            ("INSERT INTO secret_key (key_id, created_at) VALUES ('aabbcc', 1)".to_owned(), "under key aabbcc", false),
        ];
        let (_directory, file) = files();
        admin::backup(&database.settings, &file, false)
            .await
            .unwrap();
        let forced = RestoreOptions {
            force: true,
            ..RestoreOptions::default()
        };
        for (sql, want, mendable) in damage {
            println!("--- {}: {sql}", database.name);
            raw(&database, &sql).await;
            let store = Store::open_as_is(&database.settings).await.unwrap();
            let found = store.check(false).await.unwrap();
            let hit = found.iter().find(|f| f.what.contains(want));
            let hit = hit.unwrap_or_else(|| panic!("{found:#?}"));
            assert_eq!(hit.repair == Repair::Possible, mendable, "{hit:?}");
            assert!(!hit.advice.is_empty() && !hit.is_notice);
            let fixed = store.check(true).await.unwrap();
            let done =
                |f: &Finding| f.what.contains(want) && (f.repair == Repair::Done) == mendable;
            assert!(fixed.iter().any(done), "{fixed:#?}");
            let left = store.check(false).await.unwrap();
            let stays = left.iter().any(|f| f.what.contains(want));
            assert_eq!(stays, !mendable, "{left:#?}");
            if mendable {
                assert!(left.iter().all(|f| f.is_notice), "{left:#?}");
            }
            store.close().await;
            admin::restore(&database.settings, &file, forced)
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn stuck_states_have_a_way_out() {
    let database = testing::sqlite();
    filled(&database.settings).await;
    raw(&database, &format!("UPDATE node SET provision_state = 'deploying', target_provision_state = 'active' WHERE uuid = '{FREE}'")).await;
    let store = Store::open(&database.settings).await.unwrap();
    store.check(true).await.unwrap();
    let node = store.get_node(id(FREE)).await.unwrap().unwrap();
    assert_eq!(node.provision_state, ProvisionState::DeployFailed);
    assert!(node.last_error.unwrap().contains("bessemer db check"));
    store.close().await;
}

fn fixtures() -> Vec<(String, PathBuf)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut all: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "sql"))
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                path,
            )
        })
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn every_earlier_schema_is_upgraded() {
    let all = fixtures();
    for version in [1, 2, 3, 5, 6, 10] {
        for engine in ["sqlite", "postgres"] {
            let name = format!("{engine}-{version:04}");
            assert!(
                all.iter().any(|(have, _)| *have == name),
                "{name} is missing"
            );
        }
    }
    for (name, path) in all {
        println!("--- {name}");
        let database = if name.starts_with("sqlite") {
            testing::sqlite()
        } else {
            testing::postgres().await
        };
        let text = std::fs::read_to_string(path).unwrap();
        let (engine, version) = name.rsplit_once('-').unwrap();
        let version: i64 = version.parse().unwrap();
        raw(&database, &text).await;
        let before = admin::version(&database.settings).await.unwrap();
        assert_eq!(before.applied.last(), Some(&version), "{engine}");
        let refused = Store::open_as_is(&database.settings).await;
        if before.missing().is_empty() {
            refused.unwrap().close().await;
        } else {
            let text = refused.err().unwrap().to_string();
            assert!(text.contains("bessemer db upgrade"), "{text}");
        }
        // a backup of the older schema, by this program
        let (_directory, file) = files();
        admin::backup(&database.settings, &file, false)
            .await
            .unwrap();
        assert_eq!(admin::describe(&file).unwrap().schema, before.applied);
        let was = admin::upgrade(&database.settings).await.unwrap();
        assert_eq!(was, before);
        everything_is_there(&database.settings, version).await;
        for target in databases().await {
            admin::restore(&target.settings, &file, RestoreOptions::default())
                .await
                .unwrap();
            everything_is_there(&target.settings, version).await;
        }
    }
}

/// What the populated database had, as far as the schema of that version had a place for it.
async fn everything_is_there(settings: &Settings, version: i64) {
    let store = Store::open(settings).await.unwrap();
    sound(&store).await;
    let filter = NodeFilter {
        include_children: true,
        ..NodeFilter::default()
    };
    let nodes = store.list_nodes(&filter, &page()).await.unwrap();
    let names: Vec<_> = nodes.iter().filter_map(|n| n.name.as_deref()).collect();
    assert_eq!(names, ["active", "deploying", "free"]);
    assert_eq!(
        store.list_node_rows(&filter, &page()).await.unwrap().len(),
        3
    );
    let active = store.get_node(id(ACTIVE)).await.unwrap().unwrap();
    assert_eq!(active.driver_info["ipmi_password"], PASSWORD);
    assert_eq!(active.extra["rack"], "ü 7");
    assert!(active.chassis.is_some());
    let operation = store
        .get_open_operation(id(DEPLOYING))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (operation.flow.as_str(), operation.phase.as_str()),
        ("deploy", "wait-agent")
    );
    assert_eq!(
        store.get_agent_seed(id(DEPLOYING)).await.unwrap().is_some(),
        version >= 10
    );
    let ports = store
        .list_ports(&Default::default(), &page())
        .await
        .unwrap();
    assert_eq!(ports.len(), 1);
    assert_eq!(store.list_chassis(&page()).await.unwrap().len(), 1);
    assert_eq!(store.list_conductors().await.unwrap().len(), 1);
    assert!(
        !store
            .list_timeline(id(DEPLOYING), None, 100)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        store.list_history(id(ACTIVE), &page()).await.unwrap().len(),
        1
    );
    assert!(store.get_boot(id(DEPLOYING)).await.unwrap().is_some());
    let lease = store
        .get_lease("192.0.2.0/24", "52:54:00:00:00:01".parse().unwrap())
        .await
        .unwrap();
    assert!(lease.is_some());
    let allocation = store.find_allocation("for-somebody").await.unwrap();
    assert_eq!(allocation.is_some(), version >= 2);
    assert_eq!(
        store.find_runbook("CUSTOM_R").await.unwrap().is_some(),
        version >= 2
    );
    assert_eq!(
        store
            .list_portgroups(&Default::default(), &page())
            .await
            .unwrap()
            .len(),
        usize::from(version >= 3)
    );
    assert_eq!(
        store.get_inventory(id(ACTIVE)).await.unwrap().is_some(),
        version >= 3
    );
    assert_eq!(
        store.list_bios_settings(id(ACTIVE)).await.unwrap().len(),
        usize::from(version >= 3)
    );
    // and it can be worked with
    let object: Object = Object::new();
    store
        .update_node(
            id(ACTIVE),
            None,
            true,
            change(move |n| n.extra = object.clone()),
            Vec::new(),
        )
        .await
        .unwrap();
    store.close().await;
}
