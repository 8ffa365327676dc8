//! Against sushy-tools' emulator, which is not ours, and against boards that misbehave in ways that it does not.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod board;
mod emulator;
mod foreign;
mod odd;
