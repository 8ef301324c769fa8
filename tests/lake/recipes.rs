//! Runs the recipes of `docs/lake.md` as they stand there, on a lake of several servers, and compares every attribute with
//! the database of each server.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::lake_env::LakeEnv;

const PAGE: &str = include_str!("../../docs/lake.md");

/// Names in the page that stand for the lake.
const PLACEHOLDERS: [&str; 2] = ["s3://BUCKET/halo", "s3a://BUCKET/halo"];

/// The block of this name, for a lake.
pub(crate) fn recipe(name: &str, lake: &str) -> String {
    let (_, rest) = PAGE.split_once(&format!("```{name}\n")).unwrap_or_else(|| panic!("no recipe {name}"));
    let recipe = rest.split_once("\n```").expect("its end").0;
    PLACEHOLDERS.iter().rev().fold(recipe.to_owned(), |recipe, placeholder| recipe.replace(placeholder, lake))
}

/// Whether Python has a module; says so where it does not.
pub(crate) fn has_python_module(module: &str) -> bool {
    let found = Command::new("python3").args(["-c", &format!("import {module}")]).output();
    let is_there = found.is_ok_and(|output| output.status.success());
    if !is_there {
        eprintln!("SKIPPED: recipes for {module} (not installed)");
    }
    is_there
}

/// Runs a Python program; returns what it prints.
#[track_caller]
pub(crate) fn python(program: &str, folder: &Path) -> String {
    let file = folder.join("recipe.py");
    fs::write(&file, program).unwrap();
    let output = Command::new("python3").arg(&file).current_dir(folder).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}\n{error}");
    String::from_utf8(output.stdout).unwrap()
}

/// A Python program that runs the recipes for `DuckDB` and prints how many rows differ between the view `tickets` and the databases.
pub(crate) fn duckdb_program(lake: &str, secret: &str, databases: &[(&str, &Path)]) -> String {
    let recipes =
        ["tickets", "agents", "missing", "freshness"].map(|name| recipe(&format!("sql duckdb-{name}"), lake));
    let [tickets, agents, missing, freshness] = recipes;
    let databases: String = databases
        .iter()
        .map(|(server, path)| format!("({server:?}, {:?}),", path.display().to_string()))
        .collect();
    format!(
        r#"
import duckdb, sqlite3
db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")
db.execute("""{secret}""")
db.execute("""{tickets}""")
print("missing", db.execute("""{missing}""").fetchall())
print("fresh", [row[0] for row in db.execute("""{freshness}""").fetchall()])
db.execute("""{agents}""")
print("agents", db.execute("SELECT _server, NAME FROM agents ORDER BY ALL").fetchall())
def as_stored(name, kind):
    if kind == "BOOLEAN": return f'CAST("{{name}}" AS INT) AS "{{name}}"'
    if kind == "TIMESTAMP WITH TIME ZONE": return f"""strftime("{{name}}", '%Y-%m-%dT%H:%M:%S.%gZ') AS "{{name}}" """
    return f'"{{name}}"'
columns = [as_stored(row[0], row[1]) for row in db.execute("DESCRIBE tickets").fetchall()]
rows = db.execute(f"SELECT {{', '.join(columns)}} FROM tickets").fetchall()
names = [column[0] for column in db.description]
print("rows", len(rows))
for server, path in [{databases}]:
    source = sqlite3.connect(path).execute("SELECT * FROM tickets")
    columns = [column[0] for column in source.description]
    expected = set(source.fetchall())
    at = [names.index(column) for column in columns]
    own = [row for row in rows if row[names.index("_server")] == server]
    have = {{tuple(row[i] for i in at) for row in own}}
    print(server, len(own), len(have ^ expected))
"#
    )
}

/// Three servers with several packages each; one of them has begun another epoch.
pub(crate) fn three_servers(lake_of: impl Fn(usize) -> LakeEnv) -> Vec<LakeEnv> {
    (0..3)
        .map(|number| {
            let env = lake_of(number);
            let shift = i64::try_from(number).unwrap() * 10;
            env.edit(1..=50 + shift, "first \"quoted\", \n line");
            env.store_names("agents", &serde_json::json!([{ "id": 1, "name": format!("agent {number}") }]));
            env.push();
            env.edit(3..=9, "second");
            env.remove_tickets(&[5, 6]);
            env.push();
            if number == 1 {
                env.lake_run(&["purge", "7", "--reason", "request"]).success();
            }
            env.edit([6, 200], "third");
            env.push();
            env
        })
        .collect()
}

#[track_caller]
pub(crate) fn assert_recipes_agree(output: &str, envs: &[LakeEnv]) {
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[0], "missing []", "{output}");
    assert_eq!(lines[1], "fresh ['server-0', 'server-1', 'server-2']", "{output}");
    assert_eq!(
        lines[2], "agents [('server-0', 'agent 0'), ('server-1', 'agent 1'), ('server-2', 'agent 2')]",
        "{output}"
    );
    for (number, env) in envs.iter().enumerate() {
        let tickets = env.stored().len();
        assert_eq!(lines[4 + number], format!("server-{number} {tickets} 0"), "{output}");
    }
}

#[test]
fn duckdb_reads_a_local_lake_of_three_servers() {
    if !has_python_module("duckdb") {
        return;
    }
    let lake = tempfile::tempdir().unwrap();
    let envs = three_servers(|number| LakeEnv::in_folder(lake.path(), &format!("server-{number}")));
    let databases: Vec<_> = envs.iter().map(|env| env.path("halosync.db")).collect();
    let servers = ["server-0", "server-1", "server-2"];
    let databases: Vec<_> = servers.into_iter().zip(databases.iter().map(AsRef::as_ref)).collect();
    let program = duckdb_program(lake.path().to_str().unwrap(), "SELECT 1", &databases);
    assert_recipes_agree(&python(&program, lake.path()), &envs);
}

#[test]
fn pyspark_reads_a_local_lake_of_three_servers() {
    if !has_python_module("pyspark") || Command::new("java").arg("-version").output().is_err() {
        return;
    }
    let lake = tempfile::tempdir().unwrap();
    let envs = three_servers(|number| LakeEnv::in_folder(lake.path(), &format!("server-{number}")));
    let recipe = recipe("python pyspark-tickets", lake.path().to_str().unwrap());
    let program = format!(
        "{recipe}\nfor row in tickets.groupBy('_server').agg(F.count('*').alias('n'), F.sum(F.xxhash64('UID', 'NAME') % 1000003)).orderBy('_server').collect():\n    print('counted', row[0], row[1])\nprint('names', sorted((row[0], row[1], row[2]) for row in tickets.select('_server', 'UID', 'NAME').collect()))\n"
    );
    let output = python(&program, lake.path());
    let mut expected = Vec::new();
    for (number, env) in envs.iter().enumerate() {
        let tickets = env.stored();
        assert!(output.contains(&format!("counted server-{number} {}\n", tickets.len())), "{output}");
        let server = format!("server-{number}");
        expected.extend(tickets.into_iter().map(|(id, name)| (server.clone(), id, name)));
    }
    let python_text: Vec<_> = expected
        .iter()
        .map(|(server, id, name)| format!("('{server}', {id}, '{}')", name.replace('\n', "\\n")))
        .collect();
    assert!(output.contains(&format!("names [{}]", python_text.join(", "))), "{output}");
}
