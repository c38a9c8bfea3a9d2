//! The client's side of the wire between nodes: kept channels, one for each purpose, and deadlines.
//!
//! Appends, heartbeats and snapshots have a connection each, so that a snapshot cannot keep a
//! heartbeat waiting behind it. A channel connects when it is first used and again after it broke.
//! Every call names cluster, node and instance of both ends ([`NameEnds`], rule R14).

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leasehold_proto::raft as proto;
use leasehold_proto::raft::raft_client::RaftClient;
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::ReplicationClosed;
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use parking_lot::Mutex;
use prost::Message;
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::addresses::Book;
use super::commits::WithCommits;
use super::dial;
use super::machine::SnapshotData;
use super::tls::PeerTls;
use super::typ::{
    AppendRequest, AppendResponse, Member, NetworkError, RpcError, Snapshot, SnapshotResponse,
    StreamAppendResult, StreamingError, TransferRequest, TransferResponse, TypeConfig, Unreachable,
    Vote, VoteRequest, VoteResponse,
};
use super::wire::{self, BadMessage};

/// The header that names both ends.
pub const ENDS: &str = "leasehold-ends-bin";
/// The largest message but for snapshots, which travel in pieces.
pub const MESSAGE_LIMIT: usize = 16 << 20;
/// A piece of a snapshot.
const PIECE: usize = 1 << 20;
/// How long a piece may take before the transfer is given up.
const PIECE_DEADLINE: Duration = Duration::from_secs(10);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Replication and votes.
    Append,
    /// Heartbeats.
    Heartbeat,
    /// Snapshots.
    Snapshot,
    /// Proposals forwarded to the leader, and reads through it.
    Forward,
    /// Notes.
    Notes,
}

/// Who this node is to its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Me {
    /// The cluster.
    pub cluster: u64,
    /// This node.
    pub node: u64,
    /// Its data directory.
    pub instance: u64,
}

/// A channel whose calls name both ends.
pub type PeerChannel = InterceptedService<Channel, NameEnds>;

/// Adds the header to each call.
#[derive(Debug, Clone)]
pub struct NameEnds(MetadataValue<tonic::metadata::Binary>);

impl NameEnds {
    fn new(me: Me, to: u64, to_instance: u64, from_address: String) -> NameEnds {
        let ends = proto::Ends {
            cluster: me.cluster,
            from_node: me.node,
            from_instance: me.instance,
            to_node: to,
            to_instance,
            from_address,
        };
        NameEnds(MetadataValue::from_bytes(&ends.encode_to_vec()))
    }
}

impl Interceptor for NameEnds {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert_bin(ENDS, self.0.clone());
        Ok(request)
    }
}

/// Which channel was made for which node: at which address, with which name in its certificate.
type Kept = BTreeMap<(u64, Purpose), (String, String, Channel)>;

/// The kept channels of this node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Channels {
    me: Me,
    tls: Option<Arc<PeerTls>>,
    kept: Arc<Mutex<Kept>>,
    book: Book,
}

impl Channels {
    /// Channels of `me`; plain ones without certificates.
    pub fn new(me: Me, tls: Option<Arc<PeerTls>>) -> Channels {
        Channels { me, tls, kept: Arc::default(), book: Book::default() }
    }

    /// Where nodes are found that were moved.
    pub(super) fn book(&self) -> Book {
        self.book.clone()
    }

    /// The kept channel to `node` for `purpose`. It connects when it is used.
    ///
    /// # Errors
    /// When the member's address is none.
    pub fn get(
        &self,
        node: u64,
        member: &Member,
        purpose: Purpose,
    ) -> Result<PeerChannel, tonic::transport::Error> {
        let address = self.book.address(node, member);
        let mut kept = self.kept.lock();
        let channel = match kept.get(&(node, purpose)) {
            Some((at, name, channel)) if *at == address && *name == member.tls_name => {
                channel.clone()
            }
            _ => {
                let channel = dial::lazy(&address, self.tls.as_ref(), &member.tls_name)?;
                kept.insert((node, purpose), (address, member.tls_name.clone(), channel.clone()));
                channel
            }
        };
        let ends = NameEnds::new(self.me, node, member.instance, self.book.own());
        Ok(InterceptedService::new(channel, ends))
    }
}

impl RaftNetworkFactory<TypeConfig> for Channels {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, Purpose::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, Purpose::Snapshot)
    }
}

impl Channels {
    fn peer(&self, node: u64, member: &Member, purpose: Purpose) -> Peer {
        Peer { channels: self.clone(), node, member: member.clone(), purpose }
    }
}

/// One peer, for one purpose. openraft keeps it for as long as it leads, so each call looks where the
/// node is now.
#[derive(Debug)]
pub struct Peer {
    channels: Channels,
    node: u64,
    /// As it was when openraft asked for the peer.
    member: Member,
    purpose: Purpose,
}

fn rpc_error(status: &Status) -> RpcError {
    match status.code() {
        // The peer is slow or the answer was lost: try again soon.
        Code::DeadlineExceeded | Code::Cancelled | Code::ResourceExhausted => {
            NetworkError::new(status).into()
        }
        _ => Unreachable::new(status).into(),
    }
}

fn streaming_error(status: &Status) -> StreamingError {
    StreamingError::Unreachable(Unreachable::new(status))
}

