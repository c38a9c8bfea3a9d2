//! What is done before the lock for an entry that changes the configuration (R22, R24).
//!
//! A document is parsed once per node, and not under the write lock: [`Meta::prepare`] runs the
//! configuration's part of the entry on a copy of [`Meta`], reads what would come into force, and
//! keeps the readings for [`super::State::apply_prepared`]. Pure.
//!
//! What the parser accepts is part of `apply`. Whoever proposes has validated the document, so a node
//! whose parser refuses it is another version, and would go another way than the others from there
//! on: it must stop instead, which [`Unreadable`] says. The same holds for an edit on top of the version
//! on which the leader has tried it.

use std::sync::Arc;

use super::command::{Batch, Command, ConfigVersion};
use super::document::{self, Editing, Packed, Reading, Unusable};
use super::meta::Meta;
use super::outcome::Outcome;
use crate::config::Config;
use crate::config::edit::Edit;

/// The readings of the documents that an entry puts into force, and what its edits come to, each in
/// its order.
#[derive(Debug, Default)]
pub struct Prepared {
    pub(super) readings: Vec<Reading>,
    pub(super) edits: Vec<Editing>,
}

/// How documents are read and edits are made. Both are functions of their arguments alone, so whoever
/// knows already what they would say may say it.
#[allow(missing_debug_implementations)]
pub struct Readers<'a> {
    /// [`super::document::read`].
    pub read: &'a mut dyn FnMut(&Packed) -> Reading,
    /// [`super::document::edit`]; the version is that of the configuration.
    pub edit: &'a mut dyn FnMut(ConfigVersion, &Arc<Config>, &Edit) -> Editing,
}

/// Makes an edit here and now.
pub(super) fn edit_now(_: ConfigVersion, config: &Arc<Config>, edit: &Edit) -> Editing {
    document::edit(config, edit)
}

impl Prepared {
    /// Hands out what was prepared, in order, as `apply` asks for it.
    pub(super) fn with<T>(self, apply: impl FnOnce(Readers<'_>) -> T) -> T {
        let (mut readings, mut edits) = (self.readings.into_iter(), self.edits.into_iter());
        let mut read = |text: &Packed| readings.next().unwrap_or_else(|| document::read(text));
        let mut edit = |version: ConfigVersion, config: &Arc<Config>, edit: &Edit| {
            edits.next().unwrap_or_else(|| edit_now(version, config, edit))
        };
        apply(Readers { read: &mut read, edit: &mut edit })
    }
}

/// The cluster accepted a configuration that this program does not understand.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "this version ({}) cannot read configuration {}, which the cluster accepted at feature level {level}: it must not \
     go on. Run the version that the other nodes run. {why}",
    env!("CARGO_PKG_VERSION"),
    version.0
)]
pub struct Unreadable {
    /// The configuration.
    pub version: ConfigVersion,
    /// The feature level of the parser that accepted it.
    pub level: u32,
    /// What this program has against it.
    pub why: String,
}

impl Meta {
    /// Reads the documents that `batch`, as the next entry, puts into force. `read` is
    /// [`super::document::read`], or knows already what that would say.
    ///
    /// # Errors
    /// When this program cannot follow the entry: the node must stop.
    pub fn prepare(
        &self,
        batch: &Batch,
        read: &mut dyn FnMut(&Packed) -> Reading,
    ) -> Result<Prepared, Unreadable> {
        self.prepare_with(batch, Readers { read, edit: &mut edit_now })
    }

    /// [`Meta::prepare`] for who may know already what edits come to.
    ///
    /// # Errors
    /// When this program cannot follow the entry: the node must stop.
    pub fn prepare_with(
        &self,
        batch: &Batch,
        readers: Readers<'_>,
    ) -> Result<Prepared, Unreadable> {
        let Readers { read, edit: make } = readers;
        let mut prepared = Prepared::default();
        let mut meta = self.clone();
        meta.pass(batch.stamp);
        for command in &batch.commands {
            match command {
                Command::ConfigChunk(chunk) => _ = meta.config_chunk(chunk),
                Command::SetConfig(set) => {
                    meta.set_config(set, &mut |text| {
                        let reading = read(text);
                        prepared.readings.push(reading.clone());
                        reading
                    });
                    if let Some(Err(Unusable::Mistakes(mistakes))) = prepared.readings.last() {
                        let version = ConfigVersion(meta.config_version.0.saturating_add(1));
                        let why = mistakes.to_string();
                        return Err(Unreadable { version, level: set.level, why });
                    }
                }
                Command::EditConfig(command) => {
                    let on = meta.config_version;
                    let outcome = meta.edit_config(command, &mut |version, config, edit| {
                        let made = make(version, config, edit);
                        prepared.edits.push(made.clone());
                        made
                    });
                    // On top of another version the edit may be wrong for everybody.
                    if let Outcome::ConfigNotEdited(no) = outcome
                        && command.checked == Some(on)
                    {
                        let version = ConfigVersion(on.0.saturating_add(1));
                        return Err(Unreadable { version, level: command.level, why: no.text });
                    }
                }
                _ => {}
            }
        }
        Ok(prepared)
    }
}
