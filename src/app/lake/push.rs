//! Makes a package and ships what waits.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::documents::StatusDocument;
use super::epoch::{EpochFacts, EpochReason, epoch_due};
use super::objects::OwnObjects;
use super::open_lake;
use super::ownership::NameHistory;
use crate::app::error::LakePushError;
use crate::app::export_delta::{DeltaSummary, LakePackages};
use crate::app::export_session::ExportSession;
use crate::app::locked_store::open_existing;
use crate::app::{AppError, ExitStatus, LoadedConfig, now};
use crate::config::{Config, ConsumerName, Format, FormatOptions, LakeConfig};
use crate::export::{ConsumerFolder, ExportError, WorkCounter, read_package_manifest};
use crate::lake::{LakeError, LakeLayout};
use crate::store::{LakeEpoch, Lock, PackageRecord, ReadTx, Store, StoreError, TxEnd};
use crate::ticket::Timestamp;

/// How long a push waits at least for other exports before it puts what readers look for.
const EXPORT_WAIT_MIN: Duration = Duration::from_mins(1);

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
/// What is in the lake by then stays there. A failure is recorded for `status`, unless another try may simply come later.
pub fn push(
    loaded: &LoadedConfig,
    stop: CancellationToken,
    rows: &WorkCounter,
) -> Result<LakePush, AppError> {
    let config = &loaded.config;
    let settings = configured(config)?;
    let at = now();
    let done = Push::open(config, settings, stop).and_then(|push| push.run(rows));
    match (&done, record(config, at, &done)) {
        (Ok(_), Err(error)) => return Err(error),
        (_, Err(error)) => tracing::debug!(error = error.chain(), "cannot record how the push ended"),
        (_, Ok(())) => {}
    }
    done
}

/// Records how a push ended, unless nothing is known by it.
fn record(config: &Config, at: Timestamp, done: &Result<LakePush, AppError>) -> Result<(), AppError> {
    let error = match done {
        // The initial load is not complete.
        Ok(LakePush { epoch: None, .. }) | Err(AppError::Lake(LakeError::Stopped)) => return Ok(()),
        // Another export or push is at work, or a purge.
        Err(error) if error.exit_status() == ExitStatus::TryLater => return Ok(()),
        Ok(_) => None,
        Err(error) => Some(error.chain()),
    };
    let mut store = open_existing(config, |_| Ok(()))?;
    store.write(TxEnd::Commit, |tx| tx.record_lake_push(at, error.as_deref()))?;
    Ok(store.close()?)
}

/// Begins a new epoch under the name of the settings, whoever had it before; the next push ships everything.
///
/// # Errors
/// [`LakePushError::OtherName`] if `server` is not that name.
pub fn claim(loaded: &LoadedConfig, server: &str, stop: CancellationToken) -> Result<EpochStart, AppError> {
    let config = &loaded.config;
    let settings = configured(config)?;
    let name = settings.server.as_str();
    if name != server {
        let (configured, given) = (name.to_owned(), server.to_owned());
        return Err(LakePushError::OtherName { configured, given }.into());
    }
    let work = Push::open(config, settings, stop)?;
    let newest = work.objects.newest_epoch()?;
    let mut session = ExportSession::open(config, config.store.busy_timeout)?;
    session.detect_restored_backup(&config.export.dir)?;
    let epoch = work.begin_epoch(&mut session, "claimed", newest)?;
    session.close()?;
    let mut store = open_existing(config, |_| Ok(()))?;
    work.claim(&mut store, &epoch)?;
    store.close()?;
    Ok(EpochStart { epoch: epoch.epoch, reason: epoch.reason })
}

/// The lake of the settings, for a database that exists.
fn configured(config: &Config) -> Result<&LakeConfig, AppError> {
    let settings = config.lake.as_ref().ok_or(LakePushError::NotConfigured)?;
    let database = &config.store.path;
    if database.exists() { Ok(settings) } else { Err(StoreError::Missing(database.clone()).into()) }
}

/// A push with everything that it needs.
struct Push<'a> {
    config: &'a Config,
    settings: &'a LakeConfig,
    consumer: ConsumerName,
    objects: OwnObjects,
    stop: CancellationToken,
    _lock: Lock,
}

/// What there is to ship.
struct Prepared {
    epoch: LakeEpoch,
    /// Up to when the last package is complete, if it is the newest there could be.
    covered_until: Option<String>,
}

