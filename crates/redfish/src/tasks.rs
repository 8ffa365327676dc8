//! Work that a BMC goes on with after its answer (DSP0266, "Asynchronous operations").

use http::Method;
use serde_json::Value;

use crate::client::Client;
use crate::error::Error;
use crate::message::{messages, of_document};
use crate::resource::{integer, text};

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// In the BMC's word, and percent when it tells them.
    Running {
        state: String,
        percent: Option<i64>,
    },
    Done,
    /// With the BMC's reason.
    Failed(String),
    /// The BMC knows nothing of it: most forget a task when it has ended, or with their restart.
    Gone,
}

impl Client {
    /// How far a task is, by its monitor or by itself.
    ///
    /// # Errors
    /// When the BMC cannot be asked.
    pub async fn task(&self, path: &str) -> Result<TaskState, Error> {
        let path = self.local(path)?;
        let raw = self.authorized(&Method::GET, &path, None, None).await?;
        let document: Value = serde_json::from_slice(&raw.body).unwrap_or_default();
        Ok(match raw.status {
            404 | 410 => TaskState::Gone,
            408 | 425 | 429 | 502..=504 => TaskState::Running {
                state: "not told".into(),
                percent: None,
            },
            400..=599 => TaskState::Failed(self.redacted(&reason(&messages(&raw.body).text))),
            status => self.read_task(status, &document),
        })
    }

    fn read_task(&self, status: u16, document: &Value) -> TaskState {
        let running = |state: &str| TaskState::Running {
            state: state.to_owned(),
            percent: integer(document, &["PercentComplete"]),
        };
        match text(document, &["TaskState"]) {
            Some("Completed") => {
                // a task may have ended well for its service and ill for what it was to do
                match text(document, &["TaskStatus"]) {
                    Some("Critical") => {
                        TaskState::Failed(self.redacted(&reason(&of_document(document).text)))
                    }
                    _ => TaskState::Done,
                }
            }
            Some(state @ ("Exception" | "Killed" | "Cancelled" | "Interrupted")) => {
                let told = of_document(document).text;
                TaskState::Failed(self.redacted(&if told.is_empty() {
                    format!("its state is {state}")
                } else {
                    told
                }))
            }
            Some(state) => running(state),
            None if status == 202 => running("not told"),
            None => TaskState::Done,
        }
    }
}

fn reason(text: &str) -> String {
    if text.is_empty() {
        "without a reason".to_owned()
    } else {
        text.to_owned()
    }
}
