//! The tables of keywords against the list of Kea's own, and the reference page made from them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::hooks::{Fate, HOOKS};
use super::schema::{DHCP4, Default, Inherit, Keyword, Kind, Scope, Status};

const KEYWORDS: &str = include_str!("testscripts/kea-keywords");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");

/// A map, where it stands, and how it is headed on the page.
pub(super) struct Place {
    pub(super) scope: &'static Scope,
    pub(super) path: String,
}

/// Every kind of map once, in the order in which it is met; hooks' parameters come last.
pub(super) fn places() -> Vec<Place> {
    fn walk(scope: &'static Scope, path: String, places: &mut Vec<Place>) {
        if places.iter().any(|place| std::ptr::eq(place.scope, scope)) {
            return;
        }
        places.push(Place { scope, path: path.clone() });
        for keyword in scope.keywords() {
            match keyword.kind {
                Kind::Map(inner) => walk(inner, format!("{path}.{}", keyword.name), places),
                Kind::Maps(inner) => walk(inner, format!("{path}.{}[]", keyword.name), places),
                _ => {}
            }
        }
    }
    let mut places = Vec::new();
    walk(&DHCP4, "Dhcp4".to_owned(), &mut places);
    for hook in HOOKS {
        if let Some(scope) = hook.parameters {
            walk(scope, format!("{}: parameters", hook.name), &mut places);
        }
    }
    places
}

#[test]
fn the_tables_have_every_keyword_of_kea_and_no_other() {
    let mut listed = BTreeSet::new();
    let mut everywhere = BTreeSet::new();
    for line in KEYWORDS.lines().filter(|line| !line.starts_with('#')) {
        let [place, keyword, tier] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        assert!(["1", "2", "3", "X"].contains(&tier), "{line}");
        match place {
            "*" => everywhere.insert(keyword),
            _ => listed.insert((place, keyword)),
        };
    }
    let (mut known, mut old) = (BTreeSet::new(), BTreeSet::new());
    for Place { scope, .. } in places() {
        for keyword in scope.keywords() {
            known.insert((scope.name, keyword.name));
            if matches!(keyword.status, Status::Old(_)) {
                old.insert((scope.name, keyword.name));
            }
        }
    }
    let missing: Vec<_> = listed.difference(&known).collect();
    // Old spellings are listed only where Kea has them still.
    let extra: Vec<_> = known.difference(&listed).filter(|row| !old.contains(row)).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing: {missing:?}\nnot listed: {extra:?}");
    assert_eq!(Vec::from_iter(everywhere), ["comment", "user-context"]);
}

#[test]
fn the_reference_page_is_that_of_the_tables() {
    let page = page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let stored = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(page == stored, "docs/configuration.md is stale; run the test with UPDATE=1");
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    let places = places();
    // Values that are inherited may stand in several kinds of map: the first section tells them.
    let mut at: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for place in &places {
        for keyword in place.scope.keywords() {
            at.entry(keyword.name).or_default().push(place.scope.name);
        }
    }
    for place in &places {
        let _ = write!(page, "\n## `{}`\n\n", place.path);
        if let Some(text) = introduction(place.scope.name) {
            let _ = write!(page, "{text}\n\n");
        }
        if place.scope.groups.is_empty() {
            page += "No parameters.\n";
            continue;
        }
        page += "| keyword | type | default | inherited | here |\n|---|---|---|---|---|\n";
        for keyword in place.scope.keywords() {
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} | {} |",
                keyword.name,
                kind(keyword.kind),
                default(keyword),
                inherited(keyword, place.scope, &at),
                status(keyword),
            );
        }
    }
    page += "\n## Hook libraries\n\n| library | here |\n|---|---|\n";
    for hook in HOOKS {
        let fate = match hook.fate {
            Fate::BuiltIn => "built in".to_owned(),
            Fate::Idle(why) => format!("accepted: {why}"),
            Fate::Refused(why) => format!("**refused**: {why}"),
        };
        let _ = writeln!(page, "| `{}` | {fate} |", hook.name);
    }
    page
}

const HEAD: &str = "\
# Configuration reference

This page is made from the tables that the server checks a configuration against; a test fails when it is stale.
The format is that of Kea's `Dhcp4` (comments, includes and all), and every keyword of Kea up to 3.1 is on it.
`leasehold check-config` reports everything that is wrong with a file at once, each with line and column.

* **inherited**: *global, network, subnet* is the order in which an unset value is looked up, from the right to the
  left; *copied* says that `config-get` shows it in every subnet. A *class* or *reservation* that sets the value
  beats them all, the reservation last.
* **here**: *works* is what Kea's manual says. *old* is an older spelling, which becomes the one in use now: `config-get`
  shows that one, and both together are a mistake. *kept* is stored and shown by `config-get`, and nothing acts on it. *accepted* has no
  effect in a cluster; one warning says so. *refused* is a mistake unless it says what holds anyway, because without it
  clients would get something else.
