//! `cluster-ctl node drain` and `undrain`.

use serde_json::json;

use super::leader::done;
use crate::Output;
use crate::client::{Client, Failure};

/// `node drain`.
#[derive(Debug, clap::Args)]
pub struct Drain {
    /// Id or name of the node
    node: String,
    /// Have its process end, with status 0, after the 10 s for which it answers those who chose it
    #[arg(long)]
    stop: bool,
}

/// `node undrain`.
#[derive(Debug, clap::Args)]
pub struct Undrain {
    /// Id or name of the node
    node: String,
}

/// Drains a node.
pub fn drain(client: &Client, wish: Drain, output: Output) -> Result<(), Failure> {
    let arguments = json!({ "node": wish.node, "stop": wish.stop });
    done(&client.ask("cluster-node-drain", arguments)?.success()?, output);
    Ok(())
}

/// Ends that.
pub fn undrain(client: &Client, wish: Undrain, output: Output) -> Result<(), Failure> {
    done(&client.ask("cluster-node-undrain", json!({ "node": wish.node }))?.success()?, output);
    Ok(())
}
