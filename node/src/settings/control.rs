//! The doors of the control API: where it listens, with which certificates, and whom it lets in.
//!
//! The same three things come from `[control]` of `node.toml` and, in the Kea personality, from
//! `control-sockets` of the document (kea-api §1.3); both end as [`Listener`]s. Pure: files are named
//! here and read by whoever opens the door, so that they can be read again.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::config::HIDDEN;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself, to be compared or hashed.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// `[control]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Control {
    /// Addresses of plain HTTP. Default: 127.0.0.1:8000 (R26).
    pub listen: Vec<SocketAddr>,
    /// More of them, each with files and headers of its own.
    pub listener: Vec<ListenerSetting>,
    /// Who may come in through any of them. Empty: everybody may, and change everything.
    pub users: Vec<UserSetting>,
    /// What a browser shows when it asks for a password.
    pub realm: String,
    /// Unix socket. Whoever may write to it may change everything.
    pub socket: Option<PathBuf>,
    /// Largest request body in bytes.
    pub body_limit: usize,
    /// Whether `/metrics` has the numbers of each subnet and pool. Default: yes.
    pub subnet_metrics: bool,
    /// Where `config-write` and the like may write. Default: `written` in the data directory.
    pub write_dir: Option<PathBuf>,
    /// The listeners of Kea's document, in place of those above and of the users.
    #[serde(skip)]
    pub kea: Option<Vec<Listener>>,
}

impl Default for Control {
    fn default() -> Control {
        Control {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8000))],
            listener: Vec::new(),
            users: Vec::new(),
            realm: REALM.to_owned(),
            socket: None,
            body_limit: 64 << 20,
            subnet_metrics: true,
            write_dir: None,
            kea: None,
        }
    }
}

/// Kea's realm of a DHCPv4 server.
const REALM: &str = "kea-dhcpv4-server";

/// `[[control.listener]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ListenerSetting {
    /// Address and port.
    pub address: SocketAddr,
    /// Certificate chain, PEM. With it, and `key-file`, the listener speaks HTTPS.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
    /// Who may sign the certificates of clients: a PEM file, or a directory of them.
    pub trust_anchor: Option<PathBuf>,
    /// Whether a client must show one. Default: whether there is a `trust-anchor`.
    pub cert_required: Option<bool>,
    /// Headers for every answer.
    #[serde(default)]
    pub http_headers: Vec<Header>,
}

/// A header of every answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// `[[control.users]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UserSetting {
    /// The name. Without it `password-file` holds `user:password`.
    pub user: Option<String>,
    /// The password. A file is better.
    pub password: Option<Secret>,
    /// A file with it.
    pub password_file: Option<PathBuf>,
    /// What the user may do.
    #[serde(default)]
    pub role: Role,
}

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Ask.
    Read,
    /// Ask and change, as every user of Kea's may.
    #[default]
    Write,
}

/// One HTTP address of the control API, with everything that guards it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its certificates; plain HTTP without.
    pub tls: Option<Tls>,
    /// Who may come in; everybody when nobody is named.
    pub users: Vec<User>,
    /// See [`Control::realm`].
    pub realm: String,
    /// Headers of every answer.
    pub headers: Vec<Header>,
}

/// Names of the TLS files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// See [`ListenerSetting::cert_file`].
    pub cert_file: PathBuf,
    /// See [`ListenerSetting::key_file`].
    pub key_file: PathBuf,
    /// See [`ListenerSetting::trust_anchor`].
    pub trust_anchor: Option<PathBuf>,
    /// Whether a client must show a certificate.
    pub cert_required: bool,
}

/// A user of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name; `None` when the file of the password has it.
    pub name: Option<Given>,
    /// The password.
    pub password: Given,
    /// What the user may do.
    pub role: Role,
}

/// A text that stands in the settings or in a file of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// Here it is.
    Here(Secret),
    /// It is the content of this file, without the end of the last line.
    File(PathBuf),
}

