//! `cluster-ctl node`, `policy`, `leader` and `upgrade`: what they ask, and how the answers are shown, the bad ones too.
//!
//! The answers are in the words of the node; that it says them is tested where it does.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Answers, Cluster, pin, shown};

fn success(text: &str, arguments: Value) -> Value {
    json!({ "result": 0, "text": text, "arguments": arguments })
}

fn member(id: u64, name: &str, rack: &str, more: Value) -> Value {
    let mut member = json!({ "id": id, "name": name, "rack": rack, "address": format!("192.0.2.1{id}:7701"),
        "votes": true, "copy": false, "role": "follower", "liveness": "up", "reachable": true,
        "applied-index": 90, "lag": 0, "trails-leader": 0 });
    for (key, value) in more.as_object().into_iter().flatten() {
        member[key] = value.clone();
    }
    member
}

fn token(uses: u32, learner: bool, settings: Option<&str>) -> Value {
    let mut arguments = json!({ "id": 7, "secret": "leasehold-join-0000000000c0ffee-00112233445566778899aabbccddeeff",
        "expires-in": 3600, "uses": uses });
    if let Some(settings) = settings {
        arguments["settings"] = settings.into();
    }
    let nodes = if uses == 1 { "one node".to_owned() } else { format!("{uses} nodes") };
    let what = if learner { "2 hours" } else { "60 minutes" };
    let text = format!("Token 7 lets in {nodes} within {what}. Its secret is not shown again.");
    success(&text, arguments)
}

/// A cluster of which nodes 1 to 3 vote, that does what it is told. A copy, a newcomer, and one that is expected are there too.
fn willing() -> Cluster {
    Cluster::of(|_, _| {
        let warning = "rack \"a\" has 2 of the 3 votes: losing it loses the majority; a voter in a third rack is needed";
        let members = json!({ "leader": 1, "voters": 3, "survives": 1, "warnings": [warning],
            "nodes": [
                member(1, "rack-a-1", "a", json!({ "role": "leader" })),
                member(2, "rack-a-2", "a", json!({ "applied-index": 88, "lag": 1, "trails-leader": 2 })),
                member(3, "rack-b-1", "b", json!({ "liveness": "down", "reachable": false, "applied-index": 40,
                    "lag": 49, "trails-leader": 50 })),
                member(4, "rack-c-1", "c", json!({ "votes": false, "copy": true, "role": "learner" })),
                member(5, "", "", json!({ "votes": false, "role": "learner", "liveness": "down", "reachable": null,
                    "applied-index": null, "lag": null, "trails-leader": null })),
            ],
            "expected": [{ "id": 6, "name": "rack-d-1", "address": "192.0.2.16:7701", "copy": false }] });
        let tokens = json!({ "tokens": [
            { "id": 7, "expires": 1_795_470_000, "expired": false, "uses": 1, "learner": false, "note": "rack-d-1" },
            { "id": 8, "expires": 1_795_400_000, "expired": true, "uses": 2, "learner": true },
        ] });
        let settings = "[cluster]\njoin = [\"192.0.2.11:7701\", \"192.0.2.12:7701\"]\ntoken-file = \"/etc/leasehold/join-token\"\n";
        let program = |id: u64, version: &str, level: Option<u32>| json!({ "id": id, "name": format!("rack-{id}"), "version": version, "level": level, "liveness": "up" });
        let levels = json!({ "level": 1, "highest": 2, "can-finalize": false, "in-the-way": [2], "mixed": true,
            "mixed-since": 1_795_470_060,
            "nodes": [program(1, "0.2.0", Some(2)), program(2, "0.1.0", Some(1)), program(3, "0.2.0", Some(2))] });
        let status = json!({ "node": 2, "term": 4, "leader": 1, "nodes": [{ "id": 1, "name": "rack-a-1" }] });
        let done = |node: u64| json!({ "node": node, "index": 91 });
        BTreeMap::from([
            ("cluster-node-list", success("5 nodes; 3 nodes vote; 1 of them may fail", members)),
            ("cluster-node-add", token(1, false, Some(settings))),
            (
                "cluster-node-promote",
                success("Node 4 votes. Now 4 nodes vote; 1 of them may fail.", done(4)),
            ),
            (
                "cluster-node-demote",
                success(
                    "Node 2 has no vote and goes on as a copy. Now 2 nodes vote; none of them may fail.",
                    done(2),
                ),
            ),
            (
                "cluster-node-remove",
                success(
                    "Node 3 is removed. It stops by itself as soon as it hears of it. Now 2 nodes vote; none of them may fail.",
                    done(3),
                ),
            ),
            (
                "cluster-node-drain",
                success(
                    "Node 2 (rack-a-2) is drained: for 10 s it answers those who chose it, then it stops.",
                    json!({ "node": 2, "stops": true }),
                ),
            ),
            (
                "cluster-node-undrain",
                success("Node 2 (rack-a-2) serves again.", json!({ "node": 2 })),
            ),
            ("cluster-token-create", token(2, true, None)),
            ("cluster-token-list", success("2 token(s) found.", tokens)),
            ("cluster-token-revoke", success("Token 7 is revoked.", Value::Null)),
            ("cluster-policy-get", success("", json!({ "leader-racks": ["b", "a"] }))),
            (
                "cluster-policy-set",
                success("The leader should be in rack b, else in a.", Value::Null),
            ),
            ("cluster-status", success("", status)),
            ("cluster-leader-transfer", success("Node 2 leads.", json!({ "leader": 2 }))),
            (
                "cluster-upgrade-status",
                success(
                    "Feature level 1 is in force; 2 cannot be yet: node 2 (rack-2) runs 0.1.0, which knows 1 at most.",
                    levels,
                ),
            ),
            (
                "cluster-upgrade-finalize",
                success(
                    "Feature level 2 is in force. No program that does not know it can be started any more.",
                    json!({ "level": 2 }),
                ),
            ),
        ])
    })
}

