//! Boot device and mode, secure boot, lamps, virtual media, sensors and the BMC's clock over Redfish (schemas ComputerSystem,
//! SecureBoot, Chassis, Drive, VirtualMedia, Thermal, Power, Manager).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bessemer_model::{
    Class, Fault, FaultKind, InterfaceKind, MacAddress, Node, Object, PowerState,
};
use bessemer_redfish::{BootOverride, Client, Error, MediaKind, Resource, System};
use serde_json::{Value, json};

use super::redfish_steps;
use crate::interface::{
    DriverStep, Effects, Environment, Indicator, Indicators, Interface, ManagementInterface,
    Persistence, Property, StepCall, StepResult, unsupported,
};
use crate::power::redfish::{power_state, reset};
use crate::redfish::{REDFISH_PROPERTIES, Trouble};

pub struct RedfishManagement {
    /// Dell's boards have steps more.
    pub(super) idrac: bool,
}

impl RedfishManagement {
    /// `redfish`
    pub const PLAIN: Self = Self { idrac: false };
    /// `idrac-redfish`
    pub const IDRAC: Self = Self { idrac: true };
}

/// The API's names of boot devices and the schema's.
const DEVICES: &[(&str, &str)] = &[
    ("pxe", "Pxe"),
    ("disk", "Hdd"),
    ("cdrom", "Cd"),
    ("bios", "BiosSetup"),
    ("uefihttp", "UefiHttp"),
];
const MODES: [(&str, &str); 2] = [("uefi", "UEFI"), ("bios", "Legacy")];
const LAMPS: [(&str, &str); 3] = [("on", "Lit"), ("off", "Off"), ("blinking", "Blinking")];
/// Boot device that is to be set before every start, where the BMC does not keep one.
const REMEMBERED: &str = "redfish_boot_device";
/// What is booted with `uefihttp`.
const HTTP_URL: &str = "redfish_uefi_http_url";
/// Between looks at a boot mode that comes into force with a restart.
const MODE_LOOK: Duration = Duration::from_secs(5);
/// Tries of a boot device while the board is in its power-on self-test.
const POST_TRIES: u32 = 6;

fn named<'a>(table: &[(&'a str, &'a str)], ours: &str) -> Option<&'a str> {
    table.iter().find(|(o, _)| *o == ours).map(|(_, t)| *t)
}

fn ours<'a>(table: &[(&'a str, &'a str)], theirs: Option<&str>) -> Option<&'a str> {
    let theirs = theirs?;
    table.iter().find(|(_, t)| *t == theirs).map(|(o, _)| *o)
}

/// Boot device as the system shows it: a USB CD is a CD, on boards that have both.
fn device_of(target: Option<&str>) -> Option<&'static str> {
    match target {
        Some("UsbCd") => Some("cdrom"),
        other => ours(DEVICES, other),
    }
}

/// Sets the boot device; true when the BMC did not keep it for longer than once.
async fn set_device(
    client: &Client,
    system: &System,
    target: &str,
    persistence: Persistence,
    http_uri: Option<&str>,
) -> Result<bool, Error> {
    let quirks = client.quirks(system).await?;
    let now = system.boot();
    let enabled = match persistence {
        Persistence::Once => "Once",
        Persistence::Persistent => "Continuous",
    };
    // Most boards refuse a duration that they have already; some want it every time.
    let send = quirks.always_send_enabled
        || quirks.full_boot_request
        || now.enabled.as_deref() != Some(enabled);
    let change = BootOverride {
        target: Some(target.to_owned()),
        enabled: send.then(|| enabled.to_owned()),
        mode: quirks
            .full_boot_request
            .then(|| now.mode.clone().unwrap_or_else(|| "UEFI".to_owned())),
        http_uri: http_uri.map(str::to_owned),
    };
    let result = patient_boot(client, system, &change).await;
    let once = match result {
        Err(error @ Error::Refused { .. }) if persistence == Persistence::Persistent && send => {
            // Persistence has left the standard, and some boards with it.
            let once = BootOverride {
                enabled: Some("Once".into()),
                ..change
            };
            if patient_boot(client, system, &once).await.is_err() {
                return Err(error);
            }
            true
        }
        other => {
            other?;
            false
        }
    };
    if quirks.restore_boot_mode
        && let Some(mode) = now.mode
    {
        let after = client.system().await?;
        if after.boot().mode.as_deref() != Some(mode.as_str()) {
            let change = BootOverride {
                mode: Some(mode),
                ..BootOverride::default()
            };
            client.set_boot(&after, &change).await?;
        }
    }
    Ok(once)
}

