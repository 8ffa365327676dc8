//! The program of the deploy ramdisk. Process 1 in the ramdisk; an ordinary process anywhere else.

use std::process::ExitCode;

fn main() -> ExitCode {
    if bessemer_agent::init::is_process_one() {
        bessemer_agent::program::run_as_process_one()
    }
    bessemer_agent::program::run_as_ordinary_process(std::env::args().skip(1))
}
