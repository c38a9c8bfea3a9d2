//! `lease-history-get`: who had an address, and which addresses a client had, from when to when. A
//! command of our own (R23).
//!
//! Every node answers from its own files, which follow from the log: nodes that cover the same entries
//! give the same rows. What a node does not cover it says.

use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use super::lease4::parse::LONGEST_HEX;
use crate::api::spec::Origin::Leasehold;
use crate::api::spec::{
    ApiContext, Args, Code, Kind, Plan, Refusal, Reply, Spec, either, optional,
};
use crate::history::{Found, Lookup, Row, Wanted};
use crate::state::Position;
use crate::types::{ClientId, HwAddr};

/// `lease-history-get`.
pub const GET: Spec = Spec::reads("lease-history-get", Leasehold, get)
    .about(
        "Returns who had an address, or which addresses a client had, from when to when. A row is one client's time \
         with one address; renewals extend it.",
    )
    .takes(&[
        either("ip-address", Kind::Text, "The address; or one of the two below."),
        either("hw-address", Kind::Text, "The hardware address, hexadecimal."),
        either("client-id", Kind::Text, "The client identifier, hexadecimal."),
        optional(
            "from",
            Kind::TextOrInteger,
            "Only rows that had not ended by then: Unix seconds, or RFC 3339 as in `2026-11-29T08:00:00Z`.",
        ),
        optional("to", Kind::TextOrInteger, "Only rows that had begun by then; written as `from`."),
        optional("limit", Kind::Integer, "The most rows: 1 to 10000; by default 1000."),
        optional("after", Kind::Text, "The next page: `next` of the answer before."),
    ]);

const LIMIT: u32 = 1_000;
const MOST: u32 = 10_000;

fn get(args: &Args<'_>, _: &ApiContext<'_>) -> Result<Plan, Refusal> {
    let lookup = lookup(args)?;
    Ok(Plan::History(Box::new(lookup), print))
}

fn lookup(args: &Args<'_>) -> Result<Lookup, Refusal> {
    if let Some(map) = args.map() {
        let known = [
            "ip-address",
            "hw-address",
            "client-id",
            "from",
            "to",
            "limit",
            "after",
            "consistency",
        ];
        if let Some(other) = map.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(Refusal::error(format!("spurious '{other}' parameter")));
        }
    }
    let limit = args.uint32_or("limit")?.unwrap_or(LIMIT);
    if !(1..=MOST).contains(&limit) {
        return Err(Refusal::error(format!("'limit' must be 1 to {MOST}, not {limit}")));
    }
    let after = args.string_or("after")?.map(|text| {
        text.parse::<Position>().map_err(|error| Refusal::error(format!("'after': {error}")))
    });
    Ok(Lookup {
        wanted: wanted(args)?,
        from: moment(args, "from")?,
        // A second that is named is meant whole.
        to: moment(args, "to")?.map(|millis| millis.saturating_add(999)),
        after: after.transpose()?,
        limit: limit as usize,
    })
}

fn wanted(args: &Args<'_>) -> Result<Wanted, Refusal> {
    let wrong = |name: &str, text: &str| Refusal::error(format!("'{name}' is not valid: '{text}'"));
    let (address, hw, id) = (
        args.string_or("ip-address")?,
        args.string_or("hw-address")?,
        args.string_or("client-id")?,
    );
    match (address, hw, id) {
        (Some(text), None, None) => {
            text.parse::<Ipv4Addr>().map(Wanted::Address).map_err(|_| wrong("ip-address", text))
        }
        (None, Some(text), None) => match spread(text).parse::<HwAddr>() {
            Ok(hw) if !hw.bytes().is_empty() => Ok(Wanted::Hw(hw.bytes().into())),
            _ => Err(wrong("hw-address", text)),
        },
        (None, None, Some(text)) => spread(text)
            .parse::<ClientId>()
            .map(|id| Wanted::Id(id.bytes().into()))
            .map_err(|_| wrong("client-id", text)),
        _ => Err(Refusal::error(
            "exactly one of 'ip-address', 'hw-address' and 'client-id' must be given",
        )),
    }
}

/// `0200ab` as `02:00:ab`; what has colons stays.
fn spread(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(LONGEST_HEX)];
    let plain = text.len() > 2 && text.len().is_multiple_of(2);
    if !plain || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return text.to_owned();
    }
    let pairs: Vec<&str> = (0..text.len()).step_by(2).map(|at| &text[at..at + 2]).collect();
    pairs.join(":")
}

