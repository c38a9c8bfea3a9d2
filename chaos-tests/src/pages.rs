//! Commands in the documentation: what a page says to type, and what it says is printed. Pure; `tests/docs.rs` runs them.
//!
//! The notation is told to writers in `docs/README.md`.

mod typed;

pub use typed::{Typed, command_lines};

/// What surrounds the commands of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// A machine with the package and nothing started.
    Empty,
    /// A cluster of one.
    OneNode,
    /// Three machines with the package and nothing started, and an operator's.
    ThreeMachines,
    /// The same, with the three racks' nodes running on them.
    ThreeNodes,
    /// That, and two more machines with the package and nothing started.
    FiveMachines,
}

impl Sandbox {
    fn parse(text: &str) -> Option<Sandbox> {
        match text {
            "empty" => Some(Sandbox::Empty),
            "one node" => Some(Sandbox::OneNode),
            "three machines" => Some(Sandbox::ThreeMachines),
            "three nodes" => Some(Sandbox::ThreeNodes),
            "three nodes, five machines" => Some(Sandbox::FiveMachines),
            _ => None,
        }
    }
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Of the page, counted from 1.
    pub line: usize,
    pub script: String,
    /// The exit status that the page promises.
    pub status: i32,
    /// What it prints, if the page says.
    pub prints: Vec<String>,
}

/// What a page asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub sandbox: Sandbox,
    pub commands: Vec<Command>,
    /// Blocks that are not run: line and reason.
    pub not_run: Vec<(usize, String)>,
    /// Links to files and headings.
    pub links: Vec<Link>,
    /// What the heads of its parts are called in links.
    pub anchors: Vec<String>,
    /// A script that the machine runs before: what the page takes for granted beside the sandbox.
    pub brings: Option<String>,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// From the page's directory; empty for the page itself.
    pub file: String,
    /// The part after `#`.
    pub anchor: Option<String>,
}

/// Programs whose name at the start of a line of a block means that somebody should type it.
const PROGRAMS: [&str; 8] =
    ["apt", "cargo", "cluster-ctl", "curl", "dpkg", "kea-dhcp4", "leasehold", "systemctl"];

/// Reads a page of Markdown.
///
/// # Errors
/// Every place where commands are written so that nobody could run them.
pub fn parse(text: &str) -> Result<Page, Vec<String>> {
    let mut page = Page {
        sandbox: Sandbox::Empty,
        commands: Vec::new(),
        not_run: Vec::new(),
        links: Vec::new(),
        anchors: Vec::new(),
        brings: None,
    };
    let mut mistakes = Vec::new();
    // The fence and the first line's words of the block that we are in.
    let mut block: Option<(&str, &str)> = None;
    let mut after_blank = true;
    for (at, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim_start();
        if let Some((fence, info)) = block {
            if trimmed.trim_end() == fence {
                block = None;
            } else if info == "console" {
                if let Err(mistake) = console_line(&mut page.commands, at, line) {
                    mistakes.push(format!("line {at}: {mistake}"));
                }
            } else if !info.starts_with("console") && info != "markdown" && is_command(line) {
                mistakes.push(format!("line {at}: a command that is not in a console block"));
            }
            after_blank = false;
            continue;
        }
        let ticks = trimmed.len() - trimmed.trim_start_matches('`').len();
        if ticks >= 3 {
            let (fence, info) = trimmed.split_at(ticks);
            block = Some((fence, info.trim()));
            match opening(info.trim()) {
                Ok(Some(reason)) => page.not_run.push((at, reason.to_owned())),
                Ok(None) => {}
                Err(mistake) => mistakes.push(format!("line {at}: {mistake}")),
            }
            // A new block: what follows is no output of a command of the one before.
            if info.trim() == "console" {
                page.commands.push(Command {
                    line: at,
                    script: String::new(),
                    status: 0,
                    prints: Vec::new(),
                });
            }
            continue;
        }
        if let Some(name) = said(trimmed, "sandbox") {
            match Sandbox::parse(name) {
                Some(sandbox) => page.sandbox = sandbox,
                None => mistakes.push(format!("line {at}: there is no sandbox {name:?}")),
            }
        }
        if let Some(script) = said(trimmed, "brings") {
            page.brings = Some(script.to_owned());
        }
        if let Some(heading) = line.starts_with('#').then(|| line.trim_start_matches('#')) {
            page.anchors.push(anchor(heading.trim()));
        }
        if after_blank && line.starts_with("    ") && is_command(trimmed) {
            mistakes.push(format!("line {at}: a command that is not in a console block"));
        }
        after_blank = trimmed.is_empty();
        page.links.extend(links(line));
    }
    if let Some((_, info)) = block {
        mistakes.push(format!("a block that does not end: {info}"));
    }
    page.commands.retain(|command| !command.script.is_empty());
    if mistakes.is_empty() { Ok(page) } else { Err(mistakes) }
}

