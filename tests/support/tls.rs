//! A TLS proxy in front of a server, with a generated certificate.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The contents of the certificate.
pub(crate) struct CertificateOptions {
    /// The host name.
    pub(crate) name: &'static str,
    /// Valid from and until, in days from now.
    pub(crate) days: (i64, i64),
}

/// A TLS proxy, and the certificate (PEM) of the authority that signed its certificate.
pub(crate) struct TlsProxy {
    pub(crate) address: SocketAddr,
    pub(crate) authority: String,
}

impl TlsProxy {
    /// Starts a proxy in front of a server, until the test ends.
    pub(crate) fn start(server: &str, certificate: &CertificateOptions) -> TlsProxy {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test authority");
        let authority =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let mut params = CertificateParams::new(vec![certificate.name.to_owned()]).expect("a name");
        let day = |days: i64| {
            let at = chrono::Utc::now() + chrono::TimeDelta::days(days);
            let date = |part: &str| at.format(part).to_string().parse().expect("a number");
            rcgen::date_time_ymd(
                date("%Y"),
                u8::try_from(date("%m")).expect("a month"),
                u8::try_from(date("%d")).expect("a day"),
            )
        };
        (params.not_before, params.not_after) = (day(certificate.days.0), day(certificate.days.1));
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &authority).expect("a certificate");
        let chain: Vec<CertificateDer<'static>> = vec![signed.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate with its key");
        let (config, server) = (Arc::new(config), server.replace("http://", ""));
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, server) = (Arc::clone(&config), server.clone());
                // A client that does not trust the certificate disconnects, which some tests expect.
                thread::spawn(move || stream.and_then(|stream| forward(stream, config, &server)));
            }
        });
        TlsProxy { address, authority: authority.pem() }
    }
}

/// Forwards one request and its response.
fn forward(stream: TcpStream, config: Arc<ServerConfig>, server: &str) -> std::io::Result<()> {
    let tls = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut outer = BufReader::new(StreamOwned::new(tls, stream));
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        outer.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
        if line == "\r\n" || line.is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    outer.read_exact(&mut body)?;
    let mut inner = TcpStream::connect(server)?;
    write!(inner, "{head}connection: close\r\n\r\n")?;
    inner.write_all(&body)?;
    let mut response = Vec::new();
    inner.read_to_end(&mut response)?;
    let outer = outer.get_mut();
    outer.write_all(&response)?;
    outer.conn.send_close_notify();
    outer.flush()
}
