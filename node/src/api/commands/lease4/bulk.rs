//! `lease4-bulk-apply`: ours, in the shape of Kea's `lease6-bulk-apply` (kea-api §2.2, §3.5).
//!
//! What is malformed anywhere refuses the whole call, and nothing is done. After that each item
//! stands for itself: it is one command in the log, done or not done, and what fails is listed. When
//! the cluster does not answer any more, no further item is sent, and the lists tell of each item
//! whether its outcome is unknown or it was not tried.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::change::{EXISTS, changed, not_written};
use super::parse::{LEASE, Wanted, in_time, lease_of};
use super::print::Printer;
use crate::api::json::type_name;
use crate::api::spec::Origin::Leasehold;
use crate::api::spec::{
    ApiContext, Args, Code, Fate, Kind, Plan, Refusal, Reply, Spec, either, optional,
};
use crate::state::{Command, DeleteLease, Frozen, Lease, Outcome, PutMode, Seen};

/// `lease4-bulk-apply`.
pub const BULK_APPLY: Spec = Spec::writes("lease4-bulk-apply", Leasehold, bulk_apply)
    .about(
        "Deletes, adds and replaces many leases. Anything malformed refuses the whole call; after that \
         items fail one by one, and are listed. First the deletions, then the leases, in their order.",
    )
    .takes(&[
        either(
            "deleted-leases",
            Kind::List,
            "Maps as `lease4-del` takes them, without `update-ddns`. It or `leases`, or both.",
        ),
        either(
            "leases",
            Kind::List,
            "Maps as `lease4-update` takes them: each is written. One with `expected-cltt` is written if its \
             address has a lease with this `cltt`, and else fails with result 4.",
        ),
        optional(
            "only-new",
            Kind::Boolean,
            "Whether a lease without `expected-cltt` fails with result 4 if its address has a lease already. \
             Without it that one is replaced.",
        ),
    ]);

/// The most items of a call. Clients are looked up under the lock (R22), and outcomes are waited for
/// one entry of the log after another.
const MOST: usize = 4096;

/// One item: how the lists name it, and what is to be done.
struct Item {
    deletion: bool,
    named: Map<String, Value>,
    plan: Result<Command, Refusal>,
}

fn bulk_apply(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    if args.map().is_none() {
        return Err(Refusal::error("Command arguments missing or a not a map."));
    }
    let (deleted, leases) = (list(args, "deleted-leases")?, list(args, "leases")?);
    if deleted.is_none() && leases.is_none() {
        return Err(Refusal::error("neither 'deleted-leases' nor 'leases' parameter specified"));
    }
    let only_new = args.boolean_or("only-new")?.unwrap_or(false);
    let unseen = if only_new { PutMode::Add } else { PutMode::Upsert };
    let (deleted, leases) = (deleted.unwrap_or_default(), leases.unwrap_or_default());
    if deleted.len() + leases.len() > MOST {
        return Err(Refusal::error(format!("more than {MOST} items; send them in several calls")));
    }
    let deleted = deleted.iter().enumerate();
    let deleted: Vec<Deletion> = deleted
        .map(|(at, value)| Deletion::parse(value, cx).map_err(placed("deleted-leases", at)))
        .collect::<Result<_, _>>()?;
    let (arguments, frozen) = (args.shared().unwrap_or_default(), cx.view.freeze());
    Ok(Plan::later(move || {
        let mut items: Vec<Item> =
            deleted.into_iter().map(|deletion| deletion.item(&frozen)).collect();
        let leases = list(&Args::new(Some(&arguments)), "leases")?.unwrap_or_default();
        for (at, value) in leases.iter().enumerate() {
            items.push(lease(value, &frozen, unseen).map_err(placed("leases", at))?);
        }
        for item in &items {
            if let Ok(Command::PutLease(put)) = &item.plan {
                in_time(put, frozen.meta())?;
            }
        }
        let commands: Vec<Command> =
            items.iter().filter_map(|item| item.plan.as_ref().ok().cloned()).collect();
        Ok(Plan::commit_each(commands, move |fates| print(items, fates)))
    }))
}

