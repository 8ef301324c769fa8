//! `GET /api/tickets`: which rows, in which order, which page of them, and what surrounds them.

use super::choices::{Envelope, PastEnd};
use super::columns::Width;
use super::effect::Bend;
use super::fields;
use super::knobs::Knobs;
use super::message::Answer;
use super::query::{Malformed, Query};
use super::row::Rows;
use super::selection::{Selection, Selections};
use super::stamp::Stamp;
use super::world::{Place, World};

/// Which part of a selection an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// `pageinate` and `page_no` were both sent: the only case in which `record_count` is a total (halo-api.md §2.1).
    Page { number: usize, size: usize },
    /// One answer of so many rows, which calls itself complete.
    Only { rows: usize },
}

impl Part {
    fn asked(query: &Query, knobs: &Knobs) -> Result<Part, Malformed> {
        let page_no = query.number::<i64>("page_no")?;
        let default_rows = length(knobs.default_rows.into());
        if let (true, Some(number)) = (query.flag("pageinate"), page_no) {
            let size = query.number::<i64>("page_size")?.filter(|&size| size > 0);
            let size = size.map_or(default_rows, length).min(length(knobs.page_cap.into()));
            return Ok(Part::Page { number: length(number.max(1)), size });
        }
        let count = query.number::<i64>("count")?.filter(|&count| count > 0);
        let rows = count.map_or(default_rows, length).min(length(knobs.count_cap.into()));
        Ok(Part::Only { rows })
    }

    fn is_paged(self) -> bool {
        matches!(self, Part::Page { .. })
    }

    /// The first position and the end of the part among `total` rows.
    fn bounds(self, total: usize, knobs: &Knobs, bend: &Bend) -> (usize, usize) {
        let (first, rows) = match self {
            Part::Only { rows } => (0, rows),
            Part::Page { number, size } => {
                let last = total.div_ceil(size).max(1);
                let number = if knobs.page_past_end == PastEnd::Last { number.min(last) } else { number };
                // A page that begins too early repeats the end of the one before.
                ((number - 1).saturating_mul(size).saturating_sub(bend.rows_repeated), size)
            }
        };
        let first = first.min(total);
        (first, first.saturating_add(rows).min(total))
    }
}

/// The list answer to `query`.
pub(super) fn answer(
    world: &World,
    selections: &mut Selections,
    knobs: &Knobs,
    query: &Query,
    bend: &Bend,
    now: Stamp,
) -> Result<Answer, Malformed> {
    let part = Part::asked(query, knobs)?;
    let selection = Selection::asked(query, knobs, part.is_paged(), now)?;
    let places = selections.of(world, knobs, &selection);
    let (first, end) = part.bounds(places.len(), knobs, bend);
    let rows = if bend.no_rows { &[] } else { &places[first..end] };
    let full = query.flag("includecolumns") || (part.is_paged() && knobs.envelope == Envelope::Full);

    let mut body = Vec::with_capacity(1_024 + rows.len() * 4_500);
    body.push(b'{');
    if let (Part::Page { number, size }, true) = (part, full || knobs.envelope == Envelope::Echo) {
        body.extend_from_slice(format!("\"page_no\":{number},\"page_size\":{size},").as_bytes());
    }
    let count = if part.is_paged() { places.len() } else { rows.len() };
    bend.write_count(count, &mut body);
    if full {
        body.extend_from_slice(b"\"columns_id\":15,");
    }
    if bend.write_tickets_key(&mut body) {
        let custom = fields::asked(query, knobs)?;
        let width = if full { Width::Profile } else { Width::Plain };
        write_rows(world, knobs, width, custom.as_deref(), rows, now, &mut body);
    }
    if full {
        body.extend_from_slice(COLUMN_PROFILE.as_bytes());
    }
    body.extend_from_slice(b"\"include_children\":false}");
    Ok(Answer::json(200, body))
}

fn write_rows(
    world: &World,
    knobs: &Knobs,
    width: Width,
    custom: Option<&[i64]>,
    places: &[Place],
    now: Stamp,
    body: &mut Vec<u8>,
) {
    let rows = Rows::new(world, knobs, width, now);
    body.push(b'[');
    for (index, &place) in places.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        rows.write(place, body);
        if let Some(ids) = custom {
            fields::append_listed(world, knobs, place, ids, body);
        }
    }
    body.extend_from_slice(b"],");
}

/// The rest of the full envelope (halo-api.md §2.3); the default order stands in the columns with an `order_seq`.
const COLUMN_PROFILE: &str = concat!(
    r#""columns_tilehtml":"","columns_dashboard_id":0,"columns_cardhtml":"","columns_calendar_event_title":"","#,
    r#""columns":[{"id":201,"columns_id":15,"column_seq":1,"column_name":"id","width":80,"order_seq":0,"order_desc":0,"groupbystatus":0},"#,
    r#"{"id":202,"columns_id":15,"column_seq":2,"column_name":"summary","width":320,"order_seq":0,"order_desc":0,"groupbystatus":0},"#,
    r#"{"id":203,"columns_id":15,"column_seq":3,"column_name":"slatimeleftpercused","width":90,"order_seq":1,"order_desc":1,"groupbystatus":0},"#,
    r#"{"id":204,"columns_id":15,"column_seq":4,"column_name":"priority_id","width":90,"order_seq":2,"order_desc":0,"groupbystatus":0}],"#,
    r#""collapse_by_default":false,"#,
);

/// A number that the server takes as a length; what does not fit is as good as endless.
fn length(number: i64) -> usize {
    usize::try_from(number.max(0)).unwrap_or(usize::MAX)
}

/// The one row of `place`, exactly as the list serves it.
pub(super) fn row(world: &World, knobs: &Knobs, place: Place, now: Stamp) -> Vec<u8> {
    let mut row = Vec::new();
    Rows::new(world, knobs, Width::Plain, now).write(place, &mut row);
    row
}
