//! The rules of the replicated state, one by one.

mod admin;
mod cluster;
mod config;
mod edits;
mod events;
mod give_up;
mod grant;
mod hosts;
mod model;
mod offering;
mod reclaim;
mod recorded;
mod recovery;
mod roster;
mod tables;

use std::net::Ipv4Addr;

use super::*;
use crate::types::{Lifetime, NodeId, SubnetId};

/// A machine, and short words to talk to it. `check` runs after every entry.
struct World {
    state: State,
    /// A second node, which is restarted from a snapshot now and then.
    shadow: State,
    config: ConfigVersion,
    sequence: u64,
    /// What happened, as the second node tells it.
    events: Vec<Event>,
}

/// Subnet 1 with a pool .10–.99, beside subnet 2 in one shared network; subnet 3 alone.
fn document(more1: &str, global: &str) -> String {
    format!(
        r#"{{"Dhcp4":{{{global}
        "shared-networks":[{{"name":"n","subnet4":[
            {{"id":1,"subnet":"192.0.2.0/24","pools":[{{"pool":"192.0.2.10-192.0.2.99"}}]{more1}}},
            {{"id":2,"subnet":"198.51.100.0/24","pools":[{{"pool":"198.51.100.10-198.51.100.99"}}]}}]}}],
        "subnet4":[{{"id":3,"subnet":"203.0.113.0/24","pools":[{{"pool":"203.0.113.10-203.0.113.99"}}]}}]}}}}"#
    )
}

fn reserved(hw: &str, address: &str) -> String {
    format!(r#","reservations":[{{"hw-address":"{hw}","ip-address":"{address}"}}]"#)
}

fn ms(millis: u64) -> ClusterTime {
    ClusterTime::from_millis(millis)
}

fn secs(secs: u64) -> ClusterTime {
    ms(secs * 1000)
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn subnet_of(address: Ipv4Addr) -> SubnetId {
    SubnetId(match address.octets()[0] {
        192 => 1,
        198 => 2,
        _ => 3,
    })
}

impl World {
    /// Three nodes, no caching.
    fn new() -> World {
        World::with(&document("", r#""cache-threshold":0.0,"#), 3)
    }

    fn with(config: &str, nodes: u64) -> World {
        World::of(testing::machine(config, nodes), ConfigVersion(1))
    }

    fn of(state: State, config: ConfigVersion) -> World {
        World { shadow: state.clone(), state, config, sequence: 0, events: Vec::new() }
    }

    fn at(&mut self, stamp: ClusterTime, commands: Vec<Command>) -> Vec<Outcome> {
        let (index, batch) = (self.state.applied() + 1, Batch { stamp, commands });
        let outcomes = self.state.apply(index, &batch);
        self.state.check().unwrap();
        if index.is_multiple_of(8) {
            let mut bytes = Vec::new();
            snapshot::write(&self.shadow.freeze(), b"", &mut bytes).unwrap();
            self.shadow = snapshot::read(&mut bytes.as_slice()).unwrap().0;
        }
        let sent = wire::decode_batch(&wire::encode_batch(&batch)).unwrap();
        // R22: a node prepares an entry before its lock.
        let prepared = self.shadow.view().meta().prepare(&sent, &mut document::read);
        let answers = match prepared {
            Ok(prepared) => self.shadow.apply_telling(index, &sent, prepared, &mut self.events),
            Err(_) => self.shadow.apply(index, &sent),
        };
        assert_eq!(answers, outcomes, "the nodes answer differently");
        assert_eq!(self.shadow.digest(), self.state.digest(), "the nodes differ");
        outcomes
    }

    fn one(&mut self, stamp: ClusterTime, command: Command) -> Outcome {
        self.at(stamp, vec![command]).remove(0)
    }

    /// A Grant as an engine with this view would make it: `held` is what the state says.
    fn ask(&mut self, client: &Client, want: &str, why: Why, lifetime: u32) -> Grant {
        self.sequence += 1;
        let (want, view) = (ip(want), self.state.view());
        let network = view
            .config()
            .and_then(|config| config.subnet(subnet_of(want)))
            .map(|subnet| subnet.network);
        let held = network.and_then(|network| view.lease_of(client, network));
        Grant {
            origin: Origin { node: NodeId(1), incarnation: 1, sequence: self.sequence },
            not_after: ClusterTime::NEVER,
            config: self.config,
            client: client.clone(),
            items: vec![GrantItem {
                subnet: subnet_of(want),
                want,
                why,
                held: held.map(|lease| (lease.address, lease.generation)),
                lifetime: Lifetime::from_secs(lifetime),
            }],
            hostname: String::new(),
            fqdn_fwd: false,
            fqdn_rev: false,
            identity: ip("192.0.2.1"),
            relay_info: None,
            checked: false,
        }
    }

    fn grant(
        &mut self,
        stamp: ClusterTime,
        client: &Client,
        want: &str,
        why: Why,
        lifetime: u32,
    ) -> Outcome {
        let grant = self.ask(client, want, why, lifetime);
        self.one(stamp, Command::Grant(grant))
    }

    /// A Grant that must succeed.
    fn granted(
        &mut self,
        stamp: ClusterTime,
        client: &Client,
        want: &str,
        why: Why,
        lifetime: u32,
    ) -> Granted {
        match self.grant(stamp, client, want, why, lifetime) {
            Outcome::Granted(granted) => granted,
            other => panic!("{want} is not granted but {other:?}"),
        }
    }

    fn give_up(&mut self, client: &Client, address: &str, arrived: ClusterTime) -> GiveUp {
        self.sequence += 1;
        GiveUp {
            origin: Origin { node: NodeId(1), incarnation: 1, sequence: self.sequence },
            client: client.clone(),
            address: ip(address),
            generation: None,
            arrived,
            circuit: 0,
            relayed: false,
        }
    }

    fn set_config(&mut self, stamp: ClusterTime, text: &str) -> Outcome {
        self.one(stamp, Command::SetConfig(SetConfig::json(text)))
    }

    fn reclaim(&mut self, stamp: ClusterTime, limit: u32) -> Outcome {
        self.one(stamp, Command::Reclaim(Reclaim { limit, remove: false }))
    }

    fn lease(&self, address: &str) -> Option<Lease> {
        self.state.view().lease(ip(address)).map(|lease| Lease::clone(lease))
    }

    fn state_of(&self, address: &str) -> Option<LeaseState> {
        self.lease(address).map(|lease| lease.state)
    }
}
