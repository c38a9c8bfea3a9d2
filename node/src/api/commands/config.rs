//! `config-*`: the cluster's configuration (kea-api §2.1, §3.6).
//!
//! `config-test` and `config-set` take Kea's `{"Dhcp4": {…}}`, or, of our own, `{"document": "…"}`: the
//! text of a configuration file as it is, comments and all. `cluster-ctl` sends files that way, so
//! that there is one parser of Kea's dialect and mistakes are told with the line and column of the
//! file that the operator wrote. Includes are refused there: the files named in them lie on the
//! operator's machine, and a node opens no file for a stranger. Beside `document` may stand
//! `expected-version` (another one in force is a conflict), `author` and `comment`, for the history.
//!
//! No answer shows a password or a key; `"*****"` stands in its place, and in a document that is set it
//! stands for what is there now ([`secrets`]).

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::spec::Origin::Daemon;
use crate::api::spec::{
    ApiContext, Args, Argument, Code, Kind, Plan, Refusal, Reply, Spec, either, optional,
};
use crate::config::edit::{Changed, Edit, NoEdit, NoEditKind};
use crate::config::{Config, Mistake, Mistakes, Parsed, secrets};
use crate::state::document::{self, Document, Form, Packed, Sha256};
use crate::state::{ConfigVersion, ConfigWhy, EditConfig, NewConfig, Note, Outcome, SetConfig};

/// `config-get`.
pub const GET: Spec = Spec::reads("config-get", Daemon, get)
    .about("Returns the whole configuration in force, defaults filled in, and its hash.");

/// `config-hash-get`.
pub const HASH_GET: Spec = Spec::reads("config-hash-get", Daemon, hash_get)
    .about("Returns the hash of the configuration in force: it changes when that does.");

/// `config-set`.
pub const SET: Spec = Spec::writes("config-set", Daemon, set)
    .about(
        "Replaces the configuration of the whole cluster; answers when it is active on this node.",
    )
    .takes(DOCUMENT);

/// `config-test`: about the document alone, so it works without a leader.
pub const TEST: Spec = Spec::writes("config-test", Daemon, test)
    .about("Checks a configuration and changes nothing.")
    .takes(DOCUMENT)
    .local();

const DOCUMENT: &[Argument] = &[
    either("Dhcp4", Kind::Map, "The configuration; or `document`."),
    either("document", Kind::Text, "A configuration file as it is, comments and all."),
    optional(
        "expected-version",
        Kind::Integer,
        "The version that must be in force; with `document`.",
    ),
    optional("author", Kind::Text, "Who changes it, for the history; with `document`."),
    optional("comment", Kind::Text, "Why, for the history; with `document`."),
];

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

pub(super) fn running(cx: &ApiContext<'_>) -> Result<Arc<Config>, Refusal> {
    cx.view
        .config()
        .cloned()
        .ok_or_else(|| Refusal::error("the cluster has no configuration yet: use config-set"))
}

