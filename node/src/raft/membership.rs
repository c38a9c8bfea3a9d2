//! Changes of the membership, made by the node that leads: promote, demote, remove, and the steps that
//! a leader makes good after another one (a change left half-way, a node on its way out, a node that
//! was moved).
//!
//! openraft's rules do the rest: a change of votes goes through a membership of two sets, of which
//! either has its own majority, and a leader that is lost in between leaves that standing until the
//! next one ends it ([`Raft::flatten`]). A member that loses its vote stays and receives the log until it
//! is taken off the list, so that it hears of it.
//!
//! Whoever asks: a node that does not lead asks the one that does. Time limits mean *unknown* (R3).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use leasehold_proto::cluster as proto;
use leasehold_proto::cluster::cluster_client::ClusterClient;
use openraft::ChangeMembers;
use openraft::errors::{ChangeMembershipError, RaftError};
use tokio::time::{error::Elapsed, sleep, timeout};

use super::quorum::{self, Voter};
use super::typ::{ClientWriteError, Member, StoredMembership};
use super::{ProposeError, Purpose, Raft, Status, TransferError};
use crate::clock::Stopwatch;
use crate::state::{Command, Liveness};
use crate::types::NodeId;

/// How long a node waits before it asks again who leads.
const PAUSE: Duration = Duration::from_millis(100);
/// How much less than the caller one step may wait, so that the caller hears what came of it.
const MARGIN: Duration = Duration::from_millis(300);
/// How long the leader works on a change that another node asked for.
const FOR_ANOTHER: Duration = Duration::from_secs(12);
/// The feature level that brought members' own marks (R24).
const MARKS: u32 = 2;

/// What is to become of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// It gets a vote.
    Promote,
    /// It loses its vote and goes on as a copy.
    Demote,
    /// It leaves for good.
    Remove,
}

/// A change of the membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub verb: Verb,
    /// Whose.
    pub node: NodeId,
    /// Also if too few voters would be left that can work.
    pub force: bool,
}

/// A change that is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its last entry.
    pub index: u64,
    /// What has become of it, for the operator.
    pub text: String,
}

/// Why there is no change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Nothing was changed, and why.
    #[error("{0}")]
    Refused(String),
    /// It may have been changed, or may still be (R3).
    #[error("{0}")]
    Unknown(String),
    /// This node does not lead; nothing was changed. Perhaps that one does.
    #[error("no leader is known; a majority of the nodes may be down or cut off")]
    NotLeader(Option<NodeId>),
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verb::Promote => "promote",
            Verb::Demote => "demote",
            Verb::Remove => "remove",
        })
    }
}

/// Until when something may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    since: Stopwatch,
    within: Duration,
}

impl Deadline {
    /// So long from now.
    pub fn after(within: Duration) -> Deadline {
        Deadline { since: Stopwatch::start(), within }
    }

    /// How long it still is.
    pub fn left(&self) -> Duration {
        self.within.saturating_sub(self.since.elapsed())
    }

    /// Waits no longer than that.
    pub async fn wait_for<T>(&self, what: impl Future<Output = T>) -> Result<T, Elapsed> {
        timeout(self.left(), what).await
    }
}

type Changes = ChangeMembers<u64, Member>;

fn refused<T>(why: impl Into<String>) -> Result<T, ChangeError> {
    Err(ChangeError::Refused(why.into()))
}

impl Raft {
    /// Makes a change, whoever leads, `within` at most.
    ///
    /// # Errors
    /// See [`ChangeError`]; it never is `NotLeader` with a name.
    pub async fn change_members(
        &self,
        change: Change,
        within: Duration,
    ) -> Result<Changed, ChangeError> {
        let deadline = Deadline::after(within.saturating_sub(MARGIN));
        loop {
            let asked = match self.leader() {
                Some(leader) if leader == self.id() => self.change_here(change, deadline).await,
                Some(leader) => self.ask_to_change(leader, change, deadline).await,
                None => Err(ChangeError::NotLeader(None)),
            };
            match asked {
                Err(ChangeError::NotLeader(_)) if PAUSE < deadline.left() => {
                    sleep(PAUSE).await;
                }
                Err(ChangeError::NotLeader(_)) => return Err(ChangeError::NotLeader(None)),
                result => return result,
            }
        }
    }

