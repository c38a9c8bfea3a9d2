//! Every accepted configuration is a version; the last ones are kept with their texts (R25).

use std::sync::Arc;

use super::command::{ConfigVersion, Note, SetConfig};
use super::document::Packed;
use super::meta::Meta;

/// An accepted configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// Its number.
    pub number: ConfigVersion,
    /// When it came into force, Unix milliseconds as people saw them then: an outage or a correction
    /// of the clock afterwards does not move it.
    pub wall: i64,
    /// The feature level of the parser that accepted it.
    pub level: u32,
    /// Who and why.
    pub note: Note,
    /// The document as given.
    pub text: Packed,
    pub(super) id: u64,
    pub(super) digest: u64,
}

/// Versions kept, the current one among them.
pub const MOST_VERSIONS: usize = 50;
/// Compressed bytes of text kept, unless the current version alone has more.
pub const MOST_BYTES: u64 = 64 << 20;

impl Version {
    pub(super) fn new(number: ConfigVersion, wall: i64, set: &SetConfig, text: Packed) -> Version {
        let (level, note, id) = (set.level, set.note.clone(), set.id);
        let digest = text.digest();
        Version { number, wall, level, note, text, id, digest }
    }

    /// When it came into force, Unix seconds.
    pub fn wall_seconds(&self) -> i64 {
        self.wall.div_euclid(1000)
    }

    /// Whether the change of that id brought it about.
    pub(super) fn is_change(&self, id: u64) -> bool {
        id != 0 && self.id == id
    }
}

impl Meta {
    /// Keeps a version, which follows the last, and drops the oldest beyond the bounds.
    pub(super) fn keep(&mut self, version: Version) {
        self.history.insert(version.number, Arc::new(version));
        while self.history.len() > 1
            && (self.history.len() > MOST_VERSIONS || self.history_bytes() > MOST_BYTES)
        {
            let Some((oldest, _)) = self.history.get_min().cloned() else { return };
            self.history.remove(&oldest);
        }
    }

    /// Compressed bytes of all versions kept.
    pub fn history_bytes(&self) -> u64 {
        self.history.values().map(|version| version.text.document.packed).sum()
    }

    pub(super) fn check_history(&self) -> Result<(), String> {
        let last = self.config_version.0;
        let numbers = self.history.keys().map(|number| number.0);
        let first = last.saturating_sub(self.history.len() as u64);
        if !numbers.eq(first + 1..=last) {
            return Err("the history of configurations has a gap".into());
        }
        if self.config.is_some() != (last > 0) || self.current().is_some() != (last > 0) {
            return Err("configuration and version disagree".into());
        }
        if self.history.len() > MOST_VERSIONS
            || (self.history.len() > 1 && self.history_bytes() > MOST_BYTES)
        {
            return Err("too many configurations are kept".into());
        }
        let wrong = |(number, version): (&ConfigVersion, &Arc<Version>)| {
            let held: usize = version.text.pieces.iter().map(bytes::Bytes::len).sum();
            *number != version.number
                || held as u64 != version.text.document.packed
                || version.digest != version.text.digest()
        };
        match self.history.iter().any(wrong) {
            true => Err("a kept configuration is out of step".into()),
            false => Ok(()),
        }
    }
}
