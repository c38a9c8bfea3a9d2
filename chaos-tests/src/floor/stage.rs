//! What a story needs of the place where it plays: one vocabulary of faults for the simulated floors and the real one, so that
//! one [story](crate::story) runs on all of them.
//!
//! The verbs cannot fail as far as the story knows. A stage that could not do what it was told says so in its notes
//! ([`Stage::breach`] with the promise `floor`), or it says beforehand that it does not have that fault ([`Stage::lacks`]): a quiet run is never
//! taken for a passed one. Nodes are counted from 1.

use crate::floor::sim::Plan;
use crate::floor::sim::faults::Fault;

/// A fault that a stage does not have, and why.
pub type Lacking = (Fault, &'static str);

/// Nodes, their clients, and what can be done to them.
pub trait Stage {
    /// What kind of run it is.
    fn plan(&self) -> Plan;
    /// How many nodes there are.
    fn nodes(&self) -> u64;
    /// Faults that are not there, whatever the plan says.
    fn lacks(&self) -> &[Lacking];
    /// How long the cluster may take to be whole once all is well, in milliseconds.
    fn return_ms(&self) -> u64;
    /// Milliseconds of the run.
    fn now(&self) -> u64;
    /// Lets time pass.
    fn pass(&mut self, millis: u64);

    /// What happened, for whoever reads a failure.
    fn tell(&mut self, what: String);
    /// A promise was broken.
    fn breach(&mut self, promise: &'static str, what: String);
    /// A fault is about to come.
    fn note(&mut self, fault: Fault);
    /// Whether a promise was broken so far.
    fn is_broken(&self) -> bool;

    /// The configuration of the plan at every node; false: nobody takes it.
    fn configure(&mut self) -> bool;
    /// Who leads and may stamp.
    fn leader(&mut self) -> Option<u64>;
    /// Raft's term as the leader has it.
    fn term(&mut self) -> Option<u64>;
    /// Why not every node answers clients and one of them leads.
    ///
    /// # Errors
    /// That.
    fn is_whole(&mut self) -> Result<(), String>;
    /// Clients and writers do nothing more of their own accord, or go on.
    fn quiet(&mut self, quiet: bool);
    /// ACKs that clients accepted so far.
    fn acks(&self) -> usize;
    /// Holds what clients were promised against what the nodes have, in a quiet moment.
    fn judge(&mut self);

    /// A node that was ended is started, one that stands still goes on; any other stays as it is.
    fn bring_back(&mut self, node: u64);
    /// A node ends without warning.
    fn kill(&mut self, node: u64);
    /// A node is stopped in good order.
    fn shut_down(&mut self, node: u64);
    /// A node stops in its tracks.
    fn freeze(&mut self, node: u64);
    /// What one node sends to another is lost.
    fn cut(&mut self, from: u64, to: u64);
    /// Messages between nodes are lost, so many of a thousand, and come up to so many milliseconds late.
    fn storm(&mut self, lost_per_mille: u64, late_ms: u64);
    /// Nothing goes between a node and its clients.
    fn cut_clients(&mut self, node: u64);
    /// A node's link to its clients carries so many kilobits a second.
    fn narrow(&mut self, node: u64, kbit: u64);
    /// A sync at that node takes up to so many milliseconds.
    fn slow_disk(&mut self, node: u64, millis: u64);
    /// Syncs at that node fail. It ends by itself then, which is no breach, and is not brought back before its disk is well.
    fn break_disk(&mut self, node: u64);
    /// The disk of a node stands still: nothing is written or synced.
    fn stall_disk(&mut self, node: u64);
    /// The disk of a node has no room.
    fn fill_disk(&mut self, node: u64);
    /// All wires are well.
    fn heal_wires(&mut self);
    /// All disks are well.
    fn heal_disks(&mut self);
    /// Another node leads, if one can.
    fn depose(&mut self);
    /// A node writes its machine down.
    fn checkpoint(&mut self, node: u64);
    /// Somebody sets the wall clock of a node.
    fn set_wall_clock(&mut self, node: u64, by_ms: i64);
    /// The power goes everywhere; no node runs afterwards.
    fn cut_power(&mut self);
}
