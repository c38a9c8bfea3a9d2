//! ISC dhcpd's lease file: `dhcpd.leases`, DHCPv4. Pure.
//!
//! The file is a log: of the declarations of an address the last one counts. What they mean here:
//!
//! | `binding state` | here |
//! |---|---|
//! | `active`, or none | a lease from `starts` to `ends` |
//! | `bootp`, `reserved` | the same: older servers wrote them in the place of `active` and a flag |
//! | `abandoned` | a declined address until `ends`, a day after `starts` if it has none |
//! | anything else | nobody holds the address |

mod lexer;
mod parser;

use std::net::Ipv4Addr;

use leasehold::types::ClientId;

use super::database::Database;
use super::lease::{FOREVER, Lease, Place, State};
use super::memfile::Row;
use super::report::Report;
use parser::{Declared, Item, NEVER};

/// How long an abandoned address is kept from everybody when the file does not say: dhcpd's own default.
const ABANDONED: i64 = 86_400;

/// Reads a file, the source that `report` has last, into a database.
///
/// # Errors
/// When it is no lease file of dhcpd: there is no lease in it, and something else. One that has no lease yet is
/// good.
pub fn read(text: &[u8], source: u16, report: &mut Report) -> Result<Database, String> {
    let content = parser::parse(text);
    if !content.has_leases() {
        if content.passed_over.contains_key(parser::DHCPV6) {
            return Err("this is a DHCPv6 lease file; leases of DHCPv4 can be imported".to_owned());
        }
        if let Some(line) = content.strange {
            return Err(format!(
                "this is no lease file of dhcpd: there is no lease in it, and line {line} is nothing that dhcpd writes"
            ));
        }
    }
    let mut database = Database::default();
    let mut rows = 0;
    for item in content.items {
        match item {
            Item::Lease(address, declared) => {
                rows += 1;
                let place = Place { source, line: declared.line };
                match row(address, &declared, place) {
                    Ok(row) => database.row(row),
                    Err(why) => report.refuse(place, Some(address), why),
                }
            }
            Item::Broken(line, address, why) => {
                report.refuse(Place { source, line }, address, why);
            }
        }
    }
    if let Some(source) = report.sources.get_mut(usize::from(source)) {
        source.rows = rows;
        source.passed_over = content.passed_over.into_iter().collect();
    }
    Ok(database)
}

fn row(address: Ipv4Addr, declared: &Declared, place: Place) -> Result<Row, String> {
    let begin = declared.starts.or(declared.cltt);
    let last = declared.cltt.or(declared.starts).unwrap_or_default();
    let state = match &*declared.state {
        "active" | "" => State::Assigned,
        "abandoned" => State::Declined,
        "free" | "backup" | "expired" | "released" | "reset" => {
            return Ok(Row::Gone(address, last));
        }
        other => return Err(format!("there is no binding state '{other}'")),
    };
    let ends = match (declared.ends, state) {
        (Some(NEVER) | None, State::Declined) => {
            begin.unwrap_or_default().saturating_add(ABANDONED)
        }
        (Some(ends), _) => ends,
        (None, _) => return Err("it does not say when it ends".to_owned()),
    };
    // Lifetime and beginning as the client was told them.
    let begin = begin.unwrap_or(ends).min(ends);
    let (cltt, valid) = match u32::try_from(ends.saturating_sub(begin)) {
        _ if ends == NEVER => (if begin == NEVER { 0 } else { begin }, FOREVER),
        Ok(valid) if valid < FOREVER => (begin, valid),
        _ => return Err("it ends before it starts, or too late".to_owned()),
    };
    let mut notes = Vec::new();
    let hw = declared.hardware.as_deref().unwrap_or_default();
    let hw = hw.parse().map_err(|bad| format!("hardware '{hw}': {bad}"))?;
    let client_id = declared.uid.as_deref().and_then(|uid| match ClientId::new(uid) {
        Ok(id) => Some(id),
        Err(bad) => {
            notes.push(format!("the uid was left out: {bad}"));
            None
        }
    });
    if declared.reserved {
        notes.push("it was reserved for its client: make a reservation".to_owned());
    }
    let (hostname, fqdn_fwd, fqdn_rev) = names(declared);
    let lease = Lease {
        address,
        subnet: 0,
        hw,
        client_id,
        cltt,
        valid,
        state,
        hostname: hostname.to_lowercase().into(),
        fqdn_fwd,
        fqdn_rev,
        context: None,
        pool: 0,
        place,
    };
    Ok(Row::Lease(Box::new(lease), (!notes.is_empty()).then(|| notes.join("; "))))
}

