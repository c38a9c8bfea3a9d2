//! Ethernet, IPv4 and UDP headers: what the raw socket reads and writes (rules P11, D5). Pure.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;

/// The Ethernet header.
const ETHERNET: usize = 14;
/// An IPv4 header without options.
const IPV4: usize = 20;
/// The UDP header.
const UDP: usize = 8;
/// All headers in front of the payload of a frame that [`build`] makes.
pub const HEADERS: usize = ETHERNET + IPV4 + UDP;
/// The group of all stations of a link.
pub const BROADCAST_MAC: [u8; 6] = [0xff; 6];

const ETHERTYPE_IPV4: [u8; 2] = [8, 0];
const PROTOCOL_UDP: u8 = 17;
const TTL: u8 = 64;
/// "Don't fragment", offset 0 (RFC 791 §3.1).
const DONT_FRAGMENT: [u8; 2] = [0x40, 0];
/// Low delay, as every DHCP implementation sets it.
const TOS_LOW_DELAY: u8 = 0x10;

/// A UDP datagram found in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpFrame {
    /// The frame's sender.
    pub source_mac: [u8; 6],
    /// The datagram's sender.
    pub source: SocketAddrV4,
    /// Where it was sent.
    pub destination: SocketAddrV4,
    /// Where the payload stands in the frame.
    pub payload: Range<usize>,
}

/// Why a frame is not taken; each is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FrameError {
    /// Not IPv4 with UDP inside, or a fragment: the socket's filter should have kept it away.
    #[error("not an unfragmented UDP datagram over IPv4")]
    NotUdp,
    /// A length that the bytes do not bear out.
    #[error("lengths do not add up")]
    Length,
    /// The IPv4 header's checksum does not verify.
    #[error("bad IPv4 header checksum")]
    IpChecksum,
    /// The UDP checksum does not verify.
    #[error("bad UDP checksum")]
    UdpChecksum,
}

/// Reads a frame. The lengths of IP and UDP decide, not the frame's, since short frames are padded.
///
/// `checksum_ready` is false when the kernel says that the sender left the UDP checksum to its
/// hardware (rule S5): every packet of a container on this machine. A UDP checksum of 0 was never
/// made (RFC 768). The IPv4 header's is always there.
pub fn parse(frame: &[u8], checksum_ready: bool) -> Result<UdpFrame, FrameError> {
    let ethernet = frame.get(..ETHERNET).ok_or(FrameError::Length)?;
    let ip = &frame[ETHERNET..];
    if ethernet[12..14] != ETHERTYPE_IPV4 || ip.first().ok_or(FrameError::Length)? >> 4 != 4 {
        return Err(FrameError::NotUdp);
    }
    let header_len = usize::from(ip[0] & 0x0f) * 4;
    let header = ip.get(..header_len).ok_or(FrameError::Length)?;
    if header_len < IPV4 {
        return Err(FrameError::Length);
    }
    if header[9] != PROTOCOL_UDP || u16_at(header, 6) & 0x3fff != 0 {
        return Err(FrameError::NotUdp);
    }
    if sum(0, header) != 0xffff {
        return Err(FrameError::IpChecksum);
    }
    let datagram = ip.get(header_len..usize::from(u16_at(header, 2))).ok_or(FrameError::Length)?;
    let udp = datagram.get(..UDP).ok_or(FrameError::Length)?;
    let udp_len = usize::from(u16_at(udp, 4));
    let datagram = datagram.get(..udp_len).ok_or(FrameError::Length)?;
    if udp_len < UDP {
        return Err(FrameError::Length);
    }
    let source = ipv4_at(header, 12);
    let destination = ipv4_at(header, 16);
    if checksum_ready
        && u16_at(udp, 6) != 0
        && sum(pseudo(source, destination, udp_len), datagram) != 0xffff
    {
        return Err(FrameError::UdpChecksum);
    }
    let start = ETHERNET + header_len + UDP;
    let mut source_mac = [0; 6];
    source_mac.copy_from_slice(&ethernet[6..12]);
    Ok(UdpFrame {
        source_mac,
        source: SocketAddrV4::new(source, u16_at(udp, 0)),
        destination: SocketAddrV4::new(destination, u16_at(udp, 2)),
        payload: start..start + udp_len - UDP,
    })
}

