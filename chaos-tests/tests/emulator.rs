//! The emulator of links is tested over real TAP devices: weather that does not come would make every test under it say nothing.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use chaos_tests::clock;
use chaos_tests::floor::netns::cluster::{Cluster, Direction, Plan};
use chaos_tests::floor::netns::emulator::{Emulator, TOOLS, TUN, Weather};
use chaos_tests::floor::netns::node::peer_address;
use chaos_tests::floor::netns::topology::{Namespace, Nic};
use chaos_tests::floor::sim::dice::Dice;
use chaos_tests::gate::{self, Gate};

const ONE: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 2);

/// How long what must arrive may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it must be silent where nothing may arrive.
const QUIET: Duration = Duration::from_millis(200);

/// Two namespaces, ports 0 and 1 of an emulator.
struct Pair {
    // Dropped in this order; the gate, which keeps other tests out, at the end.
    one: Namespace,
    two: Namespace,
    emulator: Emulator,
    _gate: Gate,
}

/// Whether there is a device to make TAPs with; when not, says that the test is skipped.
fn has_tun(test: &str) -> bool {
    let has = Path::new(TUN).exists();
    if !has {
        gate::skip(test, "there is no /dev/net/tun");
    }
    has
}

/// None: the test was skipped, and said why.
fn joined(test: &str) -> Result<Option<Pair>> {
    if !has_tun(test) {
        return Ok(None);
    }
    let Some(gate) = gate::enter(test, &TOOLS)? else { return Ok(None) };
    let emulator = Emulator::start(1)?;
    let (one, two) = (Namespace::create("one")?, Namespace::create("two")?);
    for (namespace, address) in [(&one, ONE), (&two, TWO)] {
        emulator.plug(namespace, "eth1", Nic { mac: None, address: Some((address, 24)) })?;
    }
    Ok(Some(Pair { one, two, emulator, _gate: gate }))
}

/// A socket at each end.
struct Line {
    /// In the first namespace.
    mouth: UdpSocket,
    /// In the second.
    ear: UdpSocket,
}

impl Line {
    /// Opens the sockets and sends something to and fro, so that the hardware addresses are known and no ARP is among what is counted.
    fn open(pair: &Pair) -> Result<Line> {
        let mouth = pair.one.inside(|| UdpSocket::bind((ONE, 5_000)))??;
        let ear = pair.two.inside(|| UdpSocket::bind((TWO, 5_000)))??;
        mouth.set_read_timeout(Some(PATIENCE))?;
        ear.set_read_timeout(Some(PATIENCE))?;
        let line = Line { mouth, ear };
        line.round_trip_us()?;
        Ok(line)
    }

    fn say(&self, number: u32) -> Result<()> {
        self.mouth.send_to(&number.to_be_bytes(), (TWO, 5_000)).context("sending")?;
        Ok(())
    }

