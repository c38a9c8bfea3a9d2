//! Options inside options: sub-options of one byte code and one byte length, and the vendor options
//! 124 and 125 (RFC 3925), which hold a block for each enterprise.

use std::borrow::Cow;
use std::ops::Range;

use super::tree::Enterprise;

/// The codes of the vendor options.
pub(super) const VENDOR_CLASS: u8 = 124;
/// See [`VENDOR_CLASS`].
pub(super) const VENDOR: u8 = 125;
/// The relay's option (RFC 3046).
pub(super) const RELAY_AGENT_INFO: u8 = 82;
/// The option whose sub-options may be padded and ended like a message's (RFC 2132 §8.4).
pub(super) const VENDOR_ENCAPSULATED: u8 = 43;

/// Where the first sub-option with this code lies. What comes after a sub-option that runs past
/// the end is not looked at.
pub(super) fn sub_option(payload: &[u8], code: u8, padded: bool) -> Option<Range<usize>> {
    let mut at = 0;
    loop {
        match payload.get(at..)? {
            [0, ..] if padded => at += 1,
            [0xff, ..] if padded => return None,
            [found, len, ..] => {
                let value = at + 2..at + 2 + usize::from(*len);
                if value.end > payload.len() {
                    return None;
                }
                if *found == code {
                    return Some(value);
                }
                at = value.end;
            }
            _ => return None,
        }
    }
}

/// The blocks of option 124 or 125: enterprise number, and where the data lie.
pub(super) fn blocks(payload: &[u8]) -> impl Iterator<Item = (u32, Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let [a, b, c, d, len, ..] = payload.get(at..)? else { return None };
        let data = at + 5..at + 5 + usize::from(*len);
        if data.end > payload.len() {
            return None;
        }
        at = data.end;
        Some((u32::from_be_bytes([*a, *b, *c, *d]), data))
    })
}

/// The blocks of one enterprise, or of all.
pub(super) fn blocks_of(
    payload: &[u8],
    enterprise: Enterprise,
) -> impl Iterator<Item = Range<usize>> {
    blocks(payload)
        .filter(move |(number, _)| enterprise.is_none_or(|wanted| wanted == *number))
        .map(|(_, data)| data)
}

/// A part of a value, borrowed if the value is.
pub(super) fn part(value: Cow<'_, [u8]>, range: Range<usize>) -> Cow<'_, [u8]> {
    match value {
        Cow::Borrowed(bytes) => Cow::Borrowed(bytes.get(range).unwrap_or_default()),
        Cow::Owned(mut bytes) => {
            bytes.truncate(range.end);
            bytes.drain(..range.start.min(bytes.len()));
            Cow::Owned(bytes)
        }
    }
}
