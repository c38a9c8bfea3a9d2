//! `cluster-ctl node`: members, and the tokens with which new ones join.

use serde_json::{Value, json};

use super::{drain, leader};
use crate::Output;
use crate::client::{Client, Failure, Reply};
use crate::output::{table, utc};

/// What to do with nodes.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Members: who votes, who leads, how far each is. Works on any node, also without a leader
    List,
    /// Make a token for a new node, and show the settings it needs
    Add(NewToken),
    /// Give a node without a vote its vote. One that joined gets it by itself when it has caught up
    Promote {
        /// Id or name
        node: String,
        /// Also if it has not caught up, or too few others can work
        #[arg(long)]
        force: bool,
    },
    /// Take a node out of service; its peers answer its clients at once
    Drain(drain::Drain),
    /// Bring a drained node back into service
    Undrain(drain::Undrain),
    /// Take a node's vote away; it goes on as a copy that receives everything
    Demote(Danger),
    /// Remove a node for good, dead or alive. Its number is never used again
    Remove(Danger),
    /// Tokens with which new nodes join
    #[command(subcommand)]
    Token(Token),
}

/// A change that costs something.
#[derive(Debug, clap::Args)]
pub struct Danger {
    /// Id or name
    node: String,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Also if too few of those who vote afterwards answer and have caught up: then no client is answered until
    /// a majority of them is there again
    #[arg(long)]
    force: bool,
}

/// What a token is to be.
#[derive(Debug, clap::Args)]
pub struct NewToken {
    /// The new node never gets a vote by itself
    #[arg(long)]
    learner: bool,
    /// How long the token lets nodes in: a number and s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = seconds)]
    expires_in: u64,
    /// How many nodes it lets in
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    uses: u32,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// What to do with tokens.
#[derive(Debug, clap::Subcommand)]
pub enum Token {
    /// Make one. Its secret is shown once
    Create(NewToken),
    /// Those that there are, without their secrets
    List,
    /// Let nobody in with it any more
    Revoke {
        /// Its id
        id: u64,
    },
}

/// Runs it.
pub fn run(client: &Client, command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::List => {
            let reply = client.ask("cluster-node-list", Value::Null)?.success()?;
            match output {
                Output::Json => say_line!("{}", reply.arguments),
                Output::Table => say!("{}", members(&reply)),
            }
            Ok(())
        }
        Command::Add(new) => {
            let then = match new.learner {
                true => "it receives everything, and gets no vote before cluster-ctl node promote",
                false => "it gets its vote when it has caught up",
            };
            created(client.ask("cluster-node-add", arguments(new))?, then, output)
        }
        Command::Promote { node, force } => {
            let arguments = json!({ "node": node, "force": force });
            done(client.ask("cluster-node-promote", arguments)?, output)
        }
        Command::Drain(wish) => drain::drain(client, wish, output),
        Command::Undrain(wish) => drain::undrain(client, wish, output),
        Command::Demote(danger) => {
            let why = "takes its vote away: the cluster then survives fewer failures";
            dangerous(client, "demote", why, danger, output)
        }
        Command::Remove(danger) => {
            let why = "removes it for good: it stops, its number is never used again, and to come back it has to join \
                       as a new node with an empty data directory";
            dangerous(client, "remove", why, danger, output)
        }
        Command::Token(token) => tokens(client, token, output),
    }
}

fn dangerous(
    client: &Client,
    verb: &str,
    why: &str,
    danger: Danger,
    output: Output,
) -> Result<(), Failure> {
    let Danger { node, yes, force } = danger;
    if !yes {
        let forced = if force {
            " With --force this is done also if then no client is answered until a majority is there again."
        } else {
            ""
        };
        return Err(Failure::Usage(format!(
            "node {verb} {node} {why}.{forced} Nothing was done; say --yes to do it"
        )));
    }
    let arguments = json!({ "node": node, "force": force });
    done(client.ask(&format!("cluster-node-{verb}"), arguments)?, output)
}

