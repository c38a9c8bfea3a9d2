//! The lease history of three nodes: the same everywhere, whole after a crash, and its gaps filled from
//! peers.

use super::*;
use crate::history::{Chunk, History, Limits, NotRead, Record};
use crate::peers::gaps;
use crate::state::{Command, ConfigVersion, LeaseState, Position, PutLease, PutMode, SetConfig};
use crate::types::{HwAddr, Lifetime, SubnetId};

const CONFIG: &str = r#"{"Dhcp4":{"subnet4":[{"id":1,"subnet":"10.0.0.0/8"}]}}"#;

fn put(n: u32) -> Command {
    let [_, b, c, d] = n.to_be_bytes();
    Command::PutLease(PutLease {
        mode: PutMode::Upsert,
        address: [10, b, c, d].into(),
        subnet: SubnetId(1),
        hw: HwAddr::ethernet([2, 0, 0, b, c, d]),
        client_id: None,
        lifetime: Lifetime::from_secs(3600),
        expire: None,
        hostname: String::new(),
        fqdn_fwd: false,
        fqdn_rev: false,
        state: LeaseState::Assigned,
        user_context: String::new(),
    })
}

async fn propose(nodes: &[Node], commands: Vec<Command>) -> Applied {
    loop {
        let place = leader(nodes).await;
        match nodes[place].raft().propose(commands.clone()).await {
            Ok(applied) => return applied,
            Err(ProposeError::NotLeader(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn history(node: &Node) -> Arc<History> {
    node.raft().history().unwrap().clone()
}

/// All events from the beginning on, and whether a gap was come upon.
fn told(node: &Node) -> (Vec<Record>, bool) {
    let history = history(node);
    let first = history.covered().first().map_or(0, |run| run.0);
    let (mut at, mut all, mut gap) = (Position::at(first), Vec::new(), false);
    loop {
        match history.after(at, 100) {
            Ok(Chunk { next, .. }) if next == at => return (all, gap),
            Ok(Chunk { records, next }) => {
                all.extend(records);
                at = next;
            }
            Err(NotRead::Gone(gone)) => (at, gap) = (gone.first, true),
            Err(NotRead::Io(error)) => panic!("{error}"),
        }
    }
}

impl Node {
    /// The power goes.
    async fn crash(&mut self) {
        let Running { raft, stop, server, .. } = self.running.take().unwrap();
        server.abort();
        drop(stop);
        let _ = server.await;
        raft.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_tell_the_same_after_crashes_and_fill_their_gaps() {
    let options = Options {
        keeping: Keeping {
            snapshot_bytes: 4_000,
            snapshot_seconds: 3_600,
            keep_bytes: 4_000,
            history: Some(Limits::new(Duration::from_secs(86_400), 1 << 30)),
            hash_every: hashes::EVERY,
        },
        log: LogSettings { cache_bytes: 4_096, segment_bytes: 4_096 },
    };
    let mut nodes = [Node::new(), Node::new(), Node::new()];
    start_all(&mut nodes, options).await;
    let set = propose(&nodes, vec![Command::SetConfig(SetConfig::json(CONFIG))]).await;
    assert_eq!(set.outcomes, [crate::state::Outcome::ConfigSet(ConfigVersion(1))]);
    for n in 0..40 {
        propose(&nodes, vec![put(n), put(n + 1)]).await;
    }
    let place = leader(&nodes).await;
    let behind = (place + 1) % 3;
    nodes[behind].crash().await;
    for n in 40..200 {
        propose(&nodes, vec![put(n), put(n + 1)]).await;
    }
    // A snapshot is taken, and the log cut off, while entries come.
    let purged = |node: &Node| node.raft().status().purged > Some(set.index + 60);
    let all_purged = |nodes: &[Node]| nodes.iter().filter(|node| node.is_running()).all(purged);
    for _ in 0..600 {
        if all_purged(&nodes) {
            break;
        }
        propose(&nodes, vec![Command::Tick]).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(all_purged(&nodes), "the others keep what the node would need");
    let initial = addresses(&nodes);
    nodes[behind].start(&initial, options).await.unwrap();
    // Something must follow the snapshot: before, nobody knows of a gap between two entries.
    let applied = nodes[place].raft().applied().applied.unwrap();
    all_applied(&nodes, applied.index).await;
    let last = propose(&nodes, vec![put(1_000)]).await;
    all_applied(&nodes, last.index).await;
    let (wanted, gap) = told(&nodes[place]);
    assert!(!gap && wanted.len() == 402, "{}", wanted.len());
    assert!(told(&nodes[behind]).0.len() < wanted.len(), "a snapshot was taken over");
    let (raft, own) = (nodes[behind].raft().clone(), history(&nodes[behind]));
    // A gap is seen once what follows it is in a file, and an idle writer waits some seconds for more.
    let whole = (wanted, false);
    for _ in 0..600 {
        if told(&nodes[behind]) == whole {
            break;
        }
        gaps::step(&raft, &own).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (wanted, _) = &whole;
    assert!(told(&nodes[behind]) == whole, "{:?}", own.covered());
    // Whoever holds them keeps the log of the node open.
    drop((raft, own));

    // All at once, and what had not been written yet is told again by the log.
    for node in &mut nodes {
        node.crash().await;
    }
    start_all(&mut nodes, options).await;
    let last = propose(&nodes, vec![put(1_001)]).await;
    all_applied(&nodes, last.index).await;
    let (after, gap) = told(&nodes[0]);
    assert!(!gap && after.len() == 403 && after[..402] == wanted[..]);
    assert!(nodes.iter().all(|node| told(node) == (after.clone(), false)));
}
