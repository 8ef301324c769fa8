//! Runs the recipes of `docs/lake.md` as they stand there, on a lake of several servers, and compares every attribute with
//! the database of each server.

use std::fs;
use std::path::Path;
use std::process::Command;

use halosync::demo;

use crate::lake_env::LakeEnv;

/// The block of this name, for a lake.
pub(crate) fn recipe(name: &str, lake: &str) -> String {
    demo::recipe(name, lake).unwrap_or_else(|| panic!("no recipe {name}"))
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

fn has_spark() -> bool {
    has_python_module("pyspark") && Command::new("java").arg("-version").output().is_ok()
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

/// How many servers share a lake. `HALOSYNC_LAKE_COPIES` sets another number.
fn copies() -> usize {
    std::env::var("HALOSYNC_LAKE_COPIES").map_or(3, |it| it.parse().unwrap())
}

/// Servers that share a lake, with several packages each; every third one has begun another epoch.
pub(crate) fn servers(lake_of: impl Fn(usize) -> LakeEnv) -> Vec<LakeEnv> {
    (0..copies())
        .map(|number| {
            let env = lake_of(number);
            let shift = i64::try_from(number % 7).unwrap() * 10;
            env.edit(1..=50 + shift, "first \"quoted\", \n line");
            env.store_names("agents", &serde_json::json!([{ "id": 1, "name": format!("agent {number}") }]));
            env.push();
            env.edit(3..=9, "second");
            env.remove_tickets(&[5, 6]);
            env.push();
            if number % 3 == 1 {
                env.lake_run(&["purge", "7", "--reason", "request"]).success();
            }
            env.edit([6, 200], "third");
            env.push();
            env
        })
        .collect()
}

pub(crate) fn server_name(number: usize) -> String {
    format!("server-{number:03}")
}

fn local_servers(lake: &Path) -> Vec<LakeEnv> {
    servers(|number| LakeEnv::in_folder(lake, &server_name(number)))
}

/// A Python program that compares the relation `tickets` of the `DuckDB` connection `db` with the databases, and prints for
/// each server the number of its rows and of those that differ.
fn comparison(envs: &[LakeEnv]) -> String {
    let databases: String = (0..)
        .zip(envs)
        .map(|(number, env)| {
            format!("({:?}, {:?}),", server_name(number), env.path("halosync.db").to_str().unwrap())
        })
        .collect();
    format!(
        r#"
import sqlite3
def as_stored(name, kind):
    if kind == "BOOLEAN": return f'CAST("{{name}}" AS INT) AS "{{name}}"'
    if kind.startswith("TIMESTAMP"): return f"""strftime("{{name}}", '%Y-%m-%dT%H:%M:%S.%gZ') AS "{{name}}" """
    return f'"{{name}}"'
db.execute("SET TimeZone = 'UTC'")
columns = [as_stored(row[0], row[1]) for row in db.execute("DESCRIBE tickets").fetchall()]
for server, path in [{databases}]:
    source = sqlite3.connect(path).execute("SELECT * FROM tickets")
    expected = set(source.fetchall())
    rows = db.execute(f"SELECT {{', '.join(columns)}} FROM tickets WHERE _server = ?", [server])
    names = [column[0] for column in rows.description]
    at = [names.index(column[0]) for column in source.description]
    rows = rows.fetchall()
    have = {{tuple(row[i] for i in at) for row in rows}}
    print(server, len(rows), len(have ^ expected))
"#
    )
}

/// Asserts that a comparison found every ticket of every server once and unchanged.
#[track_caller]
fn assert_equal(output: &str, envs: &[LakeEnv]) {
    for (number, env) in envs.iter().enumerate() {
        let expected = format!("{} {} 0", server_name(number), env.stored().len());
        assert!(output.lines().any(|line| line == expected), "{expected} in\n{output}");
    }
}

/// A Python program that runs the recipes for `DuckDB`, and compares what they give.
pub(crate) fn duckdb_program(lake: &str, before: &str, envs: &[LakeEnv]) -> String {
    let [tickets, agents, missing, freshness, merge] = ["tickets", "agents", "missing", "freshness", "merge"]
        .map(|name| recipe(&format!("sql duckdb-{name}"), lake));
    let comparison = comparison(envs);
    format!(
        r#"
import duckdb
db = duckdb.connect()
{before}
db.execute("""{tickets}""")
print("missing", db.execute("""{missing}""").fetchall())
print("fresh", [row[0] for row in db.execute("""{freshness}""").fetchall()])
db.execute("""{agents}""")
print("agents", db.execute("SELECT _server, NAME FROM agents ORDER BY ALL").fetchall())
{comparison}
for _ in range(2):
    db.execute("""{merge}""")
db.execute("DROP VIEW tickets")
db.execute("CREATE TEMP VIEW tickets AS SELECT * EXCLUDE (_op, _reason) FROM state WHERE _op <> 'd'")
print("merged")
{comparison}
"#
    )
}

#[track_caller]
pub(crate) fn assert_recipes_agree(output: &str, envs: &[LakeEnv]) {
    let names: Vec<_> = (0..envs.len()).map(server_name).collect();
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[0], "missing []", "{output}");
    let mut fresh: Vec<_> = lines[1].split('\'').skip(1).step_by(2).collect();
    fresh.sort_unstable();
    assert_eq!(fresh, names, "{output}");
    let agents: Vec<_> =
        (0..).zip(&names).map(|(number, name)| format!("('{name}', 'agent {number}')")).collect();
    assert_eq!(lines[2], format!("agents [{}]", agents.join(", ")), "{output}");
    let (read, merged) = output.split_once("merged\n").unwrap();
    assert_equal(read, envs);
    assert_equal(merged, envs);
}

/// Runs a recipe that gives `tickets`, which `write` puts into the folder `out` as Parquet, and compares them.
#[track_caller]
fn assert_recipe_gives_the_databases(program: &str, write: &str, folder: &Path, envs: &[LakeEnv]) {
    let out = folder.join("out");
    fs::create_dir_all(&out).unwrap();
    python(&format!("{program}\nout = {:?}\n{write}\n", out.display().to_string()), folder);
    let read = format!(
        "import duckdb\ndb = duckdb.connect()\ndb.execute(\"CREATE VIEW tickets AS FROM read_parquet('{}/**/*.parquet')\")\n",
        out.display()
    );
    assert_equal(&python(&(read + &comparison(envs)), folder), envs);
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn duckdb_reads_a_local_lake_of_several_servers() {
    if !has_python_module("duckdb") {
        return;
    }
    let lake = tempfile::tempdir().unwrap();
    let envs = local_servers(lake.path());
    let program = duckdb_program(lake.path().to_str().unwrap(), "", &envs);
    assert_recipes_agree(&python(&program, lake.path()), &envs);
}

#[test]
fn pyspark_reads_a_local_lake_of_several_servers() {
    if !has_spark() || !has_python_module("duckdb") {
        return;
    }
    let lake = tempfile::tempdir().unwrap();
    let work = tempfile::tempdir().unwrap();
    let envs = local_servers(lake.path());
    let path = lake.path().to_str().unwrap();
    let batch = recipe("python pyspark-tickets", path);
    let write = "tickets.write.mode('overwrite').parquet(out)";
    assert_recipe_gives_the_databases(&batch, write, work.path(), &envs);
    let state = work.path().join("state");
    let stream = recipe("python pyspark-stream", path).replace("s3a://BUCKET/state", state.to_str().unwrap());
    // In two runs, the second of which finds what was shipped since.
    let stream = format!("{batch}\n{stream}\n");
    python(&stream, work.path());
    for env in &envs {
        env.edit([8, 300], "fourth");
        env.push();
    }
    assert_recipe_gives_the_databases(&stream, write, work.path(), &envs);
}

#[test]
fn other_engines_read_or_register_the_files_of_the_manifests() {
    if !has_python_module("pyarrow") || !has_python_module("duckdb") {
        return;
    }
    let lake = tempfile::tempdir().unwrap();
    let work = tempfile::tempdir().unwrap();
    let envs = local_servers(lake.path());
    let path = lake.path().to_str().unwrap();
    let work_path = work.path().to_str().unwrap();
    let files = recipe("python files", path)
        .replace(&format!("from_uri(\"{path}\")"), &format!("from_uri(\"file://{path}\")"));
    for (module, name, write) in [
        ("polars", "polars", "tickets.sink_parquet(out + '/a.parquet')"),
        ("deltalake", "delta", "tickets.write_parquet(out + '/a.parquet')"),
        ("pyiceberg", "iceberg", "tickets.write_parquet(out + '/a.parquet')"),
    ] {
        if has_python_module(module) {
            let recipe = recipe(&format!("python {name}"), path).replace("/var/lib/catalog", work_path);
            let program = format!("{files}\n{recipe}\n");
            assert_recipe_gives_the_databases(&program, write, work.path(), &envs);
        }
    }
}

#[test]
fn query_for_what_is_missing_finds_it() {
    if !has_python_module("duckdb") {
        return;
    }
    for lost in [
        "manifests/server=acme/000001-000000000003.json",
        "manifests/server=acme/000001-000000000000.json",
        "manifests/server=acme",
        "epochs/server=acme",
    ] {
        let env = LakeEnv::new("");
        env.push_twice();
        // A lake without any manifest is no lake.
        let other = LakeEnv::in_folder(env.lake(), "other");
        other.edit(1..=3, "a");
        other.push();
        env.lose(lost);
        let lake = env.lake().to_str().unwrap();
        let [tickets, missing] =
            ["tickets", "missing"].map(|name| recipe(&format!("sql duckdb-{name}"), lake));
        let program = format!(
            "import duckdb\ndb = duckdb.connect()\ndb.execute(\"\"\"{tickets}\"\"\")\n\
             print(sorted({{row[1] for row in db.execute(\"\"\"{missing}\"\"\").fetchall()}}))\n"
        );
        assert_eq!(python(&program, env.directory()), "['acme']\n", "{lost}");
    }
}

#[test]
fn earlier_epochs_are_deleted_by_epoch_and_not_by_age() {
    if !has_python_module("pyarrow") {
        return;
    }
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    env.lake_run(&["purge", "2", "--reason", "request"]).success();
    env.push();
    let uri = format!("file://{}", env.lake().display());
    let recipe = recipe("python delete-earlier-epochs", &uri);
    let before = env.objects();
    python(&recipe, env.directory());
    assert_eq!(env.objects(), before, "objects that readers may still use are deleted");
    let month = std::time::Duration::from_hours(24 * 30);
    for name in before.keys() {
        let file = fs::File::options().append(true).open(env.lake().join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - month).unwrap();
    }
    python(&recipe, env.directory());
    let names = env.object_names();
    assert!(!names.iter().any(|name| name.contains("/000001")), "{names:?}");
    assert_eq!(names.len(), 6, "{names:?}");
    env.assert_lake_is_whole();
    env.edit([1], "b");
    env.push();
    env.assert_lake_is_whole();
}

/// A version that knows one more column, and a lake that was begun by an earlier one.
#[test]
fn column_that_a_later_version_adds_is_null_in_earlier_rows() {
    if !has_python_module("duckdb") || !has_python_module("polars") {
        return;
    }
    let env = LakeEnv::new("");
    env.edit(1..=3, "a");
    env.push();
    env.edit([2], "b");
    env.push();
    // The second file as a later version would write it.
    let add = format!(
        "import duckdb, glob, json\n\
         file = glob.glob('{0}/changes/*/*/*-000000000004.parquet')[0]\n\
         duckdb.sql(f\"COPY (SELECT *, 'x' AS LATER FROM '{{file}}') TO '{{file}}.new' (FORMAT parquet)\")\n\
         import os; os.replace(file + '.new', file)\n",
        env.lake().display()
    );
    python(&add, env.directory());
    let lake = env.lake().to_str().unwrap();
    let tickets = recipe("sql duckdb-tickets", lake);
    let duckdb = format!(
        "import duckdb\ndb = duckdb.connect()\ndb.execute(\"\"\"{tickets}\"\"\")\n\
         print(db.execute('SELECT UID, LATER FROM tickets ORDER BY UID').fetchall())\n"
    );
    let expected = "[(1, None), (2, 'x'), (3, None)]\n";
    assert_eq!(python(&duckdb, env.directory()), expected);
    let files = recipe("python files", &format!("file://{lake}"));
    let polars = recipe("python polars", lake);
    let polars =
        format!("{files}\n{polars}\nprint(tickets.select('UID', 'LATER').sort('UID').collect().rows())\n");
    assert_eq!(python(&polars, env.directory()), expected);
    if has_spark() {
        let spark = recipe("python pyspark-tickets", lake);
        let spark = format!(
            "{spark}\nprint([tuple(it) for it in tickets.select('UID', 'LATER').sort('UID').collect()])\n"
        );
        assert_eq!(python(&spark, env.directory()), expected);
    }
}
