//! The commands below `identity`, `audit` and `account`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use counterfoil_spec::country::Country;

use super::{
    CaCommand, LogKeyCommand, ProveArgs, PruneArgs, RecountArgs, VerifyArgs, VerifyProofArgs, WitnessArgs,
    address,
};
use crate::export::{FormatName, Place};

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
        #[arg(long, value_name = "HOST:PORT", value_parser = address)]
        enrol: SocketAddr,
        /// The join token
        #[arg(long, env = "COUNTERFOIL_JOIN_TOKEN", hide_env_values = true)]
        join_token: String,
    },
    /// Get this node's next certificate now
    #[command(
        after_help = "A node renews its certificate by itself at half of its life. This is for when it should be sooner, or for a node that does not run: then --enrol says where the router gives it, and the node's identity key is all that it takes, up to 30 days after the end of the last one. A node that runs asks on its own connection and goes on with what it is given; no request notices. A router gives none before an eighth of the use of the last one is over (`E_RATE`).\n\n  counterfoil --home NODE identity renew --enrol 192.0.2.7:9401     while the node does not run\n  counterfoil --home NODE identity renew                            while it runs"
    )]
    Renew {
        /// The router's address for enrolment, where the node does not run
        #[arg(long, env = "COUNTERFOIL_ENROL", value_name = "HOST:PORT", value_parser = address)]
        enrol: Option<SocketAddr>,
    },
    /// The router's issuing CA: what follows it, and when
    #[command(
        subcommand,
        after_help = "Where the root's key lies in the home, a running router does all this by itself at two thirds of a CA's life. Where it lies elsewhere:\n\n  counterfoil identity ca next --request ca.csr                     at the router\n  counterfoil --home ROOT identity ca sign --request ca.csr --certificate ca.pem    where the root's key is\n  counterfoil identity ca announce --certificate ca.pem             at the router\n  counterfoil identity ca activate                                  at the router, a day later"
    )]
    Ca(CaCommand),
    /// The key that signs the log's heads: what follows it, and when
    #[command(
        subcommand,
        after_help = "Auditors and witnesses pin the log's key, so it is changed with overlap:\n\n  counterfoil identity log-key next         make the next key; give it to auditors and witnesses\n  counterfoil identity log-key activate     from here on heads are signed by both keys\n  counterfoil identity log-key retire       once everybody has the new key: the old one signs no more and is destroyed\n\nThe router may run meanwhile. Nodes follow by themselves. Whoever still has the old key is told the new one by `audit verify`, and by `audit verify-proof` with --succession."
    )]
    LogKey(LogKeyCommand),
    /// The root's deny list: routers and issuing CAs that the network trusts no more
    #[command(
        subcommand,
        after_help = "It reaches nodes as a file, not by the router, which may be the one that it names:\n\n  counterfoil --home ROOT identity root-deny sign --router ID --list deny.pem    where the root's key is\n  counterfoil --home NODE identity root-deny take --list deny.pem                at each node\n\nA node that runs ends its lane within a second, and where its own router is named it withdraws its consent and stops; one that is connecting does so once that attempt is over."
    )]
    RootDeny(RootDenyCommand),
    /// Have this node denied by its recovery key, for when its other keys were stolen
    Revoke {
        /// The router's address for enrolment
        #[arg(long, env = "COUNTERFOIL_ENROL", value_name = "HOST:PORT", value_parser = address)]
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

#[derive(Debug, Subcommand)]
pub(crate) enum RootDenyCommand {
    /// Sign a list, in a home with identity/root.key and root.der
    Sign {
        /// The list before this one, whose names are taken over [default: the one that this home signed last]
        #[arg(long, value_name = "FILE")]
        after: Option<PathBuf>,
        /// A router to deny, by its id; may be given again
        #[arg(long = "router", value_name = "ID")]
        routers: Vec<String>,
        /// An issuing CA to deny, by its serial number; may be given again
        #[arg(long = "ca", value_name = "SERIAL")]
        authorities: Vec<String>,
        /// Where the list is written [default: standard output]
        #[arg(long, value_name = "FILE")]
        list: Option<PathBuf>,
    },
    /// Let this node heed a list
    Take {
        /// What `sign` wrote
        #[arg(long, value_name = "FILE")]
        list: PathBuf,
    },
    /// Print what a list says, once its signature is checked
    Show {
        /// What `sign` wrote
        #[arg(long, value_name = "FILE")]
        list: PathBuf,
    },
}

#[derive(Debug, Args, Clone)]
pub(crate) struct LogArgs {
    /// The log's folder [default: `log` in the home]
    #[arg(long = "log", value_name = "DIR", alias = "log-dir")]
    pub(crate) log_dir: Option<PathBuf>,
}

#[derive(Debug, Args, Clone)]
pub(crate) struct ExportArgs {
    /// Whose form
    #[arg(long, value_enum)]
    pub(crate) format: FormatName,
    /// The first entry, or an instant in UTC before which entries are left out: 1234, 2026-10-01 or 2026-10-01T12:30:00Z
    #[arg(long, value_name = "ENTRY|TIME")]
    pub(crate) from: Option<Place>,
    /// The entry after the last one, or the first instant whose entries are left out [default: all that are signed for]
    #[arg(long, value_name = "ENTRY|TIME")]
    pub(crate) to: Option<Place>,
    /// A folder that is not there yet; `-` writes the rows alone to standard output
    #[arg(long, value_name = "DIR|-")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args, Clone)]
pub(crate) struct ShowArgs {
    /// Its index; the first is 0
    #[arg(conflicts_with_all = ["request", "account", "node", "model", "since", "until"])]
    pub(crate) index: Option<u64>,
    #[command(flatten)]
    pub(crate) about: AboutArgs,
}

#[derive(Debug, Args, Clone)]
pub(crate) struct AboutArgs {
    /// Entries of this request
    #[arg(long, value_name = "ID")]
    pub(crate) request: Option<String>,
    /// Entries about this account
    #[arg(long, value_name = "ID")]
    pub(crate) account: Option<String>,
    /// Entries about this node
    #[arg(long, value_name = "ID")]
    pub(crate) node: Option<String>,
    /// Entries about this model, by its manifest's id
    #[arg(long, value_name = "ID")]
    pub(crate) model: Option<String>,
    /// Not before this entry or instant in UTC: 1234, 2026-10-01 or 2026-10-01T12:30:00Z
    #[arg(long, value_name = "ENTRY|TIME")]
    pub(crate) since: Option<Place>,
    /// Before this entry or instant
    #[arg(long, value_name = "ENTRY|TIME")]
    pub(crate) until: Option<Place>,
    /// The most to print
    #[arg(long, default_value_t = 100)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args, Clone)]
pub(crate) struct VerifyExportArgs {
    /// The folder that `audit export` wrote
    pub(crate) folder: PathBuf,
    /// Hold it to this log: the folder that it was exported from, or a copy
    #[arg(long = "log", value_name = "DIR", alias = "log-dir")]
    pub(crate) log_dir: Option<PathBuf>,
    /// The log's verifier key, pinned out of band
    #[arg(long)]
    pub(crate) vkey: Option<String>,
    /// The log's succession file, where its key was changed since
    #[arg(long, value_name = "FILE", requires = "vkey")]
    pub(crate) succession: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Write what a log has published into one file, which `audit verify --log FILE` reads
    Archive {
        /// The file, which must not be there yet
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        at: LogArgs,
    },
    /// Check every byte, chain, signature, receipt and sum; exit 1 names what is wrong
    Verify(VerifyArgs),
    /// Check what two heads of a log prove against whoever holds its key, without the log
    VerifyEvidence {
        /// What `audit verify --against` wrote
        file: PathBuf,
        /// The log's verifier key, got from elsewhere than the evidence
        #[arg(long)]
        vkey: String,
        /// The log's succession file, where its key was changed between the two heads
        #[arg(long, value_name = "FILE")]
        succession: Option<PathBuf>,
    },
    /// Prove entries, or that the log kept what it had, to somebody who sees nothing else of it
    Prove(ProveArgs),
    /// Check proofs without the log; exit 1 names what is wrong
    VerifyProof(VerifyProofArgs),
    /// Hold a receipt against the log's key and against the texts that were sent and answered
    Recount(RecountArgs),
    /// Cosign the checkpoints of logs, and keep what was said of them
    Witness(WitnessArgs),
    /// Measure appending and verifying against the floors under them
    Bench {
        /// Entries of the log that is verified
        #[arg(long, default_value_t = 100_000)]
        entries: u64,
        /// Appends for each batch size
        #[arg(long, default_value_t = 300)]
        appends: u64,
    },
    /// Write entries in the form of another program, with a manifest that holds every row to its entry
    #[command(
        after_help = "Examples:\n  counterfoil audit export --format csv --out october --from 2026-10-01 --to 2026-11-01\n  counterfoil audit export --format hledger --out books && hledger -f books/book.journal balance\n  counterfoil audit export --format jsonl --out - | jq .body.payload.kind\n\nOf a router or node that runs, what its last checkpoint covers is exported."
    )]
    Export {
        #[command(flatten)]
        what: ExportArgs,
        #[command(flatten)]
        at: LogArgs,
    },
    /// Make every row of an export anew from its entry and name what was added, dropped or edited
    VerifyExport(VerifyExportArgs),
    /// Print one entry, or list those that are about somebody or something
    #[command(
        after_help = "Examples:\n  counterfoil audit show 17\n  counterfoil audit show --account ID --since 2026-10-01\n  counterfoil audit show --node ID --model ID --limit 20 --json"
    )]
    Show {
        #[command(flatten)]
        what: ShowArgs,
        #[command(flatten)]
        at: LogArgs,
    },
    /// Remove old entries of closed quarters; their hashes stay, and the log goes on verifying
    Prune(PruneArgs),
    /// Make the index by which `show` finds entries anew; the log itself is not touched
    Reindex,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Open an account with the free tokens that the rules give
    Create {
        /// Where its callers are from (ISO 3166-1 alpha-2); left out, only nodes that serve callers from anywhere do so
        #[arg(long, value_name = "CC")]
        country: Option<Country>,
    },
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
        /// How long it may be used [default: without end; an auditor's 30 days, 400 at most]
        #[arg(long, value_name = "SECONDS")]
        expires: Option<u64>,
        /// To read the log's entries and for nothing else
        #[arg(long)]
        auditor: bool,
        /// Where who uses it is from, if that is not the account's country
        #[arg(long, value_name = "CC")]
        country: Option<Country>,
    },
    /// Withdraw a key
    Revoke {
        /// Its id, as `create` printed it
        key_id: String,
    },
}
