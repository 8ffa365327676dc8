//! The API's side: which conductor is asked, and how.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bessemer_api::conductor::{
    BootDeviceAnswer, Conductor as Calls, IndicatorAnswer, InterfaceValidation, LookupAnswer,
    ProvisionRequest, VendorAnswer, VendorRequest,
};
use bessemer_model::network::VifRequest;
use bessemer_model::{
    AllocationId, Class, Fault, FaultKind, InterfaceKind, Node, NodeId, Object, PowerTarget,
    Timestamp, placement,
};
use bessemer_store::{ConductorRow, Requester, RpcAddress, Store, StoreError};
use bessemer_wire::HeartbeatBody;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Envelope, PATH, Question, Reply};
use crate::calls::InProcess;

/// Longer than any call to a device that is answered at once.
const PATIENCE: Duration = Duration::from_secs(180);

/// The conductor of this process and what it can do.
struct Local {
    calls: InProcess,
    group: String,
}

/// See the module.
pub struct Routed {
    store: Store,
    local: Option<Local>,
    /// By address, with the certificate that each trusts.
    clients: Mutex<HashMap<String, (String, reqwest::Client)>>,
}

/// Who can answer.
enum Whom {
    /// The node's own conductor, by its driver and group.
    Serves(NodeId, String, String),
    /// Anyone with this driver.
    Knows(String),
    Anyone,
}

impl Whom {
    fn is_able(&self, group: &str, knows: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Serves(_, driver, of) => group.eq_ignore_ascii_case(of) && knows(driver),
            Self::Knows(driver) => knows(driver),
            Self::Anyone => true,
        }
    }

    fn nobody(&self) -> Fault {
        let text = match self {
            Self::Serves(_, driver, group) => format!(
                "No valid host was found. Reason: No conductor service registered which supports driver {driver} for conductor group \"{group}\". Ensure the driver is valid and enabled."
            ),
            Self::Knows(driver) => {
                return Fault::not_found(format!(
                    "Could not find the following driver(s) or hardware type(s): {driver}."
                ));
            }
            Self::Anyone => {
                "No conductor is alive that could answer; see /v1/conductors.".to_owned()
            }
        };
        Fault::new(FaultKind::Busy, Class::RetryLater, text)
    }
}

/// How a call to one conductor went wrong before it was done.
enum Failed {
    /// It was not heard: another may be asked.
    Unheard(String),
    /// The conductor's own answer, or nobody knows.
    Final(Fault),
}

fn storage(error: &StoreError) -> Fault {
    Fault::new(
        FaultKind::Busy,
        Class::RetryLater,
        format!("The database does not answer: {error}."),
    )
}

fn decoded<T: DeserializeOwned>(value: Value) -> Result<T, Fault> {
    serde_json::from_value(value).map_err(|e| {
        Fault::internal(format!(
            "The answer of a conductor of another version cannot be read: {e}."
        ))
    })
}

impl Routed {
    /// `local`: the conductor of this process, with its group.
    #[must_use]
    pub fn new(store: Store, local: Option<(InProcess, String)>) -> Self {
        Self {
            store,
            local: local.map(|(calls, group)| Local { calls, group }),
            clients: Mutex::default(),
        }
    }

    async fn serving(&self, id: NodeId) -> Result<Whom, Fault> {
        let node = self
            .store
            .get_node(id)
            .await
            .map_err(|e| storage(&e))?
            .ok_or_else(|| Fault::not_found(format!("Node {id} could not be found.")))?;
        Ok(Whom::Serves(id, node.driver, node.conductor_group))
    }

    /// The conductor of this process, when it is able.
    fn here(&self, whom: &Whom) -> Option<&InProcess> {
        let local = self.local.as_ref()?;
        let catalogue = local.calls.0.catalogue();
        whom.is_able(&local.group, |driver| catalogue.contains_key(driver))
            .then_some(&local.calls)
    }

