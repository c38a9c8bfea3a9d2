//! What is wrong with a configuration, where, and in the words that Kea's users know.

use std::fmt;
use std::sync::Arc;

use super::json::Position;

/// One thing that is wrong, or, as a warning, worth knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file, as it was named; `<wire>` for a document from the control channel.
    pub source: Arc<str>,
    /// Counted from 1; 0 when the mistake has no place, such as a missing section.
    pub line: u32,
    /// Characters from 1.
    pub column: u32,
    /// Where in the document: `Dhcp4.subnet4[0].pools[1].pool`; empty for syntax errors.
    pub path: String,
    /// The text alone, without the position.
    pub text: String,
}

/// Kea's form, as its management tools show it: text, then the position in parentheses.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.text),
            line => write!(f, "{} ({}:{line}:{})", self.text, self.source, self.column),
        }
    }
}

impl Mistake {
    /// The form of compilers and editors: `file:line:column: text [path]`.
    pub fn line(&self) -> String {
        let place = match self.line {
            0 => self.source.to_string(),
            line => format!("{}:{line}:{}", self.source, self.column),
        };
        match self.path.as_str() {
            "" => format!("{place}: {}", self.text),
            path => format!("{place}: {} [{path}]", self.text),
        }
    }
}

/// Everything that is wrong with one document; never empty, at most [`Mistakes::MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub(super) Vec<Mistake>);

impl Mistakes {
    /// How many are kept. A document with more is told so by the last one.
    pub const MAX: usize = 1000;

    /// The one mistake of a document that cannot be read at all.
    pub fn unreadable(source: &str, why: &dyn fmt::Display) -> Mistakes {
        let text = format!("Can't open file {source}: {why}");
        Mistakes(vec![Mistake {
            source: source.into(),
            line: 0,
            column: 0,
            path: String::new(),
            text,
        }])
    }

    /// In the order of the document.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }
}

/// All of them, one a line; the first line is what Kea would have said.
impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.0.iter().enumerate() {
            let newline = if at == 0 { "" } else { "\n" };
            write!(f, "{newline}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// A place in the document while it is walked; printed only when something is wrong there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Path<'a> {
    /// The document itself.
    Root,
    /// A member of a map.
    Key(&'a Path<'a>, &'a str),
    /// An entry of a list.
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, key) => f.write_str(key),
            Path::Key(parent, key) => write!(f, "{parent}.{key}"),
            Path::Index(parent, at) => write!(f, "{parent}[{at}]"),
        }
    }
}

/// Collects mistakes and warnings of one document.
#[derive(Debug)]
pub(super) struct Report {
    sources: Vec<Arc<str>>,
    mistakes: Findings,
    warnings: Findings,
}

/// At most [`Mistakes::MAX`] findings and whether there were more.
#[derive(Debug, Default)]
struct Findings {
    list: Vec<(Position, Mistake)>,
    more: bool,
}

impl Report {
    pub(super) fn new(source: &str) -> Report {
        Report {
            sources: vec![source.into()],
            mistakes: Findings::default(),
            warnings: Findings::default(),
        }
    }

    /// Adds a file that the document includes; its number goes into [`Position::source`].
    pub(super) fn add_source(&mut self, name: &str) -> u16 {
        self.sources.push(name.into());
        u16::try_from(self.sources.len() - 1).unwrap_or(u16::MAX)
    }

    pub(super) fn error(&mut self, at: Position, path: &Path<'_>, text: impl Into<String>) {
        let mistake = self.mistake(at, path, text.into());
        self.mistakes.add(at, mistake);
    }

    pub(super) fn warning(&mut self, at: Position, path: &Path<'_>, text: impl Into<String>) {
        let mistake = self.mistake(at, path, text.into());
        self.warnings.add(at, mistake);
    }

    /// Like [`Report::error`], for a place that was written down earlier.
    pub(super) fn error_at(&mut self, at: Position, path: &str, text: String) {
        self.error(at, &Path::Key(&Path::Root, path), text);
    }

    /// Like [`Report::warning`], for a place that was written down earlier.
    pub(super) fn warning_at(&mut self, at: Position, path: &str, text: String) {
        self.warning(at, &Path::Key(&Path::Root, path), text);
    }

    /// Whether more mistakes would not be kept. Looking for them may then cost more than it is worth.
    pub(super) fn is_full(&self) -> bool {
        self.mistakes.more
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.mistakes.list.is_empty()
    }

    /// The warnings, if nothing is wrong.
    pub(super) fn finish(self) -> Result<Vec<Mistake>, Mistakes> {
        if self.has_errors() {
            Err(Mistakes(self.mistakes.finish()))
        } else {
            Ok(self.warnings.finish())
        }
    }

    fn mistake(&self, at: Position, path: &Path<'_>, text: String) -> Mistake {
        let source = self.sources.get(usize::from(at.source)).cloned().unwrap_or_else(|| "".into());
        Mistake { source, line: at.line, column: at.column, path: path.to_string(), text }
    }
}

impl Findings {
    fn add(&mut self, at: Position, mistake: Mistake) {
        match self.list.len() {
            0..Mistakes::MAX => self.list.push((at, mistake)),
            _ => self.more = true,
        }
    }

    /// In the order of the document, each file behind the one that includes it.
    fn finish(mut self) -> Vec<Mistake> {
        self.list.sort_by_key(|(at, _)| (at.source, at.line, at.column));
        if let (true, Some((_, last))) = (self.more, self.list.last_mut()) {
            last.text = "there is more to say; correct the above first".to_owned();
        }
        self.list.into_iter().map(|(_, mistake)| mistake).collect()
    }
}
