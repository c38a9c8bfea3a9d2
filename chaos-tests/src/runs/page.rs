//! A report as one HTML page that needs nothing beside it: no script, no font, no address. It can be sent, kept with a log, and opened as
//! a file for as long as there are browsers. Pure.
//!
//! Whatever it is given as text is escaped: breaches and panics quote what clients sent. A policy in the page forbids everything from
//! outside besides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;

use super::tally::{Gaps, Tally, ack_times, up_to};
use crate::floor::sim::faults::Fault;
use crate::floor::sim::{Breach, Report};
use crate::oracle::{History, What};

/// Of one run, how many breaches are listed: more of them say no more.
const LISTED: usize = 100;

/// A page.
#[derive(Debug)]
pub struct Page<'a> {
    /// What was run.
    pub title: &'a str,
    /// The command that repeats it.
    pub command: &'a str,
    /// What all runs showed together.
    pub tally: &'a Tally,
    /// Runs that are told in full.
    pub told: &'a [Told],
    /// How the nodes were at the end.
    pub nodes: &'a [NodeState],
    /// Faults that never came, and whatever else was not there, each with the reason.
    pub not_run: &'a [(String, String)],
}

/// A run that is told in full. Times are milliseconds of the run.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its seed.
    pub seed: u64,
    /// What was broken, and when that was noticed.
    pub breaches: Vec<Breach>,
    /// What happened, in order.
    pub story: Vec<String>,
    /// When which fault came.
    pub faults: Vec<(u64, Fault)>,
    /// When clients accepted an ACK.
    pub acks: Vec<u64>,
    /// How long it was; 0 when it did not come to its end.
    pub length_ms: u64,
    /// The command that repeats it.
    pub again: String,
}

impl Told {
    /// What a page needs of a report; `again` is the command that repeats the run.
    pub fn of(report: &Report, again: String) -> Told {
        Told {
            seed: report.seed,
            breaches: report.breaches.clone(),
            story: report.story.clone(),
            faults: report.faults.clone(),
            acks: ack_times(&report.history),
            length_ms: report.simulated_ms,
            again,
        }
    }
}

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// What is known, and the value.
    pub facts: Vec<(String, String)>,
}

impl NodeState {
    /// Every node that answered somebody, as the clients saw it.
    pub fn of(history: &History) -> Vec<NodeState> {
        #[derive(Default)]
        struct Seen {
            offers: u64,
            acks: u64,
            naks: u64,
            last: u64,
        }
        let mut nodes: BTreeMap<Ipv4Addr, Seen> = BTreeMap::new();
        for event in history.events() {
            let (Some(node), What::Offered { .. } | What::Acked { .. } | What::Refused { .. }) =
                (event.node, &event.what)
            else {
                continue;
            };
            let seen = nodes.entry(node).or_default();
            match event.what {
                What::Offered { .. } => seen.offers += 1,
                What::Acked { accepted: true, .. } => seen.acks += 1,
                What::Refused { .. } => seen.naks += 1,
                _ => {}
            }
            seen.last = event.at;
        }
        let state = |(node, seen): (Ipv4Addr, Seen)| {
            let facts = [
                ("OFFERs", seen.offers.to_string()),
                ("ACKs", seen.acks.to_string()),
                ("NAKs", seen.naks.to_string()),
                ("last answer", at(seen.last)),
            ];
            let facts = facts.map(|(name, value)| (name.to_owned(), value)).to_vec();
            NodeState { name: node.to_string(), facts }
        };
        nodes.into_iter().map(state).collect()
    }
}

