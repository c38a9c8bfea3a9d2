//! Exchanges against one server: packets are filled in from its replies, sent, and what comes back is noted.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::Version;
use super::corpus::{Exchange, Setting, Step};
use super::draft::{Draft, Memory};
use super::lab::{Arrival, Departure, Lab, ROUTER_MAC, SERVER};
use super::pace::{Pace, Walker};
use super::reply::{self, Outcome};
use super::server::{Kind, Server};
use super::words::{Verb, Word};
use crate::client::raw::Raw;
use crate::clock;

/// How long a server may take to start, and to answer a sentinel, in milliseconds.
const START_MS: u64 = 30_000;
const SENTINEL_MS: u64 = 3_000;
/// How much longer a reply may take than that to a sentinel, at least, in milliseconds.
const PATIENCE_MS: u64 = 120;
/// How often a configuration is tried when a reply came so late that it was taken for missing.
const TRIES: usize = 4;
/// First byte of the transactions of packets that are not sentinels.
const PACKETS: u8 = 0x4c;
/// The relay of the sentinels.
const SENTINEL_RELAY: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);

/// What became of a configuration.
#[derive(Debug)]
pub enum Outcomes {
    /// It was refused, with this complaint.
    Refused(String),
    /// One list for each exchange that was tried, one outcome for each packet.
    Tried(Vec<Vec<Outcome>>),
}

/// Whether `exchange` of `setting` is tried with Kea `version`.
pub fn applies(setting: &Setting, exchange: &Exchange, version: Version) -> bool {
    [setting.only, exchange.only].into_iter().flatten().all(|only| only == version)
}

/// What came of a configuration: from Kea, and from Leasehold when it was asked.
pub type Both = (Result<Outcomes>, Option<Result<Outcomes>>);

/// Starts Kea, and Leasehold when `own` is its cable, with the configuration of `setting` and tries its exchanges with both.
///
/// # Errors
/// When replies come so late again and again that the machine must be too busy. Inside: when a server cannot be run, ends, or stops
/// answering.
pub fn setting(
    (kea_lab, kea): (&mut Lab, &Kind),
    mut own: Option<&mut Lab>,
    setting: &Setting,
    version: Version,
    dir: &Path,
) -> Result<Both> {
    for _ in 0..TRIES {
        let pace = Pace::default();
        let [kea_walker, own_walker] = pace.start(own.is_some());
        let (kea, own) = std::thread::scope(|scope| {
            let kea = scope
                .spawn(|| attempt(kea_lab, kea, setting, version, dir, kea_walker, |_| Ok(())));
            let own = own.as_deref_mut().map(|lab| {
                attempt(lab, &Kind::Leasehold, setting, version, dir, own_walker, |_| Ok(()))
            });
            (kea.join().map_err(|_| anyhow!("the thread of Kea panicked")).flatten(), own)
        });
        match (kea.transpose(), own.map(Result::transpose)) {
            (None, _) | (_, Some(None)) => {
                println!("{}: a reply came late; once more", setting.name)
            }
            (Some(kea), None) => return Ok((kea, None)),
            (Some(kea), Some(Some(own))) => return Ok((kea, Some(own))),
        }
    }
    bail!("replies come too late on this machine")
}

/// The statistics of one server after the exchanges of `setting`, sentinels among them.
///
/// # Errors
/// When the server refuses the configuration, cannot be run, ends, or stops answering.
pub fn statistics(
    lab: &mut Lab,
    kind: &Kind,
    setting: &Setting,
    version: Version,
    dir: &Path,
) -> Result<BTreeMap<String, u64>> {
    for _ in 0..TRIES {
        let pace = Pace::default();
        let [walker, _] = pace.start(false);
        let mut statistics = BTreeMap::new();
        let ask = |server: &Server| {
            statistics = server.statistics()?;
            Ok(())
        };
        match attempt(lab, kind, setting, version, dir, walker, ask)? {
            None => println!("{}: a reply came late; once more", setting.name),
            Some(Outcomes::Refused(why)) => bail!("it refuses the configuration: {why}"),
            Some(Outcomes::Tried(_)) => return Ok(statistics),
        }
    }
    bail!("replies come too late on this machine")
}

