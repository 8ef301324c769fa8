//! What is on this machine: folder, lock, database, its files and their disk.

use super::{Sheet, Step, Verdict, disk, files, judge};
use crate::agent::{self, AgentError};
use crate::config::Config;
use crate::store::{Lock, LockError, Store, StoreError};
use crate::sync;

impl Sheet<'_> {
    /// Folder, lock and database. Gives how many requests were made in the window before now.
    pub(super) fn place(&mut self, config: &Config, offline: bool) -> u64 {
        let path = &config.store.path;
        let folder = Store::check_folder(path).and_then(|()| Store::check_writable(path));
        let says = |(): &()| format!("the folder of {} can be used", path.display());
        let is_there = self.take(Step::Folder, folder, says).is_some();
        if is_there && !offline {
            // Taken and let go at once.
            match Lock::of_the_writer(path) {
                // Where the service runs, that is as it should be.
                Err(held @ LockError::Held { .. }) => {
                    let says = format!("{held}: until it is done, `sync` and `reset` end with 75");
                    self.enter(Step::Lock, Verdict::Good(says));
                }
                lock => {
                    self.take(Step::Lock, lock, |_| "no other halosync is at work".into());
                }
            }
        }
        let spent = self.database(config).unwrap_or(0);
        // Without a folder there are no files, and that was said.
        if is_there {
            self.enter(Step::Files, files::verdict(path));
        }
        spent
    }

    /// Whether there is room for what is expected, as far as it is known by now.
    pub(super) fn room(&mut self, config: &Config) {
        let count = self.checked.counts.and_then(|counts| counts.all());
        let expected = count.zip(self.checked.ticket_bytes).map(|(count, bytes)| count.saturating_mul(bytes));
        self.enter(Step::Disk, disk::verdict(&config.store.path, &config.export.dir, expected));
    }

    fn database(&mut self, config: &Config) -> Option<u64> {
        let path = &config.store.path;
        let opened = match Store::open_read_only(path, config.store.busy_timeout) {
            Err(StoreError::Missing(_)) => {
                let says = format!("none yet at {}: the first `halosync sync` makes it", path.display());
                self.enter(Step::Database, Verdict::Good(says));
                return None;
            }
            opened => opened,
        };
        let read = opened.map_err(AgentError::from).and_then(|store| {
            store
                .read(|snapshot| {
                    sync::same_server(snapshot, &agent::wanted_scope(config))?;
                    let state = snapshot.watermark()?.map_or("empty", |mark| mark.state.word());
                    let (schema, tickets) = (snapshot.schema_version()?, snapshot.ticket_count()?);
                    let says = format!(
                        "{}: schema {schema}, {state}, {tickets} tickets of this server",
                        path.display()
                    );
                    let spent = agent::spent(config, snapshot)?;
                    Ok::<_, AgentError>((says, snapshot.calibrations()?, spent))
                })
                .map(|facts| (facts, store))
        });
        let ((_, calibrations, spent), store) =
            self.take(Step::Database, read, |((says, ..), _)| says.clone())?;
        self.take(Step::Integrity, store.inspect(), |()| "no page of it is damaged".into());
        self.enter(Step::Calibration, judge::calibrations(&calibrations));
        self.checked.calibrations = calibrations;
        Some(spent)
    }
}