fn tokens(client: &Client, command: Token, output: Output) -> Result<(), Failure> {
    match command {
        // An answer without settings: what comes after the node's start is not told.
        Token::Create(new) => {
            created(client.ask("cluster-token-create", arguments(new))?, "", output)
        }
        Token::Revoke { id } => {
            done(client.ask("cluster-token-revoke", json!({ "id": id }))?, output)
        }
        Token::List => {
            let reply = client.ask("cluster-token-list", Value::Null)?.success_or_empty()?;
            match output {
                Output::Json => {
                    let none = json!({ "tokens": [] });
                    say_line!("{}", if reply.arguments.is_null() { none } else { reply.arguments });
                }
                Output::Table => say!("{}", token_table(&reply)),
            }
            Ok(())
        }
    }
}

fn arguments(new: NewToken) -> Value {
    let NewToken { learner, expires_in, uses, note } = new;
    let mut arguments = json!({ "learner": learner, "expires-in": expires_in, "uses": uses });
    if let Some(note) = note {
        arguments["note"] = note.into();
    }
    arguments
}

fn done(reply: Reply, output: Output) -> Result<(), Failure> {
    leader::done(&reply.success()?, output);
    Ok(())
}

fn created(reply: Reply, then: &str, output: Output) -> Result<(), Failure> {
    let reply = reply.success()?;
    match output {
        Output::Json => say_line!("{}", reply.arguments),
        Output::Table => say!("{}", secret(&reply, then)),
    }
    Ok(())
}

/// The secret, what to do with it, and what becomes of the node `then`.
fn secret(reply: &Reply, then: &str) -> String {
    let word = |name: &str| reply.arguments[name].as_str().unwrap_or_default();
    let mut out = format!("{}\n\n{}\n", reply.text, word("secret"));
    if !word("settings").is_empty() {
        out.push_str(&format!(
            "\nOn the new machine write this secret into the file that token-file names, readable by the server alone. \
             Its settings, beside [peer] with its own address, an empty data-dir, and no [cluster] initial:\n\n{}\n\
             Start it, and watch it with cluster-ctl node list: {then}.\n",
            word("settings")
        ));
    }
    out
}

fn token_table(reply: &Reply) -> String {
    let list = reply.arguments["tokens"].as_array().into_iter().flatten();
    let row = |token: &Value| {
        let expires = token["expires"].as_i64().map(utc).unwrap_or_default();
        let over = token["expired"].as_bool() == Some(true);
        [
            token["id"].to_string(),
            if over { format!("{expires} (over)") } else { expires },
            token["uses"].to_string(),
            if token["learner"].as_bool() == Some(true) { "no" } else { "yes" }.to_owned(),
            token["note"].as_str().unwrap_or_default().to_owned(),
        ]
    };
    table(["ID", "EXPIRES", "USES LEFT", "VOTES", "NOTE"], &list.map(row).collect::<Vec<_>>())
}

fn members(reply: &Reply) -> String {
    let listed = |name: &str| reply.arguments[name].as_array().into_iter().flatten();
    let rows: Vec<_> = listed("nodes").map(row).chain(listed("expected").map(expected)).collect();
    let mut out = format!("{}\n\n", reply.text);
    out.push_str(&table(
        [
            "NODE",
            "NAME",
            "RACK",
            "ROLE",
            "VOTES",
            "LIVENESS",
            "ANSWERS",
            "APPLIED",
            "LAG",
            "TRAILS LEADER",
            "ADDRESS",
        ],
        &rows,
    ));
    let warnings: Vec<&str> = listed("warnings").filter_map(Value::as_str).collect();
    if !warnings.is_empty() {
        out.push_str(&format!("\nWho votes:\n  {}\n", warnings.join("\n  ")));
    }
    out
}

