//! Selection of the tickets of a list request, and their order.
//!
//! A scan requests page after page of the same selection, so the last few are cached until something changes. A page of
//! a million tickets then costs the same as a page of a thousand.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use chrono::TimeDelta;

use crate::database::{HaloDatabase, TicketIndex};
use crate::derived_fields::{DerivedFields, client_of};
use crate::knob_values::{DateFilterMode, DatePrecision, DefaultOrder, DeletedInList, PlainList};
use crate::knobs::Knobs;
use crate::query::{InvalidParameter, Query, invalid_parameter};
use crate::rng::SeededRng;
use crate::ticket::{Lifecycle, TicketRecord};
use crate::timestamp::SqlDateTime;

/// Number of cached selections: the plain, the open and the closed list of a coverage check, and one more.
const CACHED_SELECTIONS_MAX: usize = 4;
/// The age limit of "recently closed" tickets.
const RECENTLY_CLOSED: TimeDelta = TimeDelta::days(30);

/// A filter and an order; equal selections of unchanged data hold the same tickets. The default is the plain list,
/// ordered by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    ticket_types: Option<Vec<i64>>,
    statuses: Option<Vec<i64>>,
    ids: Option<Vec<i64>>,
    excluded_ids: Option<Vec<i64>>,
    clients: Option<Vec<i64>>,
    agents: Option<Vec<i64>>,
    open_only: bool,
    closed_only: bool,
    deleted: bool,
    updated: DateRange,
    opened: DateRange,
    closed: DateRange,
    order: SortOrder,
}

