//! Parquet packages and snapshots: read by `DuckDB`, which shares no code with the writer, and verified after somebody
//! changed them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use halosync::export::{VerifyFinding, VerifyOptions, verify};
use halosync::reference::REFERENCE_TABLES;
use halosync::snapshot_table::SnapshotTable;
use halosync::ticket::{Column, ValueKind, delta_columns};
use serde_json::{Value as Json, json};

use crate::export_env::{ExportEnv, HOSTILE_TEXTS, text, ticket_row};
use crate::support::sha256;

/// Compares files with the table of a database: the types of the columns, and every row in both directions.
const COMPARE: &str = r#"
import duckdb, json, sqlite3, sys

for comparison in json.loads(sys.argv[2]):
    columns = comparison["columns"]
    names = ", ".join(f'"{name}"' for name, _ in columns)
    expected = sqlite3.connect(sys.argv[1]).execute(f"SELECT {names} FROM {comparison['table']}").fetchall()
    lake = duckdb.connect()
    lake.execute("CREATE TABLE expected (" + ", ".join(f'"{name}" {kind}' for name, kind in columns) + ")")
    if expected:
        lake.executemany(f"INSERT INTO expected VALUES ({', '.join('?' * len(columns))})", expected)
    lake.execute(f"CREATE TABLE actual AS {comparison['sql']}")
    types = lambda table: lake.execute(f"SELECT column_name, data_type FROM information_schema.columns "
                                       f"WHERE table_name = '{table}' ORDER BY ordinal_position").fetchall()
    assert types("actual") == types("expected"), (comparison["table"], types("actual"))
    for left, right in (("actual", "expected"), ("expected", "actual")):
        differ = lake.execute(f"SELECT COUNT(*) FROM (FROM {left} EXCEPT ALL FROM {right})").fetchone()[0]
        assert differ == 0, (comparison["table"], left, differ)
    print(comparison["table"], len(expected))
"#;

/// The columns and their types in `DuckDB`.
fn types(columns: impl IntoIterator<Item = Column>) -> Vec<(&'static str, &'static str)> {
    let of = |column: Column| {
        let kind = match column.kind {
            ValueKind::Text | ValueKind::Clock => "VARCHAR",
            ValueKind::Integer => "BIGINT",
            ValueKind::Real => "DOUBLE",
            ValueKind::Boolean => "BOOLEAN",
            ValueKind::Timestamp => "TIMESTAMP WITH TIME ZONE",
        };
        (column.name, kind)
    };
    columns.into_iter().map(of).collect()
}

/// A ticket with a value of every kind; every third value is missing.
fn full_row(id: i64, words: &str) -> Json {
    let reals = [0.1 + 0.2, -1e-7, 1e21, 1.5e300, f64::MIN_POSITIVE, -0.5];
    let index = usize::try_from(id).unwrap();
    let mut row = ticket_row(id, words);
    let integers = [i64::MAX, i64::MIN, 0, -1];
    for (name, value) in [
        ("details", json!(format!("{words}|{words}"))),
        ("cost", json!(reals[index % reals.len()])),
        ("agent_id", json!(integers[index % integers.len()])),
        ("flagged", json!(index % 2 == 0)),
        ("deadlinedate", json!("2026-02-28T23:59:59.999")),
        ("starttime", json!("08:30:00")),
        ("team", json!("")),
    ] {
        if (index + name.len()) % 3 != 0 {
            row[name] = value;
        }
    }
    row["customfields"] =
        json!([{ "id": 120, "name": "CFa", "label": words, "type": 2, "value": words, "display": "" }]);
    row["dateclosed"] = json!("2026-11-21T10:00:00");
    row
}

