//! Those who change the configuration: on any node, each on top of the version that it has read on another.

use std::net::Ipv4Addr;

use leasehold::propose::{Answer, Committed};
use leasehold::state::{Command, ConfigVersion, Note, Outcome, SetConfig, State};
use serde_json::json;

use super::node::{Asker, Ticket};
use super::world::{Happening, World};
use crate::floor::sim::Plan;
use crate::floor::sim::dice::Dice;
use crate::floor::sim::place::{NODES, configuration};
use crate::oracle::config_order::{Call, Told, What};
use crate::oracle::{ClientId, Promise};

/// How often they look at the clock, in milliseconds.
const TICK: u64 = 50;
/// How long one waits for an answer, in milliseconds.
const PATIENCE: u64 = 4_000;
/// So long after the next version a node may still answer by one, in milliseconds. What it refuses it refuses behind a read barrier, and
/// up to 2 s after the packet came; its clock may be slow, and its answer is on the way for a while.
const LINGERS: u64 = 2_300;

/// All of them, and every call they made.
#[derive(Debug)]
pub struct Writers {
    dice: Dice,
    all: Vec<Writer>,
    calls: Vec<Call>,
    /// What each call would reserve.
    wishes: Vec<Option<Reservation>>,
    /// The versions that came into force, in order: since when each is, and what it reserves.
    in_force: Vec<(u64, ConfigVersion, Option<Reservation>)>,
    quiet: bool,
}

/// An address that is one client's.
#[derive(Debug, Clone, Copy)]
struct Reservation {
    client: ClientId,
    address: Ipv4Addr,
}

impl Reservation {
    /// Whether the holder of an address may not keep it: it is another's, or the holder has another.
    fn is_against(&self, client: ClientId, address: Ipv4Addr) -> bool {
        (self.client == client) != (self.address == address)
    }
}

#[derive(Debug, Clone, Copy)]
enum Writer {
    Pausing {
        until: u64,
    },
    /// Waits for the answer to that call.
    Waiting {
        call: usize,
        until: u64,
    },
}

impl Writers {
    /// So many, who are quiet at first.
    pub fn new(count: u32, dice: Dice) -> Writers {
        let all = (0..count).map(|_| Writer::Pausing { until: dice.between(0, 3_000) }).collect();
        Writers {
            dice,
            all,
            calls: Vec::new(),
            wishes: Vec::new(),
            in_force: Vec::new(),
            quiet: true,
        }
    }

    /// They stop, or go on.
    pub fn quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    /// Every call so far.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// Whether a client may be refused what it was promised: by a configuration that was in force at that moment.
    pub fn may_refuse(&self, promise: &Promise, at: u64) -> bool {
        let next = self.in_force.iter().skip(1).map(|(since, ..)| since + LINGERS);
        let ends = next.chain([u64::MAX]);
        self.in_force.iter().zip(ends).any(|((since, _, reservation), end)| {
            (*since..end).contains(&at)
                && reservation.is_some_and(|it| it.is_against(promise.client, promise.address))
        })
    }

    fn begin(&mut self, at: usize, now: u64, what: What) -> u64 {
        let call = self.calls.len();
        self.calls.push(Call { began: now, ended: None, what });
        self.wishes.push(None);
        self.all[at] = Writer::Waiting { call, until: now + PATIENCE };
        call as u64
    }

    /// The writer who waits for that call; nobody any more, if it took too long.
    fn whose(&self, call: u64) -> Option<usize> {
        self.all
            .iter()
            .position(|it| matches!(it, Writer::Waiting { call: its, .. } if *its as u64 == call))
    }

    fn end(&mut self, at: usize, now: u64) {
        self.all[at] = Writer::Pausing { until: now + self.dice.between(200, 3_000) };
    }
}

/// The version in force on a node, and the mark of whoever set it.
fn shown(state: &State) -> (u64, u64) {
    let meta = state.view().meta();
    let mark = meta.current().and_then(|version| version.note.comment.parse().ok()).unwrap_or(0);
    (meta.config_version().0, mark)
}

