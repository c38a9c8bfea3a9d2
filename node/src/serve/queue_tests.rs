use proptest::prelude::*;

use super::super::worker::{COMMIT_BELOW, room};
use super::*;
use crate::packet::v4::{MessageType, Query};
use crate::types::HwAddr;
use Kind::{Begins, Requests, Returns};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn drain(queue: &mut PacketQueue<u32>) -> Vec<u32> {
    std::iter::from_fn(|| queue.pop(ms(0), Room::Everything).map(|(packet, _)| packet)).collect()
}

fn some_request(n: u32, requests: impl Fn(u32) -> bool) -> Kind {
    if requests(n) { Requests } else { Begins }
}

#[test]
fn s11_a_full_queue_drops_the_oldest() {
    let mut queue = PacketQueue::new(3);
    for n in 0..5 {
        queue.push(n, Begins, ms(0));
    }
    assert_eq!(queue.dropped(), 2);
    assert_eq!(drain(&mut queue), [2, 3, 4]);
    for n in 0..5 {
        queue.push(n, Requests, ms(0));
    }
    assert_eq!(queue.dropped(), 4);
    assert_eq!(drain(&mut queue), [2, 3, 4]);
}

#[test]
fn a2_who_begins_takes_nobodys_place_who_has_more_to_lose() {
    let mut queue = PacketQueue::new(3);
    for n in 0..3 {
        queue.push(n, Requests, ms(0));
    }
    queue.push(3, Begins, ms(0));
    assert_eq!((queue.dropped(), queue.len()), (1, 3));
    assert_eq!(drain(&mut queue), [0, 1, 2]);
}

#[test]
fn s11_a_packet_that_waited_over_2_s_is_not_read() {
    let mut queue = PacketQueue::new(3);
    queue.push(1, Begins, ms(0));
    queue.push(2, Begins, ms(1));
    assert_eq!(queue.pop(ms(2_001), Room::Everything), Some((1, true)));
    assert_eq!(queue.pop(ms(2_001), Room::Everything), Some((2, false)));
}

