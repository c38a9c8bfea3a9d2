//! The DHCPv4 engine (RFC 2131 and the rules of the protocol contract). Its table of contents is
//! [`handle`]: read the packet, find its classes and its subnet, see whose turn it is, find its
//! reservation and what depends on that, answer by message type.
//!
//! Nothing is remembered between calls. What a node remembers (holds, shadows, notes) is kept by
//! the caller and lent through [`Context`]; what the cluster remembers comes as the [`View`].
//!
//! What the caller owes, beside doing what the [`Decision`] says:
//!
//! * it does not call while this node knows of a configuration it has not applied (W6), or has not
//!   caught up since it started (C15);
//! * it counts `heard` for the link before the next packet (C1a), and remembers shadows (C2), the
//!   hold of an OFFER (M3), and what it answered, for the notes (C2a);
//! * it drops the hold of a client on [`Reason::OtherServer`] (M5) and when it sends an ACK;
//! * it absorbs repeats with [`Pending::repeats`] (M7).

mod classify;
mod context;
mod decline;
mod deliver;
mod discover;
mod flex_option;
mod give_up;
mod host;
mod imagined;
mod inform;
mod lifetime;
mod names;
mod newcomer;
mod order;
mod packet;
mod pending;
mod ping;
mod printable;
mod relay_info;
mod release;
mod request;
mod respond;
mod scope;
mod select;
mod turn;
mod v6only;
mod vendor;

#[cfg(test)]
#[path = "tests/precedence.rs"]
mod precedence;
#[cfg(test)]
mod proptests;
#[cfg(test)]
#[path = "tests/script.rs"]
mod script;

use std::borrow::Cow;
use std::cell::Cell;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::config::{Config, OptionSet, Pool, Reservation, Subnet};
use crate::dhcp::decision::{Decision, Handled, Link, Reason, Search, Shadow};
use crate::packet::v4::{MessageType, codes};
use crate::state::{Client, View, host_of};
use crate::types::{ClassSet, ClusterTime};
use classify::Classifier;
use order::{first_classes, known_classes, members};
use scope::Scope;
use turn::{Addressed, Question, Turn, turn};

pub use context::{Attempts, Context, HOLD_FLOOR, Memory, Ports};
pub use imagined::Imagined;
pub use newcomer::Place;
pub use packet::{Arrival, Packet, Reading, steering_key};
pub use pending::{Asked, Pending};
pub use relay_info::{Circuit, RelayFacts};
pub use turn::{LAST_ANSWERS, RANK_DELAY, bucket};

/// How long a packet may take from arrival to answer (S11, R2a, R4). Its sender is about to send
/// it again.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// One packet under way: what every step gets.
#[derive(Debug, Clone, Copy)]
struct Exchange<'a> {
    packet: &'a Packet,
    reading: &'a Reading,
    cx: &'a Context<'a>,
    view: View<'a>,
    config: &'a Config,
    now: ClusterTime,
    /// The client as the selected subnet knows it.
    who: &'a Client,
    /// The classes of the packet before it has an address.
    classes: &'a ClassSet,
    /// What is found out on the way that is only to be counted.
    search: &'a Cell<Search>,
}

/// Decides about one packet. `now` is this node's estimate of cluster time.
pub fn handle(packet: &Packet, cx: &Context<'_>, view: View<'_>, now: ClusterTime) -> Handled {
    let mut handled = Handled {
        decision: Decision::Drop(Reason::Late),
        client: None,
        heard: None,
        circuit: None,
        search: Search::default(),
    };
    let search = Cell::default();
    handled.decision =
        decide(packet, cx, view, now, &search, &mut handled).unwrap_or_else(Decision::Drop);
    handled.search = search.get();
    handled
}

