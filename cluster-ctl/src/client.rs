//! Asking nodes over the control API.

mod others;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;

use crate::access::{self, Access};

/// A command waits at most about 11 s for the cluster (a barrier and a commit); then it is the node
/// that hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// A long answer may take so long; a node gives up at about the same time.
const DOWNLOAD: Duration = Duration::from_secs(660);
/// What a node may need for each MiB of a configuration: to read it, to send it, to activate it.
const PATIENCE_PER_MIB: Duration = Duration::from_secs(4);
/// A node in the same data centre answers a connection at once, or not at all.
const CONNECT: Duration = Duration::from_secs(2);

/// What the address of a control socket begins with.
const UNIX: &str = "unix:";

/// Why a command did not succeed. An empty text means that the reason is printed already.
#[derive(Debug)]
pub enum Failure {
    /// The cluster answered, and the answer is no.
    Refused(String),
    /// Something about the command line or a local file.
    Usage(String),
    /// No node answered, or none in a way that makes sense.
    Unreachable(String),
}

impl Failure {
    /// What kind it is, for scripts.
    pub fn kind(&self) -> &'static str {
        match self {
            Failure::Refused(_) => "refused",
            Failure::Usage(_) => "usage",
            Failure::Unreachable(_) => "unreachable",
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Refused(text) | Failure::Usage(text) | Failure::Unreachable(text) => {
                f.write_str(text)
            }
        }
    }
}

/// A reply of the control API.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Kea's result code.
    pub result: i64,
    /// The text; may be empty.
    pub text: String,
    /// The arguments, `null` when there are none.
    pub arguments: Value,
    /// The node that answered.
    pub node: String,
}

impl Reply {
    /// The reply if its result is 0, or 3 where nothing found is an answer too.
    pub fn success_or_empty(self) -> Result<Reply, Failure> {
        match self.result {
            0 | 3 => Ok(self),
            _ => Err(Failure::Refused(self.text)),
        }
    }

    /// The reply as it reads here: a node names arguments of the API, an operator has options.
    fn in_words_of_options(mut self) -> Reply {
        self.text = self.text.replace(
            "With \"consistency\": \"local\" among the arguments this node answers from what it has.",
            "With --local a node answers from what it has, which may be old.",
        );
        self.text = self.text.replace(
            "With consistency=local this node answers from what it has.",
            "With --local a node answers from what it has, which may be old.",
        );
        self
    }

    /// The reply if its result is 0.
    pub fn success(self) -> Result<Reply, Failure> {
        if self.result == 0 { Ok(self) } else { Err(Failure::Refused(self.text)) }
    }
}

/// The nodes to ask, and who asks.
#[derive(Debug)]
pub struct Client {
    nodes: Vec<String>,
    access: Access,
    /// Whom a Control Agent of Kea is to ask; it wants to be told, nodes do not.
    service: Option<&'static str>,
}

impl Client {
    /// A client of these nodes, or of the one on this machine.
    pub fn new(nodes: Vec<String>, options: access::Options) -> Result<Client, Failure> {
        let nodes = if nodes.is_empty() { vec!["http://127.0.0.1:8000".to_owned()] } else { nodes };
        let nodes = nodes.into_iter().map(url).collect::<Result<Vec<_>, _>>()?;
        let access = options.read(nodes.iter().any(|node| is_https(node)))?;
        Ok(Client { nodes, access, service: None })
    }

    /// A client of a Kea server, or of its Control Agent, at `address`: a URL, or `unix:` and the path of
    /// a socket.
    pub fn of_kea(address: &str, access: Access) -> Result<Client, Failure> {
        let node = match address.strip_prefix(UNIX) {
            Some(_) => address.to_owned(),
            None => url(address.to_owned())?,
        };
        Ok(Client { nodes: vec![node], access, service: Some("dhcp4") })
    }

    /// Asks the nodes in order until one can be connected to. A request that may have arrived is not
    /// repeated at another node: for a write that could mean twice.
    pub fn ask(&self, command: &str, arguments: Value) -> Result<Reply, Failure> {
        self.ask_large(command, arguments, 0)
    }

