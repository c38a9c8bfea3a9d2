//! DHCPv4 leases: Grant in the order of R2, RELEASE and DECLINE by R5, and the administrator's
//! commands of R9.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Subnet;
use crate::state::State;
use crate::state::command::{
    DeleteLease, Generation, GiveUp, Grant, GrantItem, InUse, PutLease, PutMode, Seen, Why,
    WipeLeases,
};
use crate::state::hosts::{grantable, reserved_for_other};
use crate::state::lease::{Lease, LeaseState, Rare};
use crate::state::outcome::{Granted, Outcome, Taken};
use crate::state::view::Availability;
use crate::types::{ClusterTime, HwAddr, Lifetime, SubnetId};

/// A RELEASE or DECLINE does not mean a lease that was granted so much later than it came (R5).
const GIVE_UP_SLACK: Duration = Duration::from_secs(1);

/// M11: one address in ten of a pool may be in probation through one circuit, but one at least.
const PROBATION_PART: u64 = 10;
/// No more of them, however large the pool: so many are counted at each DECLINE.
const PROBATION_MOST: usize = 4_096;

/// What cluster time may have moved between the arrival of a RELEASE or DECLINE that names no
/// generation and the entry that carries it: back by no more than clocks of nodes differ, and on by no
/// more than a packet may wait.
const TIMELY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));

/// Longer than a REQUEST can wait (2 s) plus the time in which its ACK may leave (2 s).
const SAME_EXCHANGE: Duration = Duration::from_secs(10);

impl State {
    /// R2, in its order.
    pub(super) fn grant(&mut self, place: Generation, grant: &Grant) -> Outcome {
        // (a)
        if self.meta.now > grant.not_after {
            return Outcome::Late;
        }
        // DHCPv4 asks for one address; what asks for another number of them was decided by
        // something this machine does not know.
        let ([item], Some(config)) = (grant.items.as_slice(), self.meta.config.clone()) else {
            return Outcome::Changed;
        };
        let Some(asked) = config.subnet(item.subnet) else { return Outcome::Changed };
        // Whose lease is whose (I2) follows the applied configuration, not the one the node knew.
        if grant.client.match_id != asked.values.match_client_id {
            return Outcome::Changed;
        }
        let current = self.view().lease_of(&grant.client, asked.network).cloned();
        let seen = current.as_ref().map(|lease| (lease.address, lease.generation));
        // A client that named no address has the lease it has, unless the node knew that lease and
        // moves the client on purpose (a reservation came, the pool went).
        let (want, subnet) = match &current {
            Some(lease) if item.why == Why::Unnamed && seen != item.held => {
                let Some(subnet) = config.subnet(lease.subnet) else { return Outcome::Changed };
                (lease.address, subnet)
            }
            _ => (item.want, asked),
        };
        // (b) asked also when the versions agree: whatever the command says, the applied
        // configuration must allow the binding.
        if !grantable(&config, subnet, want, &grant.client) {
            return Outcome::Changed;
        }
        let reserved = reserved_for_other(&config, subnet, want, &grant.client);
        if reserved && grant.config < self.meta.config_version {
            return Outcome::Changed;
        }
        // (c)
        if seen != item.held && seen.is_none_or(|(address, _)| address != want) {
            return Outcome::Changed;
        }
        // A DISCOVER leaves alone what its client holds (R6): its own address it is offered as it
        // stands, and for another one nothing can be kept beside it.
        let offering = item.why == Why::Offering;
        // What was checked is the address that was asked for.
        let checked = grant.checked && want == item.want;
        let held = !checked && !item.why.claims() && self.view().is_held(want, self.meta.now);
        if let Some(lease) = current.as_ref().filter(|lease| offering && !lease.offered) {
            if lease.address == want && self.meta.now < lease.reserved_until && !held {
                return Outcome::Granted(self.as_it_is(grant, lease));
            }
            if lease.address != want && lease.blocks_at(self.meta.now) {
                return Outcome::Changed;
            }
        }
        // (d)
        if reserved {
            return Outcome::Taken(Taken::Reserved);
        }
        if let Availability::Taken(why) =
            self.view().availability(want, &grant.client, self.meta.now)
        {
            return Outcome::Taken(why);
        }
        if held {
            return Outcome::Held;
        }
        // (e) `held` is retired only if it is still what the client has: `seen` says so.
        if let Some(lease) = current.filter(|lease| lease.address != want) {
            self.leases.remove(lease.address);
        }
        Outcome::Granted(self.bind(place, grant, item, want, subnet))
    }

