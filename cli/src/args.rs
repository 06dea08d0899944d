//! Every command and flag of the program. Each flag is also a `COUNTERFOIL_…` variable and a key of `config.toml`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use counterfoil_node::HUB_ENDPOINT;
use counterfoil_router::DEFAULT_SALT_DAYS;
use counterfoil_spec::limits::{MAX_LEAF_CERT_LIFE_S, MIN_LEAF_CERT_LIFE_S};

use crate::catalogue::Use;
use crate::size::ByteSize;

mod activations;
mod bench;
mod changes;
mod conform;
mod consent;
mod earnings;
mod model;
mod paying;
mod prove;
mod provider;
mod prune;
mod router;
mod subcommand;
mod vault;
mod verify;

pub(crate) use activations::ActivationsAs;
pub(crate) use bench::{Against, BenchCommand, Table};
pub(crate) use changes::{CaCommand, LogKeyCommand};
pub(crate) use conform::ConformArgs;
pub(crate) use consent::{ConsentCommand, HeldArgs};
pub(crate) use earnings::{EarningsCommand, QuarterArgs, StatementArgs, VerifyEarningsArgs};
pub(crate) use model::{ModelCommand, SplitQuant, Spread};
pub(crate) use paying::PayingArgs;
pub(crate) use prove::{ProveArgs, RecountArgs, VerifyProofArgs, WitnessArgs};
pub(crate) use provider::ProviderCommand;
pub(crate) use prune::PruneArgs;
pub(crate) use router::{DenyArgs, NamesArgs, RouterCommand};
pub(crate) use subcommand::{
    AboutArgs, AccountCommand, AuditCommand, ExportArgs, IdentityCommand, KeyCommand, LogArgs,
    RootDenyCommand, ShowArgs, VerifyExportArgs,
};
pub(crate) use vault::{EraseArgs, VaultCommand};
pub(crate) use verify::VerifyArgs;

/// Mixture-of-Experts models on other people's machines, with evidence for everything.
#[derive(Debug, Parser)]
#[command(
    name = "counterfoil",
    version,
    about,
    after_help = "Start here:\n  counterfoil run             a router, two nodes and a chat page on this machine\n  counterfoil chat \"What is a consent token?\"\n  counterfoil audit verify    check everything that was recorded\n\nExit codes: 0 done, 1 a check failed, 2 wrong use, 3 refused by a peer, 4 input, output or storage failed."
)]
pub(crate) struct Cli {
    /// The folder that holds identities, log and weights [default: the platform's data folder]
    #[arg(long, global = true, env = "COUNTERFOIL_HOME", value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Print JSON for programs instead of text for people
    #[arg(long, global = true, env = "COUNTERFOIL_JSON")]
    pub(crate) json: bool,
    /// What to tell on standard error, such as `info` or `counterfoil_router=debug`
    #[arg(long, global = true, env = "COUNTERFOIL_TRACE", value_name = "FILTER", default_value = "warn")]
    pub(crate) trace: String,
    /// Threads that compute, in each process [default: the cores that it may use]
    #[arg(long, global = true, env = "COUNTERFOIL_THREADS", value_name = "N")]
    pub(crate) threads: Option<NonZero<usize>>,
    /// A file whose first line is the passphrase of this home's keys; nobody but its owner may read it
    #[arg(long, global = true, env = "COUNTERFOIL_PASSPHRASE_FILE", value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a process")]
pub(crate) enum Command {
    /// Start a router, local nodes and a chat page on this machine
    Run(RunArgs),
    /// Start the router alone, or deny nodes at the one that runs
    Router(RouterArgs),
    /// Start a node: enrol, consent, host experts, earn
    Serve(ServeArgs),
    /// Ask a question, or hold a conversation
    Chat(ChatArgs),
    /// Say what runs, who is connected and what was done
    Status(UrlArgs),
    /// Look for what is wrong with this home and this machine
    Doctor,
    /// List the models: sizes and licences, what this machine could host, what the network covers
    Models(ModelsArgs),
    /// Keys, certificates and join tokens
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Consent tokens: what the operators of nodes have signed
    #[command(subcommand)]
    Consent(ConsentCommand),
    /// The hash-chained log: verify it, look into it
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Accounts, subscriptions and API keys
    #[command(subcommand)]
    Account(AccountCommand),
    /// What providers earn, and how to recompute it
    #[command(subcommand)]
    Earnings(EarningsCommand),
    /// Payout identities and their nodes
    #[command(subcommand)]
    Provider(ProviderCommand),
    /// What must be erasable: the salts of what the log says of prompts and answers
    #[command(subcommand)]
    Vault(VaultCommand),
    /// Checkpoint folders: their logits, shapes and sizes
    #[command(subcommand)]
    Model(ModelCommand),
    /// Measure this machine
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Run the vectors of the specification against this program, or against any command
    Conform(ConformArgs),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args, Clone)]
