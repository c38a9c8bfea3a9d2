//! What happens in a run, on whatever [stage](crate::floor::stage): rounds of faults drawn from the seed, each followed by healing, by the
//! proof that clients are served again, and by the judgement of their ledger.

use crate::floor::sim::dice::Dice;
use crate::floor::sim::faults::Fault;
use crate::floor::stage::Stage;

/// How often the story looks at what is due, in milliseconds.
const LOOK: u64 = 50;
/// How long a link that flaps is in one state, in milliseconds (F7).
const FLAP: u64 = 300;
/// So many ACKs after healing show that clients are served.
const SERVED: usize = 5;

/// Plays the rounds of the stage's plan, until a promise is broken or `stop` says so between two of them. The nodes have been started.
pub fn play(stage: &mut impl Stage, dice: Dice, stop: impl Fn() -> bool) {
    let plan = stage.plan();
    let back_at = vec![None; stage.nodes() as usize + 1];
    let mut story = Story { stage, dice, back_at, heal_at: None, flaps: None, broken: Vec::new() };
    if !story.stage.configure() {
        return story.stage.breach("service", "the cluster takes no configuration".to_owned());
    }
    story.heal();
    story.stage.quiet(false);
    for _ in 0..plan.rounds {
        story.faults();
        story.heal();
        story.serve();
        story.stage.quiet(true);
        // Clients are served by now, or it was noted: from here to the end of the judgement nothing breaks.
        let before = story.stage.term();
        story.stage.judge();
        let after = story.stage.term();
        if before.is_some() && before != after {
            let what = format!("from {before:?} to {after:?} with nothing broken");
            story.stage.breach("terms", what);
        }
        if story.stage.is_broken() || stop() {
            return;
        }
        story.stage.quiet(false);
    }
}

struct Story<'a, S> {
    stage: &'a mut S,
    dice: Dice,
    /// When a node that is down, or stands still, comes back.
    back_at: Vec<Option<u64>>,
    /// When wires and disks are well again.
    heal_at: Option<u64>,
    flaps: Option<Flapping>,
    /// Nodes whose disks are broken.
    broken: Vec<u64>,
}

/// A link that comes and goes.
struct Flapping {
    between: (u64, u64),
    next: u64,
    is_cut: bool,
}

