//! `vendor_passthru` of nodes and drivers: methods of the driver's own, passed through with verb and body.

use bessemer_model::py_repr;
use bytes::Bytes;
use serde_json::Value;

use crate::args::Args;
use crate::body;
use crate::call::{Answer, AnswerBody, Call, Outcome};
use crate::conductor::{VendorAnswer, VendorRequest};
use crate::fault::ApiFault;
use crate::versions::Method;

/// The method is a segment of the path or an argument of the query; the body is the method's.
fn request(call: &Call) -> Result<VendorRequest, ApiFault> {
    let args = Args::of_query(call, &["method"])?;
    let method = match call.param("method") {
        "" => {
            args.require("method")?;
            args.string("method")?.unwrap_or_default()
        }
        segment => segment.to_owned(),
    };
    if method.is_empty() {
        return Err(ApiFault::invalid("Method not specified"));
    }
    let args = match body::json(&call.body)? {
        Value::Object(args) => args,
        Value::Null => serde_json::Map::new(),
        other => {
            return Err(ApiFault::invalid(format!(
                "The body of a call of vendor method {method} must be a JSON object, not {}.",
                py_repr(&other)
            )));
        }
    };
    Ok(VendorRequest {
        method,
        http_method: call.method.as_str().to_owned(),
        args,
    })
}

fn answer(answer: VendorAnswer) -> Answer {
    match answer {
        VendorAnswer::Accepted => Answer::accepted(),
        VendorAnswer::Json(value) => Answer::json(&value),
        VendorAnswer::File(bytes) => Answer {
            body: AnswerBody::File(Bytes::from(bytes)),
            ..Answer::bytes(Bytes::new())
        },
    }
}

pub async fn node_methods(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let node = call.node().await?;
    let methods = call.conductor().vendor_methods(node.id).await?;
    Ok(Answer::json(&Value::Object(methods)))
}

pub async fn node_call(call: Call) -> Outcome {
    let request = request(&call)?;
    let node = call.node().await?;
    let text = format!("vendor method {} called", request.method);
    let reply = call.conductor().vendor_call(node.id, request).await?;
    // what goes on behind the answer is an operation, which has its own lines
    if call.method != Method::Get && !matches!(reply, VendorAnswer::Accepted) {
        call.note(node.id, text).await?;
    }
    Ok(answer(reply))
}

/// A verb other than GET on `methods`: that is then the name of a method.
pub async fn node_call_methods(mut call: Call) -> Outcome {
    call.params.push(("method".into(), "methods".into()));
    node_call(call).await
}

pub async fn driver_call_methods(mut call: Call) -> Outcome {
    call.params.push(("method".into(), "methods".into()));
    driver_call(call).await
}

pub async fn driver_methods(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let methods = call
        .conductor()
        .driver_vendor_methods(call.param("driver"))
        .await?;
    Ok(Answer::json(&Value::Object(methods)))
}

pub async fn driver_call(call: Call) -> Outcome {
    let request = request(&call)?;
    let reply = call
        .conductor()
        .driver_vendor_call(call.param("driver"), request)
        .await?;
    Ok(answer(reply))
}
