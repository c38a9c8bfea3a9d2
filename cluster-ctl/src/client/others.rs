//! Asking a node whose address another node has told: with little patience, and with care for what is sent
//! to it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Client, HTTP, Reply, is_https, post, url};

/// A command about the node itself is answered at once.
const PATIENCE: Duration = Duration::from_secs(3);
/// A page of metrics may be megabytes.
const PAGE_PATIENCE: Duration = Duration::from_secs(15);
/// The most of a page that is read, bytes.
const PAGE: u64 = 64 << 20;

impl Client {
    /// Asks one node. `None` when it does not answer. `told_by` is the node that gave its address.
    pub fn ask_one(
        &self,
        node: &str,
        told_by: &str,
        command: &str,
        arguments: &Value,
    ) -> Option<Reply> {
        let (node, authorization) = self.trusted(node, told_by)?;
        let mut request = json!({ "command": command });
        if !arguments.is_null() {
            request["arguments"] = arguments.clone();
        }
        let agent = self.agent(PATIENCE, PATIENCE);
        let reply = post(&agent, &node, &request.to_string(), authorization).ok()?;
        (reply.result < HTTP).then_some(reply)
    }

    /// Reads a page of one node, such as `/metrics`. `None` when it does not answer.
    pub fn page(&self, node: &str, told_by: &str, path: &str) -> Option<String> {
        let (node, authorization) = self.trusted(node, told_by)?;
        let mut get = self.agent(PAGE_PATIENCE, PATIENCE).get(format!("{node}{path}"));
        if let Some(authorization) = authorization {
            get = get.header("Authorization", authorization);
        }
        let mut answer = get.call().ok()?;
        if !answer.status().is_success() {
            return None;
        }
        answer.body_mut().with_config().limit(PAGE).read_to_string().ok()
    }

    /// The address as a URL, and the credentials that may go there: a password that was to be encrypted
    /// does not go out in clear because an answer said so.
    fn trusted(&self, node: &str, told_by: &str) -> Option<(String, Option<&str>)> {
        let node = url(node.to_owned()).ok()?;
        if is_https(&node) && self.access.tls.is_none() {
            return None;
        }
        let safe = is_https(&node) || !is_https(told_by);
        let authorization = self.access.authorization.as_deref().filter(|_| safe);
        Some((node, authorization))
    }
}
