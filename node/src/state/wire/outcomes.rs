//! Each outcome and its message.

use leasehold_proto::command as pb;
use pb::outcome::Kind;
use pb::taken::By;

use super::{BadWire, Granted, Outcome, client_id, copied, hw_addr, roster};
use crate::config::edit::{Changed, NoEdit, NoEditKind};
use crate::state::command::{ConfigVersion, Generation};
use crate::state::outcome::Taken;
use crate::types::{ClientKey, ClusterTime, Lifetime, NodeId, Prefix, SubnetId};

pub(super) fn to_pb(outcome: &Outcome) -> pb::Outcome {
    let nothing = pb::Nothing {};
    let kind = match outcome {
        Outcome::Granted(granted) => Kind::Granted(granted_to_pb(granted)),
        Outcome::Late => Kind::Late(nothing),
        Outcome::Changed => Kind::Changed(nothing),
        Outcome::Taken(taken) => Kind::Taken(pb::Taken { by: taken_to_pb(*taken).into() }),
        Outcome::GivenUp => Kind::GivenUp(nothing),
        Outcome::NotHeld => Kind::NotHeld(nothing),
        Outcome::DeclineLimit => Kind::DeclineLimit(nothing),
        Outcome::OtherCircuit => Kind::OtherCircuit(nothing),
        Outcome::Reclaimed { count, more } => {
            Kind::Reclaimed(pb::Reclaimed { count: *count, more: *more })
        }
        Outcome::LeaseWritten { created } => {
            Kind::LeaseWritten(pb::LeaseWritten { created: *created })
        }
        Outcome::LeaseExists => Kind::LeaseExists(nothing),
        Outcome::NoLease => Kind::NoLease(nothing),
        Outcome::NoSubnet(subnet) => Kind::NoSubnet(subnet.0),
        Outcome::OutsideSubnet(subnet) => Kind::OutsideSubnet(subnet.0),
        Outcome::Deleted { count } => Kind::Deleted(*count),
        Outcome::Wiped { count, next } => {
            Kind::Wiped(pb::Wiped { count: *count, next: (*next).into() })
        }
        Outcome::ConfigSet(version) => Kind::ConfigSet(version.0),
        Outcome::ConfigConflict(version) => Kind::ConfigConflict(version.0),
        Outcome::ConfigRefused(text) => Kind::ConfigRefused(text.clone()),
        Outcome::ConfigChunk { missing } => Kind::ConfigChunk(*missing),
        Outcome::ConfigIncomplete => Kind::ConfigIncomplete(nothing),
        Outcome::ConfigEdited { version, changed } => {
            let (subnet, prefix) = changed.subnet.unzip();
            Kind::ConfigEdited(pb::ConfigEdited {
                version: version.0,
                subnet: subnet.map(|id| id.0),
                network: prefix.map_or(0, |prefix| prefix.network().into()),
                length: prefix.map_or(0, |prefix| prefix.len().into()),
                name: changed.name.clone(),
            })
        }
        Outcome::ConfigNotEdited(no) => {
            let result = match no.kind {
                NoEditKind::Error => 1,
                NoEditKind::Empty => 3,
                NoEditKind::Conflict => 4,
            };
            Kind::ConfigNotEdited(pb::ConfigNotEdited { result, text: no.text.clone() })
        }
        Outcome::ConfigEditsFull => Kind::ConfigEditsFull(nothing),
        Outcome::Noted => Kind::Noted(nothing),
        Outcome::Level(level) => Kind::Level(*level),
        Outcome::LevelHeld(nodes) => {
            Kind::LevelHeld(pb::LevelHeld { nodes: nodes.iter().map(|node| node.0).collect() })
        }
        Outcome::Admitted(node) => Kind::Admitted(node.0),
        Outcome::NotAdmitted(why) => Kind::NotAdmitted(roster::not_admitted_to_pb(*why)),
        Outcome::NotYet(level) => Kind::NotYet(*level),
        Outcome::Held => Kind::Held(nothing),
        Outcome::HoldEnding { next } => Kind::HoldEnding((*next).into()),
        Outcome::HoldEnded => Kind::HoldEnded(nothing),
    };
    pb::Outcome { kind: Some(kind) }
}

