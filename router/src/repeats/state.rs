//! What is known of keys: those whose requests run, those that were answered, and those of which the file tells.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use counterfoil_spec::ids::{AccountId, Hash, Serial};
use counterfoil_spec::limits::{
    IDEMPOTENCY_ANSWER_LIFE_S, IDEMPOTENCY_KEY_LIFE_S, MAX_IDEMPOTENCY_KEPT_BYTES,
};
use counterfoil_spec::time::Seconds;

use super::file::Record;
use super::{Kept, Mark};

/// Where a request with a key stands.
#[derive(Debug, Clone)]
pub(super) enum Stand {
    Runs,
    Answered(Arc<Kept>),
    /// It was answered, or it ran when a router ended.
    Gone,
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) account: AccountId,
    pub(super) body: Hash,
    /// When it was recorded; before that, when it came.
    pub(super) at: Seconds,
    /// Its name, from when the key is durable.
    pub(super) request: Option<Serial>,
    pub(super) stand: Stand,
}

/// All keys.
#[derive(Debug, Default)]
pub(super) struct State {
    known: BTreeMap<Mark, Known>,
    /// Those that are recorded, by the time of that, which is the order in which they are forgotten.
    order: VecDeque<(Seconds, Mark)>,
    of_account: BTreeMap<AccountId, usize>,
    /// Those whose answers are kept, oldest first, with when they were answered.
    kept: VecDeque<(Seconds, Mark)>,
    kept_bytes: usize,
}

impl State {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn known(&self, mark: &Mark) -> Option<&Known> {
        self.known.get(mark)
    }

    /// How many keys an account has.
    pub(super) fn of_account(&self, account: &AccountId) -> usize {
        self.of_account.get(account).copied().unwrap_or(0)
    }

    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    pub(super) fn reserve(&mut self, mark: Mark, known: Known) {
        *self.of_account.entry(known.account).or_default() += 1;
        self.known.insert(mark, known);
    }

    /// What the file says of an earlier process.
    pub(super) fn remember(&mut self, record: &Record) {
        let Record { at, account, mark, body, request } = *record;
        self.reserve(mark, Known { account, body, at, request: Some(request), stand: Stand::Gone });
        self.order.push_back((at, mark));
    }

    /// The record that is to be written of a key.
    pub(super) fn record(&self, mark: &Mark, request: Serial, at: Seconds) -> Option<Record> {
        let Known { account, body, .. } = *self.known.get(mark)?;
        Some(Record { at, account, mark: *mark, body, request })
    }

    /// It is durable.
    pub(super) fn recorded(&mut self, record: &Record) {
        if let Some(known) = self.known.get_mut(&record.mark) {
            (known.at, known.request) = (record.at, Some(record.request));
            self.order.push_back((record.at, record.mark));
        }
    }

    /// The records that the file has to hold.
    pub(super) fn records(&self) -> Vec<Record> {
        self.order
            .iter()
            .filter_map(|(at, mark)| self.record(mark, self.known.get(mark)?.request?, *at))
            .collect()
    }

    /// Its request was answered.
    pub(super) fn answered(&mut self, mark: Mark, kept: Kept, now: Seconds) {
        let Some(known) = self.known.get_mut(&mark) else { return };
        self.kept_bytes += kept.text.len();
        known.stand = Stand::Answered(Arc::new(kept));
        self.kept.push_back((now, mark));
        self.forget(now);
    }

    /// Nobody knows what became of its request, or it was never begun.
    pub(super) fn given_up(&mut self, mark: &Mark) {
        match self.known.get_mut(mark) {
            Some(known) if known.request.is_some() => known.stand = Stand::Gone,
            _ => self.remove(mark),
        }
    }

    fn remove(&mut self, mark: &Mark) {
        let Some(known) = self.known.remove(mark) else { return };
        if let Some(left) = self.of_account.get_mut(&known.account) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.of_account.remove(&known.account);
            }
        }
        if let Stand::Answered(kept) = known.stand {
            self.kept_bytes = self.kept_bytes.saturating_sub(kept.text.len());
        }
    }

    /// Forgets keys and answers whose time is over.
    pub(super) fn forget(&mut self, now: Seconds) {
        let over = |at: Seconds, life: u64| now.0.saturating_sub(at.0) >= life;
        while self.order.front().is_some_and(|(at, _)| over(*at, IDEMPOTENCY_KEY_LIFE_S)) {
            let Some((_, mark)) = self.order.pop_front() else { break };
            let Some(known) = self.known.get_mut(&mark) else { continue };
            if matches!(known.stand, Stand::Runs) {
                known.at = now;
                self.order.push_back((now, mark));
            } else {
                self.remove(&mark);
            }
        }
        while self.kept_bytes > MAX_IDEMPOTENCY_KEPT_BYTES
            || self.kept.front().is_some_and(|(at, _)| over(*at, IDEMPOTENCY_ANSWER_LIFE_S))
        {
            let Some((_, mark)) = self.kept.pop_front() else { break };
            let Some(known) = self.known.get_mut(&mark) else { continue };
            if let Stand::Answered(kept) = &known.stand {
                self.kept_bytes = self.kept_bytes.saturating_sub(kept.text.len());
                known.stand = Stand::Gone;
            }
        }
    }
}
