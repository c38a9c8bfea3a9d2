//! The world with the real Raft: see [`super`].

pub mod clock;
pub mod disk;
pub mod forward;
pub mod node;
pub mod stage;
pub mod world;
pub mod writers;

pub use stage::run;
