//! New settings and new secrets while the service runs.
//!
//! What can be judged without asking the server is judged before anything changes. What comes out only in
//! the next pass, such as a ticket type that does not exist, has the settings before put back in force.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Service;
use super::systemd::SystemdNotifier;
use crate::app::halo_connector::HaloConnector;
use crate::app::{AppError, LoadedConfig, configured_scope, load};
use crate::config::{Config, ConfigProblem};
use crate::store::Store;
use crate::sync;

/// Settings that can be used, with the server that they name.
pub(super) type AcceptedConfig = (Arc<LoadedConfig>, HaloConnector);

impl Service {
    /// SIGHUP: reads the settings again. Those that cannot be used change nothing.
    pub(super) fn reload(&mut self, apply_config: &impl Fn(&Config)) {
        SystemdNotifier::notify_reloading();
        let candidate = self.read_new_config();
        SystemdNotifier::notify_ready();
        match candidate {
            Ok(accepted) if self.running_cycle.is_some() => {
                tracing::info!("the settings were read again; they are in force when the pass has ended");
                self.pending_config = Some(accepted);
            }
            Ok(accepted) => {
                tracing::info!("the settings were read again");
                self.activate_config(accepted, apply_config);
                let wait = self.next_cycle_due.saturating_duration_since(Instant::now());
                let failed = self.failed_runs != 0;
                let max_wait = if failed { Duration::ZERO } else { self.config().sync.interval };
                if max_wait < wait {
                    self.schedule_in(max_wait);
                }
                self.update_status();
            }
            Err(error) => {
                log_rejected_config(&error);
                self.systemd.set_status(format!("new settings refused: {}", error.chain()));
            }
        }
    }

    /// New settings, as far as they can be judged without asking the server.
    fn read_new_config(&self) -> Result<AcceptedConfig, AppError> {
        let loaded = load(self.config_path.as_deref())?;
        let (old, new) = (self.config(), &loaded.config);
        let fixed = [
            ("store.path", old.store.path == new.store.path),
            ("store.full_text", old.store.full_text == new.store.full_text),
            ("store.index_last_modified", old.store.index_last_modified == new.store.index_last_modified),
            ("store.busy_timeout", old.store.busy_timeout == new.store.busy_timeout),
            ("metrics.listen", old.metrics.listen == new.metrics.listen),
            ("log.format", old.log.format == new.log.format),
        ];
        let changed = fixed.into_iter().filter(|(_, same)| !same).map(|(key, _)| ConfigProblem {
            location: loaded.file.display().to_string(),
            message: format!("`{key}` cannot change while the service runs: restart it"),
        });
        let problems: Vec<_> = changed.collect();
        if !problems.is_empty() {
            return Err(AppError::Settings { file: loaded.file, problems });
        }
        let connector = HaloConnector::from_config(&loaded)?;
        let store = Store::open_read_only(&new.store.path, new.store.busy_timeout)?;
        let scope = configured_scope(new);
        store.read(|tx| sync::check_same_server(tx, &scope))?;
        Ok((Arc::new(loaded), connector))
    }

    /// Brings settings into force.
    pub(super) fn activate_config(
        &mut self,
        (loaded, connector): AcceptedConfig,
        apply_config: &impl Fn(&Config),
    ) {
        let previous = std::mem::replace(&mut self.loaded, loaded);
        self.previous_config.get_or_insert(previous);
        apply_config(self.config());
        self.state.lock().loaded = Arc::clone(&self.loaded);
        self.replace_client(connector);
    }

    /// Puts the settings before back in force, where there are any that did better; gives whether.
    pub(super) fn restore_previous_config(
        &mut self,
        error: &AppError,
        apply_config: &impl Fn(&Config),
    ) -> Result<bool, AppError> {
        let Some(previous) = self.previous_config.take().filter(|_| error.exit_status() == 78) else {
            return Ok(false);
        };
        log_rejected_config(error);
        let connector = HaloConnector::from_config(&previous)?;
        self.activate_config((previous, connector), apply_config);
        self.previous_config = None;
        Ok(true)
    }

    /// Takes a secret that was changed where it is kept; gives whether it was.
    pub(super) fn reload_secret(&mut self) -> bool {
        let connector = HaloConnector::from_config(&self.loaded).ok();
        match connector.filter(|connector| connector.has_another_secret(&self.secret)) {
            Some(connector) => {
                tracing::info!("the secret was changed: using the new one");
                self.replace_client(connector);
                true
            }
            None => false,
        }
    }

    /// Asks with another secret or on other terms from now on; the promise of the rate limit holds.
    fn replace_client(&mut self, connector: HaloConnector) {
        // Where that cannot be read, everything counts as used up, and a window is waited for.
        let used_requests = self.locked_store.requests_in_window(self.config()).unwrap_or(u64::MAX);
        self.secret = connector.secret();
        let halo = Arc::new(connector.into_client(self.config(), used_requests));
        let mut inner = self.state.lock();
        halo.pause_for(inner.halo.remaining_pause());
        inner.earlier_request_stats = inner.earlier_request_stats.plus(&inner.halo.request_stats());
        inner.halo = halo;
    }
}

fn log_rejected_config(error: &AppError) {
    let (cause, help) = (error.chain(), error.help());
    tracing::error!(cause, "the new settings are refused, the old ones stay in force: {cause} ({help})");
}
