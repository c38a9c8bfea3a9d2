use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;

use super::*;
use crate::state::document::{self, Form};
use crate::state::{Batch, ConfigVersion, NewConfig, Note, Outcome, State};
use crate::types::{ClusterTime, NodeId};

const LEADER: NodeId = NodeId(2);

/// A leader that answers, refuses, or says nothing, and remembers what it got.
#[derive(Clone, Default)]
struct FakeLeader {
    got: Arc<Mutex<Vec<(Route, usize)>>>,
    refuse_first: Arc<AtomicUsize>,
    silent: Arc<Mutex<Vec<Route>>>,
    /// Above the first.
    levels: Arc<AtomicUsize>,
}

impl Transport for FakeLeader {
    async fn send(&self, route: Route, commands: Vec<Command>) -> batch::Result {
        self.got.lock().push((route, commands.len()));
        if self.silent.lock().contains(&route) {
            std::future::pending::<()>().await;
        }
        if self.refuse_first.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok() {
            return batch::Result::NotProposed;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        let outcomes = vec![Outcome::Noted; commands.len()];
        batch::Result::Applied { index: 9, stamp: ClusterTime::from_millis(90), outcomes }
    }

    fn level(&self) -> u32 {
        1 + u32::try_from(self.levels.load(Relaxed)).unwrap()
    }
}

/// The clock that the test has paused.
#[derive(Debug)]
struct TokioClock(tokio::time::Instant);

impl Clock for TokioClock {
    fn boottime(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
    fn wall(&self) -> i64 {
        0
    }
}

struct Rig {
    leader: FakeLeader,
    proposer: Proposer,
    task: JoinHandle<()>,
    route: watch::Sender<Route>,
    answers: Arc<Mutex<Vec<(u64, Answer)>>>,
    _round_trip: watch::Sender<Duration>,
}

fn rig(first: Route) -> Rig {
    let leader = FakeLeader::default();
    let (route, route_seen) = watch::channel(first);
    let (_round_trip, round_trip_seen) = watch::channel(Duration::ZERO);
    let answers: Arc<Mutex<Vec<(u64, Answer)>>> = Arc::default();
    let heap = Arc::clone(&answers);
    #[expect(clippy::disallowed_methods, reason = "tokio's own clock, which the test has paused")]
    let start = tokio::time::Instant::now();
    let (proposer, task) = Proposer::start(
        leader.clone(),
        Signals { route: route_seen, round_trip: round_trip_seen },
        Arc::new(move |more| heap.lock().extend(more)),
        Arc::new(TokioClock(start)),
    );
    Rig { leader, proposer, task, route, answers, _round_trip }
}

fn packets(tickets: std::ops::Range<u64>) -> Vec<Submission<u64>> {
    let deadline = Duration::from_secs(2);
    tickets
        .map(|ticket| Submission { ticket, command: Command::Tick, deadline, here_only: false })
        .collect()
}

fn committed() -> Answer {
    Answer::Committed(Committed {
        outcome: Outcome::Noted,
        index: 9,
        stamp: ClusterTime::from_millis(90),
    })
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_leader_and_gets_its_outcome() {
    let rig = rig(Route::Nowhere);
    let proposer = rig.proposer.clone();
    let call =
        tokio::spawn(async move { proposer.submit(Command::Tick, Duration::from_secs(1)).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(rig.leader.got.lock().is_empty());
    rig.route.send_replace(Route::To(LEADER));
    assert_eq!(call.await.unwrap(), committed());
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_leader_ends_in_time() {
    let rig = rig(Route::Nowhere);
    let answer = rig.proposer.submit(Command::Tick, Duration::from_secs(1)).await;
    assert_eq!(answer, Answer::Unsent(Unsent::NoLeader));
}

#[tokio::test(start_paused = true)]
async fn r27_commands_that_come_together_travel_together() {
    let rig = rig(Route::To(LEADER));
    assert!(rig.proposer.submit_packets(packets(0..3)).is_empty());
    assert!(rig.proposer.submit_packets(packets(3..200)).is_empty());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let to = Route::To(LEADER);
    assert_eq!(*rig.leader.got.lock(), [(to, 128), (to, 72)]);
    assert_eq!(rig.answers.lock().len(), 200);
    assert!(rig.answers.lock().iter().all(|(_, answer)| *answer == committed()));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_no_longer_leads_is_asked_again_after_a_moment() {
    let rig = rig(Route::To(LEADER));
    rig.leader.refuse_first.store(3, Relaxed);
    assert_eq!(rig.proposer.submit(Command::Tick, Duration::from_secs(1)).await, committed());
    assert_eq!(rig.leader.got.lock().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_been_proposed_is_not_sent_to_the_next_leader() {
    let rig = rig(Route::To(LEADER));
    rig.leader.silent.lock().push(Route::To(LEADER));
    let proposer = rig.proposer.clone();
    let call =
        tokio::spawn(async move { proposer.submit(Command::Tick, Duration::from_secs(1)).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    rig.route.send_replace(Route::To(NodeId(3)));
    assert_eq!(call.await.unwrap(), Answer::Unknown);
    assert_eq!(rig.leader.got.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn r3_a_release_that_may_have_been_proposed_goes_to_the_next_leader_in_its_time() {
    let rig = rig(Route::To(LEADER));
    rig.leader.silent.lock().push(Route::To(LEADER));
    let release = || {
        Command::Release(crate::state::GiveUp {
            origin: crate::state::Origin { node: NodeId(1), incarnation: 1, sequence: 1 },
            client: crate::state::Client {
                id: None,
                hw: crate::types::HwAddr::ethernet([2, 0, 0, 0, 0, 1]),
                match_id: true,
                claims: None,
            },
            address: [192, 0, 2, 1].into(),
            generation: None,
            arrived: ClusterTime::ZERO,
            circuit: 0,
            relayed: false,
        })
    };
    let submit = |ticket, millis| {
        let deadline = Duration::from_millis(millis);
        let it = Submission { ticket, command: release(), deadline, here_only: false };
        assert!(rig.proposer.submit_packets(vec![it]).is_empty());
    };
    submit(1, 200);
    submit(2, 2_000);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(*rig.answers.lock(), [(1, Answer::Unknown)]);
    rig.route.send_replace(Route::To(NodeId(3)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(*rig.answers.lock(), [(1, Answer::Unknown), (2, committed())]);
    assert_eq!(rig.leader.got.lock().last(), Some(&(Route::To(NodeId(3)), 1)));
}

#[tokio::test(start_paused = true)]
async fn a_duty_goes_nowhere_but_here() {
    let rig = rig(Route::To(LEADER));
    let answer = rig.proposer.submit_here(Command::Tick, Duration::from_secs(1)).await;
    assert_eq!(answer, Answer::Unsent(Unsent::NoLeader));
    rig.route.send_replace(Route::Here);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(rig.proposer.submit_here(Command::Tick, Duration::from_secs(1)).await, committed());
}

#[tokio::test(start_paused = true)]
async fn what_is_too_much_is_refused_at_once() {
    let rig = rig(Route::Nowhere);
    let count = batch::QUEUE as u64 + 100;
    assert!(rig.proposer.submit_packets(packets(0..count)).is_empty());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(rig.answers.lock().len(), 100);
    assert!(rig.answers.lock().iter().all(|(_, answer)| *answer == Answer::Unsent(Unsent::Full)));
    for _ in 0..CHANNEL {
        let _ = rig.proposer.submit_packets(packets(0..1));
    }
    // The task has had no chance to look: its channel is full as well.
    assert_eq!(rig.proposer.submit_packets(packets(7..8)), [(7, Answer::Unsent(Unsent::Full))]);
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_its_last_handle_and_answers_everything() {
    let rig = rig(Route::Nowhere);
    assert!(rig.proposer.submit_packets(packets(0..2)).is_empty());
    drop(rig.proposer);
    rig.task.await.unwrap();
    let stopped = Answer::Unsent(Unsent::Stopped);
    assert_eq!(*rig.answers.lock(), [(0, stopped.clone()), (1, stopped)]);
}

/// A leader with a machine, whose answers get lost: each in four before the command was applied, and
/// each in four after it.
#[derive(Clone, Default)]
struct Forgetful {
    state: Arc<Mutex<State>>,
    sent: Arc<AtomicUsize>,
}

impl Transport for Forgetful {
    async fn send(&self, _: Route, commands: Vec<Command>) -> batch::Result {
        let fate = self.sent.fetch_add(1, Relaxed) % 4;
        tokio::time::sleep(Duration::from_millis(1)).await;
        if fate == 1 {
            return batch::Result::Lost;
        }
        let (stamp, mut state) = (ClusterTime::from_millis(90), self.state.lock());
        let index = state.applied() + 1;
        let outcomes = state.apply(index, &Batch { stamp, commands });
        match fate {
            2 => batch::Result::Lost,
            _ => batch::Result::Applied { index, stamp, outcomes },
        }
    }

    fn level(&self) -> u32 {
        self.state.lock().view().meta().feature_level()
    }
}

#[tokio::test(start_paused = true)]
async fn r25_a_configuration_is_accepted_once_whatever_is_lost_on_the_way() {
    let leader = Forgetful::default();
    let (_route, route) = watch::channel(Route::To(LEADER));
    let (_round_trip, round_trip) = watch::channel(Duration::ZERO);
    #[expect(clippy::disallowed_methods, reason = "tokio's own clock, which the test has paused")]
    let start = tokio::time::Instant::now();
    let signals = Signals { route, round_trip };
    let clock = Arc::new(TokioClock(start));
    let (proposer, _task) = Proposer::start(leader.clone(), signals, Arc::new(|_| {}), clock);
    let mut seed = 1u64;
    let noise: String = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{seed:016x}")
    })
    .take(60_000)
    .collect();
    for (version, text) in [
        (1, r#"{"Dhcp4": {}}"#.to_owned()),
        (2, format!(r#"{{"Dhcp4": {{"user-context": {{"noise": "{noise}"}}}}}}"#)),
    ] {
        let text = document::pack(Form::Json, &text);
        let new = NewConfig { expected: None, text: text.clone(), level: 1, note: Note::default() };
        let answer = proposer.submit_config(new, 10 + version, Duration::from_secs(60)).await;
        let Answer::Committed(done) = answer else { panic!("{answer:?}") };
        assert_eq!(done.outcome, Outcome::ConfigSet(ConfigVersion(version)));
        let state = leader.state.lock();
        assert_eq!(state.view().config_version(), ConfigVersion(version));
        assert_eq!(state.view().meta().current().unwrap().text(), Some(&text));
    }
    assert!(leader.sent.load(Relaxed) > 10, "it went in pieces");
}

#[tokio::test(start_paused = true)]
async fn r25_a_configuration_whose_pieces_find_no_leader_changes_nothing() {
    let rig = rig(Route::Nowhere);
    let text = document::pack(Form::Json, &format!("{{\"x\": \"{}\"}}", "y".repeat(1 << 20)));
    let new = NewConfig { expected: None, text, level: 1, note: Note::default() };
    let answer = rig.proposer.submit_config(new, 1, Duration::from_secs(3)).await;
    assert_eq!(answer, Answer::Unsent(Unsent::NoLeader));
}

#[tokio::test(start_paused = true)]
async fn r24_what_an_older_leader_cannot_read_does_not_leave_the_node() {
    let rig = rig(Route::To(LEADER));
    let within = Duration::from_secs(1);
    let answer = rig.proposer.submit(Command::RemoveToken(7), within).await;
    assert_eq!(answer, Answer::Unsent(Unsent::NotYet(2)));
    assert!(rig.leader.got.lock().is_empty());
    let Answer::Unsent(why) = answer else { unreachable!() };
    assert!(why.to_string().contains("feature level 2"), "{why}");
    // What is older goes its way, also beside it.
    assert!(matches!(rig.proposer.submit(Command::Tick, within).await, Answer::Committed(_)));
    rig.leader.levels.store(1, Relaxed);
    let answer = rig.proposer.submit(Command::RemoveToken(7), within).await;
    assert!(matches!(answer, Answer::Committed(_)), "{answer:?}");
}
