//! Which scope wins, as a table, over every combination of scopes that set a value
//! (Kea manual, "DHCPv4 Server Options"; the order of `kea-config.md` §5.3 and §0).

use super::script::Node;
use crate::dhcp::decision::Decision;
use crate::packet::v4::Message;

const SCOPES: [&str; 7] =
    ["global", "network", "subnet", "pool", "class a", "class b", "reservation"];

/// Who wins, best first. `a` and `b` are classes of the packet, in this order.
const OPTIONS: [&str; 7] =
    ["reservation", "pool", "subnet", "network", "class a", "class b", "global"];
const FIELDS: [&str; 6] = ["reservation", "class a", "class b", "subnet", "network", "global"];
const TIMES: [&str; 5] = ["class a", "class b", "subnet", "network", "global"];

/// A document in which these scopes set option 42, `next-server` and `valid-lifetime`, where they can,
/// each to its number.
fn document(set: &[&str]) -> String {
    let number = |scope: &str| SCOPES.iter().position(|other| *other == scope).unwrap() + 1;
    let says = |scope: &str| {
        if !set.contains(&scope) {
            return String::new();
        }
        let n = number(scope);
        let mut text = format!(r#","option-data":[{{"name":"ntp-servers","data":"192.0.2.{n}"}}]"#);
        if FIELDS.contains(&scope) {
            text += &format!(r#","next-server":"192.0.2.{n}""#);
        }
        if TIMES.contains(&scope) {
            text += &format!(r#","valid-lifetime":{}"#, n * 1000);
        }
        text
    };
    let [global, network, subnet, pool, a, b, host] = SCOPES.map(says);
    format!(
        r#"{{"Dhcp4":{{"interfaces-config":{{"interfaces":["*"]}}{global},
          "client-classes":[{{"name":"a","test":"option[55].exists"{a}}},
                            {{"name":"b","test":"member('a')"{b}}},
                            {{"name":"c","test":"not member('a')","next-server":"192.0.2.99"}}],
          "shared-networks":[{{"name":"n","interface":"eth0"{network},"subnet4":[
            {{"id":1,"subnet":"192.0.2.0/24"{subnet},
              "pools":[{{"pool":"192.0.2.10 - 192.0.2.19"{pool}}}],
              "reservations":[{{"hw-address":"02:00:00:00:00:01","ip-address":"192.0.2.12"{host}}}]
            }}]}}]}}}}"#
    )
}

fn winner<'a>(order: &[&'a str], set: &[&str]) -> Option<&'a str> {
    order.iter().copied().find(|scope| set.contains(scope))
}

#[test]
fn the_table_of_precedence_holds_for_every_combination_of_scopes() {
    for mask in 0u32..1 << SCOPES.len() {
        let set: Vec<&str> =
            (0..SCOPES.len()).filter(|at| mask & 1 << at != 0).map(|at| SCOPES[at]).collect();
        let node = Node::new(&document(&set));
        let decision = node.decide("discover hw=02:00:00:00:00:01 55=1,42");
        let Decision::Reply(reply) = decision else { panic!("{set:?}: {decision:?}") };
        let offer = Message::parse_reply(reply.payload()).unwrap();
        let number = |scope: &str| SCOPES.iter().position(|other| *other == scope).unwrap() + 1;
        let option = offer.option(42).map(|value| usize::from(value[3]));
        assert_eq!(option, winner(&OPTIONS, &set).map(number), "option 42 of {set:?}");
        let siaddr = usize::from(offer.siaddr().octets()[3]);
        assert_eq!(siaddr, winner(&FIELDS, &set).map_or(0, number), "next-server of {set:?}");
        let time = offer.u32_option(51).unwrap() as usize;
        let expected = winner(&TIMES, &set).map_or(7200, |scope| number(scope) * 1000);
        assert_eq!(time, expected, "valid-lifetime of {set:?}");
    }
}
