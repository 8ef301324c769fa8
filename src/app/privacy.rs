//! Brings a database to the privacy rules of the settings, before anything else is stored in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::settings::read_hash_key;
use super::{AppError, count, now};
use crate::config::Config;
use crate::export::{
    ConsumerFolder, ExportError, REFERENCE_FOLDER, data_files_but_for, read_positions, snapshot_folders,
    superseded_files,
};
use crate::privacy::{HashKey, PrivacyDifference, PrivacyRule, PrivacyRules};
use crate::store::{Lock, ReadTx, Store, StoreError, Traces, TxEnd};
use crate::ticket::Timestamp;

/// So many files that may hold what is now held back are named.
const NAMED_MAX: usize = 20;

/// Reads the key and returns the rules of the settings.
pub(crate) fn privacy_rules(config: &Config) -> Result<Arc<PrivacyRules>, AppError> {
    let hashes = config.privacy.rules.iter().any(|(_, rule)| *rule == PrivacyRule::Hash);
    let key_file = config.privacy.hash_key_file.as_deref().filter(|_| hashes);
    let key = key_file.map(read_hash_key).transpose()?.map(|key| HashKey::new(&key));
    Ok(Arc::new(PrivacyRules::new(&config.privacy.rules, key)))
}

/// Checks that the rules of the settings are carried out in the database, unless nothing is stored in it yet.
///
/// # Errors
/// [`AppError::PrivacyPending`] if they are not.
pub(super) fn check_carried_out(tx: &ReadTx<'_>, rules: &PrivacyRules) -> Result<(), AppError> {
    let PrivacyDifference { new, outdated, .. } = PrivacyDifference::between(&tx.privacy_rules()?, rules);
    if new.is_empty() && outdated.is_empty() || tx.greatest_seq()? == 0 {
        return Ok(());
    }
    Err(AppError::PrivacyPending {
        new: new.columns().map(|(column, _)| column.to_string()).collect(),
        outdated: outdated.iter().map(ToString::to_string).collect(),
    })
}

/// Carries out the rules in the database, whose writer's lock the caller has: no export may run meanwhile.
pub(super) fn carry_out(store: &mut Store, config: &Config, rules: &PrivacyRules) -> Result<(), AppError> {
    let recorded = store.read(|tx| tx.privacy_rules())?;
    let difference = PrivacyDifference::between(&recorded, rules);
    if !difference.is_empty() {
        let _export_lock = Lock::acquire_exporter(&config.store.path, config.store.busy_timeout)?;
        let is_new = store.read(|tx| Ok::<_, StoreError>(tx.greatest_seq()? == 0))?;
        let superseded = superseded_lineages(store, config)?;
        if !is_new {
            report_difference(&difference);
        }
        store.write(TxEnd::Commit, |tx| tx.carry_out_privacy(&difference, rules, &superseded, now()))?;
        if !difference.new.is_empty() {
            report_exports(&store.read(|tx| exports_before_rules(tx, config))?);
        }
    }
    remove_traces(store)?;
    Ok(())
}

/// Removes what is left in the files of the database of values that are held back. Where that is not possible, it is
/// reported, and done by a later run.
fn remove_traces(store: &mut Store) -> Result<(), StoreError> {
    let before = store.read(|tx| tx.privacy_traces())?;
    let left = match before {
        Traces::Removed => return Ok(()),
        Traces::InLog => Ok(if store.empty_log()? { Traces::Removed } else { Traces::InLog }),
        Traces::InDatabase => store.remove_traces(),
    };
    let left = match left {
        Err(error) if !matches!(error, StoreError::Busy(_)) => {
            let cause = AppError::Store(error).chain();
            tracing::warn!(
                "values that `[privacy]` holds back are gone from all tables; their traces in the files of the database cannot \
                 be removed: {cause}"
            );
            Traces::InDatabase
        }
        left => left.unwrap_or(before),
    };
    if left != before {
        store.write(TxEnd::Commit, |tx| tx.record_privacy_traces(left))?;
    }
    if left != Traces::Removed {
        tracing::warn!(
            "traces of values that `[privacy]` holds back stay in the files of the database, such as its -wal file while \
             another program reads it; a later run removes them"
        );
    }
    Ok(())
}

