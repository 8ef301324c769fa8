//! Splits a page that cannot be read, down to the single row that causes it: one ticket must not block a
//! hundred others, nor the scan.
//!
//! A page of n rows costs at most 2n requests, since every part is split into at least two. A row that cannot be read
//! alone either is an unreadable ticket if its id can be told, from the ids that were requested or from what was
//! received.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use super::list::{Filter, ListPage, ListQuery};
use super::memory::{BudgetPermit, MEMORY_MAX};
use super::request::RequestPart;
use super::row_memory::set_aside_large_rows;
use super::{HaloClient, HaloError, ResponseMeta};
use crate::ticket::parse::{CutRow, ParsedPage, RejectedRow, UnreadableReason, UnreadableTicket};
use crate::ticket::{FieldSearch, RejectedValue, Ticket};

/// The most unreadable rows in one page that have no id or repeat one. With more, something other than the rows is the
/// cause, such as a server that ignores paging, and the page fails.
const DOUBTFUL_ROWS_MAX: usize = 5;

/// After so many unreadable rows without a readable one, pages of the list are not split any more: something other
/// than the rows is the cause, and the page fails.
const UNREADABLE_IN_A_ROW_MAX: u32 = 1_000;

/// The most memory for the rows of a page that is fetched in parts; the rest is deferred. What is left of the budget
/// is for the next part.
const PAGE_MEMORY_MAX: usize = MEMORY_MAX / 4 * 3;

/// A page or a part of it: rows by their position in the list, or tickets by their ids.
#[derive(Clone)]
struct PagePart<'q> {
    filter: Cow<'q, Filter>,
    number: u32,
    size: u32,
    search: FieldSearch,
}

/// The parts of a page that were fetched so far.
#[derive(Default)]
struct PageParts {
    list: ParsedPage,
    /// The response with the first part, which stands for the whole page.
    meta: Option<ResponseMeta>,
    memory: BudgetPermit,
    /// Unreadable rows that have no id or repeat one.
    doubtful_rows: usize,
}

impl HaloClient {
    /// Fetches one page of the list. If the page is too large or cannot be parsed, it is fetched in smaller
    /// parts; a single row that cannot be read becomes an unreadable ticket, or a rejected row if its id cannot be
    /// told. If there are more custom fields than fit one request, the page is fetched once for each part of them.
    pub async fn fetch_page(&self, query: &ListQuery, number: u32, size: u32) -> Result<ListPage, HaloError> {
        self.fetch_page_and_search(query, number, size, FieldSearch::Off).await
    }

    /// The same, with a search for unmapped fields in its rows.
    pub async fn fetch_page_and_search(
        &self,
        query: &ListQuery,
        number: u32,
        size: u32,
        search: FieldSearch,
    ) -> Result<ListPage, HaloError> {
        let mut page: Option<ListPage> = None;
        for fields in self.split_fields(query, number, size) {
            let held = page.as_ref().map_or(0, |page| page.memory.bytes());
            // The other parts show the same rows.
            let search = if page.is_none() { search } else { FieldSearch::Off };
            let whole = PagePart { filter: Cow::Borrowed(&query.filter), number, size, search };
            let part = self.fetch_or_split(&whole, fields, held).await?;
            match &mut page {
                Some(page) => {
                    page.list.merge_custom_fields(part.list);
                    page.memory.merge(part.memory);
                    // Rows grow with every part of their custom fields.
                    let bytes = set_aside_large_rows(&mut page.list);
                    page.memory = std::mem::take(&mut page.memory).into_rows(bytes);
                    page.meta.age = page.meta.age.max(part.meta.age);
                }
                None => page = Some(part),
            }
        }
        page.map_or_else(|| unreachable!("a query has at least one list of fields"), Ok)
    }

