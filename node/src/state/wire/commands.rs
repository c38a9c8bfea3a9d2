//! Each command and its message.

use std::net::Ipv4Addr;

use leasehold_proto::command as pb;
use pb::command::Kind;

use super::{
    BadWire, client_id, config, copied, hw_addr, liveness_from_pb, liveness_to_pb,
    node_info_from_pb, node_info_to_pb, roster,
};
use crate::state::command::{
    Claims, Client, Command, ConfigVersion, DeleteLease, EndHold, Generation, GiveUp, Grant,
    GrantItem, InUse, Origin, PutLease, PutMode, Reclaim, Seen, WallOffset, Why, WipeLeases,
};
use crate::state::lease::LeaseState;
use crate::types::{ClusterTime, Lifetime, NodeId, SubnetId};

pub(super) fn to_pb(command: &Command) -> pb::Command {
    let kind = match command {
        Command::Grant(grant) => Kind::Grant(grant_to_pb(grant)),
        Command::Release(give_up) => Kind::Release(give_up_to_pb(give_up)),
        Command::Decline(give_up) => Kind::Decline(give_up_to_pb(give_up)),
        Command::InUse(found) => Kind::InUse(pb::InUse {
            origin: Some(origin_to_pb(found.origin)),
            subnet: found.subnet.0,
            address: found.address.into(),
            circuit: found.circuit,
        }),
        Command::Reclaim(reclaim) => {
            Kind::Reclaim(pb::Reclaim { limit: reclaim.limit, remove: reclaim.remove })
        }
        Command::PutLease(put) => Kind::PutLease(put_to_pb(put)),
        Command::DeleteLease(delete) => {
            let seen = delete.seen.map(seen_to_pb);
            Kind::DeleteLease(pb::DeleteLease { address: delete.address.into(), seen })
        }
        Command::WipeLeases(wipe) => {
            let (subnet, from) = (wipe.subnet.map(|id| id.0), wipe.from.into());
            Kind::WipeLeases(pb::WipeLeases { subnet, from })
        }
        Command::ConfigChunk(chunk) => Kind::ConfigChunk(config::chunk_to_pb(chunk)),
        Command::SetConfig(set) => Kind::SetConfig(config::set_to_pb(set)),
        Command::EditConfig(edit) => Kind::EditConfig(config::edit_to_pb(edit)),
        Command::Tick => Kind::Tick(pb::Tick {}),
        Command::SetWallOffset(offset) => Kind::SetWallOffset(pb::WallOffset { millis: offset.0 }),
        Command::NodeInfo(info) => Kind::NodeInfo(node_info_to_pb(info)),
        Command::NodeLiveness(node, liveness) => Kind::NodeLiveness(pb::NodeLiveness {
            node: node.0,
            liveness: liveness_to_pb(*liveness).into(),
        }),
        Command::RaiseLevel(level) => Kind::RaiseLevel(*level),
        Command::PutToken(token) => Kind::PutToken(roster::token_to_pb(token)),
        Command::RemoveToken(id) => Kind::RemoveToken(*id),
        Command::Admit(admit) => Kind::Admit(roster::admit_to_pb(admit)),
        Command::SetPolicy(policy) => Kind::SetPolicy(roster::policy_to_pb(policy)),
        Command::EndHold(step) => Kind::EndHold(pb::EndHold { from: step.from.into() }),
    };
    pb::Command { kind: Some(kind) }
}

pub(super) fn from_pb(command: pb::Command) -> Result<Command, BadWire> {
    Ok(match command.kind.ok_or(BadWire::Field("command"))? {
        Kind::Grant(grant) => Command::Grant(grant_from_pb(grant)?),
        Kind::Release(give_up) => Command::Release(give_up_from_pb(give_up)?),
        Kind::Decline(give_up) => Command::Decline(give_up_from_pb(give_up)?),
        Kind::InUse(found) => Command::InUse(InUse {
            origin: origin_from_pb(found.origin)?,
            subnet: SubnetId(found.subnet),
            address: found.address.into(),
            circuit: found.circuit,
        }),
        Kind::Reclaim(reclaim) => {
            Command::Reclaim(Reclaim { limit: reclaim.limit, remove: reclaim.remove })
        }
        Kind::PutLease(put) => Command::PutLease(put_from_pb(put)?),
        Kind::DeleteLease(delete) => {
            let seen = delete.seen.map(seen_from_pb).transpose()?;
            Command::DeleteLease(DeleteLease { address: delete.address.into(), seen })
        }
        Kind::WipeLeases(wipe) => {
            let (subnet, from) = (wipe.subnet.map(SubnetId), wipe.from.into());
            Command::WipeLeases(WipeLeases { subnet, from })
        }
        Kind::ConfigChunk(chunk) => Command::ConfigChunk(config::chunk_from_pb(chunk)?),
        Kind::SetConfig(set) => Command::SetConfig(config::set_from_pb(set)?),
        Kind::EditConfig(edit) => Command::EditConfig(config::edit_from_pb(edit)?),
        Kind::Tick(pb::Tick {}) => Command::Tick,
        Kind::SetWallOffset(offset) => Command::SetWallOffset(WallOffset(offset.millis)),
        Kind::NodeInfo(info) => Command::NodeInfo(node_info_from_pb(info)),
        Kind::NodeLiveness(word) => {
            Command::NodeLiveness(NodeId(word.node), liveness_from_pb(word.liveness)?)
        }
        Kind::RaiseLevel(level) => Command::RaiseLevel(level),
        Kind::PutToken(token) => Command::PutToken(roster::token_from_pb(token)?),
        Kind::RemoveToken(id) => Command::RemoveToken(id),
        Kind::Admit(admit) => Command::Admit(roster::admit_from_pb(admit)?),
        Kind::SetPolicy(policy) => Command::SetPolicy(roster::policy_from_pb(policy)),
        Kind::EndHold(step) => Command::EndHold(EndHold { from: step.from.into() }),
    })
}

