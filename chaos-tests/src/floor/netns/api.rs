//! The control API and the health pages of a node, asked from inside its namespace.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::topology::{Namespace, mac_from_text};
use crate::clock;
use crate::oracle::{ClientId, Held};

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(10);

/// An answer of Kea's control API.
#[derive(Debug, Clone)]
pub struct Answer {
    /// 0 success, 1 error, 2 unsupported, 3 empty, 4 conflict.
    pub result: i64,
    pub text: String,
    pub arguments: Value,
}

/// Sends a Kea command by HTTP POST.
///
/// # Errors
/// When the node does not answer, or not in Kea's form.
pub fn command(namespace: &Namespace, name: &str, arguments: Option<Value>) -> Result<Answer> {
    let request = request(name, arguments);
    let reply: Value = namespace.inside(|| -> Result<Value> {
        let mut answer = agent().post("http://127.0.0.1:8000/").send_json(&request)?;
        Ok(answer.body_mut().with_config().limit(256 << 20).read_json()?)
    })??;
    parse(&reply).with_context(|| format!("{name} was answered with {reply}"))
}

/// Sends a Kea command to a unix socket.
///
/// # Errors
/// As [`command`].
pub fn command_by_socket(socket: &Path, name: &str, arguments: Option<Value>) -> Result<Answer> {
    let mut stream = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(request(name, arguments).to_string().as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    parse(&serde_json::from_str(&reply)?)
        .with_context(|| format!("{name} was answered with {reply}"))
}

/// `GET path`: status and body.
///
/// # Errors
/// When the node does not answer.
pub fn get(namespace: &Namespace, path: &str) -> Result<(u16, String)> {
    namespace.inside(|| -> Result<(u16, String)> {
        let mut answer = agent().get(format!("http://127.0.0.1:8000{path}")).call()?;
        Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?))
    })?
}

/// The value of a metric without labels, in the Prometheus text `page`.
pub fn metric(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.split_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse().ok()
    })
}

/// The leases of a `lease4-get-all` answer; those that are not assigned are left out.
///
/// # Errors
/// When the answer is an error or has another form.
pub fn leases(answer: &Answer) -> Result<Vec<Held>> {
    ensure!(matches!(answer.result, 0 | 3), "lease4-get-all: {}", answer.text);
    let Some(leases) = answer.arguments["leases"].as_array() else { return Ok(Vec::new()) };
    leases.iter().filter(|lease| lease["state"] == 0).map(lease).collect()
}

fn lease(lease: &Value) -> Result<Held> {
    let address: Ipv4Addr = lease["ip-address"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .context("a lease without an address")?;
    let cltt = lease["cltt"].as_u64().context("a lease without cltt")?;
    let valid = lease["valid-lft"].as_u64().context("a lease without valid-lft")?;
    let mac = lease["hw-address"].as_str().and_then(mac_from_text);
    Ok(Held {
        address,
        client: mac.and_then(|mac| ClientId::from_mac(&mac)),
        ends: clock::ledger_ms((cltt + valid) * 1000),
    })
}

fn request(name: &str, arguments: Option<Value>) -> Value {
    match arguments {
        Some(arguments) => json!({ "command": name, "service": ["dhcp4"], "arguments": arguments }),
        None => json!({ "command": name, "service": ["dhcp4"] }),
    }
}

/// Kea's control agent answers with a list of one, its servers with the answer itself.
fn parse(reply: &Value) -> Option<Answer> {
    let one = if reply.is_array() { reply.get(0)? } else { reply };
    Some(Answer {
        result: one["result"].as_i64()?,
        text: one["text"].as_str().unwrap_or_default().to_owned(),
        arguments: one["arguments"].clone(),
    })
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(LIMIT))
        .http_status_as_error(false)
        .build()
        .into()
}

#[cfg(test)]
mod tests {
    use super::metric;

    #[test]
    fn a_metric_is_found_with_and_without_labels() {
        let page = "# HELP x y\nleasehold_raft_is_leader_total 7\nleasehold_raft_is_leader 1\nb{n=\"a b\"} 2.5\n";
        assert_eq!(metric(page, "leasehold_raft_is_leader"), Some(1.0));
        assert_eq!(metric(page, "b"), Some(2.5));
        assert_eq!(metric(page, "c"), None);
    }
}
