//! Counts which events the simulation runs contained, so that it shows when they become too tame.

use std::collections::BTreeMap;

use crate::scenario::{Condition, is_enabled};

/// A counted event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CoverageEvent {
    KilledDuringScan,
    KilledOutsideScan,
    StopRequested,
    TicketEdited,
    TicketsBulkEdited,
    TicketsCreated,
    DisappearedBetweenRuns,
    DisappearedDuringScan,
    ReturnedBetweenRuns,
    ReturnedDuringScan,
    Merged,
    Unmerged,
    LateCommit,
    CommitOnLowerBound,
    SlaRecalculated,
    Renamed,
    ClockSteppedBack,
    TokensRevoked,
    RateLimited,
    ServerError,
    RequestRefused,
    InvalidBody,
    BodyTruncated,
    ConnectionReset,
    SlowResponse,
    RunComplete,
    RunIncomplete,
    RunFailed,
    DeleteGuardTriggered,
    IncrementalScanVerified,
    FullScanVerified,
    Tombstone,
    WentBack,
    CustomFieldEdited,
    CustomFieldDefined,
    TicketTypeChanged,
    PermissionsCut,
    BackupRestored,
    ScopeChanged,
    /// A run left pending fetches.
    FetchesPending,
    /// A run fetched custom fields ticket by ticket.
    CustomFieldsFetched,
    /// A run kept an unlisted ticket because the server refuses to show it.
    ForbiddenTicketKept,
    /// A row was served with a defect.
    RowDamaged,
    /// Defects were still there at the end.
    DefectsKept,
    /// A run left tickets that it could not read.
    TicketsPending,
    /// A run could not read values.
    ValuesRejected,
    /// A full scan showed rows without an id.
    RowsRejected,
    /// The watermark moved although tickets were missing, as `accept_shortfall` allows.
    ShortfallAccepted,
    /// A run was complete although tickets were missing, as `accept_shortfall` allows.
    CompleteWithShortfall,
    /// Another program changed rows of the local database, or rows were lost.
    EditedLocally,
    /// A run repaired a row that another program had changed.
    Repaired,
    /// An older copy of the local database was restored.
    LocalBackupRestored,
    /// A ticket was erased in the local database.
    Purged,
    /// An erased ticket was allowed to be stored again.
    PurgeUndone,
    /// An erased ticket was stored again after that.
    StoredAfterPurge,
    /// Deleted or hidden tickets came back, many at once.
    SomeTicketsRestored,
    /// A reference object was renamed, added, removed, disabled or enabled.
    ReferenceChanged,
    /// The server refused to show a reference list.
    ListForbidden,
    /// A response showed no reference list although it was none that refuses.
    ListUnreadable,
    /// A reference list was empty, or lost more than half of its rows.
    ListDoubtful,
    /// A reference list had more than one page.
    ListPaged,
    /// A run left a reference list that it had not read to its end.
    ListHalfRead,
    /// A row of a reference table was no longer listed.
    NamedRowAbsent,
    /// A number had no name.
    NameMissing,
    /// A column profile changed what list rows carry beside the attributes.
    ProfileChanged,
    /// A run found that the list no longer carries an extra.
    ExtraHidden,
    /// A stored extra that cannot be known to be gone.
    StaleExtra,
    /// A change record with a lower bound of when it happened.
    ChangeBounded,
    /// The one known limit: one ticket disappeared and another one entered between the same two responses.
    UndetectableExchange,
    /// A ticket was missed, and the limit explains it.
    MissedTicketExcused,
}

impl CoverageEvent {
    /// The events that a campaign must contain: all that the client supports.
    pub(crate) fn expected() -> impl Iterator<Item = CoverageEvent> {
        let all = [
            (None, ALWAYS),
            (Some(Condition::TicketsDisappearDuringScan), &[CoverageEvent::DisappearedDuringScan][..]),
            (Some(Condition::TicketsReturnDuringScan), &[CoverageEvent::ReturnedDuringScan]),
            (Some(Condition::ClockStepsBack), &[CoverageEvent::ClockSteppedBack, CoverageEvent::WentBack]),
        ];
        let supported = all.into_iter().filter(|(condition, _)| condition.is_none_or(is_enabled));
        supported.flat_map(|(_, events)| events).copied()
    }
}

