//! What an import took, changed and refused.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::lease::Place;
use crate::output::plain;

/// One thing that is told of a lease, or of a row that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub place: Place,
    pub address: Option<Ipv4Addr>,
    pub text: Box<str>,
}

/// What was read from one file, or from a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    /// Rows, or declarations of leases.
    pub rows: u64,
    /// Things that are no leases, and how many of each.
    pub passed_over: Vec<(&'static str, u64)>,
}

/// How the configuration fared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    pub file: String,
    /// The version that has it now; `None` when it was only checked.
    pub version: Option<u64>,
    pub hash: String,
    /// Whether it was in force before.
    pub unchanged: bool,
    /// What in it means something else here, or nothing.
    pub warnings: Vec<String>,
}

/// The whole.
#[derive(Debug, Default)]
pub struct Report {
    pub dry_run: bool,
    pub configuration: Option<Configuration>,
    pub sources: Vec<Source>,
    /// Addresses with a lease.
    pub found: u64,
    pub added: u64,
    pub replaced: u64,
    pub same: u64,
    pub newer: u64,
    pub over: u64,
    /// Of those that are over, how many left names in the DNS.
    pub over_with_names: u64,
    /// Leases that were taken, but not in all.
    pub changed: Vec<Line>,
    /// Leases and rows that were not taken.
    pub refused: Vec<Line>,
}

/// So many lines of each list are shown on a screen.
const SHOWN: usize = 20;

const IDLE: &str = "\nThe cluster has all of it already. Nothing was changed.\n";
const NONE: &str = "\nThere is no lease in it that still counts. Nothing was changed.\n";

impl Report {
    /// Notes what of a lease could not be kept.
    pub fn change(&mut self, place: Place, address: Ipv4Addr, how: impl Into<Box<str>>) {
        self.changed.push(Line { place, address: Some(address), text: how.into() });
    }

    /// Notes why something was not taken.
    pub fn refuse(&mut self, place: Place, address: Option<Ipv4Addr>, why: impl Into<Box<str>>) {
        self.refused.push(Line { place, address, text: why.into() });
    }

    /// Whether nothing had to be done.
    pub fn is_idle(&self) -> bool {
        let set = self.configuration.as_ref().is_some_and(|configuration| !configuration.unchanged);
        !set && self.added == 0 && self.replaced == 0
    }

    fn place(&self, place: Place) -> String {
        let name = self.sources.get(usize::from(place.source)).map_or("", |source| &*source.name);
        match place.line {
            0 => name.to_owned(),
            line => format!("{name}:{line}"),
        }
    }

    fn line(&self, line: &Line) -> Value {
        json!({
            "address": line.address.map(|address| address.to_string()),
            "place": self.place(line.place),
            "text": &*line.text,
        })
    }

    /// For scripts, and for `--report`: every line.
    pub fn json(&self) -> Value {
        let lines = |lines: &[Line]| lines.iter().map(|line| self.line(line)).collect::<Vec<_>>();
        let sources = self.sources.iter().map(|source| {
            let passed = source.passed_over.iter().map(|(what, n)| ((*what).to_owned(), json!(n)));
            json!({
                "name": source.name,
                "rows": source.rows,
                "passed-over": Value::Object(passed.collect()),
            })
        });
        let configuration = self.configuration.as_ref().map(|configuration| {
            json!({
                "file": configuration.file,
                "version": configuration.version,
                "hash": configuration.hash,
                "unchanged": configuration.unchanged,
                "warnings": configuration.warnings,
            })
        });
        json!({
            "dry-run": self.dry_run,
            "configuration": configuration,
            "sources": sources.collect::<Vec<_>>(),
            "leases": {
                "found": self.found,
                "added": self.added,
                "replaced": self.replaced,
                "same": self.same,
                "newer-here": self.newer,
                "over": self.over,
                "over-with-names": self.over_with_names,
                "changed": self.changed.len(),
                "refused": self.refused.len(),
            },
            "changed": lines(&self.changed),
            "refused": lines(&self.refused),
        })
    }

    /// For people: counts first, then the first lines of each list.
    pub fn text(&self) -> String {
        let mut out = String::new();
        if self.dry_run {
            out.push_str("Nothing was changed: this is what an import would do.\n\n");
        }
        if let Some(configuration) = &self.configuration {
            self.describe(configuration, &mut out);
        }
        for source in &self.sources {
            let _ = write!(out, "{}: {} rows", source.name, source.rows);
            for (what, count) in &source.passed_over {
                let _ = write!(out, "; passed over: {count} × {what}");
            }
            out.push('\n');
        }
        if !self.sources.is_empty() {
            self.counts(&mut out);
        }
        self.list("Changed", &self.changed, &mut out);
        self.list("Refused", &self.refused, &mut out);
        if self.is_idle() && !self.dry_run && self.refused.is_empty() {
            let none = self.found <= self.over && self.configuration.is_none();
            out.push_str(if none { NONE } else { IDLE });
        }
        out
    }

