//! Name change requests, as Kea's DHCP daemon sends them to its DNS daemon (Kea manual, "The
//! DHCP-DDNS Server"): which follow from a happening, and their bytes. Pure.
//!
//! A request is JSON behind its length in two bytes. Both spellings of the conflict mode are sent, so
//! that daemons before and after Kea 2.5 understand it.

use std::net::Ipv4Addr;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::happening::{Before, Happening, What};
use crate::config::{Config, DdnsTtl, Naming};
use crate::state::{Lease, Meta};
use crate::types::{Lifetime, UpperHex, Utc};

/// Kea's floor of a TTL that nobody configured, seconds.
const MIN_TTL: u32 = 600;

/// Kea's default `ddns-conflict-resolution-mode`.
const MODE: &str = "check-with-dhcid";

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameChange {
    /// Whether records are made, or removed.
    pub add: bool,
    /// The forward record.
    pub forward: bool,
    /// The reverse record.
    pub reverse: bool,
    /// The whole name, lower case, no final dot.
    pub name: String,
    /// The address.
    pub address: Ipv4Addr,
    /// Who may touch the records (RFC 4701).
    pub dhcid: Vec<u8>,
    /// When the lease ends, seconds since 1970.
    pub expires: i64,
    /// The TTL of the records, seconds.
    pub ttl: u32,
    /// `ddns-conflict-resolution-mode`.
    pub conflict_resolution: &'static str,
}

/// What DNS must be told of a happening. `lease` is the lease as it is after a grant; none if
/// something came in between.
pub fn changes(happening: &Happening, lease: Option<&Lease>, meta: &Meta) -> Vec<NameChange> {
    let config = &happening.config;
    if !config.ddns.enabled {
        return Vec::new();
    }
    let change = |add: bool, lease: &Lease| one(add, lease, config, meta);
    match &happening.what {
        What::Released(_, lease)
        | What::Declined(_, lease)
        | What::Expired(lease, _)
        | What::Deleted(lease) => change(false, lease).into_iter().collect(),
        What::Named(lease) => change(true, lease).into_iter().collect(),
        What::Granted { before, .. } => {
            let Some(lease) = lease else { return Vec::new() };
            let Before { same, others, retired } = before;
            let renewed_alike = same.as_ref().is_some_and(|old| says_the_same(old, lease));
            if renewed_alike
                && retired.is_none()
                && !naming(lease, config).is_some_and(|naming| naming.update_on_renew)
            {
                return Vec::new();
            }
            // A lease that ran out a while ago was removed from DNS when it did.
            let others = others.as_ref().filter(|lease| lease.state.blocks());
            let old = [same.as_ref(), others, retired.as_ref()];
            let gone = old.into_iter().flatten().filter_map(|old| change(false, old));
            gone.chain(change(true, lease)).collect()
        }
    }
}

fn says_the_same(old: &Lease, new: &Lease) -> bool {
    old.hostname == new.hostname && (old.fqdn_fwd, old.fqdn_rev) == (new.fqdn_fwd, new.fqdn_rev)
}

/// What is configured for the lease's pool, else its subnet. A lease whose subnet is gone has
/// nothing, and may still have records to remove.
fn naming<'a>(lease: &Lease, config: &'a Config) -> Option<&'a Naming> {
    let subnet = config.subnet(lease.subnet)?;
    Some(subnet.pool_of(lease.address).map_or(&subnet.values.naming, |pool| &pool.naming))
}

fn one(add: bool, lease: &Lease, config: &Config, meta: &Meta) -> Option<NameChange> {
    if lease.hostname.is_empty() || !(lease.fqdn_fwd || lease.fqdn_rev) {
        return None;
    }
    let naming = naming(lease, config);
    Some(NameChange {
        add,
        forward: lease.fqdn_fwd,
        reverse: lease.fqdn_rev,
        name: lease.hostname.to_string(),
        address: lease.address,
        dhcid: dhcid(lease)?,
        expires: meta.wall_seconds(lease.expires),
        ttl: ttl(naming.map(|naming| naming.ttl).unwrap_or_default(), lease.valid),
        conflict_resolution: naming.map_or(MODE, |naming| naming.conflict_resolution),
    })
}

