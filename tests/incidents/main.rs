//! Accidents that other sync tools had, and what whole passes of this one make of them: in virtual time, against the
//! simulated server without a socket.
//!
//! Every accident has a number. A test names it where it is shown that it does not happen here; what is shown elsewhere,
//! or cannot happen, stands in this table:
//!
//! | number | shown by, or why it cannot happen |
//! |---|---|
//! | INC-11 | `src/watermark.rs::consecutive_scans_leave_no_instant_uncovered` |
//! | INC-16, INC-77 | besides: `tests/store.rs::a_difference_in_volatile_attributes_alone_is_no_change` |
//! | INC-50, INC-51 | besides: `src/ticket/timestamp.rs::timestamp_has_one_text_form` |
//! | INC-54 | `src/ticket/timestamp.rs::timestamp_text_round_trips_and_sorts_by_time`: there is one granularity |
//! | INC-55 | cannot happen: there is one mark and no list of windows that could fail to merge |
//! | INC-62, INC-64 | besides: `tests/kills.rs::whenever_it_is_killed_the_copy_is_sound_and_converges` |
//! | INC-68 | besides: `tests/store.rs::pages_in_any_order_and_any_number_give_the_same_tickets_and_a_repetition_records_nothing` |
//! | INC-70 | `tests/bad_input.rs::every_bad_input_is_told_as_the_golden_file_says`, "a second instance" |
//! | INC-71 | the same test, "a file that is not a database" and the damaged ones behind it |

#![allow(clippy::unwrap_used)]

#[path = "../support"]
mod support {
    #[allow(dead_code, reason = "each test uses a part")]
    pub(crate) mod mapping;
    #[allow(dead_code, reason = "each test uses a part")]
    pub(crate) mod simulated;
}

mod boundaries;
mod budgets;
mod clocks;
mod counterexamples;
mod deletions;
mod desk;
mod fields;
mod paging;
mod poison;
mod scope;
mod state;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// The numbers that a text names: `INC-07`, and as the names of tests spell them: `inc_06_08_and_17_a_walk`.
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
fn every_accident_is_named() {
    let folder = fs::read_dir(Path::new(HERE).join("tests/incidents")).unwrap();
    let mut named = BTreeSet::new();
    for file in folder {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        // Of this file the table alone counts.
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
fn the_tests_of_the_table_are_there() {
    let table = fs::read_to_string(Path::new(HERE).join("tests/incidents/main.rs")).unwrap();
    let cells = table.lines().filter(|line| line.starts_with("//! | INC-")).flat_map(|line| line.split('`'));
    let tests: Vec<_> = cells.filter_map(|cell| cell.split_once(".rs::")).collect();
    assert!(!tests.is_empty(), "the table names no test");
    for (file, test) in tests {
        let code = fs::read_to_string(Path::new(HERE).join(format!("{file}.rs"))).unwrap();
        assert!(code.contains(&format!("fn {test}(")), "{file}.rs has no test {test}");
    }
}
