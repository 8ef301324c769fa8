//! The names of statuses and ticket types: asked for daily, and when a number without a name turns up
//! at most hourly. A server that forbids them does not stop the tickets.

use std::time::Duration;

use chrono::TimeDelta;

use super::SyncError;
use super::fields::FieldSource;
use super::mapping::{Mapping, Unexplained};
use super::pass::Pass;
use crate::halo::HaloError;
use crate::ticket::parse::Named;

pub(super) const DAILY: Duration = Duration::from_hours(24);
const HOURLY: Duration = Duration::from_hours(1);

const STATUSES: &str = "status_names";
const TYPES: &str = "type_names";

/// The word for a list that is to be had, and holds nothing.
const EMPTY: &str = "empty";

impl Pass {
    /// Refreshes the names that are older than a day.
    pub(super) async fn refresh_names(&self) -> Result<(), SyncError> {
        self.refresh_statuses(DAILY).await?;
        self.refresh_types(DAILY).await
    }

    /// Looks for the names of numbers that turned up without one.
    pub(super) async fn look_up(&self, unexplained: Unexplained) -> Result<(), SyncError> {
        if unexplained.status {
            self.refresh_statuses(HOURLY).await?;
        }
        if unexplained.ticket_type {
            self.refresh_types(HOURLY).await?;
        }
        Ok(())
    }

    /// What rows are mapped with, as far as it is stored.
    pub(super) fn mapping(&self, fields: FieldSource) -> Result<Mapping, SyncError> {
        self.store.lock().read(|snapshot| {
            let types = snapshot.ticket_types()?.into_iter().map(|it| it.id).collect();
            let statuses = snapshot.status_names()?.into_keys().collect();
            Ok(Mapping { scope: self.settings.scope.clone(), statuses, types, fields })
        })
    }

    async fn refresh_types(&self, age: Duration) -> Result<(), SyncError> {
        if !self.is_due(TYPES, age)? {
            return Ok(());
        }
        match self.halo.ticket_types().await {
            Ok(types) if types.is_empty() => self.keep_verdict(TYPES, EMPTY, None).await,
            Ok(types) => self.keep_types(types).await,
            Err(error) => self.do_without(TYPES, error).await,
        }
    }

    async fn refresh_statuses(&self, age: Duration) -> Result<(), SyncError> {
        if !self.is_due(STATUSES, age)? {
            return Ok(());
        }
        let statuses = match self.halo.statuses(false).await {
            // Names that are known do not become numbers because a permission was taken away.
            Ok(statuses) if statuses.is_empty() => return self.keep_verdict(STATUSES, EMPTY, None).await,
            Ok(statuses) => statuses,
            Err(error) => return self.do_without(STATUSES, error).await,
        };
        // A server that does not know `excludeclosed` answers with the same list; then nothing is said
        // of which are closed.
        let open = self.halo.statuses(true).await.unwrap_or_default();
        let closed: Vec<i64> =
            statuses.iter().map(|it| it.id).filter(|id| !open.iter().any(|open| open.id == *id)).collect();
        let told = !open.is_empty() && !closed.is_empty();
        let (run_id, now, fate) = (self.run_id, (self.wall)(), self.fate());
        self.store
            .work(move |store| {
                store.write(fate, |writing| {
                    writing.replace_statuses(&statuses, told.then_some(&closed), run_id, now)?;
                    writing.set_verdict(STATUSES, "listed", None, now)
                })
            })
            .await
    }

    async fn keep_types(&self, types: Vec<Named>) -> Result<(), SyncError> {
        let (now, fate) = ((self.wall)(), self.fate());
        self.store
            .work(move |store| {
                store.write(fate, |writing| {
                    writing.replace_ticket_types(&types)?;
                    writing.set_verdict(TYPES, "listed", None, now)
                })
            })
            .await
    }

    /// Notes that a list is not to be had, unless the server itself is not.
    pub(super) async fn do_without(&self, question: &'static str, error: HaloError) -> Result<(), SyncError> {
        if error.is_of_the_token() {
            return Err(error.into());
        }
        let verdict = match &error {
            HaloError::Refused { status: 401 | 403, .. } => "forbidden",
            HaloError::Refused { .. }
            | HaloError::Unreadable(_)
            | HaloError::TooLarge { .. }
            | HaloError::Unavailable { .. } => "unreadable",
            HaloError::Unreachable { .. }
            | HaloError::Throttled { .. }
            | HaloError::Credentials { .. }
            | HaloError::Misled { .. } => return Err(error.into()),
        };
        tracing::warn!("going on without the names: {error}");
        let (now, fate) = ((self.wall)(), self.fate());
        let details = error.to_string();
        self.store
            .work(move |store| {
                store.write(fate, |writing| writing.set_verdict(question, verdict, Some(&details), now))
            })
            .await
    }

    pub(super) fn is_due(&self, question: &str, age: Duration) -> Result<bool, SyncError> {
        let decided = self.store.lock().read(|snapshot| snapshot.verdict(question))?;
        let age = TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
        let now = (self.wall)();
        Ok(decided.is_none_or(|it| age <= (now.instant() - it.decided_at.instant()).abs()))
    }
}

/// The ids of ticket types by their names, which are compared trimmed and without regard to case;
/// several types may share a name.
///
/// # Errors
/// [`SyncError::UnknownType`]: an unknown name must never mean "no filter".
pub fn resolve(wanted: &[String], types: &[Named]) -> Result<Vec<i64>, SyncError> {
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
