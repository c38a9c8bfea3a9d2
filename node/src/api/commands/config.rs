//! `config-*`: the cluster's configuration (kea-api §2.1, §3.6).
//!
//! `config-test` and `config-set` take Kea's `{"Dhcp4": {…}}`, or, of our own, `{"document": "…"}`: the
//! text of a configuration file as it is, comments and all. `cluster-ctl` sends files that way, so
//! that there is one parser of Kea's dialect and mistakes are told with the line and column of the
//! file that the operator wrote. Includes are refused there: the files named in them lie on the
//! operator's machine, and a node opens no file for a stranger.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::spec::{Access, ApiContext, Args, Code, Freshness, Plan, Refusal, Reply, Spec};
use crate::config::{self, Config, Mistake, Mistakes};
use crate::state::{Command, Outcome, SetConfig};

/// `config-get`.
pub const GET: Spec = Spec {
    name: "config-get",
    access: Access::Read,
    since: "0.1",
    view: Freshness::Linearizable,
    run: get,
};

/// `config-hash-get`.
pub const HASH_GET: Spec = Spec { name: "config-hash-get", run: hash_get, ..GET };

/// `config-set`.
pub const SET: Spec = Spec { name: "config-set", access: Access::Write, run: set, ..GET };

/// `config-test`: about the document alone, so it works without a leader.
pub const TEST: Spec =
    Spec { name: "config-test", access: Access::Write, view: Freshness::Local, run: test, ..GET };

fn get(_: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let config = running(cx)?;
    Ok(Plan::later(move || {
        let arguments = json!({ "Dhcp4": config.to_json(), "hash": config.hash() });
        Ok(Plan::Answer(Reply::data(&arguments)))
    }))
}

fn hash_get(_: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let config = running(cx)?;
    Ok(Plan::later(move || Ok(Plan::Answer(Reply::data(&json!({ "hash": config.hash() }))))))
}

fn running(cx: &ApiContext<'_>) -> Result<Arc<Config>, Refusal> {
    cx.view
        .config()
        .cloned()
        .ok_or_else(|| Refusal::error("the cluster has no configuration yet: use config-set"))
}

fn test(args: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let document = document(args)?;
    Ok(Plan::later(move || {
        let read = Read::parse(&document)?;
        let reply = Reply::success(
            "Configuration seems sane. Control-socket, hook-libraries, and D2 configuration were sanity checked, \
             but not applied.",
        );
        Ok(Plan::Answer(match read.warnings {
            Some(warnings) => reply.with(&json!({ "warnings": warnings })),
            None => reply,
        }))
    }))
}

fn set(args: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let document = document(args)?;
    Ok(Plan::later(move || {
        let Read { config, warnings } = Read::parse(&document)?;
        let arguments = match warnings {
            Some(warnings) => json!({ "hash": config.hash(), "warnings": warnings }),
            None => json!({ "hash": config.hash() }),
        };
        let text = config.document().to_string();
        if text.len() > SetConfig::MAX_TEXT {
            return Err(Refusal::error(format!(
                "The configuration has {} bytes; this version replicates at most {}. Nothing was changed.",
                text.len(),
                SetConfig::MAX_TEXT
            )));
        }
        let command = Command::SetConfig(SetConfig { expected: None, text });
        Ok(Plan::commit(command, move |outcome| match outcome {
            Outcome::ConfigSet(_) => Reply::success("Configuration successful.").with(&arguments),
            Outcome::ConfigRefused(text) => Reply::failure(Code::Error, text.as_str()),
            other => Reply::failure(Code::Error, format!("unexpected outcome: {other:?}")),
        }))
    }))
}

/// The arguments of `config-test` and `config-set`, their outer form checked.
fn document(args: &Args<'_>) -> Result<Arc<Value>, Refusal> {
    let arguments =
        args.shared().ok_or_else(|| Refusal::error("Missing mandatory 'arguments' parameter."))?;
    let members =
        args.map().ok_or_else(|| Refusal::error("'arguments' parameter expected to be a map."))?;
    let name = if members.contains_key("document") { "document" } else { "Dhcp4" };
    let content =
        members.get(name).ok_or_else(|| Refusal::error("Missing mandatory 'Dhcp4' parameter."))?;
    match name {
        "document" if !content.is_string() => {
            return Err(Refusal::error("'document' parameter expected to be a string."));
        }
        "Dhcp4" if !content.is_object() => {
            return Err(Refusal::error("'Dhcp4' parameter expected to be a map."));
        }
        _ => {}
    }
    match members.keys().find(|other| *other != name) {
        Some(other) => Err(Refusal::error(format!("Unsupported '{other}' parameter."))),
        None => Ok(arguments),
    }
}

/// A document that can be used.
struct Read {
    config: Config,
    /// What its author should know; only for our own form, Kea's answers have no place for it.
    warnings: Option<Vec<String>>,
}

impl Read {
    /// Every mistake, one a line; the first is what Kea would have said.
    fn parse(arguments: &Value) -> Result<Read, Refusal> {
        let refused = |mistakes: Mistakes| Refusal::error(mistakes.to_string());
        let Some(text) = arguments.get("document").and_then(Value::as_str) else {
            let parsed = config::from_json(arguments).map_err(refused)?;
            return Ok(Read { config: parsed.config, warnings: None });
        };
        let mut no_files =
            |_: &str| Err("a document sent to a node cannot include files".to_owned());
        let parsed = config::parse(text, "document", &mut no_files).map_err(refused)?;
        let warnings = parsed.warnings.iter().map(Mistake::line).collect();
        Ok(Read { config: parsed.config, warnings: Some(warnings) })
    }
}