pub(crate) struct RunArgs {
    /// A checkpoint folder, split folder or GGUF file [default: the embedded model `guide`]
    pub(crate) model: Option<PathBuf>,
    /// Where clients connect
    #[arg(long, env = "COUNTERFOIL_LISTEN", default_value = "127.0.0.1:8000")]
    pub(crate) listen: SocketAddr,
    /// How many local nodes to start
    #[arg(long, env = "COUNTERFOIL_NODES", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) nodes: u32,
    /// How many nodes are to hold each expert [default: 2, or 1 with one node]
    #[arg(long, env = "COUNTERFOIL_REPLICAS", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) replicas: Option<u32>,
    /// Weights that each local node holds at most, such as 8GB, 7.5GiB or a number of bytes [default: equal shares of
    /// the available memory, and half of it with one node]
    #[arg(long, env = "COUNTERFOIL_MAX_MEMORY", value_name = "SIZE")]
    pub(crate) max_memory: Option<ByteSize>,
    /// Do not open the page in a browser
    #[arg(long, env = "COUNTERFOIL_NO_BROWSER")]
    pub(crate) no_browser: bool,
}

#[derive(Debug, Args, Clone)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct RouterArgs {
    #[command(subcommand)]
    pub(crate) command: Option<RouterCommand>,
    /// A checkpoint folder, split folder or GGUF file; may be given several times, and is a list in `config.toml` then
    /// [default: the embedded model `guide`]
    #[arg(long, env = "COUNTERFOIL_MODEL")]
    pub(crate) model: Vec<PathBuf>,
    /// Where clients connect (HTTP)
    #[arg(long, env = "COUNTERFOIL_LISTEN", default_value = "127.0.0.1:8000")]
    pub(crate) listen: SocketAddr,
    /// Where nodes connect (QUIC over UDP)
    #[arg(long, env = "COUNTERFOIL_NODE_LISTEN", default_value = "127.0.0.1:0")]
    pub(crate) node_listen: SocketAddr,
    /// Where nodes enrol (QUIC over UDP)
    #[arg(long, env = "COUNTERFOIL_ENROL_LISTEN", default_value = "127.0.0.1:0")]
    pub(crate) enrol_listen: SocketAddr,
    /// How many nodes are to hold each expert
    #[arg(long, env = "COUNTERFOIL_REPLICAS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) replicas: u32,
    /// How many nodes to wait for, five seconds at most, before experts are dealt out [default: none]
    #[arg(long, env = "COUNTERFOIL_EXPECT_NODES", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) expect_nodes: Option<u32>,
    /// The repository that a model's files lie in, for nodes that fetch from there; once for each --model, in their order
    #[arg(long, env = "COUNTERFOIL_HUB_REPOSITORY", value_name = "OWNER/NAME@COMMIT", value_delimiter = ',')]
    pub(crate) hub_repository: Vec<String>,
    /// Send frames that are late to other nodes that hold the same experts too: one in 32, and those that are far too late.
    /// The first answer counts and is billed
    #[arg(long, env = "COUNTERFOIL_HEDGE", value_enum, default_value_t = Switch::On)]
    pub(crate) hedge: Switch,
    /// How rows travel to nodes
    #[arg(long, env = "COUNTERFOIL_ACTIVATIONS", value_enum, default_value_t = ActivationsAs::Auto)]
    pub(crate) activations: ActivationsAs,
    /// Whose cosignatures the log's checkpoints are to have: those that have a URL are asked (C2SP tlog-policy)
    #[arg(long, env = "COUNTERFOIL_WITNESS_POLICY", value_name = "FILE")]
    pub(crate) witness_policy: Option<PathBuf>,
    /// How often witnesses are asked
    #[arg(long, env = "COUNTERFOIL_WITNESS_EVERY", value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) witness_every: u64,
    /// For how many seconds a node's certificate holds; nodes renew it by themselves when half of that is over
    #[arg(long, env = "COUNTERFOIL_CERTIFICATE_LIFE", value_name = "SECONDS", default_value_t = MAX_LEAF_CERT_LIFE_S,
        value_parser = clap::value_parser!(u64).range(MIN_LEAF_CERT_LIFE_S..=MAX_LEAF_CERT_LIFE_S))]
    pub(crate) certificate_life: u64,
    /// For how many days the vault keeps the salts with which callers, and nobody else, can check what the log says of their
    /// prompts and answers; then they are erased
    #[arg(long, env = "COUNTERFOIL_SALT_DAYS", value_name = "DAYS", default_value_t = DEFAULT_SALT_DAYS,
        value_parser = clap::value_parser!(u64).range(1..=36_500))]
    pub(crate) salt_days: u64,
    #[command(flatten)]
    pub(crate) paying: PayingArgs,
    /// Serve callers without a key as the unmetered account `local`; refused unless --listen is a loopback address
    #[arg(long, env = "COUNTERFOIL_KEYLESS")]
    pub(crate) keyless: bool,
    /// End when the process that started this one ends
    #[arg(long, hide = true)]
    pub(crate) supervised: bool,
}

