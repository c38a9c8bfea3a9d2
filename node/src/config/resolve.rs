//! Inheritance: global → shared network → subnet, key by key (Kea manual, "Lease Lifetimes" and
//! "Shared Networks"), and the checks on values that only make sense together.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::json::{Element, Map};
use super::mistake::{Path, Report};
use super::model::{Allocator, Lifetimes, Naming, ReservationModes, Values};
use super::schema::{DHCP4, Default};
use crate::types::Lifetime;

/// A scope and the scopes around it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain<'a> {
    own: &'a Map,
    outer: Option<&'a Chain<'a>>,
}

impl<'a> Chain<'a> {
    /// The outermost scope.
    pub(super) fn global(own: &'a Map) -> Chain<'a> {
        Chain { own, outer: None }
    }

    /// A scope inside this one.
    pub(super) fn inside(&'a self, own: &'a Map) -> Chain<'a> {
        Chain { own, outer: Some(self) }
    }

    /// The innermost value of a keyword.
    pub(super) fn find(&self, keyword: &str) -> Option<&'a Element> {
        self.own.get(keyword).or_else(|| self.outer?.find(keyword))
    }

    pub(super) fn secs(&self, keyword: &str) -> Option<u32> {
        match self.find(keyword) {
            Some(element) => element.int().and_then(|int| u32::try_from(int).ok()),
            None => match default(keyword) {
                Default::Int(int) => u32::try_from(int).ok(),
                _ => None,
            },
        }
    }

    pub(super) fn flag(&self, keyword: &str) -> bool {
        self.find(keyword).and_then(Element::bool).unwrap_or_else(|| default_flag(keyword))
    }

    pub(super) fn share(&self, keyword: &str) -> f64 {
        let default = if let Default::Real(real) = default(keyword) { real } else { 0.0 };
        self.find(keyword).and_then(Element::real).unwrap_or(default)
    }

    /// The innermost text that is not empty: for Kea an empty one is as unset here.
    fn filled(&self, keyword: &str) -> &'a str {
        let own = self.own.get(keyword).and_then(Element::text).filter(|text| !text.is_empty());
        own.or_else(|| Some(self.outer?.filled(keyword))).unwrap_or_default()
    }

    pub(super) fn text(&self, keyword: &str) -> &'a str {
        let default = if let Default::Text(text) = default(keyword) { text } else { "" };
        self.find(keyword).and_then(Element::text).unwrap_or(default)
    }

    /// The scope that says which reservations count says all of it that it says; promising that they
    /// lie outside the pools says that there are some.
    fn reservation_modes(&self) -> ReservationModes {
        let own = |key: &str| self.own.get(key).and_then(Element::bool);
        let outer = match self.outer {
            Some(outer) => outer.reservation_modes(),
            None => ReservationModes {
                global: default_flag("reservations-global"),
                in_subnet: default_flag("reservations-in-subnet"),
                out_of_pool: default_flag("reservations-out-of-pool"),
            },
        };
        let out_of_pool = own("reservations-out-of-pool");
        let implied = out_of_pool.filter(|promised| *promised);
        ReservationModes {
            global: own("reservations-global").unwrap_or(outer.global),
            in_subnet: own("reservations-in-subnet").or(implied).unwrap_or(outer.in_subnet),
            out_of_pool: out_of_pool.unwrap_or(outer.out_of_pool),
        }
    }

    /// `min-`, default and `max-valid-lifetime` in seconds. Unset ends equal the default.
    pub(super) fn lifetimes(&self) -> (u32, u32, u32) {
        let valid = self.secs("valid-lifetime").unwrap_or_default();
        let end = |keyword| self.secs(keyword).unwrap_or(valid);
        (end("min-valid-lifetime"), valid, end("max-valid-lifetime"))
    }
}

fn default(keyword: &str) -> Default {
    DHCP4.keyword(keyword).map_or(Default::Unset, |keyword| keyword.default)
}

fn default_flag(keyword: &str) -> bool {
    matches!(default(keyword), Default::Bool(true))
}

/// The values that hold in a subnet.
pub(super) fn values(chain: &Chain<'_>, grace: Option<u32>, naming: Arc<Naming>) -> Values {
    let (min, valid, max) = chain.lifetimes();
    Values {
        valid_lifetime: Lifetime::from_secs(valid),
        min_valid_lifetime: Lifetime::from_secs(min),
        max_valid_lifetime: Lifetime::from_secs(max),
        renew_timer: chain.secs("renew-timer"),
        rebind_timer: chain.secs("rebind-timer"),
        calculate_tee_times: chain.flag("calculate-tee-times"),
        t1_percent: chain.share("t1-percent"),
        t2_percent: chain.share("t2-percent"),
        match_client_id: chain.flag("match-client-id"),
        authoritative: chain.flag("authoritative"),
        next_server: chain.text("next-server").parse().unwrap_or(Ipv4Addr::UNSPECIFIED),
        server_hostname: chain.filled("server-hostname").to_owned(),
        boot_file_name: chain.filled("boot-file-name").to_owned(),
        cache_threshold: chain.share("cache-threshold"),
        cache_max_age: chain.secs("cache-max-age"),
        grace,
        reservations: chain.reservation_modes(),
        store_extended_info: chain.flag("store-extended-info"),
        allocator: match chain.text("allocator") {
            "random" => Allocator::Random,
            "flq" | "shared-flq" => Allocator::Flq,
            _ => Allocator::Iterative,
        },
        adaptive_lease_time_threshold: chain
            .find("adaptive-lease-time-threshold")
            .and_then(Element::real),
        offer_lifetime: chain.secs("offer-lifetime").unwrap_or_default(),
        naming,
    }
}