/// The page as one file.
pub fn html(page: &Page<'_>) -> String {
    let mut out = String::new();
    let title = Text(page.title);
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n"
    );
    let class = if page.tally.broken.is_empty() { "good" } else { "bad" };
    let verdict = page.tally.verdict();
    let _ = writeln!(out, "<p class=\"verdict {class}\">{}</p>", Text(&verdict));
    out.push_str("<p>The command that repeats it:</p>\n");
    command(&mut out, page.command);
    totals(&mut out, page.tally);
    gaps(&mut out, &page.tally.gaps);
    faults(&mut out, page.tally);
    if !page.not_run.is_empty() {
        out.push_str("<h2>What was not run</h2>\n");
        let rows = page.not_run.iter().map(|(fault, why)| vec![fault.clone(), why.clone()]);
        table(&mut out, "words", &["what", "why"], rows);
    }
    runs(&mut out, page);
    if !page.nodes.is_empty() {
        out.push_str("<h2>Nodes</h2>\n<div class=\"nodes\">\n");
        for node in page.nodes {
            let _ = writeln!(out, "<section>\n<h3>{}</h3>", Text(&node.name));
            let rows = node.facts.iter().map(|(name, value)| vec![name.clone(), value.clone()]);
            table(&mut out, "words", &[], rows);
            out.push_str("</section>\n");
        }
        out.push_str("</div>\n");
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn totals(out: &mut String, tally: &Tally) {
    out.push_str("<h2>Totals</h2>\n");
    let rows = [
        ("runs", tally.runs.to_string()),
        ("runs that broke a promise", tally.broken.len().to_string()),
        ("hours", format!("{:.1}", tally.hours())),
        ("ACKs", tally.acks.to_string()),
        ("NAKs", tally.naks.to_string()),
    ];
    let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
    table(out, "numbers", &[], rows);
}

fn gaps(out: &mut String, gaps: &Gaps) {
    out.push_str(
        "<h2>Service gaps</h2>\n\
         <p>From each ACK to the next for anybody, and from the last to the end of a run, without the time in which clients were quiet.</p>\n\
         <div class=\"wide\">\n<table class=\"numbers\">\n\
         <tr><th>gap</th><th>times</th><th></th></tr>\n",
    );
    for (end, times) in gaps.buckets() {
        let percent = 100.0 * times as f64 / gaps.most().max(1) as f64;
        let bar = match times {
            0 => String::new(),
            _ => format!("<div class=\"bar\" style=\"width: {percent:.2}%\"></div>"),
        };
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{times}</td><td class=\"bars\">{bar}</td></tr>",
            Text(&up_to(end))
        );
    }
    out.push_str("</table>\n</div>\n");
}

fn faults(out: &mut String, tally: &Tally) {
    out.push_str("<h2>Faults</h2>\n");
    if tally.faults.is_empty() {
        out.push_str("<p>There were none.</p>\n");
        return;
    }
    let rows = tally.faults.iter().map(|(name, (times, longest, seed))| {
        let longest = format!("{:.1} s", *longest as f64 / 1000.0);
        vec![(*name).to_owned(), times.to_string(), longest, seed.to_string()]
    });
    table(out, "numbers", &["fault", "times", "longest to the next ACK", "seed"], rows);
}

fn runs(out: &mut String, page: &Page<'_>) {
    if !page.told.is_empty() {
        out.push_str("<h2>Runs</h2>\n");
    }
    page.told.iter().for_each(|told| run(out, told));
    let told: BTreeSet<u64> = page.told.iter().map(|told| told.seed).collect();
    let others = page.tally.broken.iter().filter(|(seed, _)| !told.contains(*seed));
    let others: Vec<String> = others.map(|(seed, promise)| format!("{seed} ({promise})")).collect();
    if !others.is_empty() {
        let _ = writeln!(
            out,
            "<details>\n<summary>Broken seeds that are not told here: {}</summary>\n\
             <p>{}</p>\n</details>",
            others.len(),
            Text(&others.join(", "))
        );
    }
}

fn run(out: &mut String, told: &Told) {
    let (class, verdict) = match told.breaches.len() {
        0 => ("good", "every promise was kept".to_owned()),
        many => ("bad", format!("breaches: {many}")),
    };
    let _ = writeln!(
        out,
        "<section>\n<h3 class=\"{class}\">Seed {}: {}</h3>",
        told.seed,
        Text(&verdict)
    );
    command(out, &told.again);
    timeline(out, told);
    if !told.breaches.is_empty() {
        out.push_str("<ul>\n");
        for breach in told.breaches.iter().take(LISTED) {
            let _ = writeln!(
                out,
                "<li><b class=\"bad\">{}</b> at {}: {}</li>",
                Text(breach.promise),
                at(breach.at),
                Text(&breach.what)
            );
        }
        let more = told.breaches.len().saturating_sub(LISTED);
        if more > 0 {
            let _ = writeln!(out, "<li>and {more} more</li>");
        }
        out.push_str("</ul>\n");
    }
    if !told.story.is_empty() {
        let story = told.story.join("\n");
        let _ = writeln!(
            out,
            "<details>\n<summary>What happened</summary>\n<pre>{}</pre>\n</details>",
            Text(&story)
        );
    }
    out.push_str("</section>\n");
}

