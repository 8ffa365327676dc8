//! What stands in for a controller: DHCP, boot files and images over HTTP, lookup and heartbeat, and a caller of agents.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bessemer_dhcp::engine::Destination;
use bessemer_dhcp::pxe::HostScript;
use bessemer_dhcp::{
    BootService, ClientRecord, HostRecord, Network, Request as DhcpRequest, answer,
};
use bessemer_wire::{CommandResult, CommandStatus, HeartbeatBody};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::Digest;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

pub const NODE: &str = "b1a3f5f0-27a5-4f0f-8f0e-2b6a8d1f7c11";
pub const TOKEN: &str = "token-of-the-agent";

/// Image of 200,000 bytes.
pub fn image() -> Vec<u8> {
    (0..200_000u32)
        .map(|n| n.to_le_bytes()[0].wrapping_mul(31))
        .collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(sha2::Sha256::digest(bytes))
}

/// An ISO 9660 file system as far as anybody looks, gzipped, base64.
pub fn config_drive() -> (String, String) {
    use base64::Engine;
    use std::io::Write;
    let mut contents = vec![0; 40_000];
    contents[32_769..32_774].copy_from_slice(b"CD001");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&contents).unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(gzip.finish().unwrap());
    (text, sha256(&contents))
}

#[derive(Default)]
struct Shared {
    heartbeats: Vec<HeartbeatBody>,
    lookups: usize,
    script: String,
}

/// The stand-in; everything ends when it is dropped.
pub struct Site {
    shared: Arc<Mutex<Shared>>,
    pub dhcp: SocketAddrV4,
    pub url: String,
    _tasks: JoinSet<()>,
}

impl Site {
    pub async fn start() -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        shared.lock().unwrap().script = format!(
            "#!ipxe\nset attempt:int32 0\n:retry\nkernel ${{cwuri}}/../kernel ipa-api-url={url} BOOTIF=${{net0/mac}} || goto again\n\
             initrd /boot/ramdisk || goto again\nboot\n:again\ninc attempt\niseq ${{attempt}} 5 && exit 1 ||\nsleep ${{attempt}}\ngoto retry\n"
        );
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let std::net::SocketAddr::V4(dhcp) = socket.local_addr().unwrap() else {
            unreachable!()
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_dhcp(socket, format!("{url}/boot/script")));
        let state = shared.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                let state = state.clone();
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let state = state.clone();
                        async move { Ok::<_, Infallible>(respond(&state, request).await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            shared,
            dhcp,
            url,
            _tasks: tasks,
        }
    }

    pub fn set_script(&self, script: &str) {
        self.shared.lock().unwrap().script = script.to_owned();
    }

    pub fn heartbeats(&self) -> usize {
        self.shared.lock().unwrap().heartbeats.len()
    }

    pub fn lookups(&self) -> usize {
        self.shared.lock().unwrap().lookups
    }

    /// The agent of the latest heartbeat, once there are more than so many.
    pub async fn agent_after(&self, heartbeats: usize) -> AgentClient {
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            {
                let shared = self.shared.lock().unwrap();
                if shared.heartbeats.len() > heartbeats {
                    return AgentClient::new(shared.heartbeats.last().unwrap());
                }
            }
            assert!(std::time::Instant::now() < deadline, "no heartbeat came");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn serve_dhcp(socket: UdpSocket, script: String) {
    let network = Network {
        cidr: "127.77.0.0/16".parse().unwrap(),
        server: Ipv4Addr::LOCALHOST,
        router: None,
        dns: vec![],
        ntp: vec![],
        domain: None,
        mtu: None,
        lease_seconds: 600,
        discovery: None,
        boot: BootService {
            tftp_server: Ipv4Addr::LOCALHOST,
            bios_loader: Some("undionly.kpxe".into()),
            efi_x64_loader: Some("snponly.efi".into()),
            efi_arm64_loader: None,
            http_loader_base: None,
        },
    };
    let mut buffer = [0; 2048];
    loop {
        let Ok((length, std::net::SocketAddr::V4(peer))) = socket.recv_from(&mut buffer).await
        else {
            continue;
        };
        let request = DhcpRequest::decode(&buffer[..length], peer).unwrap();
        assert!(
            network.cidr.contains(&request.packet.giaddr),
            "no relay in {request:?}"
        );
        let [.., low] = request.mac.0;
        let record = HostRecord {
            address: Ipv4Addr::new(127, 77, 1, low.wrapping_add(1)),
            host_name: None,
            script: HostScript {
                http_url: Some(script.clone()),
                tftp_url: None,
            },
        };
        let outcome = answer(&request, &network, &ClientRecord::Known(record));
        if let Some(reply) = outcome.reply {
            let Destination::Unicast(to) = reply.to else {
                panic!("a relay is answered by unicast")
            };
            socket.send_to(&reply.bytes, to).await.unwrap();
        }
    }
}

async fn respond(shared: &Mutex<Shared>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let reply = |status: StatusCode, body: Vec<u8>| {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response
    };
    let ok = |body: Vec<u8>| reply(StatusCode::OK, body);
    match path.as_str() {
        "/boot/script" => ok(shared.lock().unwrap().script.clone().into_bytes()),
        "/boot/kernel" => ok(vec![1; 5000]),
        "/boot/ramdisk" => ok(vec![2; 50_000]),
        "/image" => ok(image()),
        "/" => ok(json!({"default_version": {"id": "v1", "version": "1.115"}})
            .to_string()
            .into_bytes()),
        "/v1/lookup" => {
            let query = request.uri().query().unwrap_or_default().to_owned();
            assert!(query.starts_with("addresses=52%3A54%3A00%3A"), "{query}");
            let version = request
                .headers()
                .get("X-OpenStack-Ironic-API-Version")
                .unwrap()
                .to_str()
                .unwrap();
            assert_eq!(version, "1.62");
            shared.lock().unwrap().lookups += 1;
            let body = json!({
                "node": {"uuid": NODE, "properties": {}, "instance_info": {}, "driver_internal_info": {}, "links": []},
                "config": {"heartbeat_timeout": 300_000, "agent_token": TOKEN, "agent_token_required": true},
            });
            ok(body.to_string().into_bytes())
        }
        _ if path == format!("/v1/heartbeat/{NODE}") => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let body: HeartbeatBody = serde_json::from_slice(&body).unwrap();
            assert_eq!(body.agent_token.as_deref(), Some(TOKEN));
            assert!(
                body.agent_version.is_some() && body.callback_url.starts_with("https://127.77."),
                "{body:?}"
            );
            shared.lock().unwrap().heartbeats.push(body);
            reply(StatusCode::ACCEPTED, vec![])
        }
        _ => reply(StatusCode::NOT_FOUND, vec![]),
    }
}

/// A TFTP server with one loader of 100,000 bytes.
pub struct Loaders {
    pub address: std::net::SocketAddr,
    stop: tokio_util::sync::CancellationToken,
    _files: tempfile::TempDir,
}

impl Loaders {
    pub async fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("snponly.efi"), vec![3; 100_000]).unwrap();
        let server = bessemer_tftp::Server::bind(bessemer_tftp::ServerSettings {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            limits: bessemer_tftp::Limits::default(),
            max_transfers: 10,
        });
        let server = server.await.unwrap();
        let address = server.addresses()[0];
        let stop = tokio_util::sync::CancellationToken::new();
        let tree = Arc::new(bessemer_tftp::Tree::new(files.path()));
        tokio::spawn(server.run(tree, Arc::new(|_| {}), stop.clone()));
        Self {
            address,
            stop,
            _files: files,
        }
    }
}

