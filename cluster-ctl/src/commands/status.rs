//! `cluster-ctl status`: one node's view of the cluster, completed by what each node says of itself.

use std::collections::BTreeMap;
use std::thread;

use serde_json::{Value, json};

use crate::Output;
use crate::client::{Client, Failure, Reply};
use crate::output::table;

/// Runs it.
pub fn run(client: &Client, output: Output) -> Result<(), Failure> {
    let (status, reply) = look(client)?;
    match output {
        Output::Json => say_line!("{}", with(&status, "answered-by", reply.node.as_str().into())),
        Output::Table => say!("{}", report(&status, &reply)),
    }
    match status["leader"] {
        // Said already.
        Value::Null => Err(Failure::Refused(String::new())),
        _ => Ok(()),
    }
}

/// The status, completed by what each node says of itself, and the reply of the node that was asked.
pub fn look(client: &Client) -> Result<(Value, Reply), Failure> {
    let reply = client.ask("cluster-status", Value::Null)?.success()?;
    let status = complete(&reply.arguments, &ask_all(client, &reply));
    Ok((status, reply))
}

/// What each other node says of itself, by id. All are asked at once.
fn ask_all(client: &Client, reply: &Reply) -> BTreeMap<u64, Value> {
    let status = &reply.arguments;
    let own = status["node"].as_u64();
    let others = nodes(status).filter(|node| node["id"].as_u64() != own);
    thread::scope(|scope| {
        let asked: Vec<_> = others
            .filter_map(|node| {
                let id = node["id"].as_u64()?;
                let urls: Vec<String> = node["control"]
                    .as_array()?
                    .iter()
                    .filter_map(|url| url.as_str().map(str::to_owned))
                    .collect();
                Some(scope.spawn(move || {
                    let ask = |url| client.ask_other(url, &reply.node, "cluster-status");
                    let answers = urls.iter().filter_map(|url: &String| ask(url));
                    // An address such as 127.0.0.1 may lead to another node.
                    let mut own =
                        answers.filter(|reply| reply.arguments["node"].as_u64() == Some(id));
                    own.next().map(|reply| (id, reply.arguments))
                }))
            })
            .collect();
        asked.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    })
}

pub fn nodes(status: &Value) -> impl Iterator<Item = &Value> {
    status["nodes"].as_array().into_iter().flatten()
}

/// The status with each node's own word on its readiness, term, leader and applied index.
fn complete(status: &Value, said: &BTreeMap<u64, Value>) -> Value {
    let own = status["node"].as_u64();
    let complete = nodes(status).map(|node| {
        let id = node["id"].as_u64();
        let word = if id == own { Some(status) } else { id.and_then(|id| said.get(&id)) };
        let mut node = with(node, "answers", word.is_some().into());
        let Some(word) = word else { return node };
        for name in WORDS {
            if let Some(value) = word.get(name) {
                node = with(&node, name, value.clone());
            }
        }
        let highest =
            [status, word].iter().filter_map(|view| view["committed-index"].as_u64()).max();
        let lag = highest
            .zip(node["applied-index"].as_u64())
            .map(|(top, applied)| top.saturating_sub(applied));
        with(&node, "lag", json!(lag))
    });
    let nodes: Vec<Value> = complete.collect();
    with(status, "nodes", nodes.into())
}

/// What each node knows best of itself.
const WORDS: [&str; 10] = [
    "ready",
    "reason",
    "term",
    "leader",
    "applied-index",
    "config-version",
    "active-config-version",
    "config-problems",
    "warnings",
    "alarms",
];

fn with(map: &Value, name: &str, value: Value) -> Value {
    let mut map = map.clone();
    map[name] = value;
    map
}

pub fn report(status: &Value, reply: &Reply) -> String {
    let mut out = String::new();
    let number = |value: &Value| value.as_u64().map_or("?".to_owned(), |number| number.to_string());
    out.push_str(&format!("{}\n", reply.text));
    if status["leader"].is_null() {
        for other in nodes(status).filter(|node| !node["leader"].is_null()) {
            out.push_str(&format!(
                "But node {} says that node {} leads, term {}: node {} is cut off from it.\n",
                other["id"], other["leader"], other["term"], status["node"]
            ));
        }
    }
    out.push_str(&format!(
        "Seen from node {} ({}): configuration version {}, {} lease(s), committed index {}.\n\n",
        number(&status["node"]),
        reply.node,
        number(&status["config-version"]),
        number(&status["leases"]),
        number(&status["committed-index"]),
    ));
    let rows: Vec<_> = nodes(status).map(row).collect();
    out.push_str(&table(
        [
            "NODE", "NAME", "RACK", "ROLE", "LIVENESS", "READY", "CONFIG", "TERM", "APPLIED",
            "LAG", "ALARMS", "ADDRESS", "CONTROL",
        ],
        &rows,
    ));
    let reasons: Vec<_> = nodes(status)
        .filter_map(|node| Some(format!("node {}: {}\n", node["id"], node["reason"].as_str()?)))
        .collect();
    if !reasons.is_empty() {
        out.push_str(&format!("\nNot ready:\n  {}", reasons.join("  ")));
    }
    let problems: Vec<_> = nodes(status).flat_map(|node| told(node, "config-problems")).collect();
    if !problems.is_empty() {
        out.push_str(&format!(
            "\nNot all of the configuration is active:\n  {}",
            problems.join("  ")
        ));
    }
    let warnings: Vec<_> = nodes(status).flat_map(|node| told(node, "warnings")).collect();
    if !warnings.is_empty() {
        out.push_str(&format!("\nWarnings:\n  {}", warnings.join("  ")));
    }
    let unwise = status["membership-warnings"].as_array().into_iter().flatten();
    let unwise: Vec<_> = unwise.filter_map(Value::as_str).collect();
    if !unwise.is_empty() {
        out.push_str(&format!("\nWho votes:\n  {}\n", unwise.join("\n  ")));
    }
    out
}

