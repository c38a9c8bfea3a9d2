//! `cluster-ctl config history`, `show`, `diff` and `rollback`.

use serde_json::{Value, json};

use crate::Output;
use crate::client::{Client, Failure, Reply};
use crate::output::{table, utc};

fn with_local(mut arguments: Value, local: bool) -> Value {
    if local {
        arguments["consistency"] = "local".into();
    }
    arguments
}

/// The versions that are kept, the newest first: what people look for is near the top.
pub fn list(client: &Client, local: bool, output: Output) -> Result<(), Failure> {
    let reply = client.ask("config-history", with_local(json!({}), local))?.success()?;
    match output {
        Output::Json => say_line!("{}", reply.arguments),
        Output::Table => say!("{}", listed(&reply.arguments)),
    }
    Ok(())
}

fn listed(history: &Value) -> String {
    let current = &history["current"];
    let versions = history["versions"].as_array().into_iter().flatten().rev();
    let rows: Vec<_> = versions
        .map(|version| {
            let text = |name: &str| version[name].as_str().unwrap_or_default().to_owned();
            let mark = if version["version"] == *current { "*" } else { "" };
            let hash: String = version["hash"].as_str().unwrap_or("-").chars().take(12).collect();
            [
                format!("{}{mark}", version["version"]),
                utc(version["time"].as_i64().unwrap_or_default()),
                reason(version),
                // A change of a part has no text of its own, and no hash.
                version["size"].as_u64().map_or_else(|| "-".to_owned(), size),
                hash,
                text("author"),
                text("comment").lines().next().unwrap_or_default().to_owned(),
            ]
        })
        .collect();
    let head = ["VERSION", "TIME", "REASON", "SIZE", "HASH", "AUTHOR", "COMMENT"];
    let mut out = table(head, &rows);
    out.push_str("\n* in force\n");
    out
}

