//! TLS between nodes: both ends show a certificate, and each call is bound to the node that it claims to
//! come from.
//!
//! A certificate is good when the trust anchor signed it, it is in its time, is for servers and clients, and
//! names a node of our cluster ([`PeerName`]). Our cluster is the one of our own certificate. Whether the
//! name is the one pinned for a node's id is asked by [`super::Guard`] of callers and by [`PeerTls::connect`] of
//! those we call.
//!
//! The files are read again on SIGHUP, and when they change. What cannot be used leaves everything as it
//! was, with an error in the log. Afterwards every open connection is judged by what is trusted now: one whose
//! certificate is no longer good is cut, so that an authority that was struck off is out at once; all others
//! go on, so that a new certificate costs nobody an answer.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    RootCertStore, ServerConfig, SignatureScheme, version,
};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::certificate::{Certificate, PeerName};
use super::stream::Watched;
use crate::settings::PeerFiles;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(60);
/// How long before its end a certificate is worth a warning.
const SOON: i64 = 30 * 86_400;
/// More than any of the files has.
const MOST_BYTES: u64 = 1 << 20;

/// The TLS of this node's side of the wire.
pub struct PeerTls {
    files: PeerFiles,
    me: PeerName,
    now: RwLock<Arc<Material>>,
    open: Mutex<BTreeMap<u64, Shown>>,
    next: AtomicU64,
    /// Certificates refused, and connections on which no TLS was spoken.
    refused: AtomicU64,
    broken: AtomicU64,
}

/// What was read from the files.
struct Material {
    /// Their bytes, to see whether they have changed.
    bytes: [Vec<u8>; 3],
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    verifier: Arc<Verifier>,
    not_after: i64,
}

/// What the other end of an open connection showed.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    /// Dropped, it ends the connection.
    _end: oneshot::Sender<()>,
}

/// Keeps a connection among the open ones.
struct Kept {
    of: Arc<PeerTls>,
    number: u64,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.of.open.lock().remove(&self.number);
    }
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS of {}", self.me)
    }
}

