//! Exported files that may hold a ticket and belong to no published package.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::ExportError;
use super::file::{is_temporary, list_entries};
use super::folder::SUPERSEDED;
use super::name::{FileKind, REFERENCE_FOLDER, parse_file_name, snapshot_seq};
use super::snapshot::SNAPSHOTS;

/// Deeper folders are not what halosync made.
const DEPTH_MAX: usize = 8;

/// Lists the data files in the folder of a consumer, unfinished ones included, except for some. A folder that does not exist
/// has none.
pub fn data_files_but_for(
    consumer_folder: &Path,
    known: &BTreeSet<String>,
) -> Result<Vec<PathBuf>, ExportError> {
    if !consumer_folder.exists() {
        return Ok(Vec::new());
    }
    let is_data = |name: &str| {
        is_temporary(name) || matches!(parse_file_name(name), Some((_, kind)) if kind != FileKind::Manifest)
    };
    let entries = list_entries(consumer_folder)?.into_iter();
    let files = entries.filter(|(name, kind)| kind.is_file() && is_data(name) && !known.contains(name));
    Ok(files.map(|(name, _)| consumer_folder.join(name)).collect())
}

/// Lists the files in `superseded` below an export folder that may hold tickets: all but manifests and reference tables.
pub fn superseded_files(export_dir: &Path) -> Result<Vec<PathBuf>, ExportError> {
    let mut files = Vec::new();
    add_files(&export_dir.join(SUPERSEDED), DEPTH_MAX, &mut files)?;
    Ok(files)
}

/// Adds the files in a folder and below it. Links are not followed.
fn add_files(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), ExportError> {
    if depth == 0 || !folder.exists() {
        return Ok(());
    }
    for (name, kind) in list_entries(folder)? {
        let path = folder.join(&name);
        if kind.is_dir() && name != REFERENCE_FOLDER {
            add_files(&path, depth - 1, files)?;
        } else if kind.is_file() && !name.starts_with('_') {
            files.push(path);
        }
    }
    Ok(())
}

/// Lists the snapshots below an export folder, each with its change number; of one that a killed process left unfinished it
/// is not known.
pub fn snapshot_folders(export_dir: &Path) -> Result<Vec<(PathBuf, Option<i64>)>, ExportError> {
    let snapshots = export_dir.join(SNAPSHOTS);
    if !snapshots.exists() {
        return Ok(Vec::new());
    }
    let entries = list_entries(&snapshots)?.into_iter().filter(|(_, kind)| kind.is_dir());
    let of_entry = |(name, _): (String, _)| {
        let seq = snapshot_seq(&name);
        (seq.is_some() || is_temporary(&name)).then(|| (snapshots.join(name), seq))
    };
    Ok(entries.filter_map(of_entry).collect())
}
