//! A backend without Raft: one state, applied at once; or a cluster without a leader.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::backend::{
    Acted, Answer, Backend, Done, Effect, Interface, LogMeasured, Member, NodeReport, Role,
    Sockets, SubmitError,
};
use crate::config::Config;
use crate::dhcp::v4::Place;
use crate::history::{History, Limits};
use crate::net::{InterfaceAddress, InterfaceState};
use crate::observe::alarms;
use crate::observe::metrics::Readings;
use crate::observe::statistics::Statistics;
use crate::observe::statistics::testing::Counting;
use crate::peers::Active;
use crate::raft::backup::Backup;
use crate::raft::hashes::{Comparison, Told};
use crate::raft::{Changed, Token};
use crate::serve::circuits::{Circuit, Counts, Listing};
use crate::serve::service::Holds;
use crate::state::document::Editing;
use crate::state::{
    Batch, Command, ConfigVersion, Copied, EditConfig, Liveness, NewConfig, NodeInfo, Outcome,
    Source, State, WallOffset, document,
};
use crate::storage::{Base, LogId};
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
    /// How many commands are answered before submitting ends without an outcome.
    pub(crate) before_silence: AtomicUsize,
    /// Name change requests: whether to add, and the address.
    pub(crate) name_changes: Mutex<Vec<(bool, Ipv4Addr)>>,
    /// The last file of leases.
    pub(crate) leases_written: Mutex<String>,
    /// What happened, if a test wants it kept.
    history: Mutex<Option<Arc<History>>>,
    /// Why a configuration cannot be activated.
    pub(crate) inactive: Mutex<Option<String>>,
    /// Who keeps it from answering.
    pub(crate) disabled: Mutex<Holds>,
    /// Whether the third node has a vote.
    pub(crate) three: AtomicBool,
    /// Whether it goes by Kea's name.
    pub(crate) as_kea: AtomicBool,
    /// What is the matter.
    pub(crate) alarms: Mutex<alarms::Memory>,
}

