//! Replies: header fields by the table of section 3, options by scope and request list, sizes by
//! W1–W4.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::deliver::deliver;
use super::names::{Manner, Names};
use super::scope::Scope;
use super::{Exchange, flex_option, lifetime, relay_info, v6only, vendor};
use crate::config::{Subnet, Values};
use crate::dhcp::decision::{Decision, Offered, Parts, Reason, Reply, ReplyKind};
use crate::packet::v4::{self, ClientIdOption, Form, MessageType, codes, payload_limit};
use crate::state::Granted;
use crate::types::{ClientKey, ClusterTime, Lifetime};

/// Classless static routes as Windows knows them.
const MICROSOFT_ROUTES: u8 = 249;
/// By so much this node's estimate of cluster time may be ahead of the leader's stamps.
const CLOCKS_APART: Duration = Duration::from_millis(100);

/// An OFFER of the address from the local view, with the hold to remember unless it needs none.
pub fn offer(
    ex: &Exchange<'_>,
    scope: &Scope<'_>,
    address: Ipv4Addr,
    lifetime: Lifetime,
    offered: Option<Offered>,
) -> Decision {
    match offer_parts(ex, scope, address, lifetime) {
        Ok(parts) => Decision::Reply(Reply::offer(address, offered, parts)),
        Err(reason) => Decision::Drop(reason),
    }
}

/// The OFFER of an address that is committed to the client for `offer-lifetime`. It tells the time
/// that the client will get.
pub fn committed_offer(ex: &Exchange<'_>, scope: &Scope<'_>, granted: &Granted) -> Decision {
    match offer_parts(ex, scope, granted.address(), lifetime::of(ex, scope.subnet)) {
        Ok(parts) => {
            let offered = Offered {
                client: granted.client().clone(),
                subnet: granted.subnet(),
                address: granted.address(),
                circuit: ex.reading.circuit(&ex.packet.arrival),
                until: granted.expires(),
            };
            Decision::Reply(Reply::committed_offer(granted, offered, parts))
        }
        Err(reason) => Decision::Drop(reason),
    }
}

fn offer_parts(
    ex: &Exchange<'_>,
    scope: &Scope<'_>,
    address: Ipv4Addr,
    lifetime: Lifetime,
) -> Result<Parts, Reason> {
    let mut reply = v4::Reply::to(&ex.packet.message, MessageType::Offer);
    reply.yiaddr = address;
    configured(ex, &mut reply, scope);
    mask(&mut reply, scope);
    names(ex, &mut reply, scope);
    times(&mut reply, &scope.subnet.values, lifetime);
    flex_option::apply(ex, scope.classes, &mut reply);
    let client = ex.client(scope.subnet).key();
    let identity = identity(ex, Some(scope), None);
    finish(ex, reply, ReplyKind::Offer, client, identity)
}

/// An OFFER of no address, for a client that asks whether it may make one itself (option 116) where the
/// answer is configured (RFC 2563 §2.3). Kea stays silent.
pub fn auto_configure<'a>(ex: &Exchange<'a>, subnet: &'a Subnet) -> Option<Decision> {
    let asked = ex.packet.message.option(codes::AUTO_CONFIGURE)?;
    let classes = ex.settled(subnet, None);
    let scope = ex.scope(subnet, &classes, None);
    let answer = scope.get(codes::AUTO_CONFIGURE)?;
    if *asked != [1] || scope.is_never_sent(codes::AUTO_CONFIGURE) {
        return None;
    }
    let mut reply = v4::Reply::to(&ex.packet.message, MessageType::Offer);
    reply.set(codes::AUTO_CONFIGURE, answer.value(scope.classes));
    let client = ex.client(subnet).key();
    let identity = identity(ex, Some(&scope), None);
    Some(match finish(ex, reply, ReplyKind::Offer, client, identity) {
        Ok(parts) => Decision::Reply(Reply::offer_nothing(parts)),
        Err(reason) => Decision::Drop(reason),
    })
}

/// The ACK of a grant. There is no other way to one.
pub fn ack(ex: &Exchange<'_>, scope: &Scope<'_>, granted: &Granted) -> Decision {
    let mut reply = v4::Reply::to(&ex.packet.message, MessageType::Ack);
    reply.ciaddr = ex.packet.message.ciaddr();
    reply.yiaddr = granted.address();
    configured(ex, &mut reply, scope);
    mask(&mut reply, scope);
    names(ex, &mut reply, scope);
    if !ex.reading.bootp {
        times(&mut reply, &scope.subnet.values, told(granted, ex.packet.arrival.at, ex.now));
    }
    flex_option::apply(ex, scope.classes, &mut reply);
    let identity = identity(ex, Some(scope), ex.reading.chosen_server());
    match finish(ex, reply, ReplyKind::Ack, granted.client().clone(), identity) {
        Ok(parts) => Decision::Reply(Reply::ack(granted, parts)),
        Err(reason) => Decision::Drop(reason),
    }
}

