//! What Kea does not know: `user-context.leasehold` of `Dhcp4` and of subnets.

use super::json::{Element, Map};
use super::mistake::{Path, Report};
use super::model::NewClients;

/// `new-clients` of `Dhcp4` (rule A1). An empty map is enough.
pub(super) fn new_clients(dhcp4: &Map, path: &Path<'_>, report: &mut Report) -> Option<NewClients> {
    /// Nobody has more than this many new clients a second on a circuit.
    const MOST: u32 = 1_000_000;
    let (element, map) =
        member(dhcp4, path, report, "new-clients").map(|found| (found, found.map()))?;
    let context = Path::Key(path, "user-context");
    let leasehold = Path::Key(&context, "leasehold");
    let path = Path::Key(&leasehold, "new-clients");
    let Some(map) = map else {
        report.error(element.at, &path, "new-clients must be a map");
        return None;
    };
    unknown(map, &["rate", "burst"], "new-clients", &path, report);
    let mut number = |key: &str, default| {
        let Some(element) = map.get(key) else { return default };
        let number = element.int().and_then(|number| u32::try_from(number).ok());
        number.filter(|number| (1..=MOST).contains(number)).unwrap_or_else(|| {
            report.error(element.at, &path, format!("{key} must be a number from 1 to {MOST}"));
            default
        })
    };
    Some(NewClients { rate: number("rate", 100), burst: number("burst", 500) })
}

/// `grace` of a subnet, seconds (rule R7).
pub(super) fn grace(subnet: &Map, path: &Path<'_>, report: &mut Report) -> Option<u32> {
    let grace = member(subnet, path, report, "grace")?;
    let secs = grace.int().and_then(|secs| u32::try_from(secs).ok());
    if secs.is_none() {
        let context = Path::Key(path, "user-context");
        let text = format!("grace must be a number of seconds from 0 to {}", u32::MAX);
        report.error(grace.at, &Path::Key(&context, "leasehold"), text);
    }
    secs
}

/// The one keyword of `user-context.leasehold` that is known there.
fn member<'a>(
    map: &'a Map,
    path: &Path<'_>,
    report: &mut Report,
    keyword: &str,
) -> Option<&'a Element> {
    let own = map.get("user-context")?.map()?.get("leasehold")?;
    let context = Path::Key(path, "user-context");
    let path = Path::Key(&context, "leasehold");
    let Some(map) = own.map() else {
        report.error(own.at, &path, "user-context.leasehold must be a map");
        return None;
    };
    unknown(map, &[keyword], "leasehold", &path, report);
    map.get(keyword)
}

fn unknown(map: &Map, known: &[&str], name: &str, path: &Path<'_>, report: &mut Report) {
    for member in map.members.iter().filter(|member| !known.contains(&&*member.key)) {
        let text = format!("got unexpected keyword \"{}\" in {name} map.", member.key);
        report.error(member.at, path, text);
    }
}
