//! The `halosync` program: it runs the command line and ends with its status.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    restart_with_one_heap();
    halosync::cli::run(std::env::args_os())
}

/// Executes the program again, in the same process, with one heap for all threads. By default glibc gives threads heaps of
/// their own and keeps what large texts leave free in each, so memory would not stay below the 150 MB that are promised.
/// glibc reads the setting only at the start (mallopt(3)). Where this is not possible the program goes on and may need 20 MB
/// more.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn restart_with_one_heap() {
    use std::os::unix::process::CommandExt as _;
    const SETTING: &str = "MALLOC_ARENA_MAX";

    let mut arguments = std::env::args_os();
    let (None, Some(name), Ok(program)) =
        (std::env::var_os(SETTING), arguments.next(), std::env::current_exe())
    else {
        return;
    };
    let _ = std::process::Command::new(program).arg0(name).args(arguments).env(SETTING, "1").exec();
}