/// Says where a mistake is.
fn placed(list: &'static str, at: usize) -> impl FnOnce(Refusal) -> Refusal {
    move |refusal| Refusal { text: format!("{list}[{at}]: {}", refusal.text), ..refusal }
}

fn list<'a>(args: &Args<'a>, name: &str) -> Result<Option<&'a [Value]>, Refusal> {
    args.get(name)
        .map(|value| {
            let list = value.as_array().map(Vec::as_slice);
            list.ok_or_else(|| Refusal::error(format!("the '{name}' parameter must be a list")))
        })
        .transpose()
}

/// Each item as the arguments of a command of its own.
fn arguments(value: &Value) -> Result<Arc<Value>, Refusal> {
    if value.is_object() {
        return Ok(Arc::new(value.clone()));
    }
    Err(no_map(value))
}

fn no_map(value: &Value) -> Refusal {
    Refusal::error(format!("each item must be a map, got {} instead", type_name(value)))
}

/// What is to be deleted. The lease of a client is looked up at once, in the indexes of the live
/// state; that of an address can wait for the frozen one.
struct Deletion {
    named: Map<String, Value>,
    whose: Whose,
}

enum Whose {
    Address(Ipv4Addr),
    Client(Option<Arc<Lease>>),
}

impl Deletion {
    fn parse(value: &Value, cx: &ApiContext<'_>) -> Result<Deletion, Refusal> {
        let map = value.as_object().ok_or_else(|| no_map(value))?;
        // Only what names it: whatever else may stand there is not copied under the lock.
        let member = |name: &str| Some((name.to_owned(), map.get(name)?.clone()));
        let value: Map<String, Value> =
            LEASE.iter().filter_map(|argument| member(argument.name)).collect();
        let value = Arc::new(Value::Object(value));
        let wanted = Wanted::parse(&Args::new(Some(&value)), "Delete")?;
        let (names, whose): (&[&str], _) = match wanted {
            Wanted::Address(address) => (&["ip-address"], Whose::Address(address)),
            client => {
                (&["subnet-id", "identifier-type", "identifier"], Whose::Client(client.find(cx)))
            }
        };
        let member = |name: &&str| Some(((*name).to_owned(), value.get(*name)?.clone()));
        Ok(Deletion { named: names.iter().filter_map(member).collect(), whose })
    }

    fn item(self, frozen: &Frozen) -> Item {
        let command = match self.whose {
            Whose::Address(address) => {
                frozen.lease(address).map(|_| DeleteLease { address, seen: None })
            }
            // As in `lease4-del`: this lease and no later one of the address.
            Whose::Client(lease) => lease
                .map(|lease| DeleteLease { address: lease.address, seen: Some(Seen::of(&lease)) }),
        };
        let plan = command.map(Command::DeleteLease).ok_or_else(|| Refusal::empty(NOT_FOUND));
        Item { deletion: true, named: self.named, plan }
    }
}

/// A lease against the configuration fails alone; one that is malformed refuses the call. `unseen` is
/// the mode of one that does not say what it replaces.
fn lease(value: &Value, frozen: &Frozen, unseen: PutMode) -> Result<Item, Refusal> {
    let value = arguments(value)?;
    let args = Args::new(Some(&value));
    let expected = args.integer_or("expected-cltt")?;
    let config = frozen.meta().config().map(|config| &**config);
    let put = match lease_of(&args, config, unseen) {
        Err(refusal) if refusal.code == Code::Error => return Err(refusal),
        put => put,
    };
    let plan = put.and_then(|mut put| {
        if let Some(expected) = expected {
            put.mode = PutMode::UpdateSeen(seen(put.address, expected, frozen)?);
        }
        Ok(Command::PutLease(put))
    });
    let address = value.get("ip-address").cloned().unwrap_or_default();
    Ok(Item { deletion: false, named: Map::from_iter([("ip-address".into(), address)]), plan })
}

