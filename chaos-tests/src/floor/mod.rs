//! Where faults happen.
//!
//! [`stage`] is the vocabulary: one [story](crate::story) plays on every floor. [`sim`] has the simulated ones, [`netns`] that of real
//! programs, and what tests of single faults need there.

pub mod netns;
pub mod sim;
pub mod stage;
