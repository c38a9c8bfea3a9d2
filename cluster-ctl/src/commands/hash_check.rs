//! `cluster-ctl hash-check`: whether all nodes have the same replicated state.

use serde_json::Value;

use crate::Output;
use crate::client::{Client, Failure};
use crate::output::table;

/// Runs it.
pub fn run(client: &Client, output: Output) -> Result<(), Failure> {
    let reply = client.ask("cluster-hash-check", Value::Null)?;
    if reply.arguments.is_null() {
        return reply.success().map(drop);
    }
    match output {
        Output::Json => say_line!("{}", reply.arguments),
        Output::Table => say!("{}\n\n{}", reply.text, rows(&reply.arguments)),
    }
    match reply.result {
        // 3: there is nothing to compare yet.
        0 | 3 => Ok(()),
        // Said already.
        _ => Err(Failure::Refused(String::new())),
    }
}

fn rows(answer: &Value) -> String {
    let nodes = answer["nodes"].as_array().into_iter().flatten();
    let index = answer["index"].as_u64().map_or("-".to_owned(), |index| index.to_string());
    let row = |node: &Value| {
        let (at, digest) = match (node["digest"].as_str(), node["answers"].as_bool()) {
            (Some(digest), _) => (index.clone(), digest.to_owned()),
            (None, Some(true)) => ("-".to_owned(), "none there".to_owned()),
            _ => ("-".to_owned(), "no answer".to_owned()),
        };
        [node["id"].to_string(), at, digest]
    };
    table(["NODE", "INDEX", "DIGEST"], &nodes.map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_node_is_a_line_with_its_digest_or_why_there_is_none() {
        let answer = json!({"index": 9, "nodes": [
            {"id": 1, "digest": "00ff", "answers": true}, {"id": 2, "digest": null, "answers": false},
            {"id": 3, "digest": null, "answers": true}]});
        let expected = "NODE  INDEX  DIGEST\n1     9      00ff\n2     -      no answer\n3     -      none there\n";
        assert_eq!(rows(&answer), expected);
    }
}