    async fn ask_to_change(
        &self,
        leader: NodeId,
        change: Change,
        deadline: Deadline,
    ) -> Result<Changed, ChangeError> {
        use proto::change_response::Result as Wire;
        let Some(channel) = self.channel(leader, Purpose::Forward) else {
            return Err(ChangeError::NotLeader(None));
        };
        let mut client = ClusterClient::new(channel);
        let unknown = |why: String| Err(ChangeError::Unknown(why));
        match deadline.wait_for(client.change_members(change_out(change))).await {
            Ok(Ok(response)) => match response.into_inner().result {
                Some(Wire::Changed(proto::Changed { index, text })) => Ok(Changed { index, text }),
                Some(Wire::Refused(why)) => refused(why),
                Some(Wire::Unknown(why)) => unknown(why),
                Some(Wire::NotLeader(other)) => {
                    let other = Some(NodeId(other.leader)).filter(|node| node.0 != 0);
                    Err(ChangeError::NotLeader(other))
                }
                None => unknown(format!("node {leader}, which leads, gave no answer that fits")),
            },
            Ok(Err(status)) if status.code() == tonic::Code::Unimplemented => {
                refused(format!("node {leader}, which leads, is too old for this: {status}"))
            }
            Ok(Err(status)) => unknown(format!(
                "node {leader}, which leads, was lost while it was asked ({}); look at the nodes before you repeat it",
                status.message()
            )),
            Err(_) => unknown(format!(
                "node {leader}, which leads, did not answer in time; look at the nodes before you repeat it"
            )),
        }
    }

    /// [`Raft::change_members`] for another node, if this one leads.
    pub(super) async fn change_for(&self, change: Change) -> Result<Changed, ChangeError> {
        self.change_here(change, Deadline::after(FOR_ANOTHER)).await
    }

    async fn change_here(
        &self,
        change: Change,
        deadline: Deadline,
    ) -> Result<Changed, ChangeError> {
        let Change { verb, node, force } = change;
        if !self.is_stamping() {
            return Err(ChangeError::NotLeader(
                self.leader().filter(|leader| *leader != self.id()),
            ));
        }
        let Ok(_turn) = deadline.wait_for(self.inner.changing.lock()).await else {
            return refused("another change of the membership takes its time; try again");
        };
        let status = self.settled_status(deadline).await;
        let Some(member) = self.leader_member(node) else { return self.no_member(change).await };
        let votes = status.members.iter().any(|member| member.node == node && member.voter);
        tracing::info!(%node, %verb, force, "an operator changes the membership");
        let done = match verb {
            Verb::Promote => self.promote(node, member, &status, votes, force, deadline).await,
            Verb::Demote | Verb::Remove => {
                self.take_away(change, member, &status, votes, deadline).await
            }
        };
        match &done {
            Ok(Changed { text, .. }) => {
                tracing::info!(%node, %verb, "the membership is changed: {text}")
            }
            Err(error) => {
                tracing::warn!(%node, %verb, %error, "the membership is not known to be changed")
            }
        }
        done
    }

    /// The members as a leader can judge them. One that has just begun to lead has not heard from all
    /// of them yet, which says nothing about them; it waits as long as silence would have to last.
    async fn settled_status(&self, deadline: Deadline) -> Status {
        let patience = Deadline::after(deadline.left().min(quorum::SILENT_AFTER));
        loop {
            let status = self.status();
            let voters = voters_of(&status, |member| member.voter);
            let known = |voter: &Voter| voter.heard_ago.is_some() && voter.lag < u64::MAX;
            if voters.iter().all(known) || !self.is_stamping() || patience.left() < PAUSE {
                return status;
            }
            sleep(PAUSE).await;
        }
    }

