//! Decisions as the scripts print them.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::dhcp::decision::{Failure, How, Link, Reply, Search};
use crate::packet::v4::{MAGIC_COOKIE, Message};
use crate::state::Command;
use crate::types::HwAddr;

/// What is only counted.
pub(super) fn show_search(search: Search) -> String {
    let mut text = String::new();
    if let Some(subnet) = search.conflict {
        text += &format!("count a reserved address in use in subnet {subnet}\n");
    }
    if let Some(Failure { subnet, shared, no_pools }) = search.failed {
        let network = if shared { "the shared network of subnet" } else { "subnet" };
        let without = if no_pools { "without pools" } else { "full" };
        text += &format!("count a failure in {network} {subnet}, {without}\n");
    }
    text
}

pub(super) fn show_link(link: Link) -> String {
    match link {
        Link::Relay(relay) => format!("relay {relay}"),
        Link::Subnet(subnet) => format!("subnet {subnet}"),
    }
}

pub(super) fn show_command(command: &Command) -> String {
    match command {
        Command::Grant(grant) => {
            let item = &grant.items[0];
            let held = item.held.map_or(String::new(), |(address, _)| format!(" held={address}"));
            let name = if grant.hostname.is_empty() {
                String::new()
            } else {
                format!(" name={}", grant.hostname)
            };
            format!(
                "grant {} in {} to {} {:?} {} s as {}{held}{name}",
                item.want,
                item.subnet,
                grant.client.key(),
                item.why,
                item.lifetime.as_secs(),
                grant.identity,
            )
        }
        Command::Release(give_up) | Command::Decline(give_up) => {
            let what = if matches!(command, Command::Release(_)) { "release" } else { "decline" };
            let known = if give_up.generation.is_some() { "known" } else { "unknown" };
            format!("{what} {} of {} ({known})", give_up.address, give_up.client.key())
        }
        other => format!("{other:?}"),
    }
}

pub(super) fn show_reply(reply: &Reply) -> String {
    let mut payload = reply.payload().to_vec();
    let mut text = reply.kind().name().to_owned();
    if payload[236..240] == [0; 4] {
        text.push_str(" plain-bootp");
        payload[236..240].copy_from_slice(&MAGIC_COOKIE);
    }
    let message = Message::parse_reply(&payload).expect("our own replies can be read");
    for (name, address) in [
        ("ciaddr", message.ciaddr()),
        ("yiaddr", message.yiaddr()),
        ("siaddr", message.siaddr()),
        ("giaddr", message.giaddr()),
    ] {
        if !address.is_unspecified() {
            let _ = write!(text, " {name}={address}");
        }
    }
    for (name, field) in [("sname", message.sname()), ("file", message.file())] {
        if !field.is_empty() {
            let _ = write!(text, " {name}={}", field.escape_ascii());
        }
    }
    if message.broadcast_flag() {
        text.push_str(" broadcast");
    }
    if message.hops() > 0 {
        let _ = write!(text, " hops={}", message.hops());
    }
    for code in message.option_codes() {
        let value = message.option(code).expect("it is there");
        let shown = match (code, &*value) {
            (53, _) => continue,
            (51 | 58 | 59 | 108, [a, b, c, d]) => u32::from_be_bytes([*a, *b, *c, *d]).to_string(),
            (1 | 3 | 6 | 54 | 118, addresses) if addresses.len() % 4 == 0 => {
                let each =
                    addresses.chunks(4).map(|a| Ipv4Addr::new(a[0], a[1], a[2], a[3]).to_string());
                each.collect::<Vec<_>>().join(",")
            }
            (12 | 15 | 66 | 67, text) => format!("'{}'", text.escape_ascii()),
            (_, bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let _ = write!(text, " {code}={shown}");
    }
    if reply.omitted() > 0 {
        let _ = write!(text, " omitted={}", reply.omitted());
    }
    let delivery = reply.delivery();
    let how = match delivery.how {
        How::Udp => "udp".to_owned(),
        How::Broadcast => "broadcast".to_owned(),
        How::Frame(mac) => format!("frame {}", HwAddr::ethernet(mac)),
    };
    let _ =
        writeln!(text, "\n  rule {} {} → {} by {how}", delivery.rule, delivery.from, delivery.to);
    text
}
