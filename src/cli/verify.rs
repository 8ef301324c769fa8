//! `halosync export verify`.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::args::Arguments;
use super::{Ended, printable, say, say_json};
use crate::agent::{Verdict, verify as judged};

pub(super) fn verify(arguments: &Arguments, dir: &Path, expected: Option<i64>) -> Ended {
    let verdict = judged(dir, expected)?;
    if arguments.json {
        say_json(&as_json(&verdict))?;
    } else {
        say(&in_words(&verdict))?;
    }
    Ok(if verdict.findings.is_empty() { 0 } else { 65 })
}

fn in_words(verdict: &Verdict) -> String {
    let mut text = String::new();
    for chain in &verdict.chains {
        let consumer = chain.consumer.as_deref().map_or(String::new(), |name| format!(" for {name}"));
        let aged =
            if chain.from_seq == 0 { "" } else { "; what came before has aged out, or was taken away" };
        let what = match chain.kind {
            "snapshot" => format!("a snapshot{consumer} at change {}", chain.to_seq),
            _ => format!(
                "{} package{}{consumer}, changes after {} up to {}{aged}",
                chain.packages,
                if chain.packages == 1 { "" } else { "s" },
                chain.from_seq,
                chain.to_seq
            ),
        };
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{}: {}, {} rows",
            printable(&chain.path.display().to_string()),
            printable(&what),
            chain.rows
        );
    }
    for finding in &verdict.findings {
        let path = printable(&finding.path.display().to_string());
        let _ = writeln!(text, "{}: {path}: {}", finding.problem.word(), printable(&finding.what));
    }
    text.push_str(match verdict.findings.len() {
        0 => "everything is there, once, and unaltered\n",
        _ => "this cannot be trusted as it is\n",
    });
    text
}

fn as_json(verdict: &Verdict) -> Value {
    json!({
        "ok": verdict.findings.is_empty(),
        "chains": verdict.chains.iter().map(|chain| json!({
            "path": chain.path.display().to_string(),
            "kind": chain.kind,
            "consumer": chain.consumer,
            "lineage": chain.lineage,
            "packages": chain.packages,
            "from_seq": chain.from_seq,
            "to_seq": chain.to_seq,
            "rows": chain.rows,
        })).collect::<Vec<_>>(),
        "problems": verdict.findings.iter().map(|finding| json!({
            "problem": finding.problem.word(),
            "path": finding.path.display().to_string(),
            "what": finding.what,
        })).collect::<Vec<_>>(),
    })
}
