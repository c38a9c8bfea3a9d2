//! Everything comes back as it went, and anything else is refused.

use proptest::prelude::*;

use super::*;
use crate::config::edit::{Changed, Edit, NoEdit, NoEditKind, Verb};
use crate::state::command::*;
use crate::state::document::{Document, Form, Sha256};
use crate::state::outcome::Taken;
use crate::state::roster::{Admit, JoinToken, NotAdmitted, Policy};
use crate::state::testing::{any_hw, any_id, any_state, any_time};
use crate::types::{ClientKey, Lifetime, Prefix, SubnetId};

fn any_address() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

fn any_origin() -> impl Strategy<Value = Origin> {
    (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(node, incarnation, sequence)| Origin {
        node: NodeId(node),
        incarnation,
        sequence,
    })
}

fn any_client() -> impl Strategy<Value = Client> {
    let claim = || prop::option::of(prop::collection::vec(any::<u8>(), 0..20).prop_map(Into::into));
    let claims = prop::option::of(
        (claim(), claim())
            .prop_map(|(circuit_id, flex_id)| Box::new(Claims { circuit_id, flex_id })),
    );
    (prop::option::of(any_id()), any_hw(), any::<bool>(), claims)
        .prop_map(|(id, hw, match_id, claims)| Client { id, hw, match_id, claims })
}

fn any_item() -> impl Strategy<Value = GrantItem> {
    let why = prop::sample::select(vec![
        Why::Selecting,
        Why::InitReboot,
        Why::Renewing,
        Why::Rebinding,
        Why::Unnamed,
        Why::Offering,
    ]);
    let held = prop::option::of((any_address(), any::<u64>().prop_map(Generation)));
    (any::<u32>(), any_address(), why, held, any::<u32>()).prop_map(
        |(subnet, want, why, held, lifetime)| GrantItem {
            subnet: SubnetId(subnet),
            want,
            why,
            held,
            lifetime: Lifetime::from_secs(lifetime),
        },
    )
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let items = prop::collection::vec(any_item(), 0..3);
    let relay_info = prop::option::of(prop::collection::vec(any::<u8>(), 0..20));
    let rest = (any_address(), relay_info, any::<(bool, bool, bool)>());
    (any_origin(), any_time(), any::<u64>(), any_client(), items, ".{0,8}", rest).prop_map(
        |(origin, not_after, config, client, items, hostname, (identity, relay_info, dns))| Grant {
            origin,
            not_after,
            config: ConfigVersion(config),
            client,
            items,
            hostname,
            fqdn_fwd: dns.0,
            fqdn_rev: dns.1,
            identity,
            relay_info: relay_info.map(Into::into),
            checked: dns.2,
        },
    )
}

fn any_give_up() -> impl Strategy<Value = GiveUp> {
    let times = (any_time(), any::<u64>(), any::<bool>());
    (any_origin(), any_client(), any_address(), prop::option::of(any::<u64>()), times).prop_map(
        |(origin, client, address, generation, (arrived, circuit, relayed))| GiveUp {
            origin,
            client,
            address,
            generation: generation.map(Generation),
            arrived,
            circuit,
            relayed,
        },
    )
}

fn any_seen() -> impl Strategy<Value = Seen> {
    (any::<u64>(), any_time(), any_state()).prop_map(|(generation, granted, state)| Seen {
        generation: Generation(generation),
        granted,
        state,
    })
}

fn any_put() -> impl Strategy<Value = PutLease> {
    let mode = prop_oneof![
        Just(PutMode::Add),
        Just(PutMode::Update),
        Just(PutMode::Upsert),
        any_seen().prop_map(PutMode::UpdateSeen),
    ];
    let who = (any_address(), any::<u32>(), any_hw(), prop::option::of(any_id()));
    let rest = (
        any::<u32>(),
        prop::option::of(any::<i64>()),
        any::<(bool, bool)>(),
        any_state(),
        ".{0,8}",
        ".{0,8}",
    );
    (mode, who, rest).prop_map(|(mode, (address, subnet, hw, client_id), rest)| PutLease {
        mode,
        address,
        subnet: SubnetId(subnet),
        hw,
        client_id,
        lifetime: Lifetime::from_secs(rest.0),
        expire: rest.1,
        fqdn_fwd: rest.2.0,
        fqdn_rev: rest.2.1,
        state: rest.3,
        hostname: rest.4,
        user_context: rest.5,
    })
}

