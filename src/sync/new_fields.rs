//! Unmapped fields that the server did not send before: found where answers are read anyway, logged once when the run ends.

use std::sync::PoisonError;

use super::SyncError;
use super::context::RunContext;
use crate::halo::SearchedTicket;
use crate::reference::ReferenceTable;
use crate::store::{FieldFindings, Store, UnmappedField};

/// The name of a row of the ticket list in `unmapped_fields.object`.
pub(super) const LIST_ROWS: &str = "tickets";

/// The name of a single ticket there.
const SINGLE_TICKETS: &str = "ticket";

/// So many names are logged.
const LOGGED_MAX: usize = 20;

impl RunContext {
    /// Keeps in mind what a search found, for the log. A dry run stores nothing, so that it would find the same again.
    pub(super) fn add_new_fields(&self, findings: Option<FieldFindings>) {
        if let Some(findings) = findings.filter(|_| !self.settings.dry_run) {
            self.new_fields.lock().unwrap_or_else(PoisonError::into_inner).push(findings);
        }
    }

    /// Has one of the single tickets that the run fetches searched: of the kind that it fetches most of.
    pub(super) fn search_next_ticket(&self) {
        let has_details = self.settings.scope.custom_fields;
        let kind = if has_details { SearchedTicket::WithDetails } else { SearchedTicket::Plain };
        self.halo.search_next_ticket(kind);
    }

    /// Stores what the search in a single ticket found, and logs what all searches of the run found.
    pub(super) async fn end_field_searches(&self) {
        if let Some(unmapped) = self.halo.take_unmapped_of_ticket().filter(|_| !self.settings.dry_run) {
            let (now, tx_end) = (self.now(), self.tx_end());
            let write = move |store: &mut Store| {
                store.write(tx_end, |tx| tx.record_unmapped_fields(SINGLE_TICKETS, &unmapped, now))
            };
            let stored: Result<_, SyncError> = self.store.call(write).await;
            match stored {
                Ok(findings) => self.add_new_fields(Some(findings)),
                // How the run ended is decided already.
                Err(error) => tracing::debug!(%error, "the fields of a single ticket could not be recorded"),
            }
        }
        log_new_fields(std::mem::take(&mut *self.new_fields.lock().unwrap_or_else(PoisonError::into_inner)));
    }
}

/// Logs what is new. Of what the first search of an object found, only the number: most servers send hundreds.
fn log_new_fields(findings: Vec<FieldFindings>) {
    let (first, later): (Vec<_>, Vec<_>) = findings.into_iter().partition(|it| it.is_first_search);
    let known: usize = first.iter().map(|it| it.fields.len()).sum();
    if 0 < known {
        tracing::info!(
            known,
            "fields of the server that are not stored: {known}; their names are in the table `unmapped_fields`"
        );
    }
    let new: Vec<_> = later.into_iter().flat_map(|it| it.fields).collect();
    if !new.is_empty() {
        let names = fields_to_text(&new, LOGGED_MAX);
        tracing::info!(new = new.len(), "the server sends new fields, which are not stored: {names}");
    }
}

/// Names fields by their objects: `ticket list: mood (string), score (number); agents: desk (object); and 3 more`. At
/// most `max` are named.
#[must_use]
pub fn fields_to_text(fields: &[UnmappedField], max: usize) -> String {
    let mut text = String::new();
    let mut object = None;
    for field in fields.iter().take(max) {
        if object == Some(&field.object) {
            text += ", ";
        } else {
            text += if object.is_some() { "; " } else { "" };
            text += &object_to_text(&field.object);
            text += ": ";
            object = Some(&field.object);
        }
        let name = if field.field.is_empty() { "\"\"" } else { &field.field };
        text += &format!("{name} ({})", field.json_type.as_str());
    }
    match fields.len().saturating_sub(max) {
        0 => text,
        more => format!("{text}; and {more} more"),
    }
}

fn object_to_text(object: &str) -> String {
    match object {
        LIST_ROWS => "ticket list".into(),
        SINGLE_TICKETS => "single tickets".into(),
        table => ReferenceTable::named(table).map_or_else(|| table.to_owned(), ReferenceTable::words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::JsonType;

    #[test]
    fn fields_are_named_by_object_and_cut_off() {
        let field = |object: &str, field: &str, json_type| UnmappedField {
            object: object.into(),
            field: field.into(),
            json_type,
            first_seen_at: "2026-11-22T12:00:00.000Z".parse().unwrap(),
            last_seen_at: "2026-11-22T12:00:00.000Z".parse().unwrap(),
            in_first_search: false,
        };
        let fields = [
            field("slas", "", JsonType::Null),
            field("tickets", "mood", JsonType::String),
            field("tickets", "score", JsonType::Number),
            field("ticket", "steps", JsonType::Array),
        ];
        for (max, expected) in [
            (
                4,
                "SLAs: \"\" (null); ticket list: mood (string), score (number); single tickets: steps (array)",
            ),
            (2, "SLAs: \"\" (null); ticket list: mood (string); and 2 more"),
        ] {
            assert_eq!(fields_to_text(&fields, max), expected);
        }
    }
}
