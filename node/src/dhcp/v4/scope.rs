//! Which configured value wins for a client: reservation, pool, subnet, network, global
//! (Kea manual, "DHCPv4 Server Options"; class scopes come with classes).

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::config::{Config, OptionData, OptionSet, Reservation, Subnet};
use crate::packet::v4::codes;

/// Options that Kea sends unasked when they are configured.
const UNASKED: [u8; 3] = [codes::ROUTERS, DOMAIN_NAME_SERVERS, DOMAIN_NAME];
const DOMAIN_NAME_SERVERS: u8 = 6;
const DOMAIN_NAME: u8 = 15;

/// What holds for one client with one address: a table by code, filled from the most specific
/// scope to the least in one pass.
#[derive(Debug, Clone)]
pub struct Scope<'a> {
    /// The subnet of the address.
    pub subnet: &'a Subnet,
    /// The client's reservation there.
    pub reservation: Option<&'a Arc<Reservation>>,
    by_code: [Option<&'a OptionData>; 256],
    always: CodeSet,
    never: CodeSet,
}

impl<'a> Scope<'a> {
    /// The scopes of a client with this address in this subnet; without an address, no pool.
    pub fn new(
        config: &'a Config,
        subnet: &'a Subnet,
        reservation: Option<&'a Arc<Reservation>>,
        address: Option<Ipv4Addr>,
    ) -> Scope<'a> {
        let pool = address.and_then(|address| subnet.pool_of(address));
        let chain = [
            reservation.map(|reservation| &reservation.options),
            pool.map(|pool| &pool.options),
            Some(&subnet.options),
            Some(&config.network_of(subnet).options),
            Some(&config.options),
        ];
        let (always, never) = (CodeSet::default(), CodeSet::default());
        let mut scope = Scope { subnet, reservation, by_code: [None; 256], always, never };
        for (code, data) in chain.into_iter().flatten().flat_map(OptionSet::iter) {
            scope.by_code[usize::from(code)].get_or_insert(data);
            // Both count from any scope, whichever gives the value.
            if data.always_send {
                scope.always.insert(code);
            }
            if data.never_send {
                scope.never.insert(code);
            }
        }
        scope
    }

    /// The value for a code, whether it is to be sent or not.
    pub fn get(&self, code: u8) -> Option<&'a OptionData> {
        self.by_code[usize::from(code)]
    }

    /// Whether some scope forbids the option.
    pub fn is_never_sent(&self, code: u8) -> bool {
        self.never.contains(code)
    }

    /// What to send besides what the server makes itself: what was asked for, what has
    /// `always-send`, and the three that Kea always adds, ascending, without what is never sent.
    pub fn chosen(&self, requested: &[u8]) -> impl Iterator<Item = (u8, Arc<[u8]>)> {
        let mut wanted = self.always;
        // 108 ends IPv4 for a client: only who asks for it may get it (RFC 8925 §3.2).
        wanted.remove(codes::V6_ONLY_PREFERRED);
        requested.iter().chain(&UNASKED).for_each(|code| wanted.insert(*code));
        wanted
            .without(self.never)
            .filter(|code| !is_made_here(*code) && !matches!(*code, codes::PAD | codes::END))
            .filter_map(|code| Some((code, Arc::clone(&self.get(code)?.bytes))))
    }

    /// The configured server identifier (C7b).
    pub fn identity(&self) -> Option<Ipv4Addr> {
        let data = self.get(codes::SERVER_ID)?;
        Some(Ipv4Addr::from(<[u8; 4]>::try_from(&*data.bytes).ok()?))
    }

    /// `next-server`.
    pub fn next_server(&self) -> Ipv4Addr {
        self.reservation.and_then(|own| own.next_server).unwrap_or(self.subnet.values.next_server)
    }

    /// `server-hostname`.
    pub fn server_hostname(&self) -> &'a str {
        let own = self.reservation.and_then(|own| own.server_hostname.as_deref());
        own.unwrap_or(&self.subnet.values.server_hostname)
    }

    /// `boot-file-name`.
    pub fn boot_file_name(&self) -> &'a str {
        let own = self.reservation.and_then(|own| own.boot_file_name.as_deref());
        own.unwrap_or(&self.subnet.values.boot_file_name)
    }
}

/// A set of option codes.
#[derive(Debug, Clone, Copy, Default)]
struct CodeSet([u64; 4]);

impl CodeSet {
    fn insert(&mut self, code: u8) {
        self.0[usize::from(code >> 6)] |= 1 << (code & 63);
    }

    fn remove(&mut self, code: u8) {
        self.0[usize::from(code >> 6)] &= !(1 << (code & 63));
    }

    fn contains(self, code: u8) -> bool {
        self.0[usize::from(code >> 6)] & (1 << (code & 63)) != 0
    }

    fn without(mut self, other: CodeSet) -> CodeSet {
        self.0.iter_mut().zip(other.0).for_each(|(word, others)| *word &= !others);
        self
    }
}

/// The codes, ascending.
impl Iterator for CodeSet {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let at = self.0.iter().position(|word| *word != 0)?;
        let bit = self.0[at].trailing_zeros();
        self.0[at] &= self.0[at] - 1;
        // Below 4 words of 64 bits.
        Some((at as u32 * 64 + bit) as u8)
    }
}

/// Options that are never taken from `option-data`: the server makes them, or only clients and
/// other protocols send them.
fn is_made_here(code: u8) -> bool {
    matches!(code, 1 | 50..=55 | 57..=59 | 61 | 81 | 82 | 90..=92 | 118 | 151..=157)
}