    /// Those that are able and alive, the one that the ring names first.
    fn order(whom: &Whom, rows: &[ConductorRow]) -> Vec<(String, RpcAddress)> {
        let now = Timestamp::now();
        let mut able: Vec<&ConductorRow> = rows
            .iter()
            .filter(|row| {
                row.expires_at > now
                    && row.rpc.is_some()
                    && whom.is_able(&row.conductor_group, |d| row.catalogue.get(d).is_some())
            })
            .collect();
        let key = match whom {
            Whom::Serves(node, ..) => *node,
            Whom::Knows(_) | Whom::Anyone => NodeId::random(),
        };
        let mut ordered = Vec::new();
        while let Some(next) = placement::owner(key, able.iter().map(|row| row.hostname.as_str())) {
            let at = able.iter().position(|row| row.hostname == next);
            let Some(row) = at.map(|at| able.swap_remove(at)) else {
                break;
            };
            if let Some(rpc) = &row.rpc {
                ordered.push((row.hostname.clone(), rpc.clone()));
            }
        }
        ordered
    }

    fn client(&self, address: &RpcAddress) -> Result<reqwest::Client, Fault> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((certificate, client)) = clients.get(&address.url)
            && *certificate == address.certificate
        {
            return Ok(client.clone());
        }
        let client = bessemer_conductor::pinned_client(&address.certificate, PATIENCE)?;
        clients.insert(
            address.url.clone(),
            (address.certificate.clone(), client.clone()),
        );
        Ok(client)
    }

    async fn post(&self, host: &str, address: &RpcAddress, body: &[u8]) -> Result<Value, Failed> {
        let client = self.client(address).map_err(Failed::Final)?;
        let sent = client
            .post(format!("{}{PATH}", address.url))
            .bearer_auth(&address.token)
            .body(body.to_vec())
            .send()
            .await;
        let lost = |why: String| {
            Failed::Final(Fault::new(
                FaultKind::Busy,
                Class::RetryLater,
                format!(
                    "Conductor {host} did not answer ({why}). What was asked of it may be done all the same: look before asking again."
                ),
            ))
        };
        let response = match sent {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Err(Failed::Unheard(error.to_string())),
            Err(error) => return Err(lost(error.without_url().to_string())),
        };
        let status = response.status();
        let bytes = response
            .bytes()
            .await
            .map_err(|e| lost(e.without_url().to_string()))?;
        if !status.is_success() {
            let said: String = String::from_utf8_lossy(&bytes).chars().take(200).collect();
            return Err(Failed::Unheard(format!("{status}: {said}")));
        }
        match serde_json::from_slice(&bytes) {
            Ok(Reply::Done(value)) => Ok(value),
            Ok(Reply::Refused(fault)) => Err(Failed::Final(fault)),
            Err(error) => Err(lost(error.to_string())),
        }
    }

    /// Asks one after the other until somebody has heard it.
    async fn ask<T: DeserializeOwned>(&self, whom: Whom, question: Question) -> Result<T, Fault> {
        let envelope = Envelope {
            requester: Requester::present(),
            question,
        };
        let body = serde_json::to_vec(&envelope)
            .map_err(|e| Fault::internal(format!("a call does not serialise: {e}")))?;
        let kept = self.store.conductors().await.map_err(|e| storage(&e))?;
        let mut tried = Vec::new();
        let mut unheard = None;
        for fresh in [false, true] {
            let order = if fresh {
                // who was restarted has another certificate and secret now
                let rows = self
                    .store
                    .list_conductors()
                    .await
                    .map_err(|e| storage(&e))?;
                Self::order(&whom, &rows)
            } else {
                Self::order(&whom, &kept)
            };
            for (host, address) in order {
                if tried.contains(&address) {
                    continue;
                }
                match self.post(&host, &address, &body).await {
                    Ok(value) => return decoded(value),
                    Err(Failed::Final(fault)) => return Err(fault),
                    Err(Failed::Unheard(why)) => {
                        tracing::warn!(conductor = host, why, "a conductor could not be called");
                        unheard = Some(host);
                        tried.push(address);
                    }
                }
            }
        }
        Err(match unheard {
            Some(host) => Fault::new(
                FaultKind::Busy,
                Class::RetryLater,
                format!(
                    "Conductor {host} cannot be reached, and there is no other that could answer; nothing was done. Try again later."
                ),
            ),
            None => whom.nobody(),
        })
    }
}

