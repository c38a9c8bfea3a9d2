//! The machines of all nodes are compared, and one that went wrong is found.

use super::*;
use crate::state::testing::corrupt;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_machine_went_wrong_is_found_and_named() {
    let mut nodes = [Node::new(), Node::new(), Node::new()];
    let keeping = Keeping { hash_every: Duration::from_millis(200), ..Keeping::default() };
    start_all(&mut nodes, Options { keeping, ..Options::default() }).await;
    // Entries go on, so that there are places to compare at.
    let same = eventually_compared(&nodes, |found| found.nodes.len() == 3 && agrees(found)).await;
    assert!(!same.differs() && same.odd().is_empty(), "{same}");
    assert_eq!(nodes[leader(&nodes).await].raft().states_differ(), None);

    let wrong = (leader(&nodes).await + 1) % 3;
    corrupt(&mut nodes[wrong].running.as_ref().unwrap().state.write());
    let found = eventually_compared(&nodes, hashes::Comparison::differs).await;
    let id = nodes[wrong].raft().id();
    assert_eq!(found.odd(), [id], "{found}");
    let place = leader(&nodes).await;
    nodes[place].raft().look_at_states().await;
    let told = nodes[place].raft().states_differ().unwrap();
    assert!(told.contains(&format!("the state of node {id} differs")), "{told}");

    // Everybody tells, and nobody stops to when the node in question is silent.
    nodes[wrong].raft().look_at_states().await;
    assert!(nodes[wrong].raft().states_differ().is_some());
    nodes[wrong].kill().await;
    nodes[place].raft().look_at_states().await;
    assert!(nodes[place].raft().states_differ().is_some());
}

fn agrees(found: &hashes::Comparison) -> bool {
    found.nodes.values().all(|told| matches!(told, hashes::Told::Digest(_)))
}

/// Writes on until a comparison fits.
async fn eventually_compared(
    nodes: &[Node],
    fits: impl Fn(&hashes::Comparison) -> bool,
) -> hashes::Comparison {
    for value in 0..400 {
        write(nodes, value).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let found = nodes[value as usize % 3].raft().compare_states().await;
        if fits(&found) {
            return found;
        }
    }
    panic!("it never came to that");
}
