//! Checks a lake from outside: whether every package is there, follows the one before it, and is as it was made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::connection::{open_lake, open_lake_without_settings};
use super::documents::{DOCUMENT_MAX, StatusKey};
use crate::app::error::LakePushError;
use crate::app::{AppError, LoadedConfig};
use crate::config::{LakeConfig, LakeServer, LakeUrl};
use crate::export::{
    Manifest, ManifestFile, SeqRange, VerifyProblem, VerifyReport, WorkCounter, verify_links,
};
use crate::lake::{LakeLayout, LakeStore, epoch_in, epoch_of, server_of};

/// Verifies a lake, or one server of it; `bytes_read` counts the bytes of data files. The epoch that readers use is checked,
/// and those that come after it. Credentials and the connection are those of the settings, if there are any.
///
/// # Errors
/// Also where there is nothing to verify.
pub fn verify_lake(
    loaded: Option<&LoadedConfig>,
    url: &LakeUrl,
    server: Option<&LakeServer>,
    stop: CancellationToken,
    bytes_read: &WorkCounter,
) -> Result<VerifyReport, AppError> {
    let store = match loaded {
        Some(loaded) => {
            let default = || LakeConfig::reading(url.clone());
            let settings =
                loaded.config.lake.clone().map_or_else(default, |it| LakeConfig { url: url.clone(), ..it });
            open_lake(&loaded.config, &settings, stop)?
        }
        None => open_lake_without_settings(url, stop)?,
    };
    let mut verification = LakeVerification { store, bytes_read, report: VerifyReport::default() };
    // In this order: what a status tells of is there before it.
    let mut statuses = verification.statuses(server)?;
    let mut documents = verification.documents(server)?;
    for server in statuses.keys() {
        documents.entry(server.clone()).or_default();
    }
    for (server, names) in documents {
        let status = statuses.remove(&server);
        verification.verify_server(&LakeLayout::new(server), &names, status.as_deref())?;
    }
    let report = verification.report;
    if report.chains.is_empty() && report.findings.is_empty() {
        return Err(LakePushError::NoPackage { url: url.to_string() }.into());
    }
    Ok(report)
}

struct LakeVerification<'a> {
    store: LakeStore,
    bytes_read: &'a WorkCounter,
    report: VerifyReport,
}

