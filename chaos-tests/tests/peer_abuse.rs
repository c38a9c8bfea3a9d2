//! Strangers at the peer port, by the thousand: it costs a node little, its leader stays, and DHCP clients do not notice. (What ended
//! other servers: CVE-2010-3616, CVE-2016-2774.)

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chaos_tests::clock;
use chaos_tests::floor::netns::certificates::Authority;
use chaos_tests::floor::netns::cluster::{Cluster, Plan};
use chaos_tests::floor::netns::node::peer_address;
use chaos_tests::floor::netns::topology::{Namespace, Nic};
use chaos_tests::gate;
use chaos_tests::perfdhcp::{self, Load};
use socket2::{Domain, Protocol, Socket, Type};

/// Exchanges of DHCP clients in a second.
const RATE: u32 = 150;
/// How long one wave of clients lasts, in seconds.
const WAVE: u32 = 3;
/// Strangers' addresses: one alone has few places.
const ADDRESSES: u8 = 8;
/// Idle connections, all addresses together.
const IDLE: usize = 10_000;
/// How much a node may need for all of them: KiB, and descriptors.
const MORE_KIB: u64 = 128 << 10;
const MORE_FILES: usize = 300;
/// A stranger who says nothing is out after so long, in milliseconds; a loaded machine may take longer.
const OUT_MS: u64 = 20_000;

fn stranger(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, 100 + number)
}

fn target(index: usize) -> SocketAddr {
    SocketAddrV4::new(peer_address(index), 7701).into()
}

/// A connection from one of the strangers' addresses; the caller is in their namespace.
fn open(number: u8, to: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((stranger(number % ADDRESSES), 0)).into())?;
    socket.connect_timeout(&to.into(), Duration::from_secs(10)).context("connecting")?;
    socket.set_read_timeout(Some(Duration::from_secs(15)))?;
    socket.set_write_timeout(Some(Duration::from_secs(5)))?;
    Ok(socket.into())
}

/// Whether the other end has closed it by now.
fn is_closed(stream: &mut TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(1..) => {}
            Ok(0) => return true,
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

/// A frame of HTTP/2 that says it has `length` bytes.
fn frame(length: u32, kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(content);
    bytes
}

fn preface() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(0, 4, 0, 0, &[])].concat()
}

/// The headers of a call of `path`, without compression (RFC 7541 §6.2.2, indices of its appendix A).
fn call(stream: u32, path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    for (index, value) in [(0x01, "x"), (0x0f, "application/grpc")] {
        // Index 31, content-type, does not fit four bits: 15, and 16 more.
        block.extend(if index == 0x0f { &[0x0f, 0x10][..] } else { &[0x01][..] });
        block.push(value.len() as u8);
        block.extend(value.as_bytes());
    }
    frame(block.len() as u32, 1, 4, stream, &block)
}

const HELLO: &str = "/leasehold.cluster.Cluster/Hello";
const VOTE: &str = "/leasehold.raft.Raft/Vote";

