//! `halosync run`.

use super::args::Arguments;
use super::{Ended, block_on, log};
use crate::agent::{self, Loaded};

pub(super) fn run(arguments: &Arguments, loaded: Loaded) -> Ended {
    let level = log::of_the_service(arguments, &loaded.config.log)?;
    agent::end_on_panic();
    block_on(async {
        let heed = |config: &crate::config::Config| level.follow(&config.log);
        Ok(agent::run(loaded, arguments.config.clone(), heed).await?)
    })?;
    Ok(0)
}
