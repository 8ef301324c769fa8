//! The command line: commands, options and how their values are parsed.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use super::examples::with_examples;
use crate::config::{ColumnSelection, ConsumerName, Format, FormatOptions, Newlines, ServerUrl};
#[cfg(feature = "lake")]
use crate::config::{LakeServer, LakeUrl};
use crate::ticket::{TICKET_ID_MAX, Timestamp};

/// Heading of the options that every command has.
const GLOBAL: &str = "Global options";

/// Sync the tickets of a HaloITSM server into one SQLite file, and export every change
#[derive(Debug, Parser)]
#[command(name = "halosync", version, propagate_version = true, arg_required_else_help = true)]
pub(super) struct CliArgs {
    /// Settings file [default: `$HALOSYNC_CONFIG`, ./agent.toml, /etc/halosync/agent.toml]
    #[arg(short, long, global = true, help_heading = GLOBAL, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print one JSON document to stdout, and errors as one JSON object to stderr
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(super) json: bool,
    /// Print nothing on success; `status`, `export list` and other commands that only show something still do
    #[arg(short, long, global = true, help_heading = GLOBAL, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// Log each decision to stderr; give it twice to log each request
    #[arg(short, long, global = true, help_heading = GLOBAL, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// Color the output
    #[arg(long, global = true, help_heading = GLOBAL, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(super) color: Color,
    #[command(subcommand)]
    pub(super) command: Command,
}

impl CliArgs {
    /// The definition of the command line, with an example for each command.
    pub(super) fn definition() -> clap::Command {
        with_examples(CliArgs::command(), "")
    }

    /// Parses a command line; help and version are errors too.
    pub(super) fn parse_arguments(arguments: Vec<OsString>) -> Result<CliArgs, clap::Error> {
        let mut definition = CliArgs::definition();
        let matches = definition.try_get_matches_from_mut(arguments)?;
        CliArgs::from_arg_matches(&matches).map_err(|error| error.format(&mut definition))
    }
}

