//! The `halosync` program: it runs the command line and ends with its status.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    restart_with_bounded_heaps();
    halosync::cli::run(std::env::args_os())
}

/// Executes the program again, in the same process, with settings of the heap that glibc reads only at the start
/// (mallopt(3)). With one heap, threads that parse pages wait for each other and for the one that stores rows: a first load
/// takes a fifth more CPU time (docs/performance.md). With more than two the idle service keeps more than 40 MB. And what is
/// large must go back to the system when it is freed: by default glibc keeps ever larger texts, and memory would not stay below
/// the 150 MB that are promised. Where this is not possible the program goes on and may need 20 MB more.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn restart_with_bounded_heaps() {
    use std::os::unix::process::CommandExt as _;
    /// glibc removes its own settings from the environment of a program with privileges of its own.
    const RESTARTED: &str = "_HALOSYNC_RESTARTED";
    const SETTINGS: [(&str, &str); 4] = [
        ("MALLOC_ARENA_MAX", "2"),
        ("MALLOC_MMAP_THRESHOLD_", "1048576"),
        ("MALLOC_TRIM_THRESHOLD_", "1048576"),
        (RESTARTED, "1"),
    ];

    if std::env::var_os(RESTARTED).is_some() {
        return;
    }
    let missing: Vec<_> = SETTINGS.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()).collect();
    let mut arguments = std::env::args_os();
    let (Some(name), Ok(program)) = (arguments.next(), std::env::current_exe()) else { return };
    let _ = std::process::Command::new(program).arg0(name).args(arguments).envs(missing).exec();
}
