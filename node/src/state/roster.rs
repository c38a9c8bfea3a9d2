//! Who may join, who was let in, and how the cluster is to be led. So far these are words of the log
//! alone: nothing on this node proposes them yet.
//!
//! Raft's own membership says who receives the log and who votes; it is openraft's. What is kept here
//! is what Raft does not know: tokens with which new nodes come, the numbers that were ever given out
//! (R14: none is given twice), and which racks are preferred for the leader.

use imbl::OrdMap;

use super::document::Sha256;
use crate::types::{ClusterTime, NodeId};

/// Whoever shows the secret may join. The secret itself is known to the operator alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Drawn by the proposer; names the token to operators.
    pub id: u64,
    /// SHA-256 of the secret.
    pub digest: Sha256,
    /// It lets nobody in after this.
    pub not_after: ClusterTime,
    /// How many nodes it still lets in: at least 1 when it is made, 0 when it is used up.
    pub uses: u32,
    /// Whether those who come with it never vote.
    pub learner: bool,
    /// What it is for, in the operator's words; may be empty.
    pub note: String,
}

/// A node asks to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admit {
    /// SHA-256 of the secret it came with.
    pub token: Sha256,
    /// Its data directory. The same one is let in once: repeating the command gives the same number.
    pub instance: u64,
    /// Where peers reach it, `host:port`.
    pub address: String,
    /// Its label.
    pub name: String,
    /// The name in its certificate; empty without TLS.
    pub tls_name: String,
    /// Whether it never votes.
    pub learner: bool,
    /// The highest number that the leader's membership has. The new one is above it.
    pub above: NodeId,
}

/// A node that was let in and has not left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// SHA-256 of the secret it came with.
    pub token: Sha256,
    /// Its data directory.
    pub instance: u64,
    /// Where peers reached it when it came.
    pub address: String,
    /// Its label then.
    pub name: String,
    /// The name in its certificate; empty without TLS.
    pub tls_name: String,
    /// Whether it never votes.
    pub learner: bool,
    /// When it was let in.
    pub at: ClusterTime,
}

/// Why a node was not let in, or a token not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotAdmitted {
    /// There is no such token: never made, revoked, or forgotten after its time.
    NoToken,
    /// Its time is over.
    Expired,
    /// It has let in as many as it may.
    UsedUp,
    /// There are too many tokens, or too many nodes.
    Full,
}

/// How the cluster is to be led.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Racks in which the leader should be, the most wanted first. Empty: wherever.
    pub leader_racks: Vec<String>,
}

/// The tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    tokens: OrdMap<u64, JoinToken>,
    admissions: OrdMap<NodeId, Admission>,
    /// One above the highest number ever given out here; 0 while none was.
    next: u64,
    policy: Policy,
}

impl Roster {
    /// The most tokens at one time.
    pub const MOST_TOKENS: usize = 64;
    /// The most nodes that may have been let in and not left.
    pub const MOST_ADMISSIONS: usize = 256;

    /// Tokens, by id. Those whose time is over may still be among them.
    pub fn tokens(&self) -> impl Iterator<Item = &JoinToken> {
        self.tokens.values()
    }

    /// Nodes that were let in.
    pub fn admissions(&self) -> impl Iterator<Item = (NodeId, &Admission)> {
        self.admissions.iter().map(|(node, admission)| (*node, admission))
    }

    /// A node that was let in and has not left.
    pub fn admission(&self, node: NodeId) -> Option<&Admission> {
        self.admissions.get(&node)
    }

    /// How the cluster is to be led.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Lets nobody in any more, and knows of nobody who was: for the machine of another cluster. The numbers
    /// that were given out stay given out.
    pub(super) fn begin_anew(&mut self) {
        self.tokens.clear();
        self.admissions.clear();
    }

    pub(super) fn set_policy(&mut self, policy: &Policy) {
        self.policy = policy.clone();
    }

