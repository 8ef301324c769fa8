//! The part of a ticket that follows from the seed and the id: who, where and what about.

use super::catalogue::{self, Client, Team};
use super::chance::Chance;
use super::json;
use super::stamp::Stamp;
use super::ticket::Ticket;
use super::world::World;

/// The derived facts of one ticket, drawn anew at every request and always the same.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, none excludes another")]
pub(super) struct Story<'w> {
    pub(super) client: &'w Client,
    pub(super) site: usize,
    /// `None` where the client is unknown: such rows lack the user's properties (halo-api.md §2.7).
    pub(super) user: Option<User>,
    pub(super) team: &'static Team,
    pub(super) priority: u8,
    pub(super) impact: u8,
    pub(super) urgency: u8,
    pub(super) category: &'static str,
    pub(super) sub_category: &'static str,
    pub(super) tags: &'static str,
    pub(super) summary: usize,
    pub(super) hostile: bool,
    pub(super) attachments: u8,
    pub(super) children: u8,
    pub(super) parent: bool,
    pub(super) held: bool,
    pub(super) has_target: bool,
    /// Draws for what few places need: a phone number, a GUID, a cost.
    pub(super) spare: [u64; 4],
}

/// A person at a client.
pub(super) struct User {
    pub(super) id: i64,
    pub(super) first: &'static str,
    pub(super) last: &'static str,
}

impl<'w> Story<'w> {
    pub(super) fn of(world: &'w World, ticket: &Ticket) -> Story<'w> {
        let mut chance = Chance::of_ticket(world.seed, ticket.id);
        let client = client_of(world, &mut chance);
        let first = chance.place(catalogue::FIRST_NAMES.len());
        let last = chance.place(catalogue::LAST_NAMES.len());
        let number = first * catalogue::LAST_NAMES.len() + last;
        let user = (client.id != 1).then(|| User {
            id: i64::from(client.id) * 1_000 + i64::try_from(number).unwrap_or(0),
            first: catalogue::FIRST_NAMES[first],
            last: catalogue::LAST_NAMES[last],
        });
        // One draw gives many small facts; a row needs about thirty and a page a hundred rows.
        let mut bits = chance.next();
        let mut small = |bound: u64| {
            let value = bits % bound;
            bits /= bound;
            u8::try_from(value).unwrap_or(0)
        };
        let priority = 1 + [3, 2, 2, 1, 3, 2, 2, 0][usize::from(small(8))];
        let (impact, urgency) = (1 + small(3), 1 + small(3));
        let (held, has_target, parent) = (small(7) == 0, small(5) != 0, small(50) == 0);
        let (attachments, children) = (small(16).saturating_sub(12), small(32).saturating_sub(29));
        let sub_category = catalogue::SUB_CATEGORIES.get(usize::from(small(15))).copied().unwrap_or("");
        let tags = catalogue::TAGS.get(usize::from(small(40))).copied().unwrap_or("");
        let hostile = small(100) == 0;
        Story {
            client,
            site: chance.place(client.sites.len()),
            user,
            team: chance.pick(&catalogue::TEAMS),
            priority,
            impact,
            urgency,
            category: chance.pick::<&str>(&catalogue::CATEGORIES),
            sub_category,
            tags,
            summary: chance.place(if hostile {
                catalogue::HOSTILE_SUMMARIES.len()
            } else {
                catalogue::SUMMARIES.len()
            }),
            hostile,
            attachments,
            children,
            parent,
            held,
            has_target,
            spare: [chance.next(), chance.next(), chance.next(), chance.next()],
        }
    }

    /// The summary, as it stands between the quotes of a JSON string.
    pub(super) fn summary<'p>(&self, phrases: &'p Phrases) -> &'p str {
        let from = if self.hostile { &phrases.hostile_summaries } else { &phrases.summaries };
        &from[self.summary]
    }

    /// The description, as it stands between the quotes of a JSON string.
    pub(super) fn write_details(&self, phrases: &Phrases, average: u32, out: &mut Vec<u8>) {
        let [length, from, step, _] = self.spare;
        // Some tickets say nothing, some twice the usual.
        if length % 25 == 0 {
            return;
        }
        let end = out.len() + usize::try_from(u64::from(average) * (length % 200) / 100).unwrap_or(0);
        let mut index = usize::try_from(from % 1_000).unwrap_or(0);
        let stride = 1 + 2 * usize::try_from(step % 8).unwrap_or(0);
        while out.len() < end {
            out.extend_from_slice(phrases.sentences[index % phrases.sentences.len()].as_bytes());
            index += stride;
        }
    }

    pub(super) fn site_id(&self) -> i64 {
        i64::from(self.client.id) * 10 + i64::try_from(self.site).unwrap_or(0)
    }

    pub(super) fn site_name(&self) -> &'static str {
        self.client.sites[self.site]
    }

    /// When an agent must have answered.
    pub(super) fn respond_by(&self, ticket: &Ticket) -> Stamp {
        ticket.opened.plus(chrono::TimeDelta::minutes(15 * i64::from(self.priority)))
    }

    /// When the ticket must be solved; a recount moves it by a quarter of an hour.
    pub(super) fn fix_by(&self, ticket: &Ticket) -> Stamp {
        let hours = [4, 8, 24, 72][usize::from(self.priority - 1)];
        let recounted = chrono::TimeDelta::minutes(15 * i64::from(ticket.recounts));
        ticket.opened.plus(chrono::TimeDelta::hours(hours) + recounted)
    }
}

/// The client alone, for filters that look at every ticket.
pub(super) fn client_of<'w>(world: &'w World, chance: &mut Chance) -> &'w Client {
    let place = chance.place(50 * world.clients.len());
    // Every client is as likely as the next, but for the unknown one, which gets a fiftieth of that.
    world
        .clients
        .get(1 + place % (world.clients.len() - 1))
        .filter(|_| place > 20)
        .unwrap_or(&world.clients[0])
}

/// The texts of the catalogue, escaped once: a page copies some two thousand of them.
#[derive(Clone, Debug)]
pub(super) struct Phrases {
    summaries: Vec<String>,
    hostile_summaries: Vec<String>,
    sentences: Vec<String>,
}

impl Phrases {
    pub(super) fn prepared() -> Phrases {
        let escaped = |texts: &[&str]| texts.iter().map(|text| json::escaped(text)).collect();
        // Each sentence brings what separates it from the next: mostly a blank, at times a line end.
        let ends = [" ", " ", " ", "\\r\\n", " ", "\\r\\n\\r\\n"];
        let sentences = catalogue::SENTENCES.iter().zip(ends.iter().cycle());
        Phrases {
            summaries: escaped(&catalogue::SUMMARIES),
            hostile_summaries: escaped(&catalogue::HOSTILE_SUMMARIES),
            sentences: sentences.map(|(text, end)| json::escaped(text) + end).collect(),
        }
    }
}
