//! From a request to its reply: find the command, make the view fresh, run the handler, do what it
//! plans, print what came of it.
//!
//! Every wait has an end: within [`PATIENCE`] there is an answer, and an outcome that is unknown is
//! called unknown (Stork and scripts give up soon after). Large configurations get a second more for
//! each MiB.

mod edits;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::audit::Line;
use super::backend::{Backend, SubmitError};
use super::commands::statistics;
use super::envelope::{Request, Target};
use super::registry;
use super::spec::{
    Access, ApiContext, Args, Caller, Code, Fate, Freshness, Plan, Refusal, Reply, Spec,
};
use crate::history::{Found, Lookup};
use crate::state::{Batch, Command, Outcome};

/// How long a command may wait for the cluster: for a leader, for a majority, for activation.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How much longer we wait for a [`Backend`] that does not keep its own time limit.
const GRACE: Duration = Duration::from_secs(1);

/// Handlers that take their time, at once. More wait in line: each may hold the text of every
/// lease, or a parsed configuration.
const LONG_AT_ONCE: usize = 4;

/// Runs commands against a node.
pub struct Dispatcher {
    backend: Arc<dyn Backend>,
    /// The label of this node, for the audit log.
    name: String,
    long: Arc<Semaphore>,
}

impl Dispatcher {
    /// A dispatcher for `backend`.
    pub fn new(backend: Arc<dyn Backend>) -> Dispatcher {
        let name = backend.report().name;
        Dispatcher { backend, name, long: Arc::new(Semaphore::new(LONG_AT_ONCE)) }
    }

    /// The node behind it.
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// One reply for each target, in order.
    pub async fn answer(&self, request: &Request, caller: &Caller) -> Vec<Reply> {
        let mut replies = Vec::with_capacity(request.targets.len());
        for target in &request.targets {
            replies.push(match target {
                Target::Dhcp4 => {
                    self.run(&request.command, request.arguments.as_ref(), caller).await
                }
                Target::Nobody(reply) => reply.clone(),
            });
        }
        replies
    }

    /// Whether the caller may have this request answered. A transport with an answer of its own for one
    /// who may not asks first; [`Dispatcher::answer`] refuses in any case. A refusal is audited.
    pub fn permits(&self, request: &Request, caller: &Caller) -> bool {
        let Some(spec) = registry::find(&request.command) else { return true };
        let permitted = caller.may(spec.access);
        if !permitted {
            let args = Args::new(request.arguments.as_ref());
            Line::of(spec, &args, caller, &self.name).forbidden();
        }
        permitted
    }

    async fn run(&self, name: &str, arguments: Option<&Arc<Value>>, caller: &Caller) -> Reply {
        let Some(spec) = registry::find(name) else {
            return Reply::failure(Code::Unsupported, format!("'{name}' command not supported."));
        };
        let args = Args::new(arguments);
        // Dropped half-way, it says that the outcome is unknown.
        let mut line = Line::of(spec, &args, caller, &self.name);
        if !caller.may(spec.access) {
            line.forbidden();
            return Reply::failure(
                Code::Error,
                "Forbidden: this user may ask, and change nothing.",
            );
        }
        let reply = match self.plan(spec, args, caller).await {
            Ok((plan, applied)) => {
                let mut reply = self.carry_out(plan, &mut line).await;
                if wants_local(&args) && spec.access == Access::Read {
                    reply.applied = Some(applied);
                }
                reply
            }
            Err(refusal) => refusal.into(),
        };
        line.done(&reply);
        reply
    }

    /// The plan, and the log position of the view that it was made on.
    async fn plan(
        &self,
        spec: &Spec,
        args: Args<'_>,
        caller: &Caller,
    ) -> Result<(Plan, u64), Refusal> {
        if wants_barrier(spec, &args)? {
            self.barrier().await.map_err(
                |cause| {
                    Refusal::error(match spec.access {
                        Access::Read => format!(
                            "The cluster does not answer: {cause}. With \"consistency\": \"local\" among the \
                             arguments this node answers from what it has."
                        ),
                        Access::Write => format!("Nothing was changed, the cluster does not answer: {cause}."),
                    })
                },
            )?;
        }
        let report = self.backend.report();
        let (planned, applied) = {
            let state = self.backend.state().read();
            let statistics = self.backend.statistics();
            let cx = ApiContext { view: state.view(), node: &report, caller, statistics };
            ((spec.run)(&args, &cx)?, state.applied())
        };
        let plan = match planned {
            Plan::Later(rest) => {
                let internal = || Refusal::error("internal error, see the log of the node");
                self.beside(rest).await.ok_or_else(internal)??
            }
            other => other,
        };
        Ok((plan, applied))
    }