fn decide(
    packet: &Packet,
    cx: &Context<'_>,
    view: View<'_>,
    now: ClusterTime,
    search: &Cell<Search>,
    handled: &mut Handled,
) -> Result<Decision, Reason> {
    if now.since(packet.arrival.at) > PATIENCE {
        return Err(Reason::Late);
    }
    let config = view.config().ok_or(Reason::NotReady)?;
    let mut reading = Reading::of(packet, cx, config)?;
    let (mut classes, early) = first_classes(packet, &mut reading, config, view, now)?;
    let subnet = select::select(packet, &reading, config, &classes);
    let match_id = subnet.is_none_or(|subnet| subnet.values.match_client_id);
    let client = reading.client(match_id);
    let who = &client;
    let key = client.key();
    handled.client = Some(key.clone());
    handled.circuit = Some(reading.circuit(&packet.arrival));
    let link = link_of(&reading, config, subnet);
    if reading.relay.is_some() || packet.arrival.broadcast {
        handled.heard = link;
    }
    let ex = Exchange {
        packet,
        reading: &reading,
        cx,
        view,
        config,
        now,
        who,
        classes: &classes,
        search,
    };
    if let Some(server) = reading.server_id
        && !ex.is_ours(server, subnet)
    {
        if !config.compatibility.ignore_server_identifier {
            let mixed = reading.message == MessageType::Request && reading.ciaddr.is_some();
            return Err(if mixed { Reason::MixedRequest } else { Reason::OtherServer });
        }
        reading.foreign = true;
    }
    let ex = Exchange {
        packet,
        reading: &reading,
        cx,
        view,
        config,
        now,
        who,
        classes: &classes,
        search,
    };
    let question = Question {
        client: &key,
        link,
        addressed: ex.addressed(),
        changed: ex.changed(subnet, &client),
    };
    match reading.message {
        MessageType::Release => return Ok(release::release(&ex, subnet, &question)),
        MessageType::Decline => return Ok(decline::decline(&ex, subnet, &question)),
        _ => {}
    }
    match (turn(&question, cx, view), link) {
        (Turn::Answer, _) => {}
        (Turn::AskPeers, Some(link)) => return Ok(Decision::AskPeers(link)),
        (Turn::AskPeers, None) => return Err(Reason::NoSubnet),
        (Turn::Shadow(owner), _) => {
            let address = reading.requested.or(reading.ciaddr);
            return Ok(Decision::Shadow(Shadow {
                client: key,
                message: reading.message,
                address,
                owner,
            }));
        }
    }
    known_classes(packet, &reading, config, subnet, &client, early, &mut classes);
    if classes.contains(classify::DROP) {
        return Err(Reason::DropClass);
    }
    let ex = Exchange {
        packet,
        reading: &reading,
        cx,
        view,
        config,
        now,
        who,
        classes: &classes,
        search,
    };
    let rejected = classes.contains(classify::REJECT);
    Ok(match reading.message {
        MessageType::Discover if rejected => Decision::Drop(Reason::RejectClass),
        MessageType::Discover => discover::discover(&ex, subnet, &client),
        MessageType::Request if rejected => request::reject(&ex, subnet, &client),
        MessageType::Request => request::request(&ex, subnet),
        _ => inform::inform(&ex, subnet),
    })
}

/// The link a packet came through, named alike on every node: by the relay, or by the first subnet of
/// the network.
fn link_of(reading: &Reading, config: &Config, subnet: Option<&Subnet>) -> Option<Link> {
    if let Some(relay) = reading.relay {
        return Some(Link::Relay(relay));
    }
    let first = config.members(subnet?.network).next()?;
    Some(Link::Subnet(first.id))
}

impl<'a> Exchange<'a> {
    /// The client as leases of this subnet know it.
    fn client(&self, subnet: &Subnet) -> Client {
        self.reading.client(subnet.values.match_client_id)
    }

