//! Those who change the configuration of real servers, by the control API and from where the clients are: each reads on any server which
//! version is in force, and sets on any server the next one on top of it. They are threads that wait for answers; what they asked and were
//! told is in one [book](crate::floor::sim::writers::Book).
//!
//! Nobody sees here when a server takes a version up. When one may have been in force follows from the answers alone. It was not before
//! the change was sent, and not any more once an answer has shown a later version: a NAK to a REQUEST that was sent after that answer is
//! judged by a later one (C11). So nobody is accused wrongly. Nor is everything allowed: where changes are answered, one or two
//! reservations count at a time, each about one client and one address, and a change that is unknown counts until its version is known
//! to be another's or a later one is met, which soon a read or a change shows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::clock;
use crate::floor::netns::http::Http;
use crate::floor::netns::topology::Namespace;
use crate::floor::sim::Plan;
use crate::floor::sim::crowd::Crowd;
use crate::floor::sim::dice::Dice;
use crate::floor::sim::writers::{Book, REST_MS, Reservation, mark};
use crate::oracle::config_order::Told;
use crate::oracle::stale_nak::Refusal;
use crate::oracle::{Breach, Promise};

/// How long one waits for a connection, and how long for an answer. A server that can says within about 6 s what it knows.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often one that rests looks whether it should end, in milliseconds.
const LOOK_MS: u64 = 50;

/// The writers. Dropping it ends them.
#[derive(Debug)]
pub struct Writers {
    desk: Arc<Mutex<Desk>>,
    apis: Arc<[SocketAddr]>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What they share.
#[derive(Debug)]
struct Desk {
    book: Book,
    quiet: bool,
    /// Those who are about something.
    busy: usize,
    /// Answers that no good document has.
    odd: Vec<Breach>,
}

impl Writers {
    /// Has the writers of `plan` live in the namespace `at`, from which all of `apis` are reached. Their reservations are for clients of
    /// `crowd`. They are quiet at first.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn start(
        at: &Namespace,
        apis: Vec<SocketAddr>,
        plan: Plan,
        seed: u64,
        crowd: &Arc<Mutex<Crowd>>,
    ) -> Result<Writers> {
        let desk = Desk { book: Book::default(), quiet: true, busy: 0, odd: Vec::new() };
        let mut all = Writers {
            desk: Arc::new(Mutex::new(desk)),
            apis: apis.into(),
            stop: Arc::new(AtomicBool::new(false)),
            threads: Vec::new(),
        };
        for number in 1..=u64::from(plan.writers) {
            let writer = Writer {
                desk: all.desk.clone(),
                apis: all.apis.clone(),
                stop: all.stop.clone(),
                crowd: crowd.clone(),
                dice: Dice::new(seed, 50 + number),
                plan,
            };
            let enter = at.entrance()?;
            let thread = std::thread::Builder::new()
                .name(format!("writer {number}"))
                .spawn(move || {
                    if enter.enter().is_ok() {
                        writer.run();
                    }
                })
                .context("starting a writer")?;
            all.threads.push(thread);
        }
        Ok(all)
    }

    /// They begin nothing more, or go on.
    pub fn quiet(&self, quiet: bool) {
        self.desk.lock().quiet = quiet;
    }

    /// Why it is not so that all are quiet and wait for nothing.
    ///
    /// # Errors
    /// That.
    pub fn are_idle(&self) -> Result<(), String> {
        match self.desk.lock().busy {
            0 => Ok(()),
            busy => Err(format!("{busy} writers of the configuration wait for an answer")),
        }
    }

    /// Judges all calls, in a quiet moment: every server is asked which version is in force, from the namespace `at`, and some order must
    /// explain all answers. If it does, what is older than these answers is explained for good. Also what there is to say.
    pub fn judge(&self, at: &Namespace) -> (Vec<Breach>, String) {
        let mut last = None;
        let mut breaches = Vec::new();
        for (api, server) in self.apis.iter().zip(1..) {
            match at.inside(|| read(&self.desk, *api)) {
                Ok(Some(found)) => last = Some(found),
                Ok(None) => breaches.push(Breach(format!(
                    "server {server} does not tell which configuration is in force, with nothing broken"
                ))),
                Err(error) => breaches.push(Breach(format!("asking server {server}: {error:#}"))),
            }
        }
        let mut desk = self.desk.lock();
        breaches.append(&mut desk.odd);
        breaches.extend(desk.book.check());
        let version = last.map_or("unknown".to_owned(), |(version, _)| version.to_string());
        let told = format!("configuration {version} after {}", desk.book.summary());
        if let Some(found) = last.filter(|_| breaches.is_empty()) {
            desk.book.begin_anew(found);
        }
        (breaches, told)
    }

    /// Whether a client may be refused what it was promised.
    pub fn may_refuse(&self, promise: &Promise, refusal: Refusal) -> bool {
        self.desk.lock().book.may_refuse(promise, refusal)
    }