impl Control {
    /// Every HTTP address, in the order of the settings.
    pub fn listeners(&self) -> Vec<Listener> {
        if let Some(kea) = &self.kea {
            return kea.clone();
        }
        let users: Vec<User> = self.users.iter().map(UserSetting::user).collect();
        let listener = |address, tls, headers: &[Header]| Listener {
            address,
            tls,
            users: users.clone(),
            realm: self.realm.clone(),
            headers: headers.to_vec(),
        };
        let plain = self.listen.iter().map(|address| listener(*address, None, &[]));
        let own = self
            .listener
            .iter()
            .map(|setting| listener(setting.address, setting.tls(), &setting.http_headers));
        plain.chain(own).collect()
    }

    /// What contradicts itself, with the remedy.
    pub(super) fn contradiction(&self) -> Option<String> {
        let of_user = self.users.iter().find_map(UserSetting::contradiction);
        let of_listener = || self.listener.iter().find_map(ListenerSetting::contradiction);
        if let Some(text) = of_user.or_else(of_listener) {
            return Some(text);
        }
        let mut names = HashSet::new();
        let mut named = self.users.iter().filter_map(|user| user.user.as_ref());
        if let Some(twice) = named.find(|name| !names.insert(*name)) {
            return Some(format!("[[control.users]] has {twice:?} twice"));
        }
        let mut addresses = HashSet::new();
        let twice = self.listeners().into_iter().find(|one| !addresses.insert(one.address))?;
        Some(format!("[control] listens on {} twice", twice.address))
    }
}

impl UserSetting {
    fn user(&self) -> User {
        let here = |text: &Secret| Given::Here(text.clone());
        let password = match (&self.password, &self.password_file) {
            (_, Some(file)) => Given::File(file.clone()),
            (password, None) => Given::Here(password.clone().unwrap_or_default()),
        };
        let name = self.user.as_deref().map(|name| here(&name.into()));
        User { name, password, role: self.role }
    }

    fn contradiction(&self) -> Option<String> {
        let who = self.user.as_deref().unwrap_or("without a name");
        if let Some(name) = &self.user
            && let Some(why) = bad_name(name)
        {
            return Some(format!("[[control.users]] {name:?}: {why}"));
        }
        match (&self.user, &self.password, &self.password_file) {
            (_, Some(password), _) if password.reveal() == HIDDEN => Some(format!(
                "[[control.users]] {who:?}: \"{HIDDEN}\" is shown in place of a password, and is none"
            )),
            (_, Some(_), Some(_)) => Some(format!(
                "[[control.users]] {who:?} has both password and password-file: one is enough"
            )),
            (_, None, None) => Some(format!(
                "[[control.users]] {who:?} has no password: set password-file = \"FILE\""
            )),
            (None, Some(_), None) => Some("[[control.users]]: a password needs a user".to_owned()),
            _ => None,
        }
    }
}

/// Why nobody can have this name.
pub fn bad_name(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("a user needs a name"),
        _ if name.contains(':') => Some("the name of a user has no colon in it"),
        _ if name.contains(char::is_control) => Some("the name of a user is one line of text"),
        _ => None,
    }
}

impl ListenerSetting {
    fn tls(&self) -> Option<Tls> {
        let (cert_file, key_file) = (self.cert_file.clone()?, self.key_file.clone()?);
        let cert_required = self.cert_required.unwrap_or(self.trust_anchor.is_some());
        Some(Tls { cert_file, key_file, trust_anchor: self.trust_anchor.clone(), cert_required })
    }

    fn contradiction(&self) -> Option<String> {
        let here = format!("[[control.listener]] {}", self.address);
        match (&self.cert_file, &self.key_file, &self.trust_anchor) {
            (Some(_), None, _) | (None, Some(_), _) => {
                Some(format!("{here}: cert-file and key-file belong together"))
            }
            (None, None, Some(_)) => {
                Some(format!("{here}: trust-anchor needs cert-file and key-file beside it"))
            }
            (_, _, None) if self.cert_required == Some(true) => Some(format!(
                "{here}: cert-required needs a trust-anchor, which says whose certificates are good"
            )),
            _ => None,
        }
    }
}

