//! What `packaging/` says twice is the same, and what its units hand over is understood.

#![allow(clippy::unwrap_used)]

mod support {
    #[allow(dead_code, reason = "each test uses a part")]
    pub(crate) mod agent;
}

use std::collections::BTreeSet;
use std::fs;

use support::agent::Agent;

fn packaged(name: &str) -> String {
    fs::read_to_string(format!("packaging/{name}")).unwrap()
}

/// The settings of a unit, without comments.
fn lines(unit: &str) -> Vec<String> {
    let is_setting = |line: &&str| !line.is_empty() && !line.starts_with('#');
    packaged(unit).lines().filter(is_setting).map(ToOwned::to_owned).collect()
}

/// The settings of a unit from the first that makes its sandbox to the last.
fn sandbox(unit: &str) -> Vec<String> {
    let is_inside = |line: &String| line != "LimitCORE=0";
    let inside = lines(unit).into_iter().skip_while(is_inside).take_while(|line| line != "[Install]");
    inside.collect()
}

#[test]
fn an_instance_is_the_service_with_places_of_its_own() {
    let instance = lines("halosync@.service").into_iter().map(|line| match line.as_str() {
        "StateDirectory=halosync halosync/%i" => "StateDirectory=halosync".to_owned(),
        _ => line.replace("/etc/halosync/%i/", "/etc/halosync/").replace(" (%i)", ""),
    });
    // The alternative is one of the service alone.
    let service =
        lines("halosync.service").into_iter().map(|line| line.replace(" halosync-sync.service", ""));
    assert_eq!(instance.collect::<Vec<_>>(), service.collect::<Vec<_>>());
}

#[test]
fn the_alternative_runs_in_the_same_sandbox() {
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
fn every_alert_is_raised_in_a_test() {
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
fn a_credential_without_a_secret_says_which_file_to_write() {
    let credentials = tempfile::tempdir().unwrap();
    let agent = Agent::of("http://127.0.0.1:9", "");
    let default = packaged("halosync.service");
    let default =
        default.lines().find_map(|line| line.strip_prefix("SetCredential=halo-client-secret:")).unwrap();
    for secret in [default.replace("\\n", "\n").as_str(), "", " behind a blank\n"] {
        fs::write(credentials.path().join("halo-client-secret"), secret).unwrap();
        for command in ["run", "sync", "check"] {
            let mut halosync = assert_cmd::Command::new(env!("CARGO_BIN_EXE_halosync"));
            let run = halosync
                .args(["--config", agent.path("agent.toml").to_str().unwrap(), command])
                .env_clear()
                .env("CREDENTIALS_DIRECTORY", credentials.path())
                .assert()
                .code(78);
            let output = run.get_output();
            let told = String::from_utf8_lossy(&[&*output.stdout, &output.stderr].concat()).into_owned();
            assert!(told.contains("LoadCredential= of the unit names"), "{command}: {told}");
            assert!(!told.contains("write it again into"), "{command}: {told}");
        }
    }
}