/// The name of the client, and which records the server made of it. When the client made its own forward
/// record, the server's reverse one points to that name.
fn names(declared: &Declared) -> (&str, bool, bool) {
    let reverse = declared.rev_name.is_some();
    if let Some(name) = declared.fwd_name.as_deref().filter(|name| !name.is_empty()) {
        return (name, true, reverse);
    }
    if let Some(name) = declared.client_fqdn.as_deref().filter(|name| !name.is_empty()) {
        return (name, false, reverse);
    }
    (declared.hostname.as_deref().unwrap_or_default(), false, false)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::super::report::Source;
    use super::*;

    /// What comes of a file, as text.
    fn told(text: &[u8]) -> String {
        let mut report = Report::default();
        report.sources.push(Source { name: "file".into(), ..Source::default() });
        let database = read(text, 0, &mut report).unwrap();
        let mut out =
            format!("{} leases in {} declarations", database.len(), report.sources[0].rows);
        for (what, count) in &report.sources[0].passed_over {
            write!(out, ", {count} {what}").unwrap();
        }
        out.push('\n');
        for (lease, note) in database.into_leases() {
            let Lease { address, cltt, valid, state, hostname, place, .. } = &lease;
            let valid = if *valid == FOREVER { "ever".to_owned() } else { valid.to_string() };
            write!(out, "{}: {address} {state:?} {lease} {cltt} for {valid}", place.line).unwrap();
            if !hostname.is_empty() {
                let (fwd, rev) = (u8::from(lease.fqdn_fwd), u8::from(lease.fqdn_rev));
                write!(out, " {hostname} {fwd}{rev}").unwrap();
            }
            out.push_str(&note.map(|note| format!(" ({note})")).unwrap_or_default());
            out.push('\n');
        }
        for line in &report.refused {
            writeln!(out, "refused {}: {:?} {}", line.place.line, line.address, line.text).unwrap();
        }
        out
    }

    #[test]
    fn a_file_of_another_kind_is_told_from_one_without_leases() {
        let read =
            |text: &[u8]| read(text, 0, &mut Report::default()).map(|database| database.len());
        let fresh = "# The format of this file is documented in the dhcpd.leases(5) manual page.\n\
                     authoring-byte-order little-endian;\nserver-duid \"\\000\\001\";\n\
                     failover peer \"dhcp\" state {\n  my state normal at 5 2026/11/27 10:00:00;\n}\n\
                     host printer { dynamic; }\n";
        for none_yet in ["", "\n\n", "# only a comment", fresh] {
            assert_eq!(read(none_yet.as_bytes()), Ok(0), "{none_yet}");
        }
        for (other, told) in [
            (
                &b"address,hwaddr,client_id,valid_lifetime\n192.0.2.1,02:00:00:00:00:01,,3600\n"[..],
                "line 1",
            ),
            (b"\x7fELF\x02\x01\x01\0\0;{\0}\0", "line 1"),
            (b"# dhcpd.conf\nsubnet 192.0.2.0 netmask 255.255.255.0 { }\nhost a { }\n", "line 2"),
            // The client's.
            (b"lease {\n  interface \"eth0\";\n  fixed-address 192.0.2.1;\n}\n", "line 1"),
            (b"ia-na \"\\001\" {\n  iaaddr 2001:db8::1 { }\n}\n", "DHCPv6"),
        ] {
            let why = read(other).unwrap_err();
            assert!(why.contains(told), "{}: {why}", String::from_utf8_lossy(other));
        }
        // What is strange beside leases is reported, and costs nothing else.
        assert_eq!(read(b"lease 192.0.2.1 { ends never; binding state active; }\nnews 1;"), Ok(1));
    }

    #[test]
    fn a_state_that_older_servers_wrote_is_a_lease_with_a_flag() {
        let text = |state: &str| {
            told(
                format!(
                    "lease 192.0.2.1 {{ starts epoch 5; ends epoch 9; binding state {state}; }}"
                )
                .as_bytes(),
            )
        };
        let active = text("active");
        assert!(active.contains("192.0.2.1 Assigned"), "{active}");
        assert_eq!(text("bootp"), active);
        let note = " (it was reserved for its client: make a reservation)\n";
        assert_eq!(text("reserved"), format!("{}{note}", active.trim_end()));
    }

    /// With `UPDATE=1` in the environment the expectations are written anew; read the diff.
    #[test]
    fn golden_files() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/import/testdata");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|end| end != "leases") {
                continue;
            }
            seen += 1;
            let (got, expected) =
                (told(&std::fs::read(&path).unwrap()), path.with_extension("told"));
            if std::env::var_os("UPDATE").is_some() {
                std::fs::write(&expected, got).unwrap();
            } else {
                let text = std::fs::read_to_string(&expected).unwrap_or_default();
                assert_eq!(got, text, "{}", path.display());
            }
        }
        assert!(seen >= 3, "{seen} files in {folder}");
    }
}
