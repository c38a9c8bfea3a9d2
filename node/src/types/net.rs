//! Addresses in bulk: prefixes and ranges; and the numbers that name subnets and nodes.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A node of the cluster. Numbers come from the log and are never used again (rule R14).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Kea's subnet identifier, 1 to 4294967294.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SubnetId(pub u32);

impl fmt::Display for SubnetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An IPv4 prefix. Host bits are masked away, as Kea tolerates them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    network: u32,
    len: u8,
}

/// Text that is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a prefix is written 192.0.2.0/24, with a length of 0 to 32")]
pub struct BadPrefix;

impl Prefix {
    /// The prefix of length `len` (at most 32) that holds `address`.
    pub fn new(address: Ipv4Addr, len: u8) -> Result<Prefix, BadPrefix> {
        if len > 32 {
            return Err(BadPrefix);
        }
        Ok(Prefix { network: u32::from(address) & mask(len), len })
    }

    /// The number of leading one bits.
    pub fn len(&self) -> u8 {
        self.len
    }

    /// Whether it is `0.0.0.0/0`.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The subnet mask, as option 1 carries it.
    pub fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from(mask(self.len))
    }

    /// The first address.
    pub fn network(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.network)
    }

    /// The last address: the directed broadcast address of the link.
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.network | !mask(self.len))
    }

    /// Whether the prefix holds `address`.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.len) == self.network
    }

    /// Whether both hold some address.
    pub fn overlaps(&self, other: &Prefix) -> bool {
        self.contains(other.network()) || other.contains(self.network())
    }

    /// All its addresses, network and broadcast among them, as Kea's pools in prefix form.
    pub fn range(&self) -> Range {
        Range { first: self.network, last: self.network | !mask(self.len) }
    }
}

fn mask(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

impl FromStr for Prefix {
    type Err = BadPrefix;

    fn from_str(text: &str) -> Result<Prefix, BadPrefix> {
        let (address, len) = text.split_once('/').ok_or(BadPrefix)?;
        if len.is_empty() || !len.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BadPrefix);
        }
        Prefix::new(
            address.trim().parse().map_err(|_| BadPrefix)?,
            len.parse().map_err(|_| BadPrefix)?,
        )
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Addresses from `first` to `last`, both included; never empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    first: u32,
    last: u32,
}

/// A range whose first address lies behind its last.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the first address of a range must not lie behind its last")]
pub struct BadRange;

impl Range {
    /// The addresses from `first` to `last`.
    pub fn new(first: Ipv4Addr, last: Ipv4Addr) -> Result<Range, BadRange> {
        if first > last {
            return Err(BadRange);
        }
        Ok(Range { first: first.into(), last: last.into() })
    }

    /// The lowest address.
    pub fn first(&self) -> Ipv4Addr {
        self.first.into()
    }

    /// The highest address.
    pub fn last(&self) -> Ipv4Addr {
        self.last.into()
    }

    /// How many addresses there are, 1 to 2³².
    pub fn size(&self) -> u64 {
        u64::from(self.last - self.first) + 1
    }

    /// Whether `address` is one of them.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&u32::from(address))
    }

    /// Whether both hold some address.
    pub fn overlaps(&self, other: &Range) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The address `offset` places behind the first; `None` behind the last.
    pub fn nth(&self, offset: u64) -> Option<Ipv4Addr> {
        (offset < self.size()).then(|| Ipv4Addr::from((u64::from(self.first) + offset) as u32))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first(), self.last())
    }
}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_mask_host_bits_and_know_their_ends() {
        let prefix: Prefix = "192.0.2.77/26".parse().unwrap();
        assert_eq!(prefix.to_string(), "192.0.2.64/26");
        assert_eq!(prefix.mask(), Ipv4Addr::new(255, 255, 255, 192));
        assert_eq!(prefix.broadcast(), Ipv4Addr::new(192, 0, 2, 127));
        assert_eq!("0.0.0.0/0".parse::<Prefix>().unwrap().range().size(), 1 << 32);
        for bad in ["192.0.2.0", "192.0.2.0/33", "192.0.2.0/", "192.0.2.0/+8", "x/8"] {
            assert_eq!(bad.parse::<Prefix>(), Err(BadPrefix), "{bad}");
        }
    }

    #[test]
    fn ranges_include_both_ends() {
        let range = Range::new([192, 0, 2, 10].into(), [192, 0, 2, 12].into()).unwrap();
        assert_eq!(range.size(), 3);
        assert_eq!(range.nth(2), Some([192, 0, 2, 12].into()));
        assert_eq!(range.nth(3), None);
        assert!(Range::new([192, 0, 2, 2].into(), [192, 0, 2, 1].into()).is_err());
    }
}
