//! A server that decides nothing: it answers every DISCOVER and REQUEST by patching it, with an address made from the client's hardware
//! address. Where it ends, the load generator and the kernel end.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Context, Result};

use crate::client::raw::{FIXED, option_of};

/// First address of the pool of all servers: 23 bits of hosts follow.
const FIRST: u32 = u32::from_be_bytes([10, 128, 0, 0]);
const HOSTS: u32 = (1 << 23) - 1;

/// Serves on port 67 of all addresses until the process is ended.
///
/// # Errors
/// When the socket cannot be opened.
pub fn serve() -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)).context("port 67")?;
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
    let (mut packet, mut reply) = ([0; 2048], Vec::with_capacity(512));
    loop {
        let Ok((len, from)) = socket.recv_from(&mut packet) else { continue };
        let Some(request) = packet.get(..len) else { continue };
        if answer(request, super::subject::SERVER, &mut reply).is_some() {
            let _ = socket.send_to(&reply, from);
        }
    }
}

/// Puts the answer to `request` into `reply`; none when it wants none.
fn answer(request: &[u8], server: Ipv4Addr, reply: &mut Vec<u8>) -> Option<()> {
    let kind = match option_of(request, 53)?.as_slice() {
        [1] => 2,
        [3] => 5,
        _ => return None,
    };
    reply.clear();
    reply.extend_from_slice(request.get(..FIXED)?);
    // Boot reply; `yiaddr` from the last three bytes of `chaddr`, `secs` as it came.
    reply[0] = 2;
    let host = u32::from_be_bytes([0, reply[31], reply[32], reply[33]]) & HOSTS;
    reply[16..20].copy_from_slice(&(FIRST | host).to_be_bytes());
    reply.extend_from_slice(&[53, 1, kind, 54, 4]);
    reply.extend_from_slice(&server.octets());
    reply.extend_from_slice(&[51, 4]);
    reply.extend_from_slice(&3600_u32.to_be_bytes());
    reply.push(255);
    reply.resize(reply.len().max(300), 0);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::raw::Raw;

    #[test]
    fn a_discover_and_a_request_are_answered_and_nothing_else_is() {
        let server = Ipv4Addr::new(10, 77, 0, 1);
        let mut reply = Vec::new();
        for (kind, expected) in [(1, Some(2)), (3, Some(5)), (7, None), (4, None)] {
            let mut raw = Raw::new(77, [0, 12, 1, 0xff, 2, 3]);
            raw.option(53, &[kind]);
            let answered = answer(&raw.bytes(), server, &mut reply).is_some();
            assert_eq!(answered, expected.is_some(), "{kind}");
            if let Some(expected) = expected {
                assert_eq!(option_of(&reply, 53), Some(vec![expected]));
                assert_eq!(option_of(&reply, 54), Some(vec![10, 77, 0, 1]));
                assert_eq!(
                    (reply[0], &reply[4..8], &reply[16..20]),
                    (2, &[0, 0, 0, 77][..], &[10, 255, 2, 3][..])
                );
            }
        }
        assert!(answer(&[0; 100], server, &mut reply).is_none());
    }
}
