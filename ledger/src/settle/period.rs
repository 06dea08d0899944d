//! One quarter's fold over the log, and its close.

use std::collections::{BTreeMap, HashMap};

use counterfoil_spec::amount::TokenCount;
use counterfoil_spec::entry::Body;
use counterfoil_spec::ids::{NodeId, ProviderId, Serial};
use counterfoil_spec::payload::{Inference, LotSource, Payload, ProviderRegistered, Statement, Uptime};
use counterfoil_spec::time::Seconds;

use super::per_account::LotWorks;
use super::quarter::Quarter;
use super::refused::CloseError;
use super::revenue::{Payments, Place};
use super::tally::{Hours, LastHours, Tally, Tiers};
use crate::credit::credits;
use crate::fold::Ledger;
use crate::works::Works;

/// Collects what one quarter's statement is computed from.
#[derive(Debug, Clone)]
pub struct Period {
    pub(super) quarter: Quarter,
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) before: Option<Seconds>,
    pub(super) carried: i64,
    booked: Option<Statement>,
    pub(super) ledger: Ledger,
    works: Works,
    pub(super) payments: Payments,
    tiers: Tiers,
    pub(super) tallies: BTreeMap<NodeId, Tally>,
    pub(super) uptime: BTreeMap<NodeId, Hours>,
    last_hours: LastHours,
    pub(super) providers: BTreeMap<ProviderId, Vec<NodeId>>,
    pub(super) owners: HashMap<NodeId, ProviderId>,
    pub(super) removed: u64,
    pub(super) lots: Option<LotWorks>,
    pub(super) earlier: Vec<Statement>,
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
            ledger: Ledger::of_verified_log(),
            works: Works::default(),
            payments: Payments::default(),
            tiers: Tiers::default(),
            tallies: BTreeMap::new(),
            uptime: BTreeMap::new(),
            last_hours: LastHours::default(),
            providers: BTreeMap::new(),
            owners: HashMap::new(),
            removed: 0,
            lots: None,
            earlier: earlier.to_vec(),
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
            Payload::Payment(payment) => self.payments.payment(body.serial, payment, index, place),
            Payload::Refund(refund) => self.payments.refund(refund, place),
            Payload::Chargeback(entry) => self.payments.chargeback(entry, place),
            Payload::Lot(lot) if lot.source == LotSource::Paid => {
                self.lots.iter_mut().for_each(|lots| lots.granted(index, lot.lot));
            }
            Payload::Prune(prune) if self.before.is_some_and(|before| body.time < before.millis()) => {
                self.lots.iter_mut().for_each(|lots| lots.pruned(prune.end));
            }
            _ => {}
        }
        self.ledger.apply(index, body).map_err(|error| CloseError::Entry { index, error })
    }

    /// The next entry of the log was removed.
    pub fn removed(&mut self, index: u64) {
        if (self.first..self.end).contains(&index) {
            self.removed += 1;
        } else if index < self.first {
            self.lots.iter_mut().for_each(|lots| lots.removed(index));
        }
        if index < self.end {
            self.ledger.pass_over(index + 1);
        }
    }

    fn inference(
        &mut self,
        index: u64,
        request: Serial,
        entry: &Inference,
        place: Place,
    ) -> Result<(), CloseError> {
        let receipted = self.works.end(request, entry).map_err(|error| CloseError::Work { index, error })?;
        let paid_lots = entry.debits.iter().filter_map(|d| {
            let lot = self.ledger.lot(&d.lot).filter(|lot| lot.source() == LotSource::Paid)?;
            let period = lot.payment.and_then(|payment| self.ledger.payments.get(&payment));
            Some((d.lot, lot.expires.max(period?.payment.period_end), d.tokens))
        });
        let paid_lots: Vec<_> = paid_lots.collect();
        let forwards: Vec<_> = entry.credits.iter().map(|c| (c.node, c.forwards)).collect();
        let weigh = |tokens| {
            let credits = credits(tokens, &forwards).map_err(|_| CloseError::Overflow)?;
            let weighed = credits.into_iter().map(|credit| {
                let closed = receipted.get(&credit.node).map_or(entry.ended, |r| r.closed);
                (credit.node, credit.micro_tokens.0, self.tiers.at(&credit.node, closed))
            });
            Ok::<Vec<_>, CloseError>(weighed.collect())
        };
        if let Some(lots) = &mut self.lots {
            let before = self.before.filter(|_| place == Place::Earlier);
            for (lot, ends, tokens) in &paid_lots {
                // Neither the lot nor its payment's period reaches into the quarter, so nothing of it is left to give.
                if before.is_some_and(|before| *ends <= before) {
                    continue;
                }
                for (node, micro, tier) in weigh(*tokens)? {
                    let weighted = micro.checked_mul(u64::from(tier)).ok_or(CloseError::Overflow)?;
                    lots.served(lot, place, node, weighted).ok_or(CloseError::Overflow)?;
                }
            }
        }
        if place == Place::Earlier {
            return Ok(());
        }
        let mut paid = paid_lots.iter().map(|(_, _, tokens)| *tokens);
        let paid = paid.try_fold(TokenCount(0), TokenCount::checked_add).ok_or(CloseError::Overflow)?;
        for (node, micro, tier) in weigh(paid)? {
            let tally = self.tallies.entry(node).or_default();
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
}