/// A cluster that refuses everything, or does not know what came of it.
fn unwilling() -> Cluster {
    Cluster::of(|_, _| {
        let refused = |result: i64, text: &str| json!({ "result": result, "text": text });
        let mut answers = Answers::from([
            (
                "cluster-node-add",
                refused(
                    1,
                    "No token was made: there are too many tokens: revoke some (cluster-token-revoke).",
                ),
            ),
            (
                "cluster-node-promote",
                refused(
                    1,
                    "The membership was not changed: node 4 cannot be given a vote now: 1 would vote (node 4), 1 of them must \
                     agree, and only 0 can: node 4 is 12000 entries behind. A node that is meant to vote gets its vote by \
                     itself when it has caught up. With force it gets it at once, and until it has caught up the others must \
                     do without it.",
                ),
            ),
            ("cluster-node-demote", refused(4, "node 6 was let in, and has not come yet")),
            (
                "cluster-node-remove",
                refused(
                    1,
                    "The membership was not changed: node 2 cannot be spared: 2 would vote (node 1, 3), 2 of them must agree, \
                     and only 1 can: node 3 does not answer. With force it is done all the same, and then no client is \
                     answered until a majority of those who are left is there again.",
                ),
            ),
            (
                "cluster-node-drain",
                refused(
                    4,
                    "Server rack-a-2 is needed: without it 1 would be left to answer clients and to hold the cluster together, \
                     and 2 must be. Not counted, since they do not serve now or have no vote: rack-b-1.",
                ),
            ),
            (
                "cluster-node-undrain",
                refused(1, "Node 2 (rack-a-2) is still drained: the cluster has no leader."),
            ),
            (
                "cluster-token-create",
                refused(
                    1,
                    "It is not known whether a token was made: the leader was lost while the command was on its way; make \
                     another token.",
                ),
            ),
            ("cluster-token-revoke", refused(3, "there is no token 7")),
            ("cluster-token-list", refused(3, "0 token(s) found.")),
            ("cluster-policy-set", refused(1, "'leader-racks' names \"a\" twice")),
            ("cluster-leader-transfer", refused(4, "node 4 has no vote and cannot lead")),
            (
                "cluster-upgrade-finalize",
                refused(
                    4,
                    "Feature level 1 stays in force: node 2 (rack-2) runs 0.1.0, which knows 1 at most.",
                ),
            ),
        ]);
        answers.insert("cluster-policy-get", success("", json!({ "leader-racks": [] })));
        let status = json!({ "node": 2, "term": 4, "leader": null, "nodes": [] });
        answers.insert("cluster-status", success("", status));
        answers
    })
}