    /// Takes a token. The same one again changes nothing, also if it was used meanwhile.
    pub(super) fn put_token(
        &mut self,
        token: &JoinToken,
        now: ClusterTime,
    ) -> Result<(), NotAdmitted> {
        let over = |it: &&JoinToken| it.not_after < now;
        let over: Vec<u64> = self.tokens.values().filter(over).map(|it| it.id).collect();
        for id in over {
            self.tokens.remove(&id);
        }
        if self.tokens.get(&token.id).is_some_and(|it| it.digest == token.digest) {
            return Ok(());
        }
        if self.tokens.len() >= Roster::MOST_TOKENS {
            return Err(NotAdmitted::Full);
        }
        self.tokens.insert(token.id, JoinToken { uses: token.uses.max(1), ..token.clone() });
        Ok(())
    }

    /// Whether a request to let a node in would be granted now, as far as is applied here. Grants nothing.
    ///
    /// # Errors
    /// Why not.
    pub fn would_admit(&self, admit: &Admit, now: ClusterTime) -> Result<(), NotAdmitted> {
        self.clone().admit(admit, NodeId(0), now).map(|_| ())
    }

    pub(super) fn remove_token(&mut self, id: u64) {
        self.tokens.remove(&id);
    }

    /// Lets a node in. `known` is the highest number that the machine has heard of besides.
    pub(super) fn admit(
        &mut self,
        admit: &Admit,
        known: NodeId,
        now: ClusterTime,
    ) -> Result<NodeId, NotAdmitted> {
        let before = self.admissions.iter().find(|(_, it)| it.instance == admit.instance);
        if let Some((node, _)) = before.filter(|(_, it)| it.token == admit.token) {
            return Ok(*node);
        }
        let found = self.tokens.values().find(|it| it.digest == admit.token).cloned();
        let mut token = found.ok_or(NotAdmitted::NoToken)?;
        if token.not_after < now {
            return Err(NotAdmitted::Expired);
        }
        if token.uses == 0 {
            return Err(NotAdmitted::UsedUp);
        }
        let node = match before {
            // It was let in with another token, and never got as far as it wanted.
            Some((node, _)) => *node,
            None if self.admissions.len() >= Roster::MOST_ADMISSIONS => {
                return Err(NotAdmitted::Full);
            }
            None => {
                let highest = self.admissions.get_max().map_or(0, |(node, _)| node.0);
                let highest = highest.max(known.0).max(admit.above.0);
                NodeId(self.next.max(highest.saturating_add(1)))
            }
        };
        self.next = self.next.max(node.0.saturating_add(1));
        token.uses -= 1;
        let admission = Admission {
            token: admit.token,
            instance: admit.instance,
            address: admit.address.clone(),
            name: admit.name.clone(),
            tls_name: admit.tls_name.clone(),
            learner: admit.learner || token.learner,
            at: now,
        };
        self.tokens.insert(token.id, token);
        self.admissions.insert(node, admission);
        Ok(node)
    }

    /// A node has left for good.
    pub(super) fn left(&mut self, node: NodeId) {
        self.admissions.remove(&node);
        self.next = self.next.max(node.0.saturating_add(1));
    }

    pub(super) fn restore(
        tokens: Vec<JoinToken>,
        admissions: Vec<(NodeId, Admission)>,
        next: u64,
        policy: Policy,
    ) -> Roster {
        let tokens = tokens.into_iter().map(|token| (token.id, token)).collect();
        Roster { tokens, admissions: admissions.into_iter().collect(), next, policy }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let highest = self.admissions.get_max().map(|(node, _)| node.0);
        if highest.is_some_and(|highest| highest >= self.next) {
            return Err("a node has a number that may be given out again".into());
        }
        if self.tokens.len() > Roster::MOST_TOKENS
            || self.admissions.len() > Roster::MOST_ADMISSIONS
        {
            return Err("too many tokens or nodes".into());
        }
        Ok(())
    }
}
