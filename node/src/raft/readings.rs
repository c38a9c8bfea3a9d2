//! Configurations that are read before the entry that puts them into force is applied.
//!
//! Reading a large document takes seconds, and entries are applied in order: a lease behind it in the
//! log would wait. So every node begins to read when the last piece has come, on a thread of its own,
//! and the leader lets the document into the log only when it has read it. Whoever proposes has read
//! it already and says so ([`super::Raft::has_read`]).
//!
//! Reading is a function of the document alone, so who has read it makes no difference. At most
//! [`MOST`] readings are kept, each for ten minutes.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::machine::Shared;
use crate::config::Config;
use crate::config::edit::{Edit, NoEdit};
use crate::observe::quiet::seldom;
use crate::state::document::{self, Drafts, Editing, Packed, Reading, Unusable};
use crate::state::{ConfigVersion, Document, EditConfig, SetConfig};

/// Readings kept. One is under way at a time, usually; a parsed configuration may have hundreds of
/// megabytes.
const MOST: usize = 2;

/// Whether reading the document takes long enough to be worth a thread.
pub(super) fn is_large(document: &Document) -> bool {
    document.size > SetConfig::MAX_INLINE as u64
}

/// One document, read once by whoever comes first; the others wait for it.
#[derive(Debug)]
struct Slot {
    document: Document,
    /// Boot time in milliseconds.
    since: u64,
    reading: Arc<OnceLock<Reading>>,
}

/// What an edit comes to on top of a version; made once, as above.
#[derive(Debug)]
struct EditSlot {
    on: ConfigVersion,
    edit: Edit,
    editing: Arc<OnceLock<Editing>>,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Readings {
    slots: Mutex<Vec<Slot>>,
    edits: Mutex<Vec<EditSlot>>,
}

/// Edits of which it is known what they come to. Each may hold a configuration.
const MOST_EDITS: usize = 4;

impl Readings {
    /// Reads a document, or waits for whoever does, or knows already.
    pub fn read(&self, text: &Packed, now: u64) -> Reading {
        if !is_large(&text.document) {
            return document::read(text);
        }
        self.slot(text.document, now).get_or_init(|| document::read(text)).clone()
    }

    /// Begins to read beside everything else.
    pub fn begin(this: &Arc<Readings>, text: Packed, now: u64) {
        if !is_large(&text.document) || this.has(&text.document) {
            return;
        }
        let readings = this.clone();
        let reading = std::thread::Builder::new().name("read-config".into()).spawn(move || {
            if let Err(Unusable::Mistakes(mistakes)) = readings.read(&text, now) {
                seldom!(
                    warn,
                    "config",
                    %mistakes,
                    "this node cannot read a configuration that is being sent"
                );
            }
        });
        if let Err(error) = reading {
            tracing::debug!(%error, "no thread to read a configuration ahead");
        }
    }

    /// Keeps what another part of the node has read.
    pub fn put(&self, document: Document, config: Arc<Config>, now: u64) {
        // One that is being read comes to the same, and is not waited for.
        if is_large(&document) && !self.has(&document) {
            self.keep(Slot { document, since: now, reading: Arc::new(Ok(config).into()) });
        }
    }

    fn has(&self, document: &Document) -> bool {
        self.slots.lock().iter().any(|slot| slot.document == *document)
    }

    fn keep(&self, slot: Slot) {
        let mut slots = self.slots.lock();
        if slots.len() >= MOST {
            slots.remove(0);
        }
        slots.push(slot);
    }

    /// Makes an edit, or waits for whoever does, or knows already.
    pub fn edit(&self, on: ConfigVersion, config: &Arc<Config>, edit: &Edit) -> Editing {
        let slot = self.edit_slot(on, edit);
        slot.get_or_init(|| document::edit(config, edit)).clone()
    }

    /// Keeps what another part of the node has found an edit to come to.
    pub fn put_edit(&self, on: ConfigVersion, edit: &Edit, editing: Editing) {
        _ = self.edit_slot(on, edit).set(editing);
    }

    fn edit_slot(&self, on: ConfigVersion, edit: &Edit) -> Arc<OnceLock<Editing>> {
        let mut slots = self.edits.lock();
        if let Some(slot) = slots.iter().find(|slot| slot.on == on && slot.edit == *edit) {
            return Arc::clone(&slot.editing);
        }
        if slots.len() >= MOST_EDITS {
            slots.remove(0);
        }
        let editing: Arc<OnceLock<Editing>> = Arc::default();
        slots.push(EditSlot { on, edit: edit.clone(), editing: Arc::clone(&editing) });
        editing
    }

