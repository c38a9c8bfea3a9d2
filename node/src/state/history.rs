//! Every accepted configuration is a version; the last ones are kept (R25): one that came whole as its
//! text, one that a command changed as that change.
//!
//! A change says nothing without the text that it was made in, so that text is kept along with all
//! changes since. Both ends are bounded: a text has at most [`MOST_EDITS`] changes behind it and about an
//! eighth of its size in them ([`Meta::takes_edit`]); then the next version has to come as a text.

use std::sync::Arc;

use bytes::Bytes;

use super::command::{ConfigVersion, EditConfig, Note, SetConfig};
use super::document::{self, Packed, Reading, Unusable, piece_digest};
use super::meta::Meta;
use crate::config::edit::{Edit, Verb};

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
    /// What it says.
    pub body: Body,
    pub(super) id: u64,
    pub(super) digest: u64,
}

/// What a version is kept as.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// The document as given.
    Text(Packed),
    /// What was done to the version before it.
    Edit {
        /// What was done.
        verb: Verb,
        /// To what: JSON.
        arguments: Bytes,
    },
}

impl Body {
    /// Bytes kept.
    pub fn bytes(&self) -> u64 {
        match self {
            Body::Text(text) => text.document.packed,
            Body::Edit { arguments, .. } => arguments.len() as u64,
        }
    }

    /// The pieces that it is carried in.
    pub(super) fn pieces(&self) -> &[Bytes] {
        match self {
            Body::Text(text) => &text.pieces,
            Body::Edit { arguments, .. } => std::slice::from_ref(arguments),
        }
    }

    /// A hash of the pieces, for digests.
    pub(super) fn digest(&self) -> u64 {
        let pieces = self.pieces().iter().enumerate();
        pieces.fold(0, |sum, (at, piece)| sum.wrapping_add(piece_digest(at as u32, piece)))
    }
}

/// Versions kept for themselves, the current one among them.
pub const MOST_VERSIONS: usize = 50;
/// Bytes kept, unless the current version and what it is made of have more.
pub const MOST_BYTES: u64 = 64 << 20;
/// Changes behind one text.
pub const MOST_EDITS: u32 = 4096;
/// So many bytes of changes are allowed behind any text.
const ALLOWED_EDIT_BYTES: u64 = 64 << 10;

impl Version {
    pub(super) fn new(number: ConfigVersion, wall: i64, set: &SetConfig, text: Packed) -> Version {
        let (level, note, id) = (set.level, set.note.clone(), set.id);
        let digest = text.digest();
        Version { number, wall, level, note, body: Body::Text(text), id, digest }
    }

    /// Its id is kept apart, see [`Edits`].
    pub(super) fn edit(number: ConfigVersion, wall: i64, edit: &EditConfig) -> Version {
        let arguments = Bytes::copy_from_slice(edit.edit.arguments.as_bytes());
        let body = Body::Edit { verb: edit.edit.verb, arguments };
        let digest = body.digest();
        Version { number, wall, level: edit.level, note: edit.note.clone(), body, id: 0, digest }
    }

    /// When it came into force, Unix seconds.
    pub fn wall_seconds(&self) -> i64 {
        self.wall.div_euclid(1000)
    }

    /// The document as given, if it was given whole.
    pub fn text(&self) -> Option<&Packed> {
        if let Body::Text(text) = &self.body { Some(text) } else { None }
    }

    /// Whether the change of that id brought it about.
    fn is_change(&self, id: u64) -> bool {
        id != 0 && self.id == id
    }
}

/// What a version is made of.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The text.
    pub text: Packed,
    edits: Vec<(Verb, Bytes)>,
}

