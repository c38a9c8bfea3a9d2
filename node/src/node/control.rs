//! The control API of a node: its doors are opened here, and guarded anew on SIGHUP.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::backend::NodeBackend;
use super::{ConfigFile, RunError};
use crate::api::{self, Api, Door, Limits};
use crate::raft::PeerTls;
use crate::settings::{Listener, NodeLocal, Peer, Settings, read_kea_file};

/// The doors that the settings name, their files read. Nothing listens yet: a node whose certificates
/// or passwords cannot be read does not begin.
pub(super) fn doors(settings: &Settings) -> Result<Vec<Arc<Door>>, RunError> {
    let door = |listener: Listener| {
        let address = listener.address;
        Door::new(listener)
            .map_err(|why| RunError::Settings(format!("the control API on {address}: {why}")))
    };
    settings.control.listeners().into_iter().map(door).collect()
}

/// The certificates of the peer port, looked at again every minute from now on.
pub(super) fn peer_tls(settings: &Settings) -> Result<Option<Arc<PeerTls>>, RunError> {
    let Some(files) = settings.peer.as_ref().and_then(Peer::files) else { return Ok(None) };
    let tls = PeerTls::open(files).map_err(|why| RunError::Settings(format!("[peer]: {why}")))?;
    tracing::info!(me = %tls.me(), "nodes show each other certificates");
    tokio::spawn(tls.clone().look_after());
    Ok(Some(tls))
}

/// Reads them again.
pub(super) fn peer_tls_anew(tls: Option<&Arc<PeerTls>>) {
    if let Some(Err(why)) = tls.map(|tls| tls.read_again()) {
        tracing::error!("the certificates of the peer port stay as they were: {why}");
    }
}

/// What the operator should know of them all.
pub(super) fn warnings(doors: &[Arc<Door>]) -> Vec<String> {
    doors.iter().flat_map(|door| door.warnings()).collect()
}

/// Listens at every door and at the unix socket, until `stopping`.
pub(super) async fn serve(
    settings: &Settings,
    doors: &[Arc<Door>],
    backend: Arc<NodeBackend>,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<(), RunError> {
    let limits = Limits {
        body: settings.control.body_limit,
        subnet_metrics: settings.control.subnet_metrics,
        ..Limits::default()
    };
    let api = Api::new(backend, limits);
    for door in doors {
        let address = door.address();
        let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| {
            RunError::Settings(format!("the control API on {address}: {error}"))
        })?;
        tasks.spawn(api::http::serve(api.clone(), listener, door.clone(), stopping.clone()));
    }
    if let Some(path) = &settings.control.socket {
        let listener = api::unix::bind(path).map_err(|error| {
            RunError::Settings(format!("[control].socket {}: {error}", path.display()))
        })?;
        tasks.spawn(api::unix::serve(api.clone(), listener, stopping.clone()));
    }
    warn(doors);
    Ok(())
}

fn warn(doors: &[Arc<Door>]) {
    for warning in warnings(doors) {
        tracing::warn!("{warning}");
    }
}

/// Reads certificates and passwords again, and in the Kea personality who may come in. What cannot be
/// read leaves its door as it was. Connections go on.
pub(super) fn guard_anew(settings: &Settings, doors: &[Arc<Door>], file: ConfigFile) {
    let said = match (file, &settings.cluster.config) {
        (ConfigFile::Wins, Some(path)) => {
            let read = read_kea_file(path).map_err(|mistakes| mistakes.to_string());
            match read.and_then(|parsed| NodeLocal::of(&parsed.config.document_json(), path)) {
                Ok(local) => {
                    Some(local.control_listen.unwrap_or_else(|| settings.control.listeners()))
                }
                Err(why) => {
                    tracing::error!("the control sockets stay as they are: {why}");
                    return;
                }
            }
        }
        _ => None,
    };
    for door in doors {
        let address = door.address();
        let changed = match &said {
            None => door.read_again(),
            Some(listeners) => match listeners.iter().find(|one| one.address == address) {
                Some(listener) => door.change(listener.clone()),
                None => Err("it is no longer among control-sockets; it closes with the next start"
                    .to_owned()),
            },
        };
        match changed {
            Ok(()) => {
                tracing::info!(%address, "certificates and passwords of the control API are read")
            }
            Err(why) => tracing::error!(%address, "the control API is guarded as before: {why}"),
        }
    }
    for listener in said.iter().flatten() {
        if doors.iter().all(|door| door.address() != listener.address) {
            let address = listener.address;
            tracing::warn!(%address, "a new control socket opens with the next start");
        }
    }
    warn(doors);
}
