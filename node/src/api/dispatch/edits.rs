//! Changes of a part of the configuration (R25).
//!
//! Each is made here first: a refusal costs no log entry, and what it comes to need not be made
//! again by the leader if this node leads. What counts is what `apply` makes of it on the configuration
//! that is in force then. Now and then so many changes lie behind the last whole document that the next
//! version must be one again; then the document with the change in it is proposed, on top of the very
//! version that it was made from, and made anew if somebody else was faster.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Dispatcher, GRACE, PATIENCE, not_submitted, unknown};
use crate::api::audit::Line;
use crate::api::backend::Done;
use crate::api::spec::{Code, Print, Reply};
use crate::config::Config;
use crate::config::edit::Changed;
use crate::state::document::{self, Editing, Form};
use crate::state::{ConfigVersion, EditConfig, NewConfig, Outcome};

/// How often a change is made anew because others came between.
const ROUNDS: u32 = 8;

/// What is in force here, and whether the change may lie behind it.
struct Base {
    version: ConfigVersion,
    config: Arc<Config>,
    takes_edit: bool,
}

impl Dispatcher {
    pub(super) async fn edit_config(
        &self,
        command: EditConfig,
        print: Print,
        line: &mut Line,
    ) -> Reply {
        for _ in 0..ROUNDS {
            let Some(base) = self.base(&command) else {
                let why = "the cluster has no configuration yet: use config-set";
                return Reply::failure(Code::Error, why);
            };
            if command.expected.is_some_and(|expected| expected != base.version) {
                return print(&Outcome::ConfigConflict(base.version));
            }
            let (config, edit) = (Arc::clone(&base.config), command.edit.clone());
            let editing = match self.beside(move || document::edit(&config, &edit)).await {
                Some(Ok(made)) => made,
                Some(Err(no)) => return print(&Outcome::ConfigNotEdited(no)),
                None => return internal(),
            };
            let changed = editing.1.clone();
            // A large one takes its time on every node.
            let size = base.config.document_len() as u64;
            let patience = PATIENCE + Duration::from_secs(size >> 20);
            let outcome = match self.propose(&command, &base, editing, patience).await {
                Ok(done) => {
                    line.committed(done.index);
                    done.outcome
                }
                Err(reply) => return reply,
            };
            let outcome = match outcome {
                Outcome::ConfigConflict(_) if command.expected.is_none() => continue,
                Outcome::ConfigEditsFull => continue,
                // A whole document, or a command that was repeated: what it was about is known here.
                Outcome::ConfigSet(version) => Outcome::ConfigEdited { version, changed },
                outcome => outcome,
            };
            let active = self.active(&outcome, patience).await;
            return active.unwrap_or_else(|| print(&outcome));
        }
        Reply::failure(
            Code::Error,
            "Nothing was changed: others changed the configuration at the same time, again and again. Try again.",
        )
    }

    fn base(&self, command: &EditConfig) -> Option<Base> {
        let state = self.backend.state().read();
        let meta = state.view().meta();
        Some(Base {
            version: meta.config_version(),
            config: Arc::clone(meta.config()?),
            takes_edit: meta.takes_edit(&command.edit),
        })
    }

    async fn propose(
        &self,
        command: &EditConfig,
        base: &Base,
        (config, changed): (Arc<Config>, Changed),
        patience: Duration,
    ) -> Result<Done, Reply> {
        let within = patience + GRACE;
        let done = if base.takes_edit {
            let editing: Editing = Ok((config, changed));
            let edit = command.clone();
            timeout(within, self.backend.edit_config(edit, base.version, editing, patience)).await
        } else {
            let made = Arc::clone(&config);
            let pack = move || document::pack(Form::Json, made.document());
            let text = self.beside(pack).await.ok_or_else(internal)?;
            let EditConfig { level, note, .. } = command.clone();
            let new = NewConfig { expected: Some(base.version), text, level, note };
            timeout(within, self.backend.set_config(new, config, patience)).await
        };
        match done {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(not_submitted(&error)),
            Err(_) => Err(unknown("this node did not learn of it in time")),
        }
    }
}

fn internal() -> Reply {
    Reply::failure(Code::Error, "internal error, see the log of the node")
}
