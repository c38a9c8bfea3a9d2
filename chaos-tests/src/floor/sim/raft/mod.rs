//! The world with the real Raft: see [`super`].

pub mod clock;
pub mod disk;
pub mod forward;
pub mod node;
pub mod story;
pub mod world;

pub use story::run;
