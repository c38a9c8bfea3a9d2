//! The names against Kea's, the reference page made from the table, the commands' readings, and the
//! page of metrics.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::testing::Counting;
use super::*;
use crate::state::testing::machine;
use crate::state::{Batch, Command, LeaseState, PutLease, PutMode};
use crate::types::{ClusterTime, HwAddr, Lifetime};

const KEA: &str = include_str!("kea-names");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/statistics.md");

/// A shared network, a pool in two parts, one pool with an id of its own, a subnet without pools.
const CONFIG: &str = r#"{"Dhcp4":{
    "subnet4":[{"id":1,"subnet":"192.0.2.0/24","pools":[
        {"pool":"192.0.2.10-192.0.2.19"},{"pool":"192.0.2.30-192.0.2.39"},
        {"pool":"192.0.2.50-192.0.2.54","pool-id":7}]},{"id":2,"subnet":"198.51.100.0/24"}],
    "shared-networks":[{"name":"floor \"a\"\\","subnet4":[
        {"id":3,"subnet":"203.0.113.0/24","pools":[{"pool":"203.0.113.1-203.0.113.9"}]}]}]}}"#;

/// Of a node with [`CONFIG`] whose clock shows a fixed moment.
fn counting(config: &str) -> (Counting, Arc<RwLock<State>>) {
    let state = Arc::new(RwLock::new(machine(config, 1)));
    (Counting::new(Arc::clone(&state), 1_795_470_000_000), state)
}

fn put(state: &RwLock<State>, address: &str, subnet: u32, lease_state: LeaseState) {
    let put = PutLease {
        mode: PutMode::Upsert,
        address: address.parse().unwrap(),
        subnet: SubnetId(subnet),
        client_id: None,
        hw: HwAddr::ethernet([2, 0, 0, 0, 0, 1]),
        hostname: String::new(),
        lifetime: Lifetime::from_secs(3600),
        expire: None,
        state: lease_state,
        fqdn_fwd: false,
        fqdn_rev: false,
        user_context: String::new(),
    };
    let mut state = state.write();
    let index = state.applied() + 1;
    let stamp = ClusterTime::from_millis(1_000 + index);
    state.apply(index, &Batch { stamp, commands: vec![Command::PutLease(put)] });
}

/// The newest value of each name.
fn newest(counting: &Counting, which: Which) -> serde_json::Map<String, Value> {
    let all: Value = serde_json::from_str(&counting.statistics.all(which)).unwrap();
    let newest = |(name, samples): (&String, &Value)| (name.clone(), samples[0][0].clone());
    all.as_object().unwrap().iter().map(newest).collect()
}

#[test]
fn a_fresh_node_has_the_names_of_kea_and_what_is_left_out_is_listed() {
    let (counting, _) = counting(CONFIG);
    let mut expected = BTreeSet::new();
    let mut used = BTreeSet::new();
    let mut left_out = 0;
    for line in KEA.lines().filter(|line| !line.starts_with('#')) {
        let (scopes, remark) = line.split_once(" | ").unwrap_or((line, ""));
        let mut words = scopes.split(' ');
        let name = words.next().unwrap();
        for word in words {
            let (scope, at_start) = word.split_at(1);
            if remark.starts_with(&format!("{scope}: ")) {
                left_out += 1;
                continue;
            }
            let names = match scope {
                "g" => vec![name.to_owned()],
                "s" => (1..=3).map(|id| format!("subnet[{id}].{name}")).collect(),
                _ => ["1].pool[0", "1].pool[7", "3].pool[0"]
                    .map(|pool| format!("subnet[{pool}].{name}"))
                    .into(),
            };
            if at_start == "+" { expected.extend(names) } else { used.extend(names) }
        }
    }
    let got: BTreeSet<String> =
        newest(&counting, Which::All).into_iter().map(|(name, _)| name).collect();
    assert_eq!(got, expected);
    assert_eq!(left_out, 3, "no more is left out than is listed");
    // From the first use on.
    for name in &used {
        assert_eq!(counting.statistics.get(name), None, "{name}");
        counting.count(name, 1);
    }
    let got: BTreeSet<String> =
        newest(&counting, Which::All).into_iter().map(|(name, _)| name).collect();
    assert_eq!(got, expected.union(&used).cloned().collect());
}

