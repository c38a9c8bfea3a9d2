//! What a whole node does around its packets: scripts and DNS behind a commit, ping checks before an offer, and new configurations under
//! way. Three nodes in namespaces, and one host on their LAN that is a relay with its client.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chaos_tests::client::raw::{Raw, option_of};
use chaos_tests::clock;
use chaos_tests::floor::netns::cluster::{Cluster, Plan};
use chaos_tests::floor::netns::topology::{Namespace, Nic};
use chaos_tests::gate;
use serde_json::{Value, json};

const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 20);
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const RELEASE: u8 = 7;

/// A relay with one client behind it, and a port that DNS requests come to.
struct Host {
    namespace: Namespace,
    socket: UdpSocket,
    nodes: Vec<Ipv4Addr>,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    kind: u8,
    address: Ipv4Addr,
    server: Ipv4Addr,
}

impl Host {
    fn plug(cluster: &Cluster) -> Result<Host> {
        let namespace = Namespace::create("host")?;
        cluster.rack.plug(
            &namespace,
            "eth0",
            "host",
            Nic { mac: None, address: Some((HOST, 16)) },
        )?;
        let socket = namespace.inside(|| UdpSocket::bind((HOST, 67)))??;
        Ok(Host { namespace, socket, nodes: cluster.addresses() })
    }

    /// Lets every node hear the packet, as from a relay.
    fn send(&self, packet: &Raw) -> Result<()> {
        for node in &self.nodes {
            self.socket.send_to(&packet.bytes(), (*node, 67))?;
        }
        Ok(())
    }

    /// The first answer of the kind `kind` to `packet`, within `limit_ms`.
    fn answer(&self, packet: &Raw, kind: u8, limit_ms: u64) -> Result<Option<Answer>> {
        self.socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let deadline = clock::now_ms() + limit_ms;
        let mut buffer = [0; 1500];
        while clock::now_ms() < deadline {
            let Ok(len) = self.socket.recv(&mut buffer) else { continue };
            let reply = &buffer[..len];
            let found = option_of(reply, 53).and_then(|kind| kind.first().copied());
            if reply.get(4..8) != packet.fixed.get(4..8) || found != Some(kind) {
                continue;
            }
            let address = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from);
            return Ok(Some(Answer {
                kind,
                address: address(&reply[16..20]).context("yiaddr")?,
                server: option_of(reply, 54).and_then(|it| address(&it)).context("option 54")?,
            }));
        }
        Ok(None)
    }

    /// Asks, as clients do, until there is an answer.
    fn ask(&self, packet: &Raw, kind: u8) -> Result<Answer> {
        for _ in 0..8 {
            self.send(packet)?;
            if let Some(answer) = self.answer(packet, kind, 1_500)? {
                return Ok(answer);
            }
        }
        anyhow::bail!("no answer of kind {kind}")
    }

    /// DISCOVER to ACK.
    fn bind(&self, client: u8, more: impl Fn(&mut Raw)) -> Result<Answer> {
        let mut discover = packet(DISCOVER, client);
        more(&mut discover);
        let offer = self.ask(&discover, OFFER)?;
        let mut request = packet(REQUEST, client);
        more(&mut request);
        request.without(50);
        request.option(50, &offer.address.octets());
        request.option(54, &offer.server.octets());
        self.ask(&request, ACK)
    }
}

/// A client's packet with a fresh xid, relayed.
fn packet(kind: u8, client: u8) -> Raw {
    static XID: AtomicU32 = AtomicU32::new(1);
    let mut raw = Raw::new(XID.fetch_add(1, Ordering::Relaxed), [2, 0x5e, 0, 0, 1, client]);
    raw.fixed[3] = 1;
    raw.address(24, HOST);
    raw.option(53, &[kind]);
    raw
}

/// REQUEST in state REBINDING.
fn rebind(client: u8, address: Ipv4Addr) -> Raw {
    let mut raw = packet(REQUEST, client);
    raw.address(12, address);
    raw
}

