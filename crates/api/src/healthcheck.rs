//! `GET /healthcheck`: whether the database answers.

use http::StatusCode;

use crate::call::{Answer, AnswerBody, Call, Outcome};
use crate::fault::ApiFault;

pub async fn get(call: Call) -> Outcome {
    if !call.config().healthcheck.enabled {
        return Err(ApiFault::unrouted(StatusCode::NOT_FOUND, ""));
    }
    let (status, text) = match call.store().ping().await {
        Ok(()) => (StatusCode::OK, "OK".to_owned()),
        Err(error) => {
            tracing::error!(%error, "health check failed");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the database does not answer".to_owned(),
            )
        }
    };
    Ok(Answer {
        status,
        body: AnswerBody::Text(text),
        location: None,
    })
}
