//! The rows without a usable id that one read of a list received.

use std::collections::BTreeMap;

use super::super::page::Page;
use crate::ticket::parse::RejectedRow;

/// The text of more rows than this is not kept: they are stored as one row with a count.
const TEXTS_MAX: u64 = 1_000;

/// Rows without a usable id. Nothing identifies such a row but the ticket before it: a page that is received again shows the
/// same rows after the same tickets.
#[derive(Clone, Debug, Default)]
pub(in crate::sync) struct RejectedRows {
    /// By the ticket before them, each with the number of its page.
    groups: BTreeMap<Option<i64>, Vec<(u32, RejectedRow)>>,
    count: u64,
}

/// How a page follows what was received before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageOrder {
    /// It is the next page, after this ticket.
    Next(Option<i64>),
    /// It was found by a search for the cursor, and may show rows that were received before.
    Found(Option<i64>),
}

impl RejectedRows {
    /// The rows that an interrupted read had received.
    pub(in crate::sync) fn from_checkpoint(rows: Vec<(u32, RejectedRow)>) -> RejectedRows {
        let mut rejected = RejectedRows::default();
        for (page, row) in rows {
            rejected.count += 1;
            rejected.groups.entry(row.after_id).or_default().push((page, row));
        }
        rejected
    }

    /// Adds the rows of a page.
    pub(super) fn add(&mut self, page: &Page, order: PageOrder) {
        let (PageOrder::Next(before) | PageOrder::Found(before)) = order;
        let mut seen_again: BTreeMap<Option<i64>, usize> = BTreeMap::new();
        for row in &page.rejected_rows {
            let is_leading = row.after_id.is_none();
            // They were received before, after a ticket that this page does not show.
            let is_before_cursor = |cursor| page.ids().next().is_some_and(|first| Some(first) <= cursor);
            if is_leading && matches!(order, PageOrder::Found(cursor) if is_before_cursor(cursor)) {
                continue;
            }
            let after_id = row.after_id.or(before);
            let group = self.groups.entry(after_id).or_default();
            let again = seen_again.entry(after_id).or_default();
            *again += 1;
            let is_new = is_leading && matches!(order, PageOrder::Next(_)) || group.len() < *again;
            if is_new {
                let mut row = RejectedRow { after_id, ..row.clone() };
                if TEXTS_MAX <= self.count {
                    row.rejected.raw = String::new();
                }
                self.count += 1;
                group.push((page.number, row));
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.count
    }

    /// How many stand after a cursor.
    pub(super) fn count_after(&self, cursor: Option<i64>) -> u64 {
        self.groups.range(cursor..).map(|(_, rows)| rows.len() as u64).sum()
    }

    /// The rows, each with the number of its page and the ticket before it.
    pub(in crate::sync) fn to_vec(&self) -> Vec<(u32, RejectedRow)> {
        self.groups.values().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::RejectedValue;

    /// A page of these rows; `None` is a row without an id.
    fn page(number: u32, rows: &[Option<i64>]) -> Page {
        let mut page = Page { number, rows: rows.len() as u64, ..Page::default() };
        let mut after_id = None;
        for row in rows {
            if let Some(id) = row {
                page.tickets.push((*id, None));
                after_id = Some(*id);
            } else {
                let rejected = RejectedValue { reason: "no usable id".into(), raw: String::new() };
                page.rejected_rows.push(RejectedRow { rejected, after_id });
            }
        }
        page
    }

    #[test]
    fn rows_of_a_page_received_again_count_once() {
        let mut rows = RejectedRows::default();
        rows.add(&page(1, &[None, Some(1), None]), PageOrder::Next(None));
        rows.add(&page(2, &[None, Some(2), Some(3)]), PageOrder::Next(Some(1)));
        assert_eq!((rows.len(), rows.count_after(Some(1)), rows.count_after(Some(2))), (3, 2, 0));
        rows.add(&page(1, &[Some(1), None, None]), PageOrder::Found(Some(3)));
        rows.add(&page(1, &[None, Some(2), Some(3)]), PageOrder::Found(Some(3)));
        assert_eq!(rows.len(), 3);
        rows.add(&page(1, &[None, Some(3), None]), PageOrder::Found(Some(3)));
        assert_eq!(rows.len(), 4, "the row after the cursor is new");
        let kept: Vec<_> = rows.to_vec().iter().map(|(_, row)| row.after_id).collect();
        assert_eq!(kept, [None, Some(1), Some(1), Some(3)]);
        assert_eq!(RejectedRows::from_checkpoint(rows.to_vec()).to_vec(), rows.to_vec());
    }
}