    /// [`Client::ask`] about a configuration of so many bytes, which takes its time.
    pub fn ask_large(
        &self,
        command: &str,
        arguments: Value,
        bytes: usize,
    ) -> Result<Reply, Failure> {
        let mebibytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        let patience = PATIENCE + PATIENCE_PER_MIB.saturating_mul(mebibytes);
        let agent = self.agent(patience, CONNECT);
        let authorization = self.access.authorization.as_deref();
        let request = request(command, arguments, self.service);
        if let [node] = &self.nodes[..]
            && let Some(path) = node.strip_prefix(UNIX)
        {
            let failed = |error| Failure::Unreachable(format!("{node}: {error}"));
            return by_socket(path, node, &request, patience).map_err(failed);
        }
        let mut tried = Vec::new();
        for node in &self.nodes {
            match post(&agent, node, &request, authorization) {
                Ok(reply) => return self.admitted(reply.in_words_of_options()),
                Err(error) if never_arrived(&error) => {
                    let why = access::explain(&error).unwrap_or_else(|| error.to_string());
                    tried.push(format!("{node}: {why}"));
                }
                Err(error) => {
                    let hint = match &error {
                        ureq::Error::Protocol(_) if !is_https(node) => {
                            " If it speaks TLS there, name it with https://."
                        }
                        // The other end may close before we have read why.
                        ureq::Error::Io(_) if is_https(node) && !self.access.shows => {
                            " If it asks for certificates, give --cert and --key."
                        }
                        _ => "",
                    };
                    return Err(Failure::Unreachable(format!(
                        "{node} was asked and gave no usable answer: {error}.{hint} If this was a change, it may have \
                         been made: look before you repeat it."
                    )));
                }
            }
        }
        Err(Failure::Unreachable(format!(
            "no node answers. Is the address that of [control].listen, and is the node running? Name others with \
             --node.\n  {}",
            tried.join("\n  ")
        )))
    }

    /// Asks one node for what it knows itself, with little patience. `None` when it does not answer.
    /// `told_by` is the node that gave its address.
    pub fn ask_other(&self, node: &str, told_by: &str, command: &str) -> Option<Reply> {
        let second = Duration::from_secs(1);
        let request = request(command, Value::Null, None);
        let node = url(node.to_owned()).ok()?;
        if is_https(&node) && self.access.tls.is_none() {
            return None;
        }
        // A password that was to be encrypted does not go out in clear because an answer said so.
        let safe = is_https(&node) || !is_https(told_by);
        let authorization = self.access.authorization.as_deref().filter(|_| safe);
        let reply = post(&self.agent(second, second), &node, &request, authorization).ok()?;
        (reply.result < HTTP).then_some(reply)
    }

    /// Fetches `path` from the first node that can be connected to and has its body written to `out`,
    /// however long it is. Returns the node.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] also when the answer is not complete.
    pub fn download(&self, path: &str, out: &mut dyn Write) -> Result<String, Failure> {
        let (node, mut body) = self.get(path, DOWNLOAD)?;
        let copied = std::io::copy(&mut body.as_reader(), out);
        copied.map_err(|error| broken_off(&node, &error))?;
        Ok(node)
    }

    /// Reads the lines of `path`, such as `/v1/leases`, from the first node that can be connected to.
    ///
    /// # Errors
    /// Those of `each`; [`Failure::Unreachable`] also when the answer is not complete.
    pub fn lines(
        &self,
        path: &str,
        patience: Duration,
        each: &mut dyn FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (node, mut body) = self.get(path, patience)?;
        for line in BufReader::new(body.as_reader()).lines() {
            each(&line.map_err(|error| broken_off(&node, &error))?)?;
        }
        Ok(())
    }

    /// The body of `path` at the first node that can be connected to, and that node.
    fn get(&self, path: &str, patience: Duration) -> Result<(String, ureq::Body), Failure> {
        let agent = self.agent(patience, CONNECT);
        let mut tried = Vec::new();
        for node in &self.nodes {
            let mut get = agent.get(format!("{node}{path}"));
            if let Some(authorization) = &self.access.authorization {
                get = get.header("Authorization", authorization);
            }
            let answer = match get.call() {
                Ok(answer) => answer,
                Err(error) => {
                    let why = access::explain(&error).unwrap_or_else(|| error.to_string());
                    tried.push(format!("{node}: {why}"));
                    continue;
                }
            };
            let status = answer.status();
            let mut body = answer.into_body();
            if status.is_success() {
                return Ok((node.clone(), body));
            }
            let told: Value = body.read_json().unwrap_or(Value::Null);
            let text = told["text"].as_str().unwrap_or("no reason given").to_owned();
            let (arguments, node) = (Value::Null, node.clone());
            let refused = Reply { result: status.as_u16().into(), text, arguments, node };
            let refused = self.admitted(refused)?.in_words_of_options();
            return Err(Failure::Refused(format!("{}: {}", refused.node, refused.text)));
        }
        Err(Failure::Unreachable(format!(
            "no node answers. Is the address that of [control].listen, and is the node running? Name others with \
             --node.\n  {}",
            tried.join("\n  ")
        )))
    }

