//! Fresh databases of both engines for tests, also those of other crates.
//!
//! SQLite in a temporary directory; PostgreSQL in a database of its own, on the server that
//! `BESSEMER_TEST_POSTGRES` names (URL of an administrator's database), else on a private cluster that this
//! process starts once and that ends with it, however it ends. A missing server is a failure, never a skip.
//! Not for production code: everything here panics when it cannot do its work.

mod fixtures;
mod populated;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};

use crate::Settings;

pub use fixtures::write_fixtures;
pub use populated::{ACTIVE, DEPLOYING, FREE, OPERATION, PASSWORD, TOKEN, populate};

/// A fresh, empty database; gone when this is dropped.
pub struct Database {
    /// `sqlite` or `postgresql`.
    pub name: &'static str,
    pub settings: Settings,
    kept: Kept,
}

enum Kept {
    Directory(PathBuf),
    Postgres { admin: String, database: String },
}

impl Drop for Database {
    fn drop(&mut self) {
        match &self.kept {
            Kept::Directory(path) => {
                let _ = std::fs::remove_dir_all(path);
            }
            Kept::Postgres { admin, database } => {
                let sql = format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)");
                let admin = admin.clone();
                // Dropped inside of a runtime, which must not be blocked on.
                let dropped = std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .ok()?;
                    runtime.block_on(async {
                        let mut connection = connect(&admin).await.ok()?;
                        connection.execute(AssertSqlSafe(sql)).await.ok()
                    })
                });
                let _ = dropped.join();
            }
        }
    }
}

/// A fresh database of each engine.
pub async fn databases() -> Vec<Database> {
    vec![sqlite(), postgres().await]
}

/// Runs a test's body once on each engine.
pub async fn on_both(body: impl AsyncFn(Settings)) {
    for database in databases().await {
        // Shown with the output of a test that fails.
        println!("--- on {}", database.name);
        body(database.settings.clone()).await;
    }
}

fn settings(connection: String) -> Settings {
    Settings {
        connection,
        readers: 4,
        busy_timeout: Duration::from_secs(20),
        secrets: std::sync::Arc::default(),
        outbox: None,
        probe: None,
    }
}

/// A fresh SQLite database.
#[must_use]
pub fn sqlite() -> Database {
    let directory =
        std::env::temp_dir().join(format!("bessemer-store-{}", uuid::Uuid::new_v4().simple()));
    if let Err(error) = std::fs::create_dir_all(&directory) {
        panic!("{}: {error}", directory.display());
    }
    let connection = format!("sqlite://{}/bessemer.db", directory.display());
    Database {
        name: "sqlite",
        settings: settings(connection),
        kept: Kept::Directory(directory),
    }
}

/// A fresh PostgreSQL database.
pub async fn postgres() -> Database {
    database_on(admin_url().await).await
}

async fn database_on(admin: String) -> Database {
    let database = format!("bessemer_{}", uuid::Uuid::new_v4().simple());
    let mut connection = connect(&admin)
        .await
        .unwrap_or_else(|error| panic!("no PostgreSQL server to test with: {error}"));
    // A language's order, which is not that of code points: `COLLATE "C"` must be where it is needed.
    let sql = format!(
        "CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8' \
         LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'"
    );
    if let Err(error) = connection.execute(AssertSqlSafe(sql)).await {
        panic!("a database for the test cannot be created: {error}");
    }
    let _ = connection.close().await;
    Database {
        name: "postgresql",
        settings: settings(with_database(&admin, &database)),
        kept: Kept::Postgres { admin, database },
    }
}

async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    PgConnectOptions::from_str(url)?
        .disable_statement_logging()
        .connect()
        .await
}

/// The URL with another database.
fn with_database(url: &str, database: &str) -> String {
    let (rest, query) = match url.split_once('?') {
        Some((rest, query)) => (rest, format!("?{query}")),
        None => (url, String::new()),
    };
    let start = rest.find("://").map_or(0, |at| at + 3);
    let (head, tail) = rest.split_at(start);
    let authority = tail.split('/').next().unwrap_or_default();
    format!("{head}{authority}/{database}{query}")
}

async fn admin_url() -> String {
    if let Ok(url) = std::env::var("BESSEMER_TEST_POSTGRES") {
        return url;
    }
    let start = || CLUSTER.get_or_init(|| Cluster::start(Commits::MayBeLost));
    let cluster = tokio::task::spawn_blocking(start)
        .await
        .unwrap_or_else(|error| panic!("PostgreSQL could not be started: {error}"));
    answering(cluster).await
}

