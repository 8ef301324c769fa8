//! New settings and new secrets while the service runs.
//!
//! What can be judged without asking the server is judged before anything changes. What comes out only in
//! the next pass, such as a ticket type that does not exist, has the settings before put back in force.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Service;
use super::manager::Manager;
use crate::agent::source::Source;
use crate::agent::{AgentError, Loaded, load, wanted_scope};
use crate::config::{Config, Problem};
use crate::store::Store;
use crate::sync;

/// Settings that can be used, with the server that they name.
pub(super) type Accepted = (Arc<Loaded>, Source);

impl Service {
    /// SIGHUP: reads the settings again. Those that cannot be used change nothing.
    pub(super) fn reload(&mut self, heed: &impl Fn(&Config)) {
        Manager::reloading();
        let taken = self.read_settings();
        Manager::ready();
        match taken {
            Ok(taken) if self.under_way.is_some() => {
                tracing::info!("the settings were read again; they are in force when the pass has ended");
                self.settings_next = Some(taken);
            }
            Ok(taken) => {
                tracing::info!("the settings were read again");
                self.take_up(taken, heed);
                let wait = self.due.saturating_duration_since(Instant::now());
                let failed = self.failed != 0;
                let wanted = if failed { Duration::ZERO } else { self.config().sync.interval };
                if wanted < wait {
                    self.begin_in(wanted);
                }
                self.tell_status();
            }
            Err(error) => {
                tell_refusal(&error);
                self.manager.status(format!("new settings refused: {}", error.chain()));
            }
        }
    }

    /// New settings, as far as they can be judged without asking the server.
    fn read_settings(&self) -> Result<Accepted, AgentError> {
        let loaded = load(self.named.as_deref())?;
        let (old, new) = (self.config(), &loaded.config);
        let fixed = [
            ("store.path", old.store.path == new.store.path),
            ("store.full_text", old.store.full_text == new.store.full_text),
            ("store.index_last_modified", old.store.index_last_modified == new.store.index_last_modified),
            ("store.busy_timeout", old.store.busy_timeout == new.store.busy_timeout),
            ("metrics.listen", old.metrics.listen == new.metrics.listen),
            ("log.format", old.log.format == new.log.format),
        ];
        let changed = fixed.into_iter().filter(|(_, same)| !same).map(|(key, _)| Problem {
            place: loaded.file.display().to_string(),
            what: format!("`{key}` cannot change while the service runs: restart it"),
        });
        let problems: Vec<_> = changed.collect();
        if !problems.is_empty() {
            return Err(AgentError::Settings { file: loaded.file, problems });
        }
        let source = Source::of(&loaded)?;
        let store = Store::open_read_only(&new.store.path, new.store.busy_timeout)?;
        let scope = wanted_scope(new);
        store.read(|snapshot| sync::same_server(snapshot, &scope))?;
        Ok((Arc::new(loaded), source))
    }

    /// Brings settings into force.
    pub(super) fn take_up(&mut self, (loaded, source): Accepted, heed: &impl Fn(&Config)) {
        let before = std::mem::replace(&mut self.loaded, loaded);
        self.settings_before.get_or_insert(before);
        heed(self.config());
        self.board.entries().loaded = Arc::clone(&self.loaded);
        self.ask_anew(source);
    }

    /// Puts the settings before back in force, where there are any that did better; gives whether.
    pub(super) fn take_back(
        &mut self,
        error: &AgentError,
        heed: &impl Fn(&Config),
    ) -> Result<bool, AgentError> {
        let Some(before) = self.settings_before.take().filter(|_| error.exit_status() == 78) else {
            return Ok(false);
        };
        tell_refusal(error);
        let source = Source::of(&before)?;
        self.take_up((before, source), heed);
        self.settings_before = None;
        Ok(true)
    }

    /// Takes a secret that was changed where it is kept; gives whether it was.
    pub(super) fn take_new_secret(&mut self) -> bool {
        let source = Source::of(&self.loaded).ok();
        match source.filter(|source| source.has_another_secret(&self.secret)) {
            Some(source) => {
                tracing::info!("the secret was changed: using the new one");
                self.ask_anew(source);
                true
            }
            None => false,
        }
    }

    /// Asks with another secret or on other terms from now on; the promise of the rate limit holds.
    fn ask_anew(&mut self, source: Source) {
        // Where that cannot be read, everything counts as used up, and a window is waited for.
        let spent = self.copy.spent(self.config()).unwrap_or(u64::MAX);
        self.secret = source.secret();
        let halo = Arc::new(source.open(self.config(), spent));
        let mut entries = self.board.entries();
        halo.close_for(entries.halo.closed_for());
        entries.traffic_before = entries.traffic_before.plus(&entries.halo.traffic());
        entries.halo = halo;
    }
}

fn tell_refusal(error: &AgentError) {
    let (cause, help) = (error.chain(), error.help());
    tracing::error!(cause, "the new settings are refused, the old ones stay in force: {cause} ({help})");
}
