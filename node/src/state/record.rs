//! A lease as bytes: in snapshots, in the checkpoint, and under the digest.
//!
//! One form only, so equal leases are equal bytes. All numbers little-endian:
//!
//! ```text
//! address 4, subnet 4, state 1, flags 1 (1 client id, 2 fqdn-fwd, 4 fqdn-rev, 8 user-context,
//! 16 circuit, 32 relay info, 64 offered),
//! identity 4, valid 4, cltt 8, expires 8, reserved_until 8, due 8, granted 8, generation 8,
//! htype 1, hw (length 1, bytes), [client id (length 1, bytes)], hostname (length 2, bytes),
//! [user-context (length 4, bytes)], [circuit 8, not 0], [relay info (length 2, bytes)]
//! ```

use std::net::Ipv4Addr;

use xxhash_rust::xxh3::xxh3_64;

use super::command::Generation;
use super::lease::{Lease, LeaseState, Rare};
use crate::types::{ClientId, ClusterTime, HwAddr, Lifetime, SubnetId};

const HAS_ID: u8 = 1;
const FQDN_FWD: u8 = 2;
const FQDN_REV: u8 = 4;
const HAS_CONTEXT: u8 = 8;
const HAS_CIRCUIT: u8 = 16;
const HAS_RELAY_INFO: u8 = 32;
const OFFERED: u8 = 64;
const ALL: u8 = HAS_ID | FQDN_FWD | FQDN_REV | HAS_CONTEXT | HAS_CIRCUIT | HAS_RELAY_INFO | OFFERED;

/// Bytes that are no lease record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// It ends too soon.
    #[error("a lease record ends in the middle")]
    Short,
    /// A field holds what no lease can have.
    #[error("a lease record has an impossible {0}")]
    Field(&'static str),
}

/// Appends the record of `lease`. A host name over 65 535 bytes, which nothing accepts, is cut.
pub fn encode_lease(lease: &Lease, out: &mut Vec<u8>) {
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let flags = flag(lease.client_id.is_some(), HAS_ID)
        | flag(lease.fqdn_fwd, FQDN_FWD)
        | flag(lease.fqdn_rev, FQDN_REV)
        | flag(lease.user_context().is_some(), HAS_CONTEXT)
        | flag(lease.circuit() != 0, HAS_CIRCUIT)
        | flag(lease.relay_info().is_some(), HAS_RELAY_INFO)
        | flag(lease.offered, OFFERED);
    out.extend(u32::from(lease.address).to_le_bytes());
    out.extend(lease.subnet.0.to_le_bytes());
    out.extend([lease.state.number(), flags]);
    out.extend(u32::from(lease.identity).to_le_bytes());
    out.extend(lease.valid.as_secs().to_le_bytes());
    let times = [lease.cltt, lease.expires, lease.reserved_until, lease.due, lease.granted];
    for time in times {
        out.extend(time.as_millis().to_le_bytes());
    }
    out.extend(lease.generation.0.to_le_bytes());
    let hw = lease.hw.bytes();
    out.extend([lease.hw.htype(), hw.len() as u8]);
    out.extend(hw);
    if let Some(id) = &lease.client_id {
        out.push(id.bytes().len() as u8);
        out.extend(id.bytes());
    }
    let hostname = lease.hostname.as_bytes();
    let hostname = &hostname[..lease.hostname.floor_char_boundary(usize::from(u16::MAX))];
    out.extend((hostname.len() as u16).to_le_bytes());
    out.extend(hostname);
    if let Some(context) = lease.user_context() {
        out.extend((context.len() as u32).to_le_bytes());
        out.extend(context.as_bytes());
    }
    if lease.circuit() != 0 {
        out.extend(lease.circuit().to_le_bytes());
    }
    if let Some(info) = lease.relay_info() {
        let info = &info[..info.len().min(usize::from(u16::MAX))];
        out.extend((info.len() as u16).to_le_bytes());
        out.extend(info);
    }
}

/// The leases that `bytes` are, one behind the other; the first that is none is the last item.
pub fn decode_leases(bytes: &[u8]) -> impl Iterator<Item = Result<Lease, BadRecord>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let lease = (!rest.is_empty()).then(|| take_lease(&mut rest))?;
        if lease.is_err() {
            rest = &[];
        }
        Some(lease)
    })
}

