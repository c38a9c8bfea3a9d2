//! What the demo prints. On a terminal the table of nodes is redrawn in place; in a file or a pipe
//! it is printed once a second, so that a log stays readable.

use std::cell::Cell;
use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use serde_json::{Value, json};

use super::nodes::Node;

/// One row of the table.
#[derive(Debug, Clone)]
pub struct ClusterLine {
    /// `node-1`.
    pub name: String,
    /// `leader`, `follower`, `candidate`, or `down`.
    pub role: String,
    /// Raft term.
    pub term: Option<u64>,
    /// Applied index.
    pub applied: Option<u64>,
    /// Leases the node knows.
    pub leases: Option<u64>,
}

impl ClusterLine {
    /// Asks a node about itself.
    pub fn of(node: &Node) -> ClusterLine {
        let name = format!("node-{}", node.number);
        let Ok(status) = node.command("cluster-status", json!({})) else {
            return ClusterLine {
                name,
                role: "down".into(),
                term: None,
                applied: None,
                leases: None,
            };
        };
        let number = |key: &str| status.get(key).and_then(Value::as_u64);
        let own = number("node");
        let role = status
            .get("nodes")
            .and_then(Value::as_array)
            .and_then(|nodes| nodes.iter().find(|row| row.get("id").and_then(Value::as_u64) == own))
            .and_then(|row| row.get("role").and_then(Value::as_str));
        ClusterLine {
            name,
            role: role.unwrap_or("?").to_owned(),
            term: number("term"),
            applied: number("applied-index"),
            leases: number("leases"),
        }
    }
}

/// Standard output, as a terminal or as a log.
#[derive(Debug)]
pub struct Screen {
    terminal: bool,
    /// Lines of the table or progress line that stand where the next print begins.
    drawn: Cell<usize>,
    last_table: Cell<Duration>,
}

impl Screen {
    /// Looks whether standard output is a terminal.
    pub fn new() -> Screen {
        Screen {
            terminal: stdout().is_terminal(),
            drawn: Cell::new(0),
            last_table: Cell::new(Duration::ZERO),
        }
    }

    /// The first line.
    pub fn title(&self, text: &str) {
        self.line(&self.bold(text));
    }

    /// A step of the story.
    pub fn step(&self, text: &str) {
        self.keep();
        self.line("");
        self.line(&self.bold(text));
    }

    /// A remark.
    pub fn note(&self, text: &str) {
        self.clear_progress();
        self.line(&format!("   {text}"));
    }

    /// A line to paste.
    pub fn command(&self, text: &str) {
        self.line(&format!("   $ {text}"));
    }

    /// A check and whether it held.
    pub fn check(&self, held: bool, text: &str) {
        self.keep();
        let mark = match (held, self.terminal) {
            (true, true) => "\x1b[32m✓\x1b[0m",
            (false, true) => "\x1b[31m✗\x1b[0m",
            (true, false) => "[ok]  ",
            (false, false) => "[FAIL]",
        };
        self.line(&format!(" {mark} {text}"));
    }

    /// The last line of the story.
    pub fn verdict(&self, held: bool, elapsed: Duration) {
        self.keep();
        self.line("");
        let text = if held {
            "Every check held: no acknowledged lease was lost, no address was given twice."
        } else {
            "A CHECK FAILED. Please report this with the logs named above."
        };
        self.line(&self.bold(&format!("{text} ({:.0} s)", elapsed.as_secs_f64())));
    }

    /// What is being waited for; replaced by the next print.
    pub fn progress(&self, text: &str) {
        if self.terminal {
            self.erase();
            self.line(&format!("   … {text}"));
            self.drawn.set(1);
        }
    }

    /// Takes the progress line or table away.
    pub fn clear_progress(&self) {
        self.erase();
    }

    /// The table of nodes and the count of clients.
    pub fn table(&self, now: Duration, lines: &[ClusterLine], bound: usize, waiting: usize) {
        if !self.terminal && now.saturating_sub(self.last_table.get()) < Duration::from_secs(1) {
            return;
        }
        self.last_table.set(now);
        if !self.terminal {
            let nodes: Vec<String> =
                lines.iter().map(|line| format!("{} {}", line.name, line.role)).collect();
            self.line(&format!(
                "   {:5.1} s  {}  |  {bound} clients bound, {waiting} waiting",
                now.as_secs_f64(),
                nodes.join(", ")
            ));
            return;
        }
        self.erase();
        let show = |value: Option<u64>| value.map_or("–".to_owned(), |v| v.to_string());
        self.line(&format!(
            "   {:<8} {:<10} {:>5} {:>9} {:>8}",
            "NODE", "ROLE", "TERM", "APPLIED", "LEASES"
        ));
        for line in lines {
            self.line(&format!(
                "   {:<8} {:<10} {:>5} {:>9} {:>8}",
                line.name,
                line.role,
                show(line.term),
                show(line.applied),
                show(line.leases)
            ));
        }
        self.line(&format!("   clients: {bound} bound, {waiting} waiting"));
        self.drawn.set(lines.len() + 2);
    }

    /// Leaves the table standing.
    fn keep(&self) {
        self.drawn.set(0);
    }

    fn erase(&self) {
        if self.terminal {
            for _ in 0..self.drawn.take() {
                print!("\x1b[1A\x1b[2K");
            }
        }
    }

    fn bold(&self, text: &str) -> String {
        if self.terminal { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn line(&self, text: &str) {
        let mut out = stdout().lock();
        // A closed pipe (`| head`) must not end the demo before it has cleaned up.
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
    }
}
