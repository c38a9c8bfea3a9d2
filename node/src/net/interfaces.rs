//! The machine's interfaces: what is there, what changes, and which of it is listened on.
//!
//! [`enumerate`] and [`watch`] ask the kernel by rtnetlink; [`select`] is pure.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType};
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::watch;
use tokio_stream::StreamExt;

use crate::config::Listen;
use crate::types::Prefix;

/// One interface as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceState {
    /// The number that the kernel gave it; a re-created interface has another.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address, when it is Ethernet.
    pub mac: Option<[u8; 6]>,
    /// The largest IP packet it carries, in bytes.
    pub mtu: u32,
    /// Its kind, a number of Linux's `ARPHRD_`: 1 for Ethernet, 772 for loopback.
    pub kind: u16,
    /// Whether the operator has switched it on. Its carrier may still come and go: the sockets
    /// outlive that (rule S8).
    pub up: bool,
    /// Whether its carrier is there.
    pub running: bool,
    /// Whether it carries multicasts.
    pub multicast: bool,
    /// Whether it has a broadcast address.
    pub broadcasts: bool,
    /// Whether it is a loopback interface.
    pub loopback: bool,
    /// Its IPv4 addresses, in the kernel's order: the primary one first.
    pub addresses: Vec<InterfaceAddress>,
}

/// One IPv4 address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// The length of the link's prefix.
    pub prefix_len: u8,
    /// The link's directed broadcast address, where one was set.
    pub broadcast: Option<Ipv4Addr>,
}

/// An address to listen on, with what the sockets need to know about its link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The interface's name.
    pub interface: String,
    /// The interface's number.
    pub index: u32,
    /// The address: where unicasts arrive, and the identity in replies to broadcasts.
    pub address: Ipv4Addr,
    /// Whether the interface has the address now; a shared address may arrive later.
    pub present: bool,
    /// The interface's hardware address, when it is Ethernet.
    pub mac: Option<[u8; 6]>,
    /// The largest IP packet of the link, in bytes.
    pub mtu: u32,
    /// A loopback interface: a plain UDP socket in both modes.
    pub loopback: bool,
    /// The directed broadcast addresses of the link.
    pub broadcasts: Vec<Ipv4Addr>,
}

/// Something about the interfaces named in the configuration that the operator should know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectProblem {
    /// It is not there; when it appears it is used.
    #[error("interface {0} does not exist")]
    Missing(String),
    /// It is switched off; the sockets are opened and hear nothing yet.
    #[error("interface {0} is down")]
    Down(String),
    /// It has no IPv4 address, so replies would have no source and no identity.
    #[error("interface {0} has no IPv4 address")]
    NoAddress(String),
    /// The address is not on the interface; it is listened on all the same, since a shared address
    /// may arrive later (rule S2).
    #[error("interface {0} does not have the address {1} yet")]
    AddressAbsent(String, Ipv4Addr),
    /// `*` found nothing.
    #[error("no interface is up and has an IPv4 address")]
    Nothing,
}

/// Chooses what to listen on, without duplicates, in the order of `listen` (`*` by interface
/// number), and says what stands in the way.
///
/// `*` passes over loopback interfaces, those that are down and those without an IPv4 address, as
/// Kea does; whatever is named is used.
pub fn select(
    listen: &[Listen],
    interfaces: &[InterfaceState],
) -> (Vec<Endpoint>, Vec<SelectProblem>) {
    let mut endpoints = Vec::new();
    let mut problems = Vec::new();
    let mut add = |interface: &InterfaceState, address: Ipv4Addr| {
        let endpoint = endpoint(interface, address);
        let known = endpoints
            .iter()
            .any(|known: &Endpoint| known.index == endpoint.index && known.address == address);
        if !known {
            endpoints.push(endpoint);
        }
    };
    let named = |name: &str, problems: &mut Vec<SelectProblem>| {
        let found = interfaces.iter().find(|interface| interface.name == name);
        match found {
            None => problems.push(SelectProblem::Missing(name.to_owned())),
            Some(found) if !found.up => problems.push(SelectProblem::Down(name.to_owned())),
            Some(_) => {}
        }
        found
    };
    for wanted in listen {
        match wanted {
            Listen::All => {
                let usable =
                    |one: &&InterfaceState| one.up && !one.loopback && !one.addresses.is_empty();
                let mut any = false;
                for interface in interfaces.iter().filter(usable) {
                    any = true;
                    interface.addresses.iter().for_each(|one| add(interface, one.address));
                }
                if !any {
                    problems.push(SelectProblem::Nothing);
                }
            }
            Listen::Interface(name) => {
                let Some(interface) = named(name, &mut problems) else { continue };
                if interface.addresses.is_empty() {
                    problems.push(SelectProblem::NoAddress(name.clone()));
                }
                interface.addresses.iter().for_each(|one| add(interface, one.address));
            }
            Listen::Address(name, address) => {
                let Some(interface) = named(name, &mut problems) else { continue };
                if !has(interface, *address) {
                    problems.push(SelectProblem::AddressAbsent(name.clone(), *address));
                }
                add(interface, *address);
            }
        }
    }
    (endpoints, problems)
}

