use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::state::{ConfigChunk, DeleteLease, Generation, GiveUp, Origin, SetConfig};
use crate::types::HwAddr;

const LEADER: Route = Route::To(NodeId(2));
const NEXT: Route = Route::To(NodeId(3));

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A command that may be repeated.
fn release(n: u64) -> Command {
    Command::Release(GiveUp {
        origin: Origin { node: NodeId(1), incarnation: 1, sequence: n },
        client: crate::state::Client {
            id: None,
            hw: HwAddr::ethernet([2, 0, 0, 0, 0, 1]),
            match_id: true,
            claims: None,
        },
        address: [192, 0, 2, 1].into(),
        generation: Some(Generation(1)),
        arrived: ClusterTime::ZERO,
        circuit: 0,
        relayed: false,
    })
}

/// A command that may not.
fn delete(n: u64) -> Command {
    Command::DeleteLease(DeleteLease { address: std::net::Ipv4Addr::from(n as u32), seen: None })
}

fn submission(ticket: u64, command: Command) -> Submission<u64> {
    Submission { ticket, command, deadline: ms(2_000), here_only: false }
}

fn applied(count: usize) -> Result {
    Result::Applied {
        index: 7,
        stamp: ClusterTime::from_millis(70),
        outcomes: vec![Outcome::GivenUp; count],
    }
}

/// A batcher on its way to a leader, and where answers collect.
fn batcher() -> (Batcher<u64>, Vec<(u64, Answer)>) {
    let (mut batcher, mut answers) = (Batcher::default(), Vec::new());
    batcher.set_route(LEADER, &mut answers);
    (batcher, answers)
}

#[test]
fn r27_one_entry_flies_and_what_arrives_meanwhile_is_the_next_batch() {
    let (mut batcher, mut answers) = batcher();
    let mut sizes = Vec::new();
    for n in 0..300 {
        batcher.submit(submission(n, release(n)), &mut answers);
        if let Some(batch) = batcher.next_batch(ms(0), &mut answers) {
            sizes.push((batch.number, batch.commands.len()));
        }
    }
    assert_eq!(sizes, [(1, 1)]);
    batcher.finish(1, applied(1), ms(1), &mut answers);
    assert_eq!(batcher.next_batch(ms(1), &mut answers).unwrap().commands.len(), 128);
    assert_eq!(batcher.next_batch(ms(1), &mut answers), None);
    batcher.finish(2, applied(128), ms(2), &mut answers);
    let full = batcher.next_batch(ms(2), &mut answers).unwrap();
    assert_eq!(full.commands.len(), 128, "a full batch does not rest");
    batcher.finish(3, applied(128), ms(3), &mut answers);
    assert_eq!(batcher.next_batch(ms(3), &mut answers), None);
    assert_eq!(batcher.rests_until(ms(3)), Some(ms(4)));
    assert_eq!(batcher.next_batch(ms(4), &mut answers).unwrap().commands.len(), 43);
    assert_eq!(answers.len(), 257);
}

#[test]
fn r27_entries_that_were_shared_are_followed_by_a_rest_and_others_are_not() {
    let (mut batcher, mut answers) = batcher();
    let mut number = 0;
    for (commands, took, rest) in [(1, 9, 0), (2, 1, 1), (2, 9, 2), (127, 0, 0), (1, 1, 0)] {
        let sent = ms(100 * (number + 1));
        for n in 0..commands {
            batcher.submit(submission(n, release(n)), &mut answers);
        }
        number = batcher.next_batch(sent, &mut answers).unwrap().number;
        let came = sent + ms(took);
        batcher.finish(number, applied(commands as usize), came, &mut answers);
        assert_eq!(batcher.rests_until(came), None, "nothing waits");
        batcher.submit(submission(0, release(0)), &mut answers);
        let until = (rest > 0).then(|| came + ms(rest));
        assert_eq!(batcher.rests_until(came), until, "{commands} commands in {took} ms");
        number = batcher.next_batch(came + ms(rest), &mut answers).unwrap().number;
        batcher.finish(number, applied(1), came + ms(rest), &mut answers);
    }
}

