//! Changes whose timestamp is taken and that become visible later: transactions that take long, or a search index that
//! lags behind (halo-api.md §2.4).

use chrono::{DateTime, TimeDelta, Utc};

use crate::effect;
use crate::server::Server;
use crate::ticket::Edit;
use crate::timestamp::SqlDateTime;

/// A change that is not visible yet.
#[derive(Clone, Debug)]
pub(crate) struct UncommittedChange {
    due: DateTime<Utc>,
    timestamp: SqlDateTime,
    change: DelayedChange,
}

#[derive(Clone, Debug)]
enum DelayedChange {
    Edit(i64, Edit),
    Create(u32),
}

impl Server {
    /// Edits a ticket with a `last_update` of now; nobody sees it before `delay` is over.
    pub fn edit_visible_later(&mut self, id: i64, edit: Edit, delay: TimeDelta, now: DateTime<Utc>) {
        self.delay(DelayedChange::Edit(id, edit), delay, now);
    }

    /// Creates tickets with a `last_update` of now; nobody sees them before `delay` is over.
    pub fn create_visible_later(&mut self, count: u32, delay: TimeDelta, now: DateTime<Utc>) {
        self.delay(DelayedChange::Create(count), delay, now);
    }

    fn delay(&mut self, change: DelayedChange, delay: TimeDelta, now: DateTime<Utc>) {
        let timestamp = SqlDateTime::from_utc(now + self.clock_offset);
        let due = now + effect::shifted(TimeDelta::zero(), delay);
        self.uncommitted.push(UncommittedChange { due, timestamp, change });
    }

    /// Makes the changes visible whose time has come, in the order in which they were to.
    pub(crate) fn commit_due(&mut self, now: DateTime<Utc>) {
        if self.uncommitted.is_empty() {
            return;
        }
        let mut due: Vec<_> = self.uncommitted.extract_if(.., |it| it.due <= now).collect();
        due.sort_by_key(|it| it.due);
        for UncommittedChange { timestamp, change, .. } in due {
            match change {
                DelayedChange::Create(count) => drop(self.database.create(count, timestamp)),
                DelayedChange::Edit(id, edit) => {
                    if let Some(index) = self.database.find(id) {
                        // What was edited and seen meanwhile stays newer.
                        let updated = self.database.ticket(index).updated;
                        let timestamp = updated.map_or(timestamp, |it| it.max(timestamp));
                        self.database.edit(index, edit, timestamp);
                    }
                }
            }
        }
    }
}
