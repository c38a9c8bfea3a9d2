//! Streams of events and look-ups in the history, over loopback, on a backend without Raft.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::api::testing::Fake;
use crate::api::{Api, Door, Limits, http};
use crate::history::{Ending, History};
use crate::settings::Listener;
use crate::state::{Command, DeleteLease, LeaseState, PutLease, PutMode, SetConfig};
use crate::types::{HwAddr, Lifetime, SubnetId};

struct Server {
    fake: Arc<Fake>,
    history: Arc<History>,
    address: SocketAddr,
    _dir: tempfile::TempDir,
    _stop: watch::Sender<bool>,
}

async fn server() -> Server {
    let fake = Fake::new();
    let dir = tempfile::tempdir().unwrap();
    let history = fake.keep_history(dir.path());
    let (stop, stopped) = watch::channel(false);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let api = Api::new(Arc::clone(&fake) as _, Limits::default());
    let door = Door::new(Listener::plain(address)).unwrap();
    tokio::spawn(http::serve(api, listener, door, stopped));
    Server { fake, history, address, _dir: dir, _stop: stop }
}

/// A stream under way.
struct Open {
    stream: TcpStream,
    text: String,
}

impl Server {
    async fn open(&self, query: &str, headers: &str) -> Open {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET /v1/events{query} HTTP/1.0\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Open { stream, text: String::new() }
    }

    /// Status and body of an answer that ends.
    async fn whole(&self, query: &str) -> (String, Value) {
        let mut open = self.open(query, "").await;
        open.stream.read_to_string(&mut open.text).await.unwrap();
        let (head, body) = open.text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), serde_json::from_str(body).unwrap())
    }

    async fn ask(&self, arguments: Value) -> Value {
        let body = json!({ "command": "lease-history-get", "arguments": arguments }).to_string();
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "POST / HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<Value>(body).unwrap()[0].take()
    }

    fn put(&self, host: u8, subnet: u32) {
        let net = if subnet == 10 { [192, 0, 2] } else { [198, 51, 100] };
        let outcome = self.fake.apply(Command::PutLease(PutLease {
            mode: PutMode::Upsert,
            address: Ipv4Addr::new(net[0], net[1], net[2], host),
            subnet: SubnetId(subnet),
            hw: HwAddr::ethernet([2, 0, 0, 0, 0, host]),
            client_id: None,
            lifetime: Lifetime::from_secs(3600),
            expire: None,
            hostname: format!("host-{host}"),
            fqdn_fwd: false,
            fqdn_rev: false,
            state: LeaseState::Assigned,
            user_context: String::new(),
        }));
        assert!(matches!(outcome, crate::state::Outcome::LeaseWritten { .. }), "{outcome:?}");
    }

    fn delete(&self, host: u8) {
        let address = Ipv4Addr::new(192, 0, 2, host);
        self.fake.apply(Command::DeleteLease(DeleteLease { address, seen: None }));
    }
}

