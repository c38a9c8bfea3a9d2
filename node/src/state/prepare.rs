//! What is done before the lock for an entry that changes the configuration (R22, R24).
//!
//! A document is parsed once per node, and not under the write lock: [`Meta::prepare`] runs the
//! configuration's part of the entry on a copy of [`Meta`], reads what would come into force, and
//! keeps the readings for [`super::State::apply_prepared`]. Pure.
//!
//! What the parser accepts is part of `apply`. Whoever proposes has validated the document, so a node
//! whose parser refuses it is another version, and would go another way than the others from there
//! on: it must stop instead, which [`Unreadable`] says.

use std::sync::Arc;

use super::command::{Batch, Command, ConfigVersion};
use super::document::{self, Packed, Reading, Unusable};
use super::meta::Meta;
use crate::config::Mistakes;

/// The readings of the documents that an entry puts into force, in its order.
#[derive(Debug, Default)]
pub struct Prepared {
    pub(super) readings: Vec<Reading>,
}

impl Prepared {
    /// Hands the readings out in order, as `apply` asks for them.
    pub(super) fn reader(self) -> impl FnMut(&Packed) -> Reading {
        let mut readings = self.readings.into_iter();
        move |text| readings.next().unwrap_or_else(|| document::read(text))
    }
}

/// The cluster accepted a configuration that this program does not understand.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "this version ({}) cannot read configuration {}, which the cluster accepted at feature level {level}: it must not \
     go on. Run the version that the other nodes run. {mistakes}",
    env!("CARGO_PKG_VERSION"),
    version.0
)]
pub struct Unreadable {
    /// The configuration.
    pub version: ConfigVersion,
    /// The feature level of the parser that accepted it.
    pub level: u32,
    /// What this parser thinks of it.
    pub mistakes: Arc<Mistakes>,
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
                        let mistakes = Arc::clone(mistakes);
                        return Err(Unreadable { version, level: set.level, mistakes });
                    }
                }
                _ => {}
            }
        }
        Ok(prepared)
    }
}
