//! Civil dates in UTC: days of the proleptic Gregorian calendar and months that clamp to their last day.

use counterfoil_spec::time::Seconds;

/// A day of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: u64,
    month: u64,
    day: u64,
}

impl Date {
    /// A day that exists, in the years 1970 to 9999; `None` for any other.
    #[must_use]
    pub const fn new(year: u64, month: u64, day: u64) -> Option<Self> {
        let known = year >= 1970 && year <= 9999 && month >= 1 && month <= 12;
        if known && day >= 1 && day <= days_in_month(year, month) {
            Some(Self { year, month, day })
        } else {
            None
        }
    }

    /// The day that an instant lies in; the last one of the year 9999 for later instants.
    #[must_use]
    pub fn of(instant: Seconds) -> Self {
        let mut left = instant.0 / DAY_S;
        let last = Self { year: 9999, month: 12, day: 31 };
        if left >= last.days_since_epoch() {
            return last;
        }
        // 400 years have a fixed length; within them at most 400 years and 12 months are walked.
        let mut year = 1970 + 400 * (left / DAYS_OF_400_YEARS);
        left %= DAYS_OF_400_YEARS;
        while left >= days_in_year(year) {
            left -= days_in_year(year);
            year += 1;
        }
        let mut month = 1;
        while left >= days_in_month(year, month) {
            left -= days_in_month(year, month);
            month += 1;
        }
        Self { year, month, day: left + 1 }
    }

    /// The year.
    #[must_use]
    pub const fn year(self) -> u64 {
        self.year
    }

    /// The month, 1 to 12.
    #[must_use]
    pub const fn month(self) -> u64 {
        self.month
    }

    /// The day of the month, from 1.
    #[must_use]
    pub const fn day(self) -> u64 {
        self.day
    }

    /// Its first second.
    #[must_use]
    pub const fn midnight(self) -> Seconds {
        Seconds(self.days_since_epoch() * DAY_S)
    }

    /// The day after it; the last one of the year 9999 has none and is its own.
    #[must_use]
    pub fn next(self) -> Self {
        Self::of(Seconds((self.days_since_epoch() + 1) * DAY_S))
    }

    /// The same day of a later month, or that month's last day where it is shorter. Stops at the year 9999.
    #[must_use]
    pub const fn plus_months(self, months: u32) -> Self {
        let count = self.year * 12 + (self.month - 1) + months as u64;
        let (year, month) = if count / 12 > 9999 { (9999, 12) } else { (count / 12, count % 12 + 1) };
        let most = days_in_month(year, month);
        Self { year, month, day: if self.day < most { self.day } else { most } }
    }

    const fn days_since_epoch(self) -> u64 {
        let years = self.year - 1;
        let leap_days = years / 4 - years / 100 + years / 400;
        let mut days = years * 365 + leap_days - DAYS_BEFORE_1970;
        let mut month = 1;
        while month < self.month {
            days += days_in_month(self.year, month);
            month += 1;
        }
        days + self.day - 1
    }
}

/// As ISO 8601 writes it: `2026-10-01`.
impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// The `n`th month of a plan that began at `anchor`, first second and first second after it. Counted from the
/// anchor's own day each time, so that a plan of 31 January runs from 28 February to 31 March, not to the 28th.
#[must_use]
pub fn billing_period(anchor: Seconds, n: u32) -> (Seconds, Seconds) {
    (plus_months(anchor, n), plus_months(anchor, n.saturating_add(1)))
}

/// The end of the month after a plan's month, from the bounds of that month; `None` where they are not those of one. The anchor's
/// own day is the later of the two days, because of two months that follow each other one has 31 days.
#[must_use]
pub fn month_after(starts: Seconds, ends: Seconds) -> Option<Seconds> {
    let (first, last) = (Date::of(starts), Date::of(ends));
    let anchor = Date { day: if first.day < last.day { last.day } else { first.day }, ..first };
    let is_month = anchor.plus_months(0) == first && anchor.plus_months(1) == last;
    let time = starts.0 % DAY_S;
    (is_month && ends.0 % DAY_S == time).then(|| anchor.plus_months(2).midnight().plus(time))
}

/// An instant some months later, at the same time of day; the day clamps.
#[must_use]
pub fn plus_months(instant: Seconds, months: u32) -> Seconds {
    Date::of(instant).plus_months(months).midnight().plus(instant.0 % DAY_S)
}

