//! Elections, proposals, reads, snapshots and restarts.

use super::*;
use crate::state::Outcome;
use leasehold_proto::raft as raft_proto;
use leasehold_proto::raft::raft_client::RaftClient;
use tonic::Request;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_form_elect_and_go_on_after_the_leader_is_killed() {
    let mut nodes = [Node::new(), Node::new(), Node::new()];
    start_all(&mut nodes, Options::default()).await;
    let first = write(&nodes, 1).await;
    assert_eq!(first.outcomes, [Outcome::Noted]);
    all_applied(&nodes, first.index).await;
    assert!(nodes.iter().all(|node| node.value() == 1));

    let old = leader(&nodes).await;
    nodes[old].kill().await;
    let second = write(&nodes, 2).await;
    assert!(second.index > first.index);
    assert!(second.stamp >= first.stamp, "R10");
    all_applied(&nodes, second.index).await;

    let initial = addresses(&nodes);
    nodes[old].start(&initial, Options::default()).await.unwrap();
    all_applied(&nodes, second.index).await;
    assert_eq!(nodes[old].value(), 2);

    for node in &mut nodes {
        node.kill().await;
    }
    start_all(&mut nodes, Options::default()).await;
    let third = write(&nodes, 3).await;
    assert!(third.index > second.index);
    assert!(third.stamp >= second.stamp, "R12: the clock goes on");
    all_applied(&nodes, third.index).await;
    assert!(nodes.iter().all(|node| node.value() == 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_refuses_proposals_and_names_the_leader() {
    let mut nodes = [Node::new(), Node::new(), Node::new()];
    start_all(&mut nodes, Options::default()).await;
    write(&nodes, 1).await;
    let place = leader(&nodes).await;
    let id = nodes[place].raft().id();
    let follower = nodes[(place + 1) % 3].raft();
    eventually("the follower knows the leader", || (follower.leader() == Some(id)).then_some(()))
        .await;
    let refused = follower.propose(vec![Command::Tick]).await;
    assert_eq!(refused, Err(ProposeError::NotLeader(Some(id))));
    let many = vec![Command::Tick; Batch::MAX + 1];
    assert_eq!(nodes[place].raft().propose(many).await, Err(ProposeError::TooMany));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_on_any_node_sees_what_was_acknowledged_before() {
    let mut nodes = [Node::new(), Node::new(), Node::new()];
    start_all(&mut nodes, Options::default()).await;
    for value in 1..20 {
        let applied = write(&nodes, value).await;
        let node = &nodes[value as usize % 3];
        let index = node.raft().read_barrier().await.unwrap();
        assert!(index >= applied.index);
        assert_eq!(node.value(), value);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_committed_and_no_read_is_served() {
    let mut nodes = [Node::new(), Node::new(), Node::new()];
    start_all(&mut nodes, Options::default()).await;
    write(&nodes, 1).await;
    let place = leader(&nodes).await;
    for (at, node) in nodes.iter_mut().enumerate() {
        if at != place {
            node.kill().await;
        }
    }
    let raft = nodes[place].raft();
    let change = raft.propose(vec![Command::SetWallOffset(WallOffset(9))]);
    let outcome = tokio::time::timeout(Duration::from_millis(300), change).await;
    assert!(!matches!(outcome, Ok(Ok(_))));
    assert_eq!(raft.read_barrier().await, Err(NoLeader));
    assert_eq!(nodes[place].value(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_on_request() {
    let mut nodes = [Node::new(), Node::new(), Node::new()];
    start_all(&mut nodes, Options::default()).await;
    write(&nodes, 1).await;

    // To a named node, and to the one that the leader finds best.
    hand_over(&nodes, |nodes, place| (place, Some(nodes[(place + 1) % 3].raft().id()))).await;
    write(&nodes, 2).await;
    hand_over(&nodes, |_, place| (place, None)).await;
    // Asked of a follower, the leader does it, or says why not.
    hand_over(&nodes, |nodes, place| ((place + 1) % 3, Some(nodes[(place + 2) % 3].raft().id())))
        .await;
    eventually_refused(&nodes).await;
}

/// Asks the node that `ask` names, given the leader's place, to have leadership handed over as it says,
/// until that was done. On a starved machine a leader may lose its office while it is asked: then it is
/// nobody's to hand over, and the answer must be just that.
async fn hand_over(nodes: &[Node], ask: impl Fn(&[Node], usize) -> (usize, Option<NodeId>)) {
    for _ in 0..100 {
        let place = leader(nodes).await;
        let was = nodes[place].raft().id();
        let (asked, target) = ask(nodes, place);
        match nodes[asked].raft().transfer_leader(target).await {
            Ok(leads) => {
                assert!(target.is_none_or(|target| target == leads), "{target:?}: {leads}");
                // If not, another led when it was asked, and chose the one that led before.
                if leads != was {
                    return;
                }
            }
            Err(error) => assert!(is_between_leaders(&error), "{error:?}"),
        }
    }
    panic!("leadership is never handed over");
}

/// A follower passes on what the leader says against it.
async fn eventually_refused(nodes: &[Node]) {
    let why = TransferError::NoTarget.to_string();
    for _ in 0..100 {
        let place = leader(nodes).await;
        let follower = nodes[(place + 1) % 3].raft();
        match follower.transfer_leader(Some(NodeId(77))).await {
            Err(TransferError::Refused(_, said)) if said == why => return,
            // The follower leads by now, and says it itself.
            Err(TransferError::NoTarget) => {}
            Err(error) => assert!(is_between_leaders(&error), "{error:?}"),
            Ok(leads) => panic!("{leads} leads, and 77 was asked for"),
        }
    }
    panic!("never refused");
}

/// Whether the request met a change of leaders, its own or one by chance.
fn is_between_leaders(error: &TransferError) -> bool {
    let told = |said: &str| {
        let no_leader = TransferError::NotLeader(None).to_string();
        [no_leader, TransferError::TimedOut.to_string()].iter().any(|own| own == said)
    };
    match error {
        TransferError::NotLeader(_) | TransferError::TimedOut => true,
        TransferError::Refused(_, said) => told(said),
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lags_behind_the_log_gets_a_snapshot() {
    let options = Options {
        keeping: Keeping {
            snapshot_bytes: 4_000,
            snapshot_seconds: 3_600,
            keep_bytes: 4_000,
            history: None,
            hash_every: hashes::EVERY,
        },
        log: LogSettings { cache_bytes: 4_096, segment_bytes: 4_096 },
    };
    let mut nodes = [Node::new(), Node::new(), Node::new()];
    start_all(&mut nodes, options).await;
    let first = write(&nodes, 1).await;
    all_applied(&nodes, first.index).await;
    let place = leader(&nodes).await;
    let behind = (place + 1) % 3;
    nodes[behind].kill().await;
    for value in 2..400 {
        write(&nodes, value).await;
    }
    eventually("the others purge what the node would need", || {
        let purged = |node: &Node| node.raft().status().purged > Some(first.index + 100);
        nodes.iter().filter(|node| node.is_running()).all(purged).then_some(())
    })
    .await;
    let initial = addresses(&nodes);
    nodes[behind].start(&initial, options).await.unwrap();
    let last = write(&nodes, 400).await;
    all_applied(&nodes, last.index).await;
    assert_eq!(nodes[behind].value(), 400);
    assert!(nodes[behind].raft().status().snapshot > Some(first.index + 100));

    for node in &mut nodes {
        node.kill().await;
    }
    start_all(&mut nodes, options).await;
    let last = write(&nodes, 401).await;
    all_applied(&nodes, last.index).await;
    let digests: Vec<u64> =
        nodes.iter().map(|node| node.running.as_ref().unwrap().state.read().digest()).collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_shows_members_and_how_far_they_are() {
    let mut nodes = [Node::new(), Node::new(), Node::new()];
    start_all(&mut nodes, Options::default()).await;
    let applied = write(&nodes, 1).await;
    all_applied(&nodes, applied.index).await;
    let place = leader(&nodes).await;
    let status = eventually("all matched", || {
        let status = nodes[place].raft().status();
        status.members.iter().all(|member| member.lag == Some(0)).then_some(status)
    })
    .await;
    assert_eq!(status.role, Role::Leader);
    assert_eq!(status.leader, Some(status.id));
    assert_eq!(status.members.len(), 3);
    for member in &status.members {
        assert!(member.voter);
        assert_eq!(member.heard_ago.is_none(), member.node == status.id);
    }
    assert_eq!(status.committed, status.applied);
    assert_eq!(status.stopped, None);
    assert_eq!(status.refused, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_a_call_that_names_other_ends_is_refused_and_counted() {
    let mut nodes = [Node::new()];
    start_all(&mut nodes, Options::default()).await;
    write(&nodes, 1).await;
    let (node, address) = (&nodes[0], nodes[0].address.to_string());
    let me = me(&node.raft().inner.identity).unwrap();
    let right = Member { address: address.clone(), instance: me.instance, ..Member::default() };
    let vote = |channels: Channels, to: u64, member: Member| async move {
        let channel = channels.get(to, &member, Purpose::Append).unwrap();
        let request = raft_proto::VoteRequest {
            vote: Some(raft_proto::Vote { term: 0, node: 9, committed: false }),
            ..Default::default()
        };
        RaftClient::new(channel).pre_vote(Request::new(request)).await
    };
    let peer = Me { node: 9, instance: 99, ..me };
    vote(Channels::new(peer, None), 1, right.clone()).await.unwrap();
    let other_cluster = Channels::new(Me { cluster: me.cluster + 1, ..peer }, None);
    let emptied = Member { instance: me.instance + 1, ..right.clone() };
    let impostor = Channels::new(Me { node: 1, instance: 99, ..me }, None);
    for (channels, to, member) in [
        (other_cluster, 1, right.clone()),
        (Channels::new(peer, None), 2, right.clone()),
        (Channels::new(peer, None), 1, emptied),
        (impostor, 1, right),
    ] {
        let status = vote(channels, to, member).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::PermissionDenied, "{status}");
    }
    let bare = RaftClient::connect(format!("http://{address}")).await.unwrap();
    let status = { bare }.pre_vote(raft_proto::VoteRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    assert_eq!(node.raft().status().refused, 5);
}
