//! The document of a configuration: its text, or an earlier text and what was changed since.

use std::fmt;
use std::sync::{Arc, OnceLock};

use imbl::Vector;

use super::edit::Edit;

/// Cheap to clone; the text of one that was changed is put together when somebody asks for it.
#[derive(Clone)]
pub(super) struct Source {
    base: Arc<str>,
    edits: Vector<Arc<Edit>>,
    whole: Arc<OnceLock<Arc<str>>>,
}

impl Source {
    /// The document that `text` is.
    pub(super) fn new(text: impl Into<Arc<str>>) -> Source {
        Source { base: text.into(), edits: Vector::new(), whole: Arc::default() }
    }

    /// The document after one more edit, which must be a good one. Constant time.
    #[allow(dead_code)]
    pub(super) fn after(&self, edit: Arc<Edit>) -> Source {
        let (base, mut edits) = match self.whole.get() {
            // Edits that are in the text need not be made again.
            Some(text) => (text, Vector::new()),
            None => (&self.base, self.edits.clone()),
        };
        edits.push_back(edit);
        Source { base: Arc::clone(base), edits, whole: Arc::default() }
    }

    /// The text; `make` makes the edits in another one.
    pub(super) fn text(&self, make: impl FnOnce(&str, &Vector<Arc<Edit>>) -> String) -> &str {
        if self.edits.is_empty() {
            return &self.base;
        }
        self.whole.get_or_init(|| make(&self.base, &self.edits).into())
    }

    /// A text, and the edits that are to be made in it.
    pub(super) fn parts(&self) -> (&str, impl Iterator<Item = &Edit>) {
        let (text, edits) = match self.whole.get() {
            Some(text) => (text, None),
            None => (&self.base, Some(&self.edits)),
        };
        (text, edits.into_iter().flatten().map(|edit| &**edit))
    }
}

impl Default for Source {
    fn default() -> Source {
        Source::new("")
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes and {} edits", self.base.len(), self.edits.len())
    }
}
