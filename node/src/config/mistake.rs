//! What is wrong with a configuration, where, and in the words that Kea's users know.

use std::fmt;
use std::sync::Arc;

use super::json::Position;
use super::reader::escape;

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

/// The text of the file called `source`, or where it stops being UTF-8.
pub fn text_of(bytes: Vec<u8>, source: &str) -> Result<String, Mistakes> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        Mistakes::not_utf8(source, error.as_bytes(), valid)
    })
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

    /// The one mistake of a file that is no UTF-8 from byte `valid` on.
    fn not_utf8(source: &str, bytes: &[u8], valid: usize) -> Mistakes {
        let before = String::from_utf8_lossy(bytes.get(..valid).unwrap_or_default());
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let byte = bytes.get(valid).copied().unwrap_or_default();
        let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Mistakes(vec![Mistake {
            source: source.into(),
            line: number(line),
            column: number(column),
            path: String::new(),
            text: format!("byte 0x{byte:02x} is no UTF-8, which the file must be"),
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
    sources: Vec<Source>,
    mistakes: Findings,
    warnings: Findings,
}

/// A file that is read. The text of the document itself stays with the caller.
#[derive(Debug)]
struct Source {
    name: Arc<str>,
    text: Arc<str>,
}

/// Something to say, before its line and column are looked for.
#[derive(Debug)]
struct Finding {
    at: Position,
    path: String,
    text: String,
}

/// At most [`Mistakes::MAX`] findings and whether there were more.
#[derive(Debug, Default)]
struct Findings {
    list: Vec<Finding>,
    more: bool,
}

impl Report {
    pub(super) fn new(source: &str) -> Report {
        Report {
            sources: vec![Source { name: source.into(), text: "".into() }],
            mistakes: Findings::default(),
            warnings: Findings::default(),
        }
    }

    /// Where byte `offset` of the string at `at` stands in the document.
    pub(super) fn inside(&self, at: Position, _value: &str, offset: usize) -> Position {
        Position { inside: u16::try_from(offset.saturating_add(1)).unwrap_or(u16::MAX), ..at }
    }

    /// Adds a file that the document includes; its number goes into [`Position::source`].
    pub(super) fn add_source(&mut self, name: &str, text: Arc<str>) -> u16 {
        self.sources.push(Source { name: name.into(), text });
        u16::try_from(self.sources.len() - 1).unwrap_or(u16::MAX)
    }

    pub(super) fn error(&mut self, at: Position, path: &Path<'_>, text: impl Into<String>) {
        self.mistakes.add(at, path, text);
    }

    pub(super) fn warning(&mut self, at: Position, path: &Path<'_>, text: impl Into<String>) {
        self.warnings.add(at, path, text);
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

    /// How many mistakes there are so far, of those that are kept.
    pub(super) fn count(&self) -> usize {
        self.mistakes.list.len()
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.mistakes.list.is_empty()
    }

    /// The warnings, if nothing is wrong. `document` is the text that was read, without includes.
    pub(super) fn finish(self, document: &str) -> Result<Vec<Mistake>, Mistakes> {
        let Report { sources, mistakes, warnings } = self;
        if mistakes.list.is_empty() {
            Ok(warnings.finish(&sources, document))
        } else {
            Err(Mistakes(mistakes.finish(&sources, document)))
        }
    }
}

impl Findings {
    fn add(&mut self, at: Position, path: &Path<'_>, text: impl Into<String>) {
        match self.list.len() {
            0..Mistakes::MAX => {
                self.list.push(Finding { at, path: path.to_string(), text: text.into() });
            }
            _ => self.more = true,
        }
    }

    /// In the order of the document, each file behind the one that includes it.
    fn finish(mut self, sources: &[Source], document: &str) -> Vec<Mistake> {
        self.list.sort_by_key(|finding| finding.at);
        if let (true, Some(last)) = (self.more, self.list.last_mut()) {
            last.text = "there is more to say; correct the above first".to_owned();
        }
        let mut place = Place::default();
        let mistake = |Finding { at, path, text }| {
            let source = sources.get(usize::from(at.source));
            let included = source.map_or("", |source| &*source.text);
            let (line, column) = match at.offset {
                u32::MAX => (0, 0),
                _ => place.of(if at.source == 0 { document } else { included }, at),
            };
            let source = source.map_or_else(|| "".into(), |source| source.name.clone());
            Mistake { source, line, column, path, text }
        };
        self.list.into_iter().map(mistake).collect()
    }
}

/// A place in a text, moved on from finding to finding: the whole costs one walk over each text.
#[derive(Debug, Default)]
struct Place {
    source: u16,
    offset: usize,
    line: u32,
    column: u32,
}

impl Place {
    /// Line and column of `at` in `text`.
    fn of(&mut self, text: &str, at: Position) -> (u32, u32) {
        let bytes = text.as_bytes();
        if self.line == 0 || self.source != at.source || self.offset > at.offset as usize {
            *self = Place { source: at.source, offset: 0, line: 1, column: 1 };
        }
        self.skip_to(bytes, at.offset as usize);
        if at.inside > 0 {
            self.skip_to(bytes, at.offset as usize + raw_len(text, at));
        }
        (self.line, self.column)
    }

    fn skip_to(&mut self, bytes: &[u8], offset: usize) {
        for byte in bytes.get(self.offset..offset).unwrap_or_default() {
            match byte {
                b'\n' => (self.line, self.column) = (self.line.saturating_add(1), 1),
                // The later bytes of a character are no column of their own.
                0x80..=0xbf => {}
                _ => self.column = self.column.saturating_add(1),
            }
        }
        self.offset = offset.min(bytes.len());
    }
}

/// How many bytes of the document stand for the first bytes of a string's value, its quotation mark
/// and its escapes counted.
fn raw_len(text: &str, at: Position) -> usize {
    let raw = text.get(at.offset as usize..).unwrap_or_default();
    let mut value = usize::from(at.inside) - 1;
    let mut len = 1;
    while value > 0 {
        let rest = raw.get(len..).unwrap_or_default();
        let (c, used) = match rest.as_bytes().first() {
            Some(b'\\') => match escape(rest.as_bytes().get(1..).unwrap_or_default()) {
                Ok((c, used)) => (c, 1 + used),
                Err(_) => return len,
            },
            _ => match rest.chars().next() {
                Some(c) => (c, c.len_utf8()),
                None => return len,
            },
        };
        len += used;
        value = value.saturating_sub(c.len_utf8());
    }
    len
}