fn set(cluster: &Cluster, node: usize, dhcp4: &Value) -> Result<(i64, String)> {
    let answer = cluster.nodes[node].command("config-set", Some(json!({ "Dhcp4": dhcp4 })))?;
    Ok((answer.result, answer.text))
}

#[test]
fn scripts_and_dns_hear_of_each_change_once() -> Result<()> {
    let Some(gate) = gate::enter_cluster("scripts_and_dns_hear_of_each_change_once", &[])? else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let (script, told) = (dir.path().join("script"), dir.path().join("told"));
    // One write of a line is not torn, whoever else appends.
    std::fs::write(
        &script,
        format!(
            "#!/bin/sh\necho \"$1 $QUERY4_TYPE $QUERY4_HWADDR $QUERY4_RELAYED $LEASE4_ADDRESS$LEASES4_AT0_ADDRESS \
             $LEASE4_HOSTNAME$LEASES4_AT0_HOSTNAME ${{HOME-none}}\" >> {}\n",
            told.display()
        ),
    )?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let plan = Plan {
        more: json!({
            "hooks-libraries": [{
                "library": "/usr/lib/x86_64-linux-gnu/kea/hooks/libdhcp_run_script.so",
                "parameters": { "name": script, "sync": false }
            }],
            "dhcp-ddns": { "enable-updates": true, "server-ip": HOST.to_string(), "server-port": 53001 },
            "ddns-qualifying-suffix": "example.org",
            // Kea's default would answer the renewal from the lease as it is (M8).
            "cache-threshold": 0.0,
        }),
        ..Plan::default()
    };
    let cluster = Cluster::start(gate, &plan)?;
    let host = Host::plug(&cluster)?;
    let dns = host.namespace.inside(|| UdpSocket::bind((HOST, 53001)))??;
    dns.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut buffer = [0; 2000];
    let mut requested = || -> Result<Value> {
        let (len, _) = dns.recv_from(&mut buffer).context("a name change request")?;
        let length = usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
        ensure!(length + 2 == len, "{length} of {len} bytes");
        Ok(serde_json::from_slice(&buffer[2..len])?)
    };
    let lines = || -> Vec<String> {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        // A renewal's two scripts run side by side.
        lines.sort();
        lines
    };
    let wait = |count: usize| {
        clock::wait_for(&format!("{count} scripts"), 10_000, || {
            (lines().len() >= count).then_some(())
        })
    };

    let named = |raw: &mut Raw| raw.option(12, b"desk");
    let lease = host.bind(1, named)?;
    let address = lease.address;
    let added = requested()?;
    ensure!(added["change-type"] == 0 && added["fqdn"] == "desk.example.org.", "{added}");
    ensure!(added["ip-address"] == address.to_string(), "{added}");
    ensure!(added["forward-change"] == true && added["reverse-change"] == true, "{added}");
    wait(1)?;
    // The kept grant answers repeats for 3 s; then it is a renewal.
    clock::sleep_ms(3_200);
    let mut renewal = rebind(1, address);
    named(&mut renewal);
    host.ask(&renewal, ACK)?;
    wait(3)?;
    let mut release = packet(RELEASE, 1);
    release.address(12, address);
    release.option(54, &lease.server.octets());
    host.send(&release)?;
    let removed = requested()?;
    ensure!(removed["change-type"] == 1 && removed["dhcid"] == added["dhcid"], "{removed}");
    wait(4)?;
    // The second and third in order have had their turn by now.
    clock::sleep_ms(1_000);
    let mac = "02:5e:00:00:01:01";
    let line = |point: &str, kind: &str| {
        format!("{point} {kind} {mac} true {address} desk.example.org none")
    };
    let expected = [
        line("lease4_release", "DHCPRELEASE"),
        line("lease4_renew", "DHCPREQUEST"),
        line("leases4_committed", "DHCPREQUEST"),
        line("leases4_committed", "DHCPREQUEST"),
    ];
    ensure!(lines() == expected, "{:#?}", lines());
    dns.set_nonblocking(true)?;
    ensure!(dns.recv(&mut [0; 2000]).is_err(), "DNS heard of a renewal, or of something twice");
    cluster.passed();
    Ok(())
}

