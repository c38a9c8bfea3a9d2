//! The listening end of the wire between nodes: who may hold a connection, and for how long.
//!
//! A connection is *unproven* until its other end has shown a good certificate or, without TLS, has made a
//! call that the guard let pass. Of these there are few, they end after [`PATIENCE`], and a newcomer takes the
//! place of the oldest. Addresses of members have places of their own, which no stranger takes; so strangers
//! can neither use up memory and descriptors nor keep members out. Proven ones are limited too.
//!
//! One task accepts, and ends when the stream of connections is dropped; one for each handshake under way.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::transport::server::Connected;

use super::certificate::PeerName;
use super::stream::Watched;
use super::tls::PeerTls;
use crate::clock::Stopwatch;

/// How long a connection may be unproven.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often those that have been so too long are looked for.
const EVERY: Duration = Duration::from_millis(500);
/// The most unproven connections of strangers, and of one address.
const STRANGERS: usize = 128;
const EACH: usize = 32;
/// The most proven connections, and of one address. A node has about five to each other.
const MEMBERS: usize = 512;
const MEMBER_EACH: usize = 128;
/// Connections that wait to be served. The server takes them at once; until then nobody is accepted.
const WAITING: usize = 16;

/// Says whether a member lives at an address.
pub(super) type Lives = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Who calls: among the extensions of each request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Where from.
    pub from: SocketAddr,
    /// Who it is by its certificate, which was verified; `None` without TLS.
    pub name: Option<Arc<PeerName>>,
    seat: Arc<Seat>,
}

impl Caller {
    /// The caller of a request that came over the peer port.
    pub fn of<T>(request: &Request<T>) -> Option<&Caller> {
        request.extensions().get()
    }

    /// The caller has said who it is, and it is true.
    pub(super) fn prove(&self) {
        self.seat.prove();
    }
}

/// The places.
#[derive(Debug, Default)]
pub(super) struct Seats {
    next: AtomicU64,
    taken: Mutex<BTreeMap<u64, Taken>>,
    turned_away: AtomicU64,
}

#[derive(Debug)]
struct Taken {
    address: IpAddr,
    member: bool,
    proven: bool,
    since: Stopwatch,
    /// Dropped, it ends the connection.
    _end: oneshot::Sender<()>,
}

/// A place. Dropping it gives it back.
#[derive(Debug)]
struct Seat {
    of: Arc<Seats>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.of.taken.lock().remove(&self.number);
    }
}

impl Seat {
    fn prove(&self) {
        let mut taken = self.of.taken.lock();
        let Some(own) = taken.get(&self.number).filter(|own| !own.proven) else { return };
        let address = own.address;
        let proven = || taken.values().filter(|other| other.proven);
        let full = proven().count() >= MEMBERS
            || proven().filter(|other| other.address == address).count() >= MEMBER_EACH;
        if full {
            taken.remove(&self.number);
            self.of.turn_away();
        } else if let Some(own) = taken.get_mut(&self.number) {
            own.proven = true;
        }
    }
}

impl Seats {
    /// Connections that were ended for want of room or of proof.
    pub(super) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    fn turn_away(&self) {
        let count = self.turned_away.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            tracing::warn!(
                count,
                "turned a connection to the peer port away: too many, or too slow to say who it is"
            );
        }
    }

    /// A place for a newcomer, and what tells that it is lost.
    fn admit(self: &Arc<Seats>, address: IpAddr, member: bool) -> (Seat, oneshot::Receiver<()>) {
        let mut taken = self.taken.lock();
        let unproven = || taken.iter().filter(|(_, other)| !other.proven);
        let (mut total, mut own) = (0, 0);
        for (_, other) in unproven() {
            total += usize::from(other.member == member);
            own += usize::from(other.address == address);
        }
        let oldest = if own >= EACH {
            unproven().find(|(_, other)| other.address == address)
        } else if !member && total >= STRANGERS {
            unproven().find(|(_, other)| !other.member)
        } else {
            None
        };
        if let Some(oldest) = oldest.map(|(number, _)| *number) {
            taken.remove(&oldest);
            self.turn_away();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (end, ended) = oneshot::channel();
        let since = Stopwatch::start();
        taken.insert(number, Taken { address, member, proven: false, since, _end: end });
        (Seat { of: self.clone(), number }, ended)
    }

    /// Ends those that have been unproven for too long.
    fn reap(&self) {
        self.taken.lock().retain(|_, one| {
            let keep = one.proven || one.since.elapsed() < PATIENCE;
            if !keep {
                self.turn_away();
            }
            keep
        });
    }
}

