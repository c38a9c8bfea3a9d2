use serde_json::json;

use super::super::crowd::Heard;
use super::super::drive::Outcome;
use super::super::packet::Kind;
use super::super::report;
use super::super::tally::{Duplicate, Tally};
use super::*;

fn plan_of(mix: &str) -> Plan {
    let line = format!(
        "--servers 127.0.0.11:6767,127.0.0.12:6767 --giaddr 127.0.0.20:6768 --rate 200 --mix {mix}"
    );
    plan(options(&line).expect("it parses")).expect("it makes sense")
}

fn outcome(tally: Tally) -> Outcome {
    Outcome {
        tally,
        measured: Duration::from_secs(10),
        prepared: None,
        released: 1000,
        overrun: Some(0),
        interrupted: false,
    }
}

/// So many exchanges, of which so many REQUESTs are lost.
fn tally(exchanges: u64, lost: u64) -> Tally {
    let mut tally = Tally::new();
    let answered = |kind, exchange| Heard::Answered {
        kind,
        counted: true,
        took: 300_000,
        exchange,
        next: None,
        duplicate: None,
    };
    for at in 0..exchanges {
        tally.sent(Kind::Discover);
        tally.heard(&answered(Kind::Discover, None), true);
        tally.sent(Kind::Request);
        match at < lost {
            true => tally.lost(Kind::Request),
            false => tally.heard(&answered(Kind::Request, Some(1_200_000)), true),
        }
    }
    tally
}

#[test]
fn a_clean_run_reads_so() {
    let mut tally = tally(2000, 3);
    tally.heard(&Heard::Late(Kind::Request), true);
    tally.checked = 62;
    let text = report::text(&plan_of("discover,request"), &outcome(tally));
    let expected = "\
127.0.0.11:6767, 127.0.0.12:6767, asked through the relay agent 127.0.0.20:6768
1000 clients, discover,request, 200 steps a second, for 10.0 s, after 1.0 s of warm-up

MESSAGE   SENT  ANSWERED  RATE   LOST        NAK  LATE
DISCOVER  2000  2000      200/s  0 (0.00 %)  0    0
REQUEST   2000  1997      200/s  3 (0.15 %)  0    1

TIME FROM          P50      P90      P99      P99.9    MAX
DISCOVER to OFFER  0.30 ms  0.30 ms  0.30 ms  0.30 ms  0.30 ms
REQUEST to ACK     0.30 ms  0.30 ms  0.30 ms  0.30 ms  0.30 ms
DISCOVER to ACK    1.20 ms  1.20 ms  1.20 ms  1.20 ms  1.20 ms

Clean: less than 1 % of each message was lost or refused, or not begun.
No address was given to two clients; 62 of the replies decoded whole, none malformed.
1000 leases were released at the end.
";
    assert_eq!(text, expected);
}

#[test]
fn what_went_wrong_comes_first_and_is_loud() {
    let mut tally = tally(100, 1);
    let address = Ipv4Addr::new(10, 0, 0, 7);
    tally.duplicate(Duplicate { address, clients: [3, 9], at: 1.25 });
    tally.malformed("no address (yiaddr)".to_owned());
    (tally.no_client, tally.behind) = (5, 6);
    let outcome = Outcome { overrun: Some(4), interrupted: true, ..outcome(tally) };
    let plan = plan_of("discover,request,renew");
    let text = report::text(&plan, &outcome);
    let findings = text.split("\n\n").last().unwrap_or_default();
    let expected = "\
DUPLICATES: 1 times an address was given to a client while another held it:
  10.0.0.7 to clients 3 and 9, at 1.250 s
MALFORMED: 1 replies, such as: no address (yiaddr)
5 steps were not begun, because all clients were busy: too few --clients for this rate
6 steps were not begun, because this program was behind: it had too little CPU, and the figures are its own
4 replies were dropped by this machine, whose queue for us was full (net.core.rmem_max)
Interrupted with Ctrl-C: the figures are those of the time until then
Not clean: 1 % of a message or more was lost or refused, or not begun.
0 of the replies decoded whole.
1000 leases were released at the end.
";
    assert_eq!(findings, expected);
    let value = report::json(&plan, &outcome);
    assert_eq!(
        value["duplicates"],
        json!([{ "address": "10.0.0.7", "clients": [3, 9], "at": 1.25 }])
    );
    assert_eq!((&value["clean"], &value["malformed"]), (&json!(false), &json!(1)));
    let request = &value["messages"]["request"];
    assert_eq!(
        (&request["sent"], &request["answered"], &request["lost"]),
        (&json!(100), &json!(99), &json!(1))
    );
    assert_eq!(request["micros"]["p50"], 300);
}

#[test]
fn a_run_without_an_answer_is_not_clean() {
    let value = report::json(&plan_of("discover"), &outcome(Tally::new()));
    assert_eq!(value["clean"], false);
}

#[test]
fn a_run_is_clean_only_at_the_rate_that_was_asked_for() {
    let clean = |not_begun| {
        let mut tally = tally(500, 0);
        tally.behind = not_begun;
        report::json(&plan_of("discover,request"), &outcome(tally))["clean"] == true
    };
    assert!(clean(5));
    assert!(!clean(6));
}
