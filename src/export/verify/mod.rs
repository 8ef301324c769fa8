//! Verification of packages without a database: whether all are present, none twice, and none changed.
//!
//! Anybody may have put anything into the folder. No link is followed, no special file is opened, and nothing is kept
//! in memory that grows with a file.

mod chain_links;
mod counted_rows;
mod csv_rows;
mod data_file;
mod folder_walk;
mod json_rows;
mod manifest_check;
mod parquet_footer;
mod report;
mod row_text;

use std::path::Path;

use super::ExportError;
use super::manifest::PackageKind;
use super::work_counter::WorkCounter;
use folder_walk::{FolderWalk, is_superseded};

pub use chain_links::verify_links;
pub(crate) use report::serialize_path;
pub use report::{Chain, VerifyFinding, VerifyNote, VerifyProblem, VerifyReport};

/// What is expected of the packages, beside that they are whole.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Change that must be reached by every chain that is not superseded, and by the snapshot if the folder is one.
    /// If it has neither, any snapshot below it is enough.
    pub expect_to: Option<i64>,
    /// Whether every chain that is not superseded must begin at 0.
    pub from_start: bool,
    /// Bytes of data files that were read.
    pub bytes_read: WorkCounter,
}

/// Verifies everything below a folder, which may be an export folder, the folder of a consumer, or a
/// snapshot.
///
/// # Errors
/// A file that cannot be read is an error, and so is a folder without packages.
pub fn verify(dir: &Path, options: &VerifyOptions) -> Result<VerifyReport, ExportError> {
    let mut report =
        if dir.is_dir() { FolderWalk::verify(dir, &options.bytes_read)? } else { VerifyReport::default() };
    if report.chains.is_empty() && report.findings.is_empty() {
        return Err(ExportError::NoPackage { path: dir.to_owned() });
    }
    if options.from_start {
        verify_starts(dir, &mut report);
    }
    if let Some(expected) = options.expect_to {
        verify_ends(dir, expected, &mut report);
    }
    Ok(report)
}

fn verify_starts(root: &Path, report: &mut VerifyReport) {
    let mut current = report.chains.clone();
    current.retain(|it| it.kind == PackageKind::Delta && !is_superseded(root, &it.path));
    if current.is_empty() {
        report.add_finding(root, VerifyProblem::Missing, "no chain of packages begins at 0 here");
    }
    for chain in current.into_iter().filter(|chain| chain.from_seq != 0) {
        let message = format!("it begins after change {}, not at 0", chain.from_seq);
        report.add_finding(&chain.path, VerifyProblem::Missing, message);
    }
}

fn verify_ends(root: &Path, expected: i64, report: &mut VerifyReport) {
    let must_reach = |chain: &Chain| match chain.kind {
        PackageKind::Delta => !is_superseded(root, &chain.path),
        PackageKind::Snapshot => chain.path == root,
    };
    let snapshots = report.chains.iter().filter(|chain| chain.kind == PackageKind::Snapshot);
    let reached = snapshots.map(|chain| chain.to_seq).max();
    let mut expected_chains = report.chains.clone();
    expected_chains.retain(must_reach);
    if expected_chains.is_empty() && reached < Some(expected) {
        let message = format!("nothing here reaches the expected change {expected}");
        report.add_finding(root, VerifyProblem::Missing, message);
    }
    for chain in expected_chains.into_iter().filter(|chain| chain.to_seq < expected) {
        let message = format!("it ends at change {}, but {expected} was expected", chain.to_seq);
        report.add_finding(&chain.path, VerifyProblem::Missing, message);
    }
}
