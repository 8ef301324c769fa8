//! A page that cannot be read whole is read in parts, down to the one row that is to blame: one ticket
//! must not keep a hundred others away, nor stop the walk.

use std::pin::Pin;

use super::list::{Filter, ListQuery, Listed};
use super::{Halo, HaloError, Receipt};
use crate::ticket::Oddity;
use crate::ticket::parse::{List, Stray};

/// When so many rows of one page cannot be read, it is not the rows that are to blame.
const UNREADABLE_MAX: usize = 5;

/// What one request for a page names.
struct Share<'a> {
    filter: &'a Filter,
    fields: &'a [i64],
}

/// What of a page is there already.
#[derive(Default)]
struct Parts {
    list: List,
    /// Of the first part: nothing of the page was seen before it.
    receipt: Option<Receipt>,
    unreadable: usize,
}

impl Halo {
    /// One page of the list. Where it is too large, or cannot be parsed, again and again, it is asked
    /// for in parts; a single row that cannot be read is a stray of it. Where more custom fields are asked
    /// for than one request can name, it is asked for once for each share of them.
    ///
    /// # Errors
    /// [`HaloError`]
    pub async fn page(&self, query: &ListQuery, number: u32, size: u32) -> Result<Listed, HaloError> {
        let mut page: Option<Listed> = None;
        for fields in self.cut(query, number, size) {
            let share = self.share(&Share { filter: &query.filter, fields }, number, size).await?;
            match &mut page {
                Some(page) => page.list.add_fields(share.list),
                None => page = Some(share),
            }
        }
        page.map_or_else(|| unreachable!("a query has one share at least"), Ok)
    }

    async fn share(&self, share: &Share<'_>, number: u32, size: u32) -> Result<Listed, HaloError> {
        let error = match self.list_with(share.filter, share.fields, number, size).await {
            Err(error) if error.is_of_the_answer() => error,
            done => return done,
        };
        tracing::info!(page = number, rows = size, "reading page {number} in parts: {error}");
        let mut parts = Parts::default();
        let whole = self.read_parts(share, number, size, &mut parts).await?;
        match parts.receipt {
            Some(receipt) if whole => Ok(Listed { list: parts.list, receipt }),
            _ => Err(error),
        }
    }

    /// Says whether every row of the page has its place among the parts: a server that gives fewer rows
    /// than it is asked for makes the places of the next ones unsure.
    fn read_parts<'a>(
        &'a self,
        share: &'a Share<'a>,
        number: u32,
        size: u32,
        parts: &'a mut Parts,
    ) -> Pin<Box<dyn Future<Output = Result<bool, HaloError>> + Send + 'a>> {
        Box::pin(async move {
            let split = smallest_divisor(size);
            let size = size / split;
            for number in (number - 1) * split + 1..=number * split {
                match self.list_with(share.filter, share.fields, number, size).await {
                    Ok(Listed { list, receipt }) => {
                        let rows = list.received as u64;
                        let ends = u64::from(number) * u64::from(size);
                        let more = list.record_count.is_none_or(|count| ends <= count);
                        parts.take(list, receipt);
                        if rows < u64::from(size) {
                            return Ok(!more);
                        }
                    }
                    Err(error) if !error.is_of_the_answer() => return Err(error),
                    Err(error) if size == 1 => parts.note_unreadable(number, error)?,
                    Err(_) if self.read_parts(share, number, size, parts).await? => {}
                    Err(_) => return Ok(false),
                }
            }
            Ok(true)
        })
    }
}

impl Parts {
    fn take(&mut self, list: List, receipt: Receipt) {
        self.receipt.get_or_insert(receipt);
        self.list.record_count = list.record_count;
        self.list.tickets.extend(list.tickets);
        self.list.strays.extend(list.strays);
        self.list.received += list.received;
        self.list.repaired += list.repaired;
    }

    fn note_unreadable(&mut self, row: u32, error: HaloError) -> Result<(), HaloError> {
        self.unreadable += 1;
        if UNREADABLE_MAX < self.unreadable {
            return Err(error);
        }
        let place = match self.list.tickets.last() {
            Some(ticket) => format!("the row behind ticket {}", ticket.id()),
            None => format!("row {row} of the list in order of id"),
        };
        let oddity = Oddity { reason: "the row cannot be read", raw: format!("{place}: {error}") };
        self.list.strays.push(Stray { oddity });
        self.list.received += 1;
        Ok(())
    }
}

/// Pages of that part of the size begin where the page does.
fn smallest_divisor(size: u32) -> u32 {
    (2..=size).find(|divisor| size.is_multiple_of(*divisor)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_split_until_one_row_is_left() {
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
