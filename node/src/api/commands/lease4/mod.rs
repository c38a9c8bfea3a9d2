//! `lease4-*`: reading, adding, changing and removing leases (kea-api §3.1–3.5; Kea's `lease_cmds`).
//!
//! Texts are Kea's to the letter, because scripts compare them. Three answers differ on purpose: a
//! page is served from one applied index; an address whose subnet is gone from the configuration
//! still has its lease (R8); and `pool-id` is that of the pool the configuration has the address in,
//! so that it never contradicts the configuration.
//!
//! [`parse`] reads what requests describe, [`print`] writes leases as Kea does. Commands that change
//! leases are R9's: what they say is done, whoever holds the address.

mod bulk;
mod by;
mod change;
mod file;
pub mod parse;
pub mod print;
mod read;

pub use bulk::BULK_APPLY;
pub(crate) use by::{FEW, state_by_name};
pub use by::{GET_BY_CLIENT_ID, GET_BY_HOSTNAME, GET_BY_HW_ADDRESS, GET_BY_STATE};
pub use change::{ADD, DEL, RESEND_DDNS, UPDATE, WIPE};
pub use file::{Escaped, WRITE, WriteLeases};
pub use read::{GET, GET_ALL, GET_PAGE};

use crate::api::spec::{Code, Reply};

/// `N IPv4 lease(s) found.`
fn found(count: usize) -> Reply {
    let code = if count == 0 { Code::Empty } else { Code::Success };
    Reply::failure(code, format!("{count} IPv4 lease(s) found."))
}
