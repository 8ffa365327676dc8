//! A host's BMC: `bessemer-ipmi`'s BMC side in front of the host's power and boot flags.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bessemer_ipmi::bmc::{BmcServer, Chassis, Faults, Users};
use bessemer_ipmi::{BootFlags, ChassisControl, CompletionCode};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;
use crate::fault::Fault;
use crate::host::{Facts, Host, PowerChange};

/// The host behind its BMC. It comes after the BMC's port is bound, since the port is one of the host's facts.
#[derive(Debug, Default)]
pub struct Behind(std::sync::OnceLock<Arc<Host>>);

impl Behind {
    /// The host is there now.
    pub fn set(&self, host: Arc<Host>) {
        // set once, at the start of the lab
        let _ = self.0.set(host);
    }

    /// What every question about the chassis meets first: the BMC's slowness and its refusals.
    async fn host(&self) -> Result<&Arc<Host>, CompletionCode> {
        let host = self.0.get().ok_or(CompletionCode::NODE_BUSY)?;
        let slow = host.look(|state| state.faults.value(Fault::BmcSlow, 5.0));
        let slow = slow.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let time = slow.unwrap_or(host.settings.bmc_delay.shortest);
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        if host.has(Fault::BmcRefuses) {
            Err(CompletionCode::NODE_BUSY)
        } else {
            Ok(host)
        }
    }
}

#[async_trait]
impl Chassis for Behind {
    async fn power_state(&self) -> Result<bool, CompletionCode> {
        Ok(self.host().await?.look(|state| state.power))
    }

    async fn control(&self, control: ChassisControl) -> CompletionCode {
        let host = match self.host().await {
            Ok(host) => host,
            Err(code) => return code,
        };
        let on = host.look(|state| state.power);
        let change = match control {
            ChassisControl::PowerDown => PowerChange::Off,
            ChassisControl::PowerUp => PowerChange::On,
            ChassisControl::SoftShutdown => PowerChange::SoftOff,
            // section 28.3: neither is for a chassis that is off
            ChassisControl::PowerCycle
            | ChassisControl::HardReset
            | ChassisControl::DiagnosticInterrupt
                if !on =>
            {
                return CompletionCode::NOT_IN_PRESENT_STATE;
            }
            ChassisControl::PowerCycle => PowerChange::Cycle,
            ChassisControl::HardReset => PowerChange::Reset,
            ChassisControl::DiagnosticInterrupt => {
                host.log("diagnostic_interrupt", serde_json::json!({}));
                return CompletionCode::OK;
            }
        };
        host.power(change, "bmc");
        CompletionCode::OK
    }

    async fn boot_flags(&self) -> Result<BootFlags, CompletionCode> {
        Ok(self.host().await?.look(|state| state.flags))
    }

    async fn set_boot_flags(&self, flags: BootFlags) -> CompletionCode {
        match self.host().await {
            Ok(host) => {
                host.set_boot_flags(flags);
                CompletionCode::OK
            }
            Err(code) => code,
        }
    }
}

/// Binds a host's BMC to its port.
///
/// # Errors
/// When the port is taken or the address is not on this computer.
pub async fn bind(
    facts: &Facts,
    wrong_password: bool,
    chassis: Arc<Behind>,
) -> std::io::Result<BmcServer> {
    let mut password = facts.bmc_password.clone();
    if wrong_password {
        // as long as the real one
        password = password.chars().rev().collect();
        password.push('x');
        password = password.chars().skip(1).collect();
    }
    let users = Users::administrator(facts.bmc_user.clone(), SecretString::from(password));
    let address = SocketAddr::new(facts.bmc_address, facts.bmc_port);
    let server = BmcServer::bind(address, users, chassis).await?;
    Ok(server.with_guid(facts.system_uuid.into_bytes()))
}

fn network_faults(host: &Host, index: usize) -> Faults {
    let delay = host.settings.bmc_delay;
    Faults {
        drop_rate: if host.has(Fault::BmcUnreachable) {
            1.0
        } else {
            host.settings.loss
        },
        duplicate_rate: 0.0,
        delay: delay.longest.saturating_sub(delay.shortest),
        seed: Dice::new(host.settings.seed, index, "bmc").draw(),
    }
}

/// Answers until cancelled.
pub async fn run(
    index: usize,
    host: Arc<Host>,
    chassis: Arc<Behind>,
    first: BmcServer,
    stop: CancellationToken,
) {
    let mut server = first;
    loop {
        let switch = server.fault_switch();
        switch.set(network_faults(&host, index));
        let wrong = host.has(Fault::BmcWrongPassword);
        let this = stop.child_token();
        let running = server.run(this.clone());
        tokio::pin!(running);
        loop {
            tokio::select! {
                () = &mut running => return,
                () = host.bmc_changed.notified() => {
                    switch.set(network_faults(&host, index));
                    if host.has(Fault::BmcWrongPassword) != wrong {
                        break;
                    }
                }
            }
        }
        // another password needs another server on the same port
        this.cancel();
        running.await;
        server = loop {
            match bind(&host.facts, !wrong, chassis.clone()).await {
                Ok(server) => break server,
                Err(error) => {
                    tracing::warn!(%error, host = host.facts.name, "a BMC cannot take its port back");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(Duration::from_millis(100)) => {}
                    }
                }
            }
        };
    }
}