/// Unix milliseconds of an argument that is Unix seconds or RFC 3339.
fn moment(args: &Args<'_>, name: &str) -> Result<Option<i64>, Refusal> {
    let millis = match args.get(name) {
        None => return Ok(None),
        Some(Value::String(text)) => match text.parse::<i64>() {
            Ok(seconds) => seconds.checked_mul(1000),
            Err(_) => rfc3339(text),
        },
        Some(value) => value.as_i64().and_then(|seconds| seconds.checked_mul(1000)),
    };
    let wrong =
        || format!("'{name}' must be Unix seconds, or a time as in \"2026-11-29T08:00:00Z\"");
    millis.map(Some).ok_or_else(|| Refusal::error(wrong()))
}

/// Unix milliseconds of an RFC 3339 time; finer fractions are cut.
fn rfc3339(text: &str) -> Option<i64> {
    let number = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i64>().ok()).flatten()
    };
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let (clock, rest) = (rest.get(1..9)?, rest.get(9..)?);
    if !text[10..].starts_with(['T', 't', ' ']) {
        return None;
    }
    let parts = |text: &str, mark: u8| -> Option<[i64; 3]> {
        let bytes = text.as_bytes();
        let wide = text.len() - 6;
        (bytes.get(wide)? == &mark && bytes.get(wide + 3)? == &mark).then_some(())?;
        Some([
            number(text.get(..wide)?)?,
            number(text.get(wide + 1..wide + 3)?)?,
            number(text.get(wide + 4..)?)?,
        ])
    };
    let [year, month, day] = parts(date, b'-')?;
    let [hour, minute, second] = parts(clock, b':')?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        None => ("0", rest),
    };
    let millis = number(&format!("{fraction:0<3}").chars().take(3).collect::<String>())?;
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = zone.strip_prefix(['+', '-'])?.split_once(':')?;
            let (hours, minutes) = (number(hours)?, number(minutes)?);
            (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))?
        }
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let well = (1..=longest).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    // Years that begin in March put the leap day last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era_days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = era_days + (153 * month + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute - offset) * 60 + second;
    well.then_some(seconds * 1000 + millis)
}

fn print(found: &Found) -> Reply {
    let rows: Vec<Value> = found.rows.iter().map(row).collect();
    let covered: Vec<Value> =
        found.covered.iter().map(|(from, to)| json!({ "from": from, "to": to })).collect();
    let mut arguments = Map::new();
    arguments.insert("count".into(), rows.len().into());
    arguments.insert("covered".into(), covered.into());
    arguments.insert("has-gaps".into(), (found.covered.len() != 1).into());
    if let Some(more) = found.more {
        arguments.insert("next".into(), more.to_string().into());
    }
    arguments.insert("rows".into(), rows.into());
    if let Some(since) = found.since {
        arguments.insert("since".into(), since.div_euclid(1000).into());
    }
    let code = if found.rows.is_empty() { Code::Empty } else { Code::Success };
    let text = format!("{} row(s) of lease history found.", found.rows.len());
    Reply { text: Some(text), ..Reply::failure(code, "") }.with(&arguments)
}

fn row(row: &Row) -> Value {
    let seconds = |millis: i64| Value::from(millis.div_euclid(1000));
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("begin", seconds(row.begin));
    if row.began_before {
        put("began-before", true.into());
    }
    if let Some(id) = &row.client_id {
        put("client-id", id.to_string().into());
    }
    match row.end {
        Some((end, how)) => {
            put("end", seconds(end));
            put("ended", how.name().into());
        }
        None => _ = put("ended", "no".into()),
    }
    if let Some(expires) = row.expires {
        put("expire", seconds(expires));
    }
    put("hostname", (*row.hostname).into());
    put("hw-address", row.hw.to_string().into());
    put("ip-address", row.address.to_string().into());
    put("position", row.start.to_string().into());
    put("renewals", row.renewals.into());
    put("subnet-id", row.subnet.0.into());
    out.sort_keys();
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_times_are_read() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00z", 951_825_600_000),
            ("2026-11-29T08:00:00.25+01:00", 1_795_935_600_250),
            ("1969-12-31 23:59:59Z", -1_000),
            ("2026-11-29T00:00:00-00:30", 1_795_912_200_000),
        ];
        for (text, millis) in cases {
            assert_eq!(rfc3339(text), Some(millis), "{text}");
        }
        let wrong = [
            "",
            "2026-11-29",
            "2026-11-29T08:00:00",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-29T24:00:00Z",
            "2026-11-29T08:00Z",
            "2026-11-29T08:00:00.Zx",
            "é026-11-29T08:00:00Z",
            "2026-11-29T08:00:00+0100",
            "2026-11-29T08:00:00+é",
            "+026-11-29T08:00:00Z",
        ];
        for text in wrong {
            assert_eq!(rfc3339(text), None, "{text}");
        }
    }
}
