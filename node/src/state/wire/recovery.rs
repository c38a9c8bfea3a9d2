//! What a machine remembers of the copy that it was made from.

use leasehold_proto::command as pb;

use super::BadWire;
use crate::state::recovery::{Recovery, Source};
use crate::types::{ClusterTime, Lifetime};

pub(in crate::state) fn recovery_to_pb(recovery: &Recovery) -> pb::HeadRecovery {
    pb::HeadRecovery {
        source: match recovery.source {
            Source::Backup => pb::head_recovery::Source::Backup,
            Source::Survivor => pb::head_recovery::Source::Survivor,
        }
        .into(),
        cluster: recovery.cluster,
        index: recovery.index,
        wall: recovery.wall,
        since: recovery.since.as_millis(),
        longest: recovery.longest.as_secs(),
        until: recovery.until.as_millis(),
    }
}

pub(in crate::state) fn recovery_from_pb(head: pb::HeadRecovery) -> Result<Recovery, BadWire> {
    use pb::head_recovery::Source as Wire;
    let source = match Wire::try_from(head.source) {
        Ok(Wire::Backup) => Source::Backup,
        Ok(Wire::Survivor) => Source::Survivor,
        Ok(Wire::Unspecified) | Err(_) => return Err(BadWire::Field("source of a recovery")),
    };
    Ok(Recovery {
        source,
        cluster: head.cluster,
        index: head.index,
        wall: head.wall,
        since: ClusterTime::from_millis(head.since),
        longest: Lifetime::from_secs(head.longest),
        until: ClusterTime::from_millis(head.until),
    })
}
