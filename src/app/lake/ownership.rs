//! Whose a name in the lake is.
//!
//! Two copies of one database know the same claims and the same packages, so neither tells them apart. What does is what
//! they put after they parted: whoever finds a package or an epoch under its name that it has not put ships nothing more,
//! until it is told to claim the name.

use std::collections::BTreeSet;

use super::documents::IntentKey;
use super::objects::OwnObjects;
use crate::app::AppError;
use crate::app::error::LakePushError;
use crate::export::ConsumerFolder;
use crate::lake::{ChainPlace, epoch_of};
use crate::store::{LakeEpoch, ReadTx};

/// What this copy knows of its past under a name.
pub(super) struct NameHistory {
    /// The last epoch that it has begun.
    pub(super) last: Option<LakeEpoch>,
    /// Whether an older copy of the database was restored after that.
    was_restored: bool,
    /// The hashes of the manifests that this machine has made, by what lies on its disk.
    made: BTreeSet<String>,
}

impl NameHistory {
    pub(super) fn read(
        tx: &ReadTx<'_>,
        (url, server): (&str, &str),
        folder: &ConsumerFolder,
    ) -> Result<NameHistory, AppError> {
        let last = tx.lake_epoch_of(url, server)?;
        let was_restored = tx.was_restored_since(last.as_ref().map_or("", |last| &last.lineage))?;
        Ok(NameHistory { last, was_restored, made: folder.made_manifests()? })
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
        if newest == 0 && history.last.as_ref().is_none_or(|last| last.claimed_at.is_none()) {
            return Ok(0);
        }
        // The database forgot what its own machine has put since the backup; the disk did not. A lineage would prove nothing:
        // clones share it.
        if history.was_restored && self.ends_with_one_of(newest, &history.made)? {
            return Ok(newest);
        }
        let Some(last) = &history.last else {
            let object = self.store.address(&self.layout.claim(newest));
            return Err(LakePushError::Foreign { server: self.server(), object }.into());
        };
        self.check_owner(last)?;
        Ok(newest)
    }

    /// Whether the last package of an epoch is one of these.
    fn ends_with_one_of(&self, epoch: i64, made: &BTreeSet<String>) -> Result<bool, AppError> {
        let names = self.store.list(&self.layout.claims(), Some(&self.layout.before_intents(epoch, 0)))?;
        let places = names.iter().filter_map(|name| ChainPlace::of_intent(name));
        let Some(last) = places.filter(|place| place.epoch == epoch).max() else { return Ok(false) };
        let intent = self.read::<IntentKey>(&self.layout.intent(last))?;
        Ok(intent.is_some_and(|intent| made.contains(&intent.manifest_sha256)))
    }

    /// Refuses an epoch that the lake does not have, or where the lake has anything that this copy has not put since.
    pub(super) fn check_owner(&self, epoch: &LakeEpoch) -> Result<(), AppError> {
        let claim = self.layout.claim(epoch.epoch);
        let last = epoch.last_intent.as_ref().and_then(|it| ChainPlace::of_intent(&it.object));
        let before = self.layout.before_intents(epoch.epoch, last.map_or(0, |it| it.from_seq));
        let names = self.store.list(&self.layout.claims(), Some(&before))?;
        if let Some(later) = names.iter().find(|name| epoch_of(name).is_some_and(|it| epoch.epoch < it)) {
            let object = self.store.address(later);
            return Err(LakePushError::Superseded { server: self.server(), object }.into());
        }
        if !names.contains(&claim) {
            return Err(self.claim_missing(&claim));
        }
        self.check_token(epoch)?;
        let is_after = |place: ChainPlace| last.is_none_or(|last| last < place);
        if let Some(other) = names.iter().find(|name| ChainPlace::of_intent(name).is_some_and(is_after)) {
            return Err(self.other_writer(other));
        }
        epoch.last_intent.as_ref().map_or(Ok(()), |last| self.check_intent(last))
    }
}
