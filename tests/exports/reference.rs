//! Reference tables in packages: whole where they changed, and with what the list carries beside the attributes.

use std::fs;

use serde_json::{Value as Json, json};

use crate::export_env::{ExportEnv, ticket_row};
use crate::readers::{Field, fold, manifests, rows};

fn agents(names: &[(i64, &str)]) -> Json {
    names.iter().map(|(id, name)| json!({ "id": id, "name": name })).collect()
}

/// The reference tables of each package, with the names in them.
fn exported(env: &ExportEnv) -> Vec<Vec<(String, Vec<String>)>> {
    let folder = env.deltas("default");
    let of_package = |manifest: Json| {
        let files = manifest["files"].as_array().unwrap().clone();
        let of_names = files.into_iter().filter(|file| file["role"] == "reference");
        let read = |file: Json| {
            let name = file["name"].as_str().unwrap().to_owned();
            let names = rows(&folder, &manifest, &file).into_iter().map(|row| {
                let name = row.into_iter().find(|(column, _)| column == "NAME").unwrap().1;
                let (Field::Csv(Some(name)) | Field::Json(Json::String(name))) = name else {
                    panic!("{name:?}")
                };
                name
            });
            (name.split('/').nth(1).unwrap().to_owned(), names.collect())
        };
        of_names.map(read).collect()
    };
    manifests(&folder).into_iter().map(of_package).collect()
}

#[test]
fn tables_come_along_whole_where_they_changed() {
    let env = ExportEnv::new("");
    env.store_rows(&[ticket_row(1, "a")]);
    env.store_names("agents", &agents(&[(1, "Unassigned"), (7, "Ann")]));
    env.run_ok(&["export", "delta", "--format", "jsonl"]);
    // The same list again, and a ticket: no table.
    env.store_names("agents", &agents(&[(7, "Ann"), (1, "Unassigned")]));
    env.store_rows(&[ticket_row(1, "b")]);
    env.run_ok(&["export", "delta", "--format", "csv", "--gzip"]);
    // A row that is no longer listed is a change of the table, and stays in it.
    env.store_names("agents", &agents(&[(1, "Unassigned")]));
    env.store_names("teams", &json!([{ "id": 2, "name": "Second line" }]));
    env.store_rows(&[ticket_row(1, "c")]);
    let summary = env.run_ok(&["export", "delta", "--columns", "NAME"]);
    assert_eq!(summary["packages"][0]["reference"], json!(["agents", "teams"]));
    let table = |name: &str, rows: &[&str]| (name.to_owned(), rows.iter().map(ToString::to_string).collect());
    let expected: Vec<Vec<(String, Vec<String>)>> = vec![
        vec![table("agents", &["Unassigned", "Ann"])],
        vec![],
        vec![table("agents", &["Unassigned", "Ann"]), table("teams", &["Second line"])],
    ];
    assert_eq!(exported(&env), expected);
    env.run_ok(&["export", "verify", "export", "--from-start"]);
}

/// Names that change while no ticket does make a package of their own; there is one name for it after each change, so what
/// changes again comes with the next change.
#[test]
fn names_alone_make_one_package() {
    let env = ExportEnv::new("");
    env.store_names("agents", &agents(&[(7, "Ann")]));
    assert_eq!(env.run_ok(&["export", "delta"])["packages"], json!([]), "the first package begins at 0");
    env.store_rows(&[ticket_row(1, "a")]);
    env.run_ok(&["export", "delta"]);
    env.store_names("agents", &agents(&[(7, "Ann Lee")]));
    let alone = env.run_ok(&["export", "delta", "--fail-if-empty"]);
    let (package, seq) = (&alone["packages"][0], env.last_seq());
    assert_eq!(
        (&package["from_seq"], &package["to_seq"], &package["rows"]),
        (&json!(seq), &json!(seq), &json!(0))
    );
    assert_eq!(env.run_json(&["export", "delta", "--fail-if-empty"]).status, Some(4), "nothing new");
    env.store_names("agents", &agents(&[(7, "Ann Leigh")]));
    assert_eq!(env.run_ok(&["export", "delta"])["packages"], json!([]));
    env.store_rows(&[ticket_row(2, "b")]);
    env.run_ok(&["export", "delta"]);
    let names: Vec<_> = exported(&env).concat().into_iter().flat_map(|(_, names)| names).collect();
    assert_eq!(names, ["Ann", "Ann Lee", "Ann Leigh"]);
    env.run_ok(&["export", "verify", "export", "--from-start"]);
    assert_eq!(fold(&env.deltas("default")).len(), 2);
    // All of them age out with their packages.
    env.run_ok(&["export", "forget", "--consumer", "default"]);
    let left = crate::export_env::read_files(&env.path("export/deltas/default"));
    assert!(left.is_empty(), "{:?}", left.keys());
}

