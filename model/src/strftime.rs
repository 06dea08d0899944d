//! `strftime_now(format)` of chat templates, in UTC, for an instant that the caller supplies.
//!
//! English names, and the fields that templates use: `%Y %y %m %d %e %H %I %M %S %p %a %A %b %B %j %F %T %%`, each of
//! the padded ones also without padding (`%-d`). Any other field is an error, so that no prompt is silently wrong.

use counterfoil_spec::time::Seconds;
use minijinja::{Error, ErrorKind};

/// Writes the instant in this format.
pub(crate) fn strftime(format: &str, now: Seconds) -> Result<String, Error> {
    let moment = Moment::of(now);
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut field = characters.next();
        let bare = field == Some('-');
        if bare {
            field = characters.next();
        }
        let text = field.and_then(|field| moment.field(field)).ok_or_else(|| {
            let shown = field.map(String::from).unwrap_or_default();
            Error::new(ErrorKind::InvalidOperation, format!("strftime_now does not know the field %{shown}"))
        })?;
        let cut = if bare { text.trim_start_matches(['0', ' ']) } else { &text };
        out.push_str(if cut.is_empty() { "0" } else { cut });
    }
    Ok(out)
}

struct Moment {
    year: u64,
    /// 0 to 11
    month: usize,
    /// 1 to 31
    day: u64,
    /// 1 to 366
    day_of_year: u64,
    /// 0 is Sunday
    weekday: usize,
    second_of_day: u64,
}

impl Moment {
    fn of(now: Seconds) -> Self {
        // A proleptic year of more than five digits tells nobody anything.
        let second = now.0.min(99_999 * 31_556_952);
        let (days, second_of_day) = (second / 86_400, second % 86_400);
        let (mut year, mut left) = (1970, days);
        while left >= year_days(year) {
            left -= year_days(year);
            year += 1;
        }
        let day_of_year = left + 1;
        let mut month = 0;
        while let Some(length) = month_days(year, month).filter(|length| left >= *length) {
            left -= length;
            month += 1;
        }
        // 1970-01-01 was a Thursday.
        let weekday = usize::try_from((days + 4) % 7).unwrap_or(0);
        Self { year, month, day: left + 1, day_of_year, weekday, second_of_day }
    }

    fn field(&self, field: char) -> Option<String> {
        let (hour, minute) = (self.second_of_day / 3600, self.second_of_day / 60 % 60);
        let second = self.second_of_day % 60;
        let month = self.month + 1;
        let short = |name: &&str| name.chars().take(3).collect::<String>();
        Some(match field {
            'Y' => self.year.to_string(),
            'y' => format!("{:02}", self.year % 100),
            'm' => format!("{month:02}"),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'H' => format!("{hour:02}"),
            'I' => format!("{:02}", (hour + 11) % 12 + 1),
            'M' => format!("{minute:02}"),
            'S' => format!("{second:02}"),
            'p' => (if hour < 12 { "AM" } else { "PM" }).to_owned(),
            'a' => WEEKDAYS.get(self.weekday).map(short)?,
            'A' => (*WEEKDAYS.get(self.weekday)?).to_owned(),
            'b' => MONTHS.get(self.month).map(short)?,
            'B' => (*MONTHS.get(self.month)?).to_owned(),
            'j' => format!("{:03}", self.day_of_year),
            'F' => format!("{}-{month:02}-{:02}", self.year, self.day),
            'T' => format!("{hour:02}:{minute:02}:{second:02}"),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn year_days(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn month_days(year: u64, month: usize) -> Option<u64> {
    let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    lengths.get(month).copied()
}

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, format: &str) -> String {
        strftime(format, Seconds(seconds)).unwrap()
    }

    #[test]
    fn the_epoch() {
        assert_eq!(
            at(0, "%A %d %B %Y, %H:%M:%S %p, day %j"),
            "Thursday 01 January 1970, 00:00:00 AM, day 001"
        );
    }

    #[test]
    fn a_leap_day() {
        // date -u -d @1709210096
        assert_eq!(at(1_709_210_096, "%a %F %T %I %p %j %y"), "Thu 2024-02-29 12:34:56 12 PM 060 24");
    }

    #[test]
    fn the_last_second_of_a_century() {
        assert_eq!(at(4_102_444_799, "%F %T"), "2099-12-31 23:59:59");
        assert_eq!(at(4_102_444_800, "%F %A"), "2100-01-01 Friday");
    }

    #[test]
    fn padding_can_be_left_out() {
        assert_eq!(at(0, "%-d %e %-m %-H %b"), "1  1 1 0 Jan");
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let error = strftime("%Q", Seconds(0)).unwrap_err();
        assert_eq!(error.detail(), Some("strftime_now does not know the field %Q"));
    }

    #[test]
    fn a_field_cut_short_is_refused() {
        assert_eq!(strftime("100%", Seconds(0)).unwrap_err().kind(), ErrorKind::InvalidOperation);
    }
}
