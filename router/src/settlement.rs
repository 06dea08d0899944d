//! Closing a quarter: the ledger's pure function over the log's entries, and one statement entry.
//!
//! ```text
//! vault/settlement/<quarter>     32 random bytes that salt the statement's provider leaves; durable before the entry
//! ```

pub(crate) mod dispute;
mod replay;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use counterfoil_audit::{LogError, LogReader};
use counterfoil_identity::random;
use counterfoil_ledger::settle::{AsOf, CloseError, Closed, Quarter};
use counterfoil_spec::amount::Cents;
use counterfoil_spec::ids::{Hash, ProviderId, Serial};
use counterfoil_spec::limits::MAX_EARNINGS;
use counterfoil_spec::payload::{Earnings, PoolRule, ProviderEarning, Statement};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::admin::AdminError;
use crate::home::RouterHome;
use crate::office::{Office, entry};

pub use replay::recompute;

/// Why a quarter could not be recomputed.
#[derive(Debug, thiserror::Error)]
pub enum SettlementError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The ledger's function refused.
    #[error(transparent)]
    Close(#[from] CloseError),
    /// Not the network's first quarter, and none before it was closed.
    #[error("{first} is the first quarter of this network, so it is the first to close, not {asked}")]
    NotFirst {
        /// The quarter of the first entry.
        first: Quarter,
        /// What was asked for.
        asked: Quarter,
    },
    /// The secret of a quarter cannot be read or kept.
    #[error("{path}: {source}")]
    Secret {
        /// Where it lies.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A quarter as the log has it.
#[derive(Debug, Clone)]
pub struct Recomputed {
    /// Its figures.
    pub closed: Closed,
    /// Its statement with the index of that entry, where the log has one.
    pub booked: Option<(u64, Statement)>,
    /// What the log says is owed to providers for it.
    pub owed: BTreeMap<ProviderId, Cents>,
    /// What was contested of it, in the order of the log.
    pub contested: Vec<Contested>,
}

/// A contested share, as far as the log goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contested {
    /// The dispute.
    pub dispute: Serial,
    /// Whose share.
    pub provider: ProviderId,
    /// What it should have been.
    pub claimed_cents: Cents,
    /// What was owed more for it, or less; absent while nobody answered.
    pub corrected_cents: Option<Cents>,
}

impl Recomputed {
    /// Whether what is owed is what was shared; a log may owe nothing yet.
    #[must_use]
    pub fn owes_the_shares(&self) -> bool {
        let shared = self.closed.shares.iter().filter(|s| s.cents.0 > 0).map(|s| (s.provider, s.cents));
        self.owed.is_empty() || self.owed == shared.collect()
    }
}

/// The secret of a quarter in a home, where it was closed there.
///
/// # Errors
/// [`SettlementError::Secret`] for a file that cannot be read or is damaged.
pub fn secret(home: &Path, quarter: Quarter) -> Result<Option<Hash>, SettlementError> {
    let path = secret_path(home, quarter);
    match std::fs::read(&path) {
        Ok(bytes) => match Hash::from_slice(&bytes) {
            Some(secret) => Ok(Some(secret)),
            None => Err(SettlementError::Secret { path, source: std::io::ErrorKind::InvalidData.into() }),
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SettlementError::Secret { path, source }),
    }
}

/// What a closed quarter says, for people and programs.
#[must_use]
pub fn describe(closed: &Closed) -> Value {
    let providers: Vec<Value> = closed
        .shares
        .iter()
        .map(|s| {
            json!({
                "provider": s.provider, "onboarded": s.onboarded, "total_cents": s.cents,
                "micro_tokens": s.micro_tokens, "uptime_s": s.uptime_s,
            })
        })
        .collect();
    json!({
        "quarter": closed.quarter.to_string(), "first_entry": closed.first, "end_entry": closed.end,
        "revenue_micro": closed.revenue, "pool_cents": closed.pool, "carry_micro": closed.carry_micro,
        "corrected_cents": closed.corrected,
        "providers": providers,
    })
}

pub(crate) fn settle(
    office: &Office,
    home: &RouterHome,
    quarter: &str,
    dry_run: bool,
) -> Result<Value, AdminError> {
    let quarter: Quarter = quarter.parse().map_err(AdminError::caller)?;
    let reader = LogReader::open(office.log_folder()).map_err(AdminError::caller)?;
    let now = office.now().seconds();
    let as_of = if dry_run { AsOf::DryRun(now) } else { AsOf::Final(now) };
    let found = recompute(&reader, quarter, as_of).map_err(AdminError::caller)?;
    let mut out = describe(&found.closed);
    let add = |out: &mut Value, key: &str, value: Value| {
        if let Some(object) = out.as_object_mut() {
            object.insert(key.to_owned(), value);
        }
    };
    add(&mut out, "dry_run", dry_run.into());
    if let Some((_, booked)) = &found.booked {
        add(&mut out, "already_closed", true.into());
        add(&mut out, "root", json!(booked.root));
        // A statement of a program that did not book what is owed to each.
        let owed = earnings(office, &found.closed);
        if !dry_run && !owed.is_empty() {
            office.append_blocking(owed.into_iter().map(entry).collect())?;
        }
        return Ok(out);
    }
    if dry_run {
        return Ok(out);
    }
    let secret = keep_secret(home.path(), quarter).map_err(AdminError::caller)?;
    let statement = found.closed.statement(&secret);
    add(&mut out, "root", json!(statement.root));
    let mut entries = vec![entry(statement)];
    entries.extend(earnings(office, &found.closed).into_iter().map(entry));
    let at = office.append_blocking(entries)?;
    add(&mut out, "entry", at.first.into());
    Ok(out)
}

/// What is to be changed in the rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleChange {
    /// `pro-rata` or `per-account`.
    pub pool_rule: Option<String>,
    /// The part of the pool that goes by uptime, in hundredths of a percent.
    pub uptime_bps: Option<u32>,
    /// The part of what is earned that is held back for 180 days, likewise; 0 for none.
    #[serde(default)]
    pub reserve_bps: Option<u32>,
}

