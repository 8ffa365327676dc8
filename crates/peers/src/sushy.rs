//! sushy-tools' Redfish emulator, with boards that its own driver of fakes has not.

use std::fs::{self, File};
use std::io::{Error, Result};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

pub const USER: &str = "admin";
pub const PASSWORD: &str = "secret12";
const VERSION: &str = "2.2.0";

/// A running emulator; it ends with this.
pub struct Emulator {
    child: Child,
    /// `http://127.0.0.1:PORT`, or `https`.
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
    /// With a certificate of its own, when `tls`; it then lies in `cert.pem`. Answers when this returns.
    ///
    /// # Errors
    /// When it cannot be installed or started.
    ///
    /// # Panics
    /// When it does not listen after 30 s.
    pub async fn start(tls: bool) -> Result<Self> {
        let package = format!("sushy-tools=={VERSION}");
        let install = move || crate::python(&format!("sushy-tools-{VERSION}"), &[&package]);
        let python = tokio::task::spawn_blocking(install)
            .await
            .map_err(Error::other)??;
        let dir = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let board = dir.path().join("sushy_board.py");
        fs::write(&board, include_str!("sushy_board.py"))?;
        let mut command = Command::new(python);
        command
            .arg("-u")
            .arg(board)
            .arg(port.to_string())
            .arg(dir.path())
            .env("PYTHONDONTWRITEBYTECODE", "1");
        if tls {
            let made = rcgen::generate_simple_self_signed(vec!["bmc.example".to_owned()])
                .map_err(Error::other)?;
            let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
            fs::write(&cert, made.cert.pem())?;
            fs::write(&key, made.signing_key.serialize_pem())?;
            command
                .arg(format!("cert={}", cert.display()))
                .arg(format!("key={}", key.display()));
        }
        let log = File::create(dir.path().join("log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let scheme = if tls { "https" } else { "http" };
        let emulator = Self {
            child,
            address: format!("{scheme}://127.0.0.1:{port}"),
            dir,
        };
        crate::eventually("the emulator listens", || async {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
        Ok(emulator)
    }
}
