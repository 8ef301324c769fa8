//! `halosync demo --lake`.

use std::path::Path;
use std::sync::Arc;

use super::StepPrinter;
use crate::app::{AppError, ExitStatus};
use crate::cli::args::{CliArgs, DemoArgs};
use crate::cli::progress::RunProgress;
use crate::cli::{CommandResult, block_on, print, program, shell_path, stop_signal};
use crate::config::LakeUrl;
use crate::demo::run_with_lake;
use crate::sync::Progress;

pub(super) fn demo(arguments: &CliArgs, args: &DemoArgs) -> CommandResult {
    block_on(async {
        let mut printer = StepPrinter::new(arguments);
        let mut on_step = |step| printer.print_step(&step);
        let progress = || -> Arc<dyn Progress> { RunProgress::start(arguments) };
        let url = tokio::select! {
            url = run_with_lake(&args.dir, args.tickets, progress, &mut on_step) => url?,
            signal = stop_signal() => return Err(AppError::Stopped(signal).into()),
        };
        if let Some(failure) = printer.output_error {
            return Err(failure);
        }
        if !arguments.json {
            print(&next_steps(args, &url))?;
        }
        Ok(ExitStatus::Ok)
    })
}

fn next_steps(args: &DemoArgs, url: &LakeUrl) -> String {
    let (dir, program) = (shell_path(&args.dir), program());
    let url = shell_path(Path::new(&url.to_string()));
    format!(
        "\x1b[1mAll files are in {dir}.\x1b[0m What to try next:\n  \
         duckdb -init {dir}/tickets.sql -c 'SELECT _server, STATUS, count(*) FROM tickets GROUP BY ALL ORDER BY ALL'\n  \
         (cat {dir}/tickets.py; echo 'tickets.groupBy(\"_server\", \"STATUS\").count().show()') | python3\n  \
         {program} lake verify {url}\n  \
         {program} -c {dir}/acme/agent.toml lake status\n\n\
         The first line needs DuckDB (`pip install duckdb-cli`), the second PySpark and Java (`pip install pyspark`).\n\
         For your own lake: docs/lake.md\n"
    )
}
