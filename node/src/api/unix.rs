//! The unix socket (kea-api §1.4): one JSON object in, one JSON map out, closed. No length prefix:
//! the request ends with the closing brace of its object, what follows is ignored. Comments are
//! accepted here.
//!
//! Who may open the socket may do everything: the mode of the file decides. The user of the other
//! process, as the kernel names it, goes into the audit log and the history.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::debug;

use super::Api;
use super::connections::Patient;
use super::envelope::{self, Transport};
use super::json::{Comments, Scanner};
use super::spec::{Caller, Code, Reply};

/// Owner and group may connect: whoever may write to the socket may change everything.
pub const MODE: u32 = 0o660;

/// Binds the socket with mode [`MODE`]. What a dead process left is replaced; a socket on which
/// somebody answers, and a file of another kind, is an error.
///
/// It is bound under another name and renamed, so that nobody can connect before the mode is set.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the path exists and is no socket",
            ));
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another process serves this socket",
            ));
        }
        Ok(_) => {}
    }
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!(".{}", std::process::id()));
    let hidden = Path::new(&hidden);
    match std::fs::remove_file(hidden) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(hidden)?;
    let visible = std::fs::set_permissions(hidden, Permissions::from_mode(MODE))
        .and_then(|()| std::fs::rename(hidden, path));
    if let Err(error) = visible {
        let _ = std::fs::remove_file(hidden);
        return Err(error);
    }
    Ok(listener)
}

/// Serves the socket until `stop` turns true or its sender is gone.
pub async fn serve(api: Arc<Api>, listener: UnixListener, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = super::stopped(&mut stop) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(connection(Arc::clone(&api), stream));
            }
            Err(error) => {
                debug!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(api: Arc<Api>, stream: UnixStream) {
    let Some(seat) = api.connections.admit() else { return };
    let user = stream.peer_cred().ok().map(|peer| format!("uid:{}", peer.uid()));
    let caller = Caller { user, ..Caller::anybody("unix") };
    let mut stream = Patient::new(stream, api.limits.unread);
    let talk = async {
        let Some(request) = receive(&api, &mut stream).await? else { return Ok(()) };
        let _at_work = seat.connection().at_work();
        let reply = match request {
            Ok(bytes) => answer(&api, bytes, &caller).await,
            Err(reply) => reply,
        };
        stream.write_all(reply.to_json().as_bytes()).await?;
        stream.shutdown().await?;
        // A socket closed with bytes unread would give its client an error behind the reply.
        let mut rest = [0; 4096];
        let linger = async {
            for _ in 0..64 {
                if stream.read(&mut rest).await? == 0 {
                    break;
                }
            }
            Ok(())
        };
        timeout(Duration::from_secs(1), linger).await.unwrap_or(Ok(()))
    };
    let ended: io::Result<()> = tokio::select! {
        ended = talk => ended,
        () = seat.evicted() => return,
    };
    if let Err(error) = ended {
        debug!(%error, "control connection ended");
    }
}

/// The request with its comments blanked; a refusal; or nothing, when the client went away.
async fn receive(
    api: &Api,
    stream: &mut Patient<UnixStream>,
) -> io::Result<Option<Result<Vec<u8>, Reply>>> {
    let mut scanner = Scanner::new(api.limits.json, Comments::Blanked);
    let mut bytes = Vec::new();
    loop {
        // Kea's time limit is for silence, not for the whole request.
        let read = timeout(api.limits.body_time, stream.read_buf(&mut bytes)).await;
        match read {
            Err(_) => {
                let count = bytes.len();
                return Ok(Some(Err(Reply::failure(
                    Code::Error,
                    format!(
                        "Connection over control channel timed out, discarded partial command of {count} bytes"
                    ),
                ))));
            }
            Ok(Ok(0)) if bytes.is_empty() => return Ok(None),
            // The parser will say what is missing.
            Ok(Ok(0)) => return Ok(Some(Ok(bytes))),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
        }
        match scanner.advance(&mut bytes) {
            Ok(Some(end)) => {
                bytes.truncate(end);
                return Ok(Some(Ok(bytes)));
            }
            Ok(None) if bytes.len() > api.limits.body => {
                let limit = api.limits.body;
                return Ok(Some(Err(Reply::failure(
                    Code::Error,
                    format!("the command is larger than {limit} bytes"),
                ))));
            }
            Ok(None) => {}
            Err(error) => {
                return Ok(Some(Err(Reply::failure(Code::Error, format!("error: {error}")))));
            }
        }
    }
}

async fn answer(api: &Api, bytes: Vec<u8>, caller: &Caller) -> Reply {
    let document = api.dispatcher.beside(move || serde_json::from_slice(&bytes)).await;
    let document = match document {
        Some(Ok(document)) => document,
        Some(Err(error)) => return Reply::failure(Code::Error, syntax(&error)),
        None => return Reply::failure(Code::Error, "internal error, see the log of the node"),
    };
    match envelope::open(document, Transport::Unix) {
        Ok(request) => {
            let replies = api.dispatcher.answer(&request, caller).await;
            replies.into_iter().next().unwrap_or_else(|| Reply::failure(Code::Error, "no answer"))
        }
        Err(reply) => reply,
    }
}

/// serde_json's message with Kea's position: lines count from 0 on the wire.
fn syntax(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    format!("error: {what} in <wire>:{}:{}", error.line().saturating_sub(1), error.column())
}