/// Puts a row with every value and one with as few as possible into each reference table.
fn fill_reference_tables(env: &ExportEnv) {
    let connection = writable(env);
    for table in &REFERENCE_TABLES {
        let columns: Vec<_> = table.stored_columns().collect();
        let names: Vec<_> = columns.iter().map(|it| format!("\"{}\"", it.name)).collect();
        let required: Vec<_> = table.key().chain(["PRESENT"]).collect();
        for full in [true, false] {
            let value = |column: &Column| match column.kind {
                _ if !full && !required.contains(&column.name) => "NULL",
                ValueKind::Text | ValueKind::Clock => "'a \"text\"\n,'",
                ValueKind::Integer if full => "9223372036854775807",
                ValueKind::Integer => "-5",
                ValueKind::Real => "0.1",
                ValueKind::Boolean => "1",
                ValueKind::Timestamp => "'2026-11-22T12:00:00.123Z'",
            };
            let values: Vec<_> = columns.iter().map(value).collect();
            let sql =
                format!("INSERT INTO {} ({}) VALUES ({})", table.name, names.join(", "), values.join(", "));
            connection.execute_batch(&sql).unwrap();
        }
    }
}

fn writable(env: &ExportEnv) -> rusqlite::Connection {
    rusqlite::Connection::open(env.path("halosync.db")).unwrap()
}

#[test]
fn duckdb_finds_the_database_in_a_chain_and_in_a_snapshot() {
    let installed = Command::new("python3").args(["-c", "import duckdb"]).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: Parquet files in DuckDB (not installed)");
        return;
    }
    let env = ExportEnv::with_custom_fields("[export]\nformat = \"parquet\"", true);
    let rows: Vec<_> = (1..).zip(HOSTILE_TEXTS).map(|(id, words)| full_row(id, words)).collect();
    env.store_rows(&rows);
    fill_reference_tables(&env);
    env.run_ok(&["export", "delta"]);
    env.store_rows(&[full_row(1, "once"), full_row(2, "once"), full_row(40, "new")]);
    env.remove_tickets(&[3, 4]);
    env.run_ok(&["export", "delta"]);
    env.store_rows(&[full_row(2, "twice"), full_row(3, "back")]);
    env.run_ok(&["export", "delta"]);
    let taken = env.run_ok(&["export", "snapshot"]);
    let snapshot = PathBuf::from(taken["folder"].as_str().unwrap());
    let few = env.run_ok(&["export", "snapshot", "--columns", "NAME,FLAGGED"]);

    let delta: Vec<_> = delta_columns().into_iter().skip(4).take(101).collect();
    let chain = env.deltas("default").join("*.parquet");
    let names: Vec<_> = delta.iter().map(|it| format!("\"{}\"", it.name)).collect();
    let folded = format!(
        "SELECT {} FROM read_parquet('{}') QUALIFY row_number() OVER (PARTITION BY UID ORDER BY _seq DESC) = 1 AND _op <> 'd'",
        names.join(", "),
        chain.display()
    );
    let mut comparisons = vec![json!({ "table": "tickets", "columns": types(delta), "sql": folded })];
    let agents = env.deltas("default").join("reference/agents/*.parquet");
    let of_file = |table: &str, columns: Vec<Column>, path: &Path| json!({ "table": table, "columns": types(columns), "sql": format!("FROM read_parquet('{}')", path.display()) });
    let mut tables = 0;
    for table in SnapshotTable::all() {
        let path = snapshot.join(table.name()).with_extension("parquet");
        if path.exists() {
            comparisons.push(of_file(table.name(), table.columns(), &path));
            tables += 1;
        }
        if table.name() == "agents" {
            comparisons.push(of_file("agents", table.columns(), &agents));
        }
    }
    assert_eq!(tables, SnapshotTable::all().count(), "tables in the snapshot");
    let selected = |it: &Column| ["UID", "NAME", "FLAGGED"].contains(&it.name);
    let mut columns: Vec<_> = delta_columns().into_iter().filter(selected).collect();
    columns.sort_by_key(|it| ["UID", "NAME", "FLAGGED"].iter().position(|name| *name == it.name));
    comparisons.push(of_file(
        "tickets",
        columns,
        &Path::new(few["folder"].as_str().unwrap()).join("tickets.parquet"),
    ));

    let output = Command::new("python3")
        .args(["-c", COMPARE])
        .arg(env.path("halosync.db"))
        .arg(Json::from(comparisons).to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let compared = text(&output.stdout);
    for rows in ["tickets 16", "deleted_tickets 1", "custom_fields 16", "ticket_extra 16", "agents 2"] {
        assert!(compared.contains(rows), "{rows} is not in {compared}");
    }
    let report = env.run_ok(&["export", "verify", "export", "--from-start"]);
    assert_eq!(report["problems"], json!([]), "{report:#}");
    assert_eq!(report["chains"][0]["packages"], 3, "{report:#}");
}

