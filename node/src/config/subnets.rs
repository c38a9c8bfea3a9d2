//! `subnet4`: one subnet with everything that it inherits (Kea manual, "IPv4 Subnets").

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::check::Checker;
use super::json::{Element, Map};
use super::mistake::{Path, Report};
use super::model::{Naming, NetworkIndex, PingCheck, Subnet};
use super::resolve::{self, Chain};
use super::v4::Context;
use super::{hooks, option_data, own, pools, reservations, schema};
use crate::types::{Prefix, SubnetId};

/// What a subnet lies in.
pub(super) struct Around<'a> {
    pub(super) network: NetworkIndex,
    /// `interface` of the network.
    pub(super) interface: Option<&'a String>,
    pub(super) chain: &'a Chain<'a>,
    pub(super) naming: &'a Arc<Naming>,
}

/// The subnet; `None` if it cannot be told which one it is.
pub(super) fn read(
    element: &Element,
    around: Around<'_>,
    path: &Path<'_>,
    context: &mut Context<'_>,
) -> Option<Subnet> {
    let map = element.map()?;
    let chain = around.chain.inside(map);
    resolve::check(element, &chain, path, context.report);
    let options = option_data::read(map, context.definitions, path, context.report);
    let grace = own::grace(map, path, context.report);
    let ping_check = ping_check(map, path, context);
    ddns_tuning(map, path, context);
    let id = map.get("id").and_then(Element::int).and_then(|id| u32::try_from(id).ok());
    let (id, text) = (SubnetId(id?), map.get("subnet")?);
    let prefix = prefix(text, path, context.report)?;
    let naming = context.namer.naming(&chain, map, Some(around.naming), path, context.report);
    let owner = reservations::Owner {
        id,
        prefix: Some(prefix),
        unique_addresses: context.unique_addresses,
    };
    Some(Subnet {
        id,
        prefix,
        network: around.network,
        pools: pools::read(map, prefix, &chain, &naming, path, context),
        relays: relays(map),
        interface: interface(map).or_else(|| around.interface.cloned()),
        options,
        values: resolve::values(&chain, grace, naming),
        reservations: reservations::read(map, owner, context.definitions, path, context.report),
        guard: context.guards.guard(map, path, context.report),
        additional_classes: context.guards.additional(map, path, context.report),
        ping_check,
    })
}

/// `interface` of a network or subnet.
pub(super) fn interface(map: &Map) -> Option<String> {
    map.get("interface").and_then(Element::text).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// `relay.ip-addresses` of a network or subnet.
pub(super) fn relays(map: &Map) -> Vec<Ipv4Addr> {
    let addresses = map.get("relay").and_then(Element::map).and_then(|map| map.get("ip-addresses"));
    let texts = addresses.map(Element::list).unwrap_or_default().iter();
    texts.filter_map(|address| address.text()?.parse().ok()).collect()
}

fn prefix(element: &Element, path: &Path<'_>, report: &mut Report) -> Option<Prefix> {
    let text = element.text()?;
    match text.parse() {
        Ok(prefix) => Some(prefix),
        Err(_) => {
            let text = format!(
                "subnet configuration failed: Invalid subnet syntax (prefix/len expected):{text}"
            );
            report.error(element.at, &Path::Key(path, "subnet"), text);
            None
        }
    }
}

/// `user-context.ping-check` of a subnet, over the hook's own parameters. Without the hook the words
/// are the operator's own.
fn ping_check(map: &Map, path: &Path<'_>, context: &mut Context<'_>) -> Option<PingCheck> {
    let outer = context.ping_check?;
    let element = map.get("user-context")?.map()?.get("ping-check")?;
    let user_context = Path::Key(path, "user-context");
    let path = Path::Key(&user_context, "ping-check");
    let Some(own) = element.map() else {
        context.report.error(element.at, &path, "user-context.ping-check must be a map");
        return None;
    };
    Checker::new(context.report).map(&schema::PING_CHECK, element, own, &path);
    Some(hooks::ping_check(own, Some(outer)))
}

/// `user-context.ddns-tuning` of a subnet, which the hook reads.
fn ddns_tuning(map: &Map, path: &Path<'_>, context: &mut Context<'_>) {
    let own = map.get("user-context").and_then(Element::map).and_then(|own| own.get("ddns-tuning"));
    let (true, Some(element)) = (context.ddns_tuning, own) else { return };
    let user_context = Path::Key(path, "user-context");
    let path = Path::Key(&user_context, "ddns-tuning");
    match element.map() {
        Some(map) => Checker::new(context.report).map(&schema::DDNS_TUNING, element, map, &path),
        None => context.report.error(element.at, &path, "user-context.ddns-tuning must be a map"),
    }
}