impl Fake {
    /// A node of a formed cluster of three with [`CONFIG`].
    pub(crate) fn new() -> Arc<Fake> {
        let state = Arc::new(RwLock::new(State::new()));
        let counting = Counting::new(Arc::clone(&state), FORMED);
        let fake = Fake {
            state,
            counting,
            before_silence: AtomicUsize::new(usize::MAX),
            name_changes: Mutex::default(),
            leases_written: Mutex::default(),
            led: AtomicBool::new(true),
            silent: AtomicBool::new(false),
            history: Mutex::new(None),
            inactive: Mutex::new(None),
            disabled: Mutex::default(),
            three: AtomicBool::new(false),
            as_kea: AtomicBool::new(false),
            alarms: Mutex::default(),
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
                level: 2,
            }));
        }
        Arc::new(fake)
    }

    /// Lets cluster time be `seconds` after formation.
    pub(crate) fn at(&self, seconds: u64) {
        self.counting.clock.set_wall(FORMED + seconds as i64 * 1000);
        self.apply_at(ClusterTime::from_millis(seconds * 1000), Command::Tick);
    }

    /// Lets a node be restarted with a program that knows this feature level.
    pub(crate) fn tells(&self, node: u64, level: u32) {
        let info = self.state.read().view().meta().node(NodeId(node)).unwrap().info.clone();
        self.apply(Command::NodeInfo(NodeInfo { level, ..info.unwrap() }));
    }

    /// Makes it the machine of a cluster that was restored from what it was, an hour later.
    pub(crate) fn restored(&self) {
        let mut state = self.state.write();
        let (index, wall) = (state.applied(), state.view().meta().wall_millis(state.now()));
        state.begin_anew(&Copied {
            source: Source::Backup,
            cluster: 0xc0ffee,
            index,
            wall,
            passed: Duration::from_secs(3600),
            hold: true,
            longest: None,
        });
    }

    /// The last log position.
    pub(crate) fn index(&self) -> u64 {
        self.state.read().applied()
    }

    /// Applies one command now.
    pub(crate) fn apply(&self, command: Command) -> Outcome {
        self.apply_at(ClusterTime::ZERO, command)
    }

    /// What comes of an act.
    pub(crate) fn acted(&self, effect: &Effect) -> Result<Acted, String> {
        let led = self.led.load(Ordering::Relaxed);
        if !led
            && matches!(effect, Effect::TransferLeader(_) | Effect::Reclaim { .. } | Effect::Reload)
        {
            return Err("there is no leader".into());
        }
        let mut disabled = self.disabled.lock();
        Ok(match effect {
            Effect::TransferLeader(to) => Acted::Leads(to.unwrap_or(NodeId(2))),
            Effect::Disable(origin, period) => {
                disabled.hold(*origin, *period);
                Acted::Done
            }
            Effect::Enable(origin) => {
                disabled.release(*origin);
                Acted::Done
            }
            Effect::CompareStates => Acted::Compared(Comparison {
                index: Some(5),
                nodes: [
                    (NodeId(1), Told::Digest(7)),
                    (
                        NodeId(2),
                        Told::Digest(if self.three.load(Ordering::Relaxed) { 8 } else { 7 }),
                    ),
                    (NodeId(3), if led { Told::Digest(7) } else { Told::Silent }),
                ]
                .into(),
            }),
            Effect::ListCircuits => Acted::Circuits(circuits()),
            Effect::Reclaim { .. } => Acted::Reclaimed(3),
            Effect::MeasureLog { rate } => Acted::Measured(LogMeasured {
                micros: (1..=*rate).collect(),
                failed: 0,
                left_out: 0,
            }),
            Effect::Maintain(node, begins) => {
                let liveness = if *begins { Liveness::Maintenance } else { Liveness::Up };
                self.apply(Command::NodeLiveness(*node, liveness));
                Acted::Done
            }
            Effect::Drain { node, .. } => {
                self.apply(Command::NodeLiveness(*node, Liveness::Maintenance));
                Acted::Done
            }
            Effect::WriteFile(file) => {
                let name = file.name.as_deref().unwrap_or("kea-dhcp4.conf");
                if name.contains('/') {
                    return Err(format!("files are written into /written only, not to {name}"));
                }
                assert!(file.text.starts_with("{\n  \"Dhcp4\": {"), "a document");
                Acted::Written { file: format!("/written/{name}"), size: 7372 }
            }
            Effect::NameChange(change) => {
                self.name_changes.lock().push((change.add, change.lease.address));
                Acted::Done
            }
            Effect::WriteLeases(leases) => {
                if leases.name.contains('/') {
                    return Err(format!(
                        "files are written into /written only, not to {}",
                        leases.name
                    ));
                }
                let mut text = Vec::new();
                leases.print(&mut text).unwrap();
                *self.leases_written.lock() = String::from_utf8(text).unwrap();
                Acted::Written { file: format!("/written/{}", leases.name), size: 0 }
            }
            Effect::Reload => Acted::Reloaded("ABCD".into()),
            Effect::ChangeMembers(change) => match change.node {
                // The one that leads is slow today.
                NodeId(1) if !change.force => {
                    Acted::Unknown("no majority has agreed in time".into())
                }
                NodeId(2) if !change.force => {
                    return Err("node 2 cannot be spared: the reason".into());
                }
                node => {
                    let text = format!("Node {node}: {}.", change.verb);
                    Acted::Changed(Changed { index: 9, text })
                }
            },
            Effect::CreateToken(new) => Acted::Token {
                id: 7,
                token: Token::parse(
                    "leasehold-join-0000000000c0ffee-00112233445566778899aabbccddeeff",
                )
                .unwrap(),
                lasts: new.lasts,
                uses: new.uses,
            },
            Effect::Acknowledge(id, about) => {
                Acted::Acknowledged(self.alarms.lock().acknowledge(id, about.as_deref()))
            }
            Effect::Compact | Effect::Stop(_) => Acted::Done,
            Effect::DetectInterfaces => Acted::Interfaces(interfaces()),
        })
    }

    /// Lets two pools fill and a disk be slow.
    pub(crate) fn raise_alarms(&self) {
        let pool = |name: &str, used| alarms::Pool {
            name: name.into(),
            size: 100,
            used,
            ..alarms::Pool::default()
        };
        let facts = alarms::Facts {
            node: 2,
            wall: FORMED + 60_000,
            has_majority: true,
            pools: vec![pool("subnet 9", 85), pool("network floor-a", 95), pool("subnet 8", 80)],
            ..alarms::Facts::default()
        };
        alarms::judge(&facts, &mut self.alarms.lock());
    }

    fn apply_at(&self, stamp: ClusterTime, command: Command) -> Outcome {
        let mut state = self.state.write();
        let index = state.applied() + 1;
        let batch = Batch { stamp, commands: vec![command] };
        let Some(history) = &*self.history.lock() else {
            return state.apply(index, &batch).remove(0);
        };
        let mut events = Vec::new();
        let prepared = state.view().meta().prepare(&batch, &mut document::read).unwrap();
        let outcome = state.apply_telling(index, &batch, prepared, &mut events).remove(0);
        let wall = state.view().meta().wall_offset();
        history.record(index, state.now(), wall, &mut events);
        outcome
    }

    /// Keeps in `dir` what happens from now on.
    pub(crate) fn keep_history(&self, dir: &Path) -> Arc<History> {
        let limits = Limits::new(Duration::from_secs(86_400), 1 << 30);
        let history = History::open(dir, 1, limits, None).unwrap();
        *self.history.lock() = Some(history.clone());
        history
    }
}

