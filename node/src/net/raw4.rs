//! Broadcasts from clients that have no address yet, and the frames that answer them: one packet
//! socket for each Ethernet interface (rules S1, S5, S7, D3–D5).

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use parking_lot::RwLock;
use socket2::{SockFilter, Socket};

use super::frame::{self, FrameError};
use super::{Arrival, Counters, READ_TIMEOUT, RECEIVE_QUEUE, Received, SendError, sys};

/// More directed broadcast addresses than this on one link are not told apart from unicasts: the
/// filter's jumps reach 255 instructions.
const MAX_BROADCASTS: usize = 64;

/// What a packet socket is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawSpec {
    pub(super) interface: Arc<str>,
    pub(super) index: u32,
    pub(super) mac: [u8; 6],
    pub(super) mtu: u32,
    /// The server's address on this link.
    pub(super) identity: Ipv4Addr,
    /// Directed broadcast addresses of the link.
    pub(super) broadcasts: Vec<Ipv4Addr>,
    pub(super) server_port: u16,
}

/// An open packet socket.
#[derive(Debug)]
pub(super) struct RawPort {
    spec: RwLock<RawSpec>,
    socket: Socket,
}

impl RawPort {
    pub(super) fn open(spec: &RawSpec) -> io::Result<RawPort> {
        let socket = sys::open_packet_socket(spec.index, &program(spec))?;
        sys::set_receive_buffer(&socket, RECEIVE_QUEUE)?;
        socket.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(RawPort { spec: RwLock::new(spec.clone()), socket })
    }

    /// Whether the open socket can be what `spec` wants: it is bound to the same interface.
    pub(super) fn suits(&self, spec: &RawSpec) -> bool {
        let own = self.spec.read();
        own.index == spec.index && own.server_port == spec.server_port
    }

    /// Makes it so, for every frame from now on.
    pub(super) fn become_one(&self, spec: &RawSpec) -> io::Result<()> {
        let mut own = self.spec.write();
        if own.broadcasts != spec.broadcasts {
            // The kernel puts the new program in the place of the old one at once.
            self.socket.attach_filter(&program(spec))?;
        }
        *own = spec.clone();
        Ok(())
    }

    /// From now on [`RawPort::receive`] takes what is there and does not wait.
    pub(super) fn wait_no_more(&self) -> io::Result<()> {
        self.socket.set_nonblocking(true)
    }

    /// Waits for a frame; `None` for one that is dropped and counted.
    pub(super) fn receive(
        &self,
        buffer: &mut [u8],
        counters: &Counters,
    ) -> io::Result<Option<Received>> {
        let meta = sys::receive_frame(&self.socket, buffer)?;
        if !meta.for_us {
            counters.not_for_us.add();
            return Ok(None);
        }
        if meta.truncated {
            counters.truncated.add();
            return Ok(None);
        }
        let bytes = buffer.get(..meta.len).unwrap_or_default();
        let datagram = match frame::parse(bytes, meta.checksum_ready) {
            Ok(datagram) => datagram,
            Err(FrameError::IpChecksum | FrameError::UdpChecksum) => {
                counters.bad_checksum.add();
                return Ok(None);
            }
            Err(FrameError::Length | FrameError::NotUdp) => {
                counters.bad_frame.add();
                return Ok(None);
            }
        };
        let spec = self.spec.read();
        Ok(Some(Received {
            bytes: bytes.get(datagram.payload).unwrap_or_default().to_vec(),
            arrival: Arrival {
                interface: spec.interface.clone(),
                index: spec.index,
                mtu: spec.mtu,
                interface_address: spec.identity,
                source: datagram.source,
                destination: *datagram.destination.ip(),
                source_mac: Some(datagram.source_mac),
                broadcast: true,
            },
            came: meta.came,
        }))
    }

    /// Sends one frame.
    pub(super) fn send(
        &self,
        mac: [u8; 6],
        source: SocketAddrV4,
        destination: SocketAddrV4,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let own = self.spec.read().mac;
        let frame =
            frame::build(own, mac, source, destination, payload).ok_or(SendError::TooLong)?;
        self.socket.send_with_flags(&frame, libc::MSG_DONTWAIT)?;
        Ok(())
    }
}

/// The filter of a socket, in the kernel's form.
fn program(spec: &RawSpec) -> Vec<SockFilter> {
    let program = filter(&spec.broadcasts, spec.server_port);
    program.iter().map(|one| SockFilter::new(one.code, one.yes, one.no, one.k)).collect()
}

/// One instruction of the kernel's packet filter: how far to jump when a test holds or not, and the
/// constant.
#[derive(Debug, Clone, Copy)]
struct Instruction {
    code: u16,
    yes: u8,
    no: u8,
    k: u32,
}