#[test]
fn s11_the_order_is_kept_while_there_is_room() {
    let mut queue = PacketQueue::new(100);
    for n in 0..6 {
        queue.push(n, some_request(n, |n| n % 2 == 0), ms(0));
    }
    assert_eq!(drain(&mut queue), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a2_in_a_crowd_those_who_extend_go_first() {
    let mut queue = PacketQueue::new(8);
    for n in 0..6 {
        queue.push(n, some_request(n, |n| n >= 4), ms(0));
    }
    // 6 of 8, then 5 of 8 are more than half; then order of arrival rules again.
    assert_eq!(drain(&mut queue), [4, 5, 0, 1, 2, 3]);
    for n in 0..9 {
        queue.push(n, some_request(n, |n| n < 2), ms(0));
    }
    assert_eq!(queue.dropped(), 1);
    assert_eq!(queue.pop(ms(0), Room::Everything), Some((0, false)));
}

/// Takes a packet every 10 ms, and puts another one in, so that the queue is never empty.
fn stand(queue: &mut PacketQueue<u32>, kind: Kind, from: u64, to: u64) {
    for at in (from..to).step_by(10) {
        queue.push(1_000, kind, ms(at));
        assert!(queue.pop(ms(at), Room::Everything).is_some());
    }
}

#[test]
fn a2_a_queue_that_does_not_empty_is_a_crowd_however_short_it_is() {
    let mut queue = PacketQueue::new(PACKETS);
    for n in 0..3 {
        queue.push(n, Begins, ms(0));
    }
    stand(&mut queue, Begins, 0, 120);
    queue.push(7, Requests, ms(120));
    assert_eq!(queue.pop(ms(120), Room::Everything), Some((7, false)));
    // Once it has been empty it is none.
    assert_eq!(drain(&mut queue).len(), 3);
    queue.push(8, Begins, ms(130));
    queue.push(9, Requests, ms(130));
    assert_eq!(queue.pop(ms(250), Room::Everything), Some((8, false)));
}

#[test]
fn a_burst_waits_for_2_s_and_a_crowd_for_half_a_second() {
    let mut queue = PacketQueue::new(PACKETS);
    // The worker did nothing for 1.9 s.
    queue.push(1, Begins, ms(0));
    queue.push(2, Begins, ms(0));
    queue.push(3, Returns, ms(0));
    queue.push(4, Requests, ms(0));
    queue.push(5, Requests, ms(1_500));
    assert_eq!(queue.pop(ms(1_900), Room::Everything), Some((1, false)));
    // It is still not empty 101 ms later. What is sent only once may still be read.
    assert_eq!(queue.pop(ms(2_000), Room::Everything), Some((2, false)));
    queue.push(6, Begins, ms(2_001));
    assert_eq!(queue.pop(ms(2_001), Room::Everything), Some((3, true)), "over 2 s");
    assert_eq!(queue.pop(ms(2_001), Room::Everything), Some((4, true)));
    assert_eq!(queue.pop(ms(2_001), Room::Everything), Some((5, true)), "501 ms");
    assert_eq!(queue.pop(ms(2_001), Room::Everything), Some((6, false)));
}

#[test]
fn m12_in_a_crowd_what_is_sent_once_waits_as_long_as_anything_may() {
    let mut queue = PacketQueue::new(4);
    for kind in [Returns, Requests, Begins] {
        queue.push(kind, kind, ms(0));
    }
    assert_eq!(queue.pop(ms(600), Room::Everything), Some((Begins, true)));
    assert_eq!(queue.pop(ms(600), Room::Everything), Some((Returns, false)));
    let mut queue = PacketQueue::new(1);
    queue.push(Requests, Requests, ms(0));
    assert_eq!(queue.pop(ms(501), Room::Everything), Some((Requests, true)));
}

#[test]
fn what_there_is_no_room_for_stays_and_grows_old() {
    let mut queue = PacketQueue::new(PACKETS);
    queue.push(1, Begins, ms(0));
    queue.push(2, Requests, ms(0));
    queue.push(3, Requests, ms(0));
    assert_eq!(queue.pop(ms(1), Room::Nothing), None);
    assert_eq!(queue.pop(ms(1), Room::Changes), Some((2, false)));
    assert_eq!(queue.pop(ms(102), Room::Nothing), None);
    assert_eq!(queue.pop(ms(500), Room::Nothing), None);
    assert_eq!(queue.pop(ms(501), Room::Nothing), Some((3, true)));
    assert_eq!(queue.pop(ms(501), Room::Nothing), Some((1, true)));
    assert!(queue.is_empty());
}

#[test]
fn the_kind_of_a_packet_is_found_wherever_clients_put_option_53() {
    let mac = HwAddr::ethernet([2, 0, 0, 0, 0, 1]);
    for (message, expected) in [
        (MessageType::Discover, Begins),
        (MessageType::Inform, Begins),
        (MessageType::Request, Requests),
        (MessageType::Decline, Returns),
        (MessageType::Release, Returns),
    ] {
        let bytes = Query::new(message, 1, mac).encode();
        assert_eq!(kind(&bytes), expected, "{message:?}");
        // dhcpcd writes 50 before 53; a Pad may stand anywhere.
        let mut behind = bytes[..240].to_vec();
        behind.extend([0, 50, 4, 192, 0, 2, 1]);
        behind.extend(&bytes[240..]);
        assert_eq!(kind(&behind), expected, "{message:?}");
    }
    let mut datagram = vec![0; 300];
    assert_eq!(kind(&datagram), Begins);
    datagram[240..243].copy_from_slice(&[53, 2, 3]);
    assert_eq!(kind(&datagram), Begins, "nobody can read that");
    datagram[240..243].copy_from_slice(&[255, 53, 1]);
    assert_eq!(kind(&datagram), Begins, "behind the end");
    assert_eq!(kind(&[0; 100]), Begins);
    assert_eq!(kind(&[255; 241]), Begins);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Push(u8, Kind),
    Pop(Room),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(Begins), Just(Requests), Just(Returns)];
    let room = prop_oneof![
        3 => Just(Room::Everything), 1 => Just(Room::Changes), 1 => Just(Room::Nothing)
    ];
    prop_oneof![
        4 => (0u8..5, kind).prop_map(|(client, kind)| Step::Push(client, kind)),
        3 => room.prop_map(Step::Pop),
        1 => (1u64..700).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Bound, who is dropped, who is read, and in which order.
    #[test]
    fn s11_c17_whatever_comes(size in 1usize..12, steps in prop::collection::vec(step(), 0..200)) {
        let mut queue = PacketQueue::new(size);
        let mut now = 1_000;
        // Those that wait: number, client, kind, time.
        let mut waiting: Vec<(u32, u8, Kind, u64)> = Vec::new();
        let (mut pushed, mut popped, mut dropped) = (0, 0, 0);
        for step in steps {
            match step {
                Step::Wait(millis) => now += millis,
                Step::Push(client, kind) => {
                    queue.push((pushed, client), kind, ms(now));
                    waiting.push((pushed, client, kind, now));
                    pushed += 1;
                    if waiting.len() > size {
                        // The oldest of those that begin, this one among them; else the oldest.
                        let at = waiting.iter().position(|(_, _, kind, _)| *kind == Begins);
                        waiting.remove(at.unwrap_or(0));
                        dropped += 1;
                    }
                    prop_assert_eq!(queue.len(), waiting.len());
                    prop_assert_eq!(queue.dropped(), dropped);
                }
                Step::Pop(room) => {
                    let full = waiting.len() > size / 2;
                    let Some(((number, client), overdue)) = queue.pop(ms(now), room) else {
                        // Nothing overdue stays, and nothing that there is room for.
                        let stays = |it: &(u32, u8, Kind, u64)| match room {
                            Room::Everything => false,
                            Room::Changes => it.2 == Begins,
                            Room::Nothing => true,
                        };
                        prop_assert!(waiting.iter().all(stays));
                        // An overdue one can only be behind another that changes a lease.
                        prop_assert!(waiting.first().is_none_or(|it| now - it.3 <= 2_000));
                        continue;
                    };
                    popped += 1;
                    let at = waiting.iter().position(|(it, ..)| *it == number);
                    let (_, _, kind, came) = waiting.remove(at.expect("it waited"));
                    let age = now - came;
                    match (overdue, kind) {
                        (true, Returns) => prop_assert!(age > 2_000),
                        (true, _) => prop_assert!(age > 500),
                        (false, _) => prop_assert!(age <= 2_000),
                    }
                    if overdue {
                        continue;
                    }
                    prop_assert!(room != Room::Nothing);
                    let earlier = |(it, ..): &&(u32, u8, Kind, u64)| *it < number;
                    if kind == Begins {
                        prop_assert!(room == Room::Everything);
                        prop_assert!(!full || waiting.iter().all(|it| it.2 == Begins), "A2");
                        prop_assert!(!waiting.iter().any(|it| it.0 < number), "it overtakes nobody");
                    }
                    // What one client does to its leases is done in its order.
                    let mut own = waiting.iter().filter(earlier).filter(|it| it.1 == client);
                    prop_assert!(own.all(|it| it.2 == Begins && kind != Begins));
                }
            }
        }
        prop_assert_eq!(u64::from(pushed), popped + dropped + queue.len() as u64);
    }
}

/// A server in front of a log, and clients that wait a second for each answer and never ask again, as
/// those of perfdhcp. A step is a millisecond.
struct Model {
    /// What the log commits in a millisecond.
    commits: usize,
    queue: PacketQueue<Sent>,
    /// REQUESTs whose commands are under way.
    flying: VecDeque<Sent>,
    /// OFFERs on the wire.
    offers: usize,
    now: u64,
    done: Done,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    kind: Kind,
    extends: bool,
    at: u64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default)]
struct Done {
    /// OFFERs made.
    offered: usize,
    /// Clients that got an ACK in time.
    begun: usize,
    /// Clients that extended a lease in time.
    extended: usize,
}

/// What the worker reads in a millisecond: it is not what limits.
const READS: usize = 80;
/// What a client waits, in milliseconds.
const CLIENT: u64 = 1_000;

impl Model {
    fn new(commits: usize) -> Model {
        let queue = PacketQueue::new(PACKETS);
        let (flying, done) = (VecDeque::new(), Done::default());
        Model { commits, queue, flying, offers: 0, now: 0, done }
    }

    /// Lets time pass while `begin` clients a millisecond send DISCOVER, and `extend` RENEW.
    fn run(&mut self, millis: usize, begin: usize, extend: usize) -> Done {
        let before = std::mem::take(&mut self.done);
        (0..millis).for_each(|_| self.step(begin, extend));
        std::mem::replace(&mut self.done, before)
    }

    fn send(&mut self, count: usize, kind: Kind, extends: bool) {
        for _ in 0..count {
            self.queue.push(Sent { kind, extends, at: self.now }, kind, ms(self.now));
        }
    }

    fn step(&mut self, begin: usize, extend: usize) {
        self.now += 1;
        let accepted = std::mem::take(&mut self.offers);
        self.send(begin, Begins, false);
        self.send(extend, Requests, true);
        self.send(accepted, Requests, false);
        for sent in self.flying.drain(..self.commits.min(self.flying.len())) {
            let in_time = usize::from(self.now - sent.at <= CLIENT);
            let done = if sent.extends { &mut self.done.extended } else { &mut self.done.begun };
            *done += in_time;
        }
        for _ in 0..READS {
            match self.queue.pop(ms(self.now), room(self.flying.len())) {
                Some((sent, false)) if sent.kind == Begins => {
                    self.done.offered += 1;
                    self.offers += usize::from(self.now - sent.at <= CLIENT);
                }
                Some((sent, false)) => self.flying.push_back(sent),
                Some((_, true)) => {}
                None => break,
            }
        }
    }
}

#[test]
fn a2_at_five_times_what_can_be_committed_as_many_exchanges_are_completed() {
    for commits in [1, 4, 10] {
        let mut model = Model::new(commits);
        let best = 1_000 * commits;
        let crowded = model.run(30_000, 5 * commits, 0);
        assert!(crowded.begun > 29 * best, "{commits}: {crowded:?}");
        assert!(
            crowded.offered < 32 * best,
            "{commits}: nobody is offered what cannot be committed"
        );
        assert!(model.flying.len() <= COMMIT_BELOW && model.queue.len() <= PACKETS);
        // A moment later nothing is left of it: what waited is too old, what was promised is done.
        model.run(1_500, commits / 2, 0);
        assert!(model.queue.is_empty() && model.flying.len() <= commits);
        let after = model.run(1_000, commits, 0).begun;
        // An exchange that begins takes two steps to its end.
        assert!(after >= best - 2 * commits, "{commits}: {after} afterwards");
    }
}

#[test]
fn f17_when_everybody_renews_at_once_as_many_are_answered_as_can_be() {
    for commits in [2, 4, 10] {
        let crowded = Model::new(commits).run(30_000, 0, 5 * commits);
        assert!(crowded.extended > 29_000 * commits, "{commits}: {crowded:?}");
    }
}

#[test]
fn a2_renewals_are_answered_while_everybody_else_begins() {
    let mut model = Model::new(4);
    model.run(2_000, 20, 0);
    let half = model.run(10_000, 20, 2);
    assert!(half.extended > 19_500 && half.begun > 19_500, "{half:?}");
    let all = model.run(10_000, 20, 4);
    assert!(all.extended > 38_500, "{all:?}");
}
