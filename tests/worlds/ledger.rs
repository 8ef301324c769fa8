//! What happened on the server, and to whom: the oracle's memory. It asks the server what it lists and never the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use halo_simulator::{PlainList, Server};
use halosync::ticket::{AttributeValue, Timestamp};

use crate::coverage::Coverage;
use crate::mapping::{self, Names};

/// The number of an event; 0 is the beginning of the world.
pub(crate) type Seq = u64;

/// The life of one ticket, as far as a promise about it depends on it.
#[derive(Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, none excludes another")]
pub(crate) struct Life {
    pub(crate) listed: bool,
    /// When it last came into the list.
    pub(crate) entered_at: Seq,
    /// When it last changed in any way.
    pub(crate) changed_at: Seq,
    /// Whether a pass has promised that the present version is stored.
    pub(crate) due: bool,
    /// Softly deleted.
    pub(crate) deleted: bool,
    /// Merged into another ticket.
    pub(crate) merged: bool,
    /// Outside of what the agent may see.
    pub(crate) hidden: bool,
    /// The newest stamp it ever had: a version with an older one is seen by full walks only.
    newest: Option<Timestamp>,
    row: Option<Arc<Vec<AttributeValue>>>,
}

/// Without the row, which is long.
impl fmt::Debug for Life {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing = [
            (self.listed, "listed"),
            (self.deleted, "deleted"),
            (self.merged, "merged"),
            (self.hidden, "hidden"),
        ];
        let standing: Vec<_> = standing.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        write!(
            out,
            "{}, entered at #{}, changed at #{}",
            standing.join(", "),
            self.entered_at,
            self.changed_at
        )
    }
}

/// One event.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one event may do several of them")]
pub(crate) struct Event {
    pub(crate) seq: Seq,
    /// Whether a ticket left the list.
    left: bool,
    /// Whether one came back into it, at any place.
    returned: bool,
    /// Whether a new one came, at the end.
    newcomer: bool,
    /// Whether one got a new stamp, and so entered what following walks are shown.
    stamped: bool,
}

impl Event {
    /// Whether somebody left, and whether somebody entered what such a walk is shown.
    pub(crate) fn exchanged(self, full: bool) -> (bool, bool) {
        // Full walks count against the set as it stood, so that a newcomer cannot stand in for a leaver.
        (self.left, self.returned || !full && (self.newcomer || self.stamped))
    }
}

/// What happened to the tickets an event named.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deed {
    /// The tickets it was done to.
    pub(crate) to: Vec<i64>,
    pub(crate) stamped: bool,
    /// Whether tickets got another type: they leave one filtered list and enter another anywhere.
    pub(crate) retyped: bool,
    pub(crate) words: String,
}

impl Deed {
    pub(crate) fn new(to: Vec<i64>, stamped: bool, words: String) -> Deed {
        Deed { to, stamped, words, retyped: false }
    }
}

/// The memory.
pub(crate) struct Ledger {
    pub(crate) seq: Seq,
    pub(crate) events: Vec<Event>,
    pub(crate) lives: BTreeMap<i64, Life>,
    /// The names of the statuses, empty where nobody may know them.
    pub(crate) names: Names,
    pub(crate) coverage: Coverage,
    /// How far the server's clock is off.
    pub(crate) clock_offset: TimeDelta,
    /// What happened, for people; only where it is to be told.
    story: Option<Vec<String>>,
    /// As it was when the server was backed up.
    backup: Option<Box<Backup>>,
    /// Custom fields that were defined in the course of the world.
    pub(crate) late_fields: BTreeSet<i64>,
}

/// What the server goes back to.
#[derive(Clone)]
struct Backup {
    lives: BTreeMap<i64, Life>,
    names: Names,
    late_fields: BTreeSet<i64>,
}

impl Ledger {
    pub(crate) fn of(server: &mut Server, names: Names, told: bool) -> Ledger {
        let lives = listed(server).into_iter().map(|id| (id, Life { listed: true, ..Life::default() }));
        let (lives, coverage) = (lives.collect(), Coverage::default());
        Ledger {
            seq: 0,
            events: Vec::new(),
            lives,
            names,
            coverage,
            clock_offset: TimeDelta::zero(),
            story: told.then(Vec::new),
            backup: None,
            late_fields: BTreeSet::new(),
        }
    }

    /// Lets something happen and enters it.
    pub(crate) fn witness(
        &mut self,
        server: &mut Server,
        now: DateTime<Utc>,
        deed: impl FnOnce(&mut Server) -> Deed,
    ) {
        let before = listed(server);
        let deed = deed(server);
        let after = listed(server);
        self.seq += 1;
        let seq = self.seq;
        let left: Vec<_> = before.difference(&after).copied().collect();
        let came: Vec<_> = after.difference(&before).copied().collect();
        let newcomer = came.iter().any(|id| !self.lives.contains_key(id));
        let returned = came.iter().any(|id| self.lives.contains_key(id));
        for id in &left {
            self.lives.entry(*id).or_default().listed = false;
        }
        for id in &came {
            let life = self.lives.entry(*id).or_default();
            (life.listed, life.entered_at) = (true, seq);
        }
        for id in deed.to.iter().chain(&left).chain(&came) {
            let life = self.lives.entry(*id).or_default();
            (life.changed_at, life.due, life.row) = (seq, false, None);
        }
        if 0 < server.knobs().detail_cache_s {
            // Whether a version is older than one before decides what a cache may excuse: none may go unseen.
            for id in &deed.to {
                if self.lives[id].listed {
                    self.row(*id, server, now);
                }
            }
        }
        self.events.push(Event {
            seq,
            left: !left.is_empty() || deed.retyped,
            returned: returned || deed.retyped,
            newcomer,
            stamped: deed.stamped,
        });
        self.tell(now, || format!("#{seq} {}", deed.words));
    }

