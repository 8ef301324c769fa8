//! Checks that the packages of a chain follow each other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::manifest_check::total_rows;
use super::report::{Chain, VerifyProblem, VerifyReport};
use crate::export::manifest::{Manifest, PackageKind};
use crate::export::name::SeqRange;

/// Checks that each package begins where the previous one ended, and has its hash; adds the chain to the report. `path_of`
/// names the manifest of a package.
pub fn verify_links(
    folder: &Path,
    path_of: impl Fn(SeqRange) -> PathBuf,
    manifests: &BTreeMap<SeqRange, Option<Manifest>>,
    report: &mut VerifyReport,
) {
    let Some((first, last)) = manifests.keys().next().zip(manifests.keys().map(|range| range.to).max())
    else {
        return;
    };
    let first_manifest = manifests.values().flatten().next();
    let mut predecessor: Option<(SeqRange, Option<&Manifest>)> = None;
    let mut covered_to = first.from;
    for (range, manifest) in manifests {
        let path = path_of(*range);
        if covered_to < range.from {
            let gap = SeqRange { from: covered_to, to: range.from };
            let message = format!("one or more packages before it are missing: {gap}");
            report.add_finding(&path, VerifyProblem::Gap, message);
        } else if range.from < covered_to {
            let message =
                format!("changes {} to {} are also in an earlier package", range.from + 1, covered_to);
            report.add_finding(&path, VerifyProblem::Repeat, message);
        }
        if let (Some(manifest), Some(first)) = (manifest, first_manifest) {
            if manifest.kind != PackageKind::Delta || manifest.consumer != first.consumer {
                report.add_finding(
                    &path,
                    VerifyProblem::Foreign,
                    "it is not for the same consumer as the first package",
                );
            } else if manifest.lineage != first.lineage || manifest.server != first.server {
                report.add_finding(
                    &path,
                    VerifyProblem::Foreign,
                    "its lineage or server differs from that of the first package",
                );
            }
        }
        if let Some(message) = manifest.as_ref().and_then(|it| broken_link(*range, it, predecessor)) {
            report.add_finding(&path, VerifyProblem::Foreign, message);
        }
        covered_to = covered_to.max(range.to);
        predecessor = Some((*range, manifest.as_ref()));
    }
    let files = manifests.values().flatten().flat_map(|manifest| &manifest.files);
    report.chains.push(Chain {
        path: folder.to_owned(),
        kind: PackageKind::Delta,
        consumer: first_manifest.and_then(|manifest| manifest.consumer.clone()),
        lineage: first_manifest.map(|manifest| manifest.lineage.clone()),
        packages: manifests.len(),
        from_seq: first.from,
        to_seq: last,
        rows: total_rows(files),
    });
}

/// Returns the problem with the link from a package to the previous one, if there is one.
fn broken_link(
    range: SeqRange,
    manifest: &Manifest,
    predecessor: Option<(SeqRange, Option<&Manifest>)>,
) -> Option<&'static str> {
    let previous_sha256 = manifest.previous_manifest_sha256.as_deref();
    match previous_sha256 {
        Some(_) if range.from == 0 => return Some("it begins at 0, but names a previous package"),
        None if range.from != 0 => return Some("it names no previous package, but does not begin at 0"),
        _ => {}
    }
    let (previous_range, previous_manifest) = predecessor?;
    let expected = previous_manifest.filter(|_| previous_range.to == range.from)?;
    (previous_sha256 != Some(&expected.manifest_sha256))
        .then_some("it was made to follow another package than the one before it")
}
