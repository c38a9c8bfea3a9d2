//! The configuration file: the seed of a new cluster, or the master of a cluster of one (R26).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{ConfigFile, RunError};
use crate::config::{self, Config, Mistakes, Parsed};
use crate::propose::Answer;
use crate::serve::duties::Duties;
use crate::serve::levels::Levels;
use crate::settings::Settings;
use crate::state::document::{self, Document, Form, Sha256};
use crate::state::{ConfigVersion, ConfigWhy, NewConfig, Note, Outcome, SetConfig, WallOffset};

/// How long one attempt may take, beside a second for each MiB, and how long the next waits.
const ATTEMPT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(200);

/// How many pauses a new cluster may take to learn the time of day, so that its first configuration
/// has one, and to raise its feature level while it is empty; it is not worth more.
const PATIENCE: u32 = 25;

/// A document that has passed every check; `None` if the settings name none.
pub(super) type Seed = Option<Sown>;

/// The document of a file.
#[derive(Debug)]
pub(super) struct Sown {
    new: NewConfig,
    /// What it says, until the cluster has it: a large one must not stay in memory twice.
    config: Mutex<Option<Arc<Config>>>,
}

/// Reads and checks the file that the settings name. A file that only seeds may be gone.
pub(super) fn read(settings: &Settings, file: ConfigFile) -> Result<Seed, RunError> {
    let Some(path) = &settings.cluster.config else { return Ok(None) };
    if file == ConfigFile::Seeds && !path.exists() {
        tracing::warn!(file = %path.display(), "[cluster].config is not there; it is needed for a new cluster only");
        return Ok(None);
    }
    match read_source(path) {
        Ok((text, parsed)) => {
            for warning in &parsed.warnings {
                tracing::warn!("{warning}");
            }
            if text.len() as u64 > Document::MAX_TEXT {
                return Err(RunError::Settings(format!(
                    "{}: the configuration has {} bytes with its includes, of at most {}",
                    path.display(),
                    text.len(),
                    Document::MAX_TEXT
                )));
            }
            let (why, expected) = match file {
                ConfigFile::Wins => (ConfigWhy::Reload, None),
                ConfigFile::Seeds => (ConfigWhy::Seed, Some(ConfigVersion(0))),
            };
            let note = Note {
                author: author(path, &settings.name),
                comment: String::new(),
                why,
                config_hash: Sha256::from_hex(parsed.config.hash()).unwrap_or_default(),
            };
            let text = document::pack(Form::Kea, &text);
            // The level is filled in when the machine is known.
            let new = NewConfig { expected, text, level: 0, note };
            Ok(Some(Sown { new, config: Mutex::new(Some(Arc::new(parsed.config))) }))
        }
        Err(mistakes) if file == ConfigFile::Wins => {
            Err(RunError::Settings(format!("Failed to apply configuration: {mistakes}")))
        }
        Err(mistakes) => Err(RunError::Settings(mistakes.to_string())),
    }
}

/// Who the author of a file's configuration is; a long path loses its beginning.
fn author(path: &Path, node: &str) -> String {
    let whole = format!("{} on {node}", path.display());
    let mut from = whole.len().saturating_sub(SetConfig::MAX_AUTHOR);
    while !whole.is_char_boundary(from) {
        from += 1;
    }
    whole[from..].to_owned()
}

/// A Kea file as one text, and what that text says: every node reads the one text, so this one does
/// too. Mistakes are told with the places in the files that it includes.
fn read_source(path: &Path) -> Result<(String, Parsed), Mistakes> {
    let name = path.display().to_string();
    let unreadable = |error: String| Mistakes::unreadable(&name, &error);
    let text = crate::settings::read_text(&name)?;
    let mut included: HashMap<String, String> = HashMap::new();
    let parsed = config::parse(&text, &name, &mut |path| {
        let text = crate::settings::read_text(path).map_err(|why| why.to_string())?;
        included.insert(path.to_owned(), text.clone());
        Ok(text)
    })?;
    config::secrets::all_there(&parsed.config, &name)?;
    if included.is_empty() {
        return Ok((text, parsed));
    }
    let mut known = |path: &str| included.get(path).cloned().ok_or_else(|| path.to_owned());
    let pasted = config::paste(&text, &mut known).map_err(unreadable)?;
    let as_one = document::parse(Form::Kea, &pasted)?;
    Ok((pasted, Parsed { config: as_one.config, warnings: parsed.warnings }))
}

/// Has the cluster accept the document: as its first one, or, if the file wins, in place of another.
/// Returns once a configuration is in force.
pub(super) async fn plant(seed: &Seed, file: ConfigFile, parts: &Duties) -> Result<(), RunError> {
    let mut pauses = 0;
    loop {
        let members = parts.raft.status().members;
        let (version, hash, level, is_begun) = {
            let state = parts.state.read();
            let meta = state.view().meta();
            let hash = meta.current().and_then(|version| Some(version.text()?.document.hash));
            let has_time = meta.wall_offset() != WallOffset::default();
            let levels = Levels::of(members.iter().map(|member| member.node), state.view());
            (meta.config_version(), hash, meta.feature_level(), has_time && levels.are_settled())
        };
        let Some(Sown { new, config }) = seed else {
            if version == ConfigVersion(0) {
                tracing::warn!(
                    "no [cluster].config to begin with: give the cluster one with cluster-ctl config set"
                );
            }
            return Ok(());
        };
        match file {
            _ if hash == Some(new.text.document.hash) => return Ok(()),
            // A node that has not caught up sees no configuration yet where there is one: `expected`
            // keeps it from planting a second.
            ConfigFile::Seeds if version > ConfigVersion(0) => return Ok(()),
            ConfigFile::Seeds | ConfigFile::Wins => {}
        }
        if !is_begun && pauses < PATIENCE {
            pauses += 1;
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let mut new = NewConfig { level, ..new.clone() };
        if version == ConfigVersion(0) {
            new.note.why = ConfigWhy::Seed;
        }
        let within = ATTEMPT + Duration::from_secs(new.text.document.size >> 20);
        if let Some(config) = config.lock().take() {
            parts.raft.has_read(new.text.document, config);
        }
        let id = getrandom::u64()
            .map_err(|error| RunError::Fault(format!("drawing a number: {error}")))?;
        match parts.proposer.submit_config(new, id, within).await {
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
