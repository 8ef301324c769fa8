//! `docs/manifest.schema.json` against real manifests.

use std::fs;

use serde_json::{Value as Json, json};

use crate::export_env::{ExportEnv, ticket_row};
use crate::readers::manifests;
use crate::support::file_names;

fn schema() -> jsonschema::Validator {
    let text = include_str!("../../docs/manifest.schema.json");
    jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()
}

/// Manifests of packages and snapshots in each format.
fn real_manifests() -> Vec<Json> {
    let env = ExportEnv::new("");
    env.store_rows(&[ticket_row(1, "a"), ticket_row(2, "a")]);
    let mut found = Vec::new();
    for (number, style) in
        [&["csv", "--gzip", "--excel"][..], &["json", "--columns", "NAME,TEAM"], &["jsonl"], &["parquet"]]
            .iter()
            .filter(|style| cfg!(feature = "lake") || style[0] != "parquet")
            .enumerate()
    {
        env.store_rows(&[ticket_row(1, &format!("edit {number}"))]);
        for arguments in [&["export", "delta", "--format"][..], &["export", "snapshot", "--format"]] {
            env.run_ok(&[arguments, style].concat());
        }
    }
    found.extend(manifests(&env.deltas("default")));
    for name in file_names(&env.path("export/snapshots")) {
        let file = env.path("export/snapshots").join(name).join("_manifest");
        found.push(serde_json::from_slice(&fs::read(file).unwrap()).unwrap());
    }
    assert_eq!(found.len(), if cfg!(feature = "lake") { 8 } else { 6 });
    found
}

#[test]
fn every_manifest_matches_the_schema() {
    let schema = schema();
    for manifest in real_manifests() {
        let wrong: Vec<_> = schema.iter_errors(&manifest).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{wrong:?} in {manifest:#}");
    }
}

#[test]
fn schema_requires_every_member_and_allows_no_other() {
    let schema = schema();
    let manifest = real_manifests().remove(1);
    for member in manifest.as_object().unwrap().keys() {
        let mut less = manifest.clone();
        less.as_object_mut().unwrap().remove(member);
        assert!(!schema.is_valid(&less), "{member} may be left out");
        let mut other = manifest.clone();
        other[member] = json!({ "another": ["kind"] });
        assert!(!schema.is_valid(&other), "{member} may be anything");
    }
    let mut more = manifest;
    more["colour"] = json!("blue");
    assert!(!schema.is_valid(&more));
}
