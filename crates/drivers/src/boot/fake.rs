//! Boot of a node that is not there.

use crate::interface::BootInterface;

pub struct FakeBoot;

impl BootInterface for FakeBoot {
    fn name(&self) -> &'static str {
        "fake"
    }
}