#[test]
fn value_of_another_program_ends_the_export_and_leaves_no_file() {
    let env = ExportEnv::new("");
    env.store_rows(&[ticket_row(1, "a"), ticket_row(2, "secret")]);
    for (edit, named) in [
        (
            "UPDATE tickets SET DEADLINE_DATE = 'secret of 24 characters!' WHERE UID = 2",
            "DEADLINE_DATE of the row with UID 2",
        ),
        (
            "UPDATE tickets SET DEADLINE_DATE = NULL, FLAGGED = 2 WHERE UID = 2",
            "FLAGGED of the row with UID 2",
        ),
        (
            "UPDATE tickets SET FLAGGED = NULL, AGENT_ID = 'secret' WHERE UID = 2",
            "AGENT_ID of the row with UID 2",
        ),
        (
            "UPDATE tickets SET AGENT_ID = NULL, AGENT_ID = 0.5 WHERE UID = 2",
            "AGENT_ID of the row with UID 2",
        ),
    ] {
        let connection = writable(&env);
        connection.execute_batch(&format!("PRAGMA ignore_check_constraints = 1; {edit};")).unwrap();
        drop(connection);
        for command in ["delta", "snapshot"] {
            let (status, error) = env.run_err(&["export", command, "--format", "parquet"]);
            let error: Json = serde_json::from_str(&error).unwrap();
            assert_eq!((status, &error["code"]), (65, &json!("export_unfit_value")), "{edit}: {error}");
            assert!(error["cause"][0].as_str().unwrap().starts_with(named), "{edit}: {error}");
            assert!(!error.to_string().contains("secret"), "{edit}: {error}");
        }
    }
    let left = crate::export_env::read_files(&env.path("export"));
    assert!(left.keys().all(|path| path.extension().is_none_or(|it| it != "parquet")), "{left:?}");
    env.run_ok(&["export", "delta", "--format", "csv"]);
}

/// A package of two tickets, whose data a test replaces, with all hashes made right again.
struct Package {
    env: ExportEnv,
    data: PathBuf,
    manifest: PathBuf,
    bytes: Vec<u8>,
}

impl Package {
    fn new() -> Package {
        let env = ExportEnv::new("");
        env.store_rows(&[ticket_row(1, "a"), ticket_row(2, "b")]);
        env.run_ok(&["export", "delta", "--format", "parquet", "--columns", "NAME"]);
        let data = env.deltas("default").join("000000000000-000000000002.parquet");
        let manifest = env.deltas("default").join("_000000000000-000000000002.manifest");
        let bytes = fs::read(&data).unwrap();
        Package { env, data, manifest, bytes }
    }

    fn forge(&self, change: impl FnOnce(&mut Json)) {
        let mut manifest: Json = serde_json::from_slice(&fs::read(&self.manifest).unwrap()).unwrap();
        change(&mut manifest);
        let zeros = "0".repeat(64);
        manifest["manifest_sha256"] = zeros.as_str().into();
        let unsealed = serde_json::to_string_pretty(&manifest).unwrap();
        fs::write(&self.manifest, unsealed.replace(&zeros, &sha256(unsealed.as_bytes()))).unwrap();
    }

