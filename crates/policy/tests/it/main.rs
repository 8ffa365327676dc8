//! Decisions compared, one by one, with those of upstream's own policies (`record_matrix.py`), and the files of
//! operators: reloading, and what is said of mistakes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod files;
mod matrix;
