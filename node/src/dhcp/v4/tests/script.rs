//! The runner of the golden scripts in `testscripts/`.
//!
//! A script is blocks of commands, `---`, and what they print. `UPDATE_SCRIPTS=1 cargo test`
//! writes what they print now, to be read in the diff. Commands:
//!
//! * `config NAME`: a new state with `testscripts/configs/NAME.json`, one node: this one.
//! * `nodes 3`, `node 2 up|down|draining|left`: the roster. Node n goes by 192.0.2.n. `me N`: which one
//!   this is, at first node 1.
//! * `now SECONDS`, `set fresh|asked|again|trial`, `unset …`, `floor N`: time and context.
//! * `heard LINK NODES`, `tries MAC N AT [answered]`, `noted MAC ADDRESS`, `suspect NODE`, `trust`: memory.
//! * `lease ADDRESS MAC [secs=N] [id=HEX] [state=declined]`: an administrator's lease.
//! * `classes QUERY`: the subnet that it selects, the address that it would be offered, and its classes.
//! * a query as in `words.rs`, and how it came: `from=IP:PORT to=IP iface=NAME addr=IP mac=MAC udp
//!   ago=MILLISECONDS mtu=N`.
//!   Without them a query is a broadcast, or comes from its relay to 192.0.2.1.
//!   What is only counted comes behind the decision.
//! * `commit [VERDICT]`: applies the command of the last decision and finishes it; `late`, `changed`, `taken`
//!   stand for outcomes. `retry`: handles the last packet again.

mod node;
mod show;

pub(super) use node::Node;

fn directory() -> std::path::PathBuf {
    // The place of this file, whatever crate includes it.
    let here = std::path::Path::new(file!());
    let base = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let roots = [base.to_path_buf(), base.join(".."), "/".into()];
    let found = roots
        .iter()
        .map(|root| root.join(here).with_file_name("../testscripts"))
        .find(|path| path.is_dir());
    found.expect("testscripts lie beside the tests")
}

fn config(name: &str) -> Result<String, String> {
    let path = directory().join("configs").join(format!("{name}.json"));
    std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The configuration of most scripts.
pub(super) fn basic() -> &'static str {
    include_str!("../testscripts/configs/basic.json")
}

/// Those in which classes, reservations and the rest of Kea's keywords have a say.
pub(super) const RICH: [&str; 8] = [
    include_str!("../testscripts/configs/classes.json"),
    include_str!("../testscripts/configs/guards.json"),
    include_str!("../testscripts/configs/hosts.json"),
    include_str!("../testscripts/configs/flex-id.json"),
    include_str!("../testscripts/configs/offer.json"),
    include_str!("../testscripts/configs/bootp.json"),
    include_str!("../testscripts/configs/stash.json"),
    include_str!("../testscripts/configs/compatibility.json"),
];

fn run(text: &str) -> String {
    // What stands between `---` and the next empty line is what was printed when it was written.
    let mut expecting = false;
    let commands = text.lines().filter(|line| {
        let skip = expecting && !line.trim().is_empty();
        expecting = skip || line.trim() == "---";
        !skip
    });
    let mut node = None;
    let mut result = String::new();
    let mut output = String::new();
    for line in commands {
        let command = line.trim();
        result.push_str(line);
        result.push('\n');
        match command {
            "" => {}
            "---" => result.push_str(&std::mem::take(&mut output)),
            _ if command.starts_with('#') => {}
            _ => {
                let done = match (&mut node, command.strip_prefix("config ")) {
                    (None, Some(name)) => config(name).map(|text| {
                        node = Some(Node::new(&text));
                        String::new()
                    }),
                    (Some(node), _) => node.line(command),
                    (None, None) => Err("the first command is `config NAME`".into()),
                };
                output.push_str(&done.unwrap_or_else(|error| format!("error: {error}\n")));
            }
        }
    }
    result + &output
}

#[test]
fn golden_scripts_print_what_they_say() {
    let update = std::env::var_os("UPDATE_SCRIPTS").is_some();
    let mut paths: Vec<_> =
        std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(!paths.is_empty());
    let mut wrong = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let actual = run(&text);
        if actual == text {
            continue;
        }
        if update {
            std::fs::write(&path, actual).unwrap();
            continue;
        }
        let differs = text.lines().zip(actual.lines()).position(|(old, new)| old != new);
        let at = differs.unwrap_or(text.lines().count().min(actual.lines().count()));
        let line = |text: &str| text.lines().nth(at).unwrap_or("(end)").to_owned();
        wrong.push(format!(
            "{}:{}\n  said  {}\n  is    {}",
            path.display(),
            at + 1,
            line(&text),
            line(&actual)
        ));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The abuse table, each row on a node of its own.
#[test]
fn the_abuse_table_holds() {
    let text = std::fs::read_to_string(directory().join("abuse.tsv")).unwrap();
    let config = config("basic").unwrap();
    let mut wrong = Vec::new();
    let rows: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(rows.len() > 80, "the table is there");
    for row in rows {
        let mut columns = row.split('\t');
        let (Some(name), Some(packets), Some(answer)) =
            (columns.next(), columns.next(), columns.next())
        else {
            panic!("{row}: three columns or four");
        };
        let detail = columns.next().unwrap_or("");
        let mut node = Node::new(&config);
        let printed =
            packets.split(" ; ").map(|line| node.line(line).unwrap_or_else(|error| error)).last();
        let printed = printed.unwrap_or_default();
        let last = printed.lines().find(|line| !line.starts_with("granted")).unwrap_or_default();
        let kind = last.split(' ').next().unwrap_or_default();
        let answered = if kind == "drop" { "none" } else { kind };
        let fits = match detail.strip_prefix("not ") {
            Some(code) => !last.contains(&format!(" {code}=")),
            None => printed.contains(detail),
        };
        if answered != answer || !fits {
            wrong.push(format!("{name}: {printed}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
