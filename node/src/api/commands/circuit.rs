//! `cluster-circuit-list`: where new clients come from (rule A1).

use serde_json::{Value, json};

use crate::api::backend::{Acted, Effect};
use crate::api::spec::Origin::Leasehold;
use crate::api::spec::{ApiContext, Args, Code, Kind, Plan, Refusal, Reply, Spec, optional};
use crate::dhcp::v4::Place;
use crate::serve::circuits::{CIRCUITS, Circuit, Counts, Listing};

/// `cluster-circuit-list`.
pub const LIST: Spec = Spec::reads("cluster-circuit-list", Leasehold, list)
    .about(
        "Returns what this node has counted of circuits since its start, the one with the most DISCOVERs first: sub-options \
         1 and 2 of option 82, else the relay, else the interface. `discovers` were this node's to answer; `first-leases` are \
         of clients that had none before; `hold-limit` and `new-client-limit` were not answered because of these limits. It knows \
         1024 circuits; the least busy are forgotten, and `others` is their sum. Each node counts for itself: add them up.",
    )
    .takes(&[optional("limit", Kind::Integer, "At most so many circuits, 1 to 1024; 100 without it.")])
    .local();

const USUAL: usize = 100;

fn list(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let limit = args.uint32_or("limit")?.map_or(USUAL, |limit| limit as usize);
    if !(1..=CIRCUITS).contains(&limit) {
        return Err(Refusal::error(format!("'limit' is a number from 1 to {CIRCUITS}")));
    }
    let (node, name) = (cx.node.node, cx.node.name.clone());
    Ok(Plan::effect(Effect::ListCircuits, move |acted| match acted {
        Ok(Acted::Circuits(listing)) => {
            let known = listing.circuits.len();
            let mut arguments = print(&listing, limit);
            arguments["node"] = node.0.into();
            arguments["name"] = name.into();
            let text = format!("{known} circuit(s) on node {node}.");
            Reply::success(text).with(&arguments)
        }
        Ok(_) => Reply::failure(Code::Error, "The circuits were not read."),
        Err(cause) => Reply::failure(Code::Error, format!("The circuits were not read: {cause}.")),
    }))
}

fn print(listing: &Listing, limit: usize) -> Value {
    let (shown, hidden) = listing.circuits.split_at(limit.min(listing.circuits.len()));
    // The totals are right whatever is shown.
    let mut others = listing.others;
    hidden.iter().for_each(|circuit| others += circuit.counts);
    let row = |circuit: &Circuit| merged(place(&circuit.place), counts(circuit.counts));
    json!({
        "circuits": shown.iter().map(row).collect::<Vec<_>>(),
        "others": counts(others),
        "left-out": hidden.len(),
        "forgotten": listing.forgotten,
    })
}

fn counts(counts: Counts) -> Value {
    json!({
        "discovers": counts.discovers,
        "first-leases": counts.first_leases,
        "hold-limit": counts.hold_limit,
        "new-client-limit": counts.new_client_limit,
    })
}

fn place(place: &Place) -> Value {
    match place {
        Place::Circuit { circuit_id, remote_id, relay } => {
            let mut shown = json!({});
            for (name, bytes) in [("circuit-id", circuit_id), ("remote-id", remote_id)] {
                if !bytes.is_empty() {
                    shown[name] = id(bytes).into();
                }
            }
            shown["relay"] = relay.to_string().into();
            shown
        }
        Place::Relay(relay) => json!({ "relay": relay.to_string() }),
        Place::Interface(name) => json!({ "interface": **name }),
    }
}

/// Text in quotes where it is printable, else hexadecimal behind `0x`: as a reservation may name it.
fn id(bytes: &[u8]) -> String {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !b"'\\".contains(byte);
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(is_plain) => format!("'{text}'"),
        _ => bytes.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    }
}

fn merged(mut one: Value, other: Value) -> Value {
    if let (Some(one), Value::Object(other)) = (one.as_object_mut(), other) {
        one.extend(other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_text_are_shown_as_text() {
        assert_eq!(id(b"ge-0/0/1:100"), "'ge-0/0/1:100'");
        assert_eq!(id(&[0, 4, b'x']), "0x000478");
        assert_eq!(id(b"it's"), "0x69742773", "no quote ends it early");
        assert_eq!(id("ä".as_bytes()), "0xc3a4");
    }

    #[test]
    fn what_is_not_shown_is_in_the_sum() {
        let circuit = |n: u8| Circuit {
            place: Place::Relay([192, 0, 2, n].into()),
            counts: Counts { discovers: u64::from(n), ..Counts::default() },
        };
        let others = Counts { discovers: 100, ..Counts::default() };
        let listing =
            Listing { circuits: (1..=3).rev().map(circuit).collect(), others, forgotten: 9 };
        let shown = print(&listing, 1);
        assert_eq!(shown["circuits"][0]["relay"], "192.0.2.3");
        assert_eq!((&shown["left-out"], &shown["others"]["discovers"]), (&json!(2), &json!(103)));
        assert_eq!(print(&listing, 50)["others"]["discovers"], 100);
    }
}
