//! From an applied configuration, or a change of the machine's interfaces, to open sockets.
//!
//! Node settings may name interfaces; they win over the cluster's `interfaces-config`. Two tasks:
//! this one and [`net::follow`]. Stopping them leaves the sockets as they are.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::watch;

use super::event::Event;
use super::inbox::Inbox;
use super::link::Links;
use crate::config::{Config, Listen, SocketType};
use crate::net;
use crate::observe::quiet::seldom;
use crate::raft::Raft;
use crate::state::{ConfigVersion, State};

/// How long opening sockets may take until the configuration counts as active all the same; what is
/// missing then is reported as a problem.
const OPENING: Duration = Duration::from_secs(10);
/// How long a configuration may be in force before it is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What is active on this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Activation {
    /// The configuration that the sockets follow.
    pub version: ConfigVersion,
    /// The addresses that are listened on: this node's identities (C6).
    pub addresses: Vec<Ipv4Addr>,
    /// How many sockets are open.
    pub sockets: usize,
    /// Sockets are being opened, and what comes of it is not known yet.
    pub opening: bool,
    /// What stands in the way, for the operator.
    pub problems: Vec<String>,
}

/// What the task works with.
#[derive(Debug)]
pub struct Activator {
    /// Tells when entries are applied.
    pub raft: Raft,
    /// The applied state.
    pub state: Arc<RwLock<State>>,
    /// The sockets.
    pub ports: Arc<net::Ports>,
    /// The machine's interfaces, from [`net::watch`].
    pub machine: watch::Receiver<Arc<[net::InterfaceState]>>,
    /// Interfaces from the node's settings, see [`listen_of`].
    pub interfaces: Option<Vec<Listen>>,
    /// The worker.
    pub inbox: Arc<Inbox>,
}

impl Activator {
    /// Follows configuration and interfaces; `active` tells what is active.
    pub async fn run(self, active: watch::Sender<Activation>) {
        let Activator { raft, state, ports, machine, interfaces, inbox } = self;
        let nothing = net::Wanted { listen: Vec::new(), mode: SocketType::Udp };
        let (want, wanted) = watch::channel(nothing);
        let active = Arc::new(active);
        // Counts what `follow` has carried out.
        let (reports, mut reported) = watch::channel(0_u64);
        let report = {
            let (active, ports, machine) =
                (Arc::clone(&active), Arc::clone(&ports), machine.clone());
            move |select: &[net::SelectProblem], open: &[net::OpenProblem]| {
                let addresses = ports.addresses();
                let links = Links::of(&machine.borrow());
                inbox.event(Event::Listening(addresses.clone(), links));
                let texts = select
                    .iter()
                    .map(ToString::to_string)
                    .chain(open.iter().map(ToString::to_string));
                let problems: Vec<String> = texts.collect();
                for problem in &problems {
                    // An interface that comes and goes says the same again and again.
                    seldom!(warn, problem, problem, "listening for DHCP");
                }
                active.send_modify(|active| {
                    active.addresses = addresses;
                    active.sockets = ports.open_sockets();
                    active.opening = false;
                    active.problems = problems;
                });
                reports.send_modify(|count| *count += 1);
            }
        };
        let following = tokio::spawn(net::follow(ports, wanted, machine, report));
        let mut progress = raft.progress();
        let mut seen = ConfigVersion::default();
        loop {
            let (version, config) = {
                let state = state.read();
                let view = state.view();
                (view.config_version(), view.config().cloned())
            };
            if let Some(config) = config.filter(|_| version != seen) {
                seen = version;
                let next = wanted_by(&config, interfaces.as_deref());
                reported.borrow_and_update();
                if *want.borrow() != next {
                    // Before the other task can say that it is done.
                    active.send_modify(|active| active.opening = true);
                }
                if want.send_if_modified(|now| {
                    *now != next && {
                        *now = next.clone();
                        true
                    }
                }) {
                    // A slow machine is no reason to leave the operator without an answer.
                    let _ = tokio::time::timeout(OPENING, reported.changed()).await;
                }
                active.send_modify(|active| active.version = version);
            }
            // Not at every entry of a busy log.
            tokio::time::sleep(LOOK_AGAIN).await;
            if progress.changed().await.is_err() {
                following.abort();
                return;
            }
        }
    }
}

/// What a configuration wants listened on.
fn wanted_by(config: &Config, settings: Option<&[Listen]>) -> net::Wanted {
    let listen = settings.map_or_else(|| config.interfaces.listen.clone(), <[Listen]>::to_vec);
    net::Wanted { listen, mode: config.interfaces.socket_type }
}

/// An interface in the node's settings that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an interface is written eth0, eth0/192.0.2.1 or *, not {0:?}")]
pub struct BadInterface(pub String);

/// Reads interfaces in Kea's syntax, as `[dhcp4] interfaces` of the node's settings has them.
///
/// # Errors
/// The first that cannot be read.
pub fn listen_of(interfaces: &[String]) -> Result<Vec<Listen>, BadInterface> {
    let one = |text: &String| {
        let bad = || BadInterface(text.clone());
        match text.split_once('/') {
            None if text == "*" => Ok(Listen::All),
            None if !text.trim().is_empty() => Ok(Listen::Interface(text.clone())),
            Some((name, address)) if !name.is_empty() => {
                Ok(Listen::Address(name.to_owned(), address.parse().map_err(|_| bad())?))
            }
            _ => Err(bad()),
        }
    };
    interfaces.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Vec<Listen>, BadInterface> {
        listen_of(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn interfaces_are_written_as_in_kea() {
        let listen = read(&["*", "eth0", "eth1/192.0.2.1"]).unwrap();
        assert_eq!(
            listen,
            [
                Listen::All,
                Listen::Interface("eth0".into()),
                Listen::Address("eth1".into(), [192, 0, 2, 1].into()),
            ]
        );
        for bad in ["", " ", "/192.0.2.1", "eth0/x"] {
            assert_eq!(read(&[bad]), Err(BadInterface(bad.into())), "{bad:?}");
        }
    }

    #[test]
    fn the_nodes_settings_win_over_the_clusters_interfaces() {
        let text = r#"{"Dhcp4": {"interfaces-config": {"interfaces": ["eth0"], "dhcp-socket-type": "udp"}}}"#;
        let config =
            crate::config::parse(text, "test", &mut |_| Err(String::new())).unwrap().config;
        let wanted = wanted_by(&config, None);
        assert_eq!(wanted.listen, [Listen::Interface("eth0".into())]);
        assert_eq!(wanted.mode, SocketType::Udp);
        assert_eq!(wanted_by(&config, Some(&[Listen::All])).listen, [Listen::All]);
    }
}
