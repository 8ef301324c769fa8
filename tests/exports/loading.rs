//! Runs the recipes of `docs/loading.md` with the loaders that are on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::export_env::{ExportEnv, HOSTILE_TEXTS, text};

const PAGE: &str = include_str!("../../docs/loading.md");

/// The columns that are compared.
const COLUMNS: [&str; 6] = ["UID", "NAME", "DESCRIPTION", "COST", "FLAGGED", "_op"];

/// Loaded tickets by id, their columns as text or NULL.
type Loaded = BTreeMap<i64, Vec<Option<String>>>;

/// The recipe of this name, with the file name of the package filled in.
fn recipe(name: &str, package: &Path) -> String {
    let begin = format!("```{name}\n");
    let (_, rest) = PAGE.split_once(&begin).unwrap_or_else(|| panic!("no recipe {name}"));
    let (recipe, _) = rest.split_once("\n```").expect("its end");
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
    let package = Package::new("csv");
    let script = "import duckdb, json, sys\n\
        database = duckdb.connect()\n\
        count = database.execute(sys.argv[1]).fetchone()[0]\n\
        result = database.execute('SELECT * FROM loaded')\n\
        names = [column[0] for column in result.description]\n\
        rows = [dict(zip(names, row)) for row in result.fetchall()]\n\
        assert len(rows) == count\n\
        print(json.dumps(rows))";
    let output = Command::new("python3")
        .args(["-c", script, &recipe("duckdb", &package.file)])
        .current_dir(package.folder())
        .output()
        .unwrap();
    let rows: Json = serde_json::from_str(&expect_success(&output, "duckdb")).unwrap();
    assert_loaded("duckdb", &from_json(&rows), &package.tickets(), true);
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
    let psql = |arguments: &[&str]| {
        let socket = server.folder.path().display().to_string();
        let always = ["-h", &socket, "-U", "halosync", "-d", "postgres", "-X", "-q", "-A", "-t"];
        expect_success(&server.run("psql", &[&always[..], arguments].concat()), "psql")
    };
    assert_eq!(psql(&["-f", "script.sql"]).trim(), HOSTILE_TEXTS.len().to_string());
    let rows: Json = serde_json::from_str(&psql(&["-c", "SELECT json_agg(loaded) FROM loaded"])).unwrap();
    assert_loaded("postgresql", &from_json(&rows), &package.tickets(), true);
}