/// Whether a line looks like one of those that somebody types.
fn is_command(line: &str) -> bool {
    let mut words = line.trim_start_matches("$ ").split(' ');
    words.next().is_some_and(|first| PROGRAMS.contains(&first)) && words.next().is_some()
}

/// The words after a fence: a reason not to run the block, or nothing.
fn opening(info: &str) -> Result<Option<&str>, String> {
    let (language, rest) = info.split_once(' ').unwrap_or((info, ""));
    match language {
        "sh" | "bash" | "shell" | "shell-session" => {
            Err(format!("a block of {language}: commands stand in blocks of console"))
        }
        "console" if rest.is_empty() => Ok(None),
        "console" => {
            let reason = rest.strip_prefix("no-run=\"").and_then(|rest| rest.strip_suffix('"'));
            match reason.map(str::trim) {
                Some(reason) if !reason.is_empty() => Ok(Some(reason)),
                _ => Err(format!(
                    "a block of console with {rest:?}; only no-run=\"REASON\" is known"
                )),
            }
        }
        _ => Ok(None),
    }
}

/// A line of a block that is run. The last command of the list is the block's, or its opening.
fn console_line(commands: &mut Vec<Command>, at: usize, line: &str) -> Result<(), &'static str> {
    let last = commands.last_mut().ok_or("a line outside of a block")?;
    if let Some(script) = line.strip_prefix("$ ") {
        let (script, status) = promised(script);
        let command = Command { line: at, script, status, prints: Vec::new() };
        commands.push(command);
    } else if let Some(more) = line.strip_prefix("> ").or((line == ">").then_some(""))
        && last.prints.is_empty()
    {
        let (more, status) = promised(more);
        last.script.push('\n');
        last.script.push_str(&more);
        last.status = last.status.max(status);
    } else if last.script.is_empty() {
        return Err("a block of console starts with `$ `");
    } else {
        last.prints.push(line.to_owned());
    }
    Ok(())
}

/// A command, and the status that the comment at its end promises.
fn promised(script: &str) -> (String, i32) {
    let status = script.rsplit_once("# exit ").and_then(|(_, status)| status.trim().parse().ok());
    (script.to_owned(), status.unwrap_or(0))
}

/// What a comment `<!-- key: value -->` says.
fn said<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let rest = line.strip_prefix("<!-- ")?.strip_prefix(key)?.strip_prefix(':')?;
    rest.trim_end().strip_suffix("-->").map(str::trim)
}

/// How links call a heading: letters and digits, and a hyphen for each blank.
pub fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// What a line links to, here.
fn links(line: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for part in line.split("](").skip(1) {
        let Some((target, _)) = part.split_once(')') else { continue };
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = match target.split_once('#') {
            Some((file, anchor)) => (file, Some(anchor.to_owned())),
            None => (target, None),
        };
        found.push(Link { file: file.to_owned(), anchor });
    }
    found
}

/// Whether `printed` is what a page shows: `…` alone is any lines, within a line anything; blanks count as one.
pub fn matches(shown: &[String], printed: &str) -> bool {
    let tidy = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown: Vec<String> = shown.iter().map(|line| tidy(line)).collect();
    let mut printed: Vec<String> = printed.lines().map(tidy).collect();
    while printed.last().is_some_and(String::is_empty) {
        printed.pop();
    }
    lines_match(&shown, &printed)
}

