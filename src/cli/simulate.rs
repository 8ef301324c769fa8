//! `halosync simulate`.

use serde_json::json;

use super::args::{Arguments, Simulate};
use super::complaint::misunderstood;
use super::{Ended, block_on, say, say_json, stop_signal};
use crate::agent::AgentError;
use crate::simulator::{Fault, Knobs, Settings, Simulator};

pub(super) fn simulate(arguments: &Arguments, simulate: &Simulate) -> Ended {
    if simulate.knob.iter().any(|knob| knob == "help") {
        say(&Knobs::markdown())?;
        return Ok(0);
    }
    if simulate.fault.iter().any(|fault| fault == "help") {
        say(&Fault::markdown())?;
        return Ok(0);
    }
    let settings = match settings(simulate) {
        Ok(settings) => settings,
        Err(wrong) => {
            // A wrong word on the command line, in the manner of all others.
            let error = clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{wrong}\n"));
            return Ok(misunderstood(&error, arguments.json));
        }
    };
    block_on(async {
        let (id, secret) = (settings.client_id.clone(), settings.client_secret.clone());
        let simulator = Simulator::start(settings).await.map_err(AgentError::Serve)?;
        let url = simulator.url();
        if arguments.json {
            say_json(&json!({ "url": url, "client_id": id, "client_secret": secret }))?;
        } else {
            say(&format!(
                "a simulated HaloITSM with {} tickets at {url}\n  client id {id}, secret {secret}\n  \
                 what it can be told: curl {url}/_sim\n",
                simulate.tickets
            ))?;
        }
        stop_signal().await;
        simulator.stop().await;
        Ok(0)
    })
}

fn settings(simulate: &Simulate) -> Result<Settings, String> {
    let mut knobs = Knobs::default();
    for knob in &simulate.knob {
        knobs.set(knob).map_err(|error| error.to_string())?;
    }
    let faults = simulate.fault.iter().map(|fault| Fault::read(fault).map_err(|error| error.to_string()));
    if !simulate.listen.ip().is_loopback() {
        let listen = simulate.listen;
        return Err(format!(
            "--listen must be an address that only this machine reaches, such as 127.0.0.1:8180, not {listen}"
        ));
    }
    Ok(Settings {
        listen: simulate.listen,
        seed: simulate.seed,
        tickets: simulate.tickets,
        tenant: simulate.tenant.clone(),
        knobs,
        faults: faults.collect::<Result<_, _>>()?,
        ..Settings::default()
    })
}
