//! What acts in option 82 (RFC 3046): the sub-options that choose a subnet, an identity or a port.
//! The bytes go back as they came (W2); that is the writer's part.

use std::net::Ipv4Addr;

use crate::packet::v4::{RelayInfo, codes};

/// The unicast bit of the relay agent flags (RFC 5010 §4).
const UNICAST: u8 = 0x80;

/// Where a relay says its client is plugged in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Circuit {
    /// 1, the circuit id; empty when absent.
    pub circuit_id: Box<[u8]>,
    /// 2, the remote id; empty when absent.
    pub remote_id: Box<[u8]>,
}

/// Sub-options that act, decoded. A sub-option of a wrong length counts as absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RelayFacts {
    /// 1 and 2, when at least one is there: where the client is plugged in.
    pub circuit: Option<Circuit>,
    /// 5: the subnet to serve from (RFC 3527).
    pub link_selection: Option<Ipv4Addr>,
    /// 10: the client sent this by unicast (RFC 5010).
    pub unicast: bool,
    /// 11: what option 54 shall say, and will mean us in the client's messages (RFC 5107).
    pub server_id_override: Option<Ipv4Addr>,
    /// 19: replies go to the port that the relay sent from (RFC 8357).
    pub source_port: bool,
    /// 151: a VPN, of which none is served (RFC 6607).
    pub virtual_subnet: bool,
    /// 152: to be removed from the echo by a server that does not know VPNs (RFC 6607 §7).
    pub virtual_subnet_control: bool,
}

impl RelayFacts {
    /// Decodes what acts, up to the first sub-option that does not add up (P7).
    pub fn of(info: &RelayInfo<'_>) -> RelayFacts {
        let mut facts = RelayFacts::default();
        let (mut circuit, mut remote) = (None, None);
        for (code, value) in info.sub_options() {
            match code {
                codes::relay::CIRCUIT_ID if circuit.is_none() => circuit = Some(value),
                codes::relay::REMOTE_ID if remote.is_none() => remote = Some(value),
                codes::relay::LINK_SELECTION if facts.link_selection.is_none() => {
                    facts.link_selection = address(value);
                }
                codes::relay::FLAGS => {
                    facts.unicast = value.first().is_some_and(|flags| flags & UNICAST != 0)
                }
                codes::relay::SERVER_ID_OVERRIDE if facts.server_id_override.is_none() => {
                    facts.server_id_override = address(value);
                }
                codes::relay::RELAY_SOURCE_PORT => facts.source_port = true,
                codes::relay::VIRTUAL_SUBNET => facts.virtual_subnet = true,
                codes::relay::VIRTUAL_SUBNET_CONTROL => facts.virtual_subnet_control = true,
                _ => {}
            }
        }
        if circuit.is_some() || remote.is_some() {
            let [circuit_id, remote_id] =
                [circuit, remote].map(|id: Option<&[u8]>| id.unwrap_or_default().into());
            facts.circuit = Some(Circuit { circuit_id, remote_id });
        }
        facts
    }
}

/// The bytes to echo: as they came (W2), but without sub-option 152, which tells the relay that
/// the VPN was understood (RFC 6607 §7). Empty means: no echo.
pub fn echo(info: RelayInfo<'_>, facts: &RelayFacts) -> Vec<u8> {
    if !facts.virtual_subnet_control {
        return info.into_raw().into_owned();
    }
    let mut bytes = Vec::with_capacity(info.raw().len());
    for (code, value) in
        info.sub_options().filter(|(code, _)| *code != codes::relay::VIRTUAL_SUBNET_CONTROL)
    {
        bytes.extend([code, value.len() as u8]);
        bytes.extend(value);
    }
    bytes
}

fn address(value: &[u8]) -> Option<Ipv4Addr> {
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?);
    (!address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w2_the_echo_is_byte_for_byte() {
        let raw = [1, 1, 9, 200, 0, 1, 1, 9, 2, 0];
        let info = RelayInfo::new(&raw[..]);
        let facts = RelayFacts::of(&info);
        assert_eq!(echo(info, &facts), raw);
    }

    #[test]
    fn a_broken_tail_is_echoed_and_what_precedes_it_acts() {
        let raw = [5, 4, 192, 0, 2, 1, 11, 9, 1];
        let info = RelayInfo::new(&raw[..]);
        let facts = RelayFacts::of(&info);
        assert_eq!(facts.link_selection, Some([192, 0, 2, 1].into()));
        assert_eq!(facts.server_id_override, None);
        assert_eq!(echo(info, &facts), raw);
    }

    #[test]
    fn sub_option_152_is_not_echoed() {
        let info = RelayInfo::new(&[1, 1, 9, 152, 0, 2, 1, 8][..]);
        let facts = RelayFacts::of(&info);
        assert_eq!(echo(info, &facts), [1, 1, 9, 2, 1, 8]);
    }

    #[test]
    fn sub_options_of_a_wrong_length_are_absent() {
        let facts =
            RelayFacts::of(&RelayInfo::new(&[5, 3, 1, 2, 3, 11, 0, 10, 0, 5, 4, 0, 0, 0, 0][..]));
        assert_eq!(
            (facts.link_selection, facts.server_id_override, facts.unicast),
            (None, None, false)
        );
    }
}
