//! The table, for people and for programs. Pure.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::book::{Book, Figure, Subject};
use super::goal::ROWS;
use super::sample::Sample;

/// What the figures were measured on.
#[derive(Debug, Clone, Default)]
pub struct Header {
    pub machine: String,
    pub cores: usize,
    /// Load average when the suite began: other work on the machine shows here.
    pub load: String,
    pub leasehold: String,
    pub commit: String,
    /// None: not installed.
    pub kea: Option<String>,
    pub sockets: String,
    pub seconds: u32,
    pub rounds: u32,
    pub when: String,
}

/// The table, the figures of every server, and what was noted.
pub fn text(header: &Header, book: &Book) -> String {
    let mut text = String::new();
    let kea = header.kea.as_deref().unwrap_or("not measured: there are no ratios");
    for (key, value) in [
        (
            "Machine",
            format!("{}, {} cores, load average {}", header.machine, header.cores, header.load),
        ),
        ("Leasehold", format!("{}, commit {}", header.leasehold, header.commit)),
        ("Kea", kea.to_owned()),
        (
            "Runs",
            format!(
                "{} s each, rounds: {}, {} sockets; begun {}",
                header.seconds, header.rounds, header.sockets, header.when
            ),
        ),
    ] {
        let _ = writeln!(text, "{key:<10} {value}");
    }
    text.push('\n');
    let mut goals = vec![
        ["Figure", "Goal", "Median (min–max)", "÷ Kea alone", "÷ hot-standby", "Met"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for row in ROWS {
        let Some(sample) = book.sample(row.figure, row.subject) else { continue };
        let ratio =
            |to| row.ratio(book, to).map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
        let title = match row.subject {
            Subject::Follower => format!("follower: {}", row.figure.title()),
            _ => row.figure.title().to_owned(),
        };
        goals.push(vec![
            title,
            row.goal.to_owned(),
            spread(sample),
            ratio(Subject::KeaAlone),
            ratio(Subject::KeaPair),
            match row.is_met(book) {
                Some(true) => "yes".to_owned(),
                Some(false) => "NO".to_owned(),
                None if row.bounds.is_empty() => String::new(),
                None => "?".to_owned(),
            },
        ]);
    }
    text.push_str(&grid(&goals));
    text.push_str("\nEvery server, median (min–max)\n\n");
    let subjects: Vec<Subject> = Subject::ALL
        .into_iter()
        .filter(|subject| Figure::ALL.iter().any(|figure| book.sample(*figure, *subject).is_some()))
        .collect();
    let mut all = vec![vec!["Figure".to_owned()]];
    all[0].extend(subjects.iter().map(|subject| subject.title().to_owned()));
    for figure in Figure::ALL {
        let cells: Vec<String> = subjects
            .iter()
            .map(|subject| book.sample(figure, *subject).map(spread).unwrap_or_default())
            .collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            all.push([vec![figure.title().to_owned()], cells].concat());
        }
    }
    text.push_str(&grid(&all));
    if !book.notes().is_empty() {
        text.push('\n');
    }
    for note in book.notes() {
        let _ = writeln!(text, "* {note}");
    }
    text
}

/// The same for programs.
pub fn json(header: &Header, book: &Book) -> Value {
    let rows: Vec<Value> = ROWS
        .iter()
        .filter(|row| book.sample(row.figure, row.subject).is_some())
        .map(|row| {
            json!({
                "figure": row.figure.name(),
                "subject": row.subject.name(),
                "title": row.figure.title(),
                "goal": row.goal,
                "measured": book.sample(row.figure, row.subject).map(Sample::json),
                "ratio-to-kea-alone": row.ratio(book, Subject::KeaAlone),
                "ratio-to-kea-hot-standby": row.ratio(book, Subject::KeaPair),
                "met": row.is_met(book),
            })
        })
        .collect();
    let measured: Vec<Value> = Figure::ALL
        .into_iter()
        .flat_map(|figure| Subject::ALL.map(|subject| (figure, subject)))
        .filter_map(|(figure, subject)| {
            let sample = book.sample(figure, subject)?;
            Some(json!({ "figure": figure.name(), "subject": subject.name(), "measured": sample.json() }))
        })
        .collect();
    json!({
        "machine": header.machine, "cores": header.cores, "load-average": header.load,
        "leasehold": header.leasehold, "commit": header.commit, "kea": header.kea, "sockets": header.sockets,
        "seconds": header.seconds, "rounds": header.rounds, "begun": header.when,
        "goals": rows, "measured": measured, "notes": book.notes(),
    })
}

/// `10 000 (9 800–10 100)`, or the only value.
fn spread(sample: &Sample) -> String {
    let (Some(min), Some(median), Some(max)) = (sample.min(), sample.median(), sample.max()) else {
        return String::new();
    };
    if sample.len() == 1 {
        return number(median);
    }
    format!("{} ({}–{})", number(median), number(min), number(max))
}

/// Three digits that mean something, thousands apart.
fn number(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => {
            let digits = format!("{value:.0}");
            let mut text = String::new();
            for (index, digit) in digits.chars().enumerate() {
                if index > 0 && (digits.len() - index).is_multiple_of(3) {
                    text.push(' ');
                }
                text.push(digit);
            }
            text
        }
    }
}

/// Columns of even width; the first row is a heading.
fn grid(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        if index == 0 {
            let lines = widths.iter().map(|width| "─".repeat(*width));
            let _ = writeln!(text, "{}", lines.collect::<Vec<_>>().join("  "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_mean_something() {
        let shown: Vec<String> =
            [0.5, 9.99, 76.0, 160.4, 10_000.0, 1_234_567.0].map(number).to_vec();
        assert_eq!(shown, ["0.50", "9.99", "76.0", "160", "10 000", "1 234 567"]);
    }

    #[test]
    fn the_table_has_each_measured_goal_with_its_ratios_and_says_that_kea_is_missing() {
        let mut book = Book::default();
        for value in [9_000.0, 10_000.0, 9_500.0] {
            book.enter(Figure::CleanRate, Subject::Leader, value);
        }
        book.enter(Figure::CleanRate, Subject::KeaAlone, 9_500.0);
        book.note("a note");
        let shown = text(&Header::default(), &book);
        let row = shown.lines().find(|line| line.starts_with("clean exchanges/s")).expect("a row");
        let cells: Vec<&str> =
            row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let goal = "≥ 3 × hot-standby, ≥ 1 × alone";
        assert_eq!(
            cells,
            ["clean exchanges/s", goal, "9 500 (9 000–10 000)", "1.00", "–", "?"],
            "{shown}"
        );
        assert!(shown.contains("not measured") && shown.contains("* a note"), "{shown}");
        assert!(!shown.contains("1 M leases"), "{shown}");
        let printed = json(&Header::default(), &book);
        assert_eq!(printed["goals"][0]["measured"]["median"], 9_500.0);
        assert_eq!(printed["goals"][0]["ratio-to-kea-alone"], 1.0);
        assert!(printed["goals"][0]["met"].is_null() && printed["kea"].is_null());
    }
}
