//! Nodes that show each other certificates, and those who are not let in.

use std::path::PathBuf;

use leasehold_proto::cluster as cluster_proto;
use leasehold_proto::cluster::cluster_client::ClusterClient;
use leasehold_proto::raft as raft_proto;
use leasehold_proto::raft::raft_client::RaftClient;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Request;

use super::backup::{into_new, save};
use super::membership::{propose, token};
use super::*;
use crate::settings::PeerFiles;
use crate::state::feature;

const CLUSTER: u64 = 0x0123_4567_89ab_cdef;

/// An authority, and the directory of what it signed.
struct Authority {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate says.
struct Says {
    dns: String,
    usages: Vec<ExtendedKeyUsagePurpose>,
    last_year: i32,
}

impl Says {
    fn node(name: &str, cluster: u64) -> Says {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        let dns = certificate::PeerName::new(name, cluster).unwrap().dns();
        Says { dns, usages: vec![ServerAuth, ClientAuth], last_year: 2999 }
    }
}

impl Authority {
    fn new() -> Authority {
        let (dir, key) = (tempfile::tempdir().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        Authority { dir, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes certificate and key to files named after `file`; gives these and our anchor.
    fn sign(&self, file: &str, says: Says) -> PeerFiles {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![says.dns]).unwrap();
        params.extended_key_usages = says.usages;
        params.not_after = date_time_ymd(says.last_year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert_file, key_file) =
            (self.path(&format!("{file}.pem")), self.path(&format!("{file}.key")));
        std::fs::write(&cert_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        PeerFiles { trust_anchor: self.path("ca.pem"), cert_file, key_file }
    }

    fn node(&self, name: &str) -> Arc<PeerTls> {
        PeerTls::open(self.sign(name, Says::node(name, CLUSTER))).unwrap()
    }
}

async fn three(authority: &Authority) -> [Node; 3] {
    let mut nodes = [Node::new(), Node::new(), Node::new()];
    for (node, name) in nodes.iter_mut().zip(["node-a", "node-b", "node-c"]) {
        node.tls = Some(authority.node(name));
    }
    start_all(&mut nodes, Options::default()).await;
    nodes
}

/// A vote asked for in the name of `from`, with the certificates of `tls`. Votes in term 0 change nothing.
async fn vote(node: &Node, tls: Option<Arc<PeerTls>>, from: Me) -> Result<(), tonic::Status> {
    let own = me(&node.raft().inner.identity).unwrap();
    let address = node.address.to_string();
    let member = Member { address, instance: own.instance, ..Member::default() };
    let channel = Channels::new(from, tls).get(own.node, &member, Purpose::Append).unwrap();
    let request = raft_proto::VoteRequest {
        vote: Some(raft_proto::Vote { term: 0, node: 9, committed: false }),
        ..Default::default()
    };
    RaftClient::new(channel).pre_vote(Request::new(request)).await.map(|_| ())
}

fn refused(node: &Node) -> (u64, u64) {
    node.tls.as_ref().unwrap().refused()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_form_over_tls_and_are_known_by_their_certificates() {
    let authority = Authority::new();
    let mut nodes = three(&authority).await;
    let first = write(&nodes, 1).await;
    all_applied(&nodes, first.index).await;
    assert_eq!(nodes[0].raft().status().cluster, CLUSTER, "the cluster of the certificates");
    let mut names: Vec<String> = {
        let membership = nodes[0].raft().membership();
        let membership = membership.borrow();
        membership.nodes().map(|(_, member)| member.tls_name.clone()).collect()
    };
    names.sort();
    assert_eq!(names, ["node-a", "node-b", "node-c"]);
    for node in &mut nodes {
        node.kill().await;
    }
    start_all(&mut nodes, Options::default()).await;
    let second = write(&nodes, 2).await;
    all_applied(&nodes, second.index).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_good_is_refused_and_counted() {
    let authority = Authority::new();
    let nodes = three(&authority).await;
    write(&nodes, 1).await;
    let target = &nodes[0];
    let own = me(&target.raft().inner.identity).unwrap();
    let stranger = Me { node: 9, instance: 99, ..own };
    vote(target, Some(authority.node("node-x")), stranger).await.unwrap();

    let foreign = Authority::new();
    let open = |files: PeerFiles| PeerTls::open(files);
    // One that our own side takes for good, and the other end does not.
    let mut files = foreign.sign("node-a", Says::node("node-a", CLUSTER));
    let both = [std::fs::read(foreign.path("ca.pem")), std::fs::read(authority.path("ca.pem"))];
    let both: Vec<u8> = both.into_iter().flat_map(Result::unwrap).collect();
    std::fs::write(foreign.path("both.pem"), both).unwrap();
    files.trust_anchor = foreign.path("both.pem");
    let before = refused(target).0;
    vote(target, Some(open(files).unwrap()), stranger).await.unwrap_err();
    eventually("the foreign certificate is counted", || (refused(target).0 > before).then_some(()))
        .await;

    // Those that a node would not even begin with, each with its reason.
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let node = || Says::node("node-a", CLUSTER);
    for (says, part) in [
        (Says { last_year: 2020, ..node() }, "expired"),
        (Says { usages: vec![ClientAuth], ..node() }, "serverAuth"),
        (Says { usages: vec![ServerAuth], ..node() }, "serverAuth and clientAuth"),
        (Says { usages: Vec::new(), ..node() }, "serverAuth and clientAuth"),
        (Says { dns: "node-a.example".into(), ..node() }, "names no node"),
    ] {
        let error = open(authority.sign("bad", says)).unwrap_err();
        assert!(error.contains(part) && error.contains("bad.pem"), "{error}");
    }
    let mut mixed = authority.sign("mixed", node());
    mixed.key_file = authority.path("node-b.key");
    assert!(open(mixed).unwrap_err().contains("cannot be used together"));
    let mut untrusted = foreign.sign("untrusted", node());
    untrusted.trust_anchor = authority.path("ca.pem");
    assert!(open(untrusted).unwrap_err().contains("signed by nobody"));

    // Of another cluster, in the same authority's hands.
    let other = open(authority.sign("other", Says::node("node-a", CLUSTER + 1))).unwrap();
    vote(target, Some(other), stranger).await.unwrap_err();
    // None at all.
    vote(target, None, stranger).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_a_node_cannot_call_in_the_name_of_another() {
    let authority = Authority::new();
    let nodes = three(&authority).await;
    write(&nodes, 1).await;
    let of = |node: &Node| me(&node.raft().inner.identity).unwrap();
    let [target, honest, victim] = &nodes;
    vote(target, honest.tls.clone(), of(honest)).await.unwrap();
    let before = target.raft().status().refused;
    let status = vote(target, honest.tls.clone(), of(victim)).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied, "{status}");
    assert!(status.message().contains("certificate of node-"), "{status}");
    assert_eq!(target.raft().status().refused, before + 1);

    // Nor does a node call one that has another's certificate.
    let channels = Channels::new(of(honest), honest.tls.clone());
    let own = of(target);
    let tls_name = victim.tls.as_ref().unwrap().me().name.clone();
    let member = Member {
        address: target.address.to_string(),
        instance: own.instance,
        tls_name,
        learner: false,
    };
    let channel = channels.get(own.node, &member, Purpose::Append).unwrap();
    RaftClient::new(channel).pre_vote(raft_proto::VoteRequest::default()).await.unwrap_err();
    assert_eq!(refused(honest).0, 1, "told by the one who called");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_read_again_and_an_authority_that_is_struck_off_is_out_at_once() {
    let authority = Authority::new();
    let nodes = three(&authority).await;
    let first = write(&nodes, 1).await;
    all_applied(&nodes, first.index).await;
    let tls = |node: &Node| node.tls.clone().unwrap();

    // New certificates from the same authority cut nobody off; a bad file changes nothing.
    let term = nodes[0].raft().status().term;
    for (node, name) in nodes.iter().zip(["node-a", "node-b", "node-c"]) {
        authority.sign(name, Says::node(name, CLUSTER));
        tls(node).read_again().unwrap();
        let key = std::fs::read(authority.path(&format!("{name}.key"))).unwrap();
        std::fs::write(authority.path(&format!("{name}.key")), "nonsense").unwrap();
        assert!(tls(node).read_again().unwrap_err().contains("no private key"));
        std::fs::write(authority.path(&format!("{name}.key")), key).unwrap();
        authority.sign("spare", Says::node("node-z", CLUSTER));
    }
    let other = authority
        .sign(nodes[0].tls.as_ref().unwrap().me().name.as_str(), Says::node("node-z", CLUSTER));
    assert!(tls(&nodes[0]).read_again().unwrap_err().contains("does not change while it runs"));
    drop(other);
    let second = write(&nodes, 2).await;
    all_applied(&nodes, second.index).await;
    assert_eq!(nodes[0].raft().status().term, term, "nobody was cut off");

    // Another authority: first trusted beside the old one, then alone.
    let new = Authority::new();
    let [old_ca, new_ca] =
        [&authority, &new].map(|from| std::fs::read(from.path("ca.pem")).unwrap());
    std::fs::write(authority.path("ca.pem"), [old_ca, new_ca.clone()].concat()).unwrap();
    for (node, name) in nodes.iter().zip(["node-a", "node-b", "node-c"]) {
        let files = new.sign(name, Says::node(name, CLUSTER));
        std::fs::copy(files.cert_file, authority.path(&format!("{name}.pem"))).unwrap();
        std::fs::copy(files.key_file, authority.path(&format!("{name}.key"))).unwrap();
        tls(node).read_again().unwrap();
    }
    let stranger = Me { node: 9, instance: 99, ..me(&nodes[0].raft().inner.identity).unwrap() };
    let mut files = authority.sign("late", Says::node("late", CLUSTER));
    files.trust_anchor = authority.path("ca.pem");
    let late = PeerTls::open(files).unwrap();
    vote(&nodes[0], Some(late.clone()), stranger).await.unwrap();
    std::fs::write(authority.path("ca.pem"), new_ca).unwrap();
    for node in &nodes {
        tls(node).read_again().unwrap();
    }
    vote(&nodes[0], Some(late), stranger).await.unwrap_err();
    let third = write(&nodes, 3).await;
    all_applied(&nodes, third.index).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_cluster_does_not_open_a_data_directory() {
    let authority = Authority::new();
    let mut node = Node::new();
    node.tls = Some(authority.node("node-a"));
    let initial = [node.address];
    node.start(&initial, Options::default()).await.unwrap();
    node.kill().await;
    let files = authority.sign("other", Says::node("node-a", CLUSTER + 1));
    node.tls = Some(PeerTls::open(files).unwrap());
    let error = node.start(&initial, Options::default()).await.unwrap_err();
    assert!(error.contains("belongs to cluster 0123456789abcdef"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_cluster_wants_certificates_of_its_own_id_and_is_joined_with_them() {
    let authority = Authority::new();
    let mut old = Node::new();
    old.tls = Some(authority.node("node-a"));
    old.start(&[old.address], Options::default()).await.unwrap();
    write(std::slice::from_ref(&old), 5).await;
    let place = tempfile::tempdir().unwrap();
    let file = save(&old, place.path());
    old.kill().await;

    const NEW: u64 = CLUSTER + 7;
    let (mut one, wanted) = into_new(&file);
    restore(&Restore { cluster: Some(NEW), ..wanted }).unwrap();
    let initial = [one.address];
    one.tls = old.tls.clone();
    let error = one.start(&initial, Options::default()).await.unwrap_err();
    assert!(error.contains(&format!("belongs to cluster {NEW:016x}")), "{error}");
    let of_new = |name| PeerTls::open(authority.sign(name, Says::node(name, NEW))).unwrap();
    one.tls = Some(of_new("node-a"));
    one.start(&initial, Options::default()).await.unwrap();
    let mut nodes = vec![one];
    assert_eq!(nodes[leader(&nodes).await].value(), 5);

    let token = token(&nodes, 1, 4, 60).await;
    let mut new = Node::new();
    // One of the old cluster's is not let in, although the same authority has signed it.
    new.tls = Some(authority.node("node-b"));
    let plan = new.plan(&initial, &token);
    let joining = tokio::time::timeout(Duration::from_secs(2), new.join(&plan, Options::default()));
    assert!(joining.await.is_err(), "it goes on trying");
    new.tls = Some(of_new("node-b"));
    new.join(&new.plan(&initial, &token), Options::default()).await.unwrap();
    nodes.push(new);
    let index = write(&nodes, 6).await.index;
    all_applied(&nodes, index).await;
    let (membership, _) = nodes[0].raft().members();
    let joined = membership.nodes().find(|(_, member)| member.tls_name == "node-b");
    assert!(joined.is_some(), "{membership:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_say_who_he_is_is_turned_away_in_seconds() {
    let authority = Authority::new();
    let mut nodes = [Node::new(), Node::new()];
    nodes[0].tls = Some(authority.node("node-a"));
    for node in &mut nodes {
        let initial = [node.address];
        node.start(&initial, Options::default()).await.unwrap();
    }
    for node in &nodes {
        let mut silent = tokio::net::TcpStream::connect(node.address).await.unwrap();
        let mut talks = tokio::net::TcpStream::connect(node.address).await.unwrap();
        // HTTP/2 without a call; to TLS it is garbage.
        talks.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut got = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), silent.read_to_end(&mut got));
        let _ = ended.await.expect("a silent connection is ended");
        let ended = tokio::time::timeout(Duration::from_secs(20), talks.read_to_end(&mut got));
        let _ = ended.await.expect("one that makes no call is ended");
        write(std::slice::from_ref(node), 3).await;
    }
    assert_eq!(refused(&nodes[0]).1, 1, "one that spoke no TLS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_a_joining_node_is_known_by_its_certificate_and_by_no_word_of_its_own() {
    use leasehold_proto::cluster::join_response::Result as Wire;

    let authority = Authority::new();
    let mut nodes = Vec::from(three(&authority).await);
    let level = propose(&nodes, Command::RaiseLevel(feature::CURRENT)).await;
    assert_eq!(level, Outcome::Level(feature::CURRENT));
    let token = token(&nodes, 1, 4, 60).await;
    let follower = nodes[(leader(&nodes).await + 1) % 3].address;

    let mut new = Node::new();
    new.tls = Some(authority.node("node-d"));
    new.join(&new.plan(&[follower], &token), Options::default()).await.unwrap();
    nodes.push(new);
    let index = write(&nodes, 4).await.index;
    all_applied(&nodes, index).await;
    let (membership, _) = nodes[0].raft().members();
    assert_eq!(membership.membership().get_node(&4).unwrap().tls_name, "node-d");

    // Another data directory with that certificate, which says it had another: not while node 4 is there.
    let twin = authority.node("node-d");
    let (channel, _) = dial::connect(&follower.to_string(), Some(&twin)).await.unwrap();
    let request = cluster_proto::JoinRequest {
        token: token.reveal(),
        instance: 77,
        address: "127.0.0.1:9".into(),
        tls_name: "node-e".into(),
        level: feature::CURRENT,
        ..Default::default()
    };
    let answer = ClusterClient::new(channel).join(request).await.unwrap().into_inner().result;
    let Some(Wire::Refused(refused)) = answer else { panic!("{answer:?}") };
    assert!(refused.reason.contains("node 4 shows the certificate of node-d"), "{refused:?}");
    assert!(!refused.r#final, "it can go on once node 4 is removed");
    assert_eq!(nodes[0].members(), vec![1, 2, 3, 4]);
}
