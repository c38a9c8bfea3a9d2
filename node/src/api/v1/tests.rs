//! `/v1/` over sockets, and the pieces that its answers are made of.

use serde_json::{Value, json};

use super::*;
use crate::api::tests::{Server, server};
use crate::api::{Backend, Limits};

/// A server with the leases of the examples.
async fn with_leases() -> Server {
    let server = server(Limits::default()).await;
    for (address, hw, more) in [
        ("192.0.2.100", "02:00:00:00:00:01", json!({ "hostname": "Desk-7" })),
        ("192.0.2.101", "02:00:00:00:00:02", json!({ "client-id": "01:02" })),
        ("192.0.2.102", "02:00:00:00:00:03", json!({ "state": 1 })),
        ("198.51.100.11", "02:00:00:00:00:01", json!({})),
    ] {
        let mut lease = json!({ "ip-address": address, "hw-address": hw });
        lease.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(server.ask("lease4-add", lease).await["result"], 0);
    }
    server
}

/// The last octets of the answer to a query, and its `next`.
async fn found(server: &Server, query: &str) -> (Vec<u8>, Value) {
    let (status, body) = server.get(&format!("/v1/leases?{query}")).await;
    assert_eq!(status, 200, "{body}");
    let mut answer: Value = serde_json::from_str(&body).unwrap();
    let last = |lease: &Value| {
        let address: std::net::Ipv4Addr = lease["ip-address"].as_str().unwrap().parse().unwrap();
        address.octets()[3]
    };
    let leases: Vec<u8> = answer["leases"].as_array().unwrap().iter().map(last).collect();
    assert_eq!(answer["count"], leases.len());
    (leases, answer["next"].take())
}

#[tokio::test]
async fn leases_by_every_filter() {
    let server = with_leases().await;
    for (query, expected) in [
        ("", vec![100, 101, 102, 11]),
        ("subnet-id=10", vec![100, 101, 102]),
        ("subnet-id=20,99", vec![11]),
        ("state=declined", vec![102]),
        ("state=0", vec![100, 101, 11]),
        ("hw-address=02:00:00:00:00:01", vec![100, 11]),
        ("hw-address=020000000001&subnet-id=20", vec![11]),
        ("client-id=01%3A02", vec![101]),
        ("client-id=01:02&hw-address=02:00:00:00:00:01", vec![]),
        ("hostname=DESK-7", vec![100]),
        ("hostname=desk", vec![]),
        ("addresses=192.0.2.101-198.51.100.10", vec![101, 102]),
        ("addresses=192.0.2.100/31", vec![100, 101]),
        ("addresses=0.0.0.0/0", vec![100, 101, 102, 11]),
        ("addresses=192.0.2.102", vec![102]),
        ("hw-address=02:00:00:00:00:01&addresses=192.0.2.0/24", vec![100]),
        ("after=192.0.2.101", vec![102, 11]),
        ("consistency=local", vec![100, 101, 102, 11]),
    ] {
        assert_eq!(found(&server, query).await, (expected, Value::Null), "{query}");
    }
}

#[tokio::test]
async fn pages_follow_each_other_by_address() {
    let server = with_leases().await;
    let (first, next) = found(&server, "limit=2").await;
    assert_eq!((first, &next), (vec![100, 101], &json!("192.0.2.101")));
    let (second, next) = found(&server, "limit=2&after=192.0.2.101").await;
    assert_eq!((second, &next), (vec![102, 11], &json!("198.51.100.11")));
    let (third, next) = found(&server, "limit=2&after=198.51.100.11").await;
    assert_eq!((third, next), (vec![], Value::Null));
}

