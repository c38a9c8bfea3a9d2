//! The statistics on `/metrics`, under the names and labels that Stork's agent exports, so that its
//! dashboards work without it (kea-stats §4). What counts is a counter here; the agent calls all of
//! them gauges. Nothing that is reset or removed through the API changes here.

use std::fmt::{self, Write};

use super::names::Stat;
use super::{Counted, Figures, Row, Statistics};

/// A metric: its name behind `kea_dhcp4_`, what it is, and the statistic behind it.
pub(super) type Metric = (&'static str, &'static str, Stat);

/// Label `operation` of `kea_dhcp4_packets_received_total`.
pub(super) const RECEIVED: [(&str, Stat); 11] = [
    ("ack", Stat::AckReceived),
    ("decline", Stat::DeclineReceived),
    ("discover", Stat::DiscoverReceived),
    ("drop", Stat::Dropped),
    ("inform", Stat::InformReceived),
    ("nak", Stat::NakReceived),
    ("offer", Stat::OfferReceived),
    ("parse-failed", Stat::ParseFailed),
    ("release", Stat::ReleaseReceived),
    ("request", Stat::RequestReceived),
    ("unknown", Stat::UnknownReceived),
];

/// Label `operation` of `kea_dhcp4_packets_sent_total`.
pub(super) const SENT: [(&str, Stat); 3] =
    [("ack", Stat::AckSent), ("nak", Stat::NakSent), ("offer", Stat::OfferSent)];

/// Numbers for everything.
#[rustfmt::skip]
pub(super) const GLOBAL: [Metric; 11] = [
    ("global4_cumulative_addresses_assigned_total", "Leases that began with a request", Stat::CumulativeAssigned),
    ("global4_addresses_declined_total", "Addresses in probation", Stat::DeclinedAddresses),
    ("global4_addresses_declined_reclaimed_total", "Addresses whose probation has ended", Stat::ReclaimedDeclined),
    ("global4_addresses_reclaimed_total", "Leases that ran out", Stat::ReclaimedLeases),
    ("global4_allocation_fail_total", "Searches that found no address", Stat::AllocationFail),
    ("global4_allocation_fail_shared_network_total", "Failed searches in shared networks", Stat::AllocationFailSharedNetwork),
    ("global4_allocation_fail_subnet_total", "Failed searches in plain subnets", Stat::AllocationFailSubnet),
    ("global4_allocation_fail_no_pools_total", "Searches that found no pool", Stat::AllocationFailNoPools),
    ("global4_allocation_fail_classes_total", "Failed searches for packets in a class", Stat::AllocationFailClasses),
    ("global4_lease_reuses_total", "Requests answered from the lease as it was", Stat::LeaseReuses),
    ("global4_reservation_conflicts_total", "Clients whose reserved address another has", Stat::ReservationConflicts),
];

/// Numbers of a subnet: labels `subnet`, `subnet_id`, `prefix` and `shared_network`.
#[rustfmt::skip]
pub(super) const SUBNET: [Metric; 13] = [
    ("addresses_total", "Addresses in the pools of the subnet", Stat::TotalAddresses),
    ("addresses_assigned_total", "Leases assigned or declined", Stat::AssignedAddresses),
    ("addresses_declined_total", "Addresses in probation", Stat::DeclinedAddresses),
    ("addresses_declined_reclaimed_total", "Addresses whose probation has ended", Stat::ReclaimedDeclined),
    ("addresses_reclaimed_total", "Leases that ran out", Stat::ReclaimedLeases),
    ("cumulative_addresses_assigned_total", "Leases that began with a request", Stat::CumulativeAssigned),
    ("allocation_fail_total", "Searches that found no address", Stat::AllocationFail),
    ("allocation_fail_shared_network_total", "Failed searches in shared networks", Stat::AllocationFailSharedNetwork),
    ("allocation_fail_subnet_total", "Failed searches in plain subnets", Stat::AllocationFailSubnet),
    ("allocation_fail_no_pools_total", "Searches that found no pool", Stat::AllocationFailNoPools),
    ("allocation_fail_classes_total", "Failed searches for packets in a class", Stat::AllocationFailClasses),
    ("lease_reuses_total", "Requests answered from the lease as it was", Stat::LeaseReuses),
    ("reservation_conflicts_total", "Clients whose reserved address another has", Stat::ReservationConflicts),
];