fn has(interface: &InterfaceState, address: Ipv4Addr) -> bool {
    // All of 127/8 is local wherever the loopback interface is.
    let implied = interface.loopback && address.is_loopback();
    implied || interface.addresses.iter().any(|one| one.address == address)
}

fn endpoint(interface: &InterfaceState, address: Ipv4Addr) -> Endpoint {
    let directed = |one: &InterfaceAddress| {
        // The two addresses of a /31 and the one of a /32 are no broadcasts (RFC 3021).
        let computed = || {
            (one.prefix_len <= 30).then(|| Prefix::new(one.address, one.prefix_len).ok()).flatten()
        };
        one.broadcast.or_else(|| computed().map(|prefix| prefix.broadcast()))
    };
    let mut broadcasts: Vec<Ipv4Addr> = interface.addresses.iter().filter_map(directed).collect();
    broadcasts.retain(|broadcast| !broadcast.is_broadcast() && !broadcast.is_unspecified());
    broadcasts.sort_unstable();
    broadcasts.dedup();
    Endpoint {
        interface: interface.name.clone(),
        index: interface.index,
        address,
        present: has(interface, address),
        mac: interface.mac,
        mtu: interface.mtu,
        loopback: interface.loopback,
        broadcasts,
    }
}

/// Reads all interfaces and their IPv4 addresses, ascending by number.
pub async fn enumerate() -> io::Result<Vec<InterfaceState>> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let interfaces = read(&handle).await;
    connection.abort();
    interfaces
}

async fn read(handle: &Handle) -> io::Result<Vec<InterfaceState>> {
    let mut interfaces = BTreeMap::new();
    let mut links = pin!(handle.link().get().execute());
    while let Some(link) = links.next().await {
        let link = link.map_err(io::Error::other)?;
        let ethernet = link.header.link_layer_type == LinkLayerType::Ether;
        let mut interface = InterfaceState {
            index: link.header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            kind: link.header.link_layer_type.into(),
            up: link.header.flags.contains(LinkFlags::Up),
            running: link.header.flags.contains(LinkFlags::Running),
            multicast: link.header.flags.contains(LinkFlags::Multicast),
            broadcasts: link.header.flags.contains(LinkFlags::Broadcast),
            loopback: link.header.flags.contains(LinkFlags::Loopback),
            addresses: Vec::new(),
        };
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name = name,
                LinkAttribute::Mtu(mtu) => interface.mtu = mtu,
                LinkAttribute::Address(mac) if ethernet => interface.mac = mac.try_into().ok(),
                _ => {}
            }
        }
        interfaces.insert(interface.index, interface);
    }
    let mut addresses = pin!(handle.address().get().execute());
    while let Some(message) = addresses.next().await {
        let message = message.map_err(io::Error::other)?;
        let Some(interface) = interfaces.get_mut(&message.header.index) else { continue };
        let (mut local, mut address, mut broadcast) = (None, None, None);
        for attribute in message.attributes {
            match attribute {
                AddressAttribute::Local(IpAddr::V4(ip)) => local = Some(ip),
                AddressAttribute::Address(IpAddr::V4(ip)) => address = Some(ip),
                AddressAttribute::Broadcast(ip) => broadcast = Some(ip),
                _ => {}
            }
        }
        // On a point-to-point link `Address` is the other end and `Local` ours.
        if let Some(address) = local.or(address) {
            let prefix_len = message.header.prefix_len;
            interface.addresses.push(InterfaceAddress { address, prefix_len, broadcast });
        }
    }
    Ok(interfaces.into_values().collect())
}

/// How long after an event the interfaces are read: one act of an operator makes several.
const SETTLE: Duration = Duration::from_millis(100);
/// How often they are read without an event: the kernel drops events that nobody reads in time.
const RECHECK: Duration = Duration::from_secs(30);

