//! Changes of a part of the configuration: what `subnet4-add`, `reservation-del` and their kin do
//! to it (R25).
//!
//! An [`Edit`] is small and travels in the log as it is. What it comes to depends on the
//! configuration in force alone, so that every node finds the same: a new configuration, or a
//! [`NoEdit`] in Kea's words. Pure.

/// A change of a part of the configuration, as it travels in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What is done.
    pub verb: Verb,
    /// The arguments of the command, as compact JSON. At most [`Edit::MOST`] bytes.
    pub arguments: Box<str>,
}

impl Edit {
    /// The longest arguments, bytes. Whoever has more to say uses `config-set`.
    pub const MOST: usize = 256 << 10;
}

/// What an [`Edit`] does; each is the Kea command of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Verb {
    /// `subnet4-add`.
    SubnetAdd = 1,
    /// `subnet4-update`.
    SubnetUpdate = 2,
    /// `subnet4-del`.
    SubnetDel = 3,
    /// `subnet4-delta-add`.
    SubnetDeltaAdd = 4,
    /// `subnet4-delta-del`.
    SubnetDeltaDel = 5,
    /// `network4-add`.
    NetworkAdd = 6,
    /// `network4-del`.
    NetworkDel = 7,
    /// `network4-subnet-add`.
    NetworkSubnetAdd = 8,
    /// `network4-subnet-del`.
    NetworkSubnetDel = 9,
    /// `class-add`.
    ClassAdd = 10,
    /// `class-update`.
    ClassUpdate = 11,
    /// `class-del`.
    ClassDel = 12,
    /// `reservation-add`.
    ReservationAdd = 13,
    /// `reservation-update`.
    ReservationUpdate = 14,
    /// `reservation-del`.
    ReservationDel = 15,
}

/// Why an [`Edit`] changes nothing: the text is the reply's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoEdit {
    /// Which of Kea's results it is.
    pub kind: NoEditKind,
    /// In Kea's words.
    pub text: String,
}

/// Kea's results of an edit that changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEditKind {
    /// Result 1: the arguments are wrong, or the configuration that would come of it.
    Error,
    /// Result 3: what is to be changed is not there.
    Empty,
    /// Result 4: against what there is.
    Conflict,
}
