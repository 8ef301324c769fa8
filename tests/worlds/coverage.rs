//! Which interesting things befell a world, so that it shows when the worlds become too tame.

use std::collections::BTreeMap;

use crate::plan::{Hardship, stands};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Happening {
    KilledInMidWalk,
    KilledElsewhere,
    StoppedByAPerson,
    Edited,
    BulkEdited,
    Created,
    LeftBetweenPasses,
    LeftInMidWalk,
    Returned,
    ReturnedInMidWalk,
    Merged,
    Unmerged,
    LateCommit,
    CommitOnTheBound,
    SilentChange,
    Renamed,
    ClockSteppedBack,
    TokensRevoked,
    Throttled,
    ServerFailed,
    Refused,
    NotJson,
    BodyCut,
    ConnectionReset,
    Slow,
    PassComplete,
    PassIncomplete,
    PassFailed,
    BrakeHeld,
    FollowingWalkCounted,
    FullWalkCounted,
    Tombstone,
    WentBack,
    FieldTyped,
    FieldDefined,
    Retyped,
    PermissionCut,
    Restored,
    ScopeChanged,
    /// A pass left custom fields owed.
    Owed,
    /// A pass was told custom fields ticket by ticket.
    ReadAlone,
    /// A pass noted that a ticket is kept back.
    KeptBack,
    /// The one named limit: a leaver and somebody who entered between the same two answers.
    Blind,
    /// A ticket was missed, and the limit explains it.
    Excused,
}

impl Happening {
    /// What must happen in some of the worlds of every run: all that the agent stands.
    pub(crate) fn expected() -> impl Iterator<Item = Happening> {
        let all = [
            (None, ALWAYS),
            (Some(Hardship::LeavingInMidWalk), &[Happening::LeftInMidWalk][..]),
            (Some(Hardship::ReturningInMidWalk), &[Happening::ReturnedInMidWalk]),
            (Some(Hardship::ClockStepsBack), &[Happening::ClockSteppedBack, Happening::WentBack]),
        ];
        let stood = all.into_iter().filter(|(hardship, _)| hardship.is_none_or(stands));
        stood.flat_map(|(_, happenings)| happenings).copied()
    }
}

const ALWAYS: &[Happening] = &[
    Happening::KilledInMidWalk,
    Happening::KilledElsewhere,
    Happening::StoppedByAPerson,
    Happening::Edited,
    Happening::BulkEdited,
    Happening::Created,
    Happening::LeftBetweenPasses,
    Happening::Returned,
    Happening::Merged,
    Happening::Unmerged,
    Happening::LateCommit,
    Happening::CommitOnTheBound,
    Happening::SilentChange,
    Happening::Renamed,
    Happening::TokensRevoked,
    Happening::Throttled,
    Happening::ServerFailed,
    Happening::Refused,
    Happening::NotJson,
    Happening::BodyCut,
    Happening::ConnectionReset,
    Happening::Slow,
    Happening::PassComplete,
    Happening::PassIncomplete,
    Happening::PassFailed,
    Happening::BrakeHeld,
    Happening::FollowingWalkCounted,
    Happening::FullWalkCounted,
    Happening::Tombstone,
    Happening::FieldTyped,
    Happening::FieldDefined,
    Happening::Retyped,
    Happening::PermissionCut,
    Happening::Restored,
    Happening::ScopeChanged,
    Happening::Owed,
    Happening::ReadAlone,
    Happening::KeptBack,
];

/// How often what happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage(BTreeMap<Happening, u64>);

impl Coverage {
    pub(crate) fn saw(&mut self, happening: Happening) {
        *self.0.entry(happening).or_default() += 1;
    }

    /// Counts the worlds in which each thing happened.
    pub(crate) fn add(&mut self, world: &Coverage) {
        for happening in world.0.keys() {
            self.saw(*happening);
        }
    }

    pub(crate) fn worlds_with(&self, happening: Happening) -> u64 {
        self.0.get(&happening).copied().unwrap_or(0)
    }

    /// The share of the worlds in which each thing happened.
    pub(crate) fn shares(&self, worlds: u64) -> String {
        let share = |count: u64| 100.0 * to_f64(count) / to_f64(worlds.max(1));
        let all = self.0.iter().map(|(happening, count)| format!("{happening:?} {:.1} %", share(*count)));
        all.collect::<Vec<_>>().join(", ")
    }
}

fn to_f64(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