    fn forge_data(&self, bytes: &[u8]) -> Vec<VerifyFinding> {
        fs::write(&self.data, bytes).unwrap();
        self.forge(|manifest| {
            manifest["files"][0]["bytes"] = bytes.len().into();
            manifest["files"][0]["sha256"] = sha256(bytes).into();
        });
        self.verify()
    }

    fn verify(&self) -> Vec<VerifyFinding> {
        verify(&self.env.deltas("default"), &VerifyOptions::default()).unwrap().findings
    }

    /// A file with this footer.
    fn with_footer(footer: &[u8]) -> Vec<u8> {
        let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
        [b"PAR1", footer, &length, b"PAR1"].concat()
    }
}

fn only_message(found: &[VerifyFinding], context: &str) -> String {
    assert_eq!(found.len(), 1, "{context}: {found:?}");
    found[0].message.clone()
}

#[test]
fn changed_parquet_file_is_found_by_its_hash_and_its_rows() {
    let package = Package::new();
    assert_eq!(package.verify(), []);
    let mut bytes = package.bytes.clone();
    for offset in (0..bytes.len()).step_by(7) {
        bytes[offset] ^= 1;
        fs::write(&package.data, &bytes).unwrap();
        let message = only_message(&package.verify(), &format!("byte {offset}"));
        assert_eq!(message, "its hash differs from the one in the manifest", "byte {offset}");
        bytes[offset] ^= 1;
    }
    for length in (0..bytes.len()).step_by(7) {
        fs::write(&package.data, &bytes[..length]).unwrap();
        only_message(&package.verify(), &format!("{length} bytes"));
    }
    fs::write(&package.data, &bytes).unwrap();
    package.forge(|manifest| {
        manifest["files"][0]["rows"] = 3.into();
        manifest["counts"]["c"] = 3.into();
    });
    let message = only_message(&package.verify(), "a row more");
    assert_eq!(message, "its number of rows is 2, but the manifest says 3");
}

