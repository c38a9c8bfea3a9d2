//! `config-history`, `config-history-get`, `config-diff` and `config-rollback`: commands of our own.
//! Every accepted configuration is a version; the last ones are kept with their texts (R25). Shown are
//! the texts without their secrets ([`secrets`]), and so the hash of a text, which would give them away to
//! patience, is for those who may change it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use similar::TextDiff;

use super::config::Change;
use crate::api::spec::Origin::Leasehold;
use crate::api::spec::{
    Access, ApiContext, Args, Caller, Kind, Plan, Refusal, Reply, Spec, needed, optional,
};
use crate::config::{Config, secrets};
use crate::state::document::{self, Form, Sha256};
use crate::state::{Body, ConfigVersion, ConfigWhy, Meta, Sources, Version};

/// `config-history`: what is kept, without the texts.
pub const LIST: Spec = Spec::reads("config-history", Leasehold, list)
    .about("Returns the kept versions of the configuration, without their texts.");

/// `config-history-get`: one version with its text.
pub const GET: Spec = Spec::reads("config-history-get", Leasehold, get)
    .about("Returns one version of the configuration with its text.")
    .takes(&[optional("version", Kind::Integer, "The version; without it, the one in force.")]);

/// `config-diff`: what changed between two versions.
pub const DIFF: Spec = Spec::reads("config-diff", Leasehold, diff)
    .about("Returns what changed between two versions of the configuration.")
    .takes(&[
        needed("from", Kind::Integer, "The older version."),
        optional("to", Kind::Integer, "The newer version; without it, the one in force."),
        optional(
            "of",
            Kind::Text,
            "`document` (default), the whole laid out, or `source`, the text as it was written.",
        ),
    ]);

/// `config-rollback`: makes the text of an earlier version the next one.
pub const ROLLBACK: Spec = Spec::writes("config-rollback", Leasehold, rollback)
    .about("Makes the text of an earlier version the next one.")
    .takes(&[
        needed("version", Kind::Integer, "The version to go back to."),
        optional("expected-version", Kind::Integer, "The version that must be in force."),
        optional("author", Kind::Text, "Who changes it, for the history."),
        optional("comment", Kind::Text, "Why, for the history."),
    ]);

/// Lines around a change.
const CONTEXT: usize = 3;
/// How long the comparison looks for the shortest difference. A longer one is as right.
const DIFF_PATIENCE: Duration = Duration::from_secs(5);
/// More of a difference than this nobody reads.
const DIFF_BYTES: usize = 4 << 20;

fn list(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    known(args, &["consistency"])?;
    let meta = cx.view.meta();
    let versions: Vec<Value> = meta.history().map(|version| row(version, cx.caller)).collect();
    match versions.is_empty() {
        true => Err(none_yet()),
        false => Ok(Plan::Answer(Reply::data(
            &json!({ "current": meta.config_version().0, "versions": versions }),
        ))),
    }
}

fn row(version: &Version, caller: &Caller) -> Value {
    let mut row = json!({
        "version": version.number.0,
        "time": version.wall_seconds(),
        "author": version.note.author,
        "reason": reason(version.note.why),
        "comment": version.note.comment,
    });
    // A version that was made by changing a part of another has no text before somebody asks for it.
    if let Some(document) = version.text().map(|text| text.document) {
        if !matches!(version.note.why, ConfigWhy::Edit(_)) {
            row["hash"] = version.note.config_hash.to_string().into();
        }
        if caller.may(Access::Write) {
            row["sha256"] = document.hash.to_string().into();
        }
        row["form"] = form(document.form).into();
        row["size"] = document.size.into();
    }
    if let ConfigWhy::Rollback(to) = version.note.why {
        row["rollback-to"] = to.0.into();
    }
    row
}

fn reason(why: ConfigWhy) -> &'static str {
    match why {
        ConfigWhy::Set => "set",
        ConfigWhy::Seed => "seed",
        ConfigWhy::Reload => "reload",
        ConfigWhy::Rollback(_) => "rollback",
        ConfigWhy::Edit(verb) => verb.name(),
    }
}

