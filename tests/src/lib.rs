//! Scenario tests that need more than one crate; everything is in `tests/it/`.
