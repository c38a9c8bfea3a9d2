//! The work of one evaluation, from above, before any packet is seen.
//!
//! A unit is about a nanosecond of a release build: a step of the evaluation costs [`STEP`], asking for
//! something of the packet [`ASK`], and each byte that is copied, compared or searched 1. How long a value
//! can be is followed through the functions; a value from a packet can have [`MAX_VALUE`] bytes.

use super::MAX_VALUE;
use super::facts::Field;
use super::tree::{Bool, Integer, Path, Root, Str};

/// Going to a node of the tree.
const STEP: u32 = 10;
/// Asking the packet.
const ASK: u32 = 50;
/// Walking through the sub-options of an option, at least two bytes a step.
const WALK: u32 = MAX_VALUE as u32;
/// The longest value.
const LONGEST: u32 = MAX_VALUE as u32;
/// The longest sub-option, by its one-byte length.
const SUB_OPTION: u32 = 255;

/// What a string costs, and how long it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    pub work: u32,
    pub len: u32,
}

/// What a truth value costs.
pub(super) fn of_bool(of: &Bool) -> u32 {
    match of {
        Bool::Not(inner) => plus(STEP, of_bool(inner)),
        Bool::Many(_, operands) => operands.iter().map(of_bool).fold(STEP, plus),
        Bool::Equal(left, right) => {
            let (left, right) = (of_str(left), of_str(right));
            plus(STEP + left.len.min(right.len), plus(left.work, right.work))
        }
        Bool::Exists(path) => of_path(path).work,
        Bool::VendorExists(_) | Bool::VendorClassExists(_) => ASK + WALK,
        Bool::Member(_) => ASK,
        Bool::Match(pattern, subject) => {
            let subject = of_str(subject);
            plus(ASK + subject.work, pattern.weight().saturating_mul(subject.len))
        }
    }
}

/// What a string costs.
pub(super) fn of_str(of: &Str) -> Cost {
    match of {
        Str::Literal(bytes) => Cost { work: STEP, len: length(bytes.len()) },
        Str::Hex(path) => of_path(path),
        Str::Text(path) => {
            let payload = of_path(path);
            // Printing takes a few characters for each byte.
            Cost { work: plus(payload.work, 4 * LONGEST), len: LONGEST }
        }
        Str::VendorEnterprise | Str::VendorClassEnterprise => Cost { work: ASK + STEP, len: 4 },
        Str::VendorClassData(..) => Cost { work: ASK + WALK, len: SUB_OPTION },
        Str::Field(Field::Iface) => Cost { work: ASK, len: 64 },
        Str::Field(_) => Cost { work: ASK, len: 16 },
        Str::Substring(of, _, len) => {
            let of = of_str(of);
            let cut = len.map_or(LONGEST, i32::unsigned_abs).min(of.len);
            Cost { work: plus(of.work, STEP), len: cut }
        }
        Str::Split(of, _) => {
            let (value, delimiters) = (of_str(&of.0), of_str(&of.1));
            // 256 for the table of delimiters.
            let scan = STEP + 256 + 2 * value.len + delimiters.len;
            Cost { work: plus(scan, plus(value.work, delimiters.work)), len: value.len }
        }
        Str::Concat(parts) => {
            parts.iter().map(of_str).fold(Cost { work: STEP, len: 0 }, |all, part| {
                let work = plus(all.work, plus(part.work, part.len));
                Cost { work, len: (all.len + part.len).min(LONGEST) }
            })
        }
        // Either branch, as if both: an upper bound.
        Str::IfElse(of) | Str::BothIfElse(of) => {
            let (yes, no) = (of_str(&of.1), of_str(&of.2));
            let work = plus(of_bool(&of.0), plus(STEP, plus(yes.work, no.work)));
            Cost { work, len: yes.len.max(no.len) }
        }
        Str::LowerCase(of) | Str::UpperCase(of) => {
            let of = of_str(of);
            Cost { work: plus(of.work, STEP + 2 * of.len), len: of.len }
        }
        Str::HexString(of) => {
            let (value, separator) = (of_str(&of.0), of_str(&of.1));
            let len = value.len.saturating_mul(2 + separator.len).min(LONGEST);
            Cost { work: plus(STEP + 2 * len, plus(value.work, separator.work)), len }
        }
        Str::AddressToText(of) => Cost { work: plus(of_str(of).work, 700), len: 45 },
        Str::IntegerToText(integer, of) => {
            let len = match integer {
                Integer::Int8 | Integer::Uint8 => 4,
                Integer::Int16 | Integer::Uint16 => 6,
                Integer::Int32 | Integer::Uint32 => 11,
            };
            Cost { work: plus(of_str(of).work, ASK), len }
        }
    }
}

fn of_path(path: &Path) -> Cost {
    let nested = !path.rest.is_empty() || !matches!(path.root, Root::Option(_));
    // Each level walks through what the one above it found; a part that had to be joined is moved.
    let inner = length(path.rest.len()).saturating_mul(SUB_OPTION + STEP);
    if nested {
        Cost { work: plus(ASK + WALK + LONGEST, inner), len: SUB_OPTION }
    } else {
        Cost { work: ASK, len: LONGEST }
    }
}

fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX).min(LONGEST)
}

fn plus(a: u32, b: u32) -> u32 {
    a.saturating_add(b)
}