/// The cluster's URL, as soon as it answers.
async fn answering(cluster: &Cluster) -> String {
    let url = cluster.url();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match connect(&url).await {
            Ok(connection) => {
                let _ = connection.close().await;
                return url;
            }
            Err(error) if Instant::now() > deadline => {
                panic!("the private PostgreSQL server does not answer: {error}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

static CLUSTER: OnceLock<Cluster> = OnceLock::new();

/// A server of its own, with one fresh database, that a test may end and start again. What it has committed survives
/// its processes, though not the machine.
pub struct Restartable {
    pub database: Database,
    cluster: Cluster,
}

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Connections are cut, everything is written.
    Fast,
    /// As by a crash: the next start has to recover.
    Crash,
}

/// A server that can be restarted.
pub async fn restartable() -> Restartable {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(Commits::Survive))
        .await
        .unwrap_or_else(|error| panic!("PostgreSQL could not be started: {error}"));
    let admin = answering(&cluster).await;
    Restartable {
        database: database_on(admin).await,
        cluster,
    }
}

impl Restartable {
    /// Ends the server and starts it again; returns when it answers.
    pub async fn restart(&mut self, how: Ending) {
        let signal = match how {
            Ending::Fast => "INT",
            Ending::Crash => "QUIT",
        };
        if let Err(error) = self.cluster.end_and_start(signal) {
            panic!("PostgreSQL could not be restarted: {error}");
        }
        answering(&self.cluster).await;
    }
}

/// Whether what was committed survives a crash of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commits {
    MayBeLost,
    Survive,
}

/// A private cluster, on a unix socket only, whose data is not for keeps. The shell that runs it reads our end of
/// a pipe: when this process ends, by whatever, it stops the server and removes the directory. A line on the pipe is
/// the signal to end the server with before it is started again.
struct Cluster {
    directory: String,
    shell: Child,
    /// Says when the server was started again.
    said: BufReader<ChildStdout>,
}

const RUN: &str = r#"
trap '' INT HUP
dir=$(mktemp -d /tmp/bessemer-pg-XXXXXX) || exit 1
trap 'rm -rf "$dir"' EXIT
"$1/initdb" --no-sync -A trust -U postgres -E UTF8 --locale=C.UTF-8 -D "$dir/data" >"$dir/log" 2>&1 ||
    { cat "$dir/log" >&2; exit 1; }
start() {
    "$1/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c fsync=off -c full_page_writes=off \
        -c synchronous_commit="$2" -c max_connections=300 -c shared_buffers=32MB -c autovacuum=off \
        </dev/null >>"$dir/log" 2>&1 &
    server=$!
}
start "$1" "$2"
echo "$dir"
while read -r signal; do
    kill -"$signal" "$server"
    wait "$server"
    start "$1" "$2"
    echo started
done
kill -QUIT "$server"
wait "$server"
"#;

impl Cluster {
    fn start(commits: Commits) -> Self {
        let programs = programs();
        let synchronous = match commits {
            Commits::MayBeLost => "off",
            Commits::Survive => "on",
        };
        let mut shell = unprivileged();
        shell
            .args(["sh", "-c", RUN, "sh"])
            .arg(&programs)
            .arg(synchronous)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // of its own, so that a Ctrl-C does not end the clean-up with the test
            .process_group(0);
        let mut shell = shell
            .spawn()
            .unwrap_or_else(|error| panic!("a private PostgreSQL server cannot run: {error}"));
        let out = shell.stdout.take();
        let mut said = BufReader::new(out.unwrap_or_else(|| panic!("the shell has no output")));
        let mut directory = String::new();
        let _ = said.read_line(&mut directory);
        let directory = directory.trim().to_owned();
        assert!(
            !directory.is_empty(),
            "initdb failed; its messages are above"
        );
        Self {
            directory,
            shell,
            said,
        }
    }

    fn url(&self) -> String {
        format!(
            "postgresql:///postgres?host={}&user=postgres",
            self.directory.replace('/', "%2F")
        )
    }

    fn end_and_start(&mut self, signal: &str) -> std::io::Result<()> {
        let pipe = self.shell.stdin.as_mut();
        let pipe = pipe.ok_or_else(|| std::io::Error::other("its shell has no pipe"))?;
        writeln!(pipe, "{signal}")?;
        pipe.flush()?;
        match self.said.read_line(&mut String::new())? {
            0 => Err(std::io::Error::other("its shell has ended")),
            _ => Ok(()),
        }
    }
}

/// The programs of the newest server that is installed.
fn programs() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, path)| path.join("initdb").is_file())
        .collect();
    found.sort();
    match found.pop() {
        Some((_, path)) => path,
        None => panic!(
            "PostgreSQL's server is not installed: install Debian's package postgresql, or name a server \
             in BESSEMER_TEST_POSTGRES"
        ),
    }
}

/// PostgreSQL refuses to run as root. A real root becomes the user `postgres`; the root of a user
/// namespace, which has no other users, becomes another user of one more namespace.
fn unprivileged() -> Command {
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|out| out.stdout.starts_with(b"0\n"));
    if !is_root {
        return Command::new("env");
    }
    let by_user = ["-u", "postgres", "--"];
    let allowed = Command::new("runuser")
        .args(by_user)
        .arg("true")
        .current_dir("/")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if allowed {
        let mut command = Command::new("runuser");
        command.args(by_user);
        command
    } else {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-user=1000", "--map-group=1000", "--"]);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_with_another_database() {
        let check = |url, want| assert_eq!(with_database(url, "x"), want);
        check(
            "postgresql:///postgres?host=%2Ftmp%2Fa&user=b",
            "postgresql:///x?host=%2Ftmp%2Fa&user=b",
        );
        check(
            "postgresql://u:p@h:5432/postgres",
            "postgresql://u:p@h:5432/x",
        );
        check("postgres://h", "postgres://h/x");
    }
}