    async fn fetch_or_split(
        &self,
        whole: &PagePart<'_>,
        fields: &[i64],
        held: usize,
    ) -> Result<ListPage, HaloError> {
        let error = match self.fetch_part(whole, fields, held, false).await {
            Err(error) if error.should_split_page() => error,
            done => {
                self.record_readability(whole, done.as_ref().ok().map(|page| &page.list));
                return done;
            }
        };
        let (page, size) = (whole.number, whole.size);
        if !whole.is_by_id() && UNREADABLE_IN_A_ROW_MAX <= self.unreadable_in_a_row.load(Ordering::Relaxed) {
            tracing::warn!(page, "no row of the last pages can be read: page {page} is not read row by row");
            return Err(error);
        }
        let mut parts = PageParts::default();
        if whole.is_single_row() {
            parts.add_unreadable_row(whole, error)?;
        } else {
            tracing::info!(page, rows = size, "fetching page {page} in smaller parts: {error}");
            self.fetch_parts(whole, fields, held, &mut parts, error).await?;
        }
        self.options.privacy.drop_rejected_texts(&mut parts.list);
        self.record_readability(whole, Some(&parts.list));
        parts.list.was_split = !whole.is_single_row();
        Ok(ListPage {
            list: parts.list,
            meta: parts.meta.unwrap_or_else(|| self.meta_without_response()),
            memory: parts.memory,
        })
    }

    /// Fetches the parts of a page, which failed with `failure`. If the server sends fewer rows than requested, the
    /// positions of the rows after them are unknown, and the page fails.
    async fn fetch_parts(
        &self,
        whole: &PagePart<'_>,
        fields: &[i64],
        held: usize,
        parts: &mut PageParts,
        failure: HaloError,
    ) -> Result<(), HaloError> {
        let mut to_fetch = whole.split();
        while let Some(part) = to_fetch.pop() {
            match self.fetch_part(&part, fields, held + parts.memory.bytes(), true).await {
                Ok(page) if parts.is_repetition(&part, &page.list) => break,
                Ok(page) => {
                    let end = part.end_reached(&page.list);
                    parts.add(page, part.is_by_id());
                    match end {
                        Some(true) => break,
                        Some(false) => return Err(failure),
                        None => {}
                    }
                }
                Err(error) if !error.should_split_page() => return Err(error),
                Err(error) if part.is_single_row() && parts.is_repeated_row(&part, error.row()) => break,
                Err(error) if part.is_single_row() => parts.add_unreadable_row(&part, error)?,
                Err(_) => to_fetch.extend(part.split()),
            }
        }
        Ok(())
    }

    async fn fetch_part(
        &self,
        part: &PagePart<'_>,
        fields: &[i64],
        held: usize,
        is_after_failure: bool,
    ) -> Result<ListPage, HaloError> {
        let (is_single_row, search) = (part.is_single_row(), part.search);
        let request = RequestPart { held, is_after_failure, is_single_row, search };
        self.fetch_rows(&part.filter, fields, part.number, part.size, request).await
    }

