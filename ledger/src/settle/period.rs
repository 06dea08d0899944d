//! One quarter's fold over the log, and its close.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use counterfoil_spec::amount::{Cents, MicroTokens, MicroUsd, TokenCount};
use counterfoil_spec::entry::Body;
use counterfoil_spec::ids::{NodeId, ProviderId, Serial};
use counterfoil_spec::payload::{
    Inference, LotSource, Payload, PoolRule, ProviderRegistered, Statement, Uptime,
};
use counterfoil_spec::time::Seconds;

use super::closed::{Closed, ProviderShare, rules_hash};
use super::quarter::Quarter;
use super::revenue::{Payments, Place};
use super::tally::{Hours, LastHours, Tally, Tiers};
use crate::credit::credits;
use crate::error::LedgerError;
use crate::fold::Ledger;
use crate::posting::MICRO_PER_CENT;
use crate::rules::WHOLE_BPS;
use crate::share::{Claim, share};
use crate::works::{WorkError, Works};

/// Collects what one quarter's statement is computed from.
#[derive(Debug, Clone)]
pub struct Period {
    quarter: Quarter,
    first: u64,
    end: u64,
    before: Option<Seconds>,
    carried: i64,
    booked: Option<Statement>,
    ledger: Ledger,
    works: Works,
    payments: Payments,
    tiers: Tiers,
    tallies: BTreeMap<NodeId, Tally>,
    uptime: BTreeMap<NodeId, Hours>,
    last_hours: LastHours,
    providers: BTreeMap<ProviderId, Vec<NodeId>>,
    owners: HashMap<NodeId, ProviderId>,
    removed: u64,
}

/// The present, and what may be done before a quarter is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// Only a quarter that is over is closed.
    Final(Seconds),
    /// A quarter that still runs is computed as far as it went.
    DryRun(Seconds),
}

/// Why a quarter is not closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// It is not over.
    #[error("{quarter} ends at {ends} (Unix seconds); close it then, or ask for a dry run")]
    Unfinished {
        /// Which one.
        quarter: Quarter,
        /// The first second at which it can be closed.
        ends: Seconds,
    },
    /// The last statement is of another quarter than the one before.
    #[error("{expected} is the next quarter to close, not {found}")]
    OutOfOrder {
        /// What follows the last statement.
        expected: Quarter,
        /// What was asked for.
        found: Quarter,
    },
    /// The log ends before the last statement's end.
    #[error("the quarter ends at entry {end}, before its first entry {first}")]
    EndBeforeFirst {
        /// The end asked for.
        end: u64,
        /// Where its work begins.
        first: u64,
    },
    /// Entries of the quarter were removed.
    #[error(
        "{quarter} cannot be recomputed: {removed} of its entries were removed when their time was over; its statement stands as it \
         was signed, and a copy of the log from before recomputes it"
    )]
    Removed {
        /// Which one.
        quarter: Quarter,
        /// How many of its entries are missing.
        removed: u64,
    },
    /// Not every entry up to the end was applied.
    #[error("{applied} of {end} entries were applied; replay the log up to the quarter's end")]
    EntriesMissing {
        /// Seen so far.
        applied: u64,
        /// The end.
        end: u64,
    },
    /// A statement in the log names no quarter.
    #[error("the log holds a statement of {0:?}, which is no quarter; verify the log")]
    MalformedStatement(String),
    /// An entry that the ledger refuses.
    #[error("entry {index}: {error}; verify the log")]
    Entry {
        /// Which one.
        index: u64,
        /// Why.
        error: LedgerError,
    },
    /// A request whose credits do not rest on its receipts.
    #[error("entry {index}: {error}; verify the log")]
    Work {
        /// Which one.
        index: u64,
        /// Why.
        error: WorkError,
    },
    /// The rules ask for a pool rule that this version does not compute.
    #[error(
        "the rules ask for the per-account pool, which this version does not compute; put pro-rata into force"
    )]
    PerAccountNotYet,
    /// A provider was registered under the id of a node that is not its own.
    #[error("provider {0} has the id of a node that is not registered as its own")]
    ProviderIsNode(ProviderId),
    /// A sum beyond its type.
    #[error("a sum does not fit its type")]
    Overflow,
}

