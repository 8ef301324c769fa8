//! The row of a ticket as it was stored at a time: goes back from the present row, or from the last row of a removal, over
//! the change records after that time. Never a wrong row: where the records do not prove it, none.
//!
//! Repairs of local edits are not undone, because nobody knows when the edit was made: the row before it is what it is after
//! the repair.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::event::{is_emptied, merged_into};
use super::version::{TicketVersion, field_id};
use crate::app::{HistoryError, removal_to_text};
use crate::store::{ERASED, RecordedChange, TicketRecords};
use crate::ticket::attribute::VOLATILE;
use crate::ticket::{ATTRIBUTES, Op, Timestamp};

/// A change record beside a row: its number, and when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ChangeMark {
    /// Its number.
    pub seq: i64,
    /// When it was written, by the local clock.
    pub observed_at: Timestamp,
}

impl ChangeMark {
    fn of(change: &RecordedChange) -> ChangeMark {
        ChangeMark { seq: change.seq, observed_at: change.observed_at }
    }
}

/// The row of a ticket at a time.
#[derive(Clone, Debug)]
pub(super) struct PastVersion {
    pub(super) version: TicketVersion,
    /// The change record that made it so; `None` where it aged out.
    pub(super) since: Option<ChangeMark>,
    /// The next change record.
    pub(super) until: Option<ChangeMark>,
    /// Attributes whose value at that time is not known.
    pub(super) unknown: Vec<String>,
}

