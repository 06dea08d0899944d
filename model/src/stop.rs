//! Ends an answer at a stop string, without ever having shown a part of it.

use counterfoil_spec::limits::MAX_STOPS;

/// Watches text as it streams. Where a stop string completes, the answer ends just before it; of several that
/// complete at the same character the one that begins first counts. How the text is cut into pieces does not matter.
#[derive(Debug, Clone)]
pub struct StopMatcher {
    stops: Vec<String>,
    /// Text that may yet turn out to begin a stop string.
    held: String,
    stopped: bool,
}

/// What may be shown after a piece of text came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// This, and more may follow.
    More(String),
    /// This, and a stop string came after it: nothing else will be shown.
    Last(String),
}

/// More stop strings than allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} stop strings, at most {MAX_STOPS} are allowed")]
pub struct TooManyStops {
    /// How many were given.
    pub found: usize,
}

impl StopMatcher {
    /// Watches for these; empty ones are ignored.
    ///
    /// # Errors
    /// [`TooManyStops`].
    pub fn new(stops: impl IntoIterator<Item = String>) -> Result<Self, TooManyStops> {
        let stops: Vec<String> = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
        if stops.len() > MAX_STOPS {
            return Err(TooManyStops { found: stops.len() });
        }
        Ok(Self { stops, held: String::new(), stopped: false })
    }

    /// Takes the next text.
    pub fn push(&mut self, text: &str) -> Shown {
        if self.stopped {
            return Shown::Last(String::new());
        }
        for character in text.chars() {
            self.held.push(character);
            let longest =
                self.stops.iter().filter(|stop| self.held.ends_with(stop.as_str())).map(String::len).max();
            if let Some(length) = longest {
                self.stopped = true;
                self.held.truncate(self.held.len() - length);
                return Shown::Last(std::mem::take(&mut self.held));
            }
        }
        let kept = self.begun();
        let rest = self.held.split_off(self.held.len() - kept);
        Shown::More(std::mem::replace(&mut self.held, rest))
    }

    /// What was held back, when no text follows.
    #[must_use]
    pub fn finish(self) -> String {
        self.held
    }

    /// Bytes at the end of `held` that begin a stop string.
    fn begun(&self) -> usize {
        self.held
            .char_indices()
            .map(|(at, _)| self.held.get(at..).unwrap_or_default())
            .find(|tail| self.stops.iter().any(|stop| stop.starts_with(tail)))
            .map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops(stops: &[&str]) -> StopMatcher {
        StopMatcher::new(stops.iter().map(|s| (*s).to_owned())).unwrap()
    }

    /// Pushes the pieces; what was shown, and whether it stopped.
    fn run(mut matcher: StopMatcher, pieces: &[&str]) -> (String, bool) {
        let mut shown = String::new();
        for piece in pieces {
            match matcher.push(piece) {
                Shown::More(text) => shown.push_str(&text),
                Shown::Last(text) => return (shown + &text, true),
            }
        }
        (shown + &matcher.finish(), false)
    }

    #[test]
    fn text_before_a_stop_is_shown_and_the_stop_is_not() {
        assert_eq!(run(stops(&["END"]), &["one EN", "D two"]), ("one ".to_owned(), true));
    }

    #[test]
    fn what_only_begins_a_stop_is_shown_at_the_end() {
        assert_eq!(run(stops(&["END"]), &["one EN"]), ("one EN".to_owned(), false));
    }

    #[test]
    fn the_possible_beginning_of_a_stop_is_held_back() {
        let mut matcher = stops(&["\n\nUser:"]);
        assert_eq!(matcher.push("yes\n\nUs"), Shown::More("yes".to_owned()));
        assert_eq!(matcher.push("ual"), Shown::More("\n\nUsual".to_owned()));
    }

    #[test]
    fn a_stop_that_repeats_its_beginning_is_found() {
        assert_eq!(run(stops(&["aab"]), &["aaa", "b"]), ("a".to_owned(), true));
    }

    #[test]
    fn of_two_that_end_together_the_longer_counts() {
        assert_eq!(run(stops(&["b", "ab"]), &["xa", "b"]), ("x".to_owned(), true));
    }

    #[test]
    fn characters_of_several_bytes_are_not_cut() {
        assert_eq!(run(stops(&["→→"]), &["a→", "é→", "→b"]), ("a→é".to_owned(), true));
    }

    #[test]
    fn no_stops_hold_nothing_back() {
        assert_eq!(stops(&[""]).push("abc"), Shown::More("abc".to_owned()));
    }

    #[test]
    fn nothing_is_shown_after_a_stop() {
        let mut matcher = stops(&["x"]);
        assert_eq!(matcher.push("axb"), Shown::Last("a".to_owned()));
        assert_eq!(matcher.push("c"), Shown::Last(String::new()));
    }

    #[test]
    fn five_stops_are_one_too_many() {
        let many = |n: usize| StopMatcher::new((0..n).map(|i| i.to_string())).map(|_| ());
        assert_eq!(many(4), Ok(()));
        assert_eq!(many(5), Err(TooManyStops { found: 5 }));
    }

    proptest::proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[ab→]{0,24}", stop in "[ab→]{1,4}", other in "[ab→]{1,4}") {
            let whole = run(stops(&[&stop, &other]), &[&text]);
            let pieces: Vec<String> = text.chars().map(String::from).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            proptest::prop_assert_eq!(&run(stops(&[&stop, &other]), &pieces), &whole);
            proptest::prop_assert!(!whole.0.contains(&stop));
            proptest::prop_assert!(text.starts_with(&whole.0));
            proptest::prop_assert_eq!(whole.1, text.contains(&stop) || text.contains(&other));
        }
    }
}
