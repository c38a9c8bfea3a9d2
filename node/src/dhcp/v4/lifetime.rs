//! How long a client may have an address: the first of its classes that sets lifetimes, else the
//! subnet (Kea manual, "Configuring Client Classes").

use super::Exchange;
use crate::config::{Lifetimes, Subnet};
use crate::types::Lifetime;

/// The lease time in this subnet: what the client asks for, within its bounds, else the default.
/// BOOTP clients know no end of a lease.
pub fn of(ex: &Exchange<'_>, subnet: &Subnet) -> Lifetime {
    if ex.reading.bootp {
        return Lifetime::INFINITE;
    }
    let of_class = ex.config.classes.of(ex.classes).find_map(|class| class.lifetimes);
    let times = of_class.unwrap_or(of_subnet(subnet));
    if ex.view.is_crowded(subnet, |pool| ex.admits(pool)) {
        return times.min;
    }
    clamp(times, ex.packet.message.lease_time())
}

/// `offer-lifetime`, if it is on: so long the address is the client's once it is offered.
pub fn of_offer(ex: &Exchange<'_>, subnet: &Subnet) -> Option<Lifetime> {
    let of_class = ex.config.classes.of(ex.classes).find_map(|class| class.offer_lifetime);
    let secs = of_class.unwrap_or(subnet.values.offer_lifetime);
    (secs > 0 && !ex.reading.bootp).then(|| Lifetime::from_secs(secs))
}

fn of_subnet(subnet: &Subnet) -> Lifetimes {
    let values = &subnet.values;
    Lifetimes {
        min: values.min_valid_lifetime,
        valid: values.valid_lifetime,
        max: values.max_valid_lifetime,
    }
}

/// A wish for no time at all is none, as in Kea.
fn clamp(times: Lifetimes, wish: Option<Lifetime>) -> Lifetime {
    // `max` first, so that a wish between impossible bounds cannot panic.
    wish.filter(|wish| wish.as_secs() > 0)
        .map_or(times.valid, |wish| wish.min(times.max).max(times.min))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_clamped_and_a_wish_for_nothing_is_none() {
        let secs = Lifetime::from_secs;
        let times = Lifetimes { min: secs(600), valid: secs(3600), max: secs(7200) };
        for (wish, given) in [
            (None, 3600),
            (Some(0), 3600),
            (Some(1), 600),
            (Some(1000), 1000),
            (Some(u32::MAX), 7200),
        ] {
            assert_eq!(clamp(times, wish.map(secs)), secs(given), "{wish:?}");
        }
        let endless = Lifetimes { max: Lifetime::INFINITE, ..times };
        assert_eq!(clamp(endless, Some(Lifetime::INFINITE)), Lifetime::INFINITE);
    }
}
