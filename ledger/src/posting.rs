//! What each kind of entry does to accounts, lots and the two books. Everything is checked before anything changes.

use std::collections::{BTreeMap, HashSet};

use counterfoil_spec::amount::{MicroTokens, MicroUsd, TokenCount};
use counterfoil_spec::ids::Serial;
use counterfoil_spec::limits::{LOT_GRACE_S, MAX_REQUEST_LOTS};
use counterfoil_spec::payload::{
    AccountOpened, FinishReason, Inference, KeyCreated, KeyRevoked, Lot, LotSource, Payment, Refund,
    Statement,
};
use counterfoil_spec::time::Seconds;

use crate::account::{Account, KeyFacts};
use crate::book::{MoneyAccount, TokenAccount};
use crate::error::LedgerError;
use crate::fold::{Ledger, PaymentState};
use crate::lots::LotState;
use crate::settle::Quarter;

impl Ledger {
    pub(crate) fn open(&mut self, opened: &AccountOpened, when: Seconds) -> Result<(), LedgerError> {
        if self.accounts.contains_key(&opened.account) {
            return Err(LedgerError::AccountExists(opened.account));
        }
        self.accounts.insert(opened.account, Account::new(opened.metered, opened.country, when));
        Ok(())
    }

    pub(crate) fn key_created(&mut self, key: &KeyCreated) -> Result<(), LedgerError> {
        if self.key_hashes.contains_key(&key.key_id) || self.keys.contains_key(&key.key_hash) {
            return Err(LedgerError::KeyExists(key.key_id));
        }
        let account = self.accounts.get_mut(&key.account).ok_or(LedgerError::UnknownAccount(key.account))?;
        account.keys.push(key.key_id);
        self.key_hashes.insert(key.key_id, key.key_hash);
        let country = key.country.or(account.country);
        let facts = KeyFacts {
            key_id: key.key_id,
            account: key.account,
            revoked: false,
            expires: key.expires,
            scope: key.scope,
            country,
        };
        self.keys.insert(key.key_hash, facts);
        Ok(())
    }

    pub(crate) fn key_revoked(&mut self, key: &KeyRevoked) -> Result<(), LedgerError> {
        let hash = self.key_hashes.get(&key.key_id);
        let facts = hash.and_then(|h| self.keys.get_mut(h)).ok_or(LedgerError::UnknownKey(key.key_id))?;
        facts.revoked = true;
        Ok(())
    }

    pub(crate) fn payment(&mut self, serial: Serial, payment: &Payment) -> Result<(), LedgerError> {
        if !self.accounts.contains_key(&payment.account) {
            return Err(LedgerError::UnknownAccount(payment.account));
        }
        if payment.period_start >= payment.period_end {
            return Err(LedgerError::EmptyPeriod);
        }
        if self.payments.contains_key(&serial) {
            return Err(LedgerError::AlreadyPosted(serial));
        }
        let plan = self.rules.current().plans.iter().find(|p| p.name == payment.plan);
        let plan_tokens = plan.ok_or_else(|| LedgerError::UnknownPlan(payment.plan.clone()))?.tokens;
        let amount = i128::from(payment.amount.0);
        self.money.post(&[(MoneyAccount::Received, -amount), (MoneyAccount::Deferred, amount)])?;
        let state = PaymentState {
            payment: payment.clone(),
            plan_tokens,
            refunded: MicroUsd(0),
            disputes: BTreeMap::new(),
            lot: None,
        };
        self.payments.insert(serial, state);
        Ok(())
    }

    /// A payment refunded in full ends its lot: what is left of it cannot be spent by requests that start later.
    pub(crate) fn refund(&mut self, refund: &Refund, when: Seconds) -> Result<(), LedgerError> {
        let state =
            self.payments.get_mut(&refund.payment).ok_or(LedgerError::UnknownPayment(refund.payment))?;
        let refunded = state.refunded.checked_add(refund.amount).ok_or(LedgerError::Overflow)?;
        if state.taken_back(refunded)? > state.payment.amount {
            return Err(LedgerError::RefundBeyondPayment {
                payment: refund.payment,
                paid: state.payment.amount,
                refunded,
            });
        }
        let amount = i128::from(refund.amount.0);
        self.money.post(&[(MoneyAccount::Received, amount), (MoneyAccount::Deferred, -amount)])?;
        state.refunded = refunded;
        if refunded < state.payment.amount {
            return Ok(());
        }
        let account = self.accounts.get_mut(&state.payment.account);
        let lot = state.lot.and_then(|serial| Some((serial, self.lots.by_serial.get_mut(&serial)?)));
        if let (Some(account), Some((serial, lot))) = (account, lot) {
            account.lots.remove(&(lot.expires, serial));
            lot.expires = lot.expires.min(when.plus(LOT_GRACE_S));
            account.lots.insert((lot.expires, serial));
        }
        Ok(())
    }

