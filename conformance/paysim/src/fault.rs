//! What goes wrong with a request that moves money.

use std::collections::VecDeque;

use crate::chance::Chance;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request is lost: nothing is done, and the connection breaks.
    LostRequest,
    /// All is done and saved, and the connection breaks before the answer is whole.
    LostAnswer,
    /// Nothing is done, an error 500 is answered and saved under the key.
    ErrorBefore,
    /// All is done, an error 500 is answered and saved under the key.
    ErrorAfter,
    /// Nothing is done or saved: too many requests.
    TooMany,
    /// Nothing is done or saved: a request with this key is being carried out.
    KeyInUse,
}

/// All of them.
const ALL: [Fault; 6] = [
    Fault::LostRequest,
    Fault::LostAnswer,
    Fault::ErrorBefore,
    Fault::ErrorAfter,
    Fault::TooMany,
    Fault::KeyInUse,
];

/// What goes wrong when: first what a script says, request by request, then by chance.
#[derive(Debug, Clone)]
pub struct Faults {
    script: VecDeque<Option<Fault>>,
    chance: Chance,
    often: u64,
}

impl Faults {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self { script: VecDeque::new(), chance: Chance::new(0), often: 0 }
    }

    /// With the requests that come next goes wrong what is listed, then nothing.
    #[must_use]
    pub fn script(faults: &[Option<Fault>]) -> Self {
        Self { script: faults.iter().copied().collect(), ..Self::none() }
    }

    /// Of a thousand requests so many go wrong, which and how follows from the seed.
    #[must_use]
    pub fn seeded(seed: u64, per_mille: u64) -> Self {
        Self { script: VecDeque::new(), chance: Chance::new(seed), often: per_mille }
    }

    /// What goes wrong with the next request.
    pub(crate) fn draw(&mut self) -> Option<Fault> {
        if let Some(scripted) = self.script.pop_front() {
            return scripted;
        }
        if self.chance.per_mille(self.often) { self.chance.one_of(&ALL).copied() } else { None }
    }
}
