//! `bessemer db`: what an operator does with the database as a whole.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bessemer_config::Config;
use bessemer_store::admin::{self, Repair, RestoreOptions};
use bessemer_store::{Keys, Store};
use clap::{Args, Subcommand};

use crate::wiring;

/// Findings are left.
const FINDINGS: u8 = 3;

/// Which database: that of the settings.
#[derive(Debug, Args)]
pub struct Which {
    /// Settings file (TOML); the database is that of its [database] connection, by default SQLite below [DEFAULT] state_path.
    #[arg(long, short, value_name = "FILE", env = "BESSEMER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Sets one option, e.g. `--set DEFAULT.state_path=/srv/bessemer`. Repeatable; wins over file and environment.
    #[arg(long, value_name = "SECTION.OPTION=VALUE")]
    pub set: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Shows the engine, the schema's version, and whether this program would upgrade it.
    Version {
        #[command(flatten)]
        which: Which,
    },
    /// Brings the schema to this program's version.
    ///
    /// `bessemer serve` does this by itself at its start; do it by hand to see it work before. Make a backup first: an older
    /// program does not open an upgraded database. May run while an older service runs (see docs/howto/database.md).
    Upgrade {
        #[command(flatten)]
        which: Which,
    },
    /// Writes the whole database, as it is at one moment, to one file. The service may go on running.
    ///
    /// The file is compressed, has a checksum, and can be restored into either engine: also the way from SQLite to
    /// PostgreSQL. Only its owner may read it. Secrets stand in it as in the database: encrypted when [database]
    /// encryption_key_file or encryption_keys is set (the keys are not in it: keep them elsewhere), else in the clear.
    Backup {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Replace the file if it exists.
        #[arg(long)]
        overwrite: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Replaces the database by a backup, whole or not at all.
    ///
    /// Stop every conductor first. A backup of an older version is upgraded on the way; one of a newer version is refused.
    /// Afterwards no lease and no session is alive, recorded power states are forgotten (the next power sync reads the real
    /// ones), and operations that were open go on only after a look at their nodes. What happened to nodes since the backup
    /// is not known: consider --hold-available.
    Restore {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Also while a conductor seems to be alive, and over the database of a newer version.
        #[arg(long)]
        force: bool,
        /// Put every available node into maintenance, so that nobody deploys to one that was deployed since the backup.
        #[arg(long)]
        hold_available: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Says what a backup is, after comparing its checksum. Needs no database.
    Describe {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Looks for rows that contradict each other or cannot be read, and says what to do about each.
    ///
    /// Ends with 0 when nothing is wrong, with 3 when something is left to do. May run beside the service.
    Check {
        /// Mend what can be mended without losing anything.
        #[arg(long)]
        fix: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Prints a new key for [database] encryption_key_file or encryption_keys.
    NewKey,
    /// Encrypts every secret of nodes under the first key, whatever it was under. May run beside the service.
    ///
    /// To change keys: add the new key behind the old one and restart every service; move it to the first place and restart
    /// again; run this; then remove the old key. See docs/howto/database.md.
    RotateSecrets {
        /// Remove secrets that no key opens, so that they can be set anew. They are lost.
        #[arg(long)]
        forget_unreadable: bool,
        #[command(flatten)]
        which: Which,
    },
}

impl DbCommand {
    fn which(&self) -> Option<&Which> {
        match self {
            Self::Version { which }
            | Self::Upgrade { which }
            | Self::Backup { which, .. }
            | Self::Restore { which, .. }
            | Self::Check { which, .. }
            | Self::RotateSecrets { which, .. } => Some(which),
            Self::Describe { .. } | Self::NewKey => None,
        }
    }
}

/// Runs one command; `load` reads the settings.
///
/// # Errors
/// In a sentence that says what was to be done.
pub fn run(
    command: &DbCommand,
    load: impl FnOnce(&Which) -> anyhow::Result<Config>,
) -> anyhow::Result<ExitCode> {
    let settings = match command.which() {
        Some(which) => {
            let config = load(which)?;
            crate::serve::logging(&config)?;
            Some(wiring::store(&config)?)
        }
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime")?;
    match (command, settings) {
        (DbCommand::NewKey, _) => {
            println!("{}", Keys::generate().context("a key cannot be made")?);
        }
        (DbCommand::Describe { file }, _) => {
            let backup = admin::describe(file)?;
            println!(
                "a backup of {}, of a {} database with schema version {}, made by version {}; its checksum is right",
                backup.created_at,
                backup.engine,
                newest(&backup.schema),
                backup.program
            );
        }
        (_, None) => anyhow::bail!("this command needs the settings of a database"),
        (command, Some(settings)) => return runtime.block_on(with(command, settings)),
    }
    Ok(ExitCode::SUCCESS)
}

fn newest(versions: &[i64]) -> i64 {
    versions.last().copied().unwrap_or(0)
}

async fn with(command: &DbCommand, settings: bessemer_store::Settings) -> anyhow::Result<ExitCode> {
    match command {
        DbCommand::NewKey | DbCommand::Describe { .. } => {}
        DbCommand::Version { .. } => {
            let version = admin::version(&settings)
                .await
                .context("the version of the database cannot be read")?;
            println!("engine            {}", version.engine);
            println!("schema            {}", newest(&version.applied));
            println!("this program's    {}", newest(&version.known));
            let (missing, unknown) = (version.missing(), version.unknown());
            println!(
                "state             {}",
                if version.applied.is_empty() {
                    "empty: `bessemer serve` makes the schema".to_owned()
                } else if !unknown.is_empty() {
                    format!("newer than this program (it has {unknown:?}): use the newer program")
                } else if !missing.is_empty() {
                    format!("older than this program: `bessemer db upgrade` adds {missing:?}")
                } else {
                    "up to date".to_owned()
                }
            );
            if let Some((restored, made)) = version.restored {
                println!("restored          {restored}, from a backup of {made}");
            }
            let keys: Vec<_> = settings.secrets.ids().collect();
            println!(
                "encryption keys   {}",
                if keys.is_empty() {
                    "none: secrets are stored as they are".to_owned()
                } else {
                    keys.join(", ")
                }
            );
        }
        DbCommand::Upgrade { .. } => {
            let before = admin::upgrade(&settings)
                .await
                .context("the database cannot be upgraded; it is as it was")?;
            let missing = before.missing();
            if missing.is_empty() {
                println!("schema {}: nothing to do", newest(&before.known));
            } else {
                println!(
                    "schema {} -> {}: ran {missing:?}",
                    newest(&before.applied),
                    newest(&before.known)
                );
            }
        }
        DbCommand::Backup {
            file, overwrite, ..
        } => {
            let made = admin::backup(&settings, file, *overwrite)
                .await
                .context("no backup was made")?;
            println!(
                "{}: {} rows of {} tables as of {}, schema {}, {} bytes",
                file.display(),
                made.rows,
                made.tables,
                made.description.created_at,
                newest(&made.description.schema),
                made.bytes
            );
            if settings.secrets.is_empty() {
                println!(
                    "secrets are in it in the clear: keep it where only you read it, or set [database] encryption_key_file"
                );
            } else {
                println!("secrets are encrypted in it: keep the keys too, elsewhere");
            }
        }
        DbCommand::Restore {
            file,
            force,
            hold_available,
            ..
        } => {
            let options = RestoreOptions {
                force: *force,
                hold_available: *hold_available,
            };
            let done = admin::restore(&settings, file, options)
                .await
                .context("nothing was restored; the database is as it was")?;
            println!(
                "restored {} rows: {} nodes as of {}",
                done.rows, done.nodes, done.backup.created_at
            );
            println!(
                "{} operations were open: each goes on after a look at its node, or ends with a sentence in last_error",
                done.open_operations
            );
            let held = if *hold_available {
                "are in maintenance until you end it"
            } else {
                "can be deployed: if any of them may have been deployed since, restore again with --hold-available, or set \
                 maintenance before you start the service"
            };
            println!("{} available nodes {held}", done.available);
            println!(
                "power states are unknown until the next power sync; `bessemer db check` looks at the rest"
            );
        }
        DbCommand::Check { fix, .. } => return check(&settings, *fix).await,
        DbCommand::RotateSecrets {
            forget_unreadable, ..
        } => {
            let store = Store::open_as_is(&settings)
                .await
                .context("secrets were not touched")?;
            let done = store.rotate_secrets(*forget_unreadable).await;
            store.close().await;
            let done = done.context(
                "not all secrets could be encrypted anew (those before stay so; run this again when the reason is gone)",
            )?;
            admin::compact(&settings).await.context(
                "secrets are encrypted, but what they were may still be in free parts of the file",
            )?;
            println!(
                "{} rows looked at, {} written anew under {}",
                done.rows,
                done.changed,
                settings
                    .secrets
                    .ids()
                    .next()
                    .map_or("no key (in the clear)".to_owned(), |id| format!("key {id}"))
            );
            for (row, member) in &done.forgotten {
                println!("removed: {member} of {row}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn check(settings: &bessemer_store::Settings, fix: bool) -> anyhow::Result<ExitCode> {
    let store = Store::open_as_is(settings)
        .await
        .context("the database cannot be checked")?;
    let findings = store.check(fix).await;
    store.close().await;
    let findings = findings.context("the check broke off")?;
    let mut left = 0;
    for finding in &findings {
        let label = match finding.repair {
            Repair::Done => "mended",
            _ if finding.is_notice => "notice",
            _ => {
                left += 1;
                "WRONG"
            }
        };
        println!("{label}: {}", finding.what);
        if finding.repair != Repair::Done {
            println!("        {}", finding.advice);
        }
    }
    if left == 0 {
        println!(
            "{}",
            if findings.is_empty() {
                "nothing is wrong"
            } else {
                "nothing is left that is wrong"
            }
        );
        return Ok(ExitCode::SUCCESS);
    }
    let possible = findings
        .iter()
        .filter(|f| f.repair == Repair::Possible && !f.is_notice)
        .count();
    println!("{left} wrong; `bessemer db check --fix` mends {possible} of them");
    Ok(ExitCode::from(FINDINGS))
}