    /// Every row may look different now, and no stamp tells.
    pub(crate) fn everything_changed(&mut self) {
        for life in self.lives.values_mut() {
            (life.changed_at, life.due, life.row) = (self.seq, false, None);
        }
    }

    /// The server is backed up.
    pub(crate) fn back_up(&mut self, server: &mut Server, now: DateTime<Utc>) {
        server.back_up();
        self.backup = Some(Box::new(Backup {
            lives: self.lives.clone(),
            names: self.names.clone(),
            late_fields: self.late_fields.clone(),
        }));
        self.tell(now, || "the server is backed up".into());
    }

    /// The server is restored from its backup, if it has one: every ticket may be another version, and those that came
    /// since are gone.
    pub(crate) fn restore_backup(&mut self, server: &mut Server, now: DateTime<Utc>) -> bool {
        let Some(backup) = self.backup.clone() else { return false };
        for id in self.listed() {
            // Its newest version is known from here on, whatever comes back.
            self.row(id, server, now);
        }
        self.witness(server, now, |server| {
            server.restore_backup();
            Deed { stamped: true, retyped: true, words: "the server is restored".into(), ..Deed::default() }
        });
        let Backup { lives, names, late_fields } = *backup;
        (self.names, self.late_fields) = (names, late_fields);
        for (id, life) in &mut self.lives {
            let was = lives.get(id).cloned().unwrap_or_default();
            (life.deleted, life.merged, life.hidden) = (was.deleted, was.merged, was.hidden);
        }
        self.everything_changed();
        true
    }

    /// A line of the story.
    pub(crate) fn tell(&mut self, now: DateTime<Utc>, words: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{} {}", now.format("%d. %H:%M:%S%.3f"), words()));
        }
    }

    pub(crate) fn story(&self) -> String {
        self.story.as_ref().map(|story| story.join("\n")).unwrap_or_default()
    }

    /// Notes what became of a ticket.
    pub(crate) fn note(&mut self, id: i64, note: impl FnOnce(&mut Life)) {
        note(self.lives.entry(id).or_default());
    }

    /// The tickets that are listed now.
    pub(crate) fn listed(&self) -> Vec<i64> {
        self.lives.iter().filter(|(_, life)| life.listed).map(|(id, _)| *id).collect()
    }

    /// The tickets that are not.
    pub(crate) fn away(&self) -> Vec<i64> {
        self.lives.iter().filter(|(_, life)| !life.listed).map(|(id, _)| *id).collect()
    }

    /// What is to be stored of a listed ticket.
    pub(crate) fn row(&mut self, id: i64, server: &Server, now: DateTime<Utc>) -> Arc<Vec<AttributeValue>> {
        let life = self.lives.entry(id).or_default();
        if let Some(row) = &life.row {
            return Arc::clone(row);
        }
        let row = Arc::new(mapping::expected(&server.row(id, now).expect("a row"), &self.names));
        life.newest = life.newest.max(stamp(&row));
        life.row = Some(Arc::clone(&row));
        row
    }

    /// Whether a version with an older stamp was shown before this one.
    pub(crate) fn went_back(&self, id: i64) -> bool {
        self.lives.get(&id).is_some_and(|life| life.row.as_deref().and_then(|row| stamp(row)) < life.newest)
    }
}

/// The ticket type of a row.
pub(crate) fn ticket_type(row: &[AttributeValue]) -> Option<i64> {
    let place = mapping::columns().position(|name| name == "TICKET_TYPE_ID").expect("the attribute");
    match row[place] {
        AttributeValue::Integer(number) => Some(number),
        _ => None,
    }
}

/// The stamp of a row.
pub(crate) fn stamp(row: &[AttributeValue]) -> Option<Timestamp> {
    let place = mapping::columns().position(|name| name == "SOURCE_LAST_MODIFIED").expect("the attribute");
    match &row[place] {
        AttributeValue::Text(text) => text.parse().ok(),
        _ => None,
    }
}

/// The tickets that the agent may see and that are not deleted, whatever a plain list leaves out.
fn listed(server: &mut Server) -> BTreeSet<i64> {
    let shown = server.knobs().plain_list;
    if shown == PlainList::All {
        return server.ids().into_iter().collect();
    }
    server.knobs().plain_list = PlainList::All;
    let ids = server.ids().into_iter().collect();
    server.knobs().plain_list = shown;
    ids
}
