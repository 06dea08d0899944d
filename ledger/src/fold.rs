//! The state that the log describes: a pure fold over its entries.

use std::collections::{BTreeMap, HashMap, HashSet};

use counterfoil_spec::amount::{Cents, MicroUsd, TokenCount};
use counterfoil_spec::entry::Body;
use counterfoil_spec::ids::{AccountId, Hash, ManifestId, ProviderId, Serial};
use counterfoil_spec::limits::MAX_UPTIME_NODES;
use counterfoil_spec::payload::{CapacityAttested, Payload, Payment, Rules, Statement, Uptime};
use counterfoil_spec::time::{Millis, Seconds};

use crate::account::{Account, Balance, KeyFacts, LotBalance};
use crate::book::{Balances, Book, MoneyAccount, TokenAccount};
use crate::dispute::Disputes;
use crate::error::LedgerError;
use crate::hold::Hold;
use crate::lots::{LotState, Lots};
use crate::payout::{Payouts, Providers, Reserved};
use crate::rules::{RulesHistory, weight};
use crate::tier::least_bytes;
use crate::works::Late;

/// Accounts, keys, lots, payments, rules, statements, providers and payouts, and the two books, as of [`Ledger::applied`] entries;
/// with them the holds of the requests that run now, which no entry knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    pub(crate) applied: u64,
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) keys: HashMap<Hash, KeyFacts>,
    pub(crate) key_hashes: HashMap<Serial, Hash>,
    pub(crate) lots: Lots,
    pub(crate) payments: HashMap<Serial, PaymentState>,
    pub(crate) rules: RulesHistory,
    pub(crate) statements: Vec<Statement>,
    /// What providers earned, by quarter.
    pub(crate) earned: BTreeMap<String, BTreeMap<ProviderId, Cents>>,
    pub(crate) disputes: Disputes,
    /// To whom what is owed to nodes that were their own providers was brought.
    pub(crate) brought: BTreeMap<ProviderId, ProviderId>,
    pub(crate) reserves: BTreeMap<ProviderId, Vec<Reserved>>,
    pub(crate) providers: Providers,
    pub(crate) payouts: Payouts,
    pub(crate) posted: Posted,
    pub(crate) holds: HashMap<Serial, Hold>,
    pub(crate) tokens: Book<TokenAccount>,
    pub(crate) money: Book<MoneyAccount>,
}

/// The serials of requests that were posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Posted {
    /// All of them.
    Kept(HashSet<Serial>),
    /// The newest ones, for whoever looks for serials that stand twice in another way.
    Newest(Newest),
    /// None: the log was verified, so that none stands there twice, and millions of them would fill the memory.
    Verified,
}

impl Default for Posted {
    fn default() -> Self {
        Self::Kept(HashSet::new())
    }
}

impl Posted {
    pub(crate) fn contains(&self, request: &Serial) -> bool {
        match self {
            Self::Kept(serials) => serials.contains(request),
            Self::Newest(serials) => serials.contains(request),
            Self::Verified => false,
        }
    }

    pub(crate) fn insert(&mut self, request: Serial) {
        match self {
            Self::Kept(serials) => {
                serials.insert(request);
            }
            Self::Newest(serials) => serials.insert(request),
            Self::Verified => {}
        }
    }
}

/// The serials of the last requests: those of [`NEWEST`] at least, of twice as many at most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Newest {
    young: HashSet<Serial>,
    old: HashSet<Serial>,
}

/// A receipt that comes so many requests after its own is not told from one whose request is still to come; neither earns anything.
pub(crate) const NEWEST: usize = 1 << 18;

impl Newest {
    fn contains(&self, request: &Serial) -> bool {
        self.young.contains(request) || self.old.contains(request)
    }

    fn insert(&mut self, request: Serial) {
        if self.young.len() == NEWEST {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(request);
    }
}

/// A payment with what was refunded of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PaymentState {
    pub(crate) payment: Payment,
    /// The tokens of its plan in the rules in force when it was received.
    pub(crate) plan_tokens: TokenCount,
    pub(crate) refunded: MicroUsd,
    /// What is held back of it, by dispute.
    pub(crate) disputes: BTreeMap<Serial, MicroUsd>,
    pub(crate) lot: Option<Serial>,
}

