//! A node without sockets: applied state, memory and holds, driven by the lines of a script.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::config;
use super::show::{show_command, show_link, show_reply, show_search};
use crate::alloc::{Cursors, Holds};
use crate::dhcp::decision::{Decision, Link, Reason};
use crate::dhcp::v4::{
    Arrival, Attempts, Context, Exchange, HOLD_FLOOR, Memory, Packet, Pending, Ports, Reading,
    discover, first_classes, handle, known_classes, select,
};
use crate::packet::v4::{Message, MessageType, Query};
use crate::state::{
    Batch, Command, LeaseState, Liveness, NodeInfo, Origin, Outcome, PutLease, PutMode, SetConfig,
    State, Taken,
};
use crate::types::{ClassSet, ClientKey, ClusterTime, HwAddr, Lifetime, NodeId, SubnetId};

include!("../testscripts/words.rs");

const ME: NodeId = NodeId(1);
const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// What the scripts say that this node remembers.
#[derive(Debug, Default)]
struct Remembered {
    heard: HashMap<Link, Vec<NodeId>>,
    tries: HashMap<ClientKey, Attempts>,
    noted: HashMap<ClientKey, Ipv4Addr>,
    suspects: Vec<NodeId>,
}

impl Memory for Remembered {
    fn reported(&self, link: &Link) -> bool {
        self.heard.contains_key(link)
    }
    fn hears(&self, link: &Link, node: NodeId) -> bool {
        self.heard.get(link).is_some_and(|nodes| nodes.contains(&node))
    }
    fn attempts(&self, client: &ClientKey) -> Option<Attempts> {
        self.tries.get(client).copied()
    }
    fn noted(&self, client: &ClientKey) -> Option<Ipv4Addr> {
        self.noted.get(client).copied()
    }
    fn noted_for_another(&self, address: Ipv4Addr, client: &ClientKey) -> bool {
        self.noted.iter().any(|(other, noted)| other != client && *noted == address)
    }
    fn suspects(&self, node: NodeId) -> bool {
        self.suspects.contains(&node)
    }
}

/// A node without sockets.
pub(in crate::dhcp::v4) struct Node {
    state: State,
    me: NodeId,
    own: [Ipv4Addr; 1],
    memory: Remembered,
    holds: Holds,
    cursors: RefCell<Cursors>,
    now: ClusterTime,
    sequence: u64,
    flags: Vec<String>,
    floor: u32,
    last: Option<Packet>,
    waiting: Option<(Command, Option<Box<Pending>>)>,
}

impl Node {
    pub(in crate::dhcp::v4) fn new(config: &str) -> Node {
        let mut node = Node {
            state: State::new(),
            me: ME,
            own: [OWN],
            memory: Remembered::default(),
            holds: Holds::new(Holds::CAPACITY, Holds::KEEP),
            cursors: RefCell::default(),
            now: ClusterTime::ZERO,
            sequence: 0,
            flags: Vec::new(),
            floor: HOLD_FLOOR,
            last: None,
            waiting: None,
        };
        let set = Command::SetConfig(SetConfig::json(config));
        let outcome = node.apply(set);
        assert!(matches!(outcome, Outcome::ConfigSet(_)), "{outcome:?}");
        node.roster(1);
        node
    }

    /// Lends the context of a node without a state.
    pub(in crate::dhcp::v4) fn nowhere<T>(with: impl FnOnce(&Context<'_>) -> T) -> T {
        let (memory, holds, cursors) =
            (Remembered::default(), Holds::new(1, Holds::KEEP), RefCell::default());
        with(&Context {
            me: ME,
            own: &[OWN],
            memory: &memory,
            holds: &holds,
            cursors: &cursors,
            hold_floor: HOLD_FLOOR,
            ports: Ports::STANDARD,
            origin: Origin { node: ME, incarnation: 1, sequence: 0 },
            asked: false,
            fresh: false,
            again: false,
        })
    }

    fn apply(&mut self, command: Command) -> Outcome {
        let batch = Batch { stamp: self.now, commands: vec![command] };
        self.state.apply(self.state.applied() + 1, &batch).remove(0)
    }

    fn roster(&mut self, count: u64) {
        for n in 1..=count {
            let info = NodeInfo {
                node: NodeId(n),
                name: format!("node-{n}"),
                rack: String::new(),
                peer_address: String::new(),
                control: Vec::new(),
                identities: vec![Ipv4Addr::new(192, 0, 2, n as u8)],
                version: String::new(),
                level: 0,
            };
            self.apply(Command::NodeInfo(info));
            self.apply(Command::NodeLiveness(NodeId(n), Liveness::Up));
        }
    }

    fn context(&self) -> Context<'_> {
        let is = |flag: &str| self.flags.iter().any(|set| set == flag);
        let trial = Ports { server: 6767, relay: 6767, client: 6768 };
        Context {
            me: self.me,
            own: &self.own,
            memory: &self.memory,
            holds: &self.holds,
            cursors: &self.cursors,
            hold_floor: self.floor,
            ports: if is("trial") { trial } else { Ports::STANDARD },
            origin: Origin { node: self.me, incarnation: 1, sequence: self.sequence },
            asked: is("asked"),
            fresh: is("fresh"),
            again: is("again"),
        }
    }

