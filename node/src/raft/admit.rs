//! Letting a node in (R14), on the side of the cluster: any member takes the request, the leader has it
//! committed who the node is, and adds it as a learner.
//!
//! Each step may be the last before a crash. The new node asks again then, as the same data directory,
//! and gets the same number: [`Command::Admit`] and adding a member that is there already change
//! nothing. The secret of a token goes no further than the member that was asked: it forwards the digest.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use leasehold_proto::cluster as proto;
use leasehold_proto::cluster::cluster_client::ClusterClient;

use super::join::Token;
use super::membership::{Deadline, too_low};
use super::typ::Member;
use super::{ChangeError, ProposeError, Purpose, Raft};
use crate::state::document::Sha256;
use crate::state::{Admit, Command, Liveness, NotAdmitted, Outcome};
use crate::storage::RosterNode;
use crate::types::NodeId;

/// How long letting a node in may take.
const WITHIN: Duration = Duration::from_secs(5);
/// The longest name of a node or in a certificate.
const LONGEST_NAME: usize = 255;
/// The feature level that brought tokens (R24).
const TOKENS: u32 = 2;

/// Why a node is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotJoined {
    /// The reason, and what to do.
    pub reason: String,
    /// Whether asking again is of no use.
    pub last_word: bool,
}

fn later<T>(reason: impl Into<String>) -> Result<T, NotJoined> {
    Err(NotJoined { reason: reason.into(), last_word: false })
}

fn never<T>(reason: impl Into<String>) -> Result<T, NotJoined> {
    Err(NotJoined { reason: reason.into(), last_word: true })
}

/// A new token for `cluster-ctl node token create` is what helps.
const NEW_TOKEN: &str =
    "make a new token with cluster-ctl node token create, and put it into [cluster].token-file";

