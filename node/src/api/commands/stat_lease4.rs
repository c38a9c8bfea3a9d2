//! `stat-lease4-get`: how many leases each subnet has (kea-api §2.3, §3.8; Kea's `stat_cmds`).
//!
//! Counted by the lease table itself, at one applied index, and the same on every node. `assigned` are
//! the states 0 and 1, as in Kea 3: what a client cannot get. The time is that of the applied state.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use crate::api::spec::Origin::StatCmds;
use crate::api::spec::{ApiContext, Args, Code, Kind, Plan, Refusal, Reply, Spec, optional};
use crate::config::Subnet;
use crate::observe::statistics::Figures;
use crate::state::Frozen;
use crate::types::Utc;

/// `stat-lease4-get`.
pub const GET: Spec = Spec::reads("stat-lease4-get", StatCmds, get)
    .about("Returns how many addresses each subnet has, how many are assigned and declined, and how many were ever assigned.")
    .takes(&[
        optional("subnet-id", Kind::Integer, "Only this subnet. Not together with `subnet-range`."),
        optional(
            "subnet-range",
            Kind::Map,
            "Only subnets from `first-subnet-id` to `last-subnet-id`, both included.",
        ),
    ]);

const COLUMNS: [&str; 5] = [
    "subnet-id",
    "total-addresses",
    "cumulative-assigned-addresses",
    "assigned-addresses",
    "declined-addresses",
];

/// Which subnets are wanted.
enum Wanted {
    All,
    One(u32),
    Range(RangeInclusive<u32>),
}

fn get(args: &Args<'_>, cx: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let wanted = Wanted::parse(args)?;
    let frozen = cx.view.freeze();
    Ok(Plan::later(move || Ok(Plan::Answer(wanted.answer(&frozen)))))
}

impl Wanted {
    fn parse(args: &Args<'_>) -> Result<Wanted, Refusal> {
        if !args.is_absent() && args.map().is_none() {
            return Err(Refusal::error("'arguments' parameter is not a map"));
        }
        match (args.get("subnet-id"), args.get("subnet-range")) {
            (None, None) => Ok(Wanted::All),
            (Some(_), Some(_)) => {
                Err(Refusal::error("cannot specify both subnet-id and subnet-range"))
            }
            (Some(id), None) => {
                let integer = id.is_i64() || id.is_u64();
                if !integer {
                    return Err(Refusal::error("'subnet-id' parameter is not integer"));
                }
                number("subnet-id", id).map(Wanted::One)
            }
            (None, Some(range)) => {
                let map = range
                    .as_object()
                    .ok_or_else(|| Refusal::error("subnet-range parameter is not a map"))?;
                let (first, last) = (bound(map, "first-subnet-id")?, bound(map, "last-subnet-id")?);
                if last < first {
                    return Err(Refusal::error(
                        "'last-subnet-id' must be greater than 'first-subnet-id'",
                    ));
                }
                Ok(Wanted::Range(first..=last))
            }
        }
    }

    /// As the texts name it.
    fn named(&self) -> String {
        match self {
            Wanted::All => "all subnets".into(),
            Wanted::One(id) => format!("subnet-id={id}"),
            Wanted::Range(range) => format!("subnets {} through {}", range.start(), range.end()),
        }
    }

    fn has(&self, subnet: &Subnet) -> bool {
        match self {
            Wanted::All => true,
            Wanted::One(id) => subnet.id.0 == *id,
            Wanted::Range(range) => range.contains(&subnet.id.0),
        }
    }

    fn answer(&self, frozen: &Frozen) -> Reply {
        let meta = frozen.meta();
        let subnets = meta.config().into_iter().flat_map(|config| config.subnets.iter());
        let mut subnets: Vec<&Subnet> = subnets.filter(|subnet| self.has(subnet)).collect();
        subnets.sort_unstable_by_key(|subnet| subnet.id);
        if subnets.is_empty() {
            let cause = match self {
                Wanted::One(id) => format!("subnet-id: {id} does not exist"),
                Wanted::All => "selected ID range: 0 through 0 includes no known subnets".into(),
                Wanted::Range(range) => format!(
                    "selected ID range: {} through {} includes no known subnets",
                    range.start(),
                    range.end()
                ),
            };
            let text = format!("stat-lease4-get[{}]: no matching data, {cause}", self.named());
            return Reply::failure(Code::Empty, text).with(&json!({}));
        }
        let row = |subnet: &&Subnet| {
            let Figures { total, cumulative, assigned, declined, .. } =
                Figures::of_frozen(frozen, subnet);
            json!([subnet.id.0, total, cumulative, assigned, declined])
        };
        let rows: Vec<Value> = subnets.iter().map(row).collect();
        let timestamp = Utc::of_millis(meta.wall_millis(meta.now())).to_string();
        let found = format!("stat-lease4-get[{}]: {} rows found", self.named(), rows.len());
        Reply::success(found).with(&json!({
            "result-set": { "columns": COLUMNS, "rows": rows, "timestamp": timestamp }
        }))
    }
}

fn bound(range: &Map<String, Value>, name: &str) -> Result<u32, Refusal> {
    let missing = || Refusal::error(format!("'{name}' parameter missing or not an integer"));
    let value = range.get(name).filter(|value| value.is_i64() || value.is_u64());
    number(name, value.ok_or_else(missing)?)
}

fn number(name: &str, value: &Value) -> Result<u32, Refusal> {
    match value.as_u64() {
        None | Some(0) => Err(Refusal::error(format!("'{name}' parameter must be > 0"))),
        Some(number) => u32::try_from(number)
            .map_err(|_| Refusal::error(format!("'{name}' parameter is out of range"))),
    }
}