impl PeerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub fn open(files: PeerFiles) -> Result<Arc<PeerTls>, String> {
        let (me, material) = Material::read(&files)?;
        Ok(Arc::new(PeerTls {
            files,
            me,
            now: RwLock::new(Arc::new(material)),
            open: Mutex::default(),
            next: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            broken: AtomicU64::new(0),
        }))
    }

    /// Who this node is by its certificate.
    pub fn me(&self) -> &PeerName {
        &self.me
    }

    /// Until when this node's certificate is good, Unix seconds.
    pub fn not_after(&self) -> i64 {
        self.now.read().not_after
    }

    /// Handshakes since the start that failed for a certificate, and those in which no TLS was spoken.
    pub fn refused(&self) -> (u64, u64) {
        (self.refused.load(Ordering::Relaxed), self.broken.load(Ordering::Relaxed))
    }

    /// Reads the files again; see the module for what becomes of open connections.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub fn read_again(&self) -> Result<(), String> {
        let (me, material) = Material::read(&self.files)?;
        if me != self.me {
            return Err(format!(
                "{}: the certificate is that of {me}, and this node is {}. Who a node is does not change while it runs",
                self.files.cert_file.display(),
                self.me
            ));
        }
        *self.now.write() = Arc::new(material);
        let now = UnixTime::now();
        let cut = self.cut(now);
        tracing::info!(
            cut,
            "the certificates of the peer port are read; connections that are no longer good are cut"
        );
        self.warn_of_the_end(now);
        Ok(())
    }

    /// Ends the connections whose certificates are no longer good. Returns how many.
    fn cut(&self, now: UnixTime) -> usize {
        let verifier = self.now.read().verifier.clone();
        let mut open = self.open.lock();
        let before = open.len();
        open.retain(|_, shown| verifier.judge(&shown.chain, now).is_ok());
        before.saturating_sub(open.len())
    }

    /// Looks at the files, and at the certificates of open connections, every minute, for ever.
    pub async fn look_after(self: Arc<PeerTls>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let tls = self.clone();
            let looking = tokio::task::spawn_blocking(move || {
                // What cannot be read is said when it is read.
                let same = contents(&tls.files).is_ok_and(|bytes| bytes == tls.now.read().bytes);
                if !same {
                    return tls.read_again();
                }
                let now = UnixTime::now();
                let cut = tls.cut(now);
                if cut > 0 {
                    tracing::warn!(
                        cut,
                        "connections between nodes were cut: their certificates have ended"
                    );
                }
                tls.warn_of_the_end(now);
                Ok(())
            });
            if let Ok(Err(why)) = looking.await {
                tracing::error!("the certificates of the peer port stay as they were: {why}");
            }
        }
    }

    fn warn_of_the_end(&self, now: UnixTime) {
        let left =
            self.not_after().saturating_sub(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        let (file, hours) = (self.files.cert_file.display(), left / 3600);
        // The last day each minute, before that about once in an hour.
        if left < SOON
            && (left < 86_400 || left % 3600 < i64::try_from(LOOK.as_secs()).unwrap_or(0))
        {
            tracing::warn!(
                hours,
                "the certificate in {file} ends soon, and the peers refuse this node then: renew it"
            );
        }
    }

    /// The server's end of a handshake. It takes as long as the other side wishes: give it a limit.
    pub(super) async fn accept(
        self: &Arc<PeerTls>,
        stream: TcpStream,
        from: SocketAddr,
    ) -> io::Result<(Watched, Arc<PeerName>)> {
        let config = self.now.read().server.clone();
        let shaken = TlsAcceptor::from(config).accept(stream).await;
        let stream = shaken.inspect_err(|error| self.refuse(&from, error))?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
        self.keep(stream, chain)
    }

    /// The client's end, to a node whose name is `expected`, or any of the cluster if that is empty.
    pub(super) async fn connect(
        self: &Arc<PeerTls>,
        stream: TcpStream,
        expected: &str,
    ) -> io::Result<(Watched, Arc<PeerName>)> {
        let to = stream.peer_addr()?;
        let config = self.now.read().client.clone();
        // Whom it must be is found in the certificate, not told to whoever listens.
        let name = ServerName::from(to.ip());
        let shaken = TlsConnector::from(config).connect(name, stream).await;
        let stream = shaken.inspect_err(|error| self.refuse(&to, error))?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
        let (watched, peer) = self.keep(stream, chain)?;
        if !expected.is_empty() && peer.name != expected {
            let error = io::Error::other(format!(
                "its certificate is that of {}, and the cluster knows the node there as {expected}",
                peer.name
            ));
            self.refuse(&to, &error);
            return Err(error);
        }
        Ok((watched, peer))
    }

    fn keep(
        self: &Arc<PeerTls>,
        stream: impl super::stream::Io + 'static,
        chain: Vec<CertificateDer<'static>>,
    ) -> io::Result<(Watched, Arc<PeerName>)> {
        let verifier = self.now.read().verifier.clone();
        // The handshake has asked it already; by now the files may be others.
        let peer = verifier.judge(&chain, UnixTime::now()).map_err(io::Error::other)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (end, ended) = oneshot::channel();
        self.open.lock().insert(number, Shown { chain, _end: end });
        let kept = Kept { of: self.clone(), number };
        Ok((Watched::new(stream, ended, kept), Arc::new(peer)))
    }

    /// Counts and tells a failed handshake.
    fn refuse(&self, other: &SocketAddr, error: &io::Error) {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let about_certificates = match tls {
            Some(rustls::Error::InvalidMessage(_) | rustls::Error::InappropriateMessage { .. }) => {
                false
            }
            Some(_) => true,
            // Ours, about a name; or the connection broke.
            None => error.kind() == io::ErrorKind::Other,
        };
        let counter = if about_certificates { &self.refused } else { &self.broken };
        let count = counter.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            let why = tls.map_or_else(|| error.to_string(), explain);
            tracing::warn!(%other, count, "no TLS connection between nodes: {why}");
        }
    }
}

impl Material {
    fn read(files: &PeerFiles) -> Result<(PeerName, Material), String> {
        let [anchor, cert, key] = contents(files)?;
        let wrong = |path: &Path, why: &dyn fmt::Display| format!("{}: {why}", path.display());
        let chain = |path: &Path, pem: &[u8]| {
            let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
            let found = found.map_err(|_| wrong(path, &"it is no file of certificates (PEM)"))?;
            if found.is_empty() {
                return Err(wrong(path, &"there is no certificate in it (PEM)"));
            }
            Ok(found)
        };
        let mut roots = RootCertStore::empty();
        for authority in chain(&files.trust_anchor, &anchor)? {
            roots.add(authority).map_err(|error| wrong(&files.trust_anchor, &explain(&error)))?;
        }
        let own = chain(&files.cert_file, &cert)?;
        let secret = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|_| wrong(&files.key_file, &"there is no private key in it (PEM)"))?;
        let said = Certificate::of_der(own.first().map_or(&[], |own| own.as_ref()))
            .map_err(|why| wrong(&files.cert_file, &why))?;
        let me = said.peer().map_err(|why| wrong(&files.cert_file, &why))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(me.cluster, roots, provider.clone())
            .map_err(|why| wrong(&files.trust_anchor, &why))?;
        let verifier = Arc::new(verifier);
        // A node whose own certificate its peers will refuse had better say so itself.
        verifier
            .judge(&own, UnixTime::now())
            .map_err(|error| wrong(&files.cert_file, &explain(&error)))?;
        let pair = |error: rustls::Error| {
            let (cert, key) = (files.cert_file.display(), files.key_file.display());
            format!("{cert} and {key} cannot be used together: {error}")
        };
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(own.clone(), secret.clone_key())
            .map_err(pair)?;
        server.alpn_protocols = vec![b"h2".to_vec()];
        // A session that is taken up again would not show its certificate again.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_auth_cert(own, secret)
            .map_err(pair)?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        let material = Material {
            bytes: [anchor, cert, key],
            server: Arc::new(server),
            client: Arc::new(client),
            verifier,
            not_after: said.not_after,
        };
        Ok((me, material))
    }
}