    fn hear(&self) -> Result<u32> {
        let mut bytes = [0; 4];
        self.ear.recv_from(&mut bytes).context("hearing")?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn hear_many(&self, count: usize) -> Result<Vec<u32>> {
        (0..count).map(|_| self.hear()).collect()
    }

    /// Whether nothing more is heard.
    fn is_silent(&self) -> Result<bool> {
        self.ear.set_read_timeout(Some(QUIET))?;
        let heard = self.ear.recv_from(&mut [0; 4]);
        self.ear.set_read_timeout(Some(PATIENCE))?;
        Ok(heard.is_err())
    }

    /// How long a datagram and its answer take, in microseconds.
    fn round_trip_us(&self) -> Result<u64> {
        let began = clock::now_us();
        self.say(7)?;
        self.hear()?;
        self.ear.send_to(b"echo", (ONE, 5_000)).context("answering")?;
        self.mouth.recv_from(&mut [0; 4]).context("hearing the answer")?;
        Ok(clock::now_us() - began)
    }
}

#[test]
fn a_round_trip_takes_the_delay_of_both_directions() -> Result<()> {
    let Some(pair) = joined("a_round_trip_takes_the_delay_of_both_directions")? else {
        return Ok(());
    };
    let line = Line::open(&pair)?;
    pair.emulator.set_all(Weather { delay_ms: 40, jitter_ms: 10, ..Weather::default() });
    let took = line.round_trip_us()?;
    ensure!(took >= 80_000, "a round trip with 40 ms each way took {took} µs");
    pair.emulator.set_weather(0, 1, Weather { delay_ms: 110, ..Weather::default() });
    let took = line.round_trip_us()?;
    ensure!(took >= 150_000, "a round trip with 110 ms and 40 ms took {took} µs");
    pair.emulator.calm();
    line.round_trip_us()?;
    ensure!(pair.emulator.counts().lost == 0, "{:?}", pair.emulator.counts());
    Ok(())
}

#[test]
fn total_loss_lets_nothing_through_and_calm_heals() -> Result<()> {
    let Some(pair) = joined("total_loss_lets_nothing_through_and_calm_heals")? else {
        return Ok(());
    };
    let line = Line::open(&pair)?;
    pair.emulator.set_weather(0, 1, Weather { loss_per_mille: 1_000, ..Weather::default() });
    for number in 0..20 {
        line.say(number)?;
    }
    clock::wait_for("twenty losses", 10_000, || (pair.emulator.counts().lost >= 20).then_some(()))?;
    ensure!(line.is_silent()?, "everything was to be lost");
    pair.emulator.calm();
    line.round_trip_us()?;
    Ok(())
}

#[test]
fn a_duplicated_datagram_arrives_twice() -> Result<()> {
    let Some(pair) = joined("a_duplicated_datagram_arrives_twice")? else {
        return Ok(());
    };
    let line = Line::open(&pair)?;
    pair.emulator.set_weather(0, 1, Weather { duplicate_per_mille: 1_000, ..Weather::default() });
    for number in 0..10 {
        line.say(number)?;
    }
    let heard = line.hear_many(20)?;
    let twice: Vec<u32> = (0..10).flat_map(|number| [number, number]).collect();
    ensure!(heard == twice, "{heard:?}");
    ensure!(line.is_silent()?, "more than twice");
    ensure!(pair.emulator.counts().duplicated >= 10, "{:?}", pair.emulator.counts());
    Ok(())
}

#[test]
fn jitter_keeps_the_order_and_reordering_does_not() -> Result<()> {
    let Some(pair) = joined("jitter_keeps_the_order_and_reordering_does_not")? else {
        return Ok(());
    };
    let line = Line::open(&pair)?;
    pair.emulator.set_all(Weather { delay_ms: 2, jitter_ms: 10, ..Weather::default() });
    for number in 0..100 {
        line.say(number)?;
    }
    let heard = line.hear_many(100)?;
    ensure!(heard.iter().copied().eq(0..100), "out of order: {heard:?}");
    ensure!(pair.emulator.counts().reordered == 0, "{:?}", pair.emulator.counts());
    pair.emulator.set_all(Weather { reorder_per_mille: 200, ..Weather::default() });
    for number in 0..100 {
        line.say(number)?;
    }
    let mut heard = line.hear_many(100)?;
    ensure!(!heard.is_sorted(), "a fifth was held back, and nothing overtook: {heard:?}");
    ensure!(pair.emulator.counts().reordered > 0, "{:?}", pair.emulator.counts());
    heard.sort_unstable();
    ensure!(heard.iter().copied().eq(0..100), "not each once: {heard:?}");
    Ok(())
}

#[test]
fn tcp_carries_a_mebibyte_through_foul_weather() -> Result<()> {
    let Some(pair) = joined("tcp_carries_a_mebibyte_through_foul_weather")? else {
        return Ok(());
    };
    pair.emulator.set_all(Weather {
        delay_ms: 2,
        jitter_ms: 3,
        loss_per_mille: 0,
        duplicate_per_mille: 20,
        reorder_per_mille: 100,
    });
    let dice = Dice::new(1, 0);
    let sent: Vec<u8> = (0..(1 << 20) / 8).flat_map(|_| dice.draw().to_be_bytes()).collect();
    let listener = pair.two.inside(|| TcpListener::bind((TWO, 5_001)))??;
    let address = SocketAddr::from((TWO, 5_001));
    let mut mouth = pair.one.inside(|| TcpStream::connect_timeout(&address, PATIENCE))??;
    let (mut ear, _) = listener.accept()?;
    mouth.set_write_timeout(Some(PATIENCE))?;
    ear.set_read_timeout(Some(PATIENCE))?;
    let mut arrived = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        let sender = scope.spawn(|| -> io::Result<()> {
            mouth.write_all(&sent)?;
            mouth.shutdown(Shutdown::Write)
        });
        let read = ear.read_to_end(&mut arrived);
        sender.join().map_err(|_| anyhow!("the sender panicked"))?.context("sending")?;
        read.context("hearing")?;
        Ok(())
    })?;
    ensure!(arrived == sent, "{} bytes arrived, or others than were sent", arrived.len());
    let counts = pair.emulator.counts();
    ensure!(counts.reordered > 0 && counts.duplicated > 0, "the weather was fair: {counts:?}");
    Ok(())
}

