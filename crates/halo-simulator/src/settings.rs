//! Settings of a simulated server.

use std::net::{Ipv4Addr, SocketAddr};

use crate::faults::ServerFault;
use crate::knobs::Knobs;
use crate::replay::ReplayedResponse;

/// Settings of a simulated server.
#[derive(Clone, Debug)]
pub struct SimulatorSettings {
    /// Listen address: a loopback address; port 0 picks a free port.
    pub listen: SocketAddr,
    /// Seed of all generated data: the same seed and number of tickets give the same ids and contents.
    pub seed: u64,
    /// Number of tickets at the start.
    pub tickets: u32,
    /// Client id of the only registered API application.
    pub client_id: String,
    /// Client secret of that application.
    pub client_secret: String,
    /// Tenant name of a hosted server; `None` on premises.
    pub tenant: Option<String>,
    /// Server behavior that is not established for the real server.
    pub knobs: Knobs,
    /// Faults to inject from the start.
    pub faults: Vec<ServerFault>,
    /// Responses to serve in place of the server's own, in this order for each path; the last one of a path stays.
    pub replays: Vec<ReplayedResponse>,
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        SimulatorSettings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 1,
            tickets: 2_500,
            client_id: "halosync-demo".to_owned(),
            client_secret: "demo-secret".to_owned(),
            tenant: None,
            knobs: Knobs::default(),
            faults: Vec::new(),
            replays: Vec::new(),
        }
    }
}
