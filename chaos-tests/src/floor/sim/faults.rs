//! What can break in a run, and how often each. Which of it a floor has, its [stage](crate::floor::stage) says.

use std::fmt;
use std::str::FromStr;

use super::dice::Dice;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A node ends without warning, and comes back.
    Kill,
    /// A node is stopped in good order, and comes back.
    Shutdown,
    /// A node is cut from the others, both ways or one way.
    Isolate,
    /// Two nodes are cut from each other, or one from the other.
    Cut,
    /// Messages between nodes are lost and late.
    Storm,
    /// Another node leads.
    Depose,
    /// A disk is slow.
    SlowDisk,
    /// A node writes its machine down.
    Snapshot,
    /// A node stops in its tracks, and goes on later.
    Freeze,
    /// A wall clock is set.
    WallClock,
    /// The power goes everywhere.
    PowerCut,
    /// A link between two nodes comes and goes.
    Flap,
    /// A disk has no room.
    FullDisk,
    /// A node is cut from its clients.
    NoClients,
    /// A disk stands still.
    Stall,
    /// A node's link to its clients carries very little.
    Narrow,
    /// A disk is broken: syncs fail (F23). Its node ends, and comes back when the disk is well.
    BrokenDisk,
}

impl Fault {
    /// All of them; those that are drawn, in this order.
    pub const ALL: [Fault; 17] = [
        Fault::Kill,
        Fault::Shutdown,
        Fault::Isolate,
        Fault::Cut,
        Fault::Storm,
        Fault::Depose,
        Fault::SlowDisk,
        Fault::Snapshot,
        Fault::Freeze,
        Fault::WallClock,
        Fault::PowerCut,
        Fault::Flap,
        Fault::FullDisk,
        Fault::NoClients,
        Fault::Stall,
        Fault::Narrow,
        Fault::BrokenDisk,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::Shutdown => "shutdown",
            Fault::Isolate => "isolate",
            Fault::Cut => "cut",
            Fault::Storm => "storm",
            Fault::Depose => "depose",
            Fault::SlowDisk => "slow-disk",
            Fault::Snapshot => "snapshot",
            Fault::Freeze => "freeze",
            Fault::WallClock => "wall-clock",
            Fault::PowerCut => "power-cut",
            Fault::Flap => "flap",
            Fault::FullDisk => "full-disk",
            Fault::NoClients => "no-clients",
            Fault::Stall => "stall",
            Fault::Narrow => "narrow",
            Fault::BrokenDisk => "broken-disk",
        }
    }

    /// How often it comes, beside the others. A power cut has a share of its own.
    fn weight(self) -> u64 {
        match self {
            Fault::Kill | Fault::Isolate | Fault::Depose => 2,
            Fault::PowerCut => 0,
            _ => 1,
        }
    }
}

/// Which faults there are in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults(u32);

impl Faults {
    /// Everything.
    pub const ALL: Faults = Faults((1 << Fault::ALL.len()) - 1);

    /// Whether that one is among them.
    pub fn has(self, fault: Fault) -> bool {
        self.0 & 1 << fault as u32 != 0
    }

    /// Those, without this one.
    #[must_use]
    pub fn without(self, fault: Fault) -> Faults {
        Faults(self.0 & !(1 << fault as u32))
    }

    /// The ones there are.
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.into_iter().filter(move |fault| self.has(*fault))
    }

    /// The next fault; none if there are none. So many of a thousand are power cuts.
    pub fn draw(self, dice: &Dice, power_cuts_per_mille: u64) -> Option<Fault> {
        if dice.chance(power_cuts_per_mille) && self.has(Fault::PowerCut) {
            return Some(Fault::PowerCut);
        }
        let all: u64 = self.iter().map(Fault::weight).sum();
        let mut at = dice.between(0, all.checked_sub(1)?);
        self.iter().find(|fault| {
            let is_it = at < fault.weight();
            at = at.saturating_sub(fault.weight());
            is_it
        })
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Fault::name).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Faults, String> {
        if text == "all" {
            return Ok(Faults::ALL);
        }
        text.split(',').filter(|name| !name.is_empty()).try_fold(Faults(0), |faults, name| {
            let known = Fault::ALL.into_iter().find(|fault| fault.name() == name);
            let all: Vec<&str> = Fault::ALL.into_iter().map(Fault::name).collect();
            let fault = known.ok_or_else(|| {
                format!("no fault is called {name:?}: there are {}", all.join(", "))
            })?;
            Ok(Faults(faults.0 | 1 << fault as u32))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        assert_eq!(Faults::ALL.to_string().parse(), Ok(Faults::ALL));
        assert_eq!("cut,kill".parse::<Faults>().unwrap().to_string(), "kill,cut");
        assert_eq!("".parse(), Ok(Faults(0)));
        assert_eq!("all".parse(), Ok(Faults::ALL));
        assert!("kil".parse::<Faults>().unwrap_err().contains("\"kil\""));
    }

    #[test]
    fn every_fault_is_drawn_and_no_other() {
        let dice = Dice::new(1, 1);
        for few in ["kill", "storm,flap", "power-cut,kill", "wall-clock,snapshot,no-clients"] {
            let faults: Faults = few.parse().unwrap();
            let mut drawn = Faults(0);
            for _ in 0..300 {
                let fault = faults.draw(&dice, 100).unwrap();
                drawn.0 |= 1 << fault as u32;
            }
            assert_eq!(drawn, faults);
        }
        assert_eq!(Faults(0).draw(&dice, 100), None);
    }
}