    /// What an offer of the address that its client holds is answered with.
    fn as_it_is(&self, grant: &Grant, lease: &Lease) -> Granted {
        let now = self.meta.now;
        Granted::new(
            lease.address,
            lease.subnet,
            grant.client.key(),
            Lifetime::between(now, lease.expires),
            lease.expires,
            lease.generation,
            now,
        )
    }

    /// Writes the lease of `want`, which is free or this client's, or leaves it as it was if the
    /// last grant is fresh enough (R4).
    fn bind(
        &mut self,
        place: Generation,
        grant: &Grant,
        item: &GrantItem,
        want: Ipv4Addr,
        subnet: &Subnet,
    ) -> Granted {
        let now = self.meta.now;
        let holding = self.leases.get(want).filter(|lease| lease.held_by(&grant.client)).cloned();
        let generation = match &holding {
            Some(lease) if !item.why.begins_generation() => lease.generation,
            _ => place,
        };
        let cached = holding.as_ref().filter(|lease| is_fresh(lease, grant, item, subnet, now));
        let lease = match cached {
            // `granted`, the generation and the identity still follow the client: R5 and C7a rest
            // on them, and nobody sees them.
            Some(lease) => {
                Lease { generation, granted: now, identity: grant.identity, ..Lease::clone(lease) }
            }
            None => {
                let expires = now.plus_lifetime(item.lifetime);
                let due = expires.plus(self.grace(item.lifetime, subnet));
                let told = holding.as_ref().filter(|lease| !starts_afresh(lease, item.why, now));
                let kept = holding
                    .as_ref()
                    .zip(self.meta.recovery)
                    .map_or(ClusterTime::ZERO, |(lease, recovery)| recovery.keeps(lease, now));
                let relay_info = relay_info(grant, subnet);
                if holding.is_none() {
                    self.meta.total_mut(subnet.id).assigned += 1;
                }
                Lease {
                    address: want,
                    subnet: subnet.id,
                    client_id: grant.client.id.clone(),
                    hw: grant.client.hw,
                    hostname: grant.hostname.as_str().into(),
                    cltt: now,
                    valid: item.lifetime,
                    expires,
                    reserved_until: told.map_or(expires, |lease| lease.reserved_until.max(expires)),
                    due: told.map_or(due, |lease| lease.due.max(due)).max(kept),
                    granted: now,
                    generation,
                    state: LeaseState::Assigned,
                    identity: grant.identity,
                    fqdn_fwd: grant.fqdn_fwd,
                    fqdn_rev: grant.fqdn_rev,
                    offered: item.why == Why::Offering,
                    rare: Rare::new(
                        holding.as_ref().and_then(|lease| lease.user_context()).map(Into::into),
                        0,
                        // A renewal past the relay has none, and keeps what is known.
                        relay_info
                            .or_else(|| holding.as_ref().and_then(|lease| lease.relay_info()))
                            .map(Into::into),
                    ),
                }
            }
        };
        let granted = Granted::new(
            want,
            subnet.id,
            grant.client.key(),
            if cached.is_some() { Lifetime::between(now, lease.expires) } else { item.lifetime },
            lease.expires,
            generation,
            now,
        )
        .reusing(cached.is_some());
        self.leases.put(lease);
        granted
    }

    /// R7: how long after its end a lease of `lifetime` keeps its address from others.
    pub(in crate::state) fn grace(&self, lifetime: Lifetime, subnet: &Subnet) -> Duration {
        let by_default = || {
            if self.meta.members() <= 1 {
                return Duration::ZERO;
            }
            Duration::from_millis((u64::from(lifetime.as_secs()) * 10).clamp(2_000, 600_000))
        };
        subnet.values.grace.map_or_else(by_default, |secs| Duration::from_secs(secs.into()))
    }

