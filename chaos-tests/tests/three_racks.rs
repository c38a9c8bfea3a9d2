//! `deploy/three-racks`: its files on three machines, with real relays and a real client in each rack.

use anyhow::{Context, Result, ensure};
use chaos_tests::floor::netns::cleanup::WorkDir;
use chaos_tests::floor::netns::machine::{self, Got};
use chaos_tests::floor::netns::racks::{RACKS, Rack, ThreeRacks};
use chaos_tests::{clock, gate};
use serde_json::Value;

#[test]
fn three_racks_serve_their_clients_through_relays_also_with_a_machine_gone() -> Result<()> {
    let test = "three_racks_serve_their_clients_through_relays_also_with_a_machine_gone";
    let tools = [machine::TOOLS, &["dhcrelay", "udhcpc"]].concat();
    let Some(_gate) = gate::enter(test, &tools)? else { return Ok(()) };
    let mut lab = WorkDir::create(test)?;
    let mut racks = ThreeRacks::start(lab.path(), 0)?;
    let clients: Vec<Rack> =
        (0..3).map(|index| racks.rack(index, lab.path())).collect::<Result<_>>()?;
    let first = leases(&clients)?;
    for (rack, got) in (1..).zip(&first) {
        ensure!(got.address.starts_with(&format!("10.{rack}.0.")), "rack {rack}: {got:?}");
    }

    // The machine of the leader goes, at once and for good.
    let leader = leader(&racks)?;
    let index = RACKS
        .iter()
        .position(|rack| leader == format!("rack-{rack}-1"))
        .with_context(|| format!("the leader is {leader}"))?;
    let began = clock::now_ms();
    drop(racks.nodes.remove(index));
    // udhcpc remembers nothing: that each gets the address it had is the cluster's memory.
    let again = leases(&clients)?;
    println!(
        "{leader} gone; all clients have their lease again after {} ms",
        clock::now_ms() - began
    );
    let addresses = |all: &[Got]| all.iter().map(|got| got.address.clone()).collect::<Vec<_>>();
    ensure!(addresses(&again) == addresses(&first), "{first:?} became {again:?}");
    ensure!(self::leader(&racks)? != leader, "the dead leads");
    lab.passed();
    Ok(())
}

fn leases(clients: &[Rack]) -> Result<Vec<Got>> {
    clients
        .iter()
        .map(|rack| machine::lease(&rack.client).with_context(|| rack.relay_said()))
        .collect()
}

/// The leader's name, once there is one.
fn leader(racks: &ThreeRacks) -> Result<String> {
    clock::wait_for_every(200, "a leader", 10_000, || {
        let status: Value = serde_json::from_str(&racks.ctl("-o json status").ok()?.stdout).ok()?;
        let nodes = status["nodes"].as_array()?;
        let leader = nodes.iter().find(|node| node["id"] == status["leader"])?;
        leader["name"].as_str().map(str::to_owned)
    })
}