#[derive(Debug, Args, Clone)]
pub(crate) struct ServeArgs {
    /// The router's address for nodes
    #[arg(long, env = "COUNTERFOIL_ROUTER", value_name = "HOST:PORT", value_parser = address)]
    pub(crate) router: Option<SocketAddr>,
    /// The router's address for enrolment: needed together with --join-token, and later where the certificate has ended
    /// while this machine was off or asleep
    #[arg(long, env = "COUNTERFOIL_ENROL", value_name = "HOST:PORT", value_parser = address)]
    pub(crate) enrol: Option<SocketAddr>,
    /// The join token that the router's operator gave you
    #[arg(long, env = "COUNTERFOIL_JOIN_TOKEN", hide_env_values = true)]
    pub(crate) join_token: Option<String>,
    /// The name of a model that the router offers, or a folder or GGUF file with its weights; may be given several times
    /// [default: the embedded model `guide`]
    #[arg(long, env = "COUNTERFOIL_MODEL", value_name = "NAME|DIR")]
    pub(crate) model: Vec<PathBuf>,
    /// Weights to hold at most, such as 8GB, 7.5GiB or a number of bytes [default: half of the available memory]
    #[arg(long, env = "COUNTERFOIL_MAX_MEMORY", value_name = "SIZE")]
    pub(crate) max_memory: Option<ByteSize>,
    /// Of these, weights to copy into memory with large pages, which is faster; the others are mapped from their files. 0 for
    /// none [default: all, and three quarters of the available memory at most]
    #[arg(long, env = "COUNTERFOIL_COPY_WEIGHTS", value_name = "SIZE")]
    pub(crate) copy_weights: Option<ByteSize>,
    #[command(flatten)]
    pub(crate) fetching: FetchingArgs,
    /// Requests to work on at one time
    #[arg(long, env = "COUNTERFOIL_CONCURRENT", default_value_t = 2)]
    pub(crate) concurrent: u32,
    /// Accept the notice that `counterfoil consent notice` prints; nothing is served before
    #[arg(long, env = "COUNTERFOIL_ACCEPT_NOTICE")]
    pub(crate) accept_notice: bool,
    /// What this node allows, as `counterfoil consent init` explains it [default: consent.toml in the home, which may come later]
    #[arg(long, env = "COUNTERFOIL_CONSENT_FILE", value_name = "FILE")]
    pub(crate) consent_file: Option<PathBuf>,
    /// Where manifests of models are kept [default: in the home]
    #[arg(long, hide = true, value_name = "DIR")]
    pub(crate) manifests: Option<PathBuf>,
    /// End when the process that started this one ends
    #[arg(long, hide = true)]
    pub(crate) supervised: bool,
}