impl Listener {
    /// A listener of plain HTTP for everybody.
    pub fn plain(address: SocketAddr) -> Listener {
        let (users, headers) = (Vec::new(), Vec::new());
        Listener { address, tls: None, users, realm: REALM.to_owned(), headers }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// What an operator should know before strangers do.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let here = format!("the control API on {}", self.url());
        let asks = !self.users.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.cert_required);
        if !self.address.ip().is_loopback() {
            if !asks {
                warnings.push(format!(
                    "{here} asks nobody who he is: whoever reaches this address may change leases and configuration. \
                     Name users (authentication), ask for client certificates (trust-anchor), or listen on 127.0.0.1."
                ));
            } else if self.tls.is_none() {
                warnings.push(format!(
                    "{here} takes passwords over plain HTTP: whoever sees the traffic reads them. Add cert-file and \
                     key-file."
                ));
            }
        }
        for user in &self.users {
            if matches!(&user.password, Given::Here(_)) {
                let name = match &user.name {
                    Some(Given::Here(name)) => name.reveal(),
                    _ => "a user",
                };
                warnings.push(format!(
                    "{here}: the password of {name} stands in the settings in clear; put it into a file and name that \
                     as password-file."
                ));
            }
        }
        warnings
    }

    /// The listener that an entry of `control-sockets` describes. Relative names are taken from
    /// `beside`, the directory of the document.
    pub(super) fn of_kea(socket: &Value, beside: &Path) -> Result<Listener, String> {
        let kind = text(socket, "socket-type").unwrap_or_default();
        let address = match text(socket, "socket-address") {
            None => IpAddr::from([127, 0, 0, 1]),
            Some(text) => text
                .parse()
                .map_err(|_| format!("control-sockets: socket-address {text} is no address"))?,
        };
        let port = socket.get("socket-port").and_then(Value::as_u64).unwrap_or(8000);
        let port = u16::try_from(port)
            .map_err(|_| format!("control-sockets: socket-port {port} is no port"))?;
        let mut listener = Listener::plain(SocketAddr::new(address, port));
        let here = format!("control-sockets, {kind} {}", listener.address);
        listener.tls = kea_tls(socket, beside).map_err(|why| format!("{here}: {why}"))?;
        if kind == "https" && listener.tls.is_none() {
            return Err(format!("{here}: https needs trust-anchor, cert-file and key-file"));
        }
        for header in socket.get("http-headers").and_then(Value::as_array).into_iter().flatten() {
            let part = |name| text(header, name).unwrap_or_default().to_owned();
            listener.headers.push(Header { name: part("name"), value: part("value") });
        }
        if let Some(authentication) = socket.get("authentication") {
            if let Some(realm) = text(authentication, "realm") {
                listener.realm = realm.to_owned();
            }
            let directory = text(authentication, "directory").map(Path::new);
            let clients = authentication.get("clients").and_then(Value::as_array);
            for client in clients.into_iter().flatten() {
                let user = kea_user(client, directory, beside);
                listener.users.push(user.map_err(|why| format!("{here}: {why}"))?);
            }
        }
        Ok(listener)
    }
}

fn text<'a>(map: &'a Value, key: &str) -> Option<&'a str> {
    map.get(key).and_then(Value::as_str)
}

fn kea_tls(socket: &Value, beside: &Path) -> Result<Option<Tls>, String> {
    let file = |key| text(socket, key).filter(|name| !name.is_empty()).map(|it| beside.join(it));
    let required = socket.get("cert-required").and_then(Value::as_bool).unwrap_or(true);
    match (file("trust-anchor"), file("cert-file"), file("key-file")) {
        (None, None, None) => Ok(None),
        (Some(anchor), Some(cert_file), Some(key_file)) => Ok(Some(Tls {
            cert_file,
            key_file,
            trust_anchor: Some(anchor),
            cert_required: required,
        })),
        _ => Err("trust-anchor, cert-file and key-file belong together: all or none".to_owned()),
    }
}

