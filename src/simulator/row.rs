//! How a list row becomes JSON text.
//!
//! [`Rows`] joins neighbouring constants of the columns' table into single pieces of text, so that a row is some fifty
//! copies and not a tree of values: this decides how many pages a second the simulator can serve.

use std::ops::Range;

use chrono::TimeDelta;

use super::catalogue::{ON_HOLD, TICKET_TYPES};
use super::choices::ClockZero;
use super::columns::{Source, Width, columns};
use super::json;
use super::knobs::Knobs;
use super::stamp::Stamp;
use super::story::Story;
use super::ticket::Ticket;
use super::world::{Place, World};

/// Writes rows of one shape.
pub(super) struct Rows<'w> {
    world: &'w World,
    now: Stamp,
    clock_zero: &'static str,
    text: String,
    pieces: Vec<Piece>,
}

/// Constant text up to a field, the field's name, and its value; all but the value are parts of one text.
struct Piece {
    before: Range<usize>,
    name: Range<usize>,
    source: Source,
}

impl<'w> Rows<'w> {
    pub(super) fn new(world: &'w World, knobs: &Knobs, width: Width, now: Stamp) -> Rows<'w> {
        let clock_zero = match knobs.clock_zero {
            ClockZero::Midnight => "\"00:00:00\"",
            ClockZero::Eastern => "\"04:00:00\"",
        };
        let mut rows =
            Rows { world, now, clock_zero, text: String::with_capacity(4_096), pieces: Vec::new() };
        let mut before = 0;
        for (name, source) in columns(knobs, width) {
            let here = rows.text.len();
            // Every row begins with its id, so all later names bring their comma along.
            rows.text.push_str(if here == 0 { "{\"" } else { ",\"" });
            rows.text.push_str(name);
            rows.text.push_str("\":");
            match source {
                Source::Fixed(value) => rows.text.push_str(value),
                Source::ClockZero => rows.text.push_str(rows.clock_zero),
                _ => {
                    rows.pieces.push(Piece { before: before..here, name: here..rows.text.len(), source });
                    before = rows.text.len();
                }
            }
        }
        let end = rows.text.len();
        rows.pieces.push(Piece { before: before..end, name: end..end, source: Source::Fixed("") });
        rows
    }

    /// One row, with its closing brace.
    pub(super) fn write(&self, place: Place, out: &mut Vec<u8>) {
        if let Some(raw) = self.world.written(place).and_then(|written| written.raw.as_ref()) {
            out.extend_from_slice(raw.as_bytes());
            return;
        }
        let ticket = self.world.at(place);
        let story = Story::of(self.world, ticket);
        for piece in &self.pieces {
            out.extend_from_slice(&self.text.as_bytes()[piece.before.clone()]);
            let without = out.len();
            out.extend_from_slice(&self.text.as_bytes()[piece.name.clone()]);
            // A null property is left out, name and all (halo-api.md §2.7).
            if self.value(piece.source, place, ticket, &story, out).is_none() {
                out.truncate(without);
            }
        }
        out.push(b'}');
    }

    fn value(
        &self,
        source: Source,
        place: Place,
        ticket: &Ticket,
        story: &Story<'_>,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        match source {
            Source::Fixed(text) => out.extend_from_slice(text.as_bytes()),
            Source::ClockZero => out.extend_from_slice(self.clock_zero.as_bytes()),
            Source::Id => json::integer(out, ticket.id),
            Source::Status => json::integer(out, ticket.status.into()),
            Source::Type => json::integer(out, ticket.kind.into()),
            Source::Agent => json::integer(out, ticket.agent.into()),
            Source::OnHold => json::boolean(out, ticket.status == ON_HOLD),
            Source::MergedInto => {
                json::integer(out, self.world.merge_of(place).map_or(0, |merge| merge.into));
            }
            Source::Itil => json::integer(out, itil_of(ticket.kind)),
            Source::IdSummary | Source::Summary | Source::Details => {
                self.text(source, place, ticket, story, out);
            }
            Source::Opened
            | Source::Updated
            | Source::LastAction
            | Source::Closed
            | Source::FixBy
            | Source::RespondBy
            | Source::TargetDate
            | Source::LastEmail => moment(out, stamp(source, ticket, story)?),
            Source::Age => json::real(out, self.age_in_days(ticket)),
            _ => derived(source, ticket, story, out)?,
        }
        Some(())
    }

    fn text(&self, source: Source, place: Place, ticket: &Ticket, story: &Story<'_>, out: &mut Vec<u8>) {
        let written = self.world.written(place);
        out.push(b'"');
        if source == Source::IdSummary {
            json::integer(out, ticket.id);
            out.extend_from_slice(b" - ");
        }
        if source == Source::Details {
            match written.and_then(|written| written.details.as_ref()) {
                Some(text) => out.extend_from_slice(json::escaped(text).as_bytes()),
                None => story.write_details(&self.world.phrases, self.world.details_bytes, out),
            }
        } else {
            match written.and_then(|written| written.summary.as_ref()) {
                Some(text) => out.extend_from_slice(json::escaped(text).as_bytes()),
                None => out.extend_from_slice(story.summary(&self.world.phrases).as_bytes()),
            }
        }
        out.push(b'"');
    }

    /// Days since the ticket was opened, computed at each request: the one field that never stands still.
    fn age_in_days(&self, ticket: &Ticket) -> f64 {
        let millis = self.now.millis_since(ticket.opened);
        // Whole seconds and the rest apart, since both fit into what a float takes without loss.
        let seconds = i32::try_from(millis / 1_000).unwrap_or(i32::MAX);
        let rest = i32::try_from(millis % 1_000).unwrap_or(0);
        (f64::from(seconds) + f64::from(rest) / 1_000.0) / 86_400.0
    }
}

