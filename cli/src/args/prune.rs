//! The flags of `audit prune`.

use clap::Args;
use counterfoil_spec::limits::DEFAULT_KEEP_ENTRY_DAYS;

use crate::export::Place;

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "What goes: entries of requests, work, uptime and refusals, of quarters that were closed before the day that is named; whole bundles of 256. Accounts, keys, lots, payments, consents, rules and statements stay. The router must not run. An entry `prune` says what goes before anything does; what a crash breaks off is finished at the next start.\n\nExport what you have to keep elsewhere first: a removed entry comes back from a copy of the log alone, and quarters whose entries are gone cannot be recomputed.\n\n  counterfoil audit prune --older-than 3653 --dry-run\n  counterfoil audit prune --before 2027-01-01"
)]
pub(crate) struct PruneArgs {
    /// Entries of quarters that were closed before this day or instant in UTC: 2027-01-01 or 2027-01-01T12:30:00Z
    #[arg(long, value_name = "DATE", value_parser = instant, required_unless_present = "older_than")]
    pub(crate) before: Option<u64>,
    /// Entries of quarters that were closed more than this many days ago
    #[arg(long, value_name = "DAYS", conflicts_with = "before")]
    pub(crate) older_than: Option<u64>,
    /// For how many days the law wants entries kept, counted from when their quarter was closed
    #[arg(long, env = "COUNTERFOIL_KEEP_DAYS", default_value_t = DEFAULT_KEEP_ENTRY_DAYS, value_name = "DAYS")]
    pub(crate) keep_days: u64,
    /// Say what would go, and log nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Milliseconds of a day or an instant.
fn instant(text: &str) -> Result<u64, String> {
    match text.parse()? {
        Place::Instant(when) => Ok(when.0),
        Place::Entry(_) => Err(format!("{text:?} is an index; a day is like 2027-01-01")),
    }
}
