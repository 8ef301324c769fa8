//! Reads the list and finds out whether everything was received.
//!
//! `plan` says what is read, `prefetch` fetches pages in parallel, [`list`] says what to ask for next and whether
//! anything can be missing, [`seek`] finds the position of a cursor in a list that changed, `reader` does as they say
//! and hands the rows to `writer`. A scan that ended is one value, `ScanEnd`: its last rows are not stored yet,
//! because they go into the transaction that moves the watermark.

mod evaluation;
pub mod list;
mod page;
mod plan;
mod prefetch;
mod reader;
pub mod seek;
mod writer;

pub(super) use evaluation::{Evaluation, evaluate};
pub(super) use page::ListReadError;
pub use page::Page;
pub(super) use plan::{ChangesMax, ScanPlan};
pub(super) use reader::read;
pub(super) use writer::scan_stats;

use roaring::RoaringTreemap;

use self::list::{ListScan, NewestTicket, ReadVerdict};
use self::writer::RowBatch;
use super::completeness::Shortfall;
use super::row_intake::MissingNames;
use super::totals::RunTotals;
use crate::store::ObservedTicket;
use crate::ticket::parse::RejectedRow;
use crate::ticket::{ExtraSet, UnmappedFields};
use crate::watermark::ScanStart;

/// A scan that came to its end.
pub(super) struct ScanEnd {
    pub(super) list_scans: Vec<ListScan>,
    /// The ids that the interrupted scan received from earlier lists.
    earlier_ids: RoaringTreemap,
    /// The rows without a usable id that it received from them, each with the number of its page.
    earlier_rejected: Vec<(u32, RejectedRow)>,
    pub(super) verdict: ReadVerdict,
    /// Why it cannot be trusted, whatever the counts say.
    pub(super) fault: Option<ListReadError>,
    /// When it started, by the server's clock.
    pub(super) start: ScanStart,
    /// Whether a cache gave any of the answers.
    pub(super) is_aged: bool,
    /// What the run did so far, without the rows that are not stored yet.
    pub(super) totals: RunTotals,
    /// The last rows, not stored yet.
    pub(super) unstored: RowBatch,
    /// Listed tickets that are older than the stored version.
    pub(super) older: Vec<ObservedTicket>,
    pub(super) missing_names: MissingNames,
    /// The extras that any row of this session carried.
    pub(super) shown_extras: ExtraSet,
    /// Listed tickets whose type is not in the scope.
    pub(super) out_of_scope: Vec<i64>,
    /// The unmapped fields of the first page with rows.
    pub(super) unmapped: Option<UnmappedFields>,
}

impl ScanEnd {
    /// Whether the reads prove that nothing is missing.
    pub(super) fn is_verified(&self) -> bool {
        self.fault.is_none() && self.verdict == ReadVerdict::Verified
    }

    /// Whether the reads came to an end at which nothing more can be received: verified, or short.
    pub(super) fn is_settled(&self) -> bool {
        self.fault.is_none() && matches!(self.verdict, ReadVerdict::Verified | ReadVerdict::Short(_))
    }

    /// What the lists did not show, where everything else was received.
    pub(super) fn shortfall(&self) -> Shortfall {
        match self.verdict {
            ReadVerdict::Short(shortfall) => shortfall,
            _ => Shortfall::default(),
        }
    }

    /// The ids received, those of an interrupted part included.
    pub(super) fn seen_ids(&self) -> RoaringTreemap {
        self.list_scans.iter().fold(self.earlier_ids.clone(), |ids, list| ids | list.seen_ids())
    }

    /// The rows without a usable id, each with the number of its page.
    pub(super) fn rejected_rows(&self) -> Vec<(u32, RejectedRow)> {
        let lists = self.list_scans.iter().flat_map(|list| list.rejected_rows().to_vec());
        self.earlier_rejected.iter().cloned().chain(lists).collect()
    }

    /// Rows received in this session, repetitions included.
    pub(super) fn rows(&self) -> u64 {
        self.list_scans.iter().map(ListScan::rows).sum()
    }

    /// Whether a ticket was received in this session.
    pub(super) fn has_seen(&self, id: i64) -> bool {
        self.list_scans.iter().any(|list| list.seen_ids().contains(id.cast_unsigned()))
    }

    /// The newest ticket that is not newer than the start.
    pub(super) fn newest(&self) -> Option<NewestTicket> {
        self.list_scans.iter().filter_map(ListScan::newest).max_by_key(|newest| newest.last_update)
    }
}
