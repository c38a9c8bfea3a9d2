//! Calling a node: over TLS if this node has certificates, else plainly.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint, Uri};

use super::certificate::PeerName;
use super::stream::Watched;
use super::tls::PeerTls;

/// How long a connection may take with TLS. Its handshake needs the other end's processor.
const HANDSHAKE: Duration = Duration::from_secs(1);

/// An endpoint with our timeouts, not yet connected.
fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(Duration::from_millis(200))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_millis(500))
        .keep_alive_timeout(Duration::from_millis(500))
        .keep_alive_while_idle(true))
}

/// A channel that connects when it is used, to a node whose certificate has the name `expected`, or any of
/// the cluster if that is empty.
///
/// # Errors
/// When `address` is not `host:port`.
pub(super) fn lazy(
    address: &str,
    tls: Option<&Arc<PeerTls>>,
    expected: &str,
) -> Result<Channel, tonic::transport::Error> {
    let endpoint = endpoint(address)?;
    Ok(match tls {
        None => endpoint.connect_lazy(),
        Some(tls) => {
            let dial = Dial { tls: tls.clone(), expected: expected.into(), met: Arc::default() };
            endpoint.connect_timeout(HANDSHAKE).connect_with_connector_lazy(dial)
        }
    })
}

/// Connects now, to a node of which only the address is known. Tells who its certificate says it is,
/// `None` without TLS.
///
/// # Errors
/// Why there is no connection.
pub async fn connect(
    address: &str,
    tls: Option<&Arc<PeerTls>>,
) -> Result<(Channel, Option<PeerName>), String> {
    let endpoint = endpoint(address).map_err(|error| error.to_string())?;
    let Some(tls) = tls else {
        let channel = endpoint.connect().await.map_err(|error| error.to_string())?;
        return Ok((channel, None));
    };
    let met = Arc::new(Mutex::new(None));
    let dial = Dial { tls: tls.clone(), expected: "".into(), met: met.clone() };
    let channel = endpoint.connect_timeout(HANDSHAKE).connect_with_connector(dial).await;
    let channel = channel.map_err(|error| error.to_string())?;
    let met = met.lock().as_deref().cloned();
    Ok((channel, met))
}

/// Opens connections for tonic.
struct Dial {
    tls: Arc<PeerTls>,
    expected: Arc<str>,
    /// Whom the last connection reached.
    met: Arc<Mutex<Option<Arc<PeerName>>>>,
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Watched>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Watched>>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (tls, expected, met) = (self.tls.clone(), self.expected.clone(), self.met.clone());
        Box::pin(async move {
            let address = to.authority().map(|authority| authority.as_str().to_owned());
            let address = address.ok_or(io::ErrorKind::AddrNotAvailable)?;
            let stream = TcpStream::connect(address).await?;
            // Answers are awaited; bytes that wait for more would only delay them.
            stream.set_nodelay(true)?;
            let (stream, peer) = tls.connect(stream, &expected).await?;
            *met.lock() = Some(peer);
            Ok(TokioIo::new(stream))
        })
    }
}
