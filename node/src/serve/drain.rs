//! A node leaves on purpose (C14): `cluster-node-drain`, and its end.
//!
//! That a node is drained is a word in the log, `Liveness::Maintenance`: its peers take over its clients
//! and lead in its place, and it answers for [`LAST_ANSWERS`] those who chose it. That its *process* then
//! ends is no word in the log but a call to the node itself, by its own API or through the peer port. It
//! is the process that was running that is to end, and a wish in the state would outlive it: whoever
//! starts the node again after the work would see it stop. A node that cannot be called is told by
//! nobody, and the caller hears that.
//!
//! The wish is in memory. It is dropped when the maintenance ends before its time, by an operator or
//! because the node was restarted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leasehold_proto::cluster as pb;
use leasehold_proto::cluster::draining_client::DrainingClient;
use leasehold_proto::cluster::draining_server::{Draining, DrainingServer};
use leasehold_proto::cluster::stop_drained_response::Result as Wire;
use parking_lot::RwLock;
use tokio::time::{sleep, timeout};
use tonic::{Request, Response, Status};

use crate::dhcp::v4::LAST_ANSWERS;
use crate::raft::{Guard, Purpose, Raft, SMALL};
use crate::state::{Liveness, State};
use crate::types::{ClusterTime, NodeId};

/// How often a node that is to stop looks at itself.
const LOOK: Duration = Duration::from_millis(100);
/// How long the call to another node, and its catching up with the entry, may take.
const CALL: Duration = Duration::from_secs(3);

/// Has the process end in its orderly way. May be called again and again.
pub type Stop = Arc<dyn Fn() + Send + Sync>;

/// How much longer a node in maintenance answers those who chose it; `None` when it is not in
/// maintenance.
pub fn last_answers_left(state: &State, node: NodeId, now: ClusterTime) -> Option<Duration> {
    let view = state.view();
    let entry = view.meta().node(node)?;
    let maintained = entry.liveness == Liveness::Maintenance;
    maintained.then(|| LAST_ANSWERS.saturating_sub(now.since(entry.since)))
}

/// Ends this node, or has another end, once it is drained.
#[derive(Clone)]
pub struct Drain {
    raft: Raft,
    state: Arc<RwLock<State>>,
    stop: Stop,
    stopping: Arc<AtomicBool>,
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("stopping", &self.stopping).finish_non_exhaustive()
    }
}

impl Drain {
    /// For the node that `raft` belongs to.
    pub fn new(raft: Raft, state: Arc<RwLock<State>>, stop: Stop) -> Drain {
        Drain { raft, state, stop, stopping: Arc::default() }
    }

    /// The gRPC service to add to the peer port.
    pub fn server(&self) -> DrainingServer<DrainingService> {
        DrainingServer::new(DrainingService { guard: self.raft.guard(), drain: self.clone() })
            .max_decoding_message_size(SMALL)
    }

    /// Has `node`, which the entry `index` has drained, stop by itself.
    ///
    /// # Errors
    /// Why it will not.
    pub async fn have_stop(&self, node: NodeId, index: u64) -> Result<(), String> {
        if node == self.raft.id() {
            return self.stop_drained(index).await;
        }
        let channel =
            self.raft.channel(node, Purpose::Forward).ok_or("it is no member of the cluster")?;
        let mut client = DrainingClient::new(channel);
        let calling = client.stop_drained(pb::StopDrainedRequest { index });
        match timeout(CALL, calling).await {
            Ok(Ok(response)) => match response.into_inner().result {
                Some(Wire::Done(_)) => Ok(()),
                Some(Wire::Refused(why)) => Err(why),
                None => Err("its answer makes no sense to this version".into()),
            },
            Ok(Err(status)) => Err(format!("it cannot be called: {}", status.message())),
            Err(_) => Err("it does not answer".into()),
        }
    }

    async fn stop_drained(&self, index: u64) -> Result<(), String> {
        if timeout(CALL, self.raft.applied_at_least(index)).await.is_err() {
            return Err("it has not caught up in time".into());
        }
        if self.left().is_none() {
            return Err("it is not in maintenance any more".into());
        }
        // One task is enough, whoever asks how often.
        if !self.stopping.swap(true, Ordering::Relaxed) {
            tracing::warn!("this node is drained and will stop");
            tokio::spawn(self.clone().wait());
        }
        Ok(())
    }

    /// Until it is time, or not wished any more.
    async fn wait(self) {
        loop {
            match self.left() {
                None => {
                    self.stopping.store(false, Ordering::Relaxed);
                    return tracing::warn!("the maintenance has ended: this node goes on");
                }
                Some(Duration::ZERO) => (self.stop)(),
                Some(_) => {}
            }
            sleep(LOOK).await;
        }
    }

    fn left(&self) -> Option<Duration> {
        // Before the lock: reading the lease clock takes one of its own.
        let now = self.raft.now();
        last_answers_left(&self.state.read(), self.raft.id(), now)
    }
}

/// The gRPC service `Draining`.
#[derive(Debug)]
pub struct DrainingService {
    guard: Guard,
    drain: Drain,
}

#[tonic::async_trait]
impl Draining for DrainingService {
    async fn stop_drained(
        &self,
        request: Request<pb::StopDrainedRequest>,
    ) -> Result<Response<pb::StopDrainedResponse>, Status> {
        self.guard.check(&request)?;
        let result = match self.drain.stop_drained(request.into_inner().index).await {
            Ok(()) => Wire::Done(pb::Done {}),
            Err(why) => Wire::Refused(why),
        };
        Ok(Response::new(pb::StopDrainedResponse { result: Some(result) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Batch, Command};

    #[test]
    fn c14_a_node_in_maintenance_answers_ten_seconds_longer() {
        let at = |secs: u64| ClusterTime::from_millis(secs * 1000);
        let mut state = State::new();
        let mut apply = |secs, node, liveness| {
            let commands = vec![Command::NodeLiveness(NodeId(node), liveness)];
            state.apply(state.applied() + 1, &Batch { stamp: at(secs), commands });
        };
        for node in 1..=3 {
            apply(1, node, Liveness::Up);
        }
        apply(5, 2, Liveness::Maintenance);
        let left = |secs| last_answers_left(&state, NodeId(2), at(secs));
        assert_eq!(left(5), Some(Duration::from_secs(10)));
        assert_eq!(left(14), Some(Duration::from_secs(1)));
        assert_eq!(left(15), Some(Duration::ZERO));
        assert_eq!(left(99), Some(Duration::ZERO));
        assert_eq!(last_answers_left(&state, NodeId(1), at(9)), None);
        assert_eq!(last_answers_left(&state, NodeId(9), at(9)), None);
    }
}
