//! The list of deliberate differences, and the page for operators that is made from it.
//!
//! ```text
//! [The same DISCOVER again gets the same address]   a title
//! rule M3                                           of the design
//! kea both                                          2.2 | 3.0 | both
//! at allocation / * / * / 2 discover / yiaddr       where it shows: file / configuration / exchange / packet / field; * is any text, ? one letter
//! says *                                            optional: Kea's value,
//! here *                                            and ours
//! why Kea holds nothing at a DISCOVER …             the reason; more lines of `why` go on with it
//! ```
//!
//! A listed difference that does not occur is an error: it is stale.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::Version;

/// One deliberate difference.
#[derive(Debug, Clone, Default)]
pub struct Difference {
    pub title: String,
    pub rule: String,
    /// None: both.
    pub only: Option<Version>,
    /// Patterns of places.
    pub at: Vec<String>,
    /// Patterns of Kea's value and ours.
    pub says: Option<String>,
    pub here: Option<String>,
    pub why: String,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// `file / configuration / exchange / packet / field`.
    pub place: String,
    pub kea: String,
    pub here: String,
}

/// Reads the list.
///
/// # Errors
/// At the first line that is not understood, or an entry that lacks something.
pub fn parse(text: &str) -> Result<Vec<Difference>> {
    let mut list: Vec<Difference> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let place = || format!("line {}: {line}", at + 1);
        if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            list.push(Difference { title: title.to_owned(), ..Difference::default() });
            continue;
        }
        let entry = list.last_mut().with_context(place)?;
        let (key, value) = line.split_once(' ').with_context(place)?;
        let value = value.trim();
        match key {
            "rule" => entry.rule = value.to_owned(),
            "kea" if value == "both" => entry.only = None,
            "kea" => entry.only = Some(Version::parse(value).with_context(place)?),
            "at" => entry.at.push(value.to_owned()),
            "says" => entry.says = Some(value.to_owned()),
            "here" => entry.here = Some(value.to_owned()),
            "why" if entry.why.is_empty() => entry.why = value.to_owned(),
            "why" => {
                entry.why.push(' ');
                entry.why.push_str(value);
            }
            _ => bail!("{}: none of rule, kea, at, says, here, why", place()),
        }
    }
    for entry in &list {
        ensure!(
            !entry.at.is_empty() && !entry.why.is_empty() && !entry.rule.is_empty(),
            "[{}] lacks `at`, `why` or `rule`",
            entry.title
        );
    }
    Ok(list)
}

/// Keeps count of which entries occur.
#[derive(Debug)]
pub struct Ledger<'a> {
    list: Vec<&'a Difference>,
    used: Vec<Vec<bool>>,
}

impl<'a> Ledger<'a> {
    /// The entries of `list` that are about Kea `version`.
    pub fn new(list: &'a [Difference], version: Version) -> Ledger<'a> {
        let list: Vec<&Difference> =
            list.iter().filter(|entry| entry.only.is_none_or(|only| only == version)).collect();
        let used = list.iter().map(|entry| vec![false; entry.at.len()]).collect();
        Ledger { list, used }
    }

    /// Whether `mismatch` is listed.
    pub fn excuses(&mut self, mismatch: &Mismatch) -> bool {
        let fits = |pattern: &Option<String>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| matches(pattern, text))
        };
        let mut excused = false;
        for (entry, used) in self.list.iter().zip(&mut self.used) {
            if !fits(&entry.says, &mismatch.kea) || !fits(&entry.here, &mismatch.here) {
                continue;
            }
            for (pattern, used) in entry.at.iter().zip(used) {
                if matches(pattern, &mismatch.place) {
                    *used = true;
                    excused = true;
                }
            }
        }
        excused
    }

    /// Entries of which nothing was seen.
    pub fn stale(&self) -> Vec<String> {
        let entries = self.list.iter().zip(&self.used);
        entries
            .flat_map(|(entry, used)| {
                entry
                    .at
                    .iter()
                    .zip(used)
                    .filter(|(_, used)| !**used)
                    .map(|(pattern, _)| format!("[{}]: nothing differs at {pattern}", entry.title))
            })
            .collect()
    }
}

/// Whether `text` fits `pattern`, in which `*` is any text and `?` one letter.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern.len() == text.len() && starts(pattern, text),
        Some((head, rest)) => {
            starts(head, text)
                && text.is_char_boundary(head.len())
                && (head.len()..=text.len())
                    .filter_map(|at| text.get(at..))
                    .any(|tail| matches(rest, tail))
        }
    }
}

