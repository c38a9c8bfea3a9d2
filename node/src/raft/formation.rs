//! How the first nodes become a cluster (rule R14), and why a node that lost its disk does not come
//! back (R15).
//!
//! ```text
//! every node      asks all others who they are, until all answer and all are empty
//! lowest address  draws the cluster's id and a roster, and has each other node write it down as
//!                 provisional; writes it down itself last, and as final
//! other nodes     see that the roster they wrote down is final somewhere, and make theirs final
//! every node      starts Raft; the lowest address initialises it
//! ```
//!
//! Nobody votes before its roster is final, and the coordinator finishes only after everybody has
//! the roster on disk. So a `kill -9` anywhere leaves one of three: a node without a roster or with
//! a provisional one, which the next attempt replaces; or a final one, with which every node of the
//! roster that is still provisional agrees.
//!
//! A node that meets a peer with another final roster gives up: somebody formed a cluster without
//! it, or it lost its disk.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use leasehold_proto::cluster as proto;
use leasehold_proto::cluster::cluster_client::ClusterClient;
use leasehold_proto::cluster::cluster_server::{Cluster, ClusterServer};
use tokio::sync::{Mutex, oneshot};
use tokio::task::{JoinSet, spawn_blocking};
use tonic::{Request, Response, Status};

use super::certificate::PeerName;
use super::port::{self, Caller};
use super::tls::PeerTls;
use super::{SMALL, dial};
use crate::storage::{Identity, IdentityFile, RosterNode, Seat, draw};
use crate::types::NodeId;

/// How often a node asks the others.
const EVERY: Duration = Duration::from_millis(200);
/// How long a peer may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How a cluster is to be formed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where peers reach this node.
    pub advertise: SocketAddr,
    /// All first nodes, this one among them; the same list on each.
    pub initial: Vec<SocketAddr>,
    /// Certificates, which name the cluster before there is one; plain gRPC without.
    pub tls: Option<Arc<PeerTls>>,
}

/// Why no cluster was formed.
#[derive(Debug, thiserror::Error)]
pub enum FormationError {
    /// `initial` does not name this node.
    #[error(
        "[cluster].initial does not contain this node's own address {0}: the list is the same on each first node. A node \
         that is added later has [cluster].join instead"
    )]
    NotInitial(SocketAddr),
    /// A peer is in a cluster that this node is not in.
    #[error(
        "{peer} already belongs to cluster {cluster:016x}, and this node does not: either the cluster was formed without \
         it, or its data directory was emptied or replaced. It cannot come back as the node it was, because \
         it could vote away what it had acknowledged. The others go on serving without it. It can only join as a new node: \
         (1) if it was a member, cluster-ctl node list shows under which number N, and cluster-ctl node remove N --yes \
         removes that; (2) cluster-ctl node token create makes a token, to be put into a file here; (3) in this node's \
         settings [cluster] join = [\"{peer}\"] and token-file = \"FILE\" stand in place of initial"
    )]
    AlreadyFormed {
        /// The peer.
        peer: SocketAddr,
        /// Its cluster.
        cluster: u64,
    },
    /// The disk or the network of this machine failed.
    #[error("forming the cluster: {0}")]
    Io(#[from] io::Error),
}

/// Forms a cluster with the other nodes of `plan`, or finishes what an earlier start began. Serves
/// `listener` meanwhile and gives it back, still bound. Waits for as long as it takes.
///
/// # Errors
/// See [`FormationError`].
pub async fn form(
    plan: &Plan,
    listener: &TcpListener,
    file: &Arc<IdentityFile>,
    identity: Identity,
) -> Result<Identity, FormationError> {
    if identity.seat.as_ref().is_some_and(|seat| !seat.provisional) {
        return Ok(identity);
    }
    let initial: Vec<SocketAddr> =
        plan.initial.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    if !initial.contains(&plan.advertise) {
        return Err(FormationError::NotInitial(plan.advertise));
    }
    let forming = Arc::new(Forming {
        advertise: plan.advertise,
        initial,
        file: file.clone(),
        identity: Mutex::new(identity),
        tls: plan.tls.clone(),
    });
    if forming.initial.len() == 1 {
        let seat = forming.seat(forming.cluster()?, &[], false).await;
        return Ok(forming.write(seat).await?);
    }

    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let first: BTreeSet<_> = forming.initial.iter().map(|peer| peer.ip().to_canonical()).collect();
    let lives = Arc::new(move |address| first.contains(&address));
    let incoming = port::listen(listener, plan.tls.clone(), lives, Arc::default());
    let service = ClusterServer::new(FormingService(forming.clone()));
    let server = super::server()
        .add_service(service.max_decoding_message_size(SMALL))
        .serve_with_incoming_shutdown(incoming, async {
            let _ = stopped.await;
        });
    let mut server = tokio::spawn(server);
    let result = tokio::select! {
        result = forming.run() => result,
        ended = &mut server => Err(io::Error::other(format!("the peer port: {ended:?}")).into()),
    };
    drop(stop);
    // Idle connections of peers need not be waited for.
    if tokio::time::timeout(Duration::from_millis(500), &mut server).await.is_err() {
        server.abort();
    }
    result
}

