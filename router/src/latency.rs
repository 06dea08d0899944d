//! How long a node takes from request to reply, as a distribution. It is kept apart by how much was asked for, because
//! a frame of a hundred forwards takes longer than one of two for no fault of the node.

use std::time::Duration;

/// Classes by forwards in a frame: 1, 2 and 3, 4 to 7, and so on; the last has no end.
const CLASSES: usize = 12;
/// Bins of a histogram, four for each doubling: from 20 µs to half a minute.
const BINS: usize = 84;
/// What times are counted in.
const UNIT_NS: u128 = 4_000;
/// So many replies are known before a quantile is believed.
const ENOUGH: u32 = 32;
/// With so many known, each counts half from then on: what a node did long ago says little.
const MANY: u32 = 512;

/// The latencies of one node with one model.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Vec<Histogram>);

#[derive(Debug, Clone)]
struct Histogram {
    bins: Vec<u32>,
    count: u32,
}

impl Default for Latencies {
    fn default() -> Self {
        Self(vec![Histogram { bins: vec![0; BINS], count: 0 }; CLASSES])
    }
}

impl Latencies {
    /// A reply came.
    pub(crate) fn learn(&mut self, forwards: u64, took: Duration) {
        let Some(histogram) = self.0.get_mut(class(forwards)) else { return };
        if let Some(bin) = histogram.bins.get_mut(bin(took)) {
            *bin += 1;
            histogram.count += 1;
        }
        if histogram.count >= MANY {
            histogram.bins.iter_mut().for_each(|bin| *bin /= 2);
            histogram.count = histogram.bins.iter().sum();
        }
    }

    /// The time within which 95 of 100 such replies came, to the end of its bin; nothing before enough are known.
    pub(crate) fn p95(&self, forwards: u64) -> Option<Duration> {
        let histogram = self.0.get(class(forwards)).filter(|h| h.count >= ENOUGH)?;
        let wanted = (histogram.count * 95).div_ceil(100);
        let mut seen = 0;
        let found = histogram.bins.iter().position(|bin| {
            seen += bin;
            seen >= wanted
        });
        found.map(end)
    }
}

fn class(forwards: u64) -> usize {
    usize::try_from(forwards.max(1).ilog2()).unwrap_or(CLASSES).min(CLASSES - 1)
}

/// Bins are equal quarters of each doubling from four units on.
fn bin(took: Duration) -> usize {
    let units = (took.as_nanos() / UNIT_NS).max(4);
    let octave = units.ilog2() - 2;
    let quarter = usize::try_from((units >> octave) - 4).unwrap_or(0);
    (usize::try_from(octave).unwrap_or(BINS) * 4 + quarter).min(BINS - 1)
}

/// The time at which a bin ends.
fn end(bin: usize) -> Duration {
    let units = u64::try_from(5 + bin % 4).unwrap_or(8) << (bin / 4).min(40);
    Duration::from_nanos(units * 4_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn every_time_lies_in_the_bin_that_ends_after_it() {
        for bin_at in 0..BINS - 1 {
            assert_eq!(bin(end(bin_at)), bin_at + 1);
            assert_eq!(bin(end(bin_at) - Duration::from_nanos(1)), bin_at);
        }
        assert_eq!(bin(Duration::ZERO), 0);
        assert_eq!(bin(Duration::MAX), BINS - 1);
        assert_eq!(end(0), Duration::from_micros(20));
        assert_eq!(end(BINS - 1), Duration::from_nanos((8 << 20) * 4_000));
    }

    #[test]
    fn the_quantile_is_nothing_before_enough_replies_and_the_end_of_its_bin_from_then_on() {
        let mut known = Latencies::default();
        for _ in 0..31 {
            known.learn(4, MS);
        }
        assert_eq!(known.p95(4), None);
        known.learn(7, MS);
        // 1 ms is 250 units, in the bin from 224 to 256.
        assert_eq!(known.p95(5), Some(Duration::from_micros(1024)));
        assert_eq!(known.p95(8), None);
    }

    #[test]
    fn one_late_reply_of_twenty_is_beyond_it_and_two_are_not() {
        let mut known = Latencies::default();
        let mut learn = |late: u32, soon: u32| {
            (0..late).for_each(|_| known.learn(1, 100 * MS));
            (0..soon).for_each(|_| known.learn(1, MS));
            known.p95(1)
        };
        assert_eq!(learn(2, 38), Some(Duration::from_micros(1024)));
        assert_eq!(learn(1, 0), Some(Duration::from_micros(114_688)));
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut known = Latencies::default();
        (0..400).for_each(|_| known.learn(1, 100 * MS));
        (0..2000).for_each(|_| known.learn(1, MS));
        assert_eq!(known.p95(1), Some(Duration::from_micros(1024)));
    }
}
