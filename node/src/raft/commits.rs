//! News of a commit travels with the next entries, if those come soon.
//!
//! openraft tells followers of each commit by a request of its own, without entries. Under load the next
//! entries are a moment away and tell the same, and a message costs each end as much as an entry does: a
//! dozen wake-ups. So such a request waits here a little. It says nothing that a lost one would
//! not: a follower acknowledges what it has on disk, and openraft takes any later answer for an answer to it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;
use tokio_stream::Stream;

use super::typ::{AppendRequest, LogId};

/// How long at most. Far less than clients or readers at a follower notice, and longer than the way from a
/// commit to the next entry when the log is busy.
const HOLD: Duration = Duration::from_millis(5);

/// Requests of one stream, with commits held back.
pub(super) struct WithCommits<S> {
    /// `None` when it has ended: it must not be polled then.
    requests: Option<S>,
    /// The last log id of what has left, once something has. The first request of a stream asks where the
    /// follower is, and must have an answer.
    sent: Option<Option<LogId>>,
    held: Option<AppendRequest>,
    until: Pin<Box<Sleep>>,
}

impl<S> WithCommits<S> {
    pub(super) fn new(requests: S) -> WithCommits<S> {
        let until = Box::pin(tokio::time::sleep(Duration::ZERO));
        WithCommits { requests: Some(requests), sent: None, held: None, until }
    }
}

impl<S: Stream<Item = AppendRequest> + Unpin> Stream for WithCommits<S> {
    type Item = AppendRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<AppendRequest>> {
        while let Some(requests) = &mut self.requests {
            let next = match Pin::new(requests).poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(next)) => next,
                Poll::Ready(None) => {
                    self.requests = None;
                    break;
                }
            };
            if next.entries.is_empty() && self.sent == Some(next.prev_log_id) {
                if self.held.is_none() {
                    self.until.set(tokio::time::sleep(HOLD));
                }
                self.held = Some(next);
                continue;
            }
            let last = next.entries.last().map(|entry| entry.log_id).or(next.prev_log_id);
            self.sent = Some(last);
            self.held = None;
            return Poll::Ready(Some(next));
        }
        let has_ended = self.requests.is_none();
        if self.held.is_none() {
            return if has_ended { Poll::Ready(None) } else { Poll::Pending };
        }
        if !has_ended && self.until.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(self.held.take())
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
    async fn the_first_request_and_entries_do_not_wait() {
        let (sender, mut requests) = stream();
        sender.send(commit(5, 5)).unwrap();
        assert_eq!(next(&mut requests).await, (Some((0, 5)), Duration::ZERO));
        sender.send(entries(5, 7)).unwrap();
        assert_eq!(next(&mut requests).await, (Some((2, 5)), Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_travels_with_the_next_entries_or_alone_after_a_while() {
        let (sender, mut requests) = stream();
        for request in [entries(5, 6), commit(6, 6), entries(6, 7)] {
            sender.send(request).unwrap();
        }
        assert_eq!(next(&mut requests).await.0, Some((1, 5)));
        assert_eq!(
            next(&mut requests).await,
            (Some((1, 6)), Duration::ZERO),
            "one message, not two"
        );
        sender.send(commit(7, 6)).unwrap();
        sender.send(commit(7, 7)).unwrap();
        assert_eq!(next(&mut requests).await, (Some((0, 7)), HOLD), "the last word, once");
    }

    #[tokio::test(start_paused = true)]
    async fn more_commits_do_not_lengthen_the_wait() {
        let (sender, mut requests) = stream();
        sender.send(entries(5, 9)).unwrap();
        assert_eq!(next(&mut requests).await.0, Some((4, 5)));
        let later = async {
            for committed in 6..9 {
                sender.send(commit(9, committed)).unwrap();
                tokio::time::sleep(HOLD / 3).await;
            }
        };
        let ((told, waited), ()) = tokio::join!(next(&mut requests), later);
        assert_eq!((told, waited), (Some((0, 8)), HOLD));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_where_the_follower_is_is_never_dropped() {
        let (sender, mut requests) = stream();
        for request in [entries(5, 9), commit(6, 5), entries(6, 9)] {
            sender.send(request).unwrap();
        }
        let mut told = Vec::new();
        for _ in 0..3 {
            told.push(next(&mut requests).await.0.map(|(entries, _)| entries));
        }
        assert_eq!(told, [Some(4), Some(0), Some(3)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_leaves_before_the_end() {
        let (sender, mut requests) = stream();
        sender.send(entries(5, 6)).unwrap();
        sender.send(commit(6, 6)).unwrap();
        drop(sender);
        assert_eq!(next(&mut requests).await.0, Some((1, 5)));
        assert_eq!(next(&mut requests).await, (Some((0, 6)), Duration::ZERO));
        assert_eq!(next(&mut requests).await.0, None);
        assert_eq!(next(&mut requests).await.0, None);
    }
}
