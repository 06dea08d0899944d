//! Windows of the day.

use crate::{Hours, HoursFault};
use counterfoil_spec::time::Seconds;

/// Minutes and seconds of the UTC day 20,000.
fn at(hours: u64, minutes: u64) -> Seconds {
    Seconds(20_000 * 86_400 + hours * 3600 + minutes * 60)
}

fn hours(windows: &[&str], offset: &str) -> Result<Hours, HoursFault> {
    Hours::parse(&windows.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>(), offset)
}

#[test]
fn no_window_is_open_for_ever() {
    let hours = hours(&[], "UTC").unwrap();
    assert_eq!((hours.end(at(3, 0)), hours.closed(at(3, 0))), (None, None));
}

#[test]
fn a_window_is_open_from_its_first_minute_and_not_in_its_last() {
    let hours = hours(&["08:00-17:30"], "UTC").unwrap();
    let just_before = Seconds(at(8, 0).0 - 1);
    assert_eq!(hours.closed(just_before), Some(at(8, 0)));
    assert_eq!((hours.closed(at(8, 0)), hours.end(at(8, 0))), (None, Some(at(17, 30))));
    assert_eq!(hours.closed(Seconds(at(17, 30).0 - 1)), None);
    assert_eq!(hours.closed(at(17, 30)), Some(at(32, 0)));
}

#[test]
fn a_window_over_midnight_and_those_that_touch_are_one_time() {
    let night = hours(&["22:00-06:00"], "UTC").unwrap();
    assert_eq!(night.end(at(23, 59)), Some(at(30, 0)));
    assert_eq!(night.closed(at(6, 0)), Some(at(22, 0)));
    let touching = hours(&["22:00-24:00", "00:00-06:00"], "UTC").unwrap();
    assert_eq!(touching.end(at(23, 0)), Some(at(30, 0)));
}

#[test]
fn the_offset_moves_the_day() {
    let ahead = hours(&["08:00-09:00"], "+02:00").unwrap();
    assert_eq!((ahead.closed(at(6, 0)), ahead.end(at(6, 0))), (None, Some(at(7, 0))));
    let behind = hours(&["20:00-21:00"], "-05:30").unwrap();
    assert_eq!((behind.closed(at(1, 30)), behind.closed(at(20, 0))), (None, Some(at(25, 30))));
}

#[test]
fn what_cannot_be_read_is_named() {
    let window = |text: &str| hours(&[text], "UTC");
    for text in ["8:00-9:00", "08:00", "08:00-25:00", "08:60-09:00", "08:00-09:00 ", ""] {
        assert_eq!(window(text), Err(HoursFault::Window(text.to_owned())));
    }
    assert_eq!(window("08:00-08:00"), Err(HoursFault::Empty("08:00-08:00".to_owned())));
    for offset in ["02:00", "+2", "+15:00", "CET", ""] {
        assert_eq!(hours(&["08:00-09:00"], offset), Err(HoursFault::Offset(offset.to_owned())));
    }
}
