//! Every choice of a run comes from here: streams of numbers drawn from one seed.

use std::sync::{Arc, Mutex, PoisonError};

/// A stream of choices. Clones share it.
#[derive(Debug, Clone)]
pub struct Dice(Arc<Mutex<u64>>);

impl Dice {
    /// The stream of `seed` for one purpose; those of other purposes do not follow from it.
    pub fn new(seed: u64, purpose: u64) -> Dice {
        let mixed =
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ purpose.wrapping_mul(0xd1b5_4a32_d192_ed03);
        Dice(Arc::new(Mutex::new(mixed)))
    }

    /// Any number (splitmix64).
    pub fn draw(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `low..=high`.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.draw() % (high.saturating_sub(low) + 1)
    }

    /// True in this many of a thousand cases.
    pub fn chance(&self, per_mille: u64) -> bool {
        self.draw() % 1000 < per_mille
    }
}
