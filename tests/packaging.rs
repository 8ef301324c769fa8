//! `packaging/`: units agree with each other, and the program understands their credentials.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;

use support::test_env::{CommandResult, NO_SERVER, TestEnv};

fn packaged(name: &str) -> String {
    fs::read_to_string(format!("packaging/{name}")).unwrap()
}

/// Returns the settings of a unit, without comments.
fn lines(unit: &str) -> Vec<String> {
    let is_setting = |line: &&str| !line.is_empty() && !line.starts_with('#');
    packaged(unit).lines().filter(is_setting).map(ToOwned::to_owned).collect()
}

/// Returns the sandbox settings of a unit, from the first to the last.
fn sandbox(unit: &str) -> Vec<String> {
    let is_inside = |line: &String| line != "LimitCORE=0";
    let inside = lines(unit).into_iter().skip_while(is_inside).take_while(|line| line != "[Install]");
    inside.collect()
}

#[test]
fn instance_unit_is_the_service_unit_with_paths_of_its_own() {
    let instance = lines("halosync@.service").into_iter().map(|line| match line.as_str() {
        "StateDirectory=halosync halosync/%i" => "StateDirectory=halosync".to_owned(),
        _ => line.replace("/etc/halosync/%i/", "/etc/halosync/").replace(" (%i)", ""),
    });
    // Only the service conflicts with the timer.
    let service =
        lines("halosync.service").into_iter().map(|line| line.replace(" halosync-sync.service", ""));
    assert_eq!(instance.collect::<Vec<_>>(), service.collect::<Vec<_>>());
}

#[test]
fn sync_unit_has_the_same_sandbox_as_the_service() {
    let service = sandbox("halosync.service");
    assert!(30 < service.len(), "{service:?}");
    assert_eq!(sandbox("halosync-sync.service"), service);
    for line in lines("halosync-sync.service") {
        for name in ["User=", "Group=", "LoadCredential=", "SetCredential=", "StateDirectory=", "UMask="] {
            assert!(!line.starts_with(name) || lines("halosync.service").contains(&line), "{line}");
        }
    }
}

#[test]
fn every_alert_is_raised_in_a_rules_test() {
    let rules = packaged("prometheus/halosync.rules.yml");
    let tests = packaged("prometheus/halosync.rules.test.yml");
    let alerts: BTreeSet<_> =
        rules.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: ")).collect();
    assert!(10 < alerts.len(), "{alerts:?}");
    for alert in alerts {
        let raised = [format!("{{alertname=\"{alert}\"}}"), format!("alertname: {alert}\n")];
        assert!(raised.iter().any(|it| tests.contains(it)), "nothing raises {alert}");
    }
}

#[test]
fn credential_without_a_secret_names_the_file_to_write() {
    let credentials = tempfile::tempdir().unwrap();
    let env = TestEnv::for_server(NO_SERVER, "");
    let default = packaged("halosync.service");
    let default =
        default.lines().find_map(|line| line.strip_prefix("SetCredential=halo-client-secret:")).unwrap();
    for secret in [default.replace("\\n", "\n").as_str(), "", " leading space\n"] {
        fs::write(credentials.path().join("halo-client-secret"), secret).unwrap();
        for command in ["run", "sync", "check"] {
            let mut halosync = env.command(&[command]);
            let process = halosync.env("CREDENTIALS_DIRECTORY", credentials.path()).spawn().unwrap();
            let result = CommandResult::of(process).code(78);
            let text = result.stdout + &result.stderr;
            assert!(text.contains("LoadCredential="), "{command}: {text}");
        }
    }
}
