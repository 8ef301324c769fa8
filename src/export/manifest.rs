//! Manifests: the content of a package, its hashes, and the hash of the previous package.

use std::io;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::name::SeqRange;
use crate::config::{Format, FormatOptions, Newlines};
use crate::content_digest::{ContentDigest, hex};
use crate::watermark::WatermarkState;

/// What a manifest describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageKind {
    /// A package of changes.
    Delta,
    /// A snapshot.
    Snapshot,
}

/// Compression of a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// The file is not compressed as a whole. A Parquet file is compressed inside, column by column.
    None,
    /// gzip.
    Gzip,
}

impl Compression {
    pub(super) fn of(options: FormatOptions) -> Compression {
        if options.gzip { Compression::Gzip } else { Compression::None }
    }
}

/// What a data file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum FileRole {
    /// Tickets, or the tickets that changed.
    Tickets,
    /// What the list carries beside the attributes.
    TicketExtra,
    /// Custom fields of the tickets.
    CustomFields,
    /// Known custom fields.
    FieldDefinitions,
    /// Deleted tickets.
    DeletedTickets,
    /// Names for numbers.
    Reference,
}

impl FileRole {
    /// Returns its name in manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the role of a snapshot's file, from its name without the extension.
    pub(super) fn of_table(name: &str) -> FileRole {
        match name {
            "tickets" => FileRole::Tickets,
            "ticket_extra" => FileRole::TicketExtra,
            "custom_fields" => FileRole::CustomFields,
            "field_definitions" => FileRole::FieldDefinitions,
            "deleted_tickets" => FileRole::DeletedTickets,
            _ => FileRole::Reference,
        }
    }
}

/// A manifest. The order of the fields is the order of the members in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of the manifest: `halosync/2`.
    pub format: String,
    /// Package of changes, or snapshot.
    pub kind: PackageKind,
    /// Lineage of the sequence numbers.
    pub lineage: String,
    /// Server that the tickets are from.
    pub server: String,
    /// Consumer; may be null for a snapshot.
    pub consumer: Option<String>,
    /// Number of the epoch in the lake that the package is part of; only packages for a lake have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// Name of this manifest in the lake; only packages for a lake have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Lower end of the range, exclusive.
    pub from_seq: i64,
    /// Upper end of the range, inclusive.
    pub to_seq: i64,
    /// Whether the initial load was complete.
    pub complete: bool,
    /// State of the watermark.
    pub state: WatermarkState,
    /// Up to when the local copy is known to be complete.
    pub covered_until: Option<String>,
    /// Schema version of the database.
    pub schema_version: i32,
    /// When the package was made, by the local clock.
    pub created_at: String,
    /// Number of rows by what happened.
    pub counts: ManifestCounts,
    /// Data files.
    pub files: Vec<ManifestFile>,
    /// How values are written.
    pub options: ManifestOptions,
    /// `manifest_sha256` of the previous package; null for the first.
    pub previous_manifest_sha256: Option<String>,
    /// SHA-256 of this file with 64 zeros in place of this value.
    pub manifest_sha256: String,
}

/// Number of rows by what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestCounts {
    /// Created.
    pub c: u64,
    /// Updated.
    pub u: u64,
    /// Deleted.
    pub d: u64,
}

impl ManifestCounts {
    /// Adds up the counts of several files.
    #[must_use]
    pub(super) fn sum(counts: &[ManifestCounts]) -> ManifestCounts {
        let add = |sum: ManifestCounts, it: &ManifestCounts| ManifestCounts {
            c: sum.c + it.c,
            u: sum.u + it.u,
            d: sum.d + it.d,
        };
        counts.iter().fold(ManifestCounts { c: 0, u: 0, d: 0 }, add)
    }
}

/// A data file in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Name in the folder of the manifest.
    pub name: String,
    /// Name in the lake; only packages for a lake have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// What it holds.
    pub role: FileRole,
    /// Format.
    pub format: Format,
    /// Compression.
    pub compression: Compression,
    /// Number of rows, without a header.
    pub rows: u64,
    /// Size as stored, in bytes.
    pub bytes: u64,
    /// SHA-256 as stored.
    pub sha256: String,
}

/// How values are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestOptions {
    /// Whether the files are for spreadsheets: a byte order mark, and no text that is run as a formula.
    pub excel: bool,
    /// How line breaks in CSV are written.
    pub newlines: Newlines,
    /// Columns of tickets that were asked for; null for all of them.
    pub columns: Option<Vec<String>>,
}