    fn agent(&self, patience: Duration, connect: Duration) -> Agent {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // A password goes to the node that was named, and nowhere else.
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(patience))
            .timeout_connect(Some(connect));
        if let Some(tls) = &self.access.tls {
            config = config.tls_config(tls.clone());
        }
        config.build().new_agent()
    }

    /// The reply, if the node let us in.
    fn admitted(&self, reply: Reply) -> Result<Reply, Failure> {
        let node = &reply.node;
        match reply.result {
            401 if self.access.authorization.is_some() => {
                Err(Failure::Refused(format!("{node} does not know this user with this password")))
            }
            401 => Err(Failure::Refused(format!(
                "{node} wants to know who asks: give --user NAME and --password-file FILE"
            ))),
            403 => Err(Failure::Refused(format!(
                "{node}: this user may ask, and change nothing. Nothing was changed"
            ))),
            _ => Ok(reply),
        }
    }
}

/// Results from here on are HTTP errors.
const HTTP: i64 = 400;

fn broken_off(node: &str, error: &std::io::Error) -> Failure {
    Failure::Unreachable(format!("{node}: the answer is not complete: {error}"))
}

fn is_https(url: &str) -> bool {
    url.starts_with("https://")
}

/// Puts `http://` before a bare address.
fn url(node: String) -> Result<String, Failure> {
    let node = node.trim_end_matches('/').to_owned();
    match node.split_once("://") {
        None => Ok(format!("http://{node}")),
        Some(("http" | "https", _)) => Ok(node),
        Some((scheme, _)) => Err(Failure::Usage(format!(
            "--node {node}: {scheme}:// is not supported, only http:// and https://"
        ))),
    }
}

/// Whether the failure came before anything was sent.
fn never_arrived(error: &ureq::Error) -> bool {
    match error {
        error if access::explain(error).is_some() => true,
        ureq::Error::Io(error) => {
            use std::io::ErrorKind::{
                AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown,
                NetworkUnreachable,
            };
            let kind = error.kind();
            matches!(
                kind,
                ConnectionRefused
                    | HostUnreachable
                    | NetworkUnreachable
                    | NetworkDown
                    | AddrNotAvailable
            )
        }
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => true,
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::BadUri(_) => true,
        _ => false,
    }
}

fn request(command: &str, arguments: Value, service: Option<&str>) -> String {
    let mut request = json!({ "command": command });
    if let Some(service) = service {
        request["service"] = json!([service]);
    }
    if !arguments.is_null() {
        request["arguments"] = arguments;
    }
    request.to_string()
}

fn post(
    agent: &Agent,
    node: &str,
    request: &str,
    authorization: Option<&str>,
) -> Result<Reply, ureq::Error> {
    let mut post = agent.post(node).content_type("application/json");
    if let Some(authorization) = authorization {
        post = post.header("Authorization", authorization);
    }
    let mut answer = post.send(request)?;
    let body: Value = answer.body_mut().with_config().limit(1 << 30).read_json()?;
    Ok(reply_of(&body, node))
}

/// One request over the control socket of a Kea.
fn by_socket(path: &str, node: &str, request: &str, patience: Duration) -> std::io::Result<Reply> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(request.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.take(1 << 30).read_to_end(&mut answer)?;
    Ok(reply_of(&serde_json::from_slice(&answer)?, node))
}

/// A list for commands; a map for HTTP errors, and over a socket.
fn reply_of(body: &Value, node: &str) -> Reply {
    let reply = body.get(0).unwrap_or(body);
    Reply {
        result: reply["result"].as_i64().unwrap_or(1),
        text: reply["text"].as_str().unwrap_or_default().to_owned(),
        arguments: reply.get("arguments").cloned().unwrap_or(Value::Null),
        node: node.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_no_scheme() {
        assert_eq!(url("192.0.2.1:8000".into()).unwrap(), "http://192.0.2.1:8000");
        assert_eq!(url("http://192.0.2.1:8000/".into()).unwrap(), "http://192.0.2.1:8000");
        assert!(matches!(url("ftp://x".into()), Err(Failure::Usage(_))));
    }

    #[test]
    fn without_a_majority_the_option_is_named_that_helps() {
        // The words are the node's (`api/dispatch.rs`).
        let text = "The cluster does not answer: no leader. With \"consistency\": \"local\" among the arguments \
                    this node answers from what it has.";
        let (arguments, node) = (Value::Null, String::new());
        let reply = Reply { result: 1, text: text.to_owned(), arguments, node };
        let text = reply.in_words_of_options().text;
        assert!(text.contains("--local") && !text.contains("consistency"), "{text}");
    }
}
