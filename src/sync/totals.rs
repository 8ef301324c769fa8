//! What a run did so far, over all its scans.

use crate::retry::RequestCounts;
use crate::store::RunStats;
use crate::ticket::ChangeCounts;

/// What a run did so far, over all its scans.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RunTotals {
    pub(super) changes: ChangeCounts,
    /// Rows received by scans that ended.
    pub(super) received: u64,
}

impl RunTotals {
    /// The totals with the requests, as `runs` has them.
    pub(super) fn run_stats(&self, requests: RequestCounts) -> RunStats {
        RunStats {
            requests: requests.requests,
            list_requests: requests.list_requests,
            retries: requests.retries,
            received: self.received,
            changes: self.changes,
        }
    }
}
