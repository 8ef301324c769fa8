//! Notifications to systemd (`sd_notify(3)`); without systemd they do nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// Notifies systemd and remembers the last status line.
#[derive(Debug, Default)]
pub(super) struct SystemdNotifier {
    status: String,
}

impl SystemdNotifier {
    /// The watchdog timeout, if one is set.
    pub(super) fn watchdog_timeout() -> Option<Duration> {
        sd_notify::watchdog_enabled().filter(|it| !it.is_zero())
    }

    /// A reload has begun; the time tells systemd which READY ends it.
    pub(super) fn notify_reloading() {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(_) => notify(&[NotifyState::Reloading]),
        }
    }

    /// Sets the line of `systemctl status`.
    pub(super) fn set_status(&mut self, status: String) {
        if status != self.status {
            // A line break would start another notification.
            notify(&[NotifyState::Status(&status.replace('\n', " "))]);
            self.status = status;
        }
    }
}

pub(super) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify systemd");
    }
}