/// What is known on the way back.
enum KnownState {
    /// The ticket was not stored.
    Absent,
    Stored(TicketVersion),
    /// It was stored, and nothing says with which values: why.
    Unknown(&'static str),
}

const EDITED: &str = "another program edited its row";
const LOST: &str = "its row was lost here";
const VALUES_ERASED: &str = "the values in its change records were erased";

/// The reason of a record that undoes an edit of the local database.
const REPAIRED: &str = "repaired";

/// The attribute that a removal sets in the last row, which is older than the merge.
const MERGED_INTO_ID: &str = "MERGED_INTO_ID";

/// The row of a ticket at a time.
pub(super) fn past_version(records: &TicketRecords, at: Timestamp) -> Result<PastVersion, HistoryError> {
    let (id, changes) = (records.id, &records.changes);
    let count_before = changes.iter().rposition(|change| change.observed_at <= at).map_or(0, |last| last + 1);
    let (before, after) = changes.split_at(count_before);
    ensure_complete(records, before, after, at)?;
    let mut state = present_state(records);
    let mut unknown = BTreeSet::new();
    let mut repaired = BTreeSet::new();
    for (position, change) in after.iter().enumerate().rev() {
        match change.op {
            Op::Create => state = KnownState::Absent,
            Op::Delete => {
                repaired.clear();
                unknown.clear();
                let earlier = after[..position].last().or(before.last());
                state = state_before_deletion(change, earlier);
                if change.reason.as_deref() == Some("merged") {
                    unknown.insert(MERGED_INTO_ID.to_owned());
                }
            }
            Op::Update => {
                let earlier = after[..position].last().or(before.last());
                undo(change, earlier, &mut state, &mut repaired, &mut unknown);
            }
        }
    }
    let since = before.last().map(ChangeMark::of);
    let until = after.first().map(ChangeMark::of);
    let mut version = match state {
        KnownState::Stored(version) => version,
        KnownState::Unknown(why) => return Err(HistoryError::RowUnknown { id, at, why }),
        KnownState::Absent => return Err(absent(records, at, before.last(), after.first())),
    };
    agree_with_earlier(&mut version, before, &repaired, &mut unknown)
        .map_err(|seq| HistoryError::Contradiction { id, at, seq })?;
    for name in &unknown {
        version.set(name, Json::Null);
    }
    Ok(PastVersion { version, since, until, unknown: unknown.into_iter().collect() })
}

/// Why a ticket was not stored at a time.
fn absent(
    records: &TicketRecords,
    at: Timestamp,
    last_before: Option<&RecordedChange>,
    first_after: Option<&RecordedChange>,
) -> HistoryError {
    let (id, complete_after) = (records.id, records.complete_after);
    match (last_before, first_after) {
        (Some(removal), _) => HistoryError::Removed {
            id,
            at,
            removed_at: removal.observed_at,
            why: removal_to_text(removal.reason.as_deref().unwrap_or_default(), merged_into(removal)),
        },
        (None, Some(first)) => HistoryError::NotYetSeen { id, at, first_seen: first.observed_at },
        (None, None) => HistoryError::UnknownTicket { id, known: None, complete_after },
    }
}

/// Whether all records of the ticket after a time are kept.
fn ensure_complete(
    records: &TicketRecords,
    before: &[RecordedChange],
    after: &[RecordedChange],
    at: Timestamp,
) -> Result<(), HistoryError> {
    let complete_after = records.complete_after;
    let is_kept = |change: &RecordedChange| complete_after < change.seq;
    let all_after_kept = after.first().is_none_or(is_kept);
    let proved = complete_after == 0
        || before.last().is_some_and(is_kept)
        || records.complete_since.is_some_and(|since| since <= at);
    if all_after_kept && proved {
        return Ok(());
    }
    let own = records.changes.iter().find(|change| is_kept(change)).map(|change| change.observed_at);
    let earliest = own.into_iter().chain(records.complete_since).min();
    Err(HistoryError::AgedOut { id: records.id, at, earliest })
}

/// What is stored now.
fn present_state(records: &TicketRecords) -> KnownState {
    let newest = records.changes.last();
    match (&records.row, &records.state) {
        (Some(_), None) => KnownState::Unknown(EDITED),
        (Some(_), Some(state)) if state.is_row_edited || state.are_fields_edited => {
            KnownState::Unknown(EDITED)
        }
        // Its newest record is missing, or it has never been recorded.
        (Some(_), Some(state)) if newest.map_or(records.complete_after < 1, |it| it.seq < state.last_seq) => {
            KnownState::Unknown(EDITED)
        }
        (Some(row), Some(_)) => KnownState::Stored(TicketVersion::of_row(row, &records.custom_fields)),
        (None, None) if newest.is_none_or(|it| it.op == Op::Delete) => KnownState::Absent,
        (None, _) => KnownState::Unknown(LOST),
    }
}

/// What a ticket was before a deletion; `earlier` is the record before it. Also one that had been deleted before may be erased.
fn state_before_deletion(deletion: &RecordedChange, earlier: Option<&RecordedChange>) -> KnownState {
    let is_erasure = deletion.reason.as_deref() == Some(ERASED);
    match &deletion.last_row {
        Some(row) => KnownState::Stored(TicketVersion::of_last_row(row)),
        None if is_erasure && earlier.is_none_or(|it| it.op == Op::Delete) => KnownState::Absent,
        None if is_erasure || is_emptied(deletion) => KnownState::Unknown(VALUES_ERASED),
        None => KnownState::Unknown(LOST),
    }
}

/// Whether an attribute differs in every response: a repair writes it too, and it was not edited.
fn is_volatile(name: &str) -> bool {
    VOLATILE.iter().any(|position| ATTRIBUTES[*position].name == name)
}

/// Goes back over an update; `earlier` is the record of the ticket before it.
fn undo(
    change: &RecordedChange,
    earlier: Option<&RecordedChange>,
    state: &mut KnownState,
    repaired: &mut BTreeSet<String>,
    unknown: &mut BTreeSet<String>,
) {
    let KnownState::Stored(version) = state else { return };
    let Some(changed) = &change.changed else {
        *state = KnownState::Unknown(VALUES_ERASED);
        return;
    };
    if change.reason.as_deref() == Some(REPAIRED) {
        // Of a row that was lost the record does not say what changed meanwhile.
        let says_nothing = changed.keys().all(|name| field_id(name).is_some());
        let is_same_version =
            earlier.is_some_and(|it| it.source_last_modified == change.source_last_modified);
        if changed.is_empty() || (says_nothing && !is_same_version) {
            *state = KnownState::Unknown(LOST);
            return;
        }
        repaired.extend(changed.keys().filter(|name| !is_volatile(name)).cloned());
    }
    let is_repair = |name: &str| change.reason.as_deref() == Some(REPAIRED) && !is_volatile(name);
    for (name, pair) in changed.iter().filter(|(name, _)| !is_repair(name)) {
        version.set(name, pair.old.clone());
        repaired.remove(name);
        unknown.remove(name);
    }
}

/// Compares a version with the records before it: the newest record of each attribute says what it was since. After a repair
/// it is right; otherwise a difference means that somebody edited the row, or that a record is missing. Returns the number
/// of a record that contradicts.
fn agree_with_earlier(
    version: &mut TicketVersion,
    before: &[RecordedChange],
    repaired: &BTreeSet<String>,
    unknown: &mut BTreeSet<String>,
) -> Result<(), i64> {
    let mut compared = BTreeSet::new();
    let in_this_life = before.iter().rev().take_while(|change| change.op == Op::Update);
    let none = BTreeMap::new();
    for change in in_this_life {
        for (name, pair) in change.changed.as_ref().unwrap_or(&none) {
            if !compared.insert(name) {
                continue;
            }
            if repaired.contains(name) || unknown.remove(name) {
                version.set(name, pair.new.clone());
            } else if *version.get(name) != pair.new {
                return Err(change.seq);
            }
        }
    }
    Ok(())
}
