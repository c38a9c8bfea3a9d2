//! Reservations as `apply` and the engine look for them (R2b, R2d).

use super::*;
use crate::config::Config;
use crate::state::testing::client;

fn config(global: &str, subnet1: &str) -> Config {
    let parsed = crate::config::from_text(&document(subnet1, global));
    parsed.unwrap_or_else(|mistakes| panic!("{mistakes}")).config
}

fn claiming(circuit: Option<&[u8]>, flex: Option<&[u8]>) -> Client {
    let claims = Claims { circuit_id: circuit.map(Into::into), flex_id: flex.map(Into::into) };
    Client {
        claims: Some(Box::new(claims)),
        ..client("02:00:00:00:00:01", Some("ff:00:00:00:01:0a:0b"))
    }
}

/// The last byte of the address reserved for the client in the network.
fn reserved_last(config: &Config, client: &Client) -> Option<u8> {
    let members = config.members(config.subnet(SubnetId(1)).unwrap().network);
    reserved_address(config, members, client).map(|(address, _)| address.octets()[3])
}

const FIVE: &str = r#","reservations":[
    {"hw-address":"02:00:00:00:00:01","ip-address":"192.0.2.201"},
    {"duid":"0a:0b","ip-address":"192.0.2.202"},
    {"circuit-id":"'port1'","ip-address":"192.0.2.203"},
    {"flex-id":"0102","ip-address":"192.0.2.204"},
    {"client-id":"ff:00:00:00:01:0a:0b","ip-address":"192.0.2.205"}]"#;

#[test]
fn identifiers_are_tried_in_the_order_of_the_configuration() {
    let all = claiming(Some(b"port1"), Some(&[1, 2]));
    for (kind, last) in [
        ("hw-address", 201),
        ("duid", 202),
        ("circuit-id", 203),
        ("flex-id", 204),
        ("client-id", 205),
    ] {
        let order = format!(r#""host-reservation-identifiers":["{kind}"],"#);
        assert_eq!(reserved_last(&config(&order, FIVE), &all), Some(last), "{kind}");
    }
    let order = r#""host-reservation-identifiers":["client-id","duid","hw-address"],"#;
    assert_eq!(reserved_last(&config(order, FIVE), &all), Some(205));
    let unknown = client("02:00:00:00:00:09", Some("ff:00:00:00:01:0a"));
    assert_eq!(reserved_last(&config("", FIVE), &unknown), None, "another DUID");
    assert_eq!(reserved_last(&config("", FIVE), &claiming(None, None)), Some(201));
}

#[test]
fn r2d_a_reservation_by_what_a_client_cannot_present_keeps_it_off_the_address_all_the_same() {
    let config = config("", r#","reservations":[{"flex-id":"0102","ip-address":"192.0.2.20"}]"#);
    let subnet = config.subnet(SubnetId(1)).unwrap();
    for stranger in [client("02:00:00:00:00:01", None), claiming(None, Some(&[1, 2]))] {
        // Flex-id is not among the identifiers by default, so nobody can be that host.
        assert!(reserved_for_other(&config, subnet, ip("192.0.2.20"), &stranger));
    }
}

#[test]
fn modes_say_which_reservations_count() {
    let host =
        |last| format!(r#"{{"hw-address":"02:00:00:00:00:01","ip-address":"192.0.2.{last}"}}"#);
    let text = |modes: &str, global: u8, own: u8| {
        let global = format!(r#"{modes}"reservations":[{}],"#, host(global));
        config(&global, &format!(r#","reservations":[{}]"#, host(own)))
    };
    let (a, b) = (client("02:00:00:00:00:01", None), client("02:00:00:00:00:02", None));
    // What holds by default, with global ones as well, and with global ones alone. 20 and 30 lie in the pool.
    for (modes, mine, blocked) in [
        ("", Some(20), [true, false]),
        (r#""reservations-global":true,"#, Some(30), [true, true]),
        (r#""reservations-global":true,"reservations-in-subnet":false,"#, Some(30), [false, true]),
        (r#""reservations-in-subnet":false,"#, None, [false, false]),
        (r#""reservations-out-of-pool":true,"#, None, [false, false]),
    ] {
        let config = text(modes, 30, 20);
        let subnet = config.subnet(SubnetId(1)).unwrap();
        assert_eq!(reserved_last(&config, &a), mine, "{modes}");
        let others = [20, 30]
            .map(|last| reserved_for_other(&config, subnet, Ipv4Addr::new(192, 0, 2, last), &b));
        assert_eq!(others, blocked, "{modes}");
    }
}

#[test]
fn a_global_address_counts_in_the_subnet_that_holds_it() {
    let host = r#""reservations-global":true,"reservations":[{"hw-address":"02:00:00:00:00:01","ip-address":"198.51.100.7"}],"#;
    let config = config(host, "");
    let a = client("02:00:00:00:00:01", None);
    let grants = |subnet| {
        grantable(&config, config.subnet(SubnetId(subnet)).unwrap(), ip("198.51.100.7"), &a)
    };
    assert_eq!([1, 2, 3].map(grants), [false, true, false]);
    let members = config.members(config.subnet(SubnetId(1)).unwrap().network);
    let (address, subnet) = reserved_address(&config, members, &a).unwrap();
    assert_eq!((address, subnet.id), (ip("198.51.100.7"), SubnetId(2)));
    assert!(
        host_of(&config, config.subnet(SubnetId(3)).unwrap(), &a).is_some(),
        "names and options"
    );
}

#[test]
fn reservations_of_every_subnet_of_the_network_count() {
    let config = config("", &reserved("02:00:00:00:00:01", "192.0.2.200"));
    let a = client("02:00:00:00:00:01", None);
    let from_two = [2, 1].map(|id| config.subnet(SubnetId(id)).unwrap());
    let found = reserved_address(&config, from_two, &a);
    assert_eq!(found.map(|(address, _)| address), Some(ip("192.0.2.200")));
}

#[test]
fn an_address_may_be_reserved_for_several_hosts_when_it_need_not_be_unique() {
    let two = r#","reservations":[{"hw-address":"02:00:00:00:00:01","ip-address":"192.0.2.20"},
        {"hw-address":"02:00:00:00:00:02","ip-address":"192.0.2.20"}]"#;
    assert!(crate::config::from_text(&document(two, "")).is_err());
    let config = config(r#""ip-reservations-unique":false,"#, two);
    let subnet = config.subnet(SubnetId(1)).unwrap();
    let other = |last| {
        let client = client(&format!("02:00:00:00:00:0{last}"), None);
        reserved_for_other(&config, subnet, ip("192.0.2.20"), &client)
    };
    assert_eq!([1, 2, 3].map(other), [false, false, true]);
}

#[test]
fn r2b_a_node_that_did_not_know_of_a_circuit_reservation_decides_once_more() {
    let mut world = World::new();
    let a = client("02:00:00:00:00:01", None);
    let grant = world.ask(&a, "192.0.2.20", Why::Selecting, 60);
    let host = r#","reservations":[{"circuit-id":"'port1'","ip-address":"192.0.2.20"}]"#;
    world.set_config(secs(1), &document(host, ""));
    assert_eq!(world.one(secs(1), Command::Grant(grant)), Outcome::Changed);
    world.config = ConfigVersion(2);
    let grant = world.ask(&claiming(Some(b"port1"), None), "192.0.2.20", Why::Selecting, 60);
    assert!(matches!(world.one(secs(1), Command::Grant(grant)), Outcome::Granted(_)));
}
