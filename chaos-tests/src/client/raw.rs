//! DHCP packets byte by byte, for what no honest client sends, and a reader that knows where an option lies.

use std::net::Ipv4Addr;

/// Length of the fixed part, with the cookie.
pub const FIXED: usize = 240;

/// A packet under construction.
#[derive(Debug, Clone)]
pub struct Raw {
    /// The fixed part.
    pub fixed: [u8; FIXED],
    /// The options, as bytes; End is not among them.
    pub options: Vec<u8>,
    /// Whether End is appended.
    pub end: bool,
    /// Cuts the packet to this length.
    pub cut: Option<usize>,
}

impl Raw {
    /// A BOOTREQUEST of an Ethernet client without any option.
    pub fn new(xid: u32, mac: [u8; 6]) -> Raw {
        let mut fixed = [0; FIXED];
        fixed[0] = 1;
        fixed[1] = 1;
        fixed[2] = 6;
        fixed[4..8].copy_from_slice(&xid.to_be_bytes());
        fixed[28..34].copy_from_slice(&mac);
        fixed[236..240].copy_from_slice(&[99, 130, 83, 99]);
        Raw { fixed, options: Vec::new(), end: true, cut: None }
    }

    /// Writes an address of the fixed part: 12 `ciaddr`, 16 `yiaddr`, 24 `giaddr`.
    pub fn address(&mut self, at: usize, address: Ipv4Addr) {
        self.fixed[at..at + 4].copy_from_slice(&address.octets());
    }

    /// Appends an option. Data over 255 bytes is split (RFC 3396).
    pub fn option(&mut self, code: u8, data: &[u8]) {
        if data.is_empty() {
            self.options.extend_from_slice(&[code, 0]);
        }
        for part in data.chunks(255) {
            self.options.push(code);
            self.options.push(u8::try_from(part.len()).unwrap_or(255));
            self.options.extend_from_slice(part);
        }
    }

    /// Removes every well-formed option `code`.
    pub fn without(&mut self, code: u8) {
        let mut kept = Vec::new();
        let mut rest = self.options.as_slice();
        while let [found, len, tail @ ..] = rest {
            let len = usize::from(*len).min(tail.len());
            if *found != code {
                kept.extend_from_slice(&rest[..2 + len]);
            }
            rest = &tail[len..];
        }
        self.options = kept;
    }

    /// The bytes, padded to 300 unless cut.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.fixed.to_vec();
        bytes.extend_from_slice(&self.options);
        if self.end {
            bytes.push(255);
        }
        match self.cut {
            Some(len) => bytes.truncate(len),
            None if self.end => bytes.resize(bytes.len().max(300), 0),
            None => {}
        }
        bytes
    }
}

/// The data of option `code` in a well-formed packet, parts joined; none when it is absent.
pub fn option_of(packet: &[u8], code: u8) -> Option<Vec<u8>> {
    let mut found: Option<Vec<u8>> = None;
    let mut rest = packet.get(FIXED..)?;
    loop {
        match rest {
            [0, tail @ ..] => rest = tail,
            [255, ..] | [] | [_] => return found,
            [at, len, tail @ ..] => {
                let data = tail.get(..usize::from(*len))?;
                if *at == code {
                    found.get_or_insert_default().extend_from_slice(data);
                }
                rest = &tail[usize::from(*len)..];
            }
        }
    }
}
