//! Machines, clients and packets for the benchmarks. Only what the library shows to everybody is used.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};

use leasehold::alloc::{Cursors, Holds};
use leasehold::dhcp::decision::Link;
use leasehold::dhcp::v4::{Arrival, Attempts, Context, HOLD_FLOOR, Memory, Packet, Ports};
use leasehold::packet::v4::{Message, MessageType, Query};
use leasehold::state::{
    Batch, Client, Command, ConfigVersion, Grant, GrantItem, Liveness, Origin, Outcome, SetConfig,
    State, Why,
};
use leasehold::types::{ClientId, ClientKey, ClusterTime, HwAddr, Lifetime, NodeId, SubnetId};

/// A million leases fit into the pool with room for more.
pub const MANY: u32 = 1_000_000;
/// What a small site has.
pub const FEW: u32 = 10_000;

pub const ME: NodeId = NodeId(1);
pub const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const RELAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The first address of the pool of [`site`], a /11.
const FIRST: u32 = 0x0a20_0000;
pub const SUBNET: SubnetId = SubnetId(1);

/// A site of one large subnet, with a few options, and `more` at the top level.
pub fn site(more: &str) -> String {
    format!(
        r#"{{"Dhcp4":{{"valid-lifetime":3600,
        "option-data":[{{"name":"domain-name-servers","data":"192.0.2.53, 192.0.2.54"}},
                       {{"name":"domain-name","data":"example.org"}},
                       {{"name":"ntp-servers","data":"192.0.2.123"}}],
        "subnet4":[{{"id":1,"subnet":"10.0.0.0/8","pools":[{{"pool":"10.32.0.0-10.63.255.255"}}],
                     "option-data":[{{"name":"routers","data":"10.0.0.1"}}]}}]{more}}}}}"#
    )
}

/// A machine with `config` in force, and `nodes` nodes up.
pub fn machine(config: &str, nodes: u64) -> State {
    let mut state = State::new();
    let set = Command::SetConfig(SetConfig::json(config));
    let up = (1..=nodes).map(|node| Command::NodeLiveness(NodeId(node), Liveness::Up));
    let commands: Vec<_> = std::iter::once(set).chain(up).collect();
    let outcomes = state.apply(1, &Batch { stamp: ClusterTime::ZERO, commands });
    assert!(matches!(outcomes[0], Outcome::ConfigSet(_)), "{outcomes:?}");
    state
}

/// A number that looks random and depends on `n` alone (SplitMix64).
pub fn scattered(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

pub fn nth_address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST + n)
}

pub fn hw(n: u32) -> HwAddr {
    let [a, b, c, d] = n.to_be_bytes();
    HwAddr::ethernet([2, 0, a, b, c, d])
}

/// Client number `n`, with the usual client id: the hardware type and the address.
pub fn client(n: u32) -> Client {
    let id = ClientId::new(&[&[1], hw(n).bytes()].concat()).expect("seven bytes");
    Client { id: Some(id), hw: hw(n), match_id: true, claims: None }
}

pub fn origin(n: u32) -> Origin {
    Origin { node: ME, incarnation: 1, sequence: n.into() }
}

/// The binding of `want` to client `n`, as the engine makes it.
pub fn grant(n: u32, want: Ipv4Addr, why: Why, now: ClusterTime) -> Grant {
    Grant {
        origin: origin(n),
        not_after: ClusterTime::from_millis(now.as_millis() + 2_000),
        config: ConfigVersion(1),
        client: client(n),
        items: vec![GrantItem {
            subnet: SUBNET,
            want,
            why,
            held: (why == Why::Renewing).then_some((want, leasehold::state::Generation(0))),
            lifetime: Lifetime::from_secs(3600),
        }],
        hostname: format!("host-{n}"),
        fqdn_fwd: false,
        fqdn_rev: false,
        identity: OWN,
        relay_info: None,
        checked: false,
    }
}

