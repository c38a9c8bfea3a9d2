use super::*;
use crate::dhcp::decision::Decision;
use crate::dhcp::v4::script::{Node, basic};
use crate::types::HwAddr;

#[test]
fn c1_the_mixing_table_is_a_permutation() {
    let mut sorted = MIX;
    sorted.sort_unstable();
    assert!(sorted.iter().enumerate().all(|(at, value)| at == usize::from(*value)));
}

#[test]
fn c1_the_bucket_depends_on_every_byte_and_on_the_length() {
    let key = [2, 0, 0, 0, 0, 1];
    for at in 0..key.len() {
        let mut other = key;
        other[at] ^= 0x10;
        assert_ne!(bucket(&key), bucket(&other), "byte {at}");
    }
    assert_ne!(bucket(&[0]), bucket(&[0, 0]));
    // By hand from the table: length 1, byte 0: MIX[1 ^ 0]; no bytes: the length alone.
    assert_eq!(bucket(&[0]), 175);
    assert_eq!(bucket(&[]), 0);
}

/// Computed from the text of RFC 3074 §6 by another program; the table was compared with the one in
/// ISC dhcpd, from which the RFC has it.
#[test]
fn c1_the_bucket_is_that_of_rfc_3074() {
    let of_table =
        MIX.iter().fold(0u32, |sum, value| sum.wrapping_mul(31).wrapping_add(u32::from(*value)));
    assert_eq!(of_table, 4_001_233_724);
    assert_eq!(bucket(&[2, 0, 0, 0, 0, 1]), 133);
    assert_eq!(bucket(&[1, 2, 3, 4, 5, 6]), 179);
    assert_eq!(bucket(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), 184);
}

#[test]
fn c1_buckets_are_spread_over_nodes_and_only_those_of_a_lost_node_move() {
    let owner = |bucket: u8, nodes: &[u64]| {
        let by_score = |node: &&u64| (score(bucket, NodeId(**node)), **node);
        *nodes.iter().max_by_key(by_score).unwrap()
    };
    let mut counts = [0u32; 4];
    for bucket in 0..=255 {
        let before = owner(bucket, &[1, 2, 3]);
        counts[usize::try_from(before).unwrap()] += 1;
        let after = owner(bucket, &[1, 3]);
        assert!(before == 2 || before == after, "bucket {bucket}");
    }
    assert!(counts[1..].iter().all(|count| (60..=110).contains(count)), "{counts:?}");
}

#[test]
fn the_bucket_of_a_client_is_that_of_its_id_or_hardware_address() {
    let hw = HwAddr::ethernet([2, 0, 0, 0, 0, 1]);
    assert_eq!(bucket(ClientKey::Hw(hw).bytes()), bucket(&[2, 0, 0, 0, 0, 1]));
}

/// What nodes 1 to 3 decide about the same broadcast.
fn decisions(line: &str, prepare: &[&str]) -> Vec<Decision> {
    let decide = |me: u8| {
        let mut node = Node::new(basic());
        for line in ["nodes 3", "heard 1 1 2 3", "heard 198.51.100.1 1 2 3"].iter().chain(prepare) {
            node.line(line).unwrap();
        }
        node.line(&format!("me {me}")).unwrap();
        node.decide(line)
    };
    (1..=3).map(decide).collect()
}

#[test]
fn c1_exactly_one_of_three_nodes_answers_a_broadcast_in_the_calm_state() {
    let mut answers = [0; 3];
    for n in 0..150 {
        let line = format!("discover hw=02:00:00:00:01:{n:02x} giaddr=198.51.100.1");
        let decided = decisions(&line, &[]);
        let answering: Vec<usize> =
            (0..3).filter(|at| matches!(decided[*at], Decision::Reply(_))).collect();
        let [owner] = answering[..] else { panic!("{line}: {decided:?}") };
        answers[owner] += 1;
        for shadow in decided.iter().filter(|decision| !matches!(decision, Decision::Reply(_))) {
            let Decision::Shadow(shadow) = shadow else { panic!("{line}: {shadow:?}") };
            assert_eq!(shadow.owner, Some(NodeId(owner as u64 + 1)));
        }
    }
    assert!(answers.iter().all(|count| *count > 20), "{answers:?}");
}

