//! Before anything is asked for: the copy is brought to the scope that is wanted.
//!
//! One scope is active in a database. Another server is refused; other ticket types, custom fields or
//! another mapping drop the old position, and what leaves with them leaves in one transaction.

use super::SyncError;
use super::definitions::FIELD_PROBES;
use super::reference;
use super::run::{RunContext, out_of_scope_removal};
use crate::scope::{MAPPING_VERSION, Scope, ScopeChange};
use crate::store::{MoveReason, ReadTx};
use crate::watermark::Watermark;

impl RunContext {
    /// Finds the ids of the wanted ticket types, among the stored names first.
    pub(super) async fn resolve_scope_types(&mut self) -> Result<(), SyncError> {
        if self.settings.ticket_types.is_empty() {
            return Ok(());
        }
        let wanted = &self.settings.ticket_types;
        let stored = self.store.lock().read(|tx| tx.ticket_types())?;
        self.settings.scope.ticket_types = match reference::resolve_ticket_types(wanted, &stored) {
            Ok(ids) => ids,
            Err(_) => reference::resolve_ticket_types(wanted, &self.halo.fetch_ticket_types().await?)?,
        };
        Ok(())
    }

    /// Brings the database to the wanted scope and gives its watermark.
    pub(super) async fn apply_scope(&self) -> Result<Watermark, SyncError> {
        let wanted = Scope { mapping: MAPPING_VERSION, ..self.settings.scope.clone() };
        let stored = self.store.lock().read(|tx| tx.watermark())?;
        let fields_off =
            stored.as_ref().is_some_and(|watermark| watermark.scope.custom_fields && !wanted.custom_fields);
        let scope_change = stored.as_ref().map(|watermark| watermark.scope.change_to(&wanted));
        let (watermark, reason, removals) = match (stored, scope_change) {
            (Some(watermark), Some(ScopeChange::Unchanged)) => return Ok(watermark),
            (Some(watermark), Some(ScopeChange::CustomFieldsDisabled)) => {
                (Watermark { scope: wanted, ..watermark }, MoveReason::ScopeChanged, Vec::new())
            }
            (Some(_), _) => {
                let rows = self.store.lock().read(|tx| tx.stored_tickets())?;
                let leaving = rows.into_iter().filter(|row| !wanted.includes(row.ticket_type));
                let removals = leaving.map(|row| out_of_scope_removal(row.id)).collect();
                (Watermark::new(wanted), MoveReason::ScopeChanged, removals)
            }
            (None, _) => (Watermark::new(wanted), MoveReason::Created, Vec::new()),
        };
        let needs_initial_load = scope_change != Some(ScopeChange::CustomFieldsDisabled);
        let (run_id, now, tx_end) = (self.run_id, (self.clock)(), self.tx_end());
        self.store
            .call(move |store| {
                store.write(tx_end, |tx| {
                    tx.remove(&removals, run_id, now)?;
                    if fields_off {
                        tx.clear_custom_fields(run_id, now)?;
                        FIELD_PROBES.iter().try_for_each(|probe| tx.delete_probe(*probe))?;
                    }
                    if needs_initial_load {
                        tx.abandon_scans(now)?;
                    }
                    tx.set_watermark(&watermark, Some(reason), Some(run_id), now)?;
                    Ok(watermark)
                })
            })
            .await
    }
}

/// Whether what is stored is of the server that is wanted.
///
/// # Errors
/// [`SyncError::AnotherServer`] where it is not.
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