/// Content of a manifest, except for the data files and hashes.
#[derive(Clone, Debug)]
pub struct PackageMetadata {
    /// Package of changes, or snapshot.
    pub kind: PackageKind,
    /// Lineage of the sequence numbers.
    pub lineage: String,
    /// Server that the tickets are from.
    pub server: String,
    /// Consumer; optional for a snapshot.
    pub consumer: Option<String>,
    /// Number of the epoch in the lake that the package is part of, and the name of its manifest there.
    pub in_lake: Option<(i64, String)>,
    /// Lower end of the range, exclusive.
    pub from_seq: i64,
    /// Upper end of the range, inclusive.
    pub to_seq: i64,
    /// Whether the initial load was complete.
    pub complete: bool,
    /// State of the watermark.
    pub state: WatermarkState,
    /// Up to when the local copy is known to be complete.
    pub covered_until: Option<String>,
    /// Schema version of the database.
    pub schema_version: i32,
    /// Current time, by the local clock.
    pub created_at: String,
    /// Number of rows by what happened.
    pub counts: ManifestCounts,
    /// How values are written.
    pub options: ManifestOptions,
    /// `manifest_sha256` of the previous package.
    pub previous_manifest_sha256: Option<String>,
}

impl PackageMetadata {
    /// Returns the range of changes in the package.
    #[must_use]
    pub fn range(&self) -> SeqRange {
        SeqRange { from: self.from_seq, to: self.to_seq }
    }
}

impl ManifestOptions {
    /// Returns how values are written with these options, of which those for text only affect CSV.
    #[must_use]
    pub fn new(options: FormatOptions) -> ManifestOptions {
        let is_csv = options.format == Format::Csv;
        let newlines = if is_csv { options.newlines } else { Newlines::Keep };
        let columns = options.columns.map(|it| it.names().map(ToOwned::to_owned).collect());
        ManifestOptions { excel: is_csv && options.excel, newlines, columns }
    }
}

impl ManifestFile {
    /// Returns size and hash as stored.
    #[must_use]
    pub fn digest(&self) -> ContentDigest {
        ContentDigest { bytes: self.bytes, sha256: self.sha256.clone() }
    }

    /// Returns the entry of a file of tickets.
    #[must_use]
    pub fn new(name: String, options: FormatOptions, rows: u64, digest: ContentDigest) -> ManifestFile {
        ManifestFile {
            name,
            object: None,
            role: FileRole::Tickets,
            format: options.format,
            compression: Compression::of(options),
            rows,
            bytes: digest.bytes,
            sha256: digest.sha256,
        }
    }
}

/// Format of manifests that this version writes and reads.
const FORMAT: &str = "halosync/2";

/// Placeholder for a manifest's own hash.
const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

impl Manifest {
    /// Returns the range of changes in the package.
    #[must_use]
    pub fn range(&self) -> SeqRange {
        SeqRange { from: self.from_seq, to: self.to_seq }
    }

    /// Builds a manifest with its hash, and returns it with its text.
    pub fn build(package: PackageMetadata, files: Vec<ManifestFile>) -> io::Result<(Manifest, String)> {
        let (epoch, object) = package.in_lake.unzip();
        let mut manifest = Manifest {
            format: FORMAT.into(),
            kind: package.kind,
            lineage: package.lineage,
            server: package.server,
            consumer: package.consumer,
            epoch,
            object,
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
        manifest.manifest_sha256 = hex(&Sha256::digest(manifest.to_text()?));
        let text = manifest.to_text()?;
        Ok((manifest, text))
    }

    /// Parses a manifest and checks its own hash over the bytes of the file.
    ///
    /// # Errors
    /// The problem, as a clause that begins with "it" or "its".
    pub fn parse(bytes: &[u8]) -> Result<Manifest, String> {
        let manifest: Manifest =
            serde_json::from_slice(bytes).map_err(|error| format!("it is not a manifest: {error}"))?;
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let hash_member = |value: &str| format!("\"manifest_sha256\": \"{value}\"");
        let zeroed = text.replace(&hash_member(&manifest.manifest_sha256), &hash_member(ZEROS));
        if hex(&Sha256::digest(zeroed.as_bytes())) != manifest.manifest_sha256 {
            return Err("its own hash does not match its content".into());
        }
        if manifest.format != FORMAT {
            return Err(format!("its format is {:?}, but this version reads only {FORMAT}", manifest.format));
        }
        Ok(manifest)
    }

    fn to_text(&self) -> io::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}