/// The lease times that one map says, unset ones after those that are set: of a client class, whose
/// three are one group.
pub(super) fn group(map: &Map) -> Result<Option<Lifetimes>, String> {
    let secs = |key| map.get(key).and_then(Element::int).and_then(|secs| u32::try_from(secs).ok());
    let (min, max) = (secs("min-valid-lifetime"), secs("max-valid-lifetime"));
    let valid = match (secs("valid-lifetime"), min, max) {
        (Some(valid), ..) => valid,
        (None, Some(_), Some(_)) => {
            return Err(
                "have min-valid-lifetime and max-valid-lifetime but no valid-lifetime (default)"
                    .to_owned(),
            );
        }
        (None, Some(only), None) | (None, None, Some(only)) => only,
        (None, None, None) => return Ok(None),
    };
    match lifetimes_out_of_order(min, valid, max) {
        Some(text) => Err(text),
        None => Ok(Some(Lifetimes {
            min: Lifetime::from_secs(min.unwrap_or(valid)),
            valid: Lifetime::from_secs(valid),
            max: Lifetime::from_secs(max.unwrap_or(valid)),
        })),
    }
}

/// Reports values that contradict each other. A scope that sets none of them has the
/// contradictions of the scope around, where they were reported.
pub(super) fn check(element: &Element, chain: &Chain<'_>, path: &Path<'_>, report: &mut Report) {
    let sets = |keywords: &[&str]| {
        chain.outer.is_none() || keywords.iter().any(|key| chain.own.get(key).is_some())
    };
    let place = |keywords: &[&str]| {
        keywords.iter().find_map(|key| chain.own.get(key)).unwrap_or(element).at
    };

    let keys = ["valid-lifetime", "min-valid-lifetime", "max-valid-lifetime"];
    let end = |key| chain.find(key).and_then(Element::int).and_then(|end| u32::try_from(end).ok());
    let (min, max) = (end("min-valid-lifetime"), end("max-valid-lifetime"));
    if sets(&keys)
        && let Some(text) = lifetimes_out_of_order(min, chain.lifetimes().1, max)
    {
        report.error(place(&keys), path, text);
    }

    let keys = ["renew-timer", "rebind-timer"];
    if sets(&keys)
        && let (Some(renew), Some(rebind)) = (chain.secs("renew-timer"), chain.secs("rebind-timer"))
        && renew > rebind
    {
        let text = format!(
            "the value of renew-timer ({renew}) is greater than the value of rebind-timer ({rebind})"
        );
        report.error(place(&keys), path, text);
    }

    // At 1 no renewal would ever extend the lease.
    let keys = ["cache-threshold"];
    if sets(&keys) && chain.share("cache-threshold") == 1.0 {
        let threshold = chain.share("cache-threshold");
        let text = format!(
            "cache-threshold: {threshold} is invalid, it must be greater than or equal to 0.0 and less than 1.0"
        );
        report.error(place(&keys), path, text);
    }

    let keys = ["calculate-tee-times", "t1-percent", "t2-percent"];
    if sets(&keys) && chain.flag("calculate-tee-times") {
        let (t1, t2) = (chain.share("t1-percent"), chain.share("t2-percent"));
        let inside = |share: f64| share > 0.0 && share < 1.0;
        let text = match (inside(t1), inside(t2)) {
            (false, _) => format!(
                "t1-percent:  {t1} is invalid it must be greater than 0.0 and less than 1.0"
            ),
            (_, false) => format!(
                "t2-percent:  {t2} is invalid it must be greater than 0.0 and less than 1.0"
            ),
            _ if t1 >= t2 => {
                format!("t1-percent:  {t1} is invalid, it must be less than t2-percent: {t2}")
            }
            _ => return,
        };
        report.error(place(&keys), path, text);
    }
}

/// What is wrong with the three; the ends as far as they are set.
fn lifetimes_out_of_order(min: Option<u32>, valid: u32, max: Option<u32>) -> Option<String> {
    let name = "valid-lifetime";
    Some(match (min, max) {
        (Some(min), Some(max)) if min > max => {
            format!("the value of min-{name} ({min}) is not less than max-{name} ({max})")
        }
        (Some(min), Some(max)) if valid < min || valid > max => {
            format!(
                "the value of (default) {name} ({valid}) is not between min-{name} ({min}) and max-{name} ({max})"
            )
        }
        (Some(min), None) if min > valid => {
            format!("the value of min-{name} ({min}) is not less than (default) {name} ({valid})")
        }
        (None, Some(max)) if valid > max => {
            format!("the value of (default) {name} ({valid}) is not less than max-{name} ({max})")
        }
        _ => return None,
    })
}
