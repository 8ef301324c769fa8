//! How a world begins: three years of tickets, made from the seed.

use chrono::TimeDelta;

use super::catalogue::{self, NEW, Status, TICKET_TYPES, UNASSIGNED};
use super::chance::Chance;
use super::stamp::Stamp;
use super::ticket::{Standing, Ticket};

pub(super) const FIRST_ID: i64 = 1_000;

const DAY_SECONDS: i64 = 24 * 3_600;
/// The age of the oldest ticket.
const SPAN_SECONDS: i64 = (3 * 365 - 1) * DAY_SECONDS;
/// Nothing of a fresh world happened in the last hour, so that a first pass and the next do not meet by accident.
const QUIET_SECONDS: i64 = 3_600;
/// What the small draws below may add to the end of a life.
const MARGIN_SECONDS: i64 = 120;
const LIFE_SECONDS_MAX: i64 = 200 * DAY_SECONDS;
/// Shares in a thousand.
const CLOSED_SHARE: u64 = 700;
const UNASSIGNED_SHARE: u64 = 120;
const BULK_SHARE: u64 = 30;
const NEXT_ID_SHARE: u64 = 850;

/// What decides how a world begins.
pub(super) struct Genesis<'w> {
    pub(super) seed: u64,
    pub(super) how_many: u32,
    /// Tickets in a thousand without a last update.
    pub(super) undated: u32,
    pub(super) epoch: Stamp,
    pub(super) statuses: &'w [Status],
}

impl Genesis<'_> {
    /// The tickets, in ascending order of id and roughly in that of their opening.
    pub(super) fn tickets(&self) -> Vec<Ticket> {
        let mut id = FIRST_ID;
        (0..self.how_many)
            .map(|index| {
                id += gap(self.seed, id);
                let younger = SPAN_SECONDS * i64::from(index) / i64::from(self.how_many);
                self.ticket(id, SPAN_SECONDS - younger + QUIET_SECONDS + MARGIN_SECONDS, index + 1)
            })
            .collect()
    }

    /// A ticket opened about `age` seconds before the epoch, with the life it had since.
    fn ticket(&self, id: i64, age: i64, change: u32) -> Ticket {
        let mut draws = Chance::of_ticket(self.seed ^ 0xa6ed, id);
        let opened = self.epoch.plus(-TimeDelta::milliseconds(age * 1_000 + below(&mut draws, 50_000)));
        // Most lives are short: the product of three draws leans to zero.
        let lean = below(&mut draws, 1_000) * below(&mut draws, 1_000) * below(&mut draws, 1_000);
        let life = (LIFE_SECONDS_MAX * lean / 1_000_000_000).min(age - QUIET_SECONDS - MARGIN_SECONDS);
        let ended = opened.plus(TimeDelta::milliseconds(life * 1_000 + below(&mut draws, 1_000)));
        let closed = draws.per_mille(CLOSED_SHARE);
        let weight = |status: &Status| if status.closed == closed { status.weight } else { 0 };
        let unassigned = !closed && draws.per_mille(UNASSIGNED_SHARE);
        Ticket {
            id,
            opened,
            updated: self.updated(&mut draws, ended),
            closed: closed.then_some(ended),
            status: weighted(&mut draws, self.statuses, weight).id,
            kind: weighted(&mut draws, &TICKET_TYPES, |kind| kind.weight).id,
            agent: if unassigned { UNASSIGNED } else { *draws.pick(&catalogue::AGENTS) },
            change,
            recounts: 0,
            standing: Standing::Live,
            hidden: false,
        }
    }

    /// The last update of a ticket whose life ended then.
    fn updated(&self, draws: &mut Chance, ended: Stamp) -> Option<Stamp> {
        if draws.per_mille(self.undated.into()) {
            return (draws.below(2) == 0).then_some(Stamp::COLUMN_ZERO);
        }
        // A bulk change gives many tickets one stamp: here the midnight after they ended.
        let midnight = ended.midnight().plus(TimeDelta::days(1));
        let is_past = midnight < self.epoch.plus(-TimeDelta::seconds(QUIET_SECONDS));
        let touched = ended.plus(TimeDelta::milliseconds(below(draws, 60_000)));
        Some(if is_past && draws.per_mille(BULK_SHARE) { midnight } else { touched })
    }
}

/// The distance to the next id: ids are not dense, since other objects and lost tickets used some up.
pub(super) fn gap(seed: u64, id: i64) -> i64 {
    let mut draws = Chance::of_ticket(seed ^ 0x6A70, id);
    if draws.per_mille(NEXT_ID_SHARE) { 1 } else { 2 + below(&mut draws, 9) }
}

/// A ticket of this moment: new, nobody's.
pub(super) fn newborn(seed: u64, id: i64, stamp: Stamp, change: u32) -> Ticket {
    let mut draws = Chance::of_ticket(seed ^ 0x0b07, id);
    Ticket {
        id,
        opened: stamp,
        updated: Some(stamp),
        closed: None,
        status: NEW,
        kind: weighted(&mut draws, &TICKET_TYPES, |kind| if kind.active { kind.weight } else { 0 }).id,
        agent: UNASSIGNED,
        change,
        recounts: 0,
        standing: Standing::Live,
        hidden: false,
    }
}

/// One of `items`, each as likely as its weight.
fn weighted<'a, T>(draws: &mut Chance, items: &'a [T], weight: impl Fn(&T) -> u64) -> &'a T {
    let total = items.iter().map(&weight).sum();
    let mut left = draws.below(total);
    for item in items {
        let share = weight(item);
        if left < share {
            return item;
        }
        left -= share;
    }
    &items[0]
}

fn below(draws: &mut Chance, bound: u64) -> i64 {
    i64::try_from(draws.below(bound)).unwrap_or(0)
}
