//! Joining a cluster that is there (R14), on the side of the new node: it asks members until one lets it
//! in, and writes down durably who it is before anything else of it starts. It never makes a membership
//! of its own: its roster is that of the others.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use leasehold_proto::cluster as proto;
use leasehold_proto::cluster::cluster_client::ClusterClient;
use tokio::task::spawn_blocking;

use super::dial;
use super::tls::PeerTls;
use crate::state::document::Sha256;
use crate::state::feature;
use crate::storage::{Identity, IdentityFile, Seat, draw};
use crate::types::NodeId;

/// How often the members are asked.
const EVERY: Duration = Duration::from_secs(1);
/// How long a member may take to answer: the leader commits twice and changes the membership.
const PATIENCE: Duration = Duration::from_secs(10);

/// The secret with which a node joins. It says which cluster made it; the cluster keeps only its digest.
///
/// `leasehold-join-` and 16 and 32 hexadecimal digits: the cluster's id, and 128 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    cluster: u64,
    secret: [u64; 2],
}

impl Token {
    const MARK: &str = "leasehold-join-";

    /// A new one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn draw(cluster: u64) -> io::Result<Token> {
        Ok(Token { cluster, secret: [draw()?, draw()?] })
    }

    /// The token that `text` is, whatever blanks stand around it.
    pub fn parse(text: &str) -> Option<Token> {
        let (cluster, secret) = text.trim().strip_prefix(Token::MARK)?.split_once('-')?;
        let (first, second) = secret.split_at_checked(16)?;
        Some(Token { cluster: number(cluster)?, secret: [number(first)?, number(second)?] })
    }

    /// The text that the operator carries to the new node: whoever has it may join.
    pub fn reveal(&self) -> String {
        let [first, second] = self.secret;
        format!("{}{:016x}-{first:016x}{second:016x}", Token::MARK, self.cluster)
    }

    /// The cluster that made it.
    pub fn cluster(&self) -> u64 {
        self.cluster
    }

    /// What the cluster keeps of it.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(self.reveal().as_bytes())
    }
}

/// Never the secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(of cluster {:016x})", self.cluster)
    }
}

/// 16 hexadecimal digits.
fn number(text: &str) -> Option<u64> {
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok())?
}

/// How a node is to join.
#[derive(Debug, Clone)]
pub struct JoinPlan {
    /// Where peers will reach this node.
    pub advertise: SocketAddr,
    /// Members to ask.
    pub through: Vec<SocketAddr>,
    /// The token.
    pub token: Token,
    /// This node's label.
    pub name: String,
    /// Its certificate, by whose name the cluster will know it; plain gRPC without.
    pub tls: Option<Arc<PeerTls>>,
    /// Whether it wants no vote.
    pub learner: bool,
}

/// Why a node did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The cluster says no, and trying again would not help.
    #[error("this node is not let into the cluster: {peer} says: {reason}")]
    Refused {
        /// The member that said it.
        peer: SocketAddr,
        /// Why, and what to do.
        reason: String,
    },
    /// The directory is half-way into another cluster.
    #[error(
        "this data directory has taken part in forming a cluster with [cluster].initial and may be a member of it: \
         empty it before the node joins another"
    )]
    Forming,
    /// The disk failed.
    #[error("joining the cluster: {0}")]
    Io(#[from] io::Error),
}

