//! The floor is tested, too: a cut that does not cut, or a namespace that stays behind, would make every other test say nothing.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chaos_tests::client::fleet::Verb;
use chaos_tests::client::machine::Patience;
use chaos_tests::floor::netns::cluster::{Cluster, Direction, Plan, port};
use chaos_tests::floor::netns::node::{peer_address, rack_address};
use chaos_tests::floor::netns::tap::Tap;
use chaos_tests::floor::netns::topology::Namespace;
use chaos_tests::floor::netns::{cleanup, traffic};
use chaos_tests::gate::{self, Gate, Subject};
use chaos_tests::oracle::{ClientId, What, durable_ack, unique_address};
use chaos_tests::{clock, shell};

/// Three namespaces without servers.
fn bare(gate: Gate) -> Result<Cluster> {
    ensure!(gate::subject() == Subject::Leasehold, "this test builds three nodes");
    Cluster::build(gate, &Plan::default())
}

/// How many of `count` datagrams from one namespace arrive in another.
fn arrive(from: &Namespace, to: &Namespace, address: Ipv4Addr, count: usize) -> Result<usize> {
    let ear = to.inside(|| UdpSocket::bind((address, 5_000)))??;
    ear.set_read_timeout(Some(Duration::from_millis(150)))?;
    let mouth = from.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    for _ in 0..count {
        mouth.send_to(b"x", (address, 5_000)).context("sending")?;
    }
    let mut heard = 0;
    while ear.recv_from(&mut [0; 8]).is_ok() {
        heard += 1;
    }
    Ok(heard)
}

fn peer(cluster: &Cluster, from: usize, to: usize) -> Result<bool> {
    arrive(&cluster.nodes[from].namespace, &cluster.nodes[to].namespace, peer_address(to), 1)
        .map(|heard| heard == 1)
}

fn rack(cluster: &Cluster, from: usize, to: usize) -> Result<bool> {
    arrive(&cluster.nodes[from].namespace, &cluster.nodes[to].namespace, rack_address(to), 1)
        .map(|heard| heard == 1)
}

#[test]
fn cuts_take_what_they_say_and_nothing_else() -> Result<()> {
    let Some(gate) = gate::enter_cluster("cuts_take_what_they_say_and_nothing_else", &[])? else {
        return Ok(());
    };
    let mut cluster = bare(gate)?;
    ensure!(
        peer(&cluster, 0, 1)? && peer(&cluster, 1, 0)? && rack(&cluster, 0, 1)?,
        "nothing is cut yet"
    );
    cluster.cut(0, 1, Direction::FromFirst)?;
    ensure!(!peer(&cluster, 0, 1)?, "from the first node nothing may arrive");
    ensure!(peer(&cluster, 1, 0)?, "to the first node everything must arrive");
    ensure!(peer(&cluster, 0, 2)? && rack(&cluster, 0, 1)?, "others are not concerned");
    cluster.heal()?;
    ensure!(peer(&cluster, 0, 1)?, "healed");
    cluster.isolate(2, Direction::Both)?;
    for other in [0, 1] {
        ensure!(!peer(&cluster, 2, other)? && !peer(&cluster, other, 2)?, "node 3 is isolated");
    }
    ensure!(peer(&cluster, 0, 1)? && rack(&cluster, 2, 0)?, "others are not concerned");
    cluster.heal()?;
    cluster.cut_clients(1)?;
    ensure!(!rack(&cluster, 1, 0)? && !rack(&cluster, 0, 1)?, "node 2 is cut from clients");
    ensure!(peer(&cluster, 1, 0)?, "its peers still hear it");
    cluster.heal()?;
    cluster.rack.namespace.ip(&["link", "set", &port(1), "down"])?;
    ensure!(!rack(&cluster, 0, 1)?, "the cable is out");
    cluster.rack.namespace.ip(&["link", "set", &port(1), "up"])?;
    ensure!(rack(&cluster, 0, 1)?, "the cable is in again");
    cluster.passed();
    Ok(())
}

#[test]
fn loss_loses_some_and_not_all() -> Result<()> {
    let Some(gate) = gate::enter_cluster("loss_loses_some_and_not_all", &[])? else {
        return Ok(());
    };
    let mut cluster = bare(gate)?;
    // ARP first, so that it is not what gets lost.
    ensure!(peer(&cluster, 0, 1)?);
    cluster.lose(300)?;
    let heard =
        arrive(&cluster.nodes[0].namespace, &cluster.nodes[1].namespace, peer_address(1), 200)?;
    ensure!((80..=190).contains(&heard), "{heard} of 200 arrived with 30 % loss");
    cluster.passed();
    Ok(())
}