#[test]
fn the_35_fixed_ones_are_0_at_the_start() {
    let (counting, _) = counting(CONFIG);
    let global = newest(&counting, Which::Global);
    let fixed = &Stat::ALL[..Stat::COUNTED];
    assert!(fixed.iter().all(|stat| global[stat.name()] == 0));
    assert_eq!(global.len(), 35 + 5, "and the five about leases");
    let all = counting.statistics.all(Which::Global);
    assert!(all.contains("\"pkt4-sent\": [ [ 0, \"2026-11-23 21:40:00.000000\" ] ]"), "{all}");
}

#[test]
fn leases_are_counted_by_subnet_and_by_pool_id() {
    let (counting, state) = counting(CONFIG);
    for (address, lease_state) in [
        ("192.0.2.10", LeaseState::Assigned),
        ("192.0.2.39", LeaseState::Declined),
        ("192.0.2.50", LeaseState::Assigned),
        ("192.0.2.51", LeaseState::Released),
        ("192.0.2.99", LeaseState::Assigned),
    ] {
        put(&state, address, 1, lease_state);
    }
    put(&state, "203.0.113.1", 3, LeaseState::Declined);
    let values = newest(&counting, Which::All);
    for (name, value) in [
        ("subnet[1].total-addresses", 25),
        ("subnet[1].assigned-addresses", 4),
        ("subnet[1].declined-addresses", 1),
        ("subnet[1].pool[0].total-addresses", 20),
        ("subnet[1].pool[0].assigned-addresses", 2),
        ("subnet[1].pool[0].declined-addresses", 1),
        ("subnet[1].pool[7].assigned-addresses", 1),
        ("subnet[1].pool[7].declined-addresses", 0),
        ("subnet[2].total-addresses", 0),
        ("assigned-addresses", 5),
        ("declined-addresses", 2),
        // What is written through the API is nobody's allocation, as in Kea.
        ("subnet[1].cumulative-assigned-addresses", 0),
        ("cumulative-assigned-addresses", 0),
    ] {
        assert_eq!(values[name], value, "{name}");
        let one = counting.statistics.get(name).unwrap();
        assert!(one.starts_with(&format!("[ [ {value}, ")), "{name}: {one}");
    }
}

#[test]
fn samples_are_taken_of_what_changed_and_follow_the_configuration() {
    let (counting, state) = counting(CONFIG);
    put(&state, "192.0.2.10", 1, LeaseState::Assigned);
    counting.count("pkt4-sent", 3);
    assert_eq!(counting.statistics.sample(), PERIOD);
    counting.clock.advance(Duration::from_secs(1));
    counting.count("pkt4-sent", 2);
    put(&state, "192.0.2.11", 1, LeaseState::Assigned);
    counting.statistics.sample();
    counting.statistics.sample();
    assert_eq!(
        counting.statistics.get("pkt4-sent").unwrap(),
        "[ [ 5, \"2026-11-23 21:40:01.000000\" ], [ 3, \"2026-11-23 21:40:00.000000\" ], \
         [ 0, \"2026-11-23 21:40:00.000000\" ] ]"
    );
    let assigned = counting.statistics.get("subnet[1].assigned-addresses").unwrap();
    assert_eq!(assigned.matches('[').count(), 1 + 2, "{assigned}");
    // Fewer samples, and the subnet is gone.
    let (_, rows) = counting.statistics.kept();
    let other = r#"{"Dhcp4":{"statistic-default-sample-count":1,"subnet4":[]}}"#;
    let set = Command::SetConfig(crate::state::SetConfig::json(other));
    let index = state.read().applied() + 1;
    let stamp = ClusterTime::from_millis(9_000);
    state.write().apply(index, &Batch { stamp, commands: vec![set] });
    counting.count("pkt4-sent", 1);
    counting.statistics.sample();
    assert!(counting.statistics.kept().1 < rows);
    assert_eq!(counting.statistics.get("pkt4-sent").unwrap().matches('[').count(), 1 + 1);
    assert_eq!(counting.statistics.get("subnet[1].assigned-addresses"), None);
}

