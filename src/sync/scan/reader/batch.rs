//! Hands rows to the writer in batches, each with the checkpoint behind it.

use roaring::RoaringTreemap;
use tokio::time::Instant;

use super::ScanReader;
use crate::store::ScanCheckpoint;
use crate::sync::SyncError;
use crate::sync::scan::page::Page;
use crate::sync::scan::writer::scan_stats;
use crate::watermark::ScanKind;

/// Rows that take so much memory, in bytes, are handed to the writer at once: a quarter of what all responses may take.
const BATCH_MEMORY_MAX: usize = 16 << 20;

impl ScanReader<'_, '_> {
    /// Adds the rows of a page to the next batch.
    pub(super) async fn keep_rows(&mut self, page: Page) -> Result<(), SyncError> {
        if page.repaired != 0 {
            let repairs = page.repaired;
            tracing::warn!(repairs, "a response contained invalid text; {repairs} places were repaired");
        }
        self.report_progress();
        let settings = &self.context.settings;
        let (rows, slots) = (self.end.unstored.tickets.len(), self.end.unstored.slots.len());
        // Two rows of one ticket with equal stamps are told apart only within a batch; they stand side by side.
        let repeats_ticket = page.ids().any(|id| self.unstored_ids.contains(id.cast_unsigned()));
        // Half of the slots: the pages of the other half arrive while these are stored. Never all, or none could arrive.
        let parallel_requests = settings.parallel_requests as usize;
        let slots_max = parallel_requests + usize::from(repeats_ticket && 1 < parallel_requests);
        if slots_max <= slots || (settings.batch_rows <= rows && !repeats_ticket) {
            self.flush().await?;
        }
        self.batched_rows += page.rows;
        self.unstored_ids.extend(page.ids().map(i64::cast_unsigned));
        self.checkpoint.cursor = self.list().cursor();
        if !page.rejected_rows.is_empty() {
            self.checkpoint.rejected_rows = self.list().rejected_rows().to_vec();
        }
        self.end.missing_names.add(page.missing_names);
        self.end.shown_extras = self.end.shown_extras.union(page.shown_extras);
        self.end.out_of_scope.extend(page.out_of_scope);
        self.end.unstored.tickets.extend(page.observed);
        self.end.unstored.unreadable.extend(page.unreadable);
        self.end.unstored.memory.merge(page.memory);
        self.end.unstored.slots.extend(page.slot);
        self.end.is_aged |= page.is_aged;
        // The next page may need the memory of these rows, so they must not wait for it.
        if BATCH_MEMORY_MAX <= self.end.unstored.memory.bytes() {
            self.flush().await?;
        }
        Ok(())
    }

    /// Hands the rows to the writer.
    pub(super) async fn flush(&mut self) -> Result<(), SyncError> {
        let batch = std::mem::take(&mut self.end.unstored);
        let ids = std::mem::take(&mut self.unstored_ids);
        // Where the order is ignored, or a list is read again, there is no position to resume from. A checkpoint does not
        // keep that an earlier list is not proved complete.
        let is_kept = self.plan.kind == ScanKind::Full && !self.context.settings.dry_run;
        let is_read_once = self.end.list_scans.iter().all(|list| list.reads() == 1);
        let is_resumable =
            is_kept && is_read_once && self.end.is_settled() && self.end.shortfall().missing == 0;
        let cursor = self.checkpoint.cursor.filter(|_| is_resumable);
        let checkpoint = cursor.map(|cursor| ScanCheckpoint {
            cursor: Some(cursor),
            server_started_at: self.end.start.first,
            ids,
            part: self.checkpoint.part,
            older: RoaringTreemap::new(),
            rejected_rows: self.checkpoint.rejected_rows.clone(),
        });
        self.writer.store(batch, scan_stats(&self.end.list_scans), self.batched_rows, checkpoint).await?;
        let every = self.context.settings.schedule.incremental_every;
        if let Some(interleave) = self.interleave.filter(|_| every <= self.last_incremental.elapsed()) {
            self.writer.wait().await?;
            self.writer.totals = interleave(self.writer.totals).await?;
            self.last_incremental = Instant::now();
            self.report_phase();
        }
        Ok(())
    }
}
