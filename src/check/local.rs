//! Steps on this machine: folder, lock, database, its files and their disk.

use super::drift::SeenDrift;
use super::local_content::{LocalContent, local_content};
use super::{CheckOptions, CheckOutcome, CheckStep, ReportBuilder, disk, files, privacy};
use crate::app::{self, AppError, count};
use crate::config::Config;
use crate::reference::ReferenceTable;
use crate::store::{Lock, LockError, LockHolders, ReferenceList, ReferenceResult, Store, StoreError};
use crate::sync;

impl ReportBuilder<'_> {
    /// Checks folder, lock and database.
    pub(super) fn check_local(&mut self, config: &Config, options: CheckOptions) {
        let path = &config.store.path;
        let folder = Store::check_folder(path).and_then(|()| Store::check_writable(path));
        let message = |(): &()| format!("the folder of {} is writable", path.display());
        let is_usable = self.record_result(CheckStep::Folder, folder, message).is_some();
        if is_usable && !options.offline {
            // The lock is released at once.
            match Lock::acquire_writer(path) {
                // A running service holds it, which is no problem.
                Err(held @ LockError::Held { .. }) => {
                    let message = format!("{held}: until it ends, `sync` and `reset` exit with 75");
                    self.record(CheckStep::Lock, CheckOutcome::Ok(message));
                }
                lock => {
                    self.record_result(CheckStep::Lock, lock, |_| "no other halosync is running".into());
                }
            }
        }
        // An early end is recorded as a finding.
        let _ = self.check_database(config, options.deep);
        self.record(CheckStep::Privacy, privacy::check(config));
        // Without a folder there are no files, which is reported already.
        if is_usable {
            self.record(CheckStep::Files, files::check(path));
        }
    }

    /// Checks the free space against the expected size, as far as it is known.
    pub(super) fn check_disk_space(&mut self, config: &Config) {
        let count = self.report.counts.and_then(|counts| counts.total());
        let expected = count.zip(self.report.ticket_bytes).map(|(count, bytes)| count.saturating_mul(bytes));
        self.record(
            CheckStep::Disk,
            disk::check(&config.store.path, &config.export.dir, config.store.min_free_disk, expected),
        );
    }

    fn check_database(&mut self, config: &Config, deep: bool) -> Option<()> {
        let path = &config.store.path;
        let opened = match Store::open_read_only(path, config.store.busy_timeout) {
            Err(StoreError::Missing(_)) => {
                let message = format!("none yet at {}: the first `halosync sync` creates it", path.display());
                self.record(CheckStep::Database, CheckOutcome::Ok(message));
                return None;
            }
            opened => opened,
        };
        let result = opened.map_err(AppError::from).and_then(|store| {
            store
                .read(|tx| {
                    sync::check_same_server(tx, &app::configured_scope(config))?;
                    let state = tx.watermark()?.map_or("empty", |watermark| watermark.state.as_str());
                    let (schema, tickets) = (tx.schema_version()?, tx.ticket_count()?);
                    let message = format!(
                        "{}: schema {schema}, state {state}, {} of this server",
                        path.display(),
                        count(tickets, "ticket"),
                    );
                    Ok::<_, AppError>((
                        message,
                        tx.probes()?,
                        tx.reference_lists()?,
                        SeenDrift::read(tx, config)?,
                        sync::held_delete_guard(tx, config.sync.delete_guard)?,
                    ))
                })
                .map(|facts| (facts, store))
        });
        let (message, probes, names, drift, guard, store) = match result {
            Ok(((message, probes, names, drift, guard), store)) => {
                (message, probes, names, drift, guard, store)
            }
            Err(error) => {
                self.record(CheckStep::Database, CheckOutcome::Fail(error));
                return None;
            }
        };
        let (mut messages, mut helps) = (vec![message], Vec::new());
        // A database that is damaged elsewhere is reported with the next step.
        if let Some(finding) = store.pending_finding().ok().flatten() {
            messages.push(finding.to_string());
            helps.push("the next `halosync sync` does that, and brings the tickets up to date".to_owned());
        }
        if let Some(guard) = guard {
            messages.extend(guard.reason());
            helps.extend(guard.help().map(ToOwned::to_owned));
        }
        let outcome = if helps.is_empty() {
            CheckOutcome::Ok(messages.join("; "))
        } else {
            CheckOutcome::warning(messages.join("; "), helps.join("; "))
        };
        self.record(CheckStep::Database, outcome);
        let integrity = self.record_result(CheckStep::Integrity, check_integrity(&store), |()| {
            "the database is not damaged".into()
        });
        // What a damaged file says about itself proves nothing.
        if integrity.is_some() {
            self.check_content(&store, deep);
        }
        let oldest = probes.iter().map(|it| it.probed_at).min();
        let message = oldest.map_or("none yet: the first runs probe the server".into(), |oldest| {
            format!("{}, the oldest from {}", count(probes.len() as u64, "probe"), oldest.to_second())
        });
        self.record(CheckStep::Probes, CheckOutcome::Ok(message));
        self.report.probes = probes;
        self.record(CheckStep::Names, CheckOutcome::Ok(names_to_text(&names)));
        self.record(CheckStep::NewFields, drift.new_fields());
        self.record(CheckStep::Lateness, drift.lateness());
        Some(())
    }

    /// Checks whether another program changed the schema or the rows.
    fn check_content(&mut self, store: &Store, deep: bool) {
        self.record_result(CheckStep::Schema, store.check_schema(), |additions| match additions.as_slice() {
            [] => "as halosync made it".into(),
            additions => format!("as halosync made it; also here, and left alone: {}", additions.join(", ")),
        });
        let content = store.read(|tx| {
            let unequal = deep.then(|| tx.unequal_hashes()).transpose()?;
            Ok::<_, StoreError>(LocalContent { edits: tx.find_local_edits()?, unequal })
        });
        match content {
            Ok(content) => self.record(CheckStep::LocalEdits, local_content(store.path(), &content)),
            Err(error) => self.record(CheckStep::LocalEdits, CheckOutcome::Fail(error.into())),
        }
    }
}

/// Which lists of names runs have read, and which they have not. An application may never see some of them: that is no
/// failure, because tickets do not need them.
fn names_to_text(lists: &[(&ReferenceTable, ReferenceList)]) -> String {
    if lists.is_empty() {
        return "none yet: the first run reads them".into();
    }
    let (listed, others): (Vec<_>, Vec<_>) =
        lists.iter().partition(|(_, list)| list.result == ReferenceResult::Listed);
    let listed: Vec<_> = listed.iter().map(|(table, _)| table.words()).collect();
    let others: String =
        others.iter().map(|(table, list)| format!("; {}: {}", table.words(), list.result)).collect();
    format!("{}{others}", if listed.is_empty() { "none listed".into() } else { listed.join(", ") })
}

fn check_integrity(store: &Store) -> Result<(), StoreError> {
    // A process that is writing has checked that when it opened the database.
    if LockHolders::detect(store.path()).writer.is_none() {
        store.read(|tx| tx.check_wal_fits(store.path()))?;
    }
    store.check_integrity()
}