struct Forming {
    advertise: SocketAddr,
    /// Sorted, without repetitions.
    initial: Vec<SocketAddr>,
    file: Arc<IdentityFile>,
    identity: Mutex<Identity>,
    tls: Option<Arc<PeerTls>>,
}

/// Whether all peers are well, and what they are.
type Answers = Vec<(SocketAddr, Option<Met>)>;

/// A peer that answered.
struct Met {
    who: proto::Who,
    /// By its certificate; empty without TLS.
    tls_name: String,
}

impl Forming {
    async fn run(&self) -> Result<Identity, FormationError> {
        let mut said = String::new();
        loop {
            let answers = self.ask_all().await;
            if let Some(identity) = self.finished_by_another(&answers).await? {
                return Ok(identity);
            }
            let waiting = match self.obstacle(&answers) {
                Some(obstacle) => obstacle,
                None if self.initial.first() == Some(&self.advertise) => {
                    match self.coordinate(&answers).await? {
                        Ok(identity) => return Ok(identity),
                        Err(refusal) => refusal,
                    }
                }
                None => "waiting for the first node to finish".to_string(),
            };
            if waiting != said {
                tracing::info!("forming a cluster of {}: {waiting}", self.initial.len());
                said = waiting;
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn ask_all(&self) -> Answers {
        let from = self.who(&*self.identity.lock().await);
        let mut asked = JoinSet::new();
        for peer in self.initial.iter().copied().filter(|peer| *peer != self.advertise) {
            let (from, tls) = (from.clone(), self.tls.clone());
            asked.spawn(async move { (peer, hello(peer, from, tls.as_ref()).await) });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by_key(|(peer, _)| *peer);
        answers
    }

    /// The identity made final, if a peer shows that this node's roster is.
    async fn finished_by_another(
        &self,
        answers: &Answers,
    ) -> Result<Option<Identity>, FormationError> {
        for (peer, who) in answers {
            let who = who.as_ref().map(|met| &met.who);
            let Some(who) = who.filter(|who| who.cluster != 0 && !who.provisional) else {
                continue;
            };
            let mut identity = self.identity.lock().await;
            match &mut identity.seat {
                Some(seat) if seat.cluster == who.cluster => {
                    let seat = Seat { provisional: false, ..seat.clone() };
                    return Ok(Some(self.write_locked(&mut identity, seat).await?));
                }
                _ => {
                    return Err(FormationError::AlreadyFormed {
                        peer: *peer,
                        cluster: who.cluster,
                    });
                }
            }
        }
        Ok(None)
    }

    /// Why a cluster cannot be formed just now.
    fn obstacle(&self, answers: &Answers) -> Option<String> {
        let missing: Vec<String> = answers
            .iter()
            .filter(|(_, who)| who.is_none())
            .map(|(peer, _)| peer.to_string())
            .collect();
        if !missing.is_empty() {
            return Some(format!("waiting for {}", missing.join(", ")));
        }
        let own: Vec<String> = self.initial.iter().map(ToString::to_string).collect();
        let other = |met: &Met| met.who.initial != own;
        if let Some((peer, _)) = answers.iter().find(|(_, met)| met.as_ref().is_some_and(other)) {
            let text = "has another cluster.initial; it must be the same everywhere";
            return Some(format!("{peer} {text}"));
        }
        let mut names: BTreeSet<&str> = self.own_name().into_iter().collect();
        for (peer, met) in answers {
            let Some(met) = met else { continue };
            if !met.tls_name.is_empty() && !names.insert(&met.tls_name) {
                return Some(format!(
                    "{peer} shows the certificate of {}, and so does another node: each needs its own",
                    met.tls_name
                ));
            }
        }
        None
    }

    fn own_name(&self) -> Option<&str> {
        self.tls.as_ref().map(|tls| &*tls.me().name)
    }

    /// The new cluster's id: that of the certificates, if there are any.
    fn cluster(&self) -> io::Result<u64> {
        self.tls.as_ref().map_or_else(draw, |tls| Ok(tls.me().cluster))
    }

    /// Proposes a roster. The inner error says why it must be tried again.
    async fn coordinate(
        &self,
        answers: &Answers,
    ) -> Result<Result<Identity, String>, FormationError> {
        let seat = self.seat(self.cluster()?, answers, false).await;
        let mut asked = JoinSet::new();
        for (peer, who) in answers {
            let Some(met) = who else { return Ok(Err(format!("waiting for {peer}"))) };
            let request = proto::PrepareRequest {
                cluster: seat.cluster,
                roster: seat.roster.iter().map(Into::into).collect(),
                to_instance: met.who.instance,
            };
            let (peer, cluster, tls) = (*peer, seat.cluster, self.tls.clone());
            asked.spawn(async move {
                prepare(peer, request, cluster, tls.as_ref())
                    .await
                    .map_err(|why| format!("{peer}: {why}"))
            });
        }
        for answer in asked.join_all().await {
            if let Err(refusal) = answer {
                return Ok(Err(refusal));
            }
        }
        // Everybody has it on disk: from here on it is final.
        Ok(Ok(self.write(seat).await?))
    }

    /// A seat for this node in a roster of all: ids in the order of the addresses, from 1.
    async fn seat(
        &self,
        cluster: u64,
        answers: &[(SocketAddr, Option<Met>)],
        provisional: bool,
    ) -> Seat {
        let own = self.identity.lock().await.instance;
        let met = |address: &SocketAddr| {
            let found = answers.iter().find(|(peer, _)| peer == address);
            found.and_then(|(_, met)| met.as_ref())
        };
        let own_name = self.own_name().unwrap_or_default();
        let roster: Vec<RosterNode> = (1..)
            .zip(&self.initial)
            .map(|(node, address)| RosterNode {
                node: NodeId(node),
                instance: met(address).map_or(own, |met| met.who.instance),
                address: address.to_string(),
                tls_name: met(address).map_or(own_name, |met| &met.tls_name).to_owned(),
            })
            .collect();
        let place = self.initial.iter().position(|address| *address == self.advertise);
        let node = NodeId(place.map_or(1, |place| place as u64 + 1));
        Seat { cluster, node, roster, provisional, started: false }
    }

    async fn write(&self, seat: Seat) -> io::Result<Identity> {
        let mut identity = self.identity.lock().await;
        self.write_locked(&mut identity, seat).await
    }

    async fn write_locked(&self, identity: &mut Identity, seat: Seat) -> io::Result<Identity> {
        let (file, new) =
            (self.file.clone(), Identity { instance: identity.instance, seat: Some(seat) });
        *identity = spawn_blocking(move || file.write(&new).map(|()| new))
            .await
            .map_err(io::Error::other)??;
        Ok(identity.clone())
    }

    fn who(&self, identity: &Identity) -> proto::Who {
        let initial = self.initial.iter().map(ToString::to_string).collect();
        who(identity, initial)
    }

    /// Writes a coordinator's roster down, or says why not.
    async fn prepare(
        &self,
        request: proto::PrepareRequest,
        caller: Option<&PeerName>,
    ) -> io::Result<Result<proto::Who, String>> {
        let mut identity = self.identity.lock().await;
        if identity.seat.as_ref().is_some_and(|seat| !seat.provisional) {
            return Ok(Err("this node belongs to a cluster already".into()));
        }
        if request.to_instance != identity.instance || request.cluster == 0 {
            return Ok(Err("the roster is for another data directory".into()));
        }
        let roster: Vec<RosterNode> = request.roster.into_iter().map(Into::into).collect();
        let addresses = roster.iter().map(|node| node.address.clone());
        if !addresses.eq(self.initial.iter().map(ToString::to_string)) {
            return Ok(Err("the roster differs from this node's cluster.initial".into()));
        }
        let own = self.advertise.to_string();
        let Some(place) = roster.iter().find(|node| node.address == own) else {
            return Ok(Err("the roster leaves this node out".into()));
        };
        if place.instance != identity.instance {
            return Ok(Err("the roster names another data directory".into()));
        }
        if let Some(tls) = &self.tls {
            // The first node proposes, for the cluster of our certificate, and knows us by it.
            let first = roster.first().map_or("", |first| &first.tls_name);
            if request.cluster != tls.me().cluster
                || caller.is_none_or(|caller| caller.name != first)
                || place.tls_name != tls.me().name
            {
                return Ok(Err("the roster does not agree with the certificates".into()));
            }
        }
        let node = place.node;
        let seat =
            Seat { cluster: request.cluster, node, roster, provisional: true, started: false };
        let identity = self.write_locked(&mut identity, seat).await?;
        Ok(Ok(self.who(&identity)))
    }
}

/// How `identity` introduces itself.
pub(super) fn who(identity: &Identity, initial: Vec<String>) -> proto::Who {
    let seat = identity.seat.as_ref();
    proto::Who {
        instance: identity.instance,
        cluster: seat.map_or(0, |seat| seat.cluster),
        node: seat.map_or(0, |seat| seat.node.0),
        provisional: seat.is_some_and(|seat| seat.provisional),
        initial,
    }
}

/// Asks `peer` who it is.
async fn hello(peer: SocketAddr, from: proto::Who, tls: Option<&Arc<PeerTls>>) -> Option<Met> {
    let call = async {
        let (channel, name) = dial::connect(&peer.to_string(), tls).await.ok()?;
        let request = proto::HelloRequest { from: Some(from) };
        let who = ClusterClient::new(channel).hello(request).await.ok()?.into_inner();
        Some(Met { who, tls_name: name.map_or(String::new(), |name| name.name) })
    };
    tokio::time::timeout(PATIENCE, call).await.ok().flatten()
}

async fn prepare(
    peer: SocketAddr,
    request: proto::PrepareRequest,
    cluster: u64,
    tls: Option<&Arc<PeerTls>>,
) -> Result<(), String> {
    let call = async {
        let (channel, _) = dial::connect(&peer.to_string(), tls).await?;
        let response = ClusterClient::new(channel).prepare(request).await;
        match response.map_err(|status| status.message().to_string())?.into_inner().result {
            Some(proto::prepare_response::Result::Prepared(who)) if who.cluster == cluster => {
                Ok(())
            }
            Some(proto::prepare_response::Result::Refused(why)) => Err(why),
            _ => Err("an answer that does not fit".to_string()),
        }
    };
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(result) => result,
        Err(_) => Err("no answer in time".into()),
    }
}

/// Serves `Cluster` while there is none.
struct FormingService(Arc<Forming>);

#[tonic::async_trait]
impl Cluster for FormingService {
    async fn hello(
        &self,
        _request: Request<proto::HelloRequest>,
    ) -> Result<Response<proto::Who>, Status> {
        let identity = self.0.identity.lock().await;
        Ok(Response::new(self.0.who(&identity)))
    }

    async fn prepare(
        &self,
        request: Request<proto::PrepareRequest>,
    ) -> Result<Response<proto::PrepareResponse>, Status> {
        use proto::prepare_response::Result as Wire;
        let caller = Caller::of(&request).and_then(|caller| caller.name.clone());
        let result = match self.0.prepare(request.into_inner(), caller.as_deref()).await {
            Ok(Ok(who)) => Wire::Prepared(who),
            Ok(Err(why)) => Wire::Refused(why),
            Err(error) => return Err(Status::internal(error.to_string())),
        };
        Ok(Response::new(proto::PrepareResponse { result: Some(result) }))
    }

    async fn read_index(
        &self,
        _request: Request<proto::ReadIndexRequest>,
    ) -> Result<Response<proto::ReadIndexResponse>, Status> {
        Err(Status::unavailable("this node is not in a cluster yet"))
    }

    async fn join(
        &self,
        _request: Request<proto::JoinRequest>,
    ) -> Result<Response<proto::JoinResponse>, Status> {
        Err(Status::unavailable("this node is not in a cluster yet"))
    }

    async fn change_members(
        &self,
        _request: Request<proto::ChangeRequest>,
    ) -> Result<Response<proto::ChangeResponse>, Status> {
        Err(Status::unavailable("this node is not in a cluster yet"))
    }

    async fn hand_over(
        &self,
        _request: Request<proto::HandOverRequest>,
    ) -> Result<Response<proto::HandOverResponse>, Status> {
        Err(Status::unavailable("this node is not in a cluster yet"))
    }
}