impl World {
    /// They look at the clock.
    pub(super) fn writers_turn(&mut self) {
        let now = self.now();
        for at in 0..self.writers.all.len() {
            match self.writers.all[at] {
                Writer::Pausing { until } if until <= now && !self.writers.quiet => {
                    let call = self.writers.begin(at, now, What::Read(None));
                    let node = self.writers.dice.between(1, NODES);
                    self.ask(node, Asker::Writer(call));
                }
                // Whoever waited too long asks anew; what he asked may still happen.
                Writer::Waiting { until, .. } if until <= now => self.writers.end(at, now),
                _ => {}
            }
        }
        self.schedule.after(TICK, Happening::Writers);
    }

    /// The barrier of a read at `node`.
    pub(super) fn read_passed(&mut self, node: u64, call: u64, passed: bool) {
        let now = self.now();
        let Some(at) = self.writers.whose(call) else { return };
        let Some(it) = self.node(node).filter(|_| passed) else { return self.writers.end(at, now) };
        let (version, mark) = shown(&it.state);
        let read = &mut self.writers.calls[call as usize];
        (read.ended, read.what) = (Some(now), What::Read(Some((version, mark))));
        let next = self.writers.calls.len() as u64 + 1;
        let what = What::Set { mark: next, expected: version, told: Told::Unknown };
        let call = self.writers.begin(at, now, what);
        let reservation = reservation(&self.plan, &self.writers.dice);
        self.writers.wishes[call as usize] = Some(reservation);
        let set = SetConfig {
            // Named, so that it may be sent again, or not.
            id: if self.writers.dice.chance(500) { next } else { 0 },
            expected: Some(ConfigVersion(version)),
            note: Note { comment: next.to_string(), ..Note::default() },
            ..SetConfig::json(document(&self.plan, reservation))
        };
        let node = self.writers.dice.between(1, NODES);
        self.with(node, |it, now, out| {
            it.submit(Command::SetConfig(set), Ticket::Writer(call), now, out)
        });
    }

    /// A node has applied something.
    pub(super) fn note_config(&mut self, node: u64) {
        let now = self.now();
        let Some(it) = self.node(node) else { return };
        let newest =
            self.writers.in_force.last().map_or(ConfigVersion(0), |(_, version, _)| *version);
        let version = it.state.view().meta().config_version();
        if version > newest {
            // The mark is the number of the call, from 1.
            let (_, mark) = shown(&it.state);
            let call = usize::try_from(mark).ok().and_then(|mark| mark.checked_sub(1));
            let reserves = call.and_then(|call| *self.writers.wishes.get(call)?);
            self.writers.in_force.push((now, version, reserves));
        }
    }

    /// The answer to a change.
    pub(super) fn set_answered(&mut self, call: u64, answer: Answer) {
        let now = self.now();
        let Some(at) = self.writers.whose(call) else { return };
        self.writers.end(at, now);
        let told = match answer {
            Answer::Committed(Committed { outcome, .. }) => match outcome {
                Outcome::ConfigSet(version) => Told::InForce(version.0),
                Outcome::ConfigConflict(version) => Told::Conflict(version.0),
                other => {
                    return self.breach("configuration", format!("a good document: {other:?}"));
                }
            },
            Answer::Unsent(_) => Told::Nothing,
            Answer::Unknown => Told::Unknown,
        };
        let call = &mut self.writers.calls[call as usize];
        // What is unknown may still happen, so it has not ended.
        call.ended = (told != Told::Unknown).then_some(now);
        if let What::Set { told: it, .. } = &mut call.what {
            *it = told;
        }
    }
}

/// Some address for some client.
fn reservation(plan: &Plan, dice: &Dice) -> Reservation {
    let client = ClientId(dice.between(1, u64::from(plan.clients)) as u32);
    let last = u8::try_from(dice.between(1, u64::from(plan.pool))).unwrap_or(u8::MAX);
    Reservation { client, address: Ipv4Addr::new(10, 77, 16, last) }
}

/// The configuration with something changed: the reservation moves from one client to another and from address to address.
fn document(plan: &Plan, Reservation { client, address }: Reservation) -> String {
    let mut document = configuration(plan);
    let mac = client.mac().map(|byte| format!("{byte:02x}")).join(":");
    if let Some(subnet) = document.pointer_mut("/Dhcp4/subnet4/0") {
        subnet["reservations"] = json!([{ "hw-address": mac, "ip-address": address }]);
    }
    document.to_string()
}
