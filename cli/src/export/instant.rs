//! Instants as people write them, and the entries that they lie between.

use std::str::FromStr;

use counterfoil_audit::{LogError, LogReader};
use counterfoil_ledger::calendar::Date;
use counterfoil_spec::time::{Millis, Seconds};

/// One end of a range: an entry, or an instant in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The entry with this index.
    Entry(u64),
    /// The first entry that is not earlier.
    Instant(Millis),
}

impl FromStr for Place {
    type Err = String;

    /// `1234`, `2026-10-01`, or `2026-10-01T12:30:00Z` with a fraction of at most three digits.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(index) = text.parse() {
            return Ok(Self::Entry(index));
        }
        let wrong = || {
            format!("{text:?} is no index, no day like 2026-10-01 and no instant like 2026-10-01T12:30:00Z")
        };
        let (day, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
        let midnight = parse_day(day).ok_or_else(wrong)?;
        let of_day = time.strip_suffix('Z').and_then(parse_time).ok_or_else(wrong)?;
        Ok(Self::Instant(midnight.millis().plus(of_day)))
    }
}

impl Place {
    /// The index that this is in a log.
    ///
    /// # Errors
    /// What the log says.
    pub(crate) fn index(self, log: &LogReader) -> Result<u64, LogError> {
        match self {
            Self::Entry(index) => Ok(index),
            Self::Instant(when) => at_or_after(log, when),
        }
    }
}

/// The first entry that is not earlier than an instant, or the log's size. Times never go back in a log, so this takes
/// as many looks as its size has bits.
fn at_or_after(log: &LogReader, when: Millis) -> Result<u64, LogError> {
    let (mut low, mut high) = (0, log.size());
    while low < high {
        let middle = low + (high - low) / 2;
        // Of an entry that was removed the next one tells as much: times never go back.
        match log.kept_from(middle)? {
            Some((at, body)) if body.time < when => low = at + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// An instant in UTC with its milliseconds.
pub(crate) fn rfc3339(when: Millis) -> String {
    let seconds = when.seconds();
    let day = Date::of(seconds);
    let of_day = seconds.0.saturating_sub(day.midnight().0).min(DAY_S - 1);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{day}T{hour:02}:{minute:02}:{second:02}.{:03}Z", when.0 % 1000)
}

fn parse_day(text: &str) -> Option<Seconds> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let shaped = (year.len(), month.len(), day.len()) == (4, 2, 2) && parts.next().is_none();
    let date = Date::new(digits(year)?, digits(month)?, digits(day)?)?;
    shaped.then(|| date.midnight())
}

/// Milliseconds since midnight.
fn parse_time(text: &str) -> Option<u64> {
    let (clock, fraction) = text.split_once('.').map_or((text, None), |(c, f)| (c, Some(f)));
    let mut parts = clock.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    if (hour.len(), minute.len(), second.len()) != (2, 2, 2) || parts.next().is_some() {
        return None;
    }
    let (hour, minute, second) = (digits(hour)?, digits(minute)?, digits(second)?);
    let ms = match fraction {
        None => 0,
        Some(f) if (1..=3).contains(&f.len()) => digits(&format!("{f:0<3}"))?,
        Some(_) => return None,
    };
    let right = hour < 24 && minute < 60 && second < 60;
    right.then_some(((hour * 60 + minute) * 60 + second) * 1000 + ms)
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

const DAY_S: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_read_back_as_they_are_written() {
        for ms in [0, 999, 1_790_812_800_000, 1_790_812_799_999, 4_107_542_400_001] {
            assert_eq!(rfc3339(Millis(ms)).parse(), Ok(Place::Instant(Millis(ms))));
        }
        assert_eq!(rfc3339(Millis(1_790_812_800_007)), "2026-10-01T00:00:00.007Z");
        assert_eq!("2026-10-01".parse(), Ok(Place::Instant(Millis(1_790_812_800_000))));
        assert_eq!("2026-10-01T00:00:01.5Z".parse(), Ok(Place::Instant(Millis(1_790_812_801_500))));
        assert_eq!("17".parse(), Ok(Place::Entry(17)));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in [
            "",
            "-1",
            "2026-13-01",
            "2026-2-01",
            "2026-02-30",
            "2026-10-01T24:00:00Z",
            "2026-10-01T00:00:00",
            "2026-10-01T00:00:00+02:00",
            "2026-10-01T00:00:00.1234Z",
            "2026-10-01T+1:00:00Z",
            "yesterday",
        ] {
            assert!(text.parse::<Place>().is_err_and(|e| e.contains("2026-10-01T12:30:00Z")), "{text}");
        }
    }
}
