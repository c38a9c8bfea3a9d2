//! What ten thousand subnets cost. `cargo test ten_thousand_subnets -- --ignored --nocapture`.

use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::RwLock;

use super::Which;
use super::testing::Counting;
use crate::clock::Stopwatch;
use crate::state::{
    Batch, Command, Form, LeaseState, NewConfig, Note, PutLease, PutMode, State, document,
};
use crate::types::{ClusterTime, HwAddr, Lifetime, SubnetId};

/// Kilobytes of this process in memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4
}

#[test]
#[ignore = "prints figures, and checks nothing that depends on the machine"]
fn ten_thousand_subnets() {
    let mut subnets = String::new();
    for id in 1..=10_000u32 {
        let (a, b) = (id >> 8, id & 255);
        write!(
            subnets,
            r#"{}{{"id":{id},"subnet":"10.{a}.{b}.0/24","pools":[{{"pool":"10.{a}.{b}.10-10.{a}.{b}.200"}}]}}"#,
            if id > 1 { "," } else { "" }
        )
        .unwrap();
    }
    let document = format!(r#"{{"Dhcp4":{{"subnet4":[{subnets}]}}}}"#);
    let text = document::pack(Form::Json, &document);
    let new = NewConfig { expected: None, text, level: 1, note: Note::default() };
    let (chunks, set) = new.commands(1);
    let mut commands: Vec<_> = chunks.into_iter().map(Command::ConfigChunk).collect();
    commands.push(Command::SetConfig(set));
    let mut state = State::new();
    state.apply(1, &Batch { stamp: ClusterTime::ZERO, commands });
    assert!(state.view().config().is_some());
    let state = Arc::new(RwLock::new(state));
    let counting = Counting::new(Arc::clone(&state), 1_795_470_000_000);
    let give = |host: u32| {
        for chunk in (1..=10_000u32).collect::<Vec<_>>().chunks(100) {
            let put = |id: &u32| {
                Command::PutLease(PutLease {
                    mode: PutMode::Upsert,
                    address: (0x0a00_0000 | id << 8 | host).into(),
                    subnet: SubnetId(*id),
                    client_id: None,
                    hw: HwAddr::ethernet([2, 0, host as u8, 0, (id >> 8) as u8, *id as u8]),
                    hostname: String::new(),
                    lifetime: Lifetime::from_secs(3600),
                    expire: None,
                    state: LeaseState::Assigned,
                    fqdn_fwd: false,
                    fqdn_rev: false,
                    user_context: String::new(),
                })
            };
            let mut state = state.write();
            let index = state.applied() + 1;
            let stamp = ClusterTime::from_millis(index);
            state.apply(index, &Batch { stamp, commands: chunk.iter().map(put).collect() });
        }
    };
    for round in 0..25 {
        give(10 + round);
        let (before, watch) = (resident(), Stopwatch::start());
        counting.clock.advance(super::LONG_PERIOD);
        counting.statistics.sample();
        let (samples, rows) = counting.statistics.kept();
        if matches!(round, 0 | 1 | 24) {
            println!(
                "sample {round}: {:?}, {rows} names, {samples} samples, {} KiB more",
                watch.elapsed(),
                resident().saturating_sub(before)
            );
        }
    }
    for which in [Which::Global, Which::All] {
        let watch = Stopwatch::start();
        let text = counting.statistics.all(which);
        println!("{which:?}: {:?}, {} bytes", watch.elapsed(), text.len());
    }
    for with_subnets in [false, true] {
        let (mut page, watch) = (String::new(), Stopwatch::start());
        counting.statistics.metrics(with_subnets, &mut page).unwrap();
        println!("page, subnets {with_subnets}: {:?}, {} bytes", watch.elapsed(), page.len());
    }
    let watch = Stopwatch::start();
    let one = counting.statistics.get("subnet[5000].assigned-addresses").unwrap();
    println!("one: {:?}, {} bytes", watch.elapsed(), one.len());
    assert!(one.starts_with("[ [ 25, "));
}
