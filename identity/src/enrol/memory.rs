//! Join tokens in memory: what a router fills from its log and from what it hands out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use counterfoil_spec::ids::Serial;
use counterfoil_spec::limits::ENROL_REPEAT_S;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

use super::message::Enrolled;
use super::store::{Claim, Consumed, TokenStore};
use super::token::TokenFacts;

/// Join tokens of one process; which of them were used is in the log, and [`Self::mark_used`] brings it back.
#[derive(Debug, Default)]
pub struct MemoryTokens {
    /// Guards the map alone; nothing else happens while it is held.
    tokens: Mutex<HashMap<Serial, Slot>>,
}

#[derive(Debug)]
struct Slot {
    facts: TokenFacts,
    used: Option<Used>,
    refusals: u32,
}

#[derive(Debug)]
struct Used {
    by: Option<(Claim, Seconds)>,
    answer: Option<Enrolled>,
}

impl MemoryTokens {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a token.
    pub fn add(&self, facts: TokenFacts) {
        self.with(|tokens| {
            tokens.entry(facts.token_id).or_insert(Slot { facts, used: None, refusals: 0 });
        });
    }

    /// Marks a token as used by an enrolment that the log records. One whose claim is known here keeps its answer.
    pub fn mark_used(&self, token_id: &Serial) {
        self.with(|tokens| {
            if let Some(slot) = tokens.get_mut(token_id) {
                slot.used.get_or_insert(Used { by: None, answer: None });
            }
        });
    }

    /// Counts one more refusal of somebody who proved that they hold this token, and says how many there were before.
    pub fn count_refusal(&self, token_id: &Serial) -> u32 {
        self.with(|tokens| {
            tokens.get_mut(token_id).map_or(u32::MAX, |slot| {
                let before = slot.refusals;
                slot.refusals = before.saturating_add(1);
                before
            })
        })
    }

    /// Forgets tokens that expired.
    pub fn purge(&self, now: Seconds) {
        self.with(|tokens| tokens.retain(|_, slot| now < slot.facts.expires));
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<Serial, Slot>) -> T) -> T {
        // A panic while the map is held cannot leave it half changed: each closure makes one change.
        act(&mut self.tokens.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl TokenStore for MemoryTokens {
    fn find(&self, token_id: &Serial) -> Option<TokenFacts> {
        self.with(|tokens| tokens.get(token_id).map(|slot| slot.facts))
    }

    fn consume(&self, claim: &Claim, now: Seconds) -> Result<Consumed, Refusal> {
        self.with(|tokens| {
            let slot = tokens.get_mut(&claim.token_id).ok_or(Refusal::EnrolToken)?;
            match &slot.used {
                None => {
                    slot.used = Some(Used { by: Some((*claim, now)), answer: None });
                    Ok(Consumed::First)
                }
                Some(Used { by: Some((by, at)), answer: Some(answer) })
                    if by == claim && now < at.plus(ENROL_REPEAT_S) =>
                {
                    Ok(Consumed::Again(Box::new(answer.clone())))
                }
                Some(_) => Err(Refusal::EnrolUsed),
            }
        })
    }

    fn answered(&self, claim: &Claim, answer: &Enrolled) {
        self.with(|tokens| {
            if let Some(Slot { used: Some(used), .. }) = tokens.get_mut(&claim.token_id) {
                used.answer = Some(answer.clone());
            }
        });
    }

    fn release(&self, claim: &Claim) {
        self.with(|tokens| {
            if let Some(slot) = tokens.get_mut(&claim.token_id)
                && matches!(&slot.used, Some(Used { by: Some((by, _)), .. }) if by == claim)
            {
                slot.used = None;
            }
        });
    }
}
