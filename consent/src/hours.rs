//! The hours of the day at which an operator lets a machine be used.
//!
//! A window is `HH:MM-HH:MM`, from its first minute up to, not including, its last; one that ends before it begins
//! goes on over midnight. The day is that of a fixed offset from UTC, which does not follow summer time.

use std::str::FromStr;

use counterfoil_spec::time::Seconds;
use serde::{Deserialize, Serialize};

/// Windows of the day; none for any hour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hours {
    /// When it is open.
    pub windows: Vec<Window>,
    /// Minutes by which the operator's day is ahead of UTC's.
    pub utc_offset_min: i32,
}

/// One window, in minutes of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    from: u16,
    to: u16,
}

/// What is wrong with a window or an offset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoursFault {
    /// Not of the form.
    #[error("{0:?} is no window of hours; write one as \"22:00-06:30\"")]
    Window(String),
    /// It has no length.
    #[error("the window {0:?} ends when it begins; leave the hours out for the whole day")]
    Empty(String),
    /// Not an offset.
    #[error("{0:?} is no offset from UTC; write one as \"+02:00\", \"-05:30\" or \"UTC\"")]
    Offset(String),
}

impl FromStr for Window {
    type Err = HoursFault;

    fn from_str(text: &str) -> Result<Self, HoursFault> {
        let fault = || HoursFault::Window(text.to_owned());
        let (from, to) = text.split_once('-').ok_or_else(fault)?;
        let (from, to) = (minute(from).ok_or_else(fault)?, minute(to).ok_or_else(fault)?);
        if from == to { Err(HoursFault::Empty(text.to_owned())) } else { Ok(Self { from, to }) }
    }
}

impl Window {
    fn has(self, minute: u16) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

impl Hours {
    /// Reads windows and the offset of the day that they are in.
    ///
    /// # Errors
    /// [`HoursFault`] with the first of them that cannot be read.
    pub fn parse(windows: &[String], offset: &str) -> Result<Self, HoursFault> {
        let windows = windows.iter().map(|w| w.parse()).collect::<Result<_, _>>()?;
        let fault = || HoursFault::Offset(offset.to_owned());
        let utc_offset_min = match offset.strip_prefix(['+', '-']) {
            None if matches!(offset, "UTC" | "Z") => 0,
            None => return Err(fault()),
            Some(size) => {
                let size = i32::from(minute(size).filter(|m| *m <= MAX_OFFSET_MIN).ok_or_else(fault)?);
                if offset.starts_with('-') { -size } else { size }
            }
        };
        Ok(Self { windows, utc_offset_min })
    }

    /// Until when it is open without a break, where that is not for ever; the present where it is closed.
    #[must_use]
    pub fn end(&self, now: Seconds) -> Option<Seconds> {
        if self.windows.is_empty() {
            return None;
        }
        self.change(now, false)
    }

    /// When it opens next, where it is closed now.
    #[must_use]
    pub fn closed(&self, now: Seconds) -> Option<Seconds> {
        if self.windows.is_empty() || self.is_open_at(now) {
            return None;
        }
        Some(self.change(now, true).unwrap_or(now))
    }

    /// The first minute's beginning, from now on, at which it is open or closed as wanted; `None` where it never is.
    fn change(&self, now: Seconds, open: bool) -> Option<Seconds> {
        if self.is_open_at(now) == open {
            return Some(now);
        }
        let next = now.0 / 60 + 1;
        let minutes = (next..=next.saturating_add(u64::from(DAY_MIN))).map(|m| Seconds(m.saturating_mul(60)));
        minutes.into_iter().find(|at| self.is_open_at(*at) == open)
    }

    fn is_open_at(&self, at: Seconds) -> bool {
        let day = i64::from(DAY_MIN);
        let minute = i64::try_from(at.0 / 60 % u64::from(DAY_MIN)).unwrap_or_default();
        let minute = (minute + i64::from(self.utc_offset_min)).rem_euclid(day);
        let minute = u16::try_from(minute).unwrap_or_default();
        self.windows.iter().any(|window| window.has(minute))
    }
}

/// `HH:MM` in minutes; 24:00 is the end of the day and so its beginning.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        if digits { text.parse::<u16>().ok() } else { None }
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let whole = hours.checked_mul(60)?.checked_add(minutes)?;
    (minutes < 60 && whole <= DAY_MIN).then_some(whole % DAY_MIN)
}

const DAY_MIN: u16 = 24 * 60;
/// The largest offset from UTC in use.
const MAX_OFFSET_MIN: u16 = 14 * 60;
