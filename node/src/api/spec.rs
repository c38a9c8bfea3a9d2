//! What an API command is: a [`Spec`] and a pure handler that returns a [`Plan`].
//!
//! A handler sees the arguments, a view of the applied state and a report of this node; it reaches
//! neither Raft nor a socket nor a clock. What it wants done is data, so that a script
//! can compare it: request in, plan out, reply for each outcome.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::backend::{Acted, Effect, NodeReport};
use crate::config::Config;
use crate::history::{Found, Lookup};
use crate::observe::statistics::Change;
use crate::observe::statistics::Statistics;
use crate::state::{Command, EditConfig, NewConfig, Outcome, View};

/// One command of the API. Made by [`Spec::reads`] or [`Spec::writes`] and what follows them.
#[derive(Clone, Copy)]
pub struct Spec {
    /// Its name on the wire.
    pub name: &'static str,
    /// Where Kea has it.
    pub origin: Origin,
    /// What it does, in a sentence or two, for the reference page.
    pub about: &'static str,
    /// What it takes, for the reference page and for the tests that send nonsense.
    pub arguments: &'static [Argument],
    /// Who may call it.
    pub access: Access,
    /// The release of Leasehold that brought it.
    pub since: &'static str,
    /// What the view must have seen before the handler runs.
    pub view: Freshness,
    /// The handler. It runs under the read lock of the state, so it is quick: what grows with the
    /// number of leases or the size of a configuration goes into [`Plan::Later`] (R22).
    pub run: Run,
}

/// A handler.
pub type Run = fn(&Args<'_>, &ApiContext<'_>) -> Result<Plan, Refusal>;

impl Spec {
    /// A command that changes nothing.
    pub const fn reads(name: &'static str, origin: Origin, run: Run) -> Spec {
        Spec {
            name,
            origin,
            about: "",
            arguments: &[],
            access: Access::Read,
            since: "0.1",
            view: Freshness::Linearizable,
            run,
        }
    }

    /// A command that may change something.
    pub const fn writes(name: &'static str, origin: Origin, run: Run) -> Spec {
        Spec { access: Access::Write, ..Spec::reads(name, origin, run) }
    }

    /// With what it does.
    #[must_use]
    pub const fn about(self, about: &'static str) -> Spec {
        Spec { about, ..self }
    }

    /// With its arguments.
    #[must_use]
    pub const fn takes(self, arguments: &'static [Argument]) -> Spec {
        Spec { arguments, ..self }
    }

    /// About this node, or to be answered without a leader.
    #[must_use]
    pub const fn local(self) -> Spec {
        Spec { view: Freshness::Local, ..self }
    }
}

/// Where Kea has a command: in the daemon or in one of its hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The daemon itself.
    Daemon,
    /// `lease_cmds`.
    LeaseCmds,
    /// `stat_cmds`.
    StatCmds,
    /// `subnet_cmds`.
    SubnetCmds,
    /// `host_cmds`.
    HostCmds,
    /// `class_cmds`.
    ClassCmds,
    /// `high_availability`.
    HighAvailability,
    /// Nowhere: it is ours.
    Leasehold,
}

/// One argument of a command.
#[derive(Debug, Clone, Copy)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// What it must be.
    pub kind: Kind,
    /// Whether it must be there.
    pub need: Need,
    /// What it means; units and defaults.
    pub about: &'static str,
}

/// JSON types of arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A map.
    Map,
    /// A list.
    List,
    /// A string or a whole number.
    TextOrInteger,
}

/// Whether an argument must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Always.
    Needed,
    /// Never.
    Optional,
    /// It or another; the text of the argument says which.
    Either,
}

/// An argument that must be there.
pub const fn needed(name: &'static str, kind: Kind, about: &'static str) -> Argument {
    Argument { name, kind, need: Need::Needed, about }
}

/// An argument that may be missing.
pub const fn optional(name: &'static str, kind: Kind, about: &'static str) -> Argument {
    Argument { name, kind, need: Need::Optional, about }
}

/// An argument that stands for another one.
pub const fn either(name: &'static str, kind: Kind, about: &'static str) -> Argument {
    Argument { name, kind, need: Need::Either, about }
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?}, {:?})", self.name, self.access, self.view)
    }
}