fn any_liveness() -> impl Strategy<Value = Liveness> {
    prop::sample::select(vec![
        Liveness::Up,
        Liveness::Down,
        Liveness::Draining,
        Liveness::Maintenance,
        Liveness::Left,
    ])
}

fn any_info() -> impl Strategy<Value = NodeInfo> {
    let lists = (prop::collection::vec(".{0,8}", 0..3), prop::collection::vec(any_address(), 0..3));
    let program = (".{0,8}", any::<u32>());
    (any::<u64>(), ".{0,8}", ".{0,8}", ".{0,8}", lists, program).prop_map(
        |(node, name, rack, peer_address, (control, identities), (version, level))| NodeInfo {
            node: NodeId(node),
            name,
            rack,
            peer_address,
            control,
            identities,
            version,
            level,
        },
    )
}

fn any_digest() -> impl Strategy<Value = Sha256> {
    any::<[u8; 32]>().prop_map(Sha256)
}

fn any_roster_command() -> impl Strategy<Value = Command> {
    let token = (any::<u64>(), any_digest(), any_time(), any::<u32>(), any::<bool>(), ".{0,8}")
        .prop_map(|(id, digest, not_after, uses, learner, note)| JoinToken {
            id,
            digest,
            not_after,
            uses,
            learner,
            note,
        });
    let names = (".{0,8}", ".{0,8}", ".{0,8}");
    let admit = (any_digest(), any::<u64>(), names, any::<bool>(), any::<u64>()).prop_map(
        |(token, instance, (address, name, tls_name), learner, above)| Admit {
            token,
            instance,
            address,
            name,
            tls_name,
            learner,
            above: NodeId(above),
        },
    );
    let racks = prop::collection::vec(".{0,8}", 0..3);
    prop_oneof![
        any::<u32>().prop_map(Command::RaiseLevel),
        token.prop_map(Command::PutToken),
        any::<u64>().prop_map(Command::RemoveToken),
        admit.prop_map(Command::Admit),
        racks.prop_map(|leader_racks| Command::SetPolicy(Policy { leader_racks })),
    ]
}

fn any_bytes() -> impl Strategy<Value = bytes::Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(bytes::Bytes::from)
}

fn any_document() -> impl Strategy<Value = Document> {
    let form = prop::sample::select(vec![Form::Json, Form::Kea]);
    (any::<[u8; 32]>(), form, any::<u64>(), any::<u64>())
        .prop_map(|(hash, form, size, packed)| Document { hash: Sha256(hash), form, size, packed })
}

fn any_set_config() -> impl Strategy<Value = SetConfig> {
    let why = prop_oneof![
        Just(ConfigWhy::Set),
        Just(ConfigWhy::Seed),
        Just(ConfigWhy::Reload),
        any::<u64>().prop_map(|to| ConfigWhy::Rollback(ConfigVersion(to))),
    ];
    let note = (".{0,8}", ".{0,8}", why, any::<[u8; 32]>());
    let inline = prop::option::of(any_bytes());
    let numbers = (any::<u64>(), prop::option::of(any::<u64>()), any::<u32>());
    (numbers, any_document(), inline, note).prop_map(
        |((id, expected, level), document, inline, (author, comment, why, hash))| SetConfig {
            id,
            expected: expected.map(ConfigVersion),
            document,
            inline,
            level,
            note: Note { author, comment, why, config_hash: Sha256(hash) },
        },
    )
}