/// When to color the output.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show everything against a simulated server, without any setup
    Demo(DemoArgs),
    /// Write a commented settings file
    Init {
        /// File to write; an existing one is never overwritten
        #[arg(default_value = "agent.toml")]
        file: PathBuf,
        /// Address of the server: it is written into the file, with the authorization server and the tenant that it names
        #[arg(long, value_name = "URL", value_parser = ServerUrl::parse)]
        server: Option<ServerUrl>,
    },
    /// Check settings, server and database
    Check {
        /// Skip the server: send no request, read no secret, take no lock
        #[arg(long)]
        offline: bool,
        /// Compare every stored ticket with its hash, about 10 s for a million tickets
        #[arg(long)]
        deep: bool,
        /// Exit with 78 if there are warnings, and no failure that has a status of its own
        #[arg(long)]
        deny_warnings: bool,
    },
    /// Sync once: fetch what changed since the last run, or everything the first time
    Sync(SyncArgs),
    /// Run the service: sync at every `[sync] interval`, export and serve metrics, until a signal arrives
    Run,
    /// Show whether the copy is complete and fresh, and what to do if not
    Status {
        /// Exit with 4 if the last complete run is older than this, such as 15m
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        max_age: Option<Duration>,
    },
    /// Write one page about the service desk and the copy itself, for a browser, a mail or the printer
    Report(ReportArgs),
    /// Show the life of a ticket: what changed, when, and how exactly that is known; or its row at a time
    History(HistoryArgs),
    /// Move the watermark back, so that the next sync fetches again what was updated since
    Reset(ResetArgs),
    /// Erase a ticket here, keep it away, and list the files that still hold it; the service must be stopped
    Purge(PurgeArgs),
    /// Export changes as files
    #[command(subcommand)]
    Export(ExportCommand),
    /// Ship every change to an object store, for analytical engines
    #[cfg(feature = "lake")]
    #[command(subcommand)]
    Lake(LakeCommand),
    /// Run a simulated HaloITSM server on this machine
    Simulate(SimulateArgs),
    /// Write shell completions to stdout
    Completions {
        /// Shell to write them for
        shell: clap_complete::Shell,
    },
    /// Write the manual page to stdout, or one page for each command into a folder
    Man {
        /// Existing folder to write the pages into
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

impl Command {
    /// Whether the command works without a settings file.
    pub(super) fn needs_no_settings(&self) -> bool {
        matches!(
            self,
            Command::Demo(_)
                | Command::Init { .. }
                | Command::Simulate(_)
                | Command::Completions { .. }
                | Command::Man { .. }
                | Command::Export(ExportCommand::Verify { .. })
        )
    }

    /// Whether the command is for what it does; others are for what they print.
    pub(super) fn is_action(&self) -> bool {
        match self {
            Command::Sync(_) | Command::Reset(_) | Command::Purge(_) | Command::Init { .. } => true,
            Command::Export(ExportCommand::List { .. } | ExportCommand::Verify { .. }) => false,
            Command::Export(_) => true,
            #[cfg(feature = "lake")]
            Command::Lake(LakeCommand::Push | LakeCommand::Claim { .. }) => true,
            _ => false,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Folder for settings, database and exports; one that an earlier demo left is replaced
    #[arg(long, value_name = "DIR", default_value = "halosync-demo")]
    pub(super) dir: PathBuf,
    /// Number of tickets on the simulated server
    #[arg(long, value_name = "N", default_value_t = 2_500, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub(super) tickets: u32,
    /// Keep the simulated server running afterwards, until a signal arrives
    #[arg(long)]
    pub(super) keep_serving: bool,
    /// Copy three simulated servers into one lake in the folder, and print how to read it
    #[cfg(feature = "lake")]
    #[arg(long, conflicts_with = "keep_serving")]
    pub(super) lake: bool,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// File to write; an earlier report there is replaced
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    pub(super) out: PathBuf,
    /// Days to look back; they are compared with as many before
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u32).range(7..=3_660))]
    pub(super) days: u32,
    /// Leave out the names of agents, and the summaries of tickets, which may name people
    #[arg(long)]
    pub(super) no_people: bool,
}

#[derive(Debug, Args)]
pub(super) struct SyncArgs {
    /// Read every ticket (full scan), not only what changed
    #[arg(long)]
    pub(super) full: bool,
    /// Delete tickets here that the server no longer has, however many, in this run only (full scan)
    #[arg(long)]
    pub(super) accept_deletes: bool,
    /// Fetch and show what would change, but store nothing except the record of the run
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Number of the ticket
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    pub(super) id: i64,
    /// Show the row as it was stored here at this time: a date (midnight), or a date and time; UTC without a zone
    #[arg(long, value_name = "TIME", value_parser = parse_past_time)]
    pub(super) at: Option<Timestamp>,
}

#[derive(Debug, Args)]
pub(super) struct ResetArgs {
    /// New watermark: a date (midnight UTC) or a time with its zone, such as 2026-11-22T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(super) to: Timestamp,
    /// Reason, which is kept in the watermark journal
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    pub(super) reason: String,
}