#[tokio::test]
async fn lines_of_json_and_the_applied_index() {
    let server = with_leases().await;
    for request in [
        "GET /v1/leases?format=ndjson HTTP/1.0\r\n\r\n",
        "GET /v1/leases HTTP/1.0\r\nAccept: application/x-ndjson\r\n\r\n",
    ] {
        let answer = server.raw(request.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let head = head.to_lowercase();
        assert!(head.contains("content-type: application/x-ndjson"), "{head}");
        let applied = server.fake.state().read().applied();
        assert!(head.contains(&format!("leasehold-applied-index: {applied}")), "{head}");
        let leases: Vec<Value> =
            body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(leases.len(), 4);
        assert_eq!(leases[0]["hostname"], "desk-7");
    }
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let server = with_leases().await;
    for (query, why) in [
        ("subnet=10", "there is no parameter 'subnet'; there are "),
        ("subnet-id=ten", "'subnet-id' must be numbers"),
        ("state=4", "'state' must be one of"),
        ("state=lost", "'state' must be one of"),
        ("hw-address=zz", "invalid hw-address 'zz'"),
        ("client-id=01", "invalid client-id '01'"),
        ("addresses=192.0.2.9-192.0.2.1", "'addresses' must be an address"),
        ("addresses=192.0.2.0/33", "'addresses' must be an address"),
        ("limit=0", "'limit' must be above 0"),
        ("after=start", "'after' must be an IPv4 address"),
        ("consistency=maybe", "'consistency' must be one of"),
    ] {
        let (status, body) = server.get(&format!("/v1/leases?{query}")).await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &answer["result"]), (400, &json!(400)), "{query}");
        assert!(answer["text"].as_str().unwrap().starts_with(why), "{answer}");
    }
    server.fake.led.store(false, std::sync::atomic::Ordering::Relaxed);
    let (status, body) = server.get("/v1/leases").await;
    assert_eq!(status, 503);
    assert!(body.contains("consistency=local"), "{body}");
    assert_eq!(found(&server, "consistency=local").await.0.len(), 4);
}

/// A piece is bounded whatever the table, all pieces together are the whole, and it is the view of the
/// moment when it was asked for.
#[tokio::test]
async fn a_large_table_comes_in_pieces() {
    let server = server(Limits::default()).await;
    const MANY: usize = 3000;
    server.fake.apply(crate::state::Command::SetConfig(crate::state::SetConfig::json(
        r#"{"Dhcp4":{"subnet4":[{"id":1,"subnet":"10.0.0.0/8"}]}}"#,
    )));
    let leases: Vec<Value> = (0..MANY)
        .map(|n| {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + n as u32);
            json!({ "ip-address": address, "hw-address": format!("02:00:00:00:{:02x}:{:02x}", n / 256, n % 256) })
        })
        .collect();
    let reply = server.ask("lease4-bulk-apply", json!({ "leases": leases })).await;
    assert_eq!(reply["text"], format!("Bulk apply of {MANY} IPv4 leases completed."));
    let (status, body) = server.get("/v1/leases").await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["count"]), (200, &json!(MANY)));
    assert!(body.len() > 4 * (64 << 10), "several pieces");
    let (_, body) = server.get("/v1/leases?format=ndjson&hostname=nobody").await;
    assert_eq!(body, "");
}

