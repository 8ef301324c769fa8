//! Changes whose timestamp is taken and that become visible later: transactions that take long, or a search index that
//! lags behind (halo-api.md §2.4).

use chrono::{DateTime, Utc};

use crate::database::HaloDatabase;
use crate::ticket::Edit;
use crate::timestamp::SqlDateTime;

/// A change that is not visible yet.
#[derive(Clone, Debug)]
pub(crate) struct UncommittedChange {
    /// When it becomes visible.
    pub(crate) due: DateTime<Utc>,
    /// Its `last_update`.
    pub(crate) timestamp: SqlDateTime,
    pub(crate) change: DelayedChange,
}

#[derive(Clone, Debug)]
pub(crate) enum DelayedChange {
    Edit(i64, Edit),
    Create(u32),
}

impl UncommittedChange {
    /// Makes the change visible.
    pub(crate) fn commit(self, database: &mut HaloDatabase) {
        match self.change {
            DelayedChange::Create(count) => drop(database.create(count, self.timestamp)),
            DelayedChange::Edit(id, edit) => {
                if let Some(index) = database.find(id) {
                    // What was edited and seen meanwhile stays newer.
                    let updated = database.ticket(index).updated;
                    let timestamp = updated.map_or(self.timestamp, |it| it.max(self.timestamp));
                    database.edit(index, edit, timestamp);
                }
            }
        }
    }
}