    /// Lets go of edits on top of versions before this one.
    pub fn forget_edits(&self, before: ConfigVersion) {
        self.edits.lock().retain(|slot| slot.on >= before);
    }

    /// Lets go of a document.
    pub fn forget(&self, document: &Document) {
        self.slots.lock().retain(|slot| slot.document != *document);
    }

    /// Lets go of what nobody has asked for since long.
    pub fn sweep(&self, now: u64) {
        let patience = u64::try_from(Drafts::PATIENCE.as_millis()).unwrap_or(u64::MAX);
        self.slots.lock().retain(|slot| now.saturating_sub(slot.since) < patience);
    }

    fn slot(&self, document: Document, now: u64) -> Arc<OnceLock<Reading>> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.iter_mut().find(|slot| slot.document == document) {
            slot.since = now;
            return slot.reading.clone();
        }
        drop(slots);
        // Two that come at the same moment read twice, and find the same.
        let reading: Arc<OnceLock<Reading>> = Arc::default();
        self.keep(Slot { document, since: now, reading: reading.clone() });
        reading
    }
}

impl Shared {
    /// Why the leader must not propose this; `None` if it may, also when only `apply` can tell.
    pub(super) fn why_refused(&self, set: &SetConfig) -> Option<String> {
        let text = match &set.inline {
            Some(bytes) => Packed { document: set.document, pieces: Arc::new([bytes.clone()]) },
            None => self.state.read().view().meta().drafts().whole(&set.document)?,
        };
        if !set.document.is_allowed() {
            return None;
        }
        match self.readings.read(&text, self.clock.boottime()) {
            Err(Unusable::Mistakes(mistakes)) => Some(mistakes.to_string()),
            Ok(_) | Err(Unusable::Text(_) | Unusable::Edit(_)) => None,
        }
    }

    /// What an edit comes to now, on this node, which leads: the version on top of which it is good,
    /// or why the leader must not propose it. `None` when `apply` need not ask that question.
    pub(super) fn try_edit(&self, command: &EditConfig) -> Option<Result<ConfigVersion, NoEdit>> {
        let meta = self.state.read().view().meta().clone();
        let version = meta.config_version();
        if meta.has_made(command.id) || command.expected.is_some_and(|other| other != version) {
            return None;
        }
        let config = meta.config()?;
        let editing = self.readings.edit(version, config, &command.edit);
        Some(editing.map(|_| version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::document::{Form, pack};

    fn large(n: usize) -> Packed {
        let noise = "x".repeat(SetConfig::MAX_INLINE + n);
        pack(Form::Json, &format!(r#"{{"Dhcp4":{{"user-context":{{"noise":"{noise}"}}}}}}"#))
    }

    #[test]
    fn r22_a_large_document_is_read_once_and_a_small_one_whenever_it_is_needed() {
        let readings = Readings::default();
        let text = large(1);
        let first = readings.read(&text, 0).unwrap();
        assert!(Arc::ptr_eq(&first, &readings.read(&text, 0).unwrap()));
        readings.forget(&text.document);
        assert!(!Arc::ptr_eq(&first, &readings.read(&text, 0).unwrap()));
        let small = pack(Form::Json, r#"{"Dhcp4":{}}"#);
        readings.read(&small, 0).unwrap();
        assert_eq!(readings.slots.lock().len(), 1);
    }

    #[test]
    fn what_another_part_has_read_is_not_read_again() {
        let readings = Readings::default();
        let text = large(1);
        let config = document::read(&text).unwrap();
        readings.put(text.document, config.clone(), 0);
        // Pieces that are no text: nobody looks at them.
        let broken = Packed { pieces: [].into(), ..text };
        assert!(Arc::ptr_eq(&config, &readings.read(&broken, 0).unwrap()));
    }

    #[test]
    fn readings_are_bounded_in_number_and_age() {
        let readings = Readings::default();
        for n in 1..5 {
            readings.read(&large(n), n as u64).unwrap();
        }
        assert_eq!(readings.slots.lock().len(), MOST);
        readings.sweep(3 + Drafts::PATIENCE.as_millis() as u64);
        assert_eq!(readings.slots.lock().len(), 1);
    }

    #[test]
    fn reading_ahead_is_waited_for() {
        let readings = Arc::new(Readings::default());
        let text = large(1);
        Readings::begin(&readings, text.clone(), 0);
        let config = readings.read(&text, 0).unwrap();
        assert!(Arc::ptr_eq(&config, &readings.read(&text, 0).unwrap()));
    }
}
