//! The signals that the service answers.

use tokio::signal::unix::{SignalKind, signal};

use crate::app::{AppError, Signal};

/// What somebody wants of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignalCommand {
    /// SIGTERM, SIGINT: to end.
    Stop(Signal),
    /// SIGHUP: to read the settings again.
    Reload,
    /// SIGUSR1: to begin a pass now.
    SyncNow,
}

/// The signals, as they come.
pub(super) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    reload: tokio::signal::unix::Signal,
    sync_now: tokio::signal::unix::Signal,
}

impl Signals {
    /// From now on signals do not end the process by themselves.
    pub(super) fn listen() -> Result<Signals, AppError> {
        let handled =
            |kind| signal(kind).map_err(|source| AppError::System { what: "to tell of signals", source });
        Ok(Signals {
            terminate: handled(SignalKind::terminate())?,
            interrupt: handled(SignalKind::interrupt())?,
            reload: handled(SignalKind::hangup())?,
            sync_now: handled(SignalKind::user_defined1())?,
        })
    }

    /// The next one; the end comes before everything else.
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
    /// The next one that wants the end; others are left for later.
    pub(super) async fn next_stop(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.terminate.recv() => Signal::Terminate,
            Some(()) = self.interrupt.recv() => Signal::Interrupt,
            else => std::future::pending().await,
        }
    }
}
