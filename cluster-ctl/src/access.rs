//! How `cluster-ctl` says who it is, and how it knows whom it talks to: user and password, certificates.
//!
//! A password comes from a file or from the environment, never from the command line, which everybody on
//! the machine can read. It goes to nobody whose certificate is not trusted.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{AlertDescription, CertificateError};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::client::Failure;

/// Who asks, and whom to trust.
#[derive(Debug, Default, clap::Args)]
pub struct Options {
    /// User of the control API. Default: $LEASEHOLD_USER
    #[arg(long, value_name = "NAME", global = true)]
    user: Option<String>,
    /// File with the password; without --user, with user:password. Default:
    /// $LEASEHOLD_PASSWORD_FILE, else the password itself in $LEASEHOLD_PASSWORD
    #[arg(long, value_name = "FILE", global = true)]
    password_file: Option<PathBuf>,
    /// Who may sign the certificates of nodes: a PEM file, or a directory of them. Default:
    /// $LEASEHOLD_CACERT, else the authorities of this machine
    #[arg(long, value_name = "PATH", global = true)]
    cacert: Option<PathBuf>,
    /// Certificate to show to nodes that ask for one, PEM
    #[arg(long, value_name = "FILE", global = true, requires = "key")]
    cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", global = true, requires = "cert")]
    key: Option<PathBuf>,
}

/// Who asks a Kea server, and whom to trust there: nothing of it is taken from what is for the cluster,
/// so that no password goes to the wrong one.
#[derive(Debug, Default, clap::Args)]
pub struct KeaOptions {
    /// User of the Kea server's control API
    #[arg(long, value_name = "NAME", requires = "from")]
    from_user: Option<String>,
    /// File with the password; without --from-user, with user:password
    #[arg(long, value_name = "FILE", requires = "from")]
    from_password_file: Option<PathBuf>,
    /// Who may sign the certificate of the Kea server
    #[arg(long, value_name = "PATH", requires = "from")]
    from_cacert: Option<PathBuf>,
}

impl KeaOptions {
    /// Reads the files.
    pub fn read(self, https: bool) -> Result<Access, Failure> {
        let password = self.from_password_file.as_deref().map(password).transpose()?;
        let both = match (self.from_user, password) {
            (Some(user), Some(password)) => Some(format!("{user}:{password}")),
            (None, Some(both)) if both.contains(':') => Some(both),
            (None, None) => None,
            _ => {
                return Err(Failure::Usage(
                    "a user of the Kea server has a name and a password: --from-user and --from-password-file"
                        .to_owned(),
                ));
            }
        };
        let authorization = both.map(|both| format!("Basic {}", STANDARD.encode(both)));
        let anchor = match self.from_cacert {
            Some(anchor) => Some(anchor),
            None if https => Some(system()?),
            None => None,
        };
        let nobody = Options::default();
        let tls = anchor.map(|anchor| nobody.tls(&anchor)).transpose()?;
        Ok(Access { authorization, tls, shows: false })
    }
}

