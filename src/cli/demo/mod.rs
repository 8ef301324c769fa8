//! `halosync demo`: prints each step.

#[cfg(feature = "lake")]
mod lake;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::HumanCount;
use serde::Serialize;

use super::args::{CliArgs, DemoArgs};
#[cfg(feature = "lake")]
use super::lake::push_to_text;
use super::progress::RunProgress;
use super::report::write_report;
use super::sync::RunReportJson;
use super::table::terminal_width;
#[cfg(feature = "lake")]
use super::verify::{VerifyJson, to_text as verification_to_text};
use super::{
    CommandError, CommandResult, block_on, export, print, print_json_line, program, shell_path, stop_signal,
    sync,
};
use crate::app::{AppError, ExitStatus, ReportOptions, count};
use crate::demo::{Demo, DemoStep};
use crate::sync::{Progress, RunOutcome};

pub(super) fn demo(arguments: &CliArgs, args: &DemoArgs) -> CommandResult {
    #[cfg(feature = "lake")]
    if args.lake {
        return lake::demo(arguments, args);
    }
    block_on(async {
        let mut printer = StepPrinter::new(arguments);
        let mut on_step = |step| printer.print_step(&step);
        let prepared = Demo::prepare(&args.dir, args.tickets, &mut on_step).await?;
        let outcome = tokio::select! {
            outcome = prepared.run(|| -> Arc<dyn Progress> { RunProgress::start(arguments) }, &mut on_step) => outcome,
            signal = stop_signal() => Err(AppError::Stopped(signal)),
        };
        outcome?;
        printer.write_report(&prepared, &args.dir)?;
        if let Some(failure) = printer.output_error {
            return Err(failure);
        }
        if !arguments.json {
            print(&next_steps(args))?;
        }
        if args.keep_serving {
            stop_signal().await;
        }
        prepared.teardown().await;
        Ok(ExitStatus::Ok)
    })
}

struct StepPrinter {
    as_json: bool,
    /// The width of the terminal without the indentation.
    width: Option<u16>,
    number: u32,
    output_error: Option<CommandError>,
}

impl StepPrinter {
    fn new(arguments: &CliArgs) -> StepPrinter {
        let width = terminal_width().map(|width| width.saturating_sub(INDENTATION));
        StepPrinter { as_json: arguments.json, width, number: 0, output_error: None }
    }

    fn print_step(&mut self, step: &DemoStep) {
        self.number += 1;
        let result = if self.as_json { print_step_json(step) } else { print(&self.to_text(step)) };
        if let Err(failure) = result {
            self.output_error.get_or_insert(failure);
        }
    }

    /// The last step: the page that people look at.
    fn write_report(&mut self, demo: &Demo, dir: &Path) -> Result<(), CommandError> {
        let started = Instant::now();
        let options = ReportOptions { days: 90, without_people: false };
        let report = write_report(demo.loaded(), options, &dir.join("report.html"))?;
        self.number += 1;
        let (title, elapsed) = ("a report about the service desk, for a browser", started.elapsed());
        if self.as_json {
            return print_with_title("report", title, elapsed, report);
        }
        print(&(self.title(title) + &indented(&report.to_text()) + &took(0, elapsed) + "\n"))
    }

    fn title(&self, text: &str) -> String {
        format!("\x1b[1m{}. {text}\x1b[0m\n", self.number)
    }