/// None: a reply came after it had been taken for missing. `end` sees the server before it goes.
fn attempt(
    lab: &mut Lab,
    kind: &Kind,
    setting: &Setting,
    version: Version,
    dir: &Path,
    walker: Walker<'_>,
    end: impl FnOnce(&Server) -> Result<()>,
) -> Result<Option<Outcomes>> {
    let mut server = Server::start(kind, &lab.server, &setting.dhcp4, dir)?;
    let mut player = Player::new(lab, !kind.is_kea(), walker);
    let deadline = clock::now_ms() + START_MS;
    while !player.warm_up()? {
        if !server.process.runs() {
            return Ok(Some(Outcomes::Refused(server.complaint())));
        }
        ensure!(clock::now_ms() < deadline, "it does not answer:\n{}", server.process.tail());
    }
    let mut tried = Vec::new();
    for exchange in setting.exchanges.iter().filter(|one| applies(setting, one, version)) {
        let outcomes = player
            .exchange(exchange)
            .with_context(|| format!("[{}]\n{}", exchange.name, server.process.tail()))?;
        tried.push(outcomes);
        if player.late {
            return Ok(None);
        }
    }
    ensure!(server.process.runs(), "it ended:\n{}", server.process.tail());
    end(&server)?;
    if std::env::var_os("ORACLE_DEBUG").is_some() {
        println!("{}", server.process.log());
    }
    Ok(Some(Outcomes::Tried(tried)))
}

/// A packet whose answer shows that the server is done with those before it.
#[derive(Debug, Clone, Copy)]
enum Sentinel {
    Discover,
    Request,
}

struct Player<'a> {
    lab: &'a mut Lab,
    clients: HashMap<String, Memory>,
    number: u32,
    sentinels: u16,
    /// Whether packets of different clients may overtake each other in the server.
    parallel: bool,
    /// Whether a reply came after its packet had been taken for unanswered.
    late: bool,
    walker: Walker<'a>,
}

