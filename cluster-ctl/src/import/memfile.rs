//! Rows of Kea's lease files (memfile), DHCPv4.
//!
//! The first line names the columns; Kea has added some over time, always behind the others, and files
//! of older servers lack them. A comma or `&` within a column is `&#x` and two hexadecimal digits. Each
//! change of a lease is a row; the last one of an address counts, and one with a lifetime of 0 says
//! that the lease is gone.

use std::io::{self, Write};
use std::net::Ipv4Addr;

use leasehold::api::commands::lease4::Escaped;

use super::lease::{FOREVER, Lease, Place, State, client_id};

/// Whose columns are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// Those of Kea 2.2 to 2.6.
    Kea2,
    /// Those of Kea 3.0: `pool_id` beside them.
    Kea3,
}

const NAMES: [&str; 12] = [
    "address",
    "hwaddr",
    "client_id",
    "valid_lifetime",
    "expire",
    "subnet_id",
    "fqdn_fwd",
    "fqdn_rev",
    "hostname",
    "state",
    "user_context",
    "pool_id",
];
/// Columns without which a row says too little; those behind came later.
const OLDEST: usize = 9;

/// The columns of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Header {
    /// How many a row has.
    count: usize,
    /// Where each of [`NAMES`] stands.
    at: [Option<usize>; NAMES.len()],
}

/// What a row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// The lease as it is now, and what of it could not be kept.
    Lease(Box<Lease>, Option<String>),
    /// There is none any more; its client was last answered then.
    Gone(Ipv4Addr, i64),
}

impl Header {
    /// Reads the first line.
    ///
    /// # Errors
    /// Why this is no file of DHCPv4 leases.
    pub fn parse(line: &str) -> Result<Header, String> {
        let columns: Vec<&str> = line.trim_end().split(',').collect();
        let at = NAMES.map(|name| columns.iter().position(|column| *column == name));
        if columns.contains(&"duid") {
            return Err("these are DHCPv6 leases, which are not served".to_owned());
        }
        match NAMES[..OLDEST].iter().zip(at).find(|(_, at)| at.is_none()) {
            Some((name, _)) => {
                Err(format!("this is no lease file of Kea: its first line has no column {name}"))
            }
            None => Ok(Header { count: columns.len(), at }),
        }
    }

    /// Reads one row.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn row(&self, line: &str, place: Place) -> Result<Row, String> {
        let fields: Vec<&str> = line.trim_end_matches(['\r', '\n']).split(',').collect();
        if fields.len() != self.count {
            return Err(format!("{} columns, the first line has {}", fields.len(), self.count));
        }
        let field = |column: usize| self.at[column].map_or("", |at| fields[at]);
        let number = |column: usize| {
            let text = field(column);
            text.parse::<i64>().map_err(|_| format!("{} '{text}' is no number", NAMES[column]))
        };
        let small = |column: usize| {
            u32::try_from(number(column)?)
                .map_err(|_| format!("{} '{}' is out of range", NAMES[column], field(column)))
        };
        let flag = |column: usize| match field(column) {
            "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            text => Err(format!("{} '{text}' is neither 0 nor 1", NAMES[column])),
        };
        let later = |column: usize| if field(column).is_empty() { Ok(0) } else { small(column) };

        let address = field(0).parse().map_err(|_| format!("'{}' is no IPv4 address", field(0)))?;
        let (valid, expire) = (small(3)?, number(4)?);
        let cltt = expire.saturating_sub(valid.into());
        if valid == 0 {
            return Ok(Row::Gone(address, cltt));
        }
        let hw = field(1).parse().map_err(|bad| format!("hwaddr '{}': {bad}", field(1)))?;
        let state = State::from_number(later(9)?.into())
            .ok_or_else(|| format!("there is no state {}", field(9)))?;
        let (context, note) = context(&unescaped(field(10)));
        let lease = Lease {
            address,
            hw,
            client_id: client_id(field(2))?,
            valid,
            cltt,
            subnet: small(5)?,
            fqdn_fwd: flag(6)?,
            fqdn_rev: flag(7)?,
            hostname: unescaped(field(8)).to_lowercase().into(),
            state,
            context,
            pool: later(11)?,
            place,
        };
        Ok(Row::Lease(Box::new(lease), note))
    }
}

