//! What `counterfoil audit verify` is given.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "Examples:\n  counterfoil audit verify --vkey KEY --net-id ID\n  counterfoil audit verify --against NODE/log --against OTHER/log    receipts and heads, router and nodes"
)]
pub(crate) struct VerifyArgs {
    /// The log: its folder, the published files alone, a file of `audit archive`, or the address of a router [default: `log` in the home]
    #[arg(long = "log", value_name = "DIR|FILE|URL", alias = "log-dir")]
    pub(crate) log: Option<PathBuf>,
    /// An auditor's key, for a log at an address
    #[arg(long, env = "COUNTERFOIL_API_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// A checkpoint that was verified before (see --remember): the signatures of what it covers are not checked again
    #[arg(long, value_name = "CHECKPOINT")]
    pub(crate) from: Option<PathBuf>,
    /// Where to keep the checkpoint for --from, once all is verified
    #[arg(long, value_name = "FILE")]
    pub(crate) remember: Option<PathBuf>,
    /// The log's verifier key, pinned out of band
    #[arg(long)]
    pub(crate) vkey: Option<String>,
    /// The network id, pinned out of band
    #[arg(long)]
    pub(crate) net_id: Option<String>,
    /// The router's identity key, to check its half of the receipts in a node's own log
    #[arg(long, value_name = "HEX")]
    pub(crate) router_key: Option<String>,
    /// Whose cosignatures the log must have (C2SP tlog-policy)
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Leave out the entries' own signatures
    #[arg(long)]
    pub(crate) no_signatures: bool,
    /// A log with the other halves: a node's of a router's log, the router's of a node's; may be given again. One that is elsewhere is
    /// copied for as long as it is read
    #[arg(long, value_name = "DIR|FILE|URL")]
    pub(crate) against: Vec<PathBuf>,
    /// Where to put what can be shown to others of a log that contradicts itself [default: evidence in the home]
    #[arg(long, value_name = "DIR")]
    pub(crate) evidence: Option<PathBuf>,
}