    /// The lease that a RELEASE or DECLINE means (R5), if it may end it (A3).
    ///
    /// `by_circuit`: it must have come through the circuit of the lease's last REQUEST, if that is
    /// known (A3).
    fn meant(&self, give_up: &GiveUp, by_circuit: bool) -> Result<Arc<Lease>, Outcome> {
        let lease = self.leases.get(give_up.address).ok_or(Outcome::NotHeld)?;
        // Without a generation only time tells one holding from the next. A node that was cut off or
        // restarted may be ahead of the cluster's clock by the length of the outage, and its command
        // may have hung: the client can have come back to the address since.
        let arrived = give_up.arrived;
        let timely =
            || self.meta.now.plus(TIMELY.0) >= arrived && self.meta.now <= arrived.plus(TIMELY.1);
        let meant = lease.held_by(&give_up.client)
            && give_up.generation.map_or_else(timely, |generation| generation == lease.generation)
            && lease.granted <= give_up.arrived.plus(GIVE_UP_SLACK);
        let circuit = lease.request_circuit().filter(|_| by_circuit);
        match circuit {
            _ if !meant => Err(Outcome::NotHeld),
            Some(circuit) if circuit != give_up.circuit => Err(Outcome::OtherCircuit),
            _ => Ok(Arc::clone(lease)),
        }
    }

    /// M12: kept for its client while leases are kept after their end, else gone. Free at once.
    pub(super) fn release(&mut self, release: &GiveUp) -> Outcome {
        // A client with an address may release it past the relay; the engine has asked whether the
        // packet came from that address.
        let lease = match self.meant(release, release.relayed) {
            Ok(lease) => lease,
            Err(outcome) => return outcome,
        };
        let now = self.meta.now;
        match self.kept_until() {
            None => {
                self.leases.remove(lease.address);
            }
            Some(due) => {
                self.leases.put(Lease {
                    state: LeaseState::Released,
                    valid: Lifetime::from_secs(0),
                    expires: now,
                    reserved_until: now,
                    due,
                    offered: false,
                    ..Lease::clone(&lease)
                });
            }
        }
        Outcome::GivenUp
    }

    /// M9: the address goes into probation and loses its client. M11: the client is counted; and
    /// where something answers ARP for every address, not the whole pool goes: beyond its limit a
    /// circuit's DECLINEs end holdings and nothing more.
    pub(super) fn decline(&mut self, place: Generation, decline: &GiveUp) -> Outcome {
        let lease = match self.meant(decline, true) {
            Ok(lease) => lease,
            Err(outcome) => return outcome,
        };
        self.meta.declines.note(&decline.client.key(), place.0, self.meta.now);
        if self.is_probation_full(lease.subnet, lease.address, decline.circuit) {
            self.leases.remove(lease.address);
            return Outcome::DeclineLimit;
        }
        self.put_in_probation(lease.subnet, lease.address, lease.generation, decline.circuit);
        Outcome::GivenUp
    }

    /// M4: an address that nobody holds and somebody uses goes into probation. The limit of M11 counts
    /// these as it counts DECLINEs: where something answers for every address, not the whole pool goes.
    pub(super) fn in_use(&mut self, place: Generation, found: &InUse) -> Outcome {
        let InUse { subnet, address, circuit, .. } = *found;
        let Some(config) = &self.meta.config else { return Outcome::NotHeld };
        let open = config.subnet(subnet).is_some_and(|subnet| subnet.prefix.contains(address));
        // One that is over waits for the sweep, which counts its end and tells of it.
        let held = self.leases.get(address).is_some_and(|lease| lease.state.blocks());
        // R28: who answers there may be the holder that we do not know, and must be able to claim it.
        if !open || held || self.view().is_held(address, self.meta.now) {
            return Outcome::NotHeld;
        }
        if self.is_probation_full(subnet, address, circuit) {
            return Outcome::DeclineLimit;
        }
        self.put_in_probation(subnet, address, place, circuit);
        Outcome::GivenUp
    }

    /// For `decline-probation-period` the address is nobody's.
    fn put_in_probation(
        &mut self,
        subnet: SubnetId,
        address: Ipv4Addr,
        generation: Generation,
        circuit: u64,
    ) {
        let now = self.meta.now;
        let probation =
            self.meta.config.as_ref().map_or(DEFAULT_PROBATION, |config| config.decline_probation);
        let probation = Lifetime::from_secs(probation);
        let end = now.plus_lifetime(probation);
        self.meta.total_mut(subnet).declined += 1;
        self.leases.put(Lease {
            address,
            subnet,
            client_id: None,
            hw: nobody(),
            hostname: "".into(),
            cltt: now,
            valid: probation,
            expires: end,
            reserved_until: end,
            due: end,
            granted: now,
            generation,
            state: LeaseState::Declined,
            identity: Ipv4Addr::UNSPECIFIED,
            fqdn_fwd: false,
            fqdn_rev: false,
            offered: false,
            rare: Rare::new(None, circuit, None),
        });
    }