    /// Counts the unreadable rows since the last readable one.
    fn record_readability(&self, whole: &PagePart<'_>, list: Option<&ParsedPage>) {
        match list {
            Some(list) if !list.tickets.is_empty() => self.unreadable_in_a_row.store(0, Ordering::Relaxed),
            // Tickets that are requested by id may all be known as unreadable.
            Some(list) if !whole.is_by_id() => {
                let rows = u32::try_from(list.unreadable.len()).unwrap_or(u32::MAX);
                self.unreadable_in_a_row.fetch_add(rows, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

impl<'q> PagePart<'q> {
    /// The ids of the tickets, if they all fit this page.
    fn ids(&self) -> Option<&[i64]> {
        match &*self.filter {
            Filter::Ids(ids) if self.number == 1 && ids.len() <= self.size as usize => Some(ids),
            _ => None,
        }
    }

    fn is_by_id(&self) -> bool {
        self.ids().is_some()
    }

    fn is_single_row(&self) -> bool {
        self.ids().map_or(self.size <= 1, |ids| ids.len() <= 1)
    }

    /// Splits the page into parts of the same size, the last one first.
    fn split(&self) -> Vec<PagePart<'q>> {
        if let Some(ids) = self.ids() {
            let parts = ids.chunks(ids.len().div_ceil(2).max(1)).rev();
            return parts
                .map(|ids| PagePart { filter: Cow::Owned(Filter::Ids(ids.to_vec())), ..*self })
                .collect();
        }
        let split = smallest_divisor(self.size);
        let size = self.size / split;
        let numbers = (self.number - 1) * split + 1..=self.number * split;
        let part = |number| PagePart { filter: self.filter.clone(), number, size, search: self.search };
        numbers.rev().map(part).collect()
    }

    /// Whether it begins after the end of a list of so many rows.
    fn is_past_end(&self, record_count: Option<u64>) -> bool {
        let before = u64::from(self.number - 1) * u64::from(self.size);
        !self.is_by_id() && record_count.is_some_and(|count| count <= before)
    }

    /// Whether the list ends with this part: `None` if more follows, `false` if the server sent fewer rows than
    /// requested although more follow.
    fn end_reached(&self, list: &ParsedPage) -> Option<bool> {
        if self.is_by_id() || self.size as usize <= list.rows_received {
            return None;
        }
        let end = u64::from(self.number) * u64::from(self.size);
        Some(list.record_count.is_some_and(|count| count < end))
    }
}

impl PageParts {
    fn add(&mut self, page: ListPage, is_by_id: bool) {
        let ListPage { mut list, meta, memory } = page;
        self.add_meta(meta);
        let other_ids = self.list.record_count.filter(|_| is_by_id).unwrap_or(0);
        list.record_count = list.record_count.map(|count| count + other_ids);
        if !self.list.tickets.is_empty() && PAGE_MEMORY_MAX < self.memory.bytes() + memory.bytes() {
            let deferred =
                |ticket: &Ticket| UnreadableTicket { id: ticket.id(), reason: UnreadableReason::Deferred };
            list.unreadable.extend(list.tickets.drain(..).map(|ticket| deferred(&ticket)));
        } else {
            self.memory.merge(memory);
        }
        self.list.append(list);
    }

    /// Whether the server answers a request for a part past the end of the list with rows that it sent before
    /// (`halo-api.md` §2.1).
    fn is_repetition(&self, part: &PagePart<'_>, list: &ParsedPage) -> bool {
        part.is_past_end(list.record_count)
            && list.rows_received != 0
            && list.tickets.iter().all(|ticket| self.has(ticket.id()))
    }

    /// The same of a single row that cannot be read.
    fn is_repeated_row(&self, part: &PagePart<'_>, row: CutRow) -> bool {
        part.is_past_end(row.record_count) && row.id.is_none_or(|id| self.has(id))
    }

    fn has(&self, id: i64) -> bool {
        let mut unreadable = self.list.unreadable.iter();
        self.list.tickets.iter().any(|ticket| ticket.id() == id) || unreadable.any(|it| it.id == id)
    }

    fn add_meta(&mut self, meta: ResponseMeta) {
        let first_meta = self.meta.get_or_insert(meta);
        first_meta.age = first_meta.age.max(meta.age);
    }

    fn add_unreadable_row(&mut self, part: &PagePart<'_>, error: HaloError) -> Result<(), HaloError> {
        let id = match part.ids() {
            Some([id]) => Some(*id),
            _ => error.row().id,
        };
        if let Some(meta) = error.response_meta() {
            self.add_meta(meta);
        }
        if !part.is_by_id() {
            // A page without a readable row has a count all the same.
            self.list.add_count(error.row().record_count);
        }
        if id.is_none_or(|id| self.list.unreadable.iter().any(|it| it.id == id)) {
            self.doubtful_rows += 1;
            if DOUBTFUL_ROWS_MAX < self.doubtful_rows {
                return Err(error);
            }
        }
        if let Some(id) = id {
            let reason = match &error {
                HaloError::TooLarge { .. } if error.is_too_large_alone() => UnreadableReason::TooLarge,
                HaloError::TooLarge { .. } => UnreadableReason::Deferred,
                _ => UnreadableReason::Invalid,
            };
            tracing::debug!(id, "the row of ticket {id} cannot be read: {error}");
            self.list.add_unreadable(UnreadableTicket { id, reason });
            if part.is_by_id() {
                self.list.record_count = Some(self.list.record_count.unwrap_or(0) + 1);
            }
            return Ok(());
        }
        let after_id = self.list.tickets.last().map(Ticket::id);
        let position = match after_id {
            Some(id) => format!("the row after ticket {id}"),
            None => format!("row {} of the list ordered by id", part.number),
        };
        let rejected =
            RejectedValue { reason: "the row cannot be read".into(), raw: format!("{position}: {error}") };
        let after_id = self.list.tickets.last().map(Ticket::id);
        self.list.rejected_rows.push(RejectedRow { rejected, after_id });
        self.list.rows_received += 1;
        Ok(())
    }
}

/// Returns into how many parts to split a page, so that all parts have the same size.
fn smallest_divisor(size: u32) -> u32 {
    (2..=size).find(|divisor| size.is_multiple_of(*divisor)).unwrap_or(1)
}

#[cfg(test)]
mod tests;
