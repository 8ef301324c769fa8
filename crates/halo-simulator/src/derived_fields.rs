//! The part of a ticket that is derived from the seed and the id: people, sites and texts.

use crate::database::HaloDatabase;
use crate::fixtures::{self, Client, Team};
use crate::phrases::Phrases;
use crate::rng::SeededRng;
use crate::ticket::TicketRecord;
use crate::timestamp::SqlDateTime;

/// The derived fields of one ticket, computed at every request with the same result.
#[expect(clippy::struct_excessive_bools, reason = "independent properties")]
pub(crate) struct DerivedFields<'w> {
    pub(crate) client: &'w Client,
    pub(crate) site_index: usize,
    /// `None` for the unknown client: such rows lack the user's properties (halo-api.md §2.7).
    pub(crate) user: Option<User>,
    pub(crate) team: &'static Team,
    pub(crate) priority: u8,
    pub(crate) sla: i64,
    pub(crate) impact: u8,
    pub(crate) urgency: u8,
    pub(crate) category: &'static str,
    pub(crate) sub_category: &'static str,
    pub(crate) tags: &'static str,
    pub(crate) summary_index: usize,
    pub(crate) hostile: bool,
    pub(crate) attachments: u8,
    pub(crate) children: u8,
    pub(crate) has_parent: bool,
    pub(crate) was_on_hold: bool,
    pub(crate) has_target: bool,
    /// Random numbers for other properties: a phone number, a GUID, a cost.
    pub(crate) extra_draws: [u64; 4],
}

/// A person at a client.
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) first: &'static str,
    pub(crate) last: &'static str,
}

impl<'w> DerivedFields<'w> {
    pub(crate) fn for_ticket(database: &'w HaloDatabase, ticket: &TicketRecord) -> DerivedFields<'w> {
        let mut rng = SeededRng::for_ticket(database.seed, ticket.id);
        let client = client_of(database, &mut rng);
        let user = draw_user(client, &mut rng);
        // One draw gives many small numbers; a row needs about 30, and a page has 100 rows.
        let mut bits = rng.next();
        let mut draw = |bound: u64| {
            let value = bits % bound;
            bits /= bound;
            u8::try_from(value).unwrap_or(0)
        };
        let priority = 1 + [3, 2, 2, 1, 3, 2, 2, 0][usize::from(draw(8))];
        let (impact, urgency) = (1 + draw(3), 1 + draw(3));
        let (was_on_hold, has_target, has_parent) = (draw(7) == 0, draw(5) != 0, draw(50) == 0);
        let (attachments, children) = (draw(16).saturating_sub(12), draw(32).saturating_sub(29));
        let sub_category = fixtures::SUB_CATEGORIES.get(usize::from(draw(15))).copied().unwrap_or("");
        let tags = fixtures::TAGS.get(usize::from(draw(40))).copied().unwrap_or("");
        let hostile = draw(100) == 0;
        DerivedFields {
            client,
            site_index: rng.index(client.sites.len()),
            user,
            team: rng.pick(&fixtures::TEAMS),
            priority,
            sla: sla_of(database, ticket.id),
            impact,
            urgency,
            category: rng.pick::<&str>(&fixtures::CATEGORIES),
            sub_category,
            tags,
            summary_index: rng.index(if hostile {
                fixtures::HOSTILE_SUMMARIES.len()
            } else {
                fixtures::SUMMARIES.len()
            }),
            hostile,
            attachments,
            children,
            has_parent,
            was_on_hold,
            has_target,
            extra_draws: [rng.next(), rng.next(), rng.next(), rng.next()],
        }
    }

    /// Returns the summary, escaped as the inside of a JSON string.
    pub(crate) fn summary<'p>(&self, phrases: &'p Phrases) -> &'p str {
        let texts = if self.hostile { &phrases.hostile_summaries } else { &phrases.summaries };
        &texts[self.summary_index]
    }

    /// Writes the description, escaped as the inside of a JSON string.
    pub(crate) fn write_details(&self, phrases: &Phrases, average_bytes: u32, out: &mut Vec<u8>) {
        let [length, from, step, _] = self.extra_draws;
        // The length is between 0 and twice the average.
        if length % 25 == 0 {
            return;
        }
        let end = out.len() + usize::try_from(u64::from(average_bytes) * (length % 200) / 100).unwrap_or(0);
        let mut index = usize::try_from(from % 1_000).unwrap_or(0);
        let stride = 1 + 2 * usize::try_from(step % 8).unwrap_or(0);
        while out.len() < end {
            out.extend_from_slice(phrases.sentences[index % phrases.sentences.len()].as_bytes());
            index += stride;
        }
    }

    pub(crate) fn user_id(&self) -> i64 {
        self.user.as_ref().map_or(1, |user| user.id)
    }

    pub(crate) fn site_id(&self) -> i64 {
        i64::from(self.client.id) * 10 + i64::try_from(self.site_index).unwrap_or(0)
    }

    pub(crate) fn site_name(&self) -> &'static str {
        self.client.sites[self.site_index]
    }

    /// Returns the response target.
    pub(crate) fn respond_by(&self, ticket: &TicketRecord) -> SqlDateTime {
        ticket.opened.plus(chrono::TimeDelta::minutes(15 * i64::from(self.priority)))
    }

    /// Returns the first response: always to a closed ticket, not after it was closed, and to most that were updated
    /// after it.
    pub(crate) fn responded_at(&self, ticket: &TicketRecord) -> Option<SqlDateTime> {
        let draw = self.extra_draws[3] >> 16;
        let at = ticket.opened.plus(minutes(1 + draw % 240));
        match ticket.closed {
            Some(closed) => Some(at.min(closed)),
            None => ticket.updated.filter(|&updated| at <= updated && (draw >> 24) % 10 < 6).map(|_| at),
        }
    }

    /// Returns when the ticket was assigned to its agent.
    pub(crate) fn assigned_at(&self, ticket: &TicketRecord) -> Option<SqlDateTime> {
        let at = ticket.opened.plus(minutes((self.extra_draws[3] >> 32) % 30));
        (ticket.agent != fixtures::UNASSIGNED).then(|| ticket.closed.map_or(at, |closed| at.min(closed)))
    }

    /// Returns the resolution target; each SLA recalculation moves it by 15 minutes.
    pub(crate) fn fix_by(&self, ticket: &TicketRecord) -> SqlDateTime {
        let hours = [4, 8, 24, 72][usize::from(self.priority - 1)];
        let recounted = chrono::TimeDelta::minutes(15 * i64::from(ticket.sla_recounts));
        ticket.opened.plus(chrono::TimeDelta::hours(hours) + recounted)
    }
}

