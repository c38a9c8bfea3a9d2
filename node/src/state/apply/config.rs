//! The configuration in the log: pieces of documents, and which document is in force (R25).
//!
//! What is decided here concerns [`Meta`] alone, so that [`Meta::prepare`] can find out beforehand,
//! on a copy, which documents an entry will put into force.

use std::sync::Arc;

use crate::state::State;
use crate::state::command::{ConfigChunk, ConfigVersion, SetConfig};
use crate::state::document::{Document, Packed, Reading, Unusable};
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
        if let Some(done) = self.history().rev().find(|version| version.is_change(set.id)) {
            return Outcome::ConfigSet(done.number);
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
            Err(Unusable::Mistakes(mistakes)) => {
                return Outcome::ConfigRefused(mistakes.to_string());
            }
        };
        self.drafts.remove(&set.document);
        let number = ConfigVersion(version.0.saturating_add(1));
        let millis = i64::try_from(self.now.as_millis()).unwrap_or(i64::MAX);
        let wall = millis.saturating_add(self.wall_offset.0);
        self.keep(Version::new(number, wall, set, text));
        self.config_version = number;
        self.config = Some(config);
        Outcome::ConfigSet(number)
    }

    /// Why the command is not one that any node should follow: judged on the command and the
    /// machine's level, so that every node says the same.
    fn not_allowed(&self, set: &SetConfig) -> Option<String> {
        let level = self.feature_level;
        if !(1..=level).contains(&set.level) {
            return Some(format!(
                "the document was checked at feature level {}, and the cluster is at {level}: finish the upgrade of all \
                 nodes first",
                set.level
            ));
        }
        let inline = set.inline.as_ref().is_none_or(|bytes| {
            set.document.pieces() == 1 && bytes.len() as u64 == set.document.packed
        });
        let note = set.note.author.len() <= SetConfig::MAX_AUTHOR
            && set.note.comment.len() <= SetConfig::MAX_COMMENT;
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
