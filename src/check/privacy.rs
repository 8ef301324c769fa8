//! What `[privacy]` holds back, and whether the database has nothing of it.

use std::path::PathBuf;

use super::CheckOutcome;
use crate::app::{self, AppError, count};
use crate::config::Config;
use crate::privacy::{PrivacyDifference, PrivacyRules};
use crate::store::{Store, StoreError, Traces};

/// Reads the key, and compares the rules of the settings with those that the database was written with.
pub(super) fn check(config: &Config) -> CheckOutcome {
    let rules = match app::privacy_rules(config) {
        Ok(rules) => rules,
        Err(error) => return CheckOutcome::Fail(error),
    };
    let recorded = Store::open_read_only(&config.store.path, config.store.busy_timeout).and_then(|store| {
        store.read(|tx| {
            let difference = PrivacyDifference::between(&tx.privacy_rules()?, &rules);
            Ok((difference, tx.privacy_traces()?, app::exports_before_rules(tx, config)?))
        })
    });
    match recorded {
        Ok((difference, traces, earlier)) => assess(&rules, &difference, traces, &earlier),
        Err(StoreError::Missing(_)) => assess(&rules, &PrivacyDifference::default(), Traces::Removed, &[]),
        // A database that cannot be read is reported with its own step.
        Err(error) => CheckOutcome::Fail(AppError::Store(error)),
    }
}

fn assess(
    rules: &PrivacyRules,
    difference: &PrivacyDifference,
    traces: Traces,
    earlier: &[PathBuf],
) -> CheckOutcome {
    let mut problems: Vec<(String, &str)> = Vec::new();
    let new: Vec<_> = difference.new.columns().map(|(column, _)| column.to_string()).collect();
    let outdated: Vec<_> = difference.outdated.iter().map(ToString::to_string).collect();
    if !new.is_empty() {
        problems.push((
            format!("the database does not have the rules of the settings yet: {}", new.join(", ")),
            "run `halosync sync`, or restart the service: both carry out the rules; exports wait for that",
        ));
    }
    if !outdated.is_empty() {
        problems.push((
            format!("the settings have other rules, or another key, than the database: {}", outdated.join(", ")),
            "if that is meant, run `halosync sync`: it reads everything anew and stores what is no longer held back",
        ));
    }
    if traces != Traces::Removed {
        problems.push((
            "values that are held back may be left in the files of the database".into(),
            "close what reads the database for long, and make room for a copy of it on the disk; a later run removes them",
        ));
    }
    if rules.has_short_key() {
        problems.push((
            "the key of the hashes has fewer than 16 bytes and can be found by trying".into(),
            "write a longer one: head -c 32 /dev/urandom | base64; everything is read anew with it",
        ));
    }
    if !earlier.is_empty() {
        let paths: Vec<_> = earlier.iter().map(|path| path.display().to_string()).collect();
        problems.push((
            format!(
                "{} older than the rules may hold the values: {}",
                count(paths.len() as u64, "export"),
                paths.join(", ")
            ),
            "delete them here and where they were loaded",
        ));
    }
    if !problems.is_empty() {
        let (messages, helps): (Vec<_>, Vec<_>) = problems.into_iter().unzip();
        return CheckOutcome::warning(messages.join("; "), helps.join("; "));
    }
    let columns: Vec<_> =
        rules.columns().map(|(column, rule)| format!("{column} ({})", rule.as_str())).collect();
    CheckOutcome::Ok(match columns.as_slice() {
        [] => "nothing is held back".into(),
        columns => format!("held back: {}", columns.join(", ")),
    })
}
