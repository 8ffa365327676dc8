//! sushy-tools' emulator, from a virtual environment that is made once and kept.

use std::fs;
use std::future::Future;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bessemer_redfish::{Address, AuthType, Client, Target, Timing, TlsPolicy, Transports, Trust};
use tempfile::TempDir;

pub const USER: &str = "admin";
pub const PASSWORD: &str = "secret12";
const SUSHY_TOOLS: &str = "2.2.0";

/// Asks again and again, until true or too late.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let start = Instant::now();
    while !condition().await {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "not within 30 s: {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub fn target(address: &str) -> Target {
    Target {
        address: Address::parse(address).unwrap(),
        system: None,
        username: USER.into(),
        password: PASSWORD.into(),
        auth: AuthType::Auto,
        tls: TlsPolicy::default(),
    }
}

pub fn transports() -> Transports {
    Transports::new(Duration::from_secs(5), Duration::from_secs(30))
}

pub fn client(target: Target) -> Client {
    let timing = Timing {
        request: Duration::from_secs(20),
        attempts: 2,
        pause: Duration::from_millis(20),
    };
    Client::new(target, timing, &transports()).unwrap()
}

pub struct Emulator {
    child: Child,
    pub address: String,
    pub dir: TempDir,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            eprintln!("--- log of the emulator ---\n{log}");
        }
    }
}

impl Emulator {
    /// With a certificate of its own, when `tls`; it then lies in `cert.pem`.
    pub async fn start(tls: bool) -> Self {
        let python = tokio::task::spawn_blocking(python).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        fs::write(
            dir.path().join("sushy_board.py"),
            include_str!("sushy_board.py"),
        )
        .unwrap();
        let mut command = Command::new(python);
        command
            .arg("-u")
            .arg(dir.path().join("sushy_board.py"))
            .arg(port.to_string())
            .arg(dir.path())
            .env("PYTHONDONTWRITEBYTECODE", "1");
        if tls {
            let made = rcgen::generate_simple_self_signed(vec!["bmc.example".to_owned()]).unwrap();
            let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
            fs::write(&cert, made.cert.pem()).unwrap();
            fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            command
                .arg(format!("cert={}", cert.display()))
                .arg(format!("key={}", key.display()));
        }
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let scheme = if tls { "https" } else { "http" };
        let emulator = Self {
            child,
            address: format!("{scheme}://127.0.0.1:{port}"),
            dir,
        };
        let mut anyone = target(&emulator.address);
        anyone.tls.trust = Trust::Anyone;
        let probe = client(anyone);
        eventually("the emulator answers", || async {
            probe.root().await.is_ok()
        })
        .await;
        emulator
    }
}

fn python() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .expect("a home or cache directory");
    let cache = cache.join("bessemer");
    fs::create_dir_all(&cache).unwrap();
    let venv = cache.join(format!("venv-sushy-tools-{SUSHY_TOOLS}"));
    let (python, complete) = (venv.join("bin/python"), venv.join("complete"));
    let lock =
        fs::File::create(cache.join(format!("venv-sushy-tools-{SUSHY_TOOLS}.lock"))).unwrap();
    lock.lock().unwrap();
    if !complete.exists() {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&venv));
        run(Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .arg(format!("sushy-tools=={SUSHY_TOOLS}")));
        fs::write(&complete, SUSHY_TOOLS).unwrap();
    }
    python
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
