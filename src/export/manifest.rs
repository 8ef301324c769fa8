//! The manifest of a package: what is in it, that it is unaltered, and which package came before.

use std::io;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::file::{FileDigest, hex};
use super::name::SeqRange;
use crate::config::{Format, FormatOptions, Newlines};

/// A manifest, as it stands in the file. The order of the members is the order in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// `halosync/1`.
    pub format: String,
    /// `delta` or `snapshot`.
    pub kind: String,
    /// The line of changes that the numbers belong to.
    pub lineage: String,
    /// The server that the tickets are from.
    pub server: String,
    /// For whom; null for a snapshot.
    pub consumer: Option<String>,
    /// The lower end of the range, not in it.
    pub from_seq: i64,
    /// The upper end, in it.
    pub to_seq: i64,
    /// Whether the copy had once been complete.
    pub complete: bool,
    /// `filling` or `following`.
    pub state: String,
    /// Up to when the copy is known to be complete.
    pub covered_until: Option<String>,
    /// Schema of the database.
    pub schema_version: i32,
    /// When the package was made, by the local clock.
    pub created_at: String,
    /// Rows by what happened.
    pub counts: ManifestCounts,
    /// The data files.
    pub files: Vec<ManifestFile>,
    /// How they are written.
    pub options: ManifestOptions,
    /// `manifest_sha256` of the package before; null for the first.
    pub previous_manifest_sha256: Option<String>,
    /// SHA-256 of this file with this value as 64 zeros.
    pub manifest_sha256: String,
}

/// Rows by what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestCounts {
    /// Created.
    pub c: u64,
    /// Updated.
    pub u: u64,
    /// Deleted.
    pub d: u64,
}

/// A data file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its name in the folder.
    pub name: String,
    /// `csv`, `jsonl` or `json`.
    pub format: String,
    /// `none` or `gzip`.
    pub compression: String,
    /// Rows in it.
    pub rows: u64,
    /// Its size as stored.
    pub bytes: u64,
    /// Its hash as stored.
    pub sha256: String,
}

/// How values are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestOptions {
    /// Whether texts that a spreadsheet would run are neutralised.
    pub excel_safe: bool,
    /// `keep` or `escape`.
    pub newlines: String,
}

/// What a manifest says about its database, which the files themselves do not.
#[derive(Clone, Debug)]
pub struct PackageMetadata {
    /// `delta` or `snapshot`.
    pub kind: &'static str,
    /// The line of changes.
    pub lineage: String,
    /// The server.
    pub server: String,
    /// For whom; nobody in particular for a snapshot.
    pub consumer: Option<String>,
    /// The range, its lower end not in it.
    pub from_seq: i64,
    /// Its upper end.
    pub to_seq: i64,
    /// Whether the copy had once been complete.
    pub complete: bool,
    /// `filling` or `following`.
    pub state: String,
    /// Up to when it is known to be complete.
    pub covered_until: Option<String>,
    /// Schema of the database.
    pub schema_version: i32,
    /// The present, by the local clock.
    pub created_at: String,
    /// Rows by what happened.
    pub counts: ManifestCounts,
    /// How values are written.
    pub options: ManifestOptions,
    /// The manifest before.
    pub previous_manifest_sha256: Option<String>,
}

impl PackageMetadata {
    /// The changes that are in it.
    #[must_use]
    pub fn range(&self) -> SeqRange {
        SeqRange { from: self.from_seq, to: self.to_seq }
    }
}

impl ManifestOptions {
    /// What was done to the values in files of a style: nothing to those in JSON.
    #[must_use]
    pub fn new(options: FormatOptions) -> ManifestOptions {
        let is_csv = options.format == Format::Csv;
        let newlines = if is_csv { options.newlines } else { Newlines::Keep };
        ManifestOptions { excel_safe: is_csv && options.excel_safe, newlines: newlines.as_str().to_owned() }
    }
}

impl ManifestFile {
    /// A data file of a style.
    #[must_use]
    pub fn new(name: String, options: FormatOptions, rows: u64, digest: FileDigest) -> ManifestFile {
        ManifestFile {
            name,
            format: options.format.as_str().to_owned(),
            compression: if options.gzip { "gzip" } else { "none" }.to_owned(),
            rows,
            bytes: digest.bytes,
            sha256: digest.sha256,
        }
    }
}

/// What every manifest begins with.
const FORMAT: &str = "halosync/1";

const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

impl Manifest {
    /// The changes that it tells of.
    #[must_use]
    pub fn range(&self) -> SeqRange {
        SeqRange { from: self.from_seq, to: self.to_seq }
    }

    /// The manifest of a package, hashed.
    ///
    /// # Errors
    /// What `serde_json` reports; it has no reason to.
    pub(super) fn build(
        package: PackageMetadata,
        files: Vec<ManifestFile>,
    ) -> io::Result<(Manifest, Vec<u8>)> {
        let mut manifest = Manifest {
            format: FORMAT.into(),
            kind: package.kind.into(),
            lineage: package.lineage,
            server: package.server,
            consumer: package.consumer,
            from_seq: package.from_seq,
            to_seq: package.to_seq,
            complete: package.complete,
            state: package.state,
            covered_until: package.covered_until,
            schema_version: package.schema_version,
            created_at: package.created_at,
            counts: package.counts,
            files,
            options: package.options,
            previous_manifest_sha256: package.previous_manifest_sha256,
            manifest_sha256: ZEROS.into(),
        };
        manifest.manifest_sha256 = hex(&Sha256::digest(manifest.to_bytes()?));
        let bytes = manifest.to_bytes()?;
        Ok((manifest, bytes))
    }

    /// Reads a manifest and checks its own hash: over the bytes of the file, so that any change shows.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, String> {
        let manifest: Manifest =
            serde_json::from_slice(bytes).map_err(|error| format!("it is no manifest: {error}"))?;
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let member = |value: &str| format!("\"manifest_sha256\": \"{value}\"");
        let zeroed = text.replace(&member(&manifest.manifest_sha256), &member(ZEROS));
        if hex(&Sha256::digest(zeroed.as_bytes())) != manifest.manifest_sha256 {
            return Err("its own hash does not match".into());
        }
        if manifest.format != FORMAT {
            return Err(format!("it is of format {:?}, and this version knows {FORMAT}", manifest.format));
        }
        Ok(manifest)
    }

    fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}
