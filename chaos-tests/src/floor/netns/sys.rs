//! Every unsafe line of the tests: system calls that the standard library does not have.
#![expect(
    unsafe_code,
    reason = "setns, kill, geteuid, sysconf, an ioctl and the bind of packet sockets have no safe form in std; all of them are here"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

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

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
