//! The configuration file: the seed of a new cluster, or the master of a cluster of one (R26).

use std::time::Duration;

use super::{ConfigFile, RunError};
use crate::propose::Answer;
use crate::serve::duties::Duties;
use crate::settings::{Settings, read_kea_file};
use crate::state::{Command, ConfigVersion, Outcome, SetConfig};

/// How long one attempt may take, and how long the next waits.
const ATTEMPT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(200);

/// A document that has passed every check, as the log carries it.
pub(super) type Seed = Option<String>;

/// Reads and checks the file that the settings name. A file that only seeds may be gone.
pub(super) fn read(settings: &Settings, file: ConfigFile) -> Result<Seed, RunError> {
    let Some(path) = &settings.cluster.config else { return Ok(None) };
    if file == ConfigFile::Seeds && !path.exists() {
        tracing::warn!(file = %path.display(), "[cluster].config is not there; it is needed for a new cluster only");
        return Ok(None);
    }
    match read_kea_file(path) {
        Ok(parsed) => {
            for warning in &parsed.warnings {
                tracing::warn!("{warning}");
            }
            let text = parsed.config.document().to_string();
            if text.len() > SetConfig::MAX_TEXT {
                return Err(RunError::Settings(format!(
                    "{}: the configuration has {} bytes; this version replicates at most {}",
                    path.display(),
                    text.len(),
                    SetConfig::MAX_TEXT
                )));
            }
            Ok(Some(text))
        }
        Err(mistakes) if file == ConfigFile::Wins => {
            Err(RunError::Settings(format!("Failed to apply configuration: {mistakes}")))
        }
        Err(mistakes) => Err(RunError::Settings(mistakes.to_string())),
    }
}

/// Has the cluster accept the document: as its first one, or, if the file wins, in place of another.
/// Returns once a configuration is in force.
pub(super) async fn plant(seed: &Seed, file: ConfigFile, parts: &Duties) -> Result<(), RunError> {
    loop {
        let (version, text) = {
            let state = parts.state.read();
            let meta = state.view().meta();
            (meta.config_version(), meta.config_text().to_string())
        };
        let Some(wanted) = seed else {
            if version == ConfigVersion(0) {
                tracing::warn!(
                    "no [cluster].config to begin with: give the cluster one with cluster-ctl config set"
                );
            }
            return Ok(());
        };
        let expected = match file {
            _ if text == *wanted => return Ok(()),
            ConfigFile::Seeds if version > ConfigVersion(0) => return Ok(()),
            ConfigFile::Seeds => Some(ConfigVersion(0)),
            ConfigFile::Wins => None,
        };
        // A node that has not caught up sees no configuration yet where there is one: `expected`
        // keeps it from planting a second.
        let command = Command::SetConfig(SetConfig { expected, text: wanted.clone() });
        match parts.proposer.submit(command, ATTEMPT).await {
            Answer::Committed(committed) => match committed.outcome {
                Outcome::ConfigSet(version) => {
                    tracing::info!(version = version.0, "the configuration file is in force");
                    return Ok(());
                }
                Outcome::ConfigConflict(_) => return Ok(()),
                Outcome::ConfigRefused(text) => {
                    return Err(RunError::Settings(format!(
                        "Failed to apply configuration: {text}"
                    )));
                }
                _ => {}
            },
            // No leader yet, or its answer was lost: the next look shows what happened.
            Answer::Unsent(_) | Answer::Unknown => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}
