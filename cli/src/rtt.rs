//! Round trips as people write them: `5ms`, `0.5ms`, `300us`.

use std::time::Duration;

/// The longest round trip that a bench injects, in microseconds.
const MOST_US: f64 = 2_000_000.0;

/// Reads a time with its unit.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let (number, us) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1e3)
    } else if let Some(number) = text.strip_suffix("us").or_else(|| text.strip_suffix("µs")) {
        (number, 1.0)
    } else {
        return Err("a round trip is a number with ms or us, such as 5ms or 300us".to_owned());
    };
    let number: f64 = number.trim().parse().map_err(|_| format!("{number:?} is no number"))?;
    let micros = number * us;
    if (0.0..=MOST_US).contains(&micros) {
        Ok(Duration::from_secs_f64(micros / 1e6))
    } else {
        Err("a round trip lies within 0 and 2000ms".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(parse("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(parse("0.5 ms"), Ok(Duration::from_micros(500)));
        assert_eq!(parse("300us"), Ok(Duration::from_micros(300)));
        assert_eq!(parse("2000ms"), Ok(Duration::from_secs(2)));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        assert_eq!(
            parse("5"),
            Err("a round trip is a number with ms or us, such as 5ms or 300us".to_owned())
        );
        assert_eq!(parse("xms"), Err("\"x\" is no number".to_owned()));
        for text in ["2001ms", "-1ms", "NaNms", "infms"] {
            assert_eq!(parse(text), Err("a round trip lies within 0 and 2000ms".to_owned()));
        }
    }
}
