//! What a client presents to be recognised by its reservation (Kea manual, "Host Reservations in
//! DHCPv4"), beside hardware address and client id. The look-up itself is `state`'s, since `apply`
//! does it again.

use super::packet::Reading;
use crate::config::{Config, IdentifierKind};
use crate::state::Claims;

/// The identifiers that some reservation asks for.
pub fn claims(
    config: &Config,
    reading: &Reading,
    flex_id: impl FnOnce() -> Vec<u8>,
) -> Option<Box<Claims>> {
    let circuit_id = circuit_id(reading).filter(|_| config.asks_for(IdentifierKind::CircuitId));
    let flex_id = config.asks_for(IdentifierKind::FlexId).then(flex_id);
    let claims = Claims {
        circuit_id: circuit_id.map(Into::into),
        flex_id: flex_id.filter(|value| !value.is_empty()).map(Into::into),
    };
    (claims != Claims::default()).then(|| Box::new(claims))
}

/// Sub-option 1 of option 82, if a relay wrote it: what a direct client says there is no identity
/// (A5).
fn circuit_id(reading: &Reading) -> Option<&[u8]> {
    let circuit = reading.relay_facts.circuit.as_ref().filter(|_| reading.is_relay_believed())?;
    Some(&*circuit.circuit_id).filter(|id| !id.is_empty())
}
