//! The signals that the service handles.

use tokio::signal::unix::{SignalKind, signal};

use crate::app::{AppError, Signal};

/// What a signal asks the service to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignalCommand {
    /// SIGTERM, SIGINT: stop.
    Stop(Signal),
    /// SIGHUP: read the settings again.
    Reload,
    /// SIGUSR1: start a run now.
    SyncNow,
}

pub(super) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    reload: tokio::signal::unix::Signal,
    sync_now: tokio::signal::unix::Signal,
}

impl Signals {
    /// Installs the handlers; from then on signals do not end the process by themselves.
    pub(super) fn listen() -> Result<Signals, AppError> {
        let handled = |kind| signal(kind).map_err(|source| AppError::System("signal handlers", source));
        Ok(Signals {
            terminate: handled(SignalKind::terminate())?,
            interrupt: handled(SignalKind::interrupt())?,
            reload: handled(SignalKind::hangup())?,
            sync_now: handled(SignalKind::user_defined1())?,
        })
    }

    /// Waits for the next signal; a stop comes before all others.
    pub(super) async fn next(&mut self) -> SignalCommand {
        tokio::select! {
            biased;
            Some(()) = self.terminate.recv() => SignalCommand::Stop(Signal::Terminate),
            Some(()) = self.interrupt.recv() => SignalCommand::Stop(Signal::Interrupt),
            Some(()) = self.reload.recv() => SignalCommand::Reload,
            Some(()) = self.sync_now.recv() => SignalCommand::SyncNow,
            else => std::future::pending().await,
        }
    }

    /// Waits for the next stop; other signals stay pending.
    pub(super) async fn next_stop(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.terminate.recv() => Signal::Terminate,
            Some(()) = self.interrupt.recv() => Signal::Interrupt,
            else => std::future::pending().await,
        }
    }
}
