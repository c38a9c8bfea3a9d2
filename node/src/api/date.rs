//! Moments as people write them, in UTC. Pure.

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Mon, 23 Nov 2026 21:49:20 GMT` (RFC 1123), of Unix milliseconds.
pub fn rfc1123(millis: i64) -> String {
    let (days, (hour, minute, second)) = split(millis);
    let (year, month, day) = civil(days);
    let weekday = DAYS[usize::try_from(days.rem_euclid(7)).unwrap_or(0)];
    let name = MONTHS[month as usize - 1];
    format!("{weekday}, {day:02} {name} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

/// `2026-11-23 21:49:20`, of Unix milliseconds.
pub fn plain(millis: i64) -> String {
    let (days, (hour, minute, second)) = split(millis);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Days since 1970, and the time of day.
fn split(millis: i64) -> (i64, (i64, i64, i64)) {
    let seconds = millis.div_euclid(1000);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    (days, (rest / 3600, rest / 60 % 60, rest % 60))
}

/// Year, month and day of the Gregorian calendar: years are counted from March, so that the day that
/// comes every four years is the last.
fn civil(days: i64) -> (i64, u32, u32) {
    const ERA: i64 = 146_097; // days in 400 years
    // 719 468 days lie between 1 March of the year 0 and 1970.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (day - day / 1_460 + day / 36_524 - day / (ERA - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day + 2) / 153;
    let day = day - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, u32::try_from(month).unwrap_or(1), u32::try_from(day).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        // From date(1).
        let cases = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (-1, "Wed, 31 Dec 1969 23:59:59 GMT"),
            (951_782_399_999, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400_000, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_795_470_560_000, "Mon, 23 Nov 2026 21:49:20 GMT"),
            (4_107_542_400_000, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ];
        for (millis, text) in cases {
            assert_eq!(rfc1123(millis), text);
        }
        assert_eq!(plain(1_795_470_560_000), "2026-11-23 21:49:20");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = civil(-800_000);
        for days in -799_999..800_000 {
            let (year, month, day) = civil(days);
            let next_day = (year, month, day) == (last.0, last.1, last.2 + 1);
            let next_month =
                day == 1 && (month == last.1 + 1 || (month == 1 && year == last.0 + 1));
            assert!(next_day || next_month, "{last:?} {year}-{month}-{day}");
            last = (year, month, day);
        }
    }
}