    async fn promote(
        &self,
        node: NodeId,
        member: Member,
        status: &Status,
        votes: bool,
        force: bool,
        deadline: Deadline,
    ) -> Result<Changed, ChangeError> {
        if self.has_left(node) {
            return refused(format!("node {node} was removed and is on its way out"));
        }
        if votes {
            let index = status.applied.unwrap_or(0);
            return Ok(Changed { index, text: format!("Node {node} votes already.") });
        }
        let after = voters_of(status, |voter| voter.voter || voter.node == node);
        let behind = after.iter().filter(|voter| voter.node == node);
        let behind = quorum::objection(&behind.copied().collect::<Vec<_>>());
        if !force && let Some(why) = behind.or_else(|| quorum::objection(&after)) {
            return refused(format!(
                "node {node} cannot be given a vote now: {why}. A node that is meant to vote gets its vote by itself \
                 when it has caught up. With force it gets it at once, and until it has caught up the others must \
                 do without it"
            ));
        }
        let changes = vec![
            ChangeMembers::SetNodes(one(node, Member { learner: false, ..member })),
            ChangeMembers::AddVoterIds(BTreeSet::from([node.0])),
        ];
        let index = self.write_change(ChangeMembers::Batch(changes), deadline).await?;
        let text = format!("Node {node} votes. Now {}.", quorum::tolerance(after.len()));
        Ok(Changed { index, text })
    }

    async fn take_away(
        &self,
        change: Change,
        member: Member,
        status: &Status,
        votes: bool,
        deadline: Deadline,
    ) -> Result<Changed, ChangeError> {
        let Change { verb, node, force } = change;
        let after = voters_of(status, |voter| voter.voter && voter.node != node);
        if votes && after.is_empty() {
            return refused(format!(
                "node {node} is the last one that votes: without it there is no cluster. To end the cluster stop its \
                 nodes"
            ));
        }
        if verb == Verb::Demote && self.level() < MARKS {
            return refused(too_low(MARKS));
        }
        let objection = quorum::objection(&after).filter(|_| votes);
        if !force && let Some(why) = &objection {
            return refused(format!(
                "node {node} cannot be spared: {why}. With force it is done all the same, and then no client is \
                 answered until a majority of those who are left is there again"
            ));
        }
        if node == self.id() {
            // Another goes on with it: a leader without a vote would be in nobody's way but its own.
            return match self.hand_over(None).await {
                Ok(leader) => Err(ChangeError::NotLeader(Some(leader))),
                Err(TransferError::NotLeader(leader)) => Err(ChangeError::NotLeader(leader)),
                Err(error) => refused(format!("node {node} leads, and did not hand over: {error}")),
            };
        }
        let mut index = status.applied.unwrap_or(0);
        if votes || !member.learner {
            // Marked, so that it is not promoted again before it is gone.
            let changes = vec![
                ChangeMembers::SetNodes(one(node, Member { learner: true, ..member })),
                ChangeMembers::RemoveVoters(BTreeSet::from([node.0])),
            ];
            let written = self.write_change(ChangeMembers::Batch(changes), deadline).await;
            index = written.map_err(|error| match (error, &objection) {
                // The entry is in the leader's log, and counts from then on.
                (ChangeError::Unknown(_), Some(why)) => ChangeError::Unknown(waits(why)),
                (error, _) => error,
            })?;
        }
        if verb == Verb::Remove {
            index = self.see_off(node, deadline).await?;
        }
        let what = match verb {
            Verb::Remove => {
                format!("Node {node} is removed. It stops by itself as soon as it hears of it")
            }
            _ => format!("Node {node} has no vote and goes on as a copy"),
        };
        let forced = if objection.is_some() { " (forced)" } else { "" };
        let left = if votes { after.len() } else { voters_of(status, |it| it.voter).len() };
        Ok(Changed { index, text: format!("{what}{forced}. Now {}.", quorum::tolerance(left)) })
    }

    /// A node that is no member may have been let in without ever getting as far.
    async fn no_member(&self, change: Change) -> Result<Changed, ChangeError> {
        let node = change.node;
        let waits = {
            let state = self.inner.shared.state.read();
            state.view().meta().roster().admissions().any(|(id, _)| id == node)
        };
        match change.verb {
            Verb::Remove if waits => {
                let deadline = Deadline::after(FOR_ANOTHER);
                let index = self.see_off(node, deadline).await?;
                let text = format!(
                    "Node {node} was let in and had not come yet; it may not come any more."
                );
                Ok(Changed { index, text })
            }
            _ if waits => refused(format!("node {node} was let in, and has not come yet")),
            _ => refused(format!("there is no node {node} in this cluster")),
        }
    }