impl Period {
    /// Begins a quarter. `statements` are those of the log ([`Ledger::statements`]); `end` is the size of the first
    /// checkpoint at or after the quarter's end. A quarter that the log has closed already is begun again with that
    /// statement's own end, so that closing it once more gives the same figures.
    ///
    /// # Errors
    /// [`CloseError`] where another quarter is next, or the end lies before the first entry.
    pub fn new(quarter: Quarter, statements: &[Statement], end: u64) -> Result<Self, CloseError> {
        let name = quarter.to_string();
        let place = statements.iter().position(|s| s.quarter == name);
        let earlier = statements.get(..place.unwrap_or(statements.len())).unwrap_or_default();
        let booked = place.and_then(|place| statements.get(place));
        let previous = earlier.last();
        let mut before = None;
        if let Some(previous) = previous {
            let closed: Quarter = previous
                .quarter
                .parse()
                .map_err(|_| CloseError::MalformedStatement(previous.quarter.clone()))?;
            //= spec/settlement.md#the-quarter
            //# Quarters MUST be closed one after the other, each once, and not before they are over.
            if closed.next() != quarter {
                return Err(CloseError::OutOfOrder { expected: closed.next(), found: quarter });
            }
            before = Some(closed.end());
        }
        let first = previous.map_or(0, |p| p.end);
        let end = booked.map_or(end, |b| b.end);
        if end < first {
            return Err(CloseError::EndBeforeFirst { end, first });
        }
        Ok(Self {
            quarter,
            first,
            end,
            before,
            carried: previous.map_or(0, |p| p.carry_micro),
            booked: booked.cloned(),
            ledger: Ledger::default(),
            works: Works::default(),
            payments: Payments::default(),
            tiers: Tiers::default(),
            tallies: BTreeMap::new(),
            uptime: BTreeMap::new(),
            last_hours: LastHours::default(),
            providers: BTreeMap::new(),
            owners: HashMap::new(),
            removed: 0,
        })
    }

    /// The statement that the log holds for this quarter already; then there is nothing to append.
    #[must_use]
    pub const fn booked(&self) -> Option<&Statement> {
        self.booked.as_ref()
    }

    /// The index after the last entry that counts.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Takes the next entry of the log, from index 0 on; entries from the end on change nothing.
    ///
    /// # Errors
    /// [`CloseError`] for an entry that the log's verifier would name too.
    pub fn apply(&mut self, index: u64, body: &Body) -> Result<(), CloseError> {
        if index >= self.end {
            return Ok(());
        }
        let work = |error| CloseError::Work { index, error };
        let place = if index < self.first { Place::Earlier } else { Place::Within };
        match &body.payload {
            Payload::Work(w) => {
                let late = self.ledger.lateness(&w.request);
                self.works.work(body.serial, w, late).map_err(work)?;
            }
            Payload::Inference(entry) => self.inference(index, body.serial, entry, place)?,
            Payload::Uptime(uptime) => self.uptime(uptime, place),
            Payload::CapacityAttested(capacity) => self.tiers.attest(body.time, capacity),
            Payload::ProviderRegistered(provider) => self.register(provider),
            Payload::Payment(payment) => self.payments.payment(body.serial, payment, place),
            Payload::Refund(refund) => self.payments.refund(refund, place),
            _ => {}
        }
        self.ledger.apply(index, body).map_err(|error| CloseError::Entry { index, error })
    }

    /// The next entry of the log was removed.
    pub fn removed(&mut self, index: u64) {
        if (self.first..self.end).contains(&index) {
            self.removed += 1;
        }
        if index < self.end {
            self.ledger.pass_over(index + 1);
        }
    }

