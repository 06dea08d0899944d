//! What accounts used, by day and model: sums of the `inference` entries that the balances come from.

use std::collections::BTreeMap;

use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::ids::ManifestId;
use counterfoil_spec::payload::Inference;
use counterfoil_spec::time::Seconds;

use crate::account::Account;
use crate::calendar::Date;

/// What one account asked of one model in one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Requests that have an entry, failed ones among them.
    pub requests: u64,
    /// Tokens of their prompts.
    pub prompt: TokenCount,
    /// Tokens of their answers.
    pub completion: TokenCount,
    /// Taken from lots; none where the account is not metered.
    pub debited: TokenCount,
}

/// Rows in order of their day's first second, then of the model.
pub(crate) type UsageRows = BTreeMap<(Seconds, ManifestId), Usage>;

impl Account {
    /// What it used, by the day in UTC in which a request started and by model: the newest [`MAX_USAGE_ROWS`] rows,
    /// oldest first.
    pub fn usage(&self) -> impl Iterator<Item = (Date, &ManifestId, &Usage)> {
        self.usage.iter().map(|((day, manifest), used)| (Date::of(*day), manifest, used))
    }

    /// Adds a request that was posted.
    pub(crate) fn used(&mut self, entry: &Inference, debited: TokenCount) {
        let day = Date::of(entry.started.seconds()).midnight();
        let row = self.usage.entry((day, entry.manifest)).or_default();
        row.requests = row.requests.saturating_add(1);
        let sum = |a: TokenCount, b: TokenCount| TokenCount(a.0.saturating_add(b.0));
        row.prompt = sum(row.prompt, entry.prompt_tokens);
        row.completion = sum(row.completion, entry.completion_tokens);
        row.debited = sum(row.debited, debited);
        if self.usage.len() > MAX_USAGE_ROWS {
            self.usage.pop_first();
        }
    }
}

/// Rows kept for one account: more than a year of two models used every day.
pub const MAX_USAGE_ROWS: usize = 1_000;
