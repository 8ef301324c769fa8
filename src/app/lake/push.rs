//! Makes a package and ships what waits.

use std::path::Path;

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::documents::{
    ClaimDocument, DOCUMENT_MAX, EpochDocument, IntentDocument, StatusDocument, to_bytes,
};
use super::epoch::{EpochFacts, EpochReason, epoch_due};
use super::open_lake;
use crate::app::error::LakePushError;
use crate::app::export_delta::{DeltaSummary, LakePackages};
use crate::app::export_session::ExportSession;
use crate::app::locked_store::open_existing;
use crate::app::{AppError, LoadedConfig, now};
use crate::config::{Config, ConsumerName, Format, FormatOptions, LakeConfig};
use crate::content_digest::ContentDigest;
use crate::export::{
    ConsumerFolder, ExportError, Manifest, ManifestFile, WorkCounter, read_package_file,
    read_package_manifest,
};
use crate::lake::{LakeError, LakeLayout, LakeStore, PutOutcome};
use crate::store::{LakeEpoch, Lock, PackageRecord, Store, StoreError, TxEnd};

/// What a push did.
#[derive(Debug, Serialize)]
pub struct LakePush {
    /// Where the lake is.
    pub url: String,
    /// Name of this copy there.
    pub server: String,
    /// Number of the present epoch; `None` while the initial load is not complete, when nothing is shipped.
    pub epoch: Option<i64>,
    /// The epoch that began, if one did.
    pub began: Option<EpochStart>,
    /// The packages that were shipped.
    pub shipped: Vec<PackageRecord>,
    /// Up to which change everything is in the lake.
    pub to_seq: i64,
    /// Up to when everything that the server had is in the lake.
    pub covered_until: Option<String>,
}

/// An epoch that began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EpochStart {
    /// Its number.
    pub epoch: i64,
    /// Why it began.
    pub reason: String,
}

/// Makes the next package, if anything changed, and ships all that wait; `rows` counts those that are written.
///
/// Blocks, and must be called within a tokio runtime. `stop` ends it early; the next push continues.
///
/// # Errors
/// What is in the lake by then stays there. The failure is recorded for `status`.
pub fn push(
    loaded: &LoadedConfig,
    stop: CancellationToken,
    rows: &WorkCounter,
) -> Result<LakePush, AppError> {
    let work = Push::open(loaded, stop)?;
    let at = now();
    let done = work.run(rows);
    let error = done.as_ref().err().filter(|error| !matches!(error, AppError::Lake(LakeError::Stopped)));
    if done.is_ok() || error.is_some() {
        let error = error.map(AppError::chain);
        let mut store = open_existing(work.config, |_| Ok(()))?;
        store.write(TxEnd::Commit, |tx| tx.record_lake_push(at, error.as_deref()))?;
        store.close()?;
    }
    done
}

/// Begins a new epoch under the name of the settings, whoever had it before; the next push ships everything.
///
/// # Errors
/// [`LakePushError::OtherName`] if `server` is not that name.
pub fn claim(loaded: &LoadedConfig, server: &str, stop: CancellationToken) -> Result<EpochStart, AppError> {
    let work = Push::open(loaded, stop)?;
    let configured = work.settings.server.as_str();
    if configured != server {
        let (configured, given) = (configured.to_owned(), server.to_owned());
        return Err(LakePushError::OtherName { configured, given }.into());
    }
    let mut session = ExportSession::open(work.config, work.config.store.busy_timeout)?;
    session.detect_restored_backup(&work.config.export.dir)?;
    let epoch = work.begin_epoch(&mut session, "claimed", true)?;
    session.close()?;
    Ok(EpochStart { epoch: epoch.epoch, reason: epoch.reason })
}

/// A push with everything that it needs.
struct Push<'a> {
    config: &'a Config,
    settings: &'a LakeConfig,
    consumer: ConsumerName,
    layout: LakeLayout,
    lake: LakeStore,
    _lock: Lock,
}

/// What there is to ship.
struct Prepared {
    epoch: LakeEpoch,
    began: Option<EpochStart>,
    /// Up to when the last package is complete, if it is the newest there could be.
    covered_until: Option<String>,
}