/// The lease of an address, if it has the `cltt` that was expected.
fn seen(address: Ipv4Addr, expected: i64, frozen: &Frozen) -> Result<Seen, Refusal> {
    let lease = frozen.lease(address).ok_or_else(|| changed(address))?;
    let cltt = Printer::one(frozen.meta()).lease(lease).cltt;
    if cltt == expected { Ok(Seen::of(lease)) } else { Err(changed(address)) }
}

const NOT_FOUND: &str = "lease not found";

fn print(items: Vec<Item>, fates: Vec<Fate>) -> Reply {
    let total = items.len();
    let mut fates = fates.into_iter();
    let (mut failed_deleted, mut failed) = (Vec::new(), Vec::new());
    let (mut done, mut unknown, mut untried, mut stopped) = (0, 0, 0, None);
    for Item { deletion, mut named, plan } in items {
        let failure = match plan {
            Err(refusal) => refusal.into(),
            Ok(command) => match fates.next().unwrap_or(Fate::Untried) {
                Fate::Done(outcome) => match judge(&command, &outcome) {
                    None => {
                        done += 1;
                        continue;
                    }
                    Some(failure) => failure,
                },
                Fate::Unknown(cause) => {
                    unknown += 1;
                    let text = format!(
                        "the outcome is unknown: {cause}; the change may have been made, or may still be made"
                    );
                    stopped.get_or_insert(cause);
                    Reply::failure(Code::Error, text)
                }
                Fate::NotSubmitted(cause) => {
                    untried += 1;
                    let text = format!("nothing was changed: {cause}");
                    stopped.get_or_insert(cause);
                    Reply::failure(Code::Error, text)
                }
                Fate::Untried => {
                    untried += 1;
                    Reply::failure(Code::Error, "not tried")
                }
            },
        };
        named.insert("error-message".into(), failure.text.unwrap_or_default().into());
        named.insert("result".into(), (failure.code as u32).into());
        named.sort_keys();
        if deletion { &mut failed_deleted } else { &mut failed }.push(Value::Object(named));
    }
    let (code, text) = match stopped {
        None if done == 0 => (Code::Empty, completed(0)),
        None => (Code::Success, completed(done)),
        Some(cause) => (
            Code::Error,
            format!(
                "The cluster does not answer: {cause}. Of {total} IPv4 leases {done} are changed, of {unknown} the \
                 outcome is unknown, {untried} are not changed; the lists name those and what failed by itself."
            ),
        ),
    };
    let reply = Reply::failure(code, text);
    let mut lists = Map::new();
    for (name, list) in [("failed-deleted-leases", failed_deleted), ("failed-leases", failed)] {
        if !list.is_empty() {
            lists.insert(name.into(), list.into());
        }
    }
    if lists.is_empty() { reply } else { reply.with(&json!(lists)) }
}

fn completed(count: usize) -> String {
    format!("Bulk apply of {count} IPv4 leases completed.")
}

/// Why a command that was applied did nothing; `None` when it did.
fn judge(command: &Command, outcome: &Outcome) -> Option<Reply> {
    match (command, outcome) {
        (_, Outcome::LeaseWritten { .. } | Outcome::Deleted { count: 1.. }) => None,
        (Command::DeleteLease(_), Outcome::NoLease) => Some(Reply::failure(Code::Empty, NOT_FOUND)),
        (Command::PutLease(put), Outcome::NoLease) => Some(changed(put.address).into()),
        (Command::PutLease(_), Outcome::LeaseExists) => {
            Some(Reply::failure(Code::Conflict, EXISTS))
        }
        (Command::PutLease(put), other) => Some(not_written(put.address, other)),
        (_, other) => Some(Reply::failure(Code::Error, format!("unexpected outcome: {other:?}"))),
    }
}
