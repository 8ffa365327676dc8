//! `PUT` and `DELETE /v1/nodes/{ident}/maintenance`.

use std::sync::Arc;

use bessemer_model::{Fault, Node};

use crate::args::Args;
use crate::call::{Answer, Call, Outcome};
use crate::told;

pub async fn set(call: Call) -> Outcome {
    let args = Args::of_body(&call, &["reason"])?;
    let reason = args.string("reason")?;
    let what = match &reason {
        Some(reason) => format!("put into maintenance ({reason})"),
        None => "put into maintenance".to_owned(),
    };
    change(&call, what, move |node| {
        node.maintenance = true;
        node.maintenance_reason.clone_from(&reason);
    })
    .await
}

pub async fn clear(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    change(&call, "taken out of maintenance".to_owned(), |node| {
        node.maintenance = false;
        node.maintenance_reason = None;
        node.fault = None;
    })
    .await
}

async fn change(
    call: &Call,
    what: String,
    change: impl Fn(&mut Node) + Send + Sync + 'static,
) -> Outcome {
    let node = call.node().await?;
    let mut after = node.clone();
    change(&mut after);
    let write = call.store().update_node(
        node.id,
        None,
        false,
        Arc::new(move |node: &mut Node| {
            change(node);
            Ok::<(), Fault>(())
        }),
        call.event(what),
    );
    told::maintained(call, &node, &after, write).await?;
    Ok(Answer::accepted())
}
