//! Calls of the API to a node's driver besides provision and power.
//!
//! What answers at once looks whether an operation holds the node and talks to the device; what takes its time is an
//! operation of flow `call`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bessemer_drivers::{Hardware, Indicators, VendorMethod, VendorReply};
use bessemer_model::notification::{Notice, Status};
use bessemer_model::{Class, Fault, FaultKind, Node, NodeHealthFault, NodeId, Object};
use bessemer_store::{NodeChange, StoreError};
use serde_json::{Value, json};

use crate::error_text;
use crate::flow::{CONSOLE_SET, DriverCall};
use crate::service::Conductor;
use crate::verbs::{api_event, known, try_submit};

/// A call that comes while another is still carried out waits so long for it, as upstream does by its defaults of
/// `[conductor] node_locked_retry_attempts` and `node_locked_retry_interval`.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(50);

/// A call of a vendor method.
#[derive(Debug, Clone)]
pub struct VendorRequest {
    pub method: String,
    /// `GET`, `POST`, `PUT`, `PATCH`, `DELETE`.
    pub http_method: String,
    pub args: Object,
}

/// Answer of a vendor method.
#[derive(Debug, Clone)]
pub enum VendorAnswer {
    /// It runs.
    Accepted,
    Json(Value),
    File(Vec<u8>),
}

impl From<VendorReply> for VendorAnswer {
    fn from(reply: VendorReply) -> Self {
        match reply {
            VendorReply::Json(value) => Self::Json(value),
            VendorReply::File(bytes) => Self::File(bytes),
        }
    }
}

/// The method, when it exists and answers to the verb.
fn chosen(
    methods: &'static [VendorMethod],
    request: &VendorRequest,
) -> Result<&'static VendorMethod, Fault> {
    let method = methods
        .iter()
        .find(|m| m.name == request.method)
        .ok_or_else(|| Fault::invalid(format!("No handler for method {}", request.method)))?;
    if method.http_methods.contains(&request.http_method.as_str()) {
        return Ok(method);
    }
    Err(Fault::invalid(format!(
        "The method {} does not support HTTP {}",
        request.method, request.http_method
    )))
}

fn listed(methods: &[VendorMethod], of_node: bool) -> Object {
    methods
        .iter()
        .map(|m| {
            let mut shown = json!({
                "http_methods": m.http_methods,
                "async": m.is_async,
                "description": m.description,
                "attach": m.attach,
            });
            if of_node && let Some(shown) = shown.as_object_mut() {
                shown.insert("require_exclusive_lock".into(), m.exclusive.into());
            }
            (m.name.to_owned(), shown)
        })
        .collect()
}

/// While the power of a node is out of control its media are not touched.
fn with_power(node: &Node, what: &str) -> Result<(), Fault> {
    if node.maintenance && node.fault == Some(NodeHealthFault::PowerFailure) {
        return Err(Fault::new(
            FaultKind::Busy,
            Class::RetryLater,
            format!(
                "Unable to {what} virtual media for node {} due to power failure state",
                node.id
            ),
        ));
    }
    Ok(())
}

impl Conductor {
    /// The node with its interfaces, when no operation holds it.
    async fn free(&self, id: NodeId) -> Result<(Node, Hardware), Fault> {
        let node = self.unlocked_soon(id).await?;
        let hardware = self.shared.drivers.hardware(&node)?;
        Ok((node, hardware))
    }

