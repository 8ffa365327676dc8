//! An agent with its surroundings.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bessemer_agent::agent::{self, Agent, End, Power};
use bessemer_agent::log::LogRing;
use bessemer_agent::settings::{Roots, Settings};
use bessemer_wire::{CommandResult, CommandStatus};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::servers::{FakeApi, ImageServer};

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
pub const NODE: &str = "11111111-2222-3333-4444-555555555555";
pub const MIB: u64 = 1 << 20;

/// What a test wants to be otherwise.
#[derive(Clone)]
pub struct Options {
    pub node: Map<String, Value>,
    pub config: Map<String, Value>,
    pub image_retries: u32,
    pub uefi: bool,
    pub tls: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node: Map::new(),
            config: Map::new(),
            image_retries: 2,
            uefi: false,
            tls: true,
        }
    }
}

pub struct World {
    pub directory: tempfile::TempDir,
    pub api: FakeApi,
    pub images: ImageServer,
    options: Options,
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => panic!("not an object"),
    }
}

impl World {
    pub async fn new(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for path in ["sys/block", "sys/class/net/eth0/device", "dev", "proc"] {
            std::fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        let net = directory.path().join("sys/class/net/eth0");
        std::fs::write(net.join("address"), "52:54:00:AB:cd:01\n").unwrap();
        std::fs::write(net.join("ifindex"), "2\n").unwrap();
        std::fs::write(net.join("carrier"), "1\n").unwrap();
        if options.uefi {
            std::fs::create_dir_all(directory.path().join("sys/firmware/efi/efivars")).unwrap();
        }
        let mut node = object(json!({"uuid": NODE, "properties": {}, "instance_info": {},
            "driver_internal_info": {}, "links": []}));
        node.extend(options.node.clone());
        let mut config = object(json!({"heartbeat_timeout": 300, "agent_token": TOKEN,
            "agent_token_required": true, "agent_md5_checksum_enable": true,
            "permitted_image_formats": ["raw", "qcow2", "gpt"]}));
        config.extend(options.config.clone());
        let api = FakeApi::start(json!({"node": node, "config": config})).await;
        Self {
            directory,
            api,
            images: ImageServer::start().await,
            options,
        }
    }

    /// A disk of so many bytes, full of holes.
    pub fn disk(&self, name: &str, size: u64) -> Disk {
        let sys = self.directory.path().join("sys/block").join(name);
        std::fs::create_dir_all(sys.join("queue")).unwrap();
        std::fs::write(sys.join("size"), format!("{}\n", size / 512)).unwrap();
        std::fs::write(sys.join("ro"), "0\n").unwrap();
        std::fs::write(sys.join("removable"), "0\n").unwrap();
        std::fs::write(sys.join("serial"), format!("serial-{name}\n")).unwrap();
        std::fs::write(sys.join("queue/rotational"), "0\n").unwrap();
        let path = self.directory.path().join("dev").join(name);
        File::create(&path).unwrap().set_len(size).unwrap();
        Disk { path, sys, size }
    }

    pub fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.apply_kernel_command_line(&format!("ipa-api-url={}", self.api.url()));
        settings.listen = "127.0.0.1:0".parse().unwrap();
        settings.advertise_host = Some("127.0.0.1".to_owned());
        settings.tls = self.options.tls;
        settings.lookup_interval = Duration::from_millis(100);
        settings.disk_wait_attempts = 1;
        settings.image_retries = self.options.image_retries;
        settings.image_retry_interval = Duration::from_millis(20);
        settings.image_connection_timeout = Duration::from_secs(5);
        settings.roots = Roots {
            sys: self.directory.path().join("sys"),
            proc: self.directory.path().join("proc"),
            dev: self.directory.path().join("dev"),
        };
        settings
    }

    pub async fn agent(&self) -> Running {
        self.agent_with(self.settings()).await
    }

