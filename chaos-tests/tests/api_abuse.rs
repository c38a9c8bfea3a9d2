//! Bad input to the control API, over the wire: it is refused with a clear error, costs little memory, and DHCP clients do not notice.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use chaos_tests::clock;
use chaos_tests::floor::netns::cluster::{Cluster, Plan};
use chaos_tests::floor::netns::http::Http;
use chaos_tests::floor::netns::topology::Namespace;
use chaos_tests::gate;
use chaos_tests::perfdhcp::{self, Load};
use leasehold::api::registry::COMMANDS;
use leasehold::api::spec::Kind;
use serde_json::Value;

/// Exchanges of DHCP clients in a second while the API is abused.
const RATE: u32 = 150;
/// How long one wave of clients lasts, in seconds.
const WAVE: u32 = 3;
/// How much a node's memory may grow, in KiB: two of the largest requests, and what is made of them.
const GROWTH: u64 = 500 << 10;

fn api() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 8000))
}

/// A node that is asked badly, and the way to ask it.
struct Target<'a> {
    namespace: &'a Namespace,
}

impl Target<'_> {
    fn connect(&self) -> Result<Http> {
        Http::connect(self.namespace, api())
    }

    /// Sends a body that is wrong and gives status and text of the answer.
    fn refused(&self, body: &str) -> Result<(u16, String)> {
        let page = self.connect()?.post(body)?;
        let reply = page.reply()?;
        let text = reply["text"].as_str().with_context(|| format!("no text in {reply}"))?;
        ensure!(reply["result"] != 0, "{:.80} was answered with {reply}", body);
        ensure!(reply.get("arguments").is_none(), "{:.80} was answered with {reply}", body);
        Ok((page.status, text.to_owned()))
    }

    /// An honest request is answered, and soon.
    fn answers(&self, after: &str) -> Result<()> {
        let began = clock::now_ms();
        let reply = self.connect()?.command("version-get", "{}")?;
        ensure!(reply["result"] == 0, "after {after}: {reply}");
        let took = clock::now_ms() - began;
        ensure!(took < 5_000, "after {after}: an honest request took {took} ms");
        Ok(())
    }
}

/// Documents that are not JSON, or not a request.
fn malformed(target: &Target<'_>) -> Result<()> {
    let get = "{\"command\":\"lease4-get\",\"arguments\":";
    for body in [
        "{",
        "}",
        "[",
        "nonsense",
        "{\"command\":\"version-get\"",
        "{\"command\":\"version-get\"}}",
        "{\"command\":\"version-get\",}",
        "{'command':'version-get'}",
        "{\"command\":version-get}",
        "# x\n{\"command\":\"version-get\"}",
        "\u{0}",
        "{\"command\":\"version-get\"} trailing",
        "{\"command\":\"\\ud800\"}",
        "{\"command\":\"\\x\"}",
        "{\"command\":01}",
        "{\"command\":1e999}",
    ] {
        let (status, text) = target.refused(body)?;
        ensure!(status == 400, "{body:?}: {status} {text}");
    }
    for body in [
        "{}",
        "[]",
        "5",
        "\"x\"",
        "null",
        "{\"command\":null}",
        "{\"command\":[]}",
        "{\"Command\":\"version-get\"}",
        "{\"command\":\"version-get\",\"more\":1}",
        "{\"command\":\"nope\"}",
        "{\"command\":\"version-get\",\"service\":5}",
        "{\"command\":\"version-get\",\"service\":[5]}",
        "{\"command\":\"version-get\",\"service\":[\"dhcp9\"]}",
        &format!("{get}[]}}"),
        &format!("{get}\"x\"}}"),
        &format!("{get}{{\"ip-address\":{{}}}}}}"),
        &format!("{get}{{\"ip-address\":\"{}\"}}}}", "9".repeat(100_000)),
    ] {
        let (status, text) = target.refused(body)?;
        ensure!(status == 200 && !text.is_empty(), "{body:.80}: {status} {text:.80}");
    }
    for head in [
        "GARBAGE\r\n\r\n",
        "POST / HTTP/9.9\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}",
    ] {
        let mut http = target.connect()?;
        http.send(head.as_bytes())?;
        // Closed or refused, never held for ever.
        if let Ok(page) = http.answer() {
            ensure!(page.status >= 400, "{head:?} was answered with {page:?}");
        }
    }
    target.answers("malformed documents")
}

