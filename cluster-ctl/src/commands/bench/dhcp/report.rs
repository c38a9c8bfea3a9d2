//! What was measured, for people and for scripts.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::drive::{Outcome, Plan};
use super::mix::Step;
use super::pace::Rate;
use super::packet::Kind;
use super::tally::{Count, Tally};
use crate::commands::bench::latency::{HEADS, Latency};
use crate::output::table;

/// Up to which part of each kind of message may be lost or refused for the run to count as clean, percent: what
/// perfdhcp's users go by.
const CLEAN: f64 = 1.0;

/// For people.
pub fn text(plan: &Plan, outcome: &Outcome) -> String {
    let mut out = head(plan, outcome);
    let _ = write!(out, "\n{}\n{}\n", messages(plan, outcome), latencies(&outcome.tally));
    for line in findings(plan, outcome) {
        let _ = writeln!(out, "{line}");
    }
    out
}

fn head(plan: &Plan, outcome: &Outcome) -> String {
    let servers: Vec<String> = plan.servers.iter().map(ToString::to_string).collect();
    let pace = match plan.rate {
        Rate::Fixed(rate) => format!("{rate} steps a second"),
        Rate::Max => format!("{} steps at a time", plan.window),
    };
    let before = match (outcome.prepared, plan.warm_up) {
        (Some(count), _) => format!(", after {count} of them got a lease"),
        (None, Duration::ZERO) => String::new(),
        (None, time) => format!(", after {:.1} s of warm-up", time.as_secs_f64()),
    };
    format!(
        "{}, asked through the relay agent {}\n{} clients, {}, {pace}, for {:.1} s{before}\n",
        servers.join(", "),
        plan.relay,
        plan.clients,
        plan.mix.text(),
        outcome.measured.as_secs_f64(),
    )
}

fn used(tally: &Tally) -> impl Iterator<Item = (Kind, &Count)> {
    let all = Kind::ALL.into_iter().map(|kind| (kind, tally.of(kind)));
    all.filter(|(_, count)| count.sent > 0)
}

fn messages(plan: &Plan, outcome: &Outcome) -> String {
    let rate = |count: u64| format!("{:.0}/s", per_second(count, outcome.measured));
    let row = |(kind, count): (Kind, &Count)| {
        let answers = kind != Kind::Release;
        let shown = |text: String| if answers { text } else { "-".to_owned() };
        [
            kind.name().to_uppercase(),
            count.sent.to_string(),
            shown(count.answered.to_string()),
            rate(if answers { count.answered } else { count.sent }),
            shown(format!("{} ({})", count.lost, percent(count.lost, count.sent))),
            shown(count.refused.to_string()),
            shown(count.late.to_string()),
        ]
    };
    let rows: Vec<_> = used(&outcome.tally).map(row).collect();
    let mut text = table(["MESSAGE", "SENT", "ANSWERED", "RATE", "LOST", "NAK", "LATE"], &rows);
    if plan.mix.steps().len() > 1 {
        let _ = writeln!(text, "Steps done: {}", rate(steps(plan, &outcome.tally)));
    }
    text
}

/// Steps that came to their end.
fn steps(plan: &Plan, tally: &Tally) -> u64 {
    tally.steps(plan.mix.steps()[0] != Step::Discover)
}

fn latencies(tally: &Tally) -> String {
    let name = |kind: Kind| match kind {
        Kind::Discover => "DISCOVER to OFFER",
        Kind::Request => "REQUEST to ACK",
        Kind::Renew => "renewal to ACK",
        Kind::Release => "",
    };
    let answered = used(tally).filter(|(_, count)| count.answered > 0);
    let mut rows: Vec<_> = answered.map(|(kind, count)| row(name(kind), &count.took)).collect();
    if tally.exchange.count() > 0 {
        rows.push(row("DISCOVER to ACK", &tally.exchange));
    }
    let [p50, p90, p99, p999, max] = HEADS;
    table(["TIME FROM", p50, p90, p99, p999, max], &rows)
}

fn row(name: &str, latency: &Latency) -> [String; 6] {
    let [p50, p90, p99, p999, max] = latency.cells();
    [name.to_owned(), p50, p90, p99, p999, max]
}