fn origin_to_pb(origin: Origin) -> pb::Origin {
    pb::Origin { node: origin.node.0, incarnation: origin.incarnation, sequence: origin.sequence }
}

fn origin_from_pb(origin: Option<pb::Origin>) -> Result<Origin, BadWire> {
    let origin = origin.ok_or(BadWire::Field("origin"))?;
    Ok(Origin {
        node: NodeId(origin.node),
        incarnation: origin.incarnation,
        sequence: origin.sequence,
    })
}

fn client_to_pb(client: &Client) -> pb::Client {
    pb::Client {
        id: client.id.as_ref().map(|id| copied(id.bytes())),
        htype: client.hw.htype().into(),
        hw: copied(client.hw.bytes()),
        match_id: client.match_id,
        claims: client.claims.as_deref().map(|claims| pb::Claims {
            circuit_id: claims.circuit_id.as_deref().map(copied),
            flex_id: claims.flex_id.as_deref().map(copied),
        }),
    }
}

fn client_from_pb(client: Option<pb::Client>) -> Result<Client, BadWire> {
    let client = client.ok_or(BadWire::Field("client"))?;
    let id = client.id.map(|id| client_id(&id)).transpose()?;
    let claims = client.claims.map(|claims| {
        let [circuit_id, flex_id] =
            [claims.circuit_id, claims.flex_id].map(|id| id.map(|id| Box::from(&*id)));
        Box::new(Claims { circuit_id, flex_id })
    });
    Ok(Client { id, hw: hw_addr(client.htype, &client.hw)?, match_id: client.match_id, claims })
}

fn grant_to_pb(grant: &Grant) -> pb::Grant {
    let item = |item: &GrantItem| pb::GrantItem {
        subnet: item.subnet.0,
        want: item.want.into(),
        why: why_to_pb(item.why).into(),
        held: item.held.map(|(address, generation)| pb::Held {
            address: address.into(),
            generation: generation.0,
        }),
        lifetime: item.lifetime.as_secs(),
    };
    pb::Grant {
        origin: Some(origin_to_pb(grant.origin)),
        not_after: grant.not_after.as_millis(),
        config: grant.config.0,
        client: Some(client_to_pb(&grant.client)),
        items: grant.items.iter().map(item).collect(),
        hostname: grant.hostname.clone(),
        fqdn_fwd: grant.fqdn_fwd,
        fqdn_rev: grant.fqdn_rev,
        identity: grant.identity.into(),
        relay_info: grant.relay_info.as_deref().map(copied),
        checked: grant.checked,
    }
}

fn grant_from_pb(grant: pb::Grant) -> Result<Grant, BadWire> {
    let item = |item: pb::GrantItem| {
        Ok::<_, BadWire>(GrantItem {
            subnet: SubnetId(item.subnet),
            want: item.want.into(),
            why: why_from_pb(item.why)?,
            held: item.held.map(|held| (Ipv4Addr::from(held.address), Generation(held.generation))),
            lifetime: Lifetime::from_secs(item.lifetime),
        })
    };
    Ok(Grant {
        origin: origin_from_pb(grant.origin)?,
        not_after: ClusterTime::from_millis(grant.not_after),
        config: ConfigVersion(grant.config),
        client: client_from_pb(grant.client)?,
        items: grant.items.into_iter().map(item).collect::<Result<_, _>>()?,
        hostname: grant.hostname,
        fqdn_fwd: grant.fqdn_fwd,
        fqdn_rev: grant.fqdn_rev,
        identity: grant.identity.into(),
        relay_info: grant.relay_info.map(|info| Box::from(&*info)),
        checked: grant.checked,
    })
}

