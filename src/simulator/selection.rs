//! Which tickets a list request means, and in which order.
//!
//! A walk asks for page after page of the same selection, so the last few are kept until something changes. That makes
//! a page of a million tickets cost what a page of a thousand costs.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use chrono::TimeDelta;

use super::chance::Chance;
use super::choices::{DateFilter, DefaultOrder, DeletedListed, PlainList, Precision};
use super::knobs::Knobs;
use super::query::{Malformed, Query, malformed};
use super::stamp::Stamp;
use super::story::{Story, client_of};
use super::ticket::{Standing, Ticket};
use super::world::{Place, World};

/// Selections kept at a time: the plain, the open and the closed list of a coverage check, and one more.
const KEPT_MAX: usize = 4;
/// How far back "recently closed" reaches.
const RECENT: TimeDelta = TimeDelta::days(30);

/// A filter and an order; equal selections of an unchanged world hold the same tickets. The default one is what a plain
/// list shows, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    kinds: Option<Vec<i64>>,
    statuses: Option<Vec<i64>>,
    ids: Option<Vec<i64>>,
    excluded: Option<Vec<i64>>,
    clients: Option<Vec<i64>>,
    agents: Option<Vec<i64>>,
    open_only: bool,
    closed_only: bool,
    deleted: bool,
    updated: Span,
    opened: Span,
    closed: Span,
    order: Order,
}

