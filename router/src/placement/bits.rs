//! A set of the experts of one layer.

/// Experts by their number, 64 to a word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn has(&self, expert: u32) -> bool {
        let (word, bit) = place(expert);
        self.0.get(word).is_some_and(|w| w & bit != 0)
    }

    pub(super) fn insert(&mut self, expert: u32) {
        let (word, bit) = place(expert);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(w) = self.0.get_mut(word) {
            *w |= bit;
        }
    }

    /// Takes out everything that `other` holds.
    pub(super) fn subtract(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine &= !theirs;
        }
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    /// Adds everything that `other` holds.
    pub(super) fn unite(&mut self, other: &Self) {
        other.iter().for_each(|e| self.insert(e));
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|w| *w == 0)
    }

    /// Its members, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        (0_u32..).step_by(64).zip(&self.0).flat_map(|(base, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let next = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(base + next)
            })
        })
    }

    /// Its runs of neighbours, first and last.
    pub(super) fn runs(&self) -> Vec<(u32, u32)> {
        let mut out: Vec<(u32, u32)> = Vec::new();
        for expert in self.iter() {
            match out.last_mut() {
                Some((_, last)) if *last + 1 == expert => *last = expert,
                _ => out.push((expert, expert)),
            }
        }
        out
    }
}

impl FromIterator<u32> for Bits {
    fn from_iter<I: IntoIterator<Item = u32>>(experts: I) -> Self {
        let mut out = Self::default();
        experts.into_iter().for_each(|e| out.insert(e));
        out
    }
}

fn place(expert: u32) -> (usize, u64) {
    (usize::try_from(expert / 64).unwrap_or(usize::MAX), 1 << (expert % 64))
}