/// A call for a node: here when this process can, else there.
macro_rules! of_node {
    ($self:ident, $node:ident, $method:ident ( $($arg:expr),* ), $question:expr) => {{
        let whom = $self.serving($node).await?;
        match $self.here(&whom) {
            Some(calls) => calls.$method($($arg),*).await,
            None => $self.ask(whom, $question).await,
        }
    }};
}

#[async_trait]
impl Calls for Routed {
    async fn set_provision_state(
        &self,
        node: NodeId,
        request: ProvisionRequest,
    ) -> Result<(), Fault> {
        of_node!(
            self,
            node,
            set_provision_state(node, request),
            Question::SetProvisionState {
                node,
                request: Box::new(request)
            }
        )
    }

    async fn allocate(&self, allocation: AllocationId) -> Result<(), Fault> {
        match self.here(&Whom::Anyone) {
            Some(calls) => calls.allocate(allocation).await,
            None => {
                self.ask(Whom::Anyone, Question::Allocate { allocation })
                    .await
            }
        }
    }

    async fn set_power_state(
        &self,
        node: NodeId,
        target: PowerTarget,
        timeout: Option<u64>,
    ) -> Result<(), Fault> {
        of_node!(
            self,
            node,
            set_power_state(node, target, timeout),
            Question::SetPowerState {
                node,
                target,
                timeout
            }
        )
    }

    async fn validate(&self, node: NodeId) -> Result<Vec<InterfaceValidation>, Fault> {
        of_node!(self, node, validate(node), Question::Validate { node })
    }

    async fn get_boot_device(&self, node: NodeId) -> Result<BootDeviceAnswer, Fault> {
        of_node!(
            self,
            node,
            get_boot_device(node),
            Question::GetBootDevice { node }
        )
    }

    async fn set_boot_device(
        &self,
        node: NodeId,
        device: String,
        persistent: bool,
    ) -> Result<(), Fault> {
        of_node!(
            self,
            node,
            set_boot_device(node, device, persistent),
            Question::SetBootDevice {
                node,
                device,
                persistent
            }
        )
    }

    async fn supported_boot_devices(&self, node: NodeId) -> Result<Vec<String>, Fault> {
        of_node!(
            self,
            node,
            supported_boot_devices(node),
            Question::SupportedBootDevices { node }
        )
    }

    async fn inject_nmi(&self, node: NodeId) -> Result<(), Fault> {
        of_node!(self, node, inject_nmi(node), Question::InjectNmi { node })
    }

    async fn check_driver(
        &self,
        node: &mut Node,
        set_by_client: &[InterfaceKind],
    ) -> Result<(), Fault> {
        let whom = Whom::Serves(node.id, node.driver.clone(), node.conductor_group.clone());
        if let Some(calls) = self.here(&whom) {
            return calls.check_driver(node, set_by_client).await;
        }
        let question = Question::CheckDriver {
            node: node.id,
            name: node.name.clone(),
            driver: node.driver.clone(),
            interfaces: InterfaceKind::ALL
                .into_iter()
                .filter_map(|kind| Some((kind, node.interfaces.get(kind)?.to_owned())))
                .collect(),
            explicit: set_by_client.to_vec(),
        };
        // a driver that nobody has is the client's mistake
        let kept = self.store.conductors().await.map_err(|e| storage(&e))?;
        let mut known = !Self::order(&whom, &kept).is_empty();
        if !known {
            let rows = self
                .store
                .list_conductors()
                .await
                .map_err(|e| storage(&e))?;
            known = !Self::order(&whom, &rows).is_empty();
        }
        if !known {
            return Err(Fault::invalid(format!(
                "No valid host was found. Reason: No conductor service registered which supports driver {} for conductor group \"{}\". Ensure the driver is valid and enabled.",
                node.driver, node.conductor_group
            )));
        }
        let chosen: Vec<(InterfaceKind, String)> = self.ask(whom, question).await?;
        for (kind, name) in chosen {
            node.interfaces.set(kind, Some(name));
        }
        Ok(())
    }

