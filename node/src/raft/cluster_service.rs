//! The server's side of `cluster.proto`'s service `Cluster` once this node belongs to a cluster:
//! it says who it is, refuses to be formed again, and does for followers what only a leader can: reads and
//! handing over.

use leasehold_proto::cluster as proto;
use leasehold_proto::cluster::cluster_server::Cluster;
use tonic::{Request, Response, Status};

use super::{Guard, Raft};
use crate::types::NodeId;

/// Serves `Cluster` for a member.
#[derive(Debug)]
pub(super) struct ClusterService {
    who: proto::Who,
    raft: Raft,
    guard: Guard,
}

impl ClusterService {
    pub(super) fn new(who: proto::Who, raft: Raft, guard: Guard) -> ClusterService {
        ClusterService { who, raft, guard }
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn hello(
        &self,
        _request: Request<proto::HelloRequest>,
    ) -> Result<Response<proto::Who>, Status> {
        Ok(Response::new(self.who.clone()))
    }

    async fn prepare(
        &self,
        _request: Request<proto::PrepareRequest>,
    ) -> Result<Response<proto::PrepareResponse>, Status> {
        let refused = "this node belongs to a cluster already".to_string();
        let result = Some(proto::prepare_response::Result::Refused(refused));
        Ok(Response::new(proto::PrepareResponse { result }))
    }

    async fn read_index(
        &self,
        request: Request<proto::ReadIndexRequest>,
    ) -> Result<Response<proto::ReadIndexResponse>, Status> {
        use proto::read_index_response::Result as Wire;
        self.guard.check(&request)?;
        let result = match self.raft.leader_read_index().await {
            Ok(index) => Wire::Index(index),
            Err(leader) => {
                Wire::NotLeader(proto::NotLeader { leader: leader.map_or(0, |leader| leader.0) })
            }
        };
        Ok(Response::new(proto::ReadIndexResponse { result: Some(result) }))
    }
    async fn hand_over(
        &self,
        request: Request<proto::HandOverRequest>,
    ) -> Result<Response<proto::HandOverResponse>, Status> {
        use proto::hand_over_response::Result as Wire;
        self.guard.check(&request)?;
        let to = Some(NodeId(request.into_inner().to)).filter(|node| node.0 != 0);
        let result = match self.raft.hand_over(to).await {
            Ok(leader) => Wire::Leader(leader.0),
            Err(error) => Wire::Refused(error.to_string()),
        };
        Ok(Response::new(proto::HandOverResponse { result: Some(result) }))
    }
}