impl<S: Stage> Story<'_, S> {
    fn faults(&mut self) {
        let plan = self.stage.plan();
        let end = self.stage.now() + plan.faults_ms;
        let pause = plan.pause_ms;
        let mut next = self.stage.now() + self.dice.between(pause.0, pause.1);
        while self.stage.now() < end {
            self.stage.pass(LOOK);
            let now = self.stage.now();
            for node in 1..=self.stage.nodes() {
                if self.back_at[node as usize].is_some_and(|at| at <= now) {
                    self.back_at[node as usize] = None;
                    self.stage.bring_back(node);
                }
            }
            if self.heal_at.is_some_and(|at| at <= now) {
                self.well();
                self.stage.tell("wires and disks are well".to_owned());
                // A node ends when its disk is broken, and nobody starts it before that is well.
                for node in std::mem::take(&mut self.broken) {
                    if self.back_at[node as usize].is_none() {
                        self.stage.bring_back(node);
                    }
                }
            }
            self.flap(now);
            if next <= now {
                self.fault();
                next = self.stage.now() + self.dice.between(pause.0, pause.1);
            }
        }
    }

    /// Wires and disks are well.
    fn well(&mut self) {
        (self.heal_at, self.flaps) = (None, None);
        self.stage.heal_wires();
        self.stage.heal_disks();
    }

    fn flap(&mut self, now: u64) {
        let Some(link) = self.flaps.as_mut().filter(|link| link.next <= now) else { return };
        (link.next, link.is_cut) = (now + FLAP, !link.is_cut);
        let (one, other) = link.between;
        if link.is_cut {
            self.stage.cut(one, other);
            self.stage.cut(other, one);
        } else {
            self.stage.heal_wires();
        }
    }

    /// One fault. Its end is on the list.
    fn fault(&mut self) {
        let plan = self.stage.plan();
        let any = self.dice.between(1, self.stage.nodes());
        let leader = self.stage.leader().unwrap_or(any);
        let victim = if self.dice.chance(500) { leader } else { any };
        let lasts = self.stage.now() + self.dice.between(400, 7_000);
        let known = self.stage.lacks().iter().fold(plan.faults, |all, (it, _)| all.without(*it));
        let Some(fault) = known.draw(&self.dice, plan.power_cuts_per_mille) else { return };
        self.stage.note(fault);
        match fault {
            Fault::PowerCut => self.power_cut(),
            Fault::Kill => self.down(victim, S::kill),
            Fault::Shutdown => self.down(victim, S::shut_down),
            Fault::Isolate => self.isolate(victim, lasts),
            Fault::Cut | Fault::Flap => self.part(fault, victim, lasts),
            Fault::Storm => {
                let (lost, late) = (self.dice.between(20, 250), self.dice.between(0, 60));
                self.stage.tell(format!("storm: {lost} of 1000 lost, {late} ms late"));
                self.stage.storm(lost, late);
                self.heal_at = Some(lasts);
            }
            Fault::Depose => self.stage.depose(),
            Fault::Freeze => {
                self.stage.freeze(victim);
                let back = self.stage.now() + self.dice.between(100, 9_000);
                self.back_at[victim as usize] = Some(back);
            }
            Fault::SlowDisk => {
                let slow = self.dice.between(40, 500);
                self.stage.tell(format!("the disk of {victim} takes {slow} ms"));
                self.stage.slow_disk(victim, slow);
                self.heal_at = Some(lasts);
            }
            Fault::BrokenDisk => {
                self.stage.tell(format!("the disk of {victim} is broken"));
                self.stage.break_disk(victim);
                self.broken.push(victim);
                self.heal_at = Some(lasts);
            }
            Fault::Stall => {
                self.stage.tell(format!("the disk of {victim} stands still"));
                self.stage.stall_disk(victim);
                self.heal_at = Some(lasts);
            }
            Fault::FullDisk => {
                self.stage.tell(format!("the disk of {victim} is full"));
                self.stage.fill_disk(victim);
                self.heal_at = Some(lasts);
            }
            Fault::NoClients => {
                self.stage.tell(format!("cut {victim} from its clients"));
                self.stage.cut_clients(victim);
                self.heal_at = Some(lasts);
            }
            Fault::Narrow => {
                let kbit = self.dice.between(24, 200);
                self.stage.tell(format!("{victim} has {kbit} kbit/s to its clients"));
                self.stage.narrow(victim, kbit);
                self.heal_at = Some(lasts);
            }
            Fault::Snapshot => self.stage.checkpoint(victim),
            Fault::WallClock => {
                let by = self.dice.between(0, 20 * 365 * 86_400_000) as i64 - 10 * 365 * 86_400_000;
                self.stage.set_wall_clock(victim, by);
            }
        }
    }

    fn down(&mut self, victim: u64, how: fn(&mut S, u64)) {
        how(self.stage, victim);
        self.back_at[victim as usize] = Some(self.stage.now() + self.dice.between(100, 6_000));
    }

    fn isolate(&mut self, victim: u64, lasts: u64) {
        let how = self.dice.between(0, 2);
        let ways = ["both ways", "what it says", "what it hears"];
        self.stage.tell(format!("isolate {victim}, {}", ways[how as usize]));
        for peer in self.peers(victim) {
            if how != 2 {
                self.stage.cut(victim, peer);
            }
            if how != 1 {
                self.stage.cut(peer, victim);
            }
        }
        self.heal_at = Some(lasts);
    }

    fn peers(&self, node: u64) -> Vec<u64> {
        (1..=self.stage.nodes()).filter(|other| *other != node).collect()
    }

    /// Two nodes are cut from each other, for good or on and off, or one from the other.
    fn part(&mut self, fault: Fault, victim: u64, lasts: u64) {
        let peers = self.peers(victim);
        let which = self.dice.between(0, peers.len().saturating_sub(1) as u64);
        let Some(peer) = peers.get(which as usize).copied() else { return };
        self.heal_at = Some(lasts);
        if fault == Fault::Flap {
            self.stage.tell(format!("the link of {victim} and {peer} flaps"));
            let next = self.stage.now();
            self.flaps = Some(Flapping { between: (victim, peer), next, is_cut: false });
            return;
        }
        self.stage.tell(format!("cut {victim} to {peer}"));
        self.stage.cut(victim, peer);
        if self.dice.chance(600) {
            self.stage.cut(peer, victim);
        }
    }

    /// The power goes everywhere, and comes back here and there.
    fn power_cut(&mut self) {
        self.stage.cut_power();
        self.stage.heal_disks();
        for node in 1..=self.stage.nodes() {
            let back = self.stage.now() + self.dice.between(50, 2_500);
            self.back_at[node as usize] = Some(back);
        }
    }

    /// Everything is well again, and the cluster returns.
    fn heal(&mut self) {
        self.stage.tell("heal".to_owned());
        self.well();
        self.broken.clear();
        for node in 1..=self.stage.nodes() {
            self.back_at[node as usize] = None;
            self.stage.bring_back(node);
        }
        let (began, limit) = (self.stage.now(), self.stage.return_ms());
        match self.within(limit, S::is_whole) {
            Ok(()) => {
                let took = self.stage.now() - began;
                self.stage.tell(format!("all nodes answer after {took} ms"));
            }
            Err(why) => {
                self.stage.breach("service", format!("not ready {limit} ms after healing: {why}"));
            }
        }
    }

    /// Clients get answers again.
    fn serve(&mut self) {
        let wanted = self.stage.acks() + SERVED;
        let limit = self.stage.return_ms();
        let served = |stage: &mut S| match stage.acks() >= wanted {
            true => Ok(()),
            false => Err(format!("no ACKs within {limit} ms after healing")),
        };
        if let Err(why) = self.within(limit, served) {
            self.stage.breach("service", why);
        }
    }

    fn within(
        &mut self,
        millis: u64,
        holds: impl Fn(&mut S) -> Result<(), String>,
    ) -> Result<(), String> {
        wait(self.stage, millis, holds)
    }
}