/// Again and again while the board is in its power-on self-test, in which nothing can be changed.
async fn patient_boot(
    client: &Client,
    system: &System,
    change: &BootOverride,
) -> Result<(), Error> {
    let mut attempt = 1;
    loop {
        match client.set_boot(system, change).await {
            Err(error) if error.says("UnableToModifyDuringSystemPOST") && attempt < POST_TRIES => {
                attempt += 1;
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            other => return other,
        }
    }
}

/// Sets the remembered boot device once more, before a start. A failure is told and not more: then the order counts that the
/// board has by itself, as with upstream.
pub(crate) async fn restore_boot_device(client: &Client, system: &System, internal: &Object) {
    let Some(device) = internal.get(REMEMBERED).and_then(Value::as_str) else {
        return;
    };
    let Some(target) = named(DEVICES, device) else {
        tracing::warn!("the remembered boot device {device} is none that there is");
        return;
    };
    if let Err(error) = set_device(client, system, target, Persistence::Once, None).await {
        tracing::warn!("the boot device {device} was not set again before the start: {error}");
    }
}

/// Restarts the node and waits until what was changed is in force; then the power is as it was.
async fn restart_until<F, Fut>(
    env: &Environment,
    client: &Client,
    node: &Node,
    what: &str,
    mut in_force: F,
) -> Result<(), Trouble>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<bool, Error>>,
{
    let timeout = env.redfish.settings().boot_mode_config_timeout;
    let system = client.system().await?;
    let before = power_state(&system);
    if node.disable_power_off && before != Some(PowerState::Off) {
        reset(client, &system, "ForceRestart", PowerState::On).await?;
    } else {
        switch(client, "ForceOff", PowerState::Off).await?;
        switch(client, "On", PowerState::On).await?;
    }
    if !timeout.is_zero() {
        let deadline = Instant::now() + timeout;
        // A board that restarts may be silent for a while.
        while !matches!(in_force().await, Ok(true)) {
            if Instant::now() >= deadline {
                return Err(Fault::hardware(
                    Class::Never,
                    format!(
                        "Timeout reached while waiting for {what} of node {} after its restart ({} s, [redfish] boot_mode_config_timeout).",
                        node.label(),
                        timeout.as_secs()
                    ),
                )
                .into());
            }
            tokio::time::sleep(MODE_LOOK).await;
        }
    }
    if before == Some(PowerState::Off) && !node.disable_power_off {
        switch(client, "ForceOff", PowerState::Off).await?;
    }
    Ok(())
}

/// Switches and waits until it is seen.
async fn switch(client: &Client, kind: &str, wanted: PowerState) -> Result<(), Error> {
    let mut system = client.system().await?;
    if power_state(&system) == Some(wanted) {
        return Ok(());
    }
    reset(client, &system, kind, wanted).await?;
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        system = client.system().await?;
        let settled = !matches!(system.power_state(), Some("PoweringOn" | "PoweringOff"));
        if settled && power_state(&system) == Some(wanted) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::TimedOut {
                address: client.address().to_owned(),
                operation: format!("reach power state {wanted}"),
                after: Duration::from_secs(120),
            });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// `cdrom`, `disk`, `floppy` as media.
fn media(device: &str) -> Result<MediaKind, Fault> {
    match device {
        "cdrom" => Ok(MediaKind::Cd),
        "disk" => Ok(MediaKind::UsbStick),
        "floppy" => Ok(MediaKind::Floppy),
        other => Err(Fault::invalid(format!(
            "{other} is no kind of virtual media; there are cdrom, disk and floppy."
        ))),
    }
}

/// A lamp found by its component and name.
async fn find_lamp(
    client: &Client,
    system: &System,
    component: &str,
    lamp: &str,
) -> Result<Option<Resource>, Error> {
    Ok(match component {
        "system" if system.0.text(&["UUID"]) == Some(lamp) => Some(system.0.clone()),
        "chassis" => client
            .chassis(system)
            .await?
            .into_iter()
            .find(|c| c.text(&["UUID"]) == Some(lamp)),
        "disk" => match lamp.split_once(':') {
            Some((storage, drive)) => client
                .storage(system)
                .await?
                .into_iter()
                .filter(|s| s.resource.id() == storage)
                .flat_map(|s| s.drives)
                .find(|d| d.id() == drive),
            None => None,
        },
        _ => None,
    })
}

fn no_lamp(node: &Node, component: &str, lamp: &str) -> Fault {
    Fault::new(
        FaultKind::MissingParameter,
        Class::Never,
        format!(
            "Unknown indicator {lamp} for component {component} of node {}",
            node.id
        ),
    )
}

#[async_trait]
impl Interface for RedfishManagement {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Management
    }

    fn name(&self) -> &'static str {
        if self.idrac {
            "idrac-redfish"
        } else {
            "redfish"
        }
    }

    fn properties(&self) -> &'static [Property] {
        REDFISH_PROPERTIES
    }

    fn validate(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.redfish.validate(node)
    }

    fn clean_steps(&self) -> Vec<DriverStep> {
        redfish_steps::clean(self.idrac)
    }

    fn deploy_steps(&self) -> Vec<DriverStep> {
        redfish_steps::deploy()
    }

    fn verify_steps(&self) -> Vec<DriverStep> {
        redfish_steps::verify(self.idrac)
    }

    async fn run_step(
        &self,
        env: &Environment,
        node: &Node,
        call: StepCall<'_>,
    ) -> Result<StepResult, Fault> {
        redfish_steps::run(self, env, node, call).await
    }
}

