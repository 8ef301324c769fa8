//! Whether the stored rows are as halosync stored them. A pure function from facts to an outcome.

use std::path::Path;

use super::CheckOutcome;
use crate::app::count;
use crate::store::{LocalEdits, UnequalHashes};

/// What was found about the stored rows.
pub(super) struct LocalContent {
    pub(super) edits: LocalEdits,
    /// `None` without `--deep`.
    pub(super) unequal: Option<UnequalHashes>,
}

/// Judges the stored rows. A full scan repairs all of it.
pub(super) fn local_content(database: &Path, content: &LocalContent) -> CheckOutcome {
    let LocalContent { edits, unequal } = content;
    let (mut messages, mut helps) = (Vec::new(), Vec::new());
    if !edits.is_empty() {
        messages.push(format!("another program changed the stored tickets ({edits})"));
        helps.push("the next full scan repairs them: `halosync sync --full`".to_owned());
    }
    if let Some(unequal) = unequal.as_ref().filter(|unequal| **unequal != UnequalHashes::default()) {
        let tickets = unequal.tickets();
        let ids: Vec<_> = tickets.iter().map(|id| id.cast_signed().to_string()).collect();
        let first = ids.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let more = if ids.len() <= 5 { "" } else { ", …" };
        messages.push(format!(
            "{} {} not stored as received ({first}{more}): the disk or another program altered what is stored",
            count(tickets.len(), "ticket"),
            if ids.len() == 1 { "is" } else { "are" },
        ));
        let mut statements = Vec::new();
        for (set, ids) in
            [("hash = NULL", &unequal.rows), ("fields_hash = NULL, fields_no = 0", &unequal.custom_fields)]
        {
            let ids: Vec<_> = ids.iter().map(|id| id.cast_signed().to_string()).collect();
            if !ids.is_empty() {
                statements.push(format!("UPDATE ticket_state SET {set} WHERE UID IN ({})", ids.join(", ")));
            }
        }
        helps.push(format!(
            "check the disk; the service lets its next full scan repair such tickets; without it: sqlite3 {} '{}', \
             then `halosync sync --full`",
            database.display(),
            statements.join("; "),
        ));
    }
    if !messages.is_empty() {
        return CheckOutcome::warning(messages.join("; "), helps.join("; "));
    }
    let deep = if unequal.is_some() { "; every ticket is stored as received" } else { "" };
    CheckOutcome::Ok(format!("no other program changed the stored tickets{deep}"))
}
