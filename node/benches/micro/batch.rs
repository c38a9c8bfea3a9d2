//! Commands on their way: packed by the proposer, as bytes of the log, and their answers back.

use std::cell::RefCell;
use std::time::Duration;

use divan::{Bencher, black_box};
use leasehold::propose::batch::{Batcher, Result, Route, Submission};
use leasehold::state::wire::{decode_batch, decode_outcomes, encode_batch, encode_outcomes};
use leasehold::state::{Batch, Command, Outcome, Why};
use leasehold::types::ClusterTime;

use crate::support::{grant, machine, nth_address, site};

const SIZES: [u32; 3] = [1, 16, 128];

fn batch(size: u32) -> Batch {
    let stamp = ClusterTime::ZERO;
    let grant = |n| Command::Grant(grant(n, nth_address(n), Why::Selecting, stamp));
    Batch { stamp, commands: (0..size).map(grant).collect() }
}

fn outcomes(batch: &Batch) -> Vec<Outcome> {
    machine(&site(""), 1).apply(2, batch)
}

#[divan::bench(args = SIZES)]
fn encode(bencher: Bencher<'_, '_>, size: u32) {
    let batch = batch(size);
    bencher.bench_local(|| encode_batch(black_box(&batch)));
}

#[divan::bench(args = SIZES)]
fn decode(bencher: Bencher<'_, '_>, size: u32) {
    let bytes = encode_batch(&batch(size));
    bencher.bench_local(|| decode_batch(black_box(&bytes)));
}

#[divan::bench(args = SIZES)]
fn encode_answers(bencher: Bencher<'_, '_>, size: u32) {
    let outcomes = outcomes(&batch(size));
    bencher.bench_local(|| encode_outcomes(black_box(&outcomes)));
}

#[divan::bench(args = SIZES)]
fn decode_answers(bencher: Bencher<'_, '_>, size: u32) {
    let bytes = encode_outcomes(&outcomes(&batch(size)));
    bencher.bench_local(|| decode_outcomes(black_box(&bytes)));
}

/// From the submission of so many commands to their answers, without the log.
#[divan::bench(args = SIZES)]
fn pack(bencher: Bencher<'_, '_>, size: u32) {
    let batch = batch(size);
    let outcomes = outcomes(&batch);
    let batcher = RefCell::new(Batcher::<u32>::default());
    batcher.borrow_mut().set_route(Route::Here, &mut Vec::new());
    let now = Duration::ZERO;
    bencher.with_inputs(|| (batch.commands.clone(), outcomes.clone())).bench_local_values(
        |(commands, outcomes)| {
            let mut batcher = batcher.borrow_mut();
            let mut answers = Vec::with_capacity(commands.len());
            for (ticket, command) in (0..).zip(commands) {
                let deadline = Duration::from_secs(2);
                let submission = Submission { ticket, command, deadline, here_only: false };
                batcher.submit(submission, &mut answers);
            }
            let outgoing = batcher.next_batch(now, &mut answers).expect("one may leave");
            let result = Result::Applied { index: 2, stamp: ClusterTime::ZERO, outcomes };
            batcher.finish(outgoing.number, result, now, &mut answers);
            (outgoing, answers)
        },
    );
}