/// A context that is no JSON map cannot be kept; the lease matters more.
fn context(text: &str) -> (Option<Box<str>>, Option<String>) {
    if text.is_empty() {
        return (None, None);
    }
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(serde_json::Value::Object(map)) if map.is_empty() => (None, None),
        Ok(value) if value.is_object() => (Some(value.to_string().into()), None),
        _ => (None, Some("the user context is no JSON map and was left out".to_owned())),
    }
}

/// Gives `&#xHH` its byte back. What is no such thing stays as it is.
fn unescaped(text: &str) -> String {
    let Some((before, rest)) = text.split_once("&#x") else { return text.to_owned() };
    let mut bytes = before.as_bytes().to_vec();
    for piece in rest.split("&#x") {
        let digits = piece.as_bytes().get(..2).filter(|two| two.iter().all(u8::is_ascii_hexdigit));
        let byte = digits.and_then(|_| u8::from_str_radix(&piece[..2], 16).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(&piece.as_bytes()[2..]);
            }
            None => {
                bytes.extend_from_slice(b"&#x");
                bytes.extend_from_slice(piece.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Writes the first line.
///
/// # Errors
/// Those of `out`.
pub fn write_header(columns: Columns, out: &mut dyn Write) -> io::Result<()> {
    let count = if columns == Columns::Kea2 { NAMES.len() - 1 } else { NAMES.len() };
    writeln!(out, "{}", NAMES[..count].join(","))
}

/// Writes one row.
///
/// # Errors
/// Those of `out`.
pub fn write_row(lease: &Lease, columns: Columns, out: &mut dyn Write) -> io::Result<()> {
    let id = lease.client_id.as_ref().map(ToString::to_string).unwrap_or_default();
    // Kea counts the end of an endless lease, too.
    let expire = lease.cltt.saturating_add(if lease.valid == FOREVER {
        i64::from(FOREVER)
    } else {
        lease.valid.into()
    });
    // Kea 2 does not know that a client gave it back.
    let state = match (columns, lease.state) {
        (Columns::Kea2, State::Released) => State::Reclaimed,
        (_, state) => state,
    };
    write!(
        out,
        "{},{},{id},{},{expire},{},{},{},{},{},{}",
        lease.address,
        lease.hw,
        lease.valid,
        lease.subnet,
        u8::from(lease.fqdn_fwd),
        u8::from(lease.fqdn_rev),
        Escaped(&lease.hostname),
        state.number(),
        Escaped(lease.context.as_deref().unwrap_or_default()),
    )?;
    match columns {
        Columns::Kea2 => writeln!(out),
        Columns::Kea3 => writeln!(out, ",{}", lease.pool),
    }
}

#[cfg(test)]
mod tests {
    use super::super::lease::testing::lease;
    use super::*;

    const KEA_1_0: &str =
        "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname";
    const KEA_2_2: &str = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,\
                           state,user_context";
    const KEA_3_0: &str = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,\
                           state,user_context,pool_id";

    fn read(header: &str, row: &str) -> Result<Row, String> {
        Header::parse(header).unwrap().row(row, Place::default())
    }

    #[test]
    fn rows_of_every_age_are_read() {
        let base = Lease { subnet: 7, ..lease("192.0.2.10", 1) };
        let row = "192.0.2.10,02:00:00:00:00:01,,3600,13600,7,0,0,";
        let is = |lease: &Lease| Ok(Row::Lease(Box::new(lease.clone()), None));
        assert_eq!(read(KEA_1_0, row), is(&base));
        assert_eq!(read(KEA_2_2, &format!("{row},0,")), is(&base));
        assert_eq!(read(KEA_3_0, &format!("{row},0,,0")), is(&base));
        let declined = Lease { state: State::Declined, pool: 4, ..base };
        assert_eq!(read(KEA_3_0, &format!("{row},1,,4\r\n")), is(&declined));
    }

    #[test]
    fn what_kea_2_2_wrote_is_read() {
        // As a Kea 2.2.0 wrote it, e with an accent and all.
        let row = "192.0.2.10,02:00:00:00:00:01,01:02:00:00:00:00:01,7200,1795928867,1,1,1,\
                   desk&#x2c7&#x26\u{e9}.example.org,0,{ \"a\": \"x&#x2cy\"&#x2c \"b\": [ 1&#x2c 2 ] }";
        let Ok(Row::Lease(lease, None)) = read(KEA_2_2, row) else { panic!("no lease") };
        assert_eq!(&*lease.hostname, "desk,7&\u{e9}.example.org");
        assert_eq!(lease.context.as_deref(), Some(r#"{"a":"x,y","b":[1,2]}"#));
        assert_eq!((lease.cltt, lease.ends()), (1_795_921_667, 1_795_928_867));
        assert!(lease.fqdn_fwd && lease.fqdn_rev);
        let endless = "192.0.2.11,02:00:00:00:00:02,,4294967295,6090888963,1,0,0,,0,";
        let Ok(Row::Lease(lease, None)) = read(KEA_2_2, endless) else { panic!("no lease") };
        assert_eq!((lease.valid, lease.cltt, lease.ends()), (FOREVER, 1_795_921_668, i64::MAX));
        let gone = "192.0.2.14,02:00:00:00:00:05,,0,1795921668,1,0,0,,0,";
        let address = "192.0.2.14".parse().unwrap();
        assert_eq!(read(KEA_2_2, gone), Ok(Row::Gone(address, 1_795_921_668)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (row, why) in [
            ("", "1 columns"),
            ("junk,row", "2 columns"),
            ("192.0.2.300,,,1,2,1,0,0,,0,", "'192.0.2.300' is no IPv4 address"),
            ("192.0.2.1,zz,,1,2,1,0,0,,0,", "hwaddr 'zz'"),
            ("192.0.2.1,,zz,1,2,1,0,0,,0,", "client-id 'zz'"),
            ("192.0.2.1,,,-1,2,1,0,0,,0,", "valid_lifetime '-1' is out of range"),
            ("192.0.2.1,,,1,soon,1,0,0,,0,", "expire 'soon' is no number"),
            ("192.0.2.1,,,1,2,x,0,0,,0,", "subnet_id 'x'"),
            ("192.0.2.1,,,1,2,1,2,0,,0,", "fqdn_fwd '2'"),
            ("192.0.2.1,,,1,2,1,0,0,,9,", "there is no state 9"),
        ] {
            let told = read(KEA_2_2, row).unwrap_err();
            assert!(told.contains(why), "{row}: {told}");
        }
        assert!(Header::parse("address,duid,valid_lifetime").unwrap_err().contains("DHCPv6"));
        assert!(Header::parse("lease 192.0.2.1 {").unwrap_err().contains("no column address"));
    }

    #[test]
    fn a_context_that_cannot_be_kept_costs_no_lease() {
        let row = "192.0.2.1,,,1,2,1,0,0,,0,{ broken";
        let Ok(Row::Lease(lease, Some(note))) = read(KEA_2_2, row) else { panic!("no lease") };
        assert!(lease.context.is_none() && note.contains("user context"), "{note}");
    }

    #[test]
    fn only_what_was_escaped_is_given_back() {
        for (text, plain) in [
            ("a&#x2cb", "a,b"),
            ("&#x26#x2c", "&#x2c"),
            ("&#x2", "&#x2"),
            ("&#xzz&#x2C", "&#xzz,"),
            ("\u{e9}&#xc3&#xa9", "\u{e9}\u{e9}"),
            ("&#x\u{20ac}", "&#x\u{20ac}"),
        ] {
            assert_eq!(unescaped(text), plain, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut all = lease("192.0.2.1", 1);
        all.client_id = Some("01:02".parse().unwrap());
        all.hostname = "a,b&c\u{e9}".into();
        all.context = Some(r#"{"a":"x,y"}"#.into());
        let mut endless = lease("192.0.2.2", 2);
        endless.valid = FOREVER;
        let mut declined = lease("192.0.2.3", 3);
        (declined.state, declined.hw) = (State::Declined, "".parse().unwrap());
        for columns in [Columns::Kea2, Columns::Kea3] {
            let mut out = Vec::new();
            write_header(columns, &mut out).unwrap();
            for lease in [&all, &endless, &declined] {
                write_row(lease, columns, &mut out).unwrap();
            }
            let text = String::from_utf8(out).unwrap();
            let mut lines = text.lines();
            let header = Header::parse(lines.next().unwrap()).unwrap();
            let rows: Vec<Row> =
                lines.map(|line| header.row(line, Place::default()).unwrap()).collect();
            let expected =
                [&all, &endless, &declined].map(|l| Row::Lease(Box::new(l.clone()), None));
            assert_eq!(rows, expected);
        }
        let mut out = Vec::new();
        all.state = State::Released;
        write_row(&all, Columns::Kea2, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains(",2,{"), "Kea 2 knows no state 3");
    }
}
