//! Entries of which the hash alone is there: which prune removed them, and whether it says just that.

use counterfoil_spec::ids::Hash;
use counterfoil_spec::limits::MAX_PRUNE_KEPT;
use counterfoil_spec::payload::{Prune, Statement};
use counterfoil_spec::rule::{Fault, FaultKind};
use counterfoil_spec::time::Millis;
use serde::Serialize;

use super::findings::Findings;
use crate::error::LogError;
use crate::prune::{RemovedHash, is_removable};
use crate::sorted::Sorted;
use crate::tile::TILE_WIDTH;

/// Index and leaf hash.
const RECORD_BYTES: usize = 8 + 32;
const DAY_MS: u64 = 86_400_000;

/// What a prune removed, as far as it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// The index of the prune.
    pub entry: u64,
    /// The first entry that may be missing under it.
    pub first: u64,
    /// The one after the last.
    pub end: u64,
    /// How many it says that it removes.
    pub says: u64,
    /// How many are missing; none where it was not carried out in this copy.
    pub missing: u64,
    /// For how many days entries are kept, as it says.
    pub kept_days: u64,
}

/// The prunes of a log, and the statements that they lean on.
#[derive(Default)]
pub(super) struct Prunes {
    /// The end of each statement, and when that was written.
    statements: Vec<(u64, Millis)>,
    announced: Vec<(u64, Prune)>,
}

type Refused = (FaultKind, String);

impl Prunes {
    /// A quarter was closed.
    pub(super) fn close(&mut self, statement: &Statement, time: Millis) {
        if self.statements.last().is_none_or(|(end, _)| *end < statement.end) {
            self.statements.push((statement.end, time));
        }
    }

    /// Entries are to be removed.
    pub(super) fn announce(&mut self, index: u64, time: Millis, prune: &Prune) -> Result<(), Refused> {
        let begins = self.announced.last().map_or(0, |(_, last)| last.end);
        //= spec/audit-log.md#removal
        //# `first` MUST be the `end` of the `prune` before it, and 0 in the first one; `end` MUST be a multiple of 256 beyond it.
        if prune.first != begins || prune.end <= prune.first || !prune.end.is_multiple_of(TILE_WIDTH) {
            let detail = format!(
                "a prune of entries {} to {}, where one from {begins} to a multiple of {TILE_WIDTH} follows",
                prune.first, prune.end
            );
            return Err((FaultKind::NotMonotonic, detail));
        }
        self.announced.push((index, prune.clone()));
        let kinds = prune.removed.iter().all(|of| of.count > 0 && is_removable(of.kind));
        let kept = prune.kept.len() <= MAX_PRUNE_KEPT
            && prune.kept.is_sorted_by(|a, b| a < b)
            && prune.kept.iter().all(|index| (prune.first..prune.end).contains(index));
        if !(kinds && kept && prune.removed.is_sorted_by(|a, b| a.kind < b.kind)) {
            let detail = "it names kinds that stay, or entries outside of its range, or either out of order";
            return Err((FaultKind::PruneMismatch, detail.to_owned()));
        }
        //= spec/audit-log.md#removal
        //# `end` MUST NOT lie beyond the end of the last `statement` before the `prune`
        let Some((_, closed)) = self.statements.iter().find(|(end, _)| *end >= prune.end) else {
            let detail = format!("no statement before it closes the quarter of entry {}", prune.end - 1);
            return Err((FaultKind::PruneMismatch, detail));
        };
        //= spec/audit-log.md#removal
        //# The first `statement` whose end is not before the `end` of a `prune` MUST be at least `kept days` older than that `prune`.
        if time.0.saturating_sub(closed.0) < prune.kept_days.saturating_mul(DAY_MS) {
            let detail = format!(
                "{} days were not over at {} ms, counted from the statement of {} ms",
                prune.kept_days, time.0, closed.0
            );
            return Err((FaultKind::TimeOutOfBounds, detail));
        }
        Ok(())
    }
}

/// Entries of which the hash alone was found.
pub(super) struct Missing {
    records: Sorted<RECORD_BYTES>,
    pub(super) count: u64,
}

impl Missing {
    /// Holds so many bytes of them at most; what is more lies in a file.
    pub(super) const fn new(held_bytes: usize) -> Self {
        Self { records: Sorted::new(held_bytes), count: 0 }
    }