#[test]
fn edited_missing_and_foreign_names_are_found() {
    let env = ExportEnv::new("");
    env.store_rows(&[ticket_row(1, "a")]);
    env.store_names("agents", &agents(&[(7, "Ann")]));
    env.run_ok(&["export", "delta"]);
    let folder = env.deltas("default").join("reference/agents");
    let name = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().file_name();
    let (path, content) = (folder.join(&name), fs::read(folder.join(&name)).unwrap());
    let findings = |env: &ExportEnv| {
        let result = env.run_json(&["export", "verify", "export"]);
        assert_eq!(result.status, Some(65), "{}", result.stdout);
        result.stdout
    };
    fs::write(&path, String::from_utf8(content.clone()).unwrap().replace("Ann", "Bob")).unwrap();
    assert!(findings(&env).contains("edited"));
    fs::remove_file(&path).unwrap();
    assert!(findings(&env).contains("missing"));
    fs::write(&path, &content).unwrap();
    env.run_ok(&["export", "verify", "export"]);
    for foreign in
        ["reference/agents/notes.txt", "reference/teams/000000000000-000000000001.csv", "reference/x.csv"]
    {
        let path = env.deltas("default").join(foreign);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &content).unwrap();
        assert!(findings(&env).contains("foreign"), "{foreign}");
        fs::remove_file(&path).unwrap();
    }
    // A link to a folder is not followed.
    fs::rename(&folder, env.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(env.path("elsewhere"), &folder).unwrap();
    let found = findings(&env);
    assert!(found.contains("missing") && found.contains("symbolic link"), "{found}");
}

/// What the list carries beside the attributes is in deltas, in snapshots, and in the last row of a deleted ticket.
#[test]
fn extras_are_exported() {
    let env = ExportEnv::new("");
    let mut closed = ticket_row(1, "closed");
    (closed["dateclosed"], closed["parent_id"]) = (json!("2026-11-20T10:00:00"), json!(5));
    env.store_rows(&[closed, ticket_row(2, "open")]);
    env.run_ok(&["export", "delta", "--format", "jsonl"]);
    env.remove_tickets(&[1]);
    env.run_ok(&["export", "delta", "--format", "csv"]);
    env.run_ok(&["export", "snapshot", "--format", "jsonl"]);
    let folder = env.deltas("default");
    let all: Vec<_> = manifests(&folder).iter().flat_map(|it| rows(&folder, it, &it["files"][0])).collect();
    let extra = |index: usize| all[index].iter().find(|(name, _)| name == "_extra").unwrap().1.clone();
    let expected = json!({ "CLOSED_AT": "2026-11-20T10:00:00.000Z", "RESPONDED_AT": null, "ASSIGNED_AT": null, "PARENT_ID": 5 });
    assert_eq!((extra(0), extra(1)), (Field::Json(expected.clone()), Field::Json(Json::Null)));
    let Field::Csv(Some(last)) = extra(2) else { panic!("no extras of the deleted ticket") };
    assert_eq!(last.parse::<Json>().unwrap(), expected);
}
