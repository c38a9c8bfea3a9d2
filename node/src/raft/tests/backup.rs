//! Backups, and clusters made from them.

use std::fs;

use super::*;

/// When backups are taken here.
const SAVED: i64 = 1_795_470_000_000;

/// A backup of what `node` has, in a file.
pub(super) fn save(node: &Node, dir: &Path) -> std::path::PathBuf {
    let file = dir.join("backup");
    node.raft().backup(SAVED).write(fs::File::create(&file).unwrap()).unwrap();
    file
}

/// An empty node, and what would make it one of a new cluster.
pub(super) fn into_new(file: &Path) -> (Node, Restore) {
    let node = Node::new();
    let restore = Restore {
        file: file.to_path_buf(),
        dir: node.dir.path().to_path_buf(),
        address: node.address.to_string(),
        cluster: None,
        hold: true,
        longest: None,
        wall: SAVED + 60_000,
    };
    (node, restore)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_cluster_goes_on_behind_the_backup_under_an_id_of_its_own() {
    let mut nodes = [Node::new(), Node::new(), Node::new()];
    start_all(&mut nodes, Options::default()).await;
    write(&nodes, 1).await;
    let last = write(&nodes, 2).await;
    all_applied(&nodes, last.index).await;
    let place = tempfile::tempdir().unwrap();
    let file = save(&nodes[1], place.path());
    // What comes later is not in it.
    write(&nodes, 3).await;
    let (term, cluster) = (nodes[0].raft().status().term, nodes[0].raft().status().cluster);

    let (mut one, wanted) = into_new(&file);
    let restored = restore(&wanted).unwrap();
    assert_eq!((restored.backup.cluster, restored.founded.node), (cluster, NodeId(4)));
    assert_ne!(restored.founded.cluster, cluster);
    let again = restore(&wanted).unwrap_err().to_string();
    assert!(again.contains("is not empty"), "never written over: {again}");
    let same = Restore { cluster: Some(cluster), ..into_new(&file).1 };
    assert!(matches!(restore(&same), Err(RestoreError::SameCluster(_))));

    assert_eq!(restored.age, Duration::from_secs(60));
    let hold = restored.hold.unwrap();
    assert_eq!((hold.cluster, hold.index), (cluster, restored.backup.index()));
    let address = one.address;
    one.start(&[address], Options::default()).await.unwrap();
    let mut alone = [one];
    assert_eq!(alone[leader(&alone).await].value(), 2);
    let status = alone[0].raft().status();
    assert!(status.term > term, "{} after {term}", status.term);
    let next = write(&alone, 7).await;
    assert!(next.index > last.index && next.stamp >= last.stamp.plus(restored.age));
    let recovery =
        *alone[0].running.as_ref().unwrap().state.read().view().meta().recovery().unwrap();
    assert_eq!(recovery, hold, "R28: the hold is in the machine");
    // It lasts: the log, the vote and the identity are all there.
    alone[0].kill().await;
    alone[0].start(&[address], Options::default()).await.unwrap();
    leader(&alone).await;
    assert_eq!((alone[0].value(), alone[0].raft().id()), (7, NodeId(4)));

    // Between the two clusters nothing is taken.
    let mut channels = RaftEnds { from: nodes[0].raft(), to: &alone[0] };
    let refused = channels.call().await;
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");
    assert!(refused.message().contains("this is"), "{refused}");
    assert!(alone[0].raft().guard().refused() > 0);
}

/// A call of a node of one cluster that reaches a node of another at its address.
struct RaftEnds<'a> {
    from: &'a Raft,
    to: &'a Node,
}

impl RaftEnds<'_> {
    async fn call(&mut self) -> tonic::Status {
        let member = Member { address: self.to.address.to_string(), ..Member::default() };
        let id = self.to.raft().id().0;
        let channel = self.from.inner.channels.get(id, &member, Purpose::Forward).unwrap();
        ClusterClient::new(channel).read_index(proto::ReadIndexRequest {}).await.unwrap_err()
    }
}

#[test]
fn a_damaged_backup_makes_no_directory() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("backup");
    fs::write(&file, b"LHBACK01").unwrap();
    let dir = place.path().join("data");
    let wanted = Restore { file, dir: dir.clone(), ..into_new(place.path()).1 };
    let error = restore(&wanted).unwrap_err().to_string();
    assert!(error.contains("cut off"), "{error}");
    assert!(!dir.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r28_the_best_survivor_of_a_lost_majority_becomes_a_new_cluster_and_the_old_one_is_refused()
{
    let mut nodes = [Node::new(), Node::new(), Node::new()];
    start_all(&mut nodes, Options::default()).await;
    let last = write(&nodes, 5).await;
    all_applied(&nodes, last.index).await;
    let cluster = nodes[0].raft().status().cluster;
    let busy = rescue::inspect(nodes[1].dir.path());
    assert!(busy.is_err(), "it runs");
    // One dies early; the others go on and die as well.
    nodes[2].kill().await;
    let last = write(&nodes, 6).await;
    all_applied(&nodes, last.index).await;
    nodes[0].kill().await;
    nodes[1].kill().await;

    let survivors: Vec<_> =
        nodes[1..].iter().map(|node| rescue::inspect(node.dir.path()).unwrap()).collect();
    let plan = rescue::plan(&survivors).unwrap();
    assert!(plan.majority, "two of three are there");
    assert_eq!(plan.keep, 0, "it has what came last");
    assert!(survivors[0].last.index >= last.index && survivors[1].last.index < last.index);
    let plan = rescue::plan(&survivors[1..]).unwrap();
    assert!(!plan.majority && plan.missing.len() == 2);

    // All but the first are lost.
    let mut one = Node::new();
    let wanted = rescue::Rescue {
        dir: nodes[1].dir.path().to_path_buf(),
        into: one.dir.path().to_path_buf(),
        address: one.address.to_string(),
        cluster: None,
        hold: true,
        longest: None,
    };
    let same = rescue::Rescue { cluster: Some(cluster), ..wanted.clone() };
    assert!(matches!(rescue::rescue(&same), Err(rescue::RescueError::SameCluster(_))));
    assert_eq!(fs::read_dir(&wanted.into).unwrap().count(), 0, "nothing was made");
    let rescued = rescue::rescue(&wanted).unwrap();
    assert_ne!(rescued.founded.cluster, cluster);
    assert_eq!(rescued.founded.node, NodeId(4));
    assert_eq!(rescued.survivor, survivors[0], "the old directory is as it was");
    let address = one.address;
    one.start(&[address], Options::default()).await.unwrap();
    let alone = [one];
    assert_eq!(alone[leader(&alone).await].value(), 6, "all of its log counts");
    assert!(write(&alone, 8).await.index > last.index);
    let recovery =
        *alone[0].running.as_ref().unwrap().state.read().view().meta().recovery().unwrap();
    assert_eq!((recovery.cluster, Some(recovery)), (cluster, rescued.hold));

    // The old majority comes back all the same: between it and the new cluster nothing is taken.
    let initial = addresses(&nodes);
    let mut back = Vec::new();
    let [first, _, third] = &mut nodes;
    for node in [first, third] {
        back.push(node.start(&initial, Options::default()));
    }
    join_all(back).await.into_iter().for_each(|it| it.unwrap());
    let place = leader(&nodes).await;
    let refused = RaftEnds { from: nodes[place].raft(), to: &alone[0] }.call().await;
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");
}