pub(super) fn from_pb(outcome: pb::Outcome) -> Result<Outcome, BadWire> {
    Ok(match outcome.kind.ok_or(BadWire::Field("outcome"))? {
        Kind::Granted(granted) => Outcome::Granted(granted_from_pb(granted)?),
        Kind::Late(_) => Outcome::Late,
        Kind::Changed(_) => Outcome::Changed,
        Kind::Taken(taken) => Outcome::Taken(taken_from_pb(taken.by)?),
        Kind::GivenUp(_) => Outcome::GivenUp,
        Kind::NotHeld(_) => Outcome::NotHeld,
        Kind::DeclineLimit(_) => Outcome::DeclineLimit,
        Kind::OtherCircuit(_) => Outcome::OtherCircuit,
        Kind::Reclaimed(swept) => Outcome::Reclaimed { count: swept.count, more: swept.more },
        Kind::LeaseWritten(written) => Outcome::LeaseWritten { created: written.created },
        Kind::LeaseExists(_) => Outcome::LeaseExists,
        Kind::NoLease(_) => Outcome::NoLease,
        Kind::NoSubnet(subnet) => Outcome::NoSubnet(SubnetId(subnet)),
        Kind::OutsideSubnet(subnet) => Outcome::OutsideSubnet(SubnetId(subnet)),
        Kind::Deleted(count) => Outcome::Deleted { count },
        Kind::Wiped(wiped) => Outcome::Wiped { count: wiped.count, next: wiped.next.into() },
        Kind::ConfigSet(version) => Outcome::ConfigSet(ConfigVersion(version)),
        Kind::ConfigConflict(version) => Outcome::ConfigConflict(ConfigVersion(version)),
        Kind::ConfigRefused(text) => Outcome::ConfigRefused(text),
        Kind::ConfigChunk(missing) => Outcome::ConfigChunk { missing },
        Kind::ConfigIncomplete(_) => Outcome::ConfigIncomplete,
        Kind::ConfigEdited(edited) => edited_from_pb(edited)?,
        Kind::ConfigNotEdited(no) => {
            let kind = match no.result {
                1 => NoEditKind::Error,
                3 => NoEditKind::Empty,
                4 => NoEditKind::Conflict,
                _ => return Err(BadWire::Field("result")),
            };
            Outcome::ConfigNotEdited(NoEdit { kind, text: no.text })
        }
        Kind::ConfigEditsFull(_) => Outcome::ConfigEditsFull,
        Kind::Noted(_) => Outcome::Noted,
        Kind::Level(level) => Outcome::Level(level),
        Kind::LevelHeld(held) => Outcome::LevelHeld(held.nodes.into_iter().map(NodeId).collect()),
        Kind::Admitted(node) => Outcome::Admitted(NodeId(node)),
        Kind::NotAdmitted(no) => Outcome::NotAdmitted(roster::not_admitted_from_pb(no)?),
        Kind::NotYet(level) => Outcome::NotYet(level),
        Kind::Held(_) => Outcome::Held,
        Kind::HoldEnding(next) => Outcome::HoldEnding { next: next.into() },
        Kind::HoldEnded(_) => Outcome::HoldEnded,
    })
}

fn edited_from_pb(edited: pb::ConfigEdited) -> Result<Outcome, BadWire> {
    let prefix = || {
        let length = u8::try_from(edited.length).ok();
        let prefix = length.and_then(|length| Prefix::new(edited.network.into(), length).ok());
        prefix.ok_or(BadWire::Field("prefix"))
    };
    let subnet = match edited.subnet {
        Some(id) => Some((SubnetId(id), prefix()?)),
        None => None,
    };
    let changed = Changed { subnet, name: edited.name };
    Ok(Outcome::ConfigEdited { version: ConfigVersion(edited.version), changed })
}

fn granted_to_pb(granted: &Granted) -> pb::Granted {
    let (client_id, htype, hw) = match granted.client() {
        ClientKey::Id(id) => (Some(copied(id.bytes())), 0, None),
        ClientKey::Hw(hw) => (None, hw.htype().into(), Some(copied(hw.bytes()))),
    };
    pb::Granted {
        address: granted.address().into(),
        subnet: granted.subnet().0,
        client_id,
        htype,
        hw,
        lifetime: granted.lifetime().as_secs(),
        expires: granted.expires().as_millis(),
        generation: granted.generation().0,
        stamp: granted.stamp().as_millis(),
        reused: granted.is_reused(),
    }
}

fn granted_from_pb(granted: pb::Granted) -> Result<Granted, BadWire> {
    let client = match (&granted.client_id, &granted.hw) {
        (Some(id), None) => ClientKey::Id(client_id(id)?),
        (None, Some(hw)) => ClientKey::Hw(hw_addr(granted.htype, hw)?),
        _ => return Err(BadWire::Field("client key")),
    };
    Ok(Granted::new(
        granted.address.into(),
        SubnetId(granted.subnet),
        client,
        Lifetime::from_secs(granted.lifetime),
        ClusterTime::from_millis(granted.expires),
        Generation(granted.generation),
        ClusterTime::from_millis(granted.stamp),
    )
    .reusing(granted.reused))
}

fn taken_to_pb(taken: Taken) -> By {
    match taken {
        Taken::Leased => By::Leased,
        Taken::Reserved => By::Reserved,
        Taken::Grace => By::Grace,
        Taken::Declined => By::Declined,
    }
}

fn taken_from_pb(number: i32) -> Result<Taken, BadWire> {
    Ok(match By::try_from(number) {
        Ok(By::Leased) => Taken::Leased,
        Ok(By::Reserved) => Taken::Reserved,
        Ok(By::Grace) => Taken::Grace,
        Ok(By::Declined) => Taken::Declined,
        Ok(By::Unspecified) | Err(_) => return Err(BadWire::Field("taken by")),
    })
}
