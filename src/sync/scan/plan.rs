//! What a scan reads, and where it begins.

use std::sync::Arc;

use crate::halo::Filter;
use crate::store::InterruptedScan;
use crate::sync::context::RunContext;
use crate::sync::row_intake::RowMapping;
use crate::sync::{SyncError, probes};
use crate::ticket::Timestamp;
use crate::watermark::{ScanKind, Watermark, WatermarkState};

/// A scan that is about to be read.
pub(in crate::sync) struct ScanPlan {
    pub(in crate::sync) kind: ScanKind,
    pub(in crate::sync) scan_id: i64,
    /// The lists that are read one after another; together they hold every ticket of the scope.
    pub(in crate::sync) lists: Vec<Filter>,
    /// The watermark when the scan was planned.
    pub(in crate::sync) watermark: Watermark,
    pub(in crate::sync) mapping: Arc<RowMapping>,
    /// The newest change record when the scan was planned.
    pub(in crate::sync) seq_at_start: i64,
    /// Whether it is the initial load of its scope: then its progress is recorded in the watermark.
    pub(in crate::sync) is_initial: bool,
    pub(in crate::sync) resumed_from: Option<InterruptedScan>,
    /// How many changes an incremental scan of several pages reads at most.
    pub(in crate::sync) changes_max: ChangesMax,
    /// Whether the date filter is taken to mean what it meant in earlier scans.
    pub(in crate::sync) is_filter_trusted: bool,
}

/// How many changes an incremental scan of several pages reads at most; with more, a full scan is read instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::sync) enum ChangesMax {
    /// Any number.
    #[default]
    Any,
    /// Half of the stored tickets.
    HalfOfStored,
    /// This number.
    Tickets(u64),
}

impl ScanPlan {
    /// Plans a scan and records it, unless it resumes one that is recorded already.
    pub(in crate::sync) async fn new(
        context: &RunContext,
        kind: ScanKind,
        watermark: Watermark,
        mapping: &Arc<RowMapping>,
        resumed_from: Option<InterruptedScan>,
        started_at: Timestamp,
    ) -> Result<ScanPlan, SyncError> {
        let from = match kind {
            ScanKind::Full => None,
            ScanKind::Incremental { from } => Some(from),
        };
        let lists = probes::list_coverage(context)?.filters(&context.settings.scope.ticket_types, from);
        let is_initial = kind == ScanKind::Full && watermark.state == WatermarkState::Initial;
        let run_id = context.run_id;
        // The scans of a dry run prove nothing: they are not kept.
        let tx_end = context.tx_end();
        let resumed_id = resumed_from.as_ref().map(|scan| scan.scan_id);
        let (scan_id, seq_at_start) = context
            .store
            .call(move |store| {
                store.write(tx_end, |tx| {
                    if kind == ScanKind::Full {
                        let edits = tx.mark_local_edits(run_id, started_at)?;
                        if !edits.is_empty() {
                            tracing::warn!(
                                "{edits}: another program changed the database; this scan repairs it"
                            );
                        }
                    }
                    let seq = tx.as_read_tx().greatest_seq()?;
                    let scan_id = match resumed_id {
                        None => tx.begin_scan(run_id, &kind, is_initial, started_at)?,
                        Some(scan_id) => {
                            tx.resume_scan(scan_id, run_id)?;
                            scan_id
                        }
                    };
                    Ok((scan_id, seq))
                })
            })
            .await?;
        tracing::debug!(run = run_id, kind = kind.as_str(), resumed = resumed_id.is_some(), "scan started");
        let mapping = Arc::clone(mapping);
        Ok(ScanPlan {
            kind,
            scan_id,
            lists,
            watermark,
            mapping,
            seq_at_start,
            is_initial,
            resumed_from,
            changes_max: ChangesMax::Any,
            is_filter_trusted: true,
        })
    }
}
