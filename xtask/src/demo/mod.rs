//! `make demo`.
