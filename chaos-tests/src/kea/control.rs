//! Stories of requests against one Kea or Leasehold process, by its unix socket and by HTTP.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::Version;
use super::answer::Rules;
use super::requests::{Fill, Request, Story, What};
use super::server::{HOOKS, Kind, Server};
use crate::clock;
use crate::floor::netns::http::Http;
use crate::floor::netns::topology::Namespace;

/// How long a server may take to start, in milliseconds.
const START_MS: u64 = 30_000;
/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(15);
/// Where HTTP is, where it is.
const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);
/// Name of the unix socket in the server's directory.
const SOCKET: &str = "socket";

/// An answer, after the rules.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// Where it was asked, as [`super::requests::Request::place`].
    pub place: String,
    pub command: String,
    pub answer: Value,
}

/// Starts a server with the `Dhcp4` map `dhcp4` and tells it the story.
///
/// # Errors
/// When it does not start, ends, or does not answer.
pub fn tell(
    kind: &Kind,
    namespace: &Namespace,
    dhcp4: &Value,
    story: &Story,
    dir: &Path,
) -> Result<Vec<Answered>> {
    let mut server = Server::launch(kind, namespace, dir, |inside| {
        completed(kind, dhcp4, &story.socket, inside)
    })?;
    let socket = server.dir().join(SOCKET);
    wait_until_configured(&mut server, &socket)?;
    let inside = server.inside().display().to_string();
    let now = clock::wall_ms() / 1000;
    let mut rules = Rules::new(&inside, now);
    let mut last = Value::Null;
    let mut answers = Vec::new();
    for request in &story.requests {
        let document = request.document(&Fill { now, dir: &inside, last: &last });
        let answer = match request.what {
            What::Http { .. } if old(kind) => Ok(json!({ "result": 2 })),
            What::Http { .. } => ask_by_http(namespace, request, &document),
            _ => ask(&socket, &document),
        };
        last = answer.with_context(|| format!("{}\n{}", request.place, server.process.tail()))?;
        answers.push(Answered {
            place: request.place.clone(),
            answer: rules.apply(request.name(), &last),
            command: request.name().to_owned(),
        });
    }
    if !server.process.runs() {
        bail!("{} / {}: it ended:\n{}", story.topic, story.title, server.process.tail());
    }
    Ok(answers)
}

/// A node has its configuration by a commit, some time after its socket is there.
fn wait_until_configured(server: &mut Server, socket: &Path) -> Result<()> {
    let deadline = clock::now_ms() + START_MS;
    loop {
        let answer = ask(socket, "{ \"command\": \"config-get\" }");
        if answer.as_ref().is_ok_and(|answer| answer["result"] == 0) {
            return Ok(());
        }
        if !server.process.runs() || clock::now_ms() > deadline {
            bail!("it is not configured: {answer:?}\n{}", server.complaint());
        }
        clock::sleep_ms(10);
    }
}

/// Sends one document to a control socket and reads one answer.
///
/// # Errors
/// When there is no answer, or none in JSON.
pub fn ask(socket: &Path, document: &str) -> Result<Value> {
    let mut stream = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(document.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    serde_json::from_slice(&answer)
        .with_context(|| format!("the answer {:?}", String::from_utf8_lossy(&answer)))
}

/// Sends a document by HTTP. The answer: status, the headers that matter, body; a status of 0 when the connection ended without one.
fn ask_by_http(namespace: &Namespace, request: &Request, body: &str) -> Result<Value> {
    let What::Http { method, content_type, authorization, .. } = &request.what else {
        bail!("not HTTP");
    };
    let mut text =
        format!("{method} / HTTP/1.1\r\nHost: node\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in [("Content-Type", content_type), ("Authorization", authorization)] {
        if let Some(value) = value {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    text.push_str("\r\n");
    text.push_str(body);
    let asked = Http::connect(namespace, HTTP).and_then(|mut http| {
        http.send(text.as_bytes())?;
        http.answer()
    });
    let Ok(page) = asked else { return Ok(json!({ "status": 0 })) };
    let body = serde_json::from_str(&page.body).unwrap_or_else(|_| json!(page.body));
    let header = |name: &str| page.header(name).map_or(Value::Null, |value| json!(value));
    Ok(json!({
        "status": page.status,
        "content-type": header("content-type"),
        "www-authenticate": header("www-authenticate"),
        "body": body,
    }))
}

/// Whether it is a Kea without HTTP of its own.
fn old(kind: &Kind) -> bool {
    matches!(kind, Kind::Kea { version: Version::V2, .. })
}

/// The map with interfaces, sockets, hooks and a lease database that forgets.
fn completed(kind: &Kind, dhcp4: &Value, http: &Value, inside: &Path) -> Value {
    let mut map = dhcp4.clone();
    let socket = json!({ "socket-type": "unix", "socket-name": inside.join(SOCKET) });
    let old = old(kind);
    let hooks: &[&str] = if old {
        &["lease_cmds", "stat_cmds"]
    } else {
        &["lease_cmds", "stat_cmds", "subnet_cmds", "host_cmds", "class_cmds"]
    };
    let library = |name: &&str| json!({ "library": format!("{HOOKS}/libdhcp_{name}.so") });
    map["hooks-libraries"] = hooks.iter().map(library).collect();
    map["interfaces-config"] = json!({ "interfaces": ["eth0"] });
    map["lease-database"] = json!({ "type": "memfile", "persist": false });
    let output = if old { "output_options" } else { "output-options" };
    map["loggers"] =
        json!([{ "name": "kea-dhcp4", "severity": "WARN", output: [{ "output": "stdout" }] }]);
    if old {
        map["control-socket"] = socket;
    } else {
        let mut by_http = json!({
            "socket-type": "http", "socket-address": HTTP.ip(), "socket-port": HTTP.port(),
        });
        if let (Some(all), Some(more)) = (by_http.as_object_mut(), http.as_object()) {
            all.extend(more.clone());
        }
        map["control-sockets"] = json!([socket, by_http]);
    }
    map
}
