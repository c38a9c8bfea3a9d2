//! openraft's type names, once. An upgrade of openraft is read in this directory alone.

use std::fmt;

use bytes::Bytes;
use openraft::impls::OneshotResponder;

use crate::state::Outcome;
use crate::storage::RosterNode;
use crate::types::ClusterTime;

/// openraft with our types. Leaders are ordered by term, then node (`leader_id_adv`).
///
/// Written out because openraft's macro cannot say which responder to use; ours has one channel
/// instead of two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = EncodedBatch;
    type R = Answer;
    type NodeId = u64;
    type Node = Member;
    type Term = u64;
    type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<EncodedBatch, u64, Member>;
    type Entry = openraft::Entry<Self::LeaderId, Self::Payload>;
    type Responder<T>
        = OneshotResponder<Self, T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type AsyncRuntime = openraft::impls::TokioRuntime;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// An encoded [`crate::state::Batch`]: log, wire and memory share one buffer.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedBatch(pub Bytes);

/// Its length: openraft logs entries, and there may be secrets in a configuration.
impl fmt::Debug for EncodedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for EncodedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.0.len())
    }
}

/// What an entry did; empty for one without commands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// The stamp that counted.
    pub stamp: ClusterTime,
    /// One for each command.
    pub outcomes: Vec<Outcome>,
}

/// Where a member is reached, and which data directory it must be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Member {
    /// `host:port`.
    pub address: String,
    /// Its instance id.
    pub instance: u64,
    /// The name in its certificate; empty without TLS. Whoever claims to be this node must show it.
    pub tls_name: String,
    /// Whether it stays without a vote until an operator gives it one. Others get theirs when they
    /// have caught up.
    pub learner: bool,
}

impl From<&RosterNode> for Member {
    fn from(node: &RosterNode) -> Member {
        let (address, tls_name) = (node.address.clone(), node.tls_name.clone());
        Member { address, instance: node.instance, tls_name, learner: false }
    }
}

pub type Config = openraft::Config;
pub type Core = openraft::Raft<TypeConfig, super::machine::Machine>;
pub type LeaderId = openraft::alias::LeaderIdOf<TypeConfig>;
pub type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub type Vote = openraft::alias::VoteOf<TypeConfig>;
pub type Entry = openraft::alias::EntryOf<TypeConfig>;
pub type Payload = openraft::EntryPayload<EncodedBatch, u64, Member>;
pub type Membership = openraft::Membership<u64, Member>;
pub type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub type LogState = openraft::LogState<TypeConfig>;
pub type IoFlushed = openraft::storage::IOFlushed<TypeConfig>;
pub type EntryResponder = openraft::storage::EntryResponder<TypeConfig>;
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub type Snapshot = openraft::alias::SnapshotOf<TypeConfig, super::machine::SnapshotData>;
pub type Metrics = openraft::RaftMetrics<TypeConfig>;

pub type AppendRequest = openraft::raft::AppendEntriesRequest<TypeConfig>;
pub type AppendResponse = openraft::raft::AppendEntriesResponse<TypeConfig>;
pub type StreamAppendResult = openraft::raft::StreamAppendResult<TypeConfig>;
pub type StreamAppendError = openraft::raft::StreamAppendError<TypeConfig>;
pub type VoteRequest = openraft::raft::VoteRequest<TypeConfig>;
pub type VoteResponse = openraft::raft::VoteResponse<TypeConfig>;
pub type SnapshotResponse = openraft::raft::SnapshotResponse<TypeConfig>;
pub type TransferRequest = openraft::raft::TransferLeaderRequest<TypeConfig>;
pub type TransferResponse = openraft::raft::TransferLeaderResponse<TypeConfig>;
pub type TransferError = openraft::raft::TransferLeaderError<TypeConfig>;

pub type RpcError = openraft::errors::RPCError<TypeConfig>;
pub type StreamingError = openraft::errors::StreamingError<TypeConfig>;
pub type Unreachable = openraft::errors::Unreachable<TypeConfig>;
pub type NetworkError = openraft::errors::NetworkError<TypeConfig>;
pub type ClientWriteError = openraft::errors::ClientWriteError<TypeConfig>;
pub type ClientWriteResult = openraft::raft::ClientWriteResult<TypeConfig>;
pub type Fatal = openraft::errors::Fatal<TypeConfig>;
