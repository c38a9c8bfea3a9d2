//! The pieces of documents that a machine holds, each under a key of its own: how snapshots and
//! checkpoints carry them.

use bytes::Bytes;

use super::command::ConfigVersion;
use super::document::{Document, Form, Sha256};
use super::view::Frozen;

/// Names a piece. The order of keys is the order of their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PieceKey {
    /// Of a version that is kept.
    Version(ConfigVersion, u32),
    /// Of a document that is being sent.
    Draft(Document, u32),
}

const VERSION: u8 = b'c';
const DRAFT: u8 = b'd';

impl PieceKey {
    /// The key as bytes; none is the beginning of another.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            PieceKey::Version(number, index) => {
                [&[VERSION][..], &number.0.to_be_bytes(), &index.to_be_bytes()].concat()
            }
            PieceKey::Draft(document, index) => {
                let Document { hash, form, size, packed } = document;
                let form = match form {
                    Form::Json => 0,
                    Form::Kea => 1,
                };
                [
                    &[DRAFT][..],
                    &hash.0,
                    &[form],
                    &size.to_be_bytes(),
                    &packed.to_be_bytes(),
                    &index.to_be_bytes(),
                ]
                .concat()
            }
        }
    }

    /// The key that `bytes` begin with, and what is behind it; `None` if they do not.
    pub fn take(bytes: &[u8]) -> Option<(PieceKey, &[u8])> {
        let (kind, mut rest) = bytes.split_first()?;
        let key = match *kind {
            VERSION => {
                let number = u64::from_be_bytes(take(&mut rest)?);
                PieceKey::Version(ConfigVersion(number), u32::from_be_bytes(take(&mut rest)?))
            }
            DRAFT => {
                let hash = Sha256(take(&mut rest)?);
                let form = match take(&mut rest)? {
                    [0] => Form::Json,
                    [1] => Form::Kea,
                    _ => return None,
                };
                let size = u64::from_be_bytes(take(&mut rest)?);
                let packed = u64::from_be_bytes(take(&mut rest)?);
                let index = u32::from_be_bytes(take(&mut rest)?);
                PieceKey::Draft(Document { hash, form, size, packed }, index)
            }
            _ => return None,
        };
        Some((key, rest))
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*first)
}

impl Frozen {
    /// Every piece, ascending by key.
    pub fn pieces(&self) -> impl Iterator<Item = (PieceKey, &Bytes)> {
        let versions = self.meta.whole_history().flat_map(|version| {
            let pieces = (0..).zip(version.body.pieces());
            pieces.map(|(index, piece)| (PieceKey::Version(version.number, index), piece))
        });
        let drafts = self.meta.drafts.iter().flat_map(|(document, draft)| {
            draft.pieces.iter().map(|(index, piece)| (PieceKey::Draft(*document, *index), piece))
        });
        versions.chain(drafts)
    }

    /// The pieces that `older` does not have, and the keys that are no longer there. Costs a look at
    /// each key, and never at a text.
    pub fn pieces_since<'a>(
        &'a self,
        older: &'a Frozen,
    ) -> (Vec<(PieceKey, &'a Bytes)>, Vec<PieceKey>) {
        // A piece is handed on and never copied, so one that lies elsewhere is another.
        let same = |a: &Bytes, b: &Bytes| a.as_ptr() == b.as_ptr() && a.len() == b.len();
        let put = self
            .pieces()
            .filter(|(key, piece)| !older.piece(key).is_some_and(|older| same(older, piece)));
        let gone = older.pieces().map(|(key, _)| key).filter(|key| self.piece(key).is_none());
        (put.collect(), gone.collect())
    }

    /// One piece.
    pub fn piece(&self, key: &PieceKey) -> Option<&Bytes> {
        match key {
            PieceKey::Version(number, index) => {
                self.meta.history.get(number)?.body.pieces().get(*index as usize)
            }
            PieceKey::Draft(document, index) => self.meta.drafts.get(document)?.pieces.get(index),
        }
    }
}
