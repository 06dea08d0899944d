//! The flags of `audit prove`, `verify-proof`, `recount` and `witness`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::LogArgs;

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "Examples:\n  counterfoil audit prove 13 > 13.tlog-proof\n  counterfoil audit prove --request ID --works --keys --out proofs\n  counterfoil audit prove --consistency old-checkpoint > growth.txt\n  counterfoil audit verify-proof proofs/*.tlog-proof --vkey KEY"
)]
pub(crate) struct ProveArgs {
    /// The indexes of the entries; the first is 0
    pub(crate) index: Vec<u64>,
    /// The entry of this request
    #[arg(long, value_name = "ID", conflicts_with = "index")]
    pub(crate) request: Option<String>,
    /// With --request, also the work entries that it names
    #[arg(long, requires = "request")]
    pub(crate) works: bool,
    /// Also the entries that introduce the keys which signed: with them `verify-proof` checks the entries' own signatures, and
    /// both halves of receipts
    #[arg(long)]
    pub(crate) keys: bool,
    /// That the log kept all that it had at an earlier checkpoint: its file, or its size
    #[arg(long, value_name = "CHECKPOINT|SIZE", conflicts_with_all = ["index", "request", "keys"])]
    pub(crate) consistency: Option<String>,
    /// Leave the entry out of its proof, for whoever has it already
    #[arg(long)]
    pub(crate) without_entry: bool,
    /// Write each proof into a file of this folder [default: one proof, to standard output]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) at: LogArgs,
}

#[derive(Debug, Args, Clone)]
pub(crate) struct VerifyProofArgs {
    /// Proofs of entries, or of consistency (with --old); - is standard input
    #[arg(required = true)]
    pub(crate) file: Vec<PathBuf>,
    /// The log's verifier key, got from elsewhere than the proof
    #[arg(long)]
    pub(crate) vkey: String,
    /// The log's succession file: that another key followed the pinned one, as that signed
    #[arg(long, value_name = "FILE")]
    pub(crate) succession: Option<PathBuf>,
    /// The network id, got from elsewhere than the proof
    #[arg(long)]
    pub(crate) net_id: Option<String>,
    /// The entry's leaf, where it does not travel in the proof
    #[arg(long, value_name = "FILE")]
    pub(crate) leaf: Option<PathBuf>,
    /// The earlier checkpoint of a proof of consistency
    #[arg(long, value_name = "CHECKPOINT")]
    pub(crate) old: Option<PathBuf>,
    /// Whose cosignatures the checkpoint must bear (C2SP tlog-policy)
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
}

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "The receipt is what GET /v1/receipts/ID answers to the key that asked. The messages are those of the request, as JSON: [{\"role\": \"user\", \"content\": \"…\"}].\n\nExample:\n  curl -H \"Authorization: Bearer $KEY\" $URL/v1/receipts/$ID > receipt.json\n  counterfoil audit recount receipt.json --vkey KEY --messages messages.json --answer answer.txt"
)]
pub(crate) struct RecountArgs {
    /// The receipt
    pub(crate) receipt: PathBuf,
    /// The log's verifier key, got from elsewhere than the receipt; an older one will do, as the receipt says what follows it
    #[arg(long)]
    pub(crate) vkey: String,
    /// The messages that were sent, as JSON; a whole request body will do
    #[arg(long, value_name = "FILE")]
    pub(crate) messages: Option<PathBuf>,
    /// The prompt as the model's template rendered it, instead of the messages
    #[arg(long, value_name = "FILE", conflicts_with = "messages")]
    pub(crate) prompt: Option<PathBuf>,
    /// The text that was answered
    #[arg(long, value_name = "FILE")]
    pub(crate) answer: Option<PathBuf>,
    /// A checkpoint folder with the model's tokenizer and chat template [default: the embedded model `guide`]
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
}

#[derive(Debug, Args, Clone)]
pub(crate) struct WitnessArgs {
    /// The name that cosignatures bear, such as witness.example/w1; it belongs to the key for good
    #[arg(long, env = "COUNTERFOIL_WITNESS_NAME")]
    pub(crate) name: String,
    /// The verifier key of a log to follow; may be given several times, also for one log whose key is being changed
    #[arg(
        long = "log-vkey",
        env = "COUNTERFOIL_WITNESS_LOG",
        value_name = "VKEY",
        value_delimiter = ',',
        required = true
    )]
    pub(crate) log_vkey: Vec<String>,
    /// Where logs submit their checkpoints (HTTP)
    #[arg(long, env = "COUNTERFOIL_WITNESS_LISTEN", default_value = "127.0.0.1:8001")]
    pub(crate) listen: SocketAddr,
}