    /// Runs something long beside the serving threads, when it is its turn. `None` after a panic in
    /// there, which is a defect; its message went to the log of the process.
    pub async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turn = Arc::clone(&self.long).acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.ok()
    }

    async fn carry_out(&self, plan: Plan, line: &mut Line) -> Reply {
        match plan {
            Plan::Answer(reply) => reply,
            Plan::Later(_) => Reply::failure(Code::Error, "internal error: a plan within a plan"),
            Plan::Statistics(change) => {
                let statistics = Arc::clone(self.backend.statistics());
                let done = self.beside(move || statistics::carry_out(&statistics, &change)).await;
                done.unwrap_or_else(|| {
                    Reply::failure(Code::Error, "internal error, see the log of the node")
                })
            }
            Plan::Effect(effect, print) => {
                let within = PATIENCE + effect.time();
                let acted = timeout(within + GRACE, self.backend.act(effect, within)).await;
                print(acted.unwrap_or_else(|_| Err("it took too long".to_owned())))
            }
            Plan::History(lookup, print) => self.look_up(*lookup, print).await,
            Plan::Commit(command, print) => match self.commit(*command, line).await {
                Ok(outcome) => print(&outcome),
                Err(reply) => reply,
            },
            Plan::CommitThen(command, print, then) => match self.commit(*command, line).await {
                Ok(outcome) => {
                    let reply = print(&outcome);
                    if reply.code == Code::Success {
                        // Best effort: what was committed stays, and is what was asked for.
                        let _ = timeout(PATIENCE + GRACE, self.backend.act(then, PATIENCE)).await;
                    }
                    reply
                }
                Err(reply) => reply,
            },
            Plan::CommitEach(commands, print) => print(self.commit_each(commands, line).await),
            Plan::EditConfig(command, print) => self.edit_config(*command, print, line).await,
            Plan::SetConfig(new, config, print) => {
                // A large one takes its time on every node.
                let patience = PATIENCE + Duration::from_secs(new.text.document.size >> 20);
                let accepted = self.backend.set_config(*new, config, patience);
                match timeout(patience + GRACE, accepted).await {
                    Ok(Ok(done)) => {
                        line.committed(done.index);
                        let active = self.active(&done.outcome, patience).await;
                        active.unwrap_or_else(|| print(&done.outcome))
                    }
                    Ok(Err(error)) => not_submitted(&error),
                    Err(_) => unknown("this node did not learn of it in time"),
                }
            }
        }
    }

    /// Asks the history of this node, beside the serving threads.
    async fn look_up(&self, lookup: Lookup, print: fn(&Found) -> Reply) -> Reply {
        let Some(history) = self.backend.history() else {
            let text = "This node keeps no lease history; its log says why. Ask another node.";
            return Reply::failure(Code::Error, text);
        };
        match self.beside(move || history.look_up(&lookup)).await {
            Some(Ok(found)) => print(&found),
            Some(Err(error)) => Reply::failure(
                Code::Error,
                format!("The lease history of this node cannot be read: {error}."),
            ),
            None => Reply::failure(Code::Error, "internal error, see the log of the node"),
        }
    }

    /// Commits a command; one that works in steps, step after step, each with its own patience.
    async fn commit(&self, mut command: Command, line: &mut Line) -> Result<Outcome, Reply> {
        let mut deleted = 0;
        loop {
            let submitted = self.backend.submit(command.clone(), PATIENCE);
            let outcome = match timeout(PATIENCE + GRACE, submitted).await {
                Ok(Ok(done)) => {
                    line.committed(done.index);
                    done.outcome
                }
                Ok(Err(error)) if deleted == 0 => return Err(not_submitted(&error)),
                Err(_) if deleted == 0 => {
                    return Err(unknown("this node did not learn of it in time"));
                }
                _ => return Err(half_done(deleted)),
            };
            match (&mut command, outcome) {
                (Command::WipeLeases(wipe), Outcome::Wiped { count, next }) => {
                    deleted += count;
                    wipe.from = next;
                }
                (Command::EndHold(step), Outcome::HoldEnding { next }) => step.from = next,
                (_, Outcome::Deleted { count }) => {
                    return Ok(Outcome::Deleted { count: deleted + count });
                }
                (_, outcome) => return Ok(outcome),
            }
        }
    }

    /// Commits commands that stand each for itself, one entry of the log after another. Those of an entry
    /// are about different addresses, so that the order within it does not matter.
    async fn commit_each(&self, commands: Vec<Command>, line: &mut Line) -> Vec<Fate> {
        let mut fates = Vec::with_capacity(commands.len());
        let mut rest = commands.into_iter().peekable();
        let mut answered = true;
        while answered && rest.peek().is_some() {
            let (mut window, mut addresses) = (Vec::new(), BTreeSet::new());
            while window.len() < Batch::MAX
                && let Some(next) = rest.next_if(|next| addresses.insert(address_of(next)))
            {
                window.push(next);
            }
            for fate in self.commit_together(window, line).await {
                answered &= matches!(fate, Fate::Done(_));
                fates.push(fate);
            }
        }
        fates.extend(rest.map(|_| Fate::Untried));
        fates
    }

    async fn commit_together(&self, commands: Vec<Command>, line: &mut Line) -> Vec<Fate> {
        let mut fates =
            vec![Fate::Unknown("internal error, see the log of the node".into()); commands.len()];
        let mut flights = JoinSet::new();
        for (place, command) in commands.into_iter().enumerate() {
            let backend = Arc::clone(&self.backend);
            flights.spawn(async move {
                let submitted = backend.submit(command, PATIENCE);
                let late = "this node did not learn of it in time".to_owned();
                match timeout(PATIENCE + GRACE, submitted).await {
                    Ok(Ok(done)) => (place, Fate::Done(done.outcome), Some(done.index)),
                    Ok(Err(SubmitError::NotSubmitted(cause))) => {
                        (place, Fate::NotSubmitted(cause), None)
                    }
                    Ok(Err(SubmitError::Unknown(cause))) => (place, Fate::Unknown(cause), None),
                    Err(_) => (place, Fate::Unknown(late), None),
                }
            });
        }
        let mut last = None;
        while let Some(landed) = flights.join_next().await {
            // A flight that panicked has told nothing, and its fate stays unknown.
            let Ok((place, fate, index)) = landed else { continue };
            last = last.max(index);
            if let Some(slot) = fates.get_mut(place) {
                *slot = fate;
            }
        }
        if let Some(index) = last {
            line.committed(index);
        }
        fates
    }

    /// Waits until everything that was acknowledged before is applied here.
    ///
    /// # Errors
    /// Why that could not be established in time.
    pub async fn barrier(&self) -> Result<(), String> {
        let barrier = timeout(PATIENCE + GRACE, self.backend.read_barrier(PATIENCE)).await;
        barrier.unwrap_or_else(|_| Err("it took too long".to_owned()))
    }

    /// A configuration is answered once it is active here; `Some` when it is not.
    async fn active(&self, outcome: &Outcome, patience: Duration) -> Option<Reply> {
        let (Outcome::ConfigSet(version) | Outcome::ConfigEdited { version, .. }) = outcome else {
            return None;
        };
        let active = timeout(patience + GRACE, self.backend.activated(*version, patience)).await;
        let cause = active.unwrap_or_else(|_| Err("it took too long".to_owned())).err()?;
        Some(Reply::failure(
            Code::Error,
            format!(
                "The configuration is committed as version {} and in force in the cluster, but this node has not \
                 activated all of it: {cause}.",
                version.0
            ),
        ))
    }
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").finish_non_exhaustive()
    }
}

