//! Quarters of the calendar year, UTC and half-open.

use std::fmt;
use std::str::FromStr;

use counterfoil_spec::time::Seconds;

use crate::calendar::Date;

/// Three months, such as `2026Q4`: from 1 October to, and without, 1 January.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quarter {
    year: u64,
    /// 1 to 4.
    number: u64,
}

/// A text that names no quarter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a quarter; write the year and the quarter, such as 2026Q4")]
pub struct QuarterSyntax(String);

impl Quarter {
    /// The quarter that an instant lies in.
    #[must_use]
    pub fn of(instant: Seconds) -> Self {
        let date = Date::of(instant);
        Self { year: date.year(), number: (date.month() - 1) / 3 + 1 }
    }

    /// Its first second.
    #[must_use]
    pub fn start(self) -> Seconds {
        let month = (self.number - 1) * 3 + 1;
        Date::new(self.year, month, 1).map_or(Seconds(u64::MAX), Date::midnight)
    }

    /// The first second after it.
    #[must_use]
    pub fn end(self) -> Seconds {
        self.next().start()
    }

    /// The one that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        if self.number == 4 {
            Self { year: self.year + 1, number: 1 }
        } else {
            Self { year: self.year, number: self.number + 1 }
        }
    }
}

impl fmt::Display for Quarter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}Q{}", self.year, self.number)
    }
}

impl FromStr for Quarter {
    type Err = QuarterSyntax;

    fn from_str(text: &str) -> Result<Self, QuarterSyntax> {
        let syntax = || QuarterSyntax(text.chars().take(80).collect());
        let (year, number) = text.split_once('Q').ok_or_else(syntax)?;
        let digits = |part: &str, len| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(year, 4) || !digits(number, 1) {
            return Err(syntax());
        }
        let year = year.parse().map_err(|_| syntax())?;
        let number = number.parse().map_err(|_| syntax())?;
        // 9999Q4 has no end that this calendar can name.
        if !(1970..=9998).contains(&year) || !(1..=4).contains(&number) {
            return Err(syntax());
        }
        Ok(Self { year, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_utc_and_half_open() {
        let quarter: Quarter = "2026Q4".parse().unwrap();
        assert_eq!(quarter.start(), Seconds(1_790_812_800));
        assert_eq!(quarter.end(), Seconds(1_798_761_600));
        assert_eq!(Quarter::of(Seconds(1_798_761_599)), quarter);
        assert_eq!(Quarter::of(quarter.end()).to_string(), "2027Q1");
    }

    #[test]
    fn first_quarter_of_a_leap_year_has_91_days() {
        let quarter: Quarter = "2028Q1".parse().unwrap();
        assert_eq!(quarter.end().0 - quarter.start().0, 91 * 86_400);
        let quarter: Quarter = "2027Q1".parse().unwrap();
        assert_eq!(quarter.end().0 - quarter.start().0, 90 * 86_400);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["2026Q5", "2026Q0", "2026q4", "26Q4", "+026Q4", "2026Q4 ", "2026Q04", "9999Q4", "1969Q4", ""]
        {
            assert_eq!(text.parse::<Quarter>(), Err(QuarterSyntax(text.to_owned())));
        }
        assert_eq!("9998Q4".parse::<Quarter>().map(Quarter::end), Ok(Seconds(253_370_764_800)));
    }
}
