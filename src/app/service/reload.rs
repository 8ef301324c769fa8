//! Changes settings and secrets while the service is running.
//!
//! New settings are checked, as far as that needs no request, before anything changes. If the next run shows that
//! they are wrong, such as a ticket type that does not exist, the previous settings are restored.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use super::Service;
use super::systemd::{self, SystemdNotifier};
use crate::app::halo_connector::HaloConnector;
use crate::app::{AppError, ExitStatus, LoadedConfig, configured_scope, load};
use crate::config::{Config, ConfigProblem};
use crate::store::Store;
use crate::sync;

/// Settings that passed the checks, with the connection to their server.
pub(super) type AcceptedConfig = (Arc<LoadedConfig>, HaloConnector);

impl Service {
    /// Handles SIGHUP: reads the settings again. Settings that fail the checks change nothing.
    pub(super) fn reload(&mut self, apply_config: &impl Fn(&Config)) {
        SystemdNotifier::notify_reloading();
        let candidate = self.read_new_config();
        systemd::notify(&[NotifyState::Ready]);
        match candidate {
            Ok(accepted) if self.running_cycle.is_some() => {
                tracing::info!("settings reloaded; they take effect when the current run ends");
                self.pending_config = Some(accepted);
            }
            Ok(accepted) => {
                tracing::info!("settings reloaded");
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
                self.systemd.set_status(format!("new settings rejected: {}", error.chain()));
            }
        }
    }

    /// Reads the settings and checks them as far as that needs no request.
    fn read_new_config(&self) -> Result<AcceptedConfig, AppError> {
        let loaded = load(self.config_path.as_deref())?;
        let (old, new) = (self.config(), &loaded.config);
        let fixed = [
            ("store.path", old.store.path == new.store.path),
            ("store.full_text", old.store.full_text == new.store.full_text),
            ("store.index_last_modified", old.store.index_last_modified == new.store.index_last_modified),
            ("store.busy_timeout", old.store.busy_timeout == new.store.busy_timeout),
            ("privacy", old.privacy == new.privacy),
            ("metrics.listen", old.metrics.listen == new.metrics.listen),
            ("log.format", old.log.format == new.log.format),
        ];
        let changed = fixed.into_iter().filter(|(_, same)| !same).map(|(key, _)| ConfigProblem {
            location: loaded.file.display().to_string(),
            message: format!("`{key}` cannot change while the service is running: restart it"),
        });
        let problems: Vec<_> = changed.collect();
        if !problems.is_empty() {
            return Err(AppError::Settings(problems));
        }
        let connector = HaloConnector::from_config(&loaded)?;
        let store = Store::open_read_only(&new.store.path, new.store.busy_timeout)?;
        let scope = configured_scope(new);
        store.read(|tx| sync::check_same_server(tx, &scope))?;
        Ok((Arc::new(loaded), connector))
    }

    /// Makes settings take effect.
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

    /// Restores the previous settings if the error is one of settings and there are previous ones; returns whether
    /// it did.
    pub(super) fn restore_previous_config(
        &mut self,
        error: &AppError,
        apply_config: &impl Fn(&Config),
    ) -> Result<bool, AppError> {
        let Some(previous) =
            self.previous_config.take().filter(|_| error.exit_status() == ExitStatus::Config)
        else {
            return Ok(false);
        };
        log_rejected_config(error);
        let connector = HaloConnector::from_config(&previous)?;
        self.activate_config((previous, connector), apply_config);
        self.previous_config = None;
        Ok(true)
    }

    /// Reads the secret again and uses it if it has changed; returns whether it has.
    pub(super) fn reload_secret(&mut self) -> bool {
        let connector = HaloConnector::from_config(&self.loaded).ok();
        match connector.filter(|it| it.secret.expose_secret() != self.secret.expose_secret()) {
            Some(connector) => {
                tracing::info!("the client secret has changed: using the new one");
                self.replace_client(connector);
                true
            }
            None => false,
        }
    }

    /// Replaces the client; requests of the previous one still count against the rate limit.
    fn replace_client(&mut self, connector: HaloConnector) {
        // If that cannot be read, the whole window counts as used up.
        let used_requests = self.locked_store.requests_in_window(self.config()).unwrap_or(u64::MAX);
        self.secret = connector.secret.clone();
        let halo = Arc::new(connector.into_client(
            self.config(),
            Arc::clone(&self.locked_store.privacy),
            used_requests,
        ));
        let mut inner = self.state.lock();
        halo.learn_secrets_from(&inner.halo);
        halo.pause_for(inner.halo.remaining_pause());
        inner.earlier_request_stats = inner.earlier_request_stats.plus(&inner.halo.request_stats());
        inner.halo = halo;
    }
}

fn log_rejected_config(error: &AppError) {
    let (cause, help) = (error.chain(), error.help());
    tracing::error!(cause, "new settings rejected, the previous ones stay in effect: {cause} ({help})");
}