/// The address that a command of [`Plan::CommitEach`] is about.
fn address_of(command: &Command) -> Option<Ipv4Addr> {
    match command {
        Command::PutLease(put) => Some(put.address),
        Command::DeleteLease(delete) => Some(delete.address),
        _ => None,
    }
}

/// Whether everything acknowledged so far has to be applied here first. A write looks at the
/// configuration before it proposes, so it waits too.
fn wants_barrier(spec: &Spec, args: &Args<'_>) -> Result<bool, Refusal> {
    if spec.view == Freshness::Local {
        return Ok(false);
    }
    match (spec.access, args.get("consistency")) {
        (Access::Write, _) | (_, None) => Ok(true),
        (_, Some(Value::String(wish))) if wish == "linearizable" => Ok(true),
        _ if wants_local(args) => Ok(false),
        _ => Err(Refusal::error("'consistency' must be \"linearizable\" or \"local\"")),
    }
}

/// Whether the caller is content with what this node has.
fn wants_local(args: &Args<'_>) -> bool {
    args.get("consistency").and_then(Value::as_str) == Some("local")
}

fn not_submitted(error: &SubmitError) -> Reply {
    match error {
        SubmitError::NotSubmitted(cause) => Reply::failure(
            Code::Error,
            format!("Nothing was changed, the cluster does not answer: {cause}."),
        ),
        SubmitError::Unknown(cause) => unknown(cause),
    }
}

fn half_done(deleted: u64) -> Reply {
    let text = format!(
        "{deleted} lease(s) are deleted, and then the cluster did not answer any more. More may be deleted; \
         repeat the command to delete the rest."
    );
    Reply::failure(Code::Error, text)
}

fn unknown(cause: &str) -> Reply {
    Reply::failure(
        Code::Error,
        format!(
            "The outcome is unknown: {cause}. The change may have been made, or may still be made; look before you \
             repeat it."
        ),
    )
}