fn form(form: Form) -> &'static str {
    match form {
        Form::Json => "json",
        Form::Kea => "kea",
    }
}

fn get(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    known(args, &["version", "consistency"])?;
    let version = kept_or_current(args, "version", cx)?;
    let mut row = row(&version.version, cx.caller);
    let may_write = cx.caller.may(Access::Write);
    Ok(Plan::later(move || {
        if let Body::Edit { arguments, .. } = &version.version.body {
            let config = version.config()?;
            let text = config.document();
            row["hash"] = config.hash().into();
            if may_write {
                row["sha256"] = Sha256::of(text.as_bytes()).to_string().into();
            }
            row["form"] = form(Form::Json).into();
            row["size"] = text.len().into();
            let mut arguments = serde_json::from_slice(arguments).unwrap_or_default();
            secrets::hide(&mut arguments);
            row["arguments"] = arguments;
        }
        row["document"] = version.shown_text()?.into();
        Ok(Plan::Answer(Reply::data(&row)))
    }))
}

fn diff(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    known(args, &["from", "to", "of", "consistency"])?;
    let from = kept(args, "from", cx)?;
    let to = kept_or_current(args, "to", cx)?;
    let of = Of::from(args, &from, &to)?;
    Ok(Plan::later(move || {
        let (old, new) = (of.text(&from)?, of.text(&to)?);
        let (text, cut) = unified(&old, &new, from.version.number, to.version.number);
        let arguments = json!({
            "from": from.version.number.0,
            "to": to.version.number.0,
            "of": of.name(),
            "diff": text,
            "truncated": cut,
        });
        let verdict = match (text.is_empty(), of) {
            (true, Of::Source) => "The two versions are the same.",
            (true, Of::Document) => "The two versions say the same.",
            (false, _) => "The two versions differ.",
        };
        Ok(Plan::Answer(Reply::success(verdict).with(&arguments)))
    }))
}

/// What of two versions is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// The texts as given.
    Source,
    /// What they say: comments gone, ids filled in, one value a line.
    Document,
}

impl Of {
    /// The texts, if both are people's files; a text that a program sent has no lines to speak of.
    fn from(args: &Args<'_>, from: &Kept, to: &Kept) -> Result<Of, Refusal> {
        let is_file =
            |it: &Kept| it.version.text().map(|text| text.document.form) == Some(Form::Kea);
        let files = is_file(from) && is_file(to);
        match args.string_or("of")? {
            None if files => Ok(Of::Source),
            None | Some("document") => Ok(Of::Document),
            Some("source") => Ok(Of::Source),
            Some(_) => Err(Refusal::error("'of' must be \"source\" or \"document\"")),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Of::Source => "source",
            Of::Document => "document",
        }
    }