* `user-context` and `comment` may stand in every map except `relay`, `expired-leases-processing`, `compatibility`,
  `sanity-checks` and `output-options`. `user-context.leasehold.grace` of a subnet is the number of seconds for
  which a lease that ended keeps its address from others. `user-context.leasehold.new-clients` of `Dhcp4` limits how many
  clients that nobody knows each circuit may bring: `{ \"rate\": 100, \"burst\": 500 }` are so many a second, and so many at
  once after a while without any (these numbers hold where one is missing; without `new-clients` there is no limit). A
  client with a lease, a reservation or an offer is never touched. See [observation.md](observation.md#circuits).
";

/// What a section says before its table.
fn introduction(scope: &str) -> Option<&'static str> {
    Some(match scope {
        "client-classes" => {
            "Evaluated in the order of the list; `member()` may name classes above, and built-in ones: `ALL`, `KNOWN`, \
             `UNKNOWN`, `BOOTP` and what begins with `VENDOR_CLASS_`, `HA_`, `AFTER_` or `EXTERNAL_`. Every packet is in every \
             class that begins with `HA_`. `DROP`, `REJECT` and `SKIP_DDNS` have the meaning they have in Kea."
        }
        "ping_check" => {
            "The same words may stand in `user-context.ping-check` of a subnet, where they go before these."
        }
        "ha" => {
            "A cluster replicates every lease, so these are checked and kept, and nothing acts on them."
        }
        "control-socket" => {
            "Sockets belong to a node. A server that is started with `-c` opens those of its own file, with \
             certificates and users as here; a node with settings of its own has `[control]` in them. Names of files \
             are taken from the directory of the configuration file."
        }
        "loggers" => {
            "Logs belong to a node. A server that is started with `-c` reads them from its own file."
        }
        _ => return None,
    })
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Bool => "boolean".to_owned(),
        Kind::Int(min, max) if max == i64::from(u32::MAX) => format!("integer from {min}"),
        Kind::Int(min, max) => format!("integer, {min} to {max}"),
        Kind::Real(min, max) if max == f64::MAX => format!("number from {min}"),
        Kind::Real(min, max) => format!("number, {min} to {max}"),
        Kind::Text => "text".to_owned(),
        Kind::Short(max) => format!("text of at most {max} bytes"),
        Kind::Ip4 => "IPv4 address".to_owned(),
        Kind::Word(words) => words_of(words),
        Kind::Words(words) => format!("list of {}", words_of(words)),
        Kind::Texts => "list of texts".to_owned(),
        Kind::Ip4s => "list of IPv4 addresses".to_owned(),
        Kind::Map(_) => "map".to_owned(),
        Kind::Maps(_) => "list of maps".to_owned(),
        Kind::Free => "map of anything".to_owned(),
    }
}

/// Words, without those that differ in case only.
fn words_of(words: &[&str]) -> String {
    let mut shown: Vec<String> = Vec::new();
    for word in words {
        let word = format!("`{word}`");
        if !shown.iter().any(|other| other.eq_ignore_ascii_case(&word)) {
            shown.push(word);
        }
    }
    shown.join(", ")
}

fn default(keyword: &Keyword) -> String {
    match keyword.default {
        _ if keyword.required => "required".to_owned(),
        Default::Unset => "–".to_owned(),
        Default::Bool(flag) => format!("`{flag}`"),
        Default::Int(int) => format!("`{int}`"),
        Default::Real(real) => format!("`{real}`"),
        Default::Text(text) => format!("`\"{text}\"`"),
        Default::Texts(texts) => format!("`{texts:?}`"),
        Default::Nothing => "`[ ]`".to_owned(),
        Default::Filled => "its defaults".to_owned(),
    }
}

fn inherited(keyword: &Keyword, scope: &Scope, at: &BTreeMap<&str, Vec<&str>>) -> String {
    let copied = match keyword.inherit {
        Inherit::No => return String::new(),
        Inherit::Outward => "",
        Inherit::Copied => " (copied)",
    };
    let chain = [
        ("Dhcp4", "global"),
        ("shared-networks", "network"),
        ("subnet4", "subnet"),
        ("pools", "pool"),
        ("client-classes", "class"),
        ("reservations", "reservation"),
    ];
    let scopes = chain.iter().filter(|(name, _)| {
        *name == scope.name || at.get(keyword.name).is_some_and(|places| places.contains(name))
    });
    let scopes: Vec<&str> = scopes.map(|(_, word)| *word).collect();
    format!("{}{copied}", scopes.join(", "))
}

fn status(keyword: &Keyword) -> String {
    let status = match keyword.status {
        Status::Works => "works".to_owned(),
        Status::Old(new) => {
            let new: Vec<String> = new.iter().map(|new| format!("`{new}`")).collect();
            format!("old: {}", new.join(", "))
        }
        Status::Echoed => "kept".to_owned(),
        Status::Noted(note) => format!("accepted: {note}"),
        Status::Refused(why) => format!("**refused**: {why}"),
    };
    match keyword.remark {
        "" => status,
        remark => format!("{status}. {remark}"),
    }
}

/// The tables are what the page and the checks read, so their own rules hold for every row.
#[test]
fn an_old_spelling_has_no_default_and_names_keywords_of_a_table() {
    for Place { scope, path } in places() {
        for keyword in scope.keywords() {
            let Status::Old(new) = keyword.status else { continue };
            assert!(matches!(keyword.default, Default::Unset), "{path}.{}", keyword.name);
            for new in new {
                // The words of `dhcp-ddns` become global ones.
                let home = if scope.name == "dhcp-ddns" { &DHCP4 } else { scope };
                let found =
                    home.keyword(new).unwrap_or_else(|| panic!("{path}.{}: {new}", keyword.name));
                assert!(!matches!(found.status, Status::Old(_)), "{path}.{new}");
            }
        }
    }
}
