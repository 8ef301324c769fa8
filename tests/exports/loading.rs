//! Runs the recipes of `docs/loading.md` with the loaders that are on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use halosync::ticket::{Column, ValueKind, delta_columns};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::export_env::{ExportEnv, HOSTILE_TEXTS, text};

const PAGE: &str = include_str!("../../docs/loading.md");

/// The columns that are compared.
const COLUMNS: [&str; 6] = ["UID", "NAME", "DESCRIPTION", "COST", "FLAGGED", "_op"];

/// Loaded tickets by id, their columns as text or NULL.
type Loaded = BTreeMap<i64, Vec<Option<String>>>;

/// The block of this name in the page.
fn block(name: &str) -> &'static str {
    let begin = format!("```{name}\n");
    let (_, rest) = PAGE.split_once(&begin).unwrap_or_else(|| panic!("no recipe {name}"));
    rest.split_once("\n```").expect("its end").0
}

/// The recipe of this name, with the file name of the package filled in.
fn recipe(name: &str, package: &Path) -> String {
    let recipe = block(name);
    let file = package.file_name().unwrap().to_str().unwrap();
    let placeholder = format!("package.{}", package.extension().unwrap().to_str().unwrap());
    assert!(recipe.contains(&placeholder), "{name} loads no {placeholder}");
    recipe.replace(&placeholder, file)
}

/// A package of tickets with hostile texts.
struct Package {
    env: ExportEnv,
    file: PathBuf,
}

impl Package {
    fn new(format: &str) -> Package {
        let env = ExportEnv::new("");
        let rows: Vec<_> = HOSTILE_TEXTS
            .iter()
            .enumerate()
            .map(|(index, text)| {
                json!({
                    "id": index + 1,
                    "summary": text,
                    "details": if index % 3 == 0 { Json::Null } else { format!("{text}|{text}").into() },
                    "cost": ([0.1 + 0.2, -1e-7, 1e21][index % 3]),
                    "flagged": index % 2 == 0,
                })
            })
            .collect();
        env.store_rows(&rows);
        env.run_ok(&["export", "delta", "--format", format]);
        let file = env.deltas("default").join(format!("000000000000-{:012}.{format}", HOSTILE_TEXTS.len()));
        Package { env, file }
    }

    /// Adds packages that change, delete, restore and create tickets, in the folder of the first one.
    fn with_more_packages(self, format: &str) -> Package {
        let edited = |id: i64, summary: &str| {
            json!({
                "id": id, "summary": summary, "details": "=1;\"\r\n,", "cost": -0.5, "flagged": true, "last_update": "2026-11-22T11:00:00",
            })
        };
        let export = || self.env.run_ok(&["export", "delta", "--format", format]);
        self.env.store_rows(&[edited(1, "once"), edited(2, "once"), edited(3, "once")]);
        self.env.remove_tickets(&[4, 5, 6]);
        export();
        self.env.store_rows(&[edited(2, "twice"), edited(4, "back"), edited(100, "new")]);
        self.env.remove_tickets(&[3]);
        export();
        assert_eq!(fs::read_dir(self.folder()).unwrap().count(), 6, "three packages with their manifests");
        self
    }

    fn folder(&self) -> &Path {
        self.file.parent().unwrap()
    }

