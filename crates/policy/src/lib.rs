//! The policy of the API: who may do what, in the language of oslo.policy.
//!
//! [`check`] reads the language into a tree, [`facts`] is what is known of a caller and of the object of a
//! call, [`rules`] decides, [`defaults`] is the table of upstream's policies, [`enforcer`] puts the operator's
//! files over it and reads them anew when they change. A leaf: nothing here knows requests or nodes.
//! Specification: oslo.policy 6.0 and the policies of Ironic 39.0; where a mistake of the operator would be
//! answered by upstream with a 500 or a silent refusal, loading fails with file, line and rule instead.

pub mod check;
pub mod defaults;
pub mod enforcer;
mod error;
pub mod facts;
mod file;
pub mod rules;

pub use defaults::{DEFAULTS, PolicyDefault};
pub use enforcer::{Enforcer, Settings};
pub use error::PolicyError;
pub use facts::{Fact, Facts, Target};
pub use rules::{Decision, Rules, Scope};

/// Readers of outside text as fuzz functions: each must end and never panic.
pub mod fuzz {
    /// The policy language.
    pub fn check(text: &str) {
        if let Ok(check) = crate::check::Check::parse(text) {
            // what is shown can be read again, and means the same
            let shown = check.to_string();
            debug_assert_eq!(crate::check::Check::parse(&shown).as_ref(), Ok(&check));
        }
    }

    /// A policy file.
    pub fn file(text: &str) {
        let _ = crate::file::read(text, std::path::Path::new("fuzz"));
    }
}
