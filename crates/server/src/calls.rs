//! The API's calls to the conductor when both run in this process (design, decision 7).

use async_trait::async_trait;
use bessemer_api::conductor::{
    BootDeviceAnswer, Conductor as Calls, IndicatorAnswer, InterfaceValidation, LookupAnswer,
    ProvisionRequest, VendorAnswer, VendorRequest,
};
use bessemer_conductor::{Conductor, Provision};
use bessemer_model::network::VifRequest;
use bessemer_model::{
    AllocationId, Fault, InterfaceKind, Node, NodeId, Object, PowerTarget, Timestamp,
};
use bessemer_wire::HeartbeatBody;
use serde_json::{Map, Value};

/// Short-circuits every call to the conductor of this process.
pub struct InProcess(pub Conductor);

#[async_trait]
impl Calls for InProcess {
    async fn set_provision_state(
        &self,
        node: NodeId,
        request: ProvisionRequest,
    ) -> Result<(), Fault> {
        // `runbook` is the API's: what gets here has its steps.
        let request = Provision {
            target: request.target,
            configdrive: request.configdrive,
            clean_steps: request.clean_steps,
            deploy_steps: request.deploy_steps,
            service_steps: request.service_steps,
            disable_ramdisk: request.disable_ramdisk == Some(true),
            rescue_password: request.rescue_password,
        };
        self.0.provision(node, request).await
    }

    async fn allocate(&self, _allocation: AllocationId) -> Result<(), Fault> {
        self.0.allocate();
        Ok(())
    }

    async fn set_power_state(
        &self,
        node: NodeId,
        target: PowerTarget,
        timeout: Option<u64>,
    ) -> Result<(), Fault> {
        self.0.power(node, target, timeout).await
    }

    async fn validate(&self, node: NodeId) -> Result<Vec<InterfaceValidation>, Fault> {
        let answers = self.0.validate(node).await?;
        Ok(answers
            .into_iter()
            .map(|v| InterfaceValidation {
                interface: v.interface,
                result: v.result,
                reason: v.reason,
            })
            .collect())
    }

    async fn get_boot_device(&self, node: NodeId) -> Result<BootDeviceAnswer, Fault> {
        let answer = self.0.get_boot_device(node).await?;
        Ok(BootDeviceAnswer {
            boot_device: answer.device,
            persistent: answer.persistent,
        })
    }

    async fn set_boot_device(
        &self,
        node: NodeId,
        device: String,
        persistent: bool,
    ) -> Result<(), Fault> {
        self.0.set_boot_device(node, &device, persistent).await
    }

    async fn supported_boot_devices(&self, node: NodeId) -> Result<Vec<String>, Fault> {
        self.0.supported_boot_devices(node).await
    }

    async fn inject_nmi(&self, node: NodeId) -> Result<(), Fault> {
        self.0.inject_nmi(node).await
    }

    async fn check_driver(
        &self,
        node: &mut Node,
        set_by_client: &[InterfaceKind],
    ) -> Result<(), Fault> {
        self.0.check_driver(node, set_by_client)
    }

    async fn driver_properties(&self, driver: &str) -> Result<Map<String, Value>, Fault> {
        let properties = self.0.driver_properties(driver)?;
        Ok(properties
            .into_iter()
            .map(|(name, text)| (name, Value::String(text)))
            .collect())
    }

    async fn lookup(
        &self,
        addresses: Vec<String>,
        node_uuid: Option<NodeId>,
    ) -> Result<LookupAnswer, Fault> {
        let answer = self.0.lookup(&addresses, node_uuid).await?;
        Ok(LookupAnswer {
            node: answer.node,
            agent_token: answer.agent_token,
        })
    }

    async fn heartbeat(
        &self,
        node: NodeId,
        body: HeartbeatBody,
        at: Timestamp,
    ) -> Result<(), Fault> {
        self.0.heartbeat(node, &body, at).await
    }

    async fn set_target_raid_config(
        &self,
        node: NodeId,
        config: Map<String, Value>,
    ) -> Result<(), Fault> {
        self.0.set_target_raid_config(node, config).await
    }

    async fn raid_logical_disk_properties(
        &self,
        driver: &str,
    ) -> Result<Map<String, Value>, Fault> {
        self.0.raid_logical_disk_properties(driver)
    }

