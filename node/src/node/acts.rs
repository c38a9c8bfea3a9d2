//! What the control API may have this node do ([`Effect`]).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::backend::NodeBackend;
use super::signals::Request;
use super::{ConfigFile, measure, written};
use crate::api::commands::lease4::WriteLeases;
use crate::api::{Acted, Effect, FileToWrite, Interface, NameChange};
use crate::net;
use crate::propose::Answer;
use crate::raft;
use crate::serve::Happening;
use crate::serve::after::What;
use crate::state::{Command, ConfigVersion, Liveness};
use crate::types::NodeId;

/// How long a node that is told to stop goes on before it begins: its answer is on the way.
const LAST_WORD: Duration = Duration::from_millis(100);

impl NodeBackend {
    /// Does it, or says why not. `within` bounds every wait.
    pub(super) async fn carry_out(
        &self,
        effect: Effect,
        within: Duration,
    ) -> Result<Acted, String> {
        match effect {
            Effect::TransferLeader(to) => self.transfer_leader(to, within).await,
            Effect::Disable(origin, period) => {
                tracing::warn!(origin = origin.number(), ?period, "the DHCP service is disabled");
                match self.service.disable(origin, period) {
                    true => Ok(Acted::Done),
                    false => Err("too many origins have disabled the service already".into()),
                }
            }
            Effect::Enable(origin) => {
                tracing::info!(origin = origin.number(), "the DHCP service is enabled");
                self.service.enable(origin);
                Ok(Acted::Done)
            }
            Effect::Reclaim { remove } => {
                let swept = self.parts.reclaim_all(remove, crate::api::dispatch::PATIENCE, within);
                swept.await.map(Acted::Reclaimed).map_err(|(count, cause)| {
                    format!("{cause}; {count} lease(s) were reclaimed before")
                })
            }
            Effect::ChangeMembers(change) => self.change_members(change, within).await,
            Effect::CompareStates => {
                match timeout(within, self.parts.raft.compare_states()).await {
                    Ok(comparison) => Ok(Acted::Compared(comparison)),
                    Err(_) => Err("it took too long".into()),
                }
            }
            Effect::ListCircuits => {
                let counters = Arc::clone(self.serve.lock().counters());
                let listing = counters.circuits.lock().listing();
                Ok(Acted::Circuits(listing))
            }
            Effect::CreateToken(new) => self.create_token(new, within).await,
            Effect::Maintain(node, begins) => {
                self.maintain(node, begins, within).await.map(|_| Acted::Done)
            }
            Effect::Drain { node, stop } => {
                let index = self.maintain(node, true, within).await?;
                if stop {
                    self.drain.have_stop(node, index).await.map_err(|why| {
                        format!("it is drained, but it was not told to stop: {why}")
                    })?;
                }
                Ok(Acted::Done)
            }
            Effect::WriteFile(file) => self.write_file(file).await,
            Effect::NameChange(change) => self.name_change(change),
            Effect::WriteLeases(leases) => self.write_leases(*leases).await,
            Effect::Reload => self.reload(within).await,
            Effect::Compact => match timeout(within, self.parts.raft.snapshot()).await {
                Ok(Ok(())) => Ok(Acted::Done),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("it took too long".into()),
            },
            Effect::DetectInterfaces => match timeout(within, net::enumerate()).await {
                Ok(Ok(found)) => Ok(Acted::Interfaces(self.interfaces(&found))),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("it took too long".into()),
            },
            Effect::MeasureLog { rate } => {
                let Ok(_alone) = self.measuring.try_lock() else {
                    return Err("somebody else is measuring the log through this node".into());
                };
                let me = self.parts.raft.id();
                Ok(Acted::Measured(measure::measure(&self.parts.proposer, me, rate).await))
            }
            Effect::Acknowledge(id, about) => {
                Ok(Acted::Acknowledged(self.alarms.acknowledge(id, about.as_deref())))
            }
            Effect::Stop(status) => {
                let requests = self.requests.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(LAST_WORD).await;
                    let _ = requests.send(Request::Stop(status)).await;
                });
                Ok(Acted::Done)
            }
        }
    }

    async fn transfer_leader(&self, to: Option<NodeId>, within: Duration) -> Result<Acted, String> {
        if !self.parts.has_majority(&self.parts.raft.status()) {
            return Err(raft::NoLeader.to_string());
        }
        match timeout(within, self.parts.raft.transfer_leader(to)).await {
            Ok(Ok(leader)) => Ok(Acted::Leads(leader)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the other node did not take over in time".into()),
        }
    }

    /// `apply` decides whether the node can be spared; the table shows what it decided. The entry.
    async fn maintain(&self, node: NodeId, begins: bool, within: Duration) -> Result<u64, String> {
        let wanted = if begins { Liveness::Maintenance } else { Liveness::Up };
        let command = Command::NodeLiveness(node, wanted);
        let index = match self.parts.proposer.submit(command, within).await {
            Answer::Committed(committed) => {
                let applied = self.parts.raft.applied_at_least(committed.index);
                if timeout(within, applied).await.is_err() {
                    return Err(
                        "the command is committed, but this node has not applied it in time; \
                                look at cluster-status"
                            .into(),
                    );
                }
                committed.index
            }
            Answer::Unsent(why) => return Err(why.to_string()),
            Answer::Unknown => {
                return Err(
                    "the leader was lost while the command was on its way, it may or may not \
                            have taken effect; look at cluster-status"
                        .into(),
                );
            }
        };
        let state = self.parts.state.read();
        let liveness = state.view().meta().node(node).map(|entry| entry.liveness);
        match (begins, liveness == Some(Liveness::Maintenance)) {
            (true, false) => Err("too few servers would be left to answer clients".into()),
            (false, true) => Err("it is in maintenance again".into()),
            _ => Ok(index),
        }
    }

    async fn write_file(&self, file: FileToWrite) -> Result<Acted, String> {
        let path = self.places.path(file.name.as_deref(), "config")?;
        let (shown, size) = (path.display().to_string(), file.text.len() as u64);
        let writing =
            tokio::task::spawn_blocking(move || written::put(&path, file.text.as_bytes()));
        writing.await.map_err(|error| error.to_string())??;
        tracing::info!(file = shown, size, "a file was written");
        Ok(Acted::Written { file: shown, size })
    }

    async fn write_leases(&self, leases: WriteLeases) -> Result<Acted, String> {
        let path = self.places.lease_file(&leases.name)?;
        let shown = path.display().to_string();
        let writing = tokio::task::spawn_blocking(move || {
            written::put_with(&path, "lease4-write", |out| leases.print(out))
        });
        let size = writing.await.map_err(|error| error.to_string())??;
        tracing::info!(file = shown, size, "the leases were written to a file");
        Ok(Acted::Written { file: shown, size })
    }

    fn name_change(&self, change: NameChange) -> Result<Acted, String> {
        let config = self.parts.state.read().view().config().cloned();
        let Some(config) = config.filter(|config| config.ddns.enabled) else {
            return Ok(Acted::Done);
        };
        let NameChange { lease, add } = change;
        let what = if add { What::Named(lease) } else { What::Deleted(lease) };
        if self.parts.after.tell(Happening { what, config }) {
            return Ok(Acted::Done);
        }
        Err("the name change request is not sent: too many wait on this node; try again".into())
    }

    /// As SIGHUP, with an answer when the configuration is active here.
    async fn reload(&self, within: Duration) -> Result<Acted, String> {
        if self.file == ConfigFile::Seeds {
            return Err("this node has settings of its own, and the configuration belongs to the cluster: no file \
                        is the master of it. Change it with config-set, or with cluster-ctl config set FILE"
                .into());
        }
        let (reply, answer) = oneshot::channel();
        let asked = self.requests.try_send(Request::Reload(Some(reply)));
        asked.map_err(|_| "a reload or the end of the node is under way".to_owned())?;
        match timeout(within, answer).await {
            Ok(Ok(result)) => result?,
            Ok(Err(_)) => return Err("the node is stopping".into()),
            Err(_) => return Err("it took too long; it may still come about".into()),
        }
        let config = self.parts.state.read().view().config().cloned();
        let version = self.parts.state.read().view().config_version();
        self.is_active(version, within).await?;
        // The first time it is asked for it is computed.
        let hash = tokio::task::spawn_blocking(move || config.map(|it| it.hash().to_owned()));
        Ok(Acted::Reloaded(hash.await.ok().flatten().unwrap_or_default()))
    }

    /// Returns once this configuration, or a later one, is active here.
    pub(super) async fn is_active(
        &self,
        version: ConfigVersion,
        within: Duration,
    ) -> Result<(), String> {
        let mut active = self.active.clone();
        let reached = active.wait_for(|active| active.version >= version);
        match timeout(within, reached).await {
            Ok(Ok(active)) if active.problems.is_empty() => Ok(()),
            Ok(Ok(active)) => Err(active.problems.join("; ")),
            _ => Err(format!("configuration {} is not active on this node yet", version.0)),
        }
    }

    /// What the machine has, and which of it is listened on.
    pub(super) fn interfaces(&self, found: &[net::InterfaceState]) -> Arc<[Interface]> {
        let own = self.active.borrow().addresses.clone();
        let one = |state: &net::InterfaceState| Interface {
            in_use: state.addresses.iter().any(|one| own.contains(&one.address)),
            state: state.clone(),
        };
        found.iter().map(one).collect()
    }
}
