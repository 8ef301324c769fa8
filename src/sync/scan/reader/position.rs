//! Finds positions in a list: where the cursor is, and where the list ends.

use super::ScanReader;
use crate::halo::HaloError;
use crate::sync::SyncError;
use crate::sync::scan::page::{ListReadError, Page};
use crate::sync::scan::prefetch::PageFetcher;
use crate::sync::scan::seek::SeekStep;

/// Attempts to find the end of a list before it is read without a baseline.
const BASELINE_ATTEMPTS_MAX: u32 = 3;

impl ScanReader<'_, '_> {
    /// Finds the page on which ids pass the cursor, and continues there. `known` is a page that was fetched already.
    pub(super) async fn seek_position(
        &mut self,
        fetcher: &PageFetcher,
        mut known: Option<Page>,
    ) -> Result<(), SyncError> {
        let mut seek = self.list_mut().start_seek();
        let size = self.list().page_size();
        loop {
            let latest = self.list().latest_count();
            let is_wanted = |page: &Page| page.number == seek.next_page() && page.record_count == latest;
            let page = if let Some(page) = known.take().filter(is_wanted) {
                page
            } else {
                let page = fetcher.fetch(seek.next_page(), size).await?;
                self.list_mut().record_response(&page);
                page
            };
            match seek.process_response(page) {
                SeekStep::Continue => {}
                SeekStep::Found { page, position } => {
                    self.list_mut().resume_at(&page, position);
                    return self.keep_rows(*page).await;
                }
                SeekStep::Unstable => {
                    self.end.fault = Some(ListReadError::UnstableList);
                    return Ok(());
                }
            }
        }
    }

    /// Fetches the last page of the list as it is now: tickets that are created later come after it. Pages are added
    /// only after it was fetched, so that every ticket received was in the list then or came later.
    pub(super) async fn find_list_end(&mut self, fetcher: &PageFetcher) -> Result<Option<Page>, SyncError> {
        for _ in 0..BASELINE_ATTEMPTS_MAX {
            let (last, size) = (*self.list().remaining_pages().end(), self.list().page_size());
            let page = fetcher.fetch(last, size).await?;
            self.list_mut().record_response(&page);
            if self.list_mut().record_last_page(&page) {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    /// A page that was fetched before its turn, unless the list has changed since.
    pub(super) fn take_parked(&self, parked: &mut Vec<Page>, number: u32) -> Option<Page> {
        let latest = self.list().latest_count();
        parked.retain(|page| number <= page.number && page.record_count == latest);
        let index = parked.iter().position(|page| page.number == number)?;
        Some(parked.swap_remove(index))
    }

    /// Checks whether the count is right about where the list ends. Servers differ in how they answer a request for a
    /// page after the last one (`halo-api.md` §2.1); an error means the same as an empty page.
    pub(super) async fn check_past_end(
        &mut self,
        fetcher: &PageFetcher,
        number: u32,
    ) -> Result<(), SyncError> {
        let page = match fetcher.fetch(number, self.list().page_size()).await {
            Ok(page) => page,
            Err(HaloError::Refused { .. } | HaloError::Unreadable(_) | HaloError::Unavailable { .. }) => {
                self.list_mut().finish();
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.list_mut().record_response(&page);
        self.list_mut().add_page_past_end(&page);
        self.keep_rows(page).await
    }
}
