//! Partitions and stopped nodes, with clients on both sides that join, renew, reboot and release all the time.
//!
//! Lifetimes are short and the pool is small, so that addresses change hands while a node is away. The two cuts take 60 s each.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use chaos_tests::client::fleet::{Fleet, Verb};
use chaos_tests::client::machine::Patience;
use chaos_tests::clock;
use chaos_tests::floor::netns::cluster::{Cluster, Direction, Plan};
use chaos_tests::gate::{self, Gate};
use chaos_tests::oracle::history::Count;
use chaos_tests::oracle::{
    ClientId, History, What, agreement, durable_ack, expect_none, no_phantom, stale_nak,
    unique_address,
};

/// Clients 0–19 hear only the node in question, 20–39 only the others, 40–59 roam between them.
const GROUP: u32 = 20;

struct Story {
    cluster: Cluster,
    fleet: Fleet,
    /// Address of the node that will be in trouble.
    odd: Ipv4Addr,
    others: Vec<Ipv4Addr>,
    step: u32,
}

impl Story {
    /// A cluster with 60 clients at rest; the node in trouble is the leader, or a follower.
    fn begin(gate: Gate, of_leader: bool) -> Result<(Story, usize)> {
        let plan = Plan {
            pools: vec!["10.77.16.1 - 10.77.16.80".to_owned()],
            valid_lifetime: 20,
            renew_timer: 8,
            rebind_timer: 15,
            ..Plan::default()
        };
        let mut cluster = Cluster::start(gate, &plan)?;
        let node = if of_leader { cluster.leader()? } else { cluster.follower()? };
        let fleet = cluster.fleet(Patience { automatic: true, ..Patience::default() })?;
        let odd = cluster.nodes[node].address;
        let mut others: Vec<_> =
            cluster.addresses().into_iter().filter(|address| *address != odd).collect();
        if others.is_empty() {
            // One server under SUBJECT=kea: everybody hears it.
            others.push(odd);
        }
        let story = Story { cluster, fleet, odd, others, step: 0 };
        story.home();
        for client in story.everybody() {
            story.fleet.tell(client, Verb::Join);
        }
        story.fleet.wait_bound(&story.everybody(), 20_000)?;
        Ok((story, node))
    }

    /// Makes the present leader the node in trouble: it is another one after each cut.
    fn aim_at_leader(&mut self) -> Result<usize> {
        let leader = self.cluster.leader()?;
        self.odd = self.cluster.nodes[leader].address;
        self.others =
            self.cluster.addresses().into_iter().filter(|address| *address != self.odd).collect();
        self.home();
        Ok(leader)
    }

    fn everybody(&self) -> Vec<ClientId> {
        (0..3 * GROUP).map(ClientId).collect()
    }

    /// Everybody to his side, the roamers to all nodes.
    fn home(&self) {
        let all = self.cluster.addresses();
        for client in self.everybody() {
            match client.0 / GROUP {
                0 => self.fleet.hears(client, &[self.odd]),
                1 => self.fleet.hears(client, &self.others),
                _ => self.fleet.hears(client, &all),
            }
        }
    }

    /// Clients do things for `millis`, one every 50 ms; the roamers change sides every five seconds.
    fn churn(&mut self, millis: u64) {
        let end = clock::now_ms() + millis;
        while clock::now_ms() < end {
            self.step += 1;
            let step = self.step;
            if step.is_multiple_of(100) {
                let side: &[Ipv4Addr] = if step.is_multiple_of(200) {
                    &self.others
                } else {
                    std::slice::from_ref(&self.odd)
                };
                for client in (2 * GROUP..3 * GROUP).map(ClientId) {
                    self.fleet.hears(client, side);
                }
            }
            // Steps that have no common divisor with 60 reach everybody.
            let client = ClientId(step * 7 % (3 * GROUP));
            let verb = match step % 5 {
                0 => Verb::Release,
                1 => Verb::Reboot,
                2 => Verb::Rebind,
                3 => Verb::Renew,
                _ => Verb::Join,
            };
            self.fleet.tell(client, verb);
            clock::sleep_ms(50);
        }
    }