fn test(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let document = document(args)?;
    // What `config-set` would say of the rest.
    Change::of(args, cx)?;
    let current = cx.view.config().cloned();
    Ok(Plan::later(move || {
        let read = Read::parse(form_of(&document), text_of(&document), current.as_deref())?;
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

fn set(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let document = document(args)?;
    let form = form_of(&document);
    let change = Change::of(args, cx)?;
    let current = cx.view.config().cloned();
    Ok(Plan::later(move || {
        let Read { config, text, warnings } =
            Read::parse(form, text_of(&document), current.as_deref())?;
        if text.len() as u64 > Document::MAX_TEXT {
            return Err(Refusal::error(format!(
                "The configuration has {} bytes, of at most {}. Nothing was changed.",
                text.len(),
                Document::MAX_TEXT
            )));
        }
        let mut arguments = json!({ "hash": config.hash() });
        if let Some(warnings) = warnings {
            arguments["warnings"] = warnings.into();
        }
        let packed = document::pack(form, &text);
        drop(text);
        Ok(change.plan(packed, config, ConfigWhy::Set, move |version| {
            let mut arguments = arguments;
            if form == Form::Kea {
                arguments["version"] = version.0.into();
            }
            Reply::success("Configuration successful.").with(&arguments)
        }))
    }))
}

/// What a command that changes the configuration says beside the document.
#[derive(Debug)]
pub(super) struct Change {
    expected: Option<ConfigVersion>,
    level: u32,
    author: String,
    comment: String,
}

impl Change {
    /// The arguments that name it: `expected-version`, `author` and `comment`, all of our own.
    pub(super) const NAMES: &[&str] = &["expected-version", "author", "comment"];

    pub(super) fn of(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Change, Refusal> {
        let bounded = |name: &str, most: usize| match args.string_or(name)? {
            Some(text) if text.len() > most => {
                Err(Refusal::error(format!("'{name}' has more than {most} bytes")))
            }
            text => Ok(text.map(str::to_owned)),
        };
        let node = &cx.node.name;
        // With the name of the node behind it.
        let author = bounded("author", SetConfig::MAX_AUTHOR / 2)?;
        // What a client says of itself stands beside who it is, not in its place.
        let author = match (author, &cx.caller.user) {
            (Some(author), Some(user)) => format!("{author} as {user}"),
            (Some(author), None) => author,
            (None, Some(user)) => user.clone(),
            (None, None) => "control API".to_owned(),
        };
        let mut author = format!("{author} through {node}");
        author.truncate(author.floor_char_boundary(SetConfig::MAX_AUTHOR));
        Ok(Change {
            expected: super::history::version_or(args, "expected-version")?,
            level: cx.view.meta().feature_level(),
            author,
            comment: bounded("comment", SetConfig::MAX_COMMENT)?.unwrap_or_default(),
        })
    }

    /// The plan to change a part of the configuration in force; `done` says what was.
    pub(super) fn edit(
        self,
        edit: Edit,
        done: impl FnOnce(&Changed) -> Reply + Send + 'static,
    ) -> Plan {
        let Change { expected, level, author, comment } = self;
        let (why, config_hash) = (ConfigWhy::Edit(edit.verb), Sha256::default());
        let note = Note { author, comment, why, config_hash };
        let command = EditConfig { id: 0, expected, checked: None, level, note, edit };
        let print = move |outcome: &Outcome| match outcome {
            Outcome::ConfigEdited { changed, .. } => done(changed),
            Outcome::ConfigNotEdited(NoEdit { kind, text }) => {
                let code = match kind {
                    NoEditKind::Error => Code::Error,
                    NoEditKind::Empty => Code::Empty,
                    NoEditKind::Conflict => Code::Conflict,
                };
                Reply::failure(code, text.as_str())
            }
            other => not_changed(other),
        };
        Plan::EditConfig(Box::new(command), Box::new(print))
    }

    /// The plan to put `text` into force, which says `config`.
    pub(super) fn plan(
        self,
        text: Packed,
        config: impl Into<Arc<Config>>,
        why: ConfigWhy,
        done: impl FnOnce(ConfigVersion) -> Reply + Send + 'static,
    ) -> Plan {
        let Change { expected, level, author, comment } = self;
        let config = config.into();
        let config_hash = Sha256::from_hex(config.hash()).unwrap_or_default();
        let note = Note { author, comment, why, config_hash };
        let new = NewConfig { expected, text, level, note };
        let print = move |outcome: &Outcome| match outcome {
            Outcome::ConfigSet(version) => done(*version),
            other => not_changed(other),
        };
        Plan::SetConfig(Box::new(new), config, Box::new(print))
    }
}

/// How it reads that a configuration was not changed.
fn not_changed(outcome: &Outcome) -> Reply {
    match outcome {
        Outcome::ConfigRefused(text) => Reply::failure(Code::Error, text.as_str()),
        Outcome::ConfigConflict(version) => Reply::failure(
            Code::Conflict,
            format!(
                "Nothing was changed: configuration {} is in force, and the change expects another. Somebody else \
                 was faster: look at it with config-history and config-diff, and try again on top of it.",
                version.0
            ),
        ),
        Outcome::ConfigIncomplete => Reply::failure(
            Code::Error,
            "Nothing was changed: so many other configurations were being sent that this one was lost. Try again.",
        ),
        other => Reply::failure(Code::Error, format!("unexpected outcome: {other:?}")),
    }
}

/// The arguments of `config-test` and `config-set`, their outer form checked.
fn document(args: &Args<'_>) -> Result<Arc<Value>, Refusal> {
    let arguments =
        args.shared().ok_or_else(|| Refusal::error("Missing mandatory 'arguments' parameter."))?;
    let members =
        args.map().ok_or_else(|| Refusal::error("'arguments' parameter expected to be a map."))?;
    let own = members.contains_key("document");
    let name = if own { "document" } else { "Dhcp4" };
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
    // Beside Kea's own form nothing else is understood, as in Kea.
    let known = |other: &str| other == name || (own && Change::NAMES.contains(&other));
    match members.keys().find(|other| !known(other)) {
        Some(other) => Err(Refusal::error(format!("Unsupported '{other}' parameter."))),
        None => Ok(arguments),
    }
}

/// Our own form brings a file, Kea's plain JSON.
fn form_of(arguments: &Value) -> Form {
    if arguments.get("document").is_some() { Form::Kea } else { Form::Json }
}

/// The text as given; that of a file is not copied.
fn text_of(arguments: &Value) -> Cow<'_, str> {
    match arguments.get("document").and_then(Value::as_str) {
        Some(text) => text.into(),
        None => arguments.to_string().into(),
    }
}

/// A document that can be used.
struct Read<'a> {
    config: Config,
    /// The document, with every secret in it.
    text: Cow<'a, str>,
    /// What its author should know; only for our own form, Kea's answers have no place for it.
    warnings: Option<Vec<String>>,
}

impl<'a> Read<'a> {
    /// Every mistake, one a line; the first is what Kea would have said.
    fn parse(
        form: Form,
        text: Cow<'a, str>,
        current: Option<&Config>,
    ) -> Result<Read<'a>, Refusal> {
        let bad = |mistakes: Mistakes| Refusal::error(mistakes.to_string());
        // Places are told in the text that came.
        let Parsed { mut config, warnings } = document::parse(form, &text).map_err(bad)?;
        let mut whole = text;
        if let Some(restored) = secrets::restored(&whole, current).map_err(bad)? {
            config = document::parse(form, &restored).map_err(bad)?.config;
            whole = restored.into();
        }
        let warnings = warnings.iter().map(Mistake::line).collect();
        Ok(Read { config, text: whole, warnings: (form == Form::Kea).then_some(warnings) })
    }
}
