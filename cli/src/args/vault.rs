//! What the vault forgets.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum VaultCommand {
    /// Overwrite salts, so that nobody can check any more what a request and its answer were; the log says that it was done
    Erase {
        #[command(flatten)]
        whose: EraseArgs,
    },
}

#[derive(Debug, Args, Clone)]
#[group(required = true, multiple = false)]
pub(crate) struct EraseArgs {
    /// Of one request, by the id that its answer had
    #[arg(long, value_name = "ID")]
    pub(crate) request: Option<String>,
    /// Of all requests that started more than this many days ago, whole days of UTC; 0 for all before today
    #[arg(long, value_name = "DAYS")]
    pub(crate) older_than_days: Option<u64>,
}