    /// The quarter's figures.
    ///
    /// # Errors
    /// [`CloseError`] for a quarter that is not over, entries that are missing, or rules not computed here.
    pub fn close(&self, as_of: AsOf) -> Result<Closed, CloseError> {
        let ends = self.quarter.end();
        let until = match as_of {
            //= spec/settlement.md#the-quarter
            //# Quarters MUST be closed one after the other, each once, and not before they are over.
            AsOf::Final(now) if now < ends => {
                return Err(CloseError::Unfinished { quarter: self.quarter, ends });
            }
            AsOf::Final(_) => ends,
            AsOf::DryRun(now) => now.min(ends),
        };
        //= spec/settlement.md#the-statement
        //# - A quarter of which entries were [removed](audit-log.md#removal) MUST NOT be recomputed from what is left.
        if self.removed > 0 {
            return Err(CloseError::Removed { quarter: self.quarter, removed: self.removed });
        }
        if self.ledger.applied() != self.end {
            return Err(CloseError::EntriesMissing { applied: self.ledger.applied(), end: self.end });
        }
        let rules = self.ledger.rules();
        if rules.pool_rule == PoolRule::PerAccount {
            return Err(CloseError::PerAccountNotYet);
        }
        let revenue = self.payments.recognised(until, self.before).ok_or(CloseError::Overflow)?;
        // Below one micro-unit the platform keeps the rest; a negative quarter rounds to the larger deficit.
        let part = revenue
            .checked_mul(i128::from(rules.pool_bps))
            .ok_or(CloseError::Overflow)?
            .div_euclid(i128::from(WHOLE_BPS));
        let available = part + i128::from(self.carried);
        let pool = u64::try_from(available.max(0) / MICRO_PER_CENT).map_err(|_| CloseError::Overflow)?;
        let mut shares = self.claims()?;
        let pool = spread(pool, rules.uptime_bps, &mut shares)?;
        let carry = available - i128::from(pool.0) * MICRO_PER_CENT;
        Ok(Closed {
            quarter: self.quarter,
            first: self.first,
            end: self.end,
            rules_hash: rules_hash(rules),
            revenue: MicroUsd(u64::try_from(revenue.max(0)).map_err(|_| CloseError::Overflow)?),
            pool,
            carry_micro: i64::try_from(carry).map_err(|_| CloseError::Overflow)?,
            shares,
        })
    }

    fn inference(
        &mut self,
        index: u64,
        request: Serial,
        entry: &Inference,
        place: Place,
    ) -> Result<(), CloseError> {
        let receipted = self.works.end(request, entry).map_err(|error| CloseError::Work { index, error })?;
        if place == Place::Earlier {
            return Ok(());
        }
        let from_paid = |lot: &Serial| self.ledger.lot(lot).is_some_and(|l| l.source() == LotSource::Paid);
        let mut paid = entry.debits.iter().filter(|d| from_paid(&d.lot)).map(|d| d.tokens);
        let paid = paid.try_fold(TokenCount(0), TokenCount::checked_add).ok_or(CloseError::Overflow)?;
        let forwards: Vec<_> = entry.credits.iter().map(|c| (c.node, c.forwards)).collect();
        for credit in credits(paid, &forwards).map_err(|_| CloseError::Overflow)? {
            let closed = receipted.get(&credit.node).map_or(entry.ended, |r| r.closed);
            let tier = self.tiers.at(&credit.node, closed);
            let micro = credit.micro_tokens.0;
            let tally = self.tallies.entry(credit.node).or_default();
            tally.micro_tokens = tally.micro_tokens.checked_add(micro).ok_or(CloseError::Overflow)?;
            let weighted = u128::from(micro) * u128::from(tier);
            tally.weighted = tally.weighted.checked_add(weighted).ok_or(CloseError::Overflow)?;
        }
        Ok(())
    }