/// What no node would send. Each is closed or ignored; what is sent until then does not matter.
fn nonsense() -> Vec<(&'static str, Vec<u8>)> {
    let mut streams = preface();
    for number in 0..20_000_u32 {
        streams.extend(call(2 * number + 1, if number % 2 == 0 { HELLO } else { VOTE }));
    }
    let mut headers = preface();
    // A list of headers that never ends: HEADERS, then CONTINUATION without the flag that ends it.
    headers.extend(frame(3, 1, 0, 1, &[0x83, 0x86, 0x84]));
    for _ in 0..200 {
        let line = [&[0x00, 0x7f, 0x81, 0x1f][..], &[b'a'; 4096], &[0x01, b'b']].concat();
        headers.extend(frame(line.len() as u32, 9, 0, 1, &line));
    }
    let mut message = [preface(), call(1, HELLO)].concat();
    // A message of nearly 4 GiB, and as much of it as the window takes.
    let mut begin = vec![0, 0xff, 0xff, 0xff, 0xff];
    begin.resize(16_384, 0);
    for _ in 0..100 {
        message.extend(frame(16_384, 0, 0, 1, &begin));
        begin[..5].fill(0);
    }
    let resets: Vec<u8> = (0..20_000_u32)
        .flat_map(|n| [call(2 * n + 1, HELLO), frame(4, 3, 0, 2 * n + 1, &[0, 0, 0, 8])].concat())
        .collect();
    let pings: Vec<u8> = (0..100_000).flat_map(|_| frame(8, 6, 0, 0, &[1; 8])).collect();
    vec![
        (
            "random bytes",
            (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect(),
        ),
        ("HTTP/1", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{".to_vec()),
        ("a giant frame", [preface(), frame(0xff_ffff, 0, 0, 1, &[0; 65_536])].concat()),
        ("a giant TLS record", [&[0x16, 3, 1, 0xff, 0xff][..], &[1; 70_000]].concat()),
        ("a TLS record of nothing", [0x16, 3, 1, 0, 0].repeat(10_000)),
        (
            "a giant ClientHello",
            [&[0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..], &[0; 16_380]].concat(),
        ),
        ("many streams", streams),
        ("endless headers", headers),
        ("a giant message", message),
        ("streams opened and reset", [preface(), resets].concat()),
        ("a flood of pings", [preface(), pings].concat()),
    ]
}

/// Sends everything at once, two connections each, and sees them end.
fn talk_nonsense(to: SocketAddr) -> Result<()> {
    let talk = |number: u8, what: &str, bytes: &[u8]| -> Result<()> {
        let mut open = [open(2 * number, to)?, open(2 * number + 1, to)?];
        for stream in &mut open {
            // Who is cut off in the middle of it has been understood.
            let _ = stream.write_all(bytes);
        }
        clock::wait_for(what, OUT_MS, || open.iter_mut().all(is_closed).then_some(()))
            .with_context(|| format!("{what} is not refused"))
    };
    // The threads are in the namespace of the one that starts them.
    std::thread::scope(|scope| {
        let (talk, all) = (&talk, nonsense());
        let threads: Vec<_> = (0_u8..)
            .zip(all)
            .map(|(number, (what, bytes))| scope.spawn(move || talk(number, what, &bytes)))
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a thread that talks"))
    })
}

/// Connections that send a byte now and then: of a ClientHello, of HTTP/2's first words, of a call.
fn dribble(to: SocketAddr) -> Result<()> {
    let hello = [&[0x16, 3, 1, 0, 0xf0, 1, 0, 0, 0xec, 3, 3][..], &[7; 230]].concat();
    let texts = [hello, preface(), [preface(), call(1, HELLO)].concat()];
    let mut open: Vec<(TcpStream, &[u8], usize)> = (0..60_u8)
        .map(|number| Ok((open(number, to)?, &texts[usize::from(number) % 3][..], 0)))
        .collect::<Result<_>>()?;
    let began = clock::now_ms();
    while !open.is_empty() {
        ensure!(clock::now_ms() - began < OUT_MS, "{} go on and on", open.len());
        for (stream, text, sent) in &mut open {
            if let Some(byte) = text.get(*sent) {
                let _ = stream.write(&[*byte]);
                *sent += 1;
            }
        }
        clock::sleep_ms(100);
        open.retain_mut(|(stream, _, _)| !is_closed(stream));
    }
    println!("the last of those who dribble was out after {} ms", clock::now_ms() - began);
    Ok(())
}

/// Thousands of connections that say nothing.
fn idle(to: SocketAddr) -> Result<()> {
    let crowd = |first: u8| -> Vec<TcpStream> {
        let each = IDLE / usize::from(ADDRESSES);
        (0..each).filter_map(|_| open(first, to).ok()).collect()
    };
    let mut all: Vec<TcpStream> = std::thread::scope(|scope| {
        let crowd = &crowd;
        let threads: Vec<_> =
            (0..ADDRESSES).map(|first| scope.spawn(move || crowd(first))).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a thread that connects"))
            .collect()
    });
    println!("{} connections were opened and left", all.len());
    ensure!(all.len() > IDLE / 2, "only {} connections could be opened", all.len());
    // Of some the kernel at the other end does not know any more; their owners would learn it by speaking.
    let (began, few) = (clock::now_ms(), IDLE / 20);
    clock::wait_for_every(250, "idle connections to be closed", OUT_MS, || {
        all.retain_mut(|stream| !is_closed(stream));
        (all.len() < few).then_some(())
    })?;
    println!("all but {} were closed {} ms later", all.len(), clock::now_ms() - began);
    Ok(())
}

/// The strangers' namespace, on the network between the nodes.
fn strangers(cluster: &Cluster) -> Result<Namespace> {
    let namespace = Namespace::create("strangers")?;
    let nic = Nic { mac: None, address: Some((stranger(0), 24)) };
    cluster.peers.plug(&namespace, "eth0", "x1", nic)?;
    for number in 1..ADDRESSES {
        namespace.ip(&["addr", "add", &format!("{}/24", stranger(number)), "dev", "eth0"])?;
    }
    Ok(namespace)
}

fn term(cluster: &Cluster) -> Result<u64> {
    let outcome = cluster.ctl(0, &["-o", "json", "status"])?;
    let status: serde_json::Value = serde_json::from_str(&outcome.stdout)?;
    status["term"].as_u64().with_context(|| format!("a term in {status}"))
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |files| files.count())
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

fn waves(cluster: &Cluster, server: Ipv4Addr, done: &AtomicBool) -> Result<Vec<Load>> {
    let mut loads = Vec::new();
    while !done.load(Ordering::Relaxed) || loads.is_empty() {
        let crowd = u8::try_from(loads.len() % 200)?;
        loads.push(perfdhcp::run(cluster.relay(), server, RATE, WAVE, crowd)?);
    }
    Ok(loads)
}

fn ratio(loads: &[Load]) -> f64 {
    let sent: u64 = loads.iter().map(|load| load.discover_offer.sent).sum();
    let done: u64 = loads.iter().map(|load| load.request_ack.received).sum();
    done as f64 / sent.max(1) as f64
}

fn strangers_at(test: &str, tls: bool) -> Result<()> {
    let Some(gate) = gate::enter_cluster(test, &["perfdhcp"])? else { return Ok(()) };
    let plan = Plan {
        pools: vec!["10.77.16.0 - 10.77.255.254".to_owned()],
        local_to_relay: None,
        ..Plan::default()
    };
    let mut cluster = Cluster::build(gate, &plan)?;
    if tls {
        let authority = Authority::create(&cluster.dir().join("pki"))?;
        (0..cluster.nodes.len()).try_for_each(|index| authority.equip(&cluster, index))?;
    }
    for node in &mut cluster.nodes {
        node.start()?;
    }
    cluster.wait_ready()?;
    let namespace = strangers(&cluster)?;
    let leader = cluster.leader()?;
    let (server, before) = (cluster.nodes[leader].address, term(&cluster)?);
    let pid = cluster.nodes[leader].process()?.pid();
    let quiet = waves(&cluster, server, &AtomicBool::new(true))?;
    let (kib, files) = (resident_kib(pid), descriptors(pid));
    let (done, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let (outcome, loads, peaks) = std::thread::scope(|scope| {
        let (cluster, done, ended) = (&cluster, &done, &ended);
        let clients = scope.spawn(move || waves(cluster, server, done));
        let watch = scope.spawn(move || {
            let mut peaks = (0, 0);
            while !ended.load(Ordering::Relaxed) {
                peaks = (peaks.0.max(resident_kib(pid)), peaks.1.max(descriptors(pid)));
                clock::sleep_ms(20);
            }
            peaks
        });
        let began = clock::now_ms();
        let step = |name: &str, act: fn(SocketAddr) -> Result<()>| -> Result<()> {
            let outcome = namespace.inside(|| act(target(leader))).and_then(|outcome| outcome);
            println!("{:6} ms: {name}", clock::now_ms() - began);
            outcome.with_context(|| name.to_owned())
        };
        let outcome = step("nonsense", talk_nonsense)
            .and_then(|()| step("dribbling", dribble))
            .and_then(|()| step("idle", idle));
        done.store(true, Ordering::Relaxed);
        let loads = clients.join().expect("the thread of the clients");
        ended.store(true, Ordering::Relaxed);
        (outcome, loads, watch.join().expect("the thread that watches"))
    });
    outcome?;
    let loads = loads?;
    println!(
        "of {RATE} exchanges a second {:.4} were completed in peace and {:.4} beside strangers; from {kib} KiB and {files} \
         descriptors to {} KiB and {} at most",
        ratio(&quiet),
        ratio(&loads),
        peaks.0,
        peaks.1
    );
    let process = cluster.nodes[leader].process()?;
    ensure!(process.runs() && process.pid() == pid, "the node ended:\n{}", process.tail());
    ensure!(!process.log().contains("panicked"), "it panicked:\n{}", process.tail());
    ensure!(peaks.0 < kib + MORE_KIB, "it grew from {kib} to {} KiB", peaks.0);
    ensure!(peaks.1 < files + MORE_FILES, "from {files} to {} descriptors", peaks.1);
    ensure!(ratio(&loads) > ratio(&quiet) - 0.02, "clients were not served: {loads:#?}");
    ensure!(cluster.leader()? == leader && term(&cluster)? == before, "the leader did not stay");
    cluster.passed();
    Ok(())
}

#[test]
fn strangers_at_a_peer_port_with_certificates_cost_clients_nothing() -> Result<()> {
    strangers_at("strangers_at_a_peer_port_with_certificates_cost_clients_nothing", true)
}

#[test]
fn strangers_at_a_plain_peer_port_cost_clients_nothing() -> Result<()> {
    strangers_at("strangers_at_a_plain_peer_port_cost_clients_nothing", false)
}
