//! dhclient, udhcpc and dhcpcd against three nodes: with all nodes up, and with the node that matters gone.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, anyhow, ensure};
use chaos_tests::clock;
use chaos_tests::floor::netns::cluster::{Cluster, Plan, port};
use chaos_tests::floor::netns::dhcp_client::{Kind, RealClient};
use chaos_tests::floor::netns::tap::{Seen, Tap};
use chaos_tests::floor::netns::topology::mac_from_text;
use chaos_tests::floor::netns::traffic;
use chaos_tests::gate;
use serde_json::json;

const TOOLS: &[&str] = &["dhclient", "udhcpc", "dhcpcd"];
const BROADCAST: Ipv4Addr = Ipv4Addr::BROADCAST;

/// Short timers, so that a test sees T1 and T2. dhcpcd takes no lease under 20 s, and udhcpc asks again at half of the lease.
fn plan() -> Plan {
    Plan {
        valid_lifetime: 40,
        renew_timer: 6,
        rebind_timer: 14,
        local_to_relay: None,
        ..Plan::default()
    }
}

/// Runs `story` for each client at the same time.
fn for_each_client(
    clients: &mut [RealClient],
    story: impl Fn(&mut RealClient) -> Result<()> + Sync,
) -> Result<()> {
    let story = &story;
    std::thread::scope(|scope| {
        let running: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                let name = client.kind.program();
                (name, scope.spawn(move || story(client)))
            })
            .collect();
        running.into_iter().try_for_each(|(name, thread)| {
            thread
                .join()
                .map_err(|_| anyhow!("the story of {name} panicked"))?
                .with_context(|| name.to_owned())
        })
    })
}

fn prepare(cluster: &Cluster) -> Result<Vec<RealClient>> {
    Kind::ALL.iter().map(|kind| RealClient::prepare(cluster, *kind)).collect()
}

/// Who holds `address`, as node `index` tells.
fn holder(cluster: &Cluster, index: usize, address: Ipv4Addr) -> Result<Option<[u8; 6]>> {
    let answer = cluster.nodes[index]
        .command("lease4-get", Some(json!({ "ip-address": address.to_string() })))?;
    Ok(match answer.result {
        0 if answer.arguments["state"] == 0 => {
            answer.arguments["hw-address"].as_str().and_then(mac_from_text)
        }
        _ => None,
    })
}

/// Waits until every node that runs tells that `mac` (or nobody) holds `address`.
fn wait_holder(
    cluster: &Cluster,
    nodes: &[usize],
    address: Ipv4Addr,
    mac: Option<[u8; 6]>,
) -> Result<()> {
    clock::wait_for(&format!("{nodes:?} to agree that {mac:?} holds {address}"), 5_000, || {
        nodes
            .iter()
            .all(|index| holder(cluster, *index, address).is_ok_and(|found| found == mac))
            .then_some(())
    })
}

/// A REQUEST of a client that has an address.
fn extends(message: &Seen) -> bool {
    !message.ciaddr.is_unspecified()
}

fn ensure_no_nak(tap: &Tap, client: &RealClient) -> Result<()> {
    let nak = tap.of_client(client.mac, 0).into_iter().find(|message| message.kind == 6);
    ensure!(nak.is_none(), "{} got a NAK: {nak:?}", client.kind.program());
    Ok(())
}

/// Under `SUBJECT=kea` nobody stands in for the one that died: it comes back at once instead.
fn come_back_if_alone(cluster: &mut Cluster) -> Result<()> {
    if cluster.nodes.len() == 1 { cluster.restore() } else { Ok(()) }
}