#[test]
fn an_address_that_answers_is_offered_to_nobody() -> Result<()> {
    let Some(gate) = gate::enter_cluster("an_address_that_answers_is_offered_to_nobody", &[])?
    else {
        return Ok(());
    };
    let (used, free) = (Ipv4Addr::new(10, 77, 16, 10), Ipv4Addr::new(10, 77, 16, 11));
    let plan = Plan {
        pools: vec![format!("{used} - {free}")],
        // Or the relay would answer for both.
        local_to_relay: None,
        more: json!({ "hooks-libraries": [{
            "library": "libdhcp_ping_check.so", "parameters": { "reply-timeout": 400 }
        }] }),
        ..Plan::default()
    };
    let cluster = Cluster::start(gate, &plan)?;
    let host = Host::plug(&cluster)?;
    let squatter = Namespace::create("squatter")?;
    cluster.rack.plug(
        &squatter,
        "eth0",
        "squatter",
        Nic { mac: None, address: Some((used, 16)) },
    )?;
    let lease = host.bind(1, |raw| raw.option(50, &used.octets()))?;
    ensure!(lease.address == free, "{lease:?}");
    for node in &cluster.nodes {
        clock::wait_for("the address in probation", 5_000, || {
            let answer =
                node.command("lease4-get", Some(json!({ "ip-address": used.to_string() })));
            answer.is_ok_and(|answer| answer.arguments["state"] == 1).then_some(())
        })?;
    }
    let mut discover = packet(DISCOVER, 2);
    discover.option(50, &used.octets());
    host.send(&discover)?;
    ensure!(host.answer(&discover, OFFER, 2_000)?.is_none(), "there is nothing to offer");
    cluster.passed();
    Ok(())
}

/// Lets the cluster's configuration say which interfaces are listened on.
fn without_interfaces(cluster: &Cluster) -> Result<()> {
    for node in &cluster.nodes {
        let settings = std::fs::read_to_string(node.settings_file())?;
        let without = settings.replace("interfaces = [\"eth0\"]\n", "");
        ensure!(without != settings, "the settings name no interfaces");
        std::fs::write(node.settings_file(), without)?;
    }
    Ok(())
}

/// Gives a node the interface eth7, which leads nowhere.
fn more(cluster: &Cluster, node: usize) -> Result<()> {
    let namespace = &cluster.nodes[node].namespace;
    namespace.ip(&["link", "add", "eth7", "type", "veth", "peer", "name", "eth7p"])?;
    namespace.ip(&["addr", "add", &format!("192.0.2.{}/24", node + 1), "dev", "eth7"])?;
    namespace.ip(&["link", "set", "eth7p", "up"])?;
    namespace.ip(&["link", "set", "eth7", "up"])?;
    Ok(())
}

