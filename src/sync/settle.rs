//! Before anything is asked for: the copy is brought to the scope that is wanted.
//!
//! One scope is active in a database. Another server is refused; other ticket types, custom fields or
//! another mapping drop the old position, and what leaves with them leaves in one transaction.

use super::SyncError;
use super::definitions::QUESTIONS;
use super::names;
use super::pass::{Pass, out_of_scope};
use crate::scope::{MAPPING, Scope, Shift};
use crate::store::Snapshot;
use crate::watermark::Watermark;

impl Pass {
    /// Finds the ids of the wanted ticket types, among the stored names first.
    pub(super) async fn settle_types(&mut self) -> Result<(), SyncError> {
        if self.settings.ticket_types.is_empty() {
            return Ok(());
        }
        let wanted = &self.settings.ticket_types;
        let stored = self.store.lock().read(|snapshot| snapshot.ticket_types())?;
        self.settings.scope.ticket_types = match names::resolve(wanted, &stored) {
            Ok(ids) => ids,
            Err(_) => names::resolve(wanted, &self.halo.ticket_types().await?)?,
        };
        Ok(())
    }

    /// Brings the database to the wanted scope and gives its watermark.
    pub(super) async fn settle_scope(&self) -> Result<Watermark, SyncError> {
        let wanted = Scope { mapping: MAPPING, ..self.settings.scope.clone() };
        let stored = self.store.lock().read(|snapshot| snapshot.watermark())?;
        let fields_off =
            stored.as_ref().is_some_and(|mark| mark.scope.custom_fields && !wanted.custom_fields);
        let shift = stored.as_ref().map(|mark| mark.scope.shift_to(&wanted));
        let (mark, reason, departed) = match (stored, shift) {
            (Some(mark), Some(Shift::None)) => return Ok(mark),
            (Some(mark), Some(Shift::FieldsOff)) => {
                (Watermark { scope: wanted, ..mark }, "scope_changed", Vec::new())
            }
            (Some(_), _) => {
                let rows = self.store.lock().read(|snapshot| snapshot.stored_rows())?;
                let outside = rows.into_iter().filter(|row| !wanted.holds(row.ticket_type));
                let departed = outside.map(|row| out_of_scope(row.id)).collect();
                (Watermark::of_nothing(wanted), "scope_changed", departed)
            }
            (None, _) => (Watermark::of_nothing(wanted), "created", Vec::new()),
        };
        let refills = shift != Some(Shift::FieldsOff);
        let (run_id, now, fate) = (self.run_id, (self.wall)(), self.fate());
        self.store
            .work(move |store| {
                store.write(fate, |writing| {
                    writing.remove(&departed, run_id, now)?;
                    if fields_off {
                        writing.forget_fields(run_id, now)?;
                        QUESTIONS.iter().try_for_each(|question| writing.forget_verdict(question))?;
                    }
                    if refills {
                        writing.give_up_walks(now)?;
                    }
                    writing.set_watermark(&mark, Some(reason), Some(run_id), now)?;
                    Ok(mark)
                })
            })
            .await
    }
}

/// Whether what is stored is of the server that is wanted.
///
/// # Errors
/// [`SyncError::AnotherServer`] where it is not.
pub fn same_server(snapshot: &Snapshot<'_>, wanted: &Scope) -> Result<(), SyncError> {
    let Some(stored) = snapshot.watermark()?.map(|mark| mark.scope) else { return Ok(()) };
    if stored.shift_to(wanted) != Shift::Foreign {
        return Ok(());
    }
    let named = |scope: &Scope| match scope.tenant.as_str() {
        "" => scope.server.clone(),
        tenant => format!("{} (tenant {tenant})", scope.server),
    };
    Err(SyncError::AnotherServer { stored: named(&stored), wanted: named(wanted) })
}