/// How wide a timeline is, in its own units.
const WIDE: f64 = 1000.0;
/// Where its time begins; to the left are the names.
const LEFT: f64 = 92.0;
/// How wide its time is.
const PLOT: f64 = 890.0;
/// Into how many slices of time the ACKs are counted.
const SLICES: u64 = 178;
/// How high the fullest slice is, and where all of them stand.
const HIGH: f64 = 56.0;
const FLOOR: f64 = 66.0;
/// How high the lane of each kind of fault is.
const LANE: f64 = 18.0;
/// At most so many steps on the axis.
const STEPS: u64 = 10;

/// Time from left to right: above how many ACKs there were, below a lane for each kind of fault and one for breaches, which also cross
/// all the others.
fn timeline(out: &mut String, told: &Told) {
    let length = told.length_ms;
    if length == 0 {
        out.push_str("<p>It has no timeline: it did not come to its end.</p>\n");
        return;
    }
    let kinds = Fault::ALL.into_iter().filter_map(|fault| {
        let of_kind = told.faults.iter().filter(|(_, one)| *one == fault);
        let marks = marks(of_kind.map(|(at, _)| *at), length);
        (!marks.is_empty()).then_some((fault.name(), "fault", marks))
    });
    let breaches = marks(told.breaches.iter().map(|breach| breach.at), length);
    let crosses: Vec<f64> = breaches.values().map(|(at, _)| x(*at, length)).collect();
    let breaches = (!breaches.is_empty()).then_some(("breach", "breach", breaches));
    let lanes: Vec<_> = kinds.chain(breaches).collect();
    let bottom = FLOOR + 6.0 + LANE * lanes.len() as f64;

    let _ = writeln!(
        out,
        "<div class=\"wide\">\n<svg viewBox=\"0 0 {WIDE} {:.1}\" role=\"img\" \
         aria-label=\"Timeline of seed {}\">",
        bottom + 20.0,
        told.seed
    );
    ack_bars(out, told);
    for (row, (name, class, marks)) in lanes.iter().enumerate() {
        lane(out, name, class, FLOOR + 6.0 + LANE * row as f64, marks, length);
    }
    for x in crosses {
        let _ = writeln!(
            out,
            "<line class=\"cross\" x1=\"{x:.1}\" y1=\"4\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>"
        );
    }
    axis(out, bottom, length);
    out.push_str("</svg>\n</div>\n");
}

/// How many ACKs there were in each slice of time. A slice without any has no bar.
fn ack_bars(out: &mut String, told: &Told) {
    let length = told.length_ms.max(1);
    let mut slices: BTreeMap<u64, u64> = BTreeMap::new();
    for at in &told.acks {
        // An ACK at the very end is in the last one.
        let slice = at.saturating_mul(SLICES) / length;
        *slices.entry(slice.min(SLICES - 1)).or_default() += 1;
    }
    let most = slices.values().copied().max().unwrap_or(0);
    let wide = PLOT / SLICES as f64;
    let secs = length as f64 / SLICES as f64 / 1000.0;
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">ACKs</text>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">≤ {most} in {secs:.2} s</text>",
        LEFT - 6.0,
        FLOOR - HIGH / 2.0,
        LEFT - 6.0,
        FLOOR - HIGH / 2.0 + 14.0
    );
    for (slice, acks) in slices {
        let high = HIGH * acks as f64 / most.max(1) as f64;
        let _ = writeln!(
            out,
            "<rect class=\"ack\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{high:.1}\">\
             <title>{acks} ACKs in {secs:.2} s from {:.2} s</title></rect>",
            LEFT + wide * slice as f64,
            FLOOR - high,
            wide - 1.0,
            secs * slice as f64
        );
    }
}

/// Things that fall onto the same place are one mark: where it is in whole units, when the first of them was, and how many there are.
type Marks = BTreeMap<u64, (u64, u64)>;

fn marks(times: impl Iterator<Item = u64>, length: u64) -> Marks {
    let mut marks = Marks::new();
    for at in times {
        let (_, many) = marks.entry(x(at, length) as u64).or_insert((at, 0));
        *many += 1;
    }
    marks
}

/// A lane from `top` on, with its name in front.
fn lane(out: &mut String, name: &str, class: &str, top: f64, marks: &Marks, length: u64) {
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n\
         <line class=\"axis\" x1=\"{LEFT}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        LEFT - 6.0,
        top + 13.0,
        Text(name),
        top + LANE / 2.0,
        LEFT + PLOT,
        top + LANE / 2.0
    );
    for (first, many) in marks.values() {
        let times = if *many > 1 { format!("{many} × ") } else { String::new() };
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"4\" height=\"{:.1}\">\
             <title>{times}{} at {}</title></rect>",
            x(*first, length) - 2.0,
            top + 3.0,
            LANE - 6.0,
            Text(name),
            at(*first)
        );
    }
}