    /// M11: whether the circuit has its part of the address's pool in probation.
    fn is_probation_full(&self, subnet: SubnetId, address: Ipv4Addr, circuit: u64) -> bool {
        let subnet = self.meta.config.as_ref().and_then(|config| config.subnet(subnet));
        let pool = subnet.and_then(|subnet| subnet.pool_of(address));
        // An address outside every pool is its client's own: nobody else's supply shrinks.
        let Some(pool) = pool.filter(|_| circuit != 0) else { return false };
        let part = usize::try_from(pool.range.size() / PROBATION_PART).unwrap_or(usize::MAX);
        let most = part.clamp(1, PROBATION_MOST);
        self.leases.declined_through(circuit, pool.range, most) >= most
    }

    /// `lease4-add` and `lease4-update` (R9): pools, reservations and other clients are not asked,
    /// as in Kea; the subnet must exist and hold the address.
    pub(super) fn put_lease(&mut self, place: Generation, put: &PutLease) -> Outcome {
        let Some(config) = self.meta.config.clone() else { return Outcome::NoSubnet(put.subnet) };
        let Some(subnet) = config.subnet(put.subnet) else { return Outcome::NoSubnet(put.subnet) };
        if !subnet.prefix.contains(put.address) {
            return Outcome::OutsideSubnet(put.subnet);
        }
        let old = self.leases.get(put.address).cloned();
        match (put.mode, &old) {
            (PutMode::Add, Some(_)) => return Outcome::LeaseExists,
            (PutMode::Update | PutMode::UpdateSeen(_), None) => return Outcome::NoLease,
            (PutMode::UpdateSeen(seen), Some(old)) if Seen::of(old) != seen => {
                return Outcome::NoLease;
            }
            _ => {}
        }
        let now = self.meta.now;
        let (cltt, expires) = self.ends_of(put);
        let due = match put.state {
            LeaseState::Assigned => expires.plus(self.grace(put.lifetime, subnet)),
            LeaseState::Declined => expires,
            LeaseState::Reclaimed | LeaseState::Released => self.kept_until().unwrap_or(now),
        };
        self.leases.put(Lease {
            address: put.address,
            subnet: put.subnet,
            client_id: put.client_id.clone(),
            hw: put.hw,
            hostname: put.hostname.as_str().into(),
            cltt,
            valid: put.lifetime,
            expires,
            reserved_until: expires,
            due,
            granted: now,
            generation: place,
            state: put.state,
            identity: old.as_ref().map_or(Ipv4Addr::UNSPECIFIED, |lease| lease.identity),
            fqdn_fwd: put.fqdn_fwd,
            fqdn_rev: put.fqdn_rev,
            offered: false,
            rare: Rare::new(
                (!put.user_context.is_empty()).then(|| put.user_context.as_str().into()),
                0,
                None,
            ),
        });
        Outcome::LeaseWritten { created: old.is_none() }
    }

    /// Begin and end of an administrator's lease: `expire` is the end, else it begins now. An
    /// infinite one has no end whatever `expire` says.
    fn ends_of(&self, put: &PutLease) -> (ClusterTime, ClusterTime) {
        let now = self.meta.now;
        match put.expire {
            Some(expire) if !put.lifetime.is_infinite() => {
                let begin = expire.saturating_sub(i64::from(put.lifetime.as_secs()));
                (self.meta.cluster_time(begin), self.meta.cluster_time(expire))
            }
            _ => (now, now.plus_lifetime(put.lifetime)),
        }
    }

    /// `lease4-del` (R9).
    pub(super) fn delete_lease(&mut self, delete: &DeleteLease) -> Outcome {
        let meant = |lease: &&Arc<Lease>| delete.seen.is_none_or(|seen| Seen::of(lease) == seen);
        if self.leases.get(delete.address).filter(meant).is_none() {
            return Outcome::NoLease;
        }
        self.leases.remove(delete.address);
        Outcome::Deleted { count: 1 }
    }

