//! Both engines have the same schema, and a second opening finds it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use bessemer_store::Store;
use bessemer_store::testing::{databases, on_both, sqlite};
use sqlx::{Connection, PgConnection, Row};

use crate::support::*;

/// `table.column` with whether it may be null, and the names of the indexes.
const SQLITE: &str = "SELECT m.name || '.' || p.name || CASE WHEN p.\"notnull\" = 1 OR p.pk > 0 THEN ' not null' ELSE '' END \
     FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table' \
     AND m.name NOT LIKE 'sqlite_%' AND m.name NOT LIKE '_sqlx%' \
     UNION ALL SELECT 'index ' || name FROM sqlite_master WHERE type = 'index' AND name NOT LIKE 'sqlite_autoindex%'";
const POSTGRES: &str = "SELECT table_name || '.' || column_name || CASE WHEN is_nullable = 'NO' THEN ' not null' ELSE '' END \
     FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%' \
     UNION ALL SELECT 'index ' || indexname FROM pg_indexes WHERE schemaname = 'public' AND indexname NOT LIKE '%\\_pkey'";

#[tokio::test]
async fn the_same_on_both_engines() {
    let mut schemas = Vec::new();
    for database in databases().await {
        let url = database.settings.connection.clone();
        Store::open(&database.settings).await.unwrap().close().await;
        let names: Vec<String> = if database.name == "sqlite" {
            sqlite_texts(&url, SQLITE)
        } else {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            let rows = sqlx::query(POSTGRES)
                .fetch_all(&mut connection)
                .await
                .unwrap();
            rows.iter().map(|row| row.get(0)).collect()
        };
        schemas.push(names.into_iter().collect::<BTreeSet<_>>());
    }
    assert!(schemas[0].len() > 150, "{}", schemas[0].len());
    let differ: Vec<_> = schemas[0].symmetric_difference(&schemas[1]).collect();
    assert!(differ.is_empty(), "{differ:?}");
}

/// On PostgreSQL every text column sorts by code point, as SQLite's do.
#[tokio::test]
async fn text_is_sorted_by_code_point() {
    let database = bessemer_store::testing::postgres().await;
    Store::open(&database.settings).await.unwrap().close().await;
    let mut connection = PgConnection::connect(&database.settings.connection)
        .await
        .unwrap();
    let rows = sqlx::query(
        "SELECT table_name || '.' || column_name FROM information_schema.columns \
         WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%' AND data_type = 'text' \
         AND collation_name IS DISTINCT FROM 'C'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(names.is_empty(), "{names:?}");
}

#[tokio::test]
async fn opened_again() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n").await;
        store.close().await;
        let (one, two) = tokio::join!(Store::open(&settings), Store::open(&settings));
        for store in [one.unwrap(), two.unwrap()] {
            assert!(store.get_node(node.id).await.unwrap().unwrap() == node);
            store.ping().await.unwrap();
        }
    })
    .await;
}

/// The file holds the passwords of BMCs.
#[tokio::test]
async fn the_file_is_its_owners_only() {
    let database = sqlite();
    let store = Store::open(&database.settings).await.unwrap();
    stored(&store, "n").await;
    let path = database.settings.connection.trim_start_matches("sqlite://");
    for suffix in ["", "-wal", "-shm"] {
        let mode = std::fs::metadata(format!("{path}{suffix}"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{suffix}");
    }
}
