//! `[metrics]`: metrics and health of the service.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::reader::Section;

/// `[metrics]`: metrics and health of the service.
#[derive(Debug)]
pub struct MetricsConfig {
    /// Address of the metrics and health endpoints, if enabled.
    pub listen: Option<SocketAddr>,
    /// File that metrics are written to, if enabled.
    pub textfile: Option<PathBuf>,
}

impl MetricsConfig {
    pub(super) fn read(section: &mut Section<'_, '_>) -> MetricsConfig {
        MetricsConfig { listen: read_listen(section), textfile: section.path("textfile") }
    }
}

fn read_listen(section: &mut Section<'_, '_>) -> Option<SocketAddr> {
    let parse = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
    section.parsed("listen", "an address with a port, such as \"127.0.0.1:9187\"", parse).flatten()
}