/// A stretch of time; which of its ends belong to it is for the knob to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    from: Option<Stamp>,
    to: Option<Stamp>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Order {
    by: Key,
    descending: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Key {
    #[default]
    Id,
    Opened,
    Updated,
    Closed,
    /// The share of SLA time used, as of that moment.
    Sla(Stamp),
}

impl Selection {
    pub(super) fn asked(
        query: &Query,
        knobs: &Knobs,
        paged: bool,
        now: Stamp,
    ) -> Result<Selection, Malformed> {
        let kinds =
            either(query, "requesttype_id", "requesttype")?.filter(|_| knobs.type_filter.is_honoured());
        let mut selection = Selection {
            kinds,
            statuses: either(query, "status_id", "status")?,
            ids: either(query, "ticketids", "search_id")?,
            excluded: query.integers("excludethese")?,
            clients: either(query, "client_id", "client_ids")?,
            agents: either(query, "agent_id", "agent")?,
            open_only: query.flag("open_only"),
            closed_only: query.flag("closed_only"),
            deleted: query.flag("deleted"),
            updated: Span::default(),
            opened: Span::default(),
            closed: Span::default(),
            order: Order::asked(query, knobs, paged, now),
        };
        if knobs.date_filter != DateFilter::Ignored {
            selection.updated = Span::asked(query, knobs, "lastupdatefromdate", "lastupdatetodate")?;
        }
        // `datesearch` takes a database column's name, hence one r in "dateoccured"; others are not known.
        match query.text("datesearch").map(str::to_ascii_lowercase).as_deref() {
            Some("dateoccured") => selection.opened = Span::asked(query, knobs, "startdate", "enddate")?,
            Some("datecleared") => selection.closed = Span::asked(query, knobs, "startdate", "enddate")?,
            _ => {}
        }
        Ok(selection)
    }

    pub(super) fn places(&self, world: &World, knobs: &Knobs) -> Vec<Place> {
        let is_known = |ids: &Vec<i64>| ids.iter().copied().collect::<HashSet<_>>();
        let excluded = self.excluded.as_ref().map(is_known).unwrap_or_default();
        let wanted = |place: &Place| {
            let ticket = world.at(*place);
            self.admits(world, knobs, ticket) && !excluded.contains(&ticket.id)
        };
        let mut places: Vec<Place> = if let Some(ids) = &self.ids {
            ids.iter().filter_map(|&id| world.find(id)).filter(wanted).collect()
        } else if let Some(from) = self.updated.from {
            // One second early, because the comparison itself may be coarser than the index.
            world.updated_since(from.whole_second()).filter(wanted).collect()
        } else {
            world.tickets().map(|(place, _)| place).filter(wanted).collect()
        };
        self.order.sort(world, &mut places);
        places.dedup();
        places
    }

    fn admits(&self, world: &World, knobs: &Knobs, ticket: &Ticket) -> bool {
        let among = |list: &Option<Vec<i64>>, value: i32| {
            list.as_ref().is_none_or(|list| list.contains(&i64::from(value)))
        };
        let has = |span: Span, stamp| span == Span::default() || span.holds(stamp, knobs);
        self.lists(world, knobs, ticket)
            && among(&self.kinds, ticket.kind)
            && among(&self.statuses, ticket.status)
            && among(&self.agents, ticket.agent)
            && has(self.updated, ticket.updated)
            && has(self.opened, Some(ticket.opened))
            && has(self.closed, ticket.closed)
            && (self.clients.is_none() || {
                let client = client_of(world, &mut Chance::of_ticket(world.seed, ticket.id));
                among(&self.clients, client.id)
            })
            && (!self.open_only || !world.is_closed(ticket))
            && (!self.closed_only || world.is_closed(ticket))
    }

    /// Whether the list shows this ticket at all, whatever it was asked for (halo-api.md §2.5).
    fn lists(&self, world: &World, knobs: &Knobs, ticket: &Ticket) -> bool {
        if ticket.hidden || (ticket.standing == Standing::Merged && !knobs.merged_listed.is_on()) {
            return false;
        }
        let shows_deleted = self.deleted && knobs.deleted_listed != DeletedListed::Never;
        if ticket.standing == Standing::Deleted {
            return shows_deleted;
        }
        if shows_deleted && knobs.deleted_listed == DeletedListed::Only {
            return false;
        }
        let plain = !self.closed_only && self.ids.is_none();
        let is_old = || ticket.closed.is_some_and(|closed| closed < world.epoch.plus(-RECENT));
        !(plain && knobs.plain_list == PlainList::OpenAndRecent && is_old())
    }
}

impl Span {
    fn asked(query: &Query, knobs: &Knobs, from: &str, to: &str) -> Result<Span, Malformed> {
        let shift = TimeDelta::minutes(knobs.date_filter_shift.into());
        let read = |name: &str| {
            let Some(text) = query.text(name) else { return Ok(None) };
            Stamp::read(text).map(|stamp| Some(stamp.plus(shift))).ok_or_else(|| malformed(name, text))
        };
        Ok(Span { from: read(from)?, to: read(to)? })
    }

    /// A ticket without the date is in no span.
    fn holds(self, stamp: Option<Stamp>, knobs: &Knobs) -> bool {
        let round = |stamp: Stamp| match knobs.date_precision {
            Precision::Exact => stamp,
            Precision::Second => stamp.whole_second(),
        };
        let Some(stamp) = stamp.map(round) else { return false };
        let strict = knobs.date_filter == DateFilter::Exclusive;
        let after = |from: Stamp| if strict { stamp > round(from) } else { stamp >= round(from) };
        let before = |to: Stamp| if strict { stamp < round(to) } else { stamp <= round(to) };
        self.from.is_none_or(after) && self.to.is_none_or(before)
    }
}

impl Order {
    /// Only the first `order` counts here; ties fall back to the id. Names that nobody knows are skipped.
    fn asked(query: &Query, knobs: &Knobs, paged: bool, now: Stamp) -> Order {
        let by = match query.text("order").map(str::to_ascii_lowercase).as_deref() {
            // Without paging the newest rows are given, whatever was asked for (halo-api.md §2.1).
            _ if !paged => None,
            Some("id") if knobs.order_by_id.is_honoured() => Some(Key::Id),
            Some("dateoccurred" | "dateoccured") => Some(Key::Opened),
            Some("lastactiondate") => Some(Key::Updated),
            Some("last_update") if knobs.order_by_last_update.is_honoured() => Some(Key::Updated),
            Some("dateclosed") => Some(Key::Closed),
            Some("slatimeleft") => Some(Key::Sla(now.whole_minute())),
            _ => None,
        };
        match (by, knobs.default_order) {
            (Some(by), _) => Order { by, descending: query.flag("orderdesc") },
            (None, DefaultOrder::Sla) if paged => {
                Order { by: Key::Sla(now.whole_minute()), descending: true }
            }
            (None, _) => Order { by: Key::Id, descending: true },
        }
    }

    fn sort(self, world: &World, places: &mut [Place]) {
        match self.by {
            // A place is a rank by id.
            Key::Id => places.sort_unstable(),
            Key::Opened => places.sort_by_key(|&place| (world.at(place).opened, place)),
            Key::Updated => places.sort_by_key(|&place| (world.at(place).updated, place)),
            Key::Closed => places.sort_by_key(|&place| (world.at(place).closed, place)),
            Key::Sla(now) => {
                places.sort_by_cached_key(|&place| (sla_used(world, place, now), Reverse(place)));
            }
        }
        if self.descending {
            places.reverse();
        }
    }
}

/// The used share of the time to fix, in thousandths. A target that was missed is taken to be renewed, so that the
/// order keeps moving for old tickets too.
fn sla_used(world: &World, place: Place, now: Stamp) -> i64 {
    let ticket = world.at(place);
    let allowed = Story::of(world, ticket).fix_by(ticket).millis_since(ticket.opened).max(1);
    let elapsed = ticket.closed.unwrap_or(now).millis_since(ticket.opened);
    elapsed.rem_euclid(allowed) * 1_000 / allowed
}

/// One integer under the first name or a list of them under the second.
fn either(query: &Query, one: &str, many: &str) -> Result<Option<Vec<i64>>, Malformed> {
    Ok(query.integers(one)?.or(query.integers(many)?))
}

/// The selections that were asked for last.
#[derive(Debug, Default)]
pub(super) struct Selections {
    generation: u64,
    kept: Vec<(Selection, Arc<[Place]>)>,
}

impl Selections {
    pub(super) fn of(&mut self, world: &World, knobs: &Knobs, selection: &Selection) -> Arc<[Place]> {
        if self.generation != world.generation() {
            self.kept.clear();
            self.generation = world.generation();
        }
        if let Some((_, places)) = self.kept.iter().find(|(kept, _)| kept == selection) {
            return Arc::clone(places);
        }
        if self.kept.len() == KEPT_MAX {
            self.kept.remove(0);
        }
        let places: Arc<[Place]> = selection.places(world, knobs).into();
        self.kept.push((selection.clone(), Arc::clone(&places)));
        places
    }

    /// Knobs decide what a selection holds, so whoever turns one forgets them.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
    }
}
