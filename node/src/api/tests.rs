//! Dispatcher and transports over a backend without Raft: sockets on loopback, real bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

use super::backend::Backend;
use super::testing::Fake;
use super::{Api, Door, Limits, http, unix};
use crate::api::json::Bounds;
use crate::settings::Listener;

pub(super) struct Server {
    pub(super) fake: Arc<Fake>,
    api: Arc<Api>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
}

pub(super) async fn server(limits: Limits) -> Server {
    let fake = Fake::new();
    let (stop, stopped) = watch::channel(false);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let api = Api::new(Arc::clone(&fake) as _, limits);
    let door = Door::new(Listener::plain(address)).unwrap();
    tokio::spawn(http::serve(Arc::clone(&api), listener, door, stopped));
    Server { fake, api, address, stop }
}

impl Server {
    /// Sends bytes as they are; returns all that comes back until the server closes.
    pub(super) async fn raw(&self, request: &[u8]) -> String {
        String::from_utf8_lossy(&self.raw_bytes(request).await).into_owned()
    }

    /// [`Server::raw`], as bytes.
    pub(super) async fn raw_bytes(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }

    async fn post(&self, body: &str) -> (u16, Value) {
        self.post_as("application/json", body).await
    }

    async fn post_as(&self, kind: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let head = format!(
            "POST /any/path HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        );
        parse(&self.raw(format!("{head}{body}").as_bytes()).await)
    }

    pub(super) async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.raw(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (status(head), body.to_owned())
    }

    /// The one reply to a command.
    pub(super) async fn ask(&self, command: &str, arguments: Value) -> Value {
        let (status, mut replies) =
            self.post(&json!({"command": command, "arguments": arguments}).to_string()).await;
        assert_eq!(status, 200);
        replies[0].take()
    }
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

fn parse(answer: &str) -> (u16, Value) {
    let (head, body) =
        answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    (status(head), serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn commands_are_answered_with_a_list_and_http_errors_with_a_map() {
    let server = server(Limits::default()).await;
    let (status, replies) = server.post(r#"{"command":"version-get"}"#).await;
    assert_eq!((status, &replies[0]["text"]), (200, &json!(crate::VERSION)));
    let (status, replies) = server.post(r#"{"command":"nope"}"#).await;
    assert_eq!(
        (status, replies),
        (200, json!([{"result": 2, "text": "'nope' command not supported."}]))
    );
    let (_, replies) = server.post(r#"{"command":"version-get","service":["dhcp4","d2"]}"#).await;
    assert_eq!(replies.as_array().unwrap().len(), 2);
    let (status, replies) = server.post("").await;
    let text = "Command processing failed: NULL command parameter";
    assert_eq!((status, replies), (200, json!([{"result": 1, "text": text}])));
    let bad = (400, json!({"result": 400, "text": "Bad Request"}));
    for body in [
        "{",
        "{} {}",
        "{\"command\":\"version-get\",}",
        "{ // comment\n\"command\":\"version-get\"}",
        "x",
    ] {
        assert_eq!(server.post(body).await, bad, "{body}");
    }
    assert_eq!(server.post_as("text/plain", "{}").await, bad);
    assert_eq!(parse(&server.raw(b"GET / HTTP/1.0\r\n\r\n").await), bad);
    assert_eq!(parse(&server.raw(b"DELETE /metrics HTTP/1.0\r\n\r\n").await), bad);
    let (status, _) =
        server.post_as("Application/JSON; charset=utf-8", r#"{"command":"version-get"}"#).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_refusal_does_not_quote_more_than_a_reader_would_read() {
    let server = server(Limits::default()).await;
    let long = "ü".repeat(1 << 20);
    for (command, arguments) in
        [("lease4-get", json!({ "ip-address": long })), (long.as_str(), json!({}))]
    {
        let reply = server.ask(command, arguments).await;
        let text = reply["text"].as_str().unwrap();
        assert!(text.len() < 20_000 && text.ends_with("bytes in all)"), "{} bytes", text.len());
        assert!(text.contains("üü"), "it says what was wrong");
    }
}

#[tokio::test]
async fn a_connection_serves_many_requests_and_chunked_bodies() {
    let server = server(Limits::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = r#"{"command":"list-commands"}"#;
    let mut buffer = [0; 4096];
    for _ in 0..3 {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
             {:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(std::str::from_utf8(&buffer[..read]).unwrap().starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn large_deep_and_slow_requests_are_refused() {
    let limits = Limits {
        body: 1 << 20,
        json: Bounds { depth: 100, values: 1000 },
        body_time: Duration::from_millis(200),
        head: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = server(limits).await;
    let (status, reply) = server.post(&" ".repeat((1 << 20) + 1)).await;
    assert_eq!((status, &reply["result"]), (413, &json!(413)));
    let (status, reply) = server.post(&"{\"a\":".repeat(10_000)).await;
    assert_eq!(
        (status, &reply["text"]),
        (400, &json!("Bad Request: JSON nested deeper than 100 levels"))
    );
    let (status, reply) = server.post(&format!("[{}0]", "0,".repeat(1001))).await;
    assert_eq!(
        (status, &reply["text"]),
        (400, &json!("Bad Request: JSON with more than 1000 values"))
    );
    let half = b"POST / HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    assert_eq!(parse(&server.raw(half).await).0, 408);
    // Half a head, or nothing at all: closed, with or without a word.
    let answer = server.raw(b"POST / HT").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    server.raw(b"").await;
    assert_eq!(server.post(r#"{"command":"version-get"}"#).await.0, 200);
}

#[tokio::test]
async fn the_budget_for_large_bodies_is_shared_and_given_back() {
    let server = server(Limits { body: 1 << 20, ..Limits::default() }).await;
    let head = format!(
        "POST / HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        1 << 20
    );
    let mut hogs = Vec::new();
    for _ in 0..2 {
        let mut hog = TcpStream::connect(server.address).await.unwrap();
        let before = server.api.bodies.available_permits();
        hog.write_all(head.as_bytes()).await.unwrap();
        hog.write_all(&vec![b' '; (1 << 20) - 1]).await.unwrap();
        hogs.push(hog);
        while server.api.bodies.available_permits() > before - 960 {
            tokio::task::yield_now().await;
        }
    }
    let large = format!("{{\"command\":\"version-get\"{}}}", " ".repeat(500 << 10));
    assert_eq!(server.post(&large).await.0, 503);
    assert_eq!(
        server.post(r#"{"command":"version-get"}"#).await.0,
        200,
        "small requests need no budget"
    );
    drop(hogs);
    while server.api.bodies.available_permits() < 2048 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.post(&large).await.0, 200);
}

#[tokio::test]
async fn idle_connections_make_room_for_a_newcomer() {
    let server = server(Limits { connections: 4, ..Limits::default() }).await;
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    assert_eq!(server.post(r#"{"command":"version-get"}"#).await.0, 200);
    let (_, page) = server.get("/metrics").await;
    let line = |name: &str| {
        page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
    };
    assert!(line("leasehold_control_connections").unwrap() <= 4.0);
    assert!(line("leasehold_control_connections_evicted_total").unwrap() >= 46.0);
}

#[tokio::test]
async fn health_says_why_a_node_is_not_ready() {
    let server = server(Limits::default()).await;
    assert_eq!(server.get("/health/live").await.0, 200);
    assert_eq!(server.get("/health/ready").await, (200, "ready\n".into()));
    server.fake.led.store(false, Ordering::Relaxed);
    let reason = "not ready: no leader has been heard for 3 s\n";
    assert_eq!(server.get("/health/ready").await, (503, reason.into()));
    assert_eq!(server.get("/health/live").await.0, 200);
}

#[tokio::test]
async fn writes_are_seen_by_the_next_read() {
    let server = server(Limits::default()).await;
    let lease = json!({"ip-address": "192.0.2.7", "hw-address": "02:00:00:00:00:07"});
    let reply = server.ask("lease4-add", lease.clone()).await;
    assert_eq!(
        reply,
        json!({"result": 0, "text": "Lease for address 192.0.2.7, subnet-id 10 added."})
    );
    let reply = server.ask("lease4-get", json!({"ip-address": "192.0.2.7"})).await;
    assert_eq!(reply["arguments"]["hw-address"], "02:00:00:00:00:07");
    assert_eq!(server.ask("lease4-add", lease).await["result"], 4);
}

#[tokio::test]
async fn without_a_leader_the_cause_is_named_and_local_reads_go_on() {
    let server = server(Limits::default()).await;
    server.fake.led.store(false, Ordering::Relaxed);
    let reply = server.ask("lease4-get", json!({"ip-address": "192.0.2.7"})).await;
    assert_eq!(reply["result"], 1);
    assert!(reply["text"].as_str().unwrap().contains("no leader was found"), "{reply}");
    assert!(reply.get("arguments").is_none());
    let reply =
        server.ask("lease4-get", json!({"ip-address": "192.0.2.7", "consistency": "local"})).await;
    assert_eq!(reply["result"], 3);
    assert_eq!(reply["applied-index"], server.fake.state().read().applied());
    let reply =
        server.ask("lease4-get", json!({"ip-address": "192.0.2.7", "consistency": "x"})).await;
    assert_eq!(reply["result"], 1);
    let reply = server.ask("lease4-wipe", Value::Null).await;
    assert_eq!(
        reply["text"],
        "Nothing was changed, the cluster does not answer: no leader was found within 5 s."
    );
    for local in ["status-get", "cluster-status", "version-get", "list-commands"] {
        assert_eq!(server.ask(local, Value::Null).await["result"], 0, "{local}");
    }
}

#[tokio::test]
async fn an_unknown_outcome_is_never_called_success() {
    let server = server(Limits::default()).await;
    server.fake.silent.store(true, Ordering::Relaxed);
    let reply = server.ask("lease4-wipe", Value::Null).await;
    assert_eq!(reply["result"], 1);
    assert!(
        reply["text"]
            .as_str()
            .unwrap()
            .starts_with("The outcome is unknown: the leader went away.")
    );
}

#[tokio::test]
async fn config_set_answers_after_activation() {
    let server = server(Limits::default()).await;
    let document = json!({"Dhcp4": {"valid-lifetime": 700}});
    let reply = server.ask("config-set", document.clone()).await;
    assert_eq!(
        (&reply["result"], &reply["text"]),
        (&json!(0), &json!("Configuration successful."))
    );
    let hash = server.ask("config-hash-get", Value::Null).await["arguments"]["hash"].clone();
    assert_eq!(reply["arguments"]["hash"], hash);
    *server.fake.inactive.lock() = Some("interface eth9 is missing".into());
    let reply = server.ask("config-set", document).await;
    assert_eq!(reply["result"], 1);
    assert!(reply["text"].as_str().unwrap().contains("eth9"), "{reply}");
}

#[tokio::test]
async fn what_config_get_gives_can_be_set_again_and_changes_nothing() {
    let server = server(Limits::default()).await;
    let mut got = server.ask("config-get", Value::Null).await["arguments"].clone();
    let hash = got.as_object_mut().unwrap().remove("hash").unwrap();
    let reply = server.ask("config-set", got.clone()).await;
    assert_eq!(reply["result"], 0, "{reply}");
    assert_eq!(reply["arguments"]["hash"], hash);
    let again = server.ask("config-get", Value::Null).await["arguments"].clone();
    assert_eq!(again["Dhcp4"], got["Dhcp4"]);
}

#[tokio::test]
async fn stopping_finishes_requests_and_accepts_no_more() {
    let server = server(Limits::default()).await;
    let mut kept = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(server.get("/health/live").await.0, 200);
    server.stop.send(true).unwrap();
    let mut rest = Vec::new();
    kept.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn statistics_work_without_a_leader_and_stand_on_the_page() {
    let server = server(Limits::default()).await;
    server.fake.led.store(false, Ordering::Relaxed);
    server.fake.counting.count("pkt4-offer-sent", 3);
    let page = server.get("/metrics").await.1;
    assert!(page.contains("\nleasehold_ready 0\n"), "{page}");
    assert!(page.contains("\nkea_dhcp4_packets_sent_total{operation=\"offer\"} 3\n"), "{page}");
    assert!(page.contains("\nkea_dhcp4_addresses_total{subnet=\"192.0.2.0/24\",subnet_id=\"10\""));
    let name = json!({ "name": "pkt4-offer-sent" });
    let reset = server.ask("statistic-reset", name.clone()).await;
    assert_eq!(reset, json!({ "result": 0, "text": "Statistic 'pkt4-offer-sent' reset." }));
    let got = server.ask("statistic-get", name).await;
    assert_eq!(got["arguments"]["pkt4-offer-sent"][0][0], 0);
    let all = server.ask("statistic-get-all", Value::Null).await;
    assert_eq!(all["arguments"]["subnet[10].total-addresses"][0][0], 21);
    let page = server.get("/metrics").await.1;
    assert!(page.contains("operation=\"offer\"} 3\n"), "a reset is no event for Prometheus");
}

#[tokio::test]
async fn the_page_can_do_without_subnets() {
    let limits = Limits { subnet_metrics: false, ..Limits::default() };
    let page = server(limits).await.get("/metrics").await.1;
    assert!(page.contains("kea_dhcp4_global4_addresses_declined_total 0\n"), "{page}");
    assert!(!page.contains("subnet_id="), "{page}");
}

async fn over_unix(limits: Limits, request: &[u8], close: bool) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kea4-ctrl-socket");
    let (_stop, stopped) = watch::channel(false);
    let listener = unix::bind(&path).unwrap();
    tokio::spawn(unix::serve(Api::new(Fake::new() as _, limits), listener, stopped));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    for piece in request.chunks(7) {
        // It may have heard enough.
        let _ = stream.write_all(piece).await;
    }
    if close {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    serde_json::from_slice(&answer).unwrap()
}

#[tokio::test]
async fn the_unix_socket_answers_a_map_and_accepts_comments() {
    let request = b"{ // who\n \"command\": /* what */ \"version-get\", # ?\n \"service\": [\"d2\"] } and more";
    let reply = over_unix(Limits::default(), request, false).await;
    assert_eq!((&reply["result"], &reply["text"]), (&json!(0), &json!(crate::VERSION)));
    let reply = over_unix(Limits::default(), b"{ \"command\": }", false).await;
    assert_eq!(reply["result"], 1);
    assert!(reply["text"].as_str().unwrap().contains("in <wire>:0:"), "{reply}");
    let reply = over_unix(Limits::default(), b"{ \"command\": ", true).await;
    assert_eq!(reply["result"], 1);
    let deep = "[".repeat(10_000);
    let reply = over_unix(Limits::default(), deep.as_bytes(), true).await;
    assert_eq!(reply["text"], "error: JSON nested deeper than 100 levels");
}

#[tokio::test]
async fn a_partial_command_on_the_unix_socket_times_out() {
    let limits = Limits { body_time: Duration::from_millis(100), ..Limits::default() };
    let reply = over_unix(limits, b"{ \"comm", false).await;
    let text = "Connection over control channel timed out, discarded partial command of 7 bytes";
    assert_eq!(reply, json!({"result": 1, "text": text}));
}

#[tokio::test]
async fn the_unix_socket_is_private_and_replaces_only_dead_ones() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let first = unix::bind(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, unix::MODE);
    assert_eq!(unix::bind(&path).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    drop(first);
    let second = unix::bind(&path).unwrap();
    drop(second);
    let file = folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(unix::bind(&file).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

/// Each item of a bulk is done, not done, or of unknown fate, and the reply says which.
#[tokio::test]
async fn a_bulk_that_loses_the_cluster_says_what_is_true() {
    let server = server(Limits::default()).await;
    let leases: Vec<Value> = (1..=200u8)
        .map(|n| json!({"ip-address": format!("192.0.2.{n}"), "hw-address": format!("02:00:00:00:00:{n:02x}")}))
        .collect();
    server.fake.before_silence.store(100, Ordering::Relaxed);
    let reply = server.ask("lease4-bulk-apply", json!({"leases": leases})).await;
    assert_eq!(
        reply["text"],
        "The cluster does not answer: the leader went away. Of 200 IPv4 leases 100 are changed, of 28 the outcome \
         is unknown, 72 are not changed; the lists name those and what failed by itself."
    );
    assert_eq!(reply["result"], 1);
    let failed = reply["arguments"]["failed-leases"].as_array().unwrap();
    assert_eq!(failed.len(), 100);
    let said = |text: &str| {
        failed.iter().filter(|it| it["error-message"].as_str().unwrap().contains(text)).count()
    };
    assert_eq!((said("the outcome is unknown"), said("not tried")), (28, 72));
    server.fake.before_silence.store(usize::MAX, Ordering::Relaxed);
    let all = server.ask("lease4-get-all", Value::Null).await;
    assert_eq!(all["arguments"]["leases"].as_array().unwrap().len(), 100);
    server.fake.led.store(false, Ordering::Relaxed);
    let reply = server.ask("lease4-bulk-apply", json!({"leases": leases})).await;
    let text = reply["text"].as_str().unwrap();
    assert!(text.starts_with("Nothing was changed"), "{text}");
}

/// A name change request follows the success of a deletion and nothing else.
#[tokio::test]
async fn names_leave_dns_with_their_leases() {
    let server = server(Limits::default()).await;
    let lease = json!({"ip-address": "192.0.2.9", "hw-address": "02:00:00:00:00:09", "hostname": "a",
                       "fqdn-fwd": true});
    assert_eq!(server.ask("lease4-add", lease).await["result"], 0);
    let delete = json!({"ip-address": "192.0.2.9", "update-ddns": true});
    server.fake.silent.store(true, Ordering::Relaxed);
    assert_eq!(server.ask("lease4-del", delete.clone()).await["result"], 1);
    server.fake.silent.store(false, Ordering::Relaxed);
    assert!(server.fake.name_changes.lock().is_empty());
    assert_eq!(server.ask("lease4-del", delete.clone()).await["result"], 0);
    assert_eq!(server.ask("lease4-del", delete).await["result"], 3);
    assert_eq!(*server.fake.name_changes.lock(), [(false, [192, 0, 2, 9].into())]);
}

#[tokio::test]
async fn leases_are_written_into_a_file() {
    let server = server(Limits::default()).await;
    let lease = json!({"ip-address": "192.0.2.9", "hw-address": "02:00:00:00:00:09", "expire": 1_795_477_000});
    assert_eq!(server.ask("lease4-add", lease).await["result"], 0);
    let reply = server.ask("lease4-write", json!({"filename": "dump.csv"})).await;
    assert_eq!(reply, json!({"result": 0, "text": "IPv4 lease database into 'dump.csv'."}));
    let text = server.fake.leases_written.lock().clone();
    let rows: Vec<&str> = text.lines().collect();
    assert_eq!(rows[1..], ["192.0.2.9,02:00:00:00:00:09,,3600,1795477000,10,0,0,,0,,0"]);
    let reply = server.ask("lease4-write", json!({"filename": "../dump.csv"})).await;
    assert_eq!(reply["result"], 1);
    assert!(reply["text"].as_str().unwrap().contains("only"), "{reply}");
}
