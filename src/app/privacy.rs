//! Brings a database to the privacy rules of the settings, before anything else is stored in it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::settings::read_hash_key;
use super::{AppError, count, now};
use crate::config::Config;
use crate::export::{REFERENCE_FOLDER, data_files_but_for, snapshot_folders, superseded_files};
use crate::privacy::{HashKey, PrivacyDifference, PrivacyRule, PrivacyRules};
use crate::store::{Lock, ReadTx, Store, StoreError, TxEnd};

/// So many files that may hold what is now held back are named.
const NAMED_MAX: usize = 20;

/// Reads the key and returns the rules of the settings.
pub(crate) fn privacy_rules(config: &Config) -> Result<Arc<PrivacyRules>, AppError> {
    let hashes = config.privacy.rules.iter().any(|(_, rule)| *rule == PrivacyRule::Hash);
    let key_file = config.privacy.hash_key_file.as_deref().filter(|_| hashes);
    let key = key_file.map(read_hash_key).transpose()?.map(|key| HashKey::new(&key));
    Ok(Arc::new(PrivacyRules::new(&config.privacy.rules, key)))
}

/// Checks that the rules of the settings are carried out in the database.
///
/// # Errors
/// [`AppError::PrivacyPending`] if they are not.
pub(super) fn check_carried_out(tx: &ReadTx<'_>, rules: &PrivacyRules) -> Result<(), AppError> {
    let difference = PrivacyDifference::between(&tx.privacy_rules()?, rules);
    if difference.is_empty() {
        return Ok(());
    }
    let new = difference.new.columns().map(|(column, _)| column);
    let columns = new.chain(difference.outdated).map(|column| column.to_string()).collect();
    Err(AppError::PrivacyPending { columns })
}

/// Carries out the rules in the database, whose writer's lock the caller has: no export may run meanwhile.
pub(super) fn carry_out(store: &mut Store, config: &Config, rules: &PrivacyRules) -> Result<(), AppError> {
    let recorded = store.read(|tx| tx.privacy_rules())?;
    let difference = PrivacyDifference::between(&recorded, rules);
    if !difference.is_empty() {
        let _export_lock = Lock::acquire_exporter(&config.store.path, config.store.busy_timeout)?;
        let is_new = store.read(|tx| Ok::<_, StoreError>(tx.greatest_seq()? == 0))?;
        let earlier =
            if difference.new.is_empty() || is_new { Vec::new() } else { earlier_exports(store, config)? };
        store.write(TxEnd::Commit, |tx| tx.carry_out_privacy(&difference, rules, now()))?;
        if !is_new {
            report(&difference, &earlier);
        }
    }
    Ok(remove_traces(store)?)
}

/// Removes what is left in the files of the database of values that are held back. Where a reader prevents it, that is
/// said, and done with a later run.
pub(super) fn remove_traces(store: &mut Store) -> Result<(), StoreError> {
    if !store.read(|tx| tx.has_privacy_traces())? {
        return Ok(());
    }
    match store.remove_traces() {
        Ok(true) => return store.write(TxEnd::Commit, |tx| tx.forget_privacy_traces()),
        Ok(false) | Err(StoreError::Busy(_)) => tracing::warn!(
            "values that `[privacy]` holds back are gone from all tables; traces stay in the -wal file of the database while \
             another program reads it, and are removed by a run after that"
        ),
        Err(error) => tracing::warn!(
            "values that `[privacy]` holds back are gone from all tables; their traces in the files of the database cannot be \
             removed before the next run: {error}"
        ),
    }
    Ok(())
}

fn report(difference: &PrivacyDifference, earlier: &[PathBuf]) {
    let names = |columns: &mut dyn Iterator<Item = String>| columns.collect::<Vec<_>>().join(", ");
    if !difference.new.is_empty() {
        let columns = names(&mut difference.new.columns().map(|(column, _)| column.to_string()));
        tracing::warn!(
            "`[privacy]` now holds back {columns}: what was stored is removed, a new lineage begins, and every consumer \
             starts again at 0"
        );
    }
    if !difference.outdated.is_empty() {
        let columns = names(&mut difference.outdated.iter().map(ToString::to_string));
        tracing::warn!("the rules of `[privacy]` for {columns} changed: everything is read anew");
    }
    for path in earlier.iter().take(NAMED_MAX) {
        tracing::warn!(
            "{} was exported before and may hold the values: delete it here and where it was loaded",
            path.display()
        );
    }
    if NAMED_MAX < earlier.len() {
        let more = count((earlier.len() - NAMED_MAX) as u64, "more export");
        tracing::warn!("{more} may hold the values: those older than now in the same folders");
    }
}

/// The files of packages, with their reference tables, and the snapshots, that exist.
fn earlier_exports(store: &Store, config: &Config) -> Result<Vec<PathBuf>, AppError> {
    let consumers = store.read(|tx| tx.consumers())?;
    let mut files = Vec::new();
    for folder in consumers.into_iter().filter_map(|(_, position, _)| position.folder) {
        files.extend(data_files_but_for(&folder, &BTreeSet::new())?);
        files.push(folder.join(REFERENCE_FOLDER));
    }
    files.extend(superseded_files(&config.export.dir)?);
    files.extend(snapshot_folders(&config.export.dir)?.into_iter().map(|(folder, _)| folder));
    files.retain(|path| path.exists());
    Ok(files)
}
