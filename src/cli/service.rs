//! `halosync run`.

use super::args::CliArgs;
use super::{CommandResult, block_on, log};
use crate::app::{self, ExitStatus, LoadedConfig, Signal};

pub(super) fn run(arguments: &CliArgs, loaded: LoadedConfig) -> CommandResult {
    let log_level = log::init_for_service(arguments, &loaded.config.log)?;
    app::abort_on_panic();
    let signal = block_on(async {
        let apply_config = |config: &crate::config::Config| log_level.apply_config(&config.log);
        Ok(app::run_service(loaded, arguments.config.clone(), apply_config).await?)
    })?;
    Ok(match signal {
        Signal::Terminate => ExitStatus::Ok,
        Signal::Interrupt => ExitStatus::Interrupted,
    })
}
