//! Option 82, the relay agent's information (RFC 3046).

use std::borrow::Cow;
use std::net::Ipv4Addr;

/// The value of option 82: the bytes for the echo (rule W2), and its sub-options up to the first
/// that does not add up (rule P7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayInfo<'a> {
    raw: Cow<'a, [u8]>,
}

impl<'a> RelayInfo<'a> {
    /// The joined value of option 82, without code and length.
    pub fn new(raw: impl Into<Cow<'a, [u8]>>) -> RelayInfo<'a> {
        RelayInfo { raw: raw.into() }
    }

    /// The bytes as the relay sent them.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The bytes as the relay sent them, taken out.
    pub fn into_raw(self) -> Cow<'a, [u8]> {
        self.raw
    }

    /// The sub-options in order, duplicates and unknown codes among them.
    pub fn sub_options(&self) -> SubOptions<'_> {
        SubOptions { rest: &self.raw }
    }

    /// The first sub-option with this code.
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.sub_options().find(|(found, _)| *found == code).map(|(_, value)| value)
    }

    /// A sub-option that is an address, such as link selection (RFC 3527) and server identifier
    /// override (RFC 5107); `None` also when it is not 4 bytes.
    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        self.get(code).and_then(|value| <[u8; 4]>::try_from(value).ok()).map(Ipv4Addr::from)
    }

    /// Whether the sub-options fill the option exactly.
    pub fn is_sound(&self) -> bool {
        let mut walk = self.sub_options();
        walk.by_ref().for_each(drop);
        walk.rest.is_empty()
    }
}

/// Iterates over `(code, value)`; ends at the first sub-option that runs past the end.
#[derive(Debug, Clone)]
pub struct SubOptions<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for SubOptions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [code, len, rest @ ..] = self.rest else { return None };
        let (value, rest) = rest.split_at_checked(usize::from(*len))?;
        self.rest = rest;
        Some((*code, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_sub_options_before_the_fault_are_used() {
        let info = RelayInfo::new(&[1, 2, 7, 8, 1, 1, 9, 2, 5, 0][..]);
        assert_eq!(info.get(1), Some(&[7, 8][..]));
        assert_eq!(info.sub_options().count(), 2);
        assert_eq!(info.get(2), None);
        assert!(!info.is_sound());
        assert_eq!(info.raw().len(), 10);
    }

    #[test]
    fn sub_options_that_fill_the_option_are_sound() {
        assert!(RelayInfo::new(&[][..]).is_sound());
        assert!(RelayInfo::new(&[5, 4, 192, 0, 2, 1, 200, 0][..]).is_sound());
        assert!(!RelayInfo::new(&[1][..]).is_sound());
        let info = RelayInfo::new(&[5, 4, 192, 0, 2, 1][..]);
        assert_eq!(info.address(5), Some([192, 0, 2, 1].into()));
        assert_eq!(RelayInfo::new(&[5, 3, 192, 0, 2][..]).address(5), None);
    }
}
