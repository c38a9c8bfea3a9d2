//! Which reservations are a client's: the one look-up that the engine, the allocator and `apply`
//! share (R2b, R2d; Kea manual, "Host Reservations in DHCPv4").
//!
//! A client is looked for by each kind of identifier that it can present, in the order of
//! `host-reservation-identifiers`, and the first reservation found is its own. An address that is
//! reserved by an identifier of another kind is somebody else's all the same.

use std::net::Ipv4Addr;

use super::command::Client;
use crate::config::{Config, IdentifierKind, Reservation, Reservations, Subnet};

/// The type of a client id that carries a DUID, and what stands before the DUID: the type and an
/// IAID (RFC 4361 §6.1).
const DUID_TYPE: u8 = 255;
const BEFORE_DUID: usize = 5;

impl Client {
    /// What the client presents as an identifier of this kind.
    pub fn identifier(&self, kind: IdentifierKind) -> Option<&[u8]> {
        let id = || self.id.as_ref().map(|id| id.bytes());
        let bytes = match kind {
            IdentifierKind::HwAddress => Some(self.hw.bytes()),
            IdentifierKind::ClientId => id(),
            IdentifierKind::Duid => {
                id().filter(|id| id.first() == Some(&DUID_TYPE))?.get(BEFORE_DUID..)
            }
            IdentifierKind::CircuitId => self.claims.as_ref()?.circuit_id.as_deref(),
            IdentifierKind::FlexId => self.claims.as_ref()?.flex_id.as_deref(),
        };
        bytes.filter(|bytes| !bytes.is_empty())
    }

    /// Whether the reservation is for this client.
    fn is(&self, config: &Config, host: &Reservation) -> bool {
        config.hosts.identifiers.contains(&host.kind)
            && self.identifier(host.kind) == Some(&*host.identifier)
    }
}

fn find<'a>(
    config: &Config,
    reservations: &'a Reservations,
    client: &Client,
) -> Option<&'a Reservation> {
    if reservations.is_empty() {
        return None;
    }
    let of_kind =
        |kind: &IdentifierKind| reservations.by_identifier(*kind, client.identifier(*kind)?);
    config.hosts.identifiers.iter().find_map(of_kind)
}

/// The client's global reservation, whatever the modes of its subnet.
pub fn global_host<'a>(config: &'a Config, client: &Client) -> Option<&'a Reservation> {
    find(config, &config.reservations, client)
}

/// The client's reservation in `subnet`, for names, options and classes: the subnet's own, else the
/// global one, as far as its modes let it ask.
pub fn host_of<'a>(
    config: &'a Config,
    subnet: &'a Subnet,
    client: &Client,
) -> Option<&'a Reservation> {
    let modes = subnet.values.reservations;
    let own = || find(config, &subnet.reservations, client).filter(|_| modes.in_subnet);
    let global = || global_host(config, client).filter(|_| modes.global);
    own().or_else(global)
}

/// The address reserved for the client in the first of these subnets that has one, and the subnet.
/// In each, a global reservation is asked before the subnet's own.
pub fn reserved_address<'a>(
    config: &Config,
    subnets: impl IntoIterator<Item = &'a Subnet>,
    client: &Client,
) -> Option<(Ipv4Addr, &'a Subnet)> {
    subnets.into_iter().find_map(|subnet| Some((address_in(config, subnet, client)?, subnet)))
}

/// The address reserved for the client in this subnet alone.
fn address_in(config: &Config, subnet: &Subnet, client: &Client) -> Option<Ipv4Addr> {
    let modes = subnet.values.reservations;
    let fits = |address: &Ipv4Addr| subnet.prefix.contains(*address) && is_asked(subnet, *address);
    let global = || global_host(config, client).filter(|_| modes.global)?.address.filter(fits);
    let own = || {
        find(config, &subnet.reservations, client).filter(|_| modes.in_subnet)?.address.filter(fits)
    };
    global().or_else(own)
}

/// Whether reservations have a say about the address: with `reservations-out-of-pool` not about
/// those of pools.
fn is_asked(subnet: &Subnet, address: Ipv4Addr) -> bool {
    !subnet.values.reservations.out_of_pool || subnet.pool_of(address).is_none()
}

/// Whether `address` is reserved in `subnet` for `client`.
pub fn reserved_for(config: &Config, subnet: &Subnet, address: Ipv4Addr, client: &Client) -> bool {
    address_in(config, subnet, client) == Some(address)
}

/// Whether `address` is reserved in `subnet` for others and not for `client`.
pub fn reserved_for_other(
    config: &Config,
    subnet: &Subnet,
    address: Ipv4Addr,
    client: &Client,
) -> bool {
    let modes = subnet.values.reservations;
    let mut others = false;
    let lists = [(modes.in_subnet, &subnet.reservations), (modes.global, &config.reservations)];
    for (_, reservations) in lists.into_iter().filter(|(consulted, _)| *consulted) {
        for host in reservations.of_address(address) {
            if client.is(config, host) {
                return false;
            }
            others = true;
        }
    }
    others && is_asked(subnet, address)
}

/// Whether the configuration lets `client` have `address` in `subnet` at all: inside the prefix,
/// and in a pool or reserved for it (R2b). That it may be reserved for another is a separate
/// question.
pub fn grantable(config: &Config, subnet: &Subnet, address: Ipv4Addr, client: &Client) -> bool {
    subnet.prefix.contains(address)
        && (subnet.pool_of(address).is_some() || reserved_for(config, subnet, address, client))
}