const fn is_leap(year: u64) -> bool {
    (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
}

const fn days_in_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The seconds of a day; UTC without leap seconds, as Unix time counts.
pub(crate) const DAY_S: u64 = 86_400;
const DAYS_OF_400_YEARS: u64 = 146_097;
/// Days from 0001-01-01 to 1970-01-01.
const DAYS_BEFORE_1970: u64 = 719_162;

#[cfg(test)]
mod tests {
    use super::*;

    fn day(year: u64, month: u64, day: u64) -> Date {
        Date::new(year, month, day).unwrap()
    }

    #[test]
    fn known_days_have_their_known_seconds() {
        assert_eq!(day(1970, 1, 1).midnight(), Seconds(0));
        assert_eq!(day(2000, 3, 1).midnight(), Seconds(951_868_800));
        assert_eq!(day(2026, 10, 1).midnight(), Seconds(1_790_812_800));
        assert_eq!(day(2100, 3, 1).midnight(), Seconds(4_107_542_400));
    }

    #[test]
    fn leap_years_are_those_of_the_gregorian_calendar() {
        assert_eq!(Date::new(2024, 2, 29), Some(day(2024, 2, 29)));
        assert_eq!(Date::new(2000, 2, 29), Some(day(2000, 2, 29)));
        assert_eq!(Date::new(2026, 2, 29), None);
        assert_eq!(Date::new(2100, 2, 29), None);
    }

    #[test]
    fn every_day_of_a_thousand_years_reads_back() {
        let mut expected = day(1970, 1, 1);
        for n in 0..365_243 {
            assert_eq!(Date::of(Seconds(n * DAY_S)), expected, "day {n}");
            assert_eq!(Date::of(Seconds(n * DAY_S + DAY_S - 1)), expected, "end of day {n}");
            assert_eq!(expected.midnight(), Seconds(n * DAY_S));
            expected = [(0, 0, 1), (0, 1, 0), (1, 0, 0)]
                .into_iter()
                .find_map(|step| match step {
                    (0, 0, _) => Date::new(expected.year, expected.month, expected.day + 1),
                    (0, 1, _) => Date::new(expected.year, expected.month + 1, 1),
                    _ => Date::new(expected.year + 1, 1, 1),
                })
                .unwrap();
        }
    }

    #[test]
    fn billing_day_clamps_and_comes_back() {
        let anchor = day(2026, 1, 31).midnight().plus(3_661);
        let at = |month, d| day(2026, month, d).midnight().plus(3_661);
        assert_eq!(billing_period(anchor, 0), (at(1, 31), at(2, 28)));
        assert_eq!(billing_period(anchor, 1), (at(2, 28), at(3, 31)));
        assert_eq!(billing_period(anchor, 2), (at(3, 31), at(4, 30)));
        assert_eq!(plus_months(day(2023, 2, 28).midnight(), 12), day(2024, 2, 28).midnight());
        assert_eq!(plus_months(day(2024, 2, 29).midnight(), 12), day(2025, 2, 28).midnight());
    }

    #[test]
    fn every_month_of_a_plan_knows_the_one_after_it() {
        for day_of_anchor in 1..=31 {
            let anchor = day(2027, 1, day_of_anchor).midnight().plus(3_661);
            for n in 0..30 {
                let (starts, ends) = billing_period(anchor, n);
                assert_eq!(
                    month_after(starts, ends),
                    Some(billing_period(anchor, n + 1).1),
                    "{day_of_anchor} {n}"
                );
            }
        }
    }

    #[test]
    fn other_spans_are_no_month() {
        let at = |month, d| day(2026, month, d).midnight();
        assert_eq!(month_after(at(1, 31), at(2, 28)), Some(at(3, 31)));
        assert_eq!(month_after(at(1, 31), at(2, 27)), None);
        assert_eq!(month_after(at(1, 15), at(2, 14)), None);
        assert_eq!(month_after(at(1, 15), at(3, 15)), None);
        assert_eq!(month_after(at(1, 15), at(1, 15)), None);
        assert_eq!(month_after(at(2, 15), at(1, 15)), None);
        assert_eq!(month_after(at(1, 15), at(2, 15).plus(1)), None);
    }

    #[test]
    fn days_are_written_as_iso_8601_and_follow_each_other() {
        assert_eq!(day(2026, 2, 28).next().to_string(), "2026-03-01");
        assert_eq!(day(2024, 2, 28).next().to_string(), "2024-02-29");
        assert_eq!(day(9999, 12, 31).next(), day(9999, 12, 31));
    }

    #[test]
    fn time_ends_with_the_year_9999() {
        assert_eq!(Date::of(Seconds(u64::MAX)), day(9999, 12, 31));
        assert_eq!(day(9999, 12, 31).plus_months(u32::MAX), day(9999, 12, 31));
        assert_eq!(Date::new(10_000, 1, 1), None);
    }
}
