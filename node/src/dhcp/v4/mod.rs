//! The DHCPv4 engine (RFC 2131 and the rules of the protocol contract). Its table of contents is
//! [`handle`]: read the packet, find its subnet, see whose turn it is, answer by message type.
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

mod context;
mod decline;
mod deliver;
mod discover;
mod give_up;
mod inform;
mod names;
mod packet;
mod pending;
mod relay_info;
mod release;
mod request;
mod respond;
mod scope;
mod select;
mod turn;
mod v6only;

#[cfg(test)]
mod proptests;
#[cfg(test)]
#[path = "tests/script.rs"]
mod script;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Reservation, Subnet};
use crate::dhcp::decision::{Decision, Handled, Link, Reason, Shadow};
use crate::packet::v4::{MessageType, codes};
use crate::state::{Client, View};
use crate::types::ClusterTime;
use scope::Scope;
use turn::{Addressed, Question, Turn, turn};

pub use context::{Attempts, Context, HOLD_FLOOR, Memory, Ports};
pub use names::sanitise as sanitise_hostname;
pub use packet::{Arrival, Packet, Reading, steering_key};
pub use pending::Pending;
pub use relay_info::{Circuit, RelayFacts};
pub use turn::{RANK_DELAY, bucket};

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
}

/// Decides about one packet. `now` is this node's estimate of cluster time.
pub fn handle(packet: &Packet, cx: &Context<'_>, view: View<'_>, now: ClusterTime) -> Handled {
    let mut handled = Handled { decision: Decision::Drop(Reason::Late), client: None, heard: None };
    handled.decision = decide(packet, cx, view, now, &mut handled).unwrap_or_else(Decision::Drop);
    handled
}

fn decide(
    packet: &Packet,
    cx: &Context<'_>,
    view: View<'_>,
    now: ClusterTime,
    handled: &mut Handled,
) -> Result<Decision, Reason> {
    if now.since(packet.arrival.at) > PATIENCE {
        return Err(Reason::Late);
    }
    let reading = &Reading::of(packet, cx)?;
    let config = view.config().ok_or(Reason::NotReady)?;
    let ex = Exchange { packet, reading, cx, view, config, now };

    let subnet = select::select(packet, reading, config);
    let client = match subnet {
        Some(subnet) => ex.client(subnet),
        None => reading.client(true),
    };
    let key = client.key();
    let link = ex.link(subnet);
    if reading.relay.is_some() || packet.arrival.broadcast {
        handled.heard = link;
    }
    handled.client = Some(key.clone());
    if let Some(server) = reading.server_id
        && !ex.is_ours(server, subnet)
    {
        let mixed = reading.message == MessageType::Request && reading.ciaddr.is_some();
        return Err(if mixed { Reason::MixedRequest } else { Reason::OtherServer });
    }
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
    Ok(match reading.message {
        MessageType::Discover => discover::discover(&ex, subnet, &client),
        MessageType::Request => request::request(&ex, subnet),
        _ => inform::inform(&ex, subnet),
    })
}

impl<'a> Exchange<'a> {
    /// The client as leases of this subnet know it.
    fn client(&self, subnet: &Subnet) -> Client {
        self.reading.client(subnet.values.match_client_id)
    }

    /// What is configured for the client with this address.
    fn scope(&self, subnet: &'a Subnet, address: Option<Ipv4Addr>) -> Scope<'a> {
        Scope::new(self.config, subnet, self.reservation(subnet), address)
    }

    /// The client's reservation in this subnet.
    fn reservation(&self, subnet: &'a Subnet) -> Option<&'a Arc<Reservation>> {
        subnet.reservations.for_client(&self.reading.hw, self.reading.client_id.as_ref())
    }

    /// The link a packet came through, named alike on every node: by the relay, or by the first
    /// subnet of the network.
    fn link(&self, subnet: Option<&Subnet>) -> Option<Link> {
        if let Some(relay) = self.reading.relay {
            return Some(Link::Relay(relay));
        }
        let first = self.config.members(subnet?.network).next()?;
        Some(Link::Subnet(first.id))
    }

    /// Whom the message addresses (C3).
    fn addressed(&self) -> Addressed {
        let arrival = &self.packet.arrival;
        if self.reading.relay.is_none() && !arrival.broadcast {
            return Addressed::Me;
        }
        self.reading.server_id.map_or(Addressed::Owner, Addressed::Identity)
    }

    /// When the client's lease here was last granted: looked up only if it can matter (C4).
    fn changed(&self, subnet: Option<&Subnet>, client: &Client) -> Option<ClusterTime> {
        self.cx.memory.attempts(&client.key())?;
        Some(self.view.lease_of(client, subnet?.network)?.granted)
    }

    /// Whether option 54 of a client's message means this cluster (C6, C7b, RFC 5107).
    fn is_ours(&self, server: Ipv4Addr, subnet: Option<&'a Subnet>) -> bool {
        let overriding = self.reading.relay.and(self.reading.relay_facts.server_id_override);
        self.cx.own.contains(&server)
            || overriding == Some(server)
            || self.view.node_of_identity(server).is_some()
            || self.configured_identity(subnet, None) == Some(server)
    }

    /// Option 54 from `option-data`: of the scope, else of the subnet, else of the whole.
    fn configured_identity(
        &self,
        subnet: Option<&'a Subnet>,
        scope: Option<&Scope<'_>>,
    ) -> Option<Ipv4Addr> {
        match (scope, subnet) {
            (Some(scope), _) => scope.identity(),
            (None, Some(subnet)) => self.scope(subnet, None).identity(),
            (None, None) => {
                let data = self.config.options.get(codes::SERVER_ID)?;
                Some(Ipv4Addr::from(<[u8; 4]>::try_from(&*data.bytes).ok()?))
            }
        }
    }
}