    /// Commits that `node` has left (R16). From then on nobody waits for it, it stops by itself, and the
    /// leader takes it off the list a little later.
    async fn see_off(&self, node: NodeId, deadline: Deadline) -> Result<u64, ChangeError> {
        let left = self.propose(vec![Command::NodeLiveness(node, Liveness::Left)]);
        match deadline.wait_for(left).await {
            Ok(Ok(applied)) => Ok(applied.index),
            Ok(Err(ProposeError::NotLeader(_))) => Err(ChangeError::Unknown(format!(
                "node {node} has lost its vote, but the leader changed before it was removed: repeat it"
            ))),
            Ok(Err(error)) => Err(ChangeError::Unknown(error.to_string())),
            Err(_) => Err(ChangeError::Unknown(in_time())),
        }
    }

    /// Ends a change that an earlier leader left half-way.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn flatten(&self, within: Duration) -> Result<u64, ChangeError> {
        let nothing = ChangeMembers::AddVoterIds(BTreeSet::new());
        self.duty(nothing, within).await
    }

    /// Takes nodes off the list that have no vote: they receive nothing any more.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn forget(&self, node: NodeId, within: Duration) -> Result<u64, ChangeError> {
        self.duty(ChangeMembers::RemoveNodes(BTreeSet::from([node.0])), within).await
    }

    /// Gives a learner that has caught up its vote.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn give_vote(&self, node: NodeId, within: Duration) -> Result<u64, ChangeError> {
        self.duty(ChangeMembers::AddVoterIds(BTreeSet::from([node.0])), within).await
    }

    /// Puts the address of a node that was moved into the membership. It is the same data directory,
    /// so nobody is taken for somebody else.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn readdress(
        &self,
        node: NodeId,
        address: String,
        within: Duration,
    ) -> Result<u64, ChangeError> {
        let Some(member) = self.leader_member(node) else { return refused("no such member") };
        self.inner.channels.book().told(node.0, member.instance, &address);
        let moved = Member { address, ..member };
        self.duty(ChangeMembers::SetNodes(one(node, moved)), within).await
    }

    async fn duty(&self, changes: Changes, within: Duration) -> Result<u64, ChangeError> {
        if !self.is_stamping() {
            return Err(ChangeError::NotLeader(None));
        }
        // An operator's change goes first.
        let Ok(_turn) = self.inner.changing.try_lock() else {
            return refused("another change is under way");
        };
        self.write_change(changes, Deadline::after(within)).await
    }

    /// Adds a member without a vote, or changes where it is reached; it stays what it is besides.
    pub(super) async fn add_member(
        &self,
        node: NodeId,
        member: Member,
        deadline: Deadline,
    ) -> Result<u64, ChangeError> {
        let Ok(_turn) = deadline.wait_for(self.inner.changing.lock()).await else {
            return refused("another change of the membership takes its time");
        };
        let changes = match self.leader_member(node) {
            Some(known) if known.instance != member.instance => {
                return refused(format!("node {node} is another data directory"));
            }
            Some(known) if known == member => {
                return Ok(self.applied().applied.map_or(0, |id| id.index));
            }
            Some(known) => {
                self.inner.channels.book().told(node.0, member.instance, &member.address);
                let member = Member { learner: known.learner, ..member };
                ChangeMembers::SetNodes(one(node, member))
            }
            None => ChangeMembers::AddNodes(one(node, member)),
        };
        self.write_change(changes, deadline).await
    }

    /// One change as openraft makes it: one entry, or two if somebody's vote changes.
    async fn write_change(&self, changes: Changes, deadline: Deadline) -> Result<u64, ChangeError> {
        let changing = self.inner.core.change_membership(changes, true);
        let error = match deadline.wait_for(changing).await {
            Ok(Ok(response)) => return Ok(response.log_id.index),
            Ok(Err(RaftError::APIError(error))) => error,
            Ok(Err(RaftError::Fatal(error))) => {
                return Err(ChangeError::Unknown(error.to_string()));
            }
            Err(_) => return Err(ChangeError::Unknown(in_time())),
        };
        match error {
            ClientWriteError::ForwardToLeader(to) if !self.is_changing() => {
                Err(ChangeError::NotLeader(to.leader_id.map(NodeId)))
            }
            ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)) => {
                refused("another change of the membership is not committed yet; try again")
            }
            ClientWriteError::ChangeMembershipError(error) => refused(error.to_string()),
            ClientWriteError::ForwardToLeader(_)
            | ClientWriteError::LogEntryDiscarded(_)
            | ClientWriteError::PreconditionFailed(_) => Err(ChangeError::Unknown(
                "the leader changed meanwhile; look at the nodes before you repeat it".into(),
            )),
        }
    }

    /// Whether a change of votes is half-way, as far as this node has heard.
    fn is_changing(&self) -> bool {
        self.metrics().membership_config.membership().get_joint_config().len() > 1
    }

    /// A member as the leader's own log has it, committed or not.
    fn leader_member(&self, node: NodeId) -> Option<Member> {
        self.metrics().membership_config.membership().get_node(&node.0).cloned()
    }

    /// Members as applied here, and whether a change of votes is half-way.
    pub fn members(&self) -> (std::sync::Arc<StoredMembership>, bool) {
        let membership = self.membership().borrow().clone();
        let half_way = membership.membership().get_joint_config().len() > 1;
        (membership, half_way)
    }
}