    /// All is healed: everybody must be served again, and what was promised must have been kept.
    fn end(mut self) -> Result<()> {
        self.cluster.wait_ready()?;
        self.home();
        let all = self.cluster.addresses();
        for client in self.everybody() {
            // The first group heard one node only; that node is back and must serve them.
            if client.0 >= GROUP {
                self.fleet.hears(client, &all);
            }
            self.fleet.tell(client, Verb::Reboot);
        }
        self.fleet.wait_bound(&self.everybody(), 40_000).context("after the fault")?;
        let history = self.fleet.stop();
        // Tables show times of day. The offset that makes them of cluster time may be wrong after an
        // outage, until the leader puts it right: at most every 5 s (R12).
        clock::sleep_ms(6_000);
        let (now, asked) = (clock::now_ms(), history.promises(Count::FromAsked));
        println!("{} ACKs, {} NAKs", history.acks(), history.naks());
        expect_none(
            "one address, one client",
            &unique_address::check(&history.promises(Count::FromAnswer)),
        )?;
        expect_none("no stale NAK", &stale_nak::check(&history))?;
        expect_none("ACKs agree", &agreement::check_acks(&history))?;
        let tolerance = durable_ack::Tolerance { early: 2_500, late: None };
        for index in 0..self.cluster.nodes.len() {
            let table = self.cluster.leases(index)?;
            expect_none(
                &format!("what was acknowledged is there on node {}", index + 1),
                &durable_ack::check(&asked, &table, now, tolerance),
            )?;
            expect_none("nothing nobody asked for", &no_phantom::check(&history, &table))?;
        }
        self.cluster.passed();
        Ok(())
    }
}

/// A node without a majority is silent (C12), and the others serve.
fn ensure_served_by_majority(history: &History, odd: Ipv4Addr, from: u64, to: u64) -> Result<()> {
    // What was committed before the cut may still be on its way.
    let settled = from + 3_000;
    let answers = history.events().iter().filter(|event| {
        (settled..to).contains(&event.at)
            && matches!(event.what, What::Acked { .. } | What::Refused { .. })
    });
    let (by_odd, by_others): (Vec<_>, Vec<_>) = answers.partition(|event| event.node == Some(odd));
    ensure!(by_odd.is_empty(), "the node without a majority answered, first: {}", by_odd[0]);
    ensure!(by_others.len() > 20, "the majority answered only {} times", by_others.len());
    Ok(())
}

fn cut_story(test: &str, phases: &[(Direction, u64)]) -> Result<()> {
    let Some(gate) = gate::enter_cluster(test, &[])? else { return Ok(()) };
    let (mut story, _) = Story::begin(gate, true)?;
    for (direction, millis) in phases {
        let leader = story.aim_at_leader()?;
        let cut = clock::now_ms();
        story.cluster.isolate(leader, *direction)?;
        story.churn(*millis);
        ensure_served_by_majority(&story.fleet.history(), story.odd, cut, clock::now_ms())
            .with_context(|| format!("cut {direction:?}"))?;
        story.cluster.heal()?;
        story.churn(4_000);
    }
    story.end()
}

#[test]
fn a_leader_cut_off_both_ways_for_a_minute_breaks_no_promise() -> Result<()> {
    cut_story(
        "a_leader_cut_off_both_ways_for_a_minute_breaks_no_promise",
        &[(Direction::Both, 60_000)],
    )
}

#[test]
fn a_leader_cut_off_one_way_for_a_minute_breaks_no_promise() -> Result<()> {
    // Half of the minute nobody hears it, half of it it hears nobody.
    let phases = [(Direction::FromFirst, 30_000), (Direction::ToFirst, 30_000)];
    cut_story("a_leader_cut_off_one_way_for_a_minute_breaks_no_promise", &phases)
}

#[test]
fn a_leader_stopped_for_ten_seconds_breaks_no_promise() -> Result<()> {
    let Some(gate) =
        gate::enter_cluster("a_leader_stopped_for_ten_seconds_breaks_no_promise", &[])?
    else {
        return Ok(());
    };
    let (mut story, leader) = Story::begin(gate, true)?;
    story.cluster.pause(leader)?;
    let stopped = clock::now_ms();
    story.churn(10_000);
    ensure_served_by_majority(&story.fleet.history(), story.odd, stopped, clock::now_ms())?;
    // It wakes with ten seconds of packets in its sockets and the belief that it leads.
    story.cluster.resume(leader)?;
    story.churn(5_000);
    story.end()
}

#[test]
fn a_killed_follower_breaks_no_promise() -> Result<()> {
    let Some(gate) = gate::enter_cluster("a_killed_follower_breaks_no_promise", &[])? else {
        return Ok(());
    };
    let (mut story, follower) = Story::begin(gate, false)?;
    story.cluster.kill(follower)?;
    let killed = clock::now_ms();
    story.churn(10_000);
    ensure_served_by_majority(&story.fleet.history(), story.odd, killed, clock::now_ms())?;
    story.cluster.start_node(follower)?;
    story.churn(5_000);
    story.end()
}

#[test]
fn a_lossy_network_between_the_nodes_breaks_no_promise() -> Result<()> {
    let Some(gate) = gate::enter("a_lossy_network_between_the_nodes_breaks_no_promise", &[])?
    else {
        return Ok(());
    };
    let (mut story, _) = Story::begin(gate, true)?;
    story.cluster.lose(50)?;
    story.churn(15_000);
    story.cluster.heal()?;
    story.end()
}