/// Two interfaces; DHCP is served on the second.
fn interfaces() -> Arc<[Interface]> {
    let state = |index: u32, name: &str, address: [u8; 4]| InterfaceState {
        index,
        name: name.into(),
        mac: (index > 1).then_some([2, 0, 0, 0, 0, 0x10]),
        mtu: 1500,
        kind: if index > 1 { 1 } else { 772 },
        up: true,
        running: true,
        multicast: index > 1,
        broadcasts: index > 1,
        loopback: index == 1,
        addresses: vec![InterfaceAddress {
            address: address.into(),
            prefix_len: 24,
            broadcast: None,
        }],
    };
    Arc::new([
        Interface { state: state(1, "lo", [127, 0, 0, 1]), in_use: false },
        Interface { state: state(4, "eth0", [192, 0, 2, 1]), in_use: true },
    ])
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
        let third = if self.three.load(Ordering::Relaxed) { Role::Follower } else { Role::Learner };
        let member = |id: u64, role, applied| Member {
            id: NodeId(id),
            address: format!("192.0.2.1{id}:7701"),
            role,
            votes: role != Role::Learner,
            copy: false,
            applied,
            reachable: Some(led),
            active: (id < 3).then_some(Active { version: ConfigVersion(1), problems: 0 }),
            heard_ago: Some(Duration::from_millis(80)).filter(|_| id != 2),
            disabled: false,
        };
        NodeReport {
            node: NodeId(2),
            name: "rack-b".into(),
            rack: "b".into(),
            cluster: "c0ffee".into(),
            pid: 4628,
            processors: 4,
            uptime: Duration::from_secs(70),
            since_reload: Duration::from_secs(7),
            sockets: Sockets::Ready,
            active_config: self.state.read().view().config_version(),
            config_problems: self.inactive.lock().clone().into_iter().collect(),
            warnings: Vec::new(),
            alarms: self.alarms.lock().active().into(),
            term: 4,
            leader: led.then_some(NodeId(1)),
            last_log: applied,
            committed: applied,
            applied,
            ready: if led { Ok(()) } else { Err("no leader has been heard for 3 s".into()) },
            members: vec![
                member(1, Role::Leader, Some(applied)),
                member(2, Role::Follower, None),
                member(3, third, Some(applied - 1)),
            ],
            disabled_by: self.disabled.lock().origins(),
            queue: [1.5, 0.25, 0.0],
            wall: FORMED + 70_000,
            interfaces: interfaces(),
            as_kea: self.as_kea.load(Ordering::Relaxed),
        }
    }

    fn readings(&self) -> Readings {
        Readings { name: "rack-b".into(), ..Readings::default() }
    }

    fn history(&self) -> Option<Arc<History>> {
        self.history.lock().clone()
    }

    fn backup(&self) -> Backup {
        let state = self.state.read();
        let applied = Some(LogId { term: 4, node: 1, index: state.applied() });
        let base = Base { applied, ..Base::default() };
        Backup::of(state.freeze(), base, 0xc0ffee, NodeId(2), FORMED + 70_000)
    }

    fn submit(&self, command: Command, _: Duration) -> Answer<'_, Result<Done, SubmitError>> {
        let left = self.before_silence.load(Ordering::Relaxed);
        self.before_silence.store(left.saturating_sub(1), Ordering::Relaxed);
        let answer = if left == 0 || self.silent.load(Ordering::Relaxed) {
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

    fn edit_config(
        &self,
        edit: EditConfig,
        _: ConfigVersion,
        _: Editing,
        within: Duration,
    ) -> Answer<'_, Result<Done, SubmitError>> {
        self.submit(Command::EditConfig(edit), within)
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

    fn act(&self, effect: Effect, _: Duration) -> Answer<'_, Result<Acted, String>> {
        let acted = self.acted(&effect);
        Box::pin(async { acted })
    }
}

/// A circuit of each kind, and some that are forgotten.
fn circuits() -> Listing {
    let circuit = |place, discovers, first_leases, hold_limit, new_client_limit| Circuit {
        place,
        counts: Counts { discovers, first_leases, hold_limit, new_client_limit },
    };
    let port = Place::Circuit {
        circuit_id: Box::from(*b"ge-0/0/1:100"),
        remote_id: [2, 0, 0, 0, 0, 9].into(),
        relay: [198, 51, 100, 1].into(),
    };
    Listing {
        circuits: vec![
            circuit(port, 90_000, 500, 0, 80_000),
            circuit(Place::Relay([198, 51, 100, 2].into()), 40, 30, 2, 0),
            circuit(Place::Interface("eth0".into()), 7, 7, 0, 0),
        ],
        others: Counts { discovers: 5, first_leases: 4, hold_limit: 0, new_client_limit: 0 },
        forgotten: 3,
    }
}
