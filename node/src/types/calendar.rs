//! Dates of the Gregorian calendar, in UTC.

use std::fmt;

/// A moment as the calendar has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Utc {
    /// 1970 to 9999.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    /// 0 to 23.
    pub hour: i64,
    /// 0 to 59.
    pub minute: i64,
    /// 0 to 59.
    pub second: i64,
    /// 0 to 999.
    pub milli: i64,
}

impl Utc {
    /// Of seconds since 1970; what lies outside the years 1970 to 9999 is the nearest that does not.
    pub fn of_seconds(seconds: i64) -> Utc {
        let seconds = seconds.clamp(0, 253_402_300_799);
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        // The Gregorian calendar repeats after 400 years of 146 097 days; years begin in March here, so
        // that the leap day is the last of a year.
        let shifted = days + 719_468;
        let (era, day) = (shifted / 146_097, shifted % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let date = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        Utc {
            year: era * 400 + year + i64::from(month <= 2),
            month,
            day: date,
            hour: rest / 3_600,
            minute: rest / 60 % 60,
            second: rest % 60,
            milli: 0,
        }
    }

    /// Of milliseconds since 1970.
    pub fn of_millis(millis: i64) -> Utc {
        Utc { milli: millis.rem_euclid(1_000), ..Utc::of_seconds(millis.div_euclid(1_000)) }
    }
}

impl Utc {
    /// The day of the week, Sunday first: 0 to 6.
    pub fn weekday(&self) -> usize {
        // Years begin in March, as above. 1 March of the year 0 was a Wednesday.
        let shift = i64::from(self.month <= 2);
        let (year, month) = (self.year - shift, self.month + 12 * shift - 3);
        let days =
            365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + self.day;
        usize::try_from((days + 2) % 7).unwrap_or(0)
    }
}

/// `YYYY-MM-DD HH:MM:SS.ffffff`, as Kea writes times in answers.
impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Utc { year, month, day, hour, minute, second, milli } = *self;
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{milli:03}000")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_the_calendar_has_them() {
        for (millis, text) in [
            (0, "1970-01-01 00:00:00.000000"),
            (951_782_400_001, "2000-02-29 00:00:00.001000"),
            (1_358_774_645_999, "2013-01-21 13:24:05.999000"),
            (1_709_251_199_500, "2024-02-29 23:59:59.500000"),
            (4_107_542_400_000, "2100-03-01 00:00:00.000000"),
        ] {
            assert_eq!(Utc::of_millis(millis).to_string(), text);
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let of_day = |day: i64| Utc::of_seconds(day * 86_400);
        let mut last = of_day(0);
        // 1 January 1970 was a Thursday.
        assert_eq!((last.year, last.month, last.day, last.weekday()), (1970, 1, 1, 4));
        for days in 1..2_932_897 {
            let utc = of_day(days);
            let next_day = (utc.year, utc.month, utc.day) == (last.year, last.month, last.day + 1);
            let next_month = (utc.year, utc.month, utc.day) == (last.year, last.month + 1, 1);
            let next_year = (utc.year, utc.month, utc.day, last.month) == (last.year + 1, 1, 1, 12);
            assert!(next_day || next_month || next_year, "{last} {utc}");
            assert_eq!(utc.weekday(), (last.weekday() + 1) % 7, "{utc}");
            last = utc;
        }
        assert_eq!((last.year, last.month, last.day), (9999, 12, 31));
    }
}
