//! Moments as people write them, in UTC. Pure.

use crate::types::Utc;

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Mon, 23 Nov 2026 21:49:20 GMT` (RFC 1123), of Unix milliseconds.
pub fn rfc1123(millis: i64) -> String {
    let utc = Utc::of_millis(millis);
    let Utc { year, month, day, hour, minute, second, .. } = utc;
    let (weekday, name) = (DAYS[utc.weekday()], MONTHS[month as usize - 1]);
    format!("{weekday}, {day:02} {name} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

/// `2026-11-23 21:49:20`, of Unix milliseconds.
pub fn plain(millis: i64) -> String {
    let Utc { year, month, day, hour, minute, second, .. } = Utc::of_millis(millis);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        // From date(1).
        let cases = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_399_999, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400_000, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_795_470_560_000, "Mon, 23 Nov 2026 21:49:20 GMT"),
            (4_107_542_400_000, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (i64::MIN, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (i64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ];
        for (millis, text) in cases {
            assert_eq!(rfc1123(millis), text);
        }
        assert_eq!(plain(1_795_470_560_000), "2026-11-23 21:49:20");
    }
}