#[test]
fn two_interfaces_of_one_name_are_refused() -> Result<()> {
    let Some(pair) = joined("two_interfaces_of_one_name_are_refused")? else {
        return Ok(());
    };
    ensure!(
        pair.emulator.plug(&pair.one, "eth1", Nic::default()).is_err(),
        "eth1 is there already"
    );
    ensure!(pair.emulator.plug(&pair.one, "", Nic::default()).is_err(), "no name");
    ensure!(pair.emulator.plug(&pair.one, "sixteen-letters-", Nic::default()).is_err(), "too long");
    Line::open(&pair)?;
    Ok(())
}

/// Whether a datagram from one node arrives at another over the peer network within `patience`.
fn reaches(cluster: &Cluster, from: usize, to: usize, patience: Duration) -> Result<bool> {
    let address = SocketAddr::from((peer_address(to), 5_000));
    let ear = cluster.nodes[to].namespace.inside(|| UdpSocket::bind(address))??;
    ear.set_read_timeout(Some(patience))?;
    let mouth =
        cluster.nodes[from].namespace.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    mouth.send_to(b"x", address).context("sending")?;
    Ok(ear.recv_from(&mut [0; 8]).is_ok())
}

#[test]
fn cuts_and_losses_of_a_cluster_are_brought_by_the_emulator() -> Result<()> {
    const TEST: &str = "cuts_and_losses_of_a_cluster_are_brought_by_the_emulator";
    if !has_tun(TEST) {
        return Ok(());
    }
    let Some(gate) = gate::enter_cluster(TEST, &TOOLS)? else { return Ok(()) };
    // Three namespaces without servers.
    let mut cluster = Cluster::build(gate, &Plan { emulated_peers: true, ..Plan::default() })?;
    let pairs = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)];
    for (from, to) in pairs {
        ensure!(reaches(&cluster, from, to, PATIENCE)?, "{from} to {to}: nothing is cut yet");
    }
    let emulator = cluster.emulator.as_ref().context("there is no emulator")?;
    ensure!(emulator.counts().forwarded >= pairs.len() as u64, "{:?}", emulator.counts());
    cluster.cut(0, 1, Direction::FromFirst)?;
    ensure!(!reaches(&cluster, 0, 1, QUIET)?, "from the first node nothing may arrive");
    ensure!(reaches(&cluster, 1, 0, PATIENCE)?, "to the first node everything must arrive");
    ensure!(reaches(&cluster, 0, 2, PATIENCE)?, "others are not concerned");
    cluster.heal()?;
    ensure!(reaches(&cluster, 0, 1, PATIENCE)?, "healed");
    cluster.isolate(2, Direction::Both)?;
    for other in [0, 1] {
        ensure!(!reaches(&cluster, 2, other, QUIET)?, "node 3 is isolated");
        ensure!(!reaches(&cluster, other, 2, QUIET)?, "node 3 is isolated");
    }
    ensure!(reaches(&cluster, 0, 1, PATIENCE)?, "others are not concerned");
    cluster.heal()?;
    cluster.lose(1_000)?;
    ensure!(!reaches(&cluster, 1, 2, QUIET)?, "everything is lost");
    cluster.heal()?;
    ensure!(reaches(&cluster, 1, 2, PATIENCE)?, "healed");
    cluster.passed();
    Ok(())
}