    /// `lease4-wipe` (R9), one step.
    pub(super) fn wipe_leases(&mut self, wipe: &WipeLeases) -> Outcome {
        let mut rest = self.leases.table().range(u32::from(wipe.from)..).map(|(_, lease)| lease);
        let doomed: Vec<Ipv4Addr> = rest
            .by_ref()
            .take(WipeLeases::MAX)
            .filter(|lease| wipe.subnet.is_none_or(|subnet| lease.subnet == subnet))
            .map(|lease| lease.address)
            .collect();
        let (next, count) = (rest.next().map(|lease| lease.address), doomed.len() as u64);
        for address in doomed {
            self.leases.remove(address);
        }
        match next {
            Some(next) => Outcome::Wiped { count, next },
            None => Outcome::Deleted { count },
        }
    }
}

/// R6: whether a Grant lets go of what its client was told before.
///
/// A client in INIT has given that up. It may still be the same exchange, repeated while the first
/// ACK is under way, so a fresh grant is never let go of. A client that reboots may go on with its
/// old lease if no answer reaches it (RFC 2131 §3.2 point 4): INIT-REBOOT keeps the larger end, as
/// renewals do, although it begins a generation.
fn starts_afresh(lease: &Lease, why: Why, now: ClusterTime) -> bool {
    matches!(why, Why::Selecting | Why::Unnamed | Why::Offering)
        && now > lease.granted.plus(SAME_EXCHANGE)
}

/// Option 82 as `store-extended-info` wants it kept.
fn relay_info<'a>(grant: &'a Grant, subnet: &Subnet) -> Option<&'a [u8]> {
    let info = grant.relay_info.as_deref().filter(|_| subnet.values.store_extended_info)?;
    (!info.is_empty() && info.len() <= Grant::MOST_RELAY_INFO).then_some(info)
}

/// Kea's default of `decline-probation-period`, for a machine without a configuration.
const DEFAULT_PROBATION: u32 = 86_400;

fn nobody() -> HwAddr {
    HwAddr::new(HwAddr::ETHERNET, &[]).expect("no bytes are not too many")
}

/// What an OFFER may say of the lease that its client holds: what is left of it, if the Grant that
/// will follow would be answered from it as it stands (R4, M8), as Kea shows it.
pub fn cached_lifetime(
    lease: &Lease,
    grant: &Grant,
    subnet: &Subnet,
    now: ClusterTime,
) -> Option<Lifetime> {
    let [item] = grant.items.as_slice() else { return None };
    let fresh = lease.held_by(&grant.client) && is_fresh(lease, grant, item, subnet, now);
    fresh.then(|| Lifetime::between(now, lease.expires))
}

/// R4, M8: whether `lease` answers the Grant without being written again. As Kea's
/// `cache-threshold` and `cache-max-age`: the last written grant is at most that old, and nothing
/// that people see of the lease would change.
fn is_fresh(
    lease: &Lease,
    grant: &Grant,
    item: &GrantItem,
    subnet: &Subnet,
    now: ClusterTime,
) -> bool {
    let same = lease.subnet == subnet.id
        && lease.client_id == grant.client.id
        && lease.hw == grant.client.hw
        && *lease.hostname == *grant.hostname
        && (lease.fqdn_fwd, lease.fqdn_rev) == (grant.fqdn_fwd, grant.fqdn_rev)
        && relay_info(grant, subnet).is_none_or(|info| lease.relay_info() == Some(info));
    // An offer that is accepted was never told: the lease begins here.
    if lease.offered || item.why == Why::Offering {
        return false;
    }
    if !same || Lifetime::between(now, lease.expires).as_secs() == 0 {
        return false;
    }
    let values = &subnet.values;
    if !(values.cache_threshold > 0.0 && values.cache_threshold <= 1.0) {
        return false;
    }
    // Another lifetime is news to the client; Kea 3 writes it as well.
    if lease.valid != item.lifetime {
        return false;
    }
    if lease.valid.is_infinite() {
        return true;
    }
    let age = now.since(lease.cltt).as_millis();
    // Of the lifetime that would be granted, as Kea has it.
    let by_share = f64::from(item.lifetime.as_secs()) * 1000.0 * values.cache_threshold;
    let by_age = values.cache_max_age.map_or(u128::MAX, |secs| u128::from(secs) * 1000);
    age <= by_share as u128 && age <= by_age
}
