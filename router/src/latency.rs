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

/// The weight of the fastest.
const EVEN: u32 = 8;
/// By how much a node may be slower than its weight says: times are known to a quarter of a doubling, so two that are
/// alike can seem to be that far apart.
const ROUNDING: f64 = 1.25;

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

    /// The time within which 95 of 100 such replies came, to the end of its bin. Where too few are known it is that of
    /// the next smaller frames, times by how much these are larger at most, or else that of the next larger ones;
    /// nothing before enough of any are known.
    pub(crate) fn p95(&self, forwards: u64) -> Option<Duration> {
        let own = class(forwards);
        let smaller = (0..=own).rev().find_map(|class| {
            let factor = 1_u32 << (own - class);
            Some(self.quantile(class, 95)?.saturating_mul(factor))
        });
        smaller.or_else(|| (own..CLASSES).find_map(|class| self.quantile(class, 95)))
    }

    fn quantile(&self, class: usize, percent: u32) -> Option<Duration> {
        let histogram = self.0.get(class).filter(|h| h.count >= ENOUGH)?;
        let wanted = (histogram.count * percent).div_ceil(100);
        let mut seen = 0;
        let found = histogram.bins.iter().position(|bin| {
            seen += bin;
            seen >= wanted
        });
        found.map(end)
    }
}

/// How often each of some nodes is to have its turn, in eighths of how often the fastest has: by their medians, over
/// all classes of frames in which two of them at least are known. One of which nothing is known counts as fast, so that
/// something becomes known; one that is slow has its turn now and then, so that it is seen when it is fast again.
pub(crate) fn weights(nodes: &[Latencies]) -> Vec<u32> {
    let mut slowness = vec![(0.0, 0_u32); nodes.len()];
    for class in 0..CLASSES {
        let medians: Vec<Option<f64>> =
            nodes.iter().map(|n| n.quantile(class, 50).map(|median| median.as_secs_f64())).collect();
        let known = medians.iter().flatten();
        if known.clone().count() < 2 {
            continue;
        }
        let fastest = known.fold(f64::INFINITY, |least, median| least.min(*median));
        for ((sum, classes), median) in slowness.iter_mut().zip(medians) {
            if let Some(median) = median {
                *sum += median / fastest;
                *classes += 1;
            }
        }
    }
    let weight = |(sum, classes): (f64, u32)| match classes {
        0 => EVEN,
        _ => (1..=EVEN)
            .rev()
            .find(|w| f64::from(*w) * sum <= f64::from(EVEN * classes) * ROUNDING)
            .unwrap_or(1),
    };
    slowness.into_iter().map(weight).collect()
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
        // Twice as large at most, and smaller.
        assert_eq!(known.p95(8), Some(Duration::from_micros(2048)));
        assert_eq!(known.p95(1), Some(Duration::from_micros(1024)));
        assert_eq!(known.p95(u64::MAX), Some(Duration::from_micros(1024 << 9)));
    }

    /// Latencies of one that takes so long for frames of some sizes.
    fn taking(ms: u32, sizes: &[u64]) -> Latencies {
        let mut known = Latencies::default();
        sizes.iter().for_each(|size| (0..ENOUGH).for_each(|_| known.learn(*size, ms * MS)));
        known
    }

    #[test]
    fn who_takes_longer_has_its_turn_less_often() {
        let of = |times: &[u32]| weights(&times.iter().map(|ms| taking(*ms, &[4])).collect::<Vec<_>>());
        assert_eq!(of(&[10, 10]), [8, 8]);
        assert_eq!(of(&[10, 20]), [8, 5]);
        assert_eq!(of(&[40, 10, 10]), [2, 8, 8]);
        assert_eq!(of(&[10, 10_000]), [8, 1]);
    }

    #[test]
    fn who_is_not_known_counts_as_fast() {
        assert_eq!(weights(&[taking(10, &[4]), Latencies::default()]), [8, 8]);
        // Known for frames of other sizes alone.
        assert_eq!(weights(&[taking(10, &[4]), taking(80, &[64])]), [8, 8]);
        assert_eq!(weights(&[taking(10, &[4, 64]), taking(80, &[64])]), [8, 1]);
        assert_eq!(weights(&[]), [0_u32; 0]);
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
