//! The newest ticket of a list.

use crate::ticket::Timestamp;

/// The newest `last_update` among the tickets of a list: the canary of later scans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewestTicket {
    /// The time of the update.
    pub last_update: Timestamp,
    /// The greatest id with this time.
    pub id: i64,
    /// How many tickets have this time.
    pub tickets: u64,
}

impl NewestTicket {
    /// The newest ticket after another one was received; `is_new` if it was not received before.
    pub(super) fn after(
        newest: Option<NewestTicket>,
        last_update: Timestamp,
        id: i64,
        is_new: bool,
    ) -> NewestTicket {
        match newest {
            Some(newest) if last_update < newest.last_update => newest,
            Some(newest) if last_update == newest.last_update => {
                NewestTicket { id: newest.id.max(id), tickets: newest.tickets + u64::from(is_new), ..newest }
            }
            _ => NewestTicket { last_update, id, tickets: 1 },
        }
    }
}
