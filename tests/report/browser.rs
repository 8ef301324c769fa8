//! A real browser opens the file: nothing is requested, nothing runs that is not ours, nothing is inaccessible.
//!
//! `SCREENSHOTS` names a folder that pictures of it are put into.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;

use crate::export_env::ExportEnv;
use crate::page::hostile_env;
use crate::support::test_env::TestEnv;

/// Opens a file and prints what happened as JSON: the file, axe-core, Chromium, a folder for pictures.
const PROGRAM: &str = include_str!("open_in_browser.py");

fn program(names: &[&str]) -> Option<String> {
    names.iter().find(|name| Command::new(name).arg("--version").output().is_ok()).map(|it| (*it).to_owned())
}

/// What the browser saw; `None` where there is no browser, which is said.
fn open(file: &Path, screenshots: &str) -> Option<Json> {
    let chromium = program(&["chromium", "chromium-browser", "google-chrome"]);
    let playwright = Command::new("python3").args(["-c", "import playwright.sync_api"]).output();
    let (Some(chromium), true) = (chromium, playwright.is_ok_and(|it| it.status.success())) else {
        eprintln!("SKIPPED: Chromium or Playwright is not installed");
        return None;
    };
    let path = Command::new("sh").args(["-c", &format!("command -v {chromium}")]).output().unwrap();
    let chromium = String::from_utf8(path.stdout).unwrap();
    let find_axe =
        "for f in \"$(npm root --global)\" $NODE_PATH; do ls \"$f/axe-core/axe.min.js\" && exit; done";
    let axe = Command::new("sh").args(["-c", find_axe]).output();
    let axe = axe.map_or(String::new(), |it| String::from_utf8(it.stdout).unwrap());
    if axe.is_empty() {
        eprintln!("SKIPPED: the accessibility check (axe-core is not installed)");
    }
    let output = Command::new("python3")
        .args(["-c", PROGRAM])
        .arg(file)
        .args([axe.trim(), chromium.trim(), screenshots])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[track_caller]
fn assert_harmless(seen: &Json, file: &Path) {
    assert_eq!(seen["console"], serde_json::json!([]));
    let own = format!("file://{}", file.display());
    assert!(seen["requests"].as_array().unwrap().iter().all(|url| url == &own), "{}", seen["requests"]);
    assert_eq!((&seen["hacked"], &seen["dialogs"]), (&Json::Null, &serde_json::json!(0)));
    assert_eq!(seen["violations"], serde_json::json!([]));
    assert!(
        seen["wide"].as_array().unwrap().iter().all(|wide| wide == false),
        "it scrolls sideways: {}",
        seen["wide"]
    );
    assert_eq!(seen["copied"], " Copied.");
    assert_eq!(seen["formulas"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browser_shows_the_report_without_an_error_or_a_request() {
    let env = TestEnv::new(2_500).await;
    env.run_ok(&["sync"]);
    let file = env.path("report.html");
    env.run_ok(&["report", "--out", file.to_str().unwrap()]);
    let file = fs::canonicalize(file).unwrap();
    let screenshots = std::env::var("SCREENSHOTS").unwrap_or_default();
    let Some(seen) = open(&file, &screenshots) else { return };
    assert_harmless(&seen, &file);
    assert_eq!(seen["filtered"], 1);
}

#[test]
fn hostile_tickets_run_nothing_in_a_browser() {
    let env: ExportEnv = hostile_env();
    env.run_ok(&["report"]);
    let file = fs::canonicalize(env.path("report.html")).unwrap();
    let Some(seen) = open(&file, "") else { return };
    assert_harmless(&seen, &file);
}