impl<'a> Player<'a> {
    fn new(lab: &'a mut Lab, parallel: bool, walker: Walker<'a>) -> Player<'a> {
        let clients = HashMap::new();
        Player { lab, clients, number: 0, sentinels: 0, parallel, late: false, walker }
    }

    fn exchange(&mut self, exchange: &Exchange) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        for step in &exchange.steps {
            self.walker.step();
            match step {
                Step::Sleep(millis) => clock::sleep_ms(*millis),
                Step::Packet { verb, words, text } => {
                    let outcome = self
                        .packet(exchange, *verb, words)
                        .with_context(|| format!("the packet `{text}`"))?;
                    outcomes.push(outcome);
                }
            }
        }
        Ok(outcomes)
    }

    /// The client that a packet is from: its key and what it knows.
    fn client(&mut self, exchange: &Exchange, words: &[Word]) -> String {
        let said = words.iter().chain(&exchange.client).find_map(|word| match word {
            Word::Named(name) => Some((name.clone(), None)),
            Word::Hardware(bytes) => Some((format!("{bytes:02x?}"), Some(bytes.clone()))),
            _ => None,
        });
        let (key, hardware) = said.unwrap_or_else(|| (format!("[{}]", exchange.name), None));
        let fresh = u8::try_from(self.clients.len() + 1).unwrap_or(u8::MAX);
        self.clients.entry(key.clone()).or_insert_with(|| Memory {
            hardware: hardware.unwrap_or_else(|| vec![0x02, 0x0c, 0, 0, 0, fresh]),
            ..Memory::default()
        });
        key
    }

    fn packet(&mut self, exchange: &Exchange, verb: Verb, words: &[Word]) -> Result<Outcome> {
        let key = self.client(exchange, words);
        let memory = self.clients.get(&key).cloned().unwrap_or_default();
        let mut draft = Draft::new(verb, memory.hardware.clone());
        draft.fill_in(&memory);
        for (own, list) in [(false, &exchange.client), (true, &words.to_vec())] {
            if let Err(missing) = draft.apply(list, own, &key, &self.clients) {
                return Ok(Outcome::NotSent(missing));
            }
        }
        self.number += 1;
        let xid = u32::from_be_bytes([PACKETS, 0, 0, 0]) + self.number;
        let sent = draft.finish(xid);
        self.lab.send(&sent.departure())?;
        let replies = self.replies(xid, sent.interface)?;
        self.learn(&key, &replies);
        Ok(if replies.is_empty() {
            Outcome::Silence
        } else {
            Outcome::Replies {
                replies,
                sender: sent.direct_sender(),
                again: memory.leased.is_some(),
            }
        })
    }

    fn learn(&mut self, key: &str, replies: &[Arrival]) {
        let (Some(memory), Some(first)) = (self.clients.get_mut(key), replies.first()) else {
            return;
        };
        let packet = &first.payload;
        let options = reply::options(packet.get(240..).unwrap_or_default());
        let server = options.get(&54).map_or(Ipv4Addr::UNSPECIFIED, |data| reply::address(data, 0));
        let given = (reply::address(packet, 16), server);
        match options.get(&53).map(Vec::as_slice) {
            Some([2]) => memory.offered = Some(given),
            Some([5]) | None if !given.0.is_unspecified() => memory.leased = Some(given),
            _ => {}
        }
    }

    /// The replies to `xid`, once the server has shown that it is done with it.
    fn replies(&mut self, xid: u32, interface: usize) -> Result<Vec<Arrival>> {
        let mut replies = Vec::new();
        // A reply may wait for ARP or stand in another worker's queue: silence is believed at the second sentinel, and where packets may
        // overtake each other only after some time more. Interfaces are not served in the order of arrival, so the sentinel takes the
        // packet's.
        let start = clock::now_ms();
        for _ in 0..2 {
            let arps = self.lab.arps;
            let ok = self.sentinel(Sentinel::Request, interface, SENTINEL_MS, xid, &mut replies)?;
            ensure!(ok, "the sentinel was not answered");
            if !replies.is_empty() && arps == self.lab.arps {
                return Ok(replies);
            }
        }
        if self.parallel {
            let patience = (5 * (clock::now_ms() - start)).max(PATIENCE_MS);
            let deadline = clock::now_ms() + patience;
            while replies.is_empty() && clock::now_ms() < deadline {
                for arrival in self.lab.receive()? {
                    self.sort(arrival, xid, &mut replies);
                }
            }
        }
        Ok(replies)
    }

    fn sort(&mut self, arrival: Arrival, xid: u32, replies: &mut Vec<Arrival>) {
        let id = arrival.payload.get(4..8).unwrap_or_default();
        if xid != 0 && id == xid.to_be_bytes() {
            replies.push(arrival);
        } else if id.first() == Some(&PACKETS) {
            self.late = true;
        }
    }

    /// Whether the server answers both kinds of sentinels: a node may confirm before it offers.
    fn warm_up(&mut self) -> Result<bool> {
        let mut none = Vec::new();
        Ok(self.sentinel(Sentinel::Request, 0, 40, 0, &mut none)?
            && self.sentinel(Sentinel::Discover, 0, 40, 0, &mut none)?
            && self.sentinel(Sentinel::Request, 1, 40, 0, &mut none)?)
    }

    fn sentinel(
        &mut self,
        kind: Sentinel,
        interface: usize,
        limit_ms: u64,
        xid: u32,
        replies: &mut Vec<Arrival>,
    ) -> Result<bool> {
        self.sentinels += 1;
        let [high, low] = self.sentinels.to_be_bytes();
        let own = 0x5e00_0000 + u32::from(self.sentinels);
        let mut raw = Raw::new(own, [0x02, 0x5e, 0x5e, 0x5e, high, low]);
        raw.fixed[3] = 1;
        raw.address(24, SENTINEL_RELAY);
        match kind {
            Sentinel::Discover => raw.option(53, &[1]),
            Sentinel::Request => {
                raw.option(53, &[3]);
                raw.option(50, &[10, 255, 16 + high % 16, low]);
                raw.option(54, &SERVER[interface].octets());
            }
        }
        let payload = raw.bytes();
        self.lab.send(&Departure {
            interface,
            from_mac: ROUTER_MAC,
            broadcast: false,
            from: SocketAddrV4::new(SENTINEL_RELAY, 67),
            payload: &payload,
        })?;
        let deadline = clock::now_ms() + limit_ms;
        while clock::now_ms() < deadline {
            let mut answered = false;
            for arrival in self.lab.receive()? {
                answered |= arrival.payload.get(4..8) == Some(&own.to_be_bytes());
                self.sort(arrival, xid, replies);
            }
            if answered {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
