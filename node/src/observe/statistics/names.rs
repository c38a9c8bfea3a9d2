//! Kea's statistics for DHCPv4: their names, what they count, and where the number comes from.

use std::fmt;

use crate::types::SubnetId;

macro_rules! statistics {
    ($($variant:ident = $name:literal, $about:literal;)*) => {
        /// A statistic of Kea, without the scope in its name.
        ///
        /// In this order: what each node counts, then what follows from the replicated state.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Stat { $(#[doc = $about] $variant,)* }

        impl Stat {
            /// Every statistic, in order.
            pub const ALL: &'static [Stat] = &[$(Stat::$variant,)*];

            /// Its name in Kea.
            pub fn name(self) -> &'static str {
                match self { $(Stat::$variant => $name,)* }
            }

            /// What it means, for the reference page.
            pub fn about(self) -> &'static str {
                match self { $(Stat::$variant => $about,)* }
            }
        }
    };
}

statistics! {
    Received = "pkt4-received", "datagrams taken from the sockets, good or bad";
    DiscoverReceived = "pkt4-discover-received", "DHCPDISCOVER";
    RequestReceived = "pkt4-request-received", "DHCPREQUEST";
    ReleaseReceived = "pkt4-release-received", "DHCPRELEASE";
    DeclineReceived = "pkt4-decline-received", "DHCPDECLINE";
    InformReceived = "pkt4-inform-received", "DHCPINFORM";
    OfferReceived = "pkt4-offer-received", "DHCPOFFER: a relay is misdirecting";
    AckReceived = "pkt4-ack-received", "DHCPACK: a relay is misdirecting";
    NakReceived = "pkt4-nak-received", "DHCPNAK: a relay is misdirecting";
    LeaseQueryReceived = "pkt4-lease-query-received", "DHCPLEASEQUERY";
    UnknownReceived = "pkt4-unknown-received", "no message type (BOOTP), or one that is not known";

    Sent = "pkt4-sent", "replies that the sockets took";
    OfferSent = "pkt4-offer-sent", "DHCPOFFER";
    AckSent = "pkt4-ack-sent", "DHCPACK, to an INFORM as well";
    NakSent = "pkt4-nak-sent", "DHCPNAK";
    LeaseQueryUnknownSent = "pkt4-lease-query-response-unknown-sent", "always 0: DHCPLEASEQUERY is not answered";
    LeaseQueryUnassignedSent = "pkt4-lease-query-response-unassigned-sent", "always 0: DHCPLEASEQUERY is not answered";
    LeaseQueryActiveSent = "pkt4-lease-query-response-active-sent", "always 0: DHCPLEASEQUERY is not answered";

    Dropped = "pkt4-receive-drop", "packets that were not served, the sum of the causes below";
    ParseFailed = "pkt4-parse-failed", "the packet is malformed";
    ServiceDisabled = "pkt4-service-disabled", "this node does not serve: dhcp-disable, not caught up, or cut off from the majority";
    QueueFull = "pkt4-queue-full", "no room to queue or to park the packet, or it waited too long there";
    Duplicate = "pkt4-duplicate", "an earlier packet of the client was still in work";
    RfcViolation = "pkt4-rfc-violation", "the protocol says discard";
    AdminFiltered = "pkt4-admin-filtered", "the configuration says discard: class DROP or REJECT";
    NotForUs = "pkt4-not-for-us", "another server's identifier, or the turn of another node of the cluster";
    ProcessingFailed = "pkt4-processing-failed", "the server could not finish: no outcome of the commit in time, or a defect";
    LimitExceeded = "pkt4-limit-exceeded", "the client or its circuit asks for more than its part";

    AllocationFail = "v4-allocation-fail", "no address was found among at least one pool";
    AllocationFailNoPools = "v4-allocation-fail-no-pools", "there was no pool that the client may use; exclusive with v4-allocation-fail";
    AllocationFailSharedNetwork = "v4-allocation-fail-shared-network", "of both, those of clients in shared networks";
    AllocationFailSubnet = "v4-allocation-fail-subnet", "of both, those of clients in plain subnets";
    AllocationFailClasses = "v4-allocation-fail-classes", "of both, those of packets with a class: all, since each is in ALL";
    ReservationConflicts = "v4-reservation-conflicts", "DISCOVERs of clients whose reserved address another has a lease of";
    LeaseReuses = "v4-lease-reuses", "requests answered from the lease as it was (cache-threshold)";

    TotalAddresses = "total-addresses", "addresses in pools";
    AssignedAddresses = "assigned-addresses", "leases in the states 0 and 1: declined addresses count until their probation ends";
    CumulativeAssigned = "cumulative-assigned-addresses", "leases that began with a client's request, since the cluster was formed";
    DeclinedAddresses = "declined-addresses", "addresses in probation now";
    ReclaimedDeclined = "reclaimed-declined-addresses", "addresses whose probation has ended, since the cluster was formed";
    ReclaimedLeases = "reclaimed-leases", "leases that ran out, since the cluster was formed";
}

/// What a statistic is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everything.
    Global,
    /// A subnet.
    Subnet(SubnetId),
    /// The pools of a subnet that have this `pool-id`, together.
    Pool(SubnetId, u32),
}

impl Stat {
    /// How many of them each node counts: the first of [`Stat::ALL`].
    pub const COUNTED: usize = Stat::TotalAddresses as usize;

