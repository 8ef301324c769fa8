//! `GET /api/tickets`: selects the rows, their order and page, and writes the envelope.

use crate::columns::ColumnSet;
use crate::custom_fields;
use crate::database::{HaloDatabase, TicketIndex};
use crate::effect::ListFault;
use crate::knob_values::{ListEnvelope, PagePastEnd};
use crate::knobs::Knobs;
use crate::message::ApiResponse;
use crate::query::{InvalidParameter, Query};
use crate::row::RowTemplate;
use crate::selection::{Selection, SelectionCache};
use crate::timestamp::SqlDateTime;

/// The part of a selection that a response holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowRange {
    /// `pageinate` and `page_no` were both sent: only then is `record_count` a total (halo-api.md §2.1).
    Page { number: usize, size: usize },
    /// At most `rows` rows in one response, whose `record_count` is the number of rows sent.
    Unpaged { rows: usize },
}

impl RowRange {
    fn from_query(query: &Query, knobs: &Knobs) -> Result<RowRange, InvalidParameter> {
        let page_no = query.number::<i64>("page_no")?;
        let default_rows = length(knobs.default_rows.into());
        if let (true, Some(number)) = (query.flag("pageinate"), page_no) {
            let size = query.number::<i64>("page_size")?.filter(|&size| size > 0);
            let size = size.map_or(default_rows, length).min(length(knobs.page_cap.into()));
            return Ok(RowRange::Page { number: length(number.max(1)), size });
        }
        let count = query.number::<i64>("count")?.filter(|&count| count > 0);
        let rows = count.map_or(default_rows, length).min(length(knobs.count_cap.into()));
        Ok(RowRange::Unpaged { rows })
    }

    fn is_paged(self) -> bool {
        matches!(self, RowRange::Page { .. })
    }

    /// Returns the start and end of the part among `total` rows.
    fn bounds(self, total: usize, knobs: &Knobs, list_fault: &ListFault) -> (usize, usize) {
        let (first, rows) = match self {
            RowRange::Unpaged { rows } => (0, rows),
            RowRange::Page { number, size } => {
                let last = total.div_ceil(size).max(1);
                let number = if knobs.page_past_end == PagePastEnd::Last { number.min(last) } else { number };
                // A page that begins too early repeats the end of the previous page.
                ((number - 1).saturating_mul(size).saturating_sub(list_fault.rows_repeated), size)
            }
        };
        let first = first.min(total);
        (first, first.saturating_add(rows).min(total))
    }
}

/// Responds to a list request.
pub(crate) fn respond(
    database: &HaloDatabase,
    selections: &mut SelectionCache,
    knobs: &Knobs,
    query: &Query,
    list_fault: &ListFault,
    now: SqlDateTime,
) -> Result<ApiResponse, InvalidParameter> {
    let range = RowRange::from_query(query, knobs)?;
    let selection = Selection::from_query(query, knobs, range.is_paged(), now)?;
    let indices = selections.get_or_compute(database, knobs, &selection);
    let (first, end) = range.bounds(indices.len(), knobs, list_fault);
    let rows = if list_fault.no_rows { &[] } else { &indices[first..end] };
    let with_profile =
        query.flag("includecolumns") || (range.is_paged() && knobs.envelope == ListEnvelope::Full);

    let mut body = Vec::with_capacity(1_024 + rows.len() * 4_500);
    body.push(b'{');
    if let (RowRange::Page { number, size }, true) =
        (range, with_profile || knobs.envelope == ListEnvelope::Echo)
    {
        body.extend_from_slice(format!("\"page_no\":{number},\"page_size\":{size},").as_bytes());
    }
    let count = if range.is_paged() { indices.len() } else { rows.len() };
    list_fault.write_count(count, &mut body);
    if with_profile {
        body.extend_from_slice(b"\"columns_id\":15,");
    }
    if list_fault.write_tickets_key(&mut body) {
        let field_ids = custom_fields::requested_ids(query, knobs)?;
        let column_set = if with_profile { ColumnSet::Profile } else { ColumnSet::Plain };
        write_rows(database, knobs, column_set, field_ids.as_deref(), rows, now, &mut body);
    }
    if with_profile {
        body.extend_from_slice(COLUMN_PROFILE.as_bytes());
    }
    body.extend_from_slice(b"\"include_children\":false}");
    Ok(ApiResponse::json(200, body))
}

fn write_rows(
    database: &HaloDatabase,
    knobs: &Knobs,
    column_set: ColumnSet,
    field_ids: Option<&[i64]>,
    indices: &[TicketIndex],
    now: SqlDateTime,
    body: &mut Vec<u8>,
) {
    let template = RowTemplate::new(database, knobs, column_set, now);
    body.push(b'[');
    for (index, &ticket_index) in indices.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        template.write(ticket_index, body);
        if let Some(ids) = field_ids {
            custom_fields::append_to_row(database, knobs, ticket_index, ids, body);
        }
    }
    body.extend_from_slice(b"],");
}

/// The rest of the full envelope (halo-api.md §2.3); the columns with an `order_seq` define the default order.
const COLUMN_PROFILE: &str = concat!(
    r#""columns_tilehtml":"","columns_dashboard_id":0,"columns_cardhtml":"","columns_calendar_event_title":"","#,
    r#""columns":[{"id":201,"columns_id":15,"column_seq":1,"column_name":"id","width":80,"order_seq":0,"order_desc":0,"groupbystatus":0},"#,
    r#"{"id":202,"columns_id":15,"column_seq":2,"column_name":"summary","width":320,"order_seq":0,"order_desc":0,"groupbystatus":0},"#,
    r#"{"id":203,"columns_id":15,"column_seq":3,"column_name":"slatimeleftpercused","width":90,"order_seq":1,"order_desc":1,"groupbystatus":0},"#,
    r#"{"id":204,"columns_id":15,"column_seq":4,"column_name":"priority_id","width":90,"order_seq":2,"order_desc":0,"groupbystatus":0}],"#,
    r#""collapse_by_default":false,"#,
);

/// Converts a parameter to a length; values out of range become the nearest limit.
fn length(number: i64) -> usize {
    usize::try_from(number.max(0)).unwrap_or(usize::MAX)
}

/// Returns the row of one ticket, exactly as the list serves it.
pub(crate) fn row(database: &HaloDatabase, knobs: &Knobs, index: TicketIndex, now: SqlDateTime) -> Vec<u8> {
    let mut row = Vec::new();
    RowTemplate::new(database, knobs, ColumnSet::Plain, now).write(index, &mut row);
    row
}
