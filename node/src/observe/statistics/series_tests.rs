use proptest::prelude::*;

use super::super::names::{Scope, Stat};
use super::*;
use crate::types::SubnetId;

const SENT: Name = Name { scope: Scope::Global, stat: Stat::Sent };
const ASSIGNED: Name = Name { scope: Scope::Subnet(SubnetId(1)), stat: Stat::AssignedAddresses };

fn says(name: Name, value: u64) -> Reading {
    Reading { name, value }
}

fn values(series: &Series, reading: Reading, now: i64) -> Vec<(u64, i64)> {
    let samples = series.read(reading, now).unwrap_or_default();
    samples.iter().map(|sample| (sample.value, sample.at)).collect()
}

#[test]
fn what_never_counted_is_0_since_the_start_and_costs_nothing() {
    let mut series = Series::new(5);
    series.observe(says(SENT, 0), 9);
    assert_eq!(values(&series, says(SENT, 0), 10), [(0, 5)]);
    assert_eq!((series.rows(), series.samples()), (0, 0));
}

#[test]
fn samples_are_newest_first_and_20_of_them_are_kept() {
    let mut series = Series::new(0);
    for at in 1..=30 {
        series.observe(says(SENT, at), at as i64);
        series.observe(says(SENT, at), at as i64);
    }
    let got = values(&series, says(SENT, 30), 99);
    assert_eq!((got.len(), got[0], got[19]), (20, (30, 30), (11, 11)));
    // What has changed since the last sample is told, though nobody took one.
    let got = values(&series, says(SENT, 31), 99);
    assert_eq!((got.len(), got[0], got[1]), (20, (31, 99), (30, 30)));
}

#[test]
fn a_counter_of_the_node_began_at_0_and_a_gauge_of_the_cluster_anywhere() {
    let mut series = Series::new(1);
    series.observe(says(SENT, 3), 7);
    series.observe(says(ASSIGNED, 3), 7);
    assert_eq!(values(&series, says(SENT, 3), 8), [(3, 7), (0, 1)]);
    assert_eq!(values(&series, says(ASSIGNED, 3), 8), [(3, 7)]);
}

#[test]
fn samples_leave_by_age_and_the_newest_stays() {
    let mut series = Series::new(0);
    series.limit_all(Limit::Age(Duration::from_secs(10)), 0);
    for second in 1..=20 {
        series.observe(says(SENT, second), second as i64 * 1000);
    }
    assert_eq!(values(&series, says(SENT, 20), 20_000).len(), 11);
    assert_eq!(values(&series, says(SENT, 20), 25_000).len(), 6);
    assert_eq!(values(&series, says(SENT, 20), 90_000), [(20, 20_000)]);
    series.limit_all(Limit::Age(Duration::ZERO), 90_000);
    assert_eq!(series.samples(), 1);
}

#[test]
fn a_limit_of_its_own_wins_until_one_is_set_for_all() {
    let mut series = Series::new(0);
    for at in 1..=9 {
        series.observe(says(SENT, at), at as i64);
        series.observe(says(ASSIGNED, at), at as i64);
    }
    assert!(series.limit(says(SENT, 9), Limit::Count(2), 9));
    assert_eq!(values(&series, says(SENT, 9), 9), [(9, 9), (8, 8)]);
    assert_eq!(values(&series, says(ASSIGNED, 9), 9).len(), 9);
    series.limit_all(Limit::Count(3), 9);
    series.observe(says(SENT, 10), 10);
    series.observe(says(SENT, 11), 11);
    assert_eq!(values(&series, says(SENT, 11), 11).len(), 3);
    assert_eq!(values(&series, says(ASSIGNED, 9), 11).len(), 3);
}

#[test]
fn a_reset_counter_counts_from_0_and_a_replicated_value_stays() {
    let mut series = Series::new(0);
    series.observe(says(SENT, 7), 1);
    assert!(series.reset(says(SENT, 8), 2));
    assert_eq!(values(&series, says(SENT, 8), 3), [(0, 2)]);
    series.observe(says(SENT, 10), 4);
    assert_eq!(values(&series, says(SENT, 10), 5), [(2, 4), (0, 2)]);
    series.observe(says(ASSIGNED, 7), 1);
    assert!(series.reset(says(ASSIGNED, 7), 2));
    assert_eq!(values(&series, says(ASSIGNED, 7), 3), [(7, 1)]);
    // Never seen by anybody, and reset.
    let other = Name::global(Stat::Received);
    assert!(series.reset(says(other, 4), 6));
    assert_eq!(values(&series, says(other, 4), 7), [(0, 6)]);
    // The counter itself began anew: it went with its subnet, and that came back.
    assert_eq!(values(&series, says(other, 1), 8)[0], (1, 8));
}

