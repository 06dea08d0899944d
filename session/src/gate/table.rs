//! Token buckets, one for each prefix that was seen lately, in memory of a fixed size.

use std::hash::BuildHasher;

use super::Prefix;

/// How fast something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run, a second.
    pub per_s: u32,
    /// At once, after nothing has happened for long enough.
    pub burst: u32,
}

/// What is left of a rate. It fills by itself as time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    /// In thousandths.
    level: u64,
    filled_ms: u64,
}

impl Bucket {
    pub(super) fn full(rate: Rate) -> Self {
        Self { level: u64::from(rate.burst) * UNIT, filled_ms: 0 }
    }

    /// Takes one, if one is there.
    pub(super) fn take(&mut self, rate: Rate, now_ms: u64) -> bool {
        let level = self.level_at(rate, now_ms);
        self.filled_ms = self.filled_ms.max(now_ms);
        let taken = level.checked_sub(UNIT);
        self.level = taken.unwrap_or(level);
        taken.is_some()
    }

    fn level_at(&self, rate: Rate, now_ms: u64) -> u64 {
        // One a second is a thousandth a millisecond.
        let more = now_ms.saturating_sub(self.filled_ms).saturating_mul(u64::from(rate.per_s));
        self.level.saturating_add(more).min(u64::from(rate.burst) * UNIT)
    }
}

/// A table of sets: a prefix has its bucket in the set that its hash names, and nowhere else. Where the set is taken,
/// the fullest bucket goes, because least is forgotten with it. The hash is keyed, so nobody can choose who shares a set.
#[derive(Debug)]
pub(super) struct Table<S> {
    hasher: S,
    slots: Vec<Option<(Prefix, Bucket)>>,
}

impl<S: BuildHasher> Table<S> {
    pub(super) fn new(prefixes: usize, hasher: S) -> Self {
        Self { hasher, slots: vec![None; prefixes.next_multiple_of(WAYS).max(WAYS)] }
    }

    /// The bucket of a prefix; a full one where it was not seen, or was forgotten.
    pub(super) fn bucket(&mut self, prefix: Prefix, rate: Rate, now_ms: u64) -> &mut Bucket {
        let sets = u64::try_from(self.slots.len() / WAYS).unwrap_or(u64::MAX).max(1);
        let set = usize::try_from(self.hasher.hash_one(prefix) % sets).unwrap_or(0);
        let ways = self.slots.iter_mut().skip(set * WAYS).take(WAYS);
        // A place is as good as what would be forgotten with it is full; one's own comes before all.
        let worth = |slot: &Option<(Prefix, Bucket)>| match slot {
            Some((own, _)) if *own == prefix => u64::MAX,
            Some((_, bucket)) => bucket.level_at(rate, now_ms),
            None => u64::MAX - 1,
        };
        let best = ways.max_by_key(|slot| worth(slot));
        #[expect(clippy::expect_used, reason = "a table has at least one set, and a set has ways")]
        let slot = best.expect("a set has ways");
        let known = slot.filter(|(own, _)| *own == prefix);
        let (_, bucket) = slot.insert(known.unwrap_or((prefix, Bucket::full(rate))));
        bucket
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.slots.capacity()
    }
}

const UNIT: u64 = 1000;
/// Prefixes in one set.
const WAYS: usize = 4;