#[derive(Debug, Args)]
pub(super) struct PurgeArgs {
    /// Number of the ticket
    #[arg(value_parser = clap::value_parser!(i64).range(1..=TICKET_ID_MAX))]
    pub(super) id: i64,
    /// Reason, which is kept with the number and the time; name no person in it
    #[arg(long, value_name = "TEXT", value_parser = parse_reason, required_unless_present = "undo")]
    pub(super) reason: Option<String>,
    /// Let an erased ticket be stored again by the next full scan
    #[arg(long, conflicts_with = "reason")]
    pub(super) undo: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum ExportCommand {
    /// Export everything that changed since the consumer's last package
    Delta(DeltaArgs),
    /// Export the tickets as they are now, and the tables that belong to them
    Snapshot(SnapshotArgs),
    /// Acknowledge a consumer's packages up to a change, so that they may age out
    Ack {
        /// Consumer that loaded them [default: export.consumer]
        #[arg(long, value_name = "C", value_parser = parse_consumer)]
        consumer: Option<ConsumerName>,
        /// Last change of the last package that was loaded (its `to_seq`)
        #[arg(long, value_name = "S", value_parser = clap::value_parser!(i64).range(0..))]
        seq: i64,
        /// An older copy of the database was restored: if it has no package up to this change, every consumer starts again
        #[arg(long)]
        restored: bool,
    },
    /// Forget a consumer: remove its packages and keep no changes for it
    Forget {
        /// Consumer to forget
        #[arg(long, value_name = "C", value_parser = parse_consumer)]
        consumer: ConsumerName,
    },
    /// List consumers, their packages, and how many changes are not exported yet
    List {
        /// List only this consumer
        #[arg(long, value_name = "C", value_parser = parse_consumer)]
        consumer: Option<ConsumerName>,
    },
    /// Verify that no package is missing, repeated or altered; needs no settings and no database
    Verify {
        /// Export folder, folder of one consumer, or snapshot
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Change that the packages of every consumer must reach
        #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(0..))]
        expect_to: Option<i64>,
        /// Require that the packages of every consumer begin at 0, so that none of the first ones is missing
        #[arg(long)]
        from_start: bool,
    },
}

#[cfg(feature = "lake")]
#[derive(Debug, Subcommand)]
pub(super) enum LakeCommand {
    /// Make a package of what changed and ship it, with all that wait
    Push,
    /// Show how far the lake is, from the database alone
    Status,
    /// Verify that every package is in the lake and as it was made; needs no settings and no database
    Verify {
        /// Address of the lake, such as `s3://BUCKET/PREFIX`
        #[arg(value_name = "URL", value_parser = LakeUrl::parse)]
        url: LakeUrl,
        /// Verify only the packages of this name
        #[arg(long, value_name = "NAME", value_parser = parse_lake_server)]
        server: Option<LakeServer>,
    },
    /// Take over a name in the lake, after a move or where two copies shipped under it
    Claim {
        /// The name, which must be that of the settings
        #[arg(long, value_name = "NAME", value_parser = parse_lake_server)]
        server: LakeServer,
    },
}

#[derive(Debug, Args)]
pub(super) struct DeltaArgs {
    /// Consumer of the package [default: export.consumer]
    #[arg(long, value_name = "C", value_parser = parse_consumer)]
    pub(super) consumer: Option<ConsumerName>,
    #[command(flatten)]
    pub(super) files: FileArgs,
    /// Exit with 4 if nothing changed
    #[arg(long)]
    pub(super) fail_if_empty: bool,
}

#[derive(Debug, Args)]
pub(super) struct SnapshotArgs {
    /// Consumer to name in the manifest
    #[arg(long, value_name = "C", value_parser = parse_consumer)]
    pub(super) consumer: Option<ConsumerName>,
    #[command(flatten)]
    pub(super) files: FileArgs,
    /// Write nothing and exit with 4 if there are no tickets
    #[arg(long)]
    pub(super) fail_if_empty: bool,
    /// Export even before the initial load is complete; the manifest says so
    #[arg(long)]
    pub(super) allow_incomplete: bool,
}

/// Where exported files go, and their format.
#[derive(Debug, Args)]
pub(super) struct FileArgs {
    /// Format: csv, jsonl, json or parquet [default: export.format]
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    pub(super) format: Option<Format>,
    /// Export folder [default: export.dir]
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Compress the files with gzip; those in Parquet are compressed already
    #[arg(long)]
    pub(super) gzip: bool,
    /// Export only these attributes of tickets and `_custom_fields`, in this order, after `_seq`, `_op`,
    /// `_observed_at`, `_reason` and `UID`, which are always there
    #[arg(long, value_name = "A,B", value_parser = ColumnSelection::parse)]
    pub(super) columns: Option<ColumnSelection>,
    /// Write for spreadsheets: UTF-8 with a byte order mark, line breaks escaped, and an apostrophe before every
    /// text that could be run as a formula (CSV only)
    #[arg(long)]
    pub(super) excel: bool,
    /// Keep line breaks in texts, or escape them so that every row is one line (CSV only) [default: keep; escape with
    /// --excel]
    #[arg(long, value_name = "keep|escape", value_parser = parse_newlines)]
    pub(super) newlines: Option<Newlines>,
}

impl FileArgs {
    /// Returns the options of the files; `default_format` applies where none is given.
    ///
    /// # Errors
    /// An option for CSV with another format, which may be that of the settings.
    pub(super) fn format_options(&self, default_format: Format) -> Result<FormatOptions, clap::Error> {
        let FileArgs { gzip, excel, newlines, columns, .. } = *self;
        let format = self.format.unwrap_or(default_format);
        let for_csv = [(excel, "--excel"), (newlines == Some(Newlines::Escape), "--newlines escape")];
        if let Some((_, option)) = for_csv.into_iter().find(|(given, _)| *given && format != Format::Csv) {
            let message = format!("{option} is for CSV only, but the format is {}", format.as_str());
            return Err(CliArgs::definition().error(ErrorKind::ArgumentConflict, message));
        }
        let default_newlines = if excel { Newlines::Escape } else { Newlines::Keep };
        let newlines = newlines.unwrap_or(default_newlines);
        Ok(FormatOptions { format, gzip, excel, newlines, columns })
    }
}

#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// Loopback address to listen at
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8180")]
    pub(super) listen: SocketAddr,
    /// Number of tickets to start with
    #[arg(long, value_name = "N", default_value_t = 2_500)]
    pub(super) tickets: u32,
    /// Seed of the generated data; the same seed gives the same tickets
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Tenant, as on a hosted server
    #[arg(long)]
    pub(super) tenant: Option<String>,
    /// Set a knob of the server's behavior; `--knob help` lists them
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) knob: Vec<String>,
    /// Inject a fault; `--fault help` lists them
    #[arg(long, value_name = "SPEC")]
    pub(super) fault: Vec<String>,
    /// Serve a file as the response to requests for a path, with status 200 or as in PATH=400:FILE; files of one path are
    /// served one after another, and the last one stays
    #[arg(long, value_name = "PATH=FILE", value_parser = parse_replay)]
    pub(super) replay: Vec<ReplayArg>,
}

