//! Doors with locks: TLS, users and roles over real sockets, and what is said of it afterwards.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::testing::Fake;
use super::{Api, Door, Limits, http};
use crate::settings::{Given, Header, Listener, Role, Secret, Tls, User};

struct Server {
    fake: Arc<Fake>,
    door: Arc<Door>,
    address: SocketAddr,
    _stop: watch::Sender<bool>,
}

async fn server(guarded: impl FnOnce(&mut Listener), limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut setting = Listener::plain(address);
    guarded(&mut setting);
    let door = Door::new(setting).unwrap();
    let fake = Fake::new();
    let api = Api::new(Arc::clone(&fake) as _, limits);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(http::serve(api, listener, Arc::clone(&door), stopped));
    Server { fake, door, address, _stop: stop }
}

fn user(name: &str, password: &str, role: Role) -> User {
    let here = |text: &str| Given::Here(Secret::from(text));
    User { name: Some(here(name)), password: here(password), role }
}

/// Two users: `admin` may write, `stork` may read.
fn two_users(listener: &mut Listener) {
    listener.users =
        vec![user("admin", "pass-a", Role::Write), user("stork", "pass-s", Role::Read)];
    listener.headers =
        vec![Header { name: "Strict-Transport-Security".into(), value: "max-age=9".into() }];
}

fn post(command: &str, arguments: Value, user: Option<&str>) -> String {
    let body = json!({ "command": command, "arguments": arguments }).to_string();
    let authorization = user.map_or_else(String::new, |user| {
        format!("Authorization: bASIC {}\r\n", STANDARD.encode(user))
    });
    format!(
        "POST / HTTP/1.1\r\nHost: x\r\n{authorization}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// One answer: its head, and its body.
async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &str,
) -> (String, String) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.unwrap();
        assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&got);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase();
            let length = length.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.unwrap().parse::<usize>().unwrap() {
                return (head.to_owned(), body.to_owned());
            }
        }
    }
}

impl Server {
    async fn ask(&self, request: &str) -> (String, String) {
        exchange(&mut TcpStream::connect(self.address).await.unwrap(), request).await
    }

    async fn reply(&self, command: &str, arguments: Value, user: &str) -> Value {
        let (head, body) = self.ask(&post(command, arguments, Some(user))).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}\n{body}");
        serde_json::from_str::<Value>(&body).unwrap()[0].take()
    }
}