/// A cluster that cannot say what came of a change that was forced.
fn uncertain() -> Cluster {
    Cluster::of(|_, _| {
        let text = "It is not known whether the membership was changed: 2 would vote (node 1, 3), 2 of them must agree, and \
                    only 1 can: node 3 does not answer. No client is answered until a majority of them is there, and then it \
                    comes about: look at the nodes before you repeat it.";
        Answers::from([("cluster-node-remove", json!({ "result": 1, "text": text }))])
    })
}

/// Commands, what they printed and asked, as tables and as JSON, against the golden files of `name`.
fn compare(name: &str, commands: &[(&Cluster, &[&str])]) {
    for (file, format) in [("txt", &[][..]), ("json.txt", &["-o", "json"])] {
        let mut all = String::new();
        for (cluster, arguments) in commands {
            all.push_str(&shown(cluster, &[*arguments, format].concat()));
            for asked in cluster.asked.lock().expect("no panic").drain(..) {
                let (command, arguments) = (&asked["command"], &asked["arguments"]);
                all.push_str(&format!(
                    "it asked {} {arguments}\n",
                    command.as_str().unwrap_or("?")
                ));
            }
            all.push('\n');
        }
        pin(&format!("{name}.{file}"), &all);
    }
}

#[test]
fn members_are_listed_changed_and_let_in() {
    let (yes, no) = (&willing(), &unwilling());
    compare("node-list", &[(yes, &["node", "list"])]);
    compare(
        "node-add",
        &[
            (yes, &["node", "add", "--note", "rack-d-1"]),
            (yes, &["node", "add", "--learner"]),
            (no, &["node", "add", "--uses", "3"]),
        ],
    );
    let promote = ["node", "promote", "rack-c-1", "--force"];
    compare("node-promote", &[(yes, &promote[..3]), (yes, &promote), (no, &promote[..3])]);
    let demote = ["node", "demote", "rack-a-2", "--yes"];
    compare(
        "node-demote",
        &[(yes, &demote[..3]), (yes, &demote), (no, &["node", "demote", "6", "--yes"])],
    );
    let remove = ["node", "remove", "3", "--yes"];
    compare(
        "node-remove",
        &[
            (yes, &remove[..3]),
            (yes, &["node", "remove", "3", "--force"]),
            (yes, &remove),
            (no, &["node", "remove", "2", "--yes"]),
            (&uncertain(), &["node", "remove", "2", "--yes", "--force"]),
        ],
    );
    let drain = ["node", "drain", "rack-a-2", "--stop"];
    compare("node-drain", &[(yes, &drain), (no, &drain[..3])]);
    let undrain = ["node", "undrain", "rack-a-2"];
    compare("node-undrain", &[(yes, &undrain), (no, &undrain)]);
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let (yes, no) = (&willing(), &unwilling());
    let create = ["node", "token", "create", "--learner", "--uses", "2", "--expires-in", "2h"];
    compare("node-token-create", &[(yes, &create), (no, &create[..3])]);
    let list = ["node", "token", "list"];
    compare("node-token-list", &[(yes, &list), (no, &list)]);
    let revoke = ["node", "token", "revoke", "7"];
    compare("node-token-revoke", &[(yes, &revoke), (no, &revoke)]);
}

#[test]
fn who_leads_is_shown_wished_and_changed() {
    let (yes, no) = (&willing(), &unwilling());
    compare("policy-get", &[(yes, &["policy", "get"]), (no, &["policy", "get"])]);
    compare(
        "policy-set",
        &[
            (yes, &["policy", "set", "--leader-racks", "b, a,"]),
            (no, &["policy", "set", "--leader-racks", "a,a"]),
        ],
    );
    compare("leader-show", &[(yes, &["leader", "show"]), (no, &["leader", "show"])]);
    compare(
        "leader-transfer",
        &[(yes, &["leader", "transfer"]), (no, &["leader", "transfer", "rack-c-1"])],
    );
}

#[test]
fn an_upgrade_is_shown_and_ended() {
    let (yes, no) = (&willing(), &unwilling());
    compare("upgrade-status", &[(yes, &["upgrade", "status"])]);
    let finalize = ["upgrade", "finalize", "--yes"];
    compare("upgrade-finalize", &[(yes, &finalize[..2]), (yes, &finalize), (no, &finalize)]);
}