/// The line of a password file.
fn password(path: &Path) -> Result<String, Failure> {
    let text = String::from_utf8(content(path)?);
    let text = text.map_err(|_| usage(path, &"it is no text in UTF-8"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// The options, their files read.
pub struct Access {
    /// The value of `Authorization`.
    pub authorization: Option<String>,
    /// For https; `None` when no node is asked that way.
    pub tls: Option<TlsConfig>,
    /// Whether a certificate is shown.
    pub shows: bool,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, tls) = (self.authorization.is_some(), self.tls.is_some());
        write!(f, "access with a user: {user}, with TLS: {tls}")
    }
}

/// Where systems keep the authorities that they trust.
const SYSTEM: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

impl Options {
    /// Reads the files. `https` says whether a node is to be asked that way.
    pub fn read(self, https: bool) -> Result<Access, Failure> {
        let anchor =
            self.cacert.clone().or_else(|| variable("LEASEHOLD_CACERT").map(PathBuf::from));
        let tls = match anchor {
            Some(anchor) => Some(self.tls(&anchor)?),
            None if https || self.cert.is_some() => Some(self.tls(&system()?)?),
            None => None,
        };
        let shows = self.cert.is_some();
        Ok(Access { authorization: self.authorization()?, tls, shows })
    }

    fn authorization(&self) -> Result<Option<String>, Failure> {
        let file = self.password_file.clone();
        let file = file.or_else(|| variable("LEASEHOLD_PASSWORD_FILE").map(PathBuf::from));
        let password = match &file {
            Some(path) => Some(password(path)?),
            None => variable("LEASEHOLD_PASSWORD"),
        };
        let user = self.user.clone().or_else(|| variable("LEASEHOLD_USER"));
        let both = match (user, password) {
            (Some(user), Some(password)) => format!("{user}:{password}"),
            (None, Some(both)) if file.is_some() && both.contains(':') => both,
            (None, Some(_)) => {
                return Err(Failure::Usage(
                    "whose password is it? Give --user NAME too".to_owned(),
                ));
            }
            (Some(user), None) => {
                return Err(Failure::Usage(format!(
                    "user {user} needs a password: --password-file FILE, or $LEASEHOLD_PASSWORD"
                )));
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(format!("Basic {}", STANDARD.encode(both))))
    }

    fn tls(&self, anchor: &Path) -> Result<TlsConfig, Failure> {
        let roots = authorities(anchor)?;
        let shown = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                if chain.is_empty() {
                    return Err(usage(cert, &"there is no certificate in it (PEM)"));
                }
                let key = PrivateKey::from_pem(&content(key)?)
                    .map_err(|_| usage(key, &"there is no private key in it (PEM)"))?;
                Some(ClientCert::new_with_certs(&chain, key))
            }
            _ => None,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&roots))
            .client_cert(shown)
            .unversioned_rustls_crypto_provider(provider)
            .build())
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn usage(path: &Path, why: &dyn fmt::Display) -> Failure {
    Failure::Usage(format!("{}: {why}", path.display()))
}

fn content(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| usage(path, &error))
}

fn system() -> Result<PathBuf, Failure> {
    let found = SYSTEM.iter().map(Path::new).find(|path| path.exists());
    let none = || {
        Failure::Usage(
            "https needs --cacert FILE: this machine trusts no authorities of its own".to_owned(),
        )
    };
    found.map(Path::to_owned).ok_or_else(none)
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let items = parse_pem(&content(path)?).collect::<Result<Vec<_>, _>>();
    let items = items.map_err(|_| usage(path, &"it is no file of certificates (PEM)"))?;
    let certificate = |item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    };
    Ok(items.into_iter().filter_map(certificate).collect())
}

/// The certificates of a file, or of every file in a directory.
fn authorities(path: &Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let found = if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| usage(path, &error))?;
        let files = entries.flatten().map(|entry| entry.path());
        files.flat_map(|file| certificates(&file).unwrap_or_default()).collect()
    } else {
        certificates(path)?
    };
    match found.is_empty() {
        true => Err(usage(path, &"there is no certificate authority in it (PEM)")),
        false => Ok(found),
    }
}

/// What a failed TLS handshake means for whoever typed the command; `None` when it was something else.
/// Nothing was sent then.
pub fn explain(error: &ureq::Error) -> Option<String> {
    let error = match error {
        ureq::Error::Rustls(error) => error,
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref::<rustls::Error>()?,
        _ => return None,
    };
    let advice = match error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is signed by nobody we trust. Name the authority with --cacert"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is made for another name. Use in --node a name or address that it was made for"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired, or the clock of this machine is wrong"
            }
            _ => "its certificate is not good",
        },
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA,
        ) => "it wants a certificate of ours that it trusts. Give --cert and --key",
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS here. Is it http:// and not https://?"
        }
        _ => return Some(error.to_string()),
    };
    Some(format!("{advice} ({error})"))
}
