//! A controller: as tasks of a runtime of its own in this process, which can be dropped at any instant, or as the real
//! program, which can be killed and stopped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bessemer_config::Config;
use bessemer_server::serve::Server;
use bessemer_store::WriteProbe;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::programs::{Binary, program};
use super::{Api, POLL};

/// In this process.
pub struct Controller {
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Controller {
    /// Returns when the API answers.
    pub async fn start(config: Config, probe: Option<Arc<dyn WriteProbe>>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("controller")
            .enable_all()
            .build()
            .unwrap();
        let (stop, stopped) = oneshot::channel();
        let (started, answers) = oneshot::channel();
        let ended = runtime.spawn(async move {
            let deadline = Instant::now() + Duration::from_secs(10);
            let server = loop {
                match Server::start(config.clone(), probe.clone()).await {
                    Ok(server) => break server,
                    // the sockets of the one before are closed by tasks that are still being dropped
                    Err(error)
                        if format!("{error:#}").contains("in use") && Instant::now() < deadline =>
                    {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    Err(error) => {
                        let _ = started.send(Err(format!("{error:#}")));
                        return Ok(());
                    }
                }
            };
            let _ = started.send(Ok(()));
            server
                .run(async {
                    let _ = stopped.await;
                })
                .await
        });
        match answers.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("the controller does not start: {error}"),
            Err(_) => panic!("the controller broke down at its start"),
        }
        Self {
            runtime: Some(runtime),
            stop: Some(stop),
            ended,
        }
    }

    /// Everything that runs is dropped where it is; returns when nothing of it is left.
    pub async fn crash(mut self) {
        let runtime = self.runtime.take().unwrap();
        // keeps `run` from seeing the end of the channel before it is dropped
        let stop = self.stop.take();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(10)))
            .await
            .unwrap();
        drop(stop);
    }

    /// Ends in order.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        let ended = tokio::time::timeout(Duration::from_secs(30), &mut self.ended).await;
        self.shut_down();
        ended
            .expect("the controller does not stop")
            .unwrap()
            .unwrap();
    }

    fn shut_down(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// `bessemer serve` as a process. Killed when this is dropped.
pub struct Program {
    child: Child,
    pub log: PathBuf,
}

impl Program {
    /// Starts it with a settings file and returns when its API answers.
    pub async fn start(settings: &Path, url: &str) -> Self {
        Self::spawn_serve(settings).answers(url).await
    }

    /// Starts it with a settings file and waits for nothing.
    pub fn spawn_serve(settings: &Path) -> Self {
        Self::spawn_roles(settings, &[])
    }

    /// The same with these roles alone; none = all.
    pub fn spawn_roles(settings: &Path, roles: &[&str]) -> Self {
        let mut command = Command::new(program(Binary::Server));
        command.arg("serve").arg("--config").arg(settings);
        if !roles.is_empty() {
            command.arg("--role").arg(roles.join(","));
        }
        Self::spawn(command, &settings.with_extension("log"))
    }

    /// Runs a command whose output goes to the end of a file.
    pub fn spawn(mut command: Command, log: &Path) -> Self {
        let output = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// Waits until the API answers.
    pub async fn answers(mut self, url: &str) -> Self {
        let api = Api::new(url);
        let deadline = Instant::now() + Duration::from_secs(60);
        while api.call(reqwest::Method::GET, "/v1", None).await.is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the controller ended ({status}):\n{}", self.said());
            }
            assert!(
                Instant::now() < deadline,
                "the controller does not answer:\n{}",
                self.said()
            );
            tokio::time::sleep(POLL / 5).await;
        }
        self
    }

    /// Everything that it said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A value of `/proc/<pid>/status` in kibibytes, `VmRSS` for one.
    pub fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
        number.unwrap().parse().unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its end.
    pub async fn stop(self) {
        self.stop_by(rustix::process::Signal::TERM).await;
    }

    /// A signal that asks it to end, and its end.
    pub async fn stop_by(mut self, signal: rustix::process::Signal) {
        self.signal(signal);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}:\n{}", self.said());
                return;
            }
            assert!(
                Instant::now() < deadline,
                "it does not stop:\n{}",
                self.said()
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
