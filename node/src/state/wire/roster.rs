//! Tokens, nodes that were let in, and the policy.

use leasehold_proto::command as pb;

use super::{BadWire, copied};
use crate::state::document::Sha256;
use crate::state::roster::{Admission, Admit, JoinToken, NotAdmitted, Policy, Roster};
use crate::types::{ClusterTime, NodeId};

pub(super) fn token_to_pb(token: &JoinToken) -> pb::JoinToken {
    pb::JoinToken {
        id: token.id,
        digest: copied(&token.digest.0),
        not_after: token.not_after.as_millis(),
        uses: token.uses,
        learner: token.learner,
        note: token.note.clone(),
    }
}

pub(super) fn token_from_pb(token: pb::JoinToken) -> Result<JoinToken, BadWire> {
    Ok(JoinToken {
        id: token.id,
        digest: digest(&token.digest)?,
        not_after: ClusterTime::from_millis(token.not_after),
        uses: token.uses,
        learner: token.learner,
        note: token.note,
    })
}

pub(super) fn admit_to_pb(admit: &Admit) -> pb::Admit {
    pb::Admit {
        token: copied(&admit.token.0),
        instance: admit.instance,
        address: admit.address.clone(),
        name: admit.name.clone(),
        tls_name: admit.tls_name.clone(),
        learner: admit.learner,
        above: admit.above.0,
    }
}

pub(super) fn admit_from_pb(admit: pb::Admit) -> Result<Admit, BadWire> {
    Ok(Admit {
        token: digest(&admit.token)?,
        instance: admit.instance,
        address: admit.address,
        name: admit.name,
        tls_name: admit.tls_name,
        learner: admit.learner,
        above: NodeId(admit.above),
    })
}

pub(super) fn policy_to_pb(policy: &Policy) -> pb::Policy {
    pb::Policy { leader_racks: policy.leader_racks.clone() }
}

pub(super) fn policy_from_pb(policy: pb::Policy) -> Policy {
    Policy { leader_racks: policy.leader_racks }
}

/// The tables as a snapshot has them; `None` while they are empty.
pub(in crate::state) fn roster_to_pb(roster: &Roster) -> Option<pb::HeadRoster> {
    let admission = |(node, it): (NodeId, &Admission)| pb::HeadAdmission {
        node: node.0,
        token: copied(&it.token.0),
        instance: it.instance,
        address: it.address.clone(),
        name: it.name.clone(),
        tls_name: it.tls_name.clone(),
        learner: it.learner,
        at: it.at.as_millis(),
    };
    (*roster != Roster::default()).then(|| pb::HeadRoster {
        tokens: roster.tokens().map(token_to_pb).collect(),
        admissions: roster.admissions().map(admission).collect(),
        next: roster.next(),
        policy: Some(policy_to_pb(roster.policy())),
    })
}

pub(in crate::state) fn roster_from_pb(roster: Option<pb::HeadRoster>) -> Result<Roster, BadWire> {
    let Some(roster) = roster else { return Ok(Roster::default()) };
    let admission = |it: pb::HeadAdmission| {
        let admission = Admission {
            token: digest(&it.token)?,
            instance: it.instance,
            address: it.address,
            name: it.name,
            tls_name: it.tls_name,
            learner: it.learner,
            at: ClusterTime::from_millis(it.at),
        };
        Ok::<_, BadWire>((NodeId(it.node), admission))
    };
    let tokens = roster.tokens.into_iter().map(token_from_pb).collect::<Result<_, _>>()?;
    let admissions = roster.admissions.into_iter().map(admission).collect::<Result<_, _>>()?;
    let policy = roster.policy.map(policy_from_pb).unwrap_or_default();
    Ok(Roster::restore(tokens, admissions, roster.next, policy))
}

pub(super) fn not_admitted_to_pb(why: NotAdmitted) -> pb::NotAdmitted {
    use pb::not_admitted::Why;
    let why = match why {
        NotAdmitted::NoToken => Why::NoToken,
        NotAdmitted::Expired => Why::Expired,
        NotAdmitted::UsedUp => Why::UsedUp,
        NotAdmitted::Full => Why::Full,
    };
    pb::NotAdmitted { why: why.into() }
}

pub(super) fn not_admitted_from_pb(no: pb::NotAdmitted) -> Result<NotAdmitted, BadWire> {
    use pb::not_admitted::Why;
    Ok(match Why::try_from(no.why) {
        Ok(Why::NoToken) => NotAdmitted::NoToken,
        Ok(Why::Expired) => NotAdmitted::Expired,
        Ok(Why::UsedUp) => NotAdmitted::UsedUp,
        Ok(Why::Full) => NotAdmitted::Full,
        Ok(Why::Unspecified) | Err(_) => return Err(BadWire::Field("why not admitted")),
    })
}

fn digest(bytes: &[u8]) -> Result<Sha256, BadWire> {
    bytes.try_into().map(Sha256).map_err(|_| BadWire::Field("digest"))
}
