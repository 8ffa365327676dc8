//! What becomes of an inventory: hooks, rules, and the changes of node and ports that follow.
//!
//! Everything works on copies: the changes are recorded as edits, which are saved together with the outcome of the
//! phase, so that a repetition after a death starts from the node as it was.

mod edit;
pub mod format;
pub mod hooks;
pub mod rules;

use bessemer_model::{Node, Object, Port};
use serde_json::Value;

pub use edit::{Edit, node_view};

/// What hooks and rules read and change.
#[derive(Debug, Clone)]
pub struct Findings {
    /// The node as it will be.
    pub node: Node,
    /// What changes it.
    pub edits: Vec<Edit>,
    /// The agent's inventory.
    pub inventory: Object,
    /// Everything else that the ramdisk sent, and what hooks and rules add.
    pub plugin_data: Object,
    /// The node's ports as they will be.
    pub ports: Vec<Port>,
    /// Lines for the node's timeline.
    pub notes: Vec<String>,
}

impl Findings {
    /// Makes a change and remembers it.
    ///
    /// # Errors
    /// What the edit refuses, in a sentence.
    pub fn edit(&mut self, edit: Edit) -> Result<(), String> {
        edit.apply(&mut self.node)?;
        self.edits.push(edit);
        Ok(())
    }

    /// A member of `properties`.
    ///
    /// # Errors
    /// As [`Self::edit`].
    pub fn property(&mut self, name: &str, value: Value) -> Result<(), String> {
        self.edit(Edit::Set {
            path: vec!["properties".to_owned(), name.to_owned()],
            value,
        })
    }
}
