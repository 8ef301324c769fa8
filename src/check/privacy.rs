//! What `[privacy]` holds back, and whether the database has nothing of it.

use super::CheckOutcome;
use crate::app::{self, AppError};
use crate::config::Config;
use crate::privacy::{PrivacyDifference, PrivacyRules};
use crate::store::{Store, StoreError};

/// Reads the key, and compares the rules of the settings with those that the database was written with.
pub(super) fn check(config: &Config) -> CheckOutcome {
    let rules = match app::privacy_rules(config) {
        Ok(rules) => rules,
        Err(error) => return CheckOutcome::Fail(error),
    };
    let recorded = Store::open_read_only(&config.store.path, config.store.busy_timeout)
        .and_then(|store| store.read(|tx| Ok((tx.privacy_rules()?, tx.has_privacy_traces()?))));
    match recorded {
        Ok((recorded, has_traces)) => {
            assess(&rules, &PrivacyDifference::between(&recorded, &rules), has_traces)
        }
        Err(StoreError::Missing(_)) => assess(&rules, &PrivacyDifference::default(), false),
        // A database that cannot be read is reported with its own step.
        Err(error) => CheckOutcome::Fail(AppError::Store(error)),
    }
}

fn assess(rules: &PrivacyRules, difference: &PrivacyDifference, has_traces: bool) -> CheckOutcome {
    let (new, outdated) = (&difference.new, &difference.outdated);
    let pending: Vec<_> = new
        .columns()
        .map(|(column, _)| column.to_string())
        .chain(outdated.iter().map(ToString::to_string))
        .collect();
    if !pending.is_empty() {
        return CheckOutcome::warning(
            format!("the database does not have the rules of the settings yet: {}", pending.join(", ")),
            "run `halosync sync`, or restart the service: both carry out the rules; exports wait for that",
        );
    }
    if has_traces {
        return CheckOutcome::warning(
            "values that are held back may be left in the -wal file of the database",
            "close what reads the database for long; the next run removes them",
        );
    }
    let columns: Vec<_> =
        rules.columns().map(|(column, rule)| format!("{column} ({})", rule.as_str())).collect();
    CheckOutcome::Ok(match columns.as_slice() {
        [] => "nothing is held back".into(),
        columns => format!("held back: {}", columns.join(", ")),
    })
}
