//! The ideal world: one thread, one seed, virtual time. Real are the engine, the state, the allocator, the batcher, the lease clock, the
//! leader's duties, and everything's form on the wire and in a snapshot; the log is agreed by decree ([`agreed`]), with the accidents that
//! Raft allows: leaders change, what a leader had not brought to agreement is taken over in part or not at all, answers are lost and
//! batches come twice, nodes crash, stop in their tracks and take over the machine of another.
//!
//! Not in this world: what a node says before it leaves, how far others are behind as the leader sees it, more than one batch of a node in
//! flight, pings, and whatever else is beyond the log.
//!
//! Nothing is drawn but from the seed and nothing runs on its own, so a run can be replayed to the last packet.

pub mod agreed;
mod batches;
pub mod clock;
mod leaders;
pub mod node;
pub mod schedule;
pub mod stage;
pub mod world;
pub mod writers;

pub use stage::run;
