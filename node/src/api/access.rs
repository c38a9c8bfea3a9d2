//! Who may come in: the doors of the HTTP API, their certificates, and their users.
//!
//! A [`Door`] is one listener. What guards it is read from files when it opens, and again when the
//! operator asks for it: connections go on, and each request is judged by what was read last, so that a user
//! who is struck off is out at once. Files that cannot be read leave everything as it was.
//!
//! Passwords are not kept: a salted hash of `user:password` is, and all of them are compared with a
//! request, in constant time, so that neither a name nor a part of a password can be guessed by the clock.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::RwLock;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoClientAuth, ServerConfig, WebPkiClientVerifier};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::spec::{Access, Caller};
use crate::settings::{Given, Listener, Role, Tls, User, bad_name};

/// More than any password file has, or any certificate of ours.
const MOST_BYTES: u64 = 1 << 20;
/// The longest name with its password, bytes.
const MOST_CREDENTIALS: usize = 4096;
/// The most files of a directory of trust anchors.
const MOST_ANCHORS: usize = 4096;

/// One listener of the HTTP API.
#[derive(Debug)]
pub struct Door {
    address: SocketAddr,
    inside: RwLock<(Listener, Arc<Guard>)>,
}

impl Door {
    /// A door as the settings describe it.
    ///
    /// # Errors
    /// A file that cannot be used, with its name.
    pub fn new(listener: Listener) -> Result<Arc<Door>, String> {
        let guard = Arc::new(Guard::read(&listener)?);
        Ok(Arc::new(Door { address: listener.address, inside: RwLock::new((listener, guard)) }))
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What guards it now.
    pub fn guard(&self) -> Arc<Guard> {
        self.inside.read().1.clone()
    }

    /// Reads its files again.
    ///
    /// # Errors
    /// As [`Door::new`]; nothing has changed then.
    pub fn read_again(&self) -> Result<(), String> {
        let listener = self.inside.read().0.clone();
        self.change(listener)
    }

    /// Guards it as `listener` says, whose address does not count.
    ///
    /// # Errors
    /// As [`Door::new`]; nothing has changed then.
    pub fn change(&self, listener: Listener) -> Result<(), String> {
        let guard = Arc::new(Guard::read(&listener)?);
        *self.inside.write() = (listener, guard);
        Ok(())
    }

    /// What the operator should know of it.
    pub fn warnings(&self) -> Vec<String> {
        let inside = self.inside.read();
        let mut warnings = inside.0.warnings();
        warnings.extend_from_slice(&inside.1.warnings);
        warnings
    }
}

/// What guards a door.
pub struct Guard {
    /// For the handshake; plain HTTP without.
    pub tls: Option<Arc<ServerConfig>>,
    /// Headers for every answer.
    pub headers: HeaderMap,
    /// The `WWW-Authenticate` of a refusal.
    challenge: HeaderValue,
    /// Nobody has to say who he is when it is empty.
    users: Vec<Known>,
    salt: [u8; 16],
    warnings: Vec<String>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.users.iter().map(|user| &*user.name).collect();
        write!(f, "guard of {names:?}, TLS {}", self.tls.is_some())
    }
}

struct Known {
    name: String,
    access: Access,
    /// Of salt, name, colon, password.
    digest: [u8; 32],
}

impl Guard {
    fn read(listener: &Listener) -> Result<Guard, String> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|error| format!("no random number: {error}"))?;
        let mut warnings = Vec::new();
        let mut users: Vec<Known> = Vec::new();
        for user in &listener.users {
            let user = known(user, &salt, &mut warnings)?;
            if users.iter().any(|other| other.name == user.name) {
                return Err(format!("the user {:?} is named twice", user.name));
            }
            users.push(user);
        }
        let realm = listener.realm.replace(['"', '\\'], "'");
        let challenge = HeaderValue::from_str(&format!("Basic realm=\"{realm}\""))
            .map_err(|_| format!("the realm {:?} is no text of one line", listener.realm))?;
        let mut headers = HeaderMap::new();
        for header in &listener.headers {
            let bad = || format!("{:?} is no HTTP header", header.name);
            let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| bad())?;
            headers.append(name, HeaderValue::from_str(&header.value).map_err(|_| bad())?);
        }
        let tls = listener.tls.as_ref().map(server_config).transpose()?;
        Ok(Guard { tls, headers, challenge, users, salt, warnings })
    }

    /// Who sends a request from `from` with these headers; the value of `WWW-Authenticate` if that
    /// cannot be told.
    pub fn caller(&self, headers: &HeaderMap, from: &str) -> Result<Caller, HeaderValue> {
        if self.users.is_empty() {
            return Ok(Caller::anybody(from));
        }
        let user = headers
            .get(axum::http::header::AUTHORIZATION)
            .and_then(credentials)
            .and_then(|credentials| self.user(&credentials))
            .ok_or_else(|| self.challenge.clone())?;
        Ok(Caller { user: Some(user.name.clone()), from: from.to_owned(), access: user.access })
    }

    fn user(&self, credentials: &[u8]) -> Option<&Known> {
        let digest = digest(&self.salt, credentials);
        let mut found = u64::MAX;
        for (at, user) in (0_u64..).zip(&self.users) {
            found.conditional_assign(&at, user.digest.ct_eq(&digest));
        }
        self.users.get(usize::try_from(found).ok()?)
    }
}

