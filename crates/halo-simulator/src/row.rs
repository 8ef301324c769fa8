//! Serialization of list rows.
//!
//! [`RowTemplate`] joins adjacent constants of the column table into single texts, so that a row is about 50 copies and
//! not a tree of values. This determines how many pages per second the simulator serves.

use std::ops::Range;

use chrono::TimeDelta;

use crate::columns::{ColumnSet, ColumnSource, columns};
use crate::database::{HaloDatabase, TicketIndex};
use crate::derived_fields::DerivedFields;
use crate::directory;
use crate::fixtures::{ON_HOLD, TICKET_TYPES};
use crate::json;
use crate::knob_values::{ClockZero, UnsetExtras};
use crate::knobs::Knobs;
use crate::reference_key::ReferenceKey;
use crate::ticket::TicketRecord;
use crate::timestamp::SqlDateTime;

/// Writes rows with the same columns.
pub(crate) struct RowTemplate<'w> {
    database: &'w HaloDatabase,
    now: SqlDateTime,
    clock_zero: &'static str,
    unset_extras: UnsetExtras,
    constant_text: String,
    segments: Vec<TemplateSegment>,
}

/// Constant text before a property, its name, and the source of its value. The ranges refer to `constant_text`.
struct TemplateSegment {
    prefix: Range<usize>,
    name: Range<usize>,
    source: ColumnSource,
}

impl<'w> RowTemplate<'w> {
    pub(crate) fn new(
        database: &'w HaloDatabase,
        knobs: &Knobs,
        column_set: ColumnSet,
        now: SqlDateTime,
    ) -> RowTemplate<'w> {
        let clock_zero = match knobs.clock_zero {
            ClockZero::Midnight => "\"00:00:00\"",
            ClockZero::Eastern => "\"04:00:00\"",
        };
        let mut template = RowTemplate {
            database,
            now,
            clock_zero,
            unset_extras: knobs.unset_extras,
            constant_text: String::with_capacity(4_096),
            segments: Vec::new(),
        };
        let mut prefix_start = 0;
        for (name, source) in columns(knobs, column_set) {
            let start = template.constant_text.len();
            // Every row begins with its id, so all later names include a comma.
            template.constant_text.push_str(if start == 0 { "{\"" } else { ",\"" });
            template.constant_text.push_str(name);
            template.constant_text.push_str("\":");
            match source {
                ColumnSource::Fixed(value) => template.constant_text.push_str(value),
                ColumnSource::ClockZero => template.constant_text.push_str(template.clock_zero),
                _ => {
                    template.segments.push(TemplateSegment {
                        prefix: prefix_start..start,
                        name: start..template.constant_text.len(),
                        source,
                    });
                    prefix_start = template.constant_text.len();
                }
            }
        }
        let end = template.constant_text.len();
        template.segments.push(TemplateSegment {
            prefix: prefix_start..end,
            name: end..end,
            source: ColumnSource::Fixed(""),
        });
        template
    }

    /// Writes one row.
    pub(crate) fn write(&self, index: TicketIndex, out: &mut Vec<u8>) {
        if let Some(raw) = self.database.overrides(index).and_then(|overrides| overrides.raw_row.as_ref()) {
            out.extend_from_slice(raw.as_bytes());
            return;
        }
        let ticket = self.database.ticket(index);
        let derived = DerivedFields::for_ticket(self.database, ticket);
        for segment in &self.segments {
            out.extend_from_slice(&self.constant_text.as_bytes()[segment.prefix.clone()]);
            let len_before = out.len();
            out.extend_from_slice(&self.constant_text.as_bytes()[segment.name.clone()]);
            if self.write_value(segment.source, index, ticket, &derived, out).is_none() {
                match sentinel_of(segment.source) {
                    Some(sentinel) if self.unset_extras == UnsetExtras::Sentinel => {
                        out.extend_from_slice(sentinel.as_bytes());
                    }
                    // A null property is omitted (halo-api.md §2.7).
                    _ => out.truncate(len_before),
                }
            }
        }
        out.push(b'}');
    }

    fn write_value(
        &self,
        source: ColumnSource,
        index: TicketIndex,
        ticket: &TicketRecord,
        derived: &DerivedFields<'_>,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        match source {
            ColumnSource::Fixed(text) => out.extend_from_slice(text.as_bytes()),
            ColumnSource::ClockZero => out.extend_from_slice(self.clock_zero.as_bytes()),
            ColumnSource::Id => json::integer(out, ticket.id),
            ColumnSource::Status => json::integer(out, ticket.status.into()),
            ColumnSource::Type => json::integer(out, ticket.ticket_type.into()),
            ColumnSource::Agent => json::integer(out, ticket.agent.into()),
            ColumnSource::OnHold => json::boolean(out, ticket.status == ON_HOLD),
            ColumnSource::MergedInto => {
                json::integer(out, self.database.merge_of(index).map_or(0, |merge| merge.into));
            }
            ColumnSource::Itil => json::integer(out, itil_of(ticket.ticket_type)),
            ColumnSource::IdSummary | ColumnSource::Summary | ColumnSource::Details => {
                self.write_text(source, index, ticket, derived, out);
            }
            ColumnSource::Opened
            | ColumnSource::Updated
            | ColumnSource::LastAction
            | ColumnSource::Closed
            | ColumnSource::FixBy
            | ColumnSource::RespondBy
            | ColumnSource::Responded
            | ColumnSource::Assigned
            | ColumnSource::TargetDate
            | ColumnSource::LastEmail => write_timestamp(out, timestamp_of(source, ticket, derived)?),
            ColumnSource::Age => json::real(out, self.age_in_days(ticket)),
            ColumnSource::SlaName => {
                write_quoted(out, &[&json::escaped(&directory::sla_name(self.database, derived.sla))]);
            }
            ColumnSource::TeamName | ColumnSource::SiteName | ColumnSource::UserName => {
                let key = match source {
                    ColumnSource::TeamName => ReferenceKey::Team(derived.team.id.into()),
                    ColumnSource::SiteName => ReferenceKey::Site(derived.site_id()),
                    _ => ReferenceKey::User(derived.user_id()),
                };
                // Names are joined in when a row is read (halo-api.md §2.4).
                match self.database.reference.name(key) {
                    Some(name) => write_quoted(out, &[&json::escaped(name)]),
                    None => write_derived(source, ticket, derived, out)?,
                }
            }
            _ => write_derived(source, ticket, derived, out)?,
        }
        Some(())
    }

    fn write_text(
        &self,
        source: ColumnSource,
        index: TicketIndex,
        ticket: &TicketRecord,
        derived: &DerivedFields<'_>,
        out: &mut Vec<u8>,
    ) {
        let overrides = self.database.overrides(index);
        out.push(b'"');
        if source == ColumnSource::IdSummary {
            json::integer(out, ticket.id);
            out.extend_from_slice(b" - ");
        }
        if source == ColumnSource::Details {
            match overrides.and_then(|texts| texts.details.as_ref()) {
                Some(text) => out.extend_from_slice(json::escaped(text).as_bytes()),
                None => derived.write_details(&self.database.phrases, self.database.details_bytes, out),
            }
        } else {
            match overrides.and_then(|texts| texts.summary.as_ref()) {
                Some(text) => out.extend_from_slice(json::escaped(text).as_bytes()),
                None => out.extend_from_slice(derived.summary(&self.database.phrases).as_bytes()),
            }
        }
        out.push(b'"');
    }

    /// Returns the days since the ticket was opened: the only property that changes with every request.
    fn age_in_days(&self, ticket: &TicketRecord) -> f64 {
        let millis = self.now.millis_since(ticket.opened);
        // Whole seconds and the rest separately, because both convert to a float without loss.
        let seconds = i32::try_from(millis / 1_000).unwrap_or(i32::MAX);
        let rest = i32::try_from(millis % 1_000).unwrap_or(0);
        (f64::from(seconds) + f64::from(rest) / 1_000.0) / 86_400.0
    }
}