    /// Handles a packet, remembers what a caller must, and prints.
    fn packet(&mut self, packet: Packet) -> String {
        self.holds.expire(self.now);
        self.sequence += 1;
        let handled = handle(&packet, &self.context(), self.state.view(), self.now);
        self.last = Some(packet);
        if handled.decision == Decision::Drop(Reason::OtherServer)
            && let Some(client) = &handled.client
        {
            self.holds.remove(client);
        }
        let counted = show_search(handled.search);
        self.decision(handled.decision) + &counted
    }

    fn decision(&mut self, decision: Decision) -> String {
        self.waiting = None;
        match decision {
            Decision::Drop(reason) => format!("drop {reason}\n"),
            Decision::Shadow(shadow) => {
                let owner = shadow.owner.map_or("nobody".into(), |node| format!("node {node}"));
                let address = shadow.address.map_or(String::new(), |address| format!(" {address}"));
                format!("shadow {} {}{address}: {owner}\n", shadow.client, shadow.message)
            }
            Decision::AskPeers(link) => format!("ask peers about {}\n", show_link(link)),
            Decision::Reply(reply) => {
                match reply.offered() {
                    Some(hold) => {
                        let (client, address) = (hold.client.clone(), hold.address);
                        let (subnet, circuit) = (hold.subnet, hold.circuit);
                        let until = hold.until;
                        self.holds.put_until(client, address, subnet, circuit, until, self.now);
                    }
                    None => drop(self.holds.remove(&reply.answered().client)),
                }
                show_reply(&reply)
            }
            Decision::Check(check, then) => {
                let text = format!("ping {} first\n", check.offer.address);
                text + &self.decision(*then)
            }
            Decision::Refuse(reply) => format!("refuse, after a barrier: {}", show_reply(&reply)),
            Decision::Commit(command, pending) => {
                let text = format!("commit {}\n", show_command(&command));
                self.waiting = Some((command, Some(pending)));
                text
            }
            Decision::Propose { command, after } => {
                let text =
                    format!("propose {} after {} ms\n", show_command(&command), after.as_millis());
                self.waiting = Some((command, None));
                text
            }
            Decision::Again => "again\n".into(),
        }
    }

    fn commit(&mut self, verdict: Option<&&str>) -> Result<String, String> {
        let (command, pending) = self.waiting.take().ok_or("nothing waits")?;
        let outcome = match verdict {
            None => self.apply(command),
            Some(&"late") => Outcome::Late,
            Some(&"changed") => Outcome::Changed,
            Some(&"taken") => Outcome::Taken(Taken::Leased),
            Some(other) => return Err(format!("no outcome {other}")),
        };
        let text = match &outcome {
            Outcome::Granted(granted) => {
                format!("granted {} for {} s\n", granted.address(), granted.lifetime().as_secs())
            }
            other => format!("{other:?}\n").to_lowercase(),
        };
        let Some(pending) = pending else { return Ok(text) };
        let decision = pending.finish(&outcome, &self.context(), self.state.view(), self.now);
        Ok(text + &self.decision(decision))
    }

    /// What the engine decides about a query, and nothing remembered of it.
    pub(in crate::dhcp::v4) fn decide(&self, line: &str) -> Decision {
        let words: Vec<&str> = line.split_whitespace().collect();
        let packet = self.arrive(&words).expect("the words are right").expect("the codec takes it");
        handle(&packet, &self.context(), self.state.view(), self.now).decision
    }

