//! Notifications to systemd (`sd_notify(3)`); without systemd they do nothing.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::OnceLock;
use std::time::Duration;

use sd_notify::NotifyState;

/// Held open, so that the watchdog is notified also when the process may open no more files.
static SOCKET: OnceLock<Option<NotifySocket>> = OnceLock::new();

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

/// Sends a notification; the first one opens the socket.
pub(super) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = try_notify(states) {
        tracing::debug!(%error, "cannot notify systemd");
    }
}

fn try_notify(states: &[NotifyState<'_>]) -> io::Result<()> {
    let socket = if let Some(socket) = SOCKET.get() {
        socket
    } else {
        let name = std::env::var_os("NOTIFY_SOCKET");
        let socket = name.map(|name| NotifySocket::open(&name)).transpose()?;
        SOCKET.get_or_init(|| socket)
    };
    let lines: String = states.iter().map(|state| format!("{state}\n")).collect();
    socket.as_ref().map_or(Ok(()), |socket| socket.send(&lines))
}

struct NotifySocket {
    socket: UnixDatagram,
    manager: SocketAddr,
}

impl NotifySocket {
    fn open(name: &OsStr) -> io::Result<NotifySocket> {
        let manager = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        Ok(NotifySocket { socket: UnixDatagram::unbound()?, manager })
    }

    /// Sends to the address and not to a connection: the manager may be another process by now.
    fn send(&self, lines: &str) -> io::Result<()> {
        self.socket.send_to_addr(lines.as_bytes(), &self.manager).map(drop)
    }
}
