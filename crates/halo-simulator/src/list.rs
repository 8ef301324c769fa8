//! `GET /api/tickets`: selects the rows, their order and page, and writes the envelope.

use std::ops::Range;

use crate::columns::ColumnSet;
use crate::custom_fields;
use crate::database::{HaloDatabase, TicketIndex};
use crate::effect::{EndlessList, ListFault};
use crate::endpoint::ApiEndpoint;
use crate::fixtures::NEW;
use crate::generated::GeneratedText;
use crate::knob_values::ListEnvelope;
use crate::knobs::Knobs;
use crate::message::ApiResponse;
use crate::query::{InvalidParameter, Query};
use crate::row::RowTemplate;
use crate::row_defect::{self, RowDefect};
use crate::row_range::{RowRange, length};
use crate::selection::{Selection, SelectionCache};
use crate::timestamp::SqlDateTime;

/// Responds to a list request.
pub(crate) fn respond(
    database: &HaloDatabase,
    selections: &mut SelectionCache,
    knobs: &Knobs,
    query: &Query,
    list_fault: &ListFault,
    now: SqlDateTime,
) -> Result<ApiResponse, InvalidParameter> {
    let range = RowRange::from_query(query, knobs, length(knobs.page_cap.into()))?;
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
    let new_rows = NewRows::on_page(range, indices.len(), list_fault);
    let counted = if range.is_paged() { &indices[..] } else { rows };
    let count = count_of(database, list_fault, counted);
    list_fault.write_count(new_rows.as_ref().map_or(count, |new| new.count.max(count)), &mut body);
    if with_profile {
        body.extend_from_slice(b"\"columns_id\":15,");
    }
    let mut generated = Vec::new();
    if list_fault.write_array_key("tickets", &mut body) {
        let column_set = if with_profile { ColumnSet::Profile } else { ColumnSet::Plain };
        let writer = RowWriter {
            database,
            knobs,
            list_fault,
            field_ids: custom_fields::requested_ids(query, knobs)?,
            template: RowTemplate::new(database, knobs, column_set, now),
        };
        body.push(b'[');
        generated = writer.write_all(rows, &mut body);
        if let Some(new_rows) = new_rows.filter(|_| !list_fault.no_rows) {
            new_rows.write(database, rows.is_empty(), now, &mut body);
        }
        body.extend_from_slice(b"],");
    }
    if with_profile {
        body.extend_from_slice(COLUMN_PROFILE.as_bytes());
    }
    body.extend_from_slice(b"\"include_children\":false}");
    let response = ApiResponse::json(200, body);
    Ok(generated.into_iter().fold(response, |response, (at, text)| response.with_generated(at, text)))
}

/// Writes the rows of one response.
struct RowWriter<'w> {
    database: &'w HaloDatabase,
    knobs: &'w Knobs,
    list_fault: &'w ListFault,
    field_ids: Option<Vec<i64>>,
    template: RowTemplate<'w>,
}

impl RowWriter<'_> {
    /// Writes the rows and returns the text to generate in them, with the position of each.
    fn write_all(&self, indices: &[TicketIndex], body: &mut Vec<u8>) -> Vec<(usize, GeneratedText)> {
        let mut generated = Vec::new();
        for (position, &index) in indices.iter().enumerate() {
            if position > 0 {
                body.push(b',');
            }
            let start = body.len();
            self.template.write(index, body);
            if let Some(ids) = &self.field_ids {
                custom_fields::append_to_row(self.database, self.knobs, index, ids, body);
            }
            if !self.database.field_changes.is_empty() {
                let mut row = body.split_off(start);
                self.database.field_changes.apply(ApiEndpoint::List, &mut row);
                body.append(&mut row);
            }
            let defects = defects_of(self.database, self.list_fault, index);
            if !defects.is_empty() {
                let mut row = body.split_off(start);
                let in_row = row_defect::apply(&defects, &mut row);
                generated.extend(in_row.into_iter().map(|(at, text)| (start + at, text)));
                body.append(&mut row);
            }
        }
        generated
    }
}

/// Returns the defects of a ticket's row: its own, and those of faults.
pub(crate) fn defects_of(
    database: &HaloDatabase,
    list_fault: &ListFault,
    index: TicketIndex,
) -> Vec<RowDefect> {
    let own = database.overrides(index).map_or(&[][..], |overrides| &overrides.defects);
    let of_faults = list_fault.defects.iter().filter(|(places, _)| places.contains(index));
    own.iter().chain(of_faults.map(|(_, defect)| defect)).cloned().collect()
}

/// Returns the number of rows that `record_count` counts.
fn count_of(database: &HaloDatabase, list_fault: &ListFault, indices: &[TicketIndex]) -> u64 {
    let all = to_u64(indices.len());
    if list_fault.defects.is_empty() && !database.has_row_defects() {
        return all;
    }
    let is_uncounted =
        |&&index: &&TicketIndex| defects_of(database, list_fault, index).contains(&RowDefect::Uncounted);
    all - to_u64(indices.iter().filter(is_uncounted).count())
}

/// New rows after the last ticket of a list that never ends.
struct NewRows {
    /// The numbers of those on this page, counted from 0.
    numbers: Range<u64>,
    /// What the response gives as the count.
    count: u64,
}

impl NewRows {
    fn on_page(range: RowRange, total: usize, list_fault: &ListFault) -> Option<NewRows> {
        let EndlessList { first_count, highest_page } = list_fault.endless?;
        let RowRange::Page { number, size } = range else { return None };
        let (total, size) = (to_u64(total), to_u64(size));
        let end = to_u64(number).saturating_mul(size);
        let numbers = (end - size).max(total) - total..end.max(total) - total;
        // There is always one more page.
        let asked_for = highest_page.saturating_add(1).saturating_mul(size);
        Some(NewRows { numbers, count: total.max(first_count).saturating_add(asked_for) })
    }

    /// Writes rows with a few properties and ids after the last ticket's.
    fn write(self, database: &HaloDatabase, mut is_first: bool, now: SqlDateTime, body: &mut Vec<u8>) {
        let last_id = database.tickets().last().map_or(0, |(_, ticket)| ticket.id);
        let mut timestamp = Vec::new();
        now.write(&mut timestamp);
        let timestamp = String::from_utf8_lossy(&timestamp);
        for number in self.numbers {
            let id = last_id.saturating_add_unsigned(number).saturating_add(1);
            let comma = if is_first { "" } else { "," };
            is_first = false;
            body.extend_from_slice(
                format!(
                    "{comma}{{\"id\":{id},\"summary\":\"Ticket {id}\",\"dateoccurred\":\"{timestamp}\",\
                     \"last_update\":\"{timestamp}\",\"status_id\":{NEW},\"tickettype_id\":1,\"client_id\":12}}"
                )
                .as_bytes(),
            );
        }
    }
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
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

/// Returns the row of one ticket, exactly as the list serves it.
pub(crate) fn row(database: &HaloDatabase, knobs: &Knobs, index: TicketIndex, now: SqlDateTime) -> Vec<u8> {
    let mut row = Vec::new();
    RowTemplate::new(database, knobs, ColumnSet::Plain, now).write(index, &mut row);
    row
}
