use std::fmt::Write as _;

use super::*;
use crate::observe::alarms::KINDS;
use crate::observe::histogram::{BATCH, Histogram, LATENCY};

/// Measurements around each bound.
fn spread(bounds: &'static [u64]) -> Distribution {
    let histogram = Histogram::new(bounds);
    bounds.iter().for_each(|bound| histogram.record(bound + 1));
    histogram.read()
}

/// Readings with something everywhere.
fn full() -> Readings {
    Readings {
        name: "rack-\"a\"".into(),
        raft: Raft {
            is_leader: true,
            peers: vec![Peer {
                node: NodeId(2),
                lag: Some(3),
                reachable: true,
                unmatched: Some(1),
                silence: Some(0.25),
                clock: Some(-0.5),
            }],
            snapshot_file: Some((4096, 17.5)),
            ..Raft::default()
        },
        packets: vec![(Direction::Received, "DISCOVER", 7), (Direction::Sent, "OFFER", 6)],
        dropped: vec![("no-subnet", 1)],
        events: vec![("shadowed", 2)],
        replies: vec![("ack", "renewing", spread(LATENCY))],
        leases: vec![SubnetReading {
            subnet: SubnetId(1),
            prefix: "192.0.2.0/24".into(),
            pool_size: 100,
            counts: StateCounts::default(),
            totals: Totals { assigned: 4, ..Totals::default() },
        }],
        propose: Propose { sizes: spread(BATCH), ..Propose::default() },
        storage: Storage {
            syncs: spread(LATENCY),
            space: Some((1 << 40, 1 << 41)),
            ..Storage::default()
        },
        certificates: vec![("control 192.0.2.1:8443".into(), 86_400.5)],
        alarms: KINDS.iter().map(|kind| (kind.id, kind.severity, 0)).collect(),
        tables: vec![(Table::Holds, TableReading { entries: 1, room: 65_536 })],
        ..Readings::default()
    }
}

/// The name on the page.
fn name_of(metric: &Metric) -> String {
    let suffix = if metric.kind == Kind::Counter { "_total" } else { "" };
    format!("leasehold_{}{suffix}", metric.name)
}

#[test]
fn every_metric_is_on_the_page_with_its_help() {
    let page = render(full()).unwrap();
    for metric in METRICS {
        let name = name_of(metric);
        assert!(page.contains(&format!("# HELP {name} ")), "{name}");
        assert!(page.lines().any(|line| line.starts_with(&name)), "{name}");
    }
    assert!(page.contains("\nleasehold_raft_is_leader 1\n"));
    assert!(page.contains("leasehold_dhcp4_packets_total{direction=\"sent\",type=\"offer\"} 6"));
}

#[test]
fn a_histogram_counts_in_seconds_and_ends_with_infinity() {
    let page = render(full()).unwrap();
    let bucket = |le: &str, count: u64| {
        format!(
            "leasehold_dhcp4_reply_seconds_bucket{{type=\"ack\",why=\"renewing\",le=\"{le}\"}} {count}\n"
        )
    };
    assert!(page.contains(&bucket("0.0001", 0)), "{page}");
    assert!(page.contains(&bucket("2", 13)), "{page}");
    assert!(page.contains(&bucket("+Inf", 14)), "{page}");
    assert!(page.contains("leasehold_propose_batch_size_bucket{le=\"128\"} 7\n"), "{page}");
    assert!(page.contains("leasehold_propose_batch_size_count 8\n"), "{page}");
}

#[test]
fn names_are_unique_and_say_their_unit_as_prometheus_wants() {
    let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    for metric in METRICS {
        let plain =
            metric.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        assert!(
            plain && !metric.name.ends_with("_total") && !metric.help.ends_with('.'),
            "{}",
            metric.name
        );
    }
}

/// Prometheus' own opinion, where its tool is installed.
#[test]
fn promtool_has_nothing_to_say() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    for readings in [Readings::default(), full()] {
        let tool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut tool) = tool else {
            println!("skipped: promtool is not installed");
            return;
        };
        tool.stdin.take().unwrap().write_all(render(readings).unwrap().as_bytes()).unwrap();
        let said = tool.wait_with_output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }
}

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/metrics.md");

const HEAD: &str = "# Metrics

What a node tells at `GET /metrics` on its control address, in Prometheus' text format. Made from the table in
`node/src/observe/metrics.rs`; a test compares the two.

Names that begin with `kea_dhcp4_` have the meaning and the labels that Stork's exporter gives them; they are in
[statistics.md](statistics.md). What follows goes beyond them. Counters count from the start of the process unless they say
otherwise. What is said of leases and pools is the same on every node: take `max`, not `sum`, over the nodes. How to scrape, and
what the dashboards show: [observation.md](../observation.md).

A metric without a number, such as one of peers in a cluster of one, is left out.

| Name | Kind | Labels | Meaning |
|---|---|---|---|
";

#[test]
fn the_reference_page_is_that_of_the_table() {
    let mut page = String::from(HEAD);
    let readings = full();
    for metric in METRICS {
        let mut samples = Samples::default();
        (metric.read)(&readings, &mut samples);
        let labels = samples.0.first().map(|(labels, _)| labels.as_slice()).unwrap_or_default();
        let labels: Vec<String> = labels.iter().map(|(name, _)| format!("`{name}`")).collect();
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let (name, labels) = (name_of(metric), labels.join(", "));
        writeln!(page, "| `{name}` | {kind} | {labels} | {} |", metric.help).unwrap();
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let stored = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(page == stored, "docs/reference/metrics.md is stale; run the test with UPDATE=1");
}
