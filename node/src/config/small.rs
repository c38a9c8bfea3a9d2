//! Short strings without a heap block of their own: of the millions that a document may have,
//! nearly all are addresses and names.

use std::fmt;
use std::ops::Deref;

/// Bytes in 24 bytes, up to [`SmallBytes::INLINE`] of them.
#[derive(Clone)]
pub struct SmallBytes(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; SmallBytes::INLINE] },
    Heap(Box<[u8]>),
}

impl SmallBytes {
    /// How many need no heap block.
    pub const INLINE: usize = 22;
}

impl From<&[u8]> for SmallBytes {
    fn from(from: &[u8]) -> SmallBytes {
        let mut bytes = [0; SmallBytes::INLINE];
        SmallBytes(match bytes.get_mut(..from.len()) {
            Some(place) => {
                place.copy_from_slice(from);
                // At most 22.
                Repr::Inline { len: from.len() as u8, bytes }
            }
            None => Repr::Heap(from.into()),
        })
    }
}

impl Deref for SmallBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Heap(bytes) => bytes,
        }
    }
}

impl PartialEq for SmallBytes {
    fn eq(&self, other: &SmallBytes) -> bool {
        **self == **other
    }
}

impl Eq for SmallBytes {}

impl fmt::Debug for SmallBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// The same for text.
#[derive(Clone, PartialEq, Eq)]
pub struct SmallText(SmallBytes);

impl SmallText {
    /// The text.
    pub fn as_str(&self) -> &str {
        self
    }
}

impl From<&str> for SmallText {
    fn from(text: &str) -> SmallText {
        SmallText(text.as_bytes().into())
    }
}

impl From<String> for SmallText {
    fn from(text: String) -> SmallText {
        SmallText::from(&*text)
    }
}

impl Deref for SmallText {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("it was made of text")
    }
}

impl PartialEq<str> for SmallText {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for SmallText {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl PartialEq<SmallText> for str {
    fn eq(&self, other: &SmallText) -> bool {
        *other == *self
    }
}

impl PartialEq<SmallText> for &str {
    fn eq(&self, other: &SmallText) -> bool {
        *other == **self
    }
}

impl fmt::Display for SmallText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for SmallText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_texts_come_back() {
        for len in [0, 1, 21, 22, 23, 24, 300] {
            let text = "é".repeat(len / 2) + &"x".repeat(len % 2);
            let small = SmallText::from(text.as_str());
            assert_eq!(small, text.as_str());
            assert_eq!((small.clone(), small.to_string()), (small, text));
        }
        assert_ne!(SmallText::from("a"), SmallText::from("b"));
        assert_eq!(size_of::<SmallText>(), 24);
    }
}