fn reason(version: &Value) -> String {
    let reason = version["reason"].as_str().unwrap_or_default();
    match version["rollback-to"].as_u64() {
        Some(to) => format!("{reason} to {to}"),
        None => reason.to_owned(),
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
}

/// One version: on a terminal's left the text alone, so that it can be sent to a file and set again.
pub fn show(
    client: &Client,
    version: Option<u64>,
    local: bool,
    output: Output,
) -> Result<(), Failure> {
    let arguments = version.map_or(json!({}), |version| json!({ "version": version }));
    let reply = client.ask("config-history-get", with_local(arguments, local))?.success()?;
    let version = &reply.arguments;
    if output == Output::Json {
        say_line!("{version}");
        return Ok(());
    }
    eprint!("{}", described(version));
    say!("{}", text_of(version));
    Ok(())
}

/// A document that a program sent is on one line: people get it laid out.
fn text_of(version: &Value) -> String {
    let text = version["document"].as_str().unwrap_or_default();
    let laid_out = match version["form"].as_str() {
        Some("json") => serde_json::from_str::<Value>(text)
            .and_then(|value| serde_json::to_string_pretty(&value))
            .ok(),
        _ => None,
    };
    let mut text = laid_out.unwrap_or_else(|| text.to_owned());
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn described(version: &Value) -> String {
    let text = |name: &str| version[name].as_str().unwrap_or_default();
    let mut out = format!(
        "version {}, {} on {}\nauthor  {}\n",
        version["version"],
        reason(version),
        utc(version["time"].as_i64().unwrap_or_default()),
        text("author"),
    );
    for line in text("comment").lines() {
        out.push_str(&format!("comment {line}\n"));
    }
    out.push_str(&format!("hash    {}\nsha256  {}\n\n", text("hash"), text("sha256")));
    out
}

/// What changed between two versions.
pub fn diff(
    client: &Client,
    (from, to): (u64, Option<u64>),
    of: Option<&str>,
    local: bool,
    output: Output,
) -> Result<(), Failure> {
    let mut arguments = with_local(json!({ "from": from }), local);
    if let Some(to) = to {
        arguments["to"] = to.into();
    }
    if let Some(of) = of {
        arguments["of"] = of.into();
    }
    let reply = client.ask("config-diff", arguments)?.success()?;
    if output == Output::Json {
        say_line!("{}", reply.arguments);
        return Ok(());
    }
    let (text, hint) = difference(&reply);
    if let Some(hint) = hint {
        eprintln!("{hint}");
    }
    say!("{text}");
    Ok(())
}

/// The difference, and what to say beside it.
fn difference(reply: &Reply) -> (&str, Option<String>) {
    let text = reply.arguments["diff"].as_str().unwrap_or_default();
    let (from, to) = (&reply.arguments["from"], &reply.arguments["to"]);
    let hint = match (text.is_empty(), reply.arguments["of"].as_str()) {
        (true, Some("document")) => Some(format!(
            "Versions {from} and {to} say the same. --source compares the files themselves, comments too."
        )),
        (true, _) => Some(format!("Versions {from} and {to} are the same.")),
        _ if reply.arguments["truncated"] == json!(true) => {
            Some("The difference is longer than this. config show has the whole texts.".to_owned())
        }
        _ => None,
    };
    (text, hint)
}

/// Makes an earlier version the next one.
pub fn rollback(client: &Client, arguments: Value, output: Output) -> Result<(), Failure> {
    let reply = client.ask_large("config-rollback", arguments, UNKNOWN_SIZE)?.success()?;
    match output {
        Output::Json => {
            say_line!("{}", json!({ "text": reply.text, "arguments": reply.arguments }))
        }
        Output::Table => say_line!("{}", reply.text),
    }
    Ok(())
}

/// The node knows how long the text is; this one may be long.
const UNKNOWN_SIZE: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u64) -> Value {
        json!({"version": number, "time": 1_795_470_000 + number, "author": "alice@desk through rack-b",
            "reason": "set", "comment": "shorter leases\nas agreed", "hash": "0123456789ABCDEF", "sha256": "FF00",
            "form": "kea", "size": 20_000, "document": "{ \"Dhcp4\": {} } # ours"})
    }

    #[test]
    fn the_newest_version_is_listed_first_and_the_one_in_force_is_marked() {
        let mut second = version(2);
        second["reason"] = "rollback".into();
        second["rollback-to"] = 1.into();
        let text = listed(&json!({"current": 2, "versions": [version(1), second]}));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("VERSION  TIME"), "{text}");
        assert!(lines[1].starts_with("2*"), "{text}");
        assert!(lines[1].contains("rollback to 1"), "{text}");
        assert!(lines[2].starts_with("1 "), "{text}");
        assert!(
            lines[2].contains("20 KiB  0123456789AB  alice@desk through rack-b  shorter leases"),
            "{text}"
        );
        assert!(!text.contains("as agreed"), "one line for each");
        let edit = json!({"version": 3, "time": 1_795_470_003, "author": "ann", "reason": "subnet4-add", "comment": ""});
        let text = listed(&json!({"current": 3, "versions": [version(2), edit]}));
        assert!(
            text.contains("subnet4-add  -       -             ann"),
            "a part has no size: {text}"
        );
    }

    #[test]
    fn a_file_is_shown_as_given_and_a_programs_document_is_laid_out() {
        assert_eq!(text_of(&version(1)), "{ \"Dhcp4\": {} } # ours\n");
        let json = json!({"form": "json", "document": "{\"Dhcp4\":{\"a\":1}}"});
        assert_eq!(text_of(&json), "{\n  \"Dhcp4\": {\n    \"a\": 1\n  }\n}\n");
        assert!(described(&version(1)).contains("comment as agreed\n"));
    }

    #[test]
    fn an_empty_difference_says_what_was_compared() {
        let reply = |arguments: Value| Reply {
            result: 0,
            text: String::new(),
            arguments,
            node: String::new(),
        };
        let same = reply(json!({"from": 1, "to": 2, "of": "document", "diff": ""}));
        assert!(difference(&same).1.unwrap().contains("--source"));
        let same = reply(json!({"from": 1, "to": 1, "of": "source", "diff": ""}));
        assert_eq!(difference(&same).1.unwrap(), "Versions 1 and 1 are the same.");
        let differs = reply(json!({"from": 1, "to": 2, "of": "source", "diff": "-a\n+b\n"}));
        assert_eq!(difference(&differs), ("-a\n+b\n", None));
    }

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(
            [size(0), size(9_000), size(20_480), size(100 << 20)],
            ["0 B", "9000 B", "20 KiB", "100 MiB"]
        );
    }
}