impl Ledger {
    /// Takes the next entry of the log into account; kinds that move no money or tokens only count as seen. An entry
    /// that is refused changes nothing else and counts as seen too, so that a verifier can go on after it.
    ///
    /// # Errors
    /// [`LedgerError`] for an entry that the state before it does not allow. A program that meets one in its own log
    /// must stop: its balances would not be those of the log.
    pub fn apply(&mut self, index: u64, body: &Body) -> Result<(), LedgerError> {
        if index != self.applied {
            return Err(LedgerError::OutOfOrder { expected: self.applied, found: index });
        }
        self.applied = self.applied.checked_add(1).ok_or(LedgerError::Overflow)?;
        self.tokens.begin();
        self.money.begin();
        match &body.payload {
            Payload::Rules(rules) => self.rules.push(body.time, rules),
            Payload::AccountOpened(opened) => self.open(opened, body.time.seconds()),
            Payload::KeyCreated(key) => self.key_created(key),
            Payload::KeyRevoked(key) => self.key_revoked(key),
            Payload::Payment(payment) => self.payment(body.serial, payment),
            Payload::Refund(refund) => self.refund(refund, body.time.seconds()),
            Payload::Chargeback(entry) => self.chargeback(entry, body.time.seconds()),
            Payload::Lot(lot) => self.lot_granted(lot),
            Payload::Inference(inference) => self.inference(body.serial, inference),
            Payload::Uptime(uptime) => check_uptime(uptime, body.time.seconds()),
            Payload::CapacityAttested(capacity) => check_capacity(capacity),
            Payload::Statement(statement) => self.statement(index, statement, body.time.seconds()),
            Payload::Dispute(entry) => self.contested(body.serial, entry, body.time.seconds()),
            Payload::Correction(entry) => self.correct(index, entry),
            Payload::ProviderRegistered(provider) => self.register(provider),
            Payload::ProviderOffboarded(provider) => self.offboard(provider),
            Payload::PayoutDestination(destination) => self.destination(destination, body.time.seconds()),
            Payload::Earnings(earnings) => self.earnings(earnings, body.time.seconds()),
            Payload::Payout(payout) => self.intend(body.serial, payout, body.time.seconds()),
            Payload::PspReport(report) => self.report(report),
            _ => Ok(()),
        }
    }

    /// The entries before `index` that were not seen were removed. What they debited lies in lots that ended, and what they earned in
    /// statements, so nothing that can still be spent or paid depends on them.
    pub fn pass_over(&mut self, index: u64) {
        self.applied = self.applied.max(index);
    }

    /// A ledger for a log that was verified: it does not look for requests that were posted before.
    pub(crate) fn of_verified_log() -> Self {
        Self { posted: Posted::Verified, ..Self::default() }
    }

    /// A ledger for a log that is being verified: serials that stand there twice far apart are its verifier's to find, who sorts them.
    pub(crate) fn of_log_to_verify() -> Self {
        Self { posted: Posted::Newest(Newest::default()), ..Self::default() }
    }

    /// How many entries were seen; the index of the next one.
    #[must_use]
    pub const fn applied(&self) -> u64 {
        self.applied
    }

