//! From a request to its reply: find the command, make the view fresh, run the handler, do what it
//! plans, print what came of it.
//!
//! Every wait has an end: within [`PATIENCE`] there is an answer, and an outcome that is unknown is
//! called unknown (Stork and scripts give up soon after). Large configurations get a second more for
//! each MiB.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::audit::Line;
use super::backend::{Backend, SubmitError};
use super::commands::statistics;
use super::envelope::{Request, Target};
use super::registry;
use super::spec::{Access, ApiContext, Args, Caller, Code, Freshness, Plan, Refusal, Reply, Spec};
use crate::state::{Command, Outcome};

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
    long: Arc<Semaphore>,
}

impl Dispatcher {
    /// A dispatcher for `backend`.
    pub fn new(backend: Arc<dyn Backend>) -> Dispatcher {
        Dispatcher { backend, long: Arc::new(Semaphore::new(LONG_AT_ONCE)) }
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
            Line::of(spec, &args, caller, &*self.backend).forbidden();
        }
        permitted
    }

    async fn run(&self, name: &str, arguments: Option<&Arc<Value>>, caller: &Caller) -> Reply {
        let Some(spec) = registry::find(name) else {
            return Reply::failure(Code::Unsupported, format!("'{name}' command not supported."));
        };
        let args = Args::new(arguments);
        // Dropped half-way, it says that the outcome is unknown.
        let mut line = Line::of(spec, &args, caller, &*self.backend);
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
            let barrier = timeout(PATIENCE + GRACE, self.backend.read_barrier(PATIENCE)).await;
            barrier.unwrap_or_else(|_| Err("it took too long".to_owned())).map_err(
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
            Plan::Commit(command, print) => match self.commit(*command, line).await {
                Ok(outcome) => print(&outcome),
                Err(reply) => reply,
            },
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
                (_, Outcome::Deleted { count }) => {
                    return Ok(Outcome::Deleted { count: deleted + count });
                }
                (_, outcome) => return Ok(outcome),
            }
        }
    }

    /// A configuration is answered once it is active here; `Some` when it is not.
    async fn active(&self, outcome: &Outcome, patience: Duration) -> Option<Reply> {
        let Outcome::ConfigSet(version) = outcome else { return None };
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
