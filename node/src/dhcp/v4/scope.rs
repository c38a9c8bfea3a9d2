//! Which configured value wins for a client: reservation, pool, subnet, network, its classes in the
//! order in which it was put into them, global (Kea manual, "DHCPv4 Server Options").
//!
//! `always-send` and `never-send` count from any of these, whoever the entry is for and whichever gives
//! the value, and `never-send` does not reach what is sent unasked (both watched on Kea 3.0).

use std::net::Ipv4Addr;

use crate::config::{Class, Config, OptionData, OptionSet, Reservation, Subnet};
use crate::packet::v4::codes;
use crate::types::ClassSet;

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
    pub reservation: Option<&'a Reservation>,
    /// The classes of the packet.
    pub classes: &'a ClassSet,
    chain: Chain<'a>,
    by_code: [Option<&'a OptionData>; 256],
    always: CodeSet,
    never: CodeSet,
}

/// The sets of options from the most specific to the least.
#[derive(Debug, Clone)]
struct Chain<'a> {
    /// Of reservation, pool, subnet and network.
    inner: [Option<&'a OptionSet>; 4],
    /// The classes of the packet that are configured, in order.
    configured: Vec<&'a Class>,
    global: &'a OptionSet,
}

impl<'a> Chain<'a> {
    fn sets(&self) -> impl Iterator<Item = &'a OptionSet> {
        let of_classes = self.configured.iter().map(|class| &class.options);
        let inner = self.inner.iter().flatten().copied();
        inner.chain(of_classes).chain([self.global]).filter(|set| !set.is_empty())
    }
}

impl<'a> Scope<'a> {
    /// The scopes of a client in these classes with this address in this subnet; without an address,
    /// no pool.
    pub fn new(
        config: &'a Config,
        subnet: &'a Subnet,
        reservation: Option<&'a Reservation>,
        classes: &'a ClassSet,
        address: Option<Ipv4Addr>,
    ) -> Scope<'a> {
        let pool = address.and_then(|address| subnet.pool_of(address));
        let chain = Chain {
            inner: [
                reservation.map(Reservation::options),
                pool.map(|pool| &pool.options),
                Some(&subnet.options),
                Some(&config.network_of(subnet).options),
            ],
            configured: config.classes.of(classes).collect(),
            global: &config.options,
        };
        let (mut always, mut never) = (CodeSet::default(), CodeSet::default());
        let mut by_code = [None; 256];
        for (code, data) in chain.sets().flat_map(|set| set.iter_in(OptionSet::DHCP4)) {
            let Ok(code) = u8::try_from(code) else { continue };
            if data.always_send {
                always.insert(code);
            }
            if data.never_send {
                never.insert(code);
            }
            let value = &mut by_code[usize::from(code)];
            if value.is_none() && data.guard.admits(classes) {
                *value = Some(data);
            }
        }
        Scope { subnet, reservation, classes, chain, by_code, always, never }
    }

    /// The scopes from the most specific to the least, without empty ones.
    pub fn sets(&self) -> impl Iterator<Item = &'a OptionSet> {
        self.chain.sets()
    }

    /// All entries for an option of the top level that the packet may use, in order.
    pub fn entries(&self, code: u8) -> impl Iterator<Item = &'a OptionData> {
        let all = self.sets().flat_map(move |set| set.all_in(OptionSet::DHCP4, u32::from(code)));
        all.filter(|data| data.guard.admits(self.classes))
    }

    /// The value for a code, whether it is to be sent or not.
    pub fn get(&self, code: u8) -> Option<&'a OptionData> {
        self.by_code[usize::from(code)]
    }

    /// Whether some scope forbids the option.
    pub fn is_never_sent(&self, code: u8) -> bool {
        self.never.contains(code)
    }

    /// Whether the option is to be sent, if it has a value: it was asked for or has `always-send`.
    pub fn wants(&self, code: u8, requested: &[u8]) -> bool {
        (self.always.contains(code) || requested.contains(&code)) && !self.never.contains(code)
    }

    /// What to send besides what the server makes itself: what was asked for, what has
    /// `always-send`, and the three that Kea always adds, ascending, without what is never sent.
    pub fn chosen(&self, requested: &[u8]) -> impl Iterator<Item = (u8, &'a OptionData)> {
        let mut wanted = self.always;
        // 108 ends IPv4 for a client: only who asks for it may get it (RFC 8925 §3.2).
        wanted.remove(codes::V6_ONLY_PREFERRED);
        requested.iter().for_each(|code| wanted.insert(*code));
        let mut wanted = wanted.without(self.never);
        UNASKED.iter().for_each(|code| wanted.insert(*code));
        wanted
            .filter(|code| !is_made_here(*code) && !matches!(*code, codes::PAD | codes::END))
            .filter_map(|code| Some((code, self.get(code)?)))
    }

    /// The configured server identifier (C7b).
    pub fn identity(&self) -> Option<Ipv4Addr> {
        let data = self.get(codes::SERVER_ID)?;
        Some(Ipv4Addr::from(<[u8; 4]>::try_from(&*data.bytes).ok()?))
    }

    /// `next-server`.
    pub fn next_server(&self) -> Ipv4Addr {
        let own = self.reservation.and_then(Reservation::next_server);
        let of_class = || self.chain.configured.iter().find_map(|class| class.next_server);
        own.or_else(of_class).unwrap_or(self.subnet.values.next_server)
    }

    /// `server-hostname`.
    pub fn server_hostname(&self) -> &'a str {
        let own = self.reservation.and_then(Reservation::server_hostname);
        let of_class =
            || self.chain.configured.iter().find_map(|class| class.server_hostname.as_deref());
        own.or_else(of_class).unwrap_or(&self.subnet.values.server_hostname)
    }

    /// `boot-file-name`.
    pub fn boot_file_name(&self) -> &'a str {
        let own = self.reservation.and_then(Reservation::boot_file_name);
        let of_class =
            || self.chain.configured.iter().find_map(|class| class.boot_file_name.as_deref());
        own.or_else(of_class).unwrap_or(&self.subnet.values.boot_file_name)
    }
}

/// A set of option codes.
#[derive(Debug, Clone, Copy, Default)]
pub struct CodeSet([u64; 4]);

impl CodeSet {
    /// Adds a code.
    pub fn insert(&mut self, code: u8) {
        self.0[usize::from(code >> 6)] |= 1 << (code & 63);
    }

    /// Takes a code out.
    pub fn remove(&mut self, code: u8) {
        self.0[usize::from(code >> 6)] &= !(1 << (code & 63));
    }

    fn contains(self, code: u8) -> bool {
        self.0[usize::from(code >> 6)] & (1 << (code & 63)) != 0
    }

    /// These without those.
    pub fn without(mut self, other: CodeSet) -> CodeSet {
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
    // 124 and 125 are put together from all scopes (`vendor`).
    matches!(code, 124 | 125 | 1 | 50..=55 | 57..=59 | 61 | 81 | 82 | 90..=92 | 118 | 151..=157)
}