/// `cargo nextest run -p leasehold --lib --run-ignored only --no-capture over_a_million` prints how long things
/// take; the build says what that means.
#[test]
#[ignore = "prints figures, and checks nothing but that they can be had"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn figures_over_a_million_leases() {
    use crate::api::registry;
    use crate::api::spec::{ApiContext, Args, Plan};
    use crate::state::{Command, LeaseState, PutLease, PutMode, SetConfig};
    use crate::types::{HwAddr, Lifetime, SubnetId};
    use std::time::Instant;

    let fake = crate::api::testing::Fake::new();
    fake.apply(Command::SetConfig(SetConfig::json(
        r#"{"Dhcp4":{"subnet4":[{"id":1,"subnet":"10.0.0.0/8","pools":[{"pool":"10.0.0.0/8"}]}]}}"#,
    )));
    let many = 1_000_000u32;
    let put = |n: u32| {
        let [a, b, c, d] = n.to_be_bytes();
        Command::PutLease(PutLease {
            mode: PutMode::Add,
            address: (0x0a00_0000 + n).into(),
            subnet: SubnetId(1),
            hw: HwAddr::ethernet([2, 0, a, b, c, d]),
            client_id: None,
            lifetime: Lifetime::from_secs(3600),
            expire: None,
            hostname: format!("host-{n}.example.org"),
            fqdn_fwd: false,
            fqdn_rev: false,
            state: LeaseState::Assigned,
            user_context: String::new(),
        })
    };
    for n in 0..many {
        fake.apply(put(n));
    }
    let ask = |name: &str, arguments: Value| {
        let report = fake.report();
        let arguments = Arc::new(arguments);
        let spec = registry::find(name).unwrap();
        let began = Instant::now();
        let (planned, locked) = {
            let state = fake.state().read();
            let caller = Caller::anybody("unix");
            let cx = ApiContext {
                view: state.view(),
                node: &report,
                caller: &caller,
                statistics: fake.statistics(),
            };
            ((spec.run)(&Args::new(Some(&arguments)), &cx).unwrap(), began.elapsed())
        };
        let plan = match planned {
            Plan::Later(rest) => rest().unwrap(),
            plan => plan,
        };
        let Plan::Answer(reply) = plan else { return println!("{name}: {:?}", began.elapsed()) };
        let size = reply.to_json().len();
        println!(
            "{name} {arguments}: {:?}, of it {locked:?} under the lock, {size} bytes",
            began.elapsed()
        );
    };
    for _ in 0..2 {
        ask("lease4-get", json!({"ip-address": "10.8.0.1"}));
        ask("lease4-get-by-hw-address", json!({"hw-address": "02:00:00:08:00:01"}));
        ask("lease4-get-by-hostname", json!({"hostname": "host-999999.example.org"}));
        ask("lease4-get-by-state", json!({"state": "declined"}));
        ask("lease4-get-page", json!({"from": "10.8.0.1", "limit": 1000}));
        ask("stat-lease4-get", json!({}));
    }
    ask("lease4-get-by-state", json!({"state": 0}));
    let began = Instant::now();
    let report = fake.report();
    for n in 0..1000u32 {
        let arguments =
            Arc::new(json!({"ip-address": std::net::Ipv4Addr::from(0x0a00_0000 + n * 997)}));
        let caller = Caller::anybody("unix");
        let state = fake.state().read();
        let cx = ApiContext {
            view: state.view(),
            node: &report,
            caller: &caller,
            statistics: fake.statistics(),
        };
        let plan = (registry::find("lease4-get").unwrap().run)(&Args::new(Some(&arguments)), &cx);
        assert!(matches!(plan, Ok(Plan::Answer(_))));
    }
    println!("1000 lease4-get: {:?}", began.elapsed());
    let state = fake.state().read();
    let report = fake.report();
    let caller = Caller::anybody("unix");
    let cx = ApiContext {
        view: state.view(),
        node: &report,
        caller: &caller,
        statistics: fake.statistics(),
    };
    let arguments = Arc::new(json!({"filename": "dump.csv"}));
    let write = (registry::find("lease4-write").unwrap().run)(&Args::new(Some(&arguments)), &cx);
    let Ok(Plan::Effect(crate::api::Effect::WriteLeases(leases), _)) = write else {
        panic!("no plan")
    };
    drop(state);
    let began = Instant::now();
    let mut text = Vec::new();
    leases.print(&mut text).unwrap();
    println!("lease4-write: {:?}, {} bytes", began.elapsed(), text.len());
}

#[tokio::test]
async fn a_backup_is_whole_and_holds_the_machine() {
    let server = with_leases().await;
    let answer = server.raw_bytes(b"GET /v1/snapshot HTTP/1.0\r\n\r\n").await;
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let (head, body) = (String::from_utf8_lossy(&answer[..at]).into_owned(), &answer[at + 4..]);
    assert!(head.contains(" 200 ") && head.contains("application/octet-stream"), "{head}");
    let (header, state) = crate::raft::backup::read(body).unwrap();
    assert_eq!((header.cluster, header.leases, header.index()), (0xc0ffee, 4, server.fake.index()));
    let head = head.to_lowercase();
    assert!(head.contains(&format!("leasehold-applied-index: {}", header.index())), "{head}");
    assert_eq!(state.digest(), server.fake.state().read().digest());
    state.check().unwrap();
}

#[tokio::test]
async fn a_backup_without_a_leader_is_refused_unless_an_old_one_is_good_enough() {
    let server = with_leases().await;
    server.fake.led.store(false, std::sync::atomic::Ordering::Relaxed);
    let (status, text) = server.get("/v1/snapshot").await;
    assert!(status == 503 && text.contains("consistency=local"), "{text}");
    let (status, _) = server.get("/v1/snapshot?consistency=local").await;
    assert_eq!(status, 200);
}