const ALWAYS: &[CoverageEvent] = &[
    CoverageEvent::KilledDuringScan,
    CoverageEvent::KilledOutsideScan,
    CoverageEvent::StopRequested,
    CoverageEvent::TicketEdited,
    CoverageEvent::TicketsBulkEdited,
    CoverageEvent::TicketsCreated,
    CoverageEvent::DisappearedBetweenRuns,
    CoverageEvent::ReturnedBetweenRuns,
    CoverageEvent::Merged,
    CoverageEvent::Unmerged,
    CoverageEvent::LateCommit,
    CoverageEvent::CommitOnLowerBound,
    CoverageEvent::SlaRecalculated,
    CoverageEvent::Renamed,
    CoverageEvent::TokensRevoked,
    CoverageEvent::RateLimited,
    CoverageEvent::ServerError,
    CoverageEvent::RequestRefused,
    CoverageEvent::InvalidBody,
    CoverageEvent::BodyTruncated,
    CoverageEvent::ConnectionReset,
    CoverageEvent::SlowResponse,
    CoverageEvent::RunComplete,
    CoverageEvent::RunIncomplete,
    CoverageEvent::RunFailed,
    CoverageEvent::DeleteGuardTriggered,
    CoverageEvent::IncrementalScanVerified,
    CoverageEvent::FullScanVerified,
    CoverageEvent::Tombstone,
    CoverageEvent::CustomFieldEdited,
    CoverageEvent::CustomFieldDefined,
    CoverageEvent::TicketTypeChanged,
    CoverageEvent::PermissionsCut,
    CoverageEvent::BackupRestored,
    CoverageEvent::ScopeChanged,
    CoverageEvent::FetchesPending,
    CoverageEvent::CustomFieldsFetched,
    CoverageEvent::ForbiddenTicketKept,
    CoverageEvent::RowDamaged,
    CoverageEvent::DefectsKept,
    CoverageEvent::TicketsPending,
    CoverageEvent::ValuesRejected,
    CoverageEvent::RowsRejected,
    CoverageEvent::ShortfallAccepted,
    CoverageEvent::CompleteWithShortfall,
    CoverageEvent::EditedLocally,
    CoverageEvent::Repaired,
    CoverageEvent::LocalBackupRestored,
    CoverageEvent::Purged,
    CoverageEvent::PurgeUndone,
    CoverageEvent::StoredAfterPurge,
    CoverageEvent::SomeTicketsRestored,
    CoverageEvent::ReferenceChanged,
    CoverageEvent::ListForbidden,
    CoverageEvent::ListUnreadable,
    CoverageEvent::ListDoubtful,
    CoverageEvent::ListPaged,
    CoverageEvent::ListHalfRead,
    CoverageEvent::NamedRowAbsent,
    CoverageEvent::NameMissing,
    CoverageEvent::ProfileChanged,
    CoverageEvent::ExtraHidden,
    CoverageEvent::ChangeBounded,
];

/// How often each event happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage(BTreeMap<CoverageEvent, u64>);

impl Coverage {
    pub(crate) fn record(&mut self, event: CoverageEvent) {
        *self.0.entry(event).or_default() += 1;
    }

    /// Adds a simulation run: the counts become the number of simulation runs that contain each event.
    pub(crate) fn add(&mut self, run: &Coverage) {
        for event in run.0.keys() {
            self.record(*event);
        }
    }

    pub(crate) fn runs_with(&self, event: CoverageEvent) -> u64 {
        self.0.get(&event).copied().unwrap_or(0)
    }

    /// Formats the percentage of simulation runs that contain each event.
    pub(crate) fn shares(&self, runs: u64) -> String {
        let share = |count: u64| 100.0 * to_f64(count) / to_f64(runs.max(1));
        let all = self.0.iter().map(|(event, count)| format!("{event:?} {:.1} %", share(*count)));
        all.collect::<Vec<_>>().join(", ")
    }
}

fn to_f64(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