    fn describe(&self, configuration: &Configuration, out: &mut String) {
        let Configuration { file, version, hash, unchanged, warnings } = configuration;
        let _ = match (version, unchanged) {
            (Some(version), true) => {
                writeln!(out, "{file} is in force already, as version {version}.")
            }
            (Some(version), false) => {
                writeln!(out, "{file} is in force as version {version}, hash {hash}.")
            }
            (None, _) => writeln!(out, "{file} is good."),
        };
        if !warnings.is_empty() {
            let _ = writeln!(out, "  Of it, this means something else here, or nothing:");
        }
        for warning in warnings {
            let _ = writeln!(out, "  {warning}");
        }
        out.push('\n');
    }

    fn counts(&self, out: &mut String) {
        let mut rows = vec![
            ("leases found", self.found, ""),
            ("  added", self.added, ""),
            (
                "  replaced",
                self.replaced,
                "their clients were answered later than the cluster knew",
            ),
            ("  the same", self.same, "the cluster has them already"),
            ("  newer here", self.newer, "the cluster has heard of these clients later"),
            ("  over", self.over, "ended before now, not taken"),
            ("changed", self.changed.len() as u64, "taken, but not in all"),
            ("refused", self.refused.len() as u64, ""),
        ];
        if self.over_with_names > 0 {
            rows.insert(6, ("    with names", self.over_with_names, "that are still in the DNS"));
        }
        out.push('\n');
        for (what, count, note) in rows {
            let line = format!("{what:<16}{count:>9}  {note}");
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }

    fn list(&self, title: &str, lines: &[Line], out: &mut String) {
        if lines.is_empty() {
            return;
        }
        let _ = writeln!(out, "\n{title}:");
        for line in lines.iter().take(SHOWN) {
            let address = line.address.map(|address| format!("{address}: ")).unwrap_or_default();
            // It may name what a client sent.
            let text = plain(&line.text);
            let _ = writeln!(out, "  {}: {address}{text}", self.place(line.place));
        }
        if lines.len() > SHOWN {
            let more = lines.len() - SHOWN;
            let _ = writeln!(out, "  and {more} more: --report FILE has them all");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report {
            sources: vec![
                Source { name: "l.csv.2".into(), rows: 3, passed_over: Vec::new() },
                Source {
                    name: "l.csv".into(),
                    rows: 40,
                    passed_over: vec![("host declaration", 2)],
                },
            ],
            found: 30,
            added: 5,
            same: 25,
            ..Report::default()
        };
        report.refuse(Place { source: 1, line: 7 }, None, "2 columns, the first line has 11");
        report
    }

    #[test]
    fn counts_come_first_and_places_have_names() {
        let text = report().text();
        assert_eq!(
            text,
            "l.csv.2: 3 rows\nl.csv: 40 rows; passed over: 2 × host declaration\n\n\
             leases found           30\n  added                 5\n  \
             replaced              0  their clients were answered later than the cluster knew\n  \
             the same             25  the cluster has them already\n  \
             newer here            0  the cluster has heard of these clients later\n  \
             over                  0  ended before now, not taken\n\
             changed                 0  taken, but not in all\nrefused                 1\n\n\
             Refused:\n  l.csv:7: 2 columns, the first line has 11\n"
        );
        assert_eq!(report().json()["refused"][0]["place"], "l.csv:7");
        assert_eq!(report().json()["leases"]["refused"], 1);
    }

    #[test]
    fn a_long_list_is_cut_on_the_screen_only() {
        let mut report = report();
        for last in 0..40 {
            let address = Ipv4Addr::new(192, 0, 2, last);
            report.change(Place { source: 0, line: 2 }, address, "no name");
        }
        let text = report.text();
        assert!(text.contains("l.csv.2:2: 192.0.2.19: no name\n  and 20 more"), "{text}");
        assert_eq!(report.json()["changed"].as_array().map(Vec::len), Some(40));
    }

    #[test]
    fn an_import_that_had_nothing_to_do_says_so() {
        let idle = Report { found: 2, same: 2, ..Report::default() };
        assert!(idle.text().ends_with("Nothing was changed.\n"), "{}", idle.text());
        assert!(!report().text().contains("Nothing was changed"));
        // Nothing to do is not the same as nothing there.
        for none in [Report::default(), Report { found: 2, over: 2, ..Report::default() }] {
            assert_eq!(none.text().trim(), NONE.trim());
        }
        let configuration = Some(Configuration { unchanged: true, ..Configuration::default() });
        assert!(Report { configuration, ..Report::default() }.text().ends_with(IDLE));
    }

    #[test]
    fn a_refusal_does_not_make_a_terminal_do_anything() {
        let mut report = report();
        report.refuse(Place { source: 1, line: 9 }, None, "there is no binding state '\u{1b}[2J'");
        assert!(report.text().contains(r"state '\u{1b}[2J'"), "{}", report.text());
        assert!(report.json()["refused"][1]["text"].as_str().unwrap().contains("\u{1b}[2J"));
    }
}
