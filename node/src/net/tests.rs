//! Planning, and the sockets on loopback: what needs no privileges. The rest is in
//! `tests/net_sockets.rs`.

use std::sync::mpsc;

use super::*;

fn endpoint(interface: &str, index: u32, address: [u8; 4]) -> Endpoint {
    Endpoint {
        interface: interface.into(),
        index,
        address: address.into(),
        present: true,
        mac: (interface != "tun0" && interface != "lo").then_some([2; 6]),
        mtu: 1500,
        loopback: interface == "lo",
        broadcasts: vec![[192, 0, 2, 255].into()],
    }
}

fn shape(endpoints: &[Endpoint], mode: SocketType) -> Vec<String> {
    let show = |spec: &Spec| match spec {
        Spec::Raw(raw) => format!("raw {} {}", raw.interface, raw.identity),
        Spec::Udp(UdpSpec { interface, scope: Scope::Interface { addresses, .. }, .. }) => {
            format!("udp {interface} {addresses:?}")
        }
        Spec::Udp(udp) => format!("udp {}", udp.identity),
    };
    plan(endpoints, 67, mode).iter().map(show).collect()
}

#[test]
fn s1_s2_mode_raw_has_a_packet_socket_per_interface_and_a_udp_socket_per_address() {
    let endpoints = [
        endpoint("eth0", 2, [192, 0, 2, 1]),
        endpoint("eth1", 3, [198, 51, 100, 1]),
        endpoint("eth0", 2, [192, 0, 2, 2]),
    ];
    let expected = [
        "raw eth0 192.0.2.1",
        "udp 192.0.2.1",
        "udp 192.0.2.2",
        "raw eth1 198.51.100.1",
        "udp 198.51.100.1",
    ];
    assert_eq!(shape(&endpoints, SocketType::Raw), expected);
}

#[test]
fn s1_the_identity_for_broadcasts_is_an_address_that_is_here() {
    let mut shared = endpoint("eth0", 2, [192, 0, 2, 99]);
    shared.present = false;
    let own = endpoint("eth0", 2, [192, 0, 2, 1]);
    assert_eq!(shape(&[shared.clone(), own], SocketType::Raw)[0], "raw eth0 192.0.2.1");
    assert_eq!(shape(&[shared], SocketType::Raw)[0], "raw eth0 192.0.2.99");
}

#[test]
fn s3_mode_udp_and_links_without_ethernet_have_a_udp_socket_per_interface() {
    let endpoints = [endpoint("eth0", 2, [192, 0, 2, 1]), endpoint("eth0", 2, [192, 0, 2, 2])];
    assert_eq!(shape(&endpoints, SocketType::Udp), ["udp eth0 [192.0.2.1, 192.0.2.2]"]);
    let tunnel = [endpoint("tun0", 5, [192, 0, 2, 1])];
    assert_eq!(shape(&tunnel, SocketType::Raw), ["udp tun0 [192.0.2.1]"]);
}

#[test]
fn loopback_has_plain_udp_sockets_in_both_modes() {
    let endpoints = [endpoint("lo", 1, [127, 0, 0, 11]), endpoint("lo", 1, [127, 0, 0, 12])];
    for mode in [SocketType::Raw, SocketType::Udp] {
        let expected: &[&str] = match mode {
            SocketType::Raw => &["udp 127.0.0.11", "udp 127.0.0.12"],
            SocketType::Udp => &["udp 127.0.0.11", "udp 127.0.0.12"],
        };
        assert_eq!(shape(&endpoints, mode), expected);
    }
}

/// A port that nobody has: bound, read and let go. Another process may take it in between, which a
/// test that fails to open says.
fn free_port(address: Ipv4Addr) -> u16 {
    std::net::UdpSocket::bind((address, 0)).unwrap().local_addr().unwrap().port()
}

fn channel() -> (Sink, mpsc::Receiver<Received>) {
    let (sender, receiver) = mpsc::channel();
    let sender = Mutex::new(sender);
    (Arc::new(move |received| drop(sender.lock().send(received))), receiver)
}

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_relay_on_loopback_is_heard_and_answered_without_privileges() {
    let ours = Ipv4Addr::new(127, 0, 0, 11);
    let server = free_port(ours);
    let numbers = PortNumbers { server, ..PortNumbers::default() };
    let (sink, heard) = channel();
    let endpoints = [endpoint("lo", 1, ours.octets())];
    let (ports, problems) = Ports::open(&endpoints, numbers, SocketType::Raw, sink);
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!((ports.open_sockets(), ports.addresses()), (1, vec![ours]));

    let relay = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    relay.set_read_timeout(Some(PATIENCE)).unwrap();
    relay.send_to(b"query", (ours, server)).unwrap();
    let received = heard.recv_timeout(PATIENCE).unwrap();
    assert_eq!(received.bytes, b"query");
    let std::net::SocketAddr::V4(relay_address) = relay.local_addr().unwrap() else {
        unreachable!()
    };
    let arrival = received.arrival;
    assert_eq!((arrival.source, arrival.destination), (relay_address, ours));
    assert_eq!(
        (arrival.broadcast, arrival.source_mac, arrival.server_address()),
        (false, None, ours)
    );

    let reply = Transmission {
        interface: arrival.index,
        source: arrival.server_address(),
        dest: Dest::Udp(arrival.source),
        payload: b"reply".to_vec(),
    };
    ports.sender().send(&reply).unwrap();
    let mut buffer = [0; 100];
    let (len, from) = relay.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..len], from), (&b"reply"[..], (ours, server).into()));
    assert_eq!((ports.counters().received.get(), ports.counters().sent.get()), (1, 1));
}

