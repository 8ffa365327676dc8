//! The API judged by the document that it serves, by a client that generates requests of every operation: a short run of what
//! `make compat` does at length.

use bessemer_xtask::cache::Cache;
use bessemer_xtask::compat::{Effort, properties};

use crate::parts;

const SHORT: Effort = Effort {
    examples: 2,
    phases: "fuzzing",
};

#[test]
fn every_answer_is_as_described() {
    let cache = Cache::open().unwrap();
    let server = parts::server(&cache).unwrap();
    let found = properties(&cache, &server, SHORT).unwrap();
    assert!(
        found.failures.is_empty(),
        "{found}:\n{}",
        found.failures.join("\n")
    );
    assert_eq!(found.tested, found.operations, "{found}");
    // operations that take nothing have one request only
    assert!(
        found.operations > 130 && 2 * found.cases > 3 * found.operations,
        "{found}"
    );
}
