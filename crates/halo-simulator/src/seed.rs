//! The initial tickets: three years of them, generated from the seed.

use chrono::TimeDelta;

use crate::fixtures::{self, NEW, TICKET_TYPES, TicketStatus, UNASSIGNED};
use crate::rng::SeededRng;
use crate::ticket::{Lifecycle, TicketRecord};
use crate::timestamp::SqlDateTime;

pub(crate) const FIRST_ID: i64 = 1_000;

const DAY_SECONDS: i64 = 24 * 3_600;
/// The age of the oldest ticket.
const SPAN_SECONDS: i64 = (3 * 365 - 1) * DAY_SECONDS;
/// Nothing is generated in the last hour, so that the first run does not overlap the next one by accident.
const QUIET_SECONDS: i64 = 3_600;
/// The most that the random offsets below add to the end of a ticket's life.
const MARGIN_SECONDS: i64 = 120;
const LIFE_SECONDS_MAX: i64 = 200 * DAY_SECONDS;
// Shares in a thousand.
const CLOSED_SHARE: u64 = 700;
const UNASSIGNED_SHARE: u64 = 120;
const BULK_SHARE: u64 = 30;
const NEXT_ID_SHARE: u64 = 850;

/// Agents that tickets name and no list has.
const LOST_AGENTS: [i32; 2] = [2, 10];

/// Parameters of the initial tickets.
pub(crate) struct InitialTickets<'w> {
    pub(crate) seed: u64,
    pub(crate) count: u32,
    /// Tickets in a thousand without a last update.
    pub(crate) undated: u32,
    /// Assigned tickets in a thousand whose agent is in no list.
    pub(crate) lost_agents: u32,
    pub(crate) epoch: SqlDateTime,
    pub(crate) statuses: &'w [TicketStatus],
}

impl InitialTickets<'_> {
    /// Generates the tickets in ascending order of id, roughly in the order in which they were opened.
    pub(crate) fn generate(&self) -> Vec<TicketRecord> {
        let mut id = FIRST_ID;
        (0..self.count)
            .map(|index| {
                id += id_gap(self.seed, id);
                let offset = SPAN_SECONDS * i64::from(index) / i64::from(self.count);
                self.generate_ticket(id, SPAN_SECONDS - offset + QUIET_SECONDS + MARGIN_SECONDS, index + 1)
            })
            .collect()
    }

    /// Generates a ticket opened about `age` seconds before the epoch, with its life since then.
    fn generate_ticket(&self, id: i64, age: i64, change: u32) -> TicketRecord {
        let mut rng = SeededRng::for_ticket(self.seed ^ 0xa6ed, id);
        let opened = self.epoch.plus(-TimeDelta::milliseconds(age * 1_000 + below(&mut rng, 50_000)));
        // Most lives are short: the product of three draws is skewed toward zero.
        let skewed = below(&mut rng, 1_000) * below(&mut rng, 1_000) * below(&mut rng, 1_000);
        let lifetime = (LIFE_SECONDS_MAX * skewed / 1_000_000_000).min(age - QUIET_SECONDS - MARGIN_SECONDS);
        let ended_at = opened.plus(TimeDelta::milliseconds(lifetime * 1_000 + below(&mut rng, 1_000)));
        let closed = rng.per_mille(CLOSED_SHARE);
        let weight = |status: &TicketStatus| if status.closed == closed { status.weight } else { 0 };
        let unassigned = !closed && rng.per_mille(UNASSIGNED_SHARE);
        TicketRecord {
            id,
            opened,
            updated: self.updated(&mut rng, ended_at),
            closed: closed.then_some(ended_at),
            status: pick_weighted(&mut rng, self.statuses, weight).id,
            ticket_type: pick_weighted(&mut rng, &TICKET_TYPES, |it| it.weight).id,
            agent: if unassigned { UNASSIGNED } else { self.known_or_lost(id, *rng.pick(&fixtures::AGENTS)) },
            change_seq: change,
            sla_recounts: 0,
            lifecycle: Lifecycle::Live,
            hidden: false,
        }
    }

    /// Replaces the agents of some tickets, drawn from a generator of their own, so that nothing else changes.
    fn known_or_lost(&self, id: i64, agent: i32) -> i32 {
        let mut rng = SeededRng::for_ticket(self.seed ^ 0x1057, id);
        let is_lost = self.lost_agents > 0 && rng.per_mille(self.lost_agents.into());
        if is_lost { *rng.pick(&LOST_AGENTS) } else { agent }
    }

    /// Generates the last update of a ticket whose life ended at `ended_at`.
    fn updated(&self, rng: &mut SeededRng, ended_at: SqlDateTime) -> Option<SqlDateTime> {
        if rng.per_mille(self.undated.into()) {
            return (rng.below(2) == 0).then_some(SqlDateTime::COLUMN_ZERO);
        }
        // A bulk change gives many tickets the same timestamp: here the midnight after `ended_at`.
        let midnight = ended_at.midnight().plus(TimeDelta::days(1));
        let is_past = midnight < self.epoch.plus(-TimeDelta::seconds(QUIET_SECONDS));
        let touched = ended_at.plus(TimeDelta::milliseconds(below(rng, 60_000)));
        Some(if is_past && rng.per_mille(BULK_SHARE) { midnight } else { touched })
    }
}

/// Returns the distance to the next id. Ids have gaps because other objects and lost tickets used some.
pub(crate) fn id_gap(seed: u64, id: i64) -> i64 {
    let mut rng = SeededRng::for_ticket(seed ^ 0x6A70, id);
    if rng.per_mille(NEXT_ID_SHARE) { 1 } else { 2 + below(&mut rng, 9) }
}

/// Creates a new, unassigned ticket.
pub(crate) fn new_ticket(seed: u64, id: i64, created_at: SqlDateTime, change: u32) -> TicketRecord {
    let mut rng = SeededRng::for_ticket(seed ^ 0x0b07, id);
    TicketRecord {
        id,
        opened: created_at,
        updated: Some(created_at),
        closed: None,
        status: NEW,
        ticket_type: pick_weighted(&mut rng, &TICKET_TYPES, |it| if it.active { it.weight } else { 0 }).id,
        agent: UNASSIGNED,
        change_seq: change,
        sla_recounts: 0,
        lifecycle: Lifecycle::Live,
        hidden: false,
    }
}

/// Picks one of `items` with a probability proportional to its weight.
fn pick_weighted<'a, T>(rng: &mut SeededRng, items: &'a [T], weight: impl Fn(&T) -> u64) -> &'a T {
    let total = items.iter().map(&weight).sum();
    let mut left = rng.below(total);
    for item in items {
        let share = weight(item);
        if left < share {
            return item;
        }
        left -= share;
    }
    &items[0]
}

fn below(rng: &mut SeededRng, bound: u64) -> i64 {
    i64::try_from(rng.below(bound)).unwrap_or(0)
}
