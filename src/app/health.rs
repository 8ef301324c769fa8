//! The one definition of health, for `status`, the metrics and `/readyz`.
//!
//! A pure function of the facts in the database, the settings and the time.

use std::fmt;
use std::time::Duration;

use chrono::TimeDelta;
use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use crate::store::{Health, RunKind, RunStatus};
use crate::ticket::Timestamp;
use crate::watermark::WatermarkState;

/// After that many intervals without a complete run the data is stale.
const STALE_AFTER_INTERVALS: u32 = 3;

/// Whether an administrator has to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthLevel {
    /// There is nothing to do.
    Ok,
    /// There is at least one reason to look.
    Attention,
}

/// A reason why health needs attention.
#[derive(Clone, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum HealthReason {
    /// The last integrity check found damage.
    DatabaseDamaged,
    /// No full scan of the present scope was complete yet.
    InitialLoadIncomplete,
    /// The last complete run ended too long ago.
    Stale {
        /// When it ended, if a record of it is kept.
        last_complete_at: Option<Timestamp>,
    },
    /// The last run that ended was not complete.
    LastRunNotComplete {
        /// Whether it failed; otherwise it is incomplete.
        failed: bool,
        /// Why; this also names a delete guard that holds.
        error: Option<String>,
    },
    /// The server sent values or rows that could not be stored as received.
    RejectedValues(u64),
    /// The server refuses to show the custom fields of so many tickets.
    UnreadableCustomFields(u64),
}

impl HealthReason {
    /// The identifier of the reason in JSON.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.into()
    }

    /// Whether the data must not be relied on.
    #[must_use]
    pub const fn prevents_readiness(&self) -> bool {
        use HealthReason::{DatabaseDamaged, InitialLoadIncomplete, Stale};
        matches!(self, DatabaseDamaged | InitialLoadIncomplete | Stale { .. })
    }
}

impl fmt::Display for HealthReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HealthReason::DatabaseDamaged => out.write_str("the database is damaged"),
            HealthReason::InitialLoadIncomplete => out.write_str("the initial load has not completed"),
            HealthReason::Stale { last_complete_at: Some(at) } => {
                write!(out, "the last complete run ended at {at}")
            }
            HealthReason::Stale { last_complete_at: None } => out.write_str("no complete run is on record"),
            HealthReason::LastRunNotComplete { failed, error } => {
                out.write_str(if *failed { "the last run failed" } else { "the last run was incomplete" })?;
                error.as_ref().map_or(Ok(()), |error| write!(out, ": {error}"))
            }
            HealthReason::RejectedValues(count) => {
                let plural = if *count == 1 { "" } else { "s" };
                write!(out, "{count} value{plural} could not be stored as received (see the table `rejects`)")
            }
            HealthReason::UnreadableCustomFields(count) => {
                let plural = if *count == 1 { "" } else { "s" };
                write!(out, "the server refuses the custom fields of {count} ticket{plural}")
            }
        }
    }
}

impl Serialize for HealthReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("HealthReason", 2)?;
        document.serialize_field("reason", self.as_str())?;
        document.serialize_field("message", &self.to_string())?;
        document.end()
    }
}

/// What [`assess`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// Every reason, the most serious first.
    pub reasons: Vec<HealthReason>,
}

impl Assessment {
    /// Whether there is any reason to look.
    #[must_use]
    pub fn level(&self) -> HealthLevel {
        if self.reasons.is_empty() { HealthLevel::Ok } else { HealthLevel::Attention }
    }

    /// Why the data must not be relied on, if so.
    #[must_use]
    pub fn why_not_ready(&self) -> Option<&HealthReason> {
        self.reasons.iter().find(|reason| reason.prevents_readiness())
    }
}

/// Assesses the facts of an installation that syncs every `interval`. `database_ok` is the result of the last integrity
/// check, if there was one.
#[must_use]
pub fn assess(facts: &Health, interval: Duration, now: Timestamp, database_ok: Option<bool>) -> Assessment {
    let mut reasons = Vec::new();
    if database_ok == Some(false) {
        reasons.push(HealthReason::DatabaseDamaged);
    }
    let state = facts.watermark.as_ref().map(|watermark| watermark.state);
    if state != Some(WatermarkState::Incremental) {
        reasons.push(HealthReason::InitialLoadIncomplete);
    } else if is_stale(facts.last_complete_at, interval, now) {
        reasons.push(HealthReason::Stale { last_complete_at: facts.last_complete_at });
    }
    // A run without an outcome is still running or was killed.
    let last_run = facts.runs.iter().find(|run| run.kind == RunKind::Sync && run.outcome.is_some());
    if let Some(run) = last_run.filter(|run| run.outcome != Some(RunStatus::Complete)) {
        let failed = run.outcome == Some(RunStatus::Failed);
        reasons.push(HealthReason::LastRunNotComplete { failed, error: run.error.clone() });
    }
    if facts.rejects != 0 {
        reasons.push(HealthReason::RejectedValues(facts.rejects));
    }
    if facts.unreadable != 0 {
        reasons.push(HealthReason::UnreadableCustomFields(facts.unreadable));
    }
    Assessment { reasons }
}