    pub(super) fn add(&mut self, index: u64, leaf: &Hash) -> Result<(), LogError> {
        let mut record = [0; RECORD_BYTES];
        let (at, rest) = record.split_at_mut(8);
        at.copy_from_slice(&index.to_be_bytes());
        rest.copy_from_slice(leaf.as_bytes());
        self.count += 1;
        self.records.add(record)
    }

    /// Holds them against the prunes. Where entries could not be read nobody can tell what is missing under which.
    pub(super) fn finish(
        self,
        prunes: &Prunes,
        lost: bool,
        findings: &mut Findings,
    ) -> Result<Vec<Pruned>, LogError> {
        let mut tallies: Vec<Tally> =
            prunes.announced.iter().map(|(at, prune)| Tally::new(*at, prune)).collect();
        let mut unannounced = Run::default();
        self.records.each(|record| {
            let Some((index, rest)) = record.split_first_chunk::<8>() else { return Ok(()) };
            let (index, leaf) = (u64::from_be_bytes(*index), Hash::from_slice(rest));
            // They follow each other, so the first that ends behind an index is the only one that can have it.
            let place = tallies.partition_point(|tally| tally.of.end <= index);
            match (tallies.get_mut(place), leaf) {
                (Some(tally), Some(leaf)) if tally.of.first <= index => tally.add(index, &leaf),
                _ => unannounced.add(index, findings),
            }
            Ok(())
        })?;
        //= spec/audit-log.md#what-a-verifier-does
        //# A verifier MUST say how many entries are missing under which `prune`, and MUST name each that is missing without one (`EntryMissing`).
        unannounced.end(findings);
        for (tally, (_, prune)) in tallies.iter().zip(&prunes.announced).filter(|_| !lost) {
            tally.check(prune, findings);
        }
        Ok(tallies.into_iter().map(|tally| tally.of).collect())
    }
}

struct Tally {
    of: Pruned,
    hash: RemovedHash,
    /// Whether an entry is missing that the prune says it keeps.
    kept_gone: Option<u64>,
    kept: std::iter::Peekable<std::vec::IntoIter<u64>>,
}

impl Tally {
    fn new(entry: u64, prune: &Prune) -> Self {
        let Prune { first, end, kept_days, .. } = *prune;
        let of = Pruned { entry, first, end, says: prune.count(), missing: 0, kept_days };
        let kept = prune.kept.clone().into_iter().peekable();
        Self { of, hash: RemovedHash::new(), kept_gone: None, kept }
    }

    fn add(&mut self, index: u64, leaf: &Hash) {
        while self.kept.next_if(|kept| *kept < index).is_some() {}
        if self.kept.peek() == Some(&index) {
            self.kept_gone.get_or_insert(index);
        }
        self.of.missing += 1;
        self.hash.add(index, leaf);
    }

    //= spec/audit-log.md#what-a-verifier-does
    //# A verifier MUST hold the hashes of what is missing against each `prune` that anything is missing under (`PruneMismatch`).
    fn check(&self, prune: &Prune, findings: &mut Findings) {
        let Pruned { entry, first, end, says, missing, .. } = self.of;
        if missing == 0 || (missing == says && self.hash.end() == prune.hash) {
            return;
        }
        let detail = match self.kept_gone {
            Some(kept) => format!("entry {kept} is missing, which it says stays"),
            None if missing == says => {
                format!("other entries than it says are missing from {first} to {end}")
            }
            None if missing < says => format!(
                "{missing} of the {says} entries that it says are missing from {first} to {end}; where that was broken \
                 off the router finishes it at its next start"
            ),
            None => format!("{missing} entries are missing from {first} to {end}, and it says {says}"),
        };
        findings.entry(FaultKind::PruneMismatch, entry, detail);
    }
}

/// Entries in a row that no prune names.
#[derive(Default)]
struct Run {
    first: u64,
    end: u64,
}

impl Run {
    fn add(&mut self, index: u64, findings: &mut Findings) {
        if index != self.end {
            self.end(findings);
            self.first = index;
        }
        self.end = index + 1;
    }

    fn end(&self, findings: &mut Findings) {
        if self.first < self.end {
            let detail = match self.end - self.first {
                1 => "its hash alone is there, and no prune removed it".to_owned(),
                more => format!(
                    "{more} entries from it on: their hashes alone are there, and no prune removed them"
                ),
            };
            findings.push(Fault::at(FaultKind::EntryMissing, self.first, detail));
        }
    }
}
