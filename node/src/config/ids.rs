//! Subnets without an id are numbered once and for all.

use super::json::{Element, Map, Member, Position, Value};
use super::mistake::{Path, Report};

/// Gives every subnet without an id (or with 0) the next number, as Kea up to 2.4 did: members of
/// shared networks first, then the others, in order of appearance. The numbers become part of the
/// document, because leases refer to them.
pub(super) fn freeze(dhcp4: &mut Map, path: &Path<'_>, report: &mut Report) {
    let mut next = 0;
    let mut first: Option<Position> = None;
    let mut freeze = |list: &mut Element| {
        let Value::List(list) = &mut list.value else { return };
        for subnet in list {
            let at = subnet.at;
            let Value::Map(map) = &mut subnet.value else { continue };
            let id = Value::Int(next + 1);
            match map.members.iter_mut().find(|member| member.key == "id") {
                Some(member) if matches!(member.value.value, Value::Int(0)) => {
                    member.value.value = id
                }
                Some(_) => continue,
                None => {
                    map.members.insert(
                        0,
                        Member { key: "id".into(), at, value: Element { at, value: id } },
                    );
                }
            }
            next += 1;
            first.get_or_insert(at);
        }
    };
    for member in dhcp4.members.iter_mut().filter(|member| member.key == "shared-networks") {
        let Value::List(networks) = &mut member.value.value else { continue };
        for network in networks {
            let Value::Map(network) = &mut network.value else { continue };
            network
                .members
                .iter_mut()
                .filter(|member| member.key == "subnet4")
                .for_each(|m| freeze(&mut m.value));
        }
    }
    dhcp4
        .members
        .iter_mut()
        .filter(|member| member.key == "subnet4")
        .for_each(|m| freeze(&mut m.value));
    if let Some(first) = first {
        let text = format!(
            "subnets without 'id': {next}. They are numbered from 1 in order of appearance; write the \
             numbers down, since leases refer to them"
        );
        report.warning(first, path, text);
    }
}