/// What a node says of itself in a list, a line each.
fn told(node: &Value, list: &str) -> Vec<String> {
    let told = node[list].as_array().into_iter().flatten().filter_map(Value::as_str);
    told.map(|what| format!("node {}: {what}\n", node["id"])).collect()
}

/// The version that is active, and the one it should be if that is another.
fn config(node: &Value) -> String {
    match (node["active-config-version"].as_u64(), node["config-version"].as_u64()) {
        (Some(active), Some(applied)) if active != applied => format!("{active} of {applied}"),
        (Some(active), _) => active.to_string(),
        _ => "?".to_owned(),
    }
}

fn row(node: &Value) -> [String; 13] {
    let text = |name: &str| node[name].as_str().unwrap_or_default().to_owned();
    let number =
        |name: &str| node[name].as_u64().map_or("?".to_owned(), |number| number.to_string());
    let ready = match (node["answers"].as_bool(), node["ready"].as_bool()) {
        (_, Some(true)) => "yes",
        (_, Some(false)) => "no",
        (Some(false), _) if node["reachable"] == json!(false) => "no answer",
        _ => "?",
    };
    let control: Vec<&str> =
        node["control"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    [
        number("id"),
        text("name"),
        text("rack"),
        text("role"),
        text("liveness"),
        ready.to_owned(),
        config(node),
        number("term"),
        number("applied-index"),
        number("lag"),
        // Told only when there are some.
        node["alarms"].as_u64().map_or(String::new(), |count| count.to_string()),
        text("address"),
        control.join(" "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(leader: Value) -> Value {
        json!({"node": 2, "term": 4, "leader": leader, "ready": false, "reason": "no leader has been heard for 3 s",
            "applied-index": 57, "committed-index": 57, "config-version": 2, "leases": 3,
            "nodes": [
                {"id": 1, "name": "rack-a", "role": "unknown", "liveness": "up", "reachable": false,
                 "applied-index": 50, "lag": 7, "address": "192.0.2.11:7701", "control": ["http://192.0.2.11:8000"]},
                {"id": 2, "name": "rack-b", "role": "follower", "liveness": "up", "reachable": true,
                 "applied-index": 57, "lag": 0, "address": "192.0.2.12:7701", "control": []}]})
    }

    fn reply() -> Reply {
        let text = "2 nodes, no leader".to_owned();
        Reply { result: 0, text, arguments: Value::Null, node: "http://192.0.2.12:8000".into() }
    }

    #[test]
    fn a_node_without_a_leader_is_shown_with_its_reason() {
        let status = complete(&view(Value::Null), &BTreeMap::new());
        let text = report(&status, &reply());
        assert!(text.starts_with("2 nodes, no leader\n"), "{text}");
        assert!(text.contains("no answer"), "{text}");
        assert!(
            text.ends_with("Not ready:\n  node 2: no leader has been heard for 3 s\n"),
            "{text}"
        );
    }

    #[test]
    fn another_view_with_a_leader_is_told() {
        let other = json!({"node": 1, "term": 5, "leader": 1, "ready": true, "applied-index": 60, "committed-index": 60});
        let status = complete(&view(Value::Null), &BTreeMap::from([(1, other)]));
        let text = report(&status, &reply());
        assert!(
            text.contains("node 1 says that node 1 leads, term 5: node 2 is cut off"),
            "{text}"
        );
        assert_eq!(status["nodes"][0]["lag"], 0);
    }

    #[test]
    fn a_node_that_could_not_activate_all_of_a_configuration_says_so() {
        let other = json!({"node": 1, "term": 5, "leader": 1, "ready": true, "applied-index": 60, "committed-index": 60,
            "config-version": 3, "active-config-version": 2, "config-problems": ["there is no interface eth7"]});
        let status = complete(&view(json!(1)), &BTreeMap::from([(1, other)]));
        let text = report(&status, &reply());
        assert!(text.contains("  2 of 3  "), "{text}");
        assert!(text.ends_with("is active:\n  node 1: there is no interface eth7\n"), "{text}");
    }

    #[test]
    fn an_open_door_is_shown_to_whoever_looks() {
        let other = json!({"node": 1, "term": 5, "leader": 1, "ready": true, "warnings": ["anybody may come in"]});
        let status = complete(&view(json!(1)), &BTreeMap::from([(1, other)]));
        let text = report(&status, &reply());
        assert!(text.ends_with("\nWarnings:\n  node 1: anybody may come in\n"), "{text}");
    }
}
