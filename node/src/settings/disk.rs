//! `[disk]`: the disk of the data directory.

use serde::Deserialize;

/// `[disk]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Disk {
    /// Bytes that are to stay free for the log. With less, the node writes no lease history, no checkpoint
    /// and hardly a snapshot any more, and has another node lead. Default: a twentieth of the file system,
    /// at most 256 MiB.
    pub reserve_bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::super::Settings;

    #[test]
    fn the_reserve_can_be_set() {
        let parse = |text: &str| Settings::parse(text, "node.toml", "host");
        let settings = parse("data-dir = \"/d\"\n[disk]\nreserve-bytes = 1000000").unwrap();
        assert_eq!(settings.disk.reserve_bytes, Some(1_000_000));
        assert_eq!(parse("data-dir = \"/d\"").unwrap().disk.reserve_bytes, None);
        assert!(parse("data-dir = \"/d\"\n[disk]\nreserve = 1").is_err());
    }
}
