//! Accepting connections so that strangers cannot use them all up, and a stream that does not wait
//! for ever on a client that reads nothing.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Sleep;

/// The open connections, in the order they came; at most so many.
#[derive(Debug)]
pub struct Connections {
    most: usize,
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
    evicted: AtomicU64,
    refused: AtomicU64,
}

/// One connection. It is idle while we wait for its client.
#[derive(Debug, Default)]
pub struct Connection {
    busy: AtomicBool,
    evict: Notify,
}

/// A place among the open connections; dropping it gives the place back.
#[derive(Debug)]
pub struct Seat<'a> {
    of: &'a Connections,
    number: u64,
    connection: Arc<Connection>,
}

impl Connections {
    /// Room for `most` connections.
    pub fn new(most: usize) -> Connections {
        Connections {
            most: most.max(1),
            next: AtomicU64::new(0),
            open: Mutex::default(),
            evicted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// A place for a newcomer. When all are taken, the oldest idle connection is told to go; when
    /// all are at work, there is no place.
    pub fn admit(&self) -> Option<Seat<'_>> {
        let mut open = self.open.lock();
        if open.len() >= self.most {
            let idle = open.iter().find(|(_, other)| !other.busy.load(Ordering::Relaxed));
            let Some(number) = idle.map(|(number, _)| *number) else {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return None;
            };
            if let Some(oldest) = open.remove(&number) {
                oldest.evict.notify_one();
                self.evicted.fetch_add(1, Ordering::Relaxed);
            }
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::default());
        open.insert(number, Arc::clone(&connection));
        Some(Seat { of: self, number, connection })
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.lock().is_empty()
    }

    /// Connections that lost their place to a newcomer, and newcomers that got none, since start.
    pub fn turned_away(&self) -> (u64, u64) {
        (self.evicted.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }
}

impl Seat<'_> {
    /// The connection, to be marked busy.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Returns when a newcomer needs the place.
    pub async fn evicted(&self) {
        self.connection.evict.notified().await;
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.of.open.lock().remove(&self.number);
    }
}

impl Connection {
    /// While the guard lives we are at work for this client.
    pub fn at_work(self: &Arc<Connection>) -> AtWork {
        self.busy.store(true, Ordering::Relaxed);
        AtWork(Arc::clone(self))
    }
}

/// Marks a connection busy.
#[derive(Debug)]
pub struct AtWork(Arc<Connection>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Relaxed);
    }
}

/// A stream whose writes fail once the other side has taken nothing for a while.
#[derive(Debug)]
pub struct Patient<S> {
    stream: S,
    unread: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// Waits `unread` for each write.
    pub fn new(stream: S, unread: Duration) -> Patient<S> {
        Patient { stream, unread, stalled: None }
    }

    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        progress: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.stalled = None;
            return progress;
        }
        let unread = self.unread;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(unread)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, progress)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_takes_the_place_of_the_oldest_idle_connection() {
        let connections = Connections::new(2);
        let first = connections.admit().unwrap();
        let second = connections.admit().unwrap();
        let at_work = first.connection().at_work();
        let third = connections.admit().unwrap();
        assert_eq!(connections.turned_away(), (1, 0));
        assert_eq!(connections.len(), 2);
        let third_at_work = third.connection().at_work();
        drop(second);
        assert_eq!(connections.len(), 2, "an evicted connection gives no second place back");
        assert!(connections.admit().is_none(), "all are at work");
        assert_eq!(connections.turned_away(), (1, 1));
        drop((at_work, third_at_work));
        assert!(connections.admit().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_given_up() {
        use tokio::io::AsyncWriteExt;
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut ours = Patient::new(ours, Duration::from_secs(30));
        let error = ours.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