/// RFC 4701 §3: the type of the identifier, the digest's type, and SHA-256 over identifier and name.
/// `None` for a lease without a client.
fn dhcid(lease: &Lease) -> Option<Vec<u8>> {
    /// An RFC 4361 client id: this type, four bytes of IAID, a DUID.
    const NODE_SPECIFIC: u8 = 255;
    let (kind, identifier) = match &lease.client_id {
        Some(id) => match id.bytes() {
            [NODE_SPECIFIC, _, _, _, _, duid @ ..] if !duid.is_empty() => (2, duid.to_vec()),
            id => (1, id.to_vec()),
        },
        None if !lease.hw.bytes().is_empty() => {
            (0, [&[lease.hw.htype()], lease.hw.bytes()].concat())
        }
        None => return None,
    };
    let mut digest = Sha256::new_with_prefix(identifier);
    for label in lease.hostname.split('.').filter(|label| !label.is_empty()) {
        digest.update([u8::try_from(label.len()).unwrap_or(u8::MAX)]);
        digest.update(label.to_ascii_lowercase());
    }
    digest.update([0]);
    Some([&[0, kind, 1][..], &digest.finalize()].concat())
}

/// `ddns-ttl`, else its share of the lifetime (a third, at least 600 s) between the bounds.
fn ttl(wish: DdnsTtl, lifetime: Lifetime) -> u32 {
    if let Some(fixed) = wish.fixed {
        return fixed;
    }
    let secs = lifetime.as_secs();
    let share = match wish.share {
        Some(share) => (f64::from(secs) * share).round() as u32,
        None => (secs / 3).max(MIN_TTL),
    };
    share.min(wish.max.unwrap_or(u32::MAX)).max(wish.min.unwrap_or(0))
}

impl NameChange {
    /// The datagram.
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = json!({
            "change-type": if self.add { 0 } else { 1 },
            "forward-change": self.forward,
            "reverse-change": self.reverse,
            "fqdn": format!("{}.", self.name),
            "ip-address": self.address.to_string(),
            "dhcid": UpperHex(&self.dhcid).to_string(),
            "lease-expires-on": calendar(self.expires),
            "lease-length": self.ttl,
            "conflict-resolution-mode": self.conflict_resolution,
            "use-conflict-resolution": self.conflict_resolution.starts_with("check-"),
        })
        .to_string();
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        [&length.to_be_bytes()[..], text.as_bytes()].concat()
    }
}