/// Lists and maps in each other, in the request and in its arguments.
fn nested(target: &Target<'_>) -> Result<()> {
    for depth in [200, 10_000, 1_000_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let inner = format!("{}{}{}", open.repeat(depth), "1", close.repeat(depth));
            let (status, text) = target.refused(&inner)?;
            ensure!(status == 400 && text.contains("deeper"), "{depth} × {open}: {status} {text}");
            let body = format!("{{\"command\":\"lease4-get\",\"arguments\":{inner}}}");
            let (status, text) = target.refused(&body)?;
            ensure!(status == 400 && text.contains("deeper"), "{depth} × {open}: {status} {text}");
        }
    }
    target.answers("nesting")
}

/// Bodies of 100 MB, and several that are just small enough.
fn large(target: &Target<'_>) -> Result<()> {
    const MB: usize = 1_000_000;
    let mut http = target.connect()?;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        100 * MB
    );
    http.send(head.as_bytes())?;
    // Whoever announces so much is told so before it is sent; who sends all the same may find the connection closed.
    let chunk = vec![b' '; MB];
    for _ in 0..100 {
        if http.send(&chunk).is_err() {
            break;
        }
    }
    if let Ok(page) = http.answer() {
        ensure!(page.status == 413, "100 MB were answered with {page:?}");
    }
    let mut http = target.connect()?;
    http.send(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    for _ in 0..100 {
        let sent = http.send(format!("{MB:x}\r\n").as_bytes()).and_then(|()| http.send(&chunk));
        if sent.and_then(|()| http.send(b"\r\n")).is_err() {
            break;
        }
    }
    if let Ok(page) = http.answer() {
        ensure!(page.status == 413, "100 MB in chunks were answered with {page:?}");
    }
    // Each within the limit, all together not.
    let name = "x".repeat(40 * MB);
    let body =
        format!("{{\"command\":\"lease4-get\",\"arguments\":{{\"ip-address\":\"{name}\"}}}}");
    std::thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..5).map(|_| scope.spawn(|| target.refused(&body))).collect();
        for thread in threads {
            // One that finds no room is told so with 503, or its connection is closed while it sends.
            if let Ok((status, text)) = thread.join().expect("a thread that sends") {
                ensure!(matches!(status, 200 | 503), "40 MB: {status} {text:.80}");
                ensure!(text.len() < 1_000_000, "an error of {} bytes", text.len());
            }
        }
        Ok(())
    })?;
    target.answers("large bodies")
}

/// 10 000 connections that say nothing, or half of something.
fn idle(target: &Target<'_>) -> Result<()> {
    let half: [&[u8]; 4] = [
        b"",
        b"POST / HTT",
        b"POST / HTTP/1.1\r\nContent-Length: 50\r\n",
        b"POST / HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{\"command\":",
    ];
    let connect = |number: usize| {
        let mut http = Http::open(api()).ok()?;
        http.send(half[number % half.len()]).ok()?;
        Some(http)
    };
    // By eight at once, as a crowd would.
    let crowd = |first: usize| {
        target
            .namespace
            .inside(|| (first..10_000).step_by(8).filter_map(connect).collect::<Vec<Http>>())
    };
    let open: Result<Vec<Vec<Http>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|first| scope.spawn(move || crowd(first))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread that connects")).collect()
    });
    let mut open: Vec<Http> = open?.into_iter().flatten().collect();
    println!("{} connections were opened and left", open.len());
    ensure!(open.len() > 5_000, "only {} connections could be opened", open.len());
    target.answers("10 000 idle connections")?;
    let closed = open.iter_mut().filter_map(|http| http.is_closed().then_some(())).count();
    println!("{closed} of them were closed by the node to make room");
    ensure!(closed > open.len() / 2, "only {closed} of {} were closed", open.len());
    Ok(())
}

