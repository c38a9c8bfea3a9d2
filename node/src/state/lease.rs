//! One lease, and the answer to "is it this client's?" (rule I2), used by the engine and by
//! `apply` alike.

use std::net::Ipv4Addr;

use smol_str::SmolStr;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::command::{Client, Generation};
use crate::packet::v4::{RelayInfo, codes};
use crate::types::{ClientId, ClientKey, ClusterTime, HwAddr, Lifetime, SubnetId};

/// Kea's lease states, with Kea's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LeaseState {
    /// A client's.
    Assigned = 0,
    /// In probation after a DECLINE; has no client.
    Declined = 1,
    /// Its time is over; kept for its client until `due`, free for everybody.
    Reclaimed = 2,
    /// Given back; kept for its client until `due`, free for everybody.
    Released = 3,
}

impl LeaseState {
    /// All of them, in the order of their numbers.
    pub const ALL: [LeaseState; 4] =
        [LeaseState::Assigned, LeaseState::Declined, LeaseState::Reclaimed, LeaseState::Released];

    /// Kea's number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The state with Kea's number `number`.
    pub fn from_number(number: u64) -> Option<LeaseState> {
        LeaseState::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Whether a lease in this state keeps others from its address until it is due.
    pub fn blocks(self) -> bool {
        matches!(self, LeaseState::Assigned | LeaseState::Declined)
    }
}

/// What is known of one address.
///
/// A lease has two ends (R6). `expires` is what the client was last told. `reserved_until` is the
/// largest end its holder may believe in, and only from `due`, which is `reserved_until` plus the
/// grace (R7), is the address another client's to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The key.
    pub address: Ipv4Addr,
    /// The subnet it was granted in; the configuration may have lost it since (R8).
    pub subnet: SubnetId,
    /// Option 61, if the client sent one.
    pub client_id: Option<ClientId>,
    /// The hardware address; empty when unknown.
    pub hw: HwAddr,
    /// The client's name, lower case; empty for none.
    pub hostname: SmolStr,
    /// The last grant that was written: Kea's "client last transaction time". A grant from the
    /// cache leaves it (R4).
    pub cltt: ClusterTime,
    /// The lifetime told then.
    pub valid: Lifetime,
    /// `cltt` plus `valid`; for a released lease the moment of its release.
    pub expires: ClusterTime,
    /// The largest end that the holder may have been told.
    pub reserved_until: ClusterTime,
    /// When the next sweep acts on it: frees it if it blocks, else forgets it.
    pub due: ClusterTime,
    /// The stamp of the last Grant that was answered from it, the cache included: what a late
    /// RELEASE or DECLINE is held against (R5).
    pub granted: ClusterTime,
    /// The holding (R5).
    pub generation: Generation,
    /// Its state.
    pub state: LeaseState,
    /// Option 54 as last written to the client (C7a); 0.0.0.0 when unknown.
    pub identity: Ipv4Addr,
    /// Whether a forward DNS record was made.
    pub fqdn_fwd: bool,
    /// Whether a reverse DNS record was made.
    pub fqdn_rev: bool,
    /// A DISCOVER made it (`offer-lifetime`), and its client has not accepted it yet.
    pub offered: bool,
    /// What few leases have.
    pub rare: Rare,
}

/// A node has up to millions of leases, in each of which a byte is a megabyte. 136 and the counts of its
/// [`std::sync::Arc`] are what an allocator that rounds up to 16 less 8, as glibc's does, has no loss with.
const _: () = assert!(size_of::<Lease>() <= 136);

/// What few leases have, in 8 bytes for all the others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rare(Option<Box<RareFields>>);

/// At least one of them is there, so that equal leases have equal fields.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RareFields {
    user_context: Option<Box<str>>,
    circuit: u64,
    relay_info: Option<Box<[u8]>>,
}

impl Rare {
    /// The three of [`Lease::user_context`], [`Lease::circuit`] and [`Lease::relay_info`].
    pub fn new(
        user_context: Option<Box<str>>,
        circuit: u64,
        relay_info: Option<Box<[u8]>>,
    ) -> Rare {
        let any = user_context.is_some() || circuit != 0 || relay_info.is_some();
        Rare(any.then(|| Box::new(RareFields { user_context, circuit, relay_info })))
    }
}

