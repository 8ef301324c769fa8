//! Whether a run is complete, by what its last scan lacks and by what earlier ones left behind: tickets that could not be
//! read, rows without an id, a delete guard that holds. Pure, but for the question whether one holds.

use std::fmt::Write as _;

use indicatif::HumanCount;

use crate::store::{PendingTickets, ReadTx, StoreError};

/// How a run ended that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// Every ticket of the server is stored.
    Complete,
    /// What was received is stored, but something is or may be missing. The watermark moves all the same after a full scan
    /// whose only lack is rows without an id, and where only pending tickets, such rows of an earlier scan or the delete
    /// guard keep the run from being complete ([`RunReport::moved_watermark`](super::RunReport::moved_watermark)).
    Incomplete(String),
    /// So many tickets would be deleted that a person has to confirm it. The full scan that met the guard does not
    /// move the watermark; incremental scans while it holds do.
    DeleteGuard {
        /// How many would be deleted.
        removals: u64,
        /// How many may be deleted without confirmation.
        allowed: u64,
    },
    /// So many tickets would leave because `ticket_type` changed that a person has to confirm it; nothing was read.
    ScopeGuard {
        /// How many would leave.
        removals: u64,
        /// How many may leave without confirmation.
        allowed: u64,
    },
}

impl RunOutcome {
    /// What a person can do about a delete guard that holds: the same in `sync`, `check` and `status`.
    pub const DELETE_GUARD_HELP: &str = "check that the agent of the API application can see all tickets; if they are really gone, run \
         `halosync sync --full --accept-deletes`";

    /// Its text in `runs.outcome`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            RunOutcome::Complete => "complete",
            RunOutcome::Incomplete(_) | RunOutcome::DeleteGuard { .. } | RunOutcome::ScopeGuard { .. } => {
                "incomplete"
            }
        }
    }

    /// Why it is not complete.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            RunOutcome::Complete => None,
            RunOutcome::Incomplete(reason) => Some(reason.clone()),
            RunOutcome::DeleteGuard { removals, allowed } => {
                Some(RunOutcome::delete_guard_reason(*removals, *allowed))
            }
            RunOutcome::ScopeGuard { removals, allowed } => Some(format!(
                "with the new `ticket_type`, {} would leave at once; the delete guard allows {}",
                tickets(*removals),
                HumanCount(*allowed)
            )),
        }
    }

    fn delete_guard_reason(removals: u64, allowed: u64) -> String {
        let tickets = tickets(removals);
        if removals <= allowed {
            // There are more tickets than when the scan met the guard.
            return format!("{tickets} would be deleted at once, more than the delete guard allowed then");
        }
        format!("{tickets} would be deleted at once; the delete guard allows {}", HumanCount(allowed))
    }

    /// What a person can do.
    #[must_use]
    pub const fn help(&self) -> Option<&'static str> {
        match self {
            RunOutcome::DeleteGuard { .. } => Some(RunOutcome::DELETE_GUARD_HELP),
            RunOutcome::ScopeGuard { .. } => Some(
                "check `ticket_type` in the settings; if the other tickets should really go, run \
                 `halosync sync --accept-deletes`",
            ),
            RunOutcome::Complete | RunOutcome::Incomplete(_) => None,
        }
    }
}

fn tickets(number: u64) -> String {
    format!("{} {}", HumanCount(number), if number == 1 { "ticket" } else { "tickets" })
}

/// What a list did not show, although its pages fit together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortfall {
    /// How many more tickets the server counts than it shows rows.
    pub missing: u64,
    /// Rows without a usable id.
    pub unidentified: u64,
}

impl Shortfall {
    /// All of it.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.missing + self.unidentified
    }

    /// The shortfall of two lists together.
    #[must_use]
    pub const fn and(self, other: Shortfall) -> Shortfall {
        Shortfall {
            missing: self.missing + other.missing,
            unidentified: self.unidentified + other.unidentified,
        }
    }
}

/// A delete guard that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GuardedDeletions {
    /// Tickets that would be deleted.
    pub(super) removals: u64,
    /// Tickets that may be deleted without confirmation.
    pub(super) allowed: u64,
}