impl<'a> Push<'a> {
    fn open(
        config: &'a Config,
        settings: &'a LakeConfig,
        stop: CancellationToken,
    ) -> Result<Push<'a>, AppError> {
        Ok(Push {
            config,
            settings,
            consumer: ConsumerName::lake(),
            _lock: Lock::acquire_shipper(&config.store.path, config.store.busy_timeout)?,
            objects: OwnObjects {
                store: open_lake(config, settings, stop.clone())?,
                layout: LakeLayout::new(settings.server.clone()),
            },
            stop,
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
        while let Some(prepared) = self.prepare(rows)? {
            // Other exports need not wait while packages are on their way.
            let mut store = open_existing(self.config, |_| Ok(()))?;
            let is_whole = self.ship_epoch(&mut store, prepared, &mut report)?;
            store.close()?;
            if is_whole {
                break;
            }
        }
        Ok(report)
    }

    /// Ships what waits, and tells readers; `false` if the epoch was ended meanwhile, by a ticket that is erased: what waits
    /// may hold it.
    fn ship_epoch(
        &self,
        store: &mut Store,
        prepared: Prepared,
        report: &mut LakePush,
    ) -> Result<bool, AppError> {
        let Prepared { epoch, covered_until } = prepared;
        report.epoch = Some(epoch.epoch);
        if epoch.announced_at.is_none() {
            report.began = Some(EpochStart { epoch: epoch.epoch, reason: epoch.reason.clone() });
        }
        if epoch.claimed_at.is_none() {
            self.claim(store, &epoch)?;
        }
        self.objects.check_owner(&epoch)?;
        for package in store.read(|tx| tx.unshipped_packages())? {
            if store.read(|tx| is_over(tx, &epoch))? || !self.ship(store, &epoch, &package)? {
                return Ok(false);
            }
            report.shipped.push(package);
        }
        if !report.shipped.is_empty() || epoch.announced_at.is_none() {
            // Putting a large package takes a while.
            self.objects.check_owner(&current_of(store, &epoch)?)?;
        }
        let _lock = self.lock_exports()?;
        if store.read(|tx| is_over(tx, &epoch))? {
            return Ok(false);
        }
        let position = store.read(|tx| tx.consumer_position(&self.consumer))?.unwrap_or_default();
        report.to_seq = position.acked_seq;
        report.covered_until.clone_from(&covered_until);
        // An empty database has no package.
        if 0 < position.acked_seq {
            if epoch.announced_at.is_none() {
                self.objects.announce(&epoch)?;
                store.write(TxEnd::Commit, |tx| tx.announce_lake_epoch(now()))?;
            }
            self.objects.put_status(&StatusDocument {
                server: self.settings.server.as_str(),
                url: self.config.halo.server.as_str(),
                epoch: epoch.epoch,
                lineage: &epoch.lineage,
                to_seq: position.acked_seq,
                covered_until,
                manifest_sha256: position.last_manifest.as_deref(),
                version: env!("CARGO_PKG_VERSION"),
            })?;
        }
        Ok(true)
    }

    /// The folder of the packages of all epochs.
    fn folder(&self) -> ConsumerFolder {
        ConsumerFolder::new(&self.config.export.dir, &self.consumer)
    }

    /// Makes the next package, in a new epoch where one is due; `None` while the initial load is not complete.
    ///
    /// The lake is asked while nothing is locked, so that it never delays other exports.
    fn prepare(&self, rows: &WorkCounter) -> Result<Option<Prepared>, AppError> {
        let mut newest_epoch = None;
        loop {
            let mut session = ExportSession::open(self.config, self.config.store.busy_timeout)?;
            session.detect_restored_backup(&self.config.export.dir)?;
            if session.store.read(|tx| tx.covered_until_at(tx.greatest_seq()?))?.is_none() {
                session.close()?;
                return Ok(None);
            }
            let (current, due) = self.epoch_due(&session)?;
            let epoch = match (current, due, newest_epoch.take()) {
                (Some(current), None, _) => current,
                (_, due, Some(newest)) => {
                    let reason = due.unwrap_or(EpochReason::First);
                    self.begin_epoch(&mut session, reason.as_str(), newest)?
                }
                (_, _, None) => {
                    session.close()?;
                    newest_epoch = Some(self.check_name()?);
                    continue;
                }
            };
            // What they have is in the lake, or is part of this epoch.
            self.folder().remove_epochs(Some(epoch.epoch))?;
            let summary = self.write_package(&mut session, &epoch, rows)?;
            let covered_until = session.store.read(|tx| {
                let exported = tx.consumer_position(&self.consumer)?.unwrap_or_default().exported_seq;
                tx.covered_until_at(exported)
            })?;
            session.close()?;
            // What lies in the folder may show that an older copy of the database was restored.
            if summary.new_lineage.is_none() {
                return Ok(Some(Prepared { epoch, covered_until: covered_until.map(|at| at.to_string()) }));
            }
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

    /// Refuses a name in the lake that is not this copy's; returns the greatest number of an epoch there.
    fn check_name(&self) -> Result<i64, AppError> {
        let mut store = open_existing(self.config, |_| Ok(()))?;
        let (url, server) = (self.settings.url.to_string(), self.settings.server.as_str());
        let history = store.read(|tx| NameHistory::read(tx, (&url, server), &self.folder()))?;
        if let Some(last) = history.unclaimed() {
            self.claim(&mut store, last)?;
        }
        store.close()?;
        self.objects.check_name(&history)
    }

    fn write_package(
        &self,
        session: &mut ExportSession<'_>,
        epoch: &LakeEpoch,
        rows: &WorkCounter,
    ) -> Result<DeltaSummary, AppError> {
        let lake = LakePackages {
            epoch: epoch.epoch,
            server: self.settings.server.clone(),
            max_file: self.settings.max_file,
            deleted_rows: self.settings.deleted_rows,
            stop: self.stop.clone(),
        };
        let options = FormatOptions::exact(Format::Parquet);
        session.write_packages(&self.consumer, options, &self.config.export.dir, Some(lake), rows)
    }

    /// Begins an epoch, which is claimed later; `newest` is the greatest number in the lake.
    fn begin_epoch(
        &self,
        session: &mut ExportSession<'_>,
        reason: &str,
        newest: i64,
    ) -> Result<LakeEpoch, AppError> {
        let (url, server) = (self.settings.url.to_string(), self.settings.server.as_str());
        let known = session.store.read(|tx| tx.lake_epoch_of(&url, server))?.map_or(0, |it| it.epoch);
        // The position of the last epoch is greater than that of the one that begins, as if a backup had been restored.
        self.folder().remove_position()?;
        let epoch = LakeEpoch {
            epoch: newest.max(known) + 1,
            server: server.to_owned(),
            url,
            lineage: session.store.read(|tx| tx.lineage())?,
            token: Uuid::new_v4().to_string(),
            reason: reason.to_owned(),
            begun_at: now(),
            claimed_at: None,
            announced_at: None,
            end_reason: None,
            last_intent: None,
        };
        session.store.write(TxEnd::Commit, |tx| tx.begin_lake_epoch(&epoch))?;
        // Another lake may have had an epoch of that number.
        self.folder().remove_epochs(None)?;
        Ok(epoch)
    }

    /// Claims an epoch in the lake and records that.
    fn claim(&self, store: &mut Store, epoch: &LakeEpoch) -> Result<(), AppError> {
        self.objects.put_claim(epoch)?;
        Ok(store.write(TxEnd::Commit, |tx| tx.claim_lake_epoch(epoch, now()))?)
    }

    /// Locks out whoever erases tickets or changes what is held back: nobody may be shown afterwards what that removed.
    fn lock_exports(&self) -> Result<Lock, AppError> {
        let store = &self.config.store;
        Ok(Lock::acquire_exporter(&store.path, store.busy_timeout.max(EXPORT_WAIT_MIN))?)
    }

    /// Puts a package into the lake; `false` if the epoch was ended meanwhile.
    fn ship(&self, store: &mut Store, epoch: &LakeEpoch, package: &PackageRecord) -> Result<bool, AppError> {
        let position = store.read(|tx| tx.consumer_position(&self.consumer))?.unwrap_or_default();
        let folder = position.folder.unwrap_or_default();
        let shipped = match read_package_manifest(&folder, &package.manifest_file) {
            Ok((manifest, bytes)) => {
                let intent = self.objects.intent(&manifest);
                store.write(TxEnd::Commit, |tx| tx.intend_lake_package(&intent))?;
                self.objects.put_data(&folder, &manifest).map(|()| (manifest, bytes))
            }
            Err(error) => Err(error.into()),
        };
        match shipped {
            Err(AppError::Export(error)) => {
                // The database has everything that the package had.
                store.write(TxEnd::Commit, |tx| tx.end_lake_epoch("damaged"))?;
                Err(damaged(&folder.join(&package.data_file), &error))
            }
            Err(error) => Err(error),
            Ok((manifest, bytes)) => {
                let _lock = self.lock_exports()?;
                if store.read(|tx| is_over(tx, epoch))? {
                    return Ok(false);
                }
                // From now on readers see it.
                self.objects.put_manifest(&manifest, bytes)?;
                store.write(TxEnd::Commit, |tx| tx.ship_package(package, now()))?;
                Ok(true)
            }
        }
    }
}

/// The record of an epoch as it is now.
fn current_of(store: &Store, epoch: &LakeEpoch) -> Result<LakeEpoch, StoreError> {
    let current = store.read(|tx| tx.lake_epoch())?.filter(|it| it.token == epoch.token);
    Ok(current.unwrap_or_else(|| epoch.clone()))
}

/// Whether an epoch is no longer the present one, or is to end.
fn is_over(tx: &ReadTx<'_>, epoch: &LakeEpoch) -> Result<bool, StoreError> {
    let current = tx.lake_epoch()?.filter(|it| it.token == epoch.token && it.end_reason.is_none());
    Ok(current.is_none() || tx.lineage()? != epoch.lineage)
}

fn damaged(path: &Path, error: &ExportError) -> AppError {
    LakePushError::Damaged { path: path.display().to_string(), why: error.to_string() }.into()
}