    async fn driver_properties(&self, driver: &str) -> Result<Map<String, Value>, Fault> {
        let whom = Whom::Knows(driver.to_owned());
        match self.here(&whom) {
            Some(calls) => calls.driver_properties(driver).await,
            None => {
                self.ask(
                    whom,
                    Question::DriverProperties {
                        driver: driver.to_owned(),
                    },
                )
                .await
            }
        }
    }

    async fn lookup(
        &self,
        addresses: Vec<String>,
        node_uuid: Option<NodeId>,
    ) -> Result<LookupAnswer, Fault> {
        if let Some(calls) = self.here(&Whom::Anyone) {
            return calls.lookup(addresses, node_uuid).await;
        }
        let question = Question::Lookup {
            addresses,
            node: node_uuid,
        };
        let (id, agent_token): (NodeId, String) = self.ask(Whom::Anyone, question).await?;
        let node = self.store.get_node(id).await.map_err(|e| storage(&e))?;
        let node = node.ok_or_else(|| Fault::not_found("Node could not be found."))?;
        Ok(LookupAnswer { node, agent_token })
    }

    async fn heartbeat(
        &self,
        node: NodeId,
        body: HeartbeatBody,
        at: Timestamp,
    ) -> Result<(), Fault> {
        match self.here(&Whom::Anyone) {
            Some(calls) => calls.heartbeat(node, body, at).await,
            None => {
                let body = Box::new(body);
                self.ask(Whom::Anyone, Question::Heartbeat { node, body, at })
                    .await
            }
        }
    }

    async fn set_target_raid_config(
        &self,
        node: NodeId,
        config: Map<String, Value>,
    ) -> Result<(), Fault> {
        of_node!(
            self,
            node,
            set_target_raid_config(node, config),
            Question::SetTargetRaidConfig { node, config }
        )
    }

    async fn raid_logical_disk_properties(
        &self,
        driver: &str,
    ) -> Result<Map<String, Value>, Fault> {
        let whom = Whom::Knows(driver.to_owned());
        match self.here(&whom) {
            Some(calls) => calls.raid_logical_disk_properties(driver).await,
            None => {
                self.ask(
                    whom,
                    Question::RaidLogicalDiskProperties {
                        driver: driver.to_owned(),
                    },
                )
                .await
            }
        }
    }

    async fn set_boot_mode(&self, node: NodeId, mode: String) -> Result<(), Fault> {
        of_node!(
            self,
            node,
            set_boot_mode(node, mode),
            Question::SetBootMode { node, mode }
        )
    }

    async fn set_secure_boot(&self, node: NodeId, enabled: bool) -> Result<(), Fault> {
        of_node!(
            self,
            node,
            set_secure_boot(node, enabled),
            Question::SetSecureBoot { node, enabled }
        )
    }

    async fn get_console(&self, node: NodeId) -> Result<Option<Value>, Fault> {
        of_node!(self, node, get_console(node), Question::GetConsole { node })
    }

    async fn set_console(&self, node: NodeId, enabled: bool) -> Result<(), Fault> {
        of_node!(
            self,
            node,
            set_console(node, enabled),
            Question::SetConsole { node, enabled }
        )
    }

    async fn indicators(&self, node: NodeId) -> Result<Vec<IndicatorAnswer>, Fault> {
        of_node!(self, node, indicators(node), Question::Indicators { node })
    }