impl Sources {
    /// The configuration that the version is. Takes as long as reading its document.
    ///
    /// # Errors
    /// When this program cannot read it.
    pub fn config(&self) -> Reading {
        let config = document::read(&self.text)?;
        if self.edits.is_empty() {
            return Ok(config);
        }
        let edit = |(verb, arguments): &(Verb, Bytes)| {
            let arguments = std::str::from_utf8(arguments).unwrap_or_default().into();
            Edit { verb: *verb, arguments }
        };
        let edits: Vec<Edit> = self.edits.iter().map(edit).collect();
        let edited = config.edited(&edits).map_err(Unusable::Edit)?;
        Ok(Arc::new(edited.config))
    }
}

/// The changes that were made last, and those behind the last text.
#[derive(Debug, Clone, Default)]
pub(super) struct Edits {
    /// The ids of the last [`Edits::MOST_IDS`] changes, ascending by version: more changes than are kept
    /// as versions may come before a command is repeated.
    ids: imbl::OrdMap<ConfigVersion, u64>,
    /// How many changes there are behind the last text. Follows from the history.
    behind: u32,
    /// Bytes in them.
    bytes: u64,
    /// Bytes of the text.
    text: u64,
}

impl Edits {
    /// How many changes are known again.
    pub(super) const MOST_IDS: usize = 4096;

    fn count(&mut self, body: &Body) {
        match body {
            Body::Text(text) => {
                (self.behind, self.bytes, self.text) = (0, 0, text.document.size);
            }
            Body::Edit { arguments, .. } => {
                self.behind += 1;
                self.bytes += arguments.len() as u64;
            }
        }
    }

    /// Notes the id of a change.
    pub(super) fn note(&mut self, version: ConfigVersion, id: u64) {
        self.ids.insert(version, id);
        while self.ids.len() > Edits::MOST_IDS {
            let Some((oldest, _)) = self.ids.get_min().copied() else { return };
            self.ids.remove(&oldest);
        }
    }

    /// Versions and ids, ascending.
    pub(super) fn ids(&self) -> impl Iterator<Item = (ConfigVersion, u64)> + '_ {
        self.ids.iter().map(|(version, id)| (*version, *id))
    }
}

impl Meta {
    /// The version that the change of that id brought about, if it has been made lately.
    pub(super) fn made(&self, id: u64) -> Option<ConfigVersion> {
        let whole = self.history().rev().find(|version| version.is_change(id));
        let edit = || self.edits.ids().find(|(_, own)| id != 0 && *own == id);
        whole.map(|version| version.number).or_else(|| Some(edit()?.0))
    }

    /// Whether the change of that id has been made lately.
    pub fn has_made(&self, id: u64) -> bool {
        self.made(id).is_some()
    }

    /// Whether the edit may be the next version, as far as the bounds of what is kept go.
    pub fn takes_edit(&self, edit: &Edit) -> bool {
        let Edits { behind, bytes, text, .. } = &self.edits;
        let bytes = bytes.saturating_add(edit.arguments.len() as u64);
        *behind < MOST_EDITS && bytes <= ALLOWED_EDIT_BYTES.max(text / 8)
    }

    /// What a version that is kept is made of.
    pub fn sources(&self, number: ConfigVersion) -> Option<Sources> {
        self.version(number)?;
        let mut edits = Vec::new();
        for version in self.history.range(..=number).rev().map(|(_, version)| version) {
            match &version.body {
                Body::Text(text) => {
                    edits.reverse();
                    return Some(Sources { text: text.clone(), edits });
                }
                Body::Edit { verb, arguments } => edits.push((*verb, arguments.clone())),
            }
        }
        None
    }

    /// Keeps a version, which follows the last, and drops the oldest beyond the bounds.
    pub(super) fn keep(&mut self, version: Version) {
        let number = version.number;
        self.edits.count(&version.body);
        self.held_bytes += version.body.bytes();
        if self.history.is_empty() {
            self.first_version = number;
        }
        self.history.insert(number, Arc::new(version));
        while self.first_version < number
            && (number.0 - self.first_version.0 >= MOST_VERSIONS as u64
                || self.held_bytes > MOST_BYTES)
        {
            self.drop_first();
        }
    }

