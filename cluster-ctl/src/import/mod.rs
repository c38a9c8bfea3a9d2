//! Leases that another server gave, on their way into the cluster, and back.
//!
//! * [`lease`]: a lease as every side understands it. [`memfile`]: rows of Kea's lease files, read and
//!   written. [`rotation`]: which files make one lease database of Kea. [`dhcpd`]: ISC's `dhcpd.leases`.
//! * [`database`]: the last word of one or more lease databases on each address.
//! * [`judge`]: what an import does with a lease, given what the cluster has there. [`carry`]: does it.
//! * [`report`]: what was taken, changed and refused.
//!
//! Pure but for [`rotation`] and [`carry`]. Nothing is overwritten by accident: a lease is added only
//! where there is none, and replaced only as long as the one that was looked at is still there; the
//! cluster itself decides both when it applies the change. So an import can be broken off and repeated.

pub mod carry;
pub mod database;
pub mod dhcpd;
pub mod judge;
pub mod lease;
pub mod memfile;
pub mod pages;
pub mod report;
pub mod rotation;
pub mod subnets;