/// `YYYYMMDDhhmmss` in UTC of seconds since 1970; what lies outside the years 1970 to 9999 is the
/// nearest that does not.
fn calendar(seconds: i64) -> String {
    let Utc { year, month, day, hour, minute, second, .. } = Utc::of_seconds(seconds);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::meta;
    use super::*;
    use crate::state::testing::lease;

    #[test]
    fn moments_are_written_as_the_calendar_has_them() {
        for (seconds, text) in [
            (0, "19700101000000"),
            (951_782_400, "20000229000000"),
            (1_358_774_645, "20130121132405"),
            (1_709_251_199, "20240229235959"),
            (4_107_542_399, "21000228235959"),
            (4_107_542_400, "21000301000000"),
            (i64::MAX, "99991231235959"),
            (-1, "19700101000000"),
        ] {
            assert_eq!(calendar(seconds), text);
        }
    }

    #[test]
    fn a_ttl_is_fixed_or_a_share_of_the_lifetime_between_its_bounds() {
        let ttl = |fixed, share, min, max, secs| {
            super::ttl(DdnsTtl { fixed, share, min, max }, Lifetime::from_secs(secs))
        };
        assert_eq!(ttl(Some(7), None, None, None, 3600), 7);
        assert_eq!(ttl(None, None, None, None, 3600), 1200);
        assert_eq!(ttl(None, None, None, None, 60), 600);
        assert_eq!(ttl(None, Some(0.5), None, None, 60), 30);
        assert_eq!(ttl(None, Some(0.5), Some(40), None, 60), 40);
        assert_eq!(ttl(None, Some(0.5), None, Some(20), 60), 20);
    }

    /// RFC 4701 §3.6 has three examples; the digest covers identifier and name in wire form.
    #[test]
    fn the_dhcid_is_the_one_of_rfc_4701() {
        let mut lease = lease("192.0.2.10", 1);
        lease.hostname = "client.example.com".into();
        lease.client_id = None;
        lease.hw = "01:02:03:04:05:06".parse().unwrap();
        let hex =
            |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // "AAABxLmlskllE0MVjd57zHcWmEH3pCQ6VytcKD//7es/deY="
        assert_eq!(
            hex(dhcid(&lease).unwrap()),
            "000001c4b9a5b249651343158dde7bcc77169841f7a4243a572b5c283fffedeb3f75e6"
        );
        lease.hostname = "chi.example.com".into();
        lease.client_id = Some("01:07:08:09:0a:0b:0c".parse().unwrap());
        // "AAEBOSD+XR3Os/0LozeXVqcNc7FwCfQdWL3b/NaiUDlW2No="
        assert_eq!(
            hex(dhcid(&lease).unwrap()),
            "0001013920fe5d1dceb3fd0ba3379756a70d73b17009f41d58bddbfcd6a2503956d8da"
        );
        lease.hostname = "chi6.example.com".into();
        lease.client_id =
            Some("ff:00:00:00:01:00:01:00:06:41:2d:f1:66:01:02:03:04:05:06".parse().unwrap());
        // "AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA="
        assert_eq!(
            hex(dhcid(&lease).unwrap()),
            "000201636fc0b8271c82825bb1ac5c41cf5351aa69b4febd94e8f17cdb95000da48c40"
        );
    }

    fn config(more: &str) -> Arc<Config> {
        let text = format!(
            r#"{{"Dhcp4": {{"dhcp-ddns": {{"enable-updates": true}}, {more}
                "subnet4": [{{"id": 1, "subnet": "192.0.2.0/24"}}]}}}}"#
        );
        Arc::new(crate::config::from_text(&text).unwrap().config)
    }

    fn named(address: &str, name: &str) -> Arc<Lease> {
        let lease = lease(address, 1);
        Arc::new(Lease { hostname: name.into(), fqdn_fwd: true, fqdn_rev: true, ..lease })
    }

    /// `+name address` and `-name address` of the requests.
    fn said(config: &Arc<Config>, before: Before, lease: &Lease) -> Vec<String> {
        let query = super::super::testing::query();
        let what = What::Granted {
            query,
            index: 1,
            address: lease.address,
            generation: lease.generation,
            stamp: lease.cltt,
            before,
        };
        let happening = Happening { what, config: Arc::clone(config) };
        let changes = changes(&happening, Some(lease), &meta());
        let said = |change: &NameChange| {
            format!("{}{} {}", if change.add { '+' } else { '-' }, change.name, change.address)
        };
        changes.iter().map(said).collect()
    }

    #[test]
    fn dns_hears_of_what_changed_and_the_old_goes_first() {
        let config = config("");
        let new = named("192.0.2.10", "a");
        let before = |same: Option<&str>| Before {
            same: same.map(|name| named("192.0.2.10", name)),
            ..Before::default()
        };
        assert_eq!(said(&config, before(None), &new), ["+a 192.0.2.10"]);
        assert_eq!(said(&config, before(Some("b")), &new), ["-b 192.0.2.10", "+a 192.0.2.10"]);
        assert!(said(&config, before(Some("a")), &new).is_empty(), "a renewal");
        let moved = Before { retired: Some(named("192.0.2.9", "a")), ..Before::default() };
        assert_eq!(said(&config, moved, &new), ["-a 192.0.2.9", "+a 192.0.2.10"]);
        let nameless = Lease { hostname: "".into(), ..Lease::clone(&new) };
        assert_eq!(said(&config, before(Some("b")), &nameless), ["-b 192.0.2.10"]);
    }

    #[test]
    fn an_administrator_has_records_made_and_removed() {
        let config = config("");
        let lease = named("192.0.2.10", "a");
        for (what, add) in [(What::Named(lease.clone()), true), (What::Deleted(lease), false)] {
            let happening = Happening { what, config: Arc::clone(&config) };
            let [change] = &changes(&happening, None, &meta())[..] else { panic!("one change") };
            assert_eq!((change.add, &*change.name), (add, "a"));
        }
    }

    #[test]
    fn a_renewal_is_told_where_that_is_wanted() {
        let config = config(r#""ddns-update-on-renew": true,"#);
        let new = named("192.0.2.10", "a");
        let same = Before { same: Some(Arc::clone(&new)), ..Before::default() };
        assert_eq!(said(&config, same, &new), ["-a 192.0.2.10", "+a 192.0.2.10"]);
    }

    #[test]
    fn a_request_is_json_behind_its_length() {
        let change = NameChange {
            add: true,
            forward: true,
            reverse: false,
            name: "a.example".into(),
            address: [192, 0, 2, 1].into(),
            dhcid: vec![0, 1, 1, 0xab],
            expires: 1_358_774_645,
            ttl: 1300,
            conflict_resolution: "no-check-with-dhcid",
        };
        let bytes = change.to_bytes();
        assert_eq!(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])), bytes.len() - 2);
        let json: serde_json::Value = serde_json::from_slice(&bytes[2..]).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "change-type": 0, "forward-change": true, "reverse-change": false,
                "fqdn": "a.example.", "ip-address": "192.0.2.1", "dhcid": "000101AB",
                "lease-expires-on": "20130121132405", "lease-length": 1300,
                "conflict-resolution-mode": "no-check-with-dhcid", "use-conflict-resolution": false,
            })
        );
    }
}