    fn text(self, version: &Kept) -> Result<String, Refusal> {
        let mut text = match self {
            Of::Source => version.shown_text()?,
            Of::Document => {
                let mut json = version.config()?.document_json();
                secrets::hide(&mut json);
                serde_json::to_string_pretty(&json)
                    .map_err(|error| Refusal::error(error.to_string()))?
            }
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(text)
    }
}

/// The difference as `diff -u` prints it, and whether it is longer than that.
fn unified(old: &str, new: &str, from: ConfigVersion, to: ConfigVersion) -> (String, bool) {
    let mut config = TextDiff::configure();
    let diff = config.timeout(DIFF_PATIENCE).diff_lines(old, new);
    let header = |version: ConfigVersion| format!("version {}", version.0);
    let mut text =
        diff.unified_diff().context_radius(CONTEXT).header(&header(from), &header(to)).to_string();
    if text.len() <= DIFF_BYTES {
        return (text, false);
    }
    let whole_lines =
        text[..text.floor_char_boundary(DIFF_BYTES)].rfind('\n').map_or(0, |at| at + 1);
    text.truncate(whole_lines);
    (text, true)
}

fn rollback(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    known(args, &[&["version"], Change::NAMES].concat())?;
    let kept = kept(args, "version", cx)?;
    let current = cx.view.config_version();
    let number = kept.version.number;
    if number == current {
        return Err(Refusal::error(format!(
            "Version {} is in force. Nothing was changed.",
            current.0
        )));
    }
    let change = Change::of(args, cx)?;
    Ok(Plan::later(move || {
        let config = kept.config()?;
        let hash = config.hash().to_owned();
        let why = ConfigWhy::Rollback(number);
        let text = match kept.version.text() {
            Some(text) => text.clone(),
            None => document::pack(Form::Json, config.document()),
        };
        Ok(change.plan(text, config, why, move |new| {
            let text =
                format!("Version {} says what version {} said, and is in force.", new.0, number.0);
            Reply::success(text).with(&json!({ "version": new.0, "hash": hash }))
        }))
    }))
}

/// A version, and what it is made of.
struct Kept {
    version: Arc<Version>,
    sources: Sources,
}

impl Kept {
    /// The text as it may be shown: as given, or, of a version that was made by changing a part of
    /// another, of the whole.
    fn shown_text(&self) -> Result<String, Refusal> {
        let text = match self.version.text() {
            Some(text) => text.unpack().map_err(|bad| {
                let number = self.version.number.0;
                Refusal::error(format!("internal error: the text of version {number}: {bad}"))
            })?,
            None => self.config()?.document().to_owned(),
        };
        match secrets::hidden_source(&text) {
            Ok(Cow::Borrowed(_)) => Ok(text),
            Ok(Cow::Owned(hidden)) => Ok(hidden),
            // Without its structure nobody knows what in it is secret.
            Err(mistakes) => Err(self.outdated(&mistakes)),
        }
    }

    /// What it says.
    fn config(&self) -> Result<Arc<Config>, Refusal> {
        self.sources.config().map_err(|unusable| self.outdated(&unusable))
    }

    fn outdated(&self, why: &dyn std::fmt::Display) -> Refusal {
        Refusal::error(format!(
            "Version {} cannot be used by this program any more. {why}",
            self.version.number.0
        ))
    }
}

/// The version that a mandatory argument names.
fn kept(args: &Args<'_>, name: &str, cx: &ApiContext<'_>) -> Result<Kept, Refusal> {
    let number = version_or(args, name)?
        .ok_or_else(|| Refusal::error(format!("missing parameter '{name}'")))?;
    find(number, cx.view.meta())
}

/// The version that an argument names, or the one in force.
fn kept_or_current(args: &Args<'_>, name: &str, cx: &ApiContext<'_>) -> Result<Kept, Refusal> {
    let meta = cx.view.meta();
    find(version_or(args, name)?.unwrap_or(meta.config_version()), meta)
}

fn find(number: ConfigVersion, meta: &Meta) -> Result<Kept, Refusal> {
    if let (Some(version), Some(sources)) = (meta.version(number), meta.sources(number)) {
        return Ok(Kept { version: Arc::clone(version), sources });
    }
    let first = meta.history().next().ok_or_else(none_yet)?.number;
    Err(Refusal::empty(format!(
        "Version {} is not kept; versions {} to {} are.",
        number.0,
        first.0,
        meta.config_version().0
    )))
}

fn none_yet() -> Refusal {
    Refusal::empty("The cluster has no configuration yet: use config-set.")
}

/// A version number that may be missing.
pub(super) fn version_or(args: &Args<'_>, name: &str) -> Result<Option<ConfigVersion>, Refusal> {
    let Some(number) = args.integer_or(name)? else { return Ok(None) };
    let number = u64::try_from(number)
        .map_err(|_| Refusal::error(format!("'{name}' must not be negative")))?;
    Ok(Some(ConfigVersion(number)))
}

/// Refuses arguments that nobody would look at: a misspelt `expected-version` must not be overlooked.
fn known(args: &Args<'_>, names: &[&str]) -> Result<(), Refusal> {
    if !args.is_absent() && args.map().is_none() {
        return Err(Refusal::error("'arguments' parameter expected to be a map."));
    }
    match args.map().into_iter().flatten().find(|(name, _)| !names.contains(&name.as_str())) {
        Some((name, _)) => Err(Refusal::error(format!("Unsupported '{name}' parameter."))),
        None => Ok(()),
    }
}
