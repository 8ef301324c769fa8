//! What a verification found.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::export::manifest::PackageKind;

/// Kind of a problem with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, Serialize)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum VerifyProblem {
    /// Changes are in no package.
    Gap,
    /// Changes are in two packages.
    Repeat,
    /// The file was changed after it was written.
    Edited,
    /// The file does not belong in this folder.
    Foreign,
    /// There is nothing in it.
    Empty,
    /// The file does not exist.
    Missing,
}

impl VerifyProblem {
    /// Returns its name in the output of `export verify`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A problem with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyFinding {
    /// Kind of the problem.
    pub problem: VerifyProblem,
    /// File or folder.
    #[serde(serialize_with = "serialize_path")]
    pub path: PathBuf,
    /// Details, for people.
    #[serde(rename = "what")]
    pub message: String,
}

/// A chain of packages in one folder, or one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// Folder.
    #[serde(serialize_with = "serialize_path")]
    pub path: PathBuf,
    /// Packages of changes, or a snapshot.
    pub kind: PackageKind,
    /// Consumer.
    pub consumer: Option<String>,
    /// Lineage of the sequence numbers.
    pub lineage: Option<String>,
    /// Number of packages.
    pub packages: usize,
    /// Start of the first package; above 0 if earlier ones have aged out or were removed.
    pub from_seq: i64,
    /// End of the last package.
    pub to_seq: i64,
    /// Number of rows in all data files.
    pub rows: u64,
}

/// A file that does not belong to the export and does no harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyNote {
    /// File.
    #[serde(serialize_with = "serialize_path")]
    pub path: PathBuf,
    /// What it is, for people.
    #[serde(rename = "what")]
    pub message: String,
}

/// Result of a verification.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VerifyReport {
    /// Chains and snapshots that were verified.
    pub chains: Vec<Chain>,
    /// Problems.
    #[serde(rename = "problems")]
    pub findings: Vec<VerifyFinding>,
    /// What was found beside the export and does no harm.
    pub notes: Vec<VerifyNote>,
}

impl VerifyReport {
    /// Adds a problem.
    pub fn add_finding(&mut self, path: &Path, problem: VerifyProblem, message: impl Into<String>) {
        self.findings.push(VerifyFinding { path: path.to_owned(), problem, message: message.into() });
    }

    /// Adds what does no harm.
    pub fn add_note(&mut self, path: &Path, message: &str) {
        self.notes.push(VerifyNote { path: path.to_owned(), message: message.to_owned() });
    }
}

/// Writes a path as it is shown, even if it is not UTF-8.
pub(crate) fn serialize_path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}
