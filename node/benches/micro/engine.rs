//! The packet engine: one packet, with few and with many leases in the machine.

use std::cell::Cell;

use divan::{Bencher, black_box};
use leasehold::dhcp::decision::Decision;
use leasehold::dhcp::v4::{Packet, handle};
use leasehold::packet::v4::MessageType;
use leasehold::state::{Batch, State, Why};
use leasehold::types::ClusterTime;

use crate::support::{
    FEW, Local, MANY, OWN, grant, nth_address, packet, populated, query, scattered, shared, site,
};

const NOW: ClusterTime = ClusterTime::ZERO;

/// So many different packets, so that not one client's leases alone are in the cache.
const PACKETS: u32 = 4_096;

fn populated_site(leases: u32, with: impl FnOnce(&mut State)) {
    shared(&format!("site of {leases}"), || populated(&site(""), leases), with);
}

fn handle_each(bencher: Bencher<'_, '_>, state: &State, packets: &[Packet]) {
    let local = Local::new();
    let at = Cell::new(0);
    bencher.bench_local(|| {
        at.set(at.get() + 1);
        let packet = &packets[at.get() % packets.len()];
        handle(black_box(packet), &local.context(at.get() as u64), state.view(), NOW)
    });
}

fn packets(of: impl Fn(u32) -> Vec<u8>) -> Vec<Packet> {
    (0..PACKETS).map(|n| packet(of(n), NOW)).collect()
}

/// One of the clients that have a lease.
fn known(n: u32, leases: u32) -> u32 {
    (scattered(n.into()) % u64::from(leases)) as u32
}

#[divan::bench(args = [FEW, MANY])]
fn discover_of_a_new_client(bencher: Bencher<'_, '_>, leases: u32) {
    let packets = packets(|n| query(MessageType::Discover, leases + n).encode());
    populated_site(leases, |state| handle_each(bencher, state, &packets));
}

#[divan::bench(args = [FEW, MANY])]
fn discover_of_a_known_client(bencher: Bencher<'_, '_>, leases: u32) {
    let packets = packets(|n| query(MessageType::Discover, known(n, leases)).encode());
    populated_site(leases, |state| handle_each(bencher, state, &packets));
}

#[divan::bench(args = [FEW, MANY])]
fn request_of_an_offer(bencher: Bencher<'_, '_>, leases: u32) {
    let request = |n| {
        let request = query(MessageType::Request, leases + n);
        request.requested_address(nth_address(leases + n)).option(54, &OWN.octets()).encode()
    };
    let packets = packets(request);
    populated_site(leases, |state| handle_each(bencher, state, &packets));
}

#[divan::bench(args = [FEW, MANY])]
fn renewal(bencher: Bencher<'_, '_>, leases: u32) {
    let packets = packets(|n| {
        let n = known(n, leases);
        query(MessageType::Request, n).giaddr([0; 4].into()).ciaddr(nth_address(n)).encode()
    });
    populated_site(leases, |state| handle_each(bencher, state, &packets));
}

/// From the outcome to the bytes of the ACK.
#[divan::bench]
fn finish(bencher: Bencher<'_, '_>) {
    let state = populated(&site(""), FEW);
    let local = Local::new();
    let want = nth_address(FEW);
    let request = query(MessageType::Request, FEW).requested_address(want);
    let packet = packet(request.option(54, &OWN.octets()).encode(), NOW);
    let handled = handle(&packet, &local.context(1), state.view(), NOW);
    let Decision::Commit(_, pending) = handled.decision else { panic!("a REQUEST is committed") };
    let commands = vec![leasehold::state::Command::Grant(grant(FEW, want, Why::Selecting, NOW))];
    let mut after = state.clone();
    let outcome = after.apply(after.applied() + 1, &Batch { stamp: NOW, commands }).remove(0);
    bencher.with_inputs(|| pending.clone()).bench_local_values(|pending| {
        pending.finish(black_box(&outcome), &local.context(1), state.view(), NOW)
    });
}