/// The kernel's half of rule S1: IPv4, UDP, no fragment, no VLAN tag, to a broadcast address and
/// the server's port. Offsets count from the Ethernet header.
fn filter(broadcasts: &[Ipv4Addr], port: u16) -> Vec<Instruction> {
    use libc::{
        BPF_ABS, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX,
        BPF_MSH, BPF_RET, BPF_W, SKF_AD_OFF, SKF_AD_VLAN_TAG_PRESENT,
    };
    let mut addresses = vec![Ipv4Addr::BROADCAST];
    addresses.extend(broadcasts.iter().take(MAX_BROADCASTS));
    let count = addresses.len();
    // The program ends with: the address tests, load, load, test, accept, drop. A false test jumps
    // to the drop; `ahead` is how many instructions lie between a test and that drop.
    let tail = count + 4;
    let op = |code: u32, k: u32| Instruction { code: code as u16, yes: 0, no: 0, k };
    let jump = |code: u32, k: u32, yes: usize, no: usize| Instruction {
        code: (BPF_JMP | code | BPF_K) as u16,
        yes: yes as u8,
        no: no as u8,
        k,
    };
    let vlan = SKF_AD_OFF.wrapping_add(SKF_AD_VLAN_TAG_PRESENT) as u32;
    let mut program = vec![
        op(BPF_LD | BPF_W | BPF_ABS, vlan),
        jump(BPF_JEQ, 0, 0, 7 + tail),
        op(BPF_LD | BPF_H | BPF_ABS, 12),
        jump(BPF_JEQ, libc::ETH_P_IP as u32, 0, 5 + tail),
        op(BPF_LD | BPF_B | BPF_ABS, 23),
        jump(BPF_JEQ, libc::IPPROTO_UDP as u32, 0, 3 + tail),
        op(BPF_LD | BPF_H | BPF_ABS, 20),
        jump(BPF_JSET, 0x3fff, 1 + tail, 0),
        op(BPF_LD | BPF_W | BPF_ABS, 30),
    ];
    for (at, address) in addresses.iter().enumerate() {
        let last = at + 1 == count;
        program.push(jump(BPF_JEQ, u32::from(*address), count - 1 - at, if last { 4 } else { 0 }));
    }
    program.push(op(BPF_LDX | BPF_B | BPF_MSH, 14));
    program.push(op(BPF_LD | BPF_H | BPF_IND, 16));
    program.push(jump(BPF_JEQ, u32::from(port), 0, 1));
    program.push(op(BPF_RET | BPF_K, u32::MAX));
    program.push(op(BPF_RET | BPF_K, 0));
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::frame::BROADCAST_MAC;

    /// Runs a filter the way the kernel does, for the instructions that it uses; `tag` is the
    /// presence of a VLAN tag.
    fn passes(program: &[Instruction], frame: &[u8], tag: u32) -> bool {
        let load = |at: usize, len: usize| {
            frame
                .get(at..at + len)
                .map(|bytes| bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
        };
        let (mut a, mut x, mut pc) = (0, 0, 0);
        loop {
            let Instruction { code, yes, no, k } = program[pc];
            pc += 1;
            let loaded = match code {
                0x20 if k > 0xffff_0000 => Some(tag),
                0x20 => load(k as usize, 4),
                0x28 => load(k as usize, 2),
                0x30 => load(k as usize, 1),
                0x48 => load(x + k as usize, 2),
                0xb1 => {
                    x = frame.get(k as usize).map_or(0, |byte| usize::from(byte & 0xf) * 4);
                    Some(a)
                }
                0x15 => {
                    pc += usize::from(if a == k { yes } else { no });
                    Some(a)
                }
                0x45 => {
                    pc += usize::from(if a & k != 0 { yes } else { no });
                    Some(a)
                }
                0x06 => return k != 0,
                other => panic!("unknown instruction {other:#x}"),
            };
            let Some(loaded) = loaded else { return false };
            a = loaded;
        }
    }

    fn frame_to(address: [u8; 4], port: u16) -> Vec<u8> {
        let source = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
        let destination = SocketAddrV4::new(address.into(), port);
        frame::build([2; 6], BROADCAST_MAC, source, destination, &[0; 300]).unwrap()
    }

    #[test]
    fn s1_the_filter_passes_broadcasts_to_the_servers_port_and_nothing_else() {
        for directed in
            [vec![], vec![Ipv4Addr::new(192, 0, 2, 255)], (0..100).map(Ipv4Addr::from).collect()]
        {
            let program = filter(&directed, 67);
            assert!(passes(&program, &frame_to([255; 4], 67), 0));
            assert!(!passes(&program, &frame_to([255; 4], 68), 0));
            assert!(!passes(&program, &frame_to([192, 0, 2, 1], 67), 0));
            assert!(!passes(&program, &frame_to([255; 4], 67), 1), "VLAN tag");
            let known = directed.contains(&[192, 0, 2, 255].into());
            assert_eq!(passes(&program, &frame_to([192, 0, 2, 255], 67), 0), known);
            for (at, value) in [(12, 9), (20, 0x20), (21, 1), (23, 6)] {
                let mut frame = frame_to([255; 4], 67);
                frame[at] = value;
                assert!(!passes(&program, &frame, 0), "byte {at}");
            }
            assert!(!passes(&program, &frame_to([255; 4], 67)[..30], 0), "cut short");
        }
    }

    #[test]
    fn s1_the_port_is_found_behind_ip_options() {
        let mut frame = frame_to([255; 4], 67);
        frame[14] = 0x46;
        frame.splice(34..34, [1, 1, 1, 1]);
        assert!(passes(&filter(&[], 67), &frame, 0));
        assert!(!passes(&filter(&[], 99), &frame, 0));
    }
}