impl GuardedDeletions {
    /// The delete guard that holds, if one does; `delete_guard` is a share from 0 to 1.
    pub(super) fn held(tx: &ReadTx<'_>, delete_guard: f64) -> Result<Option<GuardedDeletions>, StoreError> {
        let removals = tx.guarded_ticket_count()?;
        if removals == 0 {
            // Usually: then the tickets need not be counted.
            return Ok(None);
        }
        let stored = tx.ticket_count()?;
        // Where the server lists none at all, none may be deleted.
        let allowed = if removals < stored { allowed_deletions(stored, delete_guard) } else { 0 };
        Ok(Some(GuardedDeletions { removals, allowed }))
    }
}

/// Whether the last full scan met a delete guard that still holds: then every run ends so. `delete_guard` is a share from 0
/// to 1.
pub fn held_delete_guard(tx: &ReadTx<'_>, delete_guard: f64) -> Result<Option<RunOutcome>, StoreError> {
    let held = GuardedDeletions::held(tx, delete_guard)?;
    Ok(held.map(|GuardedDeletions { removals, allowed }| RunOutcome::DeleteGuard { removals, allowed }))
}

/// So many tickets may always be removed.
const ALWAYS_ALLOWED: u64 = 20;

/// How many tickets may be removed at once; `delete_guard` is a share from 0 to 1.
#[must_use]
pub(super) fn allowed_deletions(stored: u64, delete_guard: f64) -> u64 {
    // Shares of counts far below 2^53; rounding by one ticket does not matter.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let share = (stored as f64 * delete_guard) as u64;
    ALWAYS_ALLOWED.max(share)
}

/// Everything that keeps a run from being complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lacks {
    /// Why its last scan is not complete.
    pub(super) scan: Option<String>,
    /// What that scan did not show.
    pub(super) shortfall: Shortfall,
    /// Where the first row without an id stood: its page, if this scan showed it, and the ticket before it.
    pub(super) first_rejected: Option<(Option<u32>, Option<i64>)>,
    /// Rows without an id that the last full scan showed.
    pub(super) unidentified: u64,
    /// Tickets that could not be read.
    pub(super) pending: PendingTickets,
    /// A delete guard that holds.
    pub(super) guard: Option<GuardedDeletions>,
    /// Whether the server's clock stepped back and no full scan has read everything since.
    pub(super) clock_stepped: bool,
    /// Whether the initial load has not been completed.
    pub(super) is_initial: bool,
}

impl Lacks {
    /// How many tickets and rows are not here.
    fn count(&self) -> u64 {
        self.shortfall.missing + self.shortfall.unidentified.max(self.unidentified) + self.pending.count
    }

    /// How the run ended. `accept_shortfall` is how many tickets and rows may be missing.
    pub(super) fn outcome(&self, accept_shortfall: u64) -> RunOutcome {
        let mut reasons: Vec<String> = self.scan.iter().cloned().collect();
        if accept_shortfall < self.count() {
            reasons.extend(self.describe_count());
        }
        if self.clock_stepped && self.scan.is_none() {
            reasons.push("the server's clock stepped back, and no full scan has been complete since".into());
        }
        if self.is_initial && reasons.is_empty() {
            reasons.push(
                "the initial load has not been completed: `halosync sync --full` tries it again".into(),
            );
        }
        match (reasons.is_empty(), self.guard) {
            (true, None) => RunOutcome::Complete,
            (true, Some(GuardedDeletions { removals, allowed })) => {
                RunOutcome::DeleteGuard { removals, allowed }
            }
            (false, None) => RunOutcome::Incomplete(reasons.join("; ")),
            (false, Some(GuardedDeletions { removals, allowed })) => {
                reasons.push(RunOutcome::delete_guard_reason(removals, allowed));
                RunOutcome::Incomplete(reasons.join("; "))
            }
        }
    }

    /// What is missing and accepted.
    pub(super) fn accepted(&self, accept_shortfall: u64) -> Option<String> {
        let is_accepted = (1..=accept_shortfall).contains(&self.count());
        is_accepted.then(|| format!("accepted by `accept_shortfall`: {}", self.describe_count().join("; ")))
    }