#[test]
fn a_node_says_what_it_cannot_activate_and_serves_with_the_rest() -> Result<()> {
    let Some(gate) =
        gate::enter_cluster("a_node_says_what_it_cannot_activate_and_serves_with_the_rest", &[])?
    else {
        return Ok(());
    };
    let plan = Plan::default();
    let mut cluster = Cluster::build(gate, &plan)?;
    without_interfaces(&cluster)?;
    cluster.restore()?;
    let host = Host::plug(&cluster)?;
    // One node has the interface, the others do not.
    more(&cluster, 0)?;
    let mut wider = plan.dhcp4();
    wider["interfaces-config"] = json!({ "interfaces": ["eth0", "eth7"] });
    // It takes a moment until a node sees a new interface.
    clock::wait_for("node 1 to follow", 10_000, || {
        set(&cluster, 0, &wider).is_ok_and(|(result, _)| result == 0).then_some(())
    })?;

    let status = |cluster: &Cluster| -> Result<Value> {
        Ok(cluster.nodes[0].command("cluster-status", None)?.arguments)
    };
    let nodes = |status: &Value| -> BTreeMap<String, (Value, Value)> {
        let all = status["nodes"].as_array().into_iter().flatten();
        all.map(|node| {
            let (version, problems) =
                (&node["active-config-version"], &node["config-problem-count"]);
            (node["name"].to_string(), (version.clone(), problems.clone()))
        })
        .collect()
    };
    let everywhere =
        |version: u64, problems: [Option<u64>; 3]| -> BTreeMap<String, (Value, Value)> {
            let names = ["\"node-a\"", "\"node-b\"", "\"node-c\""].map(str::to_owned);
            names.into_iter().zip(problems.map(|it| (json!(version), json!(it)))).collect()
        };
    clock::wait_for("every node's word on its configuration", 10_000, || {
        let status = status(&cluster).ok()?;
        let (said, version) = (nodes(&status), status["config-version"].as_u64()?);
        (said == everywhere(version, [None, Some(1), Some(1)])).then_some(())
    })
    .with_context(|| format!("{:#?}", status(&cluster)))?;
    let sockets = |cluster: &Cluster, node: usize| -> Result<Value> {
        Ok(cluster.nodes[node].command("status-get", None)?.arguments["sockets"].clone())
    };
    ensure!(sockets(&cluster, 0)?["status"] == "ready");
    let said = sockets(&cluster, 1)?;
    ensure!(
        said == json!({ "status": "retrying", "errors": ["interface eth7 does not exist"] }),
        "{said}"
    );
    cluster.wait_ready()?;
    for client in 1..=6 {
        host.bind(client, |_| {})?;
    }
    // Who is asked to set a configuration that it cannot follow itself says so, and it is in force.
    let (result, text) = set(&cluster, 1, &wider)?;
    ensure!(result == 1 && text.contains("interface eth7 does not exist"), "{text}");

    more(&cluster, 1)?;
    more(&cluster, 2)?;
    clock::wait_for("the interface to be found", 10_000, || {
        let said = nodes(&status(&cluster).ok()?);
        let version = status(&cluster).ok()?["config-version"].as_u64()?;
        let ready = [1, 2].iter().all(|node| {
            sockets(&cluster, *node).is_ok_and(|said| said == json!({ "status": "ready" }))
        });
        (ready && said == everywhere(version, [None; 3])).then_some(())
    })
    .with_context(|| format!("{:#?}", status(&cluster)))?;
    cluster.passed();
    Ok(())
}

#[test]
fn no_exchange_is_lost_while_configurations_come_into_force() -> Result<()> {
    let Some(gate) =
        gate::enter_cluster("no_exchange_is_lost_while_configurations_come_into_force", &[])?
    else {
        return Ok(());
    };
    let plan = Plan::default();
    let mut cluster = Cluster::build(gate, &plan)?;
    without_interfaces(&cluster)?;
    cluster.restore()?;
    let host = Host::plug(&cluster)?;
    for node in 0..cluster.nodes.len() {
        more(&cluster, node)?;
    }
    let mut wider = plan.dhcp4();
    wider["interfaces-config"] = json!({ "interfaces": ["eth0", "eth7"] });
    for node in 0..cluster.nodes.len() {
        clock::wait_for("every node to know the interface", 10_000, || {
            set(&cluster, node, &wider).is_ok_and(|(result, _)| result == 0).then_some(())
        })?;
    }
    let stop = AtomicBool::new(false);
    // Each packet is sent once, to all nodes, as by an impatient client's only try.
    let traffic = || -> Result<(u32, Vec<String>)> {
        let (mut exchanges, mut lost) = (0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            let client = (exchanges % 250) as u8;
            let discover = packet(DISCOVER, client);
            host.send(&discover)?;
            exchanges += 1;
            let Some(offer) = host.answer(&discover, OFFER, 2_000)? else {
                lost.push(format!("the offer of exchange {exchanges}"));
                continue;
            };
            let mut request = packet(REQUEST, client);
            request.option(50, &offer.address.octets());
            request.option(54, &offer.server.octets());
            host.send(&request)?;
            if host.answer(&request, ACK, 2_000)?.is_none() {
                lost.push(format!("the ACK of exchange {exchanges}, {offer:?}"));
            }
        }
        Ok((exchanges, lost))
    };
    let (exchanges, lost) = std::thread::scope(|scope| -> Result<_> {
        let running = scope.spawn(traffic);
        let changes = || -> Result<()> {
            for change in 0_u32..20 {
                let mut dhcp4 = plan.dhcp4();
                // Other values each time; other sockets every other time.
                dhcp4["valid-lifetime"] = json!(3600 + change);
                if change % 2 == 0 {
                    dhcp4["interfaces-config"] = json!({ "interfaces": ["eth0", "eth7"] });
                }
                let node = usize::try_from(change)? % cluster.nodes.len();
                let (result, text) = set(&cluster, node, &dhcp4)?;
                ensure!(result == 0, "{text}");
                clock::sleep_ms(100);
            }
            Ok(())
        };
        let changed = changes();
        stop.store(true, Ordering::Relaxed);
        let told = running.join().map_err(|_| anyhow::anyhow!("the traffic panicked"))?;
        changed?;
        told
    })?;
    println!("{exchanges} exchanges during 20 changes");
    ensure!(exchanges > 20, "{exchanges} exchanges");
    ensure!(lost.is_empty(), "{} of {exchanges} lost: {lost:#?}", lost.len());
    cluster.passed();
    Ok(())
}