#[test]
fn clients_acquire_renew_rebind_reboot_and_release() -> Result<()> {
    let Some(gate) = gate::enter("clients_acquire_renew_rebind_reboot_and_release", TOOLS)? else {
        return Ok(());
    };
    let cluster = Cluster::start(gate, &plan())?;
    let all: Vec<usize> = (0..cluster.nodes.len()).collect();
    let tap = Tap::start(&cluster.rack)?;
    let mut clients = prepare(&cluster)?;
    for_each_client(&mut clients, |client| {
        let began = clock::now_ms();
        client.start()?;
        let bound = client.wait_bound(0, 20_000)?;
        let address = bound.address.context("bound without an address")?;
        ensure!(bound.lifetime_secs == Some(40), "the lifetime is {:?}", bound.lifetime_secs);
        clock::wait_for("the address on the interface", 10_000, || {
            client.addresses().is_ok_and(|all| all.contains(&address)).then_some(())
        })?;
        wait_holder(&cluster, &all, address, Some(client.mac))?;

        client.hurry()?;
        client.wait_exchange(&tap, "a renewal by unicast", began, 20_000, |message| {
            message.ciaddr == address && message.destination != BROADCAST
        })?;

        // Its server becomes deaf to it: it has to ask everybody.
        let unicasts =
            format!("iifname \"{}\" ip daddr != 255.255.255.255 udp dport 67", client.port);
        let rule = traffic::drop_frames(&cluster.rack, &unicasts)?;
        client.wait_exchange(
            &tap,
            "a rebinding by broadcast",
            clock::now_ms(),
            40_000,
            |message| message.ciaddr == address && message.destination == BROADCAST,
        )?;
        traffic::remove(&cluster.rack, &rule)?;
        wait_holder(&cluster, &all, address, Some(client.mac))?;

        client.kill()?;
        let (restarted, before) = (clock::now_ms(), client.hooks().len());
        client.start()?;
        if client.kind.remembers() {
            client.wait_exchange(&tap, "a reboot", restarted, 20_000, |message| {
                message.ciaddr.is_unspecified() && message.server.is_none()
            })?;
        }
        let again = client.wait_bound(before, 20_000)?;
        ensure!(
            again.address == Some(address),
            "{:?} after the restart, {address} before",
            again.address
        );
        ensure_no_nak(&tap, client)?;
        // By now all nodes know who hears this link: one of them answers a broadcast, once.
        let seen = tap.of_client(client.mac, restarted);
        let offers = seen.iter().filter(|message| message.kind == 2).count();
        let acks = seen.iter().filter(|message| message.kind == 5).count();
        ensure!(
            offers <= 1 && acks == 1,
            "{offers} OFFERs and {acks} ACKs for one exchange: {seen:?}"
        );

        client.release()?;
        wait_holder(&cluster, &all, address, None)
    })?;
    drop(clients);
    cluster.passed();
    Ok(())
}

#[test]
fn a_client_whose_server_dies_between_offer_and_ack_is_served_by_another() -> Result<()> {
    let test = "a_client_whose_server_dies_between_offer_and_ack_is_served_by_another";
    let Some(gate) = gate::enter(test, TOOLS)? else { return Ok(()) };
    let mut cluster = Cluster::start(gate, &plan())?;
    let tap = Tap::start(&cluster.rack)?;
    for kind in Kind::ALL {
        let mut client = RealClient::prepare(&cluster, kind)?;
        let requests = traffic::client_message(&client.port, 3, kind.request_offset());
        let trap = traffic::drop_frames(&cluster.rack, &requests)?;
        let began = clock::now_ms();
        client.start()?;
        clock::wait_for("a REQUEST in the trap", 15_000, || {
            traffic::dropped(&cluster.rack, &trap).is_ok_and(|count| count > 0).then_some(())
        })
        .with_context(|| client.said())?;
        let asked =
            tap.of_client(client.mac, began).into_iter().rev().find(|message| message.kind == 3);
        let chosen =
            asked.and_then(|message| message.server).context("a REQUEST without a server")?;
        let victim = cluster.node_at(chosen).with_context(|| format!("{chosen} is no node"))?;
        cluster.kill(victim)?;
        let killed = clock::now_ms();
        come_back_if_alone(&mut cluster)?;
        traffic::remove(&cluster.rack, &trap)?;
        let bound = client.wait_bound(0, 25_000)?;
        let ack = tap.of_client(client.mac, killed).into_iter().find(|message| message.kind == 5);
        println!(
            "{}: node {} died after its OFFER; ACK after {:?} ms",
            kind.program(),
            victim + 1,
            ack.map(|message| message.at - killed)
        );
        ensure_no_nak(&tap, &client)?;
        let left: Vec<usize> =
            (0..cluster.nodes.len()).filter(|index| cluster.nodes[*index].runs()).collect();
        wait_holder(
            &cluster,
            &left,
            bound.address.context("bound without an address")?,
            Some(client.mac),
        )?;
        cluster.restore()?;
    }
    cluster.passed();
    Ok(())
}

