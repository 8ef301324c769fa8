//! `halosync demo`: the scenes in words.

use std::time::Duration;

use super::args::{CliArgs, DemoArgs};
use super::{CommandError, CommandResult, block_on, export, print, print_json, progress, stop_signal, sync};
use crate::app::ExitStatus;
use crate::demo::{Demo, DemoOptions, DemoStep};
use crate::sync::RunOutcome;

pub(super) fn demo(arguments: &CliArgs, args: &DemoArgs) -> CommandResult {
    let options = DemoOptions { dir: args.dir.clone(), tickets: args.tickets };
    block_on(async {
        let mut printer = StepPrinter { as_json: arguments.json, number: 0, output_error: None };
        let mut on_step = |step| printer.print_step(&step);
        let prepared = Demo::prepare(&options, &mut on_step).await?;
        let outcome = tokio::select! {
            outcome = prepared.run(|| progress::progress(arguments), &mut on_step) => outcome,
            signal = stop_signal() => Err(crate::app::AppError::Stopped(signal)),
        };
        outcome?;
        if let Some(failure) = printer.output_error {
            return Err(failure);
        }
        if !arguments.json {
            print(&next_steps(&options, args.keep_serving))?;
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
    number: u32,
    output_error: Option<CommandError>,
}

impl StepPrinter {
    fn print_step(&mut self, step: &DemoStep) {
        self.number += 1;
        let result = if self.as_json { print_json(&to_json(step)) } else { print(&self.to_text(step)) };
        if let Err(failure) = result {
            self.output_error.get_or_insert(failure);
        }
    }

    fn to_text(&self, step: &DemoStep) -> String {
        let title = |text: &str| format!("\x1b[1m{}. {text}\x1b[0m\n", self.number);
        match step {
            DemoStep::Serving { url, tickets } => {
                title(&format!("a simulated HaloITSM with {tickets} tickets at {url}")) + "\n"
            }
            DemoStep::Sync { title: text, report, elapsed } => {
                let mut body = indented(&sync::to_text(report));
                if report.outcome == RunOutcome::Complete {
                    body.push_str(&format!(
                        "     took       {}\n",
                        format_throughput(report.run_stats.received, *elapsed)
                    ));
                }
                title(text) + &body + "\n"
            }
            DemoStep::Export { title: text, summary, elapsed } => {
                let rows = summary.packages.iter().map(|(package, _)| package.rows).sum();
                let elapsed_line = format!("     took       {}\n", format_throughput(rows, *elapsed));
                title(text) + &indented(&export::to_text(summary)) + &elapsed_line + "\n"
            }
        }
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {line}\n")).collect()
}

fn format_throughput(rows: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    // A rate for the eye.
    #[expect(clippy::cast_precision_loss)]
    let rate = rows as f64 / seconds.max(1e-6);
    if rows < 1_000 {
        format!("{seconds:.2} s")
    } else {
        format!("{seconds:.2} s, {rate:.0} tickets a second")
    }
}

fn to_json(step: &DemoStep) -> serde_json::Value {
    match step {
        DemoStep::Serving { url, tickets } => {
            serde_json::json!({ "step": "serving", "url": url, "tickets": tickets })
        }
        DemoStep::Sync { title, report, elapsed } => serde_json::json!({
            "step": "pass", "title": title, "seconds": elapsed.as_secs_f64(), "report": sync::to_json(report),
        }),
        DemoStep::Export { title, summary, elapsed } => serde_json::json!({
            "step": "export", "title": title, "seconds": elapsed.as_secs_f64(), "report": export::to_json(summary),
        }),
    }
}

fn next_steps(options: &DemoOptions, serving: bool) -> String {
    let dir = options.dir.display();
    let serving = if serving {
        format!(
            "The server goes on until Ctrl-C. In another terminal, change it and sync again:\n  \
             halosync -c {dir}/agent.toml sync\n\n"
        )
    } else {
        String::new()
    };
    format!(
        "\x1b[1mEverything is in {dir}.\x1b[0m Try\n  \
         sqlite3 {dir}/halosync.db 'SELECT STATUS, COUNT(*) FROM open_tickets GROUP BY STATUS ORDER BY 2 DESC'\n  \
         sqlite3 -header {dir}/halosync.db 'SELECT UID, NAME, REASON, SEEN_AT FROM deleted_tickets'\n  \
         sqlite3 {dir}/halosync.db 'SELECT attribute, old_value, new_value FROM ticket_history LIMIT 10'\n  \
         sqlite3 {dir}/halosync.db 'SELECT UID, LABEL, KIND, TEXT FROM ticket_custom_fields LIMIT 9'\n  \
         head -2 {dir}/export/deltas/warehouse/*.csv\n  \
         halosync export verify {dir}/export\n  \
         halosync -c {dir}/agent.toml status\n\n{serving}\
         For a real server: halosync init\n"
    )
}