fn contents(files: &PeerFiles) -> Result<[Vec<u8>; 3], String> {
    let content = |path: &Path| -> Result<Vec<u8>, String> {
        let wrong = |why: &dyn fmt::Display| format!("{}: {why}", path.display());
        let meta = std::fs::metadata(path).map_err(|error| wrong(&error))?;
        // Reading a pipe or a device may never end.
        if !meta.is_file() || meta.len() > MOST_BYTES {
            return Err(wrong(&"it is no file of PEM"));
        }
        std::fs::read(path).map_err(|error| wrong(&error))
    };
    Ok([content(&files.trust_anchor)?, content(&files.cert_file)?, content(&files.key_file)?])
}

/// Judges certificates, of callers and of those we call.
#[derive(Debug)]
struct Verifier {
    cluster: u64,
    clients: Arc<dyn ClientCertVerifier>,
    servers: Arc<WebPkiServerVerifier>,
}

impl Verifier {
    fn new(
        cluster: u64,
        roots: RootCertStore,
        provider: Arc<CryptoProvider>,
    ) -> Result<Verifier, String> {
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| error.to_string())?;
        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Verifier { cluster, clients, servers })
    }

    /// The node to which a chain belongs, if all of it is good.
    fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<PeerName, rustls::Error> {
        let (own, others) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        // Signature, time, and use by clients; use by servers is asked with the name.
        self.clients.verify_client_cert(own, others, now)?;
        let peer = Certificate::of_der(own).and_then(|said| said.peer()).map_err(bad)?;
        if peer.cluster != self.cluster {
            return Err(bad(format!(
                "the certificate is for cluster {:016x}, this is {:016x}",
                peer.cluster, self.cluster
            )));
        }
        let name = ServerName::try_from(peer.dns()).map_err(|error| bad(error.to_string()))?;
        self.servers.verify_server_cert(own, others, &name, &[], now)?;
        Ok(peer)
    }
}

fn bad(why: String) -> rustls::Error {
    let why: Box<dyn std::error::Error + Send + Sync> = why.into();
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(why.into())))
}

fn chain_of<'a>(
    own: &CertificateDer<'a>,
    others: &[CertificateDer<'a>],
) -> Vec<CertificateDer<'a>> {
    std::iter::once(own).chain(others).cloned().collect()
}

impl ClientCertVerifier for Verifier {
    /// Strangers need not learn whom we trust.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.judge(&chain_of(own, others), now).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.clients.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.clients.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.clients.supported_verify_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(&chain_of(own, others), now).map(|_| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.clients.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.clients.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.clients.supported_verify_schemes()
    }
}

/// What is wrong, for whoever looks after the certificates.
fn explain(error: &rustls::Error) -> String {
    use CertificateError as Wrong;
    let text = match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            Wrong::UnknownIssuer | Wrong::BadSignature => {
                "the certificate is signed by nobody whom trust-anchor names"
            }
            Wrong::Expired | Wrong::ExpiredContext { .. } => {
                "the certificate has expired, or a clock is wrong"
            }
            Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
                "the certificate is not valid yet, or a clock is wrong"
            }
            Wrong::InvalidPurpose | Wrong::InvalidPurposeContext { .. } => {
                "the certificate is not for both ends: its extended key usage must have serverAuth and clientAuth"
            }
            Wrong::Other(why) => return why.to_string(),
            _ => "the certificate is not good",
        },
        rustls::Error::NoCertificatesPresented => "the other end shows no certificate",
        rustls::Error::AlertReceived(_) => "the other end refuses our certificate",
        rustls::Error::InvalidMessage(_) => "the other end does not speak TLS",
        _ => return error.to_string(),
    };
    format!("{text} ({error})")
}
