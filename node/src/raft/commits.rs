//! News of a commit travels with the next entries, while those come one after the other.
//!
//! openraft tells followers of each commit by a request of its own, without entries. Under load the next
//! entries are a moment away and tell the same, and a message costs each end as much as an entry does: a
//! dozen wake-ups. So such a request waits here a little. It says nothing that a lost one would
//! not: a follower acknowledges what it has on disk, and openraft takes any later answer for an answer to it.
//!
//! Where entries are rare nothing waits: who changes something at one node and looks at another should find it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;
use tokio_stream::Stream;

use super::typ::{AppendRequest, LogId};

/// How soon entries follow one another under load, and how long after the last of them a commit leaves at the latest.
const SOON: Duration = Duration::from_millis(5);

/// Requests of one stream, with commits held back.
pub(super) struct WithCommits<S> {
    /// `None` when it has ended: it must not be polled then.
    requests: Option<S>,
    /// The last log id of what has left, once something has. The first request of a stream asks where the
    /// follower is, and must have an answer.
    sent: Option<Option<LogId>>,
    held: Option<AppendRequest>,
    /// [`SOON`] after the last entries.
    soon: Pin<Box<Sleep>>,
    /// Whether it is over.
    is_late: bool,
    /// Whether the last entries came soon after those before.
    is_busy: bool,
}

impl<S> WithCommits<S> {
    pub(super) fn new(requests: S) -> WithCommits<S> {
        let soon = Box::pin(tokio::time::sleep(Duration::ZERO));
        let requests = Some(requests);
        WithCommits { requests, sent: None, held: None, soon, is_late: true, is_busy: false }
    }

    /// Whether it says nothing but how far the commit is.
    fn is_news(&self, request: &AppendRequest) -> bool {
        request.entries.is_empty() && self.sent == Some(request.prev_log_id)
    }
}

impl<S: Stream<Item = AppendRequest> + Unpin> Stream for WithCommits<S> {
    type Item = AppendRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<AppendRequest>> {
        self.is_late = self.is_late || self.soon.as_mut().poll(cx).is_ready();
        while let Some(requests) = &mut self.requests {
            let next = match Pin::new(requests).poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(next)) => next,
                Poll::Ready(None) => {
                    self.requests = None;
                    break;
                }
            };
            if self.is_busy && !self.is_late && self.is_news(&next) {
                self.held = Some(next);
                continue;
            }
            self.held = None;
            if let Some(last) = next.entries.last() {
                self.sent = Some(Some(last.log_id));
                self.is_busy = !self.is_late;
                self.is_late = false;
                self.soon.set(tokio::time::sleep(SOON));
            } else {
                self.sent = Some(next.prev_log_id);
            }
            return Poll::Ready(Some(next));
        }
        let is_over = self.requests.is_none();
        if is_over || self.is_late || self.soon.as_mut().poll(cx).is_ready() {
            self.is_late = true;
            if self.held.is_some() || is_over {
                return Poll::Ready(self.held.take());
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::sync::mpsc;
    use tokio::time::Instant;
    use tokio_stream::StreamExt;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;
    use crate::raft::typ::{EncodedBatch, Entry, Payload, Vote};
    use crate::raft::wire;
    use crate::storage;

    fn log_id(index: u64) -> LogId {
        wire::log_id_from_storage(storage::LogId { term: 1, node: 1, index })
    }

    fn entries(previous: u64, last: u64) -> AppendRequest {
        let payload = || Payload::Normal(EncodedBatch(Bytes::from_static(b"x")));
        AppendRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(log_id(previous)),
            entries: (previous + 1..=last)
                .map(|index| Entry { log_id: log_id(index), payload: payload() })
                .collect(),
            leader_commit: Some(log_id(previous)),
        }
    }

    fn commit(last: u64, committed: u64) -> AppendRequest {
        AppendRequest { leader_commit: Some(log_id(committed)), ..entries(last, last) }
    }

    type Sender = mpsc::UnboundedSender<AppendRequest>;

    fn stream() -> (Sender, WithCommits<UnboundedReceiverStream<AppendRequest>>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, WithCommits::new(UnboundedReceiverStream::new(receiver)))
    }

    /// What comes next and after how long.
    #[expect(clippy::disallowed_methods, reason = "tokio's own clock, which the test has paused")]
    async fn next(
        requests: &mut WithCommits<UnboundedReceiverStream<AppendRequest>>,
    ) -> (Option<(usize, u64)>, Duration) {
        let began = Instant::now();
        let next = requests.next().await;
        let told = next.map(|it| (it.entries.len(), it.leader_commit.map_or(0, |id| id.index)));
        (told, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_waits_where_entries_are_rare() {
        let (sender, mut requests) = stream();
        for (request, told) in [
            (commit(5, 5), (0, 5)),
            (entries(5, 7), (2, 5)),
            (commit(7, 7), (0, 7)),
            (entries(7, 8), (1, 7)),
        ] {
            tokio::time::sleep(SOON).await;
            sender.send(request).unwrap();
            assert_eq!(next(&mut requests).await, (Some(told), Duration::ZERO));
        }
    }

    /// A stream on which entries up to 6 have come one after the other.
    async fn busy() -> (Sender, WithCommits<UnboundedReceiverStream<AppendRequest>>) {
        let (sender, mut requests) = stream();
        for last in [5, 6] {
            sender.send(entries(last - 1, last)).unwrap();
            assert_eq!(next(&mut requests).await, (Some((1, last - 1)), Duration::ZERO));
        }
        (sender, requests)
    }

    #[tokio::test(start_paused = true)]
    async fn under_load_a_commit_travels_with_the_next_entries_or_alone_after_a_while() {
        let (sender, mut requests) = busy().await;
        sender.send(commit(6, 6)).unwrap();
        sender.send(entries(6, 7)).unwrap();
        assert_eq!(next(&mut requests).await, (Some((1, 6)), Duration::ZERO), "one, not two");
        sender.send(commit(7, 6)).unwrap();
        sender.send(commit(7, 7)).unwrap();
        assert_eq!(next(&mut requests).await, (Some((0, 7)), SOON), "the last word, once");
        sender.send(commit(7, 7)).unwrap();
        assert_eq!(next(&mut requests).await, (Some((0, 7)), Duration::ZERO), "no load any more");
    }

    #[tokio::test(start_paused = true)]
    async fn more_commits_do_not_lengthen_the_wait() {
        let (sender, mut requests) = busy().await;
        let later = async {
            for committed in 4..7 {
                sender.send(commit(6, committed)).unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let ((told, waited), ()) = tokio::join!(next(&mut requests), later);
        assert_eq!((told, waited), (Some((0, 6)), SOON));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_where_the_follower_is_is_never_dropped() {
        let (sender, mut requests) = busy().await;
        for request in [entries(6, 9), commit(7, 5), entries(7, 9)] {
            sender.send(request).unwrap();
        }
        let mut told = Vec::new();
        for _ in 0..3 {
            told.push(next(&mut requests).await.0.map(|(entries, _)| entries));
        }
        assert_eq!(told, [Some(3), Some(0), Some(2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_leaves_before_the_end() {
        let (sender, mut requests) = busy().await;
        sender.send(commit(6, 6)).unwrap();
        drop(sender);
        assert_eq!(next(&mut requests).await, (Some((0, 6)), Duration::ZERO));
        assert_eq!(next(&mut requests).await.0, None);
        assert_eq!(next(&mut requests).await.0, None);
    }
}
