//! A backend without Raft: one state, applied at once; or a cluster without a leader.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::backend::{Answer, Backend, Done, Member, NodeReport, Role, Sockets, SubmitError};
use crate::config::Config;
use crate::observe::metrics::Readings;
use crate::observe::statistics::Statistics;
use crate::observe::statistics::testing::Counting;
use crate::peers::Active;
use crate::state::{
    Batch, Command, ConfigVersion, NewConfig, NodeInfo, Outcome, State, WallOffset,
};
use crate::types::{ClusterTime, NodeId};

/// Two subnets; the second lies in a shared network.
pub(crate) const CONFIG: &str = r#"{"Dhcp4": {
    "valid-lifetime": 3600,
    "subnet4": [{"id": 10, "subnet": "192.0.2.0/24", "pools": [{"pool": "192.0.2.100-192.0.2.120"}]}],
    "shared-networks": [{"name": "floor-a", "subnet4": [
        {"id": 20, "subnet": "198.51.100.0/24", "pools": [{"pool": "198.51.100.10-198.51.100.20"}]}]}]}}"#;

/// The moment of formation, Unix milliseconds.
pub(crate) const FORMED: i64 = 1_795_470_000_000;

/// The node.
pub(crate) struct Fake {
    state: Arc<RwLock<State>>,
    /// What the node counts.
    pub(crate) counting: Counting,
    /// Whether the cluster answers.
    pub(crate) led: AtomicBool,
    /// Whether submitting ends without an outcome.
    pub(crate) silent: AtomicBool,
    /// Why a configuration cannot be activated.
    pub(crate) inactive: Mutex<Option<String>>,
}

impl Fake {
    /// A node of a formed cluster of three with [`CONFIG`].
    pub(crate) fn new() -> Arc<Fake> {
        let state = Arc::new(RwLock::new(State::new()));
        let counting = Counting::new(Arc::clone(&state), FORMED);
        let fake = Fake {
            state,
            counting,
            led: AtomicBool::new(true),
            silent: AtomicBool::new(false),
            inactive: Mutex::new(None),
        };
        fake.apply(Command::SetWallOffset(WallOffset(FORMED)));
        fake.apply(Command::SetConfig(crate::state::SetConfig::json(CONFIG)));
        for id in 1..=3u64 {
            fake.apply(Command::NodeInfo(NodeInfo {
                node: NodeId(id),
                name: format!("rack-{}", ["a", "b", "c"][id as usize - 1]),
                rack: String::new(),
                peer_address: format!("192.0.2.1{id}:7701"),
                control: vec![format!("http://192.0.2.1{id}:8000")],
                identities: Vec::new(),
                version: "0.1.0".into(),
            }));
        }
        Arc::new(fake)
    }

    /// Lets cluster time be `seconds` after formation.
    pub(crate) fn at(&self, seconds: u64) {
        self.counting.clock.set_wall(FORMED + seconds as i64 * 1000);
        self.apply_at(ClusterTime::from_millis(seconds * 1000), Command::Tick);
    }

    /// Applies one command now.
    pub(crate) fn apply(&self, command: Command) -> Outcome {
        self.apply_at(ClusterTime::ZERO, command)
    }

    fn apply_at(&self, stamp: ClusterTime, command: Command) -> Outcome {
        let mut state = self.state.write();
        let index = state.applied() + 1;
        state.apply(index, &Batch { stamp, commands: vec![command] }).remove(0)
    }
}

impl Backend for Fake {
    fn statistics(&self) -> &Arc<Statistics> {
        &self.counting.statistics
    }

    fn state(&self) -> &RwLock<State> {
        &self.state
    }

    fn report(&self) -> NodeReport {
        let led = self.led.load(Ordering::Relaxed);
        let applied = self.state.read().applied();
        let member = |id: u64, role, applied| Member {
            id: NodeId(id),
            address: format!("192.0.2.1{id}:7701"),
            role,
            applied,
            reachable: Some(led),
            active: (id < 3).then_some(Active { version: ConfigVersion(1), problems: 0 }),
        };
        NodeReport {
            node: NodeId(2),
            name: "rack-b".into(),
            rack: "b".into(),
            cluster: "c0ffee".into(),
            pid: 4628,
            uptime: Duration::from_secs(70),
            since_reload: Duration::from_secs(7),
            sockets: Sockets::Ready,
            active_config: self.state.read().view().config_version(),
            config_problems: self.inactive.lock().clone().into_iter().collect(),
            term: 4,
            leader: led.then_some(NodeId(1)),
            last_log: applied,
            committed: applied,
            applied,
            ready: if led { Ok(()) } else { Err("no leader has been heard for 3 s".into()) },
            members: vec![
                member(1, Role::Leader, Some(applied)),
                member(2, Role::Follower, None),
                member(3, Role::Learner, Some(applied - 1)),
            ],
        }
    }

    fn readings(&self) -> Readings {
        Readings { name: "rack-b".into(), ..Readings::default() }
    }

    fn submit(&self, command: Command, _: Duration) -> Answer<'_, Result<Done, SubmitError>> {
        let answer = if self.silent.load(Ordering::Relaxed) {
            Err(SubmitError::Unknown("the leader went away".into()))
        } else if self.led.load(Ordering::Relaxed) {
            let outcome = self.apply(command);
            Ok(Done { index: self.state.read().applied(), outcome })
        } else {
            Err(SubmitError::NotSubmitted("no leader was found within 5 s".into()))
        };
        Box::pin(async { answer })
    }

    fn set_config(
        &self,
        new: NewConfig,
        _: Arc<Config>,
        within: Duration,
    ) -> Answer<'_, Result<Done, SubmitError>> {
        let (chunks, set) = new.commands(0);
        let chunks = chunks.into_iter().map(Command::ConfigChunk);
        Box::pin(async move {
            for chunk in chunks {
                self.submit(chunk, within).await?;
            }
            self.submit(Command::SetConfig(set), within).await
        })
    }

    fn read_barrier(&self, _: Duration) -> Answer<'_, Result<(), String>> {
        let led = self.led.load(Ordering::Relaxed);
        Box::pin(
            async move { if led { Ok(()) } else { Err("no leader was found within 5 s".into()) } },
        )
    }

    fn activated(&self, _: ConfigVersion, _: Duration) -> Answer<'_, Result<(), String>> {
        let inactive = self.inactive.lock().clone();
        Box::pin(async move { inactive.map_or(Ok(()), Err) })
    }

    fn transfer_leader(
        &self,
        to: Option<NodeId>,
        _: Duration,
    ) -> Answer<'_, Result<NodeId, String>> {
        let led = self.led.load(Ordering::Relaxed);
        Box::pin(async move {
            if led { Ok(to.unwrap_or(NodeId(2))) } else { Err("there is no leader".into()) }
        })
    }
}
