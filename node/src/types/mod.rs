//! Words that every other module uses: time, client identity, addresses and names.
//!
//! They parse, print, compare and do saturating arithmetic, and nothing else. Pure.

mod calendar;
mod classes;
mod client;
mod net;
mod time;

pub use calendar::Utc;
pub use classes::{ClassName, ClassSet, Guard};
pub use client::{BadClientId, BadHwAddr, ClientId, ClientKey, ColonHex, HwAddr, UpperHex};
pub use net::{BadPrefix, BadRange, NodeId, Prefix, Range, SubnetId};
pub use time::{ClusterTime, Lifetime};
