//! What a command shows while it works: one live line on a terminal; elsewhere a plain line now and then.

mod line;
mod live_line;
mod run_state;
mod work;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::Local;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::args::CliArgs;
use super::error_output::print_stderr;
use crate::sync::{PhaseProgress, Progress, RequestWait, RunPhase};
use line::line;
use live_line::LiveLine;
use run_state::RunState;

pub(super) use live_line::StderrWriter;
pub(super) use work::WorkProgress;

/// Without a terminal a wait of at least this length is worth a line.
const PLAIN_WAIT_MIN: Duration = Duration::from_secs(2);

/// How often such a line is repeated while the wait or the work lasts.
const PLAIN_LINE_EVERY: Duration = Duration::from_secs(30);

/// Where progress is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ProgressTarget {
    Nowhere,
    PlainLines,
    LiveLine,
}

impl ProgressTarget {
    /// What the arguments and the terminal allow.
    fn of(arguments: &CliArgs) -> ProgressTarget {
        if arguments.json || arguments.quiet {
            ProgressTarget::Nowhere
        } else if live_line::is_available() {
            ProgressTarget::LiveLine
        } else {
            ProgressTarget::PlainLines
        }
    }
}

/// Shows the progress of one run, until it is dropped.
pub(super) struct RunProgress {
    state: Arc<Mutex<RunState>>,
    /// The task that prints plain lines while the run waits; `None` where they are not wanted.
    plain_lines: Option<Mutex<Option<AbortOnDropHandle<()>>>>,
    _live_line: Option<LiveLine>,
}

impl RunProgress {
    /// Shows the progress on stderr as the arguments and the terminal allow.
    pub(super) fn start(arguments: &CliArgs) -> Arc<RunProgress> {
        let state = Arc::new(Mutex::new(RunState::new(Instant::now())));
        let target = ProgressTarget::of(arguments);
        let live_line = (target == ProgressTarget::LiveLine).then(|| {
            let state = Arc::clone(&state);
            LiveLine::start(move |width| present_line(&state, width))
        });
        let plain_lines = (target == ProgressTarget::PlainLines).then(Mutex::default);
        Arc::new(RunProgress { state, plain_lines, _live_line: live_line })
    }

    /// The server's count of the list that was read last.
    pub(super) fn list_total(&self) -> Option<u64> {
        lock(&self.state).list_total
    }
}

impl Progress for RunProgress {
    fn phase(&self, phase: RunPhase) {
        lock(&self.state).begin(phase, Instant::now());
    }

    fn received(&self, progress: PhaseProgress) {
        lock(&self.state).advance(progress, Instant::now());
    }

    fn waiting(&self, wait: Option<RequestWait>) {
        let now = Instant::now();
        lock(&self.state).set_wait(wait, now);
        if let Some(task) = &self.plain_lines {
            let is_long = |wait: &RequestWait| PLAIN_WAIT_MIN <= wait.until.saturating_duration_since(now);
            let lines = |_| AbortOnDropHandle::new(tokio::spawn(print_plain_lines(Arc::clone(&self.state))));
            *lock(task) = wait.filter(is_long).map(lines);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn present_line(state: &Mutex<RunState>, width: usize) -> String {
    line(&lock(state).view(Instant::now(), Local::now().naive_local()), width)
}

/// Prints a line at once and again while the wait lasts.
async fn print_plain_lines(state: Arc<Mutex<RunState>>) {
    loop {
        let view = lock(&state).view(Instant::now(), Local::now().naive_local());
        if view.wait.as_ref().is_none_or(|wait| wait.remaining.is_zero()) {
            return;
        }
        print_stderr(&(line(&view, usize::MAX) + "\n"));
        sleep(PLAIN_LINE_EVERY).await;
    }
}
