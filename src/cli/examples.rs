//! Examples for the help and the manual page of each command.

use clap::Command;
use clap::builder::StyledStr;

/// A command line and what it does.
type Example = (&'static str, &'static str);

/// The examples of each command, by its full name.
const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "halosync",
        &[
            ("halosync demo", "See everything work, without a server"),
            ("halosync init --server https://acme.haloitsm.com", "Write settings for a server"),
            ("halosync check && halosync sync", "Check them, then fetch the tickets"),
            ("halosync status", "See whether the copy is complete"),
        ],
    ),
    (
        "halosync demo",
        &[
            ("halosync demo", "Show every step with 2,500 tickets"),
            (
                "halosync demo --tickets 100000 --dir /tmp/demo",
                "The same with more tickets, in another folder",
            ),
            ("halosync demo --lake", "Copy three simulated servers into one lake, and see how to read it"),
            ("halosync demo --keep-serving", "Leave the simulated server running to try commands against it"),
        ],
    ),
    (
        "halosync init",
        &[
            ("halosync init", "Write ./agent.toml to fill in"),
            (
                "halosync init --server https://acme.haloitsm.com",
                "Ask the server for its authorization server and tenant, and write them too",
            ),
            ("halosync init /etc/halosync/agent.toml", "Write another file"),
        ],
    ),
    (
        "halosync check",
        &[
            ("halosync check", "Check everything before the first sync"),
            ("halosync check --offline", "Check settings and database without the server and the secret"),
            ("halosync check --deny-warnings --quiet", "Fail in a script if anything needs attention"),
        ],
    ),
    (
        "halosync sync",
        &[
            ("halosync sync", "Fetch what changed"),
            ("halosync sync --full", "Read every ticket, and find those that were deleted"),
            ("halosync sync --dry-run", "See what would change"),
            (
                "*/5 * * * * halosync -q -c /etc/halosync/agent.toml sync",
                "Run from cron: mail only about errors",
            ),
        ],
    ),
    (
        "halosync run",
        &[
            ("halosync run", "Run in the foreground until Ctrl-C"),
            ("systemctl enable --now halosync", "Run as a service"),
        ],
    ),
    (
        "halosync status",
        &[
            ("halosync status", "See the state and what to do"),
            (
                "halosync status --max-age 15m --json",
                "Exit with 4 if the data is older than that, for monitoring",
            ),
        ],
    ),
    (
        "halosync report",
        &[
            ("halosync report", "Write report.html about the last 90 days"),
            ("halosync report --days 30 --out /srv/www/report.html", "Another period and file"),
            ("halosync report --no-people", "Without names of agents and summaries of tickets"),
        ],
    ),
    (
        "halosync history",
        &[
            ("halosync history 4711", "See what happened to a ticket, and why its row is as it is"),
            ("halosync history 4711 --at 2026-11-22T12:00:00", "See its row as it was stored then"),
            ("halosync history 4711 --json", "Every change in full, for a program"),
        ],
    ),
    (
        "halosync reset",
        &[(
            "halosync reset --to 2026-11-01 --reason 'restored the server'",
            "Make the next sync fetch again what was updated since",
        )],
    ),
    (
        "halosync purge",
        &[
            (
                "halosync purge 4711 --reason 'erasure request 2026-17'",
                "Erase a ticket and see which files still hold it",
            ),
            (
                "halosync purge --undo 4711 && halosync sync --full",
                "Let it be stored again, if the server still has it",
            ),
        ],
    ),
    (
        "halosync export",
        &[
            ("halosync export delta --consumer warehouse", "Write what changed since the last package"),
            ("halosync export list", "See what each consumer has received"),
        ],
    ),
    (
        "halosync export delta",
        &[
            ("halosync export delta", "Write what changed, for the consumer of the settings"),
            (
                "halosync export delta --consumer warehouse --format jsonl --gzip",
                "The same for another consumer",
            ),
            (
                "halosync export delta --consumer warehouse --format parquet",
                "Typed columns for DuckDB, Spark, Polars and pandas",
            ),
            ("halosync export delta --fail-if-empty", "Exit with 4 if nothing changed"),
        ],
    ),
    (
        "halosync export snapshot",
        &[
            ("halosync export snapshot --out /mnt/share", "Write every table as files"),
            ("halosync export snapshot --format parquet", "The same with typed columns"),
            (
                "halosync export snapshot --excel --columns NAME,STATUS,_custom_fields",
                "Write some columns for a spreadsheet",
            ),
        ],
    ),
    (
        "halosync export ack",
        &[(
            "halosync export ack --consumer warehouse --seq 8123",
            "Say that everything up to that change was loaded",
        )],
    ),
    ("halosync export forget", &[("halosync export forget --consumer warehouse", "Remove a consumer")]),
    (
        "halosync export list",
        &[
            ("halosync export list", "See all consumers and their packages"),
            ("halosync export list --consumer warehouse --json", "The same of one, for a program"),
        ],
    ),
    (
        "halosync export verify",
        &[
            ("halosync export verify /mnt/share/deltas/warehouse", "Check files where they were copied to"),
            (
                "halosync export verify export --from-start --expect-to 8123",
                "Require every change from the first to that one",
            ),
        ],
    ),
    (
        "halosync lake",
        &[
            ("halosync lake push", "Ship what changed"),
            ("halosync lake status", "See what waits to be shipped"),
            ("halosync lake verify s3://bucket/halo", "Verify a lake, also where there is no halosync"),
        ],
    ),
    ("halosync lake push", &[("halosync lake push", "Make a package and ship it")]),
    (
        "halosync lake status",
        &[("halosync lake status --json", "Watch with a program what waits to be shipped")],
    ),
    (
        "halosync lake verify",
        &[
            ("halosync lake verify s3://bucket/halo", "Verify every server"),
            ("halosync lake verify s3://bucket/halo --server acme.haloitsm.com", "Verify one server"),
        ],
    ),
    (
        "halosync lake claim",
        &[("halosync lake claim --server acme.haloitsm.com", "Go on under the name of a copy that is gone")],
    ),
    (
        "halosync simulate",
        &[
            ("halosync simulate --tickets 500", "Serve 500 tickets at 127.0.0.1:8180"),
            ("halosync simulate --fault 'list@page3x1:status=503'", "Fail the third page once"),
        ],
    ),
    (
        "halosync completions",
        &[(
            "halosync completions bash > ~/.local/share/bash-completion/completions/halosync",
            "Install them",
        )],
    ),
    ("halosync man", &[("halosync man --dir ~/.local/share/man/man1", "Write the pages for man(1)")]),
];

/// The examples of a command, by its full name such as `halosync export delta`.
pub(super) fn examples(name: &str) -> &'static [Example] {
    EXAMPLES.iter().find(|(command, _)| *command == name).map_or(&[], |(_, examples)| examples)
}

/// Adds its examples to the help of a command and of those below it.
pub(super) fn with_examples(command: Command, parent: &str) -> Command {
    let name = format!("{parent}{}", command.get_name());
    let below = format!("{name} ");
    let command = command.mut_subcommands(|it| with_examples(it, &below));
    match help_section(examples(&name)) {
        Some(section) => command.after_help(section),
        None => command,
    }
}

fn help_section(examples: &[Example]) -> Option<StyledStr> {
    if examples.is_empty() {
        return None;
    }
    let lines = examples.iter().map(|(line, effect)| format!("  {effect}:\n    {line}\n"));
    let text = format!("\x1b[1m\x1b[4mExamples:\x1b[0m\n{}", lines.collect::<String>());
    Some(StyledStr::from(text.trim_end().to_owned()))
}
