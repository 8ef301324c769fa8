//! The live line at the bottom of the terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};

use crate::cli::table::width_of;

/// How often the line is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Columns at the end that stay free: terminals show Ctrl-C there as `^C`, and wrap behind the last one.
const FREE_COLUMNS: u16 = 3;

/// Columns before the line: the spinner and a space.
const SPINNER_COLUMNS: usize = 2;

/// The live line, while there is one; what is written to the terminal meanwhile must go around it.
static PRESENT: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn present() -> MutexGuard<'static, Option<ProgressBar>> {
    PRESENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line that is drawn again and again until it is dropped.
pub(super) struct LiveLine(ProgressBar);

impl LiveLine {
    /// Draws what `text` returns for a width in columns.
    pub(super) fn start(text: impl Fn(usize) -> String + Clone + Send + Sync + 'static) -> LiveLine {
        let bar =
            ProgressBar::with_draw_target(None, ProgressDrawTarget::term_like(Box::new(StderrTerminal)));
        let draw = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            let width = usize::from(StderrTerminal.width()).saturating_sub(SPINNER_COLUMNS);
            let _ = out.write_str(&text(width));
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {line}") {
            bar.set_style(style.with_key("line", draw));
        }
        bar.enable_steady_tick(DRAW_EVERY);
        *present() = Some(bar.clone());
        LiveLine(bar)
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        *present() = None;
    }
}

/// Whether stderr is a terminal that can draw a line again.
pub(super) fn is_available() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Writes to the terminal with the live line out of the way.
fn around_live_line<T>(write: impl FnOnce() -> T) -> T {
    let bar = present().clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Writes to stderr, around the live line.
pub(in crate::cli) struct StderrWriter;

impl io::Write for StderrWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        around_live_line(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The terminal of stderr, a few columns narrower than it is.
#[derive(Debug)]
struct StderrTerminal;

impl StderrTerminal {
    /// Writes an escape sequence that moves the cursor.
    fn move_cursor(count: usize, direction: char) -> io::Result<()> {
        if count == 0 { Ok(()) } else { write!(io::stderr(), "\x1b[{count}{direction}") }
    }
}

impl TermLike for StderrTerminal {
    fn width(&self) -> u16 {
        width_of(io::stderr()).saturating_sub(FREE_COLUMNS)
    }

    fn move_cursor_up(&self, count: usize) -> io::Result<()> {
        Self::move_cursor(count, 'A')
    }

    fn move_cursor_down(&self, count: usize) -> io::Result<()> {
        Self::move_cursor(count, 'B')
    }

    fn move_cursor_right(&self, count: usize) -> io::Result<()> {
        Self::move_cursor(count, 'C')
    }

    fn move_cursor_left(&self, count: usize) -> io::Result<()> {
        Self::move_cursor(count, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        writeln!(io::stderr(), "{text}")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        write!(io::stderr(), "{text}")
    }

    fn clear_line(&self) -> io::Result<()> {
        write!(io::stderr(), "\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        io::stderr().flush()
    }
}