fn row(node: &Value) -> [String; 11] {
    let text = |name: &str| node[name].as_str().unwrap_or_default().to_owned();
    let number =
        |name: &str| node[name].as_u64().map_or("?".to_owned(), |number| number.to_string());
    let votes = match (node["votes"].as_bool(), node["copy"].as_bool()) {
        (Some(true), _) => "yes",
        (_, Some(true)) => "no",
        _ => "not yet",
    };
    let answers = match node["reachable"].as_bool() {
        Some(true) => "yes",
        Some(false) => "no",
        None => "?",
    };
    [
        number("id"),
        text("name"),
        text("rack"),
        text("role"),
        votes.to_owned(),
        text("liveness"),
        answers.to_owned(),
        number("applied-index"),
        number("lag"),
        number("trails-leader"),
        text("address"),
    ]
}

/// A node that was let in and has not come.
fn expected(node: &Value) -> [String; 11] {
    let mut row = row(node);
    for cell in &mut row[3..10] {
        cell.clear();
    }
    row[3] = "expected".to_owned();
    row
}

/// `90s`, `15m`, `1h`, `2d`.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no time: a number and s, m, h or d, as 90s or 2h");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str, arguments: Value) -> Reply {
        Reply { result: 0, text: text.into(), arguments, node: "http://192.0.2.1:8000".into() }
    }

    #[test]
    fn members_are_a_table() {
        let arguments = json!({"leader": 1, "voters": 2, "survives": 0,
            "warnings": ["2 voters survive no more failures than 1 would: 0. Add a voter, or take one away"],
            "nodes": [
                {"id": 1, "name": "rack-a", "rack": "a", "address": "192.0.2.11:7701", "votes": true, "copy": false,
                 "role": "leader", "liveness": "up", "reachable": true, "applied-index": 57, "lag": 0, "trails-leader": 0},
                {"id": 4, "name": "rack-d", "rack": "d", "address": "192.0.2.14:7701", "votes": false, "copy": false,
                 "role": "learner", "liveness": "down", "reachable": null, "applied-index": null, "lag": null,
                 "trails-leader": null}],
            "expected": [{"id": 5, "name": "rack-e", "address": "192.0.2.15:7701", "copy": true}]});
        let text = members(&reply("2 nodes; 2 nodes vote; none of them may fail", arguments));
        let expected = "\
2 nodes; 2 nodes vote; none of them may fail

NODE  NAME    RACK  ROLE      VOTES    LIVENESS  ANSWERS  APPLIED  LAG  TRAILS LEADER  ADDRESS
1     rack-a  a     leader    yes      up        yes      57       0    0              192.0.2.11:7701
4     rack-d  d     learner   not yet  down      ?        ?        ?    ?              192.0.2.14:7701
5     rack-e        expected                                                           192.0.2.15:7701

Who votes:
  2 voters survive no more failures than 1 would: 0. Add a voter, or take one away
";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_secret_comes_with_what_to_do_with_it() {
        let arguments = json!({"id": 7, "secret": "leasehold-join-1-2",
            "settings": "[cluster]\njoin = [\"192.0.2.11:7701\"]\ntoken-file = \"/etc/leasehold/join-token\"\n"});
        let text =
            secret(&reply("Token 7 lets in one node within 60 minutes.", arguments), "it is there");
        assert!(
            text.starts_with("Token 7 lets in one node within 60 minutes.\n\nleasehold-join-1-2\n"),
            "{text}"
        );
        assert!(text.contains("join = [\"192.0.2.11:7701\"]"), "{text}");
    }

    #[test]
    fn tokens_are_a_table_without_secrets() {
        let arguments = json!({"tokens": [
            {"id": 7, "expires": 1_735_689_599, "expired": false, "uses": 1, "learner": false, "note": "rack d"},
            {"id": 8, "expires": 0, "expired": true, "uses": 0, "learner": true}]});
        let expected = "\
ID  EXPIRES                      USES LEFT  VOTES  NOTE
7   2024-12-31 23:59:59Z         1          yes    rack d
8   1970-01-01 00:00:00Z (over)  0          no
";
        assert_eq!(token_table(&reply("", arguments)), expected);
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("2d"), Ok(172_800));
        for wrong in ["", "h", "90", "1w", "-1h", "é"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
