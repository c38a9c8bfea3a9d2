//! What an import does with a lease, given what the cluster has for its address. Pure.
//!
//! The cluster's word on an address is never made worse: the lease of another client stays, and a
//! lease of the same client is only replaced by one of a later transaction that does not end earlier.

use super::lease::Lease;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The address has no lease: add it.
    Add,
    /// Put it in the place of the lease with this `cltt`.
    Replace(i64),
    /// The cluster has it as it is.
    Same,
    /// The same client has a lease there, and the cluster has heard of it later.
    Newer,
    /// It ended, and nobody is owed anything.
    Over,
    /// Somebody else has the address: who.
    Taken(String),
}

/// Times that are shown in seconds, and were moved by the correction of a clock, may differ by so much.
const ROUNDING: i64 = 1;

/// Judges `lease` at the Unix second `now`. With `overwrite` leases of others do not stay.
pub fn judge(lease: &Lease, there: Option<&Lease>, now: i64, overwrite: bool) -> Verdict {
    if lease.is_over(now) {
        return Verdict::Over;
    }
    let Some(there) = there else { return Verdict::Add };
    if same_holder(lease, there) {
        return match () {
            () if same(lease, there) => Verdict::Same,
            () if later(lease, there) => Verdict::Replace(there.cltt),
            () => Verdict::Newer,
        };
    }
    if !there.holds() || overwrite {
        return Verdict::Replace(there.cltt);
    }
    Verdict::Taken(format!("the cluster has this address for {there}"))
}

/// Whether both are leases of one client: by its identifier if both have one, else by its hardware
/// address. Nobody has a declined address.
fn same_holder(a: &Lease, b: &Lease) -> bool {
    use super::lease::State::Declined;
    match (a.state == Declined, b.state == Declined) {
        (true, true) => return true,
        (false, false) => {}
        _ => return false,
    }
    match (&a.client_id, &b.client_id) {
        (Some(a), Some(b)) => a == b,
        _ => a.hw.bytes() == b.hw.bytes() && !a.hw.bytes().is_empty(),
    }
}

/// Whether nothing that people or clients see differs. The beginning of a lease without end is not kept.
fn same(a: &Lease, b: &Lease) -> bool {
    let near = |a: i64, b: i64| a.abs_diff(b) <= ROUNDING.unsigned_abs();
    let when = a.valid == b.valid && (a.ends() == i64::MAX || near(a.cltt, b.cltt));
    let json = |lease: &Lease| -> Option<serde_json::Value> {
        serde_json::from_str(lease.context.as_deref()?).ok()
    };
    when && a.state == b.state
        && a.subnet == b.subnet
        && a.hw.bytes() == b.hw.bytes()
        && a.client_id == b.client_id
        && a.hostname == b.hostname
        && (a.fqdn_fwd, a.fqdn_rev) == (b.fqdn_fwd, b.fqdn_rev)
        && (a.context == b.context || json(a) == json(b))
}

/// Whether its client was answered later, and not told an earlier end.
fn later(lease: &Lease, there: &Lease) -> bool {
    lease.cltt > there.cltt + ROUNDING
        && (!there.holds() || lease.ends() >= there.ends().saturating_sub(ROUNDING))
}

#[cfg(test)]
mod tests {
    use super::super::lease::testing::lease;
    use super::super::lease::{FOREVER, SKEW, State};
    use super::*;

    const NOW: i64 = 12_000;

    fn base() -> Lease {
        lease("192.0.2.1", 1)
    }

    fn verdict(lease: &Lease, there: &Lease) -> Verdict {
        judge(lease, Some(there), NOW, false)
    }

