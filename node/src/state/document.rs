//! The text of a configuration as it travels and as it is kept: compressed, in pieces (R25).
//!
//! A text is compressed once, by whoever proposes it; from then on the pieces are passed along as
//! they are: in the log, in the history, in snapshots and checkpoints. The format is zlib (RFC 1950),
//! so that what is kept for years can be read by anything. Pure.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::decompress_slice_iter_to_slice;
use sha2::Digest as _;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::config::edit::{Changed, Edit, Edited, NoEdit};
use crate::config::{self, Config, Mistakes, Parsed};
use crate::types::{ClusterTime, UpperHex};

/// How hard the compressor tries, of 10: six times smaller at 70 MB a second, in a debug build.
const EFFORT: u8 = 3;

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The hash of some bytes.
    pub fn of(bytes: &[u8]) -> Sha256 {
        Sha256(sha2::Sha256::digest(bytes).into())
    }

    /// The hash written as [`fmt::Display`] writes it, in either case.
    pub fn from_hex(text: &str) -> Option<Sha256> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Sha256(bytes))
    }
}

/// Upper-case hexadecimal, as Kea's `config-hash-get`.
impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&UpperHex(&self.0), f)
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&UpperHex(&self.0[..4]), f)
    }
}

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// Plain JSON, `{"Dhcp4": …}`, as `config-set` of Kea brings it.
    Json,
    /// A file in Kea's dialect, comments and all, includes pasted.
    Kea,
}

/// What a text is: enough to know it again, and to know when it is here whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Document {
    /// Of the text.
    pub hash: Sha256,
    /// How it is written.
    pub form: Form,
    /// Bytes of text.
    pub size: u64,
    /// Bytes compressed.
    pub packed: u64,
}

impl Document {
    /// The longest text.
    pub const MAX_TEXT: u64 = 256 << 20;
    /// The longest compressed text: noise grows a little.
    pub const MAX_PACKED: u64 = Document::MAX_TEXT + (1 << 20);
    /// A piece. Small, so that the entry that carries it holds up the leases behind it by no more than a
    /// millisecond or two, and fits into an append round of a slow link.
    pub const PIECE: usize = 64 << 10;

    /// How many pieces it has; 1 at least.
    pub fn pieces(&self) -> u32 {
        u32::try_from(self.packed.div_ceil(Document::PIECE as u64)).unwrap_or(u32::MAX).max(1)
    }

    /// The bytes of one piece; 0 for one that does not exist.
    pub fn piece_len(&self, index: u32) -> usize {
        let begin = u64::from(index) * Document::PIECE as u64;
        let rest = usize::try_from(self.packed.saturating_sub(begin)).unwrap_or(usize::MAX);
        rest.min(Document::PIECE)
    }

    /// Whether its sizes are allowed.
    pub fn is_allowed(&self) -> bool {
        (1..=Document::MAX_TEXT).contains(&self.size)
            && (1..=Document::MAX_PACKED).contains(&self.packed)
    }
}

/// Why pieces are not the text they were announced to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    /// They do not decompress to that many bytes.
    #[error("the pieces do not decompress to the announced text")]
    Compression,
    /// They decompress to something else.
    #[error("the text is not the one that was announced")]
    Hash,
    /// It is no UTF-8.
    #[error("the text is not UTF-8")]
    Utf8,
}

/// A document whole: what it is, and its pieces.
#[derive(Clone, PartialEq)]
pub struct Packed {
    /// What it is.
    pub document: Document,
    /// All pieces, in order.
    pub pieces: Arc<[Bytes]>,
}

/// Without the text, which has the secrets in it.
impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.document.fmt(f)
    }
}

/// Why a document is no configuration.
#[derive(Debug, Clone)]
pub enum Unusable {
    /// Its pieces are no text: every node finds the same.
    Text(BadText),
    /// This program does not understand it.
    Mistakes(Arc<Mistakes>),
    /// This program cannot make a change that was made in it.
    Edit(NoEdit),
}