    async fn unlocked_soon(&self, id: NodeId) -> Result<Node, Fault> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.unlocked(id).await {
                Err(fault) if fault.kind == FaultKind::Locked && Instant::now() < deadline => {
                    tokio::time::sleep(LOOK).await;
                }
                ended => return ended,
            }
        }
    }

    async fn seen(&self, id: NodeId) -> Result<(Node, Hardware), Fault> {
        let node = self.node(id).await?;
        let hardware = self.shared.drivers.hardware(&node)?;
        Ok((node, hardware))
    }

    async fn start(&self, node: &Node, call: DriverCall) -> Result<(), Fault> {
        let asked = call.label();
        let args = serde_json::to_value(&call)
            .map_err(|e| Fault::internal(format!("a driver call does not serialise: {e}")))?;
        let console = matches!(call, DriverCall::Console { .. });
        let forget: NodeChange = Arc::new(move |node: &mut Node| {
            node.last_error = None;
            if console {
                node.notice(Notice::Console {
                    action: CONSOLE_SET,
                    status: Status::Start,
                });
            }
            Ok(())
        });
        let flow = known("call")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (args, forget) = (args.clone(), Arc::clone(&forget));
            match try_submit(&self.shared, node, flow, args, &asked, forget).await {
                // Another call, which ends soon, or a lease that was taken since the node was read.
                Err(error)
                    if Instant::now() < deadline
                        && (matches!(&error, StoreError::OperationOpen { flow: open, .. } if open == flow.name)
                            || matches!(error, StoreError::Locked { .. })) =>
                {
                    tokio::time::sleep(LOOK).await;
                }
                ended => return ended.map_err(|e| error_text::store(&e)),
            }
        }
    }

    /// `PUT states/raid`.
    ///
    /// # Errors
    /// 400 for a configuration that the driver refuses, 409 while an operation holds the node.
    pub async fn set_target_raid_config(&self, id: NodeId, config: Object) -> Result<(), Fault> {
        let (node, hardware) = self.free(id).await?;
        if !config.is_empty() {
            hardware.raid.validate_raid_config(
                &self.shared.environment,
                &node,
                &Value::Object(config.clone()),
            )?;
        }
        let change: NodeChange = Arc::new(move |node: &mut Node| {
            node.target_raid_config.clone_from(&config);
            Ok(())
        });
        self.shared
            .store
            .update_node(
                id,
                None,
                false,
                change,
                api_event("target RAID configuration set".to_owned()),
            )
            .await
            .map_err(|e| error_text::store(&e))?;
        Ok(())
    }

    /// `GET /v1/drivers/{driver}/raid/logical_disk_properties`.
    ///
    /// # Errors
    /// `NotFound` for a driver that is not enabled.
    pub fn raid_logical_disk_properties(&self, driver: &str) -> Result<Object, Fault> {
        Ok(self.shared.drivers.raid(driver)?.logical_disk_properties())
    }

    /// # Errors
    /// The check's; 409 while an operation is open.
    pub async fn set_boot_mode(&self, id: NodeId, mode: String) -> Result<(), Fault> {
        let (node, hardware) = self.free(id).await?;
        hardware
            .management
            .validate(&self.shared.environment, &node)?;
        self.start(&node, DriverCall::BootMode { mode }).await
    }

    /// # Errors
    /// As [`Conductor::set_boot_mode`].
    pub async fn set_secure_boot(&self, id: NodeId, enabled: bool) -> Result<(), Fault> {
        let (node, hardware) = self.free(id).await?;
        hardware
            .management
            .validate(&self.shared.environment, &node)?;
        self.start(&node, DriverCall::SecureBoot { enabled }).await
    }

    /// `console_info`; `None` when the console is off.
    ///
    /// # Errors
    /// The driver's.
    pub async fn get_console(&self, id: NodeId) -> Result<Option<Value>, Fault> {
        let (node, hardware) = self.seen(id).await?;
        if !node.console_enabled {
            return Ok(None);
        }
        let env = &self.shared.environment;
        hardware.console.validate(env, &node)?;
        hardware.console.info(env, &node).await.map(Some)
    }

    /// # Errors
    /// 400 for a driver without console, 409 while an operation is open.
    pub async fn set_console(&self, id: NodeId, enabled: bool) -> Result<(), Fault> {
        let (node, hardware) = self.seen(id).await?;
        hardware.console.validate(&self.shared.environment, &node)?;
        if node.console_enabled == enabled {
            return Ok(());
        }
        let node = self.unlocked_soon(id).await?;
        self.start(&node, DriverCall::Console { enabled }).await
    }

    /// # Errors
    /// The driver's.
    pub async fn indicators(&self, id: NodeId) -> Result<Indicators, Fault> {
        let (node, hardware) = self.seen(id).await?;
        hardware
            .management
            .indicators(&self.shared.environment, &node)
            .await
    }

    /// # Errors
    /// The driver's.
    pub async fn get_indicator(
        &self,
        id: NodeId,
        component: &str,
        indicator: &str,
    ) -> Result<String, Fault> {
        let (node, hardware) = self.seen(id).await?;
        let env = &self.shared.environment;
        hardware.management.validate(env, &node)?;
        hardware
            .management
            .get_indicator(env, &node, component, indicator)
            .await
    }

    /// # Errors
    /// The driver's; 409 while an operation holds the node.
    pub async fn set_indicator(
        &self,
        id: NodeId,
        component: &str,
        indicator: &str,
        state: &str,
    ) -> Result<(), Fault> {
        let (node, hardware) = self.free(id).await?;
        let env = &self.shared.environment;
        hardware.management.validate(env, &node)?;
        hardware
            .management
            .set_indicator(env, &node, component, indicator, state)
            .await
    }

    /// # Errors
    /// When the driver does not have it, or the BMC does not answer.
    pub async fn get_virtual_media(&self, id: NodeId) -> Result<Vec<Object>, Fault> {
        let (node, hardware) = self.seen(id).await?;
        let env = &self.shared.environment;
        hardware.management.validate(env, &node)?;
        hardware.management.get_virtual_media(env, &node).await
    }

    /// # Errors
    /// The check's; 409 while an operation is open; 503 while the node's power is out of control.
    pub async fn attach_virtual_media(
        &self,
        id: NodeId,
        device: String,
        image_url: String,
    ) -> Result<(), Fault> {
        let (node, hardware) = self.free(id).await?;
        hardware
            .management
            .validate(&self.shared.environment, &node)?;
        with_power(&node, "attach")?;
        self.start(&node, DriverCall::AttachMedia { device, image_url })
            .await
    }

    /// # Errors
    /// As [`Conductor::attach_virtual_media`].
    pub async fn detach_virtual_media(
        &self,
        id: NodeId,
        devices: Vec<String>,
    ) -> Result<(), Fault> {
        let (node, hardware) = self.free(id).await?;
        hardware
            .management
            .validate(&self.shared.environment, &node)?;
        with_power(&node, "detach")?;
        self.start(&node, DriverCall::DetachMedia { devices }).await
    }

    /// `GET vendor_passthru/methods` of a node.
    ///
    /// # Errors
    /// When the node's driver is gone.
    pub async fn vendor_methods(&self, id: NodeId) -> Result<Object, Fault> {
        let (_, hardware) = self.seen(id).await?;
        Ok(listed(hardware.vendor.methods(), true))
    }

    /// `GET vendor_passthru/methods` of a driver.
    ///
    /// # Errors
    /// `NotFound` for a driver that is not enabled.
    pub fn driver_vendor_methods(&self, driver: &str) -> Result<Object, Fault> {
        Ok(listed(
            self.shared.drivers.vendor(driver)?.driver_methods(),
            false,
        ))
    }

    /// # Errors
    /// 400 for a method, verb or argument that does not exist; 409 while an operation holds the node, unless the
    /// method needs no lock; the driver's.
    pub async fn vendor_call(
        &self,
        id: NodeId,
        request: VendorRequest,
    ) -> Result<VendorAnswer, Fault> {
        let (mut node, hardware) = self.seen(id).await?;
        let method = chosen(hardware.vendor.methods(), &request)?;
        if method.exclusive {
            node = self.unlocked_soon(id).await?;
        }
        let env = &self.shared.environment;
        hardware
            .vendor
            .validate_call(env, &node, method.name, &request.args)?;
        let VendorRequest {
            method: name,
            http_method,
            args,
        } = request;
        if !method.is_async {
            let reply = hardware
                .vendor
                .call(env, &node, method.name, &http_method, &args)
                .await?;
            return Ok(reply.into());
        }
        if !method.exclusive {
            // Needs no lock, so it may not become the node's one operation: it lives as long as the process, as
            // upstream's does.
            let env = env.clone();
            tokio::spawn(async move {
                let called = hardware
                    .vendor
                    .call(&env, &node, method.name, &http_method, &args)
                    .await;
                if let Err(fault) = called {
                    tracing::error!(node = %node.id, method = method.name, "vendor method failed: {fault}");
                }
            });
            return Ok(VendorAnswer::Accepted);
        }
        let call = DriverCall::Vendor {
            method: name,
            http_method,
            args,
        };
        self.start(&node, call).await?;
        Ok(VendorAnswer::Accepted)
    }

    /// # Errors
    /// 400 for a method or verb that does not exist, 404 for a driver that is not enabled; the driver's.
    pub async fn driver_vendor_call(
        &self,
        driver: &str,
        request: VendorRequest,
    ) -> Result<VendorAnswer, Fault> {
        let vendor = self.shared.drivers.vendor(driver)?;
        let method = chosen(vendor.driver_methods(), &request)?;
        let env = self.shared.environment.clone();
        if !method.is_async {
            let reply = vendor
                .driver_call(
                    &env,
                    driver,
                    method.name,
                    &request.http_method,
                    &request.args,
                )
                .await?;
            return Ok(reply.into());
        }
        // There is no node whose row could keep it: it lives as long as the process, as upstream's does.
        let driver = driver.to_owned();
        tokio::spawn(async move {
            let called = vendor
                .driver_call(
                    &env,
                    &driver,
                    method.name,
                    &request.http_method,
                    &request.args,
                )
                .await;
            if let Err(fault) = called {
                tracing::error!(
                    driver,
                    method = method.name,
                    "vendor method failed: {fault}"
                );
            }
        });
        Ok(VendorAnswer::Accepted)
    }
}
