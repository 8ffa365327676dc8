//! What a path means, the same for HTTP and TFTP: boot scripts, a node's kernel and ramdisk, loaders, images.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use bessemer_dhcp::MacAddress;
use bessemer_model::NodeId;
use bessemer_tftp::tree::clean_path;
use bessemer_tftp::{OpenError, Tree};

use crate::directory::{Boot, BootDirectory, Host, Ramdisk};
use crate::journal::with_causes;
use crate::media::{self, Media};
use crate::script::Scripts;
use crate::settings::{LoaderSettings, Settings};

/// What a path led to.
pub(crate) struct Found {
    pub(crate) content: Content,
    /// The node that it is for, when the path names one.
    pub(crate) node: Option<NodeId>,
}

/// Bytes to send.
pub(crate) enum Content {
    Text(String),
    File(File),
    Media(Media),
}

/// Why there is nothing to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) kind: MissingKind,
    /// A sentence for the client and the timeline.
    pub(crate) why: String,
    /// The node that it is about.
    pub(crate) node: Option<NodeId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingKind {
    NotFound,
    Denied,
    /// It should be there: ask again later, or somebody has to look.
    Unavailable,
}

impl Missing {
    fn new(kind: MissingKind, why: impl Into<String>) -> Self {
        Self {
            kind,
            why: why.into(),
            node: None,
        }
    }

    fn of(mut self, node: NodeId) -> Self {
        self.node = Some(node);
        self
    }
}

impl From<OpenError> for Missing {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NotFound => Self::new(MissingKind::NotFound, "no such file"),
            OpenError::Denied(why) => Self::new(MissingKind::Denied, why),
            OpenError::Failed(why) => Self::new(MissingKind::Unavailable, why),
        }
    }
}

/// By which service a path is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Http,
    Tftp,
}

/// Finds what paths mean.
pub(crate) struct Files {
    directory: Arc<dyn BootDirectory>,
    scripts: Scripts,
    loaders: Tree,
    images: Option<Tree>,
    tftp_root: Option<Tree>,
    media: LoaderSettings,
}

impl Files {
    pub(crate) fn new(
        settings: &Settings,
        directory: Arc<dyn BootDirectory>,
        scripts: Scripts,
    ) -> Self {
        let tree = |root: Option<&PathBuf>| root.map(Tree::new);
        Self {
            directory,
            scripts,
            loaders: Tree::new(&settings.loaders.dir),
            images: tree(settings.http.as_ref().and_then(|http| http.root.as_ref())),
            tftp_root: tree(settings.tftp.as_ref().and_then(|tftp| tftp.root.as_ref())),
            media: settings.loaders.clone(),
        }
    }

    /// What the path leads to. `base` is our URL as this client reaches us, by the same service, without a slash at the end.
    pub(crate) async fn find(&self, path: &str, via: Via, base: &str) -> Result<Found, Missing> {
        let path = clean_path(path)
            .ok_or_else(|| Missing::new(MissingKind::NotFound, "the path is not allowed"))?;
        let parts: Vec<&str> = path.split('/').collect();
        match parts.as_slice() {
            ["boot", "ipxe"] => {
                let script = self.scripts.chain(base);
                Ok(Found {
                    content: Content::Text(script.map_err(|error| broken(&error))?),
                    node: None,
                })
            }
            ["boot", mac, "boot.ipxe"] => self.script(&self.host(mac).await?, base),
            ["ramdisk", mac, file @ ("kernel" | "initramfs")] => {
                self.ramdisk_file(&self.host(mac).await?, file).await
            }
            ["vmedia", node, secret, "boot.iso"] if via == Via::Http => {
                self.media(node, secret).await
            }
            ["ipxe", loader @ ..] => self.open(&[(&self.loaders, &loader.join("/"))]).await,
            _ => match via {
                Via::Http => {
                    let Some(images) = &self.images else {
                        return Err(OpenError::NotFound.into());
                    };
                    let below = path.strip_prefix("images/").unwrap_or(&path);
                    self.open(&[(images, &path), (images, below)]).await
                }
                Via::Tftp => {
                    let mut places = vec![(&self.loaders, path.as_str())];
                    places.extend(self.tftp_root.as_ref().map(|root| (root, path.as_str())));
                    self.open(&places).await
                }
            },
        }
    }

    async fn host(&self, mac: &str) -> Result<Host, Missing> {
        let mac: MacAddress = mac
            .parse()
            .map_err(|_| Missing::new(MissingKind::NotFound, "no such file"))?;
        match self.directory.host_by_mac(mac).await {
            Ok(Some(host)) => Ok(host),
            Ok(None) => Err(Missing::new(
                MissingKind::NotFound,
                format!("no node has a port with the address {mac}"),
            )),
            Err(error) => Err(Missing::new(MissingKind::Unavailable, with_causes(&error))),
        }
    }