    pub(crate) fn lot_granted(&mut self, lot: &Lot) -> Result<(), LedgerError> {
        if self.lots.by_serial.contains_key(&lot.lot) {
            return Err(LedgerError::LotExists(lot.lot));
        }
        if lot.starts >= lot.expires {
            return Err(LedgerError::EmptyPeriod);
        }
        let Some(account) = self.accounts.get_mut(&lot.account) else {
            return Err(LedgerError::UnknownAccount(lot.account));
        };
        let payment = lot.payment.and_then(|serial| self.payments.get_mut(&serial));
        //= spec/settlement.md#accounts-and-lots
        //# A lot whose source is *paid* MUST name an earlier payment of the same account that no other lot names, and MUST NOT grant
        //# more than that payment's plan (`NoLot`).
        //= spec/settlement.md#accounts-and-lots
        //# An account MUST NOT receive more than one free lot, nor more free tokens than the rules give.
        let limit = match lot.source {
            LotSource::Paid => {
                let paid = payment.as_ref().filter(|p| p.payment.account == lot.account && p.lot.is_none());
                paid.ok_or(LedgerError::LotWithoutPayment(lot.lot))?.plan_tokens
            }
            _ if lot.payment.is_some() => return Err(LedgerError::LotWithStrayPayment(lot.lot)),
            LotSource::Free if account.free_granted => return Err(LedgerError::FreeTwice(lot.account)),
            LotSource::Free => self.rules.current().free_tokens,
            LotSource::Unpaid => TokenCount(u64::MAX),
        };
        if lot.tokens > limit {
            return Err(LedgerError::LotTooLarge { lot: lot.lot, tokens: lot.tokens, limit });
        }
        let source = match lot.source {
            LotSource::Free => TokenAccount::IssuedFree,
            LotSource::Paid => TokenAccount::IssuedPaid,
            LotSource::Unpaid => TokenAccount::IssuedUnpaid,
        };
        let micro = micro(lot.tokens);
        self.tokens.post(&[(source, -micro), (TokenAccount::Customer(lot.account), micro)])?;
        account.free_granted |= lot.source == LotSource::Free;
        account.lots.insert((lot.expires, lot.lot));
        let mut rests = None;
        if let Some(payment) = payment {
            payment.lot = Some(lot.lot);
            rests = payment.disputes.values().any(|held| held.0 > 0).then_some(lot.starts);
        }
        let state = LotState {
            account: lot.account,
            source: lot.source,
            payment: lot.payment,
            tokens: lot.tokens.0,
            spent: 0,
            held: 0,
            starts: lot.starts,
            expires: lot.expires,
            rests,
        };
        self.lots.by_serial.insert(lot.lot, state);
        Ok(())
    }

    /// Posts a request and ends its hold.
    pub(crate) fn inference(&mut self, request: Serial, entry: &Inference) -> Result<(), LedgerError> {
        //= spec/settlement.md#holding-and-posting
        //# A request serial MUST be held and posted at most once.
        if self.posted.contains(&request) {
            return Err(LedgerError::AlreadyPosted(request));
        }
        let charged = self.charged(entry)?;
        let account = self.accounts.get(&entry.account).ok_or(LedgerError::UnknownAccount(entry.account))?;
        if let Some(key_id) = entry.key_id {
            let key = self.key_by_id(&key_id).ok_or(LedgerError::UnknownKey(key_id))?;
            if key.account != entry.account {
                return Err(LedgerError::KeyOfAnother(key_id));
            }
        }
        let debited = self.checked_debits(request, entry)?;
        let due = if account.metered { charged } else { TokenCount(0) };
        //= spec/settlement.md#holding-and-posting
        //# A request MUST be charged (prompt + completion) × weight tokens, of a metered account, in its debits exactly
        //# (`ConservationViolated`).
        if debited != due {
            return Err(LedgerError::DebitsDiffer { charged: due, debited });
        }
        let credited = checked_credits(entry, charged)?;
        let payer = if account.metered {
            (TokenAccount::Customer(entry.account), -micro(charged))
        } else {
            // Nobody pays for an unmetered account, so nothing of it stays uncredited either.
            (TokenAccount::Unmetered, -i128::from(credited.0))
        };
        let mut lines = vec![payer];
        let nodes = entry.credits.iter();
        lines.extend(nodes.map(|c| (TokenAccount::Node(c.node), i128::from(c.micro_tokens.0))));
        lines.push((TokenAccount::Uncredited, -payer.1 - i128::from(credited.0)));
        self.tokens.post(&lines)?;

        self.void(&request);
        self.lots.debit(&entry.debits);
        if let Some(account) = self.accounts.get_mut(&entry.account) {
            account.spent.0 = account.spent.0.saturating_add(debited.0);
            account.used(entry, debited);
        }
        self.posted.insert(request);
        Ok(())
    }