/// Numbers of the pools of a subnet that share an id: the labels of the subnet, and `pool_id`.
#[rustfmt::skip]
pub(super) const POOL: [Metric; 3] = [
    ("pool_addresses_total", "Addresses in the pools with this id", Stat::TotalAddresses),
    ("pool_addresses_assigned_total", "Leases assigned or declined in these pools", Stat::AssignedAddresses),
    ("pool_addresses_declined_total", "Addresses of these pools in probation", Stat::DeclinedAddresses),
];

/// A subnet as the page has it.
struct Line {
    labels: String,
    figures: Figures,
    counted: Vec<(Stat, u64)>,
    pools: Vec<(u32, Figures)>,
}

impl Line {
    fn of(row: &Row<'_>, counted: &Counted) -> Line {
        let network = row.config.network_of(row.subnet).name.as_deref().unwrap_or_default();
        let (id, prefix) = (row.subnet.id, row.subnet.prefix);
        let labels = format!(
            "subnet=\"{prefix}\",subnet_id=\"{id}\",prefix=\"{prefix}\",shared_network=\"{}\"",
            Escaped(network)
        );
        Line {
            labels,
            figures: row.figures,
            counted: counted.of_subnet(id).collect(),
            pools: row.pools.iter().map(|(id, figures)| (*id, *figures)).collect(),
        }
    }

    fn value(&self, stat: Stat) -> Option<u64> {
        if !stat.is_of_node() {
            return Some(self.figures.of(stat));
        }
        self.counted.iter().find(|(one, _)| *one == stat).map(|(_, value)| *value)
    }
}

/// The value of a label.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

impl Statistics {
    /// Adds the statistics to a page in Prometheus' text format, subnets and pools only if they are
    /// wanted: with thousands of them that is megabytes.
    ///
    /// # Errors
    /// Never: writing to a string does not fail.
    pub fn metrics(&self, with_subnets: bool, out: &mut String) -> fmt::Result {
        let counted = self.counts.counted();
        let figures = self.figures();
        for (direction, operations) in [("received", &RECEIVED[..]), ("sent", &SENT[..])] {
            let name = format!("packets_{direction}_total");
            let help = format!("DHCPv4 packets {direction} by this node, by operation");
            head(out, &name, &help, false)?;
            for (operation, stat) in operations {
                let value = counted.of(*stat);
                writeln!(out, "kea_dhcp4_{name}{{operation=\"{operation}\"}} {value}")?;
            }
        }
        for (name, help, stat) in GLOBAL {
            let value = if stat.is_of_node() { counted.of(stat) } else { figures.of(stat) };
            head(out, name, help, stat.is_gauge())?;
            writeln!(out, "kea_dhcp4_{name} {value}")?;
        }
        if !with_subnets {
            return Ok(());
        }
        let mut lines: Vec<Line> = Vec::new();
        self.each_subnet(&mut |rows| lines.extend(rows.iter().map(|row| Line::of(row, &counted))));
        for (name, help, stat) in SUBNET {
            let mut samples =
                lines.iter().filter_map(|line| Some((line, line.value(stat)?))).peekable();
            // A description without numbers would be a mistake in the format.
            if samples.peek().is_none() {
                continue;
            }
            head(out, name, help, stat.is_gauge())?;
            for (line, value) in samples {
                writeln!(out, "kea_dhcp4_{name}{{{}}} {value}", line.labels)?;
            }
        }
        if lines.iter().all(|line| line.pools.is_empty()) {
            return Ok(());
        }
        for (name, help, stat) in POOL {
            head(out, name, help, stat.is_gauge())?;
            for Line { labels, pools, .. } in &lines {
                for (id, figures) in pools {
                    let value = figures.of(stat);
                    writeln!(out, "kea_dhcp4_{name}{{{labels},pool_id=\"{id}\"}} {value}")?;
                }
            }
        }
        Ok(())
    }
}

fn head(out: &mut String, name: &str, help: &str, is_gauge: bool) -> fmt::Result {
    let kind = if is_gauge { "gauge" } else { "counter" };
    writeln!(out, "# HELP kea_dhcp4_{name} {help}\n# TYPE kea_dhcp4_{name} {kind}")
}
