//! The socket of the relay agent: many datagrams a system call, through buffers that are taken once.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use socket2::{Domain, Socket, Type};

use super::packet::LENGTH;

/// Datagrams in one system call.
pub const BATCH: usize = 32;
/// The longest reply that is read: one of Ethernet's frames.
const LONGEST: usize = 1500;
/// What the kernel may queue for us, bytes; it grants what net.core.rmem_max allows.
const RECEIVE_QUEUE: usize = 16 << 20;
/// How long room in the kernel's queue is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The socket and its buffers.
pub struct Wire {
    socket: UdpSocket,
    servers: Vec<SocketAddrAny>,
    /// Messages to be sent, and the server of each.
    out: Box<[[u8; LENGTH]; BATCH]>,
    to: [usize; BATCH],
    filled: usize,
    heads: MultiHeaders<()>,
    buffers: Box<[[u8; LONGEST]; BATCH]>,
}

impl Wire {
    /// Listens where the relay agent is.
    pub fn open(giaddr: SocketAddrV4, servers: &[SocketAddrV4]) -> io::Result<Wire> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        // What is not granted is not needed at low rates, and counted as dropped at high ones.
        let _ = socket.set_recv_buffer_size(RECEIVE_QUEUE);
        socket.set_nonblocking(true)?;
        socket.bind(&giaddr.into())?;
        Ok(Wire {
            socket: socket.into(),
            servers: servers.iter().map(SocketAddrArg::as_any).collect(),
            out: Box::new([[0; LENGTH]; BATCH]),
            to: [0; BATCH],
            filled: 0,
            heads: MultiHeaders::preallocate(BATCH, None),
            buffers: Box::new([[0; LONGEST]; BATCH]),
        })
    }

    /// Puts a message to a server, which `write` writes, beside those that are to be sent.
    pub fn push(&mut self, server: usize, write: impl FnOnce(&mut [u8; LENGTH])) -> io::Result<()> {
        write(&mut self.out[self.filled]);
        self.to[self.filled] = server;
        self.filled += 1;
        if self.filled == BATCH { self.flush() } else { Ok(()) }
    }

    /// Sends what is to be sent.
    ///
    /// # Errors
    /// When there is no way to the server, or no room in the kernel's queue for a second.
    pub fn flush(&mut self) -> io::Result<()> {
        let filled = std::mem::take(&mut self.filled);
        if filled == 0 {
            return Ok(());
        }
        let slices = self.out.each_ref().map(|message| [IoSlice::new(message)]);
        let mut nothing: [SendAncillaryBuffer<'_, '_, '_>; BATCH] =
            std::array::from_fn(|_| SendAncillaryBuffer::default());
        let mut nothing = nothing.iter_mut();
        let mut heads: [MMsgHdr<'_>; BATCH] = std::array::from_fn(|at| {
            let beside = nothing.next().expect("as many as there are messages");
            MMsgHdr::new_with_addr(&self.servers[self.to[at]], &slices[at], beside)
        });
        let mut sent = 0;
        while sent < filled {
            match sendmmsg(&self.socket, &mut heads[sent..filled], SendFlags::DONTWAIT) {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => {
                    if !wait(&self.socket, PollFlags::OUT, PATIENCE)? {
                        return Err(Errno::AGAIN.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Hands what has come to `hear`, one batch of it; whether there may be more.
    pub fn receive(&mut self, mut hear: impl FnMut(&[u8])) -> io::Result<bool> {
        let mut slices = self.buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let fd = self.socket.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let mut count = 0;
        match recvmmsg(fd, &mut self.heads, slices.iter_mut(), flags, None) {
            Ok(messages) => {
                for message in messages {
                    count += 1;
                    message.iovs().for_each(&mut hear);
                }
            }
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(count == BATCH)
    }

    /// Waits until something has come, for so long at most.
    pub fn wait(&self, most: Duration) -> io::Result<()> {
        wait(&self.socket, PollFlags::IN, most).map(drop)
    }

    /// Datagrams that came while the kernel's queue for us was full, where that can be told: no server's fault.
    pub fn overrun(&self) -> Option<u64> {
        let port = self.socket.local_addr().ok()?;
        let table = std::fs::read_to_string("/proc/self/net/udp").ok()?;
        overrun_of(port, &table)
    }
}

fn wait(socket: impl AsFd, what: PollFlags, most: Duration) -> io::Result<bool> {
    let most = Timespec::try_from(most).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(&socket, what)], Some(&most)) {
        Ok(ready) => Ok(ready > 0),
        // A signal: the caller looks what it was.
        Err(Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// The last column of the socket's row in the kernel's table, which has addresses as they lie in memory.
fn overrun_of(address: SocketAddr, table: &str) -> Option<u64> {
    let SocketAddr::V4(address) = address else { return None };
    let octets = u32::from_ne_bytes(address.ip().octets());
    let local = format!("{octets:08X}:{:04X}", address.port());
    let row = table.lines().find(|line| line.split_whitespace().nth(1) == Some(&local))?;
    row.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn messages_reach_the_server_that_each_is_for_and_replies_come_back() {
        let servers: Vec<UdpSocket> =
            (0..2).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port")).collect();
        let address = |socket: &UdpSocket| match socket.local_addr() {
            Ok(SocketAddr::V4(address)) => address,
            other => panic!("{other:?}"),
        };
        let relay = UdpSocket::bind("127.0.0.1:0").map(|free| address(&free)).expect("a port");
        let addresses: Vec<SocketAddrV4> = servers.iter().map(address).collect();
        let mut wire = Wire::open(relay, &addresses).expect("a socket");
        // More than one batch.
        let count = BATCH + 5;
        for number in 0..count {
            wire.push(number % 2, |out| out.fill(number as u8)).expect("sent");
        }
        wire.flush().expect("sent");
        for number in 0..count {
            let mut got = [0; 512];
            let (length, from) = servers[number % 2].recv_from(&mut got).expect("it came");
            assert_eq!((length, from), (LENGTH, relay.into()));
            assert!(got[..LENGTH].iter().all(|byte| usize::from(*byte) == number));
            servers[number % 2].send_to(&[number as u8; 3], relay).expect("answered");
        }
        let mut heard = Vec::new();
        while heard.len() < count {
            wire.wait(Duration::from_secs(5)).expect("it works");
            wire.receive(|bytes| heard.push(bytes.to_vec())).expect("it works");
        }
        let expected: Vec<Vec<u8>> = (0..count).map(|number| vec![number as u8; 3]).collect();
        assert_eq!(heard, expected);
        assert!(!wire.receive(|_| panic!("nothing more came")).expect("it works"));
        assert_eq!(wire.overrun(), Some(0));
    }

    #[test]
    fn the_row_of_the_socket_is_found_in_the_table_of_the_kernel() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
                     351: 0100007F:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 3\n\
                     352: 0200007F:0043 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 17\n";
        let ours = |last, port| overrun_of((Ipv4Addr::new(127, 0, 0, last), port).into(), table);
        if cfg!(target_endian = "little") {
            assert_eq!((ours(2, 67), ours(1, 68), ours(2, 68)), (Some(17), Some(3), None));
        }
    }
}