impl Raft {
    /// Answers a request to join. `forwarded`: it came through a member, which has seen the secret.
    pub(super) async fn answer_join(
        &self,
        request: proto::JoinRequest,
        forwarded: bool,
    ) -> proto::JoinResponse {
        use proto::join_response::Result as Wire;
        let result = match self.let_in(request, forwarded).await {
            Ok(joined) => Wire::Joined(joined),
            Err(NotJoined { reason, last_word }) => {
                // A node that waits asks every second, and anybody can ask.
                let count = self.inner.not_let_in.fetch_add(1, Ordering::Relaxed) + 1;
                if count.is_power_of_two() {
                    tracing::warn!(reason, count, "a node was not let in");
                }
                Wire::Refused(proto::JoinRefused { reason, r#final: last_word })
            }
        };
        proto::JoinResponse { result: Some(result) }
    }

    async fn let_in(
        &self,
        request: proto::JoinRequest,
        forwarded: bool,
    ) -> Result<proto::Joined, NotJoined> {
        let digest = match forwarded {
            true => match <[u8; 32]>::try_from(&request.digest[..]) {
                Ok(digest) => Sha256(digest),
                Err(_) => return later("a forwarded request without a digest"),
            },
            false => self.digest_of(&request.token)?,
        };
        let admit = self.checked(&request, digest)?;
        let deadline = Deadline::after(WITHIN);
        if self.is_stamping() {
            return self.admit(admit, deadline).await;
        }
        let leader = self.leader().filter(|leader| *leader != self.id() && !forwarded);
        let Some(channel) = leader.and_then(|leader| self.channel(leader, Purpose::Forward)) else {
            return later("this member knows no leader just now");
        };
        let request = proto::JoinRequest {
            token: String::new(),
            digest: bytes::Bytes::copy_from_slice(&digest.0),
            ..request
        };
        use proto::join_response::Result as Wire;
        let mut client = ClusterClient::new(channel);
        let answer = match deadline.wait_for(client.join(request)).await {
            Ok(Ok(response)) => response.into_inner().result,
            Ok(Err(status)) => return later(format!("the leader: {}", status.message())),
            Err(_) => return later("the leader does not answer"),
        };
        match answer {
            Some(Wire::Joined(joined)) => Ok(joined),
            Some(Wire::Refused(proto::JoinRefused { reason, r#final })) => {
                Err(NotJoined { reason, last_word: r#final })
            }
            None => later("the leader gave no answer that fits"),
        }
    }

    fn digest_of(&self, secret: &str) -> Result<Sha256, NotJoined> {
        let Some(token) = Token::parse(secret) else {
            return never(format!("this is no join token: {NEW_TOKEN}"));
        };
        let own = self.inner.me.cluster;
        if token.cluster() != own {
            return never(format!(
                "the token is of cluster {:016x}, and this is cluster {own:016x}: look at [cluster].join, or {NEW_TOKEN}",
                token.cluster()
            ));
        }
        Ok(token.digest())
    }

    fn checked(&self, request: &proto::JoinRequest, token: Sha256) -> Result<Admit, NotJoined> {
        let Ok(address) = request.address.parse::<SocketAddr>() else {
            return never("[peer].advertise of the new node is no ADDRESS:PORT");
        };
        if address.ip().is_unspecified() || address.port() == 0 {
            return never(format!(
                "peers cannot reach the new node at {address}: set [peer].advertise"
            ));
        }
        if request.name.len() > LONGEST_NAME || request.tls_name.len() > LONGEST_NAME {
            return never(format!("a name has at most {LONGEST_NAME} bytes"));
        }
        if request.instance == 0 {
            return never("the new node does not name its data directory");
        }
        let level = self.level();
        if level < TOKENS {
            return later(too_low(TOKENS));
        }
        if request.level < level {
            return never(format!(
                "the new node's program knows feature level {}, and the cluster works at {level}: install the \
                 version that the others run",
                request.level
            ));
        }
        Ok(Admit {
            token,
            instance: request.instance,
            address: address.to_string(),
            name: request.name.clone(),
            tls_name: request.tls_name.clone(),
            learner: request.learner,
            above: NodeId(0),
        })
    }

    /// This node leads.
    async fn admit(
        &self,
        mut admit: Admit,
        deadline: Deadline,
    ) -> Result<proto::Joined, NotJoined> {
        let status = self.status();
        admit.above = status.members.iter().map(|member| member.node).max().unwrap_or(NodeId(0));
        if let Some(node) = self.whose_address(&admit) {
            return later(format!(
                "{} is the address of node {node}, another data directory: if that node is gone, remove it with \
                 cluster-ctl node remove {node}; then this goes on by itself",
                admit.address
            ));
        }
        if let Some(node) = self.whose_certificate(&admit) {
            return later(format!(
                "node {node} shows the certificate of {} too: each node needs its own (cluster-ctl pki issue), and if \
                 node {node} is gone, remove it with cluster-ctl node remove {node}; then this goes on by itself",
                admit.tls_name
            ));
        }
        if self.would_admit(&admit).is_err() {
            // Nobody makes us write to the log without a token. One that was made just now may be
            // committed, and not applied here yet: it is looked for again behind that.
            if let Ok(Ok(index)) = deadline.wait_for(self.leader_read_index()).await {
                let _ = deadline.wait_for(self.applied_at_least(index)).await;
            }
            if let Err(why) = self.would_admit(&admit) {
                return never(not_admitted(why));
            }
        }
        let node = match self.committed(Command::Admit(admit.clone()), deadline).await? {
            Outcome::Admitted(node) => node,
            Outcome::NotAdmitted(why) => return never(not_admitted(why)),
            Outcome::NotYet(level) => return later(too_low(level)),
            other => return later(format!("an outcome that does not fit: {other:?}")),
        };
        let (known, learner) = {
            let state = self.inner.shared.state.read();
            let meta = state.view().meta();
            let admission = meta.roster().admissions().find(|(id, _)| *id == node);
            (meta.node(node).is_some(), admission.is_none_or(|(_, it)| it.learner))
        };
        if !known {
            // Nobody waits for it, or counts on it, until the leader finds that it has caught up (R16).
            self.committed(Command::NodeLiveness(node, Liveness::Down), deadline).await?;
        }
        let Admit { address, instance, tls_name, .. } = admit;
        let member = Member { address, instance, tls_name, learner };
        match self.add_member(node, member, deadline).await {
            Ok(_) => {}
            Err(ChangeError::NotLeader(_)) => return later("the leader changed meanwhile"),
            Err(error) => return later(error.to_string()),
        }
        tracing::info!(%node, learner, "a node was let in");
        let (membership, _) = self.members();
        let others = membership.nodes().filter(|(id, _)| **id != node.0);
        let roster = others.map(|(id, member)| {
            let known = RosterNode {
                node: NodeId(*id),
                instance: member.instance,
                address: member.address.clone(),
                tls_name: member.tls_name.clone(),
            };
            proto::RosterNode::from(&known)
        });
        let cluster = self.inner.me.cluster;
        Ok(proto::Joined { cluster, node: node.0, roster: roster.collect() })
    }

    fn would_admit(&self, admit: &Admit) -> Result<(), NotAdmitted> {
        let now = self.now();
        let state = self.inner.shared.state.read();
        state.view().meta().roster().would_admit(admit, now)
    }

    /// The member that has this address and is another data directory.
    fn whose_address(&self, admit: &Admit) -> Option<NodeId> {
        self.another(admit, |member| member.address == admit.address)
    }

    /// The member that is known by this certificate and is another data directory. Without TLS nobody is.
    fn whose_certificate(&self, admit: &Admit) -> Option<NodeId> {
        self.another(admit, |member| {
            !member.tls_name.is_empty() && member.tls_name == admit.tls_name
        })
    }

    fn another(&self, admit: &Admit, is_it: impl Fn(&Member) -> bool) -> Option<NodeId> {
        let (membership, _) = self.members();
        let has = |(node, member): (&u64, &Member)| {
            let other = member.instance != admit.instance && is_it(member);
            (other && !self.has_left(NodeId(*node))).then_some(NodeId(*node))
        };
        membership.nodes().find_map(has)
    }

    async fn committed(&self, command: Command, deadline: Deadline) -> Result<Outcome, NotJoined> {
        match deadline.wait_for(self.propose(vec![command])).await {
            Ok(Ok(applied)) => match applied.outcomes.into_iter().next() {
                Some(outcome) => Ok(outcome),
                None => later("an entry without an outcome"),
            },
            Ok(Err(ProposeError::NotLeader(_))) => later("the leader changed meanwhile"),
            Ok(Err(error)) => later(error.to_string()),
            Err(_) => later("no majority has agreed in time"),
        }
    }
}

fn not_admitted(why: NotAdmitted) -> String {
    match why {
        NotAdmitted::NoToken => {
            format!(
                "the cluster does not know this token (never made, revoked, or forgotten after its time): {NEW_TOKEN}"
            )
        }
        NotAdmitted::Expired => format!("the token's time is over: {NEW_TOKEN}"),
        NotAdmitted::UsedUp => format!("the token has let in as many nodes as it may: {NEW_TOKEN}"),
        NotAdmitted::Full => {
            "there are too many nodes: remove those that are gone with cluster-ctl node remove"
                .to_owned()
        }
    }
}
