//! Tables and times for people.

use std::borrow::Cow;

/// Rows under a head, columns aligned, two blanks between; columns that are empty throughout are
/// left out. No trailing blanks. Control characters are written [`plain`].
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let empty = |column: usize| !rows.is_empty() && rows.iter().all(|row| row[column].is_empty());
    let columns: Vec<usize> = (0..N).filter(|column| !empty(*column)).collect();
    let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(|cell| plain(cell))).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = columns.iter().map(|column| width(*column)).collect();
    let line = |cells: &[&str]| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    };
    let mut out = line(&columns.iter().map(|column| head[*column]).collect::<Vec<_>>());
    for row in &rows {
        out.push_str(&line(&columns.iter().map(|column| &*row[*column]).collect::<Vec<_>>()));
    }
    out
}

/// A text of somebody else, such as the host name that a client sent, as it may be shown: a terminal obeys control
/// characters, and these become `\u{1b}`.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut shown = String::new();
    for c in text.chars() {
        match c.is_control() {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown.into()
}

/// Unix seconds as `2026-11-24 15:04:05Z`.
pub fn utc(epoch: i64) -> String {
    let (days, seconds) = (epoch.div_euclid(86_400), epoch.rem_euclid(86_400));
    // Days since 0000-03-01, in 400-year eras: leap days come last in such years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Prints to standard output; a reader that went away ends the program as it would end `cat`.
pub fn say(words: std::fmt::Arguments<'_>) {
    use std::io::Write;
    if std::io::stdout().lock().write_fmt(words).is_err() {
        std::process::exit(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_empty_ones_vanish() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let text = table(["A", "B", "LONG"], &[row(["1", "", "x"]), row(["22", "", ""])]);
        assert_eq!(text, "A   LONG\n1   x\n22\n");
        assert_eq!(table(["A", "B", "C"], &[]), "A  B  C\n");
    }

    #[test]
    fn a_table_does_not_make_a_terminal_do_anything() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned);
        let rows = [row(["a\u{1b}[2J\nb\u{9b}", "1"]), row(["naïve", "2"])];
        let expected =
            "NAME                 N\na\\u{1b}[2J\\nb\\u{9b}  1\nnaïve                2\n";
        assert_eq!(table(["NAME", "N"], &rows), expected);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (epoch, text) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399, "2000-02-28 23:59:59Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (1_735_689_599, "2024-12-31 23:59:59Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
            (-1, "1969-12-31 23:59:59Z"),
        ] {
            assert_eq!(utc(epoch), text);
        }
    }
}