    async fn set_boot_mode(&self, node: NodeId, mode: String) -> Result<(), Fault> {
        self.0.set_boot_mode(node, mode).await
    }

    async fn set_secure_boot(&self, node: NodeId, enabled: bool) -> Result<(), Fault> {
        self.0.set_secure_boot(node, enabled).await
    }

    async fn get_console(&self, node: NodeId) -> Result<Option<Value>, Fault> {
        self.0.get_console(node).await
    }

    async fn set_console(&self, node: NodeId, enabled: bool) -> Result<(), Fault> {
        self.0.set_console(node, enabled).await
    }

    async fn indicators(&self, node: NodeId) -> Result<Vec<IndicatorAnswer>, Fault> {
        let mut all = Vec::new();
        for (component, lamps) in self.0.indicators(node).await? {
            for (name, lamp) in lamps {
                all.push(IndicatorAnswer {
                    component: component.clone(),
                    name,
                    readonly: lamp.readonly,
                    states: lamp.states,
                });
            }
        }
        Ok(all)
    }

    async fn get_indicator(
        &self,
        node: NodeId,
        component: String,
        indicator: String,
    ) -> Result<String, Fault> {
        self.0.get_indicator(node, &component, &indicator).await
    }

    async fn set_indicator(
        &self,
        node: NodeId,
        component: String,
        indicator: String,
        state: String,
    ) -> Result<(), Fault> {
        self.0
            .set_indicator(node, &component, &indicator, &state)
            .await
    }

    async fn get_virtual_media(&self, node: NodeId) -> Result<Vec<Map<String, Value>>, Fault> {
        self.0.get_virtual_media(node).await
    }

    async fn attach_virtual_media(
        &self,
        node: NodeId,
        device: String,
        image_url: String,
    ) -> Result<(), Fault> {
        self.0.attach_virtual_media(node, device, image_url).await
    }

    async fn detach_virtual_media(&self, node: NodeId, devices: Vec<String>) -> Result<(), Fault> {
        self.0.detach_virtual_media(node, devices).await
    }

    async fn vendor_methods(&self, node: NodeId) -> Result<Map<String, Value>, Fault> {
        self.0.vendor_methods(node).await
    }

    async fn vendor_call(
        &self,
        node: NodeId,
        request: VendorRequest,
    ) -> Result<VendorAnswer, Fault> {
        let answer = self.0.vendor_call(node, asked(request)).await?;
        Ok(answered(answer))
    }

    async fn driver_vendor_methods(&self, driver: &str) -> Result<Map<String, Value>, Fault> {
        self.0.driver_vendor_methods(driver)
    }

    async fn driver_vendor_call(
        &self,
        driver: &str,
        request: VendorRequest,
    ) -> Result<VendorAnswer, Fault> {
        let answer = self.0.driver_vendor_call(driver, asked(request)).await?;
        Ok(answered(answer))
    }

    async fn vif_list(&self, node: NodeId) -> Result<Vec<String>, Fault> {
        self.0.vif_list(node).await
    }

    async fn vif_attach(&self, node: NodeId, vif: VifRequest) -> Result<(), Fault> {
        self.0.vif_attach(node, vif).await
    }

    async fn vif_detach(&self, node: NodeId, vif: &str) -> Result<(), Fault> {
        self.0.vif_detach(node, vif).await
    }

    async fn continue_inspection(
        &self,
        node: NodeId,
        inventory: Object,
        plugin_data: Object,
    ) -> Result<(), Fault> {
        self.0
            .continue_inspection(node, inventory, plugin_data)
            .await
    }
}

fn asked(request: VendorRequest) -> bessemer_conductor::VendorRequest {
    bessemer_conductor::VendorRequest {
        method: request.method,
        http_method: request.http_method,
        args: request.args,
    }
}

fn answered(answer: bessemer_conductor::VendorAnswer) -> VendorAnswer {
    match answer {
        bessemer_conductor::VendorAnswer::Accepted => VendorAnswer::Accepted,
        bessemer_conductor::VendorAnswer::Json(value) => VendorAnswer::Json(value),
        bessemer_conductor::VendorAnswer::File(bytes) => VendorAnswer::File(bytes),
    }
}