/// Namespaces that this process made and that exist.
fn ours() -> Result<Vec<String>> {
    let mark = format!("-{}-", std::process::id());
    let own = cleanup::unique_name("x").split('-').next().unwrap_or_default().to_owned();
    let list = shell::run(Command::new("ip").args(["netns", "list"]))?;
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    // `lhchaos-PID-…`, and the next number has not been given yet.
    Ok(names.filter(|name| name.starts_with(&format!("{own}{mark}"))).map(str::to_owned).collect())
}

#[test]
fn nothing_stays_behind_after_a_panic() -> Result<()> {
    let Some(gate) = gate::enter_cluster("nothing_stays_behind_after_a_panic", &[])? else {
        return Ok(());
    };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let cluster = bare(gate).expect("a cluster");
        assert!(ours().expect("a list").len() >= 6, "three nodes, a relay and two switches");
        // A process that nobody would end.
        let mut sleeper =
            cluster.nodes[0].namespace.command("sleep").arg("600").spawn().expect("sleep");
        assert!(sleeper.try_wait().expect("a child").is_none());
        panic!("on purpose");
    }));
    ensure!(outcome.is_err(), "it was to panic");
    // Still alone: the lock went with the cluster, so another test of this process may have begun to build its own.
    let Some(_gate) = gate::enter_cluster("nothing_stays_behind_after_a_panic", &[])? else {
        return Ok(());
    };
    let left = ours()?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

#[test]
fn what_a_killed_test_left_is_swept() -> Result<()> {
    let Some(_gate) = gate::enter_cluster("what_a_killed_test_left_is_swept", &[])? else {
        return Ok(());
    };
    let mut gone = Command::new("true").spawn()?;
    gone.wait()?;
    let prefix = cleanup::unique_name("x").split('-').next().unwrap_or_default().to_owned();
    let name = format!("{prefix}-{}-1-left", gone.id());
    shell::run(Command::new("ip").args(["netns", "add", &name]))?;
    cleanup::sweep();
    let list = shell::run(Command::new("ip").args(["netns", "list"]))?;
    ensure!(!list.contains(&name), "it is still there:\n{list}");
    Ok(())
}

#[test]
fn the_tap_sees_each_packet_once_and_traps_count() -> Result<()> {
    let Some(gate) = gate::enter_cluster("the_tap_sees_each_packet_once_and_traps_count", &[])?
    else {
        return Ok(());
    };
    let cluster = bare(gate)?;
    let tap = Tap::start(&cluster.rack)?;
    let trap = traffic::drop_frames(&cluster.rack, "iifname \"relay\" udp dport 67")?;
    let fleet = cluster.fleet(Patience::default())?;
    fleet.join(ClientId(1), &[rack_address(0)]);
    clock::wait_for("a DISCOVER in the trap", 2_000, || {
        traffic::dropped(&cluster.rack, &trap).is_ok_and(|count| count == 1).then_some(())
    })?;
    // A rule takes the packet before any other port has it; the tap sees it all the same, where it comes in.
    let seen = clock::wait_for("a DISCOVER at the tap", 2_000, || {
        let seen = tap.of_client(ClientId(1).mac(), 0);
        (!seen.is_empty()).then_some(seen)
    })?;
    ensure!(seen.len() == 1 && seen[0].kind == 1, "{seen:?}");
    // Told to renew without a lease, a client does nothing.
    fleet.tell(ClientId(1), Verb::Renew);
    let history = fleet.stop();
    ensure!(history.events().len() == 1, "{:?}", history.events());
    ensure!(matches!(history.events()[0].what, What::Discovered { .. }));
    cluster.passed();
    Ok(())
}

#[test]
fn a_server_that_lost_its_disk_is_caught_by_the_oracles() -> Result<()> {
    let Some(gate) = gate::enter("a_server_that_lost_its_disk_is_caught_by_the_oracles", &[])?
    else {
        return Ok(());
    };
    let pools = vec!["10.77.16.1 - 10.77.16.1".to_owned()];
    let mut cluster = Cluster::start(gate, &Plan { nodes: 1, pools, ..Plan::default() })?;
    let fleet = cluster.fleet(Patience::default())?;
    let nodes = cluster.addresses();
    fleet.join(ClientId(1), &nodes);
    fleet.wait_bound(&[ClientId(1)], 15_000)?;
    cluster.kill(0)?;
    cluster.nodes[0].wipe()?;
    cluster.restore()?;
    let tolerance = durable_ack::Tolerance { early: 2_500, late: None };
    let lost =
        durable_ack::check(&fleet.promises(), &cluster.leases(0)?, clock::now_ms(), tolerance);
    ensure!(lost.len() == 1, "a lost lease was not noticed: {lost:?}");
    fleet.join(ClientId(2), &nodes);
    fleet.wait_bound(&[ClientId(2)], 15_000)?;
    let twice = unique_address::check(&fleet.promises());
    ensure!(twice.len() == 1, "an address given twice was not noticed: {twice:?}");
    println!("{}", twice[0]);
    cluster.passed();
    Ok(())
}
