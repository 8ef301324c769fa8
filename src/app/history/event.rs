//! The life of a ticket: one event for each change record, with names, and with twins folded to one line. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::labels::{attributes_of, is_bookkeeping, labeled_attribute, labels, unlabeled};
use super::names::{ShownValue, TicketNames, raw_value};
use super::version::{TicketVersion, field_id};
use crate::store::{OldAndNew, RecordedChange, RunOfChange, TicketRecords};
use crate::ticket::{CUSTOM_PREFIX, Op, Timestamp};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It was stored here for the first time.
    FirstSeen,
    /// It was stored again after a removal.
    Returned,
    /// Something changed.
    Updated,
    /// Its status changed from an open one to a closed one.
    Closed,
    /// Its status changed from a closed one to an open one.
    Reopened,
    /// Nothing but the dates of its last update and action moved, or what differs in every response.
    Touched,
    /// Its status has another name; no event of the ticket.
    StatusRenamed,
    /// An edit of the local database was undone; no event of the ticket.
    Repaired,
    /// The server shows an earlier version, because it was restored from a backup.
    WentBack,
    /// Custom fields that were fetched for this ticket alone differ.
    CustomFields,
    /// Custom fields are no longer synchronized; no event of the ticket.
    CustomFieldsOff,
    /// It was removed here.
    Removed,
}

impl EventKind {
    fn of(change: &RecordedChange) -> EventKind {
        match (change.op, change.reason.as_deref()) {
            (Op::Delete, _) => EventKind::Removed,
            (Op::Create, Some("returned")) => EventKind::Returned,
            (Op::Create, _) => EventKind::FirstSeen,
            (Op::Update, Some("status_renamed")) => EventKind::StatusRenamed,
            (Op::Update, Some("repaired")) => EventKind::Repaired,
            (Op::Update, Some("went_back")) => EventKind::WentBack,
            (Op::Update, Some("custom_fields")) => EventKind::CustomFields,
            (Op::Update, Some("custom_fields_off")) => EventKind::CustomFieldsOff,
            (Op::Update, _) => EventKind::Updated,
        }
    }
}

/// One change record of a ticket.
#[derive(Clone, Debug)]
pub struct LifeEvent {
    /// The number of the change record.
    pub seq: i64,
    /// Its operation.
    pub op: Op,
    /// Its reason, where it has one.
    pub reason: Option<String>,
    /// What happened.
    pub kind: EventKind,
    /// The start of the newest verified scan that would have shown it, by the local clock.
    pub not_before: Option<Timestamp>,
    /// When it was seen, by the local clock.
    pub observed_at: Timestamp,
    /// When its last edit was made, by the server's clock, if that is known.
    pub server_time: Option<Timestamp>,
    /// The last update of the version, by the server's clock.
    pub source_last_modified: Option<Timestamp>,
    /// The run that saw it.
    pub run: RunOfChange,
    /// What changed, for people; of a ticket that is new here, what it was like.
    pub lines: Vec<EventLine>,
    /// What changed, in full.
    pub changed: Vec<ChangedAttribute>,
    /// Whether the values of the record were erased, so that nobody knows what changed.
    pub is_emptied: bool,
    /// Of a removal: the last known row.
    pub last_row: Option<TicketVersion>,
    /// Of a removal: the ticket that it was merged into.
    pub merged_into: Option<i64>,
}

/// The ticket that a removed one was merged into.
pub(super) fn merged_into(removal: &RecordedChange) -> Option<i64> {
    let into = removal.last_row.as_ref()?.get("MERGED_INTO_ID")?.as_i64().filter(|into| *into != 0);
    into.filter(|_| removal.reason.as_deref() == Some("merged"))
}

/// A line about a change.
#[derive(Clone, Debug, PartialEq)]
pub struct EventLine {
    /// What people call it.
    pub label: String,
    /// Before; `None` where there is only one value to show.
    pub old: Option<ShownValue>,
    /// After.
    pub new: ShownValue,
}

