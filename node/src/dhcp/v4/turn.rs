//! Whose turn it is to answer (rules C1–C4, C10). Every node computes it alike from the applied
//! state; what a node remembers locally decides only when it may step in for another.
//!
//! The order of a bucket's nodes is a rendezvous: a node that goes spreads its buckets over all
//! others, and nothing else moves. A node that comes to a cluster that serves already takes its
//! buckets 16 at a time (C15); until it has a bucket, the others keep the order that they had.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::context::Context;
use crate::dhcp::decision::Link;
use crate::state::{Liveness, View};
use crate::types::{ClientKey, ClusterTime, NodeId};

/// What the second in order waits before it proposes a RELEASE or DECLINE, and each one after
/// that once more (C10).
pub const RANK_DELAY: Duration = Duration::from_millis(200);
/// Nobody waits longer.
const MAX_DELAY: Duration = Duration::from_millis(400);

/// C15: so many buckets a node that comes takes at a time.
const STEP: u64 = 16;
/// C15: how long it waits from one step to the next. After [`RAMP`] it has all of its own.
const STEP_TIME: Duration = Duration::from_millis(250);
/// C15: how long a node is up before it is settled.
const RAMP: Duration = Duration::from_secs(4);

/// C14: how long a node in maintenance goes on answering those who chose it, in cluster time.
pub const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// Whom a message addresses (C3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressed {
    /// This node alone: a client's own unicast to it.
    Me,
    /// The node that goes by this identity, or the owner if that is known dead or shared.
    Identity(Ipv4Addr),
    /// Whoever owns the client's bucket.
    Owner,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// This node's.
    Answer,
    /// That node's; it is remembered (C2).
    Shadow(Option<NodeId>),
    /// Nobody has reported the link: ask first (R17).
    AskPeers,
}

/// Everything the question depends on beside the cluster.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The client.
    pub client: &'a ClientKey,
    /// The link its packet came through; `None` when no subnet names it.
    pub link: Option<Link>,
    /// Whom it addresses.
    pub addressed: Addressed,
    /// When the client's lease last changed in the applied state: a sign of the owner.
    pub changed: Option<ClusterTime>,
}

/// Whether this node answers now.
pub fn turn(question: &Question<'_>, cx: &Context<'_>, view: View<'_>) -> Turn {
    let retired = has_retired(cx.me, view);
    if (question.addressed == Addressed::Me && !retired)
        || (alone(cx, view) && !is_leaving(cx, view))
    {
        return Turn::Answer;
    }
    // The node that a client names is known without asking who hears the link.
    let named = named(question.addressed, cx, view);
    if named == Some(cx.me) {
        return Turn::Answer;
    }
    let company = candidates(view).iter().any(|node| *node != cx.me);
    if named.is_none()
        && company
        && !cx.asked
        && question.link.is_some_and(|link| !cx.memory.reported(&link))
    {
        return Turn::AskPeers;
    }
    let order = order(question, cx, view);
    let Some(rank) = order.iter().position(|node| *node == cx.me) else {
        return Turn::Shadow(order.first().copied());
    };
    let waiting_for = order.iter().take(rank).filter(|node| !cx.memory.suspects(**node)).count();
    if waiting_for == 0 || is_out_of_patience(question, waiting_for, cx) {
        return Turn::Answer;
    }
    Turn::Shadow(order.first().copied())
}

/// How long this node waits with a message that is sent once and that every hearer acts on (C10).
pub fn delay(question: &Question<'_>, cx: &Context<'_>, view: View<'_>) -> Duration {
    if question.addressed == Addressed::Me || alone(cx, view) {
        return Duration::ZERO;
    }
    let order = order(question, cx, view);
    let rank = order.iter().position(|node| *node == cx.me).unwrap_or(order.len());
    RANK_DELAY.saturating_mul(u32::try_from(rank).unwrap_or(u32::MAX)).min(MAX_DELAY)
}

/// C4: the client has tried often enough, and of those before us there is no sign.
fn is_out_of_patience(question: &Question<'_>, waiting_for: usize, cx: &Context<'_>) -> bool {
    let Some(attempts) = cx.memory.attempts(question.client) else { return false };
    let committed = question.changed.is_some_and(|changed| changed >= attempts.first);
    usize::try_from(attempts.count).unwrap_or(usize::MAX) >= waiting_for
        && !attempts.answered
        && !committed
}

/// The nodes that may answer, the named one first, then by the order of the bucket. A node that
/// is not up, or does not hear the link, is left out (C1a); this node hears it, as the packet
/// shows.
fn order(question: &Question<'_>, cx: &Context<'_>, view: View<'_>) -> Vec<NodeId> {
    let named = named(question.addressed, cx, view);
    let bucket = bucket(question.client.bytes());
    let heard = question.link.filter(|link| cx.asked || cx.memory.reported(link));
    let hears =
        |node: NodeId| node == cx.me || heard.is_none_or(|link| cx.memory.hears(&link, node));
    let mut nodes: Vec<NodeId> =
        candidates(view).into_iter().filter(|node| hears(*node) && Some(*node) != named).collect();
    nodes.sort_unstable_by_key(|node| {
        (!has_taken(bucket, *node, view), std::cmp::Reverse(score(bucket, *node)), *node)
    });
    named.into_iter().chain(nodes).collect()
}

