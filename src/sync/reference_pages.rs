//! Reference tables that are read page by page: clients, sites, users. They may be long, so they wait for the tickets, use
//! at most a quarter of the rate limit, and continue where they were in the next run.

use std::time::Duration;

use super::SyncError;
use super::context::RunContext;
use super::reference::{DAILY, is_due, record_doubtful, record_unavailable, selected, why_doubtful};
use super::report::RunReport;
use crate::reference::{ReferenceRow, ReferenceTable};
use crate::store::{ReferenceList, ReferenceRest, ReferenceResult, TxEnd};
use crate::ticket::parse::ParsedItems;

/// A list with more rows does not end.
const ROWS_MAX: u64 = 2_000_000;

/// How far the reading of a list is.
enum PageVerdict {
    /// There may be more pages.
    More(ReferenceRest),
    /// That was the last one.
    End {
        rest: ReferenceRest,
        /// Whether every row was received, by the server's count.
        is_complete: bool,
    },
}

/// Reads the lists that are due, as far as the rate limit allows. A failure is a warning: the run stays what it was.
pub(super) async fn read_due(context: &RunContext, report: &mut RunReport) -> Result<(), SyncError> {
    if context.settings.dry_run {
        return Ok(());
    }
    let mut requests_left = context.settings.requests_per_window / 4;
    for table in selected(context).filter(|table| table.is_paged) {
        if !is_due(context, table, max_age(context))? || used_its_share(context, table)? {
            continue;
        }
        match read_table(context, table, &mut requests_left).await {
            Ok(()) => {}
            Err(SyncError::Halo(error)) => {
                report
                    .warnings
                    .push(format!("the list of {} is not read to its end: {error}", table.words()));
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether any list is due.
pub(super) fn is_any_due(context: &RunContext) -> Result<bool, SyncError> {
    for table in selected(context).filter(|table| table.is_paged) {
        if is_due(context, table, max_age(context))? && !used_its_share(context, table)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn max_age(context: &RunContext) -> Duration {
    if context.settings.schedule.full_requested { Duration::ZERO } else { DAILY }
}

/// Whether an earlier run has just used the share of the rate limit.
fn used_its_share(context: &RunContext, table: &ReferenceTable) -> Result<bool, SyncError> {
    let list = context.store.lock().read(|tx| tx.reference_list(table))?;
    let since = |list: &ReferenceList| (context.now().instant() - list.read_at.instant()).abs();
    Ok(list.is_some_and(|list| {
        list.result == ReferenceResult::Partial && since(&list) < context.halo.rate_window()
    }))
}

async fn read_table(
    context: &RunContext,
    table: &'static ReferenceTable,
    requests_left: &mut u32,
) -> Result<(), SyncError> {
    let stored = context.store.lock().read(|tx| tx.reference_list(table))?;
    let mut rest = stored.and_then(|list| list.rest).unwrap_or_else(ReferenceRest::from_start);
    while 0 < *requests_left {
        *requests_left -= 1;
        let page = match context.halo.fetch_reference_page(table, rest.next_page).await {
            Ok(page) => page,
            Err(error) => return record_unavailable(context, table, error).await,
        };
        context.record_requests().await?;
        match after_page(rest, table, &page) {
            PageVerdict::More(next) => {
                store_page(context, table, page, Some(next.clone())).await?;
                rest = next;
            }
            PageVerdict::End { rest, is_complete } => {
                store_page(context, table, page, None).await?;
                return end(context, table, rest, is_complete).await;
            }
        }
    }
    Ok(())
}

/// Decides whether there are more pages. A short page proves nothing: the server's page may be smaller than asked for. What
/// does is the server's count, and an empty page where it sends none.
fn after_page(
    mut rest: ReferenceRest,
    table: &ReferenceTable,
    page: &ParsedItems<ReferenceRow>,
) -> PageVerdict {
    let before = rest.seen.len();
    rest.seen.extend(page.items.iter().flat_map(|row| row.key(table)).map(i64::cast_unsigned));
    rest.next_page += 1;
    // A page that brings nothing new comes after the last one, or the server ignores paging.
    let brings_nothing = rest.seen.len() == before;
    if !brings_nothing {
        rest.unreadable += page.unreadable as u64;
    }
    let received = rest.seen.len() + rest.unreadable;
    let is_complete = page.record_count.is_none_or(|count| count <= received);
    let is_counted = page.record_count.is_some() && is_complete;
    if brings_nothing || is_counted || ROWS_MAX < rest.seen.len() {
        PageVerdict::End { rest, is_complete }
    } else {
        PageVerdict::More(rest)
    }
}

/// Stores the rows of a page and where to continue.
async fn store_page(
    context: &RunContext,
    table: &'static ReferenceTable,
    page: ParsedItems<ReferenceRow>,
    rest: Option<ReferenceRest>,
) -> Result<(), SyncError> {
    let now = context.now();
    let findings = context
        .store
        .call(move |store| {
            store.write(TxEnd::Commit, |tx| {
                tx.update_reference(table, &page)?;
                if 0 < page.unreadable {
                    tx.replace_rejected_items(table.name, &page, now)?;
                }
                // Until the end is known, a list that could not be told whole before has still not been.
                let attempts = tx.as_read_tx().reference_list(table)?.map_or(0, |list| list.attempts);
                let list =
                    ReferenceList { attempts, rest, ..ReferenceList::new(ReferenceResult::Partial, now) };
                tx.record_reference_list(table, &list)?;
                let unmapped = page.unmapped.as_ref();
                unmapped.map(|it| tx.record_unmapped_fields(table.name, it, now)).transpose()
            })
        })
        .await?;
    context.add_new_fields(findings);
    Ok(())
}

/// Records what the whole list came to. Only one that is complete says what is no longer listed.
async fn end(
    context: &RunContext,
    table: &'static ReferenceTable,
    rest: ReferenceRest,
    is_complete: bool,
) -> Result<(), SyncError> {
    let (stored, unreadable) = (context.store.lock().read(|tx| tx.present_rows(table))?, rest.unreadable);
    let shown = rest.seen.len() + unreadable;
    if !is_complete {
        return record_doubtful(context, table, ReferenceResult::Incomplete, shown).await;
    }
    if let Some(result) = why_doubtful(table, shown, stored) {
        return record_doubtful(context, table, result, shown).await;
    }
    let now = context.now();
    context
        .store
        .call(move |store| {
            store.write(TxEnd::Commit, |tx| {
                if unreadable == 0 {
                    tx.clear_rejected_items(table.name)?;
                    tx.mark_absent(table, |key| key.iter().all(|id| rest.seen.contains(id.cast_unsigned())))?;
                }
                tx.record_reference_list(table, &ReferenceList::new(ReferenceResult::Listed, now))
            })
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::parse_reference_list;

    fn page(ids: std::ops::Range<i64>, record_count: Option<u64>) -> ParsedItems<ReferenceRow> {
        let rows: Vec<_> = ids.map(|id| serde_json::json!({ "id": id, "name": "x" })).collect();
        let json = serde_json::json!({ "record_count": record_count, "clients": rows }).to_string();
        parse_reference_list(clients(), json.as_bytes()).unwrap()
    }

    fn clients() -> &'static ReferenceTable {
        ReferenceTable::named("clients").unwrap()
    }

    /// Reads pages one after another; returns how many were read, how many ids were seen and whether that is all.
    fn read(pages: Vec<ParsedItems<ReferenceRow>>) -> (u32, u64, Option<bool>) {
        let mut rest = ReferenceRest::from_start();
        let mut read = 0;
        for page in pages {
            read += 1;
            match after_page(rest, clients(), &page) {
                PageVerdict::More(next) => rest = next,
                PageVerdict::End { rest, is_complete } => return (read, rest.seen.len(), Some(is_complete)),
            }
        }
        (read, rest.seen.len(), None)
    }

    #[test]
    fn list_ends_by_its_count_or_an_empty_page_and_never_by_a_short_page() {
        let counted = vec![page(1..51, Some(120)), page(51..101, Some(120)), page(101..121, Some(120))];
        assert_eq!(read(counted), (3, 120, Some(true)));
        let uncounted = vec![page(1..51, None), page(51..61, None), page(0..0, None)];
        assert_eq!(read(uncounted), (3, 60, Some(true)));
        // A row left between two pages: the list is not complete.
        let moved = vec![page(1..51, Some(100)), page(52..101, Some(100)), page(0..0, Some(100))];
        assert_eq!(read(moved), (3, 99, Some(false)));
        // The server ignores paging.
        let repeated = vec![page(1..51, Some(120)), page(1..51, Some(120))];
        assert_eq!(read(repeated), (2, 50, Some(false)));
    }
}