    fn uptime(&mut self, uptime: &Uptime, place: Place) {
        for up in &uptime.nodes {
            match place {
                Place::Earlier => self.last_hours.add(up.node, uptime.hour, up.seconds),
                Place::Within => {
                    let counted = self.last_hours.counted(&up.node, uptime.hour);
                    self.uptime.entry(up.node).or_default().add(uptime.hour, up.seconds, counted);
                }
            }
        }
    }

    /// The latest registration of a provider replaces its list, and the latest of a node its owner.
    fn register(&mut self, entry: &ProviderRegistered) {
        for node in self.providers.remove(&entry.provider).unwrap_or_default() {
            if self.owners.get(&node) == Some(&entry.provider) {
                self.owners.remove(&node);
            }
        }
        for node in &entry.nodes {
            self.owners.insert(*node, entry.provider);
        }
        self.providers.insert(entry.provider, entry.nodes.clone());
    }

    /// Everybody's part before the pool is shared: each onboarded provider, and each node without one that worked.
    fn claims(&self) -> Result<Vec<ProviderShare>, CloseError> {
        let mut nodes: BTreeMap<ProviderId, BTreeSet<NodeId>> =
            self.providers.keys().map(|provider| (*provider, BTreeSet::new())).collect();
        for (node, owner) in &self.owners {
            nodes.entry(*owner).or_default().insert(*node);
        }
        for node in self.tallies.keys().filter(|node| !self.owners.contains_key(node)) {
            let own = ProviderId::from_bytes(*node.as_bytes());
            //= spec/settlement.md#providers
            //# A provider MUST NOT be registered under the id of a node that worked and belongs to nobody.
            if self.providers.contains_key(&own) {
                return Err(CloseError::ProviderIsNode(own));
            }
            nodes.entry(own).or_default().insert(*node);
        }
        nodes.into_iter().map(|(provider, nodes)| self.claim(provider, nodes)).collect()
    }

    fn claim(&self, provider: ProviderId, nodes: BTreeSet<NodeId>) -> Result<ProviderShare, CloseError> {
        let onboarded = self.providers.contains_key(&provider);
        let mut micro_tokens = 0_u64;
        let mut weighted = 0_u128;
        for tally in nodes.iter().filter_map(|node| self.tallies.get(node)) {
            micro_tokens = micro_tokens.checked_add(tally.micro_tokens).ok_or(CloseError::Overflow)?;
            weighted = weighted.checked_add(tally.weighted).ok_or(CloseError::Overflow)?;
        }
        let mut hours = Hours::default();
        for of_node in nodes.iter().filter_map(|node| self.uptime.get(node)).filter(|_| onboarded) {
            hours.merge(of_node);
        }
        Ok(ProviderShare {
            provider,
            onboarded,
            nodes: nodes.into_iter().collect(),
            cents: Cents(0),
            micro_tokens: MicroTokens(micro_tokens),
            weighted: MicroTokens(u64::try_from(weighted).map_err(|_| CloseError::Overflow)?),
            uptime_s: hours.seconds(),
        })
    }
}

/// Gives each its cents and returns what was shared: all of the pool, or nothing where nobody has a claim.
fn spread(pool: u64, uptime_bps: u32, shares: &mut [ProviderShare]) -> Result<Cents, CloseError> {
    let claim = |share: &ProviderShare| (share.provider, share.weighted.0, share.uptime_s);
    let figures: Vec<_> = shares.iter().map(claim).collect();
    let claims: Vec<_> = figures
        .iter()
        .map(|(id, weighted, uptime_s)| Claim {
            id: id.as_bytes(),
            weighted: u128::from(*weighted),
            uptime_s: *uptime_s,
        })
        .collect();
    let Some(cents) = share(pool, uptime_bps, &claims) else {
        return Ok(Cents(0));
    };
    for (share, cents) in shares.iter_mut().zip(cents) {
        share.cents = Cents(i64::try_from(cents).map_err(|_| CloseError::Overflow)?);
    }
    Ok(Cents(i64::try_from(pool).map_err(|_| CloseError::Overflow)?))
}
