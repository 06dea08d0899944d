//! The commands below `bench`. What makes no sense is refused here, before anything is started or measured.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use clap::builder::RangedU64ValueParser;
use counterfoil_spec::limits::{MAX_LEAF_CERT_LIFE_S, MIN_LEAF_CERT_LIFE_S};

/// Rows that a kernel is measured with.
const MAX_KERNEL_ROWS: u64 = 1024;
/// Rows of a matrix, and values in each of them.
const MAX_KERNEL_SIDE: u64 = 1 << 16;
/// Values that the blocks of every element type divide.
const KERNEL_BLOCK: usize = 256;

/// How often something is measured.
fn repeats() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=10_000)
}

/// How many tokens; a model's context is smaller.
fn tokens() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=1_000_000)
}

fn nodes() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=u64::from(crate::throwaway::MAX_NODES))
}

/// The values of one row of a matrix.
fn inner(text: &str) -> Result<usize, String> {
    let inner: usize = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    let most = usize::try_from(MAX_KERNEL_SIDE).unwrap_or(usize::MAX);
    if (KERNEL_BLOCK..=most).contains(&inner) && inner.is_multiple_of(KERNEL_BLOCK) {
        Ok(inner)
    } else {
        Err(format!("it is a multiple of {KERNEL_BLOCK}, and {most} at most"))
    }
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
        #[arg(long, default_value_t = 4000, value_parser = RangedU64ValueParser::<usize>::new().range(8..=1_000_000))]
        rounds: usize,
        /// Floats in a row
        #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=16_384))]
        hidden: u32,
        /// Rows in a dispatch
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=512))]
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
        #[arg(long, default_value_t = 4, value_parser = nodes())]
        nodes: u32,
        /// Further nodes, a lane each, that are denied at once
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
        lanes: u32,
    },
    /// What a request keeps of its speed while the router is flooded with first packets of connections
    Flood {
        /// Tokens of each request
        #[arg(long, default_value_t = 400, value_parser = tokens())]
        tokens: u32,
        /// Requests with and without a flood, in turn
        #[arg(long, default_value_t = 15, value_parser = repeats())]
        repeats: u32,
        /// Local nodes
        #[arg(long, default_value_t = 2, value_parser = nodes())]
        nodes: u32,
        /// First packets for each frame that the request sends to a node
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
        times: u32,
        /// A checkpoint folder, split folder or GGUF file [default: the embedded model `guide`]
        #[arg(long, value_name = "PATH")]
        model: Option<PathBuf>,
    },
    /// Requests while nodes go from one certificate to the next, beside the same where certificates hold for a day
    Rotation {
        /// For how many seconds a certificate holds
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(MIN_LEAF_CERT_LIFE_S..=MAX_LEAF_CERT_LIFE_S))]
        life: u64,
        /// Tokens of each request
        #[arg(long, default_value_t = 60, value_parser = tokens())]
        tokens: u32,
        /// Requests at one time
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
        at_once: u32,
        /// Turns of either kind
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
        turns: u32,
        /// How long a turn takes at least, in seconds
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
        turn_seconds: u64,
        /// Local nodes
        #[arg(long, default_value_t = 2, value_parser = nodes())]
        nodes: u32,
        /// A checkpoint folder, split folder or GGUF file [default: the embedded model `guide`]
        #[arg(long, value_name = "PATH")]
        model: Option<PathBuf>,
    },
    /// One matrix product of each element type, beside candle's of the same weights
    Kernel {
        /// Rows that are multiplied with the matrix, separated by commas
        #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8, 16, 128], value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_KERNEL_ROWS))]
        rows: Vec<usize>,
        /// Rows of the matrix
        #[arg(long, default_value_t = 1408, value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_KERNEL_SIDE))]
        outputs: usize,
        /// Values in a row of the matrix, a multiple of 256
        #[arg(long, default_value_t = 2048, value_parser = inner)]
        inner: usize,
        /// Repeats of each kind, in turn
        #[arg(long, default_value_t = 25, value_parser = repeats())]
        repeats: u32,
    },
    /// Tokens per second of a prompt in this process: at once, and one by one
    Prefill {
        /// Tokens of the prompt
        #[arg(long, default_value_t = 128, value_parser = tokens())]
        tokens: u32,
        /// Repeats of each kind, in turn
        #[arg(long, default_value_t = 5, value_parser = repeats())]
        repeats: u32,
        /// A checkpoint folder, split folder or GGUF file [default: the embedded model `guide`]
        #[arg(long, value_name = "PATH")]
        model: Option<PathBuf>,
    },
    /// Tokens per second of a model: in this process, and through local nodes
    Decode {
        /// Tokens of each repeat
        #[arg(long, default_value_t = 200, value_parser = tokens())]
        tokens: u32,
        /// Repeats of each kind, one after the other
        #[arg(long, default_value_t = 5, value_parser = repeats())]
        repeats: u32,
        /// Local nodes
        #[arg(long, default_value_t = 2, value_parser = nodes())]
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
        #[arg(long, default_value_t = 64, value_parser = tokens())]
        tokens: u32,
        /// Requests, one after the other
        #[arg(long, default_value_t = 5, value_parser = repeats())]
        repeats: u32,
        /// Nodes, as threads of this process
        #[arg(long, default_value_t = 2, value_parser = nodes())]
        nodes: u32,
        /// A checkpoint folder, split folder or GGUF file [default: the embedded model `guide`]
        #[arg(long, value_name = "PATH")]
        model: Option<PathBuf>,
    },
    /// Answers over the API of a router with local nodes, one and eight at one time, beside the same work without HTTP
    Http {
        /// Tokens of each answer at most
        #[arg(long, default_value_t = 64, value_parser = tokens())]
        tokens: u32,
        /// Repeats of each kind, in turn
        #[arg(long, default_value_t = 15, value_parser = repeats())]
        repeats: u32,
        /// Local nodes
        #[arg(long, default_value_t = 2, value_parser = nodes())]
        nodes: u32,
        /// A checkpoint folder, split folder or GGUF file with a tokenizer [default: the embedded model `guide`]
        #[arg(long, value_name = "PATH")]
        model: Option<PathBuf>,
    },
    /// Tokens per second of 1, 2, 4 and 8 requests at one time through local nodes
    Batch {
        /// Tokens of each request
        #[arg(long, default_value_t = 100, value_parser = tokens())]
        tokens: u32,
        /// Repeats of each number of requests, in turn
        #[arg(long, default_value_t = 5, value_parser = repeats())]
        repeats: u32,
        /// Local nodes
        #[arg(long, default_value_t = 2, value_parser = nodes())]
        nodes: u32,
        /// A checkpoint folder, split folder or GGUF file [default: the embedded model `guide`]
        #[arg(long, value_name = "PATH")]
        model: Option<PathBuf>,
        /// Hold everything between router and nodes, so that a round trip takes this much longer: 5ms, 300us
        #[arg(long, value_parser = crate::rtt::parse)]
        rtt: Option<Duration>,
    },
}
