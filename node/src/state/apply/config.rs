//! The configuration in the log: pieces of documents, and which document is in force (R25).
//!
//! What is decided here concerns [`Meta`] alone, so that [`Meta::prepare`] can find out beforehand,
//! on a copy, which documents an entry will put into force.

use std::sync::Arc;

use crate::config::Config;
use crate::config::edit::Edit;
use crate::state::State;
use crate::state::command::{ConfigChunk, ConfigVersion, EditConfig, Note, SetConfig};
use crate::state::document::{Document, Editing, Packed, Reading, Unusable};
use crate::state::history::Version;
use crate::state::meta::{Meta, Totals};
use crate::state::outcome::Outcome;
use crate::types::{ClusterTime, SubnetId};

impl Meta {
    /// Lets time pass.
    pub(in crate::state) fn pass(&mut self, stamp: ClusterTime) {
        self.now = stamp.max(self.now);
        self.drafts.forget(self.now);
    }

    pub(in crate::state) fn config_chunk(&mut self, chunk: &ConfigChunk) -> Outcome {
        let ConfigChunk { document, index, bytes } = chunk;
        let fits = document.is_allowed()
            && *index < document.pieces()
            && bytes.len() == document.piece_len(*index);
        if !fits {
            return Outcome::ConfigRefused("this is no piece of such a document".into());
        }
        let missing = self.drafts.put(self.now, *document, *index, bytes.clone());
        Outcome::ConfigChunk { missing }
    }

    /// Puts a document into force. `read` is called only when nothing but the text itself stands in
    /// the way any more.
    pub(in crate::state) fn set_config(
        &mut self,
        set: &SetConfig,
        read: &mut dyn FnMut(&Packed) -> Reading,
    ) -> Outcome {
        if let Some(done) = self.made(set.id) {
            return Outcome::ConfigSet(done);
        }
        let version = self.config_version;
        if set.expected.is_some_and(|expected| expected != version) {
            return Outcome::ConfigConflict(version);
        }
        if let Some(why) = self.not_allowed(set) {
            return Outcome::ConfigRefused(why);
        }
        let text = match &set.inline {
            Some(bytes) => Packed { document: set.document, pieces: Arc::new([bytes.clone()]) },
            None => match self.drafts.whole(&set.document) {
                Some(text) => text,
                None => return Outcome::ConfigIncomplete,
            },
        };
        let config = match read(&text) {
            Ok(config) => config,
            Err(Unusable::Text(bad)) => {
                self.drafts.remove(&set.document);
                return Outcome::ConfigRefused(format!("the document is damaged: {bad}"));
            }
            Err(unusable @ (Unusable::Mistakes(_) | Unusable::Edit(_))) => {
                return Outcome::ConfigRefused(unusable.to_string());
            }
        };
        self.drafts.remove(&set.document);
        let number = self.in_force(config);
        self.keep(Version::new(number, self.wall(), set, text));
        Outcome::ConfigSet(number)
    }

    /// Changes a part of the configuration. `make` is called only when nothing but the edit itself
    /// stands in the way any more.
    pub(in crate::state) fn edit_config(
        &mut self,
        command: &EditConfig,
        make: &mut dyn FnMut(ConfigVersion, &Arc<Config>, &Edit) -> Editing,
    ) -> Outcome {
        if let Some(done) = self.made(command.id) {
            return Outcome::ConfigSet(done);
        }
        let version = self.config_version;
        if command.expected.is_some_and(|expected| expected != version) {
            return Outcome::ConfigConflict(version);
        }
        if let Some(why) = self.level_not_allowed(command.level) {
            return Outcome::ConfigRefused(why);
        }
        if !note_is_allowed(&command.note) || command.edit.arguments.len() > Edit::MOST {
            return Outcome::ConfigRefused("a part of the command is too long".to_owned());
        }
        let Some(config) = &self.config else {
            return Outcome::ConfigRefused("the cluster has no configuration yet".to_owned());
        };
        if !self.takes_edit(&command.edit) {
            return Outcome::ConfigEditsFull;
        }
        match make(version, config, &command.edit) {
            Ok((config, changed)) => {
                let version = self.in_force(config);
                self.keep(Version::edit(version, self.wall(), command));
                if command.id != 0 {
                    self.edits.note(version, command.id);
                }
                Outcome::ConfigEdited { version, changed }
            }
            Err(no) => Outcome::ConfigNotEdited(no),
        }
    }