#[test]
fn the_page_has_the_names_and_labels_of_storks_agent() {
    let (counting, state) = counting(CONFIG);
    put(&state, "203.0.113.1", 3, LeaseState::Declined);
    counting.count("pkt4-receive-drop", 4);
    counting.count("subnet[3].v4-allocation-fail", 2);
    let mut text = String::new();
    counting.statistics.metrics(true, &mut text).unwrap();
    let labels = "subnet=\"203.0.113.0/24\",subnet_id=\"3\",prefix=\"203.0.113.0/24\",\
                  shared_network=\"floor \\\"a\\\"\\\\\"";
    for line in [
        "kea_dhcp4_packets_received_total{operation=\"drop\"} 4".to_owned(),
        "kea_dhcp4_packets_sent_total{operation=\"ack\"} 0".to_owned(),
        "kea_dhcp4_global4_addresses_declined_total 1".to_owned(),
        format!("kea_dhcp4_addresses_assigned_total{{{labels}}} 1"),
        format!("kea_dhcp4_allocation_fail_total{{{labels}}} 2"),
        format!("kea_dhcp4_pool_addresses_total{{{labels},pool_id=\"0\"}} 9"),
        "# TYPE kea_dhcp4_addresses_total gauge".to_owned(),
        "# TYPE kea_dhcp4_addresses_reclaimed_total counter".to_owned(),
    ] {
        assert!(text.lines().any(|one| one == line), "{line}\n{text}");
    }
    assert!(!text.contains("allocation_fail_total{subnet=\"192"), "not before the first");
    let mut short = String::new();
    counting.statistics.metrics(false, &mut short).unwrap();
    assert!(!short.contains("subnet_id") && short.contains("global4_allocation_fail_total 0"));
}

/// Every metric of kea-stats §4 for DHCPv4.
#[test]
fn no_metric_of_storks_agent_is_missing_but_those_listed() {
    const WANTED: &str = "\
        global4_cumulative_addresses_assigned_total global4_addresses_declined_total \
        global4_addresses_declined_reclaimed_total global4_addresses_reclaimed_total \
        global4_allocation_fail_total global4_allocation_fail_shared_network_total \
        global4_allocation_fail_subnet_total global4_allocation_fail_no_pools_total \
        global4_allocation_fail_classes_total global4_lease_reuses_total \
        global4_reservation_conflicts_total addresses_total addresses_assigned_total \
        addresses_declined_total addresses_declined_reclaimed_total addresses_reclaimed_total \
        cumulative_addresses_assigned_total allocation_fail_total \
        allocation_fail_shared_network_total allocation_fail_subnet_total \
        allocation_fail_no_pools_total allocation_fail_classes_total lease_reuses_total \
        reservation_conflicts_total pool_addresses_total pool_addresses_assigned_total \
        pool_addresses_cumulative_assigned_total pool_addresses_declined_total \
        pool_addresses_declined_reclaimed_total pool_addresses_reclaimed_total";
    // The replicated state does not count them by pool.
    const LEFT_OUT: [&str; 3] = [
        "pool_addresses_cumulative_assigned_total",
        "pool_addresses_declined_reclaimed_total",
        "pool_addresses_reclaimed_total",
    ];
    let wanted: BTreeSet<&str> =
        WANTED.split_whitespace().filter(|name| !LEFT_OUT.contains(name)).collect();
    let tables = [&page::GLOBAL[..], &page::SUBNET, &page::POOL];
    let got: BTreeSet<&str> = tables.into_iter().flatten().map(|metric| metric.0).collect();
    assert_eq!(got, wanted);
}

/// Prometheus' own opinion, where its tool is installed: it minds nothing but that numbers which go up
/// and down are called total, as Stork calls them.
#[test]
fn promtool_minds_only_the_names_that_stork_gave() {
    use std::io::Write;
    use std::process::{Command as Process, Stdio};
    let (counting, state) = counting(CONFIG);
    put(&state, "203.0.113.1", 3, LeaseState::Assigned);
    counting.count("subnet[3].v4-allocation-fail", 2);
    let mut page = String::new();
    counting.statistics.metrics(true, &mut page).unwrap();
    let tool = Process::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut tool) = tool else {
        println!("skipped: promtool is not installed");
        return;
    };
    tool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let said = tool.wait_with_output().unwrap();
    let gauges: BTreeSet<String> = [&page::GLOBAL[..], &page::SUBNET, &page::POOL]
        .into_iter()
        .flatten()
        .filter(|metric| metric.2.is_gauge())
        .map(|metric| {
            format!("kea_dhcp4_{} non-counter metrics should not have \"_total\" suffix", metric.0)
        })
        .collect();
    let text = [said.stdout, said.stderr].concat();
    let complaints: BTreeSet<String> =
        String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
    assert_eq!(complaints, gauges);
}

