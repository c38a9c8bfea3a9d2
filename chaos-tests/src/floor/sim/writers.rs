//! Those who change the configuration, as values: what they asked, what they were told, and which reservations were in force when. Every
//! floor has its own way to ask; what they ask for and how it is judged is here. Each change moves one reservation from client to client
//! and from address to address.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use leasehold::propose::{Answer, Committed};
use leasehold::state::{ConfigVersion, Note, Outcome, SetConfig, State};
use serde_json::json;

use super::Plan;
use super::dice::Dice;
use super::place::configuration;
use crate::oracle::config_order::{self, Call, Told, What};
use crate::oracle::stale_nak::Refusal;
use crate::oracle::{Breach, ClientId, Promise};

/// From when to when a writer rests after a change, in milliseconds.
pub const REST_MS: (u64, u64) = (200, 3_000);

/// An address that is one client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// Whose.
    pub client: ClientId,
    /// Which.
    pub address: Ipv4Addr,
}

impl Reservation {
    /// Some address of the plan for that client.
    pub fn draw(plan: &Plan, client: ClientId, dice: &Dice) -> Reservation {
        let last = u8::try_from(dice.between(1, u64::from(plan.pool))).unwrap_or(u8::MAX);
        Reservation { client, address: Ipv4Addr::new(10, 77, 16, last) }
    }

    /// The configuration of a run with this reservation and no other.
    pub fn document(&self, plan: &Plan) -> String {
        let mut document = configuration(plan);
        let mac = self.client.mac().map(|byte| format!("{byte:02x}")).join(":");
        if let Some(subnet) = document.pointer_mut("/Dhcp4/subnet4/0") {
            subnet["reservations"] = json!([{ "hw-address": mac, "ip-address": self.address }]);
        }
        document.to_string()
    }

    /// Whether the holder of an address may not keep it: it is another's, or the holder has another. The lease itself stays as it is until
    /// it ends (R8), so the address is nobody else's before that.
    fn is_against(&self, client: ClientId, address: Ipv4Addr) -> bool {
        (self.client == client) != (self.address == address)
    }
}

/// A change in the form in which it is proposed. `named`: it may be sent again, and is accepted once.
pub fn command(mark: u64, expected: u64, named: bool, document: String) -> SetConfig {
    SetConfig {
        id: if named { mark } else { 0 },
        expected: Some(ConfigVersion(expected)),
        note: Note { comment: mark.to_string(), ..Note::default() },
        ..SetConfig::json(document)
    }
}

/// What an answer to a change tells.
///
/// # Errors
/// An outcome that no good document has.
pub fn told(answer: Answer) -> Result<Told, Outcome> {
    match answer {
        Answer::Committed(Committed { outcome, .. }) => match outcome {
            Outcome::ConfigSet(version) => Ok(Told::InForce(version.0)),
            Outcome::ConfigConflict(version) => Ok(Told::Conflict(version.0)),
            other => Err(other),
        },
        Answer::Unsent(_) => Ok(Told::Nothing),
        Answer::Unknown => Ok(Told::Unknown),
    }
}

/// The version in force in a machine, and the mark of whoever set it.
pub fn shown(state: &State) -> (u64, u64) {
    let meta = state.view().meta();
    let mark = meta.current().map_or(0, |version| mark(&version.note.comment));
    (meta.config_version().0, mark)
}

/// The mark in the comment of a version; 0: no writer's.
pub fn mark(comment: &str) -> u64 {
    comment.parse().unwrap_or(0)
}

/// Which reservations were in force when, at most.
#[derive(Debug, Clone, Default)]
pub struct InForce {
    spans: Vec<Span>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    version: u64,
    mark: u64,
    reservation: Reservation,
    /// It was not in force before.
    from: u64,
    /// Nor after.
    until: u64,
}

impl InForce {
    /// From now on a reservation may be in force, by that version of that mark.
    pub fn begins(&mut self, at: u64, version: u64, mark: u64, reservation: Reservation) {
        self.spans.push(Span { version, mark, reservation, from: at, until: u64::MAX });
    }