/// The answer to an INFORM: what was asked for, and no lease (M13; RFC 2131 §4.3.5).
pub fn inform(ex: &Exchange<'_>, scope: &Scope<'_>) -> Decision {
    let mut reply = v4::Reply::to(&ex.packet.message, MessageType::Ack);
    reply.ciaddr = ex.packet.message.ciaddr();
    configured(ex, &mut reply, scope);
    if reply.requested.contains(&codes::SUBNET_MASK) {
        mask(&mut reply, scope);
    }
    // No name, neither the client's nor a reserved one, as in Kea.
    flex_option::apply(ex, scope.classes, &mut reply);
    let client = ex.client(scope.subnet).key();
    let identity = identity(ex, Some(scope), None);
    match finish(ex, reply, ReplyKind::InformAck, client, identity) {
        Ok(parts) => Decision::Reply(Reply::inform_ack(parts)),
        Err(reason) => Decision::Drop(reason),
    }
}

/// A NAK under the identity that the client knows (C7a): the one it named, else the one last
/// written to it, else what any reply would carry. Ready to be sent only if the view is fresh or
/// the refusal is an outcome.
pub fn nak(
    ex: &Exchange<'_>,
    scope: Option<&Scope<'_>>,
    written: Option<Ipv4Addr>,
) -> Result<Reply, Reason> {
    let mut reply = v4::Reply::to(&ex.packet.message, MessageType::Nak);
    reply.requested.clear();
    let known = ex.reading.chosen_server().or(written.filter(|address| !address.is_unspecified()));
    let client = match scope {
        Some(scope) => ex.client(scope.subnet).key(),
        None => ex.reading.client(true).key(),
    };
    let identity = identity(ex, scope, known);
    finish(ex, reply, ReplyKind::Nak, client, identity).map(Reply::nak)
}

/// Option 54 of a reply (C7): what the client named or knows, what its relay wants (RFC 5107),
/// what is configured (C7b), or the address it reached.
pub fn identity(
    ex: &Exchange<'_>,
    scope: Option<&Scope<'_>>,
    known: Option<Ipv4Addr>,
) -> Option<Ipv4Addr> {
    let overriding = ex.reading.relay.and(ex.reading.relay_facts.server_id_override);
    known
        .or(overriding)
        .or_else(|| scope.and_then(Scope::identity))
        .or_else(|| ex.packet.arrival.local_address())
}

/// What a client may be told at `now` of a grant, by when its packet came. The packet that the grant
/// was made for came before the entry was stamped, and its client counts from then: it is told all
/// of it (R4). A repeat that came later is told what remains (W5): its client counts from the repeat
/// and would otherwise believe in the lease for longer than was committed.
fn told(granted: &Granted, came: ClusterTime, now: ClusterTime) -> Lifetime {
    if came.since(granted.stamp()) <= CLOCKS_APART {
        return granted.lifetime();
    }
    granted.lifetime().min(Lifetime::between(now, granted.expires()))
}

/// Boot fields and everything from `option-data`.
fn configured(ex: &Exchange<'_>, reply: &mut v4::Reply, scope: &Scope<'_>) {
    reply.siaddr = scope.next_server();
    reply.sname = scope.server_hostname().as_bytes().to_vec();
    reply.file = scope.boot_file_name().as_bytes().to_vec();
    let message = &ex.packet.message;
    let requested = message.parameter_request_list();
    for (code, data) in scope.chosen(&requested) {
        if code == codes::V6_ONLY_PREFERRED {
            reply.set(code, v6only::wait(&data.bytes));
        } else {
            reply.set(code, data.value(scope.classes));
        }
    }
    if let Some(value) = vendor::classes(scope, &requested) {
        reply.set(codes::VENDOR_CLASSES, value);
    }
    if let Some(value) = vendor::options(scope, message, &requested) {
        reply.set(codes::VENDOR_OPTIONS, value);
    }
    // Microsoft's number for the same routes: those who ask for 249 alone get them as well.
    let routes = scope
        .get(codes::CLASSLESS_ROUTES)
        .filter(|_| !scope.is_never_sent(codes::CLASSLESS_ROUTES));
    if let Some(routes) = routes
        .filter(|_| requested.contains(&MICROSOFT_ROUTES) && !scope.is_never_sent(MICROSOFT_ROUTES))
    {
        reply.options.entry(MICROSOFT_ROUTES).or_insert_with(|| Arc::clone(&routes.bytes).into());
    }
    // A boot client compares the machine id (RFC 4578 §2.3).
    let vendor = ex.packet.message.option(codes::VENDOR_CLASS);
    if vendor.is_some_and(|vendor| vendor.starts_with(b"PXEClient"))
        && let Some(machine) = ex.packet.message.option(codes::CLIENT_MACHINE_ID)
    {
        reply.set(codes::CLIENT_MACHINE_ID, machine);
    }
}