#[test]
fn the_reference_page_is_that_of_the_table() {
    let page = reference();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(std::path::Path::new(PAGE).parent().unwrap()).unwrap();
        std::fs::write(PAGE, &page).unwrap();
    }
    let stored = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(page == stored, "docs/reference/statistics.md is stale; run the test with UPDATE=1");
}

fn reference() -> String {
    let mut out = String::from(REFERENCE_HEAD);
    let row = |out: &mut String, stat: &Stat| {
        let scopes = [
            (stat.is_global(), "global"),
            (stat.is_per_subnet(), "subnet"),
            (stat.is_per_pool(), "pool"),
        ];
        let scopes: Vec<&str> =
            scopes.into_iter().filter(|(there, _)| *there).map(|(_, name)| name).collect();
        let kind = if stat.is_gauge() { "gauge" } else { "counter" };
        let scopes = scopes.join(", ");
        writeln!(out, "| `{}` | {scopes} | {kind} | {} |", stat.name(), stat.about()).unwrap();
    };
    let head = |out: &mut String, title: &str, text: &str| {
        write!(out, "\n## {title}\n\n{text}\n\n").unwrap();
        out.push_str("| Name | Scopes | Kind | Meaning |\n|---|---|---|---|\n");
    };
    head(
        &mut out,
        "Counted by each node",
        "From the start of its process. Sum them over the nodes. With several nodes on one link each \
         hears a broadcast, one answers, and the others count it as `pkt4-not-for-us`.",
    );
    Stat::ALL.iter().filter(|stat| stat.is_of_node()).for_each(|stat| row(&mut out, stat));
    head(
        &mut out,
        "From the replicated state",
        "Equal on all nodes that have applied the same entries: take the largest, never the sum. They \
         survive restarts, and sums over all subnets keep what subnets counted that are gone.",
    );
    Stat::LEASES.iter().for_each(|stat| row(&mut out, stat));
    out.push_str("\n## Metrics\n\nOn `/metrics`, with Stork's names:\n\n");
    out.push_str("| Metric | Statistic |\n|---|---|\n");
    for (name, operations) in
        [("packets_received_total", &page::RECEIVED[..]), ("packets_sent_total", &page::SENT[..])]
    {
        for (operation, stat) in operations {
            let name = format!("kea_dhcp4_{name}{{operation=\"{operation}\"}}");
            writeln!(out, "| `{name}` | `{}` |", stat.name()).unwrap();
        }
    }
    for (table, scope) in [
        (&page::GLOBAL[..], ""),
        (&page::SUBNET[..], "subnet[ID]."),
        (&page::POOL[..], "subnet[ID].pool[PID]."),
    ] {
        for (name, _, stat) in table {
            writeln!(out, "| `kea_dhcp4_{name}` | `{scope}{}` |", stat.name()).unwrap();
        }
    }
    out
}

const REFERENCE_HEAD: &str = "\
# Statistics

Kea's names for DHCPv4, as the `statistic-*` commands and `/metrics` tell them. Made from the table in
`node/src/observe/statistics/names.rs`; a test compares the two.

Scopes: *global* is `x`, *subnet* is `subnet[ID].x`, *pool* is `subnet[ID].pool[PID].x`, where pools that share a `pool-id` are added.
The failures of a subnet (`subnet[ID].v4-allocation-fail…`) appear when the first is counted.

What is different from Kea:

* Samples are taken when a value has changed, once a second, and every 10 s with more than 1000 subnets; Kea takes one at every write. An
  answer always begins with the value of that moment. All names together keep 262144 samples; where that is not enough for
  `statistic-default-sample-count`, each keeps fewer. Times are UTC.
* `statistic-reset` sets the counters of the node that is asked. What follows from the replicated state stays what it is; the answer
  is 0 all the same.
* `statistic-remove` hides a name on the node that is asked until it changes.
* A negative `max-samples` or `duration`, and a `max-samples` of 0, are refused; Kea 3.0 accepts some of these and ends with a fault.
* `cumulative-assigned-addresses`, `reclaimed-leases` and `reclaimed-declined-addresses` are not there for pools: the replicated state
  counts them for subnets.
* A packet that the server deals with in silence is no drop, as in Kea: no subnet, no address, an unknown client.

`[control].subnet-metrics = false` in the node's settings leaves the numbers of subnets and pools out of `/metrics`.
";
