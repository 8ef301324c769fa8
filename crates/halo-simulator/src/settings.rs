//! How a simulated server is set up.

use std::net::{Ipv4Addr, SocketAddr};

use crate::faults::ServerFault;
use crate::knobs::Knobs;

/// How a simulated server is set up.
#[derive(Clone, Debug)]
pub struct SimulatorSettings {
    /// Where it listens; a loopback address, port 0 for any free one.
    pub listen: SocketAddr,
    /// Decides the whole world: the same seed and number of tickets give the same ids and contents.
    pub seed: u64,
    /// How many tickets the world begins with.
    pub tickets: u32,
    /// The id of the one registered API application.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The tenant's name on a hosted server, `None` on premise.
    pub tenant: Option<String>,
    /// What is not known of the real server.
    pub knobs: Knobs,
    /// What goes wrong.
    pub faults: Vec<ServerFault>,
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
        }
    }
}
