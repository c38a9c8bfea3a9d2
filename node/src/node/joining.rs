//! Joining a cluster, and leaving it: what the settings and the data directory have to do with it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::RunError;
use crate::raft::{self, JoinError, JoinPlan, PeerTls, Token};
use crate::settings::Settings;
use crate::storage::{self, Identity, IdentityFile};
use crate::types::NodeId;

/// Where the token is if no file is named. Not an argument: those can be seen by everybody.
const VARIABLE: &str = "LEASEHOLD_JOIN_TOKEN";

/// Joins as the settings say. Waits for as long as it takes.
///
/// # Errors
/// When this cannot come about by waiting.
pub(super) async fn join(
    settings: &Settings,
    advertise: SocketAddr,
    tls: Option<Arc<PeerTls>>,
    file: &Arc<IdentityFile>,
    identity: Identity,
) -> Result<Identity, RunError> {
    let token = token(settings)?;
    if let Some(tls) = tls.as_ref().filter(|tls| tls.me().cluster != token.cluster()) {
        return Err(RunError::Settings(format!(
            "the join token is of cluster {:016x}, and this node's certificate is of cluster {:016x}: have a certificate \
             made for that cluster (cluster-ctl pki issue), or take a token of this one",
            token.cluster(),
            tls.me().cluster
        )));
    }
    let plan = JoinPlan {
        advertise,
        through: settings.cluster.join.iter().copied().filter(|it| *it != advertise).collect(),
        token,
        name: settings.name.clone(),
        tls,
        learner: settings.cluster.learner,
    };
    tracing::info!(through = ?plan.through, "joining a cluster");
    let identity = raft::join(&plan, file, identity).await.map_err(|error| match error {
        JoinError::Io(_) => RunError::Fault(error.to_string()),
        _ => RunError::Settings(error.to_string()),
    })?;
    if let Some(seat) = &identity.seat {
        tracing::info!(node = %seat.node, cluster = format!("{:016x}", seat.cluster), "this node is let in");
    }
    Ok(identity)
}

fn token(settings: &Settings) -> Result<Token, RunError> {
    let (text, from) = match &settings.cluster.token_file {
        Some(path) => {
            let from = format!("[cluster].token-file {}", path.display());
            let text = std::fs::read_to_string(path)
                .map_err(|error| RunError::Settings(format!("{from}: {error}")))?;
            (text, from)
        }
        None => match std::env::var(VARIABLE) {
            Ok(text) => (text, VARIABLE.to_owned()),
            Err(_) => {
                return Err(RunError::Settings(format!(
                    "[cluster].join needs a token: make one with cluster-ctl node add, write it into a file, and name \
                     that in [cluster].token-file (or put it into the environment as {VARIABLE})"
                )));
            }
        },
    };
    // What stands there is not shown: it may be a secret with a slip of the pen.
    Token::parse(&text).ok_or_else(|| {
        RunError::Settings(format!(
            "{from} holds no join token: cluster-ctl node add shows one, which begins with leasehold-join-"
        ))
    })
}

/// Notes that this node was removed, and says what to do.
pub(super) fn removed(data_dir: &Path, node: NodeId, why: &str) -> RunError {
    let text = format!("node {node} was removed from its cluster ({why})");
    if let Err(error) = storage::mark_removed(data_dir, &text) {
        tracing::warn!(%error, "noting in the data directory that this node was removed");
    }
    told(&text, data_dir)
}

/// A removed node does not start again as itself.
///
/// # Errors
/// If the data directory is that of one.
pub(super) fn refuse_removed(data_dir: &Path) -> Result<(), RunError> {
    match storage::marked_removed(data_dir) {
        Ok(None) => Ok(()),
        Ok(Some(text)) => Err(told(&text, data_dir)),
        Err(error) => Err(RunError::Fault(format!("{}: {error}", data_dir.display()))),
    }
}

fn told(text: &str, data_dir: &Path) -> RunError {
    RunError::Settings(format!(
        "{text}. It does not come back as itself. To join again as a new node: empty {}, make a token with cluster-ctl \
         node add, and set [cluster] join and token-file in this node's settings",
        data_dir.display()
    ))
}
