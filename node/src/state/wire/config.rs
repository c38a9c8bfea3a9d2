//! Documents, versions and what is between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use leasehold_proto::command as pb;

use super::{BadWire, copied};
use crate::config::edit::{Edit, Verb};
use crate::state::command::{ConfigChunk, ConfigVersion, ConfigWhy, EditConfig, Note, SetConfig};
use crate::state::document::{Document, Draft, Form, Packed, Sha256};
use crate::state::history::{Body, Version};
use crate::state::pieces::PieceKey;
use crate::types::ClusterTime;

fn hash(bytes: &[u8]) -> Result<Sha256, BadWire> {
    Ok(Sha256(bytes.try_into().map_err(|_| BadWire::Field("SHA-256"))?))
}

fn document_to_pb(document: &Document) -> pb::Document {
    let form = match document.form {
        Form::Json => pb::Form::Json,
        Form::Kea => pb::Form::Kea,
    };
    pb::Document {
        hash: copied(&document.hash.0),
        form: form.into(),
        size: document.size,
        packed: document.packed,
    }
}

fn document_from_pb(document: Option<&pb::Document>) -> Result<Document, BadWire> {
    let document = document.ok_or(BadWire::Field("document"))?;
    let form = match pb::Form::try_from(document.form) {
        Ok(pb::Form::Json) => Form::Json,
        Ok(pb::Form::Kea) => Form::Kea,
        Ok(pb::Form::Unspecified) | Err(_) => return Err(BadWire::Field("form")),
    };
    Ok(Document { hash: hash(&document.hash)?, form, size: document.size, packed: document.packed })
}

pub(super) fn chunk_to_pb(chunk: &ConfigChunk) -> pb::ConfigChunk {
    pb::ConfigChunk {
        document: Some(document_to_pb(&chunk.document)),
        index: chunk.index,
        bytes: chunk.bytes.clone(),
    }
}

pub(super) fn chunk_from_pb(chunk: pb::ConfigChunk) -> Result<ConfigChunk, BadWire> {
    Ok(ConfigChunk {
        document: document_from_pb(chunk.document.as_ref())?,
        index: chunk.index,
        bytes: chunk.bytes,
    })
}

pub(super) fn set_to_pb(set: &SetConfig) -> pb::SetConfig {
    pb::SetConfig {
        expected: set.expected.map(|version| version.0),
        id: set.id,
        document: Some(document_to_pb(&set.document)),
        inline: set.inline.clone(),
        level: set.level,
        note: Some(note_to_pb(&set.note)),
    }
}

pub(super) fn set_from_pb(set: pb::SetConfig) -> Result<SetConfig, BadWire> {
    Ok(SetConfig {
        id: set.id,
        expected: set.expected.map(ConfigVersion),
        document: document_from_pb(set.document.as_ref())?,
        // Copied, so that keeping it does not keep the entry around it.
        inline: set.inline.as_deref().map(copied),
        level: set.level,
        note: note_from_pb(set.note.as_ref())?,
    })
}

pub(super) fn edit_to_pb(command: &EditConfig) -> pb::EditConfig {
    pb::EditConfig {
        expected: command.expected.map(|version| version.0),
        id: command.id,
        checked: command.checked.map(|version| version.0),
        level: command.level,
        note: Some(note_to_pb(&command.note)),
        verb: (command.edit.verb as u8).into(),
        arguments: command.edit.arguments.to_string(),
    }
}

pub(super) fn edit_from_pb(command: pb::EditConfig) -> Result<EditConfig, BadWire> {
    Ok(EditConfig {
        id: command.id,
        expected: command.expected.map(ConfigVersion),
        checked: command.checked.map(ConfigVersion),
        level: command.level,
        note: note_from_pb(command.note.as_ref())?,
        edit: Edit { verb: verb(command.verb)?, arguments: command.arguments.into() },
    })
}

fn verb(number: u32) -> Result<Verb, BadWire> {
    let verb = u8::try_from(number).ok().and_then(Verb::from_number);
    verb.ok_or(BadWire::Field("verb"))
}

fn note_to_pb(note: &Note) -> pb::ConfigNote {
    let (why, rollback) = match note.why {
        ConfigWhy::Set => (pb::ConfigWhy::Set, 0),
        ConfigWhy::Seed => (pb::ConfigWhy::Seed, 0),
        ConfigWhy::Reload => (pb::ConfigWhy::Reload, 0),
        ConfigWhy::Rollback(to) => (pb::ConfigWhy::Rollback, to.0),
        ConfigWhy::Edit(_) => (pb::ConfigWhy::Edit, 0),
    };
    let verb = if let ConfigWhy::Edit(verb) = note.why { (verb as u8).into() } else { 0 };
    pb::ConfigNote {
        author: note.author.clone(),
        comment: note.comment.clone(),
        why: why.into(),
        rollback,
        verb,
        config_hash: copied(&note.config_hash.0),
    }
}

