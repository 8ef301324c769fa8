//! Position files: `positions/<consumer>.json` says how far the packages of a consumer go, also where it has taken them all
//! away. It never ages out. Compared with the database, it shows that an older copy of the database was restored.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ExportError;
use super::file::{create_folders, list_entries, read_small_file, remove_if_present, remove_temporary_files};
use super::package_writer::UnnamedFile;
use crate::config::ConsumerName;

/// Folder of the position files, below the export folder.
pub(super) const POSITIONS: &str = "positions";

const EXTENSION: &str = ".json";

/// The end of a chain of packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainPosition {
    /// Lineage of the last package, and the earlier ones of its database, the newest first.
    pub lineages: Vec<String>,
    /// The last change record in the packages.
    pub to_seq: i64,
    /// The `manifest_sha256` of the last package.
    pub manifest_sha256: String,
}

/// What a chain of packages says about the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainOrigin {
    /// The database wrote it, and nothing after it.
    Same,
    /// The database wrote it in an earlier lineage.
    EarlierLineage,
    /// The database is an older copy of the one that wrote it.
    NewerDatabase,
    /// Another database wrote it.
    OtherDatabase,
}

impl ChainPosition {
    /// Compares a chain with the database, which has these `lineages`, the newest first, and has `exported` for this
    /// consumer up to a change, with a last manifest.
    #[must_use]
    pub fn origin(&self, lineages: &[String], exported: (i64, Option<&str>)) -> ChainOrigin {
        let (Some(present), Some(own)) = (lineages.first(), self.lineages.first()) else {
            return ChainOrigin::OtherDatabase;
        };
        let (to_seq, manifest) = exported;
        let is_beyond =
            to_seq < self.to_seq || (to_seq == self.to_seq && manifest != Some(&self.manifest_sha256));
        if own == present && !is_beyond {
            ChainOrigin::Same
        } else if self.lineages.contains(present) {
            ChainOrigin::NewerDatabase
        } else if lineages.contains(own) {
            ChainOrigin::EarlierLineage
        } else {
            ChainOrigin::OtherDatabase
        }
    }
}

/// Returns the path of a consumer's position file.
#[must_use]
pub fn position_path(dir: &Path, consumer: &str) -> PathBuf {
    dir.join(POSITIONS).join(format!("{consumer}{EXTENSION}"))
}

/// Reads the position files below an export folder, by consumer. Other files are ignored.
///
/// # Errors
/// A position file that cannot be read is an error: without it a restored backup could go unnoticed.
pub fn read_positions(dir: &Path) -> Result<BTreeMap<String, ChainPosition>, ExportError> {
    let folder = dir.join(POSITIONS);
    let mut positions = BTreeMap::new();
    if !folder.is_dir() {
        return Ok(positions);
    }
    for (name, _) in list_entries(&folder)? {
        let Some(consumer) = name.strip_suffix(EXTENSION).and_then(ConsumerName::parse) else { continue };
        let position = read_file(&folder.join(&name))?;
        positions.insert(consumer.as_str().to_owned(), position);
    }
    Ok(positions)
}

/// Reads the position file of one consumer, if there is one.
///
/// # Errors
/// As [`read_positions`].
pub fn read_position(dir: &Path, consumer: &str) -> Result<Option<ChainPosition>, ExportError> {
    let path = position_path(dir, consumer);
    if fs::symlink_metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(None);
    }
    read_file(&path).map(Some)
}

fn read_file(path: &Path) -> Result<ChainPosition, ExportError> {
    serde_json::from_slice(&read_small_file(path)?).map_err(|error| {
        ExportError::contradiction(path.to_owned(), &format!("it is not a position file: {error}"))
    })
}

/// Replaces the position file of a consumer.
///
/// # Errors
/// The file is then unchanged.
pub(super) fn write_position(
    dir: &Path,
    consumer: &str,
    position: &ChainPosition,
) -> Result<(), ExportError> {
    let folder = dir.join(POSITIONS);
    create_folders([&folder])?;
    remove_temporary_files(&folder)?;
    let path = position_path(dir, consumer);
    let mut bytes = serde_json::to_vec_pretty(position)
        .map_err(|error| ExportError::cannot_write(&path)(error.into()))?;
    bytes.push(b'\n');
    UnnamedFile::from_bytes(&folder, &path, &bytes)?.replace(&format!("{consumer}{EXTENSION}"))
}

/// Removes the position file of a consumer, if there is one.
pub(super) fn remove_position(dir: &Path, consumer: &str) -> Result<(), ExportError> {
    remove_if_present(&position_path(dir, consumer))
}

#[cfg(test)]
mod tests {
    use super::ChainOrigin::{EarlierLineage, NewerDatabase, OtherDatabase, Same};
    use super::*;

    #[test]
    fn chain_is_compared_with_the_database() {
        let texts = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (name, chain, to_seq, sha256, database, exported, expected) in [
            ("as exported", vec!["A"], 20, "x", vec!["A"], (20, Some("x")), Same),
            ("killed before the file was replaced", vec!["A"], 20, "x", vec!["A"], (30, Some("y")), Same),
            ("older copy", vec!["A"], 20, "x", vec!["A"], (15, Some("w")), NewerDatabase),
            ("consumer of after the backup", vec!["A"], 20, "x", vec!["A"], (0, None), NewerDatabase),
            ("same end, other content", vec!["A"], 20, "x", vec!["A"], (20, Some("y")), NewerDatabase),
            ("restored twice", vec!["B", "A"], 5, "x", vec!["A"], (20, Some("x")), NewerDatabase),
            ("new lineage of this database", vec!["A"], 20, "x", vec!["B", "A"], (0, None), EarlierLineage),
            ("two lineages later", vec!["B", "A"], 20, "x", vec!["C", "B", "A"], (0, None), EarlierLineage),
            ("scratch database", vec!["A"], 20, "x", vec!["Z"], (0, None), OtherDatabase),
            ("scratch database that is further", vec!["A"], 20, "x", vec!["Z"], (90, None), OtherDatabase),
            ("no lineage", vec![], 20, "x", vec!["A"], (20, Some("x")), OtherDatabase),
        ] {
            let chain = ChainPosition { lineages: texts(&chain), to_seq, manifest_sha256: sha256.to_owned() };
            assert_eq!(chain.origin(&texts(&database), exported), expected, "{name}");
        }
    }
}