    async fn get_indicator(
        &self,
        node: NodeId,
        component: String,
        indicator: String,
    ) -> Result<String, Fault> {
        of_node!(
            self,
            node,
            get_indicator(node, component, indicator),
            Question::GetIndicator {
                node,
                component,
                indicator
            }
        )
    }

    async fn set_indicator(
        &self,
        node: NodeId,
        component: String,
        indicator: String,
        state: String,
    ) -> Result<(), Fault> {
        of_node!(
            self,
            node,
            set_indicator(node, component, indicator, state),
            Question::SetIndicator {
                node,
                component,
                indicator,
                state
            }
        )
    }

    async fn get_virtual_media(&self, node: NodeId) -> Result<Vec<Map<String, Value>>, Fault> {
        of_node!(
            self,
            node,
            get_virtual_media(node),
            Question::GetVirtualMedia { node }
        )
    }

    async fn attach_virtual_media(
        &self,
        node: NodeId,
        device: String,
        image_url: String,
    ) -> Result<(), Fault> {
        of_node!(
            self,
            node,
            attach_virtual_media(node, device, image_url),
            Question::AttachVirtualMedia {
                node,
                device,
                image_url
            }
        )
    }

    async fn detach_virtual_media(&self, node: NodeId, devices: Vec<String>) -> Result<(), Fault> {
        of_node!(
            self,
            node,
            detach_virtual_media(node, devices),
            Question::DetachVirtualMedia { node, devices }
        )
    }

    async fn vendor_methods(&self, node: NodeId) -> Result<Map<String, Value>, Fault> {
        of_node!(
            self,
            node,
            vendor_methods(node),
            Question::VendorMethods { node }
        )
    }

    async fn vendor_call(
        &self,
        node: NodeId,
        request: VendorRequest,
    ) -> Result<VendorAnswer, Fault> {
        of_node!(
            self,
            node,
            vendor_call(node, request),
            Question::VendorCall { node, request }
        )
    }

    async fn driver_vendor_methods(&self, driver: &str) -> Result<Map<String, Value>, Fault> {
        let whom = Whom::Knows(driver.to_owned());
        match self.here(&whom) {
            Some(calls) => calls.driver_vendor_methods(driver).await,
            None => {
                self.ask(
                    whom,
                    Question::DriverVendorMethods {
                        driver: driver.to_owned(),
                    },
                )
                .await
            }
        }
    }

    async fn driver_vendor_call(
        &self,
        driver: &str,
        request: VendorRequest,
    ) -> Result<VendorAnswer, Fault> {
        let whom = Whom::Knows(driver.to_owned());
        match self.here(&whom) {
            Some(calls) => calls.driver_vendor_call(driver, request).await,
            None => {
                self.ask(
                    whom,
                    Question::DriverVendorCall {
                        driver: driver.to_owned(),
                        request,
                    },
                )
                .await
            }
        }
    }

    async fn vif_list(&self, node: NodeId) -> Result<Vec<String>, Fault> {
        of_node!(self, node, vif_list(node), Question::VifList { node })
    }

    async fn vif_attach(&self, node: NodeId, vif: VifRequest) -> Result<(), Fault> {
        of_node!(
            self,
            node,
            vif_attach(node, vif),
            Question::VifAttach { node, vif }
        )
    }

    async fn vif_detach(&self, node: NodeId, vif: &str) -> Result<(), Fault> {
        of_node!(
            self,
            node,
            vif_detach(node, vif),
            Question::VifDetach {
                node,
                vif: vif.to_owned()
            }
        )
    }

    async fn continue_inspection(
        &self,
        node: NodeId,
        inventory: Object,
        plugin_data: Object,
    ) -> Result<(), Fault> {
        of_node!(
            self,
            node,
            continue_inspection(node, inventory, plugin_data),
            Question::ContinueInspection {
                node,
                inventory,
                plugin_data
            }
        )
    }
}
