//! `bessemer`: the service and its tools in one program.

mod node;

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bessemer_config::{Base, Config, ENV_PREFIX, Sources};
use bessemer_server::database::{self, DbCommand};
use bessemer_server::notifications::{self, NotificationsCommand};
use bessemer_server::serve;
use clap::{Args, Parser, Subcommand};

/// Bare-metal provisioning: turns racked, empty servers into running ones.
#[derive(Parser)]
#[command(name = "bessemer", version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the service: API, conductor, and DHCP/TFTP/HTTP boot where they are switched on.
    Serve(ServeArgs),
    /// Builds the deploy ramdisk.
    #[command(subcommand)]
    Ramdisk(RamdiskCommand),
    /// Shows settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Backs the database up, restores, upgrades and checks it, and manages the keys of its secrets.
    #[command(subcommand)]
    Db(DbCommand),
    /// Shows what notifications wait or were given up, and sends them again.
    #[command(subcommand)]
    Notifications(NotificationsCommand),
    /// Asks a running service about a node.
    #[command(subcommand)]
    Node(node::NodeCommand),
}

#[derive(Args)]
#[command(after_long_help = options_help())]
struct ServeArgs {
    /// Settings file (TOML). Without it the defaults hold, with the environment and --set over them.
    #[arg(long, short, value_name = "FILE", env = "BESSEMER_CONFIG")]
    config: Option<PathBuf>,
    /// Sets one option, e.g. `--set conductor.automated_clean=false`. Repeatable; wins over file and environment.
    #[arg(long, value_name = "SECTION.OPTION=VALUE")]
    set: Vec<String>,
    /// For scripts and first looks: everything with no settings file, on loopback only, without
    /// authentication, with fake-hardware besides the real types, and no DHCP or TFTP.
    #[arg(long)]
    dev: bool,
    /// Address and port of the API; with --dev it must be a loopback address.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// What this process does, of several: with PostgreSQL API processes may run apart from conductors. Everything by default.
    #[arg(long = "role", value_name = "ROLE", value_delimiter = ',')]
    roles: Vec<serve::Role>,
    /// Directory for the database and everything else that outlives a restart. With --dev a temporary one
    /// that is removed at the end when it is not given.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum RamdiskCommand {
    /// Builds kernel and initramfs from Debian's kernel package and the agent.
    ///
    /// Needs apt-get, dpkg-deb and zstd, but no privileges: nothing is installed. Prints the two settings that
    /// use the result.
    Build {
        /// `cloud` for QEMU and clouds, `generic` for real hardware.
        #[arg(long, default_value = "generic")]
        flavour: bessemer_ramdisk::Flavour,
        /// The statically linked agent; by default `bessemer-agent` beside this program.
        #[arg(long, value_name = "FILE")]
        agent: Option<PathBuf>,
        /// Where kernel and initramfs are written.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
        /// Kernel version as in the package name, e.g. `6.1.0-56-amd64`; by default the newest.
        #[arg(long)]
        kernel_version: Option<String>,
        /// Where downloaded packages are kept.
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
        /// One more kernel module, with what it needs. Repeatable.
        #[arg(long = "module", value_name = "NAME")]
        modules: Vec<String>,
    },
    /// Lists what is in an initramfs that `build` made.
    List {
        #[arg(value_name = "FILE")]
        initramfs: PathBuf,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Prints a settings file with every option, its meaning and its default.
    Example,
    /// Prints the reference of all options (Markdown).
    Reference,
    /// Translates a configuration file of Ironic (ironic.conf) to a settings file of ours.
    ///
    /// Options keep their names where they mean the same. What is not translated is reported with the reason: options that
    /// do not exist here, that upstream has removed, or that mean something else. Secrets are written to the file given
    /// with --out, which only its owner may read, and never shown on the terminal.
    Import {
        /// Ironic's configuration file. Files of a configuration directory are translated one by one.
        #[arg(value_name = "IRONIC.CONF")]
        file: PathBuf,
        /// Where the settings are written. Without it they are shown, with secrets left out.
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Replace the file if it exists.
        #[arg(long)]
        overwrite: bool,
    },
    /// Reads a settings file (with the environment and --set) and says whether it can be used.
    Check {
        #[arg(long, short, value_name = "FILE", env = "BESSEMER_CONFIG")]
        config: Option<PathBuf>,
        #[arg(long, value_name = "SECTION.OPTION=VALUE")]
        set: Vec<String>,
    },
}

/// Every option in a line, from the definitions.
fn options_help() -> String {
    let mut text = format!(
        "Options of the settings file, also as environment variables {ENV_PREFIX}SECTION__OPTION and with --set:\n"
    );
    let mut section = "";
    for option in Config::options() {
        if option.section != section {
            section = option.section;
            text.push_str(&format!("\n[{section}] {}\n", option.section_doc));
        }
        let default = option.default.unwrap_or_else(|| "not set".to_owned());
        text.push_str(&format!(
            "  {} ({}; {default})\n      {}\n",
            option.name, option.kind, option.doc
        ));
    }
    text
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bessemer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let done = match cli.command {
        Command::Serve(args) => start(args),
        Command::Db(command) => {
            return database::run(&command, |which| {
                let sources = sources(Base::Plain, which.config.clone(), which.set.clone());
                Ok(Config::load(&sources)?)
            });
        }
        Command::Config(ConfigCommand::Import {
            file,
            out,
            overwrite,
        }) => import(&file, out, overwrite),
        Command::Notifications(command) => {
            let which = command.which();
            let sources = sources(Base::Plain, which.config.clone(), which.set.clone());
            let config = Config::load(&sources)?;
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("the runtime")?
                .block_on(notifications::run(&command, &config))
        }
        Command::Node(command) => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the runtime")?
            .block_on(node::run(command)),
        Command::Ramdisk(RamdiskCommand::Build {
            flavour,
            agent,
            out,
            kernel_version,
            cache,
            modules,
        }) => {
            let agent = match agent {
                Some(path) => path,
                None => std::env::current_exe()
                    .context("this program's own path")?
                    .with_file_name("bessemer-agent"),
            };
            let cache_dir = cache.unwrap_or_else(default_cache);
            let options = bessemer_ramdisk::Options {
                flavour,
                agent,
                out_dir: out,
                kernel_version,
                cache_dir,
                extra_modules: modules,
            };
            let built = bessemer_ramdisk::build(&options)?;
            let total = built.sizes.kernel + built.sizes.initramfs;
            println!(
                "kernel {} ({} bytes)",
                built.kernel_version, built.sizes.kernel
            );
            println!(
                "initramfs {} bytes, {} unpacked, {} modules",
                built.sizes.initramfs,
                built.sizes.unpacked,
                built.modules.len()
            );
            println!("together {:.1} MiB", total as f64 / 1_048_576.0);
            if !built.absent.is_empty() {
                println!("this kernel does not have: {}", built.absent.join(", "));
            }
            let full = |path: &PathBuf| std::path::absolute(path).map(|p| p.display().to_string());
            println!("\n[conductor]");
            println!("deploy_kernel = \"file://{}\"", full(&built.kernel)?);
            println!("deploy_ramdisk = \"file://{}\"", full(&built.initramfs)?);
            Ok(())
        }
        Command::Ramdisk(RamdiskCommand::List { initramfs }) => {
            for entry in bessemer_ramdisk::list(&initramfs)? {
                println!("{} {:>10} {}", entry.mode, entry.size, entry.path);
            }
            Ok(())
        }
        Command::Config(ConfigCommand::Example) => {
            print!("{}", bessemer_config::example());
            Ok(())
        }
        Command::Config(ConfigCommand::Reference) => {
            print!("{}", bessemer_config::reference());
            Ok(())
        }
        Command::Config(ConfigCommand::Check { config, set }) => {
            let config = Config::load(&sources(Base::Plain, config, set))?;
            config.check_for_serve()?;
            bessemer_server::wiring::drivers(&config)?;
            println!("these settings can be used");
            Ok(())
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Translates upstream's file. The settings go to a file or standard output, the report to standard error.
fn import(file: &std::path::Path, out: Option<PathBuf>, overwrite: bool) -> anyhow::Result<()> {
    let bytes = std::fs::read(file).with_context(|| {
        format!(
            "{} cannot be read; it should be the configuration file of Ironic",
            file.display()
        )
    })?;
    let imported = bessemer_config::import(
        &String::from_utf8_lossy(&bytes),
        &bessemer_server::wiring::exists,
    )
    .with_context(|| format!("{} cannot be translated", file.display()))?;
    match &out {
        Some(path) => {
            let mut options = std::fs::File::options();
            options.write(true).mode(0o600);
            if overwrite {
                options.create(true).truncate(true);
            } else {
                options.create_new(true);
            }
            options
                .open(path)
                .and_then(|mut to| to.write_all(imported.toml.as_bytes()))
                .with_context(|| {
                    format!(
                        "{} cannot be written; if it exists, choose another name or say --overwrite",
                        path.display()
                    )
                })?;
            eprintln!("{} written", path.display());
        }
        None => print!("{}", imported.shown),
    }
    eprint!("{}", imported.report());
    Ok(())
}

fn default_cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .unwrap_or_else(std::env::temp_dir);
    base.join("bessemer")
}

fn sources(base: Base, file: Option<PathBuf>, set: Vec<String>) -> Sources {
    Sources {
        base,
        file,
        env: std::env::vars_os().collect(),
        set,
    }
}

fn start(args: ServeArgs) -> anyhow::Result<()> {
    let base = if args.dev { Base::Dev } else { Base::Plain };
    let mut config = Config::load(&sources(base, args.config, args.set))?;
    if let Some(listen) = args.listen {
        config.api.host_ip = listen.ip();
        config.api.port = listen.port();
    }
    // Held to the end of this function: dropping it removes the directory.
    let mut temporary = None;
    match (args.data_dir, args.dev) {
        (Some(dir), _) => config.default.state_path = dir,
        (None, true) => {
            let dir = tempfile::Builder::new()
                .prefix("bessemer-dev-")
                .tempdir()
                .context("a temporary data directory")?;
            config.default.state_path = dir.path().to_owned();
            temporary = Some(dir);
        }
        (None, false) => {}
    }
    if args.dev {
        anyhow::ensure!(
            config.api.host_ip.is_loopback(),
            "--dev has no authentication and listens on loopback only, not on {}; use a settings file for anything else",
            config.api.host_ip
        );
        anyhow::ensure!(
            !config.netboot.enabled,
            "--dev serves no DHCP, TFTP or HTTP boot; use a settings file with [netboot] enabled = true"
        );
    }
    config.check_for_serve()?;
    serve::logging(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime")?;
    let roles = if args.roles.is_empty() {
        serve::Role::ALL.to_vec()
    } else {
        args.roles
    };
    let ended = runtime.block_on(serve::serve(config, &roles));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    drop(temporary);
    ended
}