#[test]
fn c3_the_node_a_client_chose_answers_and_nobody_else() {
    for n in 0..50 {
        let line = format!("request hw=02:00:00:00:01:{n:02x} 50=192.0.2.10 54=192.0.2.3");
        let decided = decisions(&line, &[]);
        assert!(matches!(decided[2], Decision::Commit(..)), "{line}");
        assert!(
            decided[..2].iter().all(|decision| matches!(decision, Decision::Shadow(_))),
            "{line}"
        );
        // Known dead, one of the others does, at once.
        let decided = decisions(&line, &["node 3 down"]);
        let commits = |decision: &&Decision| matches!(decision, Decision::Commit(..));
        assert_eq!(decided[..2].iter().filter(commits).count(), 1, "{line}");
    }
}

#[test]
fn c8_each_node_offers_from_a_share_of_its_own() {
    let mut offered = std::collections::BTreeSet::new();
    for me in 1..=3 {
        for n in 0..50 {
            // Alone on its link each client is this node's; the share is of the whole cluster.
            let mut node = Node::new(basic());
            for line in ["nodes 3", &format!("heard 203.0.113.5 {me}"), &format!("me {me}")] {
                node.line(line).unwrap();
            }
            let line = format!("discover hw=02:00:00:00:01:{n:02x} giaddr=203.0.113.5");
            let Decision::Reply(offer) = node.decide(&line) else {
                panic!("{line} is offered nothing")
            };
            offered.insert((offer.answered().address, me));
        }
    }
    // A fresh node begins at the lowest address of its share: three nodes, three addresses.
    let addresses: std::collections::BTreeSet<_> =
        offered.iter().map(|(address, _)| address).collect();
    assert_eq!((offered.len(), addresses.len()), (3, 3), "{offered:?}");
}

#[test]
fn c10_ranks_of_a_message_that_is_sent_once_are_0_200_and_400_ms() {
    for n in 0..50 {
        let line = format!("decline hw=02:00:00:00:01:{n:02x} 50=192.0.2.10");
        let mut delays: Vec<u128> = decisions(&line, &[])
            .iter()
            .map(|decision| match decision {
                Decision::Propose { after, .. } => after.as_millis(),
                other => panic!("{line}: {other:?}"),
            })
            .collect();
        delays.sort_unstable();
        assert_eq!(delays, [0, 200, 400], "{line}");
    }
}

/// Who answers each of 256 clients, one a bucket or so, by the state that the lines make.
fn owners(prepare: &[&str]) -> Vec<usize> {
    let owner = |n: usize| {
        let line = format!("discover hw=02:00:00:00:02:{n:02x} giaddr=198.51.100.1");
        let decided = decisions(&line, prepare);
        let answers = |at: &usize| matches!(decided[*at], Decision::Reply(_));
        let answering: Vec<usize> = (0..3).filter(answers).collect();
        let [owner] = answering[..] else { panic!("{line} {prepare:?}: {decided:?}") };
        owner + 1
    };
    (0..=255).map(owner).collect()
}

fn bucket_of(n: usize) -> u8 {
    bucket(&[2, 0, 0, 0, 2, n as u8])
}

#[test]
fn c15_a_node_that_returns_takes_its_buckets_16_at_a_time() {
    let down = ["now 100", "node 3 down"];
    let (before, after) = (owners(&down), owners(&[]));
    assert!(before.iter().all(|owner| *owner != 3) && after.contains(&3));
    let mut taken = Vec::new();
    for (millis, buckets) in
        [(0, 16), (249, 16), (250, 32), (1_999, 128), (2_000, 144), (3_750, 256)]
    {
        let tick = format!("tick {}", 110_000 + millis);
        let now = owners(&["now 100", "node 3 down", "now 110", "node 3 up", &tick]);
        for n in 0..256 {
            let has = usize::from(bucket_of(n)) < buckets;
            assert_eq!(now[n], if has { after[n] } else { before[n] }, "{n} after {millis} ms");
        }
        taken.push(now.iter().filter(|owner| **owner == 3).count());
    }
    assert!(taken.is_sorted() && taken[0] < taken[5] / 4, "{taken:?}");
}

