//! Inheritance: global → shared network → subnet, key by key (Kea manual, "Lease Lifetimes" and
//! "Shared Networks"), and the checks on values that only make sense together.

use std::net::Ipv4Addr;

use super::json::{Element, Map};
use super::mistake::{Path, Report};
use super::model::Values;
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
        self.find(keyword)
            .and_then(Element::bool)
            .unwrap_or(matches!(default(keyword), Default::Bool(true)))
    }

    pub(super) fn share(&self, keyword: &str) -> f64 {
        let default = if let Default::Real(real) = default(keyword) { real } else { 0.0 };
        self.find(keyword).and_then(Element::real).unwrap_or(default)
    }

    pub(super) fn text(&self, keyword: &str) -> &'a str {
        self.find(keyword).and_then(Element::text).unwrap_or_default()
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

/// The values that hold in a subnet.
pub(super) fn values(chain: &Chain<'_>, grace: Option<u32>) -> Values {
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
        server_hostname: chain.text("server-hostname").to_owned(),
        boot_file_name: chain.text("boot-file-name").to_owned(),
        cache_threshold: chain.share("cache-threshold"),
        cache_max_age: chain.secs("cache-max-age"),
        grace,
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
    if sets(&keys)
        && let Some(text) = lifetimes_out_of_order(chain)
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
            "cache-threshold: {threshold} is invalid, it must be greater than 0.0 and less than 1.0"
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

fn lifetimes_out_of_order(chain: &Chain<'_>) -> Option<String> {
    let (min, valid, max) = chain.lifetimes();
    let given = |keyword| chain.find(keyword).is_some();
    let (has_min, has_max) = (given("min-valid-lifetime"), given("max-valid-lifetime"));
    let name = "valid-lifetime";
    Some(match (has_min, has_max) {
        (true, true) if min > max => {
            format!("the value of min-{name} ({min}) is not less than max-{name} ({max})")
        }
        (true, true) if valid < min || valid > max => {
            format!(
                "the value of (default) {name} ({valid}) is not between min-{name} ({min}) and max-{name} ({max})"
            )
        }
        (true, false) if min > valid => {
            format!("the value of min-{name} ({min}) is not less than (default) {name} ({valid})")
        }
        (false, true) if valid > max => {
            format!("the value of (default) {name} ({valid}) is not less than max-{name} ({max})")
        }
        _ => return None,
    })
}
