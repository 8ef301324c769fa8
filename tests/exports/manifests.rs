//! `docs/manifest.schema.json` against manifests that the program wrote.

use std::fs;

use serde_json::{Value as Json, json};

use crate::desk::{Desk, names, ticket};
use crate::readers::manifests;

fn schema() -> jsonschema::Validator {
    let text = include_str!("../../docs/manifest.schema.json");
    jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()
}

/// Manifests of deltas and snapshots, of each format, first and later ones.
fn real_ones() -> Vec<Json> {
    let desk = Desk::new("");
    desk.apply(&[ticket(1, "a"), ticket(2, "a")]);
    let mut found = Vec::new();
    for (number, style) in
        [&["csv", "--gzip", "--excel-safe"][..], &["json", "--newlines", "escape"], &["jsonl"]]
            .iter()
            .enumerate()
    {
        desk.apply(&[ticket(1, &format!("edit {number}"))]);
        for arguments in [&["export", "delta", "--format"][..], &["export", "snapshot", "--format"]] {
            desk.good(&[arguments, style].concat());
        }
    }
    found.extend(manifests(&desk.deltas("default")));
    for name in names(&desk.path("export/snapshots")) {
        let file = desk.path("export/snapshots").join(name).join("manifest.json");
        found.push(serde_json::from_slice(&fs::read(file).unwrap()).unwrap());
    }
    assert_eq!(found.len(), 6);
    found
}

#[test]
fn every_manifest_is_as_the_schema_says() {
    let schema = schema();
    for manifest in real_ones() {
        let wrong: Vec<_> = schema.iter_errors(&manifest).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{wrong:?} in {manifest:#}");
    }
}

#[test]
fn the_schema_wants_every_member_and_knows_no_other() {
    let schema = schema();
    let manifest = real_ones().remove(1);
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