/// Kea's access class of a command, for role-based access control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Changes nothing.
    Read,
    /// May change something.
    Write,
}

/// What must have been applied on this node before a handler may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Everything that was acknowledged anywhere before the request came: a read barrier. The
    /// caller of a [`Access::Read`] command may ask for less with `"consistency": "local"`.
    Linearizable,
    /// Whatever this node has: the command is about the node, or must work without a leader.
    Local,
}

/// What a handler looks at.
#[derive(Debug, Clone, Copy)]
pub struct ApiContext<'a> {
    /// The applied state, under its read lock.
    pub view: View<'a>,
    /// This node.
    pub node: &'a NodeReport,
    /// Who asks.
    pub caller: &'a Caller,
    /// Kea's statistics of this node. They take the lock of the state, so they are read in
    /// [`Plan::Later`] only.
    pub statistics: &'a Arc<Statistics>,
}

/// Who sent a request, as the transport knows it: for the audit log and the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user that authenticated; `None` where nobody has to.
    pub user: Option<String>,
    /// Where the request came from: an address, or `unix`.
    pub from: String,
    /// The most the caller may do.
    pub access: Access,
}

impl Caller {
    /// Somebody at `from` who did not have to say who it is, and may do everything.
    pub fn anybody(from: impl Into<String>) -> Caller {
        Caller { user: None, from: from.into(), access: Access::Write }
    }

    /// Whether the caller may run a command of this class.
    pub fn may(&self, access: Access) -> bool {
        self.access == Access::Write || access == Access::Read
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) => write!(f, "{user}@{}", self.from),
            None => f.write_str(&self.from),
        }
    }
}

/// What is to be done.
pub enum Plan {
    /// Nothing: here is the answer.
    Answer(Reply),
    /// The rest of the handler, which takes its time and needs no lock: it runs on a thread for
    /// blocking work, a few at a time.
    Later(Box<dyn FnOnce() -> Result<Plan, Refusal> + Send>),
    /// A replicated command; its outcome is printed by the function.
    Commit(Box<Command>, Print),
    /// The same, and when it succeeded an act of this node, whose own answer nobody sees.
    CommitThen(Box<Command>, Print, Effect),
    /// Replicated commands that stand each for itself, in their order; one that is applied is one
    /// whole. What became of each is printed by the function.
    CommitEach(Vec<Command>, PrintEach),
    /// A new configuration, and what it says; its outcome is printed by the function.
    SetConfig(Box<NewConfig>, Arc<Config>, Print),
    /// `statistic-reset`, `statistic-remove` and their kin, on this node.
    Statistics(Change),
    /// A change of a part of the configuration; its outcome is printed by the function. The id is drawn
    /// by whoever carries it out.
    EditConfig(Box<EditConfig>, Print),
    /// A named act of this node; what came of it, or why it could not be, is printed by the function.
    Effect(Effect, PrintActed),
    /// A question to the history of this node; what it finds is printed by the function.
    History(Box<Lookup>, fn(&Found) -> Reply),
}

/// How the outcome of a [`Plan::Commit`], [`Plan::SetConfig`] or [`Plan::EditConfig`] reads.
pub type Print = Box<dyn FnOnce(&Outcome) -> Reply + Send>;

/// How what came of a [`Plan::Effect`] reads.
pub type PrintActed = Box<dyn FnOnce(Result<Acted, String>) -> Reply + Send>;
/// How the outcomes of a [`Plan::CommitEach`] read: one fate for each command, in order.
pub type PrintEach = Box<dyn FnOnce(Vec<Fate>) -> Reply + Send>;

/// What became of one of several commands. Once one has no outcome, those behind it are not all
/// sent: commands that were on their way with it have fates of their own, the rest is untried.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// It is committed and applied here.
    Done(Outcome),
    /// It may have taken effect, or may still; why that is not known.
    Unknown(String),
    /// It has no effect and will not have any; why.
    NotSubmitted(String),
    /// It was not sent.
    Untried,
}

impl Plan {
    /// An act of this node.
    pub fn effect(
        effect: Effect,
        print: impl FnOnce(Result<Acted, String>) -> Reply + Send + 'static,
    ) -> Plan {
        Plan::Effect(effect, Box::new(print))
    }