/// A file to serve as the response to requests for a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplayArg {
    pub(super) path: String,
    pub(super) status: u16,
    pub(super) file: PathBuf,
}

fn parse_consumer(name: &str) -> Result<ConsumerName, String> {
    ConsumerName::parse(name).ok_or_else(|| format!("must be {}", ConsumerName::RULE))
}

fn parse_replay(text: &str) -> Result<ReplayArg, String> {
    let rule =
        "must be PATH=FILE or PATH=STATUS:FILE, such as /api/tickets=rows.json or /auth/token=400:error.json";
    let (path, response) = text.split_once('=').ok_or(rule)?;
    // A file name may contain a colon, so only a number of three digits before it is a status.
    let status = response.split_once(':').filter(|(status, _)| status.len() == 3);
    let status = status.and_then(|(status, file)| Some((status.parse::<u16>().ok()?, file)));
    let (status, file) = status.unwrap_or((200, response));
    if !path.starts_with('/') || path.contains('?') || file.is_empty() {
        return Err(rule.to_owned());
    }
    if !(200..=599).contains(&status) {
        return Err(format!("the status must be 200 to 599, not {status}"));
    }
    Ok(ReplayArg { path: path.to_owned(), status, file: file.into() })
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc();
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").map(midnight);
    let at = date.or_else(|_| DateTime::parse_from_rfc3339(text).map(|at| at.with_timezone(&Utc)));
    at.ok().and_then(Timestamp::new).ok_or_else(|| {
        "must be a date such as 2026-11-22, or a time with its zone such as 2026-11-22T12:00:00Z".to_owned()
    })
}