fn kea_user(client: &Value, directory: Option<&Path>, beside: &Path) -> Result<User, String> {
    // Kea puts the directory before every name, with a slash in front or not.
    let file = |name: &str| match directory {
        Some(directory) => beside.join(directory).join(name.trim_start_matches('/')),
        None => beside.join(name),
    };
    let given = |clear: &str, in_file: &str| match (text(client, clear), text(client, in_file)) {
        (Some(_), Some(_)) => Err(format!("a client has both {clear} and {in_file}")),
        (Some(clear), None) => Ok(Some(Given::Here(clear.into()))),
        (None, Some(name)) => Ok(Some(Given::File(file(name)))),
        (None, None) => Ok(None),
    };
    let name = given("user", "user-file")?;
    let password = given("password", "password-file")?;
    if let Some(Given::Here(name)) = &name
        && let Some(why) = bad_name(name.reveal())
    {
        return Err(why.to_owned());
    }
    let role = match client.get("user-context").and_then(|context| text(context, "role")) {
        None | Some("write") => Role::Write,
        Some("read") => Role::Read,
        Some(other) => return Err(format!("the role of a client is read or write, not {other:?}")),
    };
    match (name, password) {
        (None, None | Some(Given::Here(_))) => {
            Err("a client has neither user nor user-file nor a password-file with both".to_owned())
        }
        (name, password) => {
            let password = password.unwrap_or_else(|| Given::Here(Secret::default()));
            Ok(User { name, password, role })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(socket: Value) -> Result<Listener, String> {
        Listener::of_kea(&socket, Path::new("/etc/kea"))
    }

    #[test]
    fn a_socket_of_kea_says_who_may_come_in() {
        let listener = of(json!({
            "socket-type": "https", "socket-address": "192.0.2.1", "socket-port": 8443,
            "trust-anchor": "ca.pem", "cert-file": "/etc/ssl/cert.pem", "key-file": "key.pem", "cert-required": false,
            "http-headers": [{"name": "Strict-Transport-Security", "value": "max-age=1"}],
            "authentication": {"type": "basic", "realm": "lab", "directory": "/etc/secrets", "clients": [
                {"user": "admin", "password": "clear"},
                {"user": "stork", "password-file": "stork", "user-context": {"role": "read"}},
                {"password-file": "/both"},
            ]},
        }))
        .unwrap();
        assert_eq!(listener.url(), "https://192.0.2.1:8443");
        let tls = listener.tls.as_ref().unwrap();
        assert_eq!(tls.trust_anchor, Some("/etc/kea/ca.pem".into()));
        assert_eq!(tls.cert_file, Path::new("/etc/ssl/cert.pem"));
        assert!(!tls.cert_required);
        assert_eq!((listener.realm.as_str(), listener.headers.len()), ("lab", 1));
        let [admin, stork, both] = &listener.users[..] else { panic!("{listener:?}") };
        assert_eq!((admin.role, stork.role), (Role::Write, Role::Read));
        assert_eq!(stork.password, Given::File("/etc/secrets/stork".into()));
        assert_eq!((&both.name, &both.password), (&None, &Given::File("/etc/secrets/both".into())));
        assert!(!format!("{listener:?}").contains("clear"), "{listener:?}");
        let warnings = listener.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("admin") && !warnings[0].contains("clear pass"));
    }

    #[test]
    fn a_socket_that_cannot_be_guarded_as_it_says_is_a_mistake() {
        for (socket, part) in [
            (json!({"socket-type": "https"}), "https needs"),
            (json!({"socket-type": "http", "cert-file": "x"}), "all or none"),
            (json!({"socket-type": "http", "socket-address": "here"}), "no address"),
            (
                json!({"socket-type": "http", "authentication": {"clients": [{"password": "x"}]}}),
                "neither user",
            ),
            (
                json!({"socket-type": "http", "authentication": {"clients": [{"user": "a:b"}]}}),
                "colon",
            ),
            (
                json!({"socket-type": "http", "authentication": {"clients": [
                    {"user": "a", "password": "x", "user-context": {"role": "root"}}]}}),
                "read or write",
            ),
        ] {
            let error = of(socket.clone()).unwrap_err();
            assert!(error.contains(part), "{socket}: {error}");
        }
    }

    #[test]
    fn an_open_door_to_the_world_is_warned_of() {
        let mut listener = Listener::plain("192.0.2.1:8000".parse().unwrap());
        assert!(listener.warnings()[0].contains("asks nobody"), "{:?}", listener.warnings());
        assert_eq!(Listener::plain("127.0.0.1:8000".parse().unwrap()).warnings(), [""; 0]);
        let password = Given::File("/x".into());
        listener.users = vec![User { name: None, password, role: Role::Read }];
        assert!(listener.warnings()[0].contains("plain HTTP"), "{:?}", listener.warnings());
    }
}
