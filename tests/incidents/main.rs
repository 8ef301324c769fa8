//! The incidents of `docs/incidents.md`, replayed in virtual time against the simulated server.
//!
//! Every incident has a number, which the test that covers it names. This table has the incidents that are covered
//! elsewhere or cannot happen:
//!
//! | number | covered by, or why it cannot happen |
//! |---|---|
//! | INC-11 | `src/watermark/scan_schedule.rs::consecutive_scans_leave_no_instant_uncovered` |
//! | INC-16, INC-77 | also: `tests/store.rs::volatile_attributes_alone_are_no_change` |
//! | INC-50, INC-51 | also: `src/ticket/timestamp.rs::timestamp_has_one_text_form` |
//! | INC-54 | `src/ticket/timestamp.rs::timestamp_text_round_trips_and_sorts_by_time`: there is one granularity |
//! | INC-55 | cannot happen: there is one watermark and no list of windows that could fail to merge |
//! | INC-62, INC-64 | also: `tests/crash_recovery.rs::sync_after_sigkill_at_any_moment_converges` |
//! | INC-68 | also: `tests/store.rs::repeated_and_reordered_pages_give_the_same_tickets_and_no_change_records` |
//! | INC-70 | `tests/bad_input.rs::bad_input_reports_the_errors_of_the_golden_file`, "a second instance" |
//! | INC-71 | the same test, "a file that is not a database" and the damaged files after it |

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod boundaries;
mod budgets;
mod clocks;
mod counterexamples;
mod deletions;
mod drift;
mod fields;
mod paging;
mod poison;
mod reference;
mod scope;
mod state;
mod truth;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// The incident numbers in a text, as `INC-07` or as in the test name `inc_06_08_and_17_interrupted`.
fn numbers(text: &str) -> BTreeSet<String> {
    let mut numbers = BTreeSet::new();
    let is_number = |word: &str| word.starts_with(|first: char| first.is_ascii_digit());
    for after in text.split("INC-").skip(1) {
        numbers.insert(after.chars().take_while(char::is_ascii_alphanumeric).collect());
    }
    for after in text.split("inc_").skip(1) {
        let words = after.split(|letter: char| letter != '_' && !letter.is_ascii_alphanumeric()).next();
        let words = words.unwrap_or_default().split('_').take_while(|word| is_number(word) || *word == "and");
        numbers.extend(words.filter(|word| is_number(word)).map(ToOwned::to_owned));
    }
    numbers
}

#[test]
fn every_incident_is_named() {
    let folder = fs::read_dir(Path::new(HERE).join("tests/incidents")).unwrap();
    let mut named = BTreeSet::new();
    for file in folder {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        // In this file only the table counts.
        let counts = |line: &&str| !path.ends_with("main.rs") || line.starts_with("//! | INC-");
        named.extend(text.lines().filter(counts).flat_map(numbers));
    }
    let numbers = (1..=87).map(|number| format!("{number:02}"));
    let all: BTreeSet<_> = numbers.chain(["20b".to_owned(), "20c".to_owned()]).collect();
    let forgotten: Vec<_> = all.difference(&named).collect();
    let unknown: Vec<_> = named.difference(&all).collect();
    assert!(forgotten.is_empty() && unknown.is_empty(), "forgotten: {forgotten:?}, unknown: {unknown:?}");
}

#[test]
fn tests_named_in_the_table_exist() {
    let table = fs::read_to_string(Path::new(HERE).join("tests/incidents/main.rs")).unwrap();
    let cells = table.lines().filter(|line| line.starts_with("//! | INC-")).flat_map(|line| line.split('`'));
    let tests: Vec<_> = cells.filter_map(|cell| cell.split_once(".rs::")).collect();
    assert!(!tests.is_empty(), "the table names no test");
    for (file, test) in tests {
        let code = fs::read_to_string(Path::new(HERE).join(format!("{file}.rs"))).unwrap();
        assert!(code.contains(&format!("fn {test}(")), "{file}.rs has no test {test}");
    }
}