#[test]
fn bound_clients_keep_their_address_when_their_server_dies() -> Result<()> {
    let test = "bound_clients_keep_their_address_when_their_server_dies";
    let Some(gate) = gate::enter(test, TOOLS)? else { return Ok(()) };
    let mut cluster = Cluster::start(gate, &plan())?;
    let tap = Tap::start(&cluster.rack)?;
    let mut clients = prepare(&cluster)?;
    for_each_client(&mut clients, |client| {
        client.start()?;
        client.wait_bound(0, 20_000).map(|_| ())
    })?;
    let mut done = vec![false; clients.len()];
    while let Some(next) = done.iter().position(|done| !done) {
        // The server they would renew at: it changes while other nodes die.
        let servers: Vec<Option<usize>> = clients
            .iter()
            .map(|client| {
                let ack = tap
                    .of_client(client.mac, 0)
                    .into_iter()
                    .rev()
                    .find(|message| message.kind == 5);
                cluster.node_at(ack?.server?)
            })
            .collect();
        let victim = servers[next].context("a client without a server")?;
        cluster.kill(victim)?;
        let killed = clock::now_ms();
        come_back_if_alone(&mut cluster)?;
        println!("node {} killed, the server of {:?}", victim + 1, clients[next].kind);
        let concerned: Vec<bool> = servers.iter().map(|server| *server == Some(victim)).collect();
        for (index, client) in clients.iter().enumerate().filter(|(index, _)| concerned[*index]) {
            let address = client.hooks().iter().rev().find_map(|hook| hook.address);
            let ack = client.wait_exchange(
                &tap,
                "more time from another node",
                killed,
                45_000,
                extends,
            )?;
            ensure!(
                Some(ack.yiaddr) == address,
                "{} had {address:?} and got {}",
                client.kind.program(),
                ack.yiaddr
            );
            ensure_no_nak(&tap, client)?;
            done[index] = true;
        }
        cluster.restore()?;
    }
    drop(clients);
    cluster.passed();
    Ok(())
}

#[test]
fn clients_join_and_renew_when_the_leader_is_killed() -> Result<()> {
    let Some(gate) =
        gate::enter_cluster("clients_join_and_renew_when_the_leader_is_killed", TOOLS)?
    else {
        return Ok(());
    };
    let mut cluster = Cluster::start(gate, &plan())?;
    let tap = Tap::start(&cluster.rack)?;
    let mut clients = prepare(&cluster)?;
    let leader = cluster.leader()?;
    for client in &mut clients {
        client.start()?;
    }
    cluster.kill(leader)?;
    for_each_client(&mut clients, |client| {
        let bound = client.wait_bound(0, 20_000)?;
        let ack = client.wait_exchange(&tap, "more time", clock::now_ms(), 40_000, extends)?;
        ensure!(Some(ack.yiaddr) == bound.address, "{:?} became {}", bound.address, ack.yiaddr);
        ensure_no_nak(&tap, client)
    })?;
    drop(clients);
    cluster.passed();
    Ok(())
}

#[test]
fn clients_join_and_renew_when_the_leader_is_cut_from_them() -> Result<()> {
    let Some(gate) =
        gate::enter_cluster("clients_join_and_renew_when_the_leader_is_cut_from_them", TOOLS)?
    else {
        return Ok(());
    };
    let mut cluster = Cluster::start(gate, &plan())?;
    let tap = Tap::start(&cluster.rack)?;
    let mut clients = prepare(&cluster)?;
    let leader = cluster.leader()?;
    // The cable is pulled at the switch: the node sees its carrier go.
    cluster.rack.namespace.ip(&["link", "set", &port(leader), "down"])?;
    for_each_client(&mut clients, |client| {
        client.start()?;
        let bound = client.wait_bound(0, 30_000)?;
        let ack = client.wait_exchange(&tap, "more time", clock::now_ms(), 40_000, extends)?;
        ensure!(Some(ack.yiaddr) == bound.address, "{:?} became {}", bound.address, ack.yiaddr);
        ensure_no_nak(&tap, client)
    })?;
    // And back: the same socket, or a new one, has to hear again.
    cluster.rack.namespace.ip(&["link", "set", &port(leader), "up"])?;
    cluster.wait_ready()?;
    drop(clients);
    cluster.passed();
    Ok(())
}
