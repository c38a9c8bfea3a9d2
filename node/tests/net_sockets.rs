//! The sockets on real links: two network namespaces with a veth pair between them.
//!
//! Needs root, `ip`, and for the last tests `udhcpc` and `dhclient`; without them a test prints why
//! it is skipped. With `LEASEHOLD_REQUIRE_ROOT_TESTS=1`, as in CI, a skip is a failure.
//!
//! A test makes the namespaces and starts this binary again in each of them, with the part it is
//! to play in `LEASEHOLD_PART`.

#![allow(clippy::unwrap_used)] // all of this file is tests, the helpers too

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold::config::{Listen, SocketType};
use leasehold::net::{self, Dest, PortNumbers, Ports, Received, Sink, Transmission, Wanted};
use leasehold::packet::v4::{Message, MessageType, Reply, codes};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
const LEASED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x50];
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn s1_s2_broadcasts_come_once_by_frame_and_unicasts_once_by_datagram() {
    play("raw", &["ip"]);
}

#[test]
fn s3_mode_udp_hears_both_and_answers_by_broadcast() {
    play("udp", &["ip"]);
}

#[test]
fn s8_a_link_that_went_down_and_one_that_was_made_again_are_heard() {
    play("relink", &["ip"]);
}

#[test]
fn real_clients_take_a_lease_in_mode_raw() {
    play("clients-raw", &["ip", "udhcpc", "dhclient"]);
}

#[test]
fn real_clients_take_a_lease_in_mode_udp() {
    play("clients-udp", &["ip", "udhcpc", "dhclient"]);
}

#[test]
#[ignore = "a part of the other tests, which start it inside a namespace"]
fn part() {
    match std::env::var("LEASEHOLD_PART").as_deref() {
        Ok("raw") => raw(),
        Ok("udp") => udp(),
        Ok("relink") => relink(),
        Ok("clients-raw") => clients(SocketType::Raw),
        Ok("clients-udp") => clients(SocketType::Udp),
        Ok("talk") => talk(),
        Ok("call") => call(),
        other => println!("nothing to play: {other:?}"),
    }
}

// The parts.

/// The client's end: eight broadcasts, a fragmented one, six unicasts of which one is fragmented,
/// then one reply by frame or broadcast and one by broadcast.
fn talk() {
    let socket = client_socket();
    for number in 0..5u8 {
        socket.send_to(&[b'b', number], (Ipv4Addr::BROADCAST, 67)).unwrap();
    }
    for number in 5..8u8 {
        socket.send_to(&[b'b', number], ("192.0.2.255", 67)).unwrap();
    }
    for number in 0..4u8 {
        socket.send_to(&[b'u', number], (SERVER, 67)).unwrap();
    }
    socket.send_to(&[b'U'; 4000], (SERVER, 67)).unwrap();
    socket.send_to(b"end", (SERVER, 67)).unwrap();
    let mut buffer = [0; 100];
    let mut heard = Vec::new();
    while heard.len() < 3 {
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!(from, (SERVER, 67).into());
        heard.push(String::from_utf8_lossy(&buffer[..len]).into_owned());
    }
    heard.sort();
    assert_eq!(heard, ["all", "link", "routed"]);
}

/// The client's end: a broadcast every 100 ms until the answer comes.
fn call() {
    let socket = client_socket();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    for _ in 0..200 {
        socket.send_to(b"call", (Ipv4Addr::BROADCAST, 67)).unwrap();
        if socket.recv(&mut [0; 100]).is_ok() {
            return;
        }
    }
    panic!("no answer");
}

