//! One DHCP client as a pure state machine (RFC 2131 §4.4): no socket and no clock.
//!
//! Verbs (`join`, `renew`, `rebind`, `reboot`, `release`, `decline`) begin something, [`Machine::handle`] takes a reply,
//! [`Machine::tick`] takes time, [`Machine::next_deadline`] tells when time matters, [`Machine::take_sends`] and
//! [`Machine::take_events`] hand out what is to be sent and what belongs in the ledger. Times are milliseconds.
//!
//! It behaves as clients were seen to behave: takes the first OFFER and the first ACK, repeats after 3–5 s, keeps its
//! address when a restart is forgotten, and obeys every NAK (as dhcpcd does, the strictest of them).

use std::net::Ipv4Addr;

use crate::oracle::{Ask, ClientId, Event, What};

/// How patient a client is.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// First and later repeats come after a time drawn from this range, in milliseconds. Clients were seen to take 3–5 s.
    pub repeat_ms: (u64, u64),
    /// How often a REQUEST is sent before the client starts over.
    pub request_tries: u32,
    /// Pause after a NAK before the next DISCOVER, in milliseconds.
    pub nak_pause_ms: u64,
    /// Renews at T1 and rebinds at T2 by itself.
    pub automatic: bool,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            repeat_ms: (3_000, 5_000),
            request_tries: 4,
            nak_pause_ms: 200,
            automatic: false,
        }
    }
}

/// What a client asks, as values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub kind: QueryKind,
    pub xid: u32,
    pub mac: [u8; 6],
    /// Zero unless the client has an address.
    pub ciaddr: Ipv4Addr,
    /// Option 50.
    pub requested: Option<Ipv4Addr>,
    /// Option 54.
    pub server: Option<Ipv4Addr>,
    /// Seconds since the client began.
    pub secs: u16,
}

/// Message types that clients send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryKind {
    Discover,
    Request,
    Release,
    Decline,
}

/// How a query travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// By broadcast or relay, to every server that hears this client.
    Everyone,
    /// By unicast from the client's address to a server.
    Server(Ipv4Addr),
}

/// What a server answers, as values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub kind: ReplyKind,
    pub xid: u32,
    pub mac: [u8; 6],
    pub yiaddr: Ipv4Addr,
    /// Option 54.
    pub server: Option<Ipv4Addr>,
    /// Option 51, seconds.
    pub lifetime: Option<u32>,
    /// Option 58, seconds.
    pub t1: Option<u32>,
    /// Option 59, seconds.
    pub t2: Option<u32>,
    /// Whence it came.
    pub from: Ipv4Addr,
}

/// Message types that servers send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyKind {
    Offer,
    Ack,
    Nak,
}

/// The lease a client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Addr,
    /// Identity of the server in the last ACK.
    pub server: Ipv4Addr,
    pub ends: u64,
    pub t1: u64,
    pub t2: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Wants nothing, or (with a lease) is bound.
    Still,
    /// Starts over at this moment.
    Pausing {
        until: u64,
    },
    Selecting {
        wish: Option<Ipv4Addr>,
        repeat_at: u64,
    },
    Requesting {
        ask: Ask,
        address: Ipv4Addr,
        server: Option<Ipv4Addr>,
        asked_at: u64,
        tries: u32,
        repeat_at: u64,
    },
}

/// One client.
#[derive(Debug)]
pub struct Machine {
    id: ClientId,
    patience: Patience,
    random: u64,
    state: State,
    xid: u32,
    began: u64,
    lease: Option<Lease>,
    sends: Vec<(Via, Query)>,
    events: Vec<Event>,
}

