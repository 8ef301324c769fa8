//! Progress of work that only counts something, such as an export: shown where it takes longer than a second.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::live_line::LiveLine;
use super::{PLAIN_LINE_EVERY, ProgressTarget};
use crate::cli::args::CliArgs;
use crate::cli::error_output::print_stderr;

/// Work that ends before is not shown.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

/// Shows how far the work is, until it is dropped.
pub(in crate::cli) struct WorkProgress(Option<(Sender<()>, JoinHandle<()>)>);

impl WorkProgress {
    /// Shows what `text` returns, as the arguments and the terminal allow.
    pub(in crate::cli) fn start(
        arguments: &CliArgs,
        text: impl Fn() -> String + Clone + Send + Sync + 'static,
    ) -> WorkProgress {
        let target = ProgressTarget::of(arguments);
        if target == ProgressTarget::Nowhere {
            return WorkProgress(None);
        }
        let (end, ended) = channel::<()>();
        let show = move || {
            if target == ProgressTarget::PlainLines {
                while ended.recv_timeout(PLAIN_LINE_EVERY) == Err(RecvTimeoutError::Timeout) {
                    print_stderr(&(text() + "\n"));
                }
            } else if ended.recv_timeout(SHOWN_AFTER) == Err(RecvTimeoutError::Timeout) {
                let _line = LiveLine::start(move |width| text().chars().take(width).collect());
                let _ = ended.recv();
            }
        };
        let thread = thread::Builder::new().name("progress".into()).spawn(show);
        WorkProgress(thread.ok().map(|thread| (end, thread)))
    }
}

impl Drop for WorkProgress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.0.take() {
            drop(end);
            // What follows is printed when the line is gone.
            let _ = thread.join();
        }
    }
}