fn minutes(number: u64) -> chrono::TimeDelta {
    chrono::TimeDelta::minutes(i64::try_from(number).unwrap_or(0))
}

/// Returns the SLA of a ticket, drawn from a generator of its own: the other draws are the same for any number of SLAs.
fn sla_of(database: &HaloDatabase, ticket_id: i64) -> i64 {
    if database.slas <= 1 {
        return 1;
    }
    let mut rng = SeededRng::for_ticket(database.seed ^ 0x51A0, ticket_id);
    1 + i64::try_from(rng.below(database.slas.into())).unwrap_or(0)
}

/// Draws a user of a client. The order of the draws is the order of those of a ticket.
fn draw_user(client: &Client, rng: &mut SeededRng) -> Option<User> {
    let first = rng.index(fixtures::FIRST_NAMES.len());
    let last = rng.index(fixtures::LAST_NAMES.len());
    let number = first * fixtures::LAST_NAMES.len() + last;
    (client.id != 1).then(|| User {
        id: i64::from(client.id) * 1_000 + i64::try_from(number).unwrap_or(0),
        first: fixtures::FIRST_NAMES[first],
        last: fixtures::LAST_NAMES[last],
    })
}

/// Returns the user of a ticket only.
pub(crate) fn user_of(database: &HaloDatabase, ticket_id: i64) -> Option<i64> {
    let mut rng = SeededRng::for_ticket(database.seed, ticket_id);
    let client = client_of(database, &mut rng);
    draw_user(client, &mut rng).map(|user| user.id)
}

/// Returns the client only, for filters that check every ticket.
pub(crate) fn client_of<'w>(database: &'w HaloDatabase, rng: &mut SeededRng) -> &'w Client {
    let index = rng.index(50 * database.clients.len());
    // All clients are equally likely, except for the unknown one, which is less likely.
    database
        .clients
        .get(1 + index % (database.clients.len() - 1))
        .filter(|_| index > 20)
        .unwrap_or(&database.clients[0])
}