    pub async fn agent_with(&self, settings: Settings) -> Running {
        // a log of the whole test process helps when one fails
        let _ = bessemer_agent::log::install(true);
        let cancel = CancellationToken::new();
        let before = self.api.heartbeats().len();
        let agent = Agent::new(
            settings,
            LogRing::default(),
            Power::Process(Mutex::new(None)),
            cancel.clone(),
            None,
        )
        .unwrap();
        let task = tokio::spawn(agent::run(agent.clone()));
        let heartbeats = self.api.wait_for_heartbeats(before + 1).await;
        let body = &heartbeats[before].body;
        let url = body["callback_url"].as_str().unwrap().to_owned();
        let mut builder = reqwest::Client::builder().no_proxy();
        let mut roots = rustls::RootCertStore::empty();
        if let Some(pem) = body["agent_verify_ca"].as_str() {
            use rustls_pki_types::pem::PemObject;
            let certificate =
                rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            roots.add(certificate).unwrap();
        }
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
        builder = builder.tls_backend_preconfigured(tls);
        Running {
            agent,
            task,
            url,
            client: builder.build().unwrap(),
        }
    }
}

/// A running agent and a client of it.
pub struct Running {
    pub agent: Arc<Agent>,
    task: tokio::task::JoinHandle<Result<(), agent::Fatal>>,
    pub url: String,
    pub client: reqwest::Client,
}

impl Running {
    /// Status and body of a POST.
    pub async fn post(&self, name: &str, params: Value, wait: bool) -> (u16, Value) {
        let url = format!("{}/v1/commands/?wait={wait}&agent_token={TOKEN}", self.url);
        let body = json!({"name": name, "params": params});
        let response = self.client.post(url).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        let response = self
            .client
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Runs a command to its end.
    pub async fn run(&self, name: &str, params: Value) -> CommandResult {
        let (status, body) = self.post(name, params, true).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_value(body).unwrap()
    }

    /// Runs a command that must succeed; its result.
    pub async fn succeed(&self, name: &str, params: Value) -> Value {
        let result = self.run(name, params).await;
        assert_eq!(
            result.command_status,
            CommandStatus::Succeeded,
            "{:?}",
            result.command_error
        );
        result.command_result.unwrap_or(Value::Null)
    }

    /// Runs a command that must fail; class and sentence.
    pub async fn fail(&self, name: &str, params: Value) -> (String, String) {
        let result = self.run(name, params).await;
        assert_eq!(result.command_status, CommandStatus::Failed);
        let error = result.command_error.unwrap();
        (error.kind, error.details)
    }

    /// Stops it; what the machine was to do.
    pub async fn stop(self) -> Option<End> {
        self.agent.cancel.cancel();
        self.ended().await
    }

    /// Waits for its own end.
    pub async fn ended(self) -> Option<End> {
        tokio::time::timeout(Duration::from_secs(20), self.task)
            .await
            .expect("the agent did not end")
            .unwrap()
            .unwrap();
        match &self.agent.power {
            Power::Process(wanted) => *wanted.lock().unwrap(),
            Power::Machine => None,
        }
    }
}

pub struct Disk {
    pub path: PathBuf,
    pub sys: PathBuf,
    pub size: u64,
}

impl Disk {
    pub fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        File::open(&self.path)
            .unwrap()
            .read_exact_at(&mut bytes, offset)
            .unwrap();
        bytes
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) {
        File::options()
            .write(true)
            .open(&self.path)
            .unwrap()
            .write_all_at(bytes, offset)
            .unwrap();
    }

    /// Something at both ends and in the middle that must go or stay.
    pub fn mark(&self) {
        self.write(0, &[0xa5; 8192]);
        self.write(self.size / 2, &[0xa5; 8192]);
        self.write(self.size - 8192, &[0xa5; 8192]);
    }

    pub fn is_as_marked(&self) -> bool {
        [0, self.size / 2, self.size - 8192]
            .iter()
            .all(|at| self.read(*at, 8192) == [0xa5; 8192])
    }

    pub fn ends_are_zero(&self) -> bool {
        self.read(0, 1 << 20).iter().all(|b| *b == 0)
            && self
                .read(self.size - (1 << 20), 1 << 20)
                .iter()
                .all(|b| *b == 0)
    }
}
