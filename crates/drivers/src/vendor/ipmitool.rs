//! Raw commands to a BMC over IPMI 2.0, and its restart (IPMI specification sections 20.2 and 20.3).

use async_trait::async_trait;
use bessemer_model::{Class, Fault, FaultKind, InterfaceKind, Node, Object};
use serde_json::Value;

use crate::bmc::IPMI_PROPERTIES;
use crate::interface::{
    DriverStep, Environment, Interface, Property, StepCall, StepResult, StepRun, VendorInterface,
    VendorMethod, VendorReply, step, unsupported,
};

pub struct IpmitoolVendor;

/// Network function of the application commands, and its resets.
const NETFN_APP: u8 = 0x06;
const COLD_RESET: u8 = 0x02;
const WARM_RESET: u8 = 0x03;

/// Longest message on the IPMI LAN interface, less its frame.
const MAX_RAW: usize = 255;

const METHODS: &[VendorMethod] = &[
    VendorMethod {
        name: "bmc_reset",
        http_methods: &["POST"],
        is_async: true,
        attach: false,
        exclusive: true,
        description: "Restarts the BMC. Argument: warm (boolean, true when absent), a warm or a cold reset.",
    },
    VendorMethod {
        name: "send_raw",
        http_methods: &["POST"],
        is_async: true,
        attach: false,
        exclusive: true,
        description: "Sends a raw command to the BMC. Argument: raw_bytes, for example '0x00 0x01'. Required.",
    },
];

/// `raw_bytes`: network function, command and data, each as C writes a byte (`0x2a`, `42`, `052`).
///
/// # Errors
/// Names the part that is not a byte.
fn raw_bytes(args: &Object) -> Result<Vec<u8>, Fault> {
    let missing = || {
        Fault::new(
            FaultKind::MissingParameter,
            Class::Never,
            "Parameter raw_bytes (string of bytes) was not specified.",
        )
    };
    let text = match args.get("raw_bytes") {
        None | Some(Value::Null) => return Err(missing()),
        Some(Value::String(text)) if text.trim().is_empty() => return Err(missing()),
        Some(Value::String(text)) => text,
        Some(other) => {
            return Err(Fault::invalid(format!(
                "raw_bytes is a text of bytes, for example '0x00 0x01', not {other}."
            )));
        }
    };
    let bytes = text
        .split_whitespace()
        .map(|part| {
            byte(part).ok_or_else(|| {
                Fault::invalid(format!(
                    "raw_bytes: {part} is not a byte (0x00 to 0xff, or 0 to 255)."
                ))
            })
        })
        .collect::<Result<Vec<u8>, Fault>>()?;
    if let Some(netfn) = bytes.first().filter(|n| **n & !0x3e != 0) {
        return Err(Fault::invalid(format!(
            "raw_bytes: 0x{netfn:02x} is not a network function of a request (an even number from 0x00 to 0x3e)."
        )));
    }
    match bytes.len() {
        2..=MAX_RAW => Ok(bytes),
        n => Err(Fault::invalid(format!(
            "raw_bytes has {n} bytes; a command needs its network function and number at least, and at most {MAX_RAW} in all."
        ))),
    }
}

fn byte(part: &str) -> Option<u8> {
    if let Some(hex) = part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        return u8::from_str_radix(hex, 16)
            .ok()
            .filter(|_| !hex.starts_with('+'));
    }
    let radix = if part.len() > 1 && part.starts_with('0') {
        8
    } else {
        10
    };
    u8::from_str_radix(part, radix)
        .ok()
        .filter(|_| !part.starts_with('+'))
}

/// `warm`: anything that is not a word for true is false, as upstream reads it.
fn warm(args: &Object) -> bool {
    match args.get("warm") {
        None => true,
        Some(Value::Bool(warm)) => *warm,
        Some(Value::Number(n)) => n.as_i64() == Some(1),
        Some(Value::String(text)) => matches!(
            text.trim().to_ascii_lowercase().as_str(),
            "1" | "t" | "true" | "on" | "y" | "yes"
        ),
        Some(_) => false,
    }
}

/// Sends one raw command and wants completion code 0.
pub(crate) async fn send(
    env: &Environment,
    node: &Node,
    netfn: u8,
    command: u8,
    data: Vec<u8>,
) -> Result<(), Fault> {
    let answer = env
        .bmcs
        .with(
            node,
            |bmc| async move { bmc.raw(netfn, command, &data).await },
        )
        .await?;
    if answer.completion_code.is_ok() {
        return Ok(());
    }
    Err(Fault::hardware(
        Class::Never,
        format!(
            "The BMC of node {} refused raw command 0x{netfn:02x} 0x{command:02x}: completion code {}.",
            node.label(),
            answer.completion_code
        ),
    ))
}