/// Binds each of `addresses`, which lie in `subnet`, to a client of its own, in entries of 128.
pub fn bind(state: &mut State, subnet: SubnetId, addresses: impl Iterator<Item = (u32, Ipv4Addr)>) {
    let now = state.now();
    let mut addresses = addresses.peekable();
    while addresses.peek().is_some() {
        let next = addresses.by_ref().take(Batch::MAX);
        let command = |(n, address)| {
            let mut grant = grant(n, address, Why::Selecting, now);
            grant.items[0].subnet = subnet;
            Command::Grant(grant)
        };
        let commands: Vec<Command> = next.map(command).collect();
        let outcomes = state.apply(state.applied() + 1, &Batch { stamp: now, commands });
        assert!(outcomes.iter().all(|it| matches!(it, Outcome::Granted(_))), "{outcomes:?}");
    }
}

/// A machine of one node where client `n` has address `n`, for each below `leases`.
pub fn populated(config: &str, leases: u32) -> State {
    let mut state = machine(config, 1);
    bind(&mut state, SUBNET, (0..leases).map(|n| (n, nth_address(n))));
    state
}

/// The last machine that was asked for, so that benchmarks that need the same one make it once.
pub fn shared<T>(key: &str, make: impl FnOnce() -> State, with: impl FnOnce(&mut State) -> T) -> T {
    static LAST: Mutex<Option<(String, State)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.as_ref().is_none_or(|(of, _)| of != key) {
        *last = None;
        *last = Some((key.to_owned(), make()));
    }
    with(&mut last.as_mut().expect("it was made above").1)
}

/// Nothing heard of others, and every link served.
#[derive(Debug)]
pub struct Alone;

impl Memory for Alone {
    fn reported(&self, _: &Link) -> bool {
        true
    }
    fn hears(&self, _: &Link, _: NodeId) -> bool {
        true
    }
    fn attempts(&self, _: &ClientKey) -> Option<Attempts> {
        None
    }
    fn noted(&self, _: &ClientKey) -> Option<Ipv4Addr> {
        None
    }
    fn noted_for_another(&self, _: Ipv4Addr, _: &ClientKey) -> bool {
        false
    }
    fn suspects(&self, _: NodeId) -> bool {
        false
    }
}

/// What a node keeps beside the state.
pub struct Local {
    pub holds: Holds,
    pub cursors: RefCell<Cursors>,
}

impl Local {
    pub fn new() -> Local {
        let holds = Holds::new(Holds::CAPACITY, Holds::KEEP);
        Local { holds, cursors: RefCell::default() }
    }

    pub fn context(&self, sequence: u64) -> Context<'_> {
        Context {
            me: ME,
            own: &[OWN],
            memory: &Alone,
            holds: &self.holds,
            cursors: &self.cursors,
            hold_floor: HOLD_FLOOR,
            ports: Ports::STANDARD,
            origin: Origin { node: ME, incarnation: 1, sequence },
            asked: false,
            fresh: false,
            again: false,
        }
    }
}

/// What perfdhcp and most clients ask for.
pub const ASKED: [u8; 7] = [1, 28, 2, 3, 15, 6, 12];

/// A query of client `n` through the relay.
pub fn query(message: MessageType, n: u32) -> Query {
    Query::new(message, n, hw(n))
        .option(61, client(n).id.expect("it has one").bytes())
        .list(&ASKED)
        .hops(1)
        .giaddr(RELAY)
}

/// The query as the socket hands it over: through the relay, or straight from `ciaddr`.
pub fn packet(datagram: Vec<u8>, at: ClusterTime) -> Packet {
    let message = Message::received(datagram).expect("a good datagram");
    let source = if message.is_relayed() {
        SocketAddrV4::new(message.giaddr(), 67)
    } else {
        SocketAddrV4::new(message.ciaddr(), 68)
    };
    let arrival = Arrival {
        interface: Arc::from("eth0"),
        address: Some(OWN),
        prefix_len: 24,
        broadcast: false,
        source,
        destination: OWN,
        frame_source: None,
        mtu: 1500,
        at,
    };
    // Whatever the machine has, it had before.
    Packet { message, arrival, seen: u64::MAX }
}