fn any_edit_config() -> impl Strategy<Value = EditConfig> {
    let verb = || prop::sample::select(Verb::ALL.map(|(verb, _)| verb).to_vec());
    let edit = (verb(), ".{0,20}")
        .prop_map(|(verb, arguments)| Edit { verb, arguments: arguments.into() });
    let numbers = (
        any::<u64>(),
        prop::option::of(any::<u64>()),
        prop::option::of(any::<u64>()),
        any::<u32>(),
    );
    (numbers, edit, verb(), ".{0,8}").prop_map(
        |((id, expected, checked, level), edit, why, author)| EditConfig {
            id,
            expected: expected.map(ConfigVersion),
            checked: checked.map(ConfigVersion),
            level,
            note: Note { author, why: ConfigWhy::Edit(why), ..Note::default() },
            edit,
        },
    )
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        any_grant().prop_map(Command::Grant),
        any_give_up().prop_map(Command::Release),
        any_give_up().prop_map(Command::Decline),
        (any_give_up(), any::<u32>()).prop_map(|(give_up, subnet)| {
            let GiveUp { origin, address, circuit, .. } = give_up;
            Command::InUse(InUse { origin, subnet: SubnetId(subnet), address, circuit })
        }),
        any::<(u32, bool)>()
            .prop_map(|(limit, remove)| Command::Reclaim(Reclaim { limit, remove })),
        any_put().prop_map(Command::PutLease),
        (any_address(), prop::option::of(any_seen()))
            .prop_map(|(address, seen)| Command::DeleteLease(DeleteLease { address, seen })),
        (prop::option::of(any::<u32>()), any_address()).prop_map(|(subnet, from)| {
            Command::WipeLeases(WipeLeases { subnet: subnet.map(SubnetId), from })
        }),
        (any_document(), any::<u32>(), any_bytes()).prop_map(|(document, index, bytes)| {
            Command::ConfigChunk(ConfigChunk { document, index, bytes })
        }),
        any_set_config().prop_map(Command::SetConfig),
        any_edit_config().prop_map(Command::EditConfig),
        Just(Command::Tick),
        any::<i64>().prop_map(|millis| Command::SetWallOffset(WallOffset(millis))),
        any_info().prop_map(Command::NodeInfo),
        (any::<u64>(), any_liveness())
            .prop_map(|(node, what)| Command::NodeLiveness(NodeId(node), what)),
        any_roster_command(),
        any_address().prop_map(|from| Command::EndHold(EndHold { from })),
    ]
}