/// Returns what some servers send for an optional property that is not set.
fn sentinel_of(source: ColumnSource) -> Option<&'static str> {
    match source {
        ColumnSource::Closed | ColumnSource::Responded | ColumnSource::Assigned => {
            Some("\"1900-01-01T00:00:00\"")
        }
        ColumnSource::Parent => Some("0"),
        _ => None,
    }
}

fn write_timestamp(out: &mut Vec<u8>, timestamp: SqlDateTime) {
    out.push(b'"');
    timestamp.write(out);
    out.push(b'"');
}

/// Returns a timestamp of a ticket. Each property has its own sentinel before 1980 (halo-api.md §6).
fn timestamp_of(
    source: ColumnSource,
    ticket: &TicketRecord,
    derived: &DerivedFields<'_>,
) -> Option<SqlDateTime> {
    match source {
        ColumnSource::Opened => Some(ticket.opened),
        ColumnSource::Updated => ticket.updated,
        ColumnSource::Closed => ticket.closed,
        ColumnSource::RespondBy => Some(derived.respond_by(ticket)),
        ColumnSource::Responded => derived.responded_at(ticket),
        ColumnSource::Assigned => derived.assigned_at(ticket),
        ColumnSource::FixBy if derived.has_target => Some(derived.fix_by(ticket)),
        ColumnSource::FixBy => Some(SqlDateTime::OLE_ZERO),
        ColumnSource::TargetDate if derived.extra_draws[3].is_multiple_of(9) => {
            Some(derived.fix_by(ticket).midnight())
        }
        ColumnSource::TargetDate => Some(SqlDateTime::COLUMN_ZERO),
        ColumnSource::LastEmail if derived.extra_draws[3].is_multiple_of(6) => {
            Some(derived.respond_by(ticket))
        }
        ColumnSource::LastEmail => Some(SqlDateTime::NET_ZERO),
        ColumnSource::LastAction => {
            // The action is written 0.12 to 0.36 s after the timestamp is taken (halo-api.md §2.4).
            let changed_at = ticket
                .updated
                .filter(|&timestamp| timestamp != SqlDateTime::COLUMN_ZERO)
                .unwrap_or(ticket.opened);
            let millis = 120 + i64::try_from(changed_at.steps() % 240).unwrap_or(0);
            Some(changed_at.plus(TimeDelta::milliseconds(millis)))
        }
        _ => None,
    }
}