    /// Those that a node counts for each subnet as well, in order.
    pub const PER_SUBNET: [Stat; 7] = [
        Stat::AllocationFail,
        Stat::AllocationFailNoPools,
        Stat::AllocationFailSharedNetwork,
        Stat::AllocationFailSubnet,
        Stat::AllocationFailClasses,
        Stat::ReservationConflicts,
        Stat::LeaseReuses,
    ];

    /// The causes that [`Stat::Dropped`] is the sum of, in order.
    pub const CAUSES: [Stat; 9] = [
        Stat::ParseFailed,
        Stat::ServiceDisabled,
        Stat::QueueFull,
        Stat::Duplicate,
        Stat::RfcViolation,
        Stat::AdminFiltered,
        Stat::NotForUs,
        Stat::ProcessingFailed,
        Stat::LimitExceeded,
    ];

    /// What follows from the replicated state, in order.
    pub const LEASES: [Stat; 6] = [
        Stat::TotalAddresses,
        Stat::AssignedAddresses,
        Stat::CumulativeAssigned,
        Stat::DeclinedAddresses,
        Stat::ReclaimedDeclined,
        Stat::ReclaimedLeases,
    ];

    /// Whether each node counts for itself, from its start. The others are equal on all nodes.
    pub fn is_of_node(self) -> bool {
        (self as usize) < Stat::COUNTED
    }

    /// Whether it goes up and down.
    pub fn is_gauge(self) -> bool {
        matches!(self, Stat::TotalAddresses | Stat::AssignedAddresses | Stat::DeclinedAddresses)
    }

    /// Whether there is one for everything.
    pub fn is_global(self) -> bool {
        self != Stat::TotalAddresses
    }

    /// Whether there is one for each subnet.
    pub fn is_per_subnet(self) -> bool {
        !self.is_of_node() || Stat::PER_SUBNET.contains(&self)
    }

    /// Whether there is one for each pool id of a subnet. Kea has the cumulative ones too; the
    /// replicated state counts them by subnet.
    pub fn is_per_pool(self) -> bool {
        self.is_gauge()
    }

    /// Whether it exists for a subnet only once it has counted something, as in Kea.
    pub fn is_rare(self) -> bool {
        (Stat::AllocationFail..=Stat::AllocationFailClasses).contains(&self)
    }

    fn of_name(name: &str) -> Option<Stat> {
        Stat::ALL.iter().copied().find(|stat| stat.name() == name)
    }
}

/// The whole name of a statistic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Whose.
    pub scope: Scope,
    /// What.
    pub stat: Stat,
}

impl Name {
    /// The name of one for everything.
    pub fn global(stat: Stat) -> Name {
        Name { scope: Scope::Global, stat }
    }

    /// Reads `x`, `subnet[1].x` or `subnet[1].pool[0].x`; `None` if there can be no such statistic.
    pub fn parse(text: &str) -> Option<Name> {
        let Some((subnet, rest)) = index(text, "subnet[") else {
            let stat = Stat::of_name(text).filter(|stat| stat.is_global())?;
            return Some(Name::global(stat));
        };
        let subnet = SubnetId(subnet);
        if let Some((pool, rest)) = index(rest, "pool[") {
            let stat = Stat::of_name(rest).filter(|stat| stat.is_per_pool())?;
            return Some(Name { scope: Scope::Pool(subnet, pool), stat });
        }
        let stat = Stat::of_name(rest).filter(|stat| stat.is_per_subnet())?;
        Some(Name { scope: Scope::Subnet(subnet), stat })
    }
}

/// The number in `WORD[number].rest`, and the rest. Only the one spelling that is printed.
fn index<'a>(text: &'a str, word: &str) -> Option<(u32, &'a str)> {
    let (number, rest) = text.strip_prefix(word)?.split_once("].")?;
    let value: u32 = number.parse().ok()?;
    (value.to_string() == number).then_some((value, rest))
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            Scope::Global => {}
            Scope::Subnet(subnet) => write!(f, "subnet[{subnet}].")?,
            Scope::Pool(subnet, pool) => write!(f, "subnet[{subnet}].pool[{pool}].")?,
        }
        f.write_str(self.stat.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_printed_is_read_back_and_no_other_spelling_is() {
        for stat in Stat::ALL {
            let scopes = [
                (Scope::Global, stat.is_global()),
                (Scope::Subnet(SubnetId(7)), stat.is_per_subnet()),
                (Scope::Pool(SubnetId(7), 0), stat.is_per_pool()),
            ];
            for (scope, exists) in scopes {
                let name = Name { scope, stat: *stat };
                assert_eq!(Name::parse(&name.to_string()), exists.then_some(name), "{name}");
            }
        }
        let wrong = [
            "",
            "nope",
            "subnet[7]",
            "subnet[07].assigned-addresses",
            "subnet[+7].assigned-addresses",
            "subnet[4294967296].assigned-addresses",
            "subnet[].assigned-addresses",
            "subnet[7].pkt4-received",
            "subnet[7].pool[0]",
            "subnet[7].pool[0].v4-lease-reuses",
            "pool[0].assigned-addresses",
            "total-addresses",
        ];
        for text in wrong {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_lists_follow_the_order_of_all() {
        assert_eq!(Stat::COUNTED, 35);
        assert_eq!(Stat::ALL[Stat::COUNTED..], Stat::LEASES);
        assert_eq!(Stat::ALL[Stat::COUNTED - 7..Stat::COUNTED], Stat::PER_SUBNET);
        let dropped = Stat::Dropped as usize;
        assert_eq!(Stat::ALL[dropped + 1..dropped + 10], Stat::CAUSES);
        assert!(Stat::ALL.iter().enumerate().all(|(at, stat)| *stat as usize == at));
    }
}
