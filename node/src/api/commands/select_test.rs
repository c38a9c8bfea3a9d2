//! `subnet4-select-test` (kea-api §2.1, §3.7): which subnet serves such a packet, decided by the packet
//! engine itself.

use std::net::Ipv4Addr;

use serde_json::Value;

use crate::api::spec::Origin::Daemon;
use crate::api::spec::{ApiContext, Args, Kind, Plan, Refusal, Reply, Spec, optional};
use crate::dhcp::v4::Imagined;
use crate::types::ClassName;

/// `subnet4-select-test`.
pub const SELECT_TEST: Spec = Spec::reads("subnet4-select-test", Daemon, select_test)
    .about("Returns the subnet, or shared network, that a packet would select that came like this.")
    .takes(&[
        optional("interface", Kind::Text, "The interface it comes in by."),
        optional("address", Kind::Text, "The client's own address, `ciaddr`."),
        optional("relay", Kind::Text, "The relay, `giaddr`."),
        optional("local", Kind::Text, "The address it is sent to."),
        optional("remote", Kind::Text, "The address it comes from."),
        optional("link", Kind::Text, "The link that a relay selects (RFC 3527)."),
        optional("subnet", Kind::Text, "The subnet of option 118 (RFC 3011)."),
        optional("classes", Kind::List, "The classes it is in."),
    ]);

/// The most classes.
const MOST: usize = 1024;

fn select_test(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    if args.is_absent() {
        return Err(Refusal::error("empty arguments"));
    }
    let members = args.map().ok_or_else(|| Refusal::error("arguments must be a map"))?;
    let mut packet = Imagined::default();
    packet.classes.insert("ALL".into());
    for (name, value) in members {
        let slot = match name.as_str() {
            "interface" => {
                packet.interface = text(name, value)?.into();
                continue;
            }
            "classes" => {
                for class in classes(value)? {
                    packet.classes.insert(class);
                }
                continue;
            }
            // Of our own, for every read.
            "consistency" => continue,
            "address" => &mut packet.address,
            "relay" => &mut packet.relay,
            "local" => &mut packet.local,
            "remote" => &mut packet.remote,
            "link" => &mut packet.link,
            "subnet" => &mut packet.subnet,
            _ => return Err(Refusal::error(format!("unknown entry '{name}'"))),
        };
        let given = text(name, value)?;
        let address: Ipv4Addr = given.parse().map_err(|_| {
            Refusal::error(format!(
                "bad '{name}' entry: Failed to convert string to address '{given}': Invalid argument"
            ))
        })?;
        *slot = Some(address).filter(|address| !address.is_unspecified());
    }
    let own = cx.node.interfaces.iter().find(|one| one.state.name == *packet.interface);
    packet.interface_address = own.and_then(|one| Some(one.state.addresses.first()?.address));
    let config = super::config::running(cx)?;
    let Some(subnet) = packet.selects(&config) else {
        return Err(Refusal::empty("no subnet selected"));
    };
    let named = format!("subnet '{}' id {}", subnet.prefix, subnet.id.0);
    Ok(Plan::Answer(Reply::success(match &config.network_of(subnet).name {
        Some(network) => format!("selected shared network '{network}' starting with {named}"),
        None => format!("selected {named}"),
    })))
}

fn text<'a>(name: &str, value: &'a Value) -> Result<&'a str, Refusal> {
    value.as_str().ok_or_else(|| Refusal::error(format!("'{name}' entry must be a string")))
}

fn classes(value: &Value) -> Result<Vec<ClassName>, Refusal> {
    let list = value.as_array().ok_or_else(|| Refusal::error("'classes' entry must be a list"))?;
    if list.len() > MOST {
        return Err(Refusal::error(format!("'classes' entry has more than {MOST} items")));
    }
    let name = |item: &Value| item.as_str().map(ClassName::from);
    let names: Option<Vec<ClassName>> = list.iter().map(name).collect();
    names.ok_or_else(|| Refusal::error("'classes' entry must be a list of strings"))
}