fn digest(salt: &[u8], credentials: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(credentials).finalize().into()
}

/// `user:password` of an `Authorization` header (RFC 7617). The word of the scheme may be written in
/// any case.
fn credentials(header: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, rest) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || rest.len() > MOST_CREDENTIALS.div_ceil(3) * 4 {
        return None;
    }
    STANDARD.decode(rest.trim()).ok()
}

fn known(user: &User, salt: &[u8], warnings: &mut Vec<String>) -> Result<Known, String> {
    let password = given(&user.password, warnings)?;
    let (name, password) = match (&user.name, &user.password) {
        (Some(name), _) => (given(name, &mut Vec::new())?, password),
        (None, Given::File(file)) => match password.split_once(':') {
            Some((name, password)) => (name.to_owned(), password.to_owned()),
            None => return Err(format!("{}: there is no user:password in it", file.display())),
        },
        (None, Given::Here(_)) => return Err("a password without a user".to_owned()),
    };
    if let Some(why) = bad_name(&name) {
        return Err(why.to_owned());
    }
    if name.len() + password.len() + 1 > MOST_CREDENTIALS {
        return Err(format!("the password of {name} is longer than {MOST_CREDENTIALS} bytes"));
    }
    let digest = digest(salt, format!("{name}:{password}").as_bytes());
    let access = match user.role {
        Role::Read => Access::Read,
        Role::Write => Access::Write,
    };
    Ok(Known { name, access, digest })
}

/// The text that was given, or that of its file without the end of the last line.
fn given(given: &Given, warnings: &mut Vec<String>) -> Result<String, String> {
    match given {
        Given::Here(text) => Ok(text.reveal().to_owned()),
        Given::File(path) => {
            let bytes = bytes(path)?;
            let mode = std::fs::metadata(path).map(|meta| meta.permissions().mode());
            if mode.is_ok_and(|mode| mode & 0o004 != 0) {
                warnings.push(format!(
                    "everybody on this machine may read the password in {}: chmod o= it.",
                    path.display()
                ));
            }
            let text = String::from_utf8(bytes)
                .map_err(|_| format!("{}: it is no text in UTF-8", path.display()))?;
            let line = text.strip_suffix('\n').unwrap_or(&text);
            Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
        }
    }
}

/// The content of a small file. A pipe or a device is none: reading it may never end.
fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let wrong = |why: &dyn fmt::Display| format!("{}: {why}", path.display());
    let meta = std::fs::metadata(path).map_err(|error| wrong(&error))?;
    match (meta.is_file(), meta.len()) {
        (false, _) => Err(wrong(&"it is no file")),
        (_, MOST_BYTES..) => Err(wrong(&format!("it has more than {MOST_BYTES} bytes"))),
        _ => std::fs::read(path).map_err(|error| wrong(&error)),
    }
}