impl Open {
    /// Reads until `what` is there.
    #[expect(clippy::disallowed_methods, reason = "the limit of waiting for a task")]
    async fn until(&mut self, what: &str) -> &str {
        let mut bytes = [0; 4096];
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while !self.text.contains(what) {
            let read = tokio::time::timeout_at(deadline, self.stream.read(&mut bytes)).await;
            let read = read.unwrap_or_else(|_| panic!("no {what:?} in {}", self.text)).unwrap();
            assert!(read > 0, "ended without {what:?}: {}", self.text);
            self.text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
        &self.text
    }

    fn ids(&self) -> Vec<String> {
        self.text.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn events_come_live_and_a_stream_is_resumed_where_it_was() {
    let server = server().await;
    server.put(101, 10);
    let mut from_now = server.open("", "").await;
    from_now.until(": events from").await;
    server.put(102, 10);
    server.put(10, 20);
    server.delete(102);
    from_now.until("event: deleted").await;
    assert_eq!(from_now.ids().len(), 3, "{}", from_now.text);
    let text = from_now.until("\"hostname\":\"host-102\"").await;
    assert!(text.contains("text/event-stream") && text.contains("event: written"), "{text}");

    // From the second on, by the id of the first, and by its own.
    let ids = from_now.ids();
    let resumed = format!("Last-Event-ID: {}\r\n", ids[0]);
    for (query, headers) in [(format!("?from={}", ids[1]), ""), ("?from=1".into(), &*resumed)] {
        let mut again = server.open(&query, headers).await;
        again.until("event: deleted").await;
        assert_eq!(again.ids(), ids[1..], "{}", again.text);
        server.fake.at(0);
    }
    let mut filtered =
        server.open(&format!("?from={}&subnet-id=10&kind=deleted", ids[0]), "").await;
    filtered.until("event: deleted").await;
    assert_eq!(filtered.ids(), ids[2..]);
    server.fake.apply(Command::SetConfig(SetConfig::json(
        crate::api::testing::CONFIG.replace("3600", "60"),
    )));
    let text = from_now.until("\"version\":2").await;
    assert!(text.contains("event: configured\n"), "{text}");

    // What is written is streamed as well as what is in memory.
    assert!(server.history.settle(server.history.end().index - 1, Duration::from_secs(30)));
    server.history.stop(Ending::Orderly);
    let text = from_now.until("event: end").await;
    assert!(text.contains("this node is stopping"), "{text}");
}

#[tokio::test]
async fn a_position_that_is_gone_is_answered_with_the_first_one() {
    let server = server().await;
    server.put(101, 10);
    let first = server.history.covered()[0].0;
    assert!(first > 1);
    let (status, body) = server.whole("?from=1").await;
    assert_eq!((&*status, &body["first"]), ("410", &json!(format!("{first}.0"))));
    for query in ["?from=x", "?kind=nope", "?subnet-id=a", "?form=1", "?from=1&from=2"] {
        let (status, body) = server.whole(query).await;
        assert_eq!((&*status, &body["result"]), ("400", &json!(400)), "{query}");
    }
}

#[tokio::test]
async fn who_had_an_address_is_answered() {
    let server = server().await;
    server.put(101, 10);
    server.fake.at(100);
    server.delete(101);
    server.fake.at(200);
    server.put(101, 10);
    let formed = crate::api::testing::FORMED / 1000;
    let answer = server.ask(json!({ "ip-address": "192.0.2.101" })).await;
    assert_eq!(answer["text"], "2 row(s) of lease history found.");
    let rows = &answer["arguments"]["rows"];
    assert_eq!((&rows[0]["begin"], &rows[0]["end"]), (&json!(formed), &json!(formed + 100)));
    assert_eq!((&rows[0]["ended"], &rows[1]["ended"]), (&json!("deleted"), &json!("no")));
    assert_eq!(rows[1]["expire"], formed + 200 + 3600);
    assert_eq!(answer["arguments"]["has-gaps"], false);

    let by_hw = server.ask(json!({ "hw-address": "020000000065" })).await;
    assert_eq!(by_hw["arguments"]["rows"], *rows);
    let page = json!({ "ip-address": "192.0.2.101", "limit": 1 });
    let first = server.ask(page).await;
    assert_eq!(first["arguments"]["rows"].as_array().unwrap().len(), 1);
    let next = &first["arguments"]["next"];
    let second = server.ask(json!({ "ip-address": "192.0.2.101", "after": next })).await;
    assert_eq!(second["arguments"]["rows"], json!([rows[1]]));
    let late = json!({ "ip-address": "192.0.2.101", "from": formed + 150 });
    assert_eq!(server.ask(late).await["arguments"]["count"], 1);
    let none = server.ask(json!({ "client-id": "01:02:03" })).await;
    assert_eq!((&none["result"], &none["arguments"]["count"]), (&json!(3), &json!(0)));
    for wrong in [
        json!({}),
        json!({ "ip-address": "192.0.2" }),
        json!({ "ip-address": "192.0.2.1", "hw-address": "02:00" }),
        json!({ "ip-address": "192.0.2.1", "limit": 0 }),
        json!({ "ip-address": "192.0.2.1", "from": "yesterday" }),
        json!({ "ip-address": "192.0.2.1", "after": "x" }),
        json!({ "ip-address": "192.0.2.1", "form": 1 }),
        json!({ "hw-address": "é0" }),
    ] {
        assert_eq!(server.ask(wrong.clone()).await["result"], 1, "{wrong}");
    }
}