/// What is to be said of it, the worst first.
fn findings(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let tally = &outcome.tally;
    let mut lines = Vec::new();
    let mut say = |count: u64, text: String| {
        if count > 0 {
            lines.push(text);
        }
    };
    let duplicates = tally.duplicate_count;
    say(
        duplicates,
        format!(
            "DUPLICATES: {duplicates} times an address was given to a client while another held it:"
        ),
    );
    for duplicate in &tally.duplicates {
        let [one, other] = duplicate.clients;
        say(
            1,
            format!(
                "  {} to clients {one} and {other}, at {:.3} s",
                duplicate.address, duplicate.at
            ),
        );
    }
    say(
        tally.malformed,
        format!("MALFORMED: {} replies, such as: {}", tally.malformed, tally.wrong.join("; ")),
    );
    say(tally.unexpected, format!("{} replies did not fit what was asked", tally.unexpected));
    say(tally.repeated, format!("{} answers came twice", tally.repeated));
    say(tally.stray, format!("{} datagrams were for nobody here", tally.stray));
    say(
        tally.no_client,
        format!(
            "{} steps were not begun, because all clients were busy: too few --clients for this rate",
            tally.no_client
        ),
    );
    say(
        tally.behind,
        format!(
            "{} steps were not begun, because this program was behind: it had too little CPU, and the figures are its own",
            tally.behind
        ),
    );
    let overrun = outcome.overrun.unwrap_or(0);
    say(
        overrun,
        format!(
            "{overrun} replies were dropped by this machine, whose queue for us was full (net.core.rmem_max)"
        ),
    );
    say(
        u64::from(outcome.interrupted),
        "Interrupted with Ctrl-C: the figures are those of the time until then".to_owned(),
    );
    say(
        1,
        if clean(tally) {
            format!(
                "Clean: less than {CLEAN:.0} % of each message was lost or refused, or not begun."
            )
        } else {
            format!(
                "Not clean: {CLEAN:.0} % of a message or more was lost or refused, or not begun."
            )
        },
    );
    say(
        1,
        format!(
            "{}{} of the replies decoded whole{}.",
            if duplicates == 0 { "No address was given to two clients; " } else { "" },
            tally.checked,
            if tally.malformed == 0 { ", none malformed" } else { "" },
        ),
    );
    let released = outcome.released;
    say(released, format!("{released} leases were released at the end."));
    say(
        u64::from(plan.keep && plan.mix.binds()),
        "The leases of the clients were kept.".to_owned(),
    );
    lines
}

/// Whether the figures are those of the servers at this rate.
fn clean(tally: &Tally) -> bool {
    let much = |part: u64, of: u64| part as f64 * 100.0 >= CLEAN * of as f64;
    let steps = [Kind::Discover, Kind::Renew, Kind::Release];
    let begun: u64 = steps.iter().map(|kind| tally.of(*kind).sent).sum();
    let not_begun = tally.no_client + tally.behind;
    tally.answers() > 0
        && !much(not_begun, begun + not_begun)
        && used(tally).all(|(_, count)| !much(count.lost + count.refused, count.sent))
}

fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(0.001)
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.2} %", part as f64 * 100.0 / whole.max(1) as f64)
}

/// For scripts; times in microseconds.
pub fn json(plan: &Plan, outcome: &Outcome) -> Value {
    let tally = &outcome.tally;
    let mut messages = json!({});
    for (kind, count) in used(tally) {
        let done = if kind == Kind::Release { count.sent } else { count.answered };
        messages[kind.name()] = json!({
            "sent": count.sent, "answered": count.answered, "lost": count.lost, "refused": count.refused,
            "late": count.late, "rate": per_second(done, outcome.measured), "micros": count.took.json(),
        });
    }
    let duplicate = |it: &super::tally::Duplicate| json!({ "address": it.address.to_string(), "clients": it.clients, "at": it.at });
    json!({
        "servers": plan.servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "giaddr": plan.relay.to_string(),
        "clients": plan.clients,
        "mix": plan.mix.text(),
        "rate": plan.rate.to_string(),
        "seconds": outcome.measured.as_secs_f64(),
        "interrupted": outcome.interrupted,
        "prepared": outcome.prepared,
        "messages": messages,
        "steps-per-second": per_second(steps(plan, tally), outcome.measured),
        "exchange-micros": tally.exchange.json(),
        "clean": clean(tally),
        "duplicate-count": tally.duplicate_count,
        "duplicates": tally.duplicates.iter().map(duplicate).collect::<Vec<_>>(),
        "malformed": tally.malformed,
        "wrong": tally.wrong,
        "unexpected": tally.unexpected,
        "repeated": tally.repeated,
        "stray": tally.stray,
        "decoded-whole": tally.checked,
        "no-client": tally.no_client,
        "behind": tally.behind,
        "overrun": outcome.overrun,
        "released": outcome.released,
    })
}
