//! `PUT /v1/nodes/{ident}/states/power`.

use bessemer_model::{PowerTarget, ProvisionState};

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;

pub async fn set(call: Call) -> Outcome {
    let args = Args::of_body(&call, &["target", "timeout"])?;
    args.require("target")?;
    let target = args.string("target")?;
    let timeout = args.integer("timeout")?;
    let ident = call.param("ident");
    let node = call.node().await?;
    let power = target.as_deref().and_then(PowerTarget::parse);
    if (power.is_some_and(PowerTarget::is_soft) || timeout.is_some_and(|t| t != 0))
        && !call.at_least(27)
    {
        return Err(ApiFault::not_acceptable());
    }
    let timeout = match timeout {
        None => None,
        Some(seconds) => Some(
            u64::try_from(seconds)
                .ok()
                .filter(|s| *s > 0)
                .ok_or_else(|| ApiFault::invalid("timeout has to be positive integer"))?,
        ),
    };
    let refused = |state: &str| {
        ApiFault::invalid(format!(
            "The requested action \"{}\" can not be performed on node \"{ident}\" while it is in state \"{state}\".",
            target.as_deref().unwrap_or("None")
        ))
    };
    let Some(power) = power else {
        return Err(refused(node.power_state.map_or("None", |s| s.as_str())));
    };
    if matches!(
        node.provision_state,
        ProvisionState::Cleaning | ProvisionState::CleanWait
    ) {
        return Err(refused(node.provision_state.as_str()));
    }
    if node.disable_power_off && matches!(power, PowerTarget::Off | PowerTarget::SoftOff) {
        return Err(ApiFault::conflict(format!(
            "Failed to set node power state to {}.",
            power.as_str()
        )));
    }
    call.conductor()
        .set_power_state(node.id, power, timeout)
        .await?;
    Ok(Answer::accepted().at(call.url(&format!("nodes/{ident}/states"))))
}
