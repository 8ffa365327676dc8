//! Methods of a node that is not there: each compares its argument `bar` with a word of its own.

use async_trait::async_trait;
use bessemer_model::{Class, Fault, FaultKind, InterfaceKind, Node, Object};
use serde_json::Value;

use crate::interface::{
    DriverStep, Environment, Interface, Property, StepCall, StepResult, StepRun, VendorInterface,
    VendorMethod, VendorReply, step, unsupported,
};

pub struct FakeVendor;

const PROPERTIES: &[Property] = &[
    Property {
        name: "B1",
        required: true,
        description: "Stands for a property. Required.",
    },
    Property {
        name: "B2",
        required: true,
        description: "Stands for another property. Required.",
    },
];

const fn method(
    name: &'static str,
    is_async: bool,
    exclusive: bool,
    description: &'static str,
) -> VendorMethod {
    VendorMethod {
        name,
        http_methods: &["POST"],
        is_async,
        attach: false,
        exclusive,
        description,
    }
}

const METHODS: &[VendorMethod] = &[
    method(
        "fourth_method_shared_lock",
        true,
        false,
        "Whether bar is woof, without locking the node",
    ),
    method("log_passthrough", true, true, "Does nothing for a while"),
    method("second_method", true, true, "Whether bar is kazoo"),
    method(
        "third_method_sync",
        false,
        true,
        "Whether bar is meow, answered at once",
    ),
];

/// The word that `bar` is compared with.
fn word(method: &str) -> Option<&'static str> {
    match method {
        "second_method" => Some("kazoo"),
        "third_method_sync" => Some("meow"),
        "fourth_method_shared_lock" => Some("woof"),
        _ => None,
    }
}

/// What Python takes for false.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) => false,
    }
}

#[async_trait]
impl Interface for FakeVendor {
    fn kind(&self) -> InterfaceKind {
        InterfaceKind::Vendor
    }

    fn name(&self) -> &'static str {
        "fake"
    }

    fn properties(&self) -> &'static [Property] {
        PROPERTIES
    }

    fn clean_steps(&self) -> Vec<DriverStep> {
        vec![
            step("log_passthrough", "vendor", 1, StepRun::OutOfBand)
                .not_abortable()
                .with_ramdisk(),
        ]
    }

    fn service_steps(&self) -> Vec<DriverStep> {
        vec![
            step("log_passthrough", "vendor", 0, StepRun::OutOfBand).not_abortable(),
            step("trigger_servicewait", "vendor", 0, StepRun::OutOfBand)
                .not_abortable()
                .with_ramdisk(),
        ]
    }

    async fn run_step(
        &self,
        env: &Environment,
        node: &Node,
        call: StepCall<'_>,
    ) -> Result<StepResult, Fault> {
        match call.step {
            "log_passthrough" => {
                env.pretend(InterfaceKind::Vendor).await;
                Ok(StepResult::done())
            }
            "trigger_servicewait" => Ok(StepResult::WaitForAgent {
                what: "step vendor.trigger_servicewait".to_owned(),
            }),
            other => Err(Fault::unsupported(format!(
                "vendor interface fake has no step {other} (node {}).",
                node.label()
            ))),
        }
    }
}

#[async_trait]
impl VendorInterface for FakeVendor {
    fn methods(&self) -> &'static [VendorMethod] {
        METHODS
    }

    fn validate_call(
        &self,
        _env: &Environment,
        _node: &Node,
        method: &str,
        args: &Object,
    ) -> Result<(), Fault> {
        if word(method).is_some() && args.get("bar").is_none_or(is_empty) {
            return Err(Fault::new(
                FaultKind::MissingParameter,
                Class::Never,
                format!("Parameter 'bar' not passed to method '{method}'."),
            ));
        }
        Ok(())
    }

    async fn call(
        &self,
        env: &Environment,
        node: &Node,
        method: &str,
        _http_method: &str,
        args: &Object,
    ) -> Result<VendorReply, Fault> {
        let answer = match word(method) {
            Some(word) => {
                if let Some(other) = args.keys().find(|k| *k != "bar") {
                    return Err(Fault::invalid(format!(
                        "Method {method} of node {} has no argument {other}; it has bar.",
                        node.label()
                    )));
                }
                Value::Bool(args.get("bar").and_then(Value::as_str) == Some(word))
            }
            None if method == "log_passthrough" => Value::Null,
            None => return Err(unsupported(node, method)),
        };
        env.pretend(InterfaceKind::Vendor).await;
        Ok(VendorReply::Json(answer))
    }
}