fn axis(out: &mut String, y: f64, length: u64) {
    let _ = writeln!(
        out,
        "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\"/>",
        LEFT + PLOT
    );
    let step = step(length);
    for at in (0..=length / step).map(|number| number * step) {
        let label = match at.is_multiple_of(1_000) {
            true => format!("{} s", at / 1_000),
            false => format!("{at} ms"),
        };
        let x = x(at, length);
        let _ = writeln!(
            out,
            "<line class=\"axis\" x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            y + 4.0,
            y + 16.0
        );
    }
}

/// The shortest round step of the axis, in milliseconds: 1, 2 or 5 with zeros behind.
fn step(length: u64) -> u64 {
    let mut ten = 1_u64;
    loop {
        for digit in [1, 2, 5] {
            let step = ten.saturating_mul(digit);
            if length / step <= STEPS {
                return step;
            }
        }
        ten = ten.saturating_mul(10);
    }
}

/// Where a moment is in a timeline. What was noticed behind the end is at the end.
fn x(at: u64, length: u64) -> f64 {
    LEFT + PLOT * at.min(length) as f64 / length.max(1) as f64
}

/// A moment of a run, as its story writes it.
fn at(ms: u64) -> String {
    format!("{ms} ms")
}

fn command(out: &mut String, command: &str) {
    let _ = writeln!(out, "<pre class=\"command\">{}</pre>", Text(command));
}

/// A table of text. Of class `numbers`, all columns but the first are aligned to the right.
fn table(
    out: &mut String,
    class: &str,
    headings: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) {
    let _ = writeln!(out, "<div class=\"wide\">\n<table class=\"{class}\">");
    if !headings.is_empty() {
        let cells: String =
            headings.iter().map(|cell| format!("<th>{}</th>", Text(cell))).collect();
        let _ = writeln!(out, "<tr>{cells}</tr>");
    }
    for row in rows {
        let cells: String = row.iter().map(|cell| format!("<td>{}</td>", Text(cell))).collect();
        let _ = writeln!(out, "<tr>{cells}</tr>");
    }
    out.push_str("</table>\n</div>\n");
}

/// Text that is nothing but text, in an element or an attribute. What cannot be shown is `U+FFFD`.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' => f.write_char(c)?,
                _ if c.is_control() => f.write_char(char::REPLACEMENT_CHARACTER)?,
                _ => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Colours have names here, so that the dark page changes nothing else.
