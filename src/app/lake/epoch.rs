//! When an epoch ends and another one begins with everything; pure.

use std::time::Duration;

use chrono::TimeDelta;

use crate::store::LakeEpoch;
use crate::ticket::Timestamp;

/// Why an epoch begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EpochReason {
    /// There was none.
    First,
    /// The settings name another lake, or another name in it.
    OtherLake,
    /// The sequence of change records is another one: an older copy of the database was restored, or other privacy rules
    /// hold.
    NewLineage,
    /// What was recorded when it became necessary: a ticket was erased, packages were forgotten or damaged.
    Recorded(String),
    /// The packages that wait are older than packages are kept.
    Backlog,
    /// The last one is older than the settings say.
    Rebase,
}

impl EpochReason {
    pub(super) fn as_str(&self) -> &str {
        match self {
            EpochReason::First => "first",
            EpochReason::OtherLake => "other_lake",
            EpochReason::NewLineage => "new_lineage",
            EpochReason::Recorded(reason) => reason,
            EpochReason::Backlog => "backlog",
            EpochReason::Rebase => "rebase",
        }
    }
}

/// What decides whether an epoch is over.
#[derive(Clone, Debug)]
pub(super) struct EpochFacts<'a> {
    pub(super) url: &'a str,
    pub(super) server: &'a str,
    pub(super) lineage: &'a str,
    /// When the oldest package that waits was made.
    pub(super) oldest_waiting: Option<Timestamp>,
    /// Whether anything follows the package that the epoch began with.
    pub(super) has_grown: bool,
    /// How long packages are kept.
    pub(super) keep: Duration,
    /// After how long a new epoch begins.
    pub(super) rebase: Option<Duration>,
    pub(super) now: Timestamp,
}

/// Whether another epoch is due.
pub(super) fn epoch_due(current: Option<&LakeEpoch>, facts: &EpochFacts<'_>) -> Option<EpochReason> {
    // A clock that was set back a little begins nothing; one that was wrong by more than the span begins one epoch.
    let is_older = |at: Timestamp, span: Duration| {
        TimeDelta::from_std(span).is_ok_and(|span| span <= (facts.now.instant() - at.instant()).abs())
    };
    let Some(current) = current else { return Some(EpochReason::First) };
    if current.url != facts.url || current.server != facts.server {
        return Some(EpochReason::OtherLake);
    }
    if current.lineage != facts.lineage {
        return Some(EpochReason::NewLineage);
    }
    if let Some(reason) = &current.end_reason {
        return Some(EpochReason::Recorded(reason.clone()));
    }
    if facts.oldest_waiting.is_some_and(|at| is_older(at, facts.keep)) {
        return Some(EpochReason::Backlog);
    }
    // Whoever waits for the store has nothing to gain from another beginning.
    let announced_at = current.announced_at.filter(|_| facts.oldest_waiting.is_none() && facts.has_grown);
    let rebase = announced_at.zip(facts.rebase).is_some_and(|(at, span)| is_older(at, span));
    rebase.then_some(EpochReason::Rebase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn epoch_begins_anew_only_for_a_reason() {
        let day = |day: u32| at(&format!("2026-11-{day:02}T12:00:00.000Z"));
        let current = LakeEpoch {
            url: "s3://lake/halo".into(),
            server: "acme".into(),
            epoch: 3,
            lineage: "A".into(),
            token: "t".into(),
            reason: "first".into(),
            begun_at: day(1),
            claimed_at: Some(day(1)),
            announced_at: Some(day(1)),
            end_reason: None,
            last_intent: None,
        };
        let facts = EpochFacts {
            url: "s3://lake/halo",
            server: "acme",
            lineage: "A",
            oldest_waiting: None,
            has_grown: true,
            keep: Duration::from_hours(24 * 30),
            rebase: Some(Duration::from_hours(24 * 7)),
            now: day(2),
        };
        let of = |reason: &str| Some(EpochReason::Recorded(reason.into()));
        let erased = LakeEpoch { end_reason: Some("erased".into()), ..current.clone() };
        let silent = LakeEpoch { announced_at: None, ..current.clone() };
        for (name, epoch, facts, expected) in [
            ("none yet", None, facts.clone(), Some(EpochReason::First)),
            ("nothing changed", Some(&current), facts.clone(), None),
            (
                "other bucket",
                Some(&current),
                EpochFacts { url: "s3://b", ..facts.clone() },
                Some(EpochReason::OtherLake),
            ),
            (
                "other name",
                Some(&current),
                EpochFacts { server: "b", ..facts.clone() },
                Some(EpochReason::OtherLake),
            ),
            (
                "restored",
                Some(&current),
                EpochFacts { lineage: "B", ..facts.clone() },
                Some(EpochReason::NewLineage),
            ),
            ("erased", Some(&erased), facts.clone(), of("erased")),
            (
                "a week",
                Some(&current),
                EpochFacts { now: day(8), ..facts.clone() },
                Some(EpochReason::Rebase),
            ),
            ("a week less a day", Some(&current), EpochFacts { now: day(7), ..facts.clone() }, None),
            (
                "a quiet week",
                Some(&current),
                EpochFacts { now: day(8), has_grown: false, ..facts.clone() },
                None,
            ),
            ("off", Some(&current), EpochFacts { now: day(30), rebase: None, ..facts.clone() }, None),
            (
                "the clock was set back",
                Some(&current),
                EpochFacts { now: at("2026-10-31T12:00:00.000Z"), ..facts.clone() },
                None,
            ),
            (
                "the clock was a year ahead",
                Some(&current),
                EpochFacts { now: at("2025-11-01T12:00:00.000Z"), ..facts.clone() },
                Some(EpochReason::Rebase),
            ),
            ("not announced", Some(&silent), EpochFacts { now: day(30), ..facts.clone() }, None),
            (
                "outage of a week",
                Some(&current),
                EpochFacts { now: day(9), oldest_waiting: Some(day(2)), ..facts.clone() },
                None,
            ),
            (
                "longer outage than packages are kept",
                Some(&current),
                EpochFacts {
                    now: day(30),
                    oldest_waiting: Some(day(2)),
                    keep: Duration::from_hours(24 * 28),
                    ..facts
                },
                Some(EpochReason::Backlog),
            ),
        ] {
            assert_eq!(epoch_due(epoch, &facts), expected, "{name}");
        }
    }
}