fn mask(reply: &mut v4::Reply, scope: &Scope<'_>) {
    if !scope.is_never_sent(codes::SUBNET_MASK) {
        reply.set(codes::SUBNET_MASK, scope.subnet.prefix.mask());
    }
}

fn names(ex: &Exchange<'_>, reply: &mut v4::Reply, scope: &Scope<'_>) {
    let address = Some(reply.yiaddr).filter(|own| !own.is_unspecified()).or(ex.reading.ciaddr);
    let manner = Manner::of(ex.classes, ex.config);
    let names = Names::at(&ex.packet.message, scope.reservation, scope.subnet, address, manner);
    for (code, value) in [(codes::HOST_NAME, names.host_name), (codes::FQDN, names.fqdn)] {
        if let Some(value) = value.filter(|_| !scope.is_never_sent(code)) {
            reply.set(code, value);
        }
    }
}

/// 51, and 58 and 59 as Kea sends them (W4): explicit, else calculated; each only below what
/// follows it; none for a lease without an end.
fn times(reply: &mut v4::Reply, values: &Values, lifetime: Lifetime) {
    reply.set(codes::LEASE_TIME, lifetime.as_secs());
    if lifetime.is_infinite() {
        return;
    }
    let calculated = |percent: f64| {
        let secs = (f64::from(lifetime.as_secs()) * percent).round();
        // Percentages lie between 0 and 1, so this cannot leave the range of a lifetime.
        values.calculate_tee_times.then_some(secs as u32)
    };
    let mut ceiling = lifetime.as_secs();
    for (code, explicit, percent) in [
        (codes::REBINDING_TIME, values.rebind_timer, values.t2_percent),
        (codes::RENEWAL_TIME, values.renew_timer, values.t1_percent),
    ] {
        let secs = explicit.or_else(|| calculated(percent)).unwrap_or(0);
        if secs > 0 && secs < ceiling {
            reply.set(code, secs);
            ceiling = secs;
        }
    }
}

/// What every reply carries, its size and its destination.
fn finish(
    ex: &Exchange<'_>,
    mut reply: v4::Reply,
    kind: ReplyKind,
    client: ClientKey,
    identity: Option<Ipv4Addr>,
) -> Result<Parts, Reason> {
    let message = &ex.packet.message;
    let delivery = deliver(ex.packet, ex.reading, kind, reply.yiaddr, ex.cx.ports)
        .ok_or(Reason::NowhereToReply)?;
    let identity = identity.ok_or(Reason::NowhereToReply)?;
    reply.set(codes::SERVER_ID, identity);
    // As the client sent it, whatever stands for it inside the server.
    if let (ClientIdOption::Is(id), true) = (message.client_id(), ex.config.echo_client_id) {
        reply.set(codes::CLIENT_ID, id.bytes());
    }
    if let (Some(address), true) = (ex.reading.subnet_selection, kind != ReplyKind::Nak) {
        reply.set(codes::SUBNET_SELECTION, address);
    }
    if delivery.rule == 1 && ex.reading.relay.is_some() {
        // Straight to the client: the relay has no part in it.
        reply.giaddr = Ipv4Addr::UNSPECIFIED;
        reply.hops = 0;
    } else if let Some(info) = message.relay_info() {
        reply.set(codes::RELAY_AGENT_INFO, relay_info::echo(info, &ex.reading.relay_facts));
    }
    // D6: the relay must not unicast to an address that the client does not have.
    let no_address =
        kind == ReplyKind::Nak || (kind == ReplyKind::InformAck && ex.reading.ciaddr.is_none());
    if ex.reading.relay.is_some() && no_address {
        reply.set_broadcast();
    }
    if ex.reading.bootp {
        reply.form = if message.not_dhcp().is_some() { Form::PlainBootp } else { Form::Bootp };
    }
    let encoded = reply.encode(payload_limit(message.max_message_size(), ex.packet.arrival.mtu));
    let omitted = u32::try_from(encoded.omitted.len()).unwrap_or(u32::MAX);
    Ok(Parts { payload: encoded.bytes, delivery, client, identity, omitted })
}
