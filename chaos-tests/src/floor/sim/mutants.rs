//! Faults of the server, planted in the harness: a run that does not notice them proves nothing. Here is what each is and where it can be
//! planted; [`rewrite`] is what several of them do to entries.
//!
//! Two are planted by the configuration of the run ([`super::place::configuration`]): how long an address is kept from others is written
//! into its lease when that is granted or declined, so no later entry could be changed to the same effect. A machine that is told of no
//! grace, or of no probation, does what one without those lines would.

use clap::ValueEnum;
use leasehold::state::{Batch, Command, DeleteLease, State};

use super::Mutant;

/// A world in which a mutant can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// `ideal` only.
    Ideal,
    /// `raft` only.
    Raft,
    /// Both.
    Both,
}

impl Mutant {
    /// All of them.
    pub fn all() -> &'static [Mutant] {
        Mutant::value_variants()
    }

    /// Whether it is planted by changing entries.
    pub fn rewrites(self) -> bool {
        matches!(
            self,
            Mutant::ApplyWithoutR2c | Mutant::ReleaseWithoutR5 | Mutant::SetWithoutExpected
        )
    }

    /// Where it can be planted.
    pub fn place(self) -> Where {
        match self {
            Mutant::AckBeforeSync
            | Mutant::VoteNotSynced
            | Mutant::PreVoteAlways
            | Mutant::TailNotTruncated => Where::Raft,
            Mutant::ApplyWithoutR2c => Where::Both,
            _ => Where::Ideal,
        }
    }
}

/// The batch as a machine without one of the checks would take it. `before` is the machine that will apply it at `index`.
pub fn rewrite(mutant: Mutant, before: &State, index: u64, batch: Batch) -> Batch {
    match mutant {
        Mutant::ApplyWithoutR2c => without_held(before, index, batch),
        Mutant::ReleaseWithoutR5 => without_generation(before, index, batch),
        Mutant::SetWithoutExpected => each(before, index, batch, |_, command| {
            if let Command::SetConfig(set) = command {
                set.expected = None;
            }
        }),
        _ => batch,
    }
}

/// Each Grant's `held` is what the machine has at that command, so that R2 (c) always passes.
fn without_held(before: &State, index: u64, batch: Batch) -> Batch {
    each(before, index, batch, |machine, command| {
        let Command::Grant(grant) = command else { return };
        let view = machine.view();
        for item in &mut grant.items {
            if let Some(subnet) = view.config().and_then(|config| config.subnet(item.subnet)) {
                let lease = view.lease_of(&grant.client, subnet.network);
                item.held = lease.map(|lease| (lease.address, lease.generation));
            }
        }
    })
}

/// Each Release and Decline means whatever lease the client has at that address when it comes.
fn without_generation(before: &State, index: u64, batch: Batch) -> Batch {
    each(before, index, batch, |machine, command| {
        if let Command::Release(up) | Command::Decline(up) = command
            && let Some(lease) = machine.view().lease(up.address)
        {
            up.generation = Some(lease.generation);
            up.arrived = machine.now();
        }
    })
}

fn each(
    before: &State,
    index: u64,
    batch: Batch,
    mut change: impl FnMut(&State, &mut Command),
) -> Batch {
    let (stamp, mut done) = (batch.stamp, Vec::new());
    for mut command in batch.commands {
        let mut machine = before.clone();
        machine.apply(index, &Batch { stamp, commands: done.clone() });
        change(&machine, &mut command);
        done.push(command);
    }
    Batch { stamp, commands: done }
}

/// The machine as a snapshot would bring it that misses the last lease.
pub fn without_a_lease(mut state: State) -> State {
    let last = state.freeze().leases().last().map(|lease| lease.address);
    if let Some(address) = last {
        let delete = Command::DeleteLease(DeleteLease { address, seen: None });
        let batch = Batch { stamp: state.now(), commands: vec![delete] };
        state.apply(state.applied(), &batch);
    }
    state
}