/// Every argument of every command with a value of another type. A command that ends the process or moves leadership is left out: what it
/// does with arguments that it ignores is not an error.
fn wrong_types(target: &Target<'_>) -> Result<usize> {
    let mut http = target.connect()?;
    let mut count = 0;
    for spec in COMMANDS {
        if matches!(spec.name, "shutdown" | "cluster-leader-transfer") {
            continue;
        }
        for argument in spec.arguments {
            let wrong: &[&str] = match argument.kind {
                Kind::Text => &["5", "[]", "{}", "null"],
                Kind::Integer => &["\"x\"", "[]", "1.5", "true", "99999999999999999999"],
                Kind::Boolean => &["\"x\"", "5", "[]"],
                Kind::Map => &["\"x\"", "5", "[]"],
                Kind::List => &["\"x\"", "5", "{}"],
                Kind::TextOrInteger => &["[]", "{}", "true"],
            };
            for value in wrong {
                let reply =
                    http.command(spec.name, &format!("{{\"{}\":{value}}}", argument.name))?;
                let place = format!("{} {{{}: {value}}}", spec.name, argument.name);
                let result =
                    reply["result"].as_i64().with_context(|| format!("{place}: {reply}"))?;
                // Kea ignores some arguments in some places; whatever the answer, it is a whole one.
                ensure!(result == 0 || reply["text"].is_string(), "{place}: {reply}");
                let text = reply["text"].as_str().unwrap_or_default();
                ensure!(!text.contains("internal error"), "{place}: {reply}");
                count += 1;
            }
        }
    }
    target.answers("wrong types")?;
    Ok(count)
}

/// Waves of DHCP clients until `done`; what each brought.
fn waves(cluster: &Cluster, done: &AtomicBool) -> Result<Vec<Load>> {
    let mut loads = Vec::new();
    while !done.load(Ordering::Relaxed) || loads.is_empty() {
        let crowd = u8::try_from(loads.len() % 200)?;
        let server = cluster.nodes[0].address;
        loads.push(perfdhcp::run(cluster.relay(), server, RATE, WAVE, crowd)?);
    }
    Ok(loads)
}

fn ratio(loads: &[Load]) -> f64 {
    let sent: u64 = loads.iter().map(|load| load.discover_offer.sent).sum();
    let done: u64 = loads.iter().map(|load| load.request_ack.received).sum();
    done as f64 / sent.max(1) as f64
}

