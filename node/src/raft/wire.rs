//! openraft's words ↔ protobuf and the words of [`crate::storage`]. What comes from outside is
//! checked; a field that must be there and is not makes [`BadMessage`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use leasehold_proto::raft as proto;
use openraft::vote::{RaftLeaderId, RaftVote};
use prost::Message;

use super::typ::{self, EncodedBatch, Member};
use crate::storage::{self, Base, Body};

/// A message that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("a message of a peer is malformed: {0}")]
pub struct BadMessage(pub &'static str);

impl From<BadMessage> for tonic::Status {
    fn from(bad: BadMessage) -> tonic::Status {
        tonic::Status::invalid_argument(bad.to_string())
    }
}

impl From<BadMessage> for io::Error {
    fn from(bad: BadMessage) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, bad)
    }
}

pub fn log_id_to_storage(id: &typ::LogId) -> storage::LogId {
    storage::LogId { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

pub fn log_id_from_storage(id: storage::LogId) -> typ::LogId {
    typ::LogId { leader_id: typ::LeaderId::new(id.term, id.node), index: id.index }
}

pub fn log_id_out(id: &typ::LogId) -> proto::LogId {
    log_id_to_storage(id).into()
}

pub fn log_id_in(id: proto::LogId) -> typ::LogId {
    log_id_from_storage(id.into())
}

pub fn vote_to_storage(vote: &typ::Vote) -> storage::Vote {
    let leader = vote.leader_id();
    storage::Vote { term: leader.term, node: leader.node_id, committed: vote.is_committed() }
}

pub fn vote_from_storage(vote: storage::Vote) -> typ::Vote {
    typ::Vote::from_leader_id(typ::LeaderId::new(vote.term, vote.node), vote.committed)
}

pub fn vote_out(vote: &typ::Vote) -> proto::Vote {
    let storage::Vote { term, node, committed } = vote_to_storage(vote);
    proto::Vote { term, node, committed }
}

pub fn vote_in(vote: Option<proto::Vote>) -> Result<typ::Vote, BadMessage> {
    let proto::Vote { term, node, committed } = vote.ok_or(BadMessage("no vote"))?;
    Ok(vote_from_storage(storage::Vote { term, node, committed }))
}

pub fn membership_out(membership: &typ::Membership) -> proto::Membership {
    let configs = membership.get_joint_config().iter();
    proto::Membership {
        configs: configs
            .map(|set| proto::Voters { nodes: set.iter().copied().collect() })
            .collect(),
        members: membership
            .nodes()
            .map(|(node, member)| proto::Member {
                node: *node,
                address: member.address.clone(),
                instance: member.instance,
                tls_name: member.tls_name.clone(),
                learner: member.learner,
            })
            .collect(),
    }
}

pub fn membership_in(membership: proto::Membership) -> Result<typ::Membership, BadMessage> {
    let configs: Vec<BTreeSet<u64>> =
        membership.configs.into_iter().map(|set| set.nodes.into_iter().collect()).collect();
    let members: BTreeMap<u64, Member> = membership
        .members
        .into_iter()
        .map(|m| {
            let proto::Member { node, address, instance, tls_name, learner } = m;
            (node, Member { address, instance, tls_name, learner })
        })
        .collect();
    if configs.is_empty() && members.is_empty() {
        return Ok(typ::Membership::default());
    }
    typ::Membership::new(configs, members).map_err(|_| BadMessage("an impossible membership"))
}

pub fn stored_membership_out(stored: &typ::StoredMembership) -> proto::StoredMembership {
    proto::StoredMembership {
        log_id: stored.log_id().as_ref().map(log_id_out),
        membership: Some(membership_out(stored.membership())),
    }
}

pub fn stored_membership_in(
    stored: proto::StoredMembership,
) -> Result<typ::StoredMembership, BadMessage> {
    let membership = membership_in(stored.membership.unwrap_or_default())?;
    Ok(typ::StoredMembership::new(stored.log_id.map(log_id_in), membership))
}

pub fn meta_to_base(meta: &typ::SnapshotMeta) -> Base {
    Base {
        applied: meta.last_log_id.as_ref().map(log_id_to_storage),
        membership: stored_membership_out(&meta.last_membership),
    }
}

pub fn meta_from_base(base: Base) -> Result<typ::SnapshotMeta, BadMessage> {
    Ok(typ::SnapshotMeta {
        last_log_id: base.applied.map(log_id_from_storage),
        last_membership: stored_membership_in(base.membership)?,
    })
}

pub fn meta_out(meta: &typ::SnapshotMeta) -> proto::SnapshotMeta {
    let base = meta_to_base(meta);
    proto::SnapshotMeta {
        last_log_id: base.applied.map(Into::into),
        membership: Some(base.membership),
    }
}

pub fn meta_in(meta: Option<proto::SnapshotMeta>) -> Result<typ::SnapshotMeta, BadMessage> {
    let meta = meta.ok_or(BadMessage("a snapshot without a position"))?;
    meta_from_base(Base {
        applied: meta.last_log_id.map(Into::into),
        membership: meta.membership.unwrap_or_default(),
    })
}

pub fn entry_to_storage(entry: typ::Entry) -> storage::Entry {
    let body = match entry.payload {
        typ::Payload::Blank => Body::Blank,
        typ::Payload::Normal(EncodedBatch(bytes)) => Body::Batch(bytes),
        typ::Payload::Membership(membership) => {
            Body::Membership(membership_out(&membership).encode_to_vec().into())
        }
    };
    storage::Entry { id: log_id_to_storage(&entry.log_id), body }
}

pub fn entry_from_storage(entry: storage::Entry) -> Result<typ::Entry, BadMessage> {
    let payload = match entry.body {
        Body::Blank => typ::Payload::Blank,
        Body::Batch(bytes) => typ::Payload::Normal(EncodedBatch(bytes)),
        Body::Membership(bytes) => {
            let membership = proto::Membership::decode(bytes)
                .map_err(|_| BadMessage("a membership that does not decode"))?;
            typ::Payload::Membership(membership_in(membership)?)
        }
    };
    Ok(typ::Entry { log_id: log_id_from_storage(entry.id), payload })
}

fn entry_out(entry: typ::Entry) -> proto::Entry {
    let payload = match entry.payload {
        typ::Payload::Blank => proto::entry::Payload::Blank(proto::Blank {}),
        typ::Payload::Normal(EncodedBatch(bytes)) => proto::entry::Payload::Batch(bytes),
        typ::Payload::Membership(membership) => {
            proto::entry::Payload::Membership(membership_out(&membership))
        }
    };
    proto::Entry { log_id: Some(log_id_out(&entry.log_id)), payload: Some(payload) }
}

fn entry_in(entry: proto::Entry) -> Result<typ::Entry, BadMessage> {
    let payload = match entry.payload.ok_or(BadMessage("an entry without content"))? {
        proto::entry::Payload::Blank(_) => typ::Payload::Blank,
        proto::entry::Payload::Batch(bytes) => typ::Payload::Normal(EncodedBatch(bytes)),
        proto::entry::Payload::Membership(m) => typ::Payload::Membership(membership_in(m)?),
    };
    let log_id = log_id_in(entry.log_id.ok_or(BadMessage("an entry without a position"))?);
    Ok(typ::Entry { log_id, payload })
}

pub fn append_out(request: typ::AppendRequest) -> proto::AppendRequest {
    proto::AppendRequest {
        vote: Some(vote_out(&request.vote)),
        prev_log_id: request.prev_log_id.as_ref().map(log_id_out),
        entries: request.entries.into_iter().map(entry_out).collect(),
        leader_commit: request.leader_commit.as_ref().map(log_id_out),
    }
}

pub fn append_in(request: proto::AppendRequest) -> Result<typ::AppendRequest, BadMessage> {
    Ok(typ::AppendRequest {
        vote: vote_in(request.vote)?,
        prev_log_id: request.prev_log_id.map(log_id_in),
        entries: request.entries.into_iter().map(entry_in).collect::<Result<_, _>>()?,
        leader_commit: request.leader_commit.map(log_id_in),
    })
}

pub fn stream_result_out(result: typ::StreamAppendResult) -> proto::AppendResponse {
    use proto::append_response::Result as Wire;
    let result = match result {
        Ok(matched) => Wire::Matched(proto::Matched { log_id: matched.as_ref().map(log_id_out) }),
        Err(typ::StreamAppendError::Conflict(id)) => {
            Wire::Conflict(proto::Conflict { log_id: Some(log_id_out(&id)) })
        }
        Err(typ::StreamAppendError::HigherVote(vote)) => Wire::HigherVote(vote_out(&vote)),
    };
    proto::AppendResponse { result: Some(result) }
}

pub fn stream_result_in(
    response: proto::AppendResponse,
) -> Result<typ::StreamAppendResult, BadMessage> {
    use proto::append_response::Result as Wire;
    Ok(match response.result.ok_or(BadMessage("an empty answer"))? {
        Wire::Matched(matched) => Ok(matched.log_id.map(log_id_in)),
        Wire::Conflict(conflict) => {
            let id = conflict.log_id.ok_or(BadMessage("a conflict without a position"))?;
            Err(typ::StreamAppendError::Conflict(log_id_in(id)))
        }
        Wire::HigherVote(vote) => Err(typ::StreamAppendError::HigherVote(vote_in(Some(vote))?)),
    })
}

pub fn vote_request_out(request: &typ::VoteRequest) -> proto::VoteRequest {
    proto::VoteRequest {
        vote: Some(vote_out(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(log_id_out),
        leadership_transfer: request.leadership_transfer,
    }
}

pub fn vote_request_in(request: proto::VoteRequest) -> Result<typ::VoteRequest, BadMessage> {
    Ok(typ::VoteRequest {
        vote: vote_in(request.vote)?,
        last_log_id: request.last_log_id.map(log_id_in),
        leadership_transfer: request.leadership_transfer,
    })
}

pub fn vote_response_out(response: &typ::VoteResponse) -> proto::VoteResponse {
    proto::VoteResponse {
        vote: Some(vote_out(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(log_id_out),
    }
}

pub fn vote_response_in(response: proto::VoteResponse) -> Result<typ::VoteResponse, BadMessage> {
    Ok(typ::VoteResponse {
        vote: vote_in(response.vote)?,
        vote_granted: response.granted,
        last_log_id: response.last_log_id.map(log_id_in),
    })
}

pub fn transfer_out(request: &typ::TransferRequest) -> proto::TransferRequest {
    proto::TransferRequest {
        from_leader: Some(vote_out(request.from_leader())),
        to_node: *request.to_node_id(),
        last_log_id: request.last_log_id().map(log_id_out),
    }
}

pub fn transfer_in(request: proto::TransferRequest) -> Result<typ::TransferRequest, BadMessage> {
    let vote = vote_in(request.from_leader)?;
    Ok(typ::TransferRequest::new(vote, request.to_node, request.last_log_id.map(log_id_in)))
}

pub fn transfer_response_out(response: typ::TransferResponse) -> proto::TransferResponse {
    use proto::transfer_response::Result as Wire;
    let result = match response {
        Ok(()) => Wire::Done(proto::Done {}),
        Err(typ::TransferError::VoteChanged { actual, .. }) => Wire::VoteChanged(vote_out(&actual)),
        Err(typ::TransferError::LogNotFlushed { actual, .. }) => {
            Wire::NotFlushed(proto::NotFlushed { actual: actual.as_ref().map(log_id_out) })
        }
    };
    proto::TransferResponse { result: Some(result) }
}

pub fn transfer_response_in(
    request: &typ::TransferRequest,
    response: proto::TransferResponse,
) -> Result<typ::TransferResponse, BadMessage> {
    use proto::transfer_response::Result as Wire;
    Ok(match response.result.ok_or(BadMessage("an empty answer"))? {
        Wire::Done(_) => Ok(()),
        Wire::VoteChanged(vote) => Err(typ::TransferError::VoteChanged {
            expected: *request.from_leader(),
            actual: vote_in(Some(vote))?,
        }),
        Wire::NotFlushed(not) => Err(typ::TransferError::LogNotFlushed {
            expected: request.last_log_id().cloned(),
            actual: not.actual.map(log_id_in),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_id(index: u64) -> typ::LogId {
        log_id_from_storage(storage::LogId { term: 3, node: 2, index })
    }

    fn membership() -> typ::Membership {
        let member = |n: u64| {
            let (address, tls_name) = (format!("10.0.0.{n}:7701"), format!("n{n}"));
            (n, Member { address, instance: n << 40, tls_name, learner: n == 9 })
        };
        let voters = vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 3])];
        typ::Membership::new(voters, BTreeMap::from([member(1), member(2), member(3), member(9)]))
            .unwrap()
    }

    #[test]
    fn appends_round_trip_over_wire_and_disk() {
        let payloads = [
            typ::Payload::Blank,
            typ::Payload::Normal(EncodedBatch(bytes::Bytes::from_static(b"abc"))),
            typ::Payload::Membership(membership()),
        ];
        let entries: Vec<typ::Entry> = payloads
            .into_iter()
            .enumerate()
            .map(|(at, payload)| typ::Entry { log_id: log_id(at as u64), payload })
            .collect();
        for entry in &entries {
            let back = entry_from_storage(entry_to_storage(entry.clone())).unwrap();
            assert_eq!(&back, entry);
        }
        let request = typ::AppendRequest {
            vote: typ::Vote::new_committed(3, 2),
            prev_log_id: None,
            entries: entries.clone(),
            leader_commit: Some(log_id(7)),
        };
        let bytes = append_out(request).encode_to_vec();
        let back = append_in(proto::AppendRequest::decode(bytes.as_slice()).unwrap()).unwrap();
        assert_eq!(back.entries, entries);
        assert_eq!(back.leader_commit, Some(log_id(7)));
        assert_eq!(back.vote, typ::Vote::new_committed(3, 2));
    }

    #[test]
    fn positions_of_snapshots_round_trip() {
        let meta = typ::SnapshotMeta {
            last_log_id: Some(log_id(5)),
            last_membership: typ::StoredMembership::new(Some(log_id(4)), membership()),
        };
        assert_eq!(meta_in(Some(meta_out(&meta))).unwrap(), meta);
        let empty = typ::SnapshotMeta::default();
        assert_eq!(meta_in(Some(meta_out(&empty))).unwrap(), empty);
    }

    #[test]
    fn a_voter_without_an_address_is_refused() {
        let bad = proto::Membership {
            configs: vec![proto::Voters { nodes: vec![1] }],
            members: Vec::new(),
        };
        assert!(membership_in(bad).is_err());
        assert!(vote_in(None).is_err());
        assert!(append_in(proto::AppendRequest::default()).is_err());
    }
}