/// Tries again, after a run of the service, what can be done without waiting. Writing the database anew waits for the daily
/// check, because it takes long where it fails.
pub(super) fn retry_removal(store: &mut Store, is_daily: bool) -> Result<(), StoreError> {
    match store.read(|tx| tx.privacy_traces())? {
        Traces::InDatabase if is_daily => remove_traces(store),
        Traces::InLog if store.empty_log()? => {
            store.write(TxEnd::Commit, |tx| tx.record_privacy_traces(Traces::Removed))
        }
        _ => Ok(()),
    }
}

fn report_difference(difference: &PrivacyDifference) {
    let names = |columns: &mut dyn Iterator<Item = String>| columns.collect::<Vec<_>>().join(", ");
    if !difference.new.is_empty() {
        let columns = names(&mut difference.new.columns().map(|(column, _)| column.to_string()));
        tracing::warn!(
            "`[privacy]` now holds back {columns}: what is stored of that is removed, a new lineage begins, and every consumer \
             starts again at 0"
        );
    }
    if !difference.outdated.is_empty() {
        let columns = names(&mut difference.outdated.iter().map(ToString::to_string));
        tracing::warn!("the rules of `[privacy]` for {columns} changed: everything is read anew");
    }
}

fn report_exports(earlier: &[PathBuf]) {
    for path in earlier.iter().take(NAMED_MAX) {
        tracing::warn!(
            "{} was exported before and may hold the values: delete it here and where it was loaded",
            path.display()
        );
    }
    if NAMED_MAX < earlier.len() {
        let more = count((earlier.len() - NAMED_MAX) as u64, "more export");
        tracing::warn!("{more} may hold the values: `halosync check` names them all");
    }
}

/// The lineages of exported files that are newer than the database, because an older copy of it was restored: without them
/// those files would seem to belong to another database.
fn superseded_lineages(store: &Store, config: &Config) -> Result<Vec<String>, AppError> {
    let lineages = store.read(|tx| tx.lineages())?;
    let Some(present) = lineages.first() else { return Ok(Vec::new()) };
    let chains = read_positions(&config.export.dir)?;
    let newer = chains.into_values().filter(|chain| chain.lineages.contains(present));
    let mut superseded: Vec<String> = Vec::new();
    for lineage in newer.flat_map(|chain| chain.lineages) {
        if !lineages.contains(&lineage) && !superseded.contains(&lineage) {
            superseded.push(lineage);
        }
    }
    Ok(superseded)
}

/// The exported files that are older than the newest rule, so that they may hold what it holds back: packages, their reference
/// tables, superseded files and snapshots, as far as they are still there.
pub(crate) fn exports_before_rules(tx: &ReadTx<'_>, config: &Config) -> Result<Vec<PathBuf>, StoreError> {
    let Some(since) = tx.newest_privacy_rule_at()? else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    for folder in tx.consumers()?.into_iter().filter_map(|(_, position, _)| position.folder) {
        files.extend(listed(data_files_but_for(&folder, &BTreeSet::new())));
        let tables = listed(fs::read_dir(folder.join(REFERENCE_FOLDER)).map_or_else(
            |_| Ok(Vec::new()),
            |entries| Ok(entries.flatten().map(|entry| entry.path()).collect()),
        ));
        for table in tables {
            files.extend(fs::read_dir(table).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    for dir in export_dirs(tx, config)? {
        files.extend(listed(superseded_files(&dir)));
        files.extend(listed(snapshot_folders(&dir)).into_iter().map(|(folder, _)| folder));
    }
    files.retain(|path| is_older(path, since));
    files.sort();
    files.dedup();
    Ok(files)
}

/// The export folders: that of the settings, and those of the consumers.
pub(super) fn export_dirs(tx: &ReadTx<'_>, config: &Config) -> Result<BTreeSet<PathBuf>, StoreError> {
    let mut dirs = BTreeSet::from([config.export.dir.clone()]);
    for folder in tx.consumers()?.into_iter().filter_map(|(_, position, _)| position.folder) {
        dirs.extend(ConsumerFolder::export_dir(&folder).map(Path::to_owned));
    }
    Ok(dirs)
}

/// What a folder holds. One that cannot be listed is reported, because what it holds is not known.
pub(super) fn listed<T>(list: Result<Vec<T>, ExportError>) -> Vec<T> {
    list.unwrap_or_else(|error| {
        tracing::warn!("{error}: files there may hold what was removed from the database");
        Vec::new()
    })
}

fn is_older(path: &Path, since: Timestamp) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| modified < SystemTime::from(since.instant()))
}
