//! A quarter's entries on their way from the log into the ledger's fold: one thread reads and decodes, the other one applies.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use counterfoil_audit::{LogError, LogReader, Stored};
use counterfoil_ledger::settle::{AsOf, Period, Quarter};
use counterfoil_spec::amount::Cents;
use counterfoil_spec::entry::{Body, Leaf};
use counterfoil_spec::ids::{ProviderId, Serial};
use counterfoil_spec::payload::{Payload, PoolRule, Statement};
use counterfoil_spec::time::Seconds;

use super::{Contested, Recomputed, SettlementError};

/// Entries that change threads at a time, and how many such batches wait; together some megabytes.
const BATCH: usize = 1_024;
const MAX_WAITING: usize = 4;

/// What has to be known of a log before a quarter of it is replayed.
#[derive(Default)]
struct Outline {
    statements: Vec<Statement>,
    /// The index of the quarter's own.
    entry: Option<u64>,
    owed: BTreeMap<ProviderId, Cents>,
    contested: Vec<Contested>,
    /// Of disputes of every quarter: an answer may stand in the other half of the log.
    answers: BTreeMap<Serial, Cents>,
    end: u64,
    began: Option<Seconds>,
    by_account: bool,
}

/// An entry, or the place of one that was removed.
type Replayed = (u64, Option<Body>);

/// Recomputes a quarter from a log. Its work ends with the last entry written before the quarter's end, which is
/// where a head signed at that instant ends, however late the quarter is closed.
///
/// # Errors
/// [`SettlementError`].
pub fn recompute(reader: &LogReader, quarter: Quarter, as_of: AsOf) -> Result<Recomputed, SettlementError> {
    let outline = outline(reader, quarter)?;
    if let Some(first) = outline.began.map(Quarter::of)
        && outline.statements.is_empty()
        && first != quarter
    {
        return Err(SettlementError::NotFirst { first, asked: quarter });
    }
    let mut period = Period::new(quarter, &outline.statements, outline.end)?;
    if outline.by_account {
        period = period.with_lots();
    }
    let end = period.end().max(outline.end).min(reader.size());
    let (give, take) = sync_channel(MAX_WAITING);
    let (give_back, spent) = channel();
    std::thread::scope(|threads| {
        let reading = threads.spawn(move || read(reader, end, &give, &spent));
        apply(&mut period, take, &give_back)?;
        // A thread that panicked has said so.
        reading.join().unwrap_or(Err(LogError::Closed))?;
        Ok::<(), SettlementError>(())
    })?;
    let answers = outline.answers;
    let mut contested = outline.contested;
    contested.iter_mut().for_each(|known| known.corrected_cents = answers.get(&known.dispute).copied());
    let booked = outline.entry.zip(period.booked().cloned());
    Ok(Recomputed { closed: period.close(as_of)?, booked, owed: outline.owed, contested })
}

impl Outline {
    /// What a part of the log says of a quarter.
    fn of(reader: &LogReader, part: Range<u64>, quarter: Quarter) -> Result<Self, LogError> {
        let mut outline = Self::default();
        let name = quarter.to_string();
        let number =
            |name: &str| Payload::KINDS.iter().find(|(_, kind)| *kind == name).map(|(number, _)| *number);
        let wanted = ["rules", "statement", "earnings", "dispute", "correction"].map(number);
        reader.survey(
            part,
            |kind| wanted.contains(&Some(kind)),
            |index, time, body| {
                outline.began.get_or_insert(time.seconds());
                if time < quarter.end().millis() {
                    outline.end = index + 1;
                }
                match body.map(|body| &body.payload) {
                    Some(Payload::Rules(rules)) => {
                        outline.by_account |= rules.pool_rule == PoolRule::PerAccount;
                    }
                    Some(Payload::Statement(statement)) => {
                        outline.entry = outline.entry.or((statement.quarter == name).then_some(index));
                        outline.statements.push(statement.clone());
                    }
                    Some(Payload::Earnings(earnings)) if earnings.quarter == name => {
                        outline.owed.extend(earnings.providers.iter().map(|p| (p.provider, p.cents)));
                    }
                    Some(Payload::Dispute(raised)) if raised.quarter == name => {
                        let dispute = body.map(|body| body.serial);
                        outline.contested.extend(dispute.map(|dispute| Contested {
                            dispute,
                            provider: raised.provider,
                            claimed_cents: raised.claimed,
                            corrected_cents: None,
                        }));
                    }
                    Some(Payload::Correction(answer)) => {
                        outline.answers.insert(answer.dispute, answer.cents);
                    }
                    _ => {}
                }
            },
        )?;
        Ok(outline)
    }

    /// Both parts of a log.
    fn then(mut self, later: Self) -> Self {
        self.statements.extend(later.statements);
        self.owed.extend(later.owed);
        self.contested.extend(later.contested);
        self.answers.extend(later.answers);
        Self {
            entry: self.entry.or(later.entry),
            end: self.end.max(later.end),
            began: self.began.or(later.began),
            by_account: self.by_account || later.by_account,
            ..self
        }
    }
}

/// Looks through the two halves of a log at once.
fn outline(reader: &LogReader, quarter: Quarter) -> Result<Outline, LogError> {
    let (size, middle) = (reader.size(), reader.size() / 2);
    std::thread::scope(|threads| {
        let later = threads.spawn(|| Outline::of(reader, middle..size, quarter));
        let earlier = Outline::of(reader, 0..middle, quarter)?;
        // A thread that panicked has said so.
        Ok(earlier.then(later.join().unwrap_or(Err(LogError::Closed))?))
    })
}

/// Decodes entries up to an end, until nobody takes them any more. Spent batches are freed here: memory that one
/// thread allocates and another one frees makes both wait for the allocator, for a quarter of all the time.
fn read(
    reader: &LogReader,
    end: u64,
    give: &SyncSender<Vec<Replayed>>,
    spent: &Receiver<Vec<Replayed>>,
) -> Result<(), LogError> {
    let mut batch = Vec::with_capacity(BATCH);
    reader.walk(0, end, |index, stored| {
        let body = match stored {
            Stored::Leaf(bytes) => {
                let (_, body) = Leaf::read(bytes).map_err(|source| LogError::BadEntry { index, source })?;
                Some(body)
            }
            Stored::Removed(_) => None,
        };
        batch.push((index, body));
        if batch.len() < BATCH {
            return Ok(());
        }
        let mut next = spent.try_recv().unwrap_or_else(|_| Vec::with_capacity(BATCH));
        next.clear();
        give.send(std::mem::replace(&mut batch, next)).map_err(|_| LogError::Closed)
    })?;
    give.send(batch).map_err(|_| LogError::Closed)
}

fn apply(
    period: &mut Period,
    take: Receiver<Vec<Replayed>>,
    give_back: &Sender<Vec<Replayed>>,
) -> Result<(), SettlementError> {
    for batch in take {
        for (index, body) in &batch {
            match body {
                Some(body) => period.apply(*index, body)?,
                None => period.removed(*index),
            }
        }
        // Nobody takes it back once the last one is read.
        let _ = give_back.send(batch);
    }
    Ok(())
}