fn client_socket() -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:68").unwrap();
    socket.set_broadcast(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn raw() {
    let (ports, heard) = open(SocketType::Raw);
    assert_eq!(ports.open_sockets(), 2);
    let client = start_in_client("talk");
    let heard = until_end(&heard);
    reply_three_ways(&ports);
    finish(client);
    check_heard(&heard);
    for received in heard.iter().filter(|one| one.arrival.broadcast) {
        assert_eq!(received.arrival.source_mac, Some(CLIENT_MAC));
        assert_eq!(received.arrival.server_address(), SERVER);
    }
    // Kernel sockets leave the checksum of a broadcast to the (virtual) hardware: rule S5.
    assert_eq!(ports.counters().bad_checksum.get(), 0);
    ports.close();
    assert_eq!(ports.open_sockets(), 0);
}

fn udp() {
    let (ports, heard) = open(SocketType::Udp);
    assert_eq!(ports.open_sockets(), 1);
    let client = start_in_client("talk");
    let heard = until_end(&heard);
    reply_three_ways(&ports);
    finish(client);
    check_heard(&heard);
}

fn until_end(heard: &Receiver<Received>) -> Vec<Received> {
    let mut all = Vec::new();
    while all.last().is_none_or(|last: &Received| last.bytes != b"end") {
        all.push(heard.recv_timeout(PATIENCE).expect("the client's datagrams"));
    }
    // Broadcasts have a socket and a thread of their own: they may come after the end.
    while let Ok(late) = heard.recv_timeout(Duration::from_millis(500)) {
        all.push(late);
    }
    all
}

fn check_heard(heard: &[Received]) {
    let mut what: Vec<_> =
        heard.iter().map(|one| (one.bytes[0], one.bytes[1], one.arrival.broadcast)).collect();
    what.sort_unstable();
    let mut expected: Vec<_> = (0..8).map(|number| (b'b', number, true)).collect();
    expected.extend((0..4).map(|number| (b'u', number, false)));
    expected.extend([(b'U', b'U', false), (b'e', b'n', false)]);
    expected.sort_unstable();
    assert_eq!(what, expected);
    for received in heard {
        let arrival = &received.arrival;
        assert_eq!((&*arrival.interface, arrival.source), ("srv0", SocketAddrV4::new(CLIENT, 68)));
        let directed = Ipv4Addr::new(192, 0, 2, 255);
        let expected: &[Ipv4Addr] =
            if arrival.broadcast { &[Ipv4Addr::BROADCAST, directed] } else { &[SERVER] };
        assert!(expected.contains(&arrival.destination), "{arrival:?}");
    }
}

fn reply_three_ways(ports: &Ports) {
    let send = |dest, payload: &[u8]| {
        let interface = index_of("srv0");
        let payload = payload.to_vec();
        ports.sender().send(&Transmission { interface, source: SERVER, dest, payload }).unwrap();
    };
    send(Dest::Link { mac: CLIENT_MAC, ip: CLIENT }, b"link");
    send(Dest::Broadcast, b"all");
    send(Dest::Udp(SocketAddrV4::new(CLIENT, 68)), b"routed");
}

fn relink() {
    let runtime = runtime();
    let (sink, heard) = channel();
    let ports = Arc::new(Ports::new(PortNumbers::default(), sink));
    let wanted = Wanted { listen: vec![Listen::Interface("srv0".into())], mode: SocketType::Raw };
    let (_keep, wanted) = tokio::sync::watch::channel(wanted);
    let its_ports = ports.clone();
    let follower = runtime.spawn(async move {
        let machine = net::watch().await.unwrap();
        net::follow(its_ports, wanted, machine, |select, open| println!("{select:?} {open:?}"))
            .await;
    });
    let called = || {
        while heard.try_recv().is_ok() {}
        let client = start_in_client("call");
        let arrival = heard.recv_timeout(PATIENCE).expect("a broadcast").arrival;
        let payload = b"here".to_vec();
        let answer = Transmission {
            interface: arrival.index,
            source: SERVER,
            dest: Dest::Broadcast,
            payload,
        };
        // The client goes on calling, so an answer that is lost while the sockets change is sent again.
        while ports.sender().send(&answer).is_err() {
            std::thread::sleep(Duration::from_millis(50));
        }
        finish(client);
        arrival.index
    };
    let first = called();
    ip("link set srv0 down");
    std::thread::sleep(Duration::from_millis(500));
    ip("link set srv0 up");
    assert_eq!(called(), first);
    ip("link del srv0");
    let closed = || ports.open_sockets() == 0;
    for _ in 0..1_000 {
        if closed() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(closed(), "what is gone is closed");
    make_link();
    assert_ne!(called(), first, "the new interface has another number");
    follower.abort();
}

/// A server that knows one address, for two clients one after the other.
fn clients(mode: SocketType) {
    let runtime = runtime();
    let (queue, heard) = mpsc::channel();
    let queue = Mutex::new(queue);
    let sink: Sink = Arc::new(move |received| drop(queue.lock().unwrap().send(received)));
    let interfaces = runtime.block_on(net::enumerate()).unwrap();
    let (endpoints, _) = net::select(&[Listen::Interface("srv0".into())], &interfaces);
    let (ports, problems) = net::Ports::open(&endpoints, PortNumbers::default(), mode, sink);
    assert!(problems.is_empty(), "{problems:?}");
    let sender = ports.sender();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let its_seen = seen.clone();
    std::thread::spawn(move || {
        for received in heard {
            let query = Message::from_vec(received.bytes).expect("clients send DHCP");
            its_seen.lock().unwrap().push(query.message_type().unwrap());
            if let Some(answer) = answer(&query, &received.arrival) {
                sender.send(&answer).expect("the answer leaves");
            }
        }
    });
    client_command("ip address flush dev cli0").status().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let lease_file = directory.path().join("leases");
    let udhcpc = client_command("udhcpc -i cli0 -f -q -n -t 5 -T 2 -s /bin/true").output().unwrap();
    let said = String::from_utf8_lossy(&udhcpc.stderr).into_owned()
        + &String::from_utf8_lossy(&udhcpc.stdout);
    assert!(udhcpc.status.success() && said.contains("192.0.2.77"), "{said}");

    let files =
        format!("-lf {} -pf {}", lease_file.display(), directory.path().join("pid").display());
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    let dhclient = format!("dhclient -1 -d -sf /bin/true {files} cli0");
    let mut dhclient = client_command(&dhclient).stderr(log).spawn().unwrap();
    let bound =
        || std::fs::read_to_string(&lease_file).is_ok_and(|text| text.contains("192.0.2.77"));
    for _ in 0..200 {
        if bound() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let outcome = bound();
    dhclient.kill().unwrap();
    dhclient.wait().unwrap();
    assert!(outcome, "{}", std::fs::read_to_string(directory.path().join("log")).unwrap());
    let seen = seen.lock().unwrap();
    assert_eq!(seen.iter().filter(|kind| **kind == MessageType::Request).count(), 2, "{seen:?}");
    assert_eq!((ports.counters().bad_checksum.get(), ports.counters().bad_frame.get()), (0, 0));
}

fn answer(query: &Message, arrival: &net::Arrival) -> Option<Transmission> {
    let kind = match query.message_type().ok()? {
        MessageType::Discover => MessageType::Offer,
        MessageType::Request => MessageType::Ack,
        _ => return None,
    };
    let mut reply = Reply::to(query, kind);
    reply.yiaddr = LEASED;
    reply.set(codes::SERVER_ID, arrival.server_address());
    reply.set(codes::LEASE_TIME, 3600);
    reply.set(codes::SUBNET_MASK, Ipv4Addr::new(255, 255, 255, 0));
    let dest = match (query.broadcast_flag(), arrival.source_mac) {
        (false, Some(mac)) => Dest::Link { mac, ip: LEASED },
        _ => Dest::Broadcast,
    };
    let payload = reply.encode(548).bytes;
    Some(Transmission { interface: arrival.index, source: arrival.server_address(), dest, payload })
}

// The stage.

fn play(part: &str, tools: &[&str]) {
    if let Some(reason) = missing(tools) {
        let required = std::env::var("LEASEHOLD_REQUIRE_ROOT_TESTS").as_deref() == Ok("1");
        assert!(!required, "skipped ({reason}), and LEASEHOLD_REQUIRE_ROOT_TESTS=1 forbids that");
        eprintln!("skipped: {reason}");
        return;
    }
    let stage = Stage::new(part);
    let server = stage.server.clone();
    let link = ["ip", "netns", "exec", &server, "ip", "link", "set", "lo", "up"];
    assert!(Command::new(link[0]).args(&link[1..]).status().unwrap().success());
    let output = again(&server, part).env("LEASEHOLD_CLIENT_NS", &stage.client).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

fn missing(tools: &[&str]) -> Option<String> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    if !root {
        return Some("needs root for network namespaces".into());
    }
    let there = |tool: &&&str| {
        let probe = Command::new("sh")
            .arg("-c")
            .arg(format!("command -v {tool}"))
            .stdout(Stdio::null())
            .status();
        !probe.is_ok_and(|status| status.success())
    };
    tools.iter().find(there).map(|tool| format!("needs the program {tool}"))
}

/// Two namespaces, deleted at the end together with their links.
struct Stage {
    server: String,
    client: String,
}

impl Stage {
    fn new(part: &str) -> Stage {
        let name = |side: &str| format!("lh-{side}-{part}-{}", std::process::id());
        let stage = Stage { server: name("s"), client: name("c") };
        for namespace in [&stage.server, &stage.client] {
            assert!(
                Command::new("ip").args(["netns", "add", namespace]).status().unwrap().success()
            );
        }
        stage
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for namespace in [&self.server, &self.client] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

/// This binary in a namespace.
fn again(namespace: &str, part: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "part", "--ignored", "--nocapture"]).env("LEASEHOLD_PART", part);
    command
}

fn start_in_client(part: &str) -> Child {
    again(&client_namespace(), part).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn finish(client: Child) {
    let output = client.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn client_namespace() -> String {
    std::env::var("LEASEHOLD_CLIENT_NS").expect("the part is started by a test")
}

fn client_command(line: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &client_namespace()]).args(line.split(' '));
    command
}

fn ip(line: &str) {
    let status = Command::new("ip").args(line.split(' ')).status().unwrap();
    assert!(status.success(), "ip {line}");
}

/// The veth pair, seen from the server's namespace.
fn make_link() {
    ip(&format!("link add srv0 type veth peer name cli0 netns {}", client_namespace()));
    ip("address add 192.0.2.1/24 brd + dev srv0");
    ip("link set srv0 up");
    let commands = [
        "ip link set cli0 address 02:00:00:00:00:50",
        "ip address add 192.0.2.50/24 brd + dev cli0",
        "ip link set cli0 up",
        "ip route add default dev cli0",
    ];
    for command in commands {
        assert!(client_command(command).status().unwrap().success(), "{command}");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    make_link();
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn open(mode: SocketType) -> (Ports, Receiver<Received>) {
    let interfaces = runtime().block_on(net::enumerate()).unwrap();
    let (endpoints, problems) = net::select(&[Listen::All], &interfaces);
    assert!(problems.is_empty(), "{problems:?}");
    let (sink, heard) = channel();
    let (ports, problems) = Ports::open(&endpoints, PortNumbers::default(), mode, sink);
    assert!(problems.is_empty(), "{problems:?}");
    (ports, heard)
}

fn channel() -> (Sink, Receiver<Received>) {
    let (sender, receiver) = mpsc::channel();
    let sender = Mutex::new(sender);
    (Arc::new(move |received| drop(sender.lock().unwrap().send(received))), receiver)
}

fn index_of(interface: &str) -> u32 {
    let output = Command::new("ip").args(["-o", "link", "show", interface]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split(':').next().unwrap().trim().parse().unwrap()
}