async fn send_raw(env: &Environment, node: &Node, args: &Object) -> Result<(), Fault> {
    let bytes = raw_bytes(args)?;
    let [netfn, command, data @ ..] = bytes.as_slice() else {
        return Err(Fault::internal("raw_bytes was accepted too short"));
    };
    send(env, node, *netfn, *command, data.to_vec()).await
}

#[async_trait]
impl Interface for IpmitoolVendor {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Vendor
    }

    fn name(&self) -> &'static str {
        "ipmitool"
    }

    fn properties(&self) -> &'static [Property] {
        IPMI_PROPERTIES
    }

    fn validate(&self, env: &Environment, node: &Node) -> Result<(), Fault> {
        env.bmcs.validate(node)
    }

    fn clean_steps(&self) -> Vec<DriverStep> {
        vec![raw_step().not_abortable()]
    }

    fn deploy_steps(&self) -> Vec<DriverStep> {
        vec![raw_step()]
    }

    fn service_steps(&self) -> Vec<DriverStep> {
        vec![raw_step().not_abortable().with_ramdisk()]
    }

    async fn run_step(
        &self,
        env: &Environment,
        node: &Node,
        call: StepCall<'_>,
    ) -> Result<StepResult, Fault> {
        if call.step != "send_raw" {
            return Err(Fault::unsupported(format!(
                "vendor interface ipmitool has no step {} (node {}).",
                call.step,
                node.label()
            )));
        }
        send_raw(env, node, call.args).await?;
        Ok(StepResult::done())
    }
}

fn raw_step() -> DriverStep {
    step("send_raw", "vendor", 0, StepRun::OutOfBand).arg(
        "raw_bytes",
        true,
        "The raw command, for example '0x00 0x01'.",
    )
}

#[async_trait]
impl VendorInterface for IpmitoolVendor {
    fn methods(&self) -> &'static [VendorMethod] {
        METHODS
    }

    fn validate_call(
        &self,
        env: &Environment,
        node: &Node,
        method: &str,
        args: &Object,
    ) -> Result<(), Fault> {
        if method == "send_raw" {
            raw_bytes(args)?;
        }
        env.bmcs.validate(node)
    }

    async fn call(
        &self,
        env: &Environment,
        node: &Node,
        method: &str,
        _http_method: &str,
        args: &Object,
    ) -> Result<VendorReply, Fault> {
        match method {
            "send_raw" => send_raw(env, node, args).await?,
            "bmc_reset" => {
                let command = if warm(args) { WARM_RESET } else { COLD_RESET };
                send(env, node, NETFN_APP, command, Vec::new()).await?;
            }
            other => return Err(unsupported(node, other)),
        }
        Ok(VendorReply::Json(Value::Null))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{raw_bytes, warm};
    use bessemer_model::Object;
    use serde_json::{Value, json};

    fn args(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn raw_bytes_are_read_as_c_writes_them() {
        let read = |text: &str| raw_bytes(&args(json!({"raw_bytes": text})));
        assert_eq!(read("0x00 0x08 0x03 0x08").unwrap(), [0, 8, 3, 8]);
        assert_eq!(read(" 6\t1 010 0XfF ").unwrap(), [6, 1, 8, 255]);
        for (bad, part) in [
            ("", "was not specified"),
            ("  ", "was not specified"),
            ("0x00", "1 bytes"),
            ("0x00 0x100", "0x100 is not a byte"),
            ("0x00 256", "256 is not a byte"),
            ("0x00 x", "x is not a byte"),
            ("0x00 -1", "-1 is not a byte"),
            ("0x00 0x+1", "0x+1 is not a byte"),
            ("0x00 09", "09 is not a byte"),
            ("0x01 0x00", "0x01 is not a network function"),
            ("0x40 0x00", "0x40 is not a network function"),
        ] {
            assert!(read(bad).unwrap_err().text.contains(part), "{bad}");
        }
        assert!(raw_bytes(&args(json!({"raw_bytes": [1, 2]}))).is_err());
        assert!(raw_bytes(&Object::new()).is_err());
    }

    #[test]
    fn a_reset_is_warm_unless_told() {
        for (value, want) in [
            (json!({}), true),
            (json!({"warm": true}), true),
            (json!({"warm": "true"}), true),
            (json!({"warm": false}), false),
            (json!({"warm": "no"}), false),
            (json!({"warm": null}), false),
        ] {
            assert_eq!(warm(&args(value.clone())), want, "{value}");
        }
    }
}
