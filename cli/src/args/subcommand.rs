//! The commands below `identity`, `audit`, `account`, `earnings`, `provider` and `bench`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum IdentityCommand {
    /// Make the network root, CA and router identity in a new home
    Init,
    /// Print ids, fingerprints and what a verifier pins
    Show,
    /// Make a one-time token with which one node may enrol
    JoinToken {
        /// How long it may be used
        #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
        expires: u64,
    },
    /// Put this home's keys under a passphrase, or under another one
    Protect {
        /// A file whose first line is the new passphrase
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: PathBuf,
    },
    /// Take this home's keys out from under their passphrase
    Unprotect,
    /// Hold keys in this process and sign for others over a local socket (the protocol of SSH agents)
    Agent {
        /// The folder with the keys [default: `identity` in the home]
        #[arg(long, value_name = "DIR")]
        keys: Option<PathBuf>,
        /// Where to listen; in a folder that nobody else can enter
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
    },
    /// Let an agent sign with those of this home's keys that it holds
    UseAgent {
        /// Where the agent listens
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
    },
    /// Enrol this home as a node, without starting it
    Enroll {
        /// The router's address for enrolment
        #[arg(long, value_name = "HOST:PORT")]
        enrol: SocketAddr,
        /// The join token
        #[arg(long, env = "COUNTERFOIL_JOIN_TOKEN", hide_env_values = true)]
        join_token: String,
    },
    /// Have this node denied by its recovery key, for when its other keys were stolen
    Revoke {
        /// The router's address for enrolment
        #[arg(long, env = "COUNTERFOIL_ENROL", value_name = "HOST:PORT")]
        enrol: SocketAddr,
        /// Where the recovery key lies [default: `identity/recovery.key` in the home]
        #[arg(long, value_name = "FILE")]
        recovery_key: Option<PathBuf>,
        /// The node's id [default: that of the home]
        #[arg(long, value_name = "ID")]
        node: Option<String>,
        /// The network's id [default: that of the home]
        #[arg(long, value_name = "ID")]
        net_id: Option<String>,
    },
}