    fn to_text(&self, step: &DemoStep) -> String {
        let title = |text: &str| self.title(text);
        match step {
            DemoStep::Serving { url, tickets } => {
                title(&format!("a simulated HaloITSM with {} at {url}", count(u64::from(*tickets), "ticket")))
                    + "\n"
            }
            DemoStep::Sync { title: text, report, elapsed } => {
                let mut body = indented(&sync::to_text(report, self.width));
                if report.outcome == RunOutcome::Complete {
                    body += &took(report.run_stats.received, *elapsed);
                }
                title(text) + &body + "\n"
            }
            DemoStep::Export { title: text, summary, elapsed } => {
                let rows = summary.packages.iter().map(|package| package.record.rows).sum();
                title(text) + &indented(&export::to_text(summary)) + &took(rows, *elapsed) + "\n"
            }
            #[cfg(feature = "lake")]
            DemoStep::Push { title: text, push, elapsed } => {
                let rows = push.shipped.iter().map(|package| package.rows).sum();
                title(text) + &indented(&push_to_text(push)) + &took(rows, *elapsed) + "\n"
            }
            #[cfg(feature = "lake")]
            DemoStep::Verified { report, elapsed: _ } => {
                title("the whole lake is verified, as a reader would")
                    + &indented(&verification_to_text(report))
                    + "\n"
            }
        }
    }
}

/// Columns before the lines of a step.
const INDENTATION: u16 = 3;

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {line}\n")).collect()
}

/// The last line of a step; of many rows also how fast they were.
fn took(rows: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if rows < 1_000 {
        return format!("     took            {seconds:.2} s\n");
    }
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rate = (rows as f64 / seconds.max(1e-6)) as u64;
    format!("     took            {seconds:.2} s, {} tickets/s\n", HumanCount(rate))
}

#[derive(Serialize)]
struct ServingJson<'a> {
    step: &'static str,
    url: &'a str,
    tickets: u32,
}

#[derive(Serialize)]
struct DemoStepJson<'a, R> {
    step: &'static str,
    title: &'a str,
    seconds: f64,
    report: R,
}

fn print_with_title(
    step: &'static str,
    title: &str,
    elapsed: Duration,
    report: impl Serialize,
) -> Result<(), CommandError> {
    print_json_line(&DemoStepJson { step, title, seconds: elapsed.as_secs_f64(), report })
}

fn print_step_json(step: &DemoStep) -> Result<(), CommandError> {
    match step {
        DemoStep::Serving { url, tickets } => {
            print_json_line(&ServingJson { step: "serving", url, tickets: *tickets })
        }
        DemoStep::Sync { title, report, elapsed } => {
            print_with_title("sync", title, *elapsed, RunReportJson::new(report))
        }
        DemoStep::Export { title, summary, elapsed } => print_with_title("export", title, *elapsed, summary),
        #[cfg(feature = "lake")]
        DemoStep::Push { title, push, elapsed } => print_with_title("push", title, *elapsed, push),
        #[cfg(feature = "lake")]
        DemoStep::Verified { report, elapsed } => {
            print_with_title("verify", "verify", *elapsed, VerifyJson::of(report))
        }
    }
}

fn next_steps(args: &DemoArgs) -> String {
    let (dir, program) = (shell_path(&args.dir), program());
    let serving = if args.keep_serving {
        format!(
            "The simulated server runs until Ctrl-C. Sync again in another terminal:\n  \
             {program} -c {dir}/agent.toml sync\n\n"
        )
    } else {
        String::new()
    };
    format!(
        "\x1b[1mAll files are in {dir}.\x1b[0m What to try next:\n  \
         sqlite3 {dir}/halosync.db 'SELECT STATUS, COUNT(*) FROM open_tickets GROUP BY STATUS ORDER BY 2 DESC'\n  \
         sqlite3 -header {dir}/halosync.db 'SELECT UID, NAME, REASON, SEEN_AT FROM deleted_tickets'\n  \
         sqlite3 {dir}/halosync.db 'SELECT attribute, old_value, new_value FROM ticket_history LIMIT 10'\n  \
         sqlite3 {dir}/halosync.db 'SELECT UID, LABEL, KIND, TEXT FROM ticket_custom_fields LIMIT 9'\n  \
         head -2 {dir}/export/deltas/warehouse/*.csv\n  \
         {program} export verify {dir}/export\n  \
         {program} -c {dir}/agent.toml status\n\n{serving}\
         For a real server:\n  {program} init --server https://YOUR-SERVER\n"
    )
}
