//! A panic in any task ends the process. The test starts itself again as the process that panics.

#![allow(clippy::unwrap_used)]

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::Duration;

/// The environment variable of the process that panics.
const PANICS: &str = "HALOSYNC_TEST_PANICS";

#[test]
fn panic_in_detached_task_aborts_the_process() {
    if std::env::var_os(PANICS).is_some() {
        halosync::app::abort_on_panic();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::spawn(async { panic!("panic of a detached task") });
            tokio::time::sleep(Duration::from_mins(5)).await;
        });
        unreachable!("the process survived the panic");
    }
    let name = "panic_in_detached_task_aborts_the_process";
    let mut process = Command::new(std::env::current_exe().unwrap());
    let output = process.args(["--exact", name, "--nocapture"]).env(PANICS, "1").output().unwrap();
    assert_eq!(output.status.signal(), Some(6), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("panic of a detached task"), "{stderr}");
}
