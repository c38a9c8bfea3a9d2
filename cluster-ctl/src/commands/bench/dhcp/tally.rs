//! What was sent and what became of it. For each kind of message, sent = answered + refused + lost.

use std::net::Ipv4Addr;

use super::crowd::Heard;
use super::packet::Kind;
use crate::commands::bench::latency::Latency;

/// How many mistakes of the server are shown one by one.
const SHOWN: usize = 10;

/// Messages of one kind.
#[derive(Debug)]
pub struct Count {
    /// Sent.
    pub sent: u64,
    /// Answered as the client wished, in time.
    pub answered: u64,
    /// Refused with a NAK.
    pub refused: u64,
    /// Not answered in time.
    pub lost: u64,
    /// Answered after that; these are lost too.
    pub late: u64,
    /// From the message to its answer.
    pub took: Latency,
}

/// An address that was given to two clients that both hold it.
#[derive(Debug, Clone, PartialEq)]
pub struct Duplicate {
    /// The address.
    pub address: Ipv4Addr,
    /// Both clients, by their numbers.
    pub clients: [u32; 2],
    /// When, seconds since the start.
    pub at: f64,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Tally {
    kinds: [Count; 4],
    /// From DISCOVER to ACK.
    pub exchange: Latency,
    /// Second answers.
    pub repeated: u64,
    /// Answers that do not fit what was asked.
    pub unexpected: u64,
    /// Datagrams to nobody here.
    pub stray: u64,
    /// Replies that a client could not use.
    pub malformed: u64,
    /// What was wrong with the first of them.
    pub wrong: Vec<String>,
    /// Replies that were decoded whole.
    pub checked: u64,
    /// Addresses given twice.
    pub duplicate_count: u64,
    /// The first of them.
    pub duplicates: Vec<Duplicate>,
    /// Steps that were due when all clients were busy.
    pub no_client: u64,
    /// Steps that were due long before we came to them.
    pub behind: u64,
}

impl Tally {
    /// Nothing yet.
    pub fn new() -> Tally {
        let count = |_| {
            let took = Latency::new();
            Count { sent: 0, answered: 0, refused: 0, lost: 0, late: 0, took }
        };
        Tally {
            kinds: Kind::ALL.map(count),
            exchange: Latency::new(),
            repeated: 0,
            unexpected: 0,
            stray: 0,
            malformed: 0,
            wrong: Vec::new(),
            checked: 0,
            duplicate_count: 0,
            duplicates: Vec::new(),
            no_client: 0,
            behind: 0,
        }
    }

    /// The counts of one kind.
    pub fn of(&self, kind: Kind) -> &Count {
        &self.kinds[kind as usize]
    }

    /// A message left.
    pub fn sent(&mut self, kind: Kind) {
        self.kinds[kind as usize].sent += 1;
    }

    /// Nobody answered in time.
    pub fn lost(&mut self, kind: Kind) {
        self.kinds[kind as usize].lost += 1;
    }

    /// A reply came. What is wrong with it counts always; what it answers, if that was counted.
    pub fn heard(&mut self, heard: &Heard, counting: bool) {
        match *heard {
            Heard::Answered { kind, counted: true, took, exchange, .. } => {
                let count = &mut self.kinds[kind as usize];
                count.answered += 1;
                count.took.record(took);
                if let Some(took) = exchange {
                    self.exchange.record(took);
                }
            }
            Heard::Refused { kind, counted: true } => self.kinds[kind as usize].refused += 1,
            Heard::Answered { .. } | Heard::Refused { .. } => {}
            Heard::Late(kind) => self.kinds[kind as usize].late += u64::from(counting),
            Heard::Repeated => self.repeated += u64::from(counting),
            Heard::Unexpected => self.unexpected += 1,
        }
    }

    /// A client could not use a reply.
    pub fn malformed(&mut self, why: String) {
        self.malformed += 1;
        if self.wrong.len() < SHOWN && !self.wrong.contains(&why) {
            self.wrong.push(why);
        }
    }

    /// An address was given twice.
    pub fn duplicate(&mut self, duplicate: Duplicate) {
        self.duplicate_count += 1;
        if self.duplicates.len() < SHOWN {
            self.duplicates.push(duplicate);
        }
    }

    /// All answers of servers.
    pub fn answers(&self) -> u64 {
        self.kinds.iter().map(|count| count.answered + count.refused).sum()
    }

    /// Steps that came to their end: exchanges, or OFFERs where no offer is taken; renewals; releases.
    pub fn steps(&self, takes_offers: bool) -> u64 {
        let begun = if takes_offers { Kind::Request } else { Kind::Discover };
        let answered = self.of(begun).answered + self.of(Kind::Renew).answered;
        answered + self.of(Kind::Release).sent
    }
}