    /// The rules in force: those of the last `rules` entry, [`crate::founding_rules`] as version 0 before it.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        self.rules.current()
    }

    /// What a request that arrived at `when` is charged for its tokens: their count times the model's weight in the
    /// rules of that time. `None` where that does not fit.
    #[must_use]
    pub fn charge(&self, manifest: &ManifestId, tokens: TokenCount, when: Millis) -> Option<TokenCount> {
        tokens.0.checked_mul(weight(self.rules.at(when), manifest)).map(TokenCount)
    }

    /// One account.
    #[must_use]
    pub fn account(&self, account: &AccountId) -> Option<&Account> {
        self.accounts.get(account)
    }

    /// Every account, in order of the ids.
    pub fn accounts(&self) -> impl Iterator<Item = (&AccountId, &Account)> {
        self.accounts.iter()
    }

    /// An API key by the hash of what the client sends.
    #[must_use]
    pub fn key(&self, hash: &Hash) -> Option<KeyFacts> {
        self.keys.get(hash).copied()
    }

    /// An API key by its id.
    #[must_use]
    pub fn key_by_id(&self, key_id: &Serial) -> Option<KeyFacts> {
        self.key(self.key_hashes.get(key_id)?)
    }

    /// One lot.
    #[must_use]
    pub fn lot(&self, lot: &Serial) -> Option<&LotState> {
        self.lots.by_serial.get(lot)
    }

    /// The statements of the log, in order.
    #[must_use]
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// What an account may spend at an instant; nothing for an account that no entry opened.
    #[must_use]
    pub fn balance(&self, account: &AccountId, now: Seconds) -> Balance {
        let none = TokenCount(0);
        let Some(known) = self.accounts.get(account) else {
            return Balance { metered: true, available: none, held: none, spent: none, lots: Vec::new() };
        };
        let mut balance = Balance {
            metered: known.metered,
            available: none,
            held: none,
            spent: known.spent,
            lots: Vec::new(),
        };
        for (serial, lot) in self.lots.in_force(known, now) {
            balance.available.0 = balance.available.0.saturating_add(lot.free().0);
            balance.held.0 = balance.held.0.saturating_add(lot.held);
            balance.lots.push(LotBalance {
                lot: serial,
                source: lot.source,
                available: lot.free(),
                held: TokenCount(lot.held),
                expires: lot.expires,
            });
        }
        balance
    }

    /// Whether a receipt for this request comes too late to be credited.
    pub(crate) fn lateness(&self, request: &Serial) -> Late {
        if self.posted.contains(request) { Late::Yes } else { Late::No }
    }

    /// Every account of both books. What is printed, exported or measured of them comes from here.
    ///
    /// # Errors
    /// [`LedgerError`] where the books are out of balance; nothing is to be shown or shared of them then.
    pub fn balances(&self) -> Result<Balances, LedgerError> {
        Ok(Balances::of(&self.tokens, &self.money)?)
    }

    /// The book of micro-tokens.
    #[must_use]
    pub const fn token_book(&self) -> &Book<TokenAccount> {
        &self.tokens
    }

    /// The book of micro-units of money.
    #[must_use]
    pub const fn money_book(&self) -> &Book<MoneyAccount> {
        &self.money
    }
}

fn check_uptime(uptime: &Uptime, written: Seconds) -> Result<(), LedgerError> {
    let fault = |what| Err(LedgerError::UptimeMalformed(what));
    if !uptime.hour.0.is_multiple_of(HOUR_S) {
        return fault("an hour begins at a multiple of 3,600 seconds");
    }
    if uptime.hour > written {
        return Err(LedgerError::UptimeAhead);
    }
    if uptime.nodes.len() > MAX_UPTIME_NODES {
        return fault("more nodes than one entry may name");
    }
    if !uptime.nodes.is_sorted_by(|a, b| a.node < b.node) {
        return fault("nodes must be sorted, each once");
    }
    if uptime.nodes.iter().any(|n| u64::from(n.seconds) > HOUR_S) {
        return fault("an hour has 3,600 seconds");
    }
    Ok(())
}

/// A tier that is no tier, or one that more would have had to be proved for.
fn check_capacity(capacity: &CapacityAttested) -> Result<(), LedgerError> {
    let least = least_bytes(capacity.tier).ok_or(LedgerError::UnknownTier(capacity.tier))?;
    if capacity.bytes < least {
        return Err(LedgerError::TierBeyondCapacity { tier: capacity.tier, bytes: capacity.bytes, least });
    }
    Ok(())
}

/// The seconds of an hour.
pub(crate) const HOUR_S: u64 = 3_600;
