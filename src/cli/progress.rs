//! What a run shows while it goes on: one live line on a terminal; elsewhere a plain line where it waits long.
//!
//! [`RunState`] collects what the run reports, [`RunState::view`] sums it up at one moment, and [`line`] puts that into
//! words; these are pure.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{Local, NaiveDateTime, TimeDelta};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::args::CliArgs;
use super::error_output::print_stderr;
use crate::app::count;

use crate::sync::{PhaseProgress, Progress, RequestWait, RunPhase, WaitReason};

/// The live line shows waits of at least this length.
const LIVE_WAIT_MIN: Duration = Duration::from_secs(1);

/// Without a terminal a wait of at least this length is worth a line.
const PLAIN_WAIT_MIN: Duration = Duration::from_secs(2);

/// How often such a line is repeated while the wait lasts.
const PLAIN_LINE_EVERY: Duration = Duration::from_secs(30);

/// The rate is that of this last span.
const RATE_SPAN: Duration = Duration::from_secs(10);

/// A rate over less than this says nothing.
const RATE_SPAN_MIN: Duration = Duration::from_secs(1);

/// How often the live line is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// The width of a terminal that does not tell.
const DEFAULT_WIDTH: u16 = 80;

/// Columns at the end that stay free: terminals show Ctrl-C there as `^C`, and wrap behind the last one.
const FREE_COLUMNS: u16 = 3;

/// Columns before the line: the spinner and a space.
const SPINNER_COLUMNS: usize = 2;

/// Cells of the bar.
const BAR_CELLS: u64 = 20;

