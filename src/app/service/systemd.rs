//! What systemd is told (`sd_notify(3)`). Without systemd nobody listens, and nothing is said.

use std::time::Duration;

use sd_notify::NotifyState;

/// The service manager.
#[derive(Debug, Default)]
pub(super) struct SystemdNotifier {
    status: String,
}

impl SystemdNotifier {
    /// How often it wants a sign of life at least, where it does.
    pub(super) fn watchdog_timeout() -> Option<Duration> {
        sd_notify::watchdog_enabled().filter(|it| !it.is_zero())
    }

    /// The service is up, or has ended a reload.
    pub(super) fn notify_ready() {
        notify(&[NotifyState::Ready]);
    }

    /// New settings are being read. The time tells which READY belongs to it.
    pub(super) fn notify_reloading() {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(_) => notify(&[NotifyState::Reloading]),
        }
    }

    /// The service is about to end.
    pub(super) fn notify_stopping() {
        notify(&[NotifyState::Stopping]);
    }

    /// Everything gets on.
    pub(super) fn notify_watchdog() {
        notify(&[NotifyState::Watchdog]);
    }

    /// One line for `systemctl status`.
    pub(super) fn set_status(&mut self, status: String) {
        if status != self.status {
            // A line break would begin another message.
            notify(&[NotifyState::Status(&status.replace('\n', " "))]);
            self.status = status;
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}
