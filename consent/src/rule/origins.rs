//! Where callers are from, as the router's operator wrote it down.

use std::collections::HashMap;

use counterfoil_spec::country::Country;
use counterfoil_spec::ids::{AccountId, Serial};
use counterfoil_spec::payload::{AccountOpened, Inference, KeyCreated};

/// The accounts and keys that have a country.
#[derive(Debug, Default)]
pub(super) struct Origins {
    accounts: HashMap<AccountId, Country>,
    keys: HashMap<Serial, Country>,
}

impl Origins {
    pub(super) fn opened(&mut self, entry: &AccountOpened) {
        if let Some(country) = entry.country {
            self.accounts.entry(entry.account).or_insert(country);
        }
    }

    pub(super) fn made(&mut self, entry: &KeyCreated) {
        if let Some(country) = entry.country {
            self.keys.entry(entry.key_id).or_insert(country);
        }
    }

    //= spec/consent.md#callers
    //# A caller's country is what the router's operator wrote down for its API key or, where the key has none, for its account, in `key-created` and `account-opened`.
    /// The country of who asked.
    pub(super) fn of(&self, entry: &Inference) -> Option<Country> {
        let own = entry.key_id.and_then(|key| self.keys.get(&key));
        own.or_else(|| self.accounts.get(&entry.account)).copied()
    }
}