/// Greedy over the lines: for each stretch between two `…` the first place where it fits, the last at the end.
fn lines_match(shown: &[String], printed: &[String]) -> bool {
    let stretches: Vec<&[String]> = shown.split(|line| line == "…").collect();
    let [first, middle @ .., last] = &stretches[..] else {
        return shown.len() == printed.len() && fits(shown, printed);
    };
    if printed.len() < first.len() + last.len() || !fits(first, printed) {
        return false;
    }
    let end = printed.len() - last.len();
    let mut from = first.len();
    for stretch in middle {
        let place = (from..=end.saturating_sub(stretch.len()))
            .find(|at| at + stretch.len() <= end && fits(stretch, &printed[*at..]));
        match place {
            Some(at) => from = at + stretch.len(),
            None => return false,
        }
    }
    from <= end && fits(last, &printed[end..])
}

/// Whether the first lines of `printed` are those of `stretch`.
fn fits(stretch: &[String], printed: &[String]) -> bool {
    stretch.len() <= printed.len()
        && stretch.iter().zip(printed).all(|(shown, printed)| line_matches(shown, printed))
}

fn line_matches(shown: &str, printed: &str) -> bool {
    let parts: Vec<&str> = shown.split('…').map(str::trim).collect();
    let [first, middle @ .., last] = &parts[..] else { return shown == printed };
    let Some(mut rest) = printed.strip_prefix(first) else { return false };
    for part in middle {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# Title: two of `it`
<!-- sandbox: one node -->
<!-- brings: a-script -->
See [this](file.md#part) and [that](https://example.org).

```console
$ one \\
> two
printed

$ three   # exit 1
```

```console no-run=\"a printer\"
$ lp page
```

````markdown
```console
$ never
```
````
";

    #[test]
    fn a_page_is_read_as_its_writer_meant_it() {
        let page = parse(PAGE).expect("a page");
        assert_eq!(page.sandbox, Sandbox::OneNode);
        let link = Link { file: "file.md".to_owned(), anchor: Some("part".to_owned()) };
        assert_eq!(page.links, [link]);
        assert_eq!(page.anchors, ["title-two-of-it"]);
        assert_eq!(page.brings.as_deref(), Some("a-script"));
        assert_eq!(page.not_run, [(14, "a printer".to_owned())]);
        let [one, three] = &page.commands[..] else { panic!("{page:?}") };
        assert_eq!((one.line, one.script.as_str(), one.status), (7, "one \\\ntwo", 0));
        assert_eq!(one.prints, ["printed", ""]);
        assert_eq!((three.line, three.status), (11, 1));
    }

    #[test]
    fn commands_that_nobody_would_run_are_mistakes() {
        for (text, part) in [
            ("```sh\nls\n```\n", "a block of sh"),
            ("```console no-run=\"\"\n$ ls\n```\n", "no-run"),
            ("```console quietly\n$ ls\n```\n", "quietly"),
            ("```console\nls\n```\n", "starts with"),
            ("```console\n$ ls\n", "does not end"),
            ("text\n\n    cluster-ctl status\n", "not in a console block"),
            ("```\ncurl -s x\n```\n", "not in a console block"),
            ("<!-- sandbox: none -->\n", "no sandbox"),
        ] {
            let mistakes = parse(text).expect_err(text);
            assert!(mistakes.iter().any(|mistake| mistake.contains(part)), "{mistakes:?}");
        }
    }

    #[test]
    fn what_is_shown_is_held_against_what_was_printed() {
        let shows = |shown: &str, printed: &str| {
            matches(&shown.lines().map(str::to_owned).collect::<Vec<_>>(), printed)
        };
        assert!(shows("a  b", "a b\n"));
        assert!(!shows("a", "a\nb\n"));
        assert!(shows("…\nb", "a\nb\n") && shows("…\nb", "b\n"));
        assert!(shows("a\n…", "a\n") && shows("a\n…\nc", "a\nb\nc"));
        assert!(!shows("a\n…\na", "a\n"), "one line is not two");
        assert!(
            shows("…\nb\n…\nd\n…", "a\nb\nc\nd\ne") && !shows("…\nd\n…\nb\n…", "a\nb\nc\nd\ne")
        );
        assert!(
            shows("a … c", "a b c") && shows("… leader", "1 x leader") && !shows("a … d", "a b c")
        );
        assert!(shows("n … of 3 …", "n 1 of 3 x"));
    }
}