/// A range of timestamps; a knob decides whether it includes its bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct DateRange {
    from: Option<SqlDateTime>,
    to: Option<SqlDateTime>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SortOrder {
    by: SortKey,
    descending: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum SortKey {
    #[default]
    Id,
    Opened,
    Updated,
    Closed,
    /// The used share of the SLA time at that time.
    Sla(SqlDateTime),
}

impl Selection {
    pub(crate) fn from_query(
        query: &Query,
        knobs: &Knobs,
        paged: bool,
        now: SqlDateTime,
    ) -> Result<Selection, InvalidParameter> {
        let ticket_types = integer_or_list(query, "requesttype_id", "requesttype")?
            .filter(|_| knobs.type_filter.is_honored());
        let mut selection = Selection {
            ticket_types,
            statuses: integer_or_list(query, "status_id", "status")?,
            ids: integer_or_list(query, "ticketids", "search_id")?,
            excluded_ids: query.integers("excludethese")?,
            clients: integer_or_list(query, "client_id", "client_ids")?,
            agents: integer_or_list(query, "agent_id", "agent")?,
            open_only: query.flag("open_only"),
            closed_only: query.flag("closed_only"),
            deleted: query.flag("deleted"),
            updated: DateRange::default(),
            opened: DateRange::default(),
            closed: DateRange::default(),
            order: SortOrder::from_query(query, knobs, paged, now),
        };
        if knobs.date_filter != DateFilterMode::Ignored {
            selection.updated =
                DateRange::from_query(query, knobs, "lastupdatefromdate", "lastupdatetodate")?;
        }
        // `datesearch` takes the name of a database column, hence one r in "dateoccured"; others are ignored.
        match query.text("datesearch").map(str::to_ascii_lowercase).as_deref() {
            Some("dateoccured") => {
                selection.opened = DateRange::from_query(query, knobs, "startdate", "enddate")?;
            }
            Some("datecleared") => {
                selection.closed = DateRange::from_query(query, knobs, "startdate", "enddate")?;
            }
            _ => {}
        }
        Ok(selection)
    }

    pub(crate) fn matching_indices(&self, database: &HaloDatabase, knobs: &Knobs) -> Vec<TicketIndex> {
        let to_set = |ids: &Vec<i64>| ids.iter().copied().collect::<HashSet<_>>();
        let excluded = self.excluded_ids.as_ref().map(to_set).unwrap_or_default();
        let is_selected = |index: &TicketIndex| {
            let ticket = database.ticket(*index);
            self.matches(database, knobs, ticket) && !excluded.contains(&ticket.id)
        };
        let mut indices: Vec<TicketIndex> = if let Some(ids) = &self.ids {
            ids.iter().filter_map(|&id| database.find(id)).filter(is_selected).collect()
        } else if let Some(from) = self.updated.from {
            // Rounded down to the second, because the filter may compare less precisely than the index.
            database.updated_since(from.whole_second()).filter(is_selected).collect()
        } else {
            database.tickets().map(|(index, _)| index).filter(is_selected).collect()
        };
        self.order.sort(database, &mut indices);
        indices.dedup();
        indices
    }

    fn matches(&self, database: &HaloDatabase, knobs: &Knobs, ticket: &TicketRecord) -> bool {
        let is_any_of = |list: &Option<Vec<i64>>, value: i32| {
            list.as_ref().is_none_or(|list| list.contains(&i64::from(value)))
        };
        let in_range =
            |range: DateRange, timestamp| range == DateRange::default() || range.contains(timestamp, knobs);
        self.is_listed(database, knobs, ticket)
            && is_any_of(&self.ticket_types, ticket.ticket_type)
            && is_any_of(&self.statuses, ticket.status)
            && is_any_of(&self.agents, ticket.agent)
            && in_range(self.updated, ticket.updated)
            && in_range(self.opened, Some(ticket.opened))
            && in_range(self.closed, ticket.closed)
            && (self.clients.is_none() || {
                let client = client_of(database, &mut SeededRng::for_ticket(database.seed, ticket.id));
                is_any_of(&self.clients, client.id)
            })
            && (!self.open_only || !database.is_closed(ticket))
            && (!self.closed_only || database.is_closed(ticket))
    }

    /// Returns whether the list contains this ticket at all, regardless of filters (halo-api.md §2.5).
    fn is_listed(&self, database: &HaloDatabase, knobs: &Knobs, ticket: &TicketRecord) -> bool {
        if ticket.hidden || (ticket.lifecycle == Lifecycle::Merged && !knobs.merged_listed.is_on()) {
            return false;
        }
        let includes_deleted = self.deleted && knobs.deleted_listed != DeletedInList::Never;
        if ticket.lifecycle == Lifecycle::Deleted {
            return includes_deleted;
        }
        if includes_deleted && knobs.deleted_listed == DeletedInList::Only {
            return false;
        }
        let is_plain_list = !self.closed_only && self.ids.is_none();
        let is_old = || ticket.closed.is_some_and(|closed| closed < database.epoch.plus(-RECENTLY_CLOSED));
        !(is_plain_list && knobs.plain_list == PlainList::OpenAndRecent && is_old())
    }
}

impl DateRange {
    fn from_query(query: &Query, knobs: &Knobs, from: &str, to: &str) -> Result<DateRange, InvalidParameter> {
        let shift = TimeDelta::minutes(knobs.date_filter_shift.into());
        let parse_bound = |name: &str| {
            let Some(text) = query.text(name) else { return Ok(None) };
            SqlDateTime::parse(text)
                .map(|timestamp| Some(timestamp.plus(shift)))
                .ok_or_else(|| invalid_parameter(name, text))
        };
        Ok(DateRange { from: parse_bound(from)?, to: parse_bound(to)? })
    }

    /// Returns whether the range contains the timestamp; no range contains `None`.
    fn contains(self, timestamp: Option<SqlDateTime>, knobs: &Knobs) -> bool {
        let truncate = |timestamp: SqlDateTime| match knobs.date_precision {
            DatePrecision::Exact => timestamp,
            DatePrecision::Second => timestamp.whole_second(),
        };
        let Some(timestamp) = timestamp.map(truncate) else { return false };
        let exclusive = knobs.date_filter == DateFilterMode::Exclusive;
        let after = |from: SqlDateTime| {
            if exclusive { timestamp > truncate(from) } else { timestamp >= truncate(from) }
        };
        let before =
            |to: SqlDateTime| if exclusive { timestamp < truncate(to) } else { timestamp <= truncate(to) };
        self.from.is_none_or(after) && self.to.is_none_or(before)
    }
}

impl SortOrder {
    /// Parses the `order` parameter; ties are ordered by id, and unknown names are ignored.
    fn from_query(query: &Query, knobs: &Knobs, paged: bool, now: SqlDateTime) -> SortOrder {
        let by = match query.text("order").map(str::to_ascii_lowercase).as_deref() {
            // Without paging, the newest rows are returned regardless of `order` (halo-api.md §2.1).
            _ if !paged => None,
            Some("id") if knobs.order_by_id.is_honored() => Some(SortKey::Id),
            Some("dateoccurred" | "dateoccured") => Some(SortKey::Opened),
            Some("lastactiondate") => Some(SortKey::Updated),
            Some("last_update") if knobs.order_by_last_update.is_honored() => Some(SortKey::Updated),
            Some("dateclosed") => Some(SortKey::Closed),
            Some("slatimeleft") => Some(SortKey::Sla(now.whole_minute())),
            _ => None,
        };
        match (by, knobs.default_order) {
            (Some(by), _) => SortOrder { by, descending: query.flag("orderdesc") },
            (None, DefaultOrder::Sla) if paged => {
                SortOrder { by: SortKey::Sla(now.whole_minute()), descending: true }
            }
            (None, _) => SortOrder { by: SortKey::Id, descending: true },
        }
    }

    fn sort(self, database: &HaloDatabase, indices: &mut [TicketIndex]) {
        match self.by {
            // Indices are in the order of ids.
            SortKey::Id => indices.sort_unstable(),
            SortKey::Opened => indices.sort_by_key(|&index| (database.ticket(index).opened, index)),
            SortKey::Updated => indices.sort_by_key(|&index| (database.ticket(index).updated, index)),
            SortKey::Closed => indices.sort_by_key(|&index| (database.ticket(index).closed, index)),
            SortKey::Sla(now) => {
                indices.sort_by_cached_key(|&index| (sla_used(database, index, now), Reverse(index)));
            }
        }
        if self.descending {
            indices.reverse();
        }
    }
}

/// Returns the used share of the time to fix, in thousandths. A missed target is assumed to be renewed, so that the
/// order of old tickets keeps changing too.
fn sla_used(database: &HaloDatabase, index: TicketIndex, now: SqlDateTime) -> i64 {
    let ticket = database.ticket(index);
    let allowed =
        DerivedFields::for_ticket(database, ticket).fix_by(ticket).millis_since(ticket.opened).max(1);
    let elapsed = ticket.closed.unwrap_or(now).millis_since(ticket.opened);
    elapsed.rem_euclid(allowed) * 1_000 / allowed
}

/// Returns the integers of the first parameter, or else of the second.
fn integer_or_list(
    query: &Query,
    single_name: &str,
    list_name: &str,
) -> Result<Option<Vec<i64>>, InvalidParameter> {
    Ok(query.integers(single_name)?.or(query.integers(list_name)?))
}

/// A cache of the last selections.
#[derive(Debug, Default)]
pub(crate) struct SelectionCache {
    generation: u64,
    entries: Vec<(Selection, Arc<[TicketIndex]>)>,
}

impl SelectionCache {
    pub(crate) fn get_or_compute(
        &mut self,
        database: &HaloDatabase,
        knobs: &Knobs,
        selection: &Selection,
    ) -> Arc<[TicketIndex]> {
        if self.generation != database.generation() {
            self.entries.clear();
            self.generation = database.generation();
        }
        if let Some((_, indices)) = self.entries.iter().find(|(cached, _)| cached == selection) {
            return Arc::clone(indices);
        }
        if self.entries.len() == CACHED_SELECTIONS_MAX {
            self.entries.remove(0);
        }
        let indices: Arc<[TicketIndex]> = selection.matching_indices(database, knobs).into();
        self.entries.push((selection.clone(), Arc::clone(&indices)));
        indices
    }

    /// Clears the cache; needed after every change of a knob.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}