    /// By now that version is in force, or was: no version before it is any more, nor was that version anybody else's.
    pub fn shows(&mut self, at: u64, version: u64, mark: Option<u64>) {
        self.spans
            .retain(|span| span.version != version || mark.is_none_or(|mark| mark == span.mark));
        for span in self.spans.iter_mut().filter(|span| span.version < version) {
            span.until = span.until.min(at);
        }
    }

    /// The change with that mark has no effect, ever.
    pub fn never(&mut self, mark: u64) {
        self.spans.retain(|span| span.mark != mark);
    }

    /// Drops what ended long before.
    pub fn forget(&mut self, before: u64) {
        self.spans.retain(|span| span.until >= before);
    }

    /// Whether a client may be refused what it was promised, by a reservation that may have been in force between those moments.
    pub fn may_refuse(&self, promise: &Promise, from: u64, to: u64) -> bool {
        self.spans.iter().any(|span| {
            span.from <= to
                && span.until >= from
                && span.reservation.is_against(promise.client, promise.address)
        })
    }

    /// Nothing was in force that is not in force here, too.
    ///
    /// # Errors
    /// What was.
    pub fn covers(&self, truth: &InForce) -> Result<(), String> {
        let has = |it: &Span| {
            self.spans.iter().any(|span| {
                (span.mark, span.version, span.reservation) == (it.mark, it.version, it.reservation)
                    && span.from <= it.from
                    && span.until >= it.until
            })
        };
        match truth.spans.iter().find(|span| !has(span)) {
            None => Ok(()),
            Some(span) => Err(format!("by the answers this was not in force: {span:?}")),
        }
    }
}

/// What all writers asked and were told. Calls are numbered from 1, and the number of a change is its mark.
///
/// From the answers alone follows when a version may have been in force, which is what a refusal is held against. A change may be in force
/// from the moment it is asked for: it was made on a version that had been read before. It is so no more when an answer shows a later
/// version, whoever's that is, and it never was if it is told so or its version turns out to be another's. So a change that was
/// answered counts for about as long as it is in force, and one without an answer until the next that was read or answered: never too
/// short, and rarely much too long.
#[derive(Debug, Default)]
pub struct Book {
    /// Version and mark that were in force before all calls; none: not known, the first version that is met with mark 0.
    first: Option<(u64, u64)>,
    calls: BTreeMap<u64, Entry>,
    /// Calls so far.
    count: u64,
    in_force: InForce,
}

#[derive(Debug)]
struct Entry {
    call: Call,
    /// What it would reserve.
    wish: Option<Reservation>,
}

impl Book {
    /// A read begins; its number.
    pub fn read(&mut self, at: u64) -> u64 {
        self.begin(at, What::Read(None), None)
    }

    /// A change begins, on top of a version that was read; its number.
    pub fn set(&mut self, at: u64, expected: u64, wish: Reservation) -> u64 {
        let mark = self.count + 1;
        self.in_force.begins(at, expected + 1, mark, wish);
        self.begin(at, What::Set { mark, expected, told: Told::Unknown }, Some(wish))
    }

    fn begin(&mut self, at: u64, what: What, wish: Option<Reservation>) -> u64 {
        self.count += 1;
        let call = Call { began: at, ended: None, what };
        self.calls.insert(self.count, Entry { call, wish });
        self.count
    }

    /// A read is answered with a version and its mark.
    pub fn found(&mut self, number: u64, at: u64, (version, mark): (u64, u64)) {
        let Some(entry) = self.calls.get_mut(&number) else { return };
        (entry.call.ended, entry.call.what) = (Some(at), What::Read(Some((version, mark))));
        self.in_force.shows(at, version, Some(mark));
    }

    /// A change is answered. What is unknown may still happen, so it does not end.
    pub fn told(&mut self, number: u64, at: u64, told: Told) {
        let Some(entry) = self.calls.get_mut(&number) else { return };
        entry.call.ended = (told != Told::Unknown).then_some(at);
        if let What::Set { told: it, .. } = &mut entry.call.what {
            *it = told;
        }
        match told {
            Told::InForce(version) => self.in_force.shows(at, version, Some(number)),
            Told::Conflict(version) => {
                self.in_force.never(number);
                self.in_force.shows(at, version, None);
            }
            Told::Nothing => self.in_force.never(number),
            Told::Unknown => {}
        }
    }