/// What this program has to say against it.
impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::Text(bad) => fmt::Display::fmt(bad, f),
            Unusable::Mistakes(mistakes) => fmt::Display::fmt(mistakes, f),
            Unusable::Edit(no) => f.write_str(&no.text),
        }
    }
}

/// What reading a document came to.
pub type Reading = Result<Arc<Config>, Unusable>;

/// Reads a document: takes seconds for a large one. Pure.
pub fn read(packed: &Packed) -> Reading {
    let text = packed.unpack().map_err(Unusable::Text)?;
    let parsed = parse(packed.document.form, &text);
    Ok(Arc::new(parsed.map_err(|mistakes| Unusable::Mistakes(Arc::new(mistakes)))?.config))
}

/// What an edit comes to.
pub type Editing = Result<(Arc<Config>, Changed), NoEdit>;

/// Makes an edit: takes as long as reading the document. Pure.
pub fn edit(config: &Config, edit: &Edit) -> Editing {
    let Edited { config, mut changes } = config.edited(std::slice::from_ref(edit))?;
    Ok((Arc::new(config), changes.pop().unwrap_or_default()))
}

/// Parses a document as every node does.
///
/// # Errors
/// Every mistake in it. An include is one: whoever proposes has pasted them.
pub fn parse(form: Form, text: &str) -> Result<Parsed, Mistakes> {
    match form {
        Form::Json => config::from_text(text),
        Form::Kea => config::parse(text, SOURCE_NAME, &mut |_| {
            Err("a document sent to a node cannot include files".to_owned())
        }),
    }
}

/// What mistakes call the text of a file that came without a name.
const SOURCE_NAME: &str = "document";

/// Compresses a text. Longer ones than [`Document::MAX_TEXT`] are the caller's to refuse.
pub fn pack(form: Form, text: &str) -> Packed {
    let bytes = Bytes::from(compress_to_vec_zlib(text.as_bytes(), EFFORT));
    let document = Document {
        hash: Sha256::of(text.as_bytes()),
        form,
        size: text.len() as u64,
        packed: bytes.len() as u64,
    };
    let piece = |at: usize| bytes.slice(at..(at + Document::PIECE).min(bytes.len()));
    let pieces = (0..bytes.len()).step_by(Document::PIECE).map(piece).collect();
    Packed { document, pieces }
}

impl Packed {
    /// The text.
    ///
    /// # Errors
    /// When the pieces are not those of the document. Deterministic.
    pub fn unpack(&self) -> Result<String, BadText> {
        let size = usize::try_from(self.document.size).map_err(|_| BadText::Compression)?;
        let mut text = vec![0; size];
        let pieces = self.pieces.iter().map(|piece| &piece[..]);
        match decompress_slice_iter_to_slice(&mut text, pieces, true, false) {
            Ok(got) if got == size => {}
            _ => return Err(BadText::Compression),
        }
        if Sha256::of(&text) != self.document.hash {
            return Err(BadText::Hash);
        }
        String::from_utf8(text).map_err(|_| BadText::Utf8)
    }

    /// A hash of the pieces, for digests.
    pub(super) fn digest(&self) -> u64 {
        let pieces = self.pieces.iter().enumerate();
        pieces.fold(0, |sum, (at, piece)| sum.wrapping_add(piece_digest(at as u32, piece)))
    }
}

/// The part of a piece in the digest of what it belongs to.
pub(super) fn piece_digest(index: u32, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, index.into())
}

/// A document of which some pieces are here.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// When the last piece came.
    pub(super) touched: ClusterTime,
    /// The pieces that are here.
    pub(super) pieces: OrdMap<u32, Bytes>,
    /// Bytes in them.
    pub(super) bytes: u64,
    /// The sum of the hashes of the pieces.
    pub(super) digest: u64,
}

impl Draft {
    pub(super) fn new(touched: ClusterTime) -> Draft {
        Draft { touched, pieces: OrdMap::new(), bytes: 0, digest: 0 }
    }

