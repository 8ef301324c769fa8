//! Whose a name in the lake is.
//!
//! Two copies of one database know the same claims and the same packages, so neither tells them apart. What does is what
//! they put after they parted: whoever finds a package or an epoch under its name that it has not put ships nothing more,
//! until it is told to claim the name.

use super::documents::ClaimDocument;
use super::objects::OwnObjects;
use crate::app::AppError;
use crate::app::error::LakePushError;
use crate::lake::{ChainPlace, epoch_of};
use crate::store::{LakeEpoch, ReadTx, StoreError};

/// What this copy knows of its past under a name.
pub(super) struct NameHistory {
    /// The last epoch that it has begun.
    pub(super) last: Option<LakeEpoch>,
    /// Its lineages.
    lineages: Vec<String>,
    /// Whether an older copy of the database was restored after that.
    was_restored: bool,
}

impl NameHistory {
    pub(super) fn read(tx: &ReadTx<'_>, url: &str, server: &str) -> Result<NameHistory, StoreError> {
        let last = tx.lake_epoch_of(url, server)?;
        let was_restored = tx.was_restored_since(last.as_ref().map_or("", |last| &last.lineage))?;
        Ok(NameHistory { last, lineages: tx.lineages()?, was_restored })
    }

    /// The last epoch, if its claim may not be in the lake.
    pub(super) fn unclaimed(&self) -> Option<&LakeEpoch> {
        self.last.as_ref().filter(|last| !self.was_restored && last.claimed_at.is_none())
    }
}

impl OwnObjects {
    /// The greatest number of an epoch that anybody has claimed or announced under the name; 0 where nobody has.
    pub(super) fn newest_epoch(&self) -> Result<i64, AppError> {
        let mut names = self.store.list(&self.layout.claims(), None)?;
        // Claims may have been deleted by a rule of the store.
        names.extend(self.store.list(&self.layout.epochs(), None)?);
        Ok(names.iter().filter_map(|name| epoch_of(name)).max().unwrap_or(0))
    }

    /// Refuses to begin an epoch under a name that is not this copy's; returns the greatest number there.
    pub(super) fn check_name(&self, history: &NameHistory) -> Result<i64, AppError> {
        let newest = self.newest_epoch()?;
        if newest == 0 && history.last.is_none() {
            return Ok(0);
        }
        // The database forgot what its own machine has put since the backup.
        if history.was_restored && self.is_of_lineages(newest, &history.lineages)? {
            return Ok(newest);
        }
        let Some(last) = &history.last else {
            let object = self.store.address(&self.layout.claim(newest));
            return Err(LakePushError::Foreign { server: self.server(), object }.into());
        };
        self.check_owner(last)?;
        Ok(newest)
    }

    /// Whether the newest epoch was begun by this database, before it was restored.
    fn is_of_lineages(&self, epoch: i64, lineages: &[String]) -> Result<bool, AppError> {
        let claim = self.read::<ClaimDocument>(&self.layout.claim(epoch))?;
        Ok(claim.is_some_and(|claim| lineages.contains(&claim.lineage)))
    }

    /// Refuses an epoch that the lake does not have, or where the lake has anything that this copy has not put since.
    pub(super) fn check_owner(&self, epoch: &LakeEpoch) -> Result<(), AppError> {
        let claim = self.layout.claim(epoch.epoch);
        let last = epoch.last_intent.as_ref().and_then(|it| ChainPlace::of_intent(&it.object));
        let before = self.layout.before_intents(epoch.epoch, last.map_or(0, |it| it.from_seq));
        let names = self.store.list(&self.layout.claims(), Some(&before))?;
        if !names.contains(&claim) {
            return Err(self.claim_missing(&claim));
        }
        self.check_token(epoch)?;
        if let Some(later) = names.iter().find(|name| epoch_of(name).is_some_and(|it| epoch.epoch < it)) {
            let object = self.store.address(later);
            return Err(LakePushError::Superseded { server: self.server(), object }.into());
        }
        let is_after = |place: ChainPlace| last.is_none_or(|last| last < place);
        if let Some(other) = names.iter().find(|name| ChainPlace::of_intent(name).is_some_and(is_after)) {
            return Err(self.other_writer(other));
        }
        epoch.last_intent.as_ref().map_or(Ok(()), |last| self.check_intent(last))
    }
}