#[derive(Debug, Args, Clone)]
pub(crate) struct LogArgs {
    /// The log's folder [default: `log` in the home]
    #[arg(long = "log", value_name = "DIR", alias = "log-dir")]
    pub(crate) log_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Check every byte, chain, signature, receipt and sum; exit 1 names what is wrong
    Verify {
        #[command(flatten)]
        at: LogArgs,
        /// The log's verifier key, pinned out of band
        #[arg(long)]
        vkey: Option<String>,
        /// The network id, pinned out of band
        #[arg(long)]
        net_id: Option<String>,
        /// The router's identity key, to check its half of the receipts in a node's own log
        #[arg(long, value_name = "HEX")]
        router_key: Option<String>,
        /// Leave out the entries' own signatures
        #[arg(long)]
        no_signatures: bool,
    },
    /// Measure appending and verifying against the floors under them
    Bench {
        /// Entries of the log that is verified
        #[arg(long, default_value_t = 100_000)]
        entries: u64,
        /// Appends for each batch size
        #[arg(long, default_value_t = 300)]
        appends: u64,
    },
    /// Print one entry
    Show {
        /// Its index; the first is 0
        index: u64,
        #[command(flatten)]
        at: LogArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Open an account with the free tokens that the rules give
    Create,
    /// List the accounts
    List,
    /// Print one account's lots, holds and balance
    Show {
        /// Its id
        account: String,
    },
    /// Grant one period of a plan
    Subscribe {
        /// The account
        account: String,
        /// The plan: explorer, builder or operator
        plan: String,
        /// Record that its price was received; without this the tokens are marked unpaid and mint nothing for nodes
        #[arg(long)]
        paid: bool,
    },
    /// API keys
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key; it is shown once
    Create {
        /// The account
        account: String,
        /// How long it may be used
        #[arg(long, value_name = "SECONDS")]
        expires: Option<u64>,
    },
    /// Withdraw a key
    Revoke {
        /// Its id, as `create` printed it
        key_id: String,
    },
}

#[derive(Debug, Args, Clone)]
pub(crate) struct QuarterArgs {
    /// Such as 2026Q4
    #[arg(long)]
    pub(crate) quarter: String,
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
    /// Recompute a logged statement from the log alone and compare the bytes
    Verify(QuarterArgs),
    /// Share a pool among providers read from a file: what-if with the same function
    Split {
        /// JSON {"pool_cents", "providers": [{"id", "tokens", "uptime_s", "tier"}]}, or - for standard input
        #[arg(long)]
        input: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProviderCommand {
    /// Record which nodes and accounts belong to one payout identity
    Register {
        /// Its nodes
        #[arg(long = "node", required = true)]
        nodes: Vec<String>,
        /// Accounts of the same owner
        #[arg(long = "account")]
        accounts: Vec<String>,
        /// The router's operator owns it too
        #[arg(long)]
        affiliated: bool,
    },
    /// List the nodes that ever enrolled, with the keys of their own logs
    Nodes,
}

/// What `bench decode` can be measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Against {
    /// candle's quantised product, with as many threads
    Candle,
}

/// Whose table `bench decode` can print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Table {
    /// llama.cpp's: means and deviations of a prompt of 128 (pp128) and of tokens one by one (tg…)
    LlamaBench,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// One layer's dispatch to a node against a raw QUIC echo of the same bytes
    Dispatch {
        /// Round trips of each kind
        #[arg(long, default_value_t = 4000)]
        rounds: usize,
        /// Floats in a row
        #[arg(long, default_value_t = 2048)]
        hidden: u32,
        /// Rows in a dispatch
        #[arg(long, default_value_t = 1)]
        rows: u16,
        /// Rows in a dispatch of a prompt
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=512))]
        prefill_rows: u16,
    },
    /// From denying until every node has the new deny list, and until all lanes of a denied node are closed
    Deny {
        /// Changes of each kind
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        rounds: u32,
        /// Local nodes that host the embedded model
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=16))]
        nodes: u32,
        /// Lanes of the node that is denied
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
        lanes: u32,
    },
    /// One matrix product of each element type, beside candle's of the same weights
    Kernel {
        /// Rows that are multiplied with the matrix, separated by commas
        #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8, 16, 128])]
        rows: Vec<usize>,
        /// Rows of the matrix
        #[arg(long, default_value_t = 1408)]
        outputs: usize,
        /// Values in a row of the matrix, a multiple of 256
        #[arg(long, default_value_t = 2048)]
        inner: usize,
        /// Repeats of each kind, in turn
        #[arg(long, default_value_t = 25)]
        repeats: u32,
    },
    /// Tokens per second of a prompt in this process: at once, and one by one
    Prefill {
        /// Tokens of the prompt
        #[arg(long, default_value_t = 128)]
        tokens: u32,
        /// Repeats of each kind, in turn
        #[arg(long, default_value_t = 5)]
        repeats: u32,
        /// A checkpoint folder, split folder or GGUF file [default: the embedded model `guide`]
        #[arg(long, value_name = "PATH")]
        model: Option<PathBuf>,
    },
    /// Tokens per second of a model: in this process, and through local nodes
    Decode {
        /// Tokens of each repeat
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
        tokens: u32,
        /// Repeats of each kind, one after the other
        #[arg(long, default_value_t = 5)]
        repeats: u32,
        /// Local nodes
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
        nodes: u32,
        /// A checkpoint folder, split folder or GGUF file [default: the embedded model `guide`]
        #[arg(long, value_name = "PATH")]
        model: Option<PathBuf>,
        /// Hold everything between router and nodes, so that a round trip takes this much longer: 5ms, 300us
        #[arg(long, value_parser = crate::rtt::parse)]
        rtt: Option<Duration>,
        /// Measure, without nodes, against the same decoder with another product of quantised weights
        #[arg(long, conflicts_with_all = ["nodes", "rtt"])]
        against: Option<Against>,
        /// Print, without nodes, the rows that another program prints of its own speed: a prompt of 128, and --tokens
        #[arg(long, conflicts_with_all = ["nodes", "rtt", "against"])]
        table: Option<Table>,
    },
    /// The share of evidence in the CPU time of decoding: orders, receipts, transcripts and log entries of router and nodes
    Accounting {
        /// Tokens of each request
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
        tokens: u32,
        /// Requests, one after the other
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        repeats: u32,
        /// Nodes, as threads of this process
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
        nodes: u32,
        /// A checkpoint folder, split folder or GGUF file [default: the embedded model `guide`]
        #[arg(long, value_name = "PATH")]
        model: Option<PathBuf>,
    },
    /// Answers over the API of a router with local nodes, one and eight at one time, beside the same work without HTTP
    Http {
        /// Tokens of each answer at most
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
        tokens: u32,
        /// Repeats of each kind, in turn
        #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
        repeats: u32,
        /// Local nodes
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
        nodes: u32,
        /// A checkpoint folder, split folder or GGUF file with a tokenizer [default: the embedded model `guide`]
        #[arg(long, value_name = "PATH")]
        model: Option<PathBuf>,
    },
    /// Tokens per second of 1, 2, 4 and 8 requests at one time through local nodes
    Batch {
        /// Tokens of each request
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        tokens: u32,
        /// Repeats of each number of requests, in turn
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        repeats: u32,
        /// Local nodes
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
        nodes: u32,
        /// A checkpoint folder, split folder or GGUF file [default: the embedded model `guide`]
        #[arg(long, value_name = "PATH")]
        model: Option<PathBuf>,
        /// Hold everything between router and nodes, so that a round trip takes this much longer: 5ms, 300us
        #[arg(long, value_parser = crate::rtt::parse)]
        rtt: Option<Duration>,
    },
}
