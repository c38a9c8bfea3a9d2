//! What this process may do: no more than it will need, from before its first thread on.
//!
//! | Kept | Why |
//! |---|---|
//! | `CAP_NET_RAW` | interfaces come and go: each new one gets an `AF_PACKET` socket, and pings are ICMP |
//! | `CAP_NET_BIND_SERVICE` | and a UDP socket on port 67 |
//! | `CAP_NET_ADMIN`, while `net.core.rmem_max` is small | for a receive queue that holds a burst (`SO_RCVBUFFORCE`) |
//! | `CAP_DAC_OVERRIDE`, for root where files are another user's | Kea's belong to `_kea`, and root reads them |
//!
//! Of these it keeps what it was given: without root nothing is missing that was there before, and nothing is
//! refused here. Nothing that it starts gets more (`no_new_privs`). Files are made for their owner alone; the
//! unix socket gets its mode when it is bound.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::Mode;
use rustix::process::{geteuid, umask};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

use super::ConfigFile;
use crate::net;
use crate::settings::Settings;

/// Gives up what is not needed. Of threads only the caller and those it starts later are concerned.
pub(super) fn confine(settings: &Settings, file: ConfigFile) {
    umask(Mode::from_raw_mode(0o077));
    if let Err(error) = set_no_new_privs(true) {
        tracing::warn!(%error, "what this process starts may get more privileges than it has");
    }
    let foreign = file == ConfigFile::Wins || settings.files().iter().any(|path| is_foreign(path));
    let given = match capabilities(None) {
        Ok(sets) => sets.permitted,
        Err(error) => {
            tracing::warn!(%error, "the capabilities of this process cannot be read, and stay as they are");
            return;
        }
    };
    let kept = given & needed(foreign, rmem_max().is_none_or(|max| max < net::RECEIVE_QUEUE));
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    match set_capabilities(None, sets) {
        Ok(()) => tracing::debug!(kept = kept.bits(), "capabilities are dropped"),
        Err(error) => tracing::warn!(%error, "capabilities that are not needed cannot be dropped"),
    }
}

fn needed(foreign: bool, small_queues: bool) -> CapabilitySet {
    let mut needed = CapabilitySet::NET_RAW | CapabilitySet::NET_BIND_SERVICE;
    needed.set(CapabilitySet::NET_ADMIN, small_queues);
    needed.set(CapabilitySet::DAC_OVERRIDE, foreign);
    needed
}

/// Whether the file or directory, or what of its path exists, belongs to somebody else.
fn is_foreign(path: &Path) -> bool {
    let owner = path.ancestors().find_map(|path| std::fs::metadata(path).ok());
    owner.is_some_and(|owner| owner.uid() != geteuid().as_raw())
}

/// The longest receive queue that the system gives to everybody, bytes.
fn rmem_max() -> Option<usize> {
    std::fs::read_to_string("/proc/sys/net/core/rmem_max").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_is_needed_later() {
        let least = CapabilitySet::NET_RAW | CapabilitySet::NET_BIND_SERVICE;
        assert_eq!(needed(false, false), least);
        assert_eq!(needed(false, true), least | CapabilitySet::NET_ADMIN);
        assert_eq!(needed(true, false), least | CapabilitySet::DAC_OVERRIDE);
    }

    #[test]
    fn a_directory_that_is_not_there_yet_belongs_to_whoever_has_the_one_above() {
        let own = tempfile::tempdir().unwrap();
        assert!(!is_foreign(&own.path().join("a/b")));
        if geteuid().as_raw() != 0 {
            assert!(is_foreign(Path::new("/nowhere/a")));
        }
    }
}
