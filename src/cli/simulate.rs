//! `halosync simulate`: serves the simulated server until a signal arrives.

use halo_simulator::{Knobs, ServerFault, Simulator, SimulatorSettings};
use serde_json::json;

use super::args::{CliArgs, SimulateArgs};
use super::error_output::print_usage_error;
use super::{CommandResult, block_on, print, print_json, stop_signal};
use crate::app::{AppError, ExitStatus};

pub(super) fn simulate(arguments: &CliArgs, args: &SimulateArgs) -> CommandResult {
    if args.knob.iter().any(|knob| knob == "help") {
        print(&Knobs::markdown())?;
        return Ok(ExitStatus::Ok);
    }
    if args.fault.iter().any(|fault| fault == "help") {
        print(&ServerFault::markdown())?;
        return Ok(ExitStatus::Ok);
    }
    let settings = match settings_from_args(args) {
        Ok(settings) => settings,
        Err(message) => {
            // Reported in the same form as other command-line errors.
            let error = clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{message}\n"));
            return Ok(print_usage_error(&error, arguments.json));
        }
    };
    block_on(async {
        let (id, secret) = (settings.client_id.clone(), settings.client_secret.clone());
        let simulator = Simulator::start(settings).await.map_err(AppError::Serve)?;
        let url = simulator.url();
        if arguments.json {
            print_json(&json!({ "url": url, "client_id": id, "client_secret": secret }))?;
        } else {
            let noun = if args.tickets == 1 { "ticket" } else { "tickets" };
            print(&format!(
                "Simulated HaloITSM server with {} {noun}: {url}\n  client id {id}, client secret {secret}\n  \
                 control endpoints: curl {url}/_sim\n",
                args.tickets
            ))?;
        }
        stop_signal().await;
        simulator.stop().await;
        Ok(ExitStatus::Ok)
    })
}

fn settings_from_args(args: &SimulateArgs) -> Result<SimulatorSettings, String> {
    let mut knobs = Knobs::default();
    for knob in &args.knob {
        knobs.set(knob).map_err(|error| error.to_string())?;
    }
    let faults = args.fault.iter().map(|fault| ServerFault::parse(fault).map_err(|error| error.to_string()));
    if !args.listen.ip().is_loopback() {
        let listen = args.listen;
        return Err(format!(
            "--listen {listen} is not a loopback address: use one that only this machine can reach, such as 127.0.0.1:8180"
        ));
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
