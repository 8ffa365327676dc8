//! Images and the server that has them: the boot service's HTTP part, on an address of its own and apart from any
//! controller, so that it outlives their crashes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use bessemer_netboot::settings::{HttpSettings, LoaderSettings, Settings};
use bessemer_netboot::{MemoryDirectory, Netboot};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::{CancellationToken, DropGuard};

/// An image that can be deployed.
#[derive(Debug, Clone)]
pub struct Image {
    pub url: String,
    pub sha256: String,
    pub format: &'static str,
}

impl Image {
    /// As `instance_info` names it.
    pub fn instance_info(&self) -> Value {
        json!({
            "image_source": self.url,
            "image_os_hash_algo": "sha256",
            "image_os_hash_value": self.sha256,
            "image_disk_format": self.format,
        })
    }
}

/// See the module.
pub struct Images {
    pub directory: PathBuf,
    url: String,
    _stop: DropGuard,
}

impl Images {
    pub async fn start(directory: PathBuf, address: Ipv4Addr) -> Self {
        std::fs::create_dir_all(&directory).unwrap();
        let settings = Settings {
            dhcp: None,
            ra: None,
            tftp: None,
            http: Some(HttpSettings {
                listen: vec![SocketAddr::from((address, 0))],
                public_url: None,
                root: Some(directory.clone()),
                max_connections: 1000,
            }),
            loaders: LoaderSettings::default(),
            templates_dir: None,
        };
        let service = Netboot::bind(settings, Arc::new(MemoryDirectory::default()))
            .await
            .unwrap();
        let url = format!("http://{}", service.addresses().http[0]);
        let stop = CancellationToken::new();
        tokio::spawn(service.run(stop.clone()));
        Self {
            directory,
            url,
            _stop: stop.drop_guard(),
        }
    }

    pub fn url(&self, name: &str) -> String {
        format!("{}/images/{name}", self.url)
    }

    /// Puts a file there.
    pub fn put(&self, name: &str, format: &'static str, bytes: &[u8]) -> Image {
        std::fs::write(self.directory.join(name), bytes).unwrap();
        Image {
            url: self.url(name),
            sha256: hex::encode(Sha256::digest(bytes)),
            format,
        }
    }

    /// A small disk with a partition table, enough for the simulated hosts.
    pub fn small(&self) -> Image {
        let mut bytes = vec![0u8; 64 * 1024];
        // one partition, bootable, of type Linux
        bytes[446..462].copy_from_slice(&[0x80, 0, 2, 0, 0x83, 0, 9, 0, 1, 0, 0, 0, 8, 0, 0, 0]);
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        for (index, byte) in bytes.iter_mut().enumerate().skip(512) {
            *byte = u8::try_from(index % 251).unwrap();
        }
        self.put("small.raw", "raw", &bytes)
    }
}