/// The live line, while there is one; what is written to the terminal meanwhile must go around it.
static LIVE_LINE: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Writes to the terminal with the live line out of the way.
pub(super) fn around_live_line<T>(write: impl FnOnce() -> T) -> T {
    let bar = lock(&LIVE_LINE).clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Writes to stderr, around the live line.
pub(super) struct StderrWriter;

impl io::Write for StderrWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        around_live_line(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Shows the progress of one run, until it is dropped.
pub(super) struct RunProgress {
    state: Arc<Mutex<RunState>>,
    output: ProgressOutput,
}

enum ProgressOutput {
    Nothing,
    /// Plain lines while the run waits; the task prints those of the present wait.
    Plain(Mutex<Option<AbortOnDropHandle<()>>>),
    Live(ProgressBar),
}

impl RunProgress {
    /// Shows the progress on stderr as the arguments and the terminal allow.
    pub(super) fn start(arguments: &CliArgs) -> Arc<RunProgress> {
        let state = Arc::new(Mutex::new(RunState::new(Instant::now())));
        let output = if arguments.json || arguments.quiet {
            ProgressOutput::Nothing
        } else if io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb") {
            ProgressOutput::Live(start_live_line(&state))
        } else {
            ProgressOutput::Plain(Mutex::default())
        };
        Arc::new(RunProgress { state, output })
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
        if let ProgressOutput::Plain(task) = &self.output {
            let is_long = |wait: &RequestWait| PLAIN_WAIT_MIN <= wait.until.saturating_duration_since(now);
            let lines = |_| AbortOnDropHandle::new(tokio::spawn(print_plain_lines(Arc::clone(&self.state))));
            *lock(task) = wait.filter(is_long).map(lines);
        }
    }
}

impl Drop for RunProgress {
    fn drop(&mut self) {
        if let ProgressOutput::Live(bar) = &self.output {
            *lock(&LIVE_LINE) = None;
            bar.finish_and_clear();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start_live_line(state: &Arc<Mutex<RunState>>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::term_like(Box::new(StderrTerminal)));
    let state = Arc::clone(state);
    let draw = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
        let view = lock(&state).view(Instant::now(), Local::now().naive_local());
        let width = usize::from(StderrTerminal.width()).saturating_sub(SPINNER_COLUMNS);
        let _ = out.write_str(&line(&view, width));
    };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {line}") {
        bar.set_style(style.with_key("line", draw));
    }
    bar.enable_steady_tick(DRAW_EVERY);
    *lock(&LIVE_LINE) = Some(bar.clone());
    bar
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
        let size = rustix::termios::tcgetwinsize(io::stderr());
        let columns = size.ok().map(|size| size.ws_col).filter(|columns| *columns != 0);
        columns.unwrap_or(DEFAULT_WIDTH).saturating_sub(FREE_COLUMNS)
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

/// What a run has reported so far.
struct RunState {
    phase: RunPhase,
    progress: Option<PhaseProgress>,
    list_total: Option<u64>,
    /// When so many tickets of the phase were received; at most one is older than [`RATE_SPAN`].
    samples: VecDeque<(Instant, u64)>,
    /// The last known rate, in tickets per second.
    rate: Option<f64>,
    wait: Option<RequestWait>,
    wait_began: Instant,
}

impl RunState {
    fn new(now: Instant) -> RunState {
        RunState {
            phase: RunPhase::Preparing,
            progress: None,
            list_total: None,
            samples: VecDeque::new(),
            rate: None,
            wait: None,
            wait_began: now,
        }
    }

    fn begin(&mut self, phase: RunPhase, now: Instant) {
        *self = RunState {
            phase,
            list_total: self.list_total,
            wait: self.wait,
            wait_began: self.wait_began,
            ..RunState::new(now)
        };
    }

    fn advance(&mut self, progress: PhaseProgress, now: Instant) {
        self.progress = Some(progress);
        if matches!(self.phase, RunPhase::InitialLoad | RunPhase::FullScan | RunPhase::IncrementalScan) {
            self.list_total = progress.total.or(self.list_total);
        }
        self.samples.push_back((now, progress.tickets));
        while self.samples.get(1).is_some_and(|(at, _)| RATE_SPAN <= now.saturating_duration_since(*at)) {
            self.samples.pop_front();
        }
        self.rate = self.rate_at(now).or(self.rate);
    }

    fn set_wait(&mut self, wait: Option<RequestWait>, now: Instant) {
        // A long wait is no part of the rate.
        if self.wait.is_some() && LIVE_WAIT_MIN <= now.saturating_duration_since(self.wait_began) {
            self.samples.clear();
            self.samples.extend(self.progress.map(|progress| (now, progress.tickets)));
        }
        (self.wait, self.wait_began) = (wait, now);
    }

    /// The tickets per second over the last seconds.
    fn rate_at(&self, now: Instant) -> Option<f64> {
        let ((start, before), (_, after)) = (self.samples.front()?, self.samples.back()?);
        let span = now.saturating_duration_since(*start);
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let tickets = after.saturating_sub(*before) as f64;
        (RATE_SPAN_MIN <= span).then(|| tickets / span.as_secs_f64())
    }

    /// Sums up the state; `local` is the local time of `now`.
    fn view(&self, now: Instant, local: NaiveDateTime) -> ProgressView {
        let wait =
            self.wait.filter(|wait| LIVE_WAIT_MIN <= wait.until.saturating_duration_since(self.wait_began));
        let wait = wait.map(|wait| {
            let remaining = wait.until.saturating_duration_since(now);
            let until = local + TimeDelta::from_std(remaining).unwrap_or_default();
            WaitView { reason: wait.reason, until, is_today: until.date() == local.date(), remaining }
        });
        let rate = if wait.is_some() { None } else { self.rate_at(now) };
        let (tickets, total) = self.progress.map_or((0, None), |progress| (progress.tickets, progress.total));
        ProgressView { phase: self.phase, tickets, total, rate, remaining: self.remaining(now), wait }
    }

    /// The time that the rest takes: at the present rate, and at least as long as the rate limit makes it.
    fn remaining(&self, now: Instant) -> Option<Duration> {
        let PhaseProgress { tickets, total, earliest_end } = self.progress?;
        let left = total?.checked_sub(tickets).filter(|left| *left != 0)?;
        #[expect(clippy::cast_precision_loss, reason = "an estimate need not be exact")]
        let by_rate = self.rate.filter(|rate| 0.0 < *rate).map(|rate| left as f64 / rate);
        let by_rate = by_rate.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let by_limit = earliest_end.saturating_duration_since(now);
        match by_rate {
            Some(by_rate) => Some(by_rate.max(by_limit)),
            None => (RATE_SPAN_MIN <= by_limit).then_some(by_limit),
        }
    }
}

/// What there is to say about a run at one moment.
#[derive(Clone, Debug)]
struct ProgressView {
    phase: RunPhase,
    tickets: u64,
    total: Option<u64>,
    /// Tickets per second.
    rate: Option<f64>,
    remaining: Option<Duration>,
    wait: Option<WaitView>,
}

#[derive(Clone, Debug)]
struct WaitView {
    reason: WaitReason,
    /// In local time.
    until: NaiveDateTime,
    is_today: bool,
    remaining: Duration,
}

/// Formats the line, in as many of the `width` columns as it needs; what matters least is left out where they are few.
fn line(view: &ProgressView, width: usize) -> String {
    let phase = phase_text(view.phase);
    let counted = counted_text(view);
    let left = view.remaining.map_or(String::new(), |left| format!(", about {} left", duration_text(left)));
    let mut candidates = Vec::new();
    if let Some(wait) = &view.wait {
        let wait = wait_text(wait);
        if !counted.is_empty() {
            candidates.push(format!("{wait}  {phase}: {counted}{left}"));
            candidates.push(format!("{wait}  {phase}: {counted}"));
            candidates.push(format!("{wait}  {counted}"));
            candidates.push(format!("{wait}  {}", counted.trim_end_matches(" tickets")));
            candidates.extend(percent(view).map(|percent| format!("{wait}  {percent}%")));
        }
        candidates.push(wait);
    } else {
        if !counted.is_empty() {
            let rate = view.rate.map_or(String::new(), |rate| format!(", {}", rate_text(rate)));
            let bar = bar_text(view).map_or(String::new(), |bar| format!("  {bar}"));
            candidates.push(format!("{phase}{bar}  {counted}{rate}{left}"));
            candidates.push(format!("{phase}  {counted}{rate}{left}"));
            candidates.push(format!("{phase}  {counted}{left}"));
            candidates.push(format!("{phase}  {counted}"));
        }
        candidates.push(phase);
    }
    let fits = |text: &String| text.chars().count() <= width;
    let shortest = candidates.last().cloned().unwrap_or_default();
    candidates.into_iter().find(fits).unwrap_or_else(|| shortest.chars().take(width).collect())
}

fn phase_text(phase: RunPhase) -> String {
    match phase {
        RunPhase::Preparing => "Preparing".into(),
        RunPhase::InitialLoad => "Initial load".into(),
        RunPhase::FullScan => "Full scan".into(),
        RunPhase::IncrementalScan => "Incremental scan".into(),
        RunPhase::Confirming => "Confirming".into(),
        RunPhase::UnlistedTickets(tickets) => format!("Checking {}", count(tickets, "unlisted ticket")),
        RunPhase::PendingTickets(tickets) => format!("Checking {}", count(tickets, "pending ticket")),
        RunPhase::CustomFields => "Custom fields".into(),
    }
}

/// `3,200 of 8,000 tickets`; empty as long as there is nothing to count.
fn counted_text(view: &ProgressView) -> String {
    match view.total {
        Some(total) if view.tickets <= total => {
            format!("{} of {}", HumanCount(view.tickets), count(total, "ticket"))
        }
        _ if view.tickets == 0 => String::new(),
        _ => count(view.tickets, "ticket"),
    }
}

fn percent(view: &ProgressView) -> Option<u64> {
    let total = view.total.filter(|total| *total != 0)?;
    Some(view.tickets.min(total).saturating_mul(100) / total)
}

fn bar_text(view: &ProgressView) -> Option<String> {
    let done = usize::try_from(percent(view)? * BAR_CELLS / 100).unwrap_or(0);
    let rest = usize::try_from(BAR_CELLS).unwrap_or(0) - done;
    Some("█".repeat(done) + &"░".repeat(rest))
}

fn rate_text(rate: f64) -> String {
    if rate < 10.0 && rate != 0.0 {
        return format!("{rate:.1} tickets/s");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is rounded and not negative"
    )]
    let rounded = rate.round() as u64;
    format!("{} tickets/s", HumanCount(rounded))
}

/// `Waiting for HaloITSM's rate limit until 14:05:10 (4 min 32 s)`.
fn wait_text(wait: &WaitView) -> String {
    let what = match wait.reason {
        WaitReason::RateLimit => "Waiting for HaloITSM's rate limit until",
        WaitReason::Retry => "Waiting to try again at",
    };
    let at = wait.until.format(if wait.is_today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" });
    format!("{what} {at} ({})", duration_text(wait.remaining))
}

/// A duration in its two greatest units, rounded up to seconds: `4 min 32 s`, `45 s`, `2 h 5 min`.
pub(super) fn duration_text(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() != 0);
    let first = UNITS.iter().position(|(unit, _)| *unit <= seconds).unwrap_or(UNITS.len() - 1);
    let (unit, name) = UNITS[first];
    let mut text = format!("{} {name}", seconds / unit);
    if let Some((smaller, name)) = UNITS.get(first + 1)
        && let rest @ 1.. = seconds % unit / smaller
    {
        // The writer is a string.
        let _ = write!(text, " {rest} {name}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: &str = "2026-11-26T14:00:37.500";

    fn local(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    fn wait(reason: WaitReason, seconds: u64) -> WaitView {
        let until = local(NOON) + TimeDelta::seconds(seconds.cast_signed());
        let is_today = until.date() == local(NOON).date();
        WaitView { reason, until, is_today, remaining: Duration::from_secs(seconds) }
    }

    fn view(phase: RunPhase, tickets: u64, total: Option<u64>) -> ProgressView {
        ProgressView { phase, tickets, total, rate: None, remaining: None, wait: None }
    }

    #[test]
    fn durations_have_their_two_greatest_units() {
        for (millis, text) in [
            (0, "0 s"),
            (1, "1 s"),
            (45_000, "45 s"),
            (59_001, "1 min"),
            (272_000, "4 min 32 s"),
            (3_600_000, "1 h"),
            (7_500_000, "2 h 5 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration_text(Duration::from_millis(millis)), text);
        }
    }

    /// The whole line where there is room, and what is left of it in 80 columns.
    #[test]
    fn line_says_what_matters_most_in_the_columns_there_are() {
        let minutes = |minutes| Some(Duration::from_mins(minutes));
        let loading = ProgressView {
            rate: Some(1_234.4),
            remaining: minutes(12),
            ..view(RunPhase::InitialLoad, 3_200, Some(8_000))
        };
        let many = ProgressView { tickets: 123_456, total: Some(1_234_567), ..loading.clone() };
        let throttled =
            ProgressView { wait: Some(wait(WaitReason::RateLimit, 272)), rate: None, ..loading.clone() };
        let retrying =
            ProgressView { wait: Some(wait(WaitReason::Retry, 12)), rate: None, ..loading.clone() };
        let next_day = ProgressView {
            wait: Some(wait(WaitReason::RateLimit, 43_200)),
            ..view(RunPhase::Preparing, 0, None)
        };
        let slow = ProgressView { rate: Some(3.46), ..view(RunPhase::CustomFields, 1, Some(1)) };
        let stalled = ProgressView { rate: Some(0.0), ..view(RunPhase::FullScan, 1, Some(2)) };
        for (view, wide, narrow) in [
            (view(RunPhase::Preparing, 0, None), "Preparing", "Preparing"),
            (view(RunPhase::InitialLoad, 0, None), "Initial load", "Initial load"),
            (
                view(RunPhase::InitialLoad, 0, Some(8_000)),
                "Initial load  ░░░░░░░░░░░░░░░░░░░░  0 of 8,000 tickets",
                "Initial load  ░░░░░░░░░░░░░░░░░░░░  0 of 8,000 tickets",
            ),
            (
                loading,
                "Initial load  ████████░░░░░░░░░░░░  3,200 of 8,000 tickets, 1,234 tickets/s, about 12 min left",
                "Initial load  3,200 of 8,000 tickets, 1,234 tickets/s, about 12 min left",
            ),
            (
                many,
                "Initial load  █░░░░░░░░░░░░░░░░░░░  123,456 of 1,234,567 tickets, 1,234 tickets/s, about 12 min left",
                "Initial load  123,456 of 1,234,567 tickets, about 12 min left",
            ),
            (
                throttled,
                "Waiting for HaloITSM's rate limit until 14:05:09 (4 min 32 s)  Initial load: 3,200 of 8,000 tickets, \
                 about 12 min left",
                "Waiting for HaloITSM's rate limit until 14:05:09 (4 min 32 s)  40%",
            ),
            (
                retrying,
                "Waiting to try again at 14:00:49 (12 s)  Initial load: 3,200 of 8,000 tickets, about 12 min left",
                "Waiting to try again at 14:00:49 (12 s)  3,200 of 8,000 tickets",
            ),
            (
                next_day,
                "Waiting for HaloITSM's rate limit until 2026-11-27 02:00:37 (12 h)",
                "Waiting for HaloITSM's rate limit until 2026-11-27 02:00:37 (12 h)",
            ),
            (
                slow,
                "Custom fields  ████████████████████  1 of 1 ticket, 3.5 tickets/s",
                "Custom fields  ████████████████████  1 of 1 ticket, 3.5 tickets/s",
            ),
            (
                stalled,
                "Full scan  ██████████░░░░░░░░░░  1 of 2 tickets, 0 tickets/s",
                "Full scan  ██████████░░░░░░░░░░  1 of 2 tickets, 0 tickets/s",
            ),
            (
                view(RunPhase::IncrementalScan, 1, None),
                "Incremental scan  1 ticket",
                "Incremental scan  1 ticket",
            ),
            (view(RunPhase::Confirming, 0, None), "Confirming", "Confirming"),
            (
                view(RunPhase::UnlistedTickets(1), 0, None),
                "Checking 1 unlisted ticket",
                "Checking 1 unlisted ticket",
            ),
            (
                view(RunPhase::UnlistedTickets(1_200), 0, None),
                "Checking 1,200 unlisted tickets",
                "Checking 1,200 unlisted tickets",
            ),
            (
                view(RunPhase::PendingTickets(2), 0, None),
                "Checking 2 pending tickets",
                "Checking 2 pending tickets",
            ),
        ] {
            assert_eq!(line(&view, 195), wide);
            assert_eq!(line(&view, 75), narrow);
            for width in 0..120 {
                assert!(line(&view, width).chars().count() <= width, "{width}: {view:?}");
            }
        }
    }

    /// A load of 100 tickets a second that the rate limit holds back, then waits.
    #[test]
    fn remaining_time_includes_the_rate_limit_and_the_rate_leaves_waits_out() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut state = RunState::new(start);
        let view = |state: &RunState, seconds| state.view(at(seconds), local(NOON));
        state.begin(RunPhase::InitialLoad, at(0));
        assert_eq!(view(&state, 0).total, None);
        let progress = |tickets| PhaseProgress { tickets, total: Some(10_000), earliest_end: at(60) };
        for second in 0..=20 {
            state.advance(progress(2_000 + second * 100), at(second));
        }
        let free = view(&state, 20);
        assert_eq!(
            (free.tickets, free.rate, free.remaining),
            (4_000, Some(100.0), Some(Duration::from_mins(1)))
        );

        // The window is used up: 300 s from now at the earliest.
        state.advance(PhaseProgress { earliest_end: at(320), ..progress(4_000) }, at(20));
        let wait = |until| Some(RequestWait { reason: WaitReason::RateLimit, until: at(until) });
        state.set_wait(wait(220), at(20));
        let waiting = view(&state, 120);
        let shown = waiting.wait.unwrap();
        assert_eq!((shown.remaining, waiting.rate), (Duration::from_secs(100), None));
        assert_eq!(shown.until, local(NOON) + TimeDelta::seconds(100));
        assert_eq!(waiting.remaining, Some(Duration::from_secs(200)));

        state.set_wait(None, at(220));
        state.advance(PhaseProgress { earliest_end: at(320), ..progress(4_400) }, at(222));
        assert_eq!(view(&state, 222).rate, Some(200.0), "the wait is no part of the rate");
        // A wait of a moment is not shown.
        state.set_wait(Some(RequestWait { until: at(222) + LIVE_WAIT_MIN / 2, ..wait(0).unwrap() }), at(222));
        assert!(view(&state, 222).wait.is_none());
    }

    #[test]
    fn total_of_the_list_is_kept_when_other_tickets_are_counted() {
        let now = Instant::now();
        let mut state = RunState::new(now);
        let progress = |total| PhaseProgress { tickets: 0, total, earliest_end: now };
        state.begin(RunPhase::InitialLoad, now);
        state.advance(progress(Some(8_000)), now);
        state.advance(progress(None), now);
        state.begin(RunPhase::CustomFields, now);
        state.advance(progress(Some(12)), now);
        assert_eq!(state.list_total, Some(8_000));
    }
}
