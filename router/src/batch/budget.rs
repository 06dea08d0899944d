//! How many frames may be sent twice: a few in a hundred, or asking twice would slow down the nodes that are asked
//! because they are slow.

use super::Hedging;

/// Frames that earn one hedge.
const FRAMES_PER_HEDGE: u32 = 32;
/// Hedges that may be saved up: as many as the frames of a layer that a machine with many nodes holds up at once.
const MAX_SAVED: u32 = 8;

/// The token bucket of hedges.
#[derive(Debug)]
pub(super) struct Budget {
    /// In frames.
    saved: u32,
    /// What a frame earns.
    each: u32,
}

impl Budget {
    /// One with two hedges in it, so that the first node that falls silent is found out; or one that stays empty.
    pub(super) const fn new(hedging: Hedging) -> Self {
        match hedging {
            Hedging::On => Self { saved: 2 * FRAMES_PER_HEDGE, each: 1 },
            Hedging::Off => Self { saved: 0, each: 0 },
        }
    }

    /// Whether frames are hedged at all.
    pub(super) const fn is_any(&self) -> bool {
        self.each > 0
    }

    /// A frame was sent.
    pub(super) fn earn(&mut self) {
        self.saved = (self.saved + self.each).min(MAX_SAVED * FRAMES_PER_HEDGE);
    }

    /// Takes one hedge out, if one is in it.
    pub(super) fn take(&mut self) -> bool {
        let left = self.saved.checked_sub(FRAMES_PER_HEDGE);
        self.saved = left.unwrap_or(self.saved);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_frame_in_32_is_hedged_at_most() {
        let mut budget = Budget::new(Hedging::On);
        assert_eq!([budget.take(), budget.take(), budget.take()], [true, true, false]);
        let taken = (0..320).filter(|_| {
            budget.earn();
            budget.take()
        });
        assert_eq!(taken.count(), 10);
    }

    #[test]
    fn none_is_where_there_are_to_be_none() {
        let mut budget = Budget::new(Hedging::Off);
        (0..100).for_each(|_| budget.earn());
        assert!(!budget.take());
    }

    #[test]
    fn eight_are_saved_up_at_most() {
        let mut budget = Budget::new(Hedging::On);
        (0..10_000).for_each(|_| budget.earn());
        assert_eq!((0..10).filter(|_| budget.take()).count(), 8);
    }
}