impl<'a> Push<'a> {
    fn open(loaded: &'a LoadedConfig, stop: CancellationToken) -> Result<Push<'a>, AppError> {
        let config = &loaded.config;
        let settings = config.lake.as_ref().ok_or(LakePushError::NotConfigured)?;
        let database = &config.store.path;
        if !database.exists() {
            return Err(StoreError::Missing(database.clone()).into());
        }
        let lake = open_lake(config, settings, stop)?;
        Ok(Push {
            config,
            settings,
            consumer: ConsumerName::lake(),
            layout: LakeLayout::new(settings.server.clone()),
            lake,
            _lock: Lock::acquire_shipper(database, config.store.busy_timeout)?,
        })
    }

    fn run(&self, rows: &WorkCounter) -> Result<LakePush, AppError> {
        let mut report = LakePush {
            url: self.settings.url.to_string(),
            server: self.settings.server.as_str().to_owned(),
            epoch: None,
            began: None,
            shipped: Vec::new(),
            to_seq: 0,
            covered_until: None,
        };
        let Some(prepared) = self.prepare(rows)? else { return Ok(report) };
        report.epoch = Some(prepared.epoch.epoch);
        report.began = prepared.began;
        // Other exports need not wait while packages are on their way.
        let mut store = open_existing(self.config, |_| Ok(()))?;
        self.check_epoch(&prepared.epoch)?;
        let waiting = store.read(|tx| tx.unshipped_packages())?;
        for package in waiting {
            // A ticket that is erased meanwhile ends the epoch, and what waits may hold it.
            if store.read(|tx| tx.lake_epoch())?.is_none_or(|it| it.end_reason.is_some()) {
                break;
            }
            self.ship(&mut store, &package)?;
            store.write(TxEnd::Commit, |tx| tx.ship_package(&package, now()))?;
            report.shipped.push(package);
        }
        let (position, waiting) = store
            .read(|tx| Ok::<_, StoreError>((tx.consumer_position(&self.consumer)?, tx.lake_backlog()?)))?;
        let position = position.unwrap_or_default();
        report.to_seq = position.acked_seq;
        if waiting.packages == 0 && 0 < position.acked_seq {
            if prepared.epoch.announced_at.is_none() {
                let epoch = &prepared.epoch;
                self.create(
                    &self.layout.epoch(epoch.epoch),
                    to_bytes(&EpochDocument::of(epoch, &self.layout)),
                )?;
                store.write(TxEnd::Commit, |tx| tx.announce_lake_epoch(now()))?;
                // What they have is in the lake, or is part of the new epoch.
                let folder = ConsumerFolder::new(&self.config.export.dir, &self.consumer);
                folder.remove_earlier_epochs(epoch.epoch)?;
            }
            report.covered_until.clone_from(&prepared.covered_until);
            let status = StatusDocument {
                server: self.settings.server.as_str(),
                url: self.config.halo.server.as_str(),
                epoch: prepared.epoch.epoch,
                lineage: &prepared.epoch.lineage,
                to_seq: position.acked_seq,
                covered_until: prepared.covered_until,
                manifest_sha256: position.last_manifest.as_deref(),
                version: env!("CARGO_PKG_VERSION"),
            };
            self.lake.replace(&self.layout.status(), to_bytes(&status))?;
        }
        store.close()?;
        Ok(report)
    }

    /// Makes the next package, in a new epoch where one is due; `None` while the initial load is not complete.
    fn prepare(&self, rows: &WorkCounter) -> Result<Option<Prepared>, AppError> {
        let dir = &self.config.export.dir;
        let mut session = ExportSession::open(self.config, self.config.store.busy_timeout)?;
        session.detect_restored_backup(dir)?;
        if session.store.read(|tx| tx.covered_until_at(tx.greatest_seq()?))?.is_none() {
            session.close()?;
            return Ok(None);
        }
        let mut began = None;
        loop {
            let (current, due) = self.epoch_due(&session)?;
            let epoch = match (current, due) {
                (Some(current), None) if current.claimed_at.is_some() => current,
                // Its claim may be in the lake although that is not recorded.
                (Some(current), None) => self.put_claim(&mut session, current)?,
                (_, due) => {
                    let reason = due.unwrap_or(EpochReason::First);
                    self.begin_epoch(&mut session, reason.as_str(), false)?
                }
            };
            if epoch.announced_at.is_none() && began.is_none() {
                began = Some(EpochStart { epoch: epoch.epoch, reason: epoch.reason.clone() });
            }
            let summary = self.write_package(&mut session, &epoch, dir, rows)?;
            if summary.new_lineage.is_some() {
                // What lies in the folder shows that an older copy of the database was restored.
                continue;
            }
            if epoch.announced_at.is_some() {
                ConsumerFolder::new(dir, &self.consumer).remove_earlier_epochs(epoch.epoch)?;
            }
            let covered_until = session.store.read(|tx| {
                let exported = tx.consumer_position(&self.consumer)?.unwrap_or_default().exported_seq;
                tx.covered_until_at(exported)
            })?;
            let covered_until = covered_until.map(|at| at.to_string());
            session.close()?;
            return Ok(Some(Prepared { epoch, began, covered_until }));
        }
    }

    fn epoch_due(
        &self,
        session: &ExportSession<'_>,
    ) -> Result<(Option<LakeEpoch>, Option<EpochReason>), AppError> {
        let url = self.settings.url.to_string();
        session.store.read(|tx| {
            let current = tx.lake_epoch()?;
            let has_grown = tx.packages(self.consumer.as_str())?.iter().any(|it| 0 < it.from_seq);
            let facts = EpochFacts {
                url: &url,
                server: self.settings.server.as_str(),
                lineage: &tx.lineage()?,
                oldest_waiting: tx.lake_backlog()?.oldest_at,
                has_grown,
                keep: self.config.export.keep,
                rebase: self.settings.rebase,
                now: now(),
            };
            let due = epoch_due(current.as_ref(), &facts);
            Ok((current, due))
        })
    }

    fn write_package(
        &self,
        session: &mut ExportSession<'_>,
        epoch: &LakeEpoch,
        dir: &Path,
        rows: &WorkCounter,
    ) -> Result<DeltaSummary, AppError> {
        let lake = LakePackages {
            epoch: epoch.epoch,
            server: self.settings.server.clone(),
            max_file: self.settings.max_file,
            deleted_rows: self.settings.deleted_rows,
        };
        let options = FormatOptions::exact(Format::Parquet);
        session.write_packages(&self.consumer, options, dir, Some(lake), rows)
    }

    /// Begins an epoch: records it here, then claims its number in the lake. With `takes_over` the name may belong to another
    /// lineage.
    fn begin_epoch(
        &self,
        session: &mut ExportSession<'_>,
        reason: &str,
        takes_over: bool,
    ) -> Result<LakeEpoch, AppError> {
        let url = self.settings.url.to_string();
        let server = self.settings.server.as_str();
        let claims = self.lake.list(&self.layout.claims(), None)?;
        let newest = claims.iter().filter_map(|name| crate::lake::epoch_of(name)).max().unwrap_or(0);
        if 0 < newest && !takes_over {
            self.check_own_lineage(session, newest)?;
        }
        let known = session.store.read(|tx| tx.greatest_lake_epoch(&url, server))?;
        // The position of the last epoch is greater than that of the one that begins, as if a backup had been restored.
        ConsumerFolder::new(&self.config.export.dir, &self.consumer).remove_position()?;
        let epoch = LakeEpoch {
            url,
            server: server.to_owned(),
            epoch: newest.max(known) + 1,
            lineage: session.store.read(|tx| tx.lineage())?,
            token: Uuid::new_v4().to_string(),
            reason: reason.to_owned(),
            begun_at: now(),
            claimed_at: None,
            announced_at: None,
            end_reason: None,
        };
        session.store.write(TxEnd::Commit, |tx| tx.begin_lake_epoch(&epoch))?;
        self.put_claim(session, epoch)
    }

    /// Refuses a name whose newest epoch belongs to another lineage.
    fn check_own_lineage(&self, session: &ExportSession<'_>, epoch: i64) -> Result<(), AppError> {
        let name = self.layout.claim(epoch);
        let Some(claim) = self.read_claim(&name)? else { return Ok(()) };
        let object = self.lake.address(&name);
        if session.store.read(|tx| tx.lineages())?.contains(&claim.lineage) {
            return Ok(());
        }
        let server = self.settings.server.as_str().to_owned();
        Err(LakePushError::Foreign { server, object, lineage: claim.lineage }.into())
    }

    fn read_claim(&self, name: &str) -> Result<Option<ClaimDocument>, AppError> {
        let Some(content) = self.lake.read(name, DOCUMENT_MAX)? else { return Ok(None) };
        serde_json::from_slice(&content).map(Some).map_err(|error| {
            let (object, why) = (self.lake.address(name), format!("it is not a claim: {error}"));
            LakeError::Io { object, why }.into()
        })
    }

    fn put_claim(&self, session: &mut ExportSession<'_>, epoch: LakeEpoch) -> Result<LakeEpoch, AppError> {
        let name = self.layout.claim(epoch.epoch);
        let content = to_bytes(&ClaimDocument::of(&epoch));
        self.create(&name, content.clone())?;
        // A store that takes it twice would overwrite what another copy puts.
        if self.create(&name, content)? == PutOutcome::Created {
            return Err(LakeError::AcceptsSecond { object: self.lake.address(&name) }.into());
        }
        let at = now();
        session.store.write(TxEnd::Commit, |tx| tx.claim_lake_epoch(at))?;
        Ok(LakeEpoch { claimed_at: Some(at), ..epoch })
    }

    /// Refuses to go on in an epoch that the lake does not have, or after which another copy has begun a later one.
    fn check_epoch(&self, epoch: &LakeEpoch) -> Result<(), AppError> {
        let claim = self.layout.claim(epoch.epoch);
        let there = self.read_claim(&claim)?;
        let object = self.lake.address(&claim);
        match there {
            None => return Err(LakePushError::ClaimMissing { object }.into()),
            Some(there) if there.token != epoch.token => {
                return Err(LakePushError::OtherWriter { object }.into());
            }
            Some(_) => {}
        }
        let later = self.lake.list(&self.layout.claims(), Some(&claim))?;
        match later.first() {
            None => Ok(()),
            Some(name) => Err(LakePushError::Superseded { object: self.lake.address(name) }.into()),
        }
    }

    /// Puts a package into the lake: intent, data, manifest.
    fn ship(&self, store: &mut Store, package: &PackageRecord) -> Result<(), AppError> {
        let position = store.read(|tx| tx.consumer_position(&self.consumer))?.unwrap_or_default();
        let folder = position.folder.unwrap_or_default();
        let shipped = read_package_manifest(&folder, &package.manifest_file)
            .map_err(AppError::from)
            .and_then(|(manifest, bytes)| self.put_package(&folder, &manifest, bytes));
        match shipped {
            Err(AppError::Export(error)) => {
                // The database has everything that the package had.
                store.write(TxEnd::Commit, |tx| tx.end_lake_epoch("damaged"))?;
                Err(damaged(&folder.join(&package.data_file), &error))
            }
            shipped => shipped,
        }
    }

    fn put_package(&self, folder: &Path, manifest: &Manifest, bytes: Vec<u8>) -> Result<(), AppError> {
        let object = manifest.object.as_deref().unwrap_or_default();
        let intent = self.layout.intent_of(object);
        let is_retry =
            self.create(&intent, to_bytes(&IntentDocument::of(manifest)))? == PutOutcome::SameThere;
        for file in &manifest.files {
            self.put_file(folder, file, is_retry)?;
        }
        self.create(object, bytes)?;
        Ok(())
    }

    fn put_file(&self, folder: &Path, file: &ManifestFile, is_retry: bool) -> Result<(), AppError> {
        let object = file.object.as_deref().unwrap_or_default();
        let digest = file.digest();
        // Saves uploading what an earlier attempt has put.
        if is_retry && self.lake.digest(object)?.as_ref() == Some(&digest) {
            return Ok(());
        }
        self.create_known(object, read_package_file(folder, file)?, &digest)?;
        Ok(())
    }

    fn create(&self, name: &str, content: Vec<u8>) -> Result<PutOutcome, AppError> {
        let digest = ContentDigest::of(&content);
        self.create_known(name, content, &digest)
    }

    fn create_known(
        &self,
        name: &str,
        content: Vec<u8>,
        digest: &ContentDigest,
    ) -> Result<PutOutcome, AppError> {
        match self.lake.create(name, content, digest)? {
            PutOutcome::OtherThere => {
                Err(LakePushError::OtherWriter { object: self.lake.address(name) }.into())
            }
            outcome => Ok(outcome),
        }
    }
}

fn damaged(path: &Path, error: &ExportError) -> AppError {
    LakePushError::Damaged { path: path.display().to_string(), why: error.to_string() }.into()
}
