//! System calls that no crate wraps: packet sockets, and messages with control data.
//!
//! All `unsafe` of the program is here. Each function takes and returns safe values, and the
//! sockets it is given stay owned by the caller.
#![allow(unsafe_code)] // socket2 has no AF_PACKET address, no packet info and no auxdata

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use libc::{c_int, c_void};
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};

use crate::clock::{instant, since_stamp};

/// What came with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameMeta {
    /// Bytes in the buffer.
    pub(super) len: usize,
    /// The frame was longer than the buffer.
    pub(super) truncated: bool,
    /// Whether the UDP checksum can be verified (rule S5).
    pub(super) checksum_ready: bool,
    /// The frame was addressed to this station or to a group, not overheard.
    pub(super) for_us: bool,
    /// When the kernel took it in.
    pub(super) came: Instant,
}

/// What came with a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DatagramMeta {
    /// Bytes in the buffer.
    pub(super) len: usize,
    /// The datagram was longer than the buffer.
    pub(super) truncated: bool,
    /// The sender.
    pub(super) source: SocketAddrV4,
    /// The address in the IP header; `None` if the kernel did not say.
    pub(super) destination: Option<Ipv4Addr>,
    /// When the kernel took it in.
    pub(super) came: Instant,
}

/// Room for the control data that is asked for, aligned as `cmsghdr` wants it.
#[repr(C, align(8))]
struct Control([u8; 128]);

/// Opens a packet socket that hears IPv4 frames of one interface and, of those, what `filter`
/// passes. The protocol stays 0 until the filter is attached, so that nothing else is ever queued
/// (rule S1).
pub(super) fn open_packet_socket(index: u32, filter: &[SockFilter]) -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    socket.attach_filter(filter)?;
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1 as c_int)?;
    want_stamps(&socket);
    // Linux before 4.20 does not know it; then our own frames are told apart by their type.
    let _ = set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1 as c_int);
    let index = c_int::try_from(index).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: `sockaddr_ll` fits into a `sockaddr_storage`, and the length written is its size.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, len| {
            let mut link: libc::sockaddr_ll = mem::zeroed();
            link.sll_family = libc::AF_PACKET as libc::sa_family_t;
            link.sll_protocol = (libc::ETH_P_IP as u16).to_be();
            link.sll_ifindex = index;
            storage.cast::<libc::sockaddr_ll>().write(link);
            *len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })?
    };
    socket.bind(&address)?;
    Ok(socket)
}

/// Asks for the destination address of each datagram.
pub(super) fn want_packet_info(socket: &Socket) -> io::Result<()> {
    want_stamps(socket);
    set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1 as c_int)
}

/// Asks for the time at which the kernel took each message in. Without it the time of reading counts.
fn want_stamps(socket: &Socket) {
    let _ = set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1 as c_int);
}

/// The moment that a control message with a stamp tells.
fn stamped(level: c_int, kind: c_int, data: &[u8]) -> Option<Instant> {
    if (level, kind) != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
        return None;
    }
    let time = read::<libc::timespec>(data)?;
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let ago = since_stamp(Duration::new(seconds, u32::try_from(time.tv_nsec).ok()?));
    instant().checked_sub(ago)
}

/// Lets a raw ICMP socket hear messages of one type and no others (`ICMP_FILTER` of raw(7)).
pub(super) fn hear_only_icmp(socket: &Socket, kind: u8) -> io::Result<()> {
    // Neither number is in libc.
    const SOL_RAW: c_int = 255;
    const ICMP_FILTER: c_int = 1;
    set_option(socket, SOL_RAW, ICMP_FILTER, !(1_u32 << kind))
}

/// Sets the receive buffer beyond the system's limit where that is allowed, else up to it.
pub(super) fn set_receive_buffer(socket: &Socket, bytes: usize) -> io::Result<()> {
    let wanted = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, wanted)
        .or_else(|_| socket.set_recv_buffer_size(bytes))
}

/// Waits for a frame.
pub(super) fn receive_frame(socket: &Socket, buffer: &mut [u8]) -> io::Result<FrameMeta> {
    // SAFETY: all bytes zero is a valid `sockaddr_ll`.
    let mut from: libc::sockaddr_ll = unsafe { mem::zeroed() };
    let (mut checksum_ready, mut came) = (true, None);
    let (len, flags) = receive(socket, buffer, &mut from, &mut |level, kind, data| {
        if let (libc::SOL_PACKET, libc::PACKET_AUXDATA, Some(aux)) =
            (level, kind, read::<libc::tpacket_auxdata>(data))
        {
            checksum_ready = aux.tp_status & libc::TP_STATUS_CSUMNOTREADY == 0;
        }
        came = came.or_else(|| stamped(level, kind, data));
    })?;
    let for_us =
        from.sll_pkttype != libc::PACKET_OTHERHOST && from.sll_pkttype != libc::PACKET_OUTGOING;
    let (truncated, came) = (flags & libc::MSG_TRUNC != 0, came.unwrap_or_else(instant));
    Ok(FrameMeta { len, truncated, checksum_ready, for_us, came })
}