    /// Drops the reservations that were in force long before.
    pub fn forget(&self, before: u64) {
        self.desk.lock().book.forget(before);
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One of them.
struct Writer {
    desk: Arc<Mutex<Desk>>,
    apis: Arc<[SocketAddr]>,
    stop: Arc<AtomicBool>,
    crowd: Arc<Mutex<Crowd>>,
    dice: Dice,
    plan: Plan,
}

impl Writer {
    fn run(&self) {
        while self.rest() {
            if self.begin() {
                self.change();
                self.desk.lock().busy -= 1;
            }
        }
    }

    /// False: it should end.
    fn rest(&self) -> bool {
        let until = clock::now_ms() + self.dice.between(REST_MS.0, REST_MS.1);
        while clock::now_ms() < until && !self.stop.load(Ordering::Relaxed) {
            clock::sleep_ms(LOOK_MS);
        }
        !self.stop.load(Ordering::Relaxed)
    }

    /// Who has begun is waited for; false while all are quiet.
    fn begin(&self) -> bool {
        let mut desk = self.desk.lock();
        if !desk.quiet {
            desk.busy += 1;
        }
        !desk.quiet
    }

    fn any(&self) -> Option<SocketAddr> {
        let last = self.apis.len().saturating_sub(1) as u64;
        self.apis.get(self.dice.between(0, last) as usize).copied()
    }

    /// Reads, and changes something on top of that.
    fn change(&self) -> Option<()> {
        let (version, _) = read(&self.desk, self.any()?)?;
        // Those who are there: the others would never notice.
        let client = self.crowd.lock().someone(&self.dice)?;
        let wish = Reservation::draw(&self.plan, client, &self.dice);
        let api = self.any()?;
        let mark = {
            let mut desk = self.desk.lock();
            if desk.quiet {
                return None;
            }
            desk.book.set(clock::now_ms(), version, wish)
        };
        let arguments = json!({
            "document": wish.document(&self.plan),
            "expected-version": version,
            "author": "a writer",
            "comment": mark.to_string(),
        });
        let heard = ask(api, "config-set", &arguments);
        let now = clock::now_ms();
        let mut desk = self.desk.lock();
        match told(&heard) {
            Ok(told) => desk.book.told(mark, now, told),
            Err(what) => {
                desk.odd.push(Breach(format!("{api} answers to a good document: {what}")));
            }
        }
        Some(())
    }
}

/// What became of a request.
#[derive(Debug)]
enum Heard {
    /// It was never sent: nobody listens there.
    Unsent,
    /// It may have been sent, and there is no answer.
    Lost,
    /// The answer.
    Reply(Value),
}

fn ask(api: SocketAddr, name: &str, arguments: &Value) -> Heard {
    let Ok(mut http) = Http::open_within(api, PATIENCE) else { return Heard::Unsent };
    match http.command(name, &arguments.to_string()) {
        Ok(reply) => Heard::Reply(reply),
        Err(_) => Heard::Lost,
    }
}

/// Reads which version is in force, and whose mark it has. None: nobody says.
fn read(desk: &Mutex<Desk>, api: SocketAddr) -> Option<(u64, u64)> {
    let call = desk.lock().book.read(clock::now_ms());
    let heard = ask(api, "config-history-get", &json!({}));
    let now = clock::now_ms();
    let Heard::Reply(reply) = heard else { return None };
    let version = reply["arguments"]["version"].as_u64()?;
    let found = (version, reply["arguments"]["comment"].as_str().map_or(0, mark));
    desk.lock().book.found(call, now, found);
    Some(found)
}

/// What an answer to a change tells.
///
/// # Errors
/// An answer that no good document has.
fn told(heard: &Heard) -> Result<Told, String> {
    let reply = match heard {
        Heard::Unsent => return Ok(Told::Nothing),
        Heard::Lost => return Ok(Told::Unknown),
        Heard::Reply(reply) => reply,
    };
    let text = reply["text"].as_str().unwrap_or_default();
    // A refusal has it in its text only, as the first number there.
    let first = || text.split(|it: char| !it.is_ascii_digit()).find_map(|word| word.parse().ok());
    let version = reply["arguments"]["version"].as_u64().or_else(first);
    match (reply["result"].as_u64(), version) {
        (Some(0), Some(version)) => Ok(Told::InForce(version)),
        (Some(4), Some(version)) => Ok(Told::Conflict(version)),
        (Some(1), _) if text.starts_with("Nothing was changed") => Ok(Told::Nothing),
        (Some(1), _) if text.starts_with("The outcome is unknown") => Ok(Told::Unknown),
        (Some(1), Some(version)) if text.starts_with("The configuration is committed") => {
            Ok(Told::InForce(version))
        }
        // Below the commands: the request did not come whole, or there was no room for it.
        (Some(400..=499 | 503), _) => Ok(Told::Nothing),
        _ => Err(reply.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_is_understood() {
        // As in the scripts of the server's API.
        for (reply, wanted) in [
            (json!({ "result": 0, "arguments": { "version": 7, "hash": "" } }), Told::InForce(7)),
            (
                json!({ "result": 4, "text": "Nothing was changed: configuration 12 is in force, and the change expects another. …" }),
                Told::Conflict(12),
            ),
            (
                json!({ "result": 1, "text": "Nothing was changed, the cluster does not answer: no leader was found within 5 s." }),
                Told::Nothing,
            ),
            (
                json!({ "result": 1, "text": "The outcome is unknown: this node did not learn of it in time. …" }),
                Told::Unknown,
            ),
            (
                json!({ "result": 1, "text": "The configuration is committed as version 8 and in force in the cluster, but …" }),
                Told::InForce(8),
            ),
            (json!({ "result": 503, "text": "Too many large requests at once" }), Told::Nothing),
        ] {
            assert_eq!(told(&Heard::Reply(reply.clone())), Ok(wanted), "{reply}");
        }
        assert_eq!(told(&Heard::Unsent), Ok(Told::Nothing));
        assert_eq!(told(&Heard::Lost), Ok(Told::Unknown));
        for odd in [
            json!({ "result": 1, "text": "internal error, see the log of the node" }),
            json!({ "result": 0 }),
            json!({ "result": 500, "text": "Internal Server Error" }),
        ] {
            assert!(told(&Heard::Reply(odd.clone())).is_err(), "{odd}");
        }
    }
}
