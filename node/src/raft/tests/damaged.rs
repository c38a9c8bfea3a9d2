//! A damaged disk: each kind of damage is named with its file, and the way back is told.

use std::fs;
use std::path::PathBuf;

use super::*;

/// Everything a node says about damage must have.
fn is_told(error: &str, file: &str, what: &str) {
    for part in [file, what, "cluster-ctl node remove", "node token create", "[cluster] join"] {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

fn segments(node: &Node) -> Vec<PathBuf> {
    let entries = fs::read_dir(node.dir.path().join("log")).unwrap().map(|it| it.unwrap().path());
    let mut wal: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "wal")).collect();
    wal.sort();
    wal
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x20;
    fs::write(path, bytes).unwrap();
}

/// A node that has served and was stopped.
async fn served() -> Node {
    let mut node = [Node::new()];
    let address = node[0].address;
    node[0].start(&[address], Options::default()).await.unwrap();
    for value in 0..20 {
        write(&node, value).await;
    }
    // Noted once a second.
    let file = IdentityFile::at(node[0].dir.path());
    let begun = || file.read().unwrap().and_then(|it| it.seat).is_some_and(|seat| seat.started);
    eventually("the identity says that the log has begun", || begun().then_some(())).await;
    node[0].kill().await;
    let [node] = node;
    node
}

async fn start_error(node: &mut Node) -> String {
    let address = node.address;
    node.start(&[address], Options::default()).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_damage_names_its_file_and_the_way_back() {
    let mut node = served().await;
    flip(&node.dir.path().join("identity"), 30);
    is_told(&start_error(&mut node).await, "/identity", "does not match its checksum");

    let mut node = served().await;
    fs::remove_file(node.dir.path().join("identity")).unwrap();
    is_told(&start_error(&mut node).await, "/identity", "the file is missing");

    let mut node = served().await;
    let segment = segments(&node).pop().unwrap();
    flip(&segment, fs::metadata(&segment).unwrap().len() as usize / 2);
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    is_told(&start_error(&mut node).await, &name, "the log is damaged");

    let mut node = served().await;
    fs::remove_dir_all(node.dir.path().join("log")).unwrap();
    is_told(&start_error(&mut node).await, "/log", "it was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_checkpoint_is_made_anew_from_the_rest() {
    let mut node = served().await;
    fs::write(node.dir.path().join("checkpoint/db"), b"garbage").unwrap();
    let address = node.address;
    node.start(&[address], Options::default()).await.unwrap();
    let node = [node];
    leader(&node).await;
    assert_eq!(node[0].value(), 19);
}