#[test]
fn r27_long_round_trips_get_more_entries_in_flight() {
    let (mut batcher, _) = batcher();
    for (millis, limit) in [(0, 1), (1, 1), (2, 2), (8, 5), (500, MOST_IN_FLIGHT)] {
        batcher.set_round_trip(ms(millis));
        assert_eq!(batcher.limit(), limit, "{millis} ms");
    }
}

/// A piece of a document, and the command that puts it into force.
fn config(id: u64) -> (Command, Command) {
    let set = SetConfig { id, ..SetConfig::json("{}") };
    let bytes = set.inline.clone().unwrap();
    let chunk = ConfigChunk { document: set.document, index: 0, bytes };
    (Command::ConfigChunk(chunk), Command::SetConfig(set))
}

#[test]
fn r25_a_piece_of_a_document_travels_alone_so_that_leases_pass() {
    let (mut batcher, mut answers) = batcher();
    batcher.set_round_trip(ms(500));
    let (chunk, set) = config(1);
    for (n, command) in [release(1), chunk, release(2), release(3), set].into_iter().enumerate() {
        batcher.submit(submission(n as u64, command), &mut answers);
    }
    let batches = std::iter::from_fn(|| batcher.next_batch(ms(0), &mut answers));
    assert_eq!(batches.map(|batch| batch.commands.len()).collect::<Vec<_>>(), [1, 1, 2, 1]);
}

#[test]
fn r25_pieces_and_a_change_with_an_id_are_repeated_and_one_without_is_not() {
    let (chunk, set) = config(1);
    assert!(may_repeat(&chunk) && may_repeat(&set));
    assert!(!may_repeat(&config(0).1));
}

#[test]
fn a_full_queue_refuses_at_once() {
    let mut batcher = Batcher::default();
    let mut answers = Vec::new();
    for n in 0..=QUEUE as u64 {
        batcher.submit(submission(n, release(n)), &mut answers);
    }
    assert_eq!(answers, [(QUEUE as u64, Answer::Unsent(Unsent::Full))]);
}

#[test]
fn without_a_leader_commands_wait_until_their_deadline() {
    let (mut batcher, mut answers) = (Batcher::default(), Vec::new());
    batcher.submit(submission(1, delete(1)), &mut answers);
    batcher.submit(Submission { deadline: ms(5_000), ..submission(2, delete(2)) }, &mut answers);
    assert_eq!(batcher.next_batch(ms(0), &mut answers), None);
    batcher.tick(ms(2_000), &mut answers);
    assert_eq!(answers, [(1, Answer::Unsent(Unsent::NoLeader))]);
    batcher.set_route(LEADER, &mut answers);
    assert_eq!(batcher.next_batch(ms(2_001), &mut answers).unwrap().commands, [delete(2)]);
}

#[test]
fn r3_a_new_leader_gets_the_grants_again_and_administrators_learn_that_nothing_is_known() {
    let (mut batcher, mut answers) = batcher();
    batcher.submit(submission(1, release(1)), &mut answers);
    batcher.submit(submission(2, delete(2)), &mut answers);
    batcher.submit(submission(3, release(3)), &mut answers);
    let first = batcher.next_batch(ms(0), &mut answers).unwrap();
    batcher.submit(submission(4, delete(4)), &mut answers);
    batcher.set_route(Route::Nowhere, &mut answers);
    assert!(answers.is_empty(), "the same leader may come back");
    batcher.set_route(NEXT, &mut answers);
    assert_eq!(answers, [(2, Answer::Unknown)]);
    let second = batcher.next_batch(ms(300), &mut answers).unwrap();
    assert_eq!(second.route, NEXT);
    assert_eq!(second.commands, [release(1), release(3), delete(4)]);
    // What the deposed leader still says is not heard.
    batcher.finish(first.number, applied(3), ms(301), &mut answers);
    assert_eq!(answers.len(), 1);
    batcher.finish(second.number, applied(3), ms(302), &mut answers);
    assert_eq!(answers.len(), 4);
}

