//! `halosync lake`.

use indicatif::HumanCount;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::args::{CliArgs, LakeCommand};
use super::export::run_with_progress;
use super::progress::WorkProgress;
use super::status::lake_facts;
use super::table::{pairs, terminal_width};
use super::{CommandResult, print_report, printable, run_blocking, verify};
use crate::app::{
    self, AppError, EpochStart, ExitStatus, LakePush, LakePushError, LoadedConfig, WorkCounter, count,
};
use crate::config::{LakeServer, LakeUrl, size_to_text};

pub(super) fn lake(
    arguments: &CliArgs,
    load: impl Fn() -> Result<LoadedConfig, AppError>,
    command: &LakeCommand,
) -> CommandResult {
    match command {
        LakeCommand::Push => push(arguments, load()?),
        LakeCommand::Status => status(arguments, &load()?),
        LakeCommand::Claim { server } => claim(arguments, load()?, server),
        LakeCommand::Verify { url, server } => verify_lake(arguments, load, url, server.as_ref()),
    }
}

fn push(arguments: &CliArgs, loaded: LoadedConfig) -> CommandResult {
    let work = move |rows: &WorkCounter| app::push_to_lake(&loaded, CancellationToken::new(), rows);
    let push = run_with_progress(arguments, work)?;
    print_report(arguments, &push, &push_to_text(&push))?;
    Ok(if push.epoch.is_some() { ExitStatus::Ok } else { ExitStatus::Incomplete })
}

pub(super) fn push_to_text(push: &LakePush) -> String {
    let LakePush { url, server, epoch, began, shipped, to_seq, covered_until } = push;
    let Some(epoch) = epoch else {
        return "nothing shipped: the initial load is not complete yet\n".into();
    };
    let mut text = began.as_ref().map_or(String::new(), epoch_to_text);
    for package in shipped {
        let (rows, bytes) = (count(package.rows, "row"), size_to_text(package.bytes));
        let (from, to) =
            (HumanCount(package.from_seq.unsigned_abs()), HumanCount(package.to_seq.unsigned_abs()));
        text += &if package.from_seq == package.to_seq {
            format!("shipped reference tables after change {to}\n")
        } else {
            format!("shipped changes after {from} up to {to}: {rows}, {bytes}\n")
        };
    }
    let covered = covered_until.as_ref().map_or(String::new(), |at| format!(", complete as of {at}"));
    let to_seq = HumanCount(to_seq.unsigned_abs());
    let state = if shipped.is_empty() { "nothing to ship: " } else { "" };
    text + &format!("{state}{url} has {server} up to change {to_seq} in epoch {epoch}{covered}\n")
}

fn epoch_to_text(epoch: &EpochStart) -> String {
    format!("epoch {} begins with everything ({})\n", epoch.epoch, printable(&epoch.reason))
}

fn status(arguments: &CliArgs, loaded: &LoadedConfig) -> CommandResult {
    let status = app::lake_status(loaded)?.ok_or(AppError::from(LakePushError::NotConfigured))?;
    let facts = lake_facts(&status);
    let names = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    print_report(arguments, &status, &pairs(&facts, names, terminal_width()))?;
    Ok(ExitStatus::Ok)
}

#[derive(Serialize)]
struct ClaimJson<'a> {
    server: &'a str,
    #[serde(flatten)]
    epoch: &'a EpochStart,
}

fn claim(arguments: &CliArgs, loaded: LoadedConfig, server: &LakeServer) -> CommandResult {
    let name = server.as_str().to_owned();
    let epoch = run_blocking(move || app::claim_lake(&loaded, &name, CancellationToken::new()))?;
    let text = format!(
        "epoch {} of {} is this copy's from now on; `halosync lake push` ships everything\n",
        epoch.epoch,
        server.as_str()
    );
    print_report(arguments, &ClaimJson { server: server.as_str(), epoch: &epoch }, &text)?;
    Ok(ExitStatus::Ok)
}

fn verify_lake(
    arguments: &CliArgs,
    load: impl Fn() -> Result<LoadedConfig, AppError>,
    url: &LakeUrl,
    server: Option<&LakeServer>,
) -> CommandResult {
    // A reader of the lake has no settings.
    let loaded = match load() {
        Err(AppError::NoSettings(_)) => None,
        loaded => Some(loaded?),
    };
    let bytes = WorkCounter::default();
    let counted = bytes.clone();
    let progress =
        WorkProgress::start(arguments, move || format!("Verifying  {}", size_to_text(counted.get())));
    let (url, server) = (url.clone(), server.cloned());
    let work =
        move || app::verify_lake(loaded.as_ref(), &url, server.as_ref(), CancellationToken::new(), &bytes);
    let report = run_blocking(work);
    drop(progress);
    verify::print(arguments, &report?)
}