/// What stands for a relay's circuit in 64 bits: sub-options 1 and 2 of option 82, of which one may
/// be empty.
pub fn circuit_digest(circuit_id: &[u8], remote_id: &[u8]) -> u64 {
    // The seed keeps the border between the two, and relays and interfaces apart (0).
    xxh3_64_with_seed(&[circuit_id, remote_id].concat(), 1 + circuit_id.len() as u64)
}

impl Lease {
    /// `user-context` as JSON text.
    pub fn user_context(&self) -> Option<&str> {
        self.rare.0.as_ref()?.user_context.as_deref()
    }

    /// The circuit that a client declined it through (M11); 0 for every other lease.
    pub fn circuit(&self) -> u64 {
        self.rare.0.as_ref().map_or(0, |rare| rare.circuit)
    }

    /// Option 82 of the last REQUEST that had one, under `store-extended-info`.
    pub fn relay_info(&self) -> Option<&[u8]> {
        self.rare.0.as_ref()?.relay_info.as_deref()
    }

    /// I2, the one function: whether the lease names `client`.
    ///
    /// Equal client ids decide, whatever the hardware addresses. Two different ids never match. If
    /// one side has none, or the subnet does not match ids, hardware addresses decide. It says
    /// nothing about state or time.
    pub fn names(&self, client: &Client) -> bool {
        match (&self.client_id, &client.id) {
            (Some(ours), Some(theirs)) if client.match_id => ours == theirs,
            _ => self.hw == client.hw && self.hw.is_identity(),
        }
    }

    /// Whether `client` holds the address: the lease names it and is assigned. Its time may be
    /// over; until another client takes the address the holder can go on.
    pub fn held_by(&self, client: &Client) -> bool {
        self.state == LeaseState::Assigned && self.names(client)
    }

    /// Whether it keeps other clients from the address at `now` (R2d, R6, R7).
    pub fn blocks_at(&self, now: ClusterTime) -> bool {
        self.state.blocks() && (now < self.due || self.due == ClusterTime::NEVER)
    }

    /// The circuit of its last REQUEST, as [`circuit_digest`] names it; `None` when it is not known.
    pub fn request_circuit(&self) -> Option<u64> {
        let info = RelayInfo::new(self.relay_info()?);
        let part = |code| info.sub_options().find(|(own, _)| *own == code).map(|(_, value)| value);
        let (circuit, remote) = (part(codes::relay::CIRCUIT_ID), part(codes::relay::REMOTE_ID));
        circuit.or(remote)?;
        Some(circuit_digest(circuit.unwrap_or_default(), remote.unwrap_or_default()))
    }

    /// The key of its client under `match-client-id`; `None` without a client.
    pub fn client_key(&self, match_id: bool) -> Option<ClientKey> {
        match &self.client_id {
            Some(id) if match_id => Some(ClientKey::Id(id.clone())),
            _ if self.hw.is_identity() => Some(ClientKey::Hw(self.hw)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::{client, lease};

    #[test]
    fn i2_ids_decide_before_hardware_addresses() {
        let mut lease = lease("192.0.2.10", 1);
        lease.client_id = Some("01:aa".parse().unwrap());
        lease.hw = "02:00:00:00:00:01".parse().unwrap();
        assert!(lease.names(&client("02:00:00:00:00:02", Some("01:aa"))), "same id, other hw");
        assert!(!lease.names(&client("02:00:00:00:00:01", Some("01:bb"))), "other id, same hw");
        assert!(lease.names(&client("02:00:00:00:00:01", None)), "one side without id");
        assert!(!lease.names(&client("02:00:00:00:00:02", None)));
        let mut unmatched = client("02:00:00:00:00:01", Some("01:bb"));
        unmatched.match_id = false;
        assert!(lease.names(&unmatched), "match-client-id off");
    }

    #[test]
    fn an_empty_hardware_address_names_nobody() {
        let mut lease = lease("192.0.2.10", 1);
        lease.client_id = None;
        lease.hw = HwAddr::new(1, &[]).unwrap();
        assert!(!lease.names(&client("", None)));
    }
}
