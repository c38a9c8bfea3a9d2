//! Every unsafe line of the tests: system calls that the standard library does not have.
#![expect(
    unsafe_code,
    reason = "setns, kill, geteuid, sysconf, poll, ioctls and the bind of packet sockets have no safe form in std; all of them are here"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Moves the calling thread into the network namespace that `namespace` is open on.
///
/// # Errors
/// As setns(2).
pub fn enter_network_namespace(namespace: &File) -> io::Result<()> {
    // SAFETY: setns takes a descriptor, which `namespace` keeps open, and touches no memory of ours.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// A signal that tests send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Kill,
    Term,
    Stop,
    Continue,
    /// perfdhcp: print the report and exit.
    Interrupt,
    /// A server: read the configuration file again.
    Hangup,
    /// dhcpcd: release and exit.
    Alarm,
    /// udhcpc: renew now.
    User1,
    /// udhcpc: release.
    User2,
}

/// Sends `signal` to the process `pid`, which the caller started.
///
/// # Errors
/// As kill(2).
pub fn send_signal(pid: u32, signal: Signal) -> io::Result<()> {
    let number = match signal {
        Signal::Kill => libc::SIGKILL,
        Signal::Term => libc::SIGTERM,
        Signal::Stop => libc::SIGSTOP,
        Signal::Continue => libc::SIGCONT,
        Signal::Interrupt => libc::SIGINT,
        Signal::Hangup => libc::SIGHUP,
        Signal::Alarm => libc::SIGALRM,
        Signal::User1 => libc::SIGUSR1,
        Signal::User2 => libc::SIGUSR2,
    };
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    if pid <= 1 {
        // 0, -1 and 1 mean groups, everybody and init.
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: kill takes two numbers.
    check(unsafe { libc::kill(pid, number) })
}

/// Makes every read and write of the ext4 file system that `root` is open on fail with EIO, for good; it can only be unmounted.
///
/// # Errors
/// As ioctl(2).
pub fn shut_down_file_system(root: &File) -> io::Result<()> {
    // linux/ext4.h: EXT4_IOC_SHUTDOWN is _IOR('X', 125, __u32); the journal is not written first.
    const SHUTDOWN: libc::Ioctl = 0x8004_587d_u32 as libc::Ioctl;
    let no_log_flush: u32 = 2;
    // SAFETY: `root` keeps the descriptor open, and the kernel reads the four bytes of a number that outlives the call.
    check(unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN, &raw const no_log_flush) })
}

/// Whether this process may make namespaces.
pub fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Clock ticks in a second, the unit of the times in `/proc/PID/stat`.
pub fn ticks_per_second() -> u64 {
    // SAFETY: sysconf takes a number.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap_or(100).max(1)
}

/// Ties a packet socket (AF_PACKET) to the interface `name` of the caller's network namespace: it gets the frames of every protocol there
/// and sends there (packet(7)).
///
/// # Errors
/// When there is no such interface, or as bind(2).
pub fn bind_to_interface(socket: &impl AsRawFd, name: &str) -> io::Result<()> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: the name ends with a zero and lives to the end of the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeros is a value of this plain structure.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index.cast_signed();
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address lives to the end of the call and has the length that is given.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })
}

/// Makes `device`, which is `/dev/net/tun` freshly opened, the far end of a new TAP interface `name` in the network namespace that it was
/// opened in: what the interface sends is read from `device` and what is written there the interface receives, one Ethernet frame at a
/// time without any header before it.
///
/// # Errors
/// When the name is empty or has more than 15 bytes, or as TUNSETIFF: EBUSY or EINVAL when the name is taken.
pub fn attach_tap(device: &File, name: &str) -> io::Result<()> {
    // SAFETY: all zeros is a value of this plain structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte stays zero, for the end of the name. An empty name would have the kernel choose one.
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: `device` keeps the descriptor open, and the kernel reads and writes one `ifreq`, which lives to the end of the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })
}

/// Waits until one of `files` can be read or has failed, at most for `limit_ms` milliseconds; without a limit, for good. Says of each
/// whether it is so.
///
/// # Errors
/// As poll(2); a signal is one of them.
pub fn wait_readable(files: &[BorrowedFd<'_>], limit_ms: Option<u64>) -> io::Result<Vec<bool>> {
    let limit =
        limit_ms.map_or(-1, |limit| libc::c_int::try_from(limit).unwrap_or(libc::c_int::MAX));
    let mut waited: Vec<libc::pollfd> = files
        .iter()
        .map(|file| libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    // SAFETY: the kernel writes to as many structures as there are in the vector, which lives to the end of the call; `files` keeps the
    // descriptors open.
    let ready = unsafe { libc::poll(waited.as_mut_ptr(), waited.len() as libc::nfds_t, limit) };
    if ready < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(waited.iter().map(|file| file.revents != 0).collect())
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