/// Whoever can write a file can also write its manifest.
#[test]
fn hostile_parquet_file_is_a_finding() {
    let package = Package::new();
    let good = &package.bytes;
    let tail = good.len() - 8;
    let length = u32::from_le_bytes(good[tail..tail + 4].try_into().unwrap());
    let with_length = |length: u32| [&good[..tail], &length.to_le_bytes(), b"PAR1"].concat();
    let rows = |total: u8, groups: &[u8]| {
        // FileMetaData: field 3 is a number, field 4 a list of structs, whose field 3 is a number.
        let groups: Vec<u8> = groups.iter().flat_map(|rows| [0x36, rows << 1, 0]).collect();
        [&[0x36, total << 1, 0x19, 0x1C | u8::try_from(groups.len() / 3).unwrap() << 4], &groups[..], &[0]]
            .concat()
    };
    assert_eq!(package.forge_data(good), []);
    let two_groups = [&[0x36, 4, 0x19, 0x2C][..], &[0x36, 2, 0, 0x36, 2, 0, 0]].concat();
    assert_eq!(package.forge_data(&Package::with_footer(&two_groups)), [], "two row groups");
    let endless_list = [0x19, 0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F];
    let of_booleans = [0x19, 0xF1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0, 0];
    let long_text = [0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", Vec::new(), "it is not a Parquet file"),
        ("the magic alone", b"PAR1PAR1".to_vec(), "it is not a Parquet file"),
        ("another beginning", [b"PAR2", &good[4..]].concat(), "it is not a Parquet file"),
        ("an encrypted footer", [&good[..tail + 4], b"PARE"].concat(), "it is not a Parquet file"),
        ("cut", good[..good.len() - 1].to_vec(), "it is not a Parquet file"),
        ("a footer beyond the file", with_length(u32::MAX), "its footer does not fit into it"),
        (
            "a footer over the magic",
            with_length(u32::try_from(tail - 3).unwrap()),
            "its footer does not fit into it",
        ),
        ("a longer footer", with_length(length + 1), "footer"),
        ("a shorter footer", with_length(length - 1), "its footer is damaged"),
        ("no footer", with_length(0), "its footer is damaged"),
        ("zeros", Package::with_footer(&[0; 100]), "its footer is damaged"),
        ("ones", Package::with_footer(&[0xFF; 100]), "its footer is damaged"),
        ("no rows", Package::with_footer(&[0x19 + 0x30, 0x0C, 0]), "its footer is damaged"),
        (
            "negative rows",
            Package::with_footer(
                &rows(2, &[2])[..].iter().map(|it| if *it == 4 { 3 } else { *it }).collect::<Vec<_>>(),
            ),
            "its footer is damaged",
        ),
        (
            "rows twice",
            Package::with_footer(&[&[0x36, 4, 0x06, 6, 4][..], &rows(2, &[2])[2..]].concat()),
            "its footer is damaged",
        ),
        (
            "another sum",
            Package::with_footer(&[0x36, 4, 0x19, 0x1C, 0x36, 2, 0, 0]),
            "its footer says 2 rows, but its row groups have 1",
        ),
        (
            "bytes behind the footer",
            Package::with_footer(&[&rows(2, &[2])[..], &[0]].concat()),
            "something follows its footer",
        ),
        ("structs in structs", Package::with_footer(&vec![0x1C; 1 << 20]), "its footer is damaged"),
        (
            "lists in lists",
            Package::with_footer(&[&[0x19][..], &vec![0x19; 1 << 20]].concat()),
            "its footer is damaged",
        ),
        ("maps in maps", Package::with_footer(&[0x1B, 1, 0xBB].repeat(1 << 18)), "its footer is damaged"),
        ("an endless list", Package::with_footer(&endless_list), "its footer is damaged"),
        ("an endless list of booleans", Package::with_footer(&of_booleans), "its footer is damaged"),
        ("an endless text", Package::with_footer(&long_text), "its footer is damaged"),
    ];
    for (name, bytes, message) in cases {
        let found = only_message(&package.forge_data(&bytes), name);
        assert!(found.contains(message), "{name}: {found}");
    }
    // Whatever a footer says, it is read or is a finding.
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..3_000 {
        let mut bytes = good.clone();
        for _ in 0..rng.usize(1..4) {
            let footer = tail - usize::try_from(length).unwrap();
            bytes[rng.usize(footer..tail)] = rng.u8(..);
        }
        assert!(package.forge_data(&bytes).len() <= 1);
    }
}

#[test]
fn footer_of_unusual_size_is_not_read() {
    let package = Package::new();
    let size: u64 = 70 << 20;
    let file = File::create(&package.data).unwrap();
    file.set_len(size).unwrap();
    let footer = (65_u32 << 20).to_le_bytes();
    std::os::unix::fs::FileExt::write_all_at(&file, b"PAR1", 0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[&footer[..], b"PAR1"].concat(), size - 8).unwrap();
    let hash = sha256(&fs::read(&package.data).unwrap());
    package.forge(|manifest| {
        manifest["files"][0]["bytes"] = size.into();
        manifest["files"][0]["sha256"] = hash.into();
    });
    assert_eq!(only_message(&package.verify(), "65 MiB"), "its footer has more than 64 MiB");
}

#[test]
fn no_package_is_named_as_compressed_parquet() {
    let package = Package::new();
    let name = "000000000000-000000000002.parquet.gz";
    fs::rename(&package.data, package.data.with_file_name(name)).unwrap();
    package.forge(|manifest| {
        manifest["files"][0]["name"] = name.into();
        manifest["files"][0]["compression"] = "gzip".into();
    });
    let messages: Vec<_> = package.verify().into_iter().map(|it| it.message).collect();
    let expected = format!("it lists {name:?}: it is not the name of its data");
    assert!(messages.contains(&expected), "{messages:?}");
}