const STYLE: &str = "
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c2024; --faint: #667079; --line: #d3d9de; --quiet: #f2f4f6;
  --ack: #33779f; --fault: #9a6408; --bad: #c22828; --good: #22762b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181b; --ink: #e2e6ea; --faint: #98a2ab; --line: #3b434a; --quiet: #1f2428;
    --ack: #6bb0da; --fault: #dfa54c; --bad: #ff7070; --good: #70cd78;
  }
}
body { margin: 0; background: var(--paper); color: var(--ink); }
body { font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 64rem; margin: 0 auto; padding: 1rem 1.5rem 4rem; }
h1 { font-size: 1.5rem; }
h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin-top: 1.8rem; }
pre { background: var(--quiet); padding: .6rem .8rem; overflow-x: auto; font-size: .85rem; }
pre.command { white-space: pre-wrap; overflow-wrap: anywhere; }
.verdict { background: var(--quiet); border-left: 5px solid; padding: .6rem .8rem; }
.verdict { font-weight: 600; }
.good { color: var(--good); }
.bad { color: var(--bad); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .15rem .9rem .15rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 500; }
.numbers th + th, .numbers td + td { text-align: right; }
td.bars { width: 26rem; }
.bar { height: .7rem; min-width: 2px; background: var(--ack); }
.nodes { display: flex; flex-wrap: wrap; gap: 0 3rem; }
li, td { white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; }
svg { display: block; width: 100%; min-width: 44rem; }
svg text { font-size: 11px; fill: var(--faint); }
svg text.breach, svg rect.breach { fill: var(--bad); }
svg rect.fault { fill: var(--fault); }
svg rect.ack { fill: var(--ack); }
svg line.axis { stroke: var(--line); }
svg line.cross { stroke: var(--bad); stroke-dasharray: 3 3; }
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{ClientId, Event};

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn event(at: u64, node: u8, what: What) -> Event {
        Event { at, client: ClientId(1), node: Some(Ipv4Addr::new(10, 77, 0, node)), what }
    }

    fn ack(at: u64, node: u8) -> Event {
        let what = What::Acked {
            xid: 1,
            address: ADDRESS,
            lifetime_secs: 30,
            asked_at: at,
            accepted: true,
        };
        event(at, node, what)
    }

    /// Twelve seconds with ACKs, a kill, and two breaches of a promise.
    fn broken() -> Report {
        let breach = |at| Breach {
            promise: "unique-address",
            what: format!("client 1 & client 2 at {at}"),
            at,
        };
        Report {
            seed: 77,
            breaches: vec![breach(9_000), breach(9_001)],
            story: vec!["    3000 ms kill <node 1>".to_owned()],
            faults: vec![(3_000, Fault::Kill), (3_000, Fault::SlowDisk), (3_001, Fault::Kill)],
            quiet: Vec::new(),
            history: History::new(vec![ack(2_000, 1), ack(2_010, 1), ack(12_000, 2)]),
            simulated_ms: 12_000,
        }
    }

    fn kept() -> Report {
        Report { breaches: Vec::new(), seed: 5, ..broken() }
    }

    fn page_of(reports: &[Report], told: &[Told]) -> String {
        let mut tally = Tally::default();
        reports.iter().for_each(|report| tally.add(report));
        let facts = vec![("leads".to_owned(), "<yes>".to_owned())];
        html(&Page {
            title: "chaos sim: \"a & b\"",
            command: "chaos sim --seed 77 --faults 'kill'",
            tally: &tally,
            told,
            nodes: &[NodeState { name: "n1".to_owned(), facts }],
            not_run: &[("freeze".to_owned(), "not in the world raft".to_owned())],
        })
    }

    fn told(report: &Report) -> Told {
        Told::of(report, format!("chaos sim --seed {} && echo", report.seed))
    }

    /// Every tag that is opened is closed, in order.
    fn closed(html: &str) -> Result<(), String> {
        let mut open: Vec<&str> = Vec::new();
        let mut rest = html;
        while let Some((_, after)) = rest.split_once('<') {
            let (tag, after) = after.split_once('>').ok_or("a tag without an end")?;
            rest = after;
            if tag.starts_with('!') || tag.ends_with('/') {
                continue;
            }
            let name = tag.split(' ').next().unwrap_or_default();
            match name.strip_prefix('/') {
                None => open.push(name),
                Some(name) if open.last() == Some(&name) => {
                    open.pop();
                }
                Some(name) => return Err(format!("{name} closed in {open:?}")),
            }
        }
        if open.is_empty() { Ok(()) } else { Err(format!("{open:?} left open")) }
    }

    #[test]
    fn text_is_nothing_but_text() {
        let wild = "<script>alert('1')</script> & \"x\"\u{0}\n";
        let tame = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;x&quot;\u{fffd}\n";
        assert_eq!(Text(wild).to_string(), tame);
    }

    #[test]
    fn whatever_comes_in_goes_out_escaped() {
        let wild = || "</pre><script>\"&'".to_owned();
        let breach = Breach { promise: "panic", what: wild(), at: 1 };
        let report = Report { breaches: vec![breach], story: vec![wild()], ..broken() };
        let told = Told { again: wild(), ..told(&report) };
        let mut tally = Tally::default();
        tally.add(&report);
        let page = html(&Page {
            title: &wild(),
            command: &wild(),
            tally: &tally,
            told: &[told],
            nodes: &[NodeState { name: wild(), facts: vec![(wild(), wild())] }],
            not_run: &[(wild(), wild())],
        });
        assert!(!page.contains("<script"), "{page}");
        // Title and heading, command, a fault that was not run and why; of the run its command,
        // its breach and its story; a node, and a fact and its value.
        assert_eq!(
            page.matches("&lt;/pre&gt;&lt;script&gt;&quot;&amp;&#39;").count(),
            11,
            "{page}"
        );
        closed(&page).unwrap();
    }

    #[test]
    fn a_broken_run_is_told() {
        let report = broken();
        let page = page_of(&[kept(), broken()], &[told(&report)]);
        for part in [
            "<title>chaos sim: &quot;a &amp; b&quot;</title>",
            "PROMISES WERE BROKEN with 1 seeds: 77 (unique-address)",
            "chaos sim --seed 77 --faults &#39;kill&#39;",
            "<td>kill</td><td>4</td><td>9.0 s</td><td>5</td>",
            "<td>freeze</td><td>not in the world raft</td>",
            "<td>≤ 16 s</td><td>2</td>",
            "Seed 77: breaches: 2",
            "chaos sim --seed 77 &amp;&amp; echo",
            "<title>2 × kill at 3000 ms</title>",
            "<title>slow-disk at 3000 ms</title>",
            "<title>2 × breach at 9000 ms</title>",
            "unique-address</b> at 9001 ms: client 1 &amp; client 2 at 9001</li>",
            "kill &lt;node 1&gt;",
            "<td>leads</td><td>&lt;yes&gt;</td>",
            ">12 s</text>",
        ] {
            assert!(page.contains(part), "{part} is missing in\n{page}");
        }
        assert_eq!(page.matches("class=\"cross\"").count(), 1, "{page}");
        closed(&page).unwrap();
    }

    #[test]
    fn a_page_without_breaches_says_so_and_shows_no_red_mark() {
        let page = page_of(&[kept()], &[told(&kept())]);
        assert!(page.contains("<p class=\"verdict good\">Every promise was kept.</p>"), "{page}");
        assert!(page.contains("Seed 5: every promise was kept"), "{page}");
        for absent in ["class=\"breach\"", "class=\"cross\"", "class=\"bad\"", "not told here"] {
            assert!(!page.contains(absent), "{absent} is in\n{page}");
        }
        closed(&page).unwrap();
    }

    #[test]
    fn it_needs_nothing_from_outside() {
        let page = page_of(&[broken()], &[told(&broken())]);
        for outside in ["://", "<script", "<link", "<img", "src=", "href", "@import", "url("] {
            assert!(!page.contains(outside), "{outside} is in\n{page}");
        }
    }

    #[test]
    fn broken_seeds_without_a_story_are_named() {
        let page = page_of(&[broken()], &[]);
        assert!(page.contains("Broken seeds that are not told here: 1</summary>"), "{page}");
        assert!(page.contains("<p>77 (unique-address)</p>"), "{page}");
        closed(&page).unwrap();
    }

    #[test]
    fn a_run_that_did_not_begin_has_no_timeline() {
        let history = History::default();
        let report = Report { simulated_ms: 0, faults: Vec::new(), history, ..broken() };
        let page = page_of(&[], &[told(&report)]);
        assert!(!page.contains("<svg") && page.contains("did not come to its end"), "{page}");
        closed(&page).unwrap();
    }

    #[test]
    fn of_many_breaches_some_are_listed_and_the_others_counted() {
        let breach = Breach { promise: "agreement", what: "differ".to_owned(), at: u64::MAX };
        let report = Report { breaches: vec![breach; LISTED + 7], ..broken() };
        let page = page_of(&[], &[told(&report)]);
        assert_eq!(page.matches("<b class=\"bad\">").count(), LISTED);
        assert!(page.contains("<li>and 7 more</li>"), "{page}");
        assert!(page.contains("<title>107 × breach at"), "{page}");
    }

    #[test]
    fn the_axis_has_round_steps_and_few() {
        assert_eq!(
            [1, 10, 11, 12_000, 60_000, 3_600_000].map(step),
            [1, 1, 2, 2_000, 10_000, 500_000]
        );
        for length in [1, 999, 123_456, u64::MAX] {
            assert!(length / step(length) <= STEPS, "{length}");
        }
        assert_eq!((x(0, 7), x(7, 7), x(9, 7), x(0, 0)), (LEFT, LEFT + PLOT, LEFT + PLOT, LEFT));
    }

    #[test]
    fn nodes_are_what_clients_saw_of_them() {
        let nak = event(900, 1, What::Refused { xid: 1, address: ADDRESS });
        let offer = event(800, 2, What::Offered { xid: 1, address: ADDRESS });
        let asked = Event { node: None, ..event(990, 1, What::Released { address: ADDRESS }) };
        let nodes = NodeState::of(&History::new(vec![ack(100, 1), offer, nak, asked]));
        let shown: Vec<(&str, String)> = nodes
            .iter()
            .map(|node| {
                let values: Vec<&str> = node.facts.iter().map(|(_, it)| it.as_str()).collect();
                (node.name.as_str(), values.join(" "))
            })
            .collect();
        assert_eq!(
            shown,
            [("10.77.0.1", "0 1 1 900 ms".to_owned()), ("10.77.0.2", "1 0 0 800 ms".to_owned())]
        );
    }
}