/// The lease at the front of `rest`, which then begins behind it.
pub(super) fn take_lease(rest: &mut &[u8]) -> Result<Lease, BadRecord> {
    let address = Ipv4Addr::from(u32::from_le_bytes(take(rest)?));
    let subnet = SubnetId(u32::from_le_bytes(take(rest)?));
    let [state, flags] = take(rest)?;
    let state = LeaseState::from_number(u64::from(state)).ok_or(BadRecord::Field("state"))?;
    if flags & !ALL != 0 {
        return Err(BadRecord::Field("flag"));
    }
    let identity = Ipv4Addr::from(u32::from_le_bytes(take(rest)?));
    let valid = Lifetime::from_secs(u32::from_le_bytes(take(rest)?));
    let mut time = || Ok(ClusterTime::from_millis(u64::from_le_bytes(take(rest)?)));
    let (cltt, expires, reserved_until) = (time()?, time()?, time()?);
    let (due, granted) = (time()?, time()?);
    let generation = Generation(u64::from_le_bytes(take(rest)?));
    let [htype, hw_len] = take(rest)?;
    let hw = HwAddr::new(htype, take_slice(rest, usize::from(hw_len))?);
    let hw = hw.map_err(|_| BadRecord::Field("hardware address"))?;
    let client_id = if flags & HAS_ID != 0 {
        let [len] = take(rest)?;
        let id = ClientId::new(take_slice(rest, usize::from(len))?);
        Some(id.map_err(|_| BadRecord::Field("client id"))?)
    } else {
        None
    };
    let len = usize::from(u16::from_le_bytes(take(rest)?));
    let hostname = text(take_slice(rest, len)?, "host name")?;
    let user_context = if flags & HAS_CONTEXT != 0 {
        let len = u32::from_le_bytes(take(rest)?);
        let len = usize::try_from(len).map_err(|_| BadRecord::Short)?;
        Some(text(take_slice(rest, len)?, "user context")?)
    } else {
        None
    };
    let circuit = if flags & HAS_CIRCUIT != 0 { u64::from_le_bytes(take(rest)?) } else { 0 };
    if flags & HAS_CIRCUIT != 0 && circuit == 0 {
        return Err(BadRecord::Field("circuit"));
    }
    let relay_info = if flags & HAS_RELAY_INFO != 0 {
        let len = usize::from(u16::from_le_bytes(take(rest)?));
        Some(take_slice(rest, len)?.into())
    } else {
        None
    };
    let (fqdn_fwd, fqdn_rev) = (flags & FQDN_FWD != 0, flags & FQDN_REV != 0);
    Ok(Lease {
        address,
        subnet,
        client_id,
        hw,
        hostname,
        cltt,
        valid,
        expires,
        reserved_until,
        due,
        granted,
        generation,
        state,
        identity,
        fqdn_fwd,
        fqdn_rev,
        offered: flags & OFFERED != 0,
        rare: Rare::new(user_context, circuit, relay_info),
    })
}

/// The lease's part of the digest.
pub(super) fn hash(lease: &Lease) -> u64 {
    let mut bytes = Vec::with_capacity(160);
    encode_lease(lease, &mut bytes);
    xxh3_64(&bytes)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], BadRecord> {
    let (first, behind) = rest.split_first_chunk::<N>().ok_or(BadRecord::Short)?;
    *rest = behind;
    Ok(*first)
}

fn take_slice<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], BadRecord> {
    let (first, behind) = rest.split_at_checked(len).ok_or(BadRecord::Short)?;
    *rest = behind;
    Ok(first)
}

fn text<T: for<'a> From<&'a str>>(bytes: &[u8], field: &'static str) -> Result<T, BadRecord> {
    std::str::from_utf8(bytes).map(T::from).map_err(|_| BadRecord::Field(field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::any_lease;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_round_trip_and_a_cut_one_is_refused(lease in any_lease(), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            encode_lease(&lease, &mut bytes);
            let decoded = |bytes: &[u8]| decode_leases(bytes).collect::<Vec<_>>();
            let twice = [bytes.as_slice(), &bytes].concat();
            prop_assert_eq!(decoded(&twice), [Ok(lease.clone()), Ok(lease.clone())]);
            let end = 1 + cut.index(bytes.len() - 1);
            prop_assert_eq!(decoded(&twice[..bytes.len() + end]), [Ok(lease), Err(BadRecord::Short)]);
        }

        #[test]
        fn any_bytes_are_a_record_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let decoded: Vec<_> = decode_leases(&bytes).collect();
            if let Ok(leases) = decoded.into_iter().collect::<Result<Vec<_>, _>>() {
                let mut again = Vec::new();
                leases.iter().for_each(|lease| encode_lease(lease, &mut again));
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