fn moment(out: &mut Vec<u8>, stamp: Stamp) {
    out.push(b'"');
    stamp.write(out);
    out.push(b'"');
}

/// The moments of a ticket; the sentinels of halo-api.md §6 are years before 1980, each field with its own.
fn stamp(source: Source, ticket: &Ticket, story: &Story<'_>) -> Option<Stamp> {
    match source {
        Source::Opened => Some(ticket.opened),
        Source::Updated => ticket.updated,
        Source::Closed => ticket.closed,
        Source::RespondBy => Some(story.respond_by(ticket)),
        Source::FixBy if story.has_target => Some(story.fix_by(ticket)),
        Source::FixBy => Some(Stamp::OLE_ZERO),
        Source::TargetDate if story.spare[3].is_multiple_of(9) => Some(story.fix_by(ticket).midnight()),
        Source::TargetDate => Some(Stamp::COLUMN_ZERO),
        Source::LastEmail if story.spare[3].is_multiple_of(6) => Some(story.respond_by(ticket)),
        Source::LastEmail => Some(Stamp::NET_ZERO),
        Source::LastAction => {
            // The action is written 0.12 to 0.36 s after the stamp was taken (halo-api.md §2.4).
            let written =
                ticket.updated.filter(|&stamp| stamp != Stamp::COLUMN_ZERO).unwrap_or(ticket.opened);
            let millis = 120 + i64::try_from(written.steps() % 240).unwrap_or(0);
            Some(written.plus(TimeDelta::milliseconds(millis)))
        }
        _ => None,
    }
}

/// What follows from the story alone.
fn derived(source: Source, ticket: &Ticket, story: &Story<'_>, out: &mut Vec<u8>) -> Option<()> {
    match source {
        Source::Client => json::integer(out, story.client.id.into()),
        Source::ClientName => quoted(out, &[&story.client.name_json]),
        Source::Site => json::integer(out, story.site_id()),
        Source::SiteName => quoted(out, &[story.site_name()]),
        Source::User => json::integer(out, story.user.as_ref().map_or(1, |user| user.id)),
        Source::UserName => match &story.user {
            Some(user) => quoted(out, &[user.first, " ", user.last]),
            None => quoted(out, &["General User"]),
        },
        Source::UserEmail => email(out, story)?,
        Source::Team => json::integer(out, story.team.id.into()),
        Source::TeamName => quoted(out, &[story.team.name]),
        Source::Department => json::integer(out, story.team.department.into()),
        Source::Priority => json::integer(out, story.priority.into()),
        Source::Impact => json::integer(out, story.impact.into()),
        Source::Urgency => json::integer(out, story.urgency.into()),
        Source::Category => quoted(out, &[story.category]),
        Source::SubCategory => quoted(out, &[story.sub_category]),
        Source::Tags => quoted(out, &[story.tags]),
        Source::Attachments => json::integer(out, story.attachments.into()),
        Source::Children => json::integer(out, story.children.into()),
        Source::Important => json::boolean(out, story.user.as_ref().is_some_and(|user| user.id % 11 == 0)),
        Source::Read => json::boolean(out, ticket.closed.is_some() || !story.spare[1].is_multiple_of(3)),
        Source::Parent if story.parent => json::integer(out, ticket.id - 1),
        Source::HoldHours if story.held => json::real(out, hours(story.spare[2])),
        Source::HoldHours => json::real(out, 0.0),
        Source::Cost => json::real(
            out,
            [0.0, 0.0, 0.0, 0.0, 0.0, 27.0, 0.750_000_000_000_000_1][remainder(story.spare[0], 7)],
        ),
        Source::Guid => json::guid(out, story.spare[0], story.spare[1]),
        Source::Phone => {
            out.push(b'"');
            if story.spare[2].is_multiple_of(4) {
                json::integer(
                    out,
                    i64::try_from(380_000_000_000 + story.spare[1] % 1_000_000_000).unwrap_or(0),
                );
            }
            out.push(b'"');
        }
        Source::WorkflowStep => json::integer(out, if ticket.closed.is_some() { 9 } else { 4 }),
        _ => return None,
    }
    Some(())
}

fn quoted(out: &mut Vec<u8>, parts: &[&str]) {
    out.push(b'"');
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}

/// `first.last@domain`, with what an address cannot hold left out.
fn email(out: &mut Vec<u8>, story: &Story<'_>) -> Option<()> {
    let user = story.user.as_ref()?;
    let plain =
        |name: &'static str| name.bytes().filter(u8::is_ascii_alphabetic).map(|it| it.to_ascii_lowercase());
    out.push(b'"');
    out.extend(plain(user.first));
    out.push(b'.');
    out.extend(plain(user.last));
    out.push(b'@');
    out.extend_from_slice(story.client.domain.as_bytes());
    out.push(b'"');
    Some(())
}

/// Hours on hold with all their digits, as `32.921996194583336` was recorded.
fn hours(draw: u64) -> f64 {
    f64::from(u32::try_from(draw >> 32).unwrap_or(0)) / 39_181_733.0
}

fn remainder(value: u64, divisor: u64) -> usize {
    usize::try_from(value % divisor).unwrap_or(0)
}

fn itil_of(kind: i32) -> i64 {
    TICKET_TYPES.iter().find(|known| known.id == kind).map_or(21, |known| known.itil.into())
}