/// What is said of a command that the cluster cannot read yet.
pub(super) fn too_low(level: u32) -> String {
    format!(
        "the cluster works at a feature level below {level}, as before its upgrade: when every node runs the new \
         version, raise it with cluster-ctl upgrade finalize"
    )
}

fn in_time() -> String {
    "no majority has agreed in time; it may still come about: look at the nodes before you repeat it".into()
}

/// A change was forced, and those who have to agree to it are not there.
fn waits(objection: &str) -> String {
    format!(
        "{objection}. No client is answered until a majority of them is there, and then it comes about: look at the \
         nodes before you repeat it"
    )
}

fn one(node: NodeId, member: Member) -> BTreeMap<u64, Member> {
    BTreeMap::from([(node.0, member)])
}

/// The members that `which` takes, as voters.
fn voters_of(status: &Status, which: impl Fn(&super::PeerStatus) -> bool) -> Vec<Voter> {
    let voter = |member: &super::PeerStatus| {
        let leads = member.node == status.id;
        Voter {
            node: member.node,
            heard_ago: if leads { Some(Duration::ZERO) } else { member.heard_ago },
            lag: if leads { 0 } else { member.lag.unwrap_or(u64::MAX) },
        }
    };
    status.members.iter().filter(|member| which(member)).map(voter).collect()
}

fn change_out(change: Change) -> proto::ChangeRequest {
    use proto::change_request::Verb as Wire;
    let verb = match change.verb {
        Verb::Promote => Wire::Promote,
        Verb::Demote => Wire::Demote,
        Verb::Remove => Wire::Remove,
    };
    proto::ChangeRequest { verb: verb.into(), node: change.node.0, force: change.force }
}

/// The change that was asked for; `None` if this program does not know it.
pub(super) fn change_in(request: &proto::ChangeRequest) -> Option<Change> {
    use proto::change_request::Verb as Wire;
    let verb = match request.verb() {
        Wire::Nothing => return None,
        Wire::Promote => Verb::Promote,
        Wire::Demote => Verb::Demote,
        Wire::Remove => Verb::Remove,
    };
    Some(Change { verb, node: NodeId(request.node), force: request.force })
}

/// The answer to whoever asked.
pub(super) fn changed_out(result: Result<Changed, ChangeError>) -> proto::ChangeResponse {
    use proto::change_response::Result as Wire;
    let result = match result {
        Ok(Changed { index, text }) => Wire::Changed(proto::Changed { index, text }),
        Err(ChangeError::Refused(why)) => Wire::Refused(why),
        Err(ChangeError::Unknown(why)) => Wire::Unknown(why),
        Err(ChangeError::NotLeader(leader)) => {
            Wire::NotLeader(proto::NotLeader { leader: leader.map_or(0, |leader| leader.0) })
        }
    };
    proto::ChangeResponse { result: Some(result) }
}