#[test]
fn s10_a_datagram_that_does_not_fit_is_dropped_and_counted() {
    let ours = Ipv4Addr::new(127, 0, 0, 12);
    let server = free_port(ours);
    let (sink, heard) = channel();
    let numbers = PortNumbers { server, ..PortNumbers::default() };
    let (ports, problems) =
        Ports::open(&[endpoint("lo", 1, ours.octets())], numbers, SocketType::Udp, sink);
    assert!(problems.is_empty(), "{problems:?}");
    let relay = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    relay.send_to(&[1; RECEIVE_BUFFER + 1], (ours, server)).unwrap();
    relay.send_to(&[2; RECEIVE_BUFFER], (ours, server)).unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap().bytes, [2; RECEIVE_BUFFER]);
    assert_eq!(ports.counters().truncated.get(), 1);
}

#[test]
fn a10_a_sink_that_panics_does_not_deafen_the_node() {
    let ours = Ipv4Addr::new(127, 0, 0, 13);
    let server = free_port(ours);
    let (inner, heard) = channel();
    let sink: Sink = Arc::new(move |received| {
        assert_ne!(received.bytes, b"bad", "this panic is part of the test");
        inner(received);
    });
    let numbers = PortNumbers { server, ..PortNumbers::default() };
    let (ports, _) =
        Ports::open(&[endpoint("lo", 1, ours.octets())], numbers, SocketType::Udp, sink);
    let relay = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    relay.send_to(b"bad", (ours, server)).unwrap();
    relay.send_to(b"good", (ours, server)).unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap().bytes, b"good");
    assert_eq!(ports.counters().sink_panics.get(), 1);
}

/// An address more, another MTU: a closed socket would lose what comes meanwhile.
#[test]
fn s8_a_socket_whose_link_has_changed_goes_on_and_loses_nothing() {
    let ours = Ipv4Addr::new(127, 0, 0, 16);
    let server = free_port(ours);
    let (sink, heard) = channel();
    let numbers = PortNumbers { server, ..PortNumbers::default() };
    let mut link = endpoint("lo", 1, ours.octets());
    let (ports, problems) = Ports::open(&[link.clone()], numbers, SocketType::Udp, sink);
    assert!(problems.is_empty(), "{problems:?}");
    let kept = ports.listeners.lock().as_ref().unwrap()[0].port.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let its_stop = stop.clone();
    let talker = std::thread::spawn(move || {
        let relay = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut sent = 0;
        while !its_stop.load(Ordering::Relaxed) {
            relay.send_to(b"x", (ours, server)).unwrap();
            sent += 1;
            std::thread::sleep(Duration::from_micros(500));
        }
        sent
    });
    for change in 1..=20 {
        link.mtu = 1500 - change;
        link.broadcasts = vec![Ipv4Addr::new(192, 0, 2, change as u8)];
        assert!(ports.update(&[link.clone()], SocketType::Udp).is_empty());
        assert_eq!(heard.recv_timeout(PATIENCE).map(|one| one.bytes), Ok(b"x".to_vec()));
    }
    assert!(Arc::ptr_eq(&kept, &ports.listeners.lock().as_ref().unwrap()[0].port));
    drop(kept);
    stop.store(true, Ordering::Relaxed);
    let sent: usize = talker.join().unwrap();
    let last = (20..sent).map(|_| heard.recv_timeout(PATIENCE).unwrap()).next_back();
    assert!(last.is_none_or(|last| last.arrival.mtu == 1480));
    // What was sent before the end is heard, although nobody has read it yet.
    let relay = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    (0..50).for_each(|_| _ = relay.send_to(b"y", (ours, server)).unwrap());
    ports.close();
    assert_eq!(heard.try_iter().count(), 50);
}

#[test]
fn s8_an_update_closes_what_is_gone_and_keeps_what_stays() {
    let (first, second) = (Ipv4Addr::new(127, 0, 0, 14), Ipv4Addr::new(127, 0, 0, 15));
    let server = free_port(first);
    let (sink, _heard) = channel();
    let numbers = PortNumbers { server, ..PortNumbers::default() };
    let one = endpoint("lo", 1, first.octets());
    let two = endpoint("lo", 1, second.octets());
    let (ports, problems) = Ports::open(std::slice::from_ref(&one), numbers, SocketType::Udp, sink);
    assert!(problems.is_empty(), "{problems:?}");
    let kept = ports.listeners.lock().as_ref().unwrap()[0].port.clone();
    assert!(ports.update(&[one.clone(), two.clone()], SocketType::Udp).is_empty());
    assert!(
        Arc::ptr_eq(&kept, &ports.listeners.lock().as_ref().unwrap()[0].port),
        "the open socket stays"
    );
    assert_eq!(ports.addresses(), [first, second]);
    drop(kept);

    ports.update(&[two], SocketType::Udp);
    assert_eq!(ports.addresses(), [second]);
    let free_again = std::net::UdpSocket::bind((first, server));
    assert!(free_again.is_ok(), "{free_again:?}");
    let problems = ports.update(&[one], SocketType::Udp);
    let shown = problems[0].to_string();
    assert!(shown.starts_with("cannot open a UDP socket on lo/127.0.0.14: "), "{shown}");
    let unsent =
        Transmission { interface: 1, source: first, dest: Dest::Broadcast, payload: vec![] };
    assert!(matches!(ports.sender().send(&unsent), Err(SendError::NoSocket { .. })));
    assert_eq!(ports.counters().send_errors.get(), 1);

    ports.close();
    drop(free_again);
    assert!(ports.update(&[endpoint("lo", 1, first.octets())], SocketType::Udp).is_empty());
    assert_eq!(ports.open_sockets(), 0, "closed is closed");
}