/// Whether `text` starts like `pattern`, letter by letter.
fn starts(pattern: &str, text: &str) -> bool {
    text.len() >= pattern.len()
        && pattern
            .bytes()
            .zip(text.bytes())
            .all(|(wanted, found)| wanted == b'?' || wanted == found)
}

/// How the page about packets, `docs/differences-from-kea.md`, begins.
pub const PACKETS: &str = "# Differences from Kea\n\n\
    What Leasehold answers differently from Kea with the same configuration, on purpose. The list is complete as far as our tests see: they\n\
    send the same packets to Kea and to Leasehold and compare every field and option of the replies. Made from\n\
    `chaos-tests/tests/data/kea/differences.txt`; a test compares the two.\n\n";

/// How the page about the control API, `docs/differences-from-kea-api.md`, begins.
pub const REQUESTS: &str = "# Differences from Kea's control API\n\n\
    What Leasehold answers differently from Kea to the same command, on purpose. The list is complete as far as our tests see: they send\n\
    some seven hundred requests, good and bad, to Kea and to Leasehold and compare every member of the answers. Made from\n\
    `chaos-tests/tests/data/api/differences.txt`; a test compares the two. Differences in the answers to packets are in\n\
    [differences-from-kea.md](differences-from-kea.md).\n\n";

/// Holds the page `name` of `docs` against the list that it is made from. `ORACLE_WRITE_PAGE=1` writes it
/// anew.
///
/// # Errors
/// When the page is not that of the list.
pub fn check_page(name: &str, head: &str, list: &[Difference]) -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    let page = page(head, list);
    if std::env::var("ORACLE_WRITE_PAGE").is_ok_and(|wish| !wish.is_empty()) {
        std::fs::write(&file, &page)?;
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    ensure!(found == page, "{} is not up to date: ORACLE_WRITE_PAGE=1 writes it", file.display());
    Ok(())
}

/// A page for operators: `head`, a table, and the reasons.
fn page(head: &str, list: &[Difference]) -> String {
    let mut page = format!("{head}| Difference | Kea | Rule |\n|---|---|---|\n");
    for entry in list {
        let version = entry.only.map_or("2.2, 3.0", Version::text);
        let _ = writeln!(page, "| {} | {version} | {} |", entry.title, entry.rule);
    }
    for entry in list {
        let _ = write!(page, "\n## {}\n\n{}\n", entry.title, entry.why);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, text, fits) in [
            ("a / * / c", "a / b / c", true),
            ("a / * / c", "a / b / d", false),
            ("*", "", true),
            ("a*b*c", "a b c", true),
            ("a*b*c", "a c b", false),
            ("ab", "abc", false),
            ("a*a", "a", false),
            ("??00*", "0e0012", true),
            ("??00*", "0e", false),
            ("*b", "abab", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_listed_difference_that_does_not_occur_is_stale() -> Result<()> {
        let list = parse("[x]\nrule R1\nkea 3.0\nat a / *\nat b\nwhy so\nwhy be it\n")?;
        let mismatch = Mismatch { place: "a / y".into(), kea: "1".into(), here: "2".into() };
        let mut ledger = Ledger::new(&list, Version::V3);
        assert!(ledger.excuses(&mismatch));
        assert_eq!(ledger.stale(), ["[x]: nothing differs at b"]);
        let mut other = Ledger::new(&list, Version::V2);
        assert!(!other.excuses(&mismatch), "it is about 3.0");
        assert!(other.stale().is_empty(), "it is about 3.0");
        assert_eq!(list[0].why, "so be it");
        Ok(())
    }

    #[test]
    fn both_values_must_fit() -> Result<()> {
        let list = parse("[x]\nrule R1\nat *\nsays 1\nhere 2*\nwhy so\n")?;
        let mut ledger = Ledger::new(&list, Version::V2);
        let mismatch = |kea: &str, here: &str| Mismatch {
            place: "a".into(),
            kea: kea.into(),
            here: here.into(),
        };
        assert!(ledger.excuses(&mismatch("1", "22")));
        assert!(!ledger.excuses(&mismatch("1", "3")));
        assert!(!ledger.excuses(&mismatch("2", "22")));
        Ok(())
    }
}