fn any_granted() -> impl Strategy<Value = Granted> {
    let key = prop_oneof![any_id().prop_map(ClientKey::Id), any_hw().prop_map(ClientKey::Hw)];
    let times = (any::<u32>(), any_time(), any::<u64>(), any_time(), any::<bool>());
    (any_address(), any::<u32>(), key, times).prop_map(
        |(address, subnet, client, (lifetime, expires, generation, stamp, reused))| {
            let lifetime = Lifetime::from_secs(lifetime);
            Granted::new(
                address,
                SubnetId(subnet),
                client,
                lifetime,
                expires,
                Generation(generation),
                stamp,
            )
            .reusing(reused)
        },
    )
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let taken =
        prop::sample::select(vec![Taken::Leased, Taken::Reserved, Taken::Grace, Taken::Declined]);
    let bare = prop::sample::select(vec![
        Outcome::Late,
        Outcome::Changed,
        Outcome::GivenUp,
        Outcome::NotHeld,
        Outcome::DeclineLimit,
        Outcome::OtherCircuit,
        Outcome::LeaseExists,
        Outcome::NoLease,
        Outcome::Noted,
    ]);
    prop_oneof![
        any_granted().prop_map(Outcome::Granted),
        bare,
        taken.prop_map(Outcome::Taken),
        any::<(u32, bool)>().prop_map(|(count, more)| Outcome::Reclaimed { count, more }),
        any::<bool>().prop_map(|created| Outcome::LeaseWritten { created }),
        any::<u32>().prop_map(|id| Outcome::NoSubnet(SubnetId(id))),
        any::<u32>().prop_map(|id| Outcome::OutsideSubnet(SubnetId(id))),
        any::<u64>().prop_map(|count| Outcome::Deleted { count }),
        (any::<u64>(), any_address()).prop_map(|(count, next)| Outcome::Wiped { count, next }),
        any::<u64>().prop_map(|version| Outcome::ConfigSet(ConfigVersion(version))),
        any::<u64>().prop_map(|version| Outcome::ConfigConflict(ConfigVersion(version))),
        ".{0,8}".prop_map(Outcome::ConfigRefused),
        any::<u32>().prop_map(|missing| Outcome::ConfigChunk { missing }),
        Just(Outcome::ConfigIncomplete),
        Just(Outcome::ConfigEditsFull),
        any::<u32>().prop_map(Outcome::Level),
        prop::collection::vec(any::<u64>().prop_map(NodeId), 0..4).prop_map(Outcome::LevelHeld),
        any::<u64>().prop_map(|node| Outcome::Admitted(NodeId(node))),
        prop::sample::select(vec![
            NotAdmitted::NoToken,
            NotAdmitted::Expired,
            NotAdmitted::UsedUp,
            NotAdmitted::Full,
        ])
        .prop_map(Outcome::NotAdmitted),
        any::<u32>().prop_map(Outcome::NotYet),
        Just(Outcome::Held),
        any_address().prop_map(|next| Outcome::HoldEnding { next }),
        Just(Outcome::HoldEnded),
        (any::<u64>(), prop::option::of((any::<u32>(), any_address(), 0u8..=32)), ".{0,8}")
            .prop_map(|(version, subnet, name)| {
                let subnet = subnet
                    .map(|(id, address, len)| (SubnetId(id), Prefix::new(address, len).unwrap()));
                let changed = Changed { subnet, name };
                Outcome::ConfigEdited { version: ConfigVersion(version), changed }
            }),
        (0u8..3, ".{0,8}").prop_map(|(kind, text)| {
            let kind =
                [NoEditKind::Error, NoEditKind::Empty, NoEditKind::Conflict][usize::from(kind)];
            Outcome::ConfigNotEdited(NoEdit { kind, text })
        }),
    ]
}

proptest! {
    #[test]
    fn batches_come_back(stamp in any_time(), commands in prop::collection::vec(any_command(), 0..6)) {
        let batch = Batch { stamp, commands };
        prop_assert_eq!(decode_batch(&encode_batch(&batch)), Ok(batch));
    }

    #[test]
    fn outcomes_come_back(outcomes in prop::collection::vec(any_outcome(), 0..6)) {
        prop_assert_eq!(decode_outcomes(&encode_outcomes(&outcomes)), Ok(outcomes));
    }

    /// A damaged batch is refused or is some other batch that itself comes back; nothing panics.
    #[test]
    fn damaged_batches_do_not_panic(
        commands in prop::collection::vec(any_command(), 1..4),
        at in any::<prop::sample::Index>(),
        bits in 1u8..,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode_batch(&Batch { stamp: ClusterTime::ZERO, commands }).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        for end in [bytes.len(), cut.index(bytes.len())] {
            if let Ok(batch) = decode_batch(&bytes[..end]) {
                prop_assert_eq!(decode_batch(&encode_batch(&batch)), Ok(batch));
            }
        }
    }

    #[test]
    fn any_bytes_are_outcomes_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = decode_outcomes(&bytes);
        let _ = decode_batch(&bytes);
    }
}

#[test]
fn a_command_that_this_version_does_not_know_is_refused() {
    let unknown =
        pb::Batch { stamp: 1, commands: vec![pb::Command { kind: None }] }.encode_to_vec();
    assert_eq!(decode_batch(&unknown), Err(BadWire::Field("command")));
}

#[test]
fn r27_an_entry_of_more_than_128_commands_is_refused() {
    let batch = Batch { stamp: ClusterTime::ZERO, commands: vec![Command::Tick; 129] };
    assert_eq!(decode_batch(&encode_batch(&batch)), Err(BadWire::TooMany(129)));
}