/// Where a node may get weights from, and how many.
#[derive(Debug, Args, Clone)]
pub(crate) struct FetchingArgs {
    /// Fetched weights to keep on disk at most, all models together, such as 100GB [default: as many as are assigned]
    #[arg(long, env = "COUNTERFOIL_MAX_DISK", value_name = "SIZE")]
    pub(crate) max_disk: Option<ByteSize>,
    /// Whether to fetch from the repository that the router names, before the router itself is asked; the variable
    /// COUNTERFOIL_HUB_TOKEN is sent there where it is set
    #[arg(long, env = "COUNTERFOIL_HUB", value_name = "on|off", default_value = "on")]
    pub(crate) hub: Switch,
    /// Where repositories are
    #[arg(long, env = "COUNTERFOIL_HUB_ENDPOINT", value_name = "URL", default_value = HUB_ENDPOINT)]
    pub(crate) hub_endpoint: String,
    /// Let the router name a branch of a repository, which may change, and not only a commit
    #[arg(long, env = "COUNTERFOIL_HUB_ALLOW_BRANCH")]
    pub(crate) hub_allow_branch: bool,
    /// Whether to pass on weights that are served here to other nodes, through the router
    #[arg(long, env = "COUNTERFOIL_SHARE_WEIGHTS", value_name = "on|off", default_value = "on")]
    pub(crate) share_weights: Switch,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// Yes
    On,
    /// No
    Off,
}

#[derive(Debug, Args, Clone)]
pub(crate) struct UrlArgs {
    /// The router's address for clients [default: what runs on this home]
    #[arg(long, env = "COUNTERFOIL_URL")]
    pub(crate) url: Option<String>,
    /// The API key [not needed for a local `run`]
    #[arg(long, env = "COUNTERFOIL_API_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
}

#[derive(Debug, Args, Clone)]
#[command(
    after_help = "Sizes are those of the published 16-bit weights (f16) and of what `counterfoil model split --quant` makes of them; q4_k takes q5_0 for matrices whose rows are not multiples of 256. \"layer\" is all experts of one layer; \"experts here\" and \"layers here\" fit into memory and free disk as a node, \"router here\" tells whether the dense part does.\n\nExamples:\n  counterfoil models --use code\n  counterfoil models --max-memory 8GB      as if this machine gave 8 GB\n  counterfoil models --json | jq '.models[] | {name, available: .network.available}'"
)]
pub(crate) struct ModelsArgs {
    #[command(flatten)]
    pub(crate) at: UrlArgs,
    /// Only models that are good for this
    #[arg(long = "use", value_enum, value_name = "FOR")]
    pub(crate) purpose: Option<Use>,
    /// Count with this much memory, such as 8GB, 7.5GiB or a number of bytes [default: all that is available]
    #[arg(long, env = "COUNTERFOIL_MAX_MEMORY", value_name = "SIZE")]
    pub(crate) max_memory: Option<ByteSize>,
}

#[derive(Debug, Args, Clone)]
pub(crate) struct ChatArgs {
    /// The question; without one a conversation starts
    pub(crate) prompt: Option<String>,
    #[command(flatten)]
    pub(crate) url: UrlArgs,
    /// The model's name [default: the first that the router offers]
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// 0 always takes the likeliest token
    #[arg(long, default_value_t = 0.0)]
    pub(crate) temperature: f32,
    /// The most tokens of an answer
    #[arg(long)]
    pub(crate) max_tokens: Option<u64>,
}

/// Reads the address of a router: of a host, by its name or number, and a port. Of several addresses the first is taken.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map(|mut found| found.next());
    found
        .map_err(|e| format!("{e}; write HOST:PORT, such as router.example:9400 or 192.0.2.7:9400"))?
        .ok_or_else(|| "this name has no address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_is_named_or_numbered_and_has_a_port() {
        assert_eq!(address("192.0.2.7:9400"), Ok(SocketAddr::from(([192, 0, 2, 7], 9400))));
        assert!(address("localhost:9400").is_ok_and(|at| at.ip().is_loopback() && at.port() == 9400));
        for wrong in ["192.0.2.7", "localhost", "192.0.2.7:", "192.0.2.7:65536", ""] {
            assert!(address(wrong).is_err_and(|e| e.contains("write HOST:PORT")), "{wrong}");
        }
    }
}