#[test]
fn what_was_removed_is_absent_until_it_counts_on() {
    let mut series = Series::new(0);
    series.observe(says(SENT, 7), 1);
    assert!(series.limit(says(SENT, 7), Limit::Count(1), 1));
    assert!(series.remove(says(SENT, 7), 2));
    assert_eq!(series.read(says(SENT, 7), 3), None);
    series.observe(says(SENT, 7), 3);
    assert!(!series.remove(says(SENT, 7), 3));
    assert!(!series.reset(says(SENT, 7), 3));
    assert!(!series.limit(says(SENT, 7), Limit::Count(1), 3));
    assert_eq!(series.samples(), 0);
    // It begins anew, with the usual limit.
    assert_eq!(values(&series, says(SENT, 8), 4), [(1, 4)]);
    series.observe(says(SENT, 8), 5);
    series.observe(says(SENT, 9), 6);
    assert_eq!(values(&series, says(SENT, 9), 7), [(2, 6), (1, 5)]);
    // A value of the cluster comes back as what it is.
    series.observe(says(ASSIGNED, 7), 1);
    assert!(series.remove(says(ASSIGNED, 7), 2));
    assert_eq!(values(&series, says(ASSIGNED, 6), 3), [(6, 3)]);
}

#[test]
fn names_of_subnets_that_are_gone_are_forgotten() {
    let mut series = Series::new(0);
    series.observe(says(SENT, 7), 1);
    series.observe(says(ASSIGNED, 7), 1);
    series.retain(|name| name.scope == Scope::Global);
    assert_eq!((series.rows(), series.samples()), (1, 2));
}

#[test]
fn many_names_share_the_room() {
    let mut series = Series::new(0);
    series.limit_all(Limit::Count(usize::MAX), 0);
    let name = |n: u32| Name { scope: Scope::Subnet(SubnetId(n)), stat: Stat::AssignedAddresses };
    // Few names with long series, then many names.
    for value in 1..200 {
        (1..=1000).for_each(|n| series.observe(says(name(n), value), value as i64));
    }
    for value in 1..5 {
        (1..=100_000).for_each(|n| series.observe(says(name(n), value), 1000 + value as i64));
        assert!(series.samples() <= MOST_SAMPLES, "{} samples", series.samples());
    }
    assert_eq!(values(&series, says(name(99_999), 4), 9)[0], (4, 1004));
}

#[derive(Debug, Clone)]
enum Step {
    Count(u8, u8),
    Observe(u8),
    Reset(u8),
    Remove(u8),
    Limit(u8, u8),
    LimitAge(u8, u8),
    LimitAll(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || 0..4u8;
    prop::collection::vec(
        prop_oneof![
            4 => (name(), 0..3u8).prop_map(|(name, by)| Step::Count(name, by)),
            4 => name().prop_map(Step::Observe),
            1 => name().prop_map(Step::Reset),
            1 => name().prop_map(Step::Remove),
            1 => (name(), 1..9u8).prop_map(|(name, most)| Step::Limit(name, most)),
            1 => (name(), 0..9u8).prop_map(|(name, age)| Step::LimitAge(name, age)),
            1 => (1..9u8).prop_map(Step::LimitAll),
        ],
        0..60,
    )
}

proptest! {
    /// Whatever is asked in whatever order: the newest sample is the value, samples are in order and
    /// within the limit, and the number of samples is what it is said to be.
    #[test]
    fn series_keep_their_promises(steps in steps()) {
        let names = [
            SENT,
            ASSIGNED,
            Name { scope: Scope::Subnet(SubnetId(1)), stat: Stat::LeaseReuses },
            Name::global(Stat::ReclaimedLeases),
        ];
        let mut series = Series::new(0);
        let mut counted = [0u64; 4];
        let mut most = [USUAL; 4];
        let mut now = 0i64;
        for step in steps {
            now += 1;
            let reading = |at: u8| says(names[usize::from(at)], counted[usize::from(at)]);
            match step {
                Step::Count(at, by) => counted[usize::from(at)] += u64::from(by),
                Step::Observe(at) => series.observe(reading(at), now),
                Step::Reset(at) => { series.reset(reading(at), now); }
                Step::Remove(at) => if series.remove(reading(at), now) {
                    most[usize::from(at)] = usize::MAX;
                },
                Step::Limit(at, count) => if series.limit(reading(at), Limit::Count(count.into()), now) {
                    most[usize::from(at)] = count.into();
                },
                Step::LimitAge(at, age) => {
                    let age = Duration::from_millis(age.into());
                    if series.limit(reading(at), Limit::Age(age), now) {
                        most[usize::from(at)] = usize::MAX;
                    }
                }
                Step::LimitAll(count) => {
                    series.limit_all(Limit::Count(count.into()), now);
                    most = [count.into(); 4];
                }
            }
            let total: usize = series.rows.values().map(|row| row.samples.len()).sum();
            prop_assert_eq!(series.samples(), total);
            for at in 0..4u8 {
                let (name, value) = (names[usize::from(at)], counted[usize::from(at)]);
                let Some(samples) = series.read(says(name, value), now) else { continue };
                prop_assert!(!samples.is_empty() && samples.len() <= most[usize::from(at)]);
                prop_assert!(samples[0].value <= value);
                if !name.stat.is_of_node() {
                    prop_assert_eq!(samples[0].value, value);
                }
                prop_assert!(samples.windows(2).all(|pair| pair[0].at >= pair[1].at));
            }
        }
    }
}