/// A changed attribute.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ChangedAttribute {
    /// Its name in `changes.changed`.
    pub attribute: String,
    /// What people call it.
    pub label: String,
    /// Before.
    pub old: Json,
    /// After.
    pub new: Json,
    /// The name of the number before, as it is today.
    pub old_name: Option<String>,
    /// The name of the number after, as it is today.
    pub new_name: Option<String>,
}

/// What is shown of a ticket that is new here.
const FIRST_LABELS: [&str; 11] =
    ["Summary", "Status", "Type", "Priority", "SLA", "Agent", "Team", "Client", "Site", "User", "Opened"];

/// The events of a ticket, the oldest first. Goes back from the present row, because a record alone does not say which SLA
/// a priority belonged to.
pub(super) fn life_events(records: &TicketRecords, names: &TicketNames) -> Vec<LifeEvent> {
    let row = records.row.as_deref().map(|row| TicketVersion::of_row(row, &records.custom_fields));
    let mut version = row.unwrap_or_default();
    let mut events = Vec::with_capacity(records.changes.len());
    for change in records.changes.iter().rev() {
        let mut event = event_of(change, records);
        match change.op {
            Op::Delete => {
                event.last_row = change.last_row.as_ref().map(TicketVersion::of_last_row);
                version = event.last_row.clone().unwrap_or_default();
            }
            Op::Create => {
                let lines = FIRST_LABELS.map(|label| (label, names.value_of(label, &version)));
                let lines = lines.into_iter().filter(|(_, value)| *value != ShownValue::Nothing);
                event.lines =
                    lines.map(|(label, new)| EventLine { label: label.to_owned(), old: None, new }).collect();
                version = TicketVersion::default();
            }
            Op::Update => describe_update(change, &mut event, &mut version, names),
        }
        events.push(event);
    }
    events.reverse();
    events
}

fn event_of(change: &RecordedChange, records: &TicketRecords) -> LifeEvent {
    let run_id = change.run_id;
    LifeEvent {
        seq: change.seq,
        op: change.op,
        reason: change.reason.clone(),
        kind: EventKind::of(change),
        not_before: change.not_before,
        observed_at: change.observed_at,
        server_time: server_time(change),
        source_last_modified: change.source_last_modified,
        run: records.runs.get(&run_id).cloned().unwrap_or(RunOfChange { run_id, ..RunOfChange::default() }),
        lines: Vec::new(),
        changed: Vec::new(),
        is_emptied: is_emptied(change),
        last_row: None,
        merged_into: merged_into(change),
    }
}

/// Whether the values of a record were erased; a new ticket's record has none.
pub(super) fn is_emptied(change: &RecordedChange) -> bool {
    match change.op {
        Op::Create => false,
        Op::Update => change.changed.is_none(),
        Op::Delete => change.reason.is_none() && change.last_row.is_none(),
    }
}

/// When the last edit of a change was made by the server's clock: its `last_update`, where the change moved it forward.
fn server_time(change: &RecordedChange) -> Option<Timestamp> {
    let is_event = matches!(EventKind::of(change), EventKind::Updated);
    let moved = change.changed.as_ref()?.get("SOURCE_LAST_MODIFIED").filter(|_| is_event)?;
    let at = |value: &Json| value.as_str()?.parse::<Timestamp>().ok();
    let new = at(&moved.new)?;
    (change.source_last_modified == Some(new) && at(&moved.old).is_none_or(|old| old < new)).then_some(new)
}