    /// The stored tickets, as text.
    fn tickets(&self) -> Loaded {
        let sql =
            "SELECT UID, CAST(UID AS TEXT), NAME, DESCRIPTION, COST, CAST(FLAGGED AS TEXT) FROM tickets";
        let connection = self.env.connection();
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| {
            let cost: Option<f64> = row.get(4)?;
            let cost = cost.map(|it| format!("{it:?}"));
            Ok((
                row.get(0)?,
                vec![row.get(1)?, row.get(2)?, row.get(3)?, cost, row.get(5)?, Some("c".into())],
            ))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }
}

/// Reads the rows that a loader printed as JSON.
fn from_json(rows: &Json) -> Loaded {
    let field = |value: &Json| match value {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        Json::Bool(truth) => Some(i64::from(*truth).to_string()),
        Json::Number(number) if number.is_f64() => Some(format!("{:?}", number.as_f64().unwrap())),
        other => Some(other.to_string()),
    };
    let rows = rows.as_array().unwrap().iter().map(|row| {
        let cells: Vec<_> = COLUMNS.iter().map(|column| field(&row[*column])).collect();
        (cells[0].as_ref().unwrap().parse().unwrap(), cells)
    });
    rows.collect()
}

/// Asserts that the loaded tickets are the stored ones. A loader may not distinguish NULL from an empty text.
fn assert_loaded(program: &str, loaded: &Loaded, tickets: &Loaded, distinguishes_null: bool) {
    let plain = |tickets: &Loaded| -> Loaded {
        let cell = |cell: &Option<String>| {
            let number = cell.as_deref().and_then(|it| it.parse::<f64>().ok()).map(|it| format!("{it:?}"));
            let cell = number.or_else(|| cell.clone());
            if distinguishes_null { cell } else { Some(cell.unwrap_or_default()) }
        };
        tickets.iter().map(|(id, cells)| (*id, cells.iter().map(cell).collect())).collect()
    };
    assert_eq!(plain(loaded), plain(tickets), "{program}");
}

fn expect_success(output: &Output, context: &str) -> String {
    assert!(output.status.success(), "{context}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Whether a loader is installed; prints a line where it is not.
fn is_installed(program: &str, arguments: &[&str]) -> bool {
    let installed =
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    if !installed {
        eprintln!("SKIPPED: the recipe for {program} {} (not installed)", arguments.join(" "));
    }
    installed
}

#[test]
fn sqlite3_loads_a_package() {
    if !is_installed("sqlite3", &["--version"]) {
        return;
    }
    for (name, format, tells) in [("sqlite", "csv", false), ("sqlite-json", "json", true)] {
        let package = Package::new(format);
        let script = recipe(name, &package.file);
        // The last statement of the recipe counts the rows.
        let output = Command::new("sqlite3")
            .arg("loaded.db")
            .args(script.lines().map(ToOwned::to_owned).fold(Vec::new(), statements))
            .current_dir(package.folder())
            .output()
            .unwrap();
        let count = expect_success(&output, name);
        assert_eq!(count.trim(), HOSTILE_TEXTS.len().to_string());
        let sql = format!("SELECT {} FROM loaded", COLUMNS.join(", "));
        let loaded = rusqlite::Connection::open(package.folder().join("loaded.db")).unwrap();
        let mut statement = loaded.prepare(&sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        let mut found = Loaded::new();
        while let Some(row) = rows.next().unwrap() {
            let cell = |column| match row.get_ref(column).unwrap() {
                rusqlite::types::ValueRef::Null => None,
                rusqlite::types::ValueRef::Integer(number) => Some(number.to_string()),
                rusqlite::types::ValueRef::Real(number) => Some(format!("{number:?}")),
                other => Some(other.as_str().unwrap().to_owned()),
            };
            let cells: Vec<_> = (0..COLUMNS.len()).map(cell).collect();
            found.insert(cells[0].as_ref().unwrap().parse().unwrap(), cells);
        }
        assert_loaded(name, &found, &package.tickets(), tells);
    }
}

/// Joins lines into statements, which end with a semicolon, or are a dot-command of the shell.
fn statements(mut done: Vec<String>, line: String) -> Vec<String> {
    match done.last_mut() {
        Some(last) if !last.starts_with('.') && !last.ends_with(';') => {
            last.push('\n');
            last.push_str(&line);
        }
        _ => done.push(line),
    }
    done
}

#[test]
fn python_loads_a_package() {
    if !is_installed("python3", &["--version"]) {
        return;
    }
    for (name, format, tells) in [("python", "csv", false), ("python-jsonl", "jsonl", true)] {
        let package = Package::new(format);
        let output = Command::new("python3")
            .args(["-c", &recipe(name, &package.file)])
            .current_dir(package.folder())
            .output()
            .unwrap();
        let rows: Json = serde_json::from_str(&expect_success(&output, name)).unwrap();
        assert_loaded(name, &from_json(&rows), &package.tickets(), tells);
    }
}

#[test]
fn duckdb_loads_a_package() {
    if !is_installed("python3", &["-c", "import duckdb"]) {
        return;
    }
    for (name, format) in [("duckdb", "csv"), ("duckdb-parquet", "parquet")] {
        if cfg!(feature = "lake") || format != "parquet" {
            duckdb_loads(name, format);
        }
    }
}

fn duckdb_loads(name: &str, format: &str) {
    let package = Package::new(format);
    let script = "import duckdb, json, sys\n\
        database = duckdb.connect()\n\
        count = database.execute(sys.argv[1]).fetchone()[0]\n\
        result = database.execute('SELECT UID, NAME, DESCRIPTION, COST, FLAGGED, _op FROM loaded')\n\
        names = [column[0] for column in result.description]\n\
        rows = [dict(zip(names, row)) for row in result.fetchall()]\n\
        assert len(rows) == count\n\
        print(json.dumps(rows))";
    let output = Command::new("python3")
        .args(["-c", script, &recipe(name, &package.file)])
        .current_dir(package.folder())
        .output()
        .unwrap();
    let rows: Json = serde_json::from_str(&expect_success(&output, name)).unwrap();
    assert_loaded(name, &from_json(&rows), &package.tickets(), true);
}

/// A `PostgreSQL` server without a network, until it is dropped.
struct Postgres {
    programs: PathBuf,
    folder: TempDir,
}

impl Postgres {
    fn start() -> Option<Postgres> {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
        let programs = versions
            .filter_map(|it| Some(it.ok()?.path().join("bin")))
            .find(|it| it.join("initdb").exists())?;
        let folder = tempfile::tempdir().unwrap();
        let server = Postgres { programs, folder };
        // It refuses to run as root, so it runs as its own user.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(server.folder.path(), mode).unwrap();
        let data = server.path("data");
        expect_success(
            &server
                .run("initdb", &["-D", &data, "-A", "trust", "-U", "halosync", "-E", "UTF8", "--locale=C"]),
            "initdb",
        );
        let options = format!("-k {} -c listen_addresses= -c fsync=off", server.folder.path().display());
        expect_success(
            &server.run("pg_ctl", &["-D", &data, "-w", "-l", &server.path("log"), "-o", &options, "start"]),
            "pg_ctl",
        );
        Some(server)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let program = self.programs.join(program);
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(arguments).current_dir(self.folder.path()).output().unwrap()
    }

    fn psql(&self, arguments: &[&str]) -> String {
        let socket = self.folder.path().display().to_string();
        let always = ["-h", &socket, "-U", "halosync", "-d", "postgres", "-X", "-q", "-A", "-t"];
        expect_success(&self.run("psql", &[&always[..], arguments].concat()), "psql")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.run("pg_ctl", &["-D", &self.path("data"), "-m", "immediate", "stop"]);
    }
}

#[test]
fn postgresql_loads_a_package() {
    let Some(server) = Postgres::start() else {
        eprintln!("SKIPPED: the recipe for PostgreSQL (not installed)");
        return;
    };
    let package = Package::new("csv");
    let header = fs::read_to_string(&package.file).unwrap();
    let columns: Vec<_> =
        header.lines().next().unwrap().split(',').map(|name| format!("\"{name}\" text")).collect();
    let script = recipe("postgresql", &package.file).replace("@columns@", &columns.join(", "));
    // Its user may not read our folder.
    fs::write(server.path("script.sql"), format!("\\set ON_ERROR_STOP on\n{script}\n")).unwrap();
    let name = package.file.file_name().unwrap().to_str().unwrap();
    fs::write(server.path(name), fs::read(&package.file).unwrap()).unwrap();
    assert_eq!(server.psql(&["-f", "script.sql"]).trim(), HOSTILE_TEXTS.len().to_string());
    let rows: Json =
        serde_json::from_str(&server.psql(&["-c", "SELECT json_agg(loaded) FROM loaded"])).unwrap();
    assert_loaded("postgresql", &from_json(&rows), &package.tickets(), true);
}

/// A type of each kind of value, in the words of a loader.
fn column_type(loader: &str, kind: ValueKind) -> &'static str {
    let types = match loader {
        "sqlite" => ["TEXT", "INTEGER", "REAL", "INTEGER", "TEXT"],
        "duckdb" => ["VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP"],
        _ => ["text", "bigint", "double precision", "boolean", "timestamptz"],
    };
    match kind {
        ValueKind::Text | ValueKind::Clock => types[0],
        ValueKind::Integer => types[1],
        ValueKind::Real => types[2],
        ValueKind::Boolean => types[3],
        ValueKind::Timestamp => types[4],
    }
}

/// A list over several lines.
fn wrapped(items: &[String]) -> String {
    let mut lines = vec![String::new()];
    for (index, item) in items.iter().enumerate() {
        let piece = format!("{item}{}", if index + 1 < items.len() { "," } else { "" });
        let line = lines.last_mut().unwrap();
        if line.is_empty() {
            *line = piece;
        } else if 110 < line.len() + 1 + piece.len() {
            lines.push(piece);
        } else {
            *line += &format!(" {piece}");
        }
    }
    lines.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[test]
fn tables_in_the_page_have_the_columns_of_a_delta() {
    let columns = delta_columns();
    let mut generated: Vec<_> = ["sqlite", "duckdb", "postgresql"]
        .map(|loader| {
            let declare = |it: &Column| format!("\"{}\" {}", it.name, column_type(loader, it.kind));
            let declared: Vec<_> = columns.iter().map(declare).collect();
            (format!("{loader}-table"), format!("CREATE TABLE changes (\n{}\n);", wrapped(&declared)))
        })
        .into();
    let values: Vec<_> = columns.iter().map(|it| format!("value ->> '{}'", it.name)).collect();
    let insert = format!(
        "INSERT INTO changes SELECT\n{}\nFROM fsdir('.') AS file, json_each(CAST(file.data AS TEXT)) WHERE file.name \
         GLOB '*.json';",
        wrapped(&values)
    );
    generated.push(("sqlite-chain".to_owned(), insert));
    let stale: Vec<_> = generated.iter().filter(|(name, text)| block(name) != text).collect();
    if !stale.is_empty() {
        let page = stale.iter().fold(PAGE.to_owned(), |page, (name, text)| page.replace(block(name), text));
        fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/loading.md"), page).unwrap();
        panic!(
            "the columns in docs/loading.md were out of date and have been regenerated: review, commit, test again"
        );
    }
}

/// The statements that load a chain and fold it.
fn chain_script(loader: &str) -> [&'static str; 4] {
    let (table, load) = (format!("{loader}-table"), format!("{loader}-chain"));
    [block(&table), block(&load), block("fold"), "SELECT COUNT(*) FROM tickets;"]
}

/// Forgets the operation, which is not the same in every folded row.
fn without_op(mut tickets: Loaded) -> Loaded {
    for cells in tickets.values_mut() {
        cells[5] = None;
    }
    tickets
}

#[test]
fn sqlite3_folds_a_chain() {
    if !is_installed("sqlite3", &["--version"]) {
        return;
    }
    let package = Package::new("json").with_more_packages("json");
    let script = chain_script("sqlite");
    let output =
        Command::new("sqlite3").arg("loaded.db").args(script).current_dir(package.folder()).output().unwrap();
    let tickets = without_op(package.tickets());
    assert_eq!(expect_success(&output, "sqlite3").trim(), tickets.len().to_string());
    let loaded = rusqlite::Connection::open(package.folder().join("loaded.db")).unwrap();
    let sql = "SELECT json_group_array(json_object('UID', UID, 'NAME', NAME, 'DESCRIPTION', DESCRIPTION, 'COST', COST,
        'FLAGGED', FLAGGED)) FROM tickets WHERE typeof(UID) = 'integer' AND typeof(COST) IN ('real', 'null')";
    let rows: String = loaded.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_loaded("sqlite3", &without_op(from_json(&rows.parse().unwrap())), &tickets, true);
}

#[test]
fn python_folds_a_chain() {
    if !is_installed("python3", &["--version"]) {
        return;
    }
    let package = Package::new("jsonl").with_more_packages("jsonl");
    let output = Command::new("python3")
        .args(["-c", block("python-chain")])
        .current_dir(package.folder())
        .output()
        .unwrap();
    let rows: Json = serde_json::from_str(&expect_success(&output, "python")).unwrap();
    assert_loaded("python", &without_op(from_json(&rows)), &without_op(package.tickets()), true);
}

#[test]
fn pandas_folds_a_chain() {
    if !is_installed("python3", &["-c", "import pandas"]) {
        return;
    }
    for (name, format) in [("pandas-chain", "jsonl"), ("pandas-parquet-chain", "parquet")] {
        let can_read = format != "parquet" || is_installed("python3", &["-c", "import pyarrow"]);
        if can_read && (cfg!(feature = "lake") || format != "parquet") {
            pandas_folds(name, format);
        }
    }
}

fn pandas_folds(name: &str, format: &str) {
    let print = "import json\n\
        tickets = tickets[['UID', 'NAME', 'DESCRIPTION', 'COST', 'FLAGGED']]\n\
        assert str(tickets['UID'].dtype) == 'Int64', tickets.dtypes\n\
        tickets = tickets.astype(object).where(tickets.notna(), None)\n\
        print(json.dumps(tickets.to_dict('records')))";
    python_folds(name, format, print);
}

#[test]
fn duckdb_folds_a_chain() {
    if !is_installed("python3", &["-c", "import duckdb"]) {
        return;
    }
    let package = Package::new("csv").with_more_packages("csv");
    let script = "import duckdb, json, sys\n\
        database = duckdb.connect()\n\
        for statement in sys.argv[1:]: result = database.execute(statement)\n\
        count = result.fetchone()[0]\n\
        result = database.execute('SELECT * EXCLUDE (SOURCE_LAST_MODIFIED, _observed_at) FROM tickets')\n\
        names = [column[0] for column in result.description]\n\
        rows = [dict(zip(names, row)) for row in result.fetchall()]\n\
        assert len(rows) == count\n\
        assert database.execute(\"SELECT typeof(_observed_at) FROM tickets\").fetchone() == ('TIMESTAMP',)\n\
        print(json.dumps(rows))";
    let output = Command::new("python3")
        .args(["-c", script])
        .args(chain_script("duckdb"))
        .current_dir(package.folder())
        .output()
        .unwrap();
    let rows: Json = serde_json::from_str(&expect_success(&output, "duckdb")).unwrap();
    assert_loaded("duckdb", &without_op(from_json(&rows)), &without_op(package.tickets()), true);
}

/// Runs a recipe for a chain of packages and what prints its `tickets`.
fn python_folds(name: &str, format: &str, print: &str) {
    let package = Package::new(format).with_more_packages(format);
    let output = Command::new("python3")
        .args(["-c", &format!("{}\n{print}", block(name))])
        .current_dir(package.folder())
        .output()
        .unwrap();
    let rows: Json = serde_json::from_str(&expect_success(&output, name)).unwrap();
    assert_loaded(name, &without_op(from_json(&rows)), &without_op(package.tickets()), true);
}

#[cfg(feature = "lake")]
#[test]
fn duckdb_folds_a_chain_in_parquet() {
    if is_installed("python3", &["-c", "import duckdb"]) {
        let [load, fold] = [block("duckdb-parquet-chain"), block("fold")].map(|it| json!(it).to_string());
        let print = format!(
            "import duckdb, json\n\
             database = duckdb.connect()\n\
             for statement in {load}, {fold}: database.execute(statement)\n\
             result = database.execute('SELECT UID, NAME, DESCRIPTION, COST, FLAGGED FROM tickets')\n\
             names = [column[0] for column in result.description]\n\
             print(json.dumps([dict(zip(names, row)) for row in result.fetchall()]))"
        );
        let package = Package::new("parquet").with_more_packages("parquet");
        let output =
            Command::new("python3").args(["-c", &print]).current_dir(package.folder()).output().unwrap();
        let rows: Json = serde_json::from_str(&expect_success(&output, "duckdb")).unwrap();
        assert_loaded("duckdb", &without_op(from_json(&rows)), &without_op(package.tickets()), true);
    }
}

#[cfg(feature = "lake")]
#[test]
fn polars_folds_a_chain_in_parquet() {
    if is_installed("python3", &["-c", "import polars"]) {
        let print = "import json\n\
            assert tickets.schema['_observed_at'] == polars.Datetime('us', 'UTC'), tickets.schema\n\
            print(json.dumps(tickets.select('UID', 'NAME', 'DESCRIPTION', 'COST', 'FLAGGED').to_dicts()))";
        python_folds("polars-parquet-chain", "parquet", print);
    }
}

#[cfg(feature = "lake")]
#[test]
fn spark_folds_a_chain_in_parquet() {
    if is_installed("python3", &["-c", "import pyspark"]) && is_installed("java", &["-version"]) {
        let print = "import json\n\
            assert dict(tickets.dtypes)['_observed_at'] == 'timestamp', tickets.dtypes\n\
            rows = tickets.select('UID', 'NAME', 'DESCRIPTION', 'COST', 'FLAGGED').collect()\n\
            print(json.dumps([row.asDict() for row in rows]))";
        python_folds("spark-parquet-chain", "parquet", print);
    }
}

#[test]
fn postgresql_folds_a_chain() {
    let Some(server) = Postgres::start() else {
        eprintln!("SKIPPED: the recipe for PostgreSQL (not installed)");
        return;
    };
    let package = Package::new("csv").with_more_packages("csv");
    let script = format!("\\set ON_ERROR_STOP on\n{}\n", chain_script("postgresql").join("\n"));
    // Its user may not read our folder.
    fs::write(server.path("script.sql"), script).unwrap();
    for entry in fs::read_dir(package.folder()).unwrap() {
        let entry = entry.unwrap();
        let copy = server.path(entry.file_name().to_str().unwrap());
        fs::write(copy, fs::read(entry.path()).unwrap()).unwrap();
    }
    let tickets = without_op(package.tickets());
    assert_eq!(server.psql(&["-f", "script.sql"]).trim(), tickets.len().to_string());
    let rows: Json =
        serde_json::from_str(&server.psql(&["-c", "SELECT json_agg(tickets) FROM tickets"])).unwrap();
    assert_loaded("postgresql", &without_op(from_json(&rows)), &tickets, true);
}

#[test]
fn manifest_hash_can_be_signed() {
    let folder = tempfile::tempdir().unwrap();
    let run = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).current_dir(folder.path()).output()
    };
    if !run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", "key"]).is_ok_and(|it| it.status.success())
    {
        eprintln!("SKIPPED: the recipe for signatures (OpenSSH is not installed)");
        return;
    }
    let public_key = fs::read_to_string(folder.path().join("key.pub")).unwrap();
    fs::write(folder.path().join("signers"), format!("halosync {public_key}")).unwrap();
    let package = Package::new("csv");
    let manifest = fs::read_dir(package.folder()).unwrap().map(|it| it.unwrap().path());
    let manifest = manifest.into_iter().find(|it| it.extension().unwrap() == "manifest").unwrap();
    fs::copy(manifest, folder.path().join("package.manifest")).unwrap();
    let sh = |recipe: &str| run("sh", &["-c", recipe]).unwrap();
    expect_success(&sh(block("sign")), "sign");
    expect_success(&sh(block("check-signature")), "check");
    let signed = fs::read_to_string(folder.path().join("package.manifest")).unwrap();
    fs::write(
        folder.path().join("package.manifest"),
        signed.replace("manifest_sha256\": \"", "manifest_sha256\": \"0"),
    )
    .unwrap();
    assert!(!sh(block("check-signature")).status.success());
}
