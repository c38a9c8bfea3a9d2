//! Batches and outcomes as bytes: what goes into the log and between nodes.
//!
//! The messages are `proto/command.proto`. Encoding is total; decoding refuses whatever this
//! program cannot mean, and never panics. Decoding an [`Outcome::Granted`] makes a [`Granted`],
//! as only `apply` does otherwise (R4): it is for the answers of the node whose `apply` made it.

mod commands;
pub(super) mod config;
mod outcomes;
pub(super) mod recovery;
pub(super) mod roster;

use std::net::Ipv4Addr;

use bytes::Bytes;
use leasehold_proto::command as pb;
use prost::Message;

use super::command::{Batch, Command, Liveness, NodeInfo};
use super::outcome::{Granted, Outcome};
use crate::types::{ClientId, ClusterTime, HwAddr, NodeId};

/// Bytes that mean nothing to this program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadWire {
    /// They are no message.
    #[error("not a message: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// A message lacks a part, or a part holds what it must not.
    #[error("{0} is missing or not one that this version knows")]
    Field(&'static str),
    /// A newer program wrote it (R24).
    #[error(
        "it needs feature level {0}, and this program knows {known} at most: start a newer one",
        known = super::feature::known()
    )]
    Level(u32),
    /// More commands than an entry may hold (R27).
    #[error("{0} commands in one entry, of at most 128")]
    TooMany(usize),
}

/// A batch as the log keeps it.
pub fn encode_batch(batch: &Batch) -> Bytes {
    let commands = batch.commands.iter().map(commands::to_pb).collect();
    pb::Batch { stamp: batch.stamp.as_millis(), commands }.encode_to_vec().into()
}

/// The batch that [`encode_batch`] wrote.
pub fn decode_batch(bytes: &[u8]) -> Result<Batch, BadWire> {
    let batch = pb::Batch::decode(bytes)?;
    if batch.commands.len() > Batch::MAX {
        return Err(BadWire::TooMany(batch.commands.len()));
    }
    let commands =
        batch.commands.into_iter().map(commands::from_pb).collect::<Result<Vec<_>, _>>()?;
    let highest = commands.iter().map(Command::level).max();
    if let Some(level) = highest.filter(|level| *level > super::feature::known()) {
        return Err(BadWire::Level(level));
    }
    Ok(Batch { stamp: ClusterTime::from_millis(batch.stamp), commands })
}

/// The answers to a batch, in its order.
pub fn encode_outcomes(outcomes: &[Outcome]) -> Bytes {
    pb::Outcomes { outcomes: outcomes.iter().map(outcomes::to_pb).collect() }.encode_to_vec().into()
}

/// The outcomes that [`encode_outcomes`] wrote.
pub fn decode_outcomes(bytes: &[u8]) -> Result<Vec<Outcome>, BadWire> {
    let outcomes = pb::Outcomes::decode(bytes)?.outcomes;
    if outcomes.len() > Batch::MAX {
        return Err(BadWire::TooMany(outcomes.len()));
    }
    outcomes.into_iter().map(outcomes::from_pb).collect()
}

fn client_id(bytes: &[u8]) -> Result<ClientId, BadWire> {
    ClientId::new(bytes).map_err(|_| BadWire::Field("client id"))
}

fn hw_addr(htype: u32, bytes: &[u8]) -> Result<HwAddr, BadWire> {
    let htype = u8::try_from(htype).map_err(|_| BadWire::Field("hardware type"))?;
    HwAddr::new(htype, bytes).map_err(|_| BadWire::Field("hardware address"))
}

fn copied(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

pub(super) fn liveness_to_pb(liveness: Liveness) -> pb::Liveness {
    match liveness {
        Liveness::Up => pb::Liveness::Up,
        Liveness::Down => pb::Liveness::Down,
        Liveness::Draining => pb::Liveness::Draining,
        Liveness::Left => pb::Liveness::Left,
        Liveness::Maintenance => pb::Liveness::Maintenance,
    }
}

pub(super) fn liveness_from_pb(number: i32) -> Result<Liveness, BadWire> {
    Ok(match pb::Liveness::try_from(number) {
        Ok(pb::Liveness::Up) => Liveness::Up,
        Ok(pb::Liveness::Down) => Liveness::Down,
        Ok(pb::Liveness::Draining) => Liveness::Draining,
        Ok(pb::Liveness::Left) => Liveness::Left,
        Ok(pb::Liveness::Maintenance) => Liveness::Maintenance,
        Ok(pb::Liveness::Unspecified) | Err(_) => return Err(BadWire::Field("liveness")),
    })
}

pub(super) fn node_info_to_pb(info: &NodeInfo) -> pb::NodeInfo {
    pb::NodeInfo {
        node: info.node.0,
        name: info.name.clone(),
        rack: info.rack.clone(),
        peer_address: info.peer_address.clone(),
        control: info.control.clone(),
        identities: info.identities.iter().map(|address| u32::from(*address)).collect(),
        version: info.version.clone(),
        level: info.level,
    }
}

pub(super) fn node_info_from_pb(info: pb::NodeInfo) -> NodeInfo {
    NodeInfo {
        node: NodeId(info.node),
        name: info.name,
        rack: info.rack,
        peer_address: info.peer_address,
        control: info.control,
        identities: info.identities.into_iter().map(Ipv4Addr::from).collect(),
        version: info.version,
        level: info.level,
    }
}

#[cfg(test)]
mod tests;