/// Follows links and IPv4 addresses (rule S8). The receiver holds the present state at once and
/// each later one; the task ends when the last receiver is gone.
pub async fn watch() -> io::Result<watch::Receiver<Arc<[InterfaceState]>>> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr];
    let (connection, handle, mut events) = rtnetlink::new_multicast_connection(&groups)?;
    let connection = tokio::spawn(connection);
    let first = read(&handle).await.inspect_err(|_| connection.abort())?;
    let (sender, receiver) = watch::channel(Arc::<[InterfaceState]>::from(first));
    tokio::spawn(async move {
        loop {
            let more = tokio::select! {
                event = events.next() => event.is_some(),
                () = tokio::time::sleep(RECHECK) => true,
                () = sender.closed() => false,
            };
            if !more {
                break;
            }
            tokio::time::sleep(SETTLE).await;
            while events.try_recv().is_ok() {}
            if let Ok(now) = read(&handle).await {
                sender.send_if_modified(|last| {
                    let changed = **last != *now;
                    if changed {
                        *last = now.into();
                    }
                    changed
                });
            }
        }
        connection.abort();
    });
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, name: &str, addresses: &[(&str, u8)]) -> InterfaceState {
        let address = |(text, prefix_len): &(&str, u8)| InterfaceAddress {
            address: text.parse().unwrap(),
            prefix_len: *prefix_len,
            broadcast: None,
        };
        InterfaceState {
            index,
            name: name.into(),
            mac: Some([2, 0, 0, 0, 0, index as u8]),
            mtu: 1500,
            kind: 1,
            up: true,
            running: true,
            multicast: true,
            broadcasts: true,
            loopback: name == "lo",
            addresses: addresses.iter().map(address).collect(),
        }
    }

    fn machine() -> Vec<InterfaceState> {
        let mut machine = vec![
            interface(1, "lo", &[("127.0.0.1", 8)]),
            interface(2, "eth0", &[("192.0.2.1", 24), ("198.51.100.1", 25)]),
            interface(3, "eth1", &[]),
            interface(4, "eth2", &[("203.0.113.1", 31)]),
        ];
        machine[3].up = false;
        machine
    }

    fn chosen(listen: &[Listen]) -> (Vec<String>, Vec<SelectProblem>) {
        let (endpoints, problems) = select(listen, &machine());
        (
            endpoints.iter().map(|one| format!("{}/{}", one.interface, one.address)).collect(),
            problems,
        )
    }

    #[test]
    fn all_passes_over_loopback_down_and_bare_interfaces() {
        let (endpoints, problems) = chosen(&[Listen::All]);
        assert_eq!(endpoints, ["eth0/192.0.2.1", "eth0/198.51.100.1"]);
        assert_eq!(problems, []);
        assert_eq!(select(&[Listen::All], &machine()[2..]).1, [SelectProblem::Nothing]);
    }

    #[test]
    fn what_is_named_is_used_and_what_is_wrong_is_said() {
        let name = |name: &str| Listen::Interface(name.into());
        let (endpoints, problems) =
            chosen(&[name("lo"), name("eth1"), name("eth2"), name("wlan0")]);
        assert_eq!(endpoints, ["lo/127.0.0.1", "eth2/203.0.113.1"]);
        let expected = [
            SelectProblem::NoAddress("eth1".into()),
            SelectProblem::Down("eth2".into()),
            SelectProblem::Missing("wlan0".into()),
        ];
        assert_eq!(problems, expected);
    }

    #[test]
    fn s2_an_absent_address_is_listened_on_and_reported() {
        let at = |name: &str, address: [u8; 4]| Listen::Address(name.into(), address.into());
        let listen =
            [at("eth0", [192, 0, 2, 99]), at("lo", [127, 0, 0, 11]), at("eth0", [192, 0, 2, 1])];
        let (endpoints, problems) = chosen(&listen);
        assert_eq!(endpoints, ["eth0/192.0.2.99", "lo/127.0.0.11", "eth0/192.0.2.1"]);
        assert_eq!(problems, [SelectProblem::AddressAbsent("eth0".into(), [192, 0, 2, 99].into())]);
    }

    #[test]
    fn nothing_is_chosen_twice() {
        let listen = [
            Listen::Interface("eth0".into()),
            Listen::All,
            Listen::Address("eth0".into(), [192, 0, 2, 1].into()),
        ];
        assert_eq!(chosen(&listen).0.len(), 2);
        assert_eq!(chosen(&[]), (vec![], vec![]));
    }

    #[test]
    fn s1_every_prefix_of_the_link_has_its_directed_broadcast() {
        let (endpoints, _) =
            select(&[Listen::Address("eth0".into(), [192, 0, 2, 1].into())], &machine());
        let expected: [Ipv4Addr; 2] = [[192, 0, 2, 255].into(), [198, 51, 100, 127].into()];
        assert_eq!(endpoints[0].broadcasts, expected);
        let (endpoints, _) = select(&[Listen::Interface("eth2".into())], &machine());
        assert!(endpoints[0].broadcasts.is_empty(), "a /31 has none");
    }

    #[tokio::test]
    async fn the_loopback_interface_is_found() {
        let interfaces = enumerate().await.unwrap();
        let loopback = interfaces.iter().find(|one| one.loopback).unwrap();
        assert!(loopback.index > 0 && loopback.mac.is_none() && !loopback.name.is_empty());
    }
}