/// Describes an update, and goes back over it.
fn describe_update(
    change: &RecordedChange,
    event: &mut LifeEvent,
    version: &mut TicketVersion,
    names: &TicketNames,
) {
    let unknown = BTreeMap::new();
    let changed = change.changed.as_ref().unwrap_or(&unknown);
    for (name, pair) in changed {
        version.set(name, pair.new.clone());
    }
    let labels = affected_labels(changed, version, names);
    let fields: BTreeSet<i64> = changed.keys().filter_map(|name| field_id(name)).collect();
    let shown = |version: &TicketVersion| -> Vec<ShownValue> {
        let values = labels.iter().map(|label| names.value_of(label, version));
        values.chain(fields.iter().map(|id| TicketNames::field_value(*id, version))).collect()
    };
    let name_of = |version: &TicketVersion, value: fn(&OldAndNew) -> &Json| -> Vec<Option<String>> {
        changed.iter().map(|(name, pair)| names.name_of(name, value(pair), version)).collect()
    };
    let (is_open, after, new_names) =
        (names.is_open(version), shown(version), name_of(version, |pair| &pair.new));
    for (name, pair) in changed {
        version.set(name, pair.old.clone());
    }
    let (was_open, before, old_names) =
        (names.is_open(version), shown(version), name_of(version, |pair| &pair.old));
    if event.kind == EventKind::Repaired {
        // Before the edit it was what it is after the repair.
        for (name, pair) in changed {
            version.set(name, pair.new.clone());
        }
    }
    let keys =
        labels.iter().copied().map(ChangeKey::Label).chain(fields.iter().map(|id| ChangeKey::Field(*id)));
    for (key, (old, new)) in keys.zip(before.into_iter().zip(after)) {
        if old == new {
            // What people read is the same: the values behind it differ.
            event.lines.extend(key.members(changed).map(|(name, pair)| raw_line(name, pair)));
        } else {
            event.lines.push(EventLine { label: key.label(names), old: Some(old), new });
        }
    }
    for name in unlabeled().filter(|name| field_id(name).is_none()) {
        event.lines.extend(changed.get(name).map(|pair| raw_line(name, pair)));
    }
    let old_and_new_names = old_names.into_iter().zip(new_names);
    let attributes = changed.iter().zip(old_and_new_names).map(|((name, pair), (old_name, new_name))| {
        let (old, new) = (pair.old.clone(), pair.new.clone());
        ChangedAttribute {
            attribute: name.clone(),
            label: names.label_of(name),
            old,
            new,
            old_name,
            new_name,
        }
    });
    event.changed = attributes.collect();
    event.kind = match (event.kind, was_open, is_open) {
        (EventKind::Updated, Some(true), Some(false)) => EventKind::Closed,
        (EventKind::Updated, Some(false), Some(true)) => EventKind::Reopened,
        (EventKind::Updated, ..) if event.lines.is_empty() && !event.is_emptied => EventKind::Touched,
        (kind, ..) => kind,
    };
}

/// The labels whose attributes changed, and that of the priority where the SLA gives its number another name.
fn affected_labels(
    changed: &BTreeMap<String, OldAndNew>,
    after: &TicketVersion,
    names: &TicketNames,
) -> Vec<&'static str> {
    let is_changed = |label: &str| {
        attributes_of(label).any(|it| changed.contains_key(it.name) && !is_bookkeeping(it.name))
    };
    let is_renamed = |label: &str| {
        label == "Priority"
            && changed.get("SLA_ID").is_some_and(|sla| {
                let mut before = after.clone();
                before.set("SLA_ID", sla.old.clone());
                names.value_of(label, &before) != names.value_of(label, after)
            })
    };
    labels().into_iter().filter(|label| is_changed(label) || is_renamed(label)).collect()
}

/// What a line is about.
enum ChangeKey {
    Label(&'static str),
    Field(i64),
}

impl ChangeKey {
    fn label(&self, names: &TicketNames) -> String {
        match self {
            ChangeKey::Label(label) => (*label).to_owned(),
            ChangeKey::Field(id) => names.field_label(*id),
        }
    }

    /// The changed attributes that it folds.
    fn members<'a>(
        &'a self,
        changed: &'a BTreeMap<String, OldAndNew>,
    ) -> impl Iterator<Item = (&'a str, &'a OldAndNew)> {
        let is_member = |name: &str| match self {
            ChangeKey::Label(label) => labeled_attribute(name).is_some_and(|it| it.label == *label),
            ChangeKey::Field(id) => field_id(name) == Some(*id),
        };
        changed.iter().filter(move |(name, _)| is_member(name)).map(|(name, pair)| (name.as_str(), pair))
    }
}

/// A change under the name of its attribute.
fn raw_line(name: &str, pair: &OldAndNew) -> EventLine {
    let value = |value: &Json| raw_value(name.trim_start_matches(CUSTOM_PREFIX), value);
    EventLine { label: name.to_owned(), old: Some(value(&pair.old)), new: value(&pair.new) }
}