/// C15: whether a node that is up has taken this bucket, if it is one of its own.
///
/// It depends on applied state alone (R16), so all nodes agree on it at each index: time is the last
/// stamp, and passes with the entries. Where nobody was settled when the node came, as in a new
/// cluster, there is nobody to take over from, and it has all at once.
fn has_taken(bucket: u8, node: NodeId, view: View<'_>) -> bool {
    let Some(since) = view.meta().node(node).map(|entry| entry.since) else { return true };
    let up_for = view.now().since(since);
    let steps = 1 + up_for.as_millis() as u64 / STEP_TIME.as_millis() as u64;
    if up_for >= RAMP || u64::from(bucket) < STEP * steps {
        return true;
    }
    !view
        .nodes()
        .any(|(_, other)| other.liveness == Liveness::Up && other.since.plus(RAMP) <= since)
}

/// Nodes that are up; if the state calls nobody up, as in the moments after an outage of all, then
/// everybody who is not leaving, those in maintenance too, since somebody must answer and a commit
/// decides anyway.
fn candidates(view: View<'_>) -> Vec<NodeId> {
    let up = view.live_nodes();
    if !up.is_empty() {
        return up;
    }
    let stays = |liveness| matches!(liveness, Liveness::Down | Liveness::Maintenance);
    view.nodes().filter(|(_, entry)| stays(entry.liveness)).map(|(id, _)| id).collect()
}

/// The node that goes by the identity, unless it is down, has left, or has been in maintenance for a
/// while. It may be leaving: then it still answers those who chose it (C14).
fn named(addressed: Addressed, cx: &Context<'_>, view: View<'_>) -> Option<NodeId> {
    let Addressed::Identity(identity) = addressed else { return None };
    if cx.own.contains(&identity) {
        return Some(cx.me).filter(|me| !has_retired(*me, view));
    }
    let node = view.node_of_identity(identity)?;
    let liveness = view.meta().node(node)?.liveness;
    let answers = matches!(liveness, Liveness::Up | Liveness::Draining | Liveness::Maintenance);
    (answers && !has_retired(node, view)).then_some(node)
}

/// C14: a node that has been in maintenance for a while answers nobody any more, while others are up that
/// do. All nodes agree on it at each index, as on everything that decides whose turn it is.
fn has_retired(node: NodeId, view: View<'_>) -> bool {
    view.meta().node(node).is_some_and(|entry| {
        entry.liveness == Liveness::Maintenance
            && view.now().since(entry.since) >= LAST_ANSWERS
            && !view.live_nodes().is_empty()
    })
}

fn alone(cx: &Context<'_>, view: View<'_>) -> bool {
    view.nodes().all(|(id, entry)| id == cx.me || entry.liveness == Liveness::Left)
}

/// C14: a node that leaves begins nothing new, not even when it is the only one.
fn is_leaving(cx: &Context<'_>, view: View<'_>) -> bool {
    view.meta().node(cx.me).is_some_and(|entry| entry.liveness == Liveness::Draining)
}

/// The rendezvous score of a node for a bucket: a mix of both in which every bit counts
/// (splitmix64's finaliser).
fn score(bucket: u8, node: NodeId) -> u64 {
    let mut x = node.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ (u64::from(bucket) + 1).wrapping_mul(0xd1b5_4a32_d192_ed03);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The bucket of a client (RFC 3074 §6): Pearson's hash, from the last byte to the first.
pub fn bucket(key: &[u8]) -> u8 {
    let start = key.len() as u8;
    key.iter().rev().fold(start, |hash, byte| MIX[usize::from(hash ^ byte)])
}

/// "loadb_mx_tbl" of RFC 3074 §6: a permutation of 0 to 255.
const MIX: [u8; 256] = [
    251, 175, 119, 215, 81, 14, 79, 191, 103, 49, 181, 143, 186, 157, 0, 232, 31, 32, 55, 60, 152,
    58, 17, 237, 174, 70, 160, 144, 220, 90, 57, 223, 59, 3, 18, 140, 111, 166, 203, 196, 134, 243,
    124, 95, 222, 179, 197, 65, 180, 48, 36, 15, 107, 46, 233, 130, 165, 30, 123, 161, 209, 23, 97,
    16, 40, 91, 219, 61, 100, 10, 210, 109, 250, 127, 22, 138, 29, 108, 244, 67, 207, 9, 178, 204,
    74, 98, 126, 249, 167, 116, 34, 77, 193, 200, 121, 5, 20, 113, 71, 35, 128, 13, 182, 94, 25,
    226, 227, 199, 75, 27, 41, 245, 230, 224, 43, 225, 177, 26, 155, 150, 212, 142, 218, 115, 241,
    73, 88, 105, 39, 114, 62, 255, 192, 201, 145, 214, 168, 158, 221, 148, 154, 122, 12, 84, 82,
    163, 44, 139, 228, 236, 205, 242, 217, 11, 187, 146, 159, 64, 86, 239, 195, 42, 106, 198, 118,
    112, 184, 172, 87, 2, 173, 117, 176, 229, 247, 253, 137, 185, 99, 164, 102, 147, 45, 66, 231,
    52, 141, 211, 194, 206, 246, 238, 56, 110, 78, 248, 63, 240, 189, 93, 92, 51, 53, 183, 19, 171,
    72, 50, 33, 104, 101, 69, 8, 252, 83, 120, 76, 135, 85, 54, 202, 125, 188, 213, 96, 235, 136,
    208, 162, 129, 190, 132, 156, 38, 47, 1, 7, 254, 24, 4, 216, 131, 89, 21, 28, 133, 37, 153,
    149, 80, 170, 68, 6, 169, 234, 151,
];

#[cfg(test)]
#[path = "turn_tests.rs"]
mod tests;