/// Parses a time to look back to: as [`parse_time`] does, and UTC where it has no zone.
fn parse_past_time(text: &str) -> Result<Timestamp, String> {
    const FORMATS: [&str; 4] =
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"];
    let without_zone = || {
        let at = FORMATS.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?;
        Timestamp::new(at.and_utc())
    };
    let at = parse_time(text).ok().or_else(without_zone);
    at.ok_or_else(|| {
        "must be a date such as 2026-11-22, or a time such as 2026-11-22T12:00:00 or 2026-11-22T12:00:00+01:00"
            .to_owned()
    })
}

fn parse_reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn parse_format(text: &str) -> Result<Format, String> {
    text.parse().map_err(|_| "must be csv, jsonl, json or parquet".to_owned())
}

#[cfg(feature = "lake")]
fn parse_lake_server(text: &str) -> Result<LakeServer, String> {
    LakeServer::parse(text).ok_or_else(|| format!("must be {}", LakeServer::RULE))
}

fn parse_newlines(text: &str) -> Result<Newlines, String> {
    text.parse().map_err(|_| "must be keep or escape".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::examples::examples;
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
    fn past_time_without_a_zone_is_utc() {
        for (text, at) in [
            ("2026-11-22", Some("2026-11-22T00:00:00.000Z")),
            ("2026-11-22T12:00:00.123Z", Some("2026-11-22T12:00:00.123Z")),
            ("2026-11-22T12:00:00+01:00", Some("2026-11-22T11:00:00.000Z")),
            ("2026-11-22T12:00:00", Some("2026-11-22T12:00:00.000Z")),
            ("2026-11-22T12:00:00.5", Some("2026-11-22T12:00:00.500Z")),
            ("2026-11-22 12:00", Some("2026-11-22T12:00:00.000Z")),
            ("12:00", None),
            ("2026-11-22T25:00:00", None),
            ("now", None),
        ] {
            assert_eq!(parse_past_time(text).ok().map(|at| at.to_string()).as_deref(), at, "{text:?}");
        }
    }

    #[test]
    fn replay_names_a_path_a_status_and_a_file() {
        for (text, expected) in [
            ("/api/tickets=rows.json", Some(("/api/tickets", 200, "rows.json"))),
            ("/auth/token=400:error.json", Some(("/auth/token", 400, "error.json"))),
            ("/api/tickets/7=a=b:c.json", Some(("/api/tickets/7", 200, "a=b:c.json"))),
            ("/api/status=99:a.json", Some(("/api/status", 200, "99:a.json"))),
            ("/api/status=600:a.json", None),
            ("/api/status=100:a.json", None),
            ("/api/status=200:", None),
            ("/api/status=", None),
            ("/api/status", None),
            ("/api/status?a=b", None),
            ("api/status=a.json", None),
            ("", None),
        ] {
            let expected = expected.map(|(path, status, file): (&str, u16, &str)| ReplayArg {
                path: path.into(),
                status,
                file: file.into(),
            });
            assert_eq!(parse_replay(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn command_line_definition_is_consistent() {
        CliArgs::definition().debug_assert();
    }

    #[test]
    fn every_command_has_examples_and_each_can_be_parsed() {
        let mut commands = vec![];
        collect(&CliArgs::definition(), "", &mut commands);
        for name in commands {
            let examples = examples(&name);
            assert!(!examples.is_empty(), "{name} has no example");
            for (line, _) in examples {
                for part in line.split("&&").map(str::trim) {
                    let words = shlex::split(part).unwrap();
                    let words = words.iter().skip_while(|it| *it != "halosync").take_while(|it| *it != ">");
                    let words: Vec<_> = words.map(OsString::from).collect();
                    let parsed = CliArgs::parse_arguments(words.clone());
                    assert!(words.len() <= 1 || parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                }
            }
        }
    }

    fn collect(command: &clap::Command, parent: &str, names: &mut Vec<String>) {
        let name = format!("{parent}{}", command.get_name());
        for it in command.get_subcommands() {
            collect(it, &format!("{name} "), names);
        }
        names.push(name);
    }
}