#[test]
fn r3_nothing_is_sent_again_after_its_deadline() {
    let (mut batcher, mut answers) = batcher();
    batcher.submit(submission(1, release(1)), &mut answers);
    let _ = batcher.next_batch(ms(0), &mut answers).unwrap();
    batcher.tick(ms(1_999), &mut answers);
    assert!(answers.is_empty());
    batcher.tick(ms(2_000), &mut answers);
    assert_eq!(answers, [(1, Answer::Unknown)]);
    batcher.set_route(NEXT, &mut answers);
    assert_eq!(batcher.next_batch(ms(2_001), &mut answers), None);
    assert!(batcher.is_idle());
}

#[test]
fn a_command_that_never_left_is_sent_again_whatever_it_is() {
    let (mut batcher, mut answers) = batcher();
    batcher.submit(submission(1, delete(1)), &mut answers);
    let batch = batcher.next_batch(ms(0), &mut answers).unwrap();
    batcher.finish(batch.number, Result::NotProposed, ms(1), &mut answers);
    assert_eq!(batcher.next_batch(ms(2), &mut answers), None, "not at once");
    assert_eq!(batcher.next_batch(ms(21), &mut answers).unwrap().commands, [delete(1)]);
    assert!(answers.is_empty());
}

#[test]
fn a_lost_connection_to_the_same_leader_repeats_only_what_may_be_repeated() {
    let (mut batcher, mut answers) = batcher();
    batcher.submit(submission(1, release(1)), &mut answers);
    batcher.submit(submission(2, delete(2)), &mut answers);
    let batch = batcher.next_batch(ms(0), &mut answers).unwrap();
    batcher.finish(batch.number, Result::Lost, ms(5), &mut answers);
    assert_eq!(answers, [(2, Answer::Unknown)]);
    assert_eq!(batcher.next_batch(ms(30), &mut answers).unwrap().commands, [release(1)]);
}

#[test]
fn outcomes_that_do_not_fit_the_commands_say_nothing() {
    let (mut batcher, mut answers) = batcher();
    batcher.submit(submission(1, release(1)), &mut answers);
    let batch = batcher.next_batch(ms(0), &mut answers).unwrap();
    batcher.finish(batch.number, applied(2), ms(5), &mut answers);
    assert_eq!(answers, [(1, Answer::Unknown)]);
}

#[test]
fn r13_a_leaders_duty_is_not_forwarded() {
    let (mut batcher, mut answers) = batcher();
    batcher.submit(Submission { here_only: true, ..submission(1, Command::Tick) }, &mut answers);
    batcher.submit(submission(2, release(2)), &mut answers);
    assert_eq!(batcher.next_batch(ms(0), &mut answers).unwrap().commands, [release(2)]);
    assert_eq!(answers, [(1, Answer::Unsent(Unsent::NoLeader))]);
}

#[test]
fn a_stuck_batch_does_not_keep_others_from_leaving_for_ever() {
    let (mut batcher, mut answers) = batcher();
    for n in 0..3 {
        batcher.submit(submission(n, release(n)), &mut answers);
        let left = batcher.next_batch(ms(0), &mut answers).is_some();
        assert_eq!(left, n < IN_FLIGHT as u64);
    }
    assert!(batcher.next_batch(ms(999), &mut answers).is_none());
    assert!(batcher.next_batch(ms(1_000), &mut answers).is_some());
}

#[test]
fn stopping_answers_everything() {
    let (mut batcher, mut answers) = batcher();
    batcher.submit(submission(1, release(1)), &mut answers);
    let _ = batcher.next_batch(ms(0), &mut answers);
    batcher.submit(submission(2, release(2)), &mut answers);
    batcher.stop(&mut answers);
    batcher.submit(submission(3, release(3)), &mut answers);
    let stopped = Answer::Unsent(Unsent::Stopped);
    assert_eq!(answers, [(1, Answer::Unknown), (2, stopped.clone()), (3, stopped)]);
}

