//! The configuration and the files of this node: `config-write`, `config-reload`, and what Kea has for
//! configuration databases (kea-api §2.1, §3.6).
//!
//! What is written is meant to be read again, so it has the real secrets, and only the user that the
//! node runs as may read it. Where files may lie is the node's to say ([`Effect::WriteFile`]).

use serde_json::json;

use crate::api::backend::{Acted, Effect, FileToWrite};
use crate::api::spec::Origin::Daemon;
use crate::api::spec::{ApiContext, Args, Code, Kind, Plan, Refusal, Reply, Spec, optional};

/// `config-write`.
pub const WRITE: Spec = Spec::writes("config-write", Daemon, write)
    .about(
        "Writes the configuration in force, secrets included, to a file of this node: into its directory for \
         such files, or, when run with -c, beside the configuration file.",
    )
    .takes(&[optional(
        "filename",
        Kind::Text,
        "The file; without it the configuration file the node was started with, or `kea-dhcp4.conf`.",
    )]);

/// `config-reload`.
pub const RELOAD: Spec = Spec::writes("config-reload", Daemon, reload).about(
    "Reads the configuration file again, where the file is the master of the configuration (-c FILE), and \
     answers when it is active.",
);

/// `config-backend-pull`: there is no configuration database, the cluster is it.
pub const BACKEND_PULL: Spec = Spec::writes("config-backend-pull", Daemon, backend_pull)
    .about("Answers that there is no configuration database.")
    .local();

fn write(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    if !args.is_absent() && args.map().is_none() {
        return Err(Refusal::error("Argument must be a map"));
    }
    let name = match args.get("filename") {
        None => None,
        Some(name) => Some(
            name.as_str()
                .ok_or_else(|| Refusal::error("passed parameter 'filename' is not a string"))?
                .to_owned(),
        ),
    };
    let config = super::config::running(cx)?;
    Ok(Plan::later(move || {
        // A server starts from it: it needs the passwords too.
        let document = json!({ "Dhcp4": config.to_json_with_secrets() });
        let text = serde_json::to_string_pretty(&document).map_err(|error| {
            Refusal::error(format!("the configuration cannot be printed: {error}"))
        })?;
        let file = FileToWrite { name, text: (text + "\n").into() };
        Ok(Plan::effect(Effect::WriteFile(file), |acted| match acted {
            Ok(Acted::Written { file, size }) => {
                Reply::success(format!("Configuration written to {file} successful"))
                    .with(&json!({ "filename": file, "size": size }))
            }
            Ok(other) => Reply::failure(Code::Error, format!("unexpected result: {other:?}")),
            Err(cause) => Reply::failure(Code::Error, cause),
        }))
    }))
}

fn reload(_: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    Ok(Plan::effect(Effect::Reload, |acted| match acted {
        Ok(Acted::Reloaded(hash)) => {
            Reply::success("Configuration successful.").with(&json!({ "hash": hash }))
        }
        Ok(other) => Reply::failure(Code::Error, format!("unexpected result: {other:?}")),
        Err(cause) => Reply::failure(Code::Error, format!("Config reload failed: {cause}")),
    }))
}

fn backend_pull(_: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    Ok(Plan::Answer(Reply::failure(Code::Empty, "No config backend.")))
}
