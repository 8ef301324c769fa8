//! Splits a page that cannot be read, down to the single row that causes it: one ticket must not block a
//! hundred others, nor the scan.

use std::pin::Pin;

use super::list::{Filter, ListPage, ListQuery};
use super::{HaloClient, HaloError, ResponseMeta};
use crate::ticket::parse::{ParsedPage, RejectedRow};
use crate::ticket::{RejectedValue, Ticket};

/// The most unreadable rows in one page. With more, something other than the rows is the cause, and the page fails.
const UNREADABLE_ROWS_MAX: usize = 5;

/// What the requests for the parts of a page have in common.
struct QueryChunk<'a> {
    filter: &'a Filter,
    fields: &'a [i64],
}

/// The parts of a page that were fetched so far.
#[derive(Default)]
struct PageParts {
    list: ParsedPage,
    /// The response with the first part, which stands for the whole page.
    meta: Option<ResponseMeta>,
    unreadable_rows: usize,
}

impl HaloClient {
    /// Fetches one page of the list. If the page is too large or cannot be parsed, it is fetched in smaller
    /// parts; a single row that cannot be read becomes a rejected row. If there are more custom fields than
    /// fit one request, the page is fetched once for each part of them.
    pub async fn fetch_page(&self, query: &ListQuery, number: u32, size: u32) -> Result<ListPage, HaloError> {
        let mut page: Option<ListPage> = None;
        for fields in self.split_fields(query, number, size) {
            let part =
                self.fetch_or_split(&QueryChunk { filter: &query.filter, fields }, number, size).await?;
            match &mut page {
                Some(page) => page.list.merge_custom_fields(part.list),
                None => page = Some(part),
            }
        }
        page.map_or_else(|| unreachable!("a query has at least one list of fields"), Ok)
    }

    async fn fetch_or_split(
        &self,
        chunk: &QueryChunk<'_>,
        number: u32,
        size: u32,
    ) -> Result<ListPage, HaloError> {
        let error = match self.fetch_list_with_fields(chunk.filter, chunk.fields, number, size).await {
            Err(error) if error.should_split_page() => error,
            done => return done,
        };
        tracing::info!(page = number, rows = size, "fetching page {number} in smaller parts: {error}");
        let mut parts = PageParts::default();
        let is_complete = self.fetch_parts(chunk, number, size, &mut parts).await?;
        match parts.meta {
            Some(meta) if is_complete => Ok(ListPage { list: parts.list, meta }),
            _ => Err(error),
        }
    }

    /// Fetches the parts of a page. Returns whether they hold every row: if the server sends fewer rows than
    /// requested, the positions of the rows after them are unknown.
    fn fetch_parts<'a>(
        &'a self,
        chunk: &'a QueryChunk<'a>,
        number: u32,
        size: u32,
        parts: &'a mut PageParts,
    ) -> Pin<Box<dyn Future<Output = Result<bool, HaloError>> + Send + 'a>> {
        Box::pin(async move {
            let split = smallest_divisor(size);
            let size = size / split;
            for number in (number - 1) * split + 1..=number * split {
                match self.fetch_list_with_fields(chunk.filter, chunk.fields, number, size).await {
                    Ok(ListPage { list, meta }) => {
                        let rows = list.rows_received as u64;
                        let ends = u64::from(number) * u64::from(size);
                        let more = list.record_count.is_none_or(|count| ends <= count);
                        parts.add(list, meta);
                        if rows < u64::from(size) {
                            return Ok(!more);
                        }
                    }
                    Err(error) if !error.should_split_page() => return Err(error),
                    Err(error) if size == 1 => parts.add_unreadable_row(number, error)?,
                    Err(_) if self.fetch_parts(chunk, number, size, parts).await? => {}
                    Err(_) => return Ok(false),
                }
            }
            Ok(true)
        })
    }
}

impl PageParts {
    fn add(&mut self, list: ParsedPage, meta: ResponseMeta) {
        self.meta.get_or_insert(meta);
        self.list.append(list);
    }

    fn add_unreadable_row(&mut self, row: u32, error: HaloError) -> Result<(), HaloError> {
        self.unreadable_rows += 1;
        if UNREADABLE_ROWS_MAX < self.unreadable_rows {
            return Err(error);
        }
        let position = match self.list.tickets.last() {
            Some(ticket) => format!("the row after ticket {}", ticket.id()),
            None => format!("row {row} of the list ordered by id"),
        };
        let rejected =
            RejectedValue { reason: "the row cannot be read", raw: format!("{position}: {error}") };
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
mod tests {
    use super::*;

    #[test]
    fn page_is_split_until_one_row_is_left() {
        for (size, steps) in [(100, vec![50, 25, 5, 1]), (70, vec![35, 7, 1]), (73, vec![1])] {
            let mut sizes = vec![];
            let mut left = size;
            while 1 < left {
                left /= smallest_divisor(left);
                sizes.push(left);
            }
            assert_eq!(sizes, steps, "{size}");
        }
    }
}