#[derive(Debug, Clone)]
enum Step {
    Submit { repeatable: bool, patience: u64 },
    Leave,
    Finish { which: usize, how: u8 },
    Route(u8),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), 1..3_000_u64).prop_map(|(repeatable, patience)| Step::Submit { repeatable, patience }),
        4 => Just(Step::Leave),
        3 => (0..4_usize, 0..4_u8).prop_map(|(which, how)| Step::Finish { which, how }),
        1 => (0..4_u8).prop_map(Step::Route),
        2 => (1..400_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever happens: each submission is answered exactly once, "unsent" only if it was never
    /// sent, nothing unrepeatable is sent twice, and nothing leaves after its deadline.
    #[test]
    fn every_submission_is_answered_once_and_truthfully(steps in proptest::collection::vec(step(), 1..200)) {
        let (mut batcher, mut answers) = batcher();
        let mut now = 0;
        let mut deadlines = HashMap::new();
        let mut repeatable_of = HashMap::new();
        let mut flying: Vec<Outgoing> = Vec::new();
        // How often each ticket left in a batch that may have been proposed.
        let mut left: HashMap<u64, u32> = HashMap::new();
        let mut certain: HashMap<u64, u32> = HashMap::new();
        let ticket_of = |command: &Command| match command {
            Command::Release(give) => give.origin.sequence,
            Command::DeleteLease(delete) => u64::from(u32::from(delete.address)),
            other => panic!("{other:?}"),
        };
        for step in steps {
            match step {
                Step::Submit { repeatable, patience } => {
                    let ticket = deadlines.len() as u64;
                    deadlines.insert(ticket, now + patience);
                    repeatable_of.insert(ticket, repeatable);
                    let command = if repeatable { release(ticket) } else { delete(ticket) };
                    let deadline = ms(now + patience);
                    batcher.submit(Submission { ticket, command, deadline, here_only: false }, &mut answers);
                }
                Step::Leave => {
                    while let Some(batch) = batcher.next_batch(ms(now), &mut answers) {
                        prop_assert!((1..=Batch::MAX).contains(&batch.commands.len()));
                        prop_assert!(batch.route != Route::Nowhere);
                        for command in &batch.commands {
                            let ticket = ticket_of(command);
                            *left.entry(ticket).or_default() += 1;
                            prop_assert!(now < deadlines[&ticket]);
                            prop_assert!(repeatable_of[&ticket] || left[&ticket] - certain.get(&ticket).copied().unwrap_or(0) == 1);
                        }
                        flying.push(batch);
                    }
                }
                Step::Finish { which, how } => {
                    if which < flying.len() {
                        let batch = flying.remove(which);
                        let result = match how {
                            0 | 1 => applied(batch.commands.len()),
                            2 => Result::NotProposed,
                            _ => Result::Lost,
                        };
                        if how == 2 {
                            for command in &batch.commands {
                                *certain.entry(ticket_of(command)).or_default() += 1;
                            }
                        }
                        batcher.finish(batch.number, result, ms(now), &mut answers);
                    }
                }
                Step::Route(0) => batcher.set_route(Route::Nowhere, &mut answers),
                Step::Route(n) => batcher.set_route(Route::To(NodeId(u64::from(n))), &mut answers),
                Step::Pass(millis) => {
                    now += millis;
                    batcher.tick(ms(now), &mut answers);
                }
            }
        }
        batcher.stop(&mut answers);
        prop_assert_eq!(answers.len(), deadlines.len());
        let mut seen = std::collections::HashSet::new();
        for (ticket, answer) in &answers {
            prop_assert!(seen.insert(*ticket), "ticket {} answered twice", ticket);
            let open = left.get(ticket).copied().unwrap_or(0) - certain.get(ticket).copied().unwrap_or(0);
            if matches!(answer, Answer::Unsent(_)) {
                prop_assert_eq!(open, 0, "{} was sent and answered unsent", ticket);
            }
        }
    }
}
