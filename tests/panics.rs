//! A panic anywhere ends the service. The test is its own victim: it starts itself again as a process that panics.

#![allow(clippy::unwrap_used)]

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::Duration;

/// Tells the process that is started that it is the one to panic.
const VICTIM: &str = "HALOSYNC_TEST_VICTIM";

#[test]
fn a_panic_in_a_task_that_nobody_waits_for_ends_the_process() {
    if std::env::var_os(VICTIM).is_some() {
        halosync::app::abort_on_panic();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::spawn(async { panic!("the fault of a task") });
            tokio::time::sleep(Duration::from_mins(5)).await;
        });
        unreachable!("it went on half alive");
    }
    let name = "a_panic_in_a_task_that_nobody_waits_for_ends_the_process";
    let mut victim = Command::new(std::env::current_exe().unwrap());
    let ended = victim.args(["--exact", name, "--nocapture"]).env(VICTIM, "1").output().unwrap();
    assert_eq!(ended.status.signal(), Some(6), "{ended:?}");
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(told.contains("the fault of a task"), "{told}");
}
