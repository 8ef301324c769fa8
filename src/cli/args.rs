//! What can be typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{ConsumerName, Format, FormatOptions, Newlines};
use crate::ticket::Timestamp;

/// Keeps a complete, queryable, exportable copy of a HaloITSM server's tickets in one SQLite file
#[derive(Debug, Parser)]
#[command(name = "halosync", version, propagate_version = true, arg_required_else_help = true)]
pub(super) struct CliArgs {
    /// Settings file [default: `$HALOSYNC_CONFIG`, ./agent.toml, /etc/halosync/agent.toml]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// One JSON document on stdout, errors as one JSON object on stderr
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Only errors on stderr
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// More on stderr; twice for every request
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// Colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(super) color: Color,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// See everything work against a simulated server, without any set-up
    Demo(DemoArgs),
    /// Write a commented settings file
    Init {
        /// The file to write
        #[arg(default_value = "agent.toml")]
        file: PathBuf,
    },
    /// Look at every precondition, from the settings to the ticket list
    Check {
        /// Ask no server, read no secret, take no lock
        #[arg(long)]
        offline: bool,
    },
    /// Bring the copy up to date once
    Sync(SyncArgs),
    /// Be the service: passes, packages and figures in their rhythm, until a signal comes
    Run,
    /// Tell how the copy stands
    Status {
        /// End with 4 where the last complete pass is older, such as 15m
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        max_age: Option<Duration>,
    },
    /// Move the watermark back, so that the next sync asks again for what was updated since
    Reset(ResetArgs),
    /// Hand changes on as files
    #[command(subcommand)]
    Export(ExportCommand),
    /// Serve a simulated HaloITSM on this machine
    Simulate(SimulateArgs),
    /// Write completions for a shell to stdout
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual page to stdout, or a page for each command into a folder
    Man {
        /// The folder, which must be there
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Where to put settings, database and exports
    #[arg(long, value_name = "DIR", default_value = "halosync-demo")]
    pub(super) dir: PathBuf,
    /// How many tickets the simulated server has
    #[arg(long, value_name = "N", default_value_t = 2_500, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub(super) tickets: u32,
    /// Go on serving afterwards, until a signal comes
    #[arg(long)]
    pub(super) keep_serving: bool,
}

#[derive(Debug, Args)]
pub(super) struct SyncArgs {
    /// Look at every ticket, not only at those that changed
    #[arg(long)]
    pub(super) full: bool,
    /// However many tickets are gone, they are: delete them here too (a full walk, for once)
    #[arg(long)]
    pub(super) accept_deletes: bool,
    /// Fetch and tell what would change, write nothing but the record of the pass
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct ResetArgs {
    /// Where to: a date (midnight UTC) or a time with its zone, such as 2026-11-22T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(super) to: Timestamp,
    /// Why; it is journalled beside the move
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    pub(super) reason: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum ExportCommand {
    /// Everything that changed since the consumer's last package
    Delta(DeltaArgs),
    /// Every table as it stands now, consistent at one change
    Snapshot(SnapshotArgs),
    /// Note that a consumer has taken its packages up to a change: they may age out
    Ack {
        /// Whose [default: export.consumer]
        #[arg(long, value_name = "C", value_parser = parse_consumer)]
        consumer: Option<ConsumerName>,
        /// The end of the last package that it has taken
        #[arg(long, value_name = "S", value_parser = clap::value_parser!(i64).range(0..))]
        seq: i64,
    },
    /// Forget a consumer: its packages are removed, and no change is kept for it
    Forget {
        /// Whom
        #[arg(long, value_name = "C", value_parser = parse_consumer)]
        consumer: ConsumerName,
    },
    /// Show the consumers, their packages, and what waits for them
    List {
        /// Only this one
        #[arg(long, value_name = "C", value_parser = parse_consumer)]
        consumer: Option<ConsumerName>,
    },
    /// Tell whether packages are all there, once, and unaltered; needs no settings and no database
    Verify {
        /// An export folder, the folder of a consumer, or a snapshot
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// The change that every consumer's packages must reach
        #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(0..))]
        expect_to: Option<i64>,
    },
}

#[derive(Debug, Args)]
pub(super) struct DeltaArgs {
    /// For whom [default: export.consumer]
    #[arg(long, value_name = "C", value_parser = parse_consumer)]
    pub(super) consumer: Option<ConsumerName>,
    #[command(flatten)]
    pub(super) files: FileArgs,
    /// End with 4 where nothing changed
    #[arg(long)]
    pub(super) fail_if_empty: bool,
}

#[derive(Debug, Args)]
pub(super) struct SnapshotArgs {
    /// For whom, to be named in the manifest
    #[arg(long, value_name = "C", value_parser = parse_consumer)]
    pub(super) consumer: Option<ConsumerName>,
    #[command(flatten)]
    pub(super) files: FileArgs,
    /// Make none of a copy without tickets, and end with 4
    #[arg(long)]
    pub(super) fail_if_empty: bool,
    /// Also of a copy that was never complete; its manifest says so
    #[arg(long)]
    pub(super) allow_incomplete: bool,
}

/// Where files go and how they are written.
#[derive(Debug, Args)]
pub(super) struct FileArgs {
    /// csv, jsonl or json [default: export.format]
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    pub(super) format: Option<Format>,
    /// The export folder [default: export.dir]
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Pack the files
    #[arg(long)]
    pub(super) gzip: bool,
    /// Put an apostrophe before texts that a spreadsheet would run as formulas (CSV only)
    #[arg(long)]
    pub(super) excel_safe: bool,
    /// keep line breaks in texts, or escape them, so that a row is a line (CSV only)
    #[arg(long, value_name = "keep|escape", default_value = "keep", value_parser = parse_newlines)]
    pub(super) newlines: Newlines,
}

impl FileArgs {
    /// How they are written, where nothing is said as in the settings.
    pub(super) fn format_options(&self, default_format: Format) -> FormatOptions {
        let FileArgs { gzip, excel_safe, newlines, .. } = *self;
        FormatOptions { format: self.format.unwrap_or(default_format), gzip, excel_safe, newlines }
    }
}

#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// Where to listen; this machine only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8180")]
    pub(super) listen: SocketAddr,
    /// How many tickets the world begins with
    #[arg(long, value_name = "N", default_value_t = 2_500)]
    pub(super) tickets: u32,
    /// The same seed makes the same world
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// The tenant, as on a hosted server
    #[arg(long)]
    pub(super) tenant: Option<String>,
    /// Turn a knob; `--knob help` lists them
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) knob: Vec<String>,
    /// Let something fail; `--fault help` lists what
    #[arg(long, value_name = "SPEC")]
    pub(super) fault: Vec<String>,
}

fn parse_consumer(name: &str) -> Result<ConsumerName, String> {
    ConsumerName::parse(name).ok_or_else(|| format!("must be {}", ConsumerName::RULE))
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc();
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").map(midnight);
    let at = date.or_else(|_| DateTime::parse_from_rfc3339(text).map(|at| at.with_timezone(&Utc)));
    at.ok().and_then(Timestamp::new).ok_or_else(|| {
        "must be a date such as 2026-11-22, or a time with its zone such as 2026-11-22T12:00:00Z".to_owned()
    })
}

fn parse_reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Err("must say why".to_owned()) } else { Ok(text.to_owned()) }
}

fn parse_format(text: &str) -> Result<Format, String> {
    text.parse().map_err(|_| "must be csv, jsonl or json".to_owned())
}

fn parse_newlines(text: &str) -> Result<Newlines, String> {
    text.parse().map_err(|_| "must be keep or escape".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_time_requires_zone_and_date_means_midnight_utc() {
        for (text, at) in [
            ("2026-11-22", Some("2026-11-22T00:00:00.000Z")),
            ("2026-11-22T12:00:00Z", Some("2026-11-22T12:00:00.000Z")),
            ("2026-11-22T12:00:00.1239+02:00", Some("2026-11-22T10:00:00.123Z")),
            ("2026-11-22T12:00:00", None),
            ("2026-02-30", None),
            ("22.11.2026", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(parse_time(text).ok().map(|at| at.to_string()).as_deref(), at, "{text:?}");
        }
    }

    #[test]
    fn command_line_definition_is_consistent() {
        use clap::CommandFactory as _;
        CliArgs::command().debug_assert();
    }
}
