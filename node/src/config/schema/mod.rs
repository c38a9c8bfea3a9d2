//! The page of keywords: what may stand where, of which type, with which default, and whether it
//! works here.
//!
//! Checking, old spellings, inheritance, printing and the reference page all read these tables. A
//! keyword that is not in them is a mistake; one that is `refused` is a mistake too, unless it says what
//! holds anyway (its default); one that is `noted` has no effect here and earns one warning. So
//! nothing is ignored in silence.
//!
//! Source: Kea's grammar and its tables of defaults (Kea manual, "Kea Configuration", "DHCPv4
//! Server Configuration").

mod global;
mod hooks;
mod networks;
mod node;
mod options;

pub(super) use global::DHCP4;
pub(super) use hooks::{
    DDNS_TUNING, FLEX_ID, FLEX_OPTION, HA, LEASE_CMDS, NO_PARAMETERS, PERFMON, PING_CHECK,
    RUN_SCRIPT,
};
pub(super) use networks::{NETWORK, RESERVATION, SUBNET};
pub(super) use options::CLASS;

/// What may stand in one kind of map.
#[derive(Debug)]
pub(super) struct Scope {
    /// Kea's name of the map, as its messages have it.
    pub(super) name: &'static str,
    /// Rows, in groups that scopes share.
    pub(super) groups: &'static [&'static [Keyword]],
    /// Whether `user-context` and `comment` may stand there.
    pub(super) free: bool,
    /// Whether printing fills in defaults; maps of other programs are only echoed.
    pub(super) filled: bool,
}

impl Scope {
    /// All its rows.
    pub(super) fn keywords(&self) -> impl Iterator<Item = &'static Keyword> {
        self.groups.iter().flat_map(|group| group.iter())
    }

    /// The row called `name`.
    pub(super) fn keyword(&self, name: &str) -> Option<&'static Keyword> {
        self.keywords().find(|keyword| keyword.name == name)
    }
}

/// One keyword in one kind of map.
#[derive(Debug)]
pub(super) struct Keyword {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: Default,
    pub(super) status: Status,
    /// Whether an unset value comes from the scopes around, and a resolved one is shown.
    pub(super) inherit: Inherit,
    /// Whether its absence is a mistake.
    pub(super) required: bool,
    /// What the reference page says beside the status.
    pub(super) remark: &'static str,
}

/// The type of a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A boolean.
    Bool,
    /// A whole number from the first to the second, both included.
    Int(i64, i64),
    /// A number, likewise.
    Real(f64, f64),
    /// Any text.
    Text,
    /// Text of at most so many bytes.
    Short(usize),
    /// An IPv4 address.
    Ip4,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A list of these words.
    Words(&'static [&'static str]),
    /// A list of IPv4 addresses.
    Ip4s,
    /// A map.
    Map(&'static Scope),
    /// A list of maps.
    Maps(&'static Scope),
    /// A map with any content.
    Free,
}

/// What holds when a keyword is absent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Default {
    /// Nothing.
    Unset,
    Bool(bool),
    Int(i64),
    Real(f64),
    Text(&'static str),
    Texts(&'static [&'static str]),
    /// The empty list.
    Nothing,
    /// A map of its own defaults.
    Filled,
}

/// Whether a keyword works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// It does what it does in Kea.
    Works,
    /// An older spelling; [`super::spelling`] turns it into these.
    Old(&'static [&'static str]),
    /// Kept and echoed; it belongs to a map that was noted, or a program that reads it.
    Echoed,
    /// Kept and echoed, with a warning that says what it means here.
    Noted(&'static str),
    /// Refused, except with its default: without it clients would get something else.
    Refused(&'static str),
}

/// What becomes of an unset value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inherit {
    /// The default of its own map.
    No,
    /// Looked up in the scopes around when it is used.
    Outward,
    /// Looked up in the scopes around and shown by `config-get` in every subnet, as Kea copies it.
    Copied,
}

impl Keyword {
    const fn default(mut self, default: Default) -> Keyword {
        self.default = default;
        self
    }

    const fn required(mut self) -> Keyword {
        self.required = true;
        self
    }

    const fn outward(mut self) -> Keyword {
        self.inherit = Inherit::Outward;
        self
    }

    const fn copied(mut self) -> Keyword {
        self.inherit = Inherit::Copied;
        self
    }

    const fn old(mut self, new: &'static [&'static str]) -> Keyword {
        self.status = Status::Old(new);
        self
    }

    const fn refused(mut self, why: &'static str) -> Keyword {
        self.status = Status::Refused(why);
        self
    }

    const fn noted(mut self, note: &'static str) -> Keyword {
        self.status = Status::Noted(note);
        self
    }

    const fn echoed(mut self) -> Keyword {
        self.status = Status::Echoed;
        self
    }

    const fn remark(mut self, remark: &'static str) -> Keyword {
        self.remark = remark;
        self
    }
}

const fn key(name: &'static str, kind: Kind) -> Keyword {
    let (default, status, inherit) = (Default::Unset, Status::Works, Inherit::No);
    Keyword { name, kind, default, status, inherit, required: false, remark: "" }
}

const FLAG: Kind = Kind::Bool;
const SECS: Kind = Kind::Int(0, u32::MAX as i64);
const COUNT: Kind = Kind::Int(0, u32::MAX as i64);
/// Seconds between sweeps.
const PAUSE: Kind = Kind::Int(0, 65_535);
const PORT: Kind = Kind::Int(0, 65_535);
const SHARE: Kind = Kind::Real(0.0, 1.0);
const YES: Default = Default::Bool(true);
const NO: Default = Default::Bool(false);
const EMPTY: Default = Default::Text("");