impl Machine {
    /// Client `id`. Its choices are drawn from `seed` and its number.
    pub fn new(id: ClientId, patience: Patience, seed: u64) -> Machine {
        let random = (seed ^ (u64::from(id.0) << 20)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Machine {
            id,
            patience,
            random,
            state: State::Still,
            xid: 0,
            began: 0,
            lease: None,
            sends: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Which client this is.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// The lease it has, expired or not.
    pub fn lease(&self) -> Option<Lease> {
        self.lease
    }

    /// True when it waits for nothing.
    pub fn is_still(&self) -> bool {
        self.state == State::Still
    }

    /// Begins as a client that knows nothing.
    pub fn join(&mut self, now: u64) {
        self.began = now;
        self.lease = None;
        self.discover(now, None);
    }

    /// Asks the server it knows for more time. Nothing without a lease.
    pub fn renew(&mut self, now: u64) {
        if let Some(lease) = self.lease {
            self.request(now, Ask::Renewing, lease.address, Some(lease.server));
        }
    }

    /// Asks any server for more time. Nothing without a lease.
    pub fn rebind(&mut self, now: u64) {
        if let Some(lease) = self.lease {
            self.request(now, Ask::Rebinding, lease.address, None);
        }
    }

    /// Starts again with the address it remembers; without one, as new.
    pub fn reboot(&mut self, now: u64) {
        self.began = now;
        match self.lease {
            Some(lease) => self.request(now, Ask::InitReboot, lease.address, None),
            None => self.discover(now, None),
        }
    }

    /// Gives its address back. Nothing without a lease.
    pub fn release(&mut self, now: u64) {
        if let Some(lease) = self.lease.take() {
            self.xid = self.draw() as u32;
            self.state = State::Still;
            let query = Query {
                ciaddr: lease.address,
                server: Some(lease.server),
                ..self.query(QueryKind::Release, now)
            };
            self.sends.push((Via::Server(lease.server), query));
            self.note(now, None, What::Released { address: lease.address });
        }
    }

    /// Says that its address is used by somebody else, and starts over.
    pub fn decline(&mut self, now: u64) {
        if let Some(lease) = self.lease.take() {
            self.xid = self.draw() as u32;
            let query = Query {
                requested: Some(lease.address),
                server: Some(lease.server),
                ..self.query(QueryKind::Decline, now)
            };
            self.sends.push((Via::Everyone, query));
            self.note(now, None, What::Declined { address: lease.address });
            self.state = State::Pausing { until: now + 1_000 };
        }
    }

    /// When time matters next; none when it never does.
    pub fn next_deadline(&self) -> Option<u64> {
        match &self.state {
            State::Still => match self.lease {
                Some(lease) if self.patience.automatic => Some(lease.t1),
                _ => None,
            },
            State::Pausing { until } => Some(*until),
            State::Selecting { repeat_at, .. } | State::Requesting { repeat_at, .. } => {
                Some(*repeat_at)
            }
        }
    }

    /// Does what is due at `now`.
    pub fn tick(&mut self, now: u64) {
        if self.next_deadline().is_none_or(|due| due > now) {
            return;
        }
        match self.state.clone() {
            State::Still => self.renew(now),
            State::Pausing { .. } => self.discover(now, None),
            State::Selecting { wish, .. } => {
                let repeat_at = self.repeat_at(now);
                self.state = State::Selecting { wish, repeat_at };
                self.send_discover(now, wish);
            }
            State::Requesting { ask, address, server, asked_at, tries, .. } => {
                self.repeat_request(now, ask, address, server, asked_at, tries);
            }
        }
    }

    /// Takes what a server answered.
    pub fn handle(&mut self, now: u64, reply: &Reply) {
        if reply.mac != self.id.mac() || reply.xid != self.xid {
            return;
        }
        match reply.kind {
            ReplyKind::Offer => self.on_offer(now, reply),
            ReplyKind::Ack => self.on_ack(now, reply),
            ReplyKind::Nak => self.on_nak(now, reply),
        }
    }

    /// Whether there is anything to be sent.
    pub fn speaks(&self) -> bool {
        !self.sends.is_empty()
    }

    /// What is to be sent, in order.
    pub fn take_sends(&mut self) -> Vec<(Via, Query)> {
        std::mem::take(&mut self.sends)
    }

    /// What belongs in the ledger, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn on_offer(&mut self, now: u64, reply: &Reply) {
        if reply.yiaddr.is_unspecified() {
            return;
        }
        self.note(now, Some(reply.from), What::Offered { xid: reply.xid, address: reply.yiaddr });
        if let (State::Selecting { .. }, Some(server)) = (&self.state, reply.server) {
            self.begin_request(now, Ask::Selecting, reply.yiaddr, Some(server));
        }
    }

    fn on_ack(&mut self, now: u64, reply: &Reply) {
        let (Some(server), Some(lifetime)) = (reply.server, reply.lifetime) else { return };
        if reply.yiaddr.is_unspecified() {
            return;
        }
        let State::Requesting { asked_at, .. } = self.state else {
            let what = What::Acked {
                xid: reply.xid,
                address: reply.yiaddr,
                lifetime_secs: lifetime,
                asked_at: now,
                accepted: false,
            };
            self.note(now, Some(reply.from), what);
            return;
        };
        let what = What::Acked {
            xid: reply.xid,
            address: reply.yiaddr,
            lifetime_secs: lifetime,
            asked_at,
            accepted: true,
        };
        self.note(now, Some(reply.from), what);
        let lasts = u64::from(lifetime) * 1000;
        let after = |secs: Option<u32>, default: u64| {
            asked_at + secs.map_or(default, |secs| u64::from(secs) * 1000)
        };
        self.lease = Some(Lease {
            address: reply.yiaddr,
            server,
            ends: asked_at.saturating_add(lasts),
            t1: after(reply.t1, lasts / 2),
            t2: after(reply.t2, lasts / 8 * 7),
        });
        self.state = State::Still;
    }

    fn on_nak(&mut self, now: u64, reply: &Reply) {
        let State::Requesting { address, .. } = self.state else { return };
        self.note(now, Some(reply.from), What::Refused { xid: reply.xid, address });
        self.lease = None;
        self.state = State::Pausing { until: now + self.patience.nak_pause_ms };
    }

    fn repeat_request(
        &mut self,
        now: u64,
        ask: Ask,
        address: Ipv4Addr,
        server: Option<Ipv4Addr>,
        asked_at: u64,
        tries: u32,
    ) {
        let lease = self.lease.filter(|lease| lease.ends > now);
        match (ask, lease) {
            // RFC 2131 §4.4.5: from T2 on it asks everyone.
            (Ask::Renewing, Some(lease)) if now >= lease.t2 => {
                self.request(now, Ask::Rebinding, address, None)
            }
            (Ask::Renewing | Ask::Rebinding, None) => self.join(now),
            // A selecting client that gets no answer starts over; so does a rebooting one, with its address as a wish.
            (Ask::Selecting, _) if tries >= self.patience.request_tries => self.join(now),
            (Ask::InitReboot, _) if tries >= self.patience.request_tries => {
                self.discover(now, Some(address))
            }
            _ => {
                let repeat_at = self.repeat_at(now);
                self.state = State::Requesting {
                    ask,
                    address,
                    server,
                    asked_at,
                    tries: tries + 1,
                    repeat_at,
                };
                self.send_request(now, ask, address, server);
            }
        }
    }

    fn discover(&mut self, now: u64, wish: Option<Ipv4Addr>) {
        self.xid = self.draw() as u32;
        let repeat_at = self.repeat_at(now);
        self.state = State::Selecting { wish, repeat_at };
        self.send_discover(now, wish);
    }

    fn request(&mut self, now: u64, ask: Ask, address: Ipv4Addr, server: Option<Ipv4Addr>) {
        self.xid = self.draw() as u32;
        self.begin_request(now, ask, address, server);
    }

    fn begin_request(&mut self, now: u64, ask: Ask, address: Ipv4Addr, server: Option<Ipv4Addr>) {
        let repeat_at = self.repeat_at(now);
        self.state = State::Requesting { ask, address, server, asked_at: now, tries: 1, repeat_at };
        self.send_request(now, ask, address, server);
    }

    fn send_discover(&mut self, now: u64, wish: Option<Ipv4Addr>) {
        let query = Query { requested: wish, ..self.query(QueryKind::Discover, now) };
        self.sends.push((Via::Everyone, query));
        self.note(now, None, What::Discovered { xid: self.xid });
    }

    fn send_request(&mut self, now: u64, ask: Ask, address: Ipv4Addr, server: Option<Ipv4Addr>) {
        let plain = self.query(QueryKind::Request, now);
        let (via, query) = match ask {
            Ask::Selecting => (Via::Everyone, Query { requested: Some(address), server, ..plain }),
            Ask::InitReboot => (Via::Everyone, Query { requested: Some(address), ..plain }),
            Ask::Renewing => {
                (server.map_or(Via::Everyone, Via::Server), Query { ciaddr: address, ..plain })
            }
            Ask::Rebinding => (Via::Everyone, Query { ciaddr: address, ..plain }),
        };
        self.sends.push((via, query));
        self.note(now, None, What::Asked { xid: self.xid, ask, address });
    }

    fn query(&self, kind: QueryKind, now: u64) -> Query {
        let secs = u16::try_from(now.saturating_sub(self.began) / 1000).unwrap_or(u16::MAX);
        Query {
            kind,
            xid: self.xid,
            mac: self.id.mac(),
            ciaddr: Ipv4Addr::UNSPECIFIED,
            requested: None,
            server: None,
            secs,
        }
    }

    fn note(&mut self, at: u64, node: Option<Ipv4Addr>, what: What) {
        self.events.push(Event { at, client: self.id, node, what });
    }

    fn repeat_at(&mut self, now: u64) -> u64 {
        let (least, most) = self.patience.repeat_ms;
        now + least + self.draw() % (most.saturating_sub(least) + 1)
    }

    /// xorshift64*: enough for jitter, and the same on every machine.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 16, 5);

    fn machine() -> Machine {
        Machine::new(ClientId(7), Patience::default(), 1)
    }

    fn one(machine: &mut Machine) -> (Via, Query) {
        let mut sends = machine.take_sends();
        assert_eq!(sends.len(), 1, "{sends:?}");
        sends.remove(0)
    }

    fn reply(kind: ReplyKind, to: &Query) -> Reply {
        Reply {
            kind,
            xid: to.xid,
            mac: to.mac,
            yiaddr: ADDRESS,
            server: Some(SERVER),
            lifetime: Some(100),
            t1: Some(50),
            t2: Some(80),
            from: SERVER,
        }
    }

    fn bound(machine: &mut Machine) -> Query {
        machine.join(0);
        let (_, discover) = one(machine);
        machine.handle(10, &reply(ReplyKind::Offer, &discover));
        let (_, request) = one(machine);
        machine.handle(20, &reply(ReplyKind::Ack, &request));
        request
    }

    #[test]
    fn it_takes_the_first_offer_and_the_first_ack_and_notes_the_others() {
        let mut machine = machine();
        let request = bound(&mut machine);
        assert_eq!((request.requested, request.server), (Some(ADDRESS), Some(SERVER)));
        let other =
            Reply { yiaddr: Ipv4Addr::new(10, 77, 16, 6), ..reply(ReplyKind::Ack, &request) };
        machine.handle(30, &other);
        assert_eq!(machine.lease().map(|lease| lease.address), Some(ADDRESS));
        let acks: Vec<bool> = machine
            .take_events()
            .iter()
            .filter_map(|event| match event.what {
                What::Acked { accepted, .. } => Some(accepted),
                _ => None,
            })
            .collect();
        assert_eq!(acks, [true, false]);
    }

    #[test]
    fn it_counts_its_lease_from_the_first_sending_of_the_request() {
        let mut machine = machine();
        machine.join(0);
        let (_, discover) = one(&mut machine);
        machine.handle(10, &reply(ReplyKind::Offer, &discover));
        let (_, request) = one(&mut machine);
        machine.tick(machine.next_deadline().unwrap());
        assert_eq!(one(&mut machine).1.xid, request.xid);
        machine.handle(9_000, &reply(ReplyKind::Ack, &request));
        assert_eq!(machine.lease().map(|lease| lease.ends), Some(100_010));
    }

    #[test]
    fn it_repeats_after_three_to_five_seconds_and_starts_over_in_the_end() {
        let mut machine = machine();
        machine.join(0);
        let (_, discover) = one(&mut machine);
        machine.handle(10, &reply(ReplyKind::Offer, &discover));
        let (_, request) = one(&mut machine);
        let mut now = 10;
        for _ in 1..Patience::default().request_tries {
            let due = machine.next_deadline().unwrap();
            assert!((3_000..=5_000).contains(&(due - now)));
            machine.tick(due - 1);
            assert!(machine.take_sends().is_empty());
            machine.tick(due);
            assert_eq!(one(&mut machine).1.xid, request.xid);
            now = due;
        }
        machine.tick(machine.next_deadline().unwrap());
        let (_, again) = one(&mut machine);
        assert_eq!(again.kind, QueryKind::Discover);
        assert_ne!(again.xid, request.xid);
    }

    #[test]
    fn a_renewal_without_an_answer_becomes_a_rebinding_and_then_a_new_beginning() {
        let mut machine = machine();
        bound(&mut machine);
        machine.renew(50_000);
        assert_eq!(one(&mut machine).0, Via::Server(SERVER));
        let mut kinds = Vec::new();
        while kinds.last() != Some(&(Via::Everyone, QueryKind::Discover)) {
            machine.tick(machine.next_deadline().unwrap());
            let (via, query) = one(&mut machine);
            kinds.push((via, query.kind));
            assert!(kinds.len() < 50);
        }
        assert!(kinds.contains(&(Via::Server(SERVER), QueryKind::Request)));
        assert!(kinds.contains(&(Via::Everyone, QueryKind::Request)));
        assert_eq!(machine.lease(), None);
    }

    #[test]
    fn it_obeys_a_nak_and_ignores_one_for_another_exchange() {
        let mut machine = machine();
        bound(&mut machine);
        machine.reboot(1_000);
        let (via, request) = one(&mut machine);
        assert_eq!((via, request.server, request.requested), (Via::Everyone, None, Some(ADDRESS)));
        machine.handle(1_001, &Reply { xid: request.xid ^ 1, ..reply(ReplyKind::Nak, &request) });
        assert!(machine.lease().is_some());
        machine.handle(1_002, &reply(ReplyKind::Nak, &request));
        assert_eq!(machine.lease(), None);
        machine.tick(machine.next_deadline().unwrap());
        assert_eq!(one(&mut machine).1.kind, QueryKind::Discover);
    }

    #[test]
    fn a_release_is_sent_once_and_never_repeated() {
        let mut machine = machine();
        bound(&mut machine);
        machine.release(5_000);
        let (via, query) = one(&mut machine);
        assert_eq!(
            (via, query.kind, query.ciaddr),
            (Via::Server(SERVER), QueryKind::Release, ADDRESS)
        );
        assert_eq!(machine.next_deadline(), None);
        machine.release(6_000);
        assert!(machine.take_sends().is_empty());
    }

    #[test]
    fn the_same_seed_makes_the_same_choices_and_clients_differ() {
        let first = |id, seed| {
            let mut machine = Machine::new(ClientId(id), Patience::default(), seed);
            machine.join(0);
            (one(&mut machine).1.xid, machine.next_deadline())
        };
        assert_eq!(first(1, 1), first(1, 1));
        assert_ne!(first(1, 1), first(2, 1));
        assert_ne!(first(1, 1), first(1, 2));
    }
}