    /// The subnets that serve the client, the selected one first.
    fn members(&self, selected: &'a Subnet) -> impl Iterator<Item = &'a Subnet> {
        members(self.config, selected, self.classes)
    }

    /// Whether the client may use the pool.
    fn admits(&self, pool: &Pool) -> bool {
        pool.guard.admits(self.classes)
    }

    /// The classes of the packet once its subnet and address are known: those of a reservation in a
    /// shared network, and those of the `evaluate-additional-classes` lists of pool, subnet and
    /// network.
    fn settled(&self, subnet: &'a Subnet, address: Option<Ipv4Addr>) -> Cow<'a, ClassSet> {
        let network = self.config.network_of(subnet);
        let pool = address.and_then(|address| subnet.pool_of(address));
        let reserved = self.reservation(subnet).filter(|_| network.name.is_some());
        let reserved = reserved.map_or(&[][..], Reservation::classes);
        let of_pool = pool.map_or(&[][..], |pool| &pool.additional_classes);
        let lists = [of_pool, &subnet.additional_classes, &network.additional_classes];
        if reserved.is_empty() && lists.iter().all(|list| list.is_empty()) {
            return Cow::Borrowed(self.classes);
        }
        let Exchange { packet, reading, config, .. } = *self;
        let classifier = Classifier { packet, reading, config };
        let mut classes = self.classes.clone();
        classifier.add(&mut classes, reserved);
        lists.iter().for_each(|list| classifier.additional(&mut classes, list));
        Cow::Owned(classes)
    }

    /// What is configured for the client with this address, in these classes.
    fn scope<'b>(
        &self,
        subnet: &'b Subnet,
        classes: &'b ClassSet,
        address: Option<Ipv4Addr>,
    ) -> Scope<'b>
    where
        'a: 'b,
    {
        Scope::new(self.config, subnet, self.reservation(subnet), classes, address)
    }

    /// A1: remembers that the client, which is to get an address, is one that nobody knows. It is asked only where that
    /// makes a difference.
    fn note_newcomer(&self, subnet: &Subnet, client: &Client) {
        if self.config.new_clients.is_some() && newcomer::is_newcomer(self, subnet, client) {
            self.search.set(Search { newcomer: true, ..self.search.get() });
        }
    }

    /// The client's reservation in this subnet.
    fn reservation<'b>(&self, subnet: &'b Subnet) -> Option<&'b Reservation>
    where
        'a: 'b,
    {
        host_of(self.config, subnet, self.who)
    }

    /// Whom the message addresses (C3).
    fn addressed(&self) -> Addressed {
        let arrival = &self.packet.arrival;
        if self.reading.relay.is_none() && !arrival.broadcast {
            return Addressed::Me;
        }
        self.reading.chosen_server().map_or(Addressed::Owner, Addressed::Identity)
    }

    /// When the client's lease here was last granted: looked up only if it can matter (C4).
    fn changed(&self, subnet: Option<&Subnet>, client: &Client) -> Option<ClusterTime> {
        self.cx.memory.attempts(&client.key())?;
        Some(self.view.lease_of(client, subnet?.network)?.granted)
    }

    /// Whether option 54 of a client's message means this cluster (C6, C7b, RFC 5107): it is a node's,
    /// the relay's choice, or configured somewhere, for everybody or for this client.
    fn is_ours(&self, server: Ipv4Addr, subnet: Option<&Subnet>) -> bool {
        let overriding = self.reading.relay.and(self.reading.relay_facts.server_id_override);
        let says = |options: &OptionSet| {
            let entries = options.all_in(OptionSet::DHCP4, codes::SERVER_ID.into());
            entries.iter().any(|data| *data.bytes == server.octets())
        };
        let of_class = || self.config.classes.of(self.classes).any(|class| says(&class.options));
        let reserved = || host_of(self.config, subnet?, self.who);
        self.cx.own.contains(&server)
            || overriding == Some(server)
            || self.view.node_of_identity(server).is_some()
            || self.config.is_identity(server)
            || of_class()
            || reserved().is_some_and(|host| says(host.options()))
    }
}
