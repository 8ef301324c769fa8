//! The `halosync` program: it runs the command line and ends with its status.

use std::process::ExitCode;

fn main() -> ExitCode {
    halosync::cli::run(std::env::args_os())
}
