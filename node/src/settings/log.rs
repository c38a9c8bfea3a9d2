//! `[log]`: what a node writes to its log, and the log of leases.

use std::path::PathBuf;

use serde::Deserialize;

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Log {
    /// How lines look.
    pub format: Format,
    /// The least level that is written. `LEASEHOLD_LOG` in the environment goes before it.
    pub level: Level,
    /// A file that gets a JSON object a line for each event of a lease. It is opened anew on SIGHUP.
    pub leases: Option<PathBuf>,
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// An object a line.
    Json,
}

/// Levels, ascending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Something is broken.
    Error,
    /// Something may become so.
    Warn,
    /// What happens.
    #[default]
    Info,
    /// How it happens.
    Debug,
    /// Each step.
    Trace,
}

impl Level {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

impl Log {
    /// What contradicts itself, with the remedy.
    pub(super) fn contradiction(&self) -> Option<String> {
        let leases = self.leases.as_ref()?;
        (!leases.is_absolute()).then(|| {
            format!(
                "[log].leases = {:?}: name the file with its whole path",
                leases.display().to_string()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn parse(text: &str) -> Result<Log, String> {
        let text = format!("data-dir = \"/var/lib/leasehold\"\n[log]\n{text}\n");
        let settings = Settings::parse(&text, "node.toml", "host");
        settings.map(|settings| settings.log).map_err(|error| error.to_string())
    }

    #[test]
    fn words_are_those_of_the_documentation() {
        let all = parse("format = \"json\"\nlevel = \"debug\"\nleases = \"/var/log/leases.json\"");
        let leases = Some("/var/log/leases.json".into());
        assert_eq!(all, Ok(Log { format: Format::Json, level: Level::Debug, leases }));
        assert_eq!(parse(""), Ok(Log::default()));
        for (text, told) in [
            ("format = \"xml\"", "`text` or `json`"),
            ("level = \"loud\"", "unknown variant `loud`"),
            ("leases = \"leases.json\"", "with its whole path"),
            ("file = \"x\"", "unknown field `file`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