impl Drop for Loaders {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Calls one agent, and trusts exactly the certificate of its heartbeat.
pub struct AgentClient {
    client: reqwest::Client,
    pub url: String,
}

impl AgentClient {
    fn new(heartbeat: &HeartbeatBody) -> Self {
        // an error means that another test was first
        let _ = rustls::crypto::ring::default_provider().install_default();
        let certificate = heartbeat.agent_verify_ca.as_ref().unwrap();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap()])
            .build()
            .unwrap();
        Self {
            client,
            url: heartbeat.callback_url.clone(),
        }
    }

    /// Status and body of one POST.
    pub async fn post(
        &self,
        token: &str,
        name: &str,
        params: Value,
    ) -> reqwest::Result<(u16, Value)> {
        let url = format!("{}/v1/commands/?wait=false&agent_token={token}", self.url);
        let body = json!({"name": name, "params": params});
        let response = self.client.post(url).json(&body).send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    /// Starts a command that must be accepted.
    pub async fn start(&self, name: &str, params: Value) -> CommandResult {
        let (status, body) = self.post(TOKEN, name, params).await.unwrap();
        assert_eq!(status, 200, "{body}");
        serde_json::from_value(body).unwrap()
    }

    pub async fn list(&self) -> reqwest::Result<Vec<CommandResult>> {
        let url = format!("{}/v1/commands/?agent_token={TOKEN}", self.url);
        let body: Value = self.client.get(url).send().await?.json().await?;
        Ok(serde_json::from_value(body["commands"].clone()).unwrap())
    }

    /// The command after it ended.
    pub async fn ended(&self, id: &str) -> CommandResult {
        let url = format!(
            "{}/v1/commands/{id}?wait=true&agent_token={TOKEN}",
            self.url
        );
        let response = self.client.get(url).send().await.unwrap();
        response.json().await.unwrap()
    }

    /// Starts a command and waits until it ended well.
    pub async fn run(&self, name: &str, params: Value) -> CommandResult {
        let started = self.start(name, params).await;
        let ended = self.ended(&started.id).await;
        assert_eq!(ended.command_status, CommandStatus::Succeeded, "{ended:?}");
        ended
    }
}

/// Parameters of a step.
pub fn step(name: &str, arguments: Value, operation: &str, index: u32) -> Value {
    json!({
        "step": {
            "step": name, "interface": "deploy", "args": arguments, "priority": 1,
            "bessemer": {"operation": operation, "index": index, "attempt": 1},
        },
        "node": {"uuid": NODE}, "ports": [],
    })
}

/// Arguments of `write_image`.
pub fn write_image(site: &Site, checksum: &str) -> Value {
    json!({
        "image_info": {
            "id": "debian-12", "urls": [format!("{}/image", site.url)], "disk_format": "raw", "image_type": "whole-disk",
            "os_hash_algo": "sha256", "os_hash_value": checksum, "stream_raw_images": true,
        },
        "configdrive": config_drive().0,
    })
}
