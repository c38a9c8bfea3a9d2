//! Stories of control API requests, as files that people read.
//!
//! ```text
//! [a title]                               a story: both servers start anew, with the same configuration
//! lease4-get {"ip-address":"192.0.2.1"}   a command and its arguments
//!   ,"more":1}                            lines that begin with a space go on with the one before
//! raw {"command":5}                       the whole request, as it is
//! http POST application/json - {…}        by HTTP: method, content type, authorization (`_` stands for a blank), body; `-` is none
//! socket {"authentication":{…}}           more for the HTTP socket of the configuration
//! ```
//!
//! In arguments `$now`, `$now+60`, `$now-60` are seconds since 1970; `$dir` is a directory of the server's; `$from` and `$source` are
//! what the answer before said under `next`.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Requests to a server that was just started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// Name of the file.
    pub topic: String,
    pub title: String,
    /// More members of the HTTP socket in the configuration.
    pub socket: Value,
    pub requests: Vec<Request>,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `topic / title / line`, with a number when the line occurs more than once in the story.
    pub place: String,
    pub what: What,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Command {
        name: String,
        arguments: Option<String>,
    },
    Raw(String),
    Http {
        method: String,
        content_type: Option<String>,
        authorization: Option<String>,
        body: String,
    },
}

/// What stands for the words with `$`.
#[derive(Debug, Clone)]
pub struct Fill<'a> {
    /// Seconds since 1970.
    pub now: u64,
    pub dir: &'a str,
    /// The answer before.
    pub last: &'a Value,
}

/// Reads the file of `topic`.
///
/// # Errors
/// At a line before the first title.
pub fn parse(topic: &str, text: &str) -> Result<Vec<Story>> {
    let mut stories: Vec<(String, Vec<String>)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let place = || format!("{topic}, line {}: {line}", at + 1);
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            stories.push((title.to_owned(), Vec::new()));
            continue;
        }
        let (_, lines) = stories.last_mut().with_context(place)?;
        if line.starts_with(' ') {
            lines.last_mut().with_context(place)?.push_str(line.trim());
        } else {
            lines.push(line.trim_end().to_owned());
        }
    }
    ensure!(!stories.is_empty(), "{topic} has no story");
    stories.into_iter().map(|(title, lines)| story(topic, title, lines)).collect()
}

fn story(topic: &str, title: String, mut lines: Vec<String>) -> Result<Story> {
    let socket = lines.first().and_then(|line| line.strip_prefix("socket "));
    let socket = socket.map(serde_json::from_str).transpose()?;
    if socket.is_some() {
        lines.remove(0);
    }
    Ok(Story {
        requests: requests(topic, &title, &lines),
        topic: topic.to_owned(),
        title,
        socket: socket.unwrap_or(Value::Null),
    })
}

fn requests(topic: &str, title: &str, lines: &[String]) -> Vec<Request> {
    let mut requests = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let earlier = lines[..at].iter().filter(|other| *other == line).count();
        let number = if earlier == 0 { String::new() } else { format!(" #{}", earlier + 1) };
        requests.push(Request {
            place: format!("{topic} / {title} / {line}{number}"),
            what: what(line),
        });
    }
    requests
}

fn what(line: &str) -> What {
    let (name, rest) = match line.split_once(' ') {
        Some((name, rest)) => (name, Some(rest.to_owned())),
        None => (line, None),
    };
    match name {
        "raw" => What::Raw(rest.unwrap_or_default()),
        "http" => {
            let rest = rest.unwrap_or_default();
            let mut words = rest.splitn(4, ' ');
            let mut word = || words.next().unwrap_or_default().replace('_', " ");
            let (method, content_type, authorization) = (word(), word(), word());
            let some = |word: String| (word != "-").then_some(word);
            What::Http {
                method,
                content_type: some(content_type),
                authorization: some(authorization),
                body: words.next().unwrap_or_default().to_owned(),
            }
        }
        _ => What::Command { name: name.to_owned(), arguments: rest },
    }
}

impl Request {
    /// The command's name; `raw` and `http` for what is not just a command.
    pub fn name(&self) -> &str {
        match &self.what {
            What::Command { name, .. } => name,
            What::Raw(_) => "raw",
            What::Http { .. } => "http",
        }
    }

    /// The text to send; with HTTP, the body.
    pub fn document(&self, fill: &Fill<'_>) -> String {
        match &self.what {
            What::Command { name, arguments: Some(arguments) } => {
                let arguments = filled(arguments, fill);
                format!("{{ \"command\": \"{name}\", \"arguments\": {arguments} }}")
            }
            What::Command { name, arguments: None } => format!("{{ \"command\": \"{name}\" }}"),
            What::Raw(text) | What::Http { body: text, .. } => filled(text, fill),
        }
    }
}

fn filled(text: &str, fill: &Fill<'_>) -> String {
    let next = |member: &str| fill.last["arguments"]["next"][member].as_u64().unwrap_or(0);
    let text = text
        .replace("$dir", fill.dir)
        .replace("$from", &next("from").to_string())
        .replace("$source", &next("source-index").to_string());
    let mut parts = text.split("$now");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part
            .find(|letter: char| !matches!(letter, '+' | '-' | '0'..='9'))
            .unwrap_or(part.len());
        let shift: i64 = part[..end].parse().unwrap_or(0);
        out.push_str(&fill.now.saturating_add_signed(shift).to_string());
        out.push_str(&part[end..]);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_story_is_read_and_its_words_are_filled_in() -> Result<()> {
        let text = "# x\n[one]\na\na {\"x\":$now-5,\n  \"y\":[$from,$source,\"$dir\"]}\na\nraw 5\n";
        let stories = parse("t", text)?;
        let last = json!({ "arguments": { "next": { "from": 7, "source-index": 2 } } });
        let fill = Fill { now: 100, dir: "/d", last: &last };
        let sent: Vec<String> =
            stories[0].requests.iter().map(|request| request.document(&fill)).collect();
        assert_eq!(
            sent,
            [
                "{ \"command\": \"a\" }",
                "{ \"command\": \"a\", \"arguments\": {\"x\":95,\"y\":[7,2,\"/d\"]} }",
                "{ \"command\": \"a\" }",
                "5"
            ]
        );
        assert_eq!(stories[0].requests[2].place, "t / one / a #2");
        assert!(parse("t", "a\n").is_err(), "no title");
        let stories = parse("t", "[one]\nsocket {\"a\":1}\nhttp POST - Basic_x {\"b\": 2}\n")?;
        assert_eq!(stories[0].socket, json!({ "a": 1 }));
        let What::Http { method, content_type, authorization, body } = &stories[0].requests[0].what
        else {
            panic!("{stories:?}")
        };
        assert_eq!((method.as_str(), content_type, body.as_str()), ("POST", &None, "{\"b\": 2}"));
        assert_eq!(authorization.as_deref(), Some("Basic x"));
        Ok(())
    }
}