/// A connection, as tonic serves it.
#[derive(Debug)]
pub(super) struct Connection {
    io: Watched,
    caller: Caller,
}

/// Accepts connections until the stream is dropped.
pub(super) fn listen(
    listener: TcpListener,
    tls: Option<Arc<PeerTls>>,
    lives: Lives,
    seats: Arc<Seats>,
) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(accept(listener, tls, lives, seats, sender));
    ReceiverStream::new(receiver)
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<PeerTls>>,
    lives: Lives,
    seats: Arc<Seats>,
    sender: mpsc::Sender<io::Result<Connection>>,
) {
    let mut tick = interval(EVERY);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = tick.tick() => { seats.reap(); continue }
            () = sender.closed() => return,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, usually. Trying at once would spin.
                tracing::debug!(%error, "accepting at the peer port");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let address = from.ip().to_canonical();
        let turned_away = seats.turned_away();
        let (seat, ended) = seats.admit(address, lives(address));
        let seat = Arc::new(seat);
        if seats.turned_away() > turned_away {
            // Whoever lost his place has his socket closed before another is opened.
            tokio::task::yield_now().await;
        }
        match &tls {
            None => {
                let caller = Caller { from, name: None, seat };
                let io = Watched::new(stream, ended, ());
                if sender.send(Ok(Connection { io, caller })).await.is_err() {
                    return;
                }
            }
            Some(tls) => {
                tokio::spawn(shake(tls.clone(), stream, from, seat, ended, sender.clone()));
            }
        }
    }
}

async fn shake(
    tls: Arc<PeerTls>,
    stream: TcpStream,
    from: SocketAddr,
    seat: Arc<Seat>,
    mut ended: oneshot::Receiver<()>,
    sender: mpsc::Sender<io::Result<Connection>>,
) {
    let shaken = tokio::select! {
        shaken = timeout(PATIENCE, tls.accept(stream, from)) => shaken,
        _ = &mut ended => return,
    };
    // What is wrong has been told by then.
    let Ok(Ok((stream, name))) = shaken else { return };
    let caller = Caller { from, name: Some(name), seat };
    caller.prove();
    let io = Watched::new(stream, ended, ());
    let _ = sender.send(Ok(Connection { io, caller })).await;
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn strangers_take_places_from_strangers_only() {
        let seats = Arc::new(Seats::default());
        let (member, mut member_ended) = seats.admit(address(1), true);
        let (_proven, mut proven_ended) = seats.admit(address(9), false);
        _proven.prove();
        let (_oldest, mut oldest_ended) = seats.admit(address(100), false);
        let mut open = Vec::new();
        for number in 0..10_000 {
            open.push(seats.admit(address(101 + (number % 100) as u8), false));
        }
        assert!(seats.taken.lock().len() <= STRANGERS + 2);
        assert!(oldest_ended.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Closed));
        assert_eq!(member_ended.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert_eq!(proven_ended.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert!(seats.turned_away() > 9_000);
        drop(member);
        drop(open);
        assert_eq!(seats.taken.lock().len(), 1, "the proven one");
    }

    #[test]
    fn one_address_takes_places_from_itself_first() {
        let seats = Arc::new(Seats::default());
        let (_other, mut ended) = seats.admit(address(1), false);
        let _crowd: Vec<_> = (0..1000).map(|_| seats.admit(address(2), false)).collect();
        assert_eq!(ended.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert_eq!(seats.taken.lock().len(), EACH + 1);
    }

    #[test]
    fn proven_connections_are_limited_too() {
        let seats = Arc::new(Seats::default());
        let open: Vec<_> = (0..MEMBER_EACH + 5)
            .map(|_| {
                let (seat, ended) = seats.admit(address(1), true);
                seat.prove();
                (seat, ended)
            })
            .collect();
        assert_eq!(seats.taken.lock().len(), MEMBER_EACH);
        drop(open);
        assert!(seats.taken.lock().is_empty());
    }
}
