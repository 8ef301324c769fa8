//! The objects of this copy in the lake: each is created once, in an order in which a reader never sees half a package.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::documents::{
    ClaimDocument, DOCUMENT_MAX, EpochDocument, IntentDocument, IntentKey, StatusDocument, to_bytes,
};
use crate::app::AppError;
use crate::app::error::LakePushError;
use crate::content_digest::ContentDigest;
use crate::export::{Manifest, ManifestFile, read_package_file};
use crate::lake::{LakeError, LakeLayout, LakeStore, PutOutcome};
use crate::store::{LakeEpoch, LakeIntent};

/// The objects of this copy in the lake.
pub(super) struct OwnObjects {
    pub(super) store: LakeStore,
    pub(super) layout: LakeLayout,
}

impl OwnObjects {
    /// Claims an epoch, or finds its own claim.
    ///
    /// # Errors
    /// [`LakeError::AcceptsSecond`] if the store takes the claim twice: it would overwrite what another copy puts.
    pub(super) fn put_claim(&self, epoch: &LakeEpoch) -> Result<(), AppError> {
        let name = self.layout.claim(epoch.epoch);
        let content = to_bytes(&ClaimDocument::of(epoch));
        for _ in 0..2 {
            match self.put(&name, content.clone())? {
                PutOutcome::Created => {}
                PutOutcome::SameThere => return Ok(()),
                // Another version of halosync may have written it otherwise.
                PutOutcome::OtherThere => return self.check_token(epoch),
            }
        }
        Err(LakeError::AcceptsSecond { object: self.store.address(&name) }.into())
    }

    /// Refuses an epoch that another copy has claimed.
    pub(super) fn check_token(&self, epoch: &LakeEpoch) -> Result<(), AppError> {
        let name = self.layout.claim(epoch.epoch);
        match self.read::<ClaimDocument>(&name)? {
            Some(claim) if claim.token == epoch.token => Ok(()),
            Some(_) => Err(self.other_writer(&name)),
            None => Err(self.claim_missing(&name)),
        }
    }

    /// What will be put before the data of a package.
    pub(super) fn intent(&self, manifest: &Manifest) -> LakeIntent {
        LakeIntent {
            object: self.layout.intent_of(manifest_object(manifest)),
            manifest_sha256: manifest.manifest_sha256.clone(),
        }
    }

    /// Puts the intent and the data of a package.
    pub(super) fn put_data(&self, folder: &Path, manifest: &Manifest) -> Result<(), AppError> {
        let intent = self.intent(manifest);
        let put = self.put(&intent.object, to_bytes(&IntentDocument::of(manifest)))?;
        // Another version of halosync may have written it otherwise.
        if put == PutOutcome::OtherThere {
            self.check_intent(&intent)?;
        }
        for file in &manifest.files {
            self.put_file(folder, file, put != PutOutcome::Created)?;
        }
        Ok(())
    }

    /// Puts the manifest of a package, with which readers see it; `bytes` are its own.
    pub(super) fn put_manifest(&self, manifest: &Manifest, bytes: Vec<u8>) -> Result<(), AppError> {
        self.create(manifest_object(manifest), bytes)
    }

    /// Refuses an intent in place of which another one is in the lake.
    pub(super) fn check_intent(&self, intent: &LakeIntent) -> Result<(), AppError> {
        let there = match self.read::<IntentKey>(&intent.object) {
            // Stores refuse to say that there is no object where the credentials may not list.
            Err(AppError::Lake(LakeError::Refused { .. })) => None,
            read => read?,
        };
        let is_own = there.is_none_or(|it| it.manifest_sha256 == intent.manifest_sha256);
        if is_own { Ok(()) } else { Err(self.other_writer(&intent.object)) }
    }

    fn put_file(&self, folder: &Path, file: &ManifestFile, is_retry: bool) -> Result<(), AppError> {
        let object = file.object.as_deref().unwrap_or_default();
        let digest = file.digest();
        if is_retry && self.has(object, &digest)? {
            return Ok(());
        }
        match self.store.create(object, read_package_file(folder, file)?, &digest)? {
            PutOutcome::OtherThere => Err(self.other_writer(object)),
            _ => Ok(()),
        }
    }

    /// Whether an earlier attempt has put an object, which saves uploading it.
    fn has(&self, object: &str, digest: &ContentDigest) -> Result<bool, AppError> {
        match self.store.digest(object) {
            Err(LakeError::Refused { .. }) => Ok(false),
            found => Ok(found?.as_ref() == Some(digest)),
        }
    }

    /// Tells readers that an epoch is whole.
    pub(super) fn announce(&self, epoch: &LakeEpoch) -> Result<(), AppError> {
        let document = EpochDocument::of(epoch, &self.layout);
        self.create(&self.layout.epoch(epoch.epoch), to_bytes(&document))
    }

    /// Tells readers how fresh the copy is.
    pub(super) fn put_status(&self, status: &StatusDocument<'_>) -> Result<(), AppError> {
        Ok(self.store.replace(&self.layout.status(), to_bytes(status))?)
    }

    /// Reads a document; `None` if there is none.
    pub(super) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, AppError> {
        let Some(content) = self.store.read(name, DOCUMENT_MAX)? else { return Ok(None) };
        serde_json::from_slice(&content).map(Some).map_err(|error| {
            let why = format!("it is not what halosync puts under that name: {error}");
            LakeError::Io { object: self.store.address(name), why }.into()
        })
    }

    fn create(&self, name: &str, content: Vec<u8>) -> Result<(), AppError> {
        match self.put(name, content)? {
            PutOutcome::OtherThere => Err(self.other_writer(name)),
            _ => Ok(()),
        }
    }

    fn put(&self, name: &str, content: Vec<u8>) -> Result<PutOutcome, LakeError> {
        let digest = ContentDigest::of(&content);
        self.store.create(name, content, &digest)
    }

    pub(super) fn other_writer(&self, name: &str) -> AppError {
        LakePushError::OtherWriter { server: self.server(), object: self.store.address(name) }.into()
    }

    pub(super) fn claim_missing(&self, name: &str) -> AppError {
        LakePushError::ClaimMissing { server: self.server(), object: self.store.address(name) }.into()
    }

    /// Name of this copy.
    pub(super) fn server(&self) -> String {
        self.layout.server().as_str().to_owned()
    }
}

fn manifest_object(manifest: &Manifest) -> &str {
    manifest.object.as_deref().unwrap_or_default()
}
