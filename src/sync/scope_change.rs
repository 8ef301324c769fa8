//! Brings the database to the scope of the settings, before anything is scanned.
//!
//! One scope is active in a database. Another server is refused. Other ticket types, custom fields or another mapping
//! start a new initial load, and the tickets that are no longer in the scope are removed in one
//! transaction.

use super::SyncError;
use super::completeness::allowed_deletions;
use super::context::RunContext;
use super::custom_fields::discover::FIELD_PROBES;
use super::reference;
use crate::scope::{MAPPING_VERSION, Scope, ScopeChange};
use crate::store::{MoveReason, Probe, ReadTx, Removal, RemovalReason};
use crate::watermark::Watermark;

/// The ids of the ticket types in the settings. The stored names are tried before the server is asked.
pub(super) async fn resolve_scope_types(context: &RunContext) -> Result<Vec<i64>, SyncError> {
    let wanted = &context.settings.ticket_types;
    if wanted.is_empty() {
        return Ok(context.settings.scope.ticket_types.clone());
    }
    let stored = context.store.lock().read(|tx| tx.ticket_types())?;
    match reference::resolve_ticket_types(wanted, &stored) {
        Ok(ids) => Ok(ids),
        Err(_) => reference::resolve_ticket_types(wanted, &reference::fetch_ticket_types(context).await?),
    }
}

/// What came of bringing the database to the scope of the settings.
pub(super) enum ScopeStep {
    /// It has that scope, and this watermark.
    Ready(Watermark),
    /// It keeps its scope: more tickets would leave than the delete guard allows.
    Guarded {
        /// How many would leave.
        removals: u64,
        /// How many may leave without confirmation.
        allowed: u64,
    },
}

/// Brings the database to the scope of the settings.
pub(super) async fn apply_scope(context: &RunContext) -> Result<ScopeStep, SyncError> {
    let wanted = Scope { mapping: MAPPING_VERSION, ..context.settings.scope.clone() };
    let stored = context.store.lock().read(|tx| tx.watermark())?;
    let drops_custom_fields =
        stored.as_ref().is_some_and(|watermark| watermark.scope.custom_fields && !wanted.custom_fields);
    let change = stored.as_ref().map(|watermark| watermark.scope.change_to(&wanted));
    let (watermark, reason, removals) = match (stored, change) {
        (Some(watermark), Some(ScopeChange::Unchanged)) => return Ok(ScopeStep::Ready(watermark)),
        (Some(watermark), Some(ScopeChange::CustomFieldsDisabled)) => {
            (Watermark { scope: wanted, ..watermark }, MoveReason::ScopeChanged, Vec::new())
        }
        (Some(_), _) => {
            let rows = context.store.lock().read(|tx| tx.stored_tickets())?;
            let stored = rows.len() as u64;
            let out_of_scope = rows.into_iter().filter(|row| !wanted.includes(row.ticket_type));
            let reason = RemovalReason::OutOfScope;
            let removals: Vec<_> = out_of_scope.map(|row| Removal::new(row.id, reason)).collect();
            let removed = removals.len() as u64;
            let allowed = allowed_deletions(stored, context.settings.delete_guard);
            if allowed < removed && !context.settings.accept_deletes {
                return Ok(ScopeStep::Guarded { removals: removed, allowed });
            }
            (Watermark::new(wanted), MoveReason::ScopeChanged, removals)
        }
        (None, _) => (Watermark::new(wanted), MoveReason::Created, Vec::new()),
    };
    let needs_initial_load = change != Some(ScopeChange::CustomFieldsDisabled);
    let (run_id, now, tx_end) = (context.run_id, context.now(), context.tx_end());
    context
        .store
        .call(move |store| {
            store.write(tx_end, |tx| {
                tx.remove(&removals, run_id, now)?;
                if drops_custom_fields {
                    tx.clear_custom_fields(run_id, now)?;
                    FIELD_PROBES.iter().try_for_each(|probe| tx.delete_probe(*probe))?;
                }
                if needs_initial_load {
                    tx.abandon_scans(now)?;
                    // Whether the plain list leaves tickets out was found with the lists of the other scope.
                    tx.delete_probe(Probe::ListCoverage)?;
                }
                tx.set_watermark(&watermark, Some(reason), Some(run_id), now)?;
                Ok(ScopeStep::Ready(watermark))
            })
        })
        .await
}

/// Checks that the database holds the tickets of this server.
///
/// # Errors
/// [`SyncError::AnotherServer`] if it does not.
pub fn check_same_server(tx: &ReadTx<'_>, wanted: &Scope) -> Result<(), SyncError> {
    let Some(stored) = tx.watermark()?.map(|watermark| watermark.scope) else { return Ok(()) };
    if stored.change_to(wanted) != ScopeChange::OtherServer {
        return Ok(());
    }
    let describe = |scope: &Scope| match scope.tenant.as_str() {
        "" => scope.server.clone(),
        tenant => format!("{} (tenant {tenant})", scope.server),
    };
    Err(SyncError::AnotherServer { stored: describe(&stored), wanted: describe(wanted) })
}
