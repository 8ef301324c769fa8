//! The progress bar of a scan, on a terminal only.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::CliArgs;
use crate::sync::Progress;

struct TerminalProgress(ProgressBar);

impl Progress for TerminalProgress {
    fn received(&self, rows: u64, total: Option<u64>) {
        if let Some(total) = total {
            self.0.set_length(total.max(rows));
        }
        self.0.set_position(rows);
    }
}

impl Drop for TerminalProgress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Returns a progress bar where stderr is a terminal, else something that prints nothing.
pub(super) fn progress(arguments: &CliArgs) -> Arc<dyn Progress> {
    if arguments.json || arguments.quiet || !std::io::stderr().is_terminal() {
        return Arc::new(());
    }
    let bar = ProgressBar::no_length();
    let style =
        "{spinner:.green} {bar:32.green/dim} {human_pos} of {human_len} tickets, {per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    Arc::new(TerminalProgress(bar))
}