fn note_from_pb(note: Option<&pb::ConfigNote>) -> Result<Note, BadWire> {
    let note = note.ok_or(BadWire::Field("note"))?;
    let why = match pb::ConfigWhy::try_from(note.why) {
        Ok(pb::ConfigWhy::Set) => ConfigWhy::Set,
        Ok(pb::ConfigWhy::Seed) => ConfigWhy::Seed,
        Ok(pb::ConfigWhy::Reload) => ConfigWhy::Reload,
        Ok(pb::ConfigWhy::Rollback) => ConfigWhy::Rollback(ConfigVersion(note.rollback)),
        Ok(pb::ConfigWhy::Edit) => ConfigWhy::Edit(verb(note.verb)?),
        Ok(pb::ConfigWhy::Unspecified) | Err(_) => return Err(BadWire::Field("why")),
    };
    Ok(Note {
        author: note.author.clone(),
        comment: note.comment.clone(),
        why,
        config_hash: hash(&note.config_hash)?,
    })
}

pub(in crate::state) fn version_to_pb(version: &Version) -> pb::HeadVersion {
    pb::HeadVersion {
        number: version.number.0,
        wall: version.wall,
        level: version.level,
        id: version.id,
        document: version.text().map(|text| document_to_pb(&text.document)),
        note: Some(note_to_pb(&version.note)),
        digest: version.digest,
        verb: if let Body::Edit { verb, .. } = &version.body { (*verb as u8).into() } else { 0 },
    }
}

/// The version, with its pieces taken out of `pieces`.
pub(in crate::state) fn version_from_pb(
    head: &pb::HeadVersion,
    pieces: &mut BTreeMap<PieceKey, Bytes>,
) -> Result<Version, BadWire> {
    let number = ConfigVersion(head.number);
    let bad = || BadWire::Field("a piece of a configuration");
    let mut piece = |index| pieces.remove(&PieceKey::Version(number, index)).ok_or_else(bad);
    let body = match (&head.document, head.verb) {
        (None, number) => {
            let (verb, arguments) = (verb(number)?, piece(0)?);
            std::str::from_utf8(&arguments).map_err(|_| bad())?;
            Body::Edit { verb, arguments }
        }
        (document, 0) => {
            let document = document_from_pb(document.as_ref())?;
            let pieces = (0..allowed(&document)?).map(piece);
            let pieces: Arc<[Bytes]> = pieces.collect::<Result<_, _>>()?;
            Body::Text(Packed { document, pieces })
        }
        _ => return Err(BadWire::Field("what a version is")),
    };
    if body.digest() != head.digest {
        return Err(bad());
    }
    Ok(Version {
        number,
        wall: head.wall,
        level: head.level,
        note: note_from_pb(head.note.as_ref())?,
        body,
        id: head.id,
        digest: head.digest,
    })
}

fn allowed(document: &Document) -> Result<u32, BadWire> {
    document.is_allowed().then(|| document.pieces()).ok_or(BadWire::Field("size of a document"))
}

pub(in crate::state) fn draft_to_pb((document, draft): (&Document, &Draft)) -> pb::HeadDraft {
    pb::HeadDraft {
        document: Some(document_to_pb(document)),
        touched: draft.touched.as_millis(),
        pieces: draft.pieces.keys().copied().collect(),
        digest: draft.digest,
    }
}

/// The draft, with its pieces taken out of `pieces`.
pub(in crate::state) fn draft_from_pb(
    head: &pb::HeadDraft,
    pieces: &mut BTreeMap<PieceKey, Bytes>,
) -> Result<(Document, Draft), BadWire> {
    let document = document_from_pb(head.document.as_ref())?;
    allowed(&document)?;
    let mut draft = Draft::new(ClusterTime::from_millis(head.touched));
    for index in &head.pieces {
        let piece = pieces.remove(&PieceKey::Draft(document, *index));
        draft.put(*index, piece.ok_or(BadWire::Field("a piece of a configuration"))?);
    }
    if draft.digest != head.digest {
        return Err(BadWire::Field("a piece of a configuration"));
    }
    Ok((document, draft))
}
