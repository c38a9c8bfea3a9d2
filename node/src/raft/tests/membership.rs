//! Nodes that join, leave and move (R14, R15).

use super::*;
use crate::raft::addresses::REMOVED;
use crate::state::{JoinToken, Liveness, feature};
use crate::types::NodeId;
use leasehold_proto::raft as raft_proto;
use leasehold_proto::raft::raft_client::RaftClient;

const WITHIN: Duration = Duration::from_secs(10);

/// Proposes one command through whoever leads.
pub(super) async fn propose(nodes: &[Node], command: Command) -> Outcome {
    loop {
        let place = leader(nodes).await;
        match nodes[place].raft().propose(vec![command.clone()]).await {
            Ok(applied) => return applied.outcomes[0].clone(),
            Err(ProposeError::NotLeader(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Three nodes, or another number, of the newest feature level.
async fn formed(count: usize, options: Options) -> Vec<Node> {
    let mut nodes: Vec<Node> = (0..count).map(|_| Node::new()).collect();
    start_all(&mut nodes, options).await;
    let level = propose(&nodes, Command::RaiseLevel(feature::CURRENT)).await;
    assert_eq!(level, Outcome::Level(feature::CURRENT));
    nodes
}

/// A token of `uses` that is good for `seconds`, the cluster's time.
pub(super) async fn token(nodes: &[Node], id: u64, uses: u32, seconds: u64) -> Token {
    let raft = nodes[leader(nodes).await].raft();
    let token = Token::draw(raft.status().cluster).unwrap();
    let not_after = ClusterTime::from_millis(raft.now().as_millis() + seconds * 1000);
    let digest = token.digest();
    let put = JoinToken { id, digest, not_after, uses, learner: false, note: String::new() };
    assert_eq!(propose(nodes, Command::PutToken(put)).await, Outcome::Noted);
    token
}

impl Node {
    pub(super) fn plan(&self, through: &[SocketAddr], token: &Token) -> JoinPlan {
        JoinPlan {
            advertise: self.address,
            through: through.to_vec(),
            token: token.clone(),
            name: "new".into(),
            tls: self.tls.clone(),
            learner: false,
        }
    }

    /// Is let in, and does not start yet.
    async fn let_in(&self, plan: &JoinPlan) -> Result<Identity, String> {
        let (file, identity) = IdentityFile::open(self.dir.path()).unwrap();
        let file = Arc::new(file);
        let joining = join(plan, &file, identity);
        match tokio::time::timeout(Duration::from_secs(20), joining).await {
            Ok(joined) => joined.map_err(|error| error.to_string()),
            Err(_) => Err("not within 20 s".into()),
        }
    }

    /// Joins and starts.
    pub(super) async fn join(&mut self, plan: &JoinPlan, options: Options) -> Result<(), String> {
        self.let_in(plan).await?;
        self.start_again(options).await
    }

    /// Starts as who it is, at its address.
    async fn start_again(&mut self, options: Options) -> Result<(), String> {
        let (file, identity) = IdentityFile::open(self.dir.path()).map_err(|it| it.to_string())?;
        let listener = self.listener();
        self.run(listener, Arc::new(file), identity, options).await
    }

    fn voters(&self) -> Vec<u64> {
        let status = self.raft().status();
        status.members.iter().filter(|member| member.voter).map(|it| it.node.0).collect()
    }

    pub(super) fn members(&self) -> Vec<u64> {
        self.raft().status().members.iter().map(|member| member.node.0).collect()
    }
}

/// Kills a node that is to start again in this process. A leader's stream that has nothing to say keeps the
/// connection, and that the log: so something is said.
async fn kill(nodes: &mut [Node], place: usize) {
    nodes[place].kill().await;
    write(nodes, -3).await;
}

fn place_of(nodes: &[Node], id: u64) -> usize {
    nodes.iter().position(|it| it.is_running() && it.raft().id().0 == id).unwrap()
}

/// Has the leader give `node` its vote, once it has caught up.
async fn give_vote(nodes: &[Node], node: u64) {
    for _ in 0..50 {
        let raft = nodes[leader(nodes).await].raft();
        if raft.give_vote(NodeId(node), WITHIN).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("node {node} gets no vote");
}

/// Has the leader take a node off the list that has left.
async fn forget(nodes: &[Node], node: u64) {
    for _ in 0..50 {
        let raft = nodes[leader(nodes).await].raft();
        if raft.forget(NodeId(node), WITHIN).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("node {node} stays on the list");
}

fn change(verb: Verb, node: u64) -> Change {
    Change { verb, node: NodeId(node), force: false }
}

/// Makes a change through the node at `place`; on a starved machine a leader may be lost on the way.
async fn changed(nodes: &[Node], place: usize, change: Change) -> Changed {
    for _ in 0..20 {
        match nodes[place].raft().change_members(change, WITHIN).await {
            Ok(changed) => return changed,
            Err(ChangeError::Refused(why)) => panic!("{change:?}: {why}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    panic!("{change:?} does not come about");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_a_new_node_joins_by_the_log_gets_a_new_number_and_a_vote() {
    let mut nodes = formed(3, Options::default()).await;
    write(&nodes, 7).await;
    let token = token(&nodes, 1, 1, 60).await;
    let mut new = Node::new();
    // Whomever it asks: a follower forwards to the leader.
    let follower = (leader(&nodes).await + 1) % 3;
    new.join(&new.plan(&[nodes[follower].address], &token), Options::default()).await.unwrap();
    assert_eq!(new.raft().id(), NodeId(4));
    nodes.push(new);
    let index = write(&nodes, 8).await.index;
    all_applied(&nodes, index).await;
    assert_eq!(nodes[3].value(), 8);
    assert_eq!((nodes[0].voters(), nodes[0].members()), (vec![1, 2, 3], vec![1, 2, 3, 4]));
    assert_eq!(nodes[3].raft().status().role, Role::Learner);
    {
        let state = nodes[0].running.as_ref().unwrap().state.read();
        let admitted: Vec<_> = state.view().meta().roster().admissions().collect();
        assert_eq!((admitted[0].0, admitted[0].1.tls_name.as_str()), (NodeId(4), ""));
        // Nobody counts on it before the leader has found that it keeps up (R16).
        let entry = state.view().meta().node(NodeId(4)).unwrap();
        assert_eq!(entry.liveness, Liveness::Down);
    }
    let (membership, _) = nodes[0].raft().members();
    assert_eq!(membership.membership().get_node(&4).unwrap().tls_name, "");

    give_vote(&nodes, 4).await;
    eventually("all know its vote", || nodes.iter().all(|it| it.voters().len() == 4).then_some(()))
        .await;
    // It starts again as who it is, and votes: with it three of four go on.
    kill(&mut nodes, 3).await;
    nodes[3].start_again(Options::default()).await.unwrap();
    let dead = (leader(&nodes).await + 1) % 3;
    nodes[dead].kill().await;
    let index = write(&nodes, 9).await.index;
    all_applied(&nodes, index).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_by_snapshot_when_the_log_has_been_cut_off() {
    let keeping = Keeping {
        snapshot_bytes: 4_000,
        snapshot_seconds: 3_600,
        keep_bytes: 4_000,
        history: None,
        hash_every: Duration::from_secs(3_600),
    };
    let log = LogSettings { cache_bytes: 4_096, segment_bytes: 4_096 };
    let options = Options { keeping, log };
    let mut nodes = formed(3, options).await;
    for value in 0..400 {
        write(&nodes, value).await;
    }
    eventually("the log is cut off", || {
        nodes.iter().all(|it| it.raft().status().purged > Some(100)).then_some(())
    })
    .await;
    let token = token(&nodes, 1, 1, 60).await;
    let mut new = Node::new();
    new.join(&new.plan(&addresses(&nodes), &token), options).await.unwrap();
    nodes.push(new);
    let index = write(&nodes, -1).await.index;
    all_applied(&nodes, index).await;
    assert_eq!(nodes[3].value(), -1);
    assert!(nodes[3].raft().status().snapshot.is_some(), "the beginning came as a snapshot");
    // What the snapshot says of the membership holds: it votes.
    give_vote(&nodes, 4).await;
    let index = write(&nodes, -2).await.index;
    all_applied(&nodes, index).await;
    assert_eq!(nodes[3].voters(), [1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_good_token_is_refused_and_told_why() {
    let nodes = formed(1, Options::default()).await;
    let through = addresses(&nodes);
    let cluster = nodes[0].raft().status().cluster;
    let new = Node::new();
    let why = async |token: &Token| new.let_in(&new.plan(&through, token)).await.unwrap_err();

    let unknown = why(&Token::draw(cluster).unwrap()).await;
    assert!(unknown.contains("does not know this token"), "{unknown}");
    let foreign = why(&Token::draw(cluster ^ 1).unwrap()).await;
    assert!(foreign.contains(&format!("is of cluster {:016x}", cluster ^ 1)), "{foreign}");
    let over = token(&nodes, 1, 1, 0).await;
    // Time passes with the log.
    tokio::time::sleep(Duration::from_millis(20)).await;
    write(&nodes, 1).await;
    let expired = why(&over).await;
    assert!(expired.contains("time is over"), "{expired}");
    let once = token(&nodes, 2, 1, 60).await;
    let other = Node::new();
    other.let_in(&other.plan(&through, &once)).await.unwrap();
    let used = why(&once).await;
    assert!(used.contains("as many nodes as it may"), "{used}");
    for text in [&unknown, &foreign, &expired, &used] {
        assert!(text.contains("cluster-ctl node token create"), "the way out: {text}");
        assert!(!text.contains(&once.reveal()) && !text.contains(&over.reveal()), "{text}");
    }
    // Nothing of the refused has stayed.
    assert_eq!(nodes[0].members(), [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_a_crash_while_joining_is_made_good_by_the_next_try() {
    let mut nodes = formed(1, Options::default()).await;
    let through = addresses(&nodes);
    let once = token(&nodes, 1, 1, 60).await;
    let mut new = Node::new();
    let (file, empty) = IdentityFile::open(new.dir.path()).unwrap();
    let first = new.let_in(&new.plan(&through, &once)).await.unwrap();
    // It is let in, and dies before it has written that down. Its token is used up.
    file.write(&empty).unwrap();
    let second = new.let_in(&new.plan(&through, &once)).await.unwrap();
    assert_eq!(first, second);
    // It dies again, and comes back elsewhere.
    file.write(&empty).unwrap();
    new.address = Node::new().address;
    let third = new.let_in(&new.plan(&through, &once)).await.unwrap();
    assert_eq!(third.seat.as_ref().unwrap().node, NodeId(2));
    new.start_again(Options::default()).await.unwrap();
    nodes.push(new);
    let index = write(&nodes, 3).await.index;
    all_applied(&nodes, index).await;
    let (membership, _) = nodes[0].raft().members();
    assert_eq!(membership.membership().get_node(&2).unwrap().address, nodes[1].address.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_removed_by_asking_a_follower_and_hears_of_it() {
    let mut nodes = formed(3, Options::default()).await;
    write(&nodes, 1).await;
    let old = leader(&nodes).await;
    let gone = nodes[old].raft().id().0;
    let asked = (old + 1) % 3;
    let done = changed(&nodes, asked, change(Verb::Remove, gone)).await;
    assert!(
        done.text.contains("is removed") && done.text.contains("none of them may fail"),
        "{done:?}"
    );
    assert_ne!(leader(&nodes).await, old);
    // It learns it from the log, since it still receives that.
    let why = tokio::time::timeout(WITHIN, nodes[old].raft().removed()).await.unwrap();
    assert!(why.contains("committed"), "{why}");
    forget(&nodes, gone).await;
    let index = write(&nodes, 2).await.index;
    let staying: Vec<usize> = (0..3).filter(|place| *place != old).collect();
    for place in &staying {
        eventually("the others go on", || (nodes[*place].applied() >= index).then_some(())).await;
        eventually("it is off the list", || (nodes[*place].members().len() == 2).then_some(()))
            .await;
    }

    // Nobody talks with it any more, and it is told why.
    let (membership, _) = nodes[staying[0]].raft().members();
    let to = nodes[staying[0]].raft().id().0;
    let member = membership.membership().get_node(&to).unwrap().clone();
    let me = me(&nodes[old].raft().inner.identity).unwrap();
    let channel = Channels::new(me, None).get(to, &member, Purpose::Append).unwrap();
    let refusal =
        RaftClient::new(channel).pre_vote(raft_proto::VoteRequest::default()).await.unwrap_err();
    assert!(refusal.metadata().contains_key(REMOVED), "{refusal:?}");

    // Its number is not used again.
    nodes[old].kill().await;
    let token = token(&nodes, 1, 1, 60).await;
    let new = Node::new();
    let through = [nodes[staying[0]].address];
    let joined = new.let_in(&new.plan(&through, &token)).await.unwrap();
    assert_eq!(joined.seat.unwrap().node, NodeId(4));
}

/// It has not heard from all of them yet, and does not take that for their silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_has_just_begun_hears_the_others_before_it_judges_them() {
    let nodes = formed(3, Options::default()).await;
    for _ in 0..10 {
        let old = leader(&nodes).await;
        let demoted = nodes[old].raft().id().0;
        let Ok(new) = nodes[old].raft().transfer_leader(None).await else { continue };
        let new = place_of(&nodes, new.0);
        // Asked at its first moment. Only its own refusal counts: another may lead by now.
        let asked = nodes[new].raft().change_members(change(Verb::Demote, demoted), WITHIN).await;
        if let Err(ChangeError::Refused(why)) = asked {
            panic!("{why}");
        }
        changed(&nodes, new, change(Verb::Promote, demoted)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_leaves_no_majority_is_refused_with_the_numbers() {
    let mut nodes = formed(3, Options::default()).await;
    write(&nodes, 1).await;
    let leads = leader(&nodes).await;
    let (dead, alive) = ((leads + 1) % 3, (leads + 2) % 3);
    let ids: Vec<u64> = nodes.iter().map(|it| it.raft().id().0).collect();
    nodes[dead].kill().await;
    tokio::time::sleep(quorum::SILENT_AFTER * 2).await;
    let place = leader(&nodes).await;
    let other = ids[if place == leads { alive } else { leads }];
    let raft = nodes[place].raft();
    for verb in [Verb::Remove, Verb::Demote] {
        let Err(ChangeError::Refused(why)) = raft.change_members(change(verb, other), WITHIN).await
        else {
            panic!("{verb} is not refused");
        };
        let numbers = ["2 would vote", "2 of them must agree, and only 1 can", "does not answer"];
        assert!(numbers.iter().all(|part| why.contains(part)), "{why}");
    }
    // The dead one can go: the two that are left are two of two.
    let done = changed(&nodes, place, change(Verb::Remove, ids[dead])).await;
    assert!(done.text.contains("2 nodes vote"), "{done:?}");
    forget(&nodes, ids[dead]).await;
    // And the last one cannot, whatever is said.
    changed(&nodes, place, change(Verb::Demote, other)).await;
    let place = leader(&nodes).await;
    let own = nodes[place].raft().id().0;
    let last = Change { force: true, ..change(Verb::Remove, own) };
    let Err(ChangeError::Refused(why)) = nodes[place].raft().change_members(last, WITHIN).await
    else {
        panic!("the last voter is gone");
    };
    assert!(why.contains("the last one that votes"), "{why}");
    write(&nodes, 2).await;
    // Demoted by hand, it stays without a vote until it is given one by hand.
    let (membership, _) = nodes[place].raft().members();
    assert!(membership.membership().get_node(&other).unwrap().learner);
    changed(&nodes, place, change(Verb::Promote, other)).await;
    assert_eq!(nodes[place].voters().len(), 2);
    let (membership, _) = nodes[place].raft().members();
    assert!(!membership.membership().get_node(&other).unwrap().learner);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_a_wiped_node_joins_again_as_a_new_one_once_the_old_one_is_removed() {
    let mut nodes = formed(3, Options::default()).await;
    write(&nodes, 1).await;
    let wiped = (leader(&nodes).await + 1) % 3;
    let old = nodes[wiped].raft().id().0;
    nodes[wiped].kill().await;
    nodes[wiped].dir = tempfile::tempdir().unwrap();
    let token = token(&nodes, 1, 1, 600).await;
    let through: Vec<SocketAddr> =
        nodes.iter().filter(|it| it.is_running()).map(|it| it.address).collect();
    let plan = nodes[wiped].plan(&through, &token);
    // It has the address of a member that is not removed: it waits, and says for what.
    let raft = nodes[leader(&nodes).await].raft().clone();
    let request = leasehold_proto::cluster::JoinRequest {
        token: token.reveal(),
        instance: 77,
        address: plan.advertise.to_string(),
        level: feature::CURRENT,
        ..Default::default()
    };
    let refused = raft.answer_join(request, false).await;
    let text = format!("{refused:?}");
    assert!(
        text.contains(&format!("cluster-ctl node remove {old}")) && text.contains("final: false"),
        "{text}"
    );

    let remove =
        async { changed(&nodes, place_of(&nodes, raft.id().0), change(Verb::Remove, old)).await };
    let (joined, _) = tokio::join!(nodes[wiped].let_in(&plan), remove);
    assert_eq!(joined.unwrap().seat.unwrap().node, NodeId(4));
    forget(&nodes, old).await;
    nodes[wiped].start_again(Options::default()).await.unwrap();
    let index = write(&nodes, 2).await.index;
    all_applied(&nodes, index).await;
    give_vote(&nodes, 4).await;
    eventually("three vote", || (nodes[wiped].voters().len() == 3).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_move_to_new_addresses_one_after_the_other() {
    let mut nodes = formed(3, Options::default()).await;
    for place in 0..3 {
        write(&nodes, place as i64).await;
        let id = nodes[place].raft().id();
        kill(&mut nodes, place).await;
        nodes[place].address = Node::new().address;
        nodes[place].start_again(Options::default()).await.unwrap();
        // It calls the others, and so they find it: it receives what is written before the membership
        // names its new address.
        let index = write(&nodes, 10 + place as i64).await.index;
        all_applied(&nodes, index).await;
        let address = nodes[place].address.to_string();
        for _ in 0..50 {
            let raft = nodes[leader(&nodes).await].raft();
            if raft.readdress(id, address.clone(), WITHIN).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        eventually("everybody knows the new address", || {
            let knows = |it: &Node| {
                let (membership, _) = it.raft().members();
                membership.membership().get_node(&id.0).unwrap().address == address
            };
            nodes.iter().all(knows).then_some(())
        })
        .await;
    }
    // Nothing depends on what was told: a node that starts anew finds the others in the membership.
    kill(&mut nodes, 0).await;
    nodes[0].start_again(Options::default()).await.unwrap();
    let index = write(&nodes, 99).await.index;
    all_applied(&nodes, index).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_votes_that_was_left_half_way_is_ended_by_the_next_leader() {
    let mut nodes = formed(3, Options::default()).await;
    let token = token(&nodes, 1, 1, 60).await;
    let mut new = Node::new();
    new.join(&new.plan(&addresses(&nodes), &token), Options::default()).await.unwrap();
    nodes.push(new);
    let index = write(&nodes, 1).await.index;
    all_applied(&nodes, index).await;
    // What a leader leaves that dies between the two entries of a change.
    let place = leader(&nodes).await;
    let raft = nodes[place].raft();
    let (observed, _) = raft.members();
    let both = vec![[1, 2, 3].into(), [1, 2, 3, 4].into()];
    let known: BTreeMap<u64, Member> = observed.nodes().map(|(id, it)| (*id, it.clone())).collect();
    let joint = typ::Membership::new(both, known).unwrap();
    raft.core().append_membership(joint, typ::Payload::Blank, []).await.unwrap();
    nodes[place].kill().await;
    let next = leader(&nodes).await;
    eventually("the next leader sees it", || nodes[next].raft().members().1.then_some(())).await;
    for _ in 0..50 {
        if nodes[leader(&nodes).await].raft().flatten(WITHIN).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let next = leader(&nodes).await;
    assert!(!nodes[next].raft().members().1);
    assert_eq!(nodes[next].voters(), [1, 2, 3, 4]);
    write(&nodes, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_one_without_an_address_grows_to_three() {
    let mut first = Node::new();
    // As the Kea personality forms it: nobody can reach it.
    let (file, identity) = IdentityFile::open(first.dir.path()).unwrap();
    let nowhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let plan = Plan { advertise: nowhere, initial: vec![nowhere], tls: None };
    let unused = TcpListener::bind(nowhere).unwrap();
    form(&plan, &unused, &Arc::new(file), identity).await.unwrap();
    first.start_again(Options::default()).await.unwrap();
    let mut nodes = vec![first];
    propose(&nodes, Command::RaiseLevel(feature::CURRENT)).await;
    // It gets a peer port later; the leader's duty puts its address into the membership.
    let own = nodes[0].address.to_string();
    nodes[0].raft().readdress(NodeId(1), own, WITHIN).await.unwrap();
    for id in [2, 3] {
        let token = token(&nodes, id, 1, 60).await;
        let mut new = Node::new();
        new.join(&new.plan(&[nodes[0].address], &token), Options::default()).await.unwrap();
        nodes.push(new);
        let index = write(&nodes, id as i64).await.index;
        all_applied(&nodes, index).await;
        give_vote(&nodes, id).await;
    }
    // The first may fail now.
    nodes[0].kill().await;
    write(&nodes, 9).await;
}