/// Puts changed rules into force, where something is to be changed, and says which are.
pub(crate) fn rules(office: &Office, change: &RuleChange) -> Result<Value, AdminError> {
    let mut rules = office.read(|ledger| ledger.rules().clone());
    let before = rules.clone();
    match change.pool_rule.as_deref() {
        None => {}
        Some("pro-rata") => rules.pool_rule = PoolRule::ProRata,
        Some("per-account") => rules.pool_rule = PoolRule::PerAccount,
        Some(other) => {
            return Err(AdminError::Caller(format!(
                "there is no pool rule {other:?}; there are pro-rata and per-account"
            )));
        }
    }
    match change.uptime_bps {
        None => {}
        Some(bps @ 0..=10_000) => rules.uptime_bps = bps,
        Some(bps) => {
            return Err(AdminError::Caller(format!(
                "{bps} hundredths of a percent are more than the whole pool; at most 10000"
            )));
        }
    }
    match change.reserve_bps {
        None => {}
        Some(0) => rules.reserve_bps = None,
        Some(bps @ 1..=10_000) => rules.reserve_bps = Some(bps),
        Some(bps) => {
            return Err(AdminError::Caller(format!(
                "{bps} hundredths of a percent are more than all that is earned; at most 10000"
            )));
        }
    }
    let mut out = json!({ "rules": rules });
    if rules != before {
        rules.version += 1;
        out = json!({ "rules": rules, "entry": office.append_blocking(vec![entry(rules)])?.first });
    }
    Ok(out)
}

/// What is owed to providers from a closed quarter on, as far as no entry says so yet.
fn earnings(office: &Office, closed: &Closed) -> Vec<Earnings> {
    let quarter = closed.quarter.to_string();
    let books = office.books();
    let new = closed
        .shares
        .iter()
        .filter(|s| s.cents.0 > 0)
        .filter(|s| books.ledger.earned(&quarter, &s.provider).is_none());
    let owed: Vec<_> = new.map(|s| ProviderEarning { provider: s.provider, cents: s.cents }).collect();
    owed.chunks(MAX_EARNINGS)
        .map(|some| Earnings { quarter: quarter.clone(), providers: some.to_vec() })
        .collect()
}

fn secret_path(home: &Path, quarter: Quarter) -> PathBuf {
    home.join("vault/settlement").join(quarter.to_string())
}

/// The quarter's secret: the one that is there, or a fresh one made durable.
fn keep_secret(home: &Path, quarter: Quarter) -> Result<Hash, SettlementError> {
    if let Some(secret) = secret(home, quarter)? {
        return Ok(secret);
    }
    let path = secret_path(home, quarter);
    let fail = |source| SettlementError::Secret { path: path.clone(), source };
    let folder = home.join("vault/settlement");
    std::fs::create_dir_all(&folder).map_err(fail)?;
    let secret = random::hash();
    let fresh = path.with_extension("new");
    let options =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh);
    let mut file = options.map_err(fail)?;
    file.write_all(secret.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
    std::fs::rename(&fresh, &path).map_err(fail)?;
    std::fs::File::open(&folder).and_then(|f| f.sync_all()).map_err(fail)?;
    Ok(secret)
}