    /// The tokens that a request is charged, from its own counts.
    fn charged(&self, entry: &Inference) -> Result<TokenCount, LedgerError> {
        let tokens = entry.prompt_tokens.checked_add(entry.completion_tokens);
        let tokens = tokens.ok_or(LedgerError::Overflow)?;
        let failed = matches!(entry.finish, FinishReason::Failed | FinishReason::Crashed);
        //= spec/settlement.md#holding-and-posting
        //# A request that failed or crashed MUST count no token.
        if failed && tokens.0 > 0 {
            return Err(LedgerError::FailedWithTokens(tokens));
        }
        if entry.cached_tokens > entry.prompt_tokens {
            return Err(LedgerError::CachedBeyondPrompt {
                cached: entry.cached_tokens,
                prompt: entry.prompt_tokens,
            });
        }
        self.charge(&entry.manifest, tokens, entry.started).ok_or(LedgerError::Overflow)
    }

    /// The sum of the debits, each of which its lot allows.
    fn checked_debits(&self, request: Serial, entry: &Inference) -> Result<TokenCount, LedgerError> {
        let mut named = HashSet::with_capacity(entry.debits.len().min(MAX_REQUEST_LOTS));
        if entry.debits.len() > MAX_REQUEST_LOTS
            || !entry.debits.iter().all(|d| d.tokens.0 > 0 && named.insert(d.lot))
        {
            return Err(LedgerError::DebitShape { limit: MAX_REQUEST_LOTS });
        }
        let hold = self.holds.get(&request);
        let mut sum = TokenCount(0);
        for debit in &entry.debits {
            let lot = self.lots.by_serial.get(&debit.lot).ok_or(LedgerError::UnknownLot(debit.lot))?;
            //= spec/settlement.md#holding-and-posting
            //# A debit MUST name a lot of the account, in force when the request started, with that much left (`NoLot`).
            if lot.account != entry.account {
                return Err(LedgerError::LotOfAnother(debit.lot));
            }
            if !lot.in_force(entry.started.seconds()) {
                return Err(LedgerError::LotNotInForce(debit.lot));
            }
            let own = hold.map_or(0, |h| h.in_lot(&debit.lot));
            let left = TokenCount(lot.free().0.saturating_add(own));
            if debit.tokens > left {
                return Err(LedgerError::LotOverdrawn { lot: debit.lot, left, debit: debit.tokens });
            }
            sum = sum.checked_add(debit.tokens).ok_or(LedgerError::Overflow)?;
        }
        Ok(sum)
    }

    /// Books a closed quarter: what was recognised leaves `Deferred` for providers, the carry and the platform.
    pub(crate) fn statement(
        &mut self,
        index: u64,
        statement: &Statement,
        when: Seconds,
    ) -> Result<(), LedgerError> {
        let quarter: Quarter =
            statement.quarter.parse().map_err(|_| LedgerError::StatementOrder("not a quarter"))?;
        let before = self.statements.last();
        let next = before.and_then(|b| b.quarter.parse::<Quarter>().ok()).map(Quarter::next);
        if next.is_some_and(|next| next != quarter) {
            return Err(LedgerError::StatementOrder("quarters are closed one after the other"));
        }
        //= spec/settlement.md#the-statement
        //# A statement MUST begin where the one before ended, end at or before its own index, and never have a pool below zero
        //# (`NotMonotonic`, `NegativeUnits`).
        if statement.first != before.map_or(0, |b| b.end) {
            return Err(LedgerError::StatementOrder("its first entry follows the last one's end"));
        }
        if statement.end < statement.first || statement.end > index {
            return Err(LedgerError::StatementOrder("its end lies between its first entry and itself"));
        }
        if statement.pool.0 < 0 {
            return Err(LedgerError::NegativePool);
        }
        let revenue = i128::from(statement.revenue.0);
        let pool = i128::from(statement.pool.0) * MICRO_PER_CENT;
        // What corrections took has left the carry already.
        let corrected = self.disputes.corrected_micro(statement.first, statement.end);
        let carried =
            i128::from(statement.carry_micro) - i128::from(before.map_or(0, |b| b.carry_micro)) + corrected;
        self.money.post(&[
            (MoneyAccount::Deferred, -revenue),
            (MoneyAccount::Providers, pool),
            (MoneyAccount::Carried, carried),
            (MoneyAccount::Platform, revenue - pool - carried),
        ])?;
        self.disputes.closed(&statement.quarter, when);
        self.statements.push(statement.clone());
        Ok(())
    }
}

/// The sum of the credits: the request's tokens exactly, or nothing where nothing is receipted.
fn checked_credits(entry: &Inference, charged: TokenCount) -> Result<MicroTokens, LedgerError> {
    let worth = charged.micro().ok_or(LedgerError::Overflow)?;
    let mut credited = MicroTokens(0);
    for credit in &entry.credits {
        credited = credited.checked_add(credit.micro_tokens).ok_or(LedgerError::Overflow)?;
    }
    let receipted = entry.credits.iter().any(|c| c.forwards > 0);
    let due = if receipted { worth } else { MicroTokens(0) };
    if credited == due { Ok(credited) } else { Err(LedgerError::CreditsDiffer { worth: due, credited }) }
}

fn micro(tokens: TokenCount) -> i128 {
    i128::from(tokens.0) * 1_000_000
}

/// Micro-units in one hundredth of the currency unit.
pub(crate) const MICRO_PER_CENT: i128 = 10_000;
