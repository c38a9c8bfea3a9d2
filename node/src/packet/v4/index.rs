//! Where the options of a message stand: the walk over the areas, and joining (rules P4–P6).

use std::borrow::Cow;

use super::{HEADER, at, codes};

/// A part of the message that can hold options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Area {
    /// Behind the magic cookie.
    Options,
    /// The field `file`, when option 52 says so.
    File,
    /// The field `sname`, when option 52 says so.
    Sname,
}

/// Something wrong that was noticed and survived; for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fault {
    /// The option.
    pub code: u8,
    /// What is wrong with it.
    pub what: FaultKind,
}

/// What is wrong with an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// Its length runs past the end of the area: it and what follows there are lost (rule P4).
    Overrun(Area),
    /// Its joined length is not one that the option can have.
    Length,
    /// Its value is none that the option can have.
    Value,
    /// Its sub-options do not add up.
    SubOptions,
}

/// One instance of an option: where its value stands in the datagram.
#[derive(Debug, Clone, Copy)]
struct Piece {
    at: u16,
    len: u8,
    code: u8,
}

/// Every instance of every option in order of appearance, over all areas.
#[derive(Debug, Clone)]
pub(super) struct Index {
    pieces: Vec<Piece>,
    present: [u64; 4],
    overload: u8,
}

impl Index {
    /// Walks a datagram that has been checked to be at least [`HEADER`] and at most 65535 bytes.
    pub(super) fn of(datagram: &[u8], faults: &mut Vec<Fault>) -> Index {
        // Counting first keeps the index at its exact size: 4 bytes for each option of 2 or more.
        let options = HEADER..datagram.len();
        let mut count = 0;
        let mut overload = (0, 0); // joined length of 52, and its last byte
        walk(datagram, options.clone(), Area::Options, |piece| {
            count += 1;
            if let (codes::OVERLOAD, Some(last)) = (piece.code, value(datagram, piece).last()) {
                overload = (overload.0 + usize::from(piece.len), *last);
            }
        });
        // A bad 52 is reported with the lengths and values of the other options.
        let overload = match overload {
            (1, which @ 1..=3) => which,
            _ => 0,
        };
        let areas = [
            (options, Area::Options, true),
            (at::FILE, Area::File, overload & 1 != 0),
            (at::SNAME, Area::Sname, overload & 2 != 0),
        ];
        for (range, area, used) in &areas[1..] {
            if *used {
                walk(datagram, range.clone(), *area, |_| count += 1);
            }
        }
        let mut index = Index { pieces: Vec::with_capacity(count), present: [0; 4], overload };
        for (range, area, used) in areas {
            if used {
                let fault = walk(datagram, range, area, |piece| {
                    if area == Area::Options || piece.code != codes::OVERLOAD {
                        index.push(piece);
                    }
                });
                faults.extend(fault);
            }
        }
        index
    }

    /// Of a message without options.
    pub(super) fn none() -> Index {
        Index { pieces: Vec::new(), present: [0; 4], overload: 0 }
    }

    fn push(&mut self, piece: Piece) {
        self.present[usize::from(piece.code >> 6)] |= 1 << (piece.code & 63);
        self.pieces.push(piece);
    }

    /// Whether `file` (1), `sname` (2) or both (3) hold options.
    pub(super) fn overload(&self) -> u8 {
        self.overload
    }

    pub(super) fn has(&self, code: u8) -> bool {
        self.present[usize::from(code >> 6)] & (1 << (code & 63)) != 0
    }

    /// All codes present, ascending.
    pub(super) fn codes(&self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(|code| self.has(*code))
    }

    /// The joined length of an option; `None` when it is absent.
    pub(super) fn len_of(&self, code: u8) -> Option<usize> {
        self.has(code).then(|| self.instances(code).map(|piece| usize::from(piece.len)).sum())
    }

    /// The joined value of an option (RFC 3396 §7).
    pub(super) fn get<'a>(&self, datagram: &'a [u8], code: u8) -> Option<Cow<'a, [u8]>> {
        if !self.has(code) {
            return None;
        }
        let mut instances = self.instances(code);
        let first = value(datagram, instances.next()?);
        let Some(second) = instances.next() else { return Some(Cow::Borrowed(first)) };
        let mut joined = Vec::with_capacity(self.len_of(code)?);
        joined.extend_from_slice(first);
        for piece in std::iter::once(second).chain(instances) {
            joined.extend_from_slice(value(datagram, piece));
        }
        Some(Cow::Owned(joined))
    }

    fn instances(&self, code: u8) -> impl Iterator<Item = Piece> + '_ {
        self.pieces.iter().copied().filter(move |piece| piece.code == code)
    }

    /// Bytes that the index holds on the heap.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        self.pieces.capacity() * size_of::<Piece>()
    }
}

fn value(datagram: &[u8], piece: Piece) -> &[u8] {
    let start = usize::from(piece.at);
    datagram.get(start..start + usize::from(piece.len)).unwrap_or_default()
}

/// Calls `found` for each option of one area, to End, the end of the area, or the first length
/// that runs past it.
fn walk(
    datagram: &[u8],
    area: std::ops::Range<usize>,
    name: Area,
    mut found: impl FnMut(Piece),
) -> Option<Fault> {
    let area_end = area.end;
    let bytes = datagram.get(..area_end)?;
    let mut next = area.start;
    while let Some(&code) = bytes.get(next) {
        match code {
            codes::PAD => next += 1,
            codes::END => return None,
            _ => {
                let overrun = Some(Fault { code, what: FaultKind::Overrun(name) });
                let Some(&len) = bytes.get(next + 1) else { return overrun };
                let start = next + 2;
                next = start + usize::from(len);
                if next > area_end {
                    return overrun;
                }
                let Ok(at) = u16::try_from(start) else { return overrun };
                found(Piece { at, len, code });
            }
        }
    }
    None
}
