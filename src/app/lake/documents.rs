//! The small JSON objects of the protocol. The same facts always give the same bytes, so that putting one again is
//! recognized.

use serde::{Deserialize, Serialize};

use crate::export::Manifest;
use crate::lake::{ChainPlace, LakeLayout};
use crate::store::LakeEpoch;

/// The largest document that is read, in bytes.
pub(super) const DOCUMENT_MAX: u64 = 1 << 20;

/// Says whose an epoch is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ClaimDocument {
    pub(super) epoch: i64,
    pub(super) lineage: String,
    /// Random; tells a retry from another copy with the same lineage.
    pub(super) token: String,
    pub(super) reason: String,
    pub(super) begun_at: String,
}

/// Says what a package will hold.
#[derive(Debug, Serialize)]
pub(super) struct IntentDocument<'a> {
    epoch: Option<i64>,
    lineage: &'a str,
    from_seq: i64,
    to_seq: i64,
    manifest_sha256: &'a str,
    files: Vec<IntendedFile<'a>>,
}

/// What tells one intent from another, whichever version of halosync wrote it.
#[derive(Debug, Deserialize)]
pub(super) struct IntentKey {
    pub(super) manifest_sha256: String,
}

#[derive(Debug, Serialize)]
struct IntendedFile<'a> {
    object: Option<&'a str>,
    bytes: u64,
    sha256: &'a str,
}

/// Says that an epoch is whole.
#[derive(Debug, Serialize)]
pub(super) struct EpochDocument<'a> {
    epoch: i64,
    lineage: &'a str,
    reason: &'a str,
    begun_at: String,
    /// The manifest of the package that the epoch begins with.
    base: String,
}

/// Says how fresh a copy is.
#[derive(Debug, Serialize)]
pub(super) struct StatusDocument<'a> {
    pub(super) server: &'a str,
    pub(super) url: &'a str,
    pub(super) epoch: i64,
    pub(super) lineage: &'a str,
    pub(super) to_seq: i64,
    /// Up to when everything that the server had is in the lake.
    pub(super) covered_until: Option<String>,
    pub(super) manifest_sha256: Option<&'a str>,
    pub(super) version: &'static str,
}

/// What of a status is compared with the lake.
#[derive(Debug, Deserialize)]
pub(super) struct StatusKey {
    pub(super) epoch: i64,
    pub(super) to_seq: i64,
}

impl ClaimDocument {
    pub(super) fn of(epoch: &LakeEpoch) -> ClaimDocument {
        ClaimDocument {
            epoch: epoch.epoch,
            lineage: epoch.lineage.clone(),
            token: epoch.token.clone(),
            reason: epoch.reason.clone(),
            begun_at: epoch.begun_at.to_string(),
        }
    }
}

impl<'a> IntentDocument<'a> {
    pub(super) fn of(manifest: &'a Manifest) -> IntentDocument<'a> {
        let files = manifest.files.iter().map(|file| IntendedFile {
            object: file.object.as_deref(),
            bytes: file.bytes,
            sha256: &file.sha256,
        });
        IntentDocument {
            epoch: manifest.epoch,
            lineage: &manifest.lineage,
            from_seq: manifest.from_seq,
            to_seq: manifest.to_seq,
            manifest_sha256: &manifest.manifest_sha256,
            files: files.collect(),
        }
    }
}

impl<'a> EpochDocument<'a> {
    pub(super) fn of(epoch: &'a LakeEpoch, layout: &LakeLayout) -> EpochDocument<'a> {
        let base = ChainPlace { epoch: epoch.epoch, from_seq: 0, after_reference: false };
        EpochDocument {
            epoch: epoch.epoch,
            lineage: &epoch.lineage,
            reason: &epoch.reason,
            begun_at: epoch.begun_at.to_string(),
            base: layout.manifest(base),
        }
    }
}

/// The bytes of a document.
pub(super) fn to_bytes(document: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(document)
        .unwrap_or_else(|_| unreachable!("a document has nothing that JSON cannot hold"));
    bytes.push(b'\n');
    bytes
}
