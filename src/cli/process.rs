//! What the process sets up before a command runs: signals that must not end it, and limits that it must have.

use std::io;
use std::sync::Once;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

use crate::app::{AppError, ExitStatus, Signal as StopSignal};

/// How many files a command must be able to open besides those that are open: database, sockets, and what the runtime
/// needs for itself.
const DESCRIPTORS_MIN: usize = 32;

/// How many of them the runtime needs for itself.
const RUNTIME_DESCRIPTORS: usize = 8;

/// Takes the default action from signals that would end the process in the middle: SIGXFSZ, so that a file size limit is
/// an error of the write, and SIGUSR1, which only `run` acts on.
pub(super) fn ignore_signals() {
    if reserve_descriptors(RUNTIME_DESCRIPTORS).is_err() {
        return;
    }
    // A handler of tokio stays when its runtime is gone; whoever listens later, as `run` does, receives the signal.
    let Ok(runtime) = Builder::new_current_thread().enable_io().build() else { return };
    let _context = runtime.enter();
    for kind in [SignalKind::from_raw(Signal::XFSZ.as_raw()), SignalKind::user_defined1()] {
        // Without it the signal ends the process as usual.
        let _ = signal(kind);
    }
}

/// SIGINT and SIGTERM, from the moment on at which somebody listens.
struct StopSignals {
    interrupt: Signals,
    terminate: Signals,
}

impl StopSignals {
    fn listen() -> Option<StopSignals> {
        let interrupt = signal(SignalKind::interrupt()).ok()?;
        Some(StopSignals { interrupt, terminate: signal(SignalKind::terminate()).ok()? })
    }

    async fn next(&mut self) -> StopSignal {
        tokio::select! {
            _ = self.interrupt.recv() => StopSignal::Interrupt,
            _ = self.terminate.recv() => StopSignal::Terminate,
        }
    }
}

/// Waits for SIGINT or SIGTERM.
pub(super) async fn next_signal() -> StopSignal {
    match StopSignals::listen() {
        Some(mut signals) => signals.next().await,
        // Without handlers the signals end the process as usual.
        None => std::future::pending().await,
    }
}

/// Ends the process at the second SIGINT or SIGTERM from now on, whatever it is doing: the work that the first one stops
/// may take long to stop, and its threads may all be busy.
pub(super) fn end_at_second_signal() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let (listening, wait) = std::sync::mpsc::channel::<()>();
        let watch = move || {
            // Without a thread of its own the second signal has no effect.
            let Ok(runtime) = Builder::new_current_thread().enable_io().build() else { return };
            let signal = runtime.block_on(async {
                let signals = StopSignals::listen();
                let _ = listening.send(());
                let mut signals = signals?;
                signals.next().await;
                Some(signals.next().await)
            });
            let Some(signal) = signal else { return };
            let status = match signal {
                StopSignal::Interrupt => ExitStatus::Interrupted,
                StopSignal::Terminate => ExitStatus::Terminated,
            };
            std::process::exit(status.code().into());
        };
        if std::thread::Builder::new().name("signals".into()).spawn(watch).is_ok() {
            // The first signal counts from now on.
            let _ = wait.recv();
        }
    });
}

/// Checks that the process may open enough files: the runtime panics where it cannot create its own.
pub(super) fn check_descriptor_limit() -> Result<(), AppError> {
    reserve_descriptors(DESCRIPTORS_MIN).map_err(AppError::DescriptorLimit)
}

/// Opens so many files at once and closes them again.
fn reserve_descriptors(count: usize) -> io::Result<()> {
    let open = |_| rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let opened: Result<Vec<_>, _> = (0..count).map(open).collect();
    opened.map(drop).map_err(io::Error::from)
}

/// Forbids core dumps and access by other processes of the same user: secret and token are in memory.
pub(super) fn keep_memory_private() {
    // A refusal by the kernel is no reason to stop.
    let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
