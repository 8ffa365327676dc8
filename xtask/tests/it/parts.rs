//! What the machines get: server, deploy ramdisk, image. `make test` has built them and names them; otherwise they are built here.

use std::path::PathBuf;

use anyhow::Result;
use bessemer_ramdisk::Flavour;
use bessemer_xtask::build::{self, Ramdisk};
use bessemer_xtask::cache::Cache;
use bessemer_xtask::image::{self, Image};

/// Everything that has to be there before the network is gone.
pub struct Parts {
    pub server: PathBuf,
    pub ramdisk: Ramdisk,
    pub image: Image,
}

fn given(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

/// The program of the service.
pub fn server(cache: &Cache) -> Result<PathBuf> {
    match given("BESSEMER_SERVER") {
        Some(path) => Ok(path),
        None => build::server(cache),
    }
}

impl Parts {
    /// To be called outside of the namespaces first, where what is missing can be fetched.
    pub fn get() -> Result<Parts> {
        let cache = Cache::open()?;
        let server = server(&cache)?;
        let ramdisk = match given("BESSEMER_TEST_RAMDISK_DIR") {
            Some(directory) => Ramdisk {
                kernel: directory.join("deploy-cloud.kernel"),
                initramfs: directory.join("deploy-cloud.initramfs"),
                directory,
            },
            None => build::ramdisk(&cache, Flavour::Cloud, &build::agent(&cache)?, None)?,
        };
        let image = match given("BESSEMER_TEST_TINY_IMAGE") {
            Some(directory) => Image {
                raw: directory.join("tiny.raw"),
                qcow2: directory.join("tiny.qcow2"),
                directory,
            },
            None => image::tiny::build(&cache)?,
        };
        Ok(Parts {
            server,
            ramdisk,
            image,
        })
    }
}