    /// What the change with that mark would reserve.
    pub fn wish(&self, mark: u64) -> Option<Reservation> {
        self.calls.get(&mark)?.wish
    }

    /// Which reservations may have been in force when, by the answers.
    pub fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// Whether a client may be refused what it was promised. A refusal is judged on a machine that has everything that was agreed when its
    /// REQUEST came (C11), so by a configuration that was in force at some moment between that REQUEST and the NAK.
    pub fn may_refuse(&self, promise: &Promise, refusal: Refusal) -> bool {
        self.in_force.may_refuse(promise, refusal.asked, refusal.at)
    }

    /// Whatever no order of the calls explains.
    pub fn check(&self) -> Vec<Breach> {
        let calls: Vec<Call> = self.calls.values().map(|entry| entry.call.clone()).collect();
        match self.first {
            Some(first) => config_order::check_from(first, &calls),
            None => config_order::check(&calls),
        }
    }

    /// Begins anew with a version that was read behind all calls, none of which waits for an answer: they are explained, and the search for
    /// an order need not grow. What is unknown and was made on that version may still happen, and is kept.
    pub fn begin_anew(&mut self, (version, mark): (u64, u64)) {
        self.calls.retain(|_, entry| match entry.call.what {
            What::Set { expected, .. } => entry.call.ended.is_none() && expected >= version,
            What::Read(_) => false,
        });
        self.first = Some((version, mark));
    }

    /// Drops the reservations that were in force long before.
    pub fn forget(&mut self, before: u64) {
        self.in_force.forget(before);
    }