#[tokio::test]
async fn strangers_are_refused_and_readers_change_nothing() {
    let server = server(two_users, Limits::default()).await;
    let lease = json!({ "ip-address": "192.0.2.100", "hw-address": "02:00:00:00:00:01" });
    for stranger in [None, Some("admin:"), Some("stork:pass-a"), Some("nobody:pass-a")] {
        let (head, body) = server.ask(&post("version-get", Value::Null, stranger)).await;
        assert!(head.starts_with("HTTP/1.1 401"), "{head}");
        let lower = head.to_lowercase();
        assert!(lower.contains("www-authenticate: basic realm=\"kea-dhcpv4-server\""), "{head}");
        assert!(lower.contains("strict-transport-security: max-age=9"), "{head}");
        assert!(lower.contains("content-type: application/json") && lower.contains("\r\ndate: "));
        assert_eq!(body, r#"{ "result": 401, "text": "Unauthorized" }"#);
    }
    // What is not a command has the same door, and a reader may ask.
    let request = |authorization: &str| {
        format!(
            "GET /v1/leases?consistency=local HTTP/1.1\r\nHost: x\r\n{authorization}Connection: close\r\n\r\n"
        )
    };
    let (head, _) = server.ask(&request("")).await;
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let reader = format!("Authorization: Basic {}\r\n", STANDARD.encode("stork:pass-s"));
    stream.write_all(request(&reader).as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("\r\n0\r\n\r\n"), "a whole answer: {answer}");
    let stork = Some("stork:pass-s");
    let (head, body) = server.ask(&post("lease4-add", lease.clone(), stork)).await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    assert_eq!(body, r#"{ "result": 403, "text": "Forbidden" }"#);
    let reply = server.reply("lease4-get", lease.clone(), "stork:pass-s").await;
    assert_eq!(reply["result"], 3, "nothing was added: {reply}");
    assert_eq!(server.reply("nope", Value::Null, "stork:pass-s").await["result"], 2);
    assert_eq!(server.reply("lease4-add", lease, "admin:pass-a").await["result"], 0);

    let get = |path: &str, user: &str| {
        let user = STANDARD.encode(user);
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {user}\r\n\r\n")
    };
    for path in ["/health/live", "/health/ready"] {
        let (head, _) = server.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
    assert!(server.ask(&get("/metrics", "a:b")).await.0.starts_with("HTTP/1.1 401"));
    assert!(server.ask(&get("/metrics", "stork:pass-s")).await.0.starts_with("HTTP/1.1 200"));
    assert!(server.ask(&get("/anything/else", "a:b")).await.0.starts_with("HTTP/1.1 401"));
}

/// An authority, and what it signed.
struct Authority {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        Authority { dir, issuer: Issuer::new(params, key) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn sign(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.file(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn tls(&self, name: &str, anchor: Option<PathBuf>, cert_required: bool) -> Tls {
        Tls {
            cert_file: self.file(&format!("{name}.pem")),
            key_file: self.file(&format!("{name}.key")),
            trust_anchor: anchor,
            cert_required,
        }
    }

    /// A client that trusts the authority and shows the certificate of that name.
    fn client(&self, show: Option<&str>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match show {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::from_pem_file(self.file(&format!("{name}.pem")));
                let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key")));
                builder.with_client_auth_cert(vec![chain.unwrap()], key.unwrap()).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;

async fn connect(client: &TlsConnector, to: SocketAddr) -> std::io::Result<TlsStream> {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    client.connect(name, TcpStream::connect(to).await.unwrap()).await
}

/// Whether a request is answered. A client learns that its certificate is missing after the handshake.
async fn is_served(client: &TlsConnector, to: SocketAddr) -> bool {
    let Ok(mut stream) = connect(client, to).await else { return false };
    let request = post("version-get", Value::Null, Some("admin:pass-a"));
    let mut got = Vec::new();
    let asked = async {
        stream.write_all(request.as_bytes()).await?;
        stream.read_buf(&mut got).await
    };
    matches!(asked.await, Ok(1..)) && got.starts_with(b"HTTP/1.1 200")
}

#[tokio::test]
async fn tls_with_and_without_certificates_of_clients() {
    let ours = Authority::new();
    ours.sign("node");
    ours.sign("client");
    let theirs = Authority::new();
    theirs.sign("client");
    // A directory as OpenSSL has it, with a stray file in it.
    let hashed = ours.file("hashed");
    std::fs::create_dir(&hashed).unwrap();
    std::fs::copy(ours.file("ca.pem"), hashed.join("0a1b2c3d.0")).unwrap();
    std::fs::write(hashed.join("README"), "not a certificate").unwrap();

    let stranger = ours.client(None);
    let known = ours.client(Some("client"));
    // It shows a certificate of another authority where one is asked for.
    std::fs::copy(theirs.file("client.pem"), ours.file("forged.pem")).unwrap();
    std::fs::copy(theirs.file("client.key"), ours.file("forged.key")).unwrap();
    let forger = ours.client(Some("forged"));
    for (anchor, required, served) in [
        (Some(ours.file("ca.pem")), true, [false, true, false]),
        (Some(hashed.clone()), true, [false, true, false]),
        (Some(hashed), false, [true, true, false]),
        (None, false, [true, true, true]),
    ] {
        let tls = ours.tls("node", anchor, required);
        let guarded = |listener: &mut Listener| {
            two_users(listener);
            listener.tls = Some(tls);
        };
        let server = server(guarded, Limits::default()).await;
        for (client, served) in [&stranger, &known, &forger].into_iter().zip(served) {
            assert_eq!(is_served(client, server.address).await, served, "{required}");
        }
        assert!(!is_served(&theirs.client(None), server.address).await, "it trusts another one");
        // Plain HTTP at this door ends in silence, and the door stays open.
        let mut plain = TcpStream::connect(server.address).await.unwrap();
        plain.write_all(b"GET /health/live HTTP/1.0\r\n\r\n").await.unwrap();
        let mut got = Vec::new();
        let _ = plain.read_to_end(&mut got).await;
        assert!(!got.starts_with(b"HTTP"), "{got:?}");
        assert!(is_served(&known, server.address).await);
    }
}

#[tokio::test]
async fn files_are_read_again_and_connections_go_on() {
    let authority = Authority::new();
    authority.sign("node");
    let password = authority.file("password");
    let write = |text: &str| {
        std::fs::write(&password, text).unwrap();
        std::fs::set_permissions(&password, PermissionsExt::from_mode(0o600)).unwrap();
    };
    write("admin:first\n");
    let tls = authority.tls("node", None, false);
    let file = password.clone();
    let guarded = |listener: &mut Listener| {
        listener.tls = Some(tls);
        let password = Given::File(file);
        listener.users = vec![User { name: None, password, role: Role::Write }];
    };
    let server = server(guarded, Limits::default()).await;
    let client = authority.client(None);
    let mut kept = connect(&client, server.address).await.unwrap();
    let certificate =
        |stream: &TlsStream| stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let first = certificate(&kept);
    let version = |password: &str| post("version-get", Value::Null, Some(password));
    assert!(exchange(&mut kept, &version("admin:first")).await.0.starts_with("HTTP/1.1 200"));

    write("admin:second\n");
    authority.sign("node");
    server.door.read_again().unwrap();
    // The connection is the same; the password is not.
    assert!(exchange(&mut kept, &version("admin:first")).await.0.starts_with("HTTP/1.1 401"));
    assert!(exchange(&mut kept, &version("admin:second")).await.0.starts_with("HTTP/1.1 200"));
    assert_ne!(certificate(&connect(&client, server.address).await.unwrap()), first);

    // What cannot be used changes nothing.
    write("admin:third");
    std::fs::write(authority.file("node.key"), "no key").unwrap();
    let error = server.door.read_again().unwrap_err();
    assert!(error.contains("node.key") && !error.contains("third"), "{error}");
    assert!(exchange(&mut kept, &version("admin:second")).await.0.starts_with("HTTP/1.1 200"));
    assert!(connect(&client, server.address).await.is_ok());
}

#[tokio::test]
async fn an_address_that_tries_passwords_is_slowed_down_and_told_to_come_later() {
    let server = server(two_users, Limits::default()).await;
    let guess = post("version-get", Value::Null, Some("admin:guess"));
    for _ in 0..10 {
        assert!(server.ask(&guess).await.0.starts_with("HTTP/1.1 401"));
    }
    // Many at once, on as many connections: few are judged, and a right one among them waits as long.
    let mut all = tokio::task::JoinSet::new();
    for number in 0..40 {
        let user = if number == 20 { "admin:pass-a" } else { "admin:guess" };
        let (address, request) = (server.address, post("version-get", Value::Null, Some(user)));
        all.spawn(async move {
            exchange(&mut TcpStream::connect(address).await.unwrap(), &request).await.0
        });
    }
    let heads = all.join_all().await;
    let later = heads.iter().filter(|head| head.starts_with("HTTP/1.1 429")).count();
    assert!(later >= 25, "{later} of 40: {heads:?}");
    // Whoever brings no password is refused at once, as ever; the health of the node is no secret.
    let (head, _) = server.ask(&post("version-get", Value::Null, None)).await;
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
    let (head, _) = server.ask("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

#[tokio::test]
async fn a_slow_handshake_ends_and_holds_up_nobody() {
    let authority = Authority::new();
    authority.sign("node");
    let tls = authority.tls("node", None, false);
    let limits =
        Limits { handshake: Duration::from_millis(300), connections: 8, ..Limits::default() };
    let guarded = |listener: &mut Listener| {
        two_users(listener);
        listener.tls = Some(tls);
    };
    let server = server(guarded, limits).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // The beginning of a handshake record, and no more.
        stream.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
        slow.push(stream);
    }
    assert!(is_served(&authority.client(None), server.address).await);
    for mut stream in slow {
        let mut got = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut got));
        let _ = closed.await.expect("it is closed");
    }
}

/// Collects log lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Everything that this thread logs until the guard is dropped, at every level.
    fn collect(&self) -> tracing::subscriber::DefaultGuard {
        let lines = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || lines.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }

    fn audit(&self) -> Vec<String> {
        self.text().lines().filter(|line| line.contains(" audit: ")).map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn each_write_has_a_line_in_the_audit_log() {
    let lines = Lines::default();
    let _collecting = lines.collect();
    let server = server(two_users, Limits::default()).await;
    let lease = json!({ "ip-address": "192.0.2.100", "hw-address": "02:00:00:00:00:01",
        "hostname": "quiet", "user-context": { "x": "quiet" } });
    let _ = server.reply("lease4-add", lease.clone(), "admin:pass-a").await;
    let _ = server.reply("lease4-add", lease.clone(), "admin:pass-a").await;
    let _ = server.reply("lease4-get", lease.clone(), "admin:pass-a").await;
    let _ = server.ask(&post("lease4-del", lease, Some("stork:pass-s"))).await;
    let audit = lines.audit();
    let [added, again, forbidden] = &audit[..] else { panic!("{audit:#?}") };
    let index = server.fake.index();
    for part in [
        "user=admin from=127.0.0.1 node=rack-b command=lease4-add",
        "object=\"ip-address 192.0.2.100 hw-address 02:00:00:00:00:01\" result=0",
        &format!("index={}", index - 1),
        "note=\"an explicit lease command",
    ] {
        assert!(added.contains(part), "{part:?} not in {added}");
    }
    assert!(again.contains("result=4") && again.contains(&format!("index={index}")), "{again}");
    assert!(!again.contains("note="), "{again}");
    assert!(forbidden.contains("user=stork") && forbidden.contains("result=403"), "{forbidden}");
    let text = lines.text();
    for secret in ["quiet", "pass-a", "pass-s", &STANDARD.encode("admin:pass-a")] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test]
async fn secrets_leave_the_node_in_no_answer_and_no_log_line() {
    let lines = Lines::default();
    let _collecting = lines.collect();
    let server = server(two_users, Limits::default()).await;
    let source = r#"{ "Dhcp4": { // "password": "swordfish"
  "control-sockets": [ { "socket-type": "http", "authentication": { "type": "basic", "clients": [
      { "user": "a", "password": "swordfish" } ] } } ],
  "lease-database": { "type": "mysql", "password": "swordfish" } } }"#;
    let admin = "admin:pass-a";
    let ask = |command: &'static str, arguments: Value| {
        let server = &server;
        async move { server.reply(command, arguments, admin).await }
    };
    let set = ask("config-set", json!({ "document": source, "author": "bob" })).await;
    assert_eq!(set["result"], 0, "{set}");
    let got = ask("config-get", Value::Null).await;
    let first = ask("config-history-get", json!({ "version": 2 })).await;
    assert!(first["arguments"]["author"].as_str().unwrap().starts_with("bob as admin"), "{first}");
    assert!(
        first["arguments"]["document"].as_str().unwrap().contains("{ // \"password\": \"*****\"")
    );

    // Both that were shown can be set again, and nothing has changed.
    let shown = json!({ "Dhcp4": got["arguments"]["Dhcp4"] });
    let again = ask("config-set", shown).await;
    assert_eq!(again["arguments"]["hash"], got["arguments"]["hash"], "{again}");
    let again = ask("config-set", json!({ "document": first["arguments"]["document"] })).await;
    assert_eq!(again["arguments"]["hash"], got["arguments"]["hash"], "{again}");
    let rolled = ask("config-rollback", json!({ "version": 2 })).await;
    assert_eq!(rolled["result"], 0, "{rolled}");

    let unknown =
        json!({ "Dhcp4": { "hosts-database": { "type": "mysql", "password": "*****" } } });
    let refused = ask("config-set", unknown).await;
    assert_eq!(refused["result"], 1);
    let text = refused["text"].as_str().unwrap();
    assert!(text.contains("there is none") && text.contains(":1:"), "{text}");

    let diff = ask("config-diff", json!({ "from": 1, "to": 2, "of": "document" })).await;
    let sources = ask("config-diff", json!({ "from": 1, "to": 2, "of": "source" })).await;
    let list = ask("config-history", Value::Null).await;
    for answer in [&set, &got, &first, &again, &refused, &diff, &sources, &list] {
        assert!(!answer.to_string().contains("swordfish"), "{answer}");
    }
    assert!(!lines.text().contains("swordfish"), "{}", lines.text());
    assert!(list["arguments"]["versions"][0]["sha256"].is_string());
    let list = server.reply("config-history", Value::Null, "stork:pass-s").await;
    assert!(list["arguments"]["versions"][0]["sha256"].is_null(), "{list}");
}

#[test]
fn a_door_without_its_files_does_not_open() {
    let plain = Listener::plain(SocketAddr::from(([127, 0, 0, 1], 0)));
    let gone = |name: &str| Path::new("/nonexistent").join(name);
    let tls = Tls {
        cert_file: gone("cert"),
        key_file: gone("key"),
        trust_anchor: None,
        cert_required: false,
    };
    let error = Door::new(Listener { tls: Some(tls), ..plain.clone() }).unwrap_err();
    assert!(error.contains("/nonexistent/cert"), "{error}");
    let header = Header { name: "a b".into(), value: "x".into() };
    assert!(Door::new(Listener { headers: vec![header], ..plain }).unwrap_err().contains("a b"));
}