    /// Commits the Grant that a query leads to.
    pub(in crate::dhcp::v4) fn commits(&mut self, line: &str) -> (Box<Pending>, Outcome) {
        let Decision::Commit(command, pending) = self.decide(line) else {
            panic!("{line} commits nothing")
        };
        let outcome = self.apply(command);
        (pending, outcome)
    }

    /// Finishes a query, `later` milliseconds from now.
    pub(in crate::dhcp::v4) fn finish(
        &self,
        pending: &Pending,
        outcome: &Outcome,
        later: u64,
    ) -> Decision {
        let now = ClusterTime::from_millis(self.now.as_millis() + later);
        pending.clone().finish(outcome, &self.context(), self.state.view(), now)
    }

    /// Decides a packet once more, as after [`Decision::Again`].
    pub(in crate::dhcp::v4) fn redecide(&self, pending: &Pending) -> Decision {
        let context = Context { again: true, ..self.context() };
        handle(&pending.packet, &context, self.state.view(), self.now).decision
    }

    /// Handles a message that came one way or the other, commits what it leads to, and returns
    /// every decision on the way.
    pub(in crate::dhcp::v4) fn anything(
        &mut self,
        message: Message,
        unicast: bool,
        fresh: bool,
    ) -> (Vec<Decision>, ClassSet) {
        self.flags = if fresh { vec!["fresh".into()] } else { Vec::new() };
        let arrival = Arrival {
            interface: Arc::from("eth0"),
            address: Some(self.own[0]),
            prefix_len: 24,
            broadcast: !unicast,
            source: SocketAddrV4::new(message.ciaddr(), 68),
            destination: if unicast { self.own[0] } else { Ipv4Addr::BROADCAST },
            frame_source: (!unicast).then_some([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            at: self.now,
        };
        let packet = Packet { message, arrival, seen: self.state.applied() };
        let classes = self.classes_of(&packet).unwrap_or_default().1;
        let first = handle(&packet, &self.context(), self.state.view(), self.now).decision;
        let mut decisions = vec![first.clone()];
        match first {
            Decision::Commit(command, pending) => {
                let outcome = self.apply(command);
                let then = pending.finish(&outcome, &self.context(), self.state.view(), self.now);
                decisions.push(then);
            }
            Decision::Propose { command, .. } => drop(self.apply(command)),
            _ => {}
        }
        (decisions, classes)
    }

    /// The selected subnet and the classes that a packet has before an address.
    fn classes_of(&self, packet: &Packet) -> Option<(Option<SubnetId>, ClassSet)> {
        let (view, now) = (self.state.view(), self.now);
        let config = view.config()?;
        let mut reading = Reading::of(packet, &self.context(), config).ok()?;
        let (mut classes, early) = first_classes(packet, &mut reading, config, view, now).ok()?;
        let subnet = select::select(packet, &reading, config, &classes);
        let client = reading.client(subnet.is_none_or(|subnet| subnet.values.match_client_id));
        known_classes(packet, &reading, config, subnet, &client, early, &mut classes);
        Some((subnet.map(|subnet| subnet.id), classes))
    }

    /// Whether a client in these classes may have the address: it lies in a pool that is open to it, or
    /// in none.
    pub(in crate::dhcp::v4) fn is_for(&self, address: Ipv4Addr, classes: &ClassSet) -> bool {
        let config = self.state.view().config().expect("there is one");
        let mut holding = config.subnets.iter().filter_map(|subnet| subnet.pool_of(address));
        let reserved = config
            .subnets
            .iter()
            .any(|subnet| subnet.reservations.of_address(address).next().is_some());
        reserved
            || config.subnets.iter().all(|subnet| subnet.pool_of(address).is_none())
            || holding.any(|pool| pool.guard.admits(classes))
    }

    /// Runs one line.
    pub(in crate::dhcp::v4) fn line(&mut self, line: &str) -> Result<String, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (first, rest) = words.split_first().ok_or("empty")?;
        let number = |at: usize| {
            let word = rest.get(at).ok_or(format!("{line}: a number is missing"))?;
            word.parse::<u64>().map_err(|_| format!("{word}: not a number"))
        };
        let hw = |at: usize| {
            let word = rest.get(at).ok_or("no hardware address")?;
            word.parse::<HwAddr>().map_err(|e| e.to_string())
        };
        let address = |at: usize| {
            rest.get(at).and_then(|word| word.parse().ok()).ok_or(format!("{line}: no address"))
        };
        match *first {
            "nodes" => self.roster(number(0)?),
            "node" => {
                let liveness = match rest.get(1).copied() {
                    Some("up") => Liveness::Up,
                    Some("down") => Liveness::Down,
                    Some("draining") => Liveness::Draining,
                    Some("maintenance") => Liveness::Maintenance,
                    Some("left") => Liveness::Left,
                    _ => return Err("up, down, draining, maintenance or left".into()),
                };
                self.apply(Command::NodeLiveness(NodeId(number(0)?), liveness));
            }
            "me" => {
                self.me = NodeId(number(0)?);
                self.own = [Ipv4Addr::new(192, 0, 2, number(0)? as u8)];
            }
            "now" => self.now = ClusterTime::from_millis(number(0)? * 1000),
            "tick" => {
                self.now = ClusterTime::from_millis(number(0)?);
                self.apply(Command::Tick);
            }
            "floor" => self.floor = number(0)? as u32,
            "set" => self.flags.extend(rest.iter().map(|flag| (*flag).to_owned())),
            "unset" => self.flags.retain(|flag| !rest.contains(&flag.as_str())),
            "heard" => {
                let word = rest.first().ok_or("no link")?;
                let link = match word.parse() {
                    Ok(relay) => Link::Relay(relay),
                    Err(_) => Link::Subnet(SubnetId(word.parse().map_err(|_| "no link")?)),
                };
                let nodes =
                    rest[1..].iter().map(|node| node.parse().map(NodeId).map_err(|_| "no node"));
                self.memory.heard.insert(link, nodes.collect::<Result<_, _>>()?);
            }
            "tries" => {
                let first = ClusterTime::from_millis(number(2)? * 1000);
                let attempts = Attempts {
                    count: number(1)? as u32,
                    first,
                    answered: rest.contains(&"answered"),
                };
                self.memory.tries.insert(ClientKey::Hw(hw(0)?), attempts);
            }
            "noted" => {
                self.memory.noted.insert(ClientKey::Hw(hw(0)?), address(1)?);
            }
            "trust" => self.memory.suspects.clear(),
            "suspect" => self.memory.suspects.push(NodeId(number(0)?)),
            "lease" => self.lease(address(0)?, hw(1)?, &rest[2..])?,
            "config" => {
                let set =
                    Command::SetConfig(SetConfig::json(&config(rest.first().ok_or("which")?)?));
                self.apply(set);
            }
            "commit" => return self.commit(rest.first()),
            "retry" => {
                let packet = self.last.clone().ok_or("no packet yet")?;
                return Ok(self.packet(packet));
            }
            "classes" => {
                return Ok(match self.arrive(rest)? {
                    Ok(packet) => self.classes(&packet),
                    Err(reason) => format!("drop {reason}\n"),
                });
            }
            _ => return self.query(&words),
        }
        Ok(String::new())
    }

    fn lease(&mut self, address: Ipv4Addr, hw: HwAddr, more: &[&str]) -> Result<(), String> {
        let word =
            |key: &str| more.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let view = self.state.view();
        let subnets = &view.config().ok_or("no configuration")?.subnets;
        let subnet =
            subnets.iter().find(|subnet| subnet.prefix.contains(address)).ok_or("no subnet")?.id;
        let put = PutLease {
            mode: PutMode::Upsert,
            address,
            subnet,
            hw,
            client_id: word("id").map(|id| id.parse().map_err(|_| "no id")).transpose()?,
            lifetime: Lifetime::from_secs(
                word("secs").unwrap_or("3600").parse().map_err(|_| "no time")?,
            ),
            expire: None,
            hostname: String::new(),
            fqdn_fwd: false,
            fqdn_rev: false,
            state: if word("state") == Some("declined") {
                LeaseState::Declined
            } else {
                LeaseState::Assigned
            },
            user_context: String::new(),
        };
        match self.apply(Command::PutLease(put)) {
            Outcome::LeaseWritten { .. } => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    /// The subnet that a packet selects and its classes, those that it has from an address on behind a
    /// bar: the one that the client would be offered.
    fn classes(&self, packet: &Packet) -> String {
        let (view, now) = (self.state.view(), self.now);
        let config = view.config().expect("there is one");
        let cx = &self.context();
        let mut reading = match Reading::of(packet, cx, config) {
            Ok(reading) => reading,
            Err(reason) => return format!("drop {reason}\n"),
        };
        let first = first_classes(packet, &mut reading, config, view, now);
        let Ok((mut classes, early)) = first else { return "DROP before a subnet\n".into() };
        let Some(subnet) = select::select(packet, &reading, config, &classes) else {
            let names: Vec<&str> = classes.iter().map(|name| &**name).collect();
            return format!("no subnet: {}\n", names.join(" "));
        };
        let client = reading.client(subnet.values.match_client_id);
        known_classes(packet, &reading, config, Some(subnet), &client, early, &mut classes);
        let (who, known) = (&client, &classes);
        let (reading, search) = (&reading, &std::cell::Cell::default());
        let ex = Exchange { packet, reading, cx, view, config, now, who, classes: known, search };
        let choice = discover::choose(&ex, subnet, &client).ok();
        let (member, address) =
            choice.map_or((subnet, None), |choice| (choice.subnet, Some(choice.address)));
        let settled = ex.settled(member, address);
        let mut names: Vec<&str> = settled.iter().map(|name| &**name).collect();
        let before = classes.iter().count();
        if names.len() > before {
            names.insert(before, "|");
        }
        let names: Vec<String> = names.iter().map(|name| name.escape_debug().to_string()).collect();
        let address = address.map_or("no address".into(), |address| address.to_string());
        format!("subnet {}, {address} of {}: {}\n", subnet.id, member.id, names.join(" "))
    }

    /// A query as words, with how it came.
    fn query(&mut self, words: &[&str]) -> Result<String, String> {
        match self.arrive(words)? {
            Ok(packet) => Ok(self.packet(packet)),
            Err(reason) => Ok(format!("drop {reason}\n")),
        }
    }

    /// The packet that the words describe, or why the codec drops it.
    fn arrive(&self, words: &[&str]) -> Result<Result<Packet, Reason>, String> {
        let is_arrival = |word: &&&str| {
            matches!(
                word.split('=').next(),
                Some("from" | "to" | "iface" | "mac" | "udp" | "addr" | "ago" | "mtu")
            )
        };
        let wire: Vec<&str> = words.iter().filter(|word| !is_arrival(word)).copied().collect();
        let word =
            |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let message = match Message::received(datagram(&wire)?) {
            Ok(message) => message,
            Err(malformed) => return Ok(Err(malformed.into())),
        };
        let relayed = message.is_relayed();
        let source = match word("from") {
            Some(from) if from.contains(':') => from.parse().map_err(|_| "from=IP:PORT")?,
            Some(from) => SocketAddrV4::new(from.parse().map_err(|_| "from=IP")?, 68),
            None if relayed => SocketAddrV4::new(message.giaddr(), 67),
            None => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
        };
        let to = word("to").map(str::parse::<Ipv4Addr>).transpose().map_err(|_| "to=IP")?;
        let to = to.or(relayed.then_some(self.own[0]));
        let mac =
            word("mac").map(|mac| mac.parse::<HwAddr>().map_err(|e| e.to_string())).transpose()?;
        let frame =
            mac.unwrap_or(message.hw_addr()).bytes().try_into().unwrap_or([2, 0, 0, 0, 0, 0xff]);
        let udp = to.is_some() || words.contains(&"udp");
        let ago: u64 = word("ago").unwrap_or("0").parse().map_err(|_| "ago=MILLISECONDS")?;
        let arrival = Arrival {
            interface: Arc::from(word("iface").unwrap_or("eth0")),
            address: match word("addr") {
                Some("none") => None,
                Some(addr) => Some(addr.parse().map_err(|_| "addr=IP")?),
                None => Some(self.own[0]),
            },
            prefix_len: 24,
            broadcast: to.is_none(),
            source,
            destination: to.unwrap_or(Ipv4Addr::BROADCAST),
            frame_source: (!udp).then_some(frame),
            mtu: word("mtu").unwrap_or("1500").parse().map_err(|_| "mtu=N")?,
            at: ClusterTime::from_millis(self.now.as_millis().saturating_sub(ago)),
        };
        Ok(Ok(Packet { message, arrival, seen: self.state.applied() }))
    }
}