    /// The rest of a handler, to be run without the lock.
    pub fn later(rest: impl FnOnce() -> Result<Plan, Refusal> + Send + 'static) -> Plan {
        Plan::Later(Box::new(rest))
    }

    /// A commit.
    pub fn commit(
        command: Command,
        print: impl FnOnce(&Outcome) -> Reply + Send + 'static,
    ) -> Plan {
        Plan::Commit(Box::new(command), Box::new(print))
    }

    /// A commit, and an act that follows its success.
    pub fn commit_then(
        command: Command,
        print: impl FnOnce(&Outcome) -> Reply + Send + 'static,
        then: Effect,
    ) -> Plan {
        Plan::CommitThen(Box::new(command), Box::new(print), then)
    }

    /// Commits that stand each for itself.
    pub fn commit_each(
        commands: Vec<Command>,
        print: impl FnOnce(Vec<Fate>) -> Reply + Send + 'static,
    ) -> Plan {
        Plan::CommitEach(commands, Box::new(print))
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Plan::Answer(reply) => write!(f, "answer {}", reply.to_json()),
            Plan::Later(_) => f.write_str("later"),
            Plan::Commit(command, _) => write!(f, "commit {command:?}"),
            Plan::CommitThen(command, _, then) => {
                write!(f, "commit {command:?}, then {then:?}")
            }
            Plan::CommitEach(commands, _) => write!(f, "commit each of {commands:?}"),
            Plan::SetConfig(new, _, _) => {
                let (NewConfig { expected, level, note, .. }, document) =
                    (&**new, new.text.document);
                write!(f, "set configuration {:?} of {} bytes", document.form, document.size)?;
                write!(f, ", expected {expected:?}, level {level}, {note:?}")
            }
            Plan::Statistics(change) => write!(f, "effect Statistics({change:?})"),
            Plan::EditConfig(command, _) => {
                let EditConfig { expected, level, note, edit, .. } = &**command;
                write!(f, "edit configuration: {} {}", edit.verb.name(), edit.arguments)?;
                write!(f, ", expected {expected:?}, level {level}, {:?}", note.author)?;
                write!(f, ", {:?}", note.comment)
            }
            Plan::Effect(effect, _) => write!(f, "effect {effect:?}"),
            Plan::History(lookup, _) => write!(f, "look up {lookup:?}"),
        }
    }
}

/// Kea's result codes (kea-api §1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Done.
    Success = 0,
    /// Bad arguments, or a failed action.
    Error = 1,
    /// No such command here.
    Unsupported = 2,
    /// Nothing found, nothing to do.
    Empty = 3,
    /// Against configuration or state.
    Conflict = 4,
    /// High availability: this server cannot go into maintenance now.
    NoMaintenance = 1001,
}

/// A refusal of the handler: a code and a text, never arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The result.
    pub code: Code,
    /// The text.
    pub text: String,
}

impl Refusal {
    /// Result 1.
    pub fn error(text: impl Into<String>) -> Refusal {
        Refusal { code: Code::Error, text: text.into() }
    }

    /// Result 3.
    pub fn empty(text: impl Into<String>) -> Refusal {
        Refusal { code: Code::Empty, text: text.into() }
    }

    /// Result 4.
    pub fn conflict(text: impl Into<String>) -> Refusal {
        Refusal { code: Code::Conflict, text: text.into() }
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Reply {
        Reply::failure(refusal.code, refusal.text)
    }
}

/// Longest text of a refusal, in bytes. Texts quote what was sent, which may be a whole request.
const LONGEST_REFUSAL: usize = 16 << 10;

/// The text, or its beginning and how long it was.
fn bounded(mut text: String) -> String {
    let len = text.len();
    if len > LONGEST_REFUSAL {
        text.truncate(text.floor_char_boundary(LONGEST_REFUSAL));
        text.push_str(&format!(" … ({len} bytes in all)"));
    }
    text
}

/// A reply object. Members are printed in alphabetical order, as Kea does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// `result`.
    pub code: Code,
    /// `text`; always there unless the result is 0.
    pub text: Option<String>,
    /// `arguments`, already JSON text: a table of a million leases is not built twice.
    pub arguments: Option<String>,
    /// `applied-index`, of our own: the log position that a local read shows, told to who asked for
    /// one.
    pub applied: Option<u64>,
}

