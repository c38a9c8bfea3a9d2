//! Option 108, IPv6-only preferred (RFC 8925): sent only to those who ask, when it is configured.
//!
//! The OFFER to such a client carries a real free address, without a hold, since the client will
//! not take it; systemd-networkd discards an OFFER without an address. If the client requests the
//! address all the same, it is served.

use super::scope::Scope;
use crate::packet::v4::{Message, OptionValue, codes};

/// The shortest V6ONLY_WAIT (RFC 8925 §3.4): what a client makes of anything shorter.
const MIN_WAIT: u32 = 300;

/// Whether the client will be told to do without IPv4.
pub fn applies(message: &Message, scope: &Scope<'_>) -> bool {
    message.parameter_request_list().contains(&codes::V6_ONLY_PREFERRED)
        && scope.get(codes::V6_ONLY_PREFERRED).is_some()
        && !scope.is_never_sent(codes::V6_ONLY_PREFERRED)
}

/// The value to send.
pub fn wait(configured: &[u8]) -> OptionValue {
    match <[u8; 4]>::try_from(configured) {
        Ok(bytes) => u32::from_be_bytes(bytes).max(MIN_WAIT).into(),
        Err(_) => configured.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_at_least_300_seconds() {
        assert_eq!(&*wait(&60u32.to_be_bytes()), 300u32.to_be_bytes());
        assert_eq!(&*wait(&1800u32.to_be_bytes()), 1800u32.to_be_bytes());
    }
}
