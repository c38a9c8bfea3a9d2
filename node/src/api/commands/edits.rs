//! What the commands that change a part of the configuration have in common (R25).
//!
//! Their arguments travel as they came, and are judged where the change is made
//! ([`crate::config::edit`]); here only what is ours is taken out of them.

use serde_json::{Map, Value};

use super::config::Change;
use crate::api::spec::{ApiContext, Args, Argument, Kind, Plan, Refusal, Reply, optional};
use crate::config::edit::{Changed, Edit, Verb};

/// `expected-version`.
pub(super) const EXPECTED: Argument =
    optional("expected-version", Kind::Integer, "The configuration version that must be in force.");
/// `author`.
pub(super) const AUTHOR: Argument =
    optional("author", Kind::Text, "Who changes it, for the history.");
/// `comment`.
pub(super) const COMMENT: Argument = optional("comment", Kind::Text, "Why, for the history.");

/// The plan to do what `verb` says; `done` answers when it is done.
pub(super) fn plan(
    args: &Args<'_>,
    cx: &ApiContext<'_>,
    verb: Verb,
    done: impl FnOnce(&Changed) -> Reply + Send + 'static,
) -> Result<Plan, Refusal> {
    let missing =
        || Refusal::error(format!("no parameters specified for the '{}' command", verb.name()));
    let arguments = args.shared().ok_or_else(missing)?;
    if args.map().is_none() {
        return Err(Refusal::error("Command arguments are not a map."));
    }
    let change = Change::of(args, cx)?;
    // They may be long, so they are not copied under the lock.
    Ok(Plan::later(move || {
        let members = arguments.as_object().into_iter().flatten();
        let kea: Map<String, Value> = members
            .filter(|(name, _)| !Change::NAMES.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let arguments = Value::Object(kea).to_string().into();
        Ok(change.edit(Edit { verb, arguments }, done))
    }))
}
