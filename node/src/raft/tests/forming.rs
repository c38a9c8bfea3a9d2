//! How clusters begin (R14), and who does not come back (R15).

use super::*;

fn wipe(node: &Node) {
    for entry in std::fs::read_dir(node.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
}

fn identity(node: &Node) -> Identity {
    IdentityFile::open(node.dir.path()).unwrap().1
}

fn set_identity(node: &Node, identity: &Identity) {
    IdentityFile::open(node.dir.path()).unwrap().0.write(identity).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_one_node_is_a_cluster_of_one() {
    let mut nodes = [Node::new()];
    start_all(&mut nodes, Options::default()).await;
    assert_eq!(write(&nodes, 5).await.outcomes.len(), 1);
    nodes[0].kill().await;
    start_all(&mut nodes, Options::default()).await;
    write(&nodes, 6).await;
    assert_eq!(nodes[0].value(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_formation_waits_for_every_node() {
    let mut nodes = [Node::new(), Node::new(), Node::new()];
    let initial = addresses(&nodes);
    let [a, b, c] = &mut nodes;
    let two = async {
        let both = join_all(vec![
            a.start(&initial, Options::default()),
            b.start(&initial, Options::default()),
        ]);
        tokio::time::timeout(Duration::from_millis(1_500), both).await.is_err()
    };
    assert!(two.await, "two of three formed a cluster");
    for node in [&*a, &*b] {
        assert_eq!(identity(node).seat, None);
    }
    let all = vec![
        a.start(&initial, Options::default()),
        b.start(&initial, Options::default()),
        c.start(&initial, Options::default()),
    ];
    for result in join_all(all).await {
        result.unwrap();
    }
    write(&nodes, 1).await;
    let clusters: Vec<u64> = nodes.iter().map(|node| node.raft().status().cluster).collect();
    assert!(clusters.iter().all(|cluster| *cluster == clusters[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_a_kill_at_any_step_of_formation_is_made_good_by_the_next_start() {
    // The steps leave their traces in the identity files and in nothing else, so each crash is a
    // set of files: who has the roster of an attempt, and whether it is final.
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Has {
        Nothing,
        Old,
        New,
        Final,
    }
    use Has::{Final, New, Nothing, Old};
    // The first is the coordinator.
    let crashes = [
        [Nothing, Nothing, New],
        [Nothing, New, New],
        [Nothing, Old, New],
        [Final, New, New],
        [Final, Final, New],
        [Final, Final, Final],
        [Old, New, New],
    ];
    for crash in crashes {
        let mut nodes = [Node::new(), Node::new(), Node::new()];
        nodes.sort_by_key(|node| node.address);
        let instances: Vec<u64> = nodes.iter().map(|node| identity(node).instance).collect();
        let roster: Vec<RosterNode> = (1..)
            .zip(nodes.iter().zip(&instances))
            .map(|(id, (node, instance))| RosterNode {
                node: NodeId(id),
                instance: *instance,
                address: node.address.to_string(),
                tls_name: String::new(),
            })
            .collect();
        for (at, has) in crash.into_iter().enumerate() {
            let cluster = match has {
                Nothing => continue,
                Old => 0xAAAA,
                New | Final => 0xBBBB,
            };
            let seat = crate::storage::Seat {
                cluster,
                node: roster[at].node,
                roster: roster.clone(),
                provisional: has != Final,
                started: false,
            };
            set_identity(&nodes[at], &Identity { instance: instances[at], seat: Some(seat) });
        }
        start_all(&mut nodes, Options::default()).await;
        write(&nodes, 1).await;
        let clusters: Vec<u64> = nodes.iter().map(|node| node.raft().status().cluster).collect();
        assert!(clusters.iter().all(|cluster| *cluster == clusters[0]), "{crash:?}");
        if crash.contains(&Final) {
            assert_eq!(clusters[0], 0xBBBB, "{crash:?}: a final roster stands");
        }
        for node in &mut nodes {
            node.kill().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_a_wiped_node_is_refused_and_told_why() {
    let mut nodes = [Node::new(), Node::new(), Node::new()];
    start_all(&mut nodes, Options::default()).await;
    let initial = addresses(&nodes);
    let acknowledged = write(&nodes, 7).await;
    // The coordinator is the one that could form a cluster by itself.
    let wiped = nodes.iter().position(|node| node.address == initial[0]).unwrap();
    let other = (wiped + 1) % 3;
    nodes[wiped].kill().await;
    wipe(&nodes[wiped]);
    let error = nodes[wiped].start(&initial, Options::default()).await.unwrap_err();
    assert!(error.contains("already belongs") && error.contains("join as a new node"), "{error}");

    // Also while another is down: two empty disks could otherwise vote an acknowledged entry away.
    nodes[other].kill().await;
    let error = nodes[wiped].start(&initial, Options::default()).await.unwrap_err();
    assert!(error.contains("join as a new node"), "{error}");
    nodes[other].start(&initial, Options::default()).await.unwrap();
    let next = write(&nodes, 8).await;
    assert!(next.index > acknowledged.index);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_a_node_whose_log_is_gone_does_not_vote_again() {
    let mut nodes = [Node::new()];
    start_all(&mut nodes, Options::default()).await;
    let initial = addresses(&nodes);
    write(&nodes, 7).await;
    eventually("the identity says that the log has begun", || {
        identity(&nodes[0]).seat.unwrap().started.then_some(())
    })
    .await;
    // The checkpoint is written at an orderly stop: with it alone the log must not be made anew.
    nodes[0].kill().await;
    for lost in ["log", "snapshots", "checkpoint"] {
        let _ = std::fs::remove_dir_all(nodes[0].dir.path().join(lost));
        let error = nodes[0].start(&initial, Options::default()).await.unwrap_err();
        assert!(error.contains("join as a new node"), "without {lost}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_a_list_without_this_node_is_an_error() {
    let mut node = Node::new();
    let other: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let error = node.start(&[other], Options::default()).await.unwrap_err();
    assert!(error.contains("does not contain"), "{error}");
}
