//! The abuse table, run against a live server: what must be dropped is dropped, what must be answered is answered, and it lives on.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chaos_tests::abuse::{self, Expect, Place, Route, Row};
use chaos_tests::client::machine::Patience;
use chaos_tests::client::raw::option_of;
use chaos_tests::clock;
use chaos_tests::floor::netns::cluster::{Cluster, Plan, RELAY};
use chaos_tests::floor::netns::node::rack_address;
use chaos_tests::gate::{self, Subject};
use chaos_tests::oracle::ClientId;
use socket2::{Domain, Protocol, Socket, Type};

const TABLE: &str = include_str!("data/abuse.txt");

fn place() -> Place {
    Place { relay: RELAY, server: rack_address(0) }
}

fn socket(address: SocketAddrV4) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.set_read_timeout(Some(Duration::from_millis(2)))?;
    // A limited broadcast needs a device when there is no default route.
    socket.bind_device(Some(b"eth0"))?;
    socket.bind(&SocketAddr::V4(address).into()).with_context(|| address.to_string())?;
    Ok(socket.into())
}

/// Sends every row and gives the replies by transaction.
fn exchange(rows: &[Row], server: Ipv4Addr) -> Result<HashMap<u32, Vec<u8>>> {
    let relay = socket(SocketAddrV4::new(RELAY, 67))?;
    let direct = socket(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68))?;
    let mut replies = HashMap::new();
    for row in rows {
        match row.route {
            Route::Relayed => relay.send_to(&row.packet, (server, 67))?,
            Route::Direct => {
                direct.send_to(&row.packet, (Ipv4Addr::BROADCAST, 67)).context("a broadcast")?
            }
            Route::Unicast => direct.send_to(&row.packet, (server, 67))?,
        };
        collect(&[&relay, &direct], &mut replies);
    }
    let deadline = clock::now_ms() + 2_500;
    while clock::now_ms() < deadline {
        collect(&[&relay, &direct], &mut replies);
    }
    Ok(replies)
}

fn collect(sockets: &[&UdpSocket], replies: &mut HashMap<u32, Vec<u8>>) {
    let mut buffer = [0; 4096];
    for socket in sockets {
        while let Ok((len, _)) = socket.recv_from(&mut buffer) {
            let packet = &buffer[..len];
            if packet.len() >= 240 && packet[0] == 2 {
                let xid = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
                replies.insert(xid, packet.to_vec());
            }
        }
    }
}

/// What is wrong with the answer to `row`, if anything.
fn complaint(
    row: &Row,
    expect: Expect,
    reply: Option<&Vec<u8>>,
    with_options: bool,
) -> Option<String> {
    let name = format!("line {} [{}]", row.line, row.name);
    let got = reply.map(|packet| option_of(packet, 53).unwrap_or_default());
    match (expect.message_type(), &got) {
        (None, None) => None,
        (Some(wanted), Some(kind)) if *kind == [wanted] => row
            .reply
            .iter()
            .filter(|_| with_options)
            .map(|(code, wanted)| {
                (code, wanted, option_of(reply.map(Vec::as_slice).unwrap_or_default(), *code))
            })
            .find(|(_, wanted, found)| *wanted != found)
            .map(|(code, wanted, found)| {
                format!("{name}: option {code} is {found:x?}, expected {wanted:x?}")
            }),
        _ => Some(format!("{name}: expected {expect:?}, got message type {got:?}")),
    }
}

/// Clients that were offered another address for the same DISCOVER (M3).
fn fickle(rows: &[Row], replies: &HashMap<u32, Vec<u8>>) -> Vec<String> {
    let mut first: HashMap<u8, &[u8]> = HashMap::new();
    let mut complaints = Vec::new();
    for row in rows {
        let (Some(client), Some(reply)) = (row.client, replies.get(&row.xid)) else { continue };
        let offered = &reply[16..20];
        if *first.entry(client).or_insert(offered) != offered {
            complaints.push(format!(
                "line {} [{}]: another address than before: {offered:?}",
                row.line, row.name
            ));
        }
    }
    complaints
}

#[test]
fn the_abuse_table_holds_against_a_live_server() -> Result<()> {
    let Some(gate) = gate::enter("the_abuse_table_holds_against_a_live_server", &[])? else {
        return Ok(());
    };
    let mut cluster = Cluster::start(gate, &Plan { nodes: 1, ..Plan::default() })?;
    let pid = cluster.nodes[0].process()?.pid();
    let rows = abuse::parse(TABLE, place())?;
    let server = cluster.nodes[0].address;
    // Some rows build on earlier ones, so they go in the order of the file.
    let replies = cluster.relay().inside(|| exchange(&rows, server))??;
    let kea = cluster.subject() == Subject::Kea;
    let mut complaints: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            complaint(row, if kea { row.kea } else { row.expect }, replies.get(&row.xid), !kea)
        })
        .collect();
    if !kea {
        complaints.extend(fickle(&rows, &replies));
    }
    println!("{} rows, {} answered", rows.len(), replies.len());
    let fleet = cluster.fleet(Patience::default())?;
    fleet.join(ClientId(1), &[server]);
    fleet.wait_bound(&[ClientId(1)], 15_000).context("an honest client after the table")?;
    let process = cluster.nodes[0].process()?;
    ensure!(process.runs() && process.pid() == pid, "the server ended");
    ensure!(!process.log().contains("panicked"), "the server panicked:\n{}", process.tail());
    ensure!(complaints.is_empty(), "{} rows:\n{}", complaints.len(), complaints.join("\n"));
    drop(fleet);
    cluster.passed();
    Ok(())
}

#[test]
fn a_row_that_is_not_understood_is_named_with_its_line() {
    let error = abuse::parse("[x]\nfrom discover\nset bogus 1\nexpect drop\n", place())
        .expect_err("a mistake");
    assert!(format!("{error:#}").contains("line 3"), "{error:#}");
    let error =
        abuse::parse("[x]\nfrom discover\n", place()).expect_err("a row without an expectation");
    assert!(format!("{error:#}").contains("expects nothing"), "{error:#}");
}