impl Reply {
    /// Result 0 and a text.
    pub fn success(text: impl Into<String>) -> Reply {
        Reply { code: Code::Success, text: Some(text.into()), arguments: None, applied: None }
    }

    /// Result 0 and arguments, without a text.
    pub fn data(arguments: &impl Serialize) -> Reply {
        Reply { code: Code::Success, text: None, arguments: None, applied: None }.with(arguments)
    }

    /// A result other than 0. A very long text is cut.
    pub fn failure(code: Code, text: impl Into<String>) -> Reply {
        Reply { code, text: Some(bounded(text.into())), arguments: None, applied: None }
    }

    /// Adds arguments.
    #[must_use]
    pub fn with(mut self, arguments: &impl Serialize) -> Reply {
        match serde_json::to_string(arguments) {
            Ok(json) => self.arguments = Some(json),
            // Only a map with keys that are not strings comes here; no answer of ours has one.
            Err(error) => {
                return Reply::failure(
                    Code::Error,
                    format!("the answer cannot be printed: {error}"),
                );
            }
        }
        self
    }

    /// The object as JSON text.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(64 + self.arguments.as_ref().map_or(0, String::len));
        out.push_str("{ ");
        if let Some(applied) = self.applied {
            out.push_str("\"applied-index\": ");
            out.push_str(&applied.to_string());
            out.push_str(", ");
        }
        if let Some(arguments) = &self.arguments {
            out.push_str("\"arguments\": ");
            out.push_str(arguments);
            out.push_str(", ");
        }
        out.push_str("\"result\": ");
        out.push_str(&(self.code as u32).to_string());
        if let Some(text) = &self.text {
            out.push_str(", \"text\": ");
            out.push_str(&Value::from(text.as_str()).to_string());
        }
        out.push_str(" }");
        out
    }
}

/// The arguments of a request, with readers that refuse in Kea's words.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    value: Option<&'a Arc<Value>>,
}

impl<'a> Args<'a> {
    /// Wraps the member `arguments`; absent and `null` are the same.
    pub fn new(value: Option<&'a Arc<Value>>) -> Args<'a> {
        Args { value: value.filter(|value| !value.is_null()) }
    }

    /// Whether there are none.
    pub fn is_absent(&self) -> bool {
        self.value.is_none()
    }

    /// The arguments if they are a map.
    pub fn map(&self) -> Option<&'a serde_json::Map<String, Value>> {
        self.value.and_then(|value| value.as_object())
    }

    /// The arguments as they came, to be kept beyond the lock.
    pub fn shared(&self) -> Option<Arc<Value>> {
        self.value.cloned()
    }

    /// A member; `None` when it or the map is missing.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.map()?.get(name)
    }

    /// A mandatory string, as Kea's `SimpleParser::getString`.
    pub fn string(&self, name: &str) -> Result<&'a str, Refusal> {
        self.string_or(name)?.ok_or_else(|| missing(name))
    }

    /// A string that may be missing.
    pub fn string_or(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        self.get(name).map(|value| value.as_str().ok_or_else(|| wrong_type(name))).transpose()
    }

    /// A boolean that may be missing.
    pub fn boolean_or(&self, name: &str) -> Result<Option<bool>, Refusal> {
        self.get(name).map(|value| value.as_bool().ok_or_else(|| wrong_type(name))).transpose()
    }

    /// An integer that may be missing.
    pub fn integer_or(&self, name: &str) -> Result<Option<i64>, Refusal> {
        self.get(name).map(|value| value.as_i64().ok_or_else(|| wrong_type(name))).transpose()
    }

    /// An unsigned 32-bit integer that may be missing.
    pub fn uint32_or(&self, name: &str) -> Result<Option<u32>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        if !(value.is_i64() || value.is_u64()) {
            return Err(wrong_type(name));
        }
        let small = value.as_u64().and_then(|number| u32::try_from(number).ok());
        small.map(Some).ok_or_else(|| {
            Refusal::error(format!("out of range value ({value}) specified for parameter '{name}'"))
        })
    }
}

fn missing(name: &str) -> Refusal {
    Refusal::error(format!("missing parameter '{name}'"))
}

fn wrong_type(name: &str) -> Refusal {
    Refusal::error(format!("invalid type specified for parameter '{name}'"))
}
