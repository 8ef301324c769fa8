//! `halosync simulate`: serves the simulated server until a signal arrives.

use std::fs;

use serde::Serialize;

use super::args::{CliArgs, ReplayArg, SimulateArgs};
use super::error_output::print_usage_error;
use super::{CommandResult, block_on, print, print_report, stop_signal};
use crate::app::{AppError, ExitStatus, count};
use halo_simulator::{Knobs, ReplayedResponse, RowDefect, ServerFault, Simulator, SimulatorSettings};

#[derive(Serialize)]
struct SimulatorJson<'a> {
    url: &'a str,
    client_id: &'a str,
    client_secret: &'a str,
}

pub(super) fn simulate(arguments: &CliArgs, args: &SimulateArgs) -> CommandResult {
    if args.knob.iter().any(|knob| knob == "help") {
        print(&Knobs::markdown())?;
        return Ok(ExitStatus::Ok);
    }
    if args.fault.iter().any(|fault| fault == "help") {
        print(&format!("{}\n{}", ServerFault::markdown(), RowDefect::markdown()))?;
        return Ok(ExitStatus::Ok);
    }
    let mut settings = match settings_from_args(args) {
        Ok(settings) => settings,
        Err(message) => {
            // Reported like every other error of the command line.
            let error = clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{message}\n"));
            return Ok(print_usage_error(&error, arguments.json));
        }
    };
    settings.replays = args.replay.iter().map(read_replay).collect::<Result<_, _>>()?;
    block_on(async {
        let (id, secret) = (settings.client_id.clone(), settings.client_secret.clone());
        let simulator = Simulator::start(settings).await.map_err(AppError::Serve)?;
        let url = simulator.url();
        let text = format!(
            "a simulated HaloITSM with {} at {url}\n  client id {id}, secret {secret}\n  \
             control interface: curl {url}/_sim\n",
            count(u64::from(args.tickets), "ticket")
        );
        let report = SimulatorJson { url: &url, client_id: &id, client_secret: &secret };
        print_report(arguments, &report, &text)?;
        stop_signal().await;
        simulator.stop().await;
        Ok(ExitStatus::Ok)
    })
}

fn read_replay(replay: &ReplayArg) -> Result<ReplayedResponse, AppError> {
    let ReplayArg { path, status, file } = replay;
    let body = fs::read(file).map_err(|source| AppError::Replay { path: file.clone(), source })?;
    Ok(ReplayedResponse { path: path.clone(), status: *status, body })
}

fn settings_from_args(args: &SimulateArgs) -> Result<SimulatorSettings, String> {
    let mut knobs = Knobs::default();
    for knob in &args.knob {
        knobs.set(knob).map_err(|error| error.to_string())?;
    }
    let faults = args.fault.iter().map(|fault| ServerFault::parse(fault).map_err(|error| error.to_string()));
    if !args.listen.ip().is_loopback() {
        let listen = args.listen;
        return Err(format!("--listen must be a loopback address such as 127.0.0.1:8180, not {listen}"));
    }
    Ok(SimulatorSettings {
        listen: args.listen,
        seed: args.seed,
        tickets: args.tickets,
        tenant: args.tenant.clone(),
        knobs,
        faults: faults.collect::<Result<_, _>>()?,
        ..SimulatorSettings::default()
    })
}