/// Joins a cluster as `plan` says, or finishes what an earlier start began. Asks for as long as it takes.
///
/// # Errors
/// See [`JoinError`].
pub async fn join(
    plan: &JoinPlan,
    file: &Arc<IdentityFile>,
    identity: Identity,
) -> Result<Identity, JoinError> {
    match &identity.seat {
        Some(seat) if seat.provisional => return Err(JoinError::Forming),
        Some(_) => return Ok(identity),
        None => {}
    }
    let mut said = String::new();
    loop {
        let mut obstacles = Vec::new();
        for peer in &plan.through {
            match ask(*peer, plan, identity.instance).await {
                Ok(joined) => match seat(joined) {
                    Some(seat) => return Ok(write(file, identity.instance, seat).await?),
                    None => obstacles.push(format!("{peer} gave an answer that does not fit")),
                },
                Err(Obstacle { reason, last_word: true }) => {
                    return Err(JoinError::Refused { peer: *peer, reason });
                }
                Err(Obstacle { reason, .. }) => obstacles.push(format!("{peer}: {reason}")),
            }
        }
        let waiting = obstacles.join("; ");
        if waiting != said {
            tracing::info!("joining the cluster: not let in yet, trying again: {waiting}");
            said = waiting;
        }
        tokio::time::sleep(EVERY).await;
    }
}

struct Obstacle {
    reason: String,
    last_word: bool,
}

impl From<String> for Obstacle {
    fn from(reason: String) -> Obstacle {
        Obstacle { reason, last_word: false }
    }
}

async fn ask(peer: SocketAddr, plan: &JoinPlan, instance: u64) -> Result<proto::Joined, Obstacle> {
    use proto::join_response::Result as Wire;
    let request = proto::JoinRequest {
        token: plan.token.reveal(),
        instance,
        address: plan.advertise.to_string(),
        name: plan.name.clone(),
        // Known from the connection.
        tls_name: String::new(),
        learner: plan.learner,
        level: feature::known(),
        digest: bytes::Bytes::new(),
    };
    let call = async {
        let (channel, _) = dial::connect(&peer.to_string(), plan.tls.as_ref()).await?;
        let response = ClusterClient::new(channel).join(request).await;
        Ok::<_, String>(response.map_err(|status| status.message().to_owned())?.into_inner())
    };
    let answered = tokio::time::timeout(PATIENCE, call).await;
    match answered.map_err(|_| "no answer in time".to_owned())??.result {
        Some(Wire::Joined(joined)) => Ok(joined),
        Some(Wire::Refused(proto::JoinRefused { reason, r#final })) => {
            Err(Obstacle { reason, last_word: r#final })
        }
        None => Err("an answer that does not fit".to_owned().into()),
    }
}

/// The seat that a cluster gave this node.
fn seat(joined: proto::Joined) -> Option<Seat> {
    let proto::Joined { cluster, node, roster } = joined;
    let fits = cluster != 0 && node != 0 && !roster.is_empty();
    let roster: Vec<_> = roster.into_iter().map(Into::into).collect();
    let stranger = roster.iter().all(|known: &crate::storage::RosterNode| known.node.0 != node);
    let seat = Seat { cluster, node: NodeId(node), roster, provisional: false, started: false };
    (fits && stranger).then_some(seat)
}

async fn write(file: &Arc<IdentityFile>, instance: u64, seat: Seat) -> io::Result<Identity> {
    let (file, identity) = (file.clone(), Identity { instance, seat: Some(seat) });
    spawn_blocking(move || file.write(&identity).map(|()| identity))
        .await
        .map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_shown_and_is_not_shown_otherwise() {
        let token = Token { cluster: 0xC0FFEE, secret: [7, u64::MAX] };
        let text = token.reveal();
        assert_eq!(text, "leasehold-join-0000000000c0ffee-0000000000000007ffffffffffffffff");
        assert_eq!(Token::parse(&format!(" {text}\n")), Some(token.clone()));
        assert_eq!(format!("{token:?}"), "Token(of cluster 0000000000c0ffee)");
        assert_ne!(Token::draw(1).unwrap(), Token::draw(1).unwrap());
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let text = Token { cluster: 1, secret: [2, 3] }.reveal();
        for end in 0..text.len() {
            assert_eq!(Token::parse(&text[..end]), None, "cut at {end}");
        }
        for wrong in [
            format!("{text}0"),
            text.replace('-', "_"),
            text.replace("3", "é"),
            text.replace("02", "+2"),
        ] {
            assert_eq!(Token::parse(&wrong), None, "{wrong}");
        }
    }
}