    fn script(&self, host: &Host, base: &str) -> Result<Found, Missing> {
        let script = match &host.boot {
            Boot::Local => self.scripts.local(host.node, host.mac),
            Boot::Ramdisk(ramdisk) => {
                let url = |value: Option<&str>, file: &str| match value {
                    None => Err(lacks(host, file)),
                    Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
                        Ok(url.to_owned())
                    }
                    Some(_) => Ok(format!("{base}/ramdisk/{}/{file}", host.mac.dashed())),
                };
                let Ramdisk {
                    kernel,
                    ramdisk,
                    kernel_params,
                } = ramdisk;
                self.scripts.ramdisk(
                    host.node,
                    host.mac,
                    &url(kernel.as_deref(), "kernel")?,
                    &url(ramdisk.as_deref(), "initramfs")?,
                    kernel_params,
                )
            }
        };
        Ok(Found {
            content: Content::Text(script.map_err(|error| broken(&error).of(host.node))?),
            node: Some(host.node),
        })
    }

    async fn ramdisk_file(&self, host: &Host, file: &str) -> Result<Found, Missing> {
        let Boot::Ramdisk(ramdisk) = &host.boot else {
            let why = "the node does not boot a ramdisk now";
            return Err(Missing::new(MissingKind::NotFound, why).of(host.node));
        };
        let value = match file {
            "kernel" => &ramdisk.kernel,
            _ => &ramdisk.ramdisk,
        };
        let value = value.as_deref().ok_or_else(|| lacks(host, file))?;
        let path = local_path(value).ok_or_else(|| {
            let why = format!("the node's {file} is not a file of this server: {value}");
            Missing::new(MissingKind::NotFound, why).of(host.node)
        })?;
        let shown = path.display().to_string();
        let opened = blocking(move || {
            let file = File::open(path)?;
            if file.metadata()?.is_file() {
                Ok(file)
            } else {
                Err(std::io::Error::from(std::io::ErrorKind::InvalidInput))
            }
        });
        match opened.await {
            Some(Ok(opened)) => Ok(Found {
                content: Content::File(opened),
                node: Some(host.node),
            }),
            Some(Err(error)) => {
                let why = format!("the node's {file} {shown} cannot be read: {}", error.kind());
                Err(Missing::new(MissingKind::Unavailable, why).of(host.node))
            }
            None => Err(stopping()),
        }
    }

    /// A node's image for virtual media. Whoever does not know the secret learns not even that there is one.
    async fn media(&self, node: &str, secret: &str) -> Result<Found, Missing> {
        let nothing = || Missing::new(MissingKind::NotFound, "no such file");
        let node: NodeId = node.parse().map_err(|_| nothing())?;
        let boot = match self.directory.media(node, secret).await {
            Ok(boot) => boot.ok_or_else(nothing)?,
            Err(error) => return Err(Missing::new(MissingKind::Unavailable, with_causes(&error))),
        };
        let loaders = self.media.clone();
        match blocking(move || media::make(&boot, &loaders)).await {
            Some(Ok(made)) => Ok(Found {
                content: Content::Media(made),
                node: Some(node),
            }),
            Some(Err(why)) => Err(Missing::new(MissingKind::Unavailable, why).of(node)),
            None => Err(stopping()),
        }
    }

    /// The first of these files that is there.
    async fn open(&self, places: &[(&Tree, &str)]) -> Result<Found, Missing> {
        let places: Vec<(Tree, String)> = places
            .iter()
            .map(|(tree, path)| ((*tree).clone(), (*path).to_owned()))
            .collect();
        let opened = blocking(move || {
            let mut result = Err(OpenError::NotFound);
            for (tree, path) in places {
                result = tree.open_file(&path);
                if !matches!(result, Err(OpenError::NotFound)) {
                    break;
                }
            }
            result
        });
        match opened.await {
            Some(Ok(file)) => Ok(Found {
                content: Content::File(file),
                node: None,
            }),
            Some(Err(error)) => Err(error.into()),
            None => Err(stopping()),
        }
    }
}

/// Runs what blocks; `None` when the runtime is going down.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

fn stopping() -> Missing {
    Missing::new(MissingKind::Unavailable, "the server is stopping")
}

fn broken(error: &crate::script::RenderError) -> Missing {
    Missing::new(MissingKind::Unavailable, with_causes(error))
}

fn lacks(host: &Host, file: &str) -> Missing {
    let why = format!("the boot row of node {} names no {file}", host.node);
    Missing::new(MissingKind::Unavailable, why).of(host.node)
}

/// `file:///a%20b` or `/a b` as a path.
pub(crate) fn local_path(value: &str) -> Option<PathBuf> {
    if value.starts_with('/') {
        return Some(value.into());
    }
    let path = value.strip_prefix("file://")?;
    let path = percent_encoding::percent_decode_str(path)
        .decode_utf8()
        .ok()?;
    (path.starts_with('/') && !path.contains('\0')).then(|| PathBuf::from(path.as_ref()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn local_paths() {
        for (value, expected) in [
            ("file:///srv/k", Some("/srv/k")),
            ("file:///srv/a%20b", Some("/srv/a b")),
            ("/srv/k", Some("/srv/k")),
            ("file://host/srv/k", None),
            ("http://host/k", None),
            ("srv/k", None),
            ("file:///a%00b", None),
            ("", None),
        ] {
            assert_eq!(local_path(value), expected.map(PathBuf::from), "{value}");
        }
    }
}
