//! openraft's own conformance suite, on both logs.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::super::machine::{Machine, Shared};
use super::super::*;
use super::disk_log;
use crate::clock::ManualClock;
use crate::state::State;
use crate::storage::memory::MemoryLog;
use crate::storage::{LogSettings, Snapshots};

fn machine(dir: &std::path::Path) -> Machine {
    let (progress, _) = watch::channel(Progress::default());
    let (membership, _) = watch::channel(Arc::new(StoredMembership::default()));
    Machine::new(Arc::new(Shared {
        node: 1,
        state: Arc::new(RwLock::new(State::new())),
        base: Mutex::default(),
        snapshots: Snapshots::open(&dir.join("snapshots")).unwrap(),
        progress,
        membership,
        lease_clock: Mutex::new(LeaseClock::new(ClusterTime::ZERO, 0)),
        clock: Arc::new(ManualClock::default()),
        readings: Arc::default(),
        hashes: Default::default(),
        hash_every: hashes::EVERY,
        history: None,
        events: Mutex::default(),
    }))
}

struct OnDisk;

impl StoreBuilder<TypeConfig, LogStore, Machine, tempfile::TempDir> for OnDisk {
    async fn build(
        &self,
    ) -> Result<(tempfile::TempDir, LogStore, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let log = disk_log(dir.path(), LogSettings::default()).unwrap();
        let machine = machine(dir.path());
        Ok((dir, LogStore::new(log), machine))
    }
}

struct InMemory;

impl StoreBuilder<TypeConfig, LogStore, Machine, tempfile::TempDir> for InMemory {
    async fn build(
        &self,
    ) -> Result<(tempfile::TempDir, LogStore, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let machine = machine(dir.path());
        Ok((dir, LogStore::new(Arc::new(MemoryLog::default())), machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_on_disk_passes_openrafts_suite() {
    Suite::test_all(OnDisk).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_in_memory_passes_openrafts_suite() {
    Suite::test_all(InMemory).await.unwrap();
}