/// Lets time pass until it holds.
///
/// # Errors
/// Why it does not, after so many milliseconds.
pub fn wait<S: Stage>(
    stage: &mut S,
    millis: u64,
    holds: impl Fn(&mut S) -> Result<(), String>,
) -> Result<(), String> {
    let end = stage.now() + millis;
    loop {
        let held = holds(stage);
        if held.is_ok() || stage.now() >= end {
            return held;
        }
        stage.pass(20);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::sim::Plan;
    use crate::floor::stage::Lacking;

    /// A stage that writes down what it is told.
    #[derive(Default)]
    struct Paper {
        plan: Plan,
        lacks: Vec<Lacking>,
        now: u64,
        verbs: Vec<&'static str>,
        noted: Vec<Fault>,
        judged: u32,
        broken: Vec<&'static str>,
        breaks_at_judgement: Option<u32>,
        never_whole: bool,
        terms: Vec<u64>,
    }

    impl Stage for Paper {
        fn plan(&self) -> Plan {
            self.plan
        }
        fn nodes(&self) -> u64 {
            3
        }
        fn lacks(&self) -> &[Lacking] {
            &self.lacks
        }
        fn return_ms(&self) -> u64 {
            1_000
        }
        fn now(&self) -> u64 {
            self.now
        }
        fn pass(&mut self, millis: u64) {
            self.now += millis;
        }
        fn tell(&mut self, _: String) {}
        fn breach(&mut self, promise: &'static str, _: String) {
            self.broken.push(promise);
        }
        fn note(&mut self, fault: Fault) {
            self.noted.push(fault);
        }
        fn is_broken(&self) -> bool {
            !self.broken.is_empty()
        }
        fn configure(&mut self) -> bool {
            true
        }
        fn leader(&mut self) -> Option<u64> {
            Some(2)
        }
        fn term(&mut self) -> Option<u64> {
            self.terms.pop()
        }
        fn is_whole(&mut self) -> Result<(), String> {
            if self.never_whole { Err("never".to_owned()) } else { Ok(()) }
        }
        fn quiet(&mut self, quiet: bool) {
            self.verbs.push(if quiet { "quiet" } else { "go on" });
        }
        fn acks(&self) -> usize {
            self.now as usize
        }
        fn judge(&mut self) {
            self.judged += 1;
            if self.breaks_at_judgement == Some(self.judged) {
                self.broken.push("unique");
            }
        }
        fn bring_back(&mut self, _: u64) {
            self.verbs.push("bring back");
        }
        fn kill(&mut self, _: u64) {
            self.verbs.push("kill");
        }
        fn shut_down(&mut self, _: u64) {
            self.verbs.push("shut down");
        }
        fn freeze(&mut self, _: u64) {
            self.verbs.push("freeze");
        }
        fn cut(&mut self, from: u64, to: u64) {
            assert_ne!(from, to);
            self.verbs.push("cut");
        }
        fn storm(&mut self, _: u64, _: u64) {
            self.verbs.push("storm");
        }
        fn cut_clients(&mut self, _: u64) {
            self.verbs.push("cut clients");
        }
        fn narrow(&mut self, _: u64, _: u64) {
            self.verbs.push("narrow");
        }
        fn slow_disk(&mut self, _: u64, _: u64) {
            self.verbs.push("slow disk");
        }
        fn break_disk(&mut self, _: u64) {
            self.verbs.push("break disk");
        }
        fn stall_disk(&mut self, _: u64) {
            self.verbs.push("stall disk");
        }
        fn fill_disk(&mut self, _: u64) {
            self.verbs.push("fill disk");
        }
        fn heal_wires(&mut self) {
            self.verbs.push("heal wires");
        }
        fn heal_disks(&mut self) {
            self.verbs.push("heal disks");
        }
        fn depose(&mut self) {
            self.verbs.push("depose");
        }
        fn checkpoint(&mut self, _: u64) {
            self.verbs.push("checkpoint");
        }
        fn set_wall_clock(&mut self, _: u64, _: i64) {
            self.verbs.push("wall clock");
        }
        fn cut_power(&mut self) {
            self.verbs.push("cut power");
        }
    }

    fn played(paper: Paper) -> Paper {
        let mut paper = paper;
        play(&mut paper, Dice::new(7, 1), || false);
        paper
    }

    fn with(faults: &str) -> Paper {
        let plan = Plan { faults: faults.parse().unwrap(), ..Plan::default() };
        Paper { plan: Plan { power_cuts_per_mille: 300, ..plan }, ..Paper::default() }
    }

    #[test]
    fn each_fault_is_its_verb_and_all_is_well_before_the_judgement() {
        let verbs = [
            (Fault::Kill, "kill"),
            (Fault::Shutdown, "shut down"),
            (Fault::Isolate, "cut"),
            (Fault::Cut, "cut"),
            (Fault::Flap, "cut"),
            (Fault::Storm, "storm"),
            (Fault::Depose, "depose"),
            (Fault::SlowDisk, "slow disk"),
            (Fault::Stall, "stall disk"),
            (Fault::FullDisk, "fill disk"),
            (Fault::Snapshot, "checkpoint"),
            (Fault::Freeze, "freeze"),
            (Fault::WallClock, "wall clock"),
            (Fault::NoClients, "cut clients"),
            (Fault::Narrow, "narrow"),
            (Fault::BrokenDisk, "break disk"),
            (Fault::PowerCut, "cut power"),
        ];
        assert_eq!(verbs.len(), Fault::ALL.len());
        for (fault, verb) in verbs {
            let paper = played(with(fault.name()));
            assert!(paper.verbs.contains(&verb), "{fault:?}");
            assert!(paper.noted.iter().all(|noted| *noted == fault), "{fault:?}");
            assert_eq!((paper.judged, paper.broken.len()), (4, 0), "{fault:?}");
            let judged = paper.verbs.iter().rposition(|verb| *verb == "quiet").unwrap();
            let last = &paper.verbs[judged - 5..judged];
            assert_eq!(
                last,
                ["heal wires", "heal disks", "bring back", "bring back", "bring back"]
            );
        }
    }

    #[test]
    fn a_link_that_flaps_is_cut_and_healed_several_times() {
        let paper = played(with("flap"));
        let healed = paper.verbs.iter().filter(|verb| **verb == "heal wires").count();
        assert!(healed > 20, "{healed}");
    }

    #[test]
    fn a_node_comes_back_as_soon_as_its_broken_disk_is_well() {
        let paper = with("broken-disk");
        // Each is well before the next one breaks.
        let plan = Plan { faults_ms: 60_000, pause_ms: (8_000, 9_000), ..paper.plan };
        let verbs = played(Paper { plan, ..paper }).verbs;
        let follows = |verb, next: &[&str]| {
            let breaks = verbs.iter().enumerate().filter(move |(_, it)| **it == verb);
            breaks.filter(|(at, _)| verbs[at + 1..].starts_with(next)).count()
        };
        let broken = follows("break disk", &[]);
        assert_eq!(follows("break disk", &["heal wires", "heal disks", "bring back"]), broken);
        assert!(follows("bring back", &["break disk"]) > broken / 2, "{verbs:?}");
    }

    #[test]
    fn what_a_stage_lacks_is_never_asked_of_it() {
        let lacks = vec![(Fault::Kill, "nobody dies here"), (Fault::PowerCut, "nor here")];
        let paper = played(Paper { lacks, ..with("kill,power-cut,depose") });
        assert!(paper.noted.iter().all(|fault| *fault == Fault::Depose), "{:?}", paper.noted);
        assert!(paper.verbs.contains(&"depose"));
    }

    #[test]
    fn a_broken_promise_ends_the_run() {
        let paper = played(Paper { breaks_at_judgement: Some(2), ..with("kill") });
        assert_eq!(paper.judged, 2);
        let paper = played(Paper { never_whole: true, ..with("kill") });
        assert_eq!((paper.judged, paper.broken.first()), (1, Some(&"service")));
    }

    #[test]
    fn a_term_that_changes_with_nothing_broken_is_noticed() {
        assert!(played(Paper { terms: vec![7, 7], ..with("kill") }).broken.is_empty());
        assert_eq!(played(Paper { terms: vec![8, 7], ..with("kill") }).broken, ["terms"]);
    }
}