#[test]
fn bad_input_to_the_api_costs_dhcp_clients_nothing() -> Result<()> {
    let test = "bad_input_to_the_api_costs_dhcp_clients_nothing";
    let Some(gate) = gate::enter_cluster(test, &["perfdhcp"])? else { return Ok(()) };
    let plan = Plan {
        nodes: 1,
        pools: vec!["10.77.16.0 - 10.77.255.254".to_owned()],
        local_to_relay: None,
        ..Plan::default()
    };
    let mut cluster = Cluster::start(gate, &plan)?;
    let pid = cluster.nodes[0].process()?.pid();
    let done = AtomicBool::new(true);
    let quiet = waves(&cluster, &done)?;
    let before = cluster.nodes[0].process()?.resident_kib()?;
    done.store(false, Ordering::Relaxed);
    let ended = AtomicBool::new(false);
    let target = Target { namespace: &cluster.nodes[0].namespace };
    let (cluster_ref, done_ref, ended_ref) = (&cluster, &done, &ended);
    let (outcome, loads, peak) = std::thread::scope(|scope| {
        let clients = scope.spawn(move || waves(cluster_ref, done_ref));
        let watch = scope.spawn(move || {
            let mut peak = 0;
            while !ended_ref.load(Ordering::Relaxed) {
                peak = peak.max(resident_kib(pid));
                clock::sleep_ms(20);
            }
            peak
        });
        let began = clock::now_ms();
        let step = |name: &str, outcome: Result<()>| -> Result<()> {
            println!(
                "{:6} ms: {name}; {} KiB resident",
                clock::now_ms() - began,
                resident_kib(pid)
            );
            outcome.with_context(|| name.to_owned())
        };
        let outcome = step("malformed", malformed(&target))
            .and_then(|()| step("nested", nested(&target)))
            .and_then(|()| step("large", large(&target)))
            .and_then(|()| step("idle", idle(&target)))
            .and_then(|()| {
                let types = wrong_types(&target)?;
                step(&format!("{types} wrong types"), Ok(()))
            });
        done.store(true, Ordering::Relaxed);
        let loads = clients.join().expect("the thread of the clients");
        ended.store(true, Ordering::Relaxed);
        (outcome, loads, watch.join().expect("the thread that watches"))
    });
    outcome?;
    let loads = loads?;
    println!(
        "of {RATE} exchanges a second {:.4} were completed in peace and {:.4} under abuse, in {} waves; \
         {before} KiB resident before, {peak} KiB at most",
        ratio(&quiet),
        ratio(&loads),
        loads.len()
    );
    let process = cluster.nodes[0].process()?;
    ensure!(process.runs() && process.pid() == pid, "the node ended:\n{}", process.tail());
    ensure!(!process.log().contains("panicked"), "it panicked:\n{}", process.tail());
    ensure!(peak < before + GROWTH, "it grew from {before} to {peak} KiB");
    ensure!(ratio(&loads) > ratio(&quiet) - 0.02, "clients were not served: {loads:#?}");
    cluster.passed();
    Ok(())
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

/// Figures for a release note.
mod figures {
    use super::*;

    /// How often `ask` succeeds in a second, by `connections` at once for `secs` seconds.
    fn rate(
        namespace: &Namespace,
        connections: usize,
        secs: u64,
        ask: impl Fn(&mut Http, usize, usize) -> Result<Value> + Sync,
    ) -> Result<f64> {
        let end = clock::now_ms() + secs * 1000;
        let counts: Result<Vec<usize>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..connections)
                .map(|at| {
                    let ask = &ask;
                    scope.spawn(move || -> Result<usize> {
                        let mut http = Http::connect(namespace, api())?;
                        let mut count = 0;
                        while clock::now_ms() < end {
                            let reply = ask(&mut http, at, count)?;
                            ensure!(reply["result"] == 0, "{reply}");
                            count += 1;
                        }
                        Ok(count)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("a thread that asks")).collect()
        });
        Ok(counts?.iter().sum::<usize>() as f64 / secs as f64)
    }

    fn mac(number: usize) -> String {
        let bytes = (number as u64).to_be_bytes();
        format!("02:0a:{:02x}:{:02x}:{:02x}:{:02x}", bytes[4], bytes[5], bytes[6], bytes[7])
    }

    fn address(number: usize) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 0)) + number as u32)
    }

    #[test]
    #[ignore = "figures for a release note: takes minutes and asserts little"]
    fn figures_of_the_control_api() -> Result<()> {
        let test = "figures_of_the_control_api";
        let Some(gate) = gate::enter_cluster(test, &[])? else { return Ok(()) };
        let subnet = serde_json::json!([{ "id": 1, "subnet": "10.0.0.0/8", "pools": [{ "pool": "10.128.0.0 - 10.159.255.255" }] }]);
        let plan = Plan {
            more: serde_json::json!({ "subnet4": subnet }),
            local_to_relay: None,
            ..Plan::default()
        };
        let mut cluster = Cluster::start(gate, &plan)?;
        let (leader, follower) = (cluster.leader()?, cluster.follower()?);
        println!(
            "load average: {}",
            std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim()
        );
        let add = |http: &mut Http, number: usize| {
            let (address, mac) = (address(number), mac(number));
            http.command(
                "lease4-add",
                &format!("{{\"ip-address\":\"{address}\",\"hw-address\":\"{mac}\"}}"),
            )
        };
        let mut base = 0;
        for connections in [1, 8, 64] {
            let namespace = &cluster.nodes[follower].namespace;
            let from = base;
            let rate = rate(namespace, connections, 5, |http, at, count| {
                add(http, from + at * 100_000 + count)
            })?;
            base += connections * 100_000;
            println!(
                "lease4-add through a follower, {connections} connections: {rate:.0} a second"
            );
        }
        for (role, index) in [("the leader", leader), ("a follower", follower)] {
            for (connections, more) in [
                (1, ""),
                (8, ""),
                (1, ",\"consistency\":\"local\""),
                (8, ",\"consistency\":\"local\""),
            ] {
                let namespace = &cluster.nodes[index].namespace;
                let arguments = format!("{{\"ip-address\":\"{}\"{more}}}", address(5));
                let rate = rate(namespace, connections, 5, |http, _, _| {
                    http.command("lease4-get", &arguments)
                })?;
                println!(
                    "lease4-get from {role}, {connections} connections{more}: {rate:.0} a second"
                );
            }
        }
        let began = clock::now_ms();
        let loaded = load(&cluster, leader, 1_000_000)?;
        println!("{loaded} leases loaded in {} s", (clock::now_ms() - began) / 1000);
        for node in &mut cluster.nodes {
            println!("node {}: {} KiB resident", node.index + 1, node.process()?.resident_kib()?);
        }
        let pid = cluster.nodes[follower].process()?.pid();
        for limit in [1_000, 10_000] {
            let (began, mut peak) = (clock::now_ms(), 0);
            let mut http = Http::connect(&cluster.nodes[follower].namespace, api())?;
            let (mut from, mut leases, mut pages, mut slowest) = ("start".to_owned(), 0, 0, 0);
            loop {
                let asked = clock::now_ms();
                let page = http.command(
                    "lease4-get-page",
                    &format!("{{\"from\":\"{from}\",\"limit\":{limit}}}"),
                )?;
                slowest = slowest.max(clock::now_ms() - asked);
                peak = peak.max(resident_kib(pid));
                let Some(list) =
                    page["arguments"]["leases"].as_array().filter(|list| !list.is_empty())
                else {
                    break;
                };
                (leases, pages) = (leases + list.len(), pages + 1);
                from = list
                    .last()
                    .and_then(|lease| lease["ip-address"].as_str())
                    .context("an address")?
                    .to_owned();
            }
            println!(
                "lease4-get-page from a follower, limit {limit}: {leases} leases in {pages} pages in {} ms, the slowest {slowest} ms; \
                 {peak} KiB resident at most",
                clock::now_ms() - began
            );
        }
        let asked = clock::now_ms();
        let mut http = Http::connect(&cluster.nodes[follower].namespace, api())?;
        let page = http.post("{\"command\":\"lease4-get-all\"}")?;
        println!(
            "lease4-get-all: {} MB in {} ms, {} KiB resident then",
            page.body.len() / 1_000_000,
            clock::now_ms() - asked,
            resident_kib(pid)
        );
        cluster.passed();
        Ok(())
    }

    /// Fills the table up to `wanted` leases, by the fastest command there is.
    fn load(cluster: &Cluster, index: usize, wanted: usize) -> Result<usize> {
        let first = 1 << 20;
        let batch = 500;
        let end = clock::now_ms() + 240_000;
        let next = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| -> Result<()> {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let (next, namespace) = (&next, &cluster.nodes[index].namespace);
                    scope.spawn(move || -> Result<()> {
                        let mut http = Http::connect(namespace, api())?;
                        loop {
                            let from = next.fetch_add(batch, Ordering::Relaxed);
                            if from >= wanted || clock::now_ms() > end {
                                return Ok(());
                            }
                            let leases: Vec<String> = (from..from + batch)
                                .map(|number| {
                                    let (address, mac) =
                                        (address(first + number), mac(first + number));
                                    format!(
                                        "{{\"ip-address\":\"{address}\",\"hw-address\":\"{mac}\"}}"
                                    )
                                })
                                .collect();
                            let arguments = format!("{{\"leases\":[{}]}}", leases.join(","));
                            // A node that has too much to do says so of each lease; what is there already is written again.
                            while {
                                let reply = http.command("lease4-bulk-apply", &arguments)?;
                                let failed = &reply["arguments"]["failed-leases"];
                                let why = failed[0]["error-message"].as_str();
                                ensure!(why.is_none_or(|why| why.contains("try again")), "{why:?}");
                                why.is_some()
                            } {
                                clock::sleep_ms(20);
                            }
                        }
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("a thread that loads"))
        })?;
        Ok(next.into_inner().min(wanted))
    }
}