/// Writes a value that depends on the derived fields only.
fn write_derived(
    source: ColumnSource,
    ticket: &TicketRecord,
    derived: &DerivedFields<'_>,
    out: &mut Vec<u8>,
) -> Option<()> {
    match source {
        ColumnSource::Client => json::integer(out, derived.client.id.into()),
        ColumnSource::ClientName => write_quoted(out, &[&derived.client.name_json]),
        ColumnSource::Site => json::integer(out, derived.site_id()),
        ColumnSource::SiteName => write_quoted(out, &[derived.site_name()]),
        ColumnSource::User => json::integer(out, derived.user_id()),
        ColumnSource::UserName => match &derived.user {
            Some(user) => write_quoted(out, &[user.first, " ", user.last]),
            None => write_quoted(out, &["General User"]),
        },
        ColumnSource::UserEmail => write_email(out, derived)?,
        ColumnSource::Team => json::integer(out, derived.team.id.into()),
        ColumnSource::TeamName => write_quoted(out, &[derived.team.name]),
        ColumnSource::Department => json::integer(out, derived.team.department.into()),
        ColumnSource::Sla => json::integer(out, derived.sla),
        ColumnSource::Priority => json::integer(out, derived.priority.into()),
        ColumnSource::Impact => json::integer(out, derived.impact.into()),
        ColumnSource::Urgency => json::integer(out, derived.urgency.into()),
        ColumnSource::Category => write_quoted(out, &[derived.category]),
        ColumnSource::SubCategory => write_quoted(out, &[derived.sub_category]),
        ColumnSource::Tags => write_quoted(out, &[derived.tags]),
        ColumnSource::Attachments => json::integer(out, derived.attachments.into()),
        ColumnSource::Children => json::integer(out, derived.children.into()),
        ColumnSource::Important => {
            json::boolean(out, derived.user.as_ref().is_some_and(|user| user.id % 11 == 0));
        }
        ColumnSource::Read => {
            json::boolean(out, ticket.closed.is_some() || !derived.extra_draws[1].is_multiple_of(3));
        }
        ColumnSource::Parent if derived.has_parent => json::integer(out, ticket.id - 1),
        ColumnSource::HoldHours if derived.was_on_hold => json::real(out, hold_hours(derived.extra_draws[2])),
        ColumnSource::HoldHours => json::real(out, 0.0),
        ColumnSource::Cost => json::real(
            out,
            [0.0, 0.0, 0.0, 0.0, 0.0, 27.0, 0.750_000_000_000_000_1][remainder(derived.extra_draws[0], 7)],
        ),
        ColumnSource::Guid => json::guid(out, derived.extra_draws[0], derived.extra_draws[1]),
        ColumnSource::Phone => {
            out.push(b'"');
            if derived.extra_draws[2].is_multiple_of(4) {
                json::integer(
                    out,
                    i64::try_from(380_000_000_000 + derived.extra_draws[1] % 1_000_000_000).unwrap_or(0),
                );
            }
            out.push(b'"');
        }
        ColumnSource::WorkflowStep => json::integer(out, if ticket.closed.is_some() { 9 } else { 4 }),
        _ => return None,
    }
    Some(())
}

fn write_quoted(out: &mut Vec<u8>, parts: &[&str]) {
    out.push(b'"');
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}

/// Writes `first.last@domain` with ASCII letters only.
fn write_email(out: &mut Vec<u8>, derived: &DerivedFields<'_>) -> Option<()> {
    let user = derived.user.as_ref()?;
    let ascii_letters =
        |name: &'static str| name.bytes().filter(u8::is_ascii_alphabetic).map(|it| it.to_ascii_lowercase());
    out.push(b'"');
    out.extend(ascii_letters(user.first));
    out.push(b'.');
    out.extend(ascii_letters(user.last));
    out.push(b'@');
    out.extend_from_slice(derived.client.domain.as_bytes());
    out.push(b'"');
    Some(())
}

/// Returns hours on hold with many digits; `32.921996194583336` was recorded.
fn hold_hours(draw: u64) -> f64 {
    f64::from(u32::try_from(draw >> 32).unwrap_or(0)) / 39_181_733.0
}

fn remainder(value: u64, divisor: u64) -> usize {
    usize::try_from(value % divisor).unwrap_or(0)
}

fn itil_of(ticket_type: i32) -> i64 {
    TICKET_TYPES.iter().find(|known| known.id == ticket_type).map_or(21, |known| known.itil.into())
}