    /// Puts a configuration into force as the next version.
    fn in_force(&mut self, config: Arc<Config>) -> ConfigVersion {
        self.config_version = ConfigVersion(self.config_version.0.saturating_add(1));
        self.config = Some(config);
        self.config_version
    }

    /// Unix milliseconds as people see them now.
    fn wall(&self) -> i64 {
        let millis = i64::try_from(self.now.as_millis()).unwrap_or(i64::MAX);
        millis.saturating_add(self.wall_offset.0)
    }

    fn level_not_allowed(&self, level: u32) -> Option<String> {
        let highest = self.feature_level;
        (!(1..=highest).contains(&level)).then(|| {
            format!(
                "the document was checked at feature level {level}, and the cluster is at {highest}: finish the upgrade \
                 of all nodes first"
            )
        })
    }

    /// Why the command is not one that any node should follow: judged on the command and the
    /// machine's level, so that every node says the same.
    fn not_allowed(&self, set: &SetConfig) -> Option<String> {
        if let Some(why) = self.level_not_allowed(set.level) {
            return Some(why);
        }
        let inline = set.inline.as_ref().is_none_or(|bytes| {
            set.document.pieces() == 1 && bytes.len() as u64 == set.document.packed
        });
        let note = note_is_allowed(&set.note);
        if !set.document.is_allowed() {
            return Some(format!(
                "the document has {} bytes, of at most {}",
                set.document.size,
                Document::MAX_TEXT
            ));
        }
        (!inline || !note).then(|| "a part of the command is too long".to_owned())
    }
}

fn note_is_allowed(note: &Note) -> bool {
    note.author.len() <= SetConfig::MAX_AUTHOR && note.comment.len() <= SetConfig::MAX_COMMENT
}

impl State {
    /// Leases stay as they are: what no longer fits blocks its address until it ends (R8).
    pub(super) fn set_config(
        &mut self,
        set: &SetConfig,
        read: &mut dyn FnMut(&Packed) -> Reading,
    ) -> Outcome {
        let before = self.meta.config_version;
        let outcome = self.meta.set_config(set, read);
        if self.meta.config_version != before {
            self.forget_totals();
        }
        outcome
    }

    /// Leases stay here as well.
    pub(super) fn edit_config(
        &mut self,
        command: &EditConfig,
        make: &mut dyn FnMut(ConfigVersion, &Arc<Config>, &Edit) -> Editing,
    ) -> Outcome {
        let before = self.meta.config_version;
        let outcome = self.meta.edit_config(command, make);
        if self.meta.config_version != before {
            self.forget_totals();
        }
        outcome
    }

    /// Totals of subnets that are gone, leases included, go too: ids must not pile up. What they
    /// counted stays in the sum over all, which never falls.
    fn forget_totals(&mut self) {
        let Some(config) = self.meta.config.clone() else { return };
        let leases = &self.leases;
        let gone = |id: &&SubnetId| {
            **id != Totals::DEPARTED
                && config.subnet(**id).is_none()
                && leases.counts(**id).total() == 0
        };
        let gone: Vec<SubnetId> = self.meta.totals.keys().filter(gone).copied().collect();
        for id in gone {
            if let Some(totals) = self.meta.totals.remove(&id) {
                self.meta.total_mut(Totals::DEPARTED).add(totals);
            }
        }
    }
}
