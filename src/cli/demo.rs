//! `halosync demo`: the scenes in words.

use std::time::Duration;

use super::args::{Arguments, Demo};
use super::{Ended, Failure, block_on, export, progress, say, say_json, stop_signal, sync};
use crate::demo::{Scene, Stage, Wanted};
use crate::sync::Outcome;

pub(super) fn demo(arguments: &Arguments, demo: &Demo) -> Ended {
    let wanted = Wanted { dir: demo.dir.clone(), tickets: demo.tickets };
    block_on(async {
        let mut narrator = Narrator { as_json: arguments.json, step: 0, broken: None };
        let mut tell = |scene| narrator.tell(&scene);
        let stage = Stage::set(&wanted, &mut tell).await?;
        let played = tokio::select! {
            played = stage.play(|| progress::progress(arguments), &mut tell) => played,
            signal = stop_signal() => Err(crate::agent::AgentError::Stopped(signal)),
        };
        played?;
        if let Some(failure) = narrator.broken {
            return Err(failure);
        }
        if !arguments.json {
            say(&next_steps(&wanted, demo.keep_serving))?;
        }
        if demo.keep_serving {
            stop_signal().await;
        }
        stage.strike().await;
        Ok(0)
    })
}

struct Narrator {
    as_json: bool,
    step: u32,
    broken: Option<Failure>,
}

impl Narrator {
    fn tell(&mut self, scene: &Scene) {
        self.step += 1;
        let told = if self.as_json { say_json(&as_json(scene)) } else { say(&self.in_words(scene)) };
        if let Err(failure) = told {
            self.broken.get_or_insert(failure);
        }
    }

    fn in_words(&self, scene: &Scene) -> String {
        let title = |text: &str| format!("\x1b[1m{}. {text}\x1b[0m\n", self.step);
        match scene {
            Scene::Serving { url, tickets } => {
                title(&format!("a simulated HaloITSM with {tickets} tickets at {url}")) + "\n"
            }
            Scene::Pass { title: text, report, took } => {
                let mut words = indented(&sync::in_words(report));
                if report.outcome == Outcome::Complete {
                    words.push_str(&format!("     took       {}\n", speed(report.run.received, *took)));
                }
                title(text) + &words + "\n"
            }
            Scene::Export { title: text, handover, took } => {
                let rows = handover.packages.iter().map(|(package, _)| package.rows).sum();
                let took = format!("     took       {}\n", speed(rows, *took));
                title(text) + &indented(&export::in_words(handover)) + &took + "\n"
            }
        }
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {line}\n")).collect()
}

fn speed(rows: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    // A rate for the eye.
    #[expect(clippy::cast_precision_loss)]
    let rate = rows as f64 / seconds.max(1e-6);
    if rows < 1_000 {
        format!("{seconds:.2} s")
    } else {
        format!("{seconds:.2} s, {rate:.0} tickets a second")
    }
}

fn as_json(scene: &Scene) -> serde_json::Value {
    match scene {
        Scene::Serving { url, tickets } => {
            serde_json::json!({ "scene": "serving", "url": url, "tickets": tickets })
        }
        Scene::Pass { title, report, took } => serde_json::json!({
            "scene": "pass", "title": title, "seconds": took.as_secs_f64(), "report": sync::as_json(report),
        }),
        Scene::Export { title, handover, took } => serde_json::json!({
            "scene": "export", "title": title, "seconds": took.as_secs_f64(), "report": export::as_json(handover),
        }),
    }
}

fn next_steps(wanted: &Wanted, serving: bool) -> String {
    let dir = wanted.dir.display();
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
