//! The flags of `earnings`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::LogArgs;

#[derive(Debug, Args, Clone)]
pub(crate) struct QuarterArgs {
    /// Such as 2026Q4
    #[arg(long)]
    pub(crate) quarter: String,
    #[command(flatten)]
    pub(crate) at: LogArgs,
}

#[derive(Debug, Args, Clone)]
pub(crate) struct StatementArgs {
    /// Such as 2026Q4
    #[arg(long)]
    pub(crate) quarter: String,
    /// Only this provider's
    #[arg(long, value_name = "ID")]
    pub(crate) provider: Option<String>,
    /// The folder that the files are written into
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) at: LogArgs,
}

#[derive(Debug, Args, Clone)]
pub(crate) struct VerifyEarningsArgs {
    /// A provider's statement
    #[arg(required_unless_present = "quarter", conflicts_with = "quarter")]
    pub(crate) statement: Option<PathBuf>,
    /// A quarter of the log, such as 2026Q4
    #[arg(long)]
    pub(crate) quarter: Option<String>,
    /// The log's verifier key, got from elsewhere than the statement
    #[arg(long, requires = "statement")]
    pub(crate) vkey: Option<String>,
    /// The log's succession file: that another key followed the pinned one, as that signed
    #[arg(long, value_name = "FILE", requires = "vkey")]
    pub(crate) succession: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) at: LogArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EarningsCommand {
    /// Recompute a quarter from the log as it stands
    Show(QuarterArgs),
    /// Close a quarter that is over and log its statement
    Settle {
        /// Such as 2026Q4
        #[arg(long)]
        quarter: String,
        /// Compute and print, log nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Write what a closed quarter gave each provider: signed, each with its own leaf, its path and its proof
    #[command(
        after_help = "Each file is for one provider, and shows nobody else's figures. The home must be that of the router that closed the quarter.\n\nExample:\n  counterfoil earnings statement --quarter 2026Q4 --out statements"
    )]
    Statement(StatementArgs),
    /// Check a provider's statement, or recompute a quarter from the log and compare the bytes
    #[command(
        after_help = "Examples:\n  counterfoil earnings verify 2026Q4-ID.dsse.json --vkey KEY              a provider alone\n  counterfoil earnings verify 2026Q4-ID.dsse.json --vkey KEY --log DIR    and from the work in the log\n  counterfoil earnings verify --quarter 2026Q4 --log DIR                  all of a quarter"
    )]
    Verify(VerifyEarningsArgs),
    /// Show the rules by which earnings are shared, or change them from here on
    Rules {
        /// pro-rata or per-account; docs/earnings.md says which when
        #[arg(long, value_name = "RULE")]
        pool_rule: Option<String>,
        /// The part of the pool that goes by uptime, in hundredths of a percent
        #[arg(long, value_name = "BPS")]
        uptime_bps: Option<u32>,
        /// The part of what providers earn that is held back for 180 days, in hundredths of a percent; 0 for none
        #[arg(long, value_name = "BPS")]
        reserve_bps: Option<u32>,
    },
    /// Log that a provider contests its share of a closed quarter, within 30 days
    Dispute {
        /// Such as 2026Q4
        #[arg(long)]
        quarter: String,
        /// Whose share
        #[arg(long, value_name = "ID")]
        provider: String,
        /// What the share should have been
        #[arg(long, value_name = "CENTS")]
        claimed_cents: i64,
        /// Why; it stands in the log, so name no person
        #[arg(long, value_name = "WORDS")]
        reason: String,
    },
    /// Answer a dispute: what is owed more or less from now on; the closed quarter stays as it is
    Correct {
        /// Of `earnings disputes`
        dispute: String,
        /// More, or with a minus less; 0 where the share stands
        #[arg(long, value_name = "CENTS", allow_hyphen_values = true)]
        cents: i64,
        /// Why; it stands in the log, so name no person
        #[arg(long, value_name = "WORDS")]
        reason: String,
    },
    /// List the disputes and their answers
    Disputes,
    /// Share a pool among providers read from a file: what-if with the same function
    Split {
        /// JSON {"pool_cents", "providers": [{"id", "tokens", "uptime_s", "tier"}]}, or - for standard input
        #[arg(long)]
        input: PathBuf,
    },
}