#[async_trait]
impl ManagementInterface for RedfishManagement {
    fn supported_boot_devices(&self) -> &'static [&'static str] {
        &["pxe", "disk", "cdrom", "bios", "uefihttp"]
    }

    async fn set_boot_device(
        &self,
        env: &Environment,
        node: &Node,
        device: &str,
        persistence: Persistence,
    ) -> Result<Effects, Fault> {
        let target = named(DEVICES, device)
            .ok_or_else(|| Fault::invalid(format!("Invalid boot device {device} specified.")))?;
        let url = node
            .driver_internal_info
            .get(HTTP_URL)
            .and_then(Value::as_str)
            .map(str::to_owned);
        let once = env
            .redfish
            .on_system(node, |client, system| async move {
                set_device(&client, &system, target, persistence, url.as_deref()).await
            })
            .await
            .map_err(|fault| Fault {
                text: format!(
                    "Redfish set boot device failed for node {}. Error: {}",
                    node.label(),
                    fault.text
                ),
                ..fault
            })?;
        let remembered = if once { json!(device) } else { Value::Null };
        let mut effects = Effects::default();
        for (key, value) in [(REMEMBERED, remembered), (HTTP_URL, Value::Null)] {
            if !value.is_null() || node.driver_internal_info.contains_key(key) {
                effects.driver_internal_info.insert(key.to_owned(), value);
            }
        }
        Ok(effects)
    }

    async fn get_boot_device(
        &self,
        env: &Environment,
        node: &Node,
    ) -> Result<(Option<String>, Option<bool>), Fault> {
        let boot = env
            .redfish
            .on_system(
                node,
                |_, system| async move { Ok::<_, Error>(system.boot()) },
            )
            .await?;
        let persistent = match boot.enabled.as_deref() {
            Some("Continuous") => Some(true),
            Some("Once") => Some(false),
            _ => None,
        };
        Ok((
            device_of(boot.target.as_deref()).map(str::to_owned),
            persistent,
        ))
    }

    async fn get_boot_mode(&self, env: &Environment, node: &Node) -> Result<Option<String>, Fault> {
        let boot = env
            .redfish
            .on_system(
                node,
                |_, system| async move { Ok::<_, Error>(system.boot()) },
            )
            .await?;
        Ok(ours(&MODES, boot.mode.as_deref()).map(str::to_owned))
    }

    async fn set_boot_mode(&self, env: &Environment, node: &Node, mode: &str) -> Result<(), Fault> {
        let wanted = named(&MODES, mode)
            .ok_or_else(|| Fault::invalid(format!("Invalid boot mode {mode} specified.")))?;
        env.redfish
            .on_system(node, |client, system| async move {
                let quirks = client.quirks(&system).await?;
                let now = system.boot();
                let mut change = BootOverride {
                    mode: Some(wanted.to_owned()),
                    ..BootOverride::default()
                };
                if quirks.full_boot_request {
                    change.enabled = now.enabled.clone().or_else(|| Some("Once".into()));
                    change.target = now.target.clone().or_else(|| Some("Pxe".into()));
                }
                if let Err(error) = client.set_boot(&system, &change).await {
                    // A board that neither tells nor takes a mode: clients go on without.
                    if now.mode.is_none() && matches!(error, Error::Refused { .. }) {
                        return Err(unsupported(node, "set_boot_mode").into());
                    }
                    return Err(error.into());
                }
                // What is not told cannot be waited for.
                if now.mode.is_none() {
                    return Ok(());
                }
                let in_force = || async {
                    let system = client.system().await?;
                    Ok::<_, Error>(system.boot().mode.as_deref() == Some(wanted))
                };
                if in_force().await? {
                    return Ok(());
                }
                let what = format!("boot mode {mode}");
                restart_until(env, &client, node, &what, in_force).await
            })
            .await
    }

    async fn get_secure_boot(&self, env: &Environment, node: &Node) -> Result<Option<bool>, Fault> {
        env.redfish
            .on_system(node, |client, system| async move {
                match client.secure_boot(&system).await {
                    Ok(Some(secure)) => Ok(secure.enabled()),
                    Ok(None) => Err(Trouble::from(unsupported(node, "get_secure_boot_state"))),
                    // a licence that the board wants for telling it
                    Err(error) if error.says("OemLicenseNotPassed") => Ok(None),
                    Err(error) => Err(error.into()),
                }
            })
            .await
    }

    async fn set_secure_boot(
        &self,
        env: &Environment,
        node: &Node,
        enabled: bool,
    ) -> Result<(), Fault> {
        env.redfish
            .on_system(node, |client, system| async move {
                let Some(secure) = client.secure_boot(&system).await? else {
                    return Err(Trouble::from(unsupported(node, "set_secure_boot_state")));
                };
                if secure.enabled() == Some(enabled) {
                    return Ok(());
                }
                if system.boot().mode.as_deref() == Some("Legacy") {
                    return Err(Fault::invalid(format!(
                        "Configuring secure boot requires UEFI for node {}",
                        node.id
                    ))
                    .into());
                }
                client.set_secure_boot(&secure, enabled).await?;
                let in_force = || async {
                    let secure = client.secure_boot(&system).await?;
                    Ok::<_, Error>(secure.and_then(|s| s.enabled()) == Some(enabled))
                };
                if in_force().await.unwrap_or(false) {
                    return Ok(());
                }
                let what = format!("secure boot {}", if enabled { "on" } else { "off" });
                restart_until(env, &client, node, &what, in_force).await
            })
            .await
    }

    async fn inject_nmi(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.redfish
            .on_system(node, |client, system| async move {
                client.reset(&system, "Nmi").await.map(drop)
            })
            .await
            .map_err(|fault| Fault {
                text: format!(
                    "Redfish inject NMI failed for node {}. Error: {}",
                    node.label(),
                    fault.text
                ),
                ..fault
            })
    }

    async fn indicators(&self, env: &Environment, node: &Node) -> Result<Indicators, Fault> {
        let lamp = || Indicator {
            readonly: false,
            states: ["blinking", "off", "on"].map(str::to_owned).to_vec(),
        };
        env.redfish
            .on_system(node, |client, system| async move {
                let mut all = Indicators::new();
                let named = |resource: &Resource| {
                    resource.lamp()?;
                    resource.text(&["UUID"]).map(str::to_owned)
                };
                // A part of the hardware that does not tell has no lamps; the others are shown.
                let chassis = client.chassis(&system).await.unwrap_or_default();
                let found: BTreeMap<String, Indicator> = chassis
                    .iter()
                    .filter_map(|c| Some((named(c)?, lamp())))
                    .collect();
                if !chassis.is_empty() {
                    all.insert("chassis".into(), found);
                }
                if let Some(uuid) = named(&system.0) {
                    all.insert("system".into(), BTreeMap::from([(uuid, lamp())]));
                }
                let storage = client.storage(&system).await.unwrap_or_default();
                let found: BTreeMap<String, Indicator> = storage
                    .iter()
                    .flat_map(|s| s.drives.iter().map(move |d| (s, d)))
                    .filter(|(_, d)| d.lamp().is_some())
                    .map(|(s, d)| (format!("{}:{}", s.resource.id(), d.id()), lamp()))
                    .collect();
                if !storage.is_empty() {
                    all.insert("disk".into(), found);
                }
                Ok::<_, Error>(all)
            })
            .await
    }

    async fn get_indicator(
        &self,
        env: &Environment,
        node: &Node,
        component: &str,
        indicator: &str,
    ) -> Result<String, Fault> {
        env.redfish
            .on_system(node, |client, system| async move {
                let lamp = find_lamp(&client, &system, component, indicator)
                    .await?
                    .ok_or_else(|| no_lamp(node, component, indicator))?;
                let state = ours(&LAMPS, lamp.lamp()).unwrap_or("unknown");
                Ok::<_, Trouble>(state.to_owned())
            })
            .await
    }

    async fn set_indicator(
        &self,
        env: &Environment,
        node: &Node,
        component: &str,
        indicator: &str,
        state: &str,
    ) -> Result<(), Fault> {
        let wanted = named(&LAMPS, &state.to_ascii_lowercase()).ok_or_else(|| {
            Fault::invalid(format!(
                "{state} is no state of a lamp; there are on, off and blinking."
            ))
        })?;
        env.redfish
            .on_system(node, |client, system| async move {
                let lamp = find_lamp(&client, &system, component, indicator)
                    .await?
                    .ok_or_else(|| no_lamp(node, component, indicator))?;
                client.set_lamp(&lamp, wanted).await?;
                Ok::<_, Trouble>(())
            })
            .await
    }

    async fn get_virtual_media(
        &self,
        env: &Environment,
        node: &Node,
    ) -> Result<Vec<Object>, Fault> {
        env.redfish
            .on_system(node, |client, system| async move {
                let slots = client.slots(&system).await?;
                Ok::<_, Error>(
                    slots
                        .iter()
                        .map(|slot| {
                            let mut shown = Object::new();
                            shown.insert("media_types".into(), json!(slot.media_types()));
                            shown.insert("inserted".into(), json!(slot.inserted()));
                            shown.insert("image".into(), json!(slot.image().unwrap_or_default()));
                            shown
                        })
                        .collect(),
                )
            })
            .await
    }

    async fn attach_virtual_media(
        &self,
        env: &Environment,
        node: &Node,
        device: &str,
        image_url: &str,
    ) -> Result<(), Fault> {
        let kind = media(device)?;
        env.redfish
            .on_system(node, |client, system| async move {
                client.insert(&system, kind, image_url).await
            })
            .await
    }

    async fn detach_virtual_media(
        &self,
        env: &Environment,
        node: &Node,
        devices: &[String],
    ) -> Result<(), Fault> {
        let kinds: Vec<MediaKind> = devices.iter().map(|d| media(d)).collect::<Result<_, _>>()?;
        env.redfish
            .on_system(node, |client, system| async move {
                if kinds.is_empty() {
                    client.eject(&system, None).await?;
                }
                for kind in kinds {
                    client.eject(&system, Some(kind)).await?;
                }
                Ok::<_, Error>(())
            })
            .await
    }

    async fn detect_vendor(&self, env: &Environment, node: &Node) -> Result<Option<String>, Fault> {
        env.redfish
            .on_system(node, |client, system| async move {
                client.vendor(&system).await
            })
            .await
    }

    async fn get_health(&self, env: &Environment, node: &Node) -> Result<Option<String>, Fault> {
        env.redfish
            .on_system(node, |_, system| async move {
                Ok::<_, Error>(
                    system
                        .0
                        .text(&["Status", "Health"])
                        .filter(|h| ["OK", "Warning", "Critical"].contains(h))
                        .map(str::to_owned),
                )
            })
            .await
    }

    async fn mac_addresses(
        &self,
        env: &Environment,
        node: &Node,
    ) -> Result<Vec<MacAddress>, Fault> {
        env.redfish
            .on_system(node, |client, system| async move {
                let cards = client
                    .members_of(&system.0, &["EthernetInterfaces"])
                    .await?;
                Ok::<_, Error>(
                    cards
                        .iter()
                        .filter(|c| c.text(&["Status", "State"]) == Some("Enabled"))
                        .filter_map(|c| c.text(&["MACAddress"])?.parse().ok())
                        .collect(),
                )
            })
            .await
    }

    async fn sensors(&self, env: &Environment, node: &Node) -> Result<Value, Fault> {
        env.redfish
            .on_system(node, |client, system| async move {
                super::redfish_sensors::read(&client, &system).await
            })
            .await
    }
}
