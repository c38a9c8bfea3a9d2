//! The server's side of `cluster.proto`'s service `Cluster` once this node belongs to a cluster:
//! it says who it is, refuses to be formed again, lets nodes in, and does for followers what only a leader
//! can: reads, handing over, changing the membership.

use leasehold_proto::cluster as proto;
use leasehold_proto::cluster::cluster_server::Cluster;
use tonic::{Request, Response, Status};

use super::network::ENDS;
use super::{Caller, Guard, Raft, membership};
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

    async fn join(
        &self,
        request: Request<proto::JoinRequest>,
    ) -> Result<Response<proto::JoinResponse>, Status> {
        let forwarded = request.metadata().get_bin(ENDS).is_some();
        let name = match forwarded {
            true => {
                self.guard.check(&request)?;
                None
            }
            // Not what the new node says of itself: what its certificate proved.
            false => {
                let name = Caller::of(&request).and_then(|caller| caller.name.clone());
                if name.is_none() && self.raft.tls().is_some() {
                    return Err(Status::permission_denied(
                        "a node joins over a connection with its certificate",
                    ));
                }
                Some(name.map_or(String::new(), |name| name.name.clone()))
            }
        };
        let mut request = request.into_inner();
        if let Some(name) = name {
            request.tls_name = name;
        }
        Ok(Response::new(self.raft.answer_join(request, forwarded).await))
    }

    async fn change_members(
        &self,
        request: Request<proto::ChangeRequest>,
    ) -> Result<Response<proto::ChangeResponse>, Status> {
        self.guard.check(&request)?;
        let change = membership::change_in(request.get_ref())
            .ok_or_else(|| Status::unimplemented("a change that this version does not know"))?;
        let raft = self.raft.clone();
        // A caller that goes away does not leave it half-way.
        let changing = tokio::spawn(async move { raft.change_for(change).await });
        let result = changing.await.map_err(|_| Status::internal("the change ended abruptly"))?;
        Ok(Response::new(membership::changed_out(result)))
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