    /// How many changes had which answer since it began anew, in words.
    pub fn summary(&self) -> String {
        let (mut done, mut conflicts, mut nothing, mut unknown) = (0, 0, 0, 0);
        for entry in self.calls.values() {
            let What::Set { told, .. } = entry.call.what else { continue };
            *match told {
                Told::InForce(_) => &mut done,
                Told::Conflict(_) => &mut conflicts,
                Told::Nothing => &mut nothing,
                Told::Unknown => &mut unknown,
            } += 1;
        }
        format!("{done} changes, {conflicts} conflicts, {nothing} refused, {unknown} unknown")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ClientId = ClientId(1);
    const TWO: ClientId = ClientId(2);
    const THREE: ClientId = ClientId(3);
    const A: Ipv4Addr = Ipv4Addr::new(10, 77, 16, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 77, 16, 2);

    fn reserve(client: ClientId, address: Ipv4Addr) -> Reservation {
        Reservation { client, address }
    }

    fn may_refuse(book: &Book, client: ClientId, address: Ipv4Addr, asked: u64, at: u64) -> bool {
        let promise =
            Promise { client, address, from: 0, until: u64::MAX, node: None, given_up: false };
        book.may_refuse(&promise, Refusal { asked, at })
    }

    /// A book in which version 3 was read at 100, and a change on top of it that gives A to client 1 began at 110: its mark is 2.
    fn changing() -> Book {
        let mut book = Book::default();
        let read = book.read(90);
        book.found(read, 100, (3, 0));
        assert_eq!(book.set(110, 3, reserve(ONE, A)), 2);
        book
    }

    #[test]
    fn a_reservation_is_against_others_there_and_against_its_client_elsewhere() {
        let book = changing();
        assert!(may_refuse(&book, TWO, A, 120, 120));
        assert!(may_refuse(&book, ONE, B, 120, 120));
        assert!(!may_refuse(&book, ONE, A, 120, 120));
        assert!(!may_refuse(&book, TWO, B, 120, 120));
    }

    #[test]
    fn a_change_counts_from_its_beginning_until_a_later_version_is_seen() {
        let mut book = changing();
        book.told(2, 150, Told::InForce(4));
        let rival = book.set(300, 4, reserve(TWO, B));
        book.told(rival, 350, Told::InForce(5));
        assert!(!may_refuse(&book, THREE, A, 90, 109));
        // The packet came before, the refusal after.
        assert!(may_refuse(&book, THREE, A, 90, 110));
        assert!(may_refuse(&book, THREE, A, 340, 600));
        assert!(!may_refuse(&book, THREE, A, 351, 600));
        assert!(may_refuse(&book, ONE, B, 351, u64::MAX));
        book.forget(351);
        assert!(!may_refuse(&book, THREE, A, 340, 600));
        assert!(may_refuse(&book, ONE, B, 351, u64::MAX));
    }

    #[test]
    fn what_never_was_in_force_allows_nothing() {
        for told in [Told::Conflict(4), Told::Nothing] {
            let mut book = changing();
            book.told(2, 150, told);
            assert!(!may_refuse(&book, TWO, A, 120, 120), "{told:?}");
        }
        // It was made on that version, and another was faster.
        let mut book = changing();
        book.told(2, 150, Told::Unknown);
        assert!(may_refuse(&book, TWO, A, 120, 120));
        let read = book.read(160);
        book.found(read, 170, (4, 99));
        assert!(!may_refuse(&book, TWO, A, 120, 120));
    }

    #[test]
    fn a_change_without_an_answer_counts_until_a_later_version_is_seen() {
        let mut book = changing();
        book.told(2, 150, Told::Unknown);
        let read = book.read(500);
        book.found(read, 510, (3, 0));
        assert!(may_refuse(&book, TWO, A, 600, 700));
        // Whose version 4 was is not known.
        let rival = book.set(700, 3, reserve(TWO, B));
        book.told(rival, 720, Told::Conflict(5));
        assert!(may_refuse(&book, TWO, A, 720, 800));
        assert!(!may_refuse(&book, TWO, A, 721, 800));
    }

    #[test]
    fn what_the_answers_show_covers_what_was() {
        let mut book = changing();
        let mut truth = InForce::default();
        truth.begins(130, 4, 2, reserve(ONE, A));
        book.in_force().covers(&truth).unwrap();
        book.told(2, 150, Told::InForce(4));
        let rival = book.set(200, 4, reserve(TWO, B));
        truth.shows(210, 5, Some(rival));
        truth.begins(210, 5, rival, reserve(TWO, B));
        book.told(rival, 220, Told::InForce(5));
        book.in_force().covers(&truth).unwrap();
        // It lasted longer than the answers say.
        truth.begins(230, 4, 2, reserve(ONE, A));
        assert!(book.in_force().covers(&truth).is_err());
    }

    #[test]
    fn who_begins_anew_still_knows_what_may_happen() {
        let mut book = changing();
        book.told(2, 150, Told::InForce(4));
        let (late, hopeless) =
            (book.set(160, 4, reserve(ONE, B)), book.set(161, 3, reserve(ONE, B)));
        let read = book.read(200);
        book.found(read, 210, (4, 2));
        assert_eq!(book.check(), []);
        book.begin_anew((4, 2));
        assert_eq!(book.summary(), "0 changes, 0 conflicts, 0 refused, 1 unknown");
        assert_eq!((book.wish(late), book.wish(hopeless)), (Some(reserve(ONE, B)), None));
        // Version 4 is in force with its mark, and so are its reservations.
        let read = book.read(300);
        book.found(read, 310, (4, 2));
        assert_eq!(book.check(), []);
        assert!(may_refuse(&book, TWO, A, 400, 400));
        // What was unknown has happened; nothing from before comes back.
        let read = book.read(400);
        book.found(read, 410, (5, late));
        assert_eq!(book.check(), []);
        let read = book.read(500);
        book.found(read, 510, (4, 2));
        assert_eq!(book.check().len(), 1);
    }

    #[test]
    fn a_lost_change_is_found_after_a_new_beginning() {
        let mut book = changing();
        book.told(2, 150, Told::InForce(4));
        assert_eq!(book.check(), []);
        book.begin_anew((4, 2));
        // As if it had been forgotten.
        let read = book.read(300);
        book.found(read, 310, (3, 0));
        assert_eq!(book.check().len(), 1);
    }

    #[test]
    fn the_document_has_the_reservation_in_it() {
        let plan = Plan::default();
        let document = reserve(ONE, B).document(&plan);
        assert!(document.contains(r#""hw-address":"02:4c:00:00:00:01","ip-address":"10.77.16.2""#));
        let read =
            leasehold::state::document::parse(leasehold::state::document::Form::Kea, &document);
        assert!(read.is_ok());
    }
}