#[test]
fn c15_time_passes_with_the_entries_so_that_all_nodes_agree() {
    let up = ["now 100", "node 3 down", "now 110", "node 3 up"];
    let stale = owners(&[&up[..], &["now 111"]].concat());
    assert_eq!(stale, owners(&up), "an estimate of the time moves nothing");
}

#[test]
fn c15_in_a_new_cluster_nobody_waits() {
    // Node 2 and 3 speak a moment after node 1; nobody has served yet.
    let young = ["node 2 down", "node 3 down", "tick 300", "node 2 up", "tick 600", "node 3 up"];
    assert_eq!(owners(&young), owners(&[]));
}

#[test]
fn c15_a_node_on_the_way_back_answers_those_who_name_it_and_steps_in_for_others() {
    for n in 0..50 {
        let up = ["now 100", "node 3 down", "now 110", "node 3 up"];
        let line = format!("request hw=02:00:00:00:01:{n:02x} 50=192.0.2.10 54=192.0.2.3");
        assert!(matches!(decisions(&line, &up)[2], Decision::Commit(..)), "{line}");
        let line = format!("decline hw=02:00:00:00:01:{n:02x} 50=192.0.2.10");
        let delay = |decision: &Decision| match decision {
            Decision::Propose { after, .. } => after.as_millis(),
            other => panic!("{line}: {other:?}"),
        };
        let mut delays: Vec<u128> = decisions(&line, &up).iter().map(delay).collect();
        delays.sort_unstable();
        assert_eq!(delays, [0, 200, 400], "{line}");
    }
}

#[test]
fn a_node_in_maintenance_answers_those_who_chose_it_and_others_only_if_nobody_is_up() {
    let answers = |decision: &Decision| !matches!(decision, Decision::Shadow(_));
    let chosen = "request hw=02:00:00:00:00:11 50=192.0.2.10 54=192.0.2.1";
    assert!(answers(&decisions(chosen, &["node 1 maintenance"])[0]));
    let discovers: Vec<String> =
        (1..=20).map(|n| format!("discover hw=02:00:00:00:00:{n:02x}")).collect();
    let answered = |prepare: &[&str]| {
        discovers.iter().filter(|line| answers(&decisions(line, prepare)[0])).count()
    };
    assert!(answered(&[]) > 0);
    assert_eq!(answered(&["node 1 maintenance"]), 0);
    assert!(answered(&["node 1 maintenance", "node 2 down", "node 3 down"]) > 0);
}

#[test]
fn c14_after_ten_seconds_in_maintenance_others_answer_those_who_chose_the_node() {
    let committed = |line: &str, prepare: &[&str]| -> Vec<usize> {
        let decided = decisions(line, prepare);
        let commits = |at: &usize| matches!(decided[*at], Decision::Commit(..));
        (0..3).filter(commits).map(|at| at + 1).collect()
    };
    let begun = ["now 100", "node 1 maintenance"];
    let (early, late) = ("tick 109999", "tick 110000");
    let with = |more: &[&'static str]| [&begun[..], more].concat();
    for n in 0..20 {
        let chosen = format!("request hw=02:00:00:00:01:{n:02x} 50=192.0.2.10 54=192.0.2.1");
        assert_eq!(committed(&chosen, &with(&[early])), [1], "{chosen}");
        let then = committed(&chosen, &with(&[late]));
        assert!(then == [2] || then == [3], "{chosen}: {then:?}");
        // Where nobody else is up it answers all the same.
        let lonely = with(&["node 2 down", "node 3 down", late]);
        assert!(committed(&chosen, &lonely).contains(&1), "{chosen}");
        // A renewal goes to it alone.
        let renew = format!(
            "request hw=02:00:00:00:01:{n:02x} ciaddr=192.0.2.10 from=192.0.2.10:68 to=192.0.2.1"
        );
        assert!(committed(&renew, &with(&[early])).contains(&1), "{renew}");
        assert!(!committed(&renew, &with(&[late])).contains(&1), "{renew}");
        assert!(committed(&renew, &lonely).contains(&1), "{renew}");
    }
}