fn server_config(tls: &Tls) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = match &tls.trust_anchor {
        None => Arc::new(NoClientAuth),
        Some(anchor) => {
            let roots = Arc::new(anchors(anchor)?);
            let builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
            let builder = if tls.cert_required { builder } else { builder.allow_unauthenticated() };
            builder.build().map_err(|error| format!("{}: {error}", anchor.display()))?
        }
    };
    let chain = certificates(&tls.cert_file)?;
    if chain.is_empty() {
        return Err(format!("{}: there is no certificate in it (PEM)", tls.cert_file.display()));
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes(&tls.key_file)?)
        .map_err(|_| format!("{}: there is no private key in it (PEM)", tls.key_file.display()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| {
            let (cert, key) = (tls.cert_file.display(), tls.key_file.display());
            format!("{cert} and {key} cannot be used together: {error}")
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(&bytes(path)?)
        .collect::<Result<_, _>>()
        .map_err(|_| format!("{}: it is no file of certificates (PEM)", path.display()))
}

/// The certificates of a file, or of every file in a directory, such as `openssl rehash` makes.
fn anchors(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if path.is_dir() {
        let entries =
            std::fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
        for entry in entries.flatten().take(MOST_ANCHORS) {
            // There may be keys and revocation lists beside them, and a link twice.
            let found = certificates(&entry.path()).unwrap_or_default();
            roots.add_parsable_certificates(found);
        }
    } else {
        roots.add_parsable_certificates(certificates(path)?);
    }
    match roots.is_empty() {
        true => Err(format!("{}: there is no certificate authority in it (PEM)", path.display())),
        false => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Secret;

    fn guard(users: Vec<User>) -> Result<Guard, String> {
        let plain = Listener::plain(SocketAddr::from(([127, 0, 0, 1], 0)));
        Guard::read(&Listener { users, ..plain })
    }

    fn user(name: &str, password: &str, role: Role) -> User {
        let here = |text: &str| Given::Here(Secret::from(text));
        User { name: Some(here(name)), password: here(password), role }
    }

    fn ask(guard: &Guard, authorization: &str) -> Option<Caller> {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(authorization).unwrap());
        guard.caller(&headers, "192.0.2.9").ok()
    }

    #[test]
    fn a_user_is_known_by_name_and_password() {
        let guard =
            guard(vec![user("admin", "a:b", Role::Write), user("stork", "", Role::Read)]).unwrap();
        let basic = |text: &str| format!("bAsIc {}", STANDARD.encode(text));
        let admin = ask(&guard, &basic("admin:a:b")).unwrap();
        assert_eq!((admin.user.as_deref(), admin.access), (Some("admin"), Access::Write));
        assert_eq!(ask(&guard, &basic("stork:")).unwrap().access, Access::Read);
        for wrong in ["admin:a", "admin", "stork:a:b", ":", "", "Admin:a:b"] {
            assert_eq!(ask(&guard, &basic(wrong)), None, "{wrong}");
        }
        for wrong in ["Basic", "Basic !", "Bearer YWRtaW46YTpi", "YWRtaW46YTpi", ""] {
            assert_eq!(ask(&guard, wrong), None, "{wrong}");
        }
        assert_eq!(ask(&guard, &basic(&"x".repeat(10_000))), None);
        let challenge = guard.caller(&HeaderMap::new(), "192.0.2.9").unwrap_err();
        assert_eq!(challenge, "Basic realm=\"kea-dhcpv4-server\"");
        assert!(!format!("{guard:?}").contains("a:b"));
    }

    #[test]
    fn without_users_everybody_may_do_everything() {
        let caller = guard(Vec::new()).unwrap().caller(&HeaderMap::new(), "192.0.2.9").unwrap();
        assert_eq!(caller, Caller::anybody("192.0.2.9"));
    }

    #[test]
    fn files_hold_names_and_passwords_and_are_named_when_they_cannot_be_used() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            Given::File(path)
        };
        let both = User { name: None, password: file("both", "admin:pa:ss\n"), role: Role::Write };
        let guard = guard(vec![both.clone()]).unwrap();
        assert!(guard.warnings.is_empty(), "{:?}", guard.warnings);
        assert!(ask(&guard, &format!("Basic {}", STANDARD.encode("admin:pa:ss"))).is_some());

        let open = file("open", "x");
        let Given::File(path) = &open else { panic!() };
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
        let readable = User { password: open, ..user("a", "", Role::Read) };
        assert!(self::guard(vec![readable]).unwrap().warnings[0].contains("open"));

        for (users, part) in [
            (vec![User { password: file("none", "no colon"), ..both.clone() }], "none"),
            (vec![User { password: Given::File(dir.path().join("gone")), ..both.clone() }], "gone"),
            (vec![User { password: Given::File(dir.path().into()), ..both.clone() }], "no file"),
            (vec![user("a", "1", Role::Read), user("a", "2", Role::Write)], "twice"),
        ] {
            let error = self::guard(users).unwrap_err();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("no colon"), "{error}");
        }
    }
}