fn why_to_pb(why: Why) -> pb::Why {
    match why {
        Why::Selecting => pb::Why::Selecting,
        Why::InitReboot => pb::Why::InitReboot,
        Why::Renewing => pb::Why::Renewing,
        Why::Rebinding => pb::Why::Rebinding,
        Why::Unnamed => pb::Why::Unnamed,
        Why::Offering => pb::Why::Offering,
    }
}

fn why_from_pb(number: i32) -> Result<Why, BadWire> {
    Ok(match pb::Why::try_from(number) {
        Ok(pb::Why::Selecting) => Why::Selecting,
        Ok(pb::Why::InitReboot) => Why::InitReboot,
        Ok(pb::Why::Renewing) => Why::Renewing,
        Ok(pb::Why::Rebinding) => Why::Rebinding,
        Ok(pb::Why::Unnamed) => Why::Unnamed,
        Ok(pb::Why::Offering) => Why::Offering,
        Ok(pb::Why::Unspecified) | Err(_) => return Err(BadWire::Field("why")),
    })
}

fn give_up_to_pb(give_up: &GiveUp) -> pb::GiveUp {
    pb::GiveUp {
        origin: Some(origin_to_pb(give_up.origin)),
        client: Some(client_to_pb(&give_up.client)),
        address: give_up.address.into(),
        generation: give_up.generation.map(|generation| generation.0),
        arrived: give_up.arrived.as_millis(),
        circuit: give_up.circuit,
        relayed: give_up.relayed,
    }
}

fn give_up_from_pb(give_up: pb::GiveUp) -> Result<GiveUp, BadWire> {
    Ok(GiveUp {
        origin: origin_from_pb(give_up.origin)?,
        client: client_from_pb(give_up.client)?,
        address: give_up.address.into(),
        generation: give_up.generation.map(Generation),
        arrived: ClusterTime::from_millis(give_up.arrived),
        circuit: give_up.circuit,
        relayed: give_up.relayed,
    })
}

fn seen_to_pb(seen: Seen) -> pb::Seen {
    pb::Seen {
        generation: seen.generation.0,
        granted: seen.granted.as_millis(),
        state: seen.state.number().into(),
    }
}

fn seen_from_pb(seen: pb::Seen) -> Result<Seen, BadWire> {
    Ok(Seen {
        generation: Generation(seen.generation),
        granted: ClusterTime::from_millis(seen.granted),
        state: LeaseState::from_number(seen.state.into()).ok_or(BadWire::Field("lease state"))?,
    })
}

fn put_to_pb(put: &PutLease) -> pb::PutLease {
    let (mode, seen) = match put.mode {
        PutMode::Add => (pb::PutMode::Add, None),
        PutMode::Update => (pb::PutMode::Update, None),
        PutMode::UpdateSeen(seen) => (pb::PutMode::Update, Some(seen_to_pb(seen))),
        PutMode::Upsert => (pb::PutMode::Upsert, None),
    };
    pb::PutLease {
        mode: mode.into(),
        address: put.address.into(),
        subnet: put.subnet.0,
        htype: put.hw.htype().into(),
        hw: copied(put.hw.bytes()),
        client_id: put.client_id.as_ref().map(|id| copied(id.bytes())),
        lifetime: put.lifetime.as_secs(),
        expire: put.expire,
        hostname: put.hostname.clone(),
        fqdn_fwd: put.fqdn_fwd,
        fqdn_rev: put.fqdn_rev,
        state: put.state.number().into(),
        user_context: put.user_context.clone(),
        seen,
    }
}

fn put_from_pb(put: pb::PutLease) -> Result<PutLease, BadWire> {
    let mode = match (pb::PutMode::try_from(put.mode), put.seen) {
        (Ok(pb::PutMode::Add), None) => PutMode::Add,
        (Ok(pb::PutMode::Update), None) => PutMode::Update,
        (Ok(pb::PutMode::Update), Some(seen)) => PutMode::UpdateSeen(seen_from_pb(seen)?),
        (Ok(pb::PutMode::Upsert), None) => PutMode::Upsert,
        _ => return Err(BadWire::Field("mode")),
    };
    Ok(PutLease {
        mode,
        address: put.address.into(),
        subnet: SubnetId(put.subnet),
        hw: hw_addr(put.htype, &put.hw)?,
        client_id: put.client_id.map(|id| client_id(&id)).transpose()?,
        lifetime: Lifetime::from_secs(put.lifetime),
        expire: put.expire,
        hostname: put.hostname,
        fqdn_fwd: put.fqdn_fwd,
        fqdn_rev: put.fqdn_rev,
        state: LeaseState::from_number(put.state.into()).ok_or(BadWire::Field("lease state"))?,
        user_context: put.user_context,
    })
}
