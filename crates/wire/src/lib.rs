//! Types of the agent's HTTP protocol, shared by conductor, agent and lab.
//!
//! Two directions: the agent calls the Bare Metal API (`lookup`, `heartbeat`), the conductor calls the
//! agent (`/v1/commands`). Both follow upstream's contract (ironic-python-agent 13.x), so every type is
//! lenient in what it reads: unknown members are ignored, absent ones have upstream's defaults.
//!
//! This crate must never do I/O and knows nothing of nodes beyond what the protocol carries.

mod command;
mod image;
mod lookup;
mod step;

pub use command::{
    AGENT_PORT, AGENT_TOKEN_QUERY, CommandError, CommandRequest, CommandResult, CommandStatus,
    Commands, PartitionUuids,
};
pub use image::{ImageInfo, ImageProgress, Proxies};
pub use lookup::{
    HeartbeatBody, Inventory, InventoryBoot, InventoryCpu, InventoryDisk, InventoryInterface,
    InventoryMemory, LookupConfig, LookupNode, LookupReply, SystemVendor,
};
pub use step::{CleanSteps, DeploySteps, ExecutedStep, StepArgument, StepDefinition, StepRef};