    fn describe_count(&self) -> Vec<String> {
        let mut parts = Vec::new();
        if self.shortfall.missing != 0 {
            let missing = self.shortfall.missing;
            let plural = if missing == 1 { "ticket" } else { "tickets" };
            parts.push(format!("the server counts {missing} {plural} more than it lists"));
        }
        let unidentified = self.shortfall.unidentified.max(self.unidentified);
        if unidentified != 0 {
            let plural = if unidentified == 1 { "row has" } else { "rows have" };
            let mut text = format!("{unidentified} {plural} no usable id");
            if let Some((page, after)) = self.first_rejected {
                let page = page.map_or(String::new(), |page| format!("page {page}, "));
                // Writing to a `String` cannot fail.
                let _ = match after {
                    Some(id) => write!(text, " ({page}after ticket {id})"),
                    None => write!(text, " ({page}before the first ticket)"),
                };
            }
            parts.push(text);
        }
        if self.pending.count != 0 {
            let PendingTickets { count, first_ids } = &self.pending;
            let plural = if *count == 1 { "ticket" } else { "tickets" };
            let ids: Vec<_> = first_ids.iter().map(ToString::to_string).collect();
            let more = if first_ids.len() as u64 == *count { "" } else { ", …" };
            parts.push(format!("{count} {plural} cannot be read yet: {}{more}", ids.join(", ")));
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: Shortfall = Shortfall { missing: 2, unidentified: 0 };
    const UNIDENTIFIED: Shortfall = Shortfall { missing: 0, unidentified: 1 };

    #[test]
    fn run_is_complete_only_if_nothing_is_lacking_or_all_of_it_is_accepted() {
        let pending = |ids: &[i64]| PendingTickets { count: ids.len() as u64, first_ids: ids.to_vec() };
        let guard = Some(GuardedDeletions { removals: 50, allowed: 20 });
        for (name, lacks, accept, reason) in [
            ("nothing", Lacks::default(), 0, None),
            (
                "rows without an id",
                Lacks {
                    shortfall: UNIDENTIFIED,
                    first_rejected: Some((Some(3), Some(7))),
                    ..Lacks::default()
                },
                0,
                Some("1 row has no usable id (page 3, after ticket 7)"),
            ),
            (
                "seen by an earlier full scan",
                Lacks { unidentified: 2, first_rejected: Some((None, Some(7))), ..Lacks::default() },
                1,
                Some("2 rows have no usable id (after ticket 7)"),
            ),
            ("accepted", Lacks { unidentified: 2, ..Lacks::default() }, 2, None),
            (
                "accepted one by one, not together",
                Lacks { unidentified: 1, pending: pending(&[5]), ..Lacks::default() },
                1,
                Some("1 row has no usable id; 1 ticket cannot be read yet: 5"),
            ),
            (
                "count",
                Lacks { shortfall: MISSING, ..Lacks::default() },
                0,
                Some("the server counts 2 tickets more than it lists"),
            ),
            (
                "delete guard",
                Lacks { guard, ..Lacks::default() },
                9,
                Some("50 tickets would be deleted at once; the delete guard allows 20"),
            ),
            (
                "delete guard of many",
                Lacks {
                    guard: Some(GuardedDeletions { removals: 8_000, allowed: 1_000 }),
                    ..Lacks::default()
                },
                9,
                Some("8,000 tickets would be deleted at once; the delete guard allows 1,000"),
            ),
            (
                "delete guard of one",
                Lacks { guard: Some(GuardedDeletions { removals: 1, allowed: 0 }), ..Lacks::default() },
                9,
                Some("1 ticket would be deleted at once; the delete guard allows 0"),
            ),
            (
                "delete guard that fewer tickets met",
                Lacks { guard: Some(GuardedDeletions { removals: 21, allowed: 50 }), ..Lacks::default() },
                9,
                Some("21 tickets would be deleted at once, more than the delete guard allowed then"),
            ),
            (
                "delete guard besides a fault",
                Lacks { guard, scan: Some("a fault".into()), ..Lacks::default() },
                9,
                Some("a fault; 50 tickets would be deleted at once; the delete guard allows 20"),
            ),
            (
                "clock",
                Lacks { clock_stepped: true, ..Lacks::default() },
                9,
                Some("the server's clock stepped back, and no full scan has been complete since"),
            ),
        ] {
            assert_eq!(lacks.outcome(accept).reason().as_deref(), reason, "{name}");
        }
        let many = PendingTickets { count: 12, first_ids: (1..=10).collect() };
        let reason = Lacks { pending: many, ..Lacks::default() }.outcome(0).reason().unwrap();
        assert_eq!(reason, "12 tickets cannot be read yet: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …");
    }
}