/// Writes a frame: DF set, TTL 64, checksums always present (rule D5). `None` when the payload
/// does not fit in an IPv4 datagram.
pub fn build(
    source_mac: [u8; 6],
    destination_mac: [u8; 6],
    source: SocketAddrV4,
    destination: SocketAddrV4,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let udp_len = u16::try_from(UDP + payload.len()).ok()?;
    let ip_len = udp_len.checked_add(IPV4 as u16)?;
    let mut frame = Vec::with_capacity(HEADERS + payload.len());
    frame.extend(destination_mac);
    frame.extend(source_mac);
    frame.extend(ETHERTYPE_IPV4);

    frame.extend([0x45, TOS_LOW_DELAY]);
    frame.extend(ip_len.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(DONT_FRAGMENT);
    frame.extend([TTL, PROTOCOL_UDP, 0, 0]);
    frame.extend(source.ip().octets());
    frame.extend(destination.ip().octets());
    let checksum = !sum(0, &frame[ETHERNET..]);
    frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&checksum.to_be_bytes());

    let udp_at = frame.len();
    frame.extend(source.port().to_be_bytes());
    frame.extend(destination.port().to_be_bytes());
    frame.extend(udp_len.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    let pseudo = pseudo(*source.ip(), *destination.ip(), usize::from(udp_len));
    let checksum = match !sum(pseudo, &frame[udp_at..]) {
        0 => 0xffff, // 0 means "none" (RFC 768)
        checksum => checksum,
    };
    frame[udp_at + 6..udp_at + 8].copy_from_slice(&checksum.to_be_bytes());
    Some(frame)
}

/// The part of the UDP checksum that covers the addresses (RFC 768).
fn pseudo(source: Ipv4Addr, destination: Ipv4Addr, udp_len: usize) -> u32 {
    let words = [source, destination].map(|address| {
        let [a, b, c, d] = address.octets();
        u32::from(u16::from_be_bytes([a, b])) + u32::from(u16::from_be_bytes([c, d]))
    });
    words[0] + words[1] + u32::from(PROTOCOL_UDP) + udp_len as u32
}

/// The folded one's complement sum of 16-bit words (RFC 1071); 0xffff over bytes whose checksum is
/// right. `start` and 65 535 bytes stay far below 2³².
fn sum(start: u32, bytes: &[u8]) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn ipv4_at(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn sample(payload: &[u8]) -> Vec<u8> {
        let source = SocketAddrV4::new([192, 0, 2, 1].into(), 67);
        let destination = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
        build(MAC, BROADCAST_MAC, source, destination, payload).unwrap()
    }

    #[test]
    fn d5_headers_are_as_the_contract_says() {
        let frame = sample(b"payload");
        assert_eq!(frame[..14], [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 0]);
        assert_eq!(frame[14..24], [0x45, 0x10, 0, 35, 0, 0, 0x40, 0, 64, 17]);
        assert_eq!(frame[34..40], [0, 67, 0, 68, 0, 15]);
        assert_ne!(frame[40..42], [0, 0], "the UDP checksum is present");
        assert_eq!(&frame[HEADERS..], b"payload");
    }

    /// The header of RFC 1071's errata and many textbooks.
    #[test]
    fn the_checksum_is_the_known_one() {
        let header = [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,
            0xc7,
        ];
        assert_eq!(!sum(0, &header), 0xb861);
    }

    #[test]
    fn p11_ip_and_udp_lengths_decide_not_the_frame() {
        let mut frame = sample(b"abc");
        frame.resize(60, 0xaa);
        let read = parse(&frame, true).unwrap();
        assert_eq!(&frame[read.payload], b"abc");
        assert_eq!(read.source_mac, MAC);
        assert_eq!(read.destination, SocketAddrV4::new(Ipv4Addr::BROADCAST, 68));
    }

    #[test]
    fn p11_every_flipped_bit_behind_ethernet_is_noticed() {
        let good = sample(&[0x5a; 21]);
        for bit in ETHERNET * 8..good.len() * 8 {
            let mut frame = good.clone();
            frame[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&frame, true).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn p11_a_checksum_of_zero_was_never_made() {
        let mut frame = sample(b"abc");
        frame[40..42].copy_from_slice(&[0, 0]);
        assert!(parse(&frame, true).is_ok());
    }

    #[test]
    fn s5_an_unfinished_checksum_is_not_verified() {
        let mut frame = sample(b"abc");
        frame[40] ^= 1;
        assert_eq!(parse(&frame, true), Err(FrameError::UdpChecksum));
        assert!(parse(&frame, false).is_ok());
    }

    #[test]
    fn s1_fragments_and_foreign_protocols_are_refused() {
        let refit = |at: usize, value: u8| {
            let mut frame = sample(b"abc");
            frame[at] = value;
            frame[24..26].fill(0);
            let checksum = !sum(0, &frame[ETHERNET..ETHERNET + IPV4]);
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
            parse(&frame, true)
        };
        assert_eq!(refit(20, 0x20), Err(FrameError::NotUdp), "first fragment");
        assert_eq!(refit(21, 0x01), Err(FrameError::NotUdp), "later fragment");
        assert_eq!(refit(23, 6), Err(FrameError::NotUdp), "TCP");
        assert_eq!(refit(14, 0x65), Err(FrameError::NotUdp), "version 6");
        assert_eq!(refit(14, 0x44), Err(FrameError::Length), "header of 16 bytes");
        assert_eq!(refit(17, 10), Err(FrameError::Length), "datagram shorter than its header");
    }

    #[test]
    fn a_payload_that_no_datagram_holds_is_refused() {
        let end = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
        assert!(build(MAC, MAC, end, end, &vec![0; 65_507]).is_some());
        assert!(build(MAC, MAC, end, end, &vec![0; 65_508]).is_none());
    }

    proptest! {
        #[test]
        fn what_was_built_is_read_back(payload in prop::collection::vec(any::<u8>(), 0..600), a: u32, b: u32, ports: (u16, u16)) {
            let source = SocketAddrV4::new(a.into(), ports.0);
            let destination = SocketAddrV4::new(b.into(), ports.1);
            let frame = build(MAC, BROADCAST_MAC, source, destination, &payload).unwrap();
            let read = parse(&frame, true).unwrap();
            prop_assert_eq!((read.source, read.destination), (source, destination));
            prop_assert_eq!(&frame[read.payload], &payload[..]);
        }

        #[test]
        fn a10_arbitrary_frames_never_panic(mut frame in prop::collection::vec(any::<u8>(), 0..100), ip: bool, ready: bool) {
            if ip && frame.len() > 24 {
                frame[12..15].copy_from_slice(&[8, 0, 0x45]);
                frame[23] = 17;
                frame[20..22].fill(0);
            }
            if let Ok(read) = parse(&frame, ready) {
                prop_assert!(frame.get(read.payload).is_some());
            }
        }
    }
}
