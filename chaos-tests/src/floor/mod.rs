//! Where faults happen.
//!
//! [`Floor`] is the vocabulary: workloads and stories that use nothing else run on every floor. `netns` is the floor of real binaries; a
//! simulation is another. A fault that a floor cannot bring is [`Brought::Skipped`] with its reason, so that a quiet run is not taken
//! for a passed one.

use anyhow::Result;

pub mod netns;
pub mod sim;

/// Whether a fault is in place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Brought {
    /// It is.
    Installed,
    /// This floor cannot, because.
    Skipped(String),
}

/// Which packets a cut between two nodes takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Both,
    /// Only what the first node sends.
    FromFirst,
    /// Only what the first node is sent.
    ToFirst,
}

/// The verbs of fault. Nodes are counted from 0.
pub trait Floor {
    /// How many nodes there are.
    fn nodes(&self) -> usize;
    /// Now, on the ledger's clock.
    fn now_ms(&self) -> u64;
    /// Lets time pass.
    fn pass_ms(&mut self, millis: u64);
    /// Starts a node that does not run.
    ///
    /// # Errors
    /// When the floor fails; the same for all verbs below.
    fn start(&mut self, node: usize) -> Result<()>;
    /// Ends a node without warning: `kill -9`.
    fn kill(&mut self, node: usize) -> Result<()>;
    /// Stops a node in its tracks.
    fn pause(&mut self, node: usize) -> Result<()>;
    /// Lets it go on.
    fn resume(&mut self, node: usize) -> Result<()>;
    /// Cuts the link between two nodes.
    fn cut(&mut self, first: usize, second: usize, direction: Direction) -> Result<Brought>;
    /// Cuts a node from its clients.
    fn cut_clients(&mut self, node: usize) -> Result<Brought>;
    /// Loses this many of a thousand packets between nodes.
    fn lose(&mut self, per_mille: u32) -> Result<Brought>;
    /// Takes away every cut and loss.
    fn heal(&mut self) -> Result<()>;

    /// Cuts a node from all other nodes.
    ///
    /// # Errors
    /// When the floor fails.
    fn isolate(&mut self, node: usize, direction: Direction) -> Result<Brought> {
        for other in (0..self.nodes()).filter(|other| *other != node) {
            if let Brought::Skipped(why) = self.cut(node, other, direction)? {
                return Ok(Brought::Skipped(why));
            }
        }
        Ok(Brought::Installed)
    }
}
