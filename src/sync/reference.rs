//! The names of statuses and ticket types: asked for daily, and when a number without a name turns up
//! at most hourly. A server that forbids them does not stop the tickets.

use std::time::Duration;

use chrono::TimeDelta;

use super::SyncError;
use super::fields::FieldSource;
use super::row_intake::{MissingNames, RowMapping};
use super::run::RunContext;
use crate::halo::HaloError;
use crate::store::Probe;
use crate::ticket::parse::ReferenceItem;

pub(super) const DAILY: Duration = Duration::from_hours(24);
const HOURLY: Duration = Duration::from_hours(1);

const STATUS_NAMES_PROBE: Probe = Probe::StatusNames;
const TYPE_NAMES_PROBE: Probe = Probe::TypeNames;

/// The word for a list that is to be had, and holds nothing.
const EMPTY: &str = "empty";

impl RunContext {
    /// Refreshes the names that are older than a day.
    pub(super) async fn refresh_reference_tables(&self) -> Result<(), SyncError> {
        self.refresh_statuses(DAILY).await?;
        self.refresh_types(DAILY).await
    }

    /// Looks for the names of numbers that turned up without one.
    pub(super) async fn look_up_missing_names(&self, missing_names: MissingNames) -> Result<(), SyncError> {
        if missing_names.status {
            self.refresh_statuses(HOURLY).await?;
        }
        if missing_names.ticket_type {
            self.refresh_types(HOURLY).await?;
        }
        Ok(())
    }

    /// What rows are mapped with, as far as it is stored.
    pub(super) fn mapping(&self, field_source: FieldSource) -> Result<RowMapping, SyncError> {
        self.store.lock().read(|tx| {
            let types = tx.ticket_types()?.into_iter().map(|it| it.id).collect();
            let statuses = tx.status_names()?.into_keys().collect();
            Ok(RowMapping { scope: self.settings.scope.clone(), statuses, types, fields: field_source })
        })
    }

    async fn refresh_types(&self, max_age: Duration) -> Result<(), SyncError> {
        if !self.is_refresh_due(TYPE_NAMES_PROBE, max_age)? {
            return Ok(());
        }
        match self.halo.fetch_ticket_types().await {
            Ok(types) if types.is_empty() => self.store_probe_result(TYPE_NAMES_PROBE, EMPTY, None).await,
            Ok(types) => self.store_types(types).await,
            Err(error) => self.record_unavailable(TYPE_NAMES_PROBE, error).await,
        }
    }

    async fn refresh_statuses(&self, max_age: Duration) -> Result<(), SyncError> {
        if !self.is_refresh_due(STATUS_NAMES_PROBE, max_age)? {
            return Ok(());
        }
        let statuses = match self.halo.fetch_statuses(false).await {
            // Names that are known do not become numbers because a permission was taken away.
            Ok(statuses) if statuses.is_empty() => {
                return self.store_probe_result(STATUS_NAMES_PROBE, EMPTY, None).await;
            }
            Ok(statuses) => statuses,
            Err(error) => return self.record_unavailable(STATUS_NAMES_PROBE, error).await,
        };
        // A server that does not know `excludeclosed` answers with the same list; then nothing is said
        // of which are closed.
        let open = self.halo.fetch_statuses(true).await.unwrap_or_default();
        let closed: Vec<i64> =
            statuses.iter().map(|it| it.id).filter(|id| !open.iter().any(|open| open.id == *id)).collect();
        let closed_known = !open.is_empty() && !closed.is_empty();
        let (run_id, now, tx_end) = (self.run_id, (self.clock)(), self.tx_end());
        self.store
            .call(move |store| {
                store.write(tx_end, |tx| {
                    tx.replace_statuses(&statuses, closed_known.then_some(&closed), run_id, now)?;
                    tx.record_probe(STATUS_NAMES_PROBE, "listed", None, now)
                })
            })
            .await
    }

    async fn store_types(&self, types: Vec<ReferenceItem>) -> Result<(), SyncError> {
        let (now, tx_end) = ((self.clock)(), self.tx_end());
        self.store
            .call(move |store| {
                store.write(tx_end, |tx| {
                    tx.replace_ticket_types(&types)?;
                    tx.record_probe(TYPE_NAMES_PROBE, "listed", None, now)
                })
            })
            .await
    }

    /// Notes that a list is not to be had, unless the server itself is not.
    pub(super) async fn record_unavailable(
        &self,
        probe: Probe,
        error: HaloError,
    ) -> Result<(), SyncError> {
        if error.is_token_error() {
            return Err(error.into());
        }
        let result = match &error {
            HaloError::Refused { status: 401 | 403, .. } => "forbidden",
            HaloError::Refused { .. }
            | HaloError::Unreadable(_)
            | HaloError::TooLarge { .. }
            | HaloError::Unavailable { .. } => "unreadable",
            HaloError::Unreachable { .. }
            | HaloError::RateLimited { .. }
            | HaloError::Credentials { .. }
            | HaloError::UnsafeAuthUrl { .. } => return Err(error.into()),
        };
        tracing::warn!("going on without the names: {error}");
        let (now, tx_end) = ((self.clock)(), self.tx_end());
        let details = error.to_string();
        self.store
            .call(move |store| store.write(tx_end, |tx| tx.record_probe(probe, result, Some(&details), now)))
            .await
    }

    pub(super) fn is_refresh_due(&self, probe: Probe, max_age: Duration) -> Result<bool, SyncError> {
        let probed = self.store.lock().read(|tx| tx.probe(probe))?;
        let max_age = TimeDelta::from_std(max_age).unwrap_or(TimeDelta::MAX);
        let now = (self.clock)();
        Ok(probed.is_none_or(|it| max_age <= (now.instant() - it.probed_at.instant()).abs()))
    }
}

/// The ids of ticket types by their names, which are compared trimmed and without regard to case;
/// several types may share a name.
///
/// # Errors
/// [`SyncError::UnknownType`]: an unknown name must never mean "no filter".
pub fn resolve_ticket_types(wanted: &[String], types: &[ReferenceItem]) -> Result<Vec<i64>, SyncError> {
    let fold = |name: &str| name.trim().to_lowercase();
    let mut ids = Vec::new();
    for name in wanted {
        let before = ids.len();
        ids.extend(types.iter().filter(|it| fold(&it.name) == fold(name)).map(|it| it.id));
        if ids.len() == before {
            let mut known: Vec<String> = types.iter().map(|it| it.name.trim().to_owned()).collect();
            known.sort();
            known.dedup();
            return Err(SyncError::UnknownType { name: name.clone(), known });
        }
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