    pub(super) fn put(&mut self, index: u32, bytes: Bytes) {
        self.bytes += bytes.len() as u64;
        self.digest = self.digest.wrapping_add(piece_digest(index, &bytes));
        if let Some(old) = self.pieces.insert(index, bytes) {
            self.bytes -= old.len() as u64;
            self.digest = self.digest.wrapping_sub(piece_digest(index, &old));
        }
    }
}

/// Documents that are being sent and not in force yet. Bounded: at most [`Drafts::MOST`] of them,
/// [`Document::MAX_PACKED`] bytes together, each no longer than [`Drafts::PATIENCE`] after its last
/// piece; beyond that the one that has been left alone for longest is forgotten.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Drafts {
    table: OrdMap<Document, Draft>,
}

impl Drafts {
    /// The most documents.
    pub const MOST: usize = 4;
    /// How long one may be left alone, in cluster time.
    pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);

    /// Takes a piece in, which must be one of the document's; returns how many are missing.
    pub(super) fn put(
        &mut self,
        now: ClusterTime,
        document: Document,
        index: u32,
        bytes: Bytes,
    ) -> u32 {
        let draft = self.table.entry(document).or_insert_with(|| Draft::new(now));
        draft.touched = now;
        draft.put(index, bytes);
        let here = u32::try_from(draft.pieces.len()).unwrap_or(u32::MAX);
        while self.table.len() > Drafts::MOST || self.bytes() > Document::MAX_PACKED {
            let others = self.table.iter().filter(|(other, _)| **other != document);
            let Some(oldest) = others.min_by_key(|(other, draft)| (draft.touched, **other)) else {
                break;
            };
            let oldest = *oldest.0;
            self.table.remove(&oldest);
        }
        document.pieces().saturating_sub(here)
    }

    /// Forgets what has been left alone for too long. Cheap: there are few.
    pub(super) fn forget(&mut self, now: ClusterTime) {
        let over = |draft: &Draft| draft.touched.plus(Drafts::PATIENCE) < now;
        let gone = self.table.iter().filter(|(_, draft)| over(draft));
        let gone: Vec<Document> = gone.map(|(document, _)| *document).collect();
        gone.iter().for_each(|document| self.remove(document));
    }

    /// Drops a document.
    pub(super) fn remove(&mut self, document: &Document) {
        self.table.remove(document);
    }

    /// The document, if every piece is here.
    pub fn whole(&self, document: &Document) -> Option<Packed> {
        let draft = self.table.get(document)?;
        let all = draft.pieces.len() == document.pieces() as usize;
        all.then(|| Packed {
            document: *document,
            pieces: draft.pieces.values().cloned().collect(),
        })
    }

    /// Each with its pieces, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Document, &Draft)> {
        self.table.iter()
    }

    pub(super) fn get(&self, document: &Document) -> Option<&Draft> {
        self.table.get(document)
    }

    /// Puts a draft back that a snapshot holds.
    pub(super) fn restore(&mut self, document: Document, draft: Draft) {
        self.table.insert(document, draft);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Bytes of all pieces.
    pub fn bytes(&self) -> u64 {
        self.table.values().map(|draft| draft.bytes).sum()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.table.len() > Drafts::MOST || self.bytes() > Document::MAX_PACKED {
            return Err("too many unfinished documents".into());
        }
        for (document, draft) in &self.table {
            let fits = |(index, bytes): (&u32, &Bytes)| {
                *index < document.pieces() && bytes.len() == document.piece_len(*index)
            };
            let mut again = Draft::new(draft.touched);
            draft.pieces.iter().for_each(|(index, bytes)| again.put(*index, bytes.clone()));
            if !document.is_allowed() || !draft.pieces.iter().all(fits) || again != *draft {
                return Err(format!("the unfinished document {document:?} is out of step"));
            }
        }
        Ok(())
    }
}
