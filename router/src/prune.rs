//! Removing old entries: what may go, and the entry that says so. They go at the log's next start, by [`counterfoil_audit`].

use counterfoil_audit::prune::plan;
use counterfoil_audit::{LogError, LogReader};
use counterfoil_ledger::calendar::Date;
use counterfoil_ledger::settle::Quarter;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::limits::MAX_PRUNE_KEPT;
use counterfoil_spec::payload::{Payload, Prune};
use counterfoil_spec::time::Millis;
use serde_json::{Value, json};

use crate::admin::AdminError;
use crate::office::{Office, entry};

/// What an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Old {
    /// Quarters that were closed before this.
    pub before: Millis,
    /// For how many days entries are kept after that.
    pub keep_days: u64,
    /// Whether to log nothing.
    pub dry_run: bool,
}

/// A quarter that the log closed.
struct Closed {
    quarter: Option<Quarter>,
    end: u64,
    time: Millis,
}

/// What the log has to say of its past.
struct Past {
    began: Millis,
    closed: Vec<Closed>,
    /// The end of its last prune.
    pruned: u64,
}

/// Names the old entries that go, in the log; the log is to be closed and opened again behind it, which removes them.
///
/// # Errors
/// [`AdminError::Caller`] says in words why nothing may go; then nothing was logged.
pub fn prune(office: &Office, old: Old) -> Result<Value, AdminError> {
    let _alone = office.decide();
    let reader = LogReader::open(office.log_folder()).map_err(AdminError::caller)?;
    let now = office.now();
    let past = past(&reader).map_err(AdminError::caller)?;
    let end = end(&past, old, now).map_err(AdminError::Caller)?;
    let mut in_force: Option<(u64, Serial)> = None;
    let found = {
        let books = office.books();
        //= spec/audit-log.md#removal
        //# An entry MUST NOT be removed while a lot that it debits is in force.
        let spendable = |lot: &Serial| books.ledger.lot(lot).is_some_and(|lot| !lot.has_ended(now.seconds()));
        plan(&reader, past.pruned..end, |index, body| {
            if let Payload::Inference(inference) = &body.payload
                && let Some(debit) = inference.debits.iter().find(|debit| spendable(&debit.lot))
            {
                in_force.get_or_insert((index, debit.lot));
            }
        })
    };
    let found = found.map_err(AdminError::caller)?;
    if let Some((index, lot)) = in_force {
        return Err(AdminError::Caller(format!(
            "entry {index} spent of lot {lot}, which is still in force, and its balance follows from that entry; name an earlier day"
        )));
    }
    if found.kept.len() > MAX_PRUNE_KEPT {
        return Err(AdminError::Caller(format!(
            "more than {MAX_PRUNE_KEPT} entries before {end} belong to requests that go on behind it; name an earlier day"
        )));
    }
    let prune = Prune {
        first: past.pruned,
        end,
        kept: found.kept,
        removed: found.removed,
        hash: found.hash,
        kept_days: old.keep_days,
    };
    if prune.count() == 0 {
        let (first, last) = (prune.first, end - 1);
        return Err(AdminError::Caller(format!(
            "entries {first} to {last} are all of kinds that stay; nothing is to be removed"
        )));
    }
    let mut out = json!({
        "first_entry": prune.first, "end_entry": prune.end, "entries": prune.count(), "kinds": prune.removed,
        "kept": prune.kept.len(), "keep_days": old.keep_days, "dry_run": old.dry_run,
    });
    if !old.dry_run {
        let at = office.append_blocking(vec![entry(prune)])?;
        if let Some(out) = out.as_object_mut() {
            out.insert("entry".to_owned(), at.first.into());
        }
    }
    Ok(out)
}

fn past(reader: &LogReader) -> Result<Past, LogError> {
    let (mut began, mut closed, mut pruned) = (None, Vec::new(), 0);
    reader.for_each(0, |_, _, body| {
        began.get_or_insert(body.time);
        match &body.payload {
            Payload::Statement(s) => {
                closed.push(Closed { quarter: s.quarter.parse().ok(), end: s.end, time: body.time });
            }
            Payload::Prune(p) => pruned = p.end,
            _ => {}
        }
    })?;
    Ok(Past { began: began.unwrap_or(Millis(0)), closed, pruned })
}

/// Up to where entries may go, or in words why none may.
fn end(past: &Past, old: Old, now: Millis) -> Result<u64, String> {
    let latest = Millis(now.0.saturating_sub(old.keep_days.saturating_mul(DAY_MS)));
    if old.before > latest {
        return Err(format!(
            "entries are kept for {} days after their quarter was closed, so the latest day to name is {}; where the law allows less, \
             say so with --keep-days (keep_days in config.toml)",
            old.keep_days,
            day(latest)
        ));
    }
    let next = match past.closed.last() {
        Some(last) => last.quarter.map(Quarter::next),
        None => Some(Quarter::of(past.began.seconds())),
    };
    if let Some(open) = next.filter(|next| next.end().millis() <= old.before) {
        return Err(format!(
            "{open} was over before {} and is not closed; close it first with `counterfoil earnings settle --quarter {open}`",
            day(old.before)
        ));
    }
    let old_enough = past.closed.iter().rfind(|closed| closed.time < old.before);
    let end = old_enough.map_or(0, |closed| closed.end / BUNDLE * BUNDLE);
    if end > past.pruned {
        return Ok(end);
    }
    let oldest = past.closed.iter().find(|closed| closed.end / BUNDLE * BUNDLE > past.pruned);
    Err(match oldest {
        Some(closed) => format!(
            "no quarter with entries that are still there was closed before {}; the oldest one was closed on {}",
            day(old.before),
            day(closed.time)
        ),
        None => format!(
            "entries are removed by {BUNDLE} of closed quarters, and there are not as many from entry {} on",
            past.pruned
        ),
    })
}

fn day(when: Millis) -> Date {
    Date::of(when.seconds())
}

const DAY_MS: u64 = 86_400_000;
/// Entries that are published together, and removed so.
const BUNDLE: u64 = counterfoil_audit::tile::TILE_WIDTH;