fn is_stale(last_complete_at: Option<Timestamp>, interval: Duration, now: Timestamp) -> bool {
    last_complete_at.is_none_or(|at| {
        let age = now.instant() - at.instant();
        TimeDelta::from_std(interval.saturating_mul(STALE_AFTER_INTERVALS)).is_ok_and(|max_age| max_age < age)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::{MAPPING_VERSION, Scope};
    use crate::store::LastRun;
    use crate::ticket::ChangeCounts;
    use crate::watermark::Watermark;

    use RunKind::{DryRun, Sync};
    use RunStatus::{Complete, Failed, Incomplete};

    const NOW: &str = "2026-11-22T12:00:00.000Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn run((kind, outcome): (RunKind, Option<RunStatus>)) -> LastRun {
        LastRun {
            run_id: 1,
            kind,
            outcome,
            error: outcome.filter(|it| *it != Complete).map(|_| "why".to_owned()),
            started_at: NOW.into(),
            ended_at: None,
            requests: 1,
            changes: ChangeCounts::default(),
        }
    }

    /// A server that was read completely a minute ago.
    fn healthy() -> Health {
        let scope = Scope {
            server: "https://halo.example".into(),
            tenant: String::new(),
            ticket_types: vec![],
            custom_fields: false,
            mapping: MAPPING_VERSION,
        };
        Health {
            watermark: Some(Watermark { state: WatermarkState::Incremental, ..Watermark::new(scope) }),
            tickets: 250,
            last_seq: 250,
            pending_tickets: 0,
            pending_fetches: 0,
            unreadable: 0,
            unlisted_tickets: 0,
            rejects: 0,
            last_complete_at: Some(at("2026-11-22T11:59:00.000Z")),
            last_full_scan: None,
            last_scan: None,
            interrupted_scan: None,
            runs: vec![run((Sync, Some(Complete)))],
            probes: vec![],
        }
    }

    #[test]
    fn health_is_ok_or_names_every_reason() {
        let initial = || healthy().watermark.map(|mark| Watermark { state: WatermarkState::Initial, ..mark });
        let runs = |runs: &[_]| Health { runs: runs.iter().copied().map(run).collect(), ..healthy() };
        let ended_at = |at| Health { last_complete_at: at, ..healthy() };
        let (edge, old) = (Some(at("2026-11-22T11:45:00.000Z")), Some(at("2026-11-22T11:44:59.999Z")));
        let failed = (Sync, Some(Failed));
        let complete = (Sync, Some(Complete));
        let rejects = Health { rejects: 1, ..healthy() };
        let unreadable = Health { unreadable: 2, ..healthy() };
        let pending = Health { pending_fetches: 9, unlisted_tickets: 9, ..healthy() };
        let old_and_failed = Health { rejects: 3, unreadable: 1, last_complete_at: old, ..runs(&[failed]) };
        let all = "database_damaged stale last_run_not_complete rejected_values unreadable_custom_fields";
        for (name, facts, database_ok, reasons, ready) in [
            ("healthy", healthy(), Some(true), "", true),
            ("never checked", healthy(), None, "", true),
            ("damaged", healthy(), Some(false), "database_damaged", false),
            ("no watermark", Health { watermark: None, ..healthy() }, None, "initial_load_incomplete", false),
            ("initial", Health { watermark: initial(), ..healthy() }, None, "initial_load_incomplete", false),
            (
                "initial, and old",
                Health { watermark: initial(), ..ended_at(old) },
                None,
                "initial_load_incomplete",
                false,
            ),
            ("three intervals old", ended_at(edge), None, "", true),
            ("older", ended_at(old), None, "stale", false),
            ("no complete run on record", ended_at(None), None, "stale", false),
            ("failed", runs(&[failed]), None, "last_run_not_complete", true),
            ("incomplete", runs(&[(Sync, Some(Incomplete))]), None, "last_run_not_complete", true),
            (
                "running after a failure",
                runs(&[(Sync, None), failed, complete]),
                None,
                "last_run_not_complete",
                true,
            ),
            ("running after a complete run", runs(&[(Sync, None), complete, failed]), None, "", true),
            ("a dry run is no evidence", runs(&[(DryRun, Some(Failed)), complete]), None, "", true),
            ("no runs", runs(&[]), None, "", true),
            ("rejects", rejects, None, "rejected_values", true),
            ("unreadable", unreadable, None, "unreadable_custom_fields", true),
            ("pending and unlisted", pending, None, "", true),
            ("everything", old_and_failed, Some(false), all, false),
        ] {
            let found = assess(&facts, Duration::from_mins(5), at(NOW), database_ok);
            let names: Vec<_> = found.reasons.iter().map(HealthReason::as_str).collect();
            assert_eq!(names.join(" "), reasons, "{name}");
            assert_eq!(found.level() == HealthLevel::Ok, reasons.is_empty(), "{name}");
            assert_eq!(found.why_not_ready().is_none(), ready, "{name}");
        }
    }

    #[test]
    fn reasons_are_sentences_with_numbers_and_causes() {
        let failed = HealthReason::LastRunNotComplete { failed: true, error: Some("why".into()) };
        for (reason, message) in [
            (failed, "the last run failed: why"),
            (
                HealthReason::RejectedValues(1),
                "1 value could not be stored as received (see the table `rejects`)",
            ),
            (HealthReason::UnreadableCustomFields(2), "the server refuses the custom fields of 2 tickets"),
            (HealthReason::Stale { last_complete_at: None }, "no complete run is on record"),
        ] {
            assert_eq!(
                serde_json::to_value(&reason).unwrap(),
                serde_json::json!({ "reason": reason.as_str(), "message": message })
            );
        }
    }
}