    /// No longer keeps the first version for itself. What none of the others is made of goes; of the
    /// rest, nobody asks who and why.
    fn drop_first(&mut self) {
        let dropped = self.first_version;
        self.first_version = ConfigVersion(dropped.0.saturating_add(1));
        let next = self.history.get(&self.first_version);
        if next.is_none_or(|next| next.text().is_some()) {
            while let Some((oldest, version)) = self.history.get_min().cloned()
                && oldest < self.first_version
            {
                self.held_bytes = self.held_bytes.saturating_sub(version.body.bytes());
                self.history.remove(&oldest);
            }
        } else if let Some(version) = self.history.get_mut(&dropped) {
            let bare = Version { note: Note::default(), ..Version::clone(version) };
            *version = Arc::new(bare);
        }
    }

    /// Puts a history back that a snapshot holds; what follows from it is counted anew.
    pub(super) fn restore_history(
        &mut self,
        versions: impl Iterator<Item = Version>,
        first: ConfigVersion,
        ids: impl Iterator<Item = (ConfigVersion, u64)>,
    ) {
        for version in versions {
            self.edits.count(&version.body);
            self.held_bytes = self.held_bytes.saturating_add(version.body.bytes());
            self.history.insert(version.number, Arc::new(version));
        }
        let oldest = self.history.get_min().map_or(ConfigVersion(0), |(oldest, _)| *oldest);
        self.first_version = if first == ConfigVersion(0) { oldest } else { first };
        ids.for_each(|(version, id)| self.edits.note(version, id));
    }

    /// The first version that is kept for itself, if there are others before it; else 0.
    pub(super) fn first_of_more(&self) -> ConfigVersion {
        let oldest = self.history.get_min().map(|(oldest, _)| *oldest);
        let more = oldest.is_some_and(|oldest| oldest < self.first_version);
        if more { self.first_version } else { ConfigVersion(0) }
    }

    /// Bytes of all that is kept of the history.
    pub fn history_bytes(&self) -> u64 {
        self.held_bytes
    }

    pub(super) fn check_history(&self) -> Result<(), String> {
        let last = self.config_version.0;
        let numbers = self.history.keys().map(|number| number.0);
        let oldest = last.saturating_sub(self.history.len() as u64);
        if !numbers.eq(oldest + 1..=last) {
            return Err("the history of configurations has a gap".into());
        }
        if self.config.is_some() != (last > 0) || self.current().is_some() != (last > 0) {
            return Err("configuration and version disagree".into());
        }
        let first = self.history.get_min().map(|(_, version)| version);
        if first.is_some_and(|first| first.text().is_none()) {
            return Err("a configuration is kept of which the beginning is not".into());
        }
        let kept = self.history().count();
        if (kept == 0 && last > 0)
            || kept > MOST_VERSIONS
            || (kept > 1 && self.held_bytes > MOST_BYTES)
        {
            return Err("too many configurations are kept".into());
        }
        let mut counted = Edits { ids: self.edits.ids.clone(), ..Edits::default() };
        self.history.values().for_each(|version| counted.count(&version.body));
        let bytes: u64 = self.history.values().map(|version| version.body.bytes()).sum();
        let Edits { behind, bytes: edit_bytes, text, ids } = &self.edits;
        if (*behind, *edit_bytes, *text) != (counted.behind, counted.bytes, counted.text)
            || bytes != self.held_bytes
            || *behind > MOST_EDITS
            || ids.len() > Edits::MOST_IDS
        {
            return Err("the history of configurations is miscounted".into());
        }
        let wrong = |(number, version): (&ConfigVersion, &Arc<Version>)| {
            let held: usize = version.body.pieces().iter().map(Bytes::len).sum();
            *number != version.number
                || held as u64 != version.body.bytes()
                || version.digest != version.body.digest()
        };
        match self.history.iter().any(wrong) {
            true => Err("a kept configuration is out of step".into()),
            false => Ok(()),
        }
    }
}