impl From<BadMessage> for RpcError {
    fn from(bad: BadMessage) -> RpcError {
        Unreachable::new(&bad).into()
    }
}

impl Peer {
    fn client(&self) -> Result<RaftClient<PeerChannel>, Unreachable> {
        let channel = self.channels.get(self.node, &self.member, self.purpose);
        let channel = channel.map_err(|error| {
            Unreachable::from_string(format!("{}: {error}", self.member.address))
        })?;
        Ok(RaftClient::new(channel)
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT))
    }
}

/// A call that is given up after `option`'s deadline.
fn within<T>(message: T, option: &RPCOption) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(option.hard_ttl());
    request
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendRequest,
        option: RPCOption,
    ) -> Result<AppendResponse, RpcError> {
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        let mut client = self.client()?;
        let call = client.append(within(wire::append_out(request), &option));
        // The server's own clock keeps the deadline too, but not if it is stopped.
        let response = match tokio::time::timeout(option.hard_ttl(), call).await {
            Ok(response) => response.map_err(|status| rpc_error(&status))?.into_inner(),
            Err(_) => return Err(NetworkError::from_string("no answer in time").into()),
        };
        Ok(match wire::stream_result_in(response)? {
            Ok(matched) if matched == last => AppendResponse::Success,
            Ok(matched) => AppendResponse::PartialSuccess(matched),
            Err(super::typ::StreamAppendError::Conflict(_)) => AppendResponse::Conflict,
            Err(super::typ::StreamAppendError::HigherVote(vote)) => {
                AppendResponse::HigherVote(vote)
            }
        })
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendRequest> + OptionalSend + Unpin + 'static,
    {
        if self.purpose == Purpose::Heartbeat {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            let requests = WithCommits::new(input).map(wire::append_out);
            let responses = self
                .client()?
                .append_stream(requests)
                .await
                .map_err(|status| rpc_error(&status))?;
            let results = responses.into_inner().map(|response| match response {
                Ok(response) => Ok(wire::stream_result_in(response)?),
                Err(status) => Err(rpc_error(&status)),
            });
            let results: BoxStream<'s, _> = Box::pin(results);
            Ok(results)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest,
        option: RPCOption,
    ) -> Result<VoteResponse, RpcError> {
        let message = within(wire::vote_request_out(&request), &option);
        let response = self.client()?.vote(message).await.map_err(|status| rpc_error(&status))?;
        Ok(wire::vote_response_in(response.into_inner())?)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest,
        option: RPCOption,
    ) -> Result<VoteResponse, RpcError> {
        let message = within(wire::vote_request_out(&request), &option);
        let response =
            self.client()?.pre_vote(message).await.map_err(|status| rpc_error(&status))?;
        Ok(wire::vote_response_in(response.into_inner())?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse, StreamingError> {
        let SnapshotData::File(file) = snapshot.snapshot else {
            let error = io::Error::other("only a snapshot of our own can be sent");
            return Err(StreamingError::Unreachable(Unreachable::new(&error)));
        };
        let head = proto::SnapshotHead {
            vote: Some(wire::vote_out(&vote)),
            meta: Some(wire::meta_out(&snapshot.meta)),
            bytes: file.bytes,
        };
        let head = proto::SnapshotChunk { part: Some(proto::snapshot_chunk::Part::Head(head)) };
        // A piece's time for each MiB, and one for the other side to take it all in.
        let deadline =
            PIECE_DEADLINE * u32::try_from(file.bytes / PIECE as u64 + 2).unwrap_or(u32::MAX);
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        // Reading ends when the receiver is dropped, so a cancelled call leaves nothing behind.
        let reading = tokio::task::spawn_blocking(move || -> io::Result<()> {
            let mut input = File::open(&file.path)?;
            if sender.blocking_send(head).is_err() {
                return Ok(());
            }
            loop {
                let mut piece = Vec::with_capacity(PIECE);
                if input.by_ref().take(PIECE as u64).read_to_end(&mut piece)? == 0 {
                    return Ok(());
                }
                let part = proto::snapshot_chunk::Part::Data(Bytes::from(piece));
                if sender.blocking_send(proto::SnapshotChunk { part: Some(part) }).is_err() {
                    return Ok(());
                }
            }
        });
        let pieces = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut client = self.client()?;
        let call = client.snapshot(pieces);
        let response = tokio::select! {
            response = call => response.map_err(|status| streaming_error(&status))?,
            closed = cancel => return Err(closed.into()),
            () = tokio::time::sleep(deadline) => {
                return Err(StreamingError::Unreachable(Unreachable::from_string("the snapshot took too long")));
            }
        };
        if let Ok(Err(error)) = reading.await {
            return Err(StreamingError::Unreachable(Unreachable::new(&error)));
        }
        let vote = wire::vote_in(response.into_inner().vote)
            .map_err(|bad| StreamingError::Unreachable(Unreachable::new(&bad)))?;
        Ok(SnapshotResponse::new(vote))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferRequest,
        option: RPCOption,
    ) -> Result<TransferResponse, RpcError> {
        let message = within(wire::transfer_out(&request), &option);
        let response =
            self.client()?.transfer_leader(message).await.map_err(|status| rpc_error(&status))?;
        Ok(wire::transfer_response_in(&request, response.into_inner())?)
    }
}
