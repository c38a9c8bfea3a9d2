//! `pools` of a subnet (Kea manual, "Configuration of IPv4 Address Pools").

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::json::{Element, Map};
use super::mistake::Path;
use super::model::{Naming, Pool};
use super::option_data;
use super::resolve::Chain;
use super::v4::Context;
use crate::types::{Prefix, Range};

/// All pools, in order. Those that are wrong are reported and left out.
pub(super) fn read(
    subnet: &Map,
    prefix: Prefix,
    around: &Chain<'_>,
    naming: &Arc<Naming>,
    path: &Path<'_>,
    context: &mut Context<'_>,
) -> Vec<Pool> {
    let path = Path::Key(path, "pools");
    let Context { report, definitions, guards, namer, .. } = context;
    let mut pools = Vec::new();
    let mut places = Vec::new();
    let list = subnet.get("pools").map(Element::list).unwrap_or_default();
    for (at, element) in list.iter().enumerate() {
        let path = Path::Index(&path, at);
        let Some(map) = element.map() else { continue };
        let options = option_data::read(map, definitions, &path, report);
        let naming = namer.naming(&around.inside(map), map, Some(naming), &path, report);
        let guard = guards.guard(map, &path, report);
        let additional_classes = guards.additional(map, &path, report);
        let Some((at, text)) = map.get("pool").and_then(|pool| Some((pool.at, pool.text()?)))
        else {
            continue;
        };
        let range = match range(text) {
            Ok(range) => range,
            Err(text) => {
                report.error(at, &path, text);
                continue;
            }
        };
        if !prefix.contains(range.first()) || !prefix.contains(range.last()) {
            let text = format!(
                "subnet configuration failed: a pool of type V4, with the following address range: {range} does not \
                 match the prefix of a subnet: {prefix} to which it is being added"
            );
            report.error(at, &path, text);
        }
        places.push((range, at, path.to_string()));
        let id = map.get("pool-id").and_then(Element::int).and_then(|id| u32::try_from(id).ok());
        let id = id.unwrap_or_default();
        pools.push(Pool { range, options, id, guard, additional_classes, naming });
    }
    // In order of their first address, a pool can only reach into the next ones.
    places.sort_by_key(|(range, ..)| *range);
    let mut reach: Option<Range> = None;
    for (range, at, path) in &places {
        if reach.is_some_and(|earlier| earlier.overlaps(range)) {
            let text = format!(
                "subnet configuration failed: a pool of type V4, with the following address range: {range} overlaps \
                 with an existing pool in the subnet: {prefix} to which it is being added"
            );
            report.error_at(*at, path, text);
        }
        if reach.is_none_or(|earlier| earlier.last() < range.last()) {
            reach = Some(*range);
        }
    }
    // Kea takes them in this order, whatever the order of the document.
    pools.sort_by_key(|pool| pool.range);
    pools
}

/// The addresses of `pool`: `a - b` or a prefix.
pub(super) fn range(text: &str) -> Result<Range, String> {
    if text.contains('/') {
        let prefix: Prefix =
            text.trim().parse().map_err(|_| format!("Failed to create pool defined by: {text}"))?;
        return Ok(prefix.range());
    }
    let (first, last) = text.split_once('-').ok_or_else(|| {
        format!(
            "invalid pool definition: {text}. There are two acceptable formats <min address-max address> or <prefix/len>"
        )
    })?;
    let address = |text: &str| text.trim().parse::<Ipv4Addr>().ok();
    let range =
        address(first).zip(address(last)).and_then(|(first, last)| Range::new(first, last).ok());
    range.ok_or_else(|| format!("Failed to create pool defined by: {text}"))
}