    #[test]
    fn an_address_without_a_lease_gets_it_and_the_second_time_nothing_changes() {
        assert_eq!(judge(&base(), None, NOW, false), Verdict::Add);
        assert_eq!(verdict(&base(), &base()), Verdict::Same);
        let shifted = Lease { cltt: 10_001, ..base() };
        assert_eq!(verdict(&base(), &shifted), Verdict::Same);
        assert_eq!(verdict(&shifted, &base()), Verdict::Same);
        let endless = Lease { valid: FOREVER, ..base() };
        assert_eq!(verdict(&endless, &Lease { cltt: 11_999, ..endless.clone() }), Verdict::Same);
        let spaced = Lease { context: Some("{ \"a\": 1 }".into()), ..base() };
        let tight = Lease { context: Some("{\"a\":1}".into()), ..base() };
        assert_eq!(verdict(&spaced, &tight), Verdict::Same);
    }

    #[test]
    fn what_is_over_is_left_out_unless_clocks_could_differ() {
        assert_eq!(judge(&base(), None, 13_600 + SKEW, false), Verdict::Add);
        assert_eq!(judge(&base(), None, 13_601 + SKEW, false), Verdict::Over);
        for state in [State::Reclaimed, State::Released] {
            assert_eq!(judge(&Lease { state, ..base() }, None, NOW, false), Verdict::Over);
        }
        let endless = Lease { valid: FOREVER, ..base() };
        assert_eq!(judge(&endless, None, i64::MAX, false), Verdict::Add);
    }

    #[test]
    fn the_same_client_keeps_what_it_was_told_last() {
        let renewed = Lease { cltt: 11_000, ..base() };
        assert_eq!(verdict(&renewed, &base()), Verdict::Replace(10_000));
        assert_eq!(verdict(&base(), &renewed), Verdict::Newer);
        let shortened = Lease { cltt: 11_000, valid: 1_000, ..base() };
        assert_eq!(verdict(&shortened, &base()), Verdict::Newer, "never an earlier end");
        let renamed = Lease { hostname: "other".into(), ..base() };
        assert_eq!(verdict(&base(), &renamed), Verdict::Newer, "no later transaction");
        let released = Lease { state: State::Released, ..base() };
        assert_eq!(verdict(&base(), &released), Verdict::Newer, "given back at the cluster");
        assert_eq!(verdict(&renewed, &released), Verdict::Replace(10_000));
        // By its identifier, on another machine.
        let id =
            |hw: u8| Lease { client_id: Some("01:02".parse().unwrap()), ..lease("192.0.2.1", hw) };
        assert_eq!(verdict(&Lease { cltt: 11_000, ..id(1) }, &id(2)), Verdict::Replace(10_000));
    }

    #[test]
    fn the_lease_of_another_client_stays() {
        let other = lease("192.0.2.1", 2);
        let newer = Lease { cltt: 11_000, ..base() };
        assert!(
            matches!(verdict(&newer, &other), Verdict::Taken(who) if who.contains("02:00:00:00:00:02"))
        );
        assert_eq!(judge(&newer, Some(&other), NOW, true), Verdict::Replace(10_000));
        let over = Lease { state: State::Reclaimed, ..other.clone() };
        assert_eq!(verdict(&base(), &over), Verdict::Replace(10_000));
        let id = |id: &str| Lease { client_id: Some(id.parse().unwrap()), ..base() };
        assert!(matches!(verdict(&id("01:02"), &id("01:03")), Verdict::Taken(_)));
    }

    #[test]
    fn declined_addresses_stay_declined() {
        let declined = Lease { state: State::Declined, hw: "".parse().unwrap(), ..base() };
        assert_eq!(judge(&declined, None, NOW, false), Verdict::Add);
        assert_eq!(verdict(&declined, &declined), Verdict::Same);
        let later = Lease { cltt: 11_000, ..declined.clone() };
        assert_eq!(verdict(&later, &declined), Verdict::Replace(10_000));
        assert!(matches!(verdict(&declined, &base()), Verdict::Taken(_)));
        assert!(
            matches!(verdict(&base(), &declined), Verdict::Taken(who) if who.contains("declined"))
        );
        let nameless = Lease { hw: "".parse().unwrap(), ..base() };
        assert!(
            matches!(verdict(&nameless, &nameless), Verdict::Taken(_)),
            "nobody is nobody's twin"
        );
    }
}