impl LakeVerification<'_> {
    /// The status of each server that has one.
    fn statuses(&self, server: Option<&LakeServer>) -> Result<BTreeMap<LakeServer, Vec<u8>>, AppError> {
        let servers = match server {
            Some(server) => vec![server.clone()],
            None => self.store.list("status", None)?.iter().filter_map(|name| server_of(name)).collect(),
        };
        let mut statuses = BTreeMap::new();
        for server in servers {
            let name = LakeLayout::new(server.clone()).status();
            if let Some(content) = self.store.read(&name, DOCUMENT_MAX)? {
                statuses.insert(server, content);
            }
        }
        Ok(statuses)
    }

    /// The names of the small objects of each server: one that has lost its manifests still has others.
    fn documents(&self, server: Option<&LakeServer>) -> Result<BTreeMap<LakeServer, Vec<String>>, AppError> {
        let folders = server.map_or_else(
            || ["claims", "epochs", "manifests"].map(ToOwned::to_owned).to_vec(),
            |server| {
                let layout = LakeLayout::new(server.clone());
                vec![layout.claims(), layout.epochs(), layout.manifests()]
            },
        );
        let mut documents: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for folder in folders {
            for name in self.store.list(&folder, None)? {
                if let Some(server) = server_of(&name) {
                    documents.entry(server).or_default().push(name);
                }
            }
        }
        Ok(documents)
    }

    fn verify_server(
        &mut self,
        layout: &LakeLayout,
        names: &[String],
        status: Option<&[u8]>,
    ) -> Result<(), AppError> {
        let names_in = |folder: &str| {
            let folder = format!("{folder}/");
            names.iter().filter(move |name| name.starts_with(&folder))
        };
        let current = names_in(&layout.epochs()).filter_map(|name| epoch_of(name)).max();
        let mut by_epoch: BTreeMap<i64, Vec<&String>> = BTreeMap::new();
        for name in names_in(&layout.manifests()) {
            if let Some(epoch) = epoch_in(name) {
                by_epoch.entry(epoch).or_default().push(name);
            } else {
                let message = "it is not the name of a manifest";
                self.report.add_finding(Path::new(name), VerifyProblem::Foreign, message);
            }
        }
        let folder = layout.manifests();
        if let Some(current) = current.filter(|it| !by_epoch.contains_key(it)) {
            let message = format!("epoch {current} is announced, but has no manifest");
            self.report.add_finding(Path::new(&folder), VerifyProblem::Missing, message);
        }
        let (mut earlier, mut current_end) = (0, 0);
        for (epoch, names) in by_epoch {
            if current.is_some_and(|current| epoch < current) {
                earlier += 1;
                continue;
            }
            let end = self.verify_epoch(layout, epoch, &names)?;
            if current.is_none() && 0 < end {
                let message = format!(
                    "no epoch is announced, so that readers see nothing, but epoch {epoch} has packages"
                );
                self.report.add_finding(Path::new(&folder), VerifyProblem::Missing, message);
            } else if current != Some(epoch) {
                let message = format!("epoch {epoch} is not announced: readers do not use it yet");
                self.report.add_note(Path::new(&folder), &message);
            }
            if current == Some(epoch) {
                current_end = end;
            }
        }
        if let Some(status) = status {
            self.verify_status(layout, status, current, current_end);
        }
        if 0 < earlier {
            let message =
                format!("{earlier} earlier epochs are not checked: a rule of the store may delete them");
            self.report.add_note(Path::new(&folder), &message);
        }
        Ok(())
    }

    /// Compares what was announced last with what is there. The status is put after everything that it tells of.
    fn verify_status(&mut self, layout: &LakeLayout, status: &[u8], current: Option<i64>, end: i64) {
        let name = layout.status();
        let path = Path::new(&name);
        let Ok(StatusKey { epoch, to_seq }) = serde_json::from_slice(status) else {
            return self.report.add_finding(path, VerifyProblem::Edited, "it is not a status");
        };
        if current < Some(epoch) {
            let message = format!("it tells of epoch {epoch}, which is not announced");
            self.report.add_finding(path, VerifyProblem::Missing, message);
        } else if current == Some(epoch) && end < to_seq {
            let message = format!("it tells of changes up to {to_seq}, but the manifests end at {end}");
            self.report.add_finding(path, VerifyProblem::Missing, message);
        }
    }

    /// Returns the last change that the manifests have.
    fn verify_epoch(&mut self, layout: &LakeLayout, epoch: i64, names: &[&String]) -> Result<i64, AppError> {
        let mut manifests = BTreeMap::new();
        let mut objects = BTreeMap::new();
        for name in names {
            let Some(manifest) = self.read_manifest(name, epoch)? else { continue };
            objects.insert(manifest.range(), (*name).clone());
            manifests.insert(manifest.range(), Some(manifest));
        }
        let folder = layout.manifests();
        if let Some(first) = manifests.keys().next().filter(|first| first.from != 0) {
            let message = format!("epoch {epoch} begins after change {}, not at 0", first.from);
            self.report.add_finding(Path::new(&folder), VerifyProblem::Missing, message);
        }
        let name_of = |range: SeqRange| objects.get(&range).cloned().unwrap_or_default().into();
        verify_links(Path::new(&folder), name_of, &manifests, &mut self.report);
        let files: Vec<&ManifestFile> = manifests.values().flatten().flat_map(|it| &it.files).collect();
        for file in &files {
            self.verify_file(layout, file)?;
        }
        self.verify_unlisted(layout, epoch, &files)?;
        Ok(manifests.keys().last().map_or(0, |range| range.to))
    }

    fn read_manifest(&mut self, name: &str, epoch: i64) -> Result<Option<Manifest>, AppError> {
        let path = Path::new(name);
        let Some(content) = self.store.read(name, DOCUMENT_MAX)? else {
            self.report.add_finding(path, VerifyProblem::Missing, "it is gone");
            return Ok(None);
        };
        match Manifest::parse(&content) {
            Err(why) => self.report.add_finding(path, VerifyProblem::Edited, why),
            Ok(manifest) if manifest.object.as_deref() != Some(name) || manifest.epoch != Some(epoch) => {
                let message = "it was made for another name or another epoch";
                self.report.add_finding(path, VerifyProblem::Foreign, message);
            }
            Ok(manifest) => return Ok(Some(manifest)),
        }
        Ok(None)
    }

    fn verify_file(&mut self, layout: &LakeLayout, file: &ManifestFile) -> Result<(), AppError> {
        let name = file.object.as_deref().unwrap_or(&file.name);
        let path = Path::new(name);
        // A manifest that was made by hand could name any object.
        if server_of(name).as_ref() != Some(layout.server()) {
            self.report.add_finding(path, VerifyProblem::Foreign, "it is not an object of this server");
            return Ok(());
        }
        let Some(found) = self.store.read_digest(name)? else {
            let message = "it is listed in a manifest, but does not exist";
            self.report.add_finding(path, VerifyProblem::Missing, message);
            return Ok(());
        };
        self.bytes_read.add(found.bytes);
        if found.bytes != file.bytes || found.sha256 != file.sha256 {
            let message = "its size or hash differs from the one in the manifest";
            self.report.add_finding(path, VerifyProblem::Edited, message);
        }
        Ok(())
    }

    /// Names the data of an epoch that no manifest lists. Readers do not see it.
    fn verify_unlisted(
        &mut self,
        layout: &LakeLayout,
        epoch: i64,
        files: &[&ManifestFile],
    ) -> Result<(), AppError> {
        let listed: BTreeSet<&str> = files.iter().filter_map(|file| file.object.as_deref()).collect();
        for name in self.store.list(&layout.all_changes(), None)? {
            if epoch_in(&name) == Some(epoch) && !listed.contains(name.as_str()) {
                let message = "no manifest lists it: its package is on its way, or its shipper was stopped";
                self.report.add_note(Path::new(&name), message);
            }
        }
        Ok(())
    }
}
