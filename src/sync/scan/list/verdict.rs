//! Whether anything of a list can be missing.

use super::ListScan;
use crate::sync::completeness::Shortfall;

/// After so many reads that each bring something new, the scan is incomplete.
const READS_MAX: u32 = 3;

/// A read may bring twice the expected number of tickets, taken as at least this many, and this many more.
const ENDLESS_MARGIN: u64 = 10_000;

/// Bytes for the set of received ids.
const IDS_MEMORY_MAX: u64 = 32 << 20;

/// Whether the reads so far prove that nothing is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadVerdict {
    /// Nothing is missing.
    Verified,
    /// Something may be missing: the list must be read again.
    ReadAgain,
    /// Every read brought something that the earlier ones should have brought.
    Unstable,
    /// Every ticket that the list showed was received, but the server counts more, or rows have no id.
    Short(Shortfall),
    /// Two reads agree with each other, but not with the server's count.
    CountMismatch {
        /// Different tickets received.
        unique: u64,
        /// The server's count.
        count: u64,
    },
    /// The server does not report a count.
    NoCount,
}

impl ListScan {
    /// Whether the reads so far prove that nothing is missing.
    #[must_use]
    pub fn verdict(&self) -> ReadVerdict {
        let read = &self.read;
        let (Some(first), Some(latest), false) =
            (self.first_count(), self.latest_count(), read.count_missing)
        else {
            return ReadVerdict::NoCount;
        };
        let unidentified = self.rejected_rows().len();
        let verdict_for = |missing| match (Shortfall { missing, unidentified }) {
            Shortfall { missing: 0, unidentified: 0 } => Some(ReadVerdict::Verified),
            shortfall if missing == 0 || shortfall.total() <= self.options.accept_shortfall => {
                Some(ReadVerdict::Short(shortfall))
            }
            _ => None,
        };
        if self.reads == 1 {
            let missing = read.missing_rows(latest, self.options.appends_only);
            return missing.and_then(verdict_for).unwrap_or(ReadVerdict::ReadAgain);
        }
        let (rows, decrease) = (read.different_rows(), read.total_decrease());
        let mismatch = ReadVerdict::CountMismatch { unique: rows, count: latest };
        match self.missed_earlier {
            0 if read.has_excess_rows || latest + decrease < rows => mismatch,
            0 => verdict_for(first.saturating_sub(decrease).saturating_sub(rows)).unwrap_or(mismatch),
            _ if self.reads < READS_MAX => ReadVerdict::ReadAgain,
            _ => ReadVerdict::Unstable,
        }
    }

    /// Whether this read brought more different tickets than an honest list can have: the server keeps inventing ids.
    #[must_use]
    pub fn is_endless(&self, stored: Option<u64>) -> bool {
        let expected = stored.into_iter().chain(self.first_count()).min().unwrap_or(0);
        let most = expected.max(ENDLESS_MARGIN).saturating_mul(2).saturating_add(ENDLESS_MARGIN);
        most < self.read.ids.len() || IDS_MEMORY_MAX < self.seen_ids.serialized_size() as u64
    }
}