#[test]
fn r8_a_lease_of_a_subnet_that_is_gone_is_kept_and_lives_again_with_it() -> Result<()> {
    let test = "r8_a_lease_of_a_subnet_that_is_gone_is_kept_and_lives_again_with_it";
    let Some(gate) = gate::enter_cluster(test, &[])? else { return Ok(()) };
    let (only, other) = (Ipv4Addr::new(10, 77, 16, 10), Ipv4Addr::new(10, 77, 16, 11));
    let plan = Plan { pools: vec![format!("{only} - {only}")], ..Plan::default() };
    let cluster = Cluster::start(gate, &plan)?;
    let host = Host::plug(&cluster)?;
    let lease = host.bind(1, |_| {})?;
    ensure!(lease.address == only && lease.kind == ACK, "{lease:?}");
    let shown = |node: usize| -> Result<Value> {
        let one = json!({ "ip-address": only.to_string() });
        Ok(cluster.nodes[node].command("lease4-get", Some(one))?.arguments)
    };
    let before = shown(0)?;
    ensure!(before["subnet-id"] == 1 && before["state"] == 0, "{before}");

    // Another subnet covers the same addresses now.
    let mut without = plan.dhcp4();
    without["subnet4"] = json!([{
        "id": 2, "subnet": "10.77.0.0/16", "pools": [{ "pool": format!("{only} - {other}") }]
    }]);
    let (result, text) = set(&cluster, 0, &without)?;
    ensure!(result == 0, "{text}");
    for node in 0..cluster.nodes.len() {
        clock::wait_for("the lease where it was", 5_000, || {
            shown(node).is_ok_and(|now| now == before).then_some(())
        })?;
    }
    // Neither by chance nor on request: it blocks its address until it ends.
    let lease = host.bind(2, |raw| raw.option(50, &only.octets()))?;
    ensure!(lease.address == other, "{lease:?}");
    let mut discover = packet(DISCOVER, 3);
    discover.option(50, &only.octets());
    host.send(&discover)?;
    ensure!(host.answer(&discover, OFFER, 2_000)?.is_none(), "the address is not free");

    let (result, text) = set(&cluster, 1, &plan.dhcp4())?;
    ensure!(result == 0, "{text}");
    let lease = host.ask(&rebind(1, only), ACK)?;
    ensure!(lease.address == only, "{lease:?}");
    let now = shown(2)?;
    ensure!(now["subnet-id"] == 1 && now["hw-address"] == before["hw-address"], "{now}");
    cluster.passed();
    Ok(())
}