/// Waits for a datagram.
pub(super) fn receive_datagram(socket: &Socket, buffer: &mut [u8]) -> io::Result<DatagramMeta> {
    // SAFETY: all bytes zero is a valid `sockaddr_in`.
    let mut from: libc::sockaddr_in = unsafe { mem::zeroed() };
    let (mut destination, mut came) = (None, None);
    let (len, flags) = receive(socket, buffer, &mut from, &mut |level, kind, data| {
        if let (libc::IPPROTO_IP, libc::IP_PKTINFO, Some(info)) =
            (level, kind, read::<libc::in_pktinfo>(data))
        {
            destination = Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)));
        }
        came = came.or_else(|| stamped(level, kind, data));
    })?;
    let source =
        SocketAddrV4::new(u32::from_be(from.sin_addr.s_addr).into(), u16::from_be(from.sin_port));
    let (truncated, came) = (flags & libc::MSG_TRUNC != 0, came.unwrap_or_else(instant));
    Ok(DatagramMeta { len, truncated, source, destination, came })
}

/// Sends a datagram from `source`. With an `interface` it leaves there whatever the routes say,
/// which a limited broadcast needs (rule S4); 0 leaves the choice to the routes.
pub(super) fn send_datagram(
    socket: &Socket,
    payload: &[u8],
    destination: SocketAddrV4,
    interface: u32,
    source: Ipv4Addr,
) -> io::Result<()> {
    let info = libc::in_pktinfo {
        ipi_ifindex: c_int::try_from(interface)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        ipi_spec_dst: libc::in_addr { s_addr: u32::from(source).to_be() },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let address = SockAddr::from(destination);
    let mut control = Control([0; 128]);
    let mut part =
        libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
    // SAFETY: every pointer in the message outlives the call. `CMSG_FIRSTHDR` is not null because
    // the control buffer, aligned for it, has room for a header and an `in_pktinfo`. `sendmsg` only
    // reads through the pointers.
    let sent = unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_name = address.as_ptr().cast_mut().cast();
        message.msg_namelen = address.len();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as u32) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::IPPROTO_IP;
        (*header).cmsg_type = libc::IP_PKTINFO;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as u32) as _;
        libc::CMSG_DATA(header).cast::<libc::in_pktinfo>().write_unaligned(info);
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receives one message; `from` is the address type of the socket's family, and `control` is
/// called with level, type and data of each control message. Returns length and flags.
fn receive<A>(
    socket: &Socket,
    buffer: &mut [u8],
    from: &mut A,
    control: &mut dyn FnMut(c_int, c_int, &[u8]),
) -> io::Result<(usize, c_int)> {
    let mut room = Control([0; 128]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: every pointer in the message is to a live buffer of the length given beside it. The
    // control messages are walked with the macros made for it, inside what the kernel filled in, and
    // `cmsg_len` counts the header that `CMSG_LEN(0)` is the size of.
    unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_name = (from as *mut A).cast::<c_void>();
        message.msg_namelen = size_of::<A>() as libc::socklen_t;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = room.0.as_mut_ptr().cast();
        message.msg_controllen = room.0.len() as _;
        let len = libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0);
        let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            let data_len = ((*header).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
            let data = std::slice::from_raw_parts(libc::CMSG_DATA(header), data_len);
            control((*header).cmsg_level, (*header).cmsg_type, data);
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
        Ok((len, message.msg_flags))
    }
}

/// A plain C structure at the start of `data`, if all of it is there.
fn read<T: PlainC>(data: &[u8]) -> Option<T> {
    // SAFETY: the bytes are there, and any bytes are a valid `T` by the contract of `PlainC`.
    (data.len() >= size_of::<T>()).then(|| unsafe { data.as_ptr().cast::<T>().read_unaligned() })
}

/// # Safety
/// Only for structures of integers: any bytes are a valid value.
unsafe trait PlainC: Copy {}

// SAFETY: integers only.
unsafe impl PlainC for libc::in_pktinfo {}
// SAFETY: integers only.
unsafe impl PlainC for libc::tpacket_auxdata {}
// SAFETY: integers only.
unsafe impl PlainC for libc::timespec {}

fn set_option<T: Copy>(socket: &Socket, level: c_int, name: c_int, value: T) -> io::Result<()> {
    let value = MaybeUninit::new(value);
    // SAFETY: the pointer is to a value of the size given, which the call only reads.
    let done = unsafe {
        let len = size_of::<T>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), len)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
