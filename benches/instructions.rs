//! Counts the instructions of the work that is done for every ticket, and compares them with the baseline.
//!
//!     cargo bench --profile dev --bench instructions              # ends 1 where a count grew by more than 5 %
//!     cargo bench --profile dev --bench instructions -- --accept  # writes the baseline
//!
//! Counts do not depend on the load of the machine, as times do. valgrind counts a process that does the work once, and one
//! that does it twice; the difference is the work, without the preparation. The profile is that of the tests, so that
//! everything is built already. Other compilers make other instructions: then nothing is compared, and
//! the baseline must be written again.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod fixed_input;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use fixed_input::{open, pages, parsed, timestamp};
use halosync::app::{self, WorkCounter};
use halosync::config::{ConsumerName, Format, FormatOptions};
use halosync::store::{ObservedTicket, TxEnd};
use halosync::ticket::parse::ParsedPage;

const TICKETS: u32 = 500;
const REPEATS_MAX: u32 = 2;
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");
/// A count may be greater by this share.
const TOLERANCE: f64 = 0.05;

/// Does the work so many times.
type Work = fn(repeats: u32, folder: &Path);

const WORKS: [(&str, Work); 6] = [
    ("parse", parse),
    ("hash", hash),
    ("upsert", upsert),
    ("full scan", full_scan),
    ("export csv", |repeats, folder| export(Format::Csv, repeats, folder)),
    ("export parquet", |repeats, folder| export(Format::Parquet, repeats, folder)),
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    if let [command, name, repeats] = &arguments[..]
        && command == "--do"
    {
        let folder = tempfile::tempdir().unwrap();
        let (_, work) = WORKS.iter().find(|(known, _)| known == name).unwrap();
        work(repeats.parse().unwrap(), folder.path());
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("SKIPPED: valgrind is not installed");
        return ExitCode::SUCCESS;
    }
    let compilers = compilers();
    let accepts = arguments.iter().any(|it| it == "--accept");
    let baseline = fs::read_to_string(BASELINE).unwrap_or_default();
    let (baseline_compilers, baseline) = baseline.split_once('\n').unwrap_or_default();
    if !accepts && baseline_compilers != compilers {
        println!("SKIPPED: the baseline is of {baseline_compilers}, these are {compilers}");
        return ExitCode::SUCCESS;
    }
    let counts =
        WORKS.map(|(name, _)| (name, (count(name, REPEATS_MAX) - count(name, 1)) / u64::from(TICKETS)));
    let has_grown = compare(baseline, &counts);
    if accepts {
        let lines = counts.iter().map(|(name, count)| format!("{name}: {count}\n"));
        fs::write(BASELINE, format!("{compilers}\n{}", lines.collect::<String>())).unwrap();
    } else if has_grown {
        println!(
            "\nIf the work is worth it, accept it: cargo bench --profile dev --bench instructions -- --accept"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The versions of the compilers, which belong to the baseline: of Rust, and of C, in which SQLite is written.
fn compilers() -> String {
    ["rustc", "cc"]
        .map(|compiler| {
            let output = Command::new(compiler).arg("--version").output().unwrap();
            String::from_utf8(output.stdout).unwrap().lines().next().unwrap_or_default().to_owned()
        })
        .join(", ")
}

/// Counts the instructions of a process that does the work so many times.
fn count(name: &str, repeats: u32) -> u64 {
    let valgrind =
        ["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", "--read-inline-info=no"];
    let mut command = Command::new("valgrind");
    command.args(valgrind).arg(std::env::current_exe().unwrap()).args(["--do", name, &repeats.to_string()]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {text}");
    let line = text.lines().find(|line| line.contains("I   refs:") || line.contains("I refs:")).unwrap();
    line.rsplit(' ').next().unwrap().replace(',', "").parse().unwrap()
}

/// Prints the counts of a ticket beside the baseline; returns whether one grew.
fn compare(baseline: &str, counts: &[(&str, u64)]) -> bool {
    let mut has_grown = false;
    println!("{:<16} {:>12} {:>12}", "instructions", "a ticket", "baseline");
    for (name, count) in counts {
        let lines = &mut baseline.lines();
        let known = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse::<u64>().ok());
        let Some(known) = known else {
            println!("{name:<16} {count:>12} {:>12}", "none");
            continue;
        };
        #[expect(clippy::cast_precision_loss)]
        let change = *count as f64 / known as f64 - 1.0;
        let grown = TOLERANCE < change;
        has_grown |= grown;
        let mark = if grown { "  GREW" } else { "" };
        println!("{name:<16} {count:>12} {known:>12} {:+6.1} %{mark}", change * 100.0);
    }
    has_grown
}

fn parse(repeats: u32, _: &Path) {
    let pages: Vec<_> = pages(TICKETS).collect();
    for _ in 0..repeats {
        for page in &pages {
            assert!(!ParsedPage::parse(page).unwrap().tickets.is_empty());
        }
    }
}

fn tickets(count: u32) -> Vec<ObservedTicket> {
    pages(count).flat_map(|page| parsed(&page)).collect()
}

/// As many as the repeats need.
fn hashed() -> Vec<ObservedTicket> {
    let mut tickets = tickets(REPEATS_MAX * TICKETS);
    for ticket in &mut tickets {
        ticket.hash = ticket.ticket.hash();
    }
    tickets
}

fn hash(repeats: u32, _: &Path) {
    let tickets = tickets(TICKETS);
    for _ in 0..repeats {
        let hashes: u64 = tickets.iter().map(|it| it.ticket.hash()).fold(0, u64::wrapping_add);
        assert_ne!(hashes, 0);
    }
}

/// Stores tickets that are new, so many times as many.
fn upsert(repeats: u32, folder: &Path) {
    let tickets = hashed();
    let mut store = open(&folder.join("halosync.db"));
    for batch in tickets.chunks(TICKETS as usize).take(repeats as usize) {
        let outcome = store.write(TxEnd::Commit, |tx| tx.upsert(batch, 1, timestamp())).unwrap();
        assert_eq!(outcome.changes.created, u64::from(TICKETS));
    }
    store.close().unwrap();
}

/// Receives the tickets again, unchanged.
fn full_scan(repeats: u32, folder: &Path) {
    upsert(1, folder);
    let mut tickets = hashed();
    tickets.truncate(TICKETS as usize);
    let mut store = open(&folder.join("halosync.db"));
    for request_no in (2..).take(repeats as usize) {
        for ticket in &mut tickets {
            ticket.request_no = request_no;
        }
        let outcome = store.write(TxEnd::Commit, |tx| tx.upsert(&tickets, 1, timestamp())).unwrap();
        assert_eq!(outcome.unchanged, u64::from(TICKETS));
    }
    store.close().unwrap();
}

/// Writes the first package of so many consumers.
fn export(format: Format, repeats: u32, folder: &Path) {
    upsert(1, folder);
    let settings = folder.join("agent.toml");
    let server =
        "[halo]\nserver_url = \"https://halo.example\"\nclient_id = \"x\"\nclient_secret_file = \"x\"\n";
    fs::write(&settings, server).unwrap();
    let loaded = app::load(Some(&settings)).unwrap();
    for turn in 0..repeats {
        let consumer = ConsumerName::parse(&format!("consumer-{turn}")).unwrap();
        let written = app::export_delta(
            &loaded,
            &consumer,
            FormatOptions::exact(format),
            None,
            &WorkCounter::default(),
        )
        .unwrap();
        assert_eq!(written.packages.len(), 1);
    }
}
